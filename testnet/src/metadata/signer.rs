//! The emulator's signing key, and identity documents signed the way AWS signs them.
//!
//! The message has AWS's structure to the byte order: BER with indefinite lengths around DER parts, the content in
//! pieces of a constructed octet string, no certificates, the signed attributes `contentType`, `signingTime`,
//! `cmsAlgorithmProtection` and `messageDigest`, and base64 in lines of 76. The key is a test key: what it signs is
//! evidence only to a tenant that pinned its certificate.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use cms::cert::IssuerAndSerialNumber;
use cms::content_info::CmsVersion;
use cms::signed_data::{SignerIdentifier, SignerInfo};
use data_encoding::BASE64;
use der::asn1::{Any, Null, ObjectIdentifier, OctetString, OctetStringRef, SetOfVec, UtcTime};
use der::{Encode, Sequence};
use keymesh_mesh::evidence::{CertificateError, PinnedCertificate};
use rcgen::{CertificateParams, DistinguishedName, DnType, PKCS_RSA_SHA256};
use sha2::{Digest, Sha256};
use x509_cert::attr::Attribute;
use x509_cert::spki::AlgorithmIdentifierOwned;

use super::wall_now;

/// The file [`make_signer`] writes key and certificate to.
pub const SIGNER_FILE: &str = "metadata-signer.pem";
/// The file [`make_signer`] writes the certificate to, for a tenant to pin.
pub const CERTIFICATE_FILE: &str = "metadata-certificate.pem";

const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const SIGNING_TIME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.5");
const ALGORITHM_PROTECTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.52");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA256_WITH_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");

/// AWS's signer writes content in pieces of this size.
const PIECE: usize = 1000;
const LINE: usize = 76;

/// Why there is no signer or no signature.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file lacks a PEM block.
    #[error("no PEM block labelled {label}")]
    Pem {
        /// The block's label.
        label: &'static str,
    },
    /// The key was refused by the library.
    #[error("not an RSA key in PKCS#8")]
    Key,
    /// The certificate cannot be pinned, so nothing it signs could be verified.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// The structure could not be written.
    #[error("cannot write the signed message: {0}")]
    Encode(der::Error),
    /// The library would not sign.
    #[error("signing failed")]
    Sign,
}

impl From<der::Error> for SignerError {
    fn from(error: der::Error) -> Self {
        Self::Encode(error)
    }
}

/// A test RSA key and its self-signed certificate.
#[derive(Debug)]
pub struct Signer {
    key: KeyPair,
    certificate: PinnedCertificate,
}

impl Signer {
    /// Reads the key and the certificate from the text of one PEM file, in any order.
    pub fn from_pem(text: &str) -> Result<Self, SignerError> {
        let key = pem_block(text, "PRIVATE KEY")?;
        let key = key.lines().filter(|line| !line.starts_with('-')).map(str::trim).collect::<String>();
        let key = BASE64.decode(key.as_bytes()).map_err(|_| SignerError::Key)?;
        Ok(Self {
            key: KeyPair::from_pkcs8(&key).map_err(|_| SignerError::Key)?,
            certificate: PinnedCertificate::from_pem(pem_block(text, "CERTIFICATE")?)?,
        })
    }

    /// Reads the file [`make_signer`] wrote, or one made elsewhere with the same two PEM blocks.
    pub fn load(path: &Path) -> Result<Self, SignerError> {
        let text = fs::read_to_string(path).map_err(|source| SignerError::File { path: path.into(), source })?;
        Self::from_pem(&text)
    }

    /// The certificate a tenant pins to believe this signer.
    pub fn certificate(&self) -> &PinnedCertificate {
        &self.certificate
    }
}

fn pem_block<'a>(text: &'a str, label: &'static str) -> Result<&'a str, SignerError> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let block = text.find(&begin).and_then(|from| {
        let length = text[from..].find(&end)? + end.len();
        text.get(from..from + length)
    });
    block.ok_or(SignerError::Pem { label })
}

