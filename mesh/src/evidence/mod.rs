//! Evidence: what an instance shows about itself, checked against what its tenant pinned.
//!
//! Guarantees: [`Evidence::verify`] is a pure function of the evidence and the tenant's own roots (I2), so every
//! custodian that holds the same tenant document reaches the same facts from the same bytes (I5), and facts cannot be
//! made any other way. It reads no clock: instance documents carry neither nonce nor expiry, and their freshness comes
//! from the launch ticket they must fit ([`fits_ticket`]). Replay by another machine is the business of enrolment
//! (I9), not of this module.

mod aws;
mod ber;
mod certificate;
mod document;
pub mod rfc3339;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

use der::asn1::ObjectIdentifier;
use keymesh_wire::time::{Millis, Wall};
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

pub use aws::{DOCUMENT_LIMIT, verify};
pub use ber::BerError;
pub use certificate::{
    CERTIFICATE_LIMIT, CertificateError, Fingerprint, MAX_KEY_BITS, MIN_KEY_BITS, PinnedCertificate,
};
pub use document::AwsDocument;

/// What an instance shows about itself, unverified. Each kind of provider evidence is one variant.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Evidence {
    /// An AWS instance identity document, as served under `/latest/dynamic/instance-identity/rsa2048`.
    #[n(0)]
    AwsIid {
        /// The base64 text of the PKCS#7 message, byte for byte as the metadata service gave it.
        #[cbor(n(0), with = "minicbor::bytes")]
        #[serde(with = "base64url")]
        pkcs7: Vec<u8>,
    },
}

/// The signers a tenant accepts, by kind of evidence. Empty lists accept nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct EvidenceRoots {
    /// Certificates that sign AWS instance identity documents, one per region in use.
    #[n(0)]
    pub aws_iid: Vec<PinnedCertificate>,
}

/// What verified evidence says about an instance. Policies call these facts *attested*.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Facts {
    /// The instance, unique across providers: `aws:123456789012:i-0123456789abcdef0`.
    #[n(0)]
    pub instance: String,
    /// The provider: `aws`.
    #[n(1)]
    pub provider: String,
    /// The account that owns the instance, as the provider writes it.
    #[n(2)]
    pub account: String,
    /// The region, as the provider writes it: `eu-west-1`.
    #[n(3)]
    pub region: String,
    /// The zone with its provider: `aws/eu-west-1a`.
    #[n(4)]
    pub zone: String,
    /// The machine image it was launched from.
    #[n(5)]
    pub image: String,
    /// The kind of machine: `m7g.large`.
    #[n(6)]
    pub instance_type: String,
    /// When the provider began to launch it.
    #[n(7)]
    pub pending: Wall,
}

impl Evidence {
    /// The facts this evidence proves to a tenant with these roots.
    pub fn verify(&self, roots: &EvidenceRoots) -> Result<Facts, EvidenceError> {
        match self {
            Self::AwsIid { pkcs7 } => Ok(verify(pkcs7, &roots.aws_iid)?.facts()),
        }
    }
}

/// Whether an instance that began at `pending` can be the one a launch ticket was written for.
///
/// The launch must lie within the ticket's life, both ends widened by `skew`, because launcher and provider read
/// different clocks. An older machine cannot use a ticket written after it started.
pub fn fits_ticket(pending: Wall, issued: Wall, expires: Wall, skew: Millis) -> Result<(), TicketMismatch> {
    if pending.plus(skew) < issued {
        Err(TicketMismatch::LaunchedBefore { pending, issued })
    } else if pending > expires.plus(skew) {
        Err(TicketMismatch::LaunchedAfter { pending, expires })
    } else {
        Ok(())
    }
}

