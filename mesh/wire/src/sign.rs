//! Identities: Ed25519 keys of admins, launchers, nodes and agents.
//!
//! The public key is the principal's id. Verification is `verify_strict` (RFC 8032 with small-order and non-canonical
//! keys refused), so that every node agrees on which signatures hold.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use hkdf::Hkdf;
use rand_core::CryptoRng;
use sha2::Sha256;

use crate::ids::PrincipalId;
use crate::sealing::SealingSecret;
use crate::secret::Secret32;

/// A signature's length in bytes.
pub const SIGNATURE_BYTES: usize = 64;

/// A principal's private half: one 32-byte seed in locked memory, from which the signing key and the sealing key come.
#[derive(Debug)]
pub struct Identity {
    seed: Secret32,
    principal: PrincipalId,
}

impl Identity {
    /// The identity that `seed` stands for.
    pub fn from_seed(seed: Secret32) -> Self {
        let key = SigningKey::from_bytes(seed.expose_secret());
        let principal = PrincipalId::from_bytes(key.verifying_key().to_bytes());
        Self { seed, principal }
    }

    /// A new identity.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self::from_seed(Secret32::random(rng))
    }

    /// Whoever verifies these signatures.
    pub fn principal(&self) -> PrincipalId {
        self.principal
    }

    /// The seed, for writing a key file or for a transport that wants the Ed25519 secret.
    pub fn expose_seed(&self) -> &[u8; 32] {
        self.seed.expose_secret()
    }

    /// Signs `message` (RFC 8032 Ed25519, deterministic).
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        SigningKey::from_bytes(self.seed.expose_secret()).sign(message).to_bytes()
    }

    /// The X25519 key to which others seal messages for this principal.
    pub fn sealing(&self) -> SealingSecret {
        SealingSecret::from_secret(self.derive(b"keymesh identity sealing v1"))
    }

    /// A further secret of this principal, separated by `label` (HKDF-SHA256).
    pub fn derive(&self, label: &[u8]) -> Secret32 {
        Secret32::build(|bytes| {
            let expanded = Hkdf::<Sha256>::new(None, self.seed.expose_secret()).expand(label, bytes);
            assert!(expanded.is_ok(), "32 bytes are within HKDF's reach");
        })
    }
}

/// Whether `signature` over `message` is `signer`'s.
pub fn verify(signer: &PrincipalId, message: &[u8], signature: &[u8]) -> bool {
    let Ok(signature) = <[u8; SIGNATURE_BYTES]>::try_from(signature) else { return false };
    let Ok(key) = VerifyingKey::from_bytes(signer.as_bytes()) else { return false };
    key.verify_strict(message, &Signature::from_bytes(&signature)).is_ok()
}
