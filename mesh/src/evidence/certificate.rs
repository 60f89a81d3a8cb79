//! Certificates a tenant pinned as evidence roots.
//!
//! A pinned certificate is a carrier for one RSA key under a name and serial number: documents must be signed by
//! exactly that key. There is no chain, so its own signature, extensions and validity say nothing here and are not
//! judged; what makes it trusted is that it stands in the tenant's own signed document (I2). Cloud providers publish
//! such certificates per region with validity of a century or more; retiring one is a change of that document.

use std::fmt;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use data_encoding::{BASE64, HEXLOWER};
use der::asn1::{ObjectIdentifier, UintRef};
use der::{Decode, Sequence};
use keymesh_wire::time::Wall;
use minicbor::decode::Error as CborError;
use sha2::{Digest, Sha256};
use x509_cert::Certificate;
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;

/// The longest certificate taken, in bytes of DER.
pub const CERTIFICATE_LIMIT: usize = 8 * 1024;
/// The smallest RSA modulus taken, in bits.
pub const MIN_KEY_BITS: usize = 2048;
/// The largest RSA modulus taken, in bits; past it, verifying costs more than a document is worth.
pub const MAX_KEY_BITS: usize = 8192;

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const PEM_BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const PEM_END: &str = "-----END CERTIFICATE-----";

/// Why bytes cannot be pinned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The text is not exactly one PEM block labelled `CERTIFICATE`.
    #[error("expected exactly one PEM block labelled CERTIFICATE")]
    Pem,
    /// The certificate is longer than any honest one.
    #[error("a certificate of {size} bytes is over the limit of {CERTIFICATE_LIMIT}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
    },
    /// The bytes are not one X.509 certificate in DER.
    #[error("not an X.509 certificate in DER: {reason}")]
    Malformed {
        /// What the parser met.
        reason: der::ErrorKind,
    },
    /// The certificate carries another kind of key.
    #[error("the key is of kind {oid}; only RSA keys can be pinned")]
    NotRsa {
        /// The object identifier of the key's algorithm.
        oid: ObjectIdentifier,
    },
    /// The RSA key is too small or too large.
    #[error("an RSA key of {bits} bits; it must have {MIN_KEY_BITS} to {MAX_KEY_BITS}")]
    KeySize {
        /// Bits of its modulus.
        bits: usize,
    },
    /// The public exponent is even or below 65537.
    #[error("the RSA public exponent is even or below 65537")]
    Exponent,
}

impl From<der::Error> for CertificateError {
    fn from(error: der::Error) -> Self {
        Self::Malformed { reason: error.kind() }
    }
}

/// SHA-256 of a certificate's DER bytes; the text form is lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The digest's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// A certificate whose key may sign evidence: checked once, then immutable.
///
/// Two are equal when their DER bytes are. In CBOR it is a byte string, in JSON base64url text, and both are checked
/// while they are read.
#[derive(Clone)]
pub struct PinnedCertificate {
    der: Vec<u8>,
    certificate: Certificate,
}

#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

impl PinnedCertificate {
    /// Reads one certificate from DER and checks that its key is RSA of a sane size.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        if der.len() > CERTIFICATE_LIMIT {
            return Err(CertificateError::TooLarge { size: der.len() });
        }
        let certificate = Certificate::from_der(der)?;
        let key_info = &certificate.tbs_certificate.subject_public_key_info;
        if key_info.algorithm.oid != RSA_ENCRYPTION {
            return Err(CertificateError::NotRsa { oid: key_info.algorithm.oid });
        }
        let key = RsaPublicKey::from_der(key_info.subject_public_key.as_bytes().unwrap_or_default())?;
        let modulus = key.modulus.as_bytes();
        let bits = modulus.len() * 8 - modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
        if !(MIN_KEY_BITS..=MAX_KEY_BITS).contains(&bits) {
            return Err(CertificateError::KeySize { bits });
        }
        let exponent = key.exponent.as_bytes();
        let odd = exponent.last().is_some_and(|byte| byte & 1 == 1);
        if !odd || exponent.len() < 3 {
            return Err(CertificateError::Exponent);
        }
        Ok(Self { der: der.to_vec(), certificate })
    }

    /// Reads one PEM block labelled `CERTIFICATE`; blank space around it and any line width are accepted.
    pub fn from_pem(text: &str) -> Result<Self, CertificateError> {
        if text.len() > 2 * CERTIFICATE_LIMIT {
            return Err(CertificateError::TooLarge { size: text.len() });
        }
        let body = text
            .trim()
            .strip_prefix(PEM_BEGIN)
            .and_then(|rest| rest.strip_suffix(PEM_END))
            .ok_or(CertificateError::Pem)?;
        let body: String = body.split_ascii_whitespace().collect();
        Self::from_der(&BASE64.decode(body.as_bytes()).map_err(|_| CertificateError::Pem)?)
    }

    /// The certificate as it was given, in DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Who the certificate names, as RFC 4514 text.
    pub fn subject(&self) -> String {
        self.certificate.tbs_certificate.subject.to_string()
    }

    /// Who issued it; documents name their signer by this and the serial number.
    pub fn issuer(&self) -> &Name {
        &self.certificate.tbs_certificate.issuer
    }

    /// Its serial number, which prints as hex pairs.
    pub fn serial(&self) -> &SerialNumber {
        &self.certificate.tbs_certificate.serial_number
    }

    /// SHA-256 of its DER bytes, to compare with what a provider publishes.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(Sha256::digest(&self.der).into())
    }

    /// From when and until when it says it is valid. Shown to people, judged nowhere (see the module).
    pub fn validity(&self) -> (Wall, Wall) {
        let validity = &self.certificate.tbs_certificate.validity;
        let wall = |time: x509_cert::time::Time| Wall(time.to_unix_duration().as_secs() * 1000);
        (wall(validity.not_before), wall(validity.not_after))
    }

    /// Whether `signature` is this key's PKCS#1 v1.5 signature with SHA-256 over `message`.
    pub fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = &self.certificate.tbs_certificate.subject_public_key_info.subject_public_key;
        key.as_bytes().is_some_and(|key| {
            UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key).verify(message, signature).is_ok()
        })
    }
}

impl PartialEq for PinnedCertificate {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for PinnedCertificate {}

impl fmt::Debug for PinnedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinnedCertificate")
            .field("subject", &self.subject())
            .field("serial", &self.serial().to_string())
            .field("fingerprint", &self.fingerprint())
            .finish()
    }
}

impl<C> minicbor::Encode<C> for PinnedCertificate {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.der)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for PinnedCertificate {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, CborError> {
        Self::from_der(d.bytes()?).map_err(CborError::custom)
    }
}

impl serde::Serialize for PinnedCertificate {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        super::base64url::serialize(&self.der, s)
    }
}

impl<'de> serde::Deserialize<'de> for PinnedCertificate {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::from_der(&super::base64url::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}
