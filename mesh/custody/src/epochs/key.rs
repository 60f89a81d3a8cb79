//! The one-time key to which a new member receives its sub-shares.
//!
//! Guarantees: a key comes with a proof that its maker knows the secret half, bound to the caller's context and to the
//! member's index. So nobody can present another's key, or one made of others' keys, as its own, and a key of one change
//! is not accepted in another.
//!
//! Left to others: keeping the secret sealed while the change runs and erasing it afterwards, for good: it opens the
//! deals, and they may lie on every disk of the mesh.

use std::fmt;

use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use sha2::Sha512;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::codec::{self, DecodeError, Kind};
use crate::hash::Framed;
use crate::proof::Proof;
use crate::rng;
use crate::secret::SecretScalar;
use crate::suite::{self, Element, MAX_POINT_LEN, MAX_SCALAR_LEN, Scalar, Suite};
use crate::threshold::MemberIndex;

/// The public half Eⱼ of a new member's key for one change, with its proof.
#[derive(Clone, PartialEq, Eq)]
pub struct EpochKey<C: Suite> {
    member: MemberIndex,
    point: Element<C>,
    point_bytes: Vec<u8>,
    proof: Proof<C>,
}

#[derive(Encode, Decode)]
struct RawEpochKey {
    #[n(0)]
    suite: u16,
    #[n(1)]
    kind: u8,
    #[n(2)]
    member: u8,
    #[cbor(n(3), with = "minicbor::bytes")]
    point: Vec<u8>,
    #[cbor(n(4), with = "minicbor::bytes")]
    challenge: Vec<u8>,
    #[cbor(n(5), with = "minicbor::bytes")]
    response: Vec<u8>,
}

impl<C: Suite> EpochKey<C> {
    /// Longest encoding, in bytes.
    pub const MAX_BYTES: usize = 32 + MAX_POINT_LEN + 2 * MAX_SCALAR_LEN;

    /// The place in the new committee that it is for.
    pub fn member(&self) -> MemberIndex {
        self.member
    }

    /// Whether the proof holds, in the context that the key must have been made for.
    pub fn verify(&self, context: &[u8]) -> bool {
        self.proof.holds(self.point, &[], |nonces| self.challenge(context, nonces))
    }

    /// Canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(&RawEpochKey {
            suite: C::SUITE_ID,
            kind: Kind::EpochKey as u8,
            member: self.member.get(),
            point: self.point_bytes.clone(),
            challenge: suite::scalar_bytes::<C>(&self.proof.challenge),
            response: suite::scalar_bytes::<C>(&self.proof.response),
        })
    }

    /// Parses; the proof is not checked yet.
    ///
    /// # Errors
    /// For anything but canonical bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let raw: RawEpochKey = codec::decode(bytes, Self::MAX_BYTES)?;
        codec::check_suite::<C>(raw.suite)?;
        codec::check_kind(raw.kind, Kind::EpochKey)?;
        Ok(EpochKey {
            member: codec::index("member", raw.member)?,
            point: codec::point::<C>("epoch key", &raw.point)?,
            point_bytes: raw.point,
            proof: codec::proof::<C>(&raw.challenge, &raw.response)?,
        })
    }

    pub(crate) fn challenge(&self, context: &[u8], nonces: &[Vec<u8>]) -> Scalar<C> {
        let hash = Framed::<Sha512>::new::<C>("epoch key proof")
            .part(context)
            .part(&[self.member.get()])
            .part(&self.point_bytes);
        nonces.iter().fold(hash, |hash, nonce| hash.part(nonce)).scalar::<C>()
    }

    pub(super) fn point(&self) -> Element<C> {
        self.point
    }

    pub(super) fn point_bytes(&self) -> &[u8] {
        &self.point_bytes
    }
}

impl<C: Suite> fmt::Debug for EpochKey<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EpochKey(member {})", self.member)
    }
}