/// Makes a fresh RSA-2048 key with a self-signed certificate and writes both into `dir`, which must exist:
/// [`SIGNER_FILE`] (readable by its owner alone) and [`CERTIFICATE_FILE`].
pub fn make_signer(dir: &Path) -> Result<Signer, SignerError> {
    let key = rcgen::KeyPair::generate_for(&PKCS_RSA_SHA256)?;
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CountryName, "US");
    name.push(DnType::OrganizationName, "Keymesh test metadata");
    params.distinguished_name = name;
    let certificate = params.self_signed(&key)?.pem();
    let both = format!("{}{certificate}", key.serialize_pem());

    let write = |name: &str, mode: u32, text: &str| {
        let path = dir.join(name);
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|source| SignerError::File { path, source })
    };
    write(SIGNER_FILE, 0o600, &both)?;
    write(CERTIFICATE_FILE, 0o644, &certificate)?;
    Signer::from_pem(&both)
}

/// Signs a document as AWS does and returns the base64 text that `/rsa2048` serves, without a final line break.
pub fn sign_document(signer: &Signer, json: &str) -> Result<String, SignerError> {
    let info = signer_info(signer, json.as_bytes())?;
    let digests = SetOfVec::try_from(vec![algorithm(SHA256)])?.to_der()?;
    let infos = SetOfVec::try_from(vec![info])?.to_der()?;

    let pieces = json.as_bytes().chunks(PIECE).map(|piece| OctetStringRef::new(piece)?.to_der());
    let pieces = pieces.collect::<Result<Vec<_>, _>>()?.concat();
    let content = streamed(0x30, &[&DATA.to_der()?, &streamed(0xa0, &[&streamed(0x24, &[&pieces])])]);
    let version = CmsVersion::V1.to_der()?;
    let signed = streamed(0x30, &[&version, &digests, &content, &infos]);
    let message = streamed(0x30, &[&SIGNED_DATA.to_der()?, &streamed(0xa0, &[&signed])]);

    let text = BASE64.encode(&message);
    let lines: Vec<&str> = (0..text.len()).step_by(LINE).map(|from| &text[from..text.len().min(from + LINE)]).collect();
    Ok(lines.join("\n"))
}

/// RFC 6211: the algorithms, repeated under the signature.
#[derive(Sequence)]
struct AlgorithmProtection {
    digest: AlgorithmIdentifierOwned,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT")]
    signature: AlgorithmIdentifierOwned,
}

fn signer_info(signer: &Signer, content: &[u8]) -> Result<SignerInfo, SignerError> {
    let protection = AlgorithmProtection { digest: algorithm(SHA256), signature: algorithm(SHA256_WITH_RSA) };
    let attributes = SetOfVec::try_from(vec![
        attribute(CONTENT_TYPE, &DATA)?,
        attribute(SIGNING_TIME, &UtcTime::from_unix_duration(Duration::from_secs(wall_now().0 / 1000))?)?,
        attribute(ALGORITHM_PROTECTION, &protection)?,
        attribute(MESSAGE_DIGEST, &OctetStringRef::new(&Sha256::digest(content))?)?,
    ])?;
    let mut signature = vec![0; signer.key.public_modulus_len()];
    signer
        .key
        .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &attributes.to_der()?, &mut signature)
        .map_err(|_| SignerError::Sign)?;
    Ok(SignerInfo {
        version: CmsVersion::V1,
        sid: SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
            issuer: signer.certificate.issuer().clone(),
            serial_number: signer.certificate.serial().clone(),
        }),
        digest_alg: algorithm(SHA256),
        signed_attrs: Some(attributes),
        signature_algorithm: algorithm(SHA256_WITH_RSA),
        signature: OctetString::new(signature)?,
        unsigned_attrs: None,
    })
}

fn algorithm(oid: ObjectIdentifier) -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid, parameters: Some(Null.into()) }
}

fn attribute<T: der::Tagged + der::EncodeValue>(oid: ObjectIdentifier, value: &T) -> Result<Attribute, der::Error> {
    Ok(Attribute { oid, values: SetOfVec::try_from(vec![Any::encode_from(value)?])? })
}

/// An element of indefinite length (X.690 section 8.1.3.6), which no DER library writes.
fn streamed(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    [&[tag, 0x80], &parts.concat()[..], &[0, 0]].concat()
}