/// Why a launch time and a ticket do not belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketMismatch {
    /// The instance is older than the ticket.
    #[error("the instance was launched at {}, before its ticket was issued at {}", rfc3339::format(*pending), rfc3339::format(*issued))]
    LaunchedBefore {
        /// When the instance was launched.
        pending: Wall,
        /// When the ticket was issued.
        issued: Wall,
    },
    /// The instance was launched after the ticket had expired.
    #[error("the instance was launched at {}, after its ticket expired at {}", rfc3339::format(*pending), rfc3339::format(*expires))]
    LaunchedAfter {
        /// When the instance was launched.
        pending: Wall,
        /// When the ticket expired.
        expires: Wall,
    },
}

/// Why evidence proves nothing. Everything here is the shower's fault and final for these bytes and these roots.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// More bytes than any honest document has.
    #[error("evidence of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// How many bytes came.
        size: usize,
        /// How many are taken.
        limit: usize,
    },
    /// The text is not base64 in lines.
    #[error("the evidence is not padded base64")]
    Base64,
    /// The decoded bytes are not BER.
    #[error("the evidence is not BER: {0}")]
    Ber(#[from] BerError),
    /// More bytes follow the signed message.
    #[error("{count} bytes follow the signed message")]
    TrailingBytes {
        /// How many bytes follow.
        count: usize,
    },
    /// A part of the structure does not parse or is not in its one canonical form.
    #[error("{part} is malformed")]
    Malformed {
        /// Which part, in the words of RFC 5652.
        part: &'static str,
    },
    /// A part has a type, version or algorithm other than the one AWS uses.
    #[error("{part} is {oid}, which is not accepted here")]
    Unsupported {
        /// Which part, in the words of RFC 5652.
        part: &'static str,
        /// What was found there.
        oid: ObjectIdentifier,
    },
    /// A part is present that could be altered without breaking the signature.
    #[error("{part} is not expected in an identity document")]
    Unexpected {
        /// Which part, in the words of RFC 5652.
        part: &'static str,
    },
    /// The message has no signer or several.
    #[error("{count} signers where exactly one is expected")]
    SignerCount {
        /// How many there are.
        count: usize,
    },
    /// The signature is detached: the document itself is missing.
    #[error("the signed message does not contain the document")]
    Detached,
    /// A signed attribute is missing.
    #[error("the signed attribute {name} is missing")]
    MissingAttribute {
        /// Its name in RFC 5652.
        name: &'static str,
    },
    /// The signed digest is not the document's.
    #[error("the signed digest is not the document's")]
    DigestMismatch,
    /// Nobody pinned the certificate the message names.
    #[error("no pinned certificate is issued by `{issuer}` with serial number {serial}")]
    UnknownSigner {
        /// The issuer named, at most 200 characters of it.
        issuer: String,
        /// The serial number named, in hex pairs.
        serial: String,
    },
    /// The pinned key did not make this signature.
    #[error("the signature is not the pinned key's")]
    BadSignature,
    /// The signed document is not one JSON object.
    #[error("the signed document is not a JSON object")]
    NotJson,
    /// A field appears twice, so two readers could see two documents.
    #[error("the document's field `{field}` appears twice")]
    RepeatedField {
        /// The field, at most 80 characters of its name.
        field: String,
    },
    /// A field is missing.
    #[error("the document's field `{field}` is missing")]
    MissingField {
        /// The field.
        field: &'static str,
    },
    /// A field is not a text.
    #[error("the document's field `{field}` is not a string")]
    FieldType {
        /// The field.
        field: &'static str,
    },
    /// A field's text is not of its form.
    #[error("the document's field `{field}` has the unusable value `{value}`")]
    FieldValue {
        /// The field.
        field: &'static str,
        /// What it says, at most 80 characters of it.
        value: String,
    },
}

/// Bytes as base64url text without padding, for JSON.
mod base64url {
    use std::borrow::Cow;

    use data_encoding::BASE64URL_NOPAD;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&BASE64URL_NOPAD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        let text = Cow::<'de, str>::deserialize(d)?;
        BASE64URL_NOPAD.decode(text.as_bytes()).map_err(D::Error::custom)
    }
}
