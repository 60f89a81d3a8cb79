//! Hashing of structured input.
//!
//! Guarantees: two different sequences of parts never give the same bytes to the hash (every part is preceded by its
//! length), and no two uses share a domain (suite and purpose come first). Proof challenges use SHA-512 and are
//! reduced to scalars; digests that travel or name things use SHA-256.

use sha2::{Digest, Sha256, Sha512};

use crate::suite::{Scalar, Suite};

const DOMAIN: &[u8] = b"keymesh-custody-v1";

/// A hash over framed parts.
pub(crate) struct Framed<D: Digest>(D);

impl<D: Digest> Framed<D> {
    pub(crate) fn new<C: Suite>(purpose: &str) -> Self {
        Framed(D::new()).part(DOMAIN).part(&C::SUITE_ID.to_be_bytes()).part(purpose.as_bytes())
    }

    pub(crate) fn part(self, bytes: &[u8]) -> Self {
        Framed(self.0.chain_update((bytes.len() as u64).to_be_bytes()).chain_update(bytes))
    }

    /// Appends a list, framed by its own length so that it cannot run into what follows.
    pub(crate) fn list<T: AsRef<[u8]>>(self, items: &[T]) -> Self {
        let counted = self.part(&(items.len() as u64).to_be_bytes());
        items.iter().fold(counted, |hash, item| hash.part(item.as_ref()))
    }
}

impl Framed<Sha512> {
    pub(crate) fn wide(self) -> [u8; 64] {
        self.0.finalize().into()
    }

    pub(crate) fn scalar<C: Suite>(self) -> Scalar<C> {
        let mut wide = self.wide();
        let scalar = C::scalar_from_wide(&wide);
        // Nonces are made here too.
        zeroize::Zeroize::zeroize(&mut wide);
        scalar
    }
}

impl Framed<Sha256> {
    pub(crate) fn digest(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}
