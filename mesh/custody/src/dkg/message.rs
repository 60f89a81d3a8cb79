//! What members of a DKG say to one another.
//!
//! Guarantees: every message names its session (suite, context, committee and threshold), has one encoding, and the
//! only secret one, [`SubShare`], is a type of its own that prints nothing and leaves through
//! [`SubShare::expose`] alone.
//!
//! Left to others: signatures. Both broadcasts are signed by their sender; the caller checks before it decodes and
//! keeps the signed round-1 messages, which prove an equivocation to a third party.

use std::fmt;

use frost_core::Signature;
use frost_core::keys::VerifiableSecretSharingCommitment;
use frost_core::keys::dkg::round1;
use minicbor::{Decode, Encode};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::codec::{self, DecodeError};
use crate::hash::Framed;
use crate::secret::SecretScalar;
use crate::suite::{MAX_POINT_LEN, MAX_SCALAR_LEN, Suite};
use crate::threshold::MemberIndex;

/// A message of one member, its signature already checked by the caller.
#[derive(Debug)]
pub enum DkgMessage<C: Suite> {
    /// To everyone.
    Broadcast(Broadcast<C>),
    /// To this member alone.
    SubShare(SubShare<C>),
}

/// A message that every other member receives, signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broadcast<C: Suite> {
    /// Commitments to the sender's polynomial, and a proof that it knows its constant term.
    Round1(Round1<C>),
    /// Digests of every round-1 message as the sender saw it.
    Echo(Echo),
}

/// Commitments to a member's secret polynomial, with a proof of knowledge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round1<C: Suite> {
    pub(super) session: [u8; 32],
    pub(super) commitment: Vec<u8>,
    proof: Vec<u8>,
    pub(super) package: round1::Package<C>,
}

/// Digests of all round-1 messages in member order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Echo {
    pub(super) session: [u8; 32],
    pub(super) digests: Vec<[u8; 32]>,
}

/// The value of the sender's secret polynomial at the recipient's index. Secret: with t of them of one dealer its
/// whole contribution is known.
pub struct SubShare<C: Suite> {
    pub(super) session: [u8; 32],
    pub(super) value: SecretScalar<C>,
}

#[derive(Encode, Decode)]
enum RawBroadcast {
    #[n(0)]
    Round1 {
        #[n(0)]
        suite: u16,
        #[cbor(n(1), with = "minicbor::bytes")]
        session: Vec<u8>,
        #[cbor(n(2), with = "minicbor::bytes")]
        commitment: Vec<u8>,
        #[cbor(n(3), with = "minicbor::bytes")]
        proof: Vec<u8>,
    },
    #[n(1)]
    Echo {
        #[n(0)]
        suite: u16,
        #[cbor(n(1), with = "minicbor::bytes")]
        session: Vec<u8>,
        #[cbor(n(2), with = "minicbor::bytes")]
        digests: Vec<u8>,
    },
}

#[derive(Encode, Decode, Zeroize, ZeroizeOnDrop)]
struct RawSubShare {
    #[n(0)]
    suite: u16,
    #[cbor(n(1), with = "minicbor::bytes")]
    session: Vec<u8>,
    #[cbor(n(2), with = "minicbor::bytes")]
    value: Vec<u8>,
}

impl<C: Suite> Broadcast<C> {
    /// Longest encoding, in bytes.
    pub const MAX_BYTES: usize = 128 + MAX_SCALAR_LEN + 256 * MAX_POINT_LEN;

