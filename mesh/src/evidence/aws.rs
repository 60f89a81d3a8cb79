//! AWS instance identity documents: a PKCS#7 message (CMS SignedData, RFC 5652) around a JSON document.
//!
//! Guarantees: [`verify`] returns a document only if exactly one signer, named by issuer and serial number of a pinned
//! certificate, signed with that certificate's RSA key (PKCS#1 v1.5, SHA-256) attributes that fix the content type and
//! the SHA-256 of the embedded content. No chain is built and no certificate from the message is used.
//!
//! What AWS really serves under `/rsa2048`, seen in documents of two regions: BER with indefinite lengths, content
//! in pieces of a constructed octet string, no certificates, the attributes `contentType`, `signingTime`,
//! `cmsAlgorithmProtection` (RFC 6211) and `messageDigest` in DER order, signature algorithm
//! `sha256WithRSAEncryption`. The plain DER that `openssl cms -sign` makes, which names `rsaEncryption` instead, is
//! accepted too.
//!
//! Everything that is not covered by the signature must have its one expected value, so a message cannot be respelled
//! beyond line breaks in its base64 and the two BER forms of [`super::ber`]. Left to others: freshness, replay, and
//! which account or region a tenant wants.

use aws_lc_rs::digest::{SHA256, digest};
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{EncapsulatedContentInfo, SignedAttributes, SignedData, SignerIdentifier, SignerInfo};
use data_encoding::BASE64;
use der::asn1::{ObjectIdentifier, OctetStringRef};
use der::{Any, AnyRef, Decode, Encode, Sequence};
use x509_cert::spki::AlgorithmIdentifierOwned;

use super::certificate::PinnedCertificate;
use super::{AwsDocument, EvidenceError, ber};
use crate::mutant::{self, Mutant};

/// The longest base64 text taken, in bytes. Real documents have about 1,500.
pub const DOCUMENT_LIMIT: usize = 16 * 1024;

/// AWS signs four attributes; OpenSSL adds a fifth.
const ATTRIBUTE_LIMIT: usize = 16;

const ID_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const ID_SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const ALGORITHM_PROTECTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.52");
const ID_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const SHA256_WITH_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");

/// Verifies a document as the metadata service serves it, in base64 with or without line breaks, and returns its fields.
///
/// Pure: the same bytes and the same pinned certificates give the same answer everywhere.
pub fn verify(pkcs7_base64: &[u8], pinned: &[PinnedCertificate]) -> Result<AwsDocument, EvidenceError> {
    if pkcs7_base64.len() > DOCUMENT_LIMIT {
        return Err(EvidenceError::TooLarge { size: pkcs7_base64.len(), limit: DOCUMENT_LIMIT });
    }
    let signed = signed_data(&unwrap_base64(pkcs7_base64)?)?;
    let content = content(&signed.encap_content_info)?;
    let signer = only_signer(&signed)?;
    let attributes = signed_attributes(signer)?;

    if attribute(attributes, CONTENT_TYPE, "contentType")?.decode_as::<ObjectIdentifier>() != Ok(ID_DATA) {
        return Err(EvidenceError::Malformed { part: "contentType" });
    }
    let signed_digest = attribute(attributes, MESSAGE_DIGEST, "messageDigest")?
        .decode_as::<OctetStringRef<'_>>()
        .map_err(|_| EvidenceError::Malformed { part: "messageDigest" })?;
    let matches = signed_digest.as_bytes() == digest(&SHA256, content).as_ref();
    if !matches && !mutant::is(Mutant::RelayBelieved) {
        return Err(EvidenceError::DigestMismatch);
    }
    algorithm_protection(attributes)?;

    let certificate = check_signature(signer, attributes, pinned)?;
    AwsDocument::parse(content, certificate.fingerprint())
}

fn unwrap_base64(text: &[u8]) -> Result<Vec<u8>, EvidenceError> {
    let mut joined = Vec::with_capacity(text.len());
    for line in text.split(|byte| *byte == b'\n') {
        joined.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
    }
    BASE64.decode(&joined).map_err(|_| EvidenceError::Base64)
}

/// The message's structure, in its one canonical form once BER framing is gone.
fn signed_data(message: &[u8]) -> Result<SignedData, EvidenceError> {
    let ber::Transcoded { der, rest } = ber::to_der(message)?;
    if !rest.is_empty() {
        return Err(EvidenceError::TrailingBytes { count: rest.len() });
    }
    let info = ContentInfo::from_der(&der).map_err(|_| EvidenceError::Malformed { part: "ContentInfo" })?;
    if info.content_type != ID_SIGNED_DATA {
        return Err(EvidenceError::Unsupported { part: "contentType of ContentInfo", oid: info.content_type });
    }
    let malformed = |_| EvidenceError::Malformed { part: "SignedData" };
    let signed: SignedData = info.content.decode_as().map_err(malformed)?;
    // The parser sorts sets and drops defaults; what it would not write back the same way has two spellings.
    let again = ContentInfo { content_type: ID_SIGNED_DATA, content: Any::encode_from(&signed).map_err(malformed)? };
    if again.to_der().map_err(malformed)? != der {
        return Err(EvidenceError::Malformed { part: "SignedData" });
    }

    if signed.version != CmsVersion::V1 {
        return Err(EvidenceError::Malformed { part: "version of SignedData" });
    }
    if signed.certificates.is_some() {
        return Err(EvidenceError::Unexpected { part: "certificates" });
    }
    if signed.crls.is_some() {
        return Err(EvidenceError::Unexpected { part: "crls" });
    }
    match signed.digest_algorithms.as_slice() {
        [algorithm] => expect_algorithm(algorithm, &[ID_SHA256], "digestAlgorithms")?,
        _ => return Err(EvidenceError::Malformed { part: "digestAlgorithms" }),
    }
    Ok(signed)
}

