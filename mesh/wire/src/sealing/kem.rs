//! DHKEM(X25519, HKDF-SHA256) with the curve arithmetic of aws-lc.
//!
//! Guarantees: key for key and byte for byte the mechanism of RFC 9180, section 4.1, as the `hpke` crate implements it
//! (the tests compare both, and the CFRG's vectors open); private scalars are wiped wherever they are copied to. Why a
//! second implementation: a lessee opens one grant a release, and aws-lc's ladder takes a third of the time of
//! `x25519-dalek`'s. The key derivation, the key schedule and the encryption stay `hpke`'s.
//!
//! Leaves to others: which public keys may be sealed to ([`super::SealingPublic`]).

use aws_lc_rs::agreement::{self, UnparsedPublicKey, X25519};
use hpke::kdf::{HkdfSha256, Kdf as _};
use hpke::kem::{SharedSecret, X25519HkdfSha256 as Reference};
use hpke::{Deserializable, HpkeError, Kem, Serializable};
use rand_core::CryptoRng;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

type Public = <Reference as Kem>::PublicKey;
type Encapsulated = <Reference as Kem>::EncappedKey;

/// "KEM" and the mechanism's number (RFC 9180, section 4.1).
const SUITE: [u8; 5] = [b'K', b'E', b'M', 0x00, 0x20];

/// The mechanism.
pub(super) struct Dhkem;

/// A private scalar with its public half, which receiving needs too.
#[derive(Clone)]
pub(super) struct Private {
    scalar: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl Private {
    /// A scalar whose public half is known.
    pub(super) fn with_public(scalar: &[u8; 32], public: [u8; 32]) -> Self {
        Self { scalar: Zeroizing::new(*scalar), public }
    }
}

impl ConstantTimeEq for Private {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.public.ct_eq(&other.public)
    }
}

impl Serializable for Private {
    type OutputSize = <<Reference as Kem>::PrivateKey as Serializable>::OutputSize;

    fn write_exact(&self, to: &mut [u8]) {
        to.copy_from_slice(&*self.scalar);
        to[0] &= 0xf8;
        to[31] = (to[31] & 0x7f) | 0x40;
    }
}

impl Deserializable for Private {
    fn from_bytes(bytes: &[u8]) -> Result<Self, HpkeError> {
        let scalar: Zeroizing<[u8; 32]> =
            Zeroizing::new(bytes.try_into().map_err(|_| HpkeError::IncorrectInputLength(32, bytes.len()))?);
        Ok(Self { public: public_half(&scalar), scalar })
    }
}

/// The public half of `scalar`, clamped as RFC 7748 says.
pub(super) fn public_half(scalar: &[u8; 32]) -> [u8; 32] {
    let key = agreement::PrivateKey::from_private_key(&X25519, scalar).expect("32 bytes");
    let public = key.compute_public_key().expect("the public half of a scalar");
    public.as_ref().try_into().expect("32 bytes")
}

/// The shared secret of RFC 9180's ExtractAndExpand over X25519(`scalar`, `peer`), bound to both public keys.
///
/// Nothing if the peer's point is of small order: its product is zero whatever the scalar.
fn shared_secret(
    scalar: &[u8; 32],
    peer: &[u8; 32],
    encapsulated: &[u8; 32],
    recipient: &[u8; 32],
) -> Option<SharedSecret<Dhkem>> {
    let key = agreement::PrivateKey::from_private_key(&X25519, scalar).ok()?;
    let context = [&encapsulated[..], recipient].concat();
    agreement::agree(&key, UnparsedPublicKey::new(&X25519, peer), (), |product| {
        // aws-lc refuses a product of zero itself; said again here because everything rests on it.
        if bool::from(product.ct_eq(&[0; 32])) {
            return Err(());
        }
        let mut shared = SharedSecret::<Dhkem>::default();
        HkdfSha256::extract_and_expand(product, &SUITE, &context, &mut shared.0).map_err(|_| ())?;
        Ok(shared)
    })
    .ok()
}

impl Kem for Dhkem {
    type PublicKey = Public;
    type PrivateKey = Private;
    type EncappedKey = Encapsulated;
    type NSecret = <Reference as Kem>::NSecret;
    const KEM_ID: u16 = Reference::KEM_ID;

