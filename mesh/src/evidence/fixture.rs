//! A signer for tests: writes certificates and signed messages octet by octet, so that every part can be made wrong and
//! nothing is shared with the code under test.

use std::sync::OnceLock;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use data_encoding::BASE64;

use super::PinnedCertificate;

pub(super) const DATA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
const SIGNED_DATA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
const CONTENT_TYPE: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 3];
const MESSAGE_DIGEST: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 4];
const SIGNING_TIME: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 5];
const PROTECTION: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 52];
const RSA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const SHA256_RSA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
pub(super) const ID_SHA256: &[u8] = &[0x06, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
pub(super) const ID_SHA1: &[u8] = &[0x06, 5, 0x2b, 0x0e, 3, 2, 0x1a];

/// One DER element.
pub(super) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let value = parts.concat();
    let mut out = vec![tag];
    match value.len() {
        short @ ..0x80 => out.push(short as u8),
        middle @ ..0x100 => out.extend([0x81, middle as u8]),
        long => out.extend([0x82, (long >> 8) as u8, long as u8]),
    }
    out.extend(value);
    out
}

/// One BER element of indefinite length.
pub(super) fn streamed(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    [&[tag, 0x80], &parts.concat()[..], &[0, 0]].concat()
}

pub(super) fn algorithm(oid: &[u8]) -> Vec<u8> {
    tlv(0x30, &[oid, &[5, 0]])
}

/// An RSA key and the certificate that names it.
pub(super) struct Signer {
    key: KeyPair,
    name: Vec<u8>,
    serial: Vec<u8>,
    certificate: Vec<u8>,
}

impl Signer {
    pub(super) fn new(size: KeySize, serial: u8) -> Self {
        let key = KeyPair::generate(size).expect("a key");
        let attribute =
            |last: u8, text: &str| tlv(0x31, &[&tlv(0x30, &[&[6, 3, 0x55, 4, last], &tlv(0x13, &[text.as_bytes()])])]);
        let name = tlv(0x30, &[&attribute(6, "US"), &attribute(10, "Keymesh test metadata")]);
        let serial = tlv(0x02, &[&[0x5e, 0x11, serial]]);
        let certificate = certificate(&name, &serial, key.public_key().as_ref());
        Self { key, name, serial, certificate }
    }

    pub(super) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    pub(super) fn pinned(&self) -> PinnedCertificate {
        PinnedCertificate::from_der(&self.certificate).expect("a good certificate")
    }
}

/// A certificate whose own signature means nothing: pinning does not look at it.
fn certificate(name: &[u8], serial: &[u8], key: &[u8]) -> Vec<u8> {
    let public = tlv(0x30, &[&algorithm(RSA), &tlv(0x03, &[&[0], key])]);
    let validity = tlv(0x30, &[&tlv(0x17, &[b"260101000000Z"]), &tlv(0x18, &[b"21950101000000Z"])]);
    let version = [0xa0, 3, 2, 1, 2];
    let tbs = tlv(0x30, &[&version, serial, &algorithm(SHA256_RSA), name, &validity, name, &public]);
    tlv(0x30, &[&tbs, &algorithm(SHA256_RSA), &tlv(0x03, &[&[0; 257]])])
}

/// A certificate over an RSA key with this modulus and exponent, both big-endian without padding.
pub(super) fn certificate_of(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let key = tlv(0x30, &[&tlv(0x02, &[&[0], modulus]), &tlv(0x02, &[exponent])]);
    certificate(&tlv(0x30, &[]), &tlv(0x02, &[&[7]]), &key)
}

fn sign(key: &KeyPair, message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).expect("a signature");
    signature
}

/// The usual signer and a second one, made once: key generation is the slow part of these tests.
pub(super) fn signers() -> &'static (Signer, Signer) {
    static SIGNERS: OnceLock<(Signer, Signer)> = OnceLock::new();
    SIGNERS.get_or_init(|| (Signer::new(KeySize::Rsa2048, 1), Signer::new(KeySize::Rsa2048, 2)))
}

/// A certificate that can be pinned.
pub(crate) fn pinnable() -> Vec<u8> {
    signers().0.certificate().to_vec()
}

/// A message about to be signed. The defaults are what AWS serves; a test changes what it is about.
pub(super) struct Message<'a> {
    pub(super) signer: &'a Signer,
    pub(super) content: Vec<u8>,
    /// Signed as the content's digest.
    pub(super) digest: Vec<u8>,
    /// Signed as the content's type.
    pub(super) content_type: &'a [u8],
    pub(super) digest_algorithm: &'a [u8],
    pub(super) signature_algorithm: &'a [u8],
    pub(super) with_content: bool,
    pub(super) with_attributes: bool,
    pub(super) plain_der: bool,
    /// Further attributes, signed.
    pub(super) attributes: Vec<Vec<u8>>,
    /// Elements after the content: certificates or revocation lists.
    pub(super) after_content: Vec<u8>,
    /// Elements after the signature, inside the signer.
    pub(super) unsigned: Vec<u8>,
    pub(super) signers: usize,
}

