//! The types secret bytes live in (I10).
//!
//! Guarantees: the bytes are wiped on drop; `Debug` prints the type's name and nothing else; there is no way to clone,
//! compare with `==`, order or serialise a secret by accident; every read is an `expose_secret` at the call site;
//! comparison takes constant time. A [`Secret`] also stays at one place in locked, undumpable memory ([`arena`]), and
//! moving it moves a pointer, so no copies are left on stacks.
//!
//! Leaves to others: what a caller copies out of `expose_secret`, and the copies cryptographic crates make inside while
//! they compute (they wipe their own).

use std::convert::Infallible;
use std::fmt;

use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

#[allow(unsafe_code)] // Locked pages exist only through system calls; every block says why it is sound.
pub mod arena;

/// `N` secret bytes in locked memory, at most 64 of them.
pub struct Secret<const N: usize> {
    slot: arena::Slot,
}

/// 32 secret bytes: a private key, a data key, a seed.
pub type Secret32 = Secret<32>;

/// 64 secret bytes: the longest data key, as two AES-256 keys of XTS.
pub type Secret64 = Secret<64>;

impl<const N: usize> Secret<N> {
    /// Length in bytes.
    pub const LEN: usize = {
        assert!(N <= arena::SLOT, "a secret fits into a slot");
        N
    };

    /// Moves `bytes` into locked memory and wipes the place they came from.
    pub fn from_array(bytes: &mut [u8; N]) -> Self {
        let secret = Self::build(|out| out.copy_from_slice(&*bytes));
        bytes.zeroize();
        secret
    }

    /// A secret of the `N` bytes in `bytes`, which the caller goes on holding; `None` for any other length.
    pub fn from_secret_bytes(bytes: &SecretBytes) -> Option<Self> {
        let bytes: &[u8; N] = bytes.expose_secret().try_into().ok()?;
        Some(Self::build(|out| out.copy_from_slice(bytes)))
    }

    /// `N` bytes from `rng`, drawn straight into locked memory.
    pub fn random(rng: &mut impl CryptoRng) -> Self {
        Self::build(|out| rng.fill_bytes(out))
    }

    /// A secret written in place by `fill`, which is given zero bytes: for key derivation without a copy outside.
    pub fn build(fill: impl FnOnce(&mut [u8; N])) -> Self {
        let filled: Result<Self, Infallible> = Self::try_build(|out| {
            fill(out);
            Ok(())
        });
        match filled {
            Ok(secret) => secret,
            Err(never) => match never {},
        }
    }

    /// As [`Secret32::build`], for a `fill` that can fail; what it wrote until then is wiped.
    ///
    /// # Errors
    /// The error of `fill`.
    pub fn try_build<E>(fill: impl FnOnce(&mut [u8; N]) -> Result<(), E>) -> Result<Self, E> {
        let mut slot = arena::Arena::process();
        let (bytes, _) = slot.bytes_mut()[..].split_at_mut(Self::LEN);
        let bytes = bytes.try_into().expect("the length it was split at");
        fill(bytes)?;
        Ok(Self { slot })
    }

    /// The secret bytes. The caller answers for every copy.
    pub fn expose_secret(&self) -> &[u8; N] {
        let (bytes, _) = self.slot.bytes().split_at(Self::LEN);
        bytes.try_into().expect("the length it was split at")
    }

    /// Whether both hold the same bytes, in constant time.
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.expose_secret().ct_eq(other.expose_secret()).into()
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret{N}")
    }
}

// The slot wipes itself.
impl<const N: usize> ZeroizeOnDrop for Secret<N> {}

/// Secret bytes of any length on the heap, wiped on drop: passphrases, opened payloads on their way elsewhere.
///
/// Not locked: what has at most 64 bytes and stays belongs into a [`Secret`].
pub struct SecretBytes {
    // Never grown after construction: growing would leave an unwiped copy behind.
    bytes: Vec<u8>,
}

impl SecretBytes {
    /// Takes over `bytes`; their allocation becomes the secret's and is wiped with it.
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// Takes over a text such as a passphrase.
    pub fn from_string(text: String) -> Self {
        Self::from_vec(text.into_bytes())
    }

    /// Copies `bytes` and wipes the place they came from.
    pub fn from_slice(bytes: &mut [u8]) -> Self {
        let secret = Self { bytes: bytes.to_vec() };
        bytes.zeroize();
        secret
    }

    /// `len` bytes written in place by `fill`, which is given zeroes.
    pub fn build(len: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        let mut secret = Self { bytes: vec![0; len] };
        fill(&mut secret.bytes);
        secret
    }

    /// The secret bytes. The caller answers for every copy.
    pub fn expose_secret(&self) -> &[u8] {
        &self.bytes
    }

    /// The secret as text, if it is UTF-8.
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }

    /// Length in bytes; not secret.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether both hold the same bytes, in a time that depends on the lengths alone.
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.bytes.ct_eq(&other.bytes).into()
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes")
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl ZeroizeOnDrop for SecretBytes {}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn the_place_a_secret_came_from_is_wiped() {
        let mut source = [7; 32];
        let secret = Secret32::from_array(&mut source);
        assert_eq!(secret.expose_secret(), &[7; 32]);
        assert_eq!(source, [0; 32]);

        let mut source = *b"correct horse";
        let secret = SecretBytes::from_slice(&mut source);
        assert_eq!(secret.expose_str(), Some("correct horse"));
        assert_eq!(source, [0; 13]);
    }

    #[test]
    fn printing_a_secret_shows_its_type_only() {
        let secret = Secret32::build(|out| out.fill(0x41));
        assert_eq!(format!("{secret:?} {:?}", SecretBytes::from_string("AAAA".into())), "Secret32 SecretBytes");
    }

    #[test]
    fn equality_is_of_all_bytes() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let secret = Secret32::random(&mut rng);
        let same = Secret32::build(|out| out.copy_from_slice(secret.expose_secret()));
        let other = Secret32::build(|out| {
            out.copy_from_slice(secret.expose_secret());
            out[31] ^= 1;
        });
        assert!(secret.ct_eq(&same));
        assert!(!secret.ct_eq(&other));
        assert!(!SecretBytes::from_vec(vec![1, 2]).ct_eq(&SecretBytes::from_vec(vec![1, 2, 3])));
    }

    #[test]
    fn only_bytes_of_its_length_make_a_secret() {
        assert!(Secret32::from_secret_bytes(&SecretBytes::from_vec(vec![1; 31])).is_none());
        let secret = Secret32::from_secret_bytes(&SecretBytes::from_vec(vec![1; 32])).expect("32 bytes");
        assert_eq!(secret.expose_secret(), &[1; 32]);
        let secret = Secret64::from_secret_bytes(&SecretBytes::from_vec(vec![2; 64])).expect("64 bytes");
        assert_eq!((secret.expose_secret(), format!("{secret:?}").as_str()), (&[2; 64], "Secret64"));
    }

    #[test]
    fn a_failed_build_keeps_nothing() {
        assert_eq!(Secret32::try_build(|_| Err("no")).err(), Some("no"));
    }
}
