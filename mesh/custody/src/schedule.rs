//! Encryption under a secret point, committing to its key (ADR 9).
//!
//! Guarantees: one secret input and one context give one key and one public commitment to it. AES-GCM alone commits to
//! no key, so the commitment lies beside the ciphertext and is compared, in constant time, before anything is decrypted:
//! a ciphertext opens to one plaintext at most.
//!
//! Left to others: an input that is used for one encryption only. The nonce is constant because every key is used once.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use hkdf::Hkdf;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Length that encryption adds, in bytes.
pub(crate) const TAG_LEN: usize = 16;
/// Length of a commitment, in bytes.
pub(crate) const COMMITMENT_LEN: usize = 32;

/// The key that seals a payload, and the public value that commits to it.
pub(crate) struct KeySchedule {
    key: Zeroizing<[u8; 32]>,
    commitment: [u8; COMMITMENT_LEN],
}

impl KeySchedule {
    /// HKDF-SHA-256 of `input`; `salt` names the use, `info` is a digest of everything the key is for.
    pub(crate) fn derive(salt: &[u8], input: &[u8], info: &[u8; 32]) -> Self {
        let mut okm = Zeroizing::new([0; 64]);
        if Hkdf::<Sha256>::new(Some(salt), input).expand(info, &mut *okm).is_err() {
            unreachable!("64 bytes are within HKDF's bound");
        }
        let (mut key, mut commitment) = (Zeroizing::new([0; 32]), [0; COMMITMENT_LEN]);
        key.copy_from_slice(&okm[..32]);
        commitment.copy_from_slice(&okm[32..]);
        KeySchedule { key, commitment }
    }

    pub(crate) fn commitment(&self) -> [u8; COMMITMENT_LEN] {
        self.commitment
    }

    pub(crate) fn is_committed_to_by(&self, commitment: &[u8]) -> bool {
        self.commitment.ct_eq(commitment).into()
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(&(*self.key).into())
    }

    pub(crate) fn encrypt(&self, aad: &[u8], payload: &[u8]) -> Vec<u8> {
        match self.cipher().encrypt(&Nonce::default(), Payload { msg: payload, aad }) {
            Ok(ciphertext) => ciphertext,
            Err(_) => unreachable!("the payload is far below AES-GCM's bound"),
        }
    }

    pub(crate) fn decrypt(&self, aad: &[u8], ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        self.cipher().decrypt(&Nonce::default(), Payload { msg: ciphertext, aad }).ok().map(Zeroizing::new)
    }
}