impl<'a> Message<'a> {
    pub(super) fn new(signer: &'a Signer, content: &str) -> Self {
        Self {
            signer,
            content: content.into(),
            digest: digest(&SHA256, content.as_bytes()).as_ref().into(),
            content_type: DATA,
            digest_algorithm: ID_SHA256,
            signature_algorithm: SHA256_RSA,
            with_content: true,
            with_attributes: true,
            plain_der: false,
            attributes: Vec::new(),
            after_content: Vec::new(),
            unsigned: Vec::new(),
            signers: 1,
        }
    }

    pub(super) fn rsa_encryption(mut self) -> Self {
        self.signature_algorithm = RSA;
        self
    }

    pub(super) fn attribute(oid: &[u8], value: &[u8]) -> Vec<u8> {
        tlv(0x30, &[oid, &tlv(0x31, &[value])])
    }

    pub(super) fn protection(digest_algorithm: &[u8]) -> Vec<u8> {
        let implicit = tlv(0xa1, &[SHA256_RSA, &[5, 0]]);
        Self::attribute(PROTECTION, &tlv(0x30, &[&algorithm(digest_algorithm), &implicit]))
    }

    /// The message in binary.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut attributes = vec![
            Self::attribute(CONTENT_TYPE, self.content_type),
            Self::attribute(SIGNING_TIME, &tlv(0x17, &[b"260301120002Z"])),
            Self::attribute(MESSAGE_DIGEST, &tlv(0x04, &[&self.digest])),
        ];
        attributes.extend(self.attributes.iter().cloned());
        attributes.sort();
        let attributes = attributes.concat();
        let signed = if self.with_attributes { tlv(0x31, &[&attributes]) } else { self.content.clone() };
        let signature = sign(&self.signer.key, &signed);
        let attributes = if self.with_attributes { tlv(0xa0, &[&attributes]) } else { Vec::new() };

        let signer = tlv(
            0x30,
            &[
                &[2, 1, 1],
                &tlv(0x30, &[&self.signer.name, &self.signer.serial]),
                &algorithm(self.digest_algorithm),
                &attributes,
                &algorithm(self.signature_algorithm),
                &tlv(0x04, &[&signature]),
                &self.unsigned,
            ],
        );
        let signers = tlv(0x31, &[&signer.repeat(self.signers)]);
        let framed = if self.plain_der { tlv } else { streamed };
        let content = match (self.with_content, self.plain_der) {
            (false, _) => Vec::new(),
            (true, true) => framed(0xa0, &[&tlv(0x04, &[&self.content])]),
            // In small pieces, so that joining them is tested by every case.
            (true, false) => {
                let pieces: Vec<u8> = self.content.chunks(200).flat_map(|piece| tlv(0x04, &[piece])).collect();
                framed(0xa0, &[&framed(0x24, &[&pieces])])
            }
        };
        let digests = tlv(0x31, &[&algorithm(self.digest_algorithm)]);
        let inner =
            framed(0x30, &[&[2, 1, 1], &digests, &framed(0x30, &[DATA, &content]), &self.after_content, &signers]);
        framed(0x30, &[SIGNED_DATA, &framed(0xa0, &[&inner])])
    }

    /// The message as the metadata service gives it: base64 in lines of 76.
    pub(super) fn text(&self) -> Vec<u8> {
        wrap(&self.bytes())
    }
}

/// Base64 in lines of 76, without a final line break.
pub(super) fn wrap(bytes: &[u8]) -> Vec<u8> {
    let text = BASE64.encode(bytes);
    text.as_bytes().chunks(76).collect::<Vec<_>>().join(&b'\n')
}

/// A document of the form AWS gives.
pub(super) const DOCUMENT: &str = r#"{
  "accountId" : "111122223333",
  "architecture" : "arm64",
  "availabilityZone" : "eu-west-1a",
  "billingProducts" : null,
  "devpayProductCodes" : null,
  "marketplaceProductCodes" : null,
  "imageId" : "ami-0a1b2c3d4e5f60718",
  "instanceId" : "i-0123456789abcdef0",
  "instanceType" : "m7g.large",
  "kernelId" : null,
  "pendingTime" : "2026-03-01T12:00:00Z",
  "privateIp" : "10.0.0.7",
  "ramdiskId" : null,
  "region" : "eu-west-1",
  "version" : "2017-09-30"
}"#;
