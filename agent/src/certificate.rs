//! The one thing a node's certificate is read for: its Ed25519 key, which is the node's id.
//!
//! Guarantees: a strict walk over DER (X.690: definite, minimal lengths; nothing after the certificate) to the
//! SubjectPublicKeyInfo of RFC 5280, which must be an Ed25519 key in the one form of RFC 8410. Names, dates, extensions
//! and the self-signature mean nothing here: whether the key belongs to a node is in signed statements, and that the
//! other end has it is shown by the handshake.

use keymesh_wire::ids::NodeId;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const VERSION: u8 = 0xa0;

/// Version 3, which is written as 2.
const V3: [u8; 3] = [0x02, 0x01, 0x02];

/// SubjectPublicKeyInfo of Ed25519 up to the key: the sequence, its algorithm without parameters, the bit string's head.
const ED25519: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Why a certificate is not a node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not a version 3 certificate in DER.
    #[error("not an X.509 certificate in DER, at its {0}")]
    Form(&'static str),
    /// A key of another kind.
    #[error("not the certificate of a keymesh node: its key is not Ed25519")]
    Key,
}

/// The node whose key is in the certificate `der`.
///
/// # Errors
/// [`CertificateError`] for anything but a well-formed certificate with an Ed25519 key.
pub fn node_of(der: &[u8]) -> Result<NodeId, CertificateError> {
    let mut outer = Reader(der);
    let mut certificate = Reader(outer.take(SEQUENCE, "outermost sequence")?);
    outer.end("end")?;
    let mut body = Reader(certificate.take(SEQUENCE, "body")?);
    certificate.take(SEQUENCE, "signature algorithm")?;
    certificate.take(BIT_STRING, "signature")?;
    certificate.end("signature's end")?;
    if body.take(VERSION, "version")? != V3 {
        return Err(CertificateError::Form("version"));
    }
    body.take(INTEGER, "serial number")?;
    body.take(SEQUENCE, "signature algorithm in the body")?;
    body.take(SEQUENCE, "issuer")?;
    body.take(SEQUENCE, "validity")?;
    body.take(SEQUENCE, "subject")?;
    let from = body.0;
    let key = body.take(SEQUENCE, "public key")?;
    let whole = &from[..from.len() - body.0.len()];
    let key = whole.strip_prefix(&ED25519).filter(|_| key.len() == 42).ok_or(CertificateError::Key)?;
    key.try_into().map(NodeId::from_bytes).map_err(|_| CertificateError::Key)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The content of the next element, which must have this tag.
    fn take(&mut self, tag: u8, part: &'static str) -> Result<&'a [u8], CertificateError> {
        let form = CertificateError::Form(part);
        let (&found, rest) = self.0.split_first().ok_or(form)?;
        let (&first, mut rest) = rest.split_first().ok_or(form)?;
        if found != tag {
            return Err(form);
        }
        let len = match first {
            0..=0x7f => usize::from(first),
            0x81 | 0x82 => {
                let (digits, after) = rest.split_at_checked(usize::from(first - 0x80)).ok_or(form)?;
                rest = after;
                let len = digits.iter().fold(0, |len, digit| len << 8 | usize::from(*digit));
                let shortest = if first == 0x81 { 0x80 } else { 0x100 };
                if len < shortest {
                    return Err(form);
                }
                len
            }
            // Indefinite, reserved, or 64 KiB and more.
            _ => return Err(form),
        };
        let (content, rest) = rest.split_at_checked(len).ok_or(form)?;
        self.0 = rest;
        Ok(content)
    }

    fn end(&self, part: &'static str) -> Result<(), CertificateError> {
        if self.0.is_empty() { Ok(()) } else { Err(CertificateError::Form(part)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{certificate, identity};

    #[test]
    fn the_key_of_a_nodes_certificate_is_its_id() {
        let node = identity(3);
        assert_eq!(node_of(certificate(&node).cert.der()), Ok(node.principal()));
    }

    #[test]
    fn a_certificate_cut_or_prolonged_anywhere_is_refused() {
        let made = certificate(&identity(3));
        let der = made.cert.der();
        for len in 0..der.len() {
            assert!(node_of(&der[..len]).is_err(), "{len} bytes");
        }
        assert_eq!(node_of(&[der, &[0][..]].concat()), Err(CertificateError::Form("end")));
    }

    #[test]
    fn no_altered_byte_makes_the_reader_panic_or_run_away() {
        let made = certificate(&identity(3));
        for place in 0..made.cert.der().len() {
            for value in 0..=255 {
                let mut der = made.cert.der().to_vec();
                der[place] = value;
                let _ = node_of(&der);
            }
        }
    }

    #[test]
    fn a_certificate_with_another_kind_of_key_is_refused() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        let cert = rcgen::CertificateParams::default().self_signed(&key).expect("a certificate");
        assert_eq!(node_of(cert.der()), Err(CertificateError::Key));
    }

    #[test]
    fn a_length_longer_than_needed_is_refused() {
        let long = [0x30, 0x81, 0x01, 0x00];
        assert_eq!(node_of(&long), Err(CertificateError::Form("outermost sequence")));
        let indefinite = [0x30, 0x80, 0x00, 0x00];
        assert_eq!(node_of(&indefinite), Err(CertificateError::Form("outermost sequence")));
    }
}