fn content(info: &EncapsulatedContentInfo) -> Result<&[u8], EvidenceError> {
    if info.econtent_type != ID_DATA {
        return Err(EvidenceError::Unsupported { part: "eContentType", oid: info.econtent_type });
    }
    let content = info.econtent.as_ref().ok_or(EvidenceError::Detached)?;
    let content = AnyRef::from(content)
        .decode_as::<OctetStringRef<'_>>()
        .map_err(|_| EvidenceError::Malformed { part: "eContent" })?;
    Ok(content.as_bytes())
}

fn only_signer(signed: &SignedData) -> Result<&SignerInfo, EvidenceError> {
    let [signer] = signed.signer_infos.0.as_slice() else {
        return Err(EvidenceError::SignerCount { count: signed.signer_infos.0.len() });
    };
    if signer.version != CmsVersion::V1 {
        return Err(EvidenceError::Malformed { part: "version of SignerInfo" });
    }
    expect_algorithm(&signer.digest_alg, &[ID_SHA256], "digestAlgorithm")?;
    expect_algorithm(&signer.signature_algorithm, &[SHA256_WITH_RSA, RSA_ENCRYPTION], "signatureAlgorithm")?;
    if signer.unsigned_attrs.is_some() {
        return Err(EvidenceError::Unexpected { part: "unsignedAttrs" });
    }
    Ok(signer)
}

/// An algorithm of the list, whose parameters are NULL as AWS and OpenSSL write them, or absent (RFC 5754).
fn expect_algorithm(
    algorithm: &AlgorithmIdentifierOwned,
    accepted: &[ObjectIdentifier],
    part: &'static str,
) -> Result<(), EvidenceError> {
    if !accepted.contains(&algorithm.oid) {
        return Err(EvidenceError::Unsupported { part, oid: algorithm.oid });
    }
    match &algorithm.parameters {
        None => Ok(()),
        Some(parameters) if *parameters == Any::null() => Ok(()),
        Some(_) => Err(EvidenceError::Malformed { part }),
    }
}

/// The signed attributes, each kind at most once.
fn signed_attributes(signer: &SignerInfo) -> Result<&SignedAttributes, EvidenceError> {
    let attributes = signer.signed_attrs.as_ref().ok_or(EvidenceError::MissingAttribute { name: "contentType" })?;
    if attributes.len() > ATTRIBUTE_LIMIT {
        return Err(EvidenceError::Malformed { part: "signedAttrs" });
    }
    // DER order does not put equal types side by side, so compare all pairs.
    for (at, attribute) in attributes.iter().enumerate() {
        if attributes.iter().skip(at + 1).any(|later| later.oid == attribute.oid) {
            return Err(EvidenceError::Malformed { part: "signedAttrs" });
        }
    }
    Ok(attributes)
}

fn find(attributes: &SignedAttributes, oid: ObjectIdentifier) -> Option<&[Any]> {
    attributes.iter().find(|attribute| attribute.oid == oid).map(|attribute| attribute.values.as_slice())
}

fn attribute<'a>(
    attributes: &'a SignedAttributes,
    oid: ObjectIdentifier,
    name: &'static str,
) -> Result<AnyRef<'a>, EvidenceError> {
    match find(attributes, oid).ok_or(EvidenceError::MissingAttribute { name })? {
        [value] => Ok(AnyRef::from(value)),
        _ => Err(EvidenceError::Malformed { part: name }),
    }
}

/// RFC 6211: the algorithms, repeated under the signature.
#[derive(Sequence)]
struct AlgorithmProtection {
    digest_algorithm: AlgorithmIdentifierOwned,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT")]
    signature_algorithm: AlgorithmIdentifierOwned,
}

fn algorithm_protection(attributes: &SignedAttributes) -> Result<(), EvidenceError> {
    let name = "cmsAlgorithmProtection";
    if find(attributes, ALGORITHM_PROTECTION).is_none() {
        return Ok(());
    }
    let protection = attribute(attributes, ALGORITHM_PROTECTION, name)?
        .decode_as::<AlgorithmProtection>()
        .map_err(|_| EvidenceError::Malformed { part: name })?;
    expect_algorithm(&protection.digest_algorithm, &[ID_SHA256], name)?;
    expect_algorithm(&protection.signature_algorithm, &[SHA256_WITH_RSA, RSA_ENCRYPTION], name)
}

fn check_signature<'a>(
    signer: &SignerInfo,
    attributes: &SignedAttributes,
    pinned: &'a [PinnedCertificate],
) -> Result<&'a PinnedCertificate, EvidenceError> {
    let SignerIdentifier::IssuerAndSerialNumber(name) = &signer.sid else {
        return Err(EvidenceError::Unexpected { part: "subjectKeyIdentifier" });
    };
    let mut named = pinned
        .iter()
        .filter(|pinned| *pinned.issuer() == name.issuer && *pinned.serial() == name.serial_number)
        .peekable();
    if named.peek().is_none() {
        return Err(EvidenceError::UnknownSigner {
            issuer: name.issuer.to_string().chars().take(200).collect(),
            serial: name.serial_number.to_string(),
        });
    }
    // RFC 5652 section 5.4: what is signed is the DER of the attributes as a SET OF, not with their implicit tag.
    let message = attributes.to_der().map_err(|_| EvidenceError::Malformed { part: "signedAttrs" })?;
    let signed = |pinned: &&PinnedCertificate| {
        pinned.signed(&message, signer.signature.as_bytes()) || mutant::is(Mutant::RelayBelieved)
    };
    named.find(signed).ok_or(EvidenceError::BadSignature)
}