    fn sk_to_pk(private: &Private) -> Public {
        Public::from_bytes(&private.public).expect("32 bytes")
    }

    fn derive_keypair(ikm: &[u8]) -> (Private, Public) {
        let (private, _) = Reference::derive_keypair(ikm);
        let bytes = Zeroizing::new(<[u8; 32]>::from(private.to_bytes()));
        let private = Private::from_bytes(&*bytes).expect("32 bytes");
        let public = Self::sk_to_pk(&private);
        (private, public)
    }

    fn decap(
        recipient: &Private,
        sender: Option<&Public>,
        encapsulated: &Encapsulated,
    ) -> Result<SharedSecret<Self>, HpkeError> {
        let encapsulated = encapsulated.to_bytes().into();
        match sender {
            None => shared_secret(&recipient.scalar, &encapsulated, &encapsulated, &recipient.public)
                .ok_or(HpkeError::DecapError),
            // Base mode alone is keymesh's: who sealed is told by signatures.
            Some(_) => Err(HpkeError::DecapError),
        }
    }

    fn encap_with_rng(
        recipient: &Public,
        sender: Option<(&Private, &Public)>,
        rng: &mut impl CryptoRng,
    ) -> Result<(SharedSecret<Self>, Encapsulated), HpkeError> {
        if sender.is_some() {
            return Err(HpkeError::EncapError);
        }
        let (ephemeral, _) = Self::gen_keypair_with_rng(rng);
        let recipient = recipient.to_bytes().into();
        let shared =
            shared_secret(&ephemeral.scalar, &recipient, &ephemeral.public, &recipient).ok_or(HpkeError::EncapError)?;
        Ok((shared, Encapsulated::from_bytes(&ephemeral.public)?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    proptest! {
        /// Either implementation opens what the other sealed, and both seal the same bytes from the same randomness.
        #[test]
        fn the_mechanism_is_that_of_the_hpke_crate(ikm: [u8; 32], seed: u64) {
            let (ours, our_public) = Dhkem::derive_keypair(&ikm);
            let (theirs, their_public) = Reference::derive_keypair(&ikm);
            prop_assert_eq!(our_public.to_bytes(), their_public.to_bytes());
            prop_assert_eq!(ours.to_bytes(), theirs.to_bytes());
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            let (our_secret, our_key) = Dhkem::encap_with_rng(&our_public, None, &mut rng).expect("a good key");
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            let (their_secret, their_key) = Reference::encap_with_rng(&our_public, None, &mut rng).expect("a good key");
            prop_assert_eq!(our_secret.0, their_secret.0);
            prop_assert_eq!(our_key.to_bytes(), their_key.to_bytes());
            let opened = Dhkem::decap(&ours, None, &their_key).expect("a good key");
            prop_assert_eq!(opened.0, their_secret.0);
        }

        /// Unclamped scalars and points on the twist or in a second encoding give what the `hpke` crate gives.
        #[test]
        fn odd_scalars_and_points_give_the_same_secret(scalar: [u8; 32], point: [u8; 32]) {
            let ours = Private::from_bytes(&scalar).expect("32 bytes");
            let theirs = <Reference as Kem>::PrivateKey::from_bytes(&scalar).expect("32 bytes");
            let point = Encapsulated::from_bytes(&point).expect("32 bytes");
            let (our, their) = (Dhkem::decap(&ours, None, &point), Reference::decap(&theirs, None, &point));
            prop_assert_eq!(our.ok().map(|s| s.0), their.ok().map(|s| s.0));
        }
    }

    #[test]
    fn points_of_small_order_give_no_secret() {
        let (ours, _) = Dhkem::derive_keypair(&[7; 32]);
        for point in super::super::SMALL_ORDER {
            assert!(Dhkem::decap(&ours, None, &Encapsulated::from_bytes(&point).expect("32 bytes")).is_err());
        }
    }

    #[test]
    fn authenticated_modes_are_refused_rather_than_done_half() {
        let (ours, public) = Dhkem::derive_keypair(&[7; 32]);
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        assert!(Dhkem::encap_with_rng(&public, Some((&ours, &public)), &mut rng).is_err());
        let (_, key) = Dhkem::encap_with_rng(&public, None, &mut rng).expect("a good key");
        assert!(Dhkem::decap(&ours, Some(&public), &key).is_err());
    }
}
