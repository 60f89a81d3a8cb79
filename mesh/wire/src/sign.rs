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
    #[cfg(feature = "remember")]
    return remembered::or_verify(signer, message, &signature, || holds(signer, message, &signature));
    #[cfg(not(feature = "remember"))]
    holds(signer, message, &signature)
}

fn holds(signer: &PrincipalId, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
    let Ok(key) = VerifyingKey::from_bytes(signer.as_bytes()) else { return false };
    key.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
}

#[cfg(feature = "remember")]
pub mod remembered {
    //! Signatures that held once hold again without being verified, within a scope that asks for that.
    //!
    //! A simulation is many nodes in one process, each of which verifies what every other has verified; this spares it the
    //! arithmetic and changes no answer. Outside of such a scope nothing is remembered.

    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use sha2::{Digest, Sha256};

    use super::{PrincipalId, SIGNATURE_BYTES};

    thread_local! {
        static KNOWN: RefCell<Option<BTreeSet<[u8; 32]>>> = const { RefCell::new(None) };
    }

    /// Forgets everything when it goes.
    #[derive(Debug)]
    pub struct Scope(());

    impl Drop for Scope {
        fn drop(&mut self) {
            KNOWN.set(None);
        }
    }

    /// From now on until the scope goes this thread remembers signatures that held.
    #[must_use]
    pub fn scope() -> Scope {
        KNOWN.set(Some(BTreeSet::new()));
        Scope(())
    }

    pub(super) fn or_verify(
        signer: &PrincipalId,
        message: &[u8],
        signature: &[u8; SIGNATURE_BYTES],
        verify: impl FnOnce() -> bool,
    ) -> bool {
        if KNOWN.with_borrow(Option::is_none) {
            return verify();
        }
        let mut hash = Sha256::new();
        hash.update(signer.as_bytes());
        hash.update(signature);
        hash.update(message);
        let name: [u8; 32] = hash.finalize().into();
        if KNOWN.with_borrow(|known| known.as_ref().is_some_and(|known| known.contains(&name))) {
            return true;
        }
        let holds = verify();
        if holds {
            KNOWN.with_borrow_mut(|known| known.as_mut().map(|known| known.insert(name)));
        }
        holds
    }

    #[cfg(test)]
    mod tests {
        use super::super::{Identity, verify};
        use super::*;
        use crate::secret::Secret32;

        #[test]
        fn what_held_holds_again_and_nothing_else_does() {
            let identity = Identity::from_seed(Secret32::from_array(&mut [7; 32]));
            let other = Identity::from_seed(Secret32::from_array(&mut [8; 32]));
            let signature = identity.sign(b"message");
            let scope = scope();
            for _ in 0..2 {
                assert!(verify(&identity.principal(), b"message", &signature));
                assert!(!verify(&identity.principal(), b"massage", &signature));
                assert!(!verify(&other.principal(), b"message", &signature));
                let mut altered = signature;
                altered[0] ^= 1;
                assert!(!verify(&identity.principal(), b"message", &altered));
            }
            drop(scope);
            assert!(KNOWN.with_borrow(Option::is_none));
        }
    }
}