/// The secret half eⱼ, with the public one.
pub struct EpochSecret<C: Suite> {
    secret: SecretScalar<C>,
    key: EpochKey<C>,
}

#[derive(Encode, Decode, Zeroize, ZeroizeOnDrop)]
struct RawEpochSecret {
    #[n(0)]
    suite: u16,
    #[n(1)]
    kind: u8,
    #[n(2)]
    member: u8,
    #[cbor(n(3), with = "minicbor::bytes")]
    secret: Vec<u8>,
    #[cbor(n(4), with = "minicbor::bytes")]
    challenge: Vec<u8>,
    #[cbor(n(5), with = "minicbor::bytes")]
    response: Vec<u8>,
}

impl<C: Suite> EpochSecret<C> {
    /// Longest exposed encoding, in bytes.
    pub const MAX_BYTES: usize = 32 + 3 * MAX_SCALAR_LEN;

    /// Makes a key for the place `member` in the new committee. `context` (mesh, root, epoch, attempt) is the one that
    /// the [`Change`](super::Change) will be made with.
    pub fn generate(context: &[u8], member: MemberIndex, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        loop {
            // A zero scalar is the only failure, and nobody has ever seen one.
            if let Some(made) = Self::attempt(context, member, rng) {
                return made;
            }
        }
    }

    fn attempt(context: &[u8], member: MemberIndex, rng: &mut (impl CryptoRng + ?Sized)) -> Option<Self> {
        let seed = rng::seed(rng);
        let hedge = |purpose| {
            SecretScalar::<C>::new(
                Framed::<Sha512>::new::<C>(purpose).part(&*seed).part(context).part(&[member.get()]).scalar::<C>(),
            )
        };
        let (secret, nonce) = (hedge("epoch secret"), hedge("epoch key nonce"));
        let point = C::generator_times(secret.expose());
        let point_bytes = suite::point_bytes::<C>(&point)?;
        let proof = Proof { challenge: suite::zero::<C>(), response: suite::zero::<C>() };
        let mut key = EpochKey { member, point, point_bytes, proof };
        key.proof = Proof::new(&[], &secret, &nonce, |nonces| key.challenge(context, nonces))?;
        Some(EpochSecret { secret, key })
    }

    /// The public half, to be signed and sent to everybody.
    pub fn public(&self) -> &EpochKey<C> {
        &self.key
    }

    /// The secret bytes, for a caller that seals them at once.
    pub fn expose(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(codec::encode(&RawEpochSecret {
            suite: C::SUITE_ID,
            kind: Kind::EpochSecret as u8,
            member: self.key.member.get(),
            secret: self.secret.expose_bytes().to_vec(),
            challenge: suite::scalar_bytes::<C>(&self.key.proof.challenge),
            response: suite::scalar_bytes::<C>(&self.key.proof.response),
        }))
    }

    /// Parses bytes that the caller has just unsealed.
    ///
    /// # Errors
    /// For anything but canonical bytes.
    pub fn from_exposed(bytes: &[u8]) -> Result<Self, DecodeError> {
        let raw: RawEpochSecret = codec::decode(bytes, Self::MAX_BYTES)?;
        codec::check_suite::<C>(raw.suite)?;
        codec::check_kind(raw.kind, Kind::EpochSecret)?;
        let member = codec::index("member", raw.member)?;
        let secret = SecretScalar::parse(&raw.secret).ok_or(DecodeError::Scalar { field: "epoch secret" })?;
        let proof = codec::proof::<C>(&raw.challenge, &raw.response)?;
        let point = C::generator_times(secret.expose());
        let point_bytes = suite::point_bytes::<C>(&point).ok_or(DecodeError::Scalar { field: "epoch secret" })?;
        Ok(EpochSecret { secret, key: EpochKey { member, point, point_bytes, proof } })
    }

    pub(super) fn secret(&self) -> &SecretScalar<C> {
        &self.secret
    }
}

impl<C: Suite> fmt::Debug for EpochSecret<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EpochSecret")
    }
}