    /// Canonical bytes, to be signed and sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(&match self {
            Broadcast::Round1(message) => RawBroadcast::Round1 {
                suite: C::SUITE_ID,
                session: message.session.to_vec(),
                commitment: message.commitment.clone(),
                proof: message.proof.clone(),
            },
            Broadcast::Echo(message) => RawBroadcast::Echo {
                suite: C::SUITE_ID,
                session: message.session.to_vec(),
                digests: message.digests.concat(),
            },
        })
    }

    /// Parses; what it says is checked by the driver.
    ///
    /// # Errors
    /// For anything but canonical bytes within the limits; the sender is at fault if it signed them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        match codec::decode(bytes, Self::MAX_BYTES)? {
            RawBroadcast::Round1 { suite, session, commitment, proof } => {
                codec::check_suite::<C>(suite)?;
                Round1::parse(codec::array32("session", &session)?, commitment, proof).map(Broadcast::Round1)
            }
            RawBroadcast::Echo { suite, session, digests } => {
                codec::check_suite::<C>(suite)?;
                let (digests_seen, rest) = digests.as_chunks::<32>();
                if !rest.is_empty() || !(1..=255).contains(&digests_seen.len()) {
                    return Err(DecodeError::Length { field: "digests", got: digests.len() });
                }
                let session = codec::array32("session", &session)?;
                Ok(Broadcast::Echo(Echo { session, digests: digests_seen.to_vec() }))
            }
        }
    }

    /// The session it belongs to; equal for all members of one run.
    pub fn session(&self) -> &[u8; 32] {
        match self {
            Broadcast::Round1(message) => &message.session,
            Broadcast::Echo(message) => &message.session,
        }
    }
}

impl<C: Suite> Round1<C> {
    /// Makes the message of a package that frost produced; `None` if a coefficient's commitment is the identity.
    pub(super) fn new(session: [u8; 32], package: round1::Package<C>) -> Option<Self> {
        let commitment = package.commitment().serialize_whole().ok()?;
        let proof = package.proof_of_knowledge().serialize().ok()?;
        Some(Round1 { session, commitment, proof, package })
    }

    fn parse(session: [u8; 32], commitment: Vec<u8>, proof: Vec<u8>) -> Result<Self, DecodeError> {
        let (points, rest) = (commitment.len() / C::POINT_LEN, commitment.len() % C::POINT_LEN);
        if rest != 0 || !(1..=255).contains(&points) {
            return Err(DecodeError::Length { field: "commitment", got: commitment.len() });
        }
        if proof.len() != C::POINT_LEN + C::SCALAR_LEN {
            return Err(DecodeError::Length { field: "proof", got: proof.len() });
        }
        for point in commitment.chunks_exact(C::POINT_LEN) {
            codec::point::<C>("commitment", point)?;
        }
        codec::point::<C>("proof", &proof[..C::POINT_LEN])?;
        codec::scalar::<C>("proof", &proof[C::POINT_LEN..])?;
        let parsed = VerifiableSecretSharingCommitment::<C>::deserialize_whole(&commitment)
            .map_err(|_| DecodeError::Point { field: "commitment" })?;
        let signature = Signature::<C>::deserialize(&proof).map_err(|_| DecodeError::Scalar { field: "proof" })?;
        Ok(Round1 { session, commitment, proof, package: round1::Package::new(parsed, signature) })
    }

    /// How many coefficients the sender committed to: its idea of t.
    pub(super) fn coefficients(&self) -> usize {
        self.commitment.len() / C::POINT_LEN
    }

    /// What echoes compare.
    pub(super) fn digest(&self, dealer: MemberIndex) -> [u8; 32] {
        Framed::<Sha256>::new::<C>("dkg round 1")
            .part(&self.session)
            .part(&[dealer.get()])
            .part(&self.commitment)
            .part(&self.proof)
            .digest()
    }
}

impl<C: Suite> SubShare<C> {
    /// Longest exposed encoding, in bytes.
    pub const MAX_BYTES: usize = 64 + MAX_SCALAR_LEN;

    /// The secret bytes, for a caller that seals them to the recipient at once.
    pub fn expose(&self) -> Zeroizing<Vec<u8>> {
        let raw = RawSubShare {
            suite: C::SUITE_ID,
            session: self.session.to_vec(),
            value: self.value.expose_bytes().to_vec(),
        };
        Zeroizing::new(codec::encode(&raw))
    }

    /// Parses bytes that the caller has just unsealed.
    ///
    /// # Errors
    /// For anything but canonical bytes.
    pub fn from_exposed(bytes: &[u8]) -> Result<Self, DecodeError> {
        let raw: RawSubShare = codec::decode(bytes, Self::MAX_BYTES)?;
        codec::check_suite::<C>(raw.suite)?;
        let session = codec::array32("session", &raw.session)?;
        let value = SecretScalar::parse(&raw.value).ok_or(DecodeError::Scalar { field: "sub-share" })?;
        Ok(SubShare { session, value })
    }
}

impl<C: Suite> fmt::Debug for SubShare<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubShare")
    }
}
