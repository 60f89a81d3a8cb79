//! What helpers of a repair say.
//!
//! Guarantees: every message names its repair and its maker and has one encoding; the two secret ones print nothing and
//! leave through `expose` alone.

use std::fmt;

use minicbor::{Decode, Encode};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::codec::{self, DecodeError, Kind};
use crate::secret::SecretScalar;
use crate::suite::{self, Element, MAX_POINT_LEN, MAX_SCALAR_LEN, Suite};
use crate::threshold::MemberIndex;

/// δᵢⱼ·G for every helper j, in order.
#[derive(Clone, PartialEq, Eq)]
pub struct Commitment<C: Suite> {
    session: [u8; 32],
    from: MemberIndex,
    points: Vec<Element<C>>,
    point_bytes: Vec<u8>,
}

/// δᵢⱼ: a summand of helper i's weighted share, for helper j alone.
pub struct Delta<C: Suite> {
    pub(super) session: [u8; 32],
    pub(super) from: MemberIndex,
    pub(super) to: MemberIndex,
    pub(super) value: SecretScalar<C>,
}

/// σⱼ: a summand of the member's share, for the member alone.
pub struct Sigma<C: Suite> {
    pub(super) session: [u8; 32],
    pub(super) from: MemberIndex,
    pub(super) value: SecretScalar<C>,
}

#[derive(Encode, Decode)]
struct RawCommitment {
    #[n(0)]
    suite: u16,
    #[n(1)]
    kind: u8,
    #[n(2)]
    from: u8,
    #[cbor(n(3), with = "minicbor::bytes")]
    session: Vec<u8>,
    #[cbor(n(4), with = "minicbor::bytes")]
    points: Vec<u8>,
}

#[derive(Encode, Decode, Zeroize, ZeroizeOnDrop)]
struct RawDelta {
    #[n(0)]
    suite: u16,
    #[n(1)]
    kind: u8,
    #[n(2)]
    from: u8,
    #[n(3)]
    to: u8,
    #[cbor(n(4), with = "minicbor::bytes")]
    session: Vec<u8>,
    #[cbor(n(5), with = "minicbor::bytes")]
    value: Vec<u8>,
}

#[derive(Encode, Decode, Zeroize, ZeroizeOnDrop)]
struct RawSigma {
    #[n(0)]
    suite: u16,
    #[n(1)]
    kind: u8,
    #[n(2)]
    from: u8,
    #[cbor(n(3), with = "minicbor::bytes")]
    session: Vec<u8>,
    #[cbor(n(4), with = "minicbor::bytes")]
    value: Vec<u8>,
}

impl<C: Suite> Commitment<C> {
    /// Longest encoding, in bytes.
    pub const MAX_BYTES: usize = 64 + 255 * MAX_POINT_LEN;

    /// `None` when a point is the identity.
    pub(crate) fn new(session: [u8; 32], from: MemberIndex, points: Vec<Element<C>>) -> Option<Self> {
        let mut point_bytes = Vec::with_capacity(points.len() * C::POINT_LEN);
        for point in &points {
            point_bytes.extend_from_slice(&suite::point_bytes::<C>(point)?);
        }
        Some(Commitment { session, from, points, point_bytes })
    }

    /// The helper whose it claims to be; compare with the signer.
    pub fn from(&self) -> MemberIndex {
        self.from
    }

    /// The digest of the repair it is for.
    pub fn session(&self) -> &[u8; 32] {
        &self.session
    }

    pub(super) fn points(&self) -> &[Element<C>] {
        &self.points
    }

    /// Canonical bytes, to be signed and sent to all helpers and the member.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(&RawCommitment {
            suite: C::SUITE_ID,
            kind: Kind::RepairCommitment as u8,
            from: self.from.get(),
            session: self.session.to_vec(),
            points: self.point_bytes.clone(),
        })
    }

    /// Parses; nothing is checked yet.
    ///
    /// # Errors
    /// For anything but canonical bytes within the limits.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let raw: RawCommitment = codec::decode(bytes, Self::MAX_BYTES)?;
        codec::check_suite::<C>(raw.suite)?;
        codec::check_kind(raw.kind, Kind::RepairCommitment)?;
        Ok(Commitment {
            session: codec::array32("session", &raw.session)?,
            from: codec::index("from", raw.from)?,
            points: codec::points::<C>("commitment", &raw.points)?,
            point_bytes: raw.points,
        })
    }
}

impl<C: Suite> fmt::Debug for Commitment<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Commitment(helper {})", self.from)
    }
}

impl<C: Suite> Delta<C> {
    /// Longest exposed encoding, in bytes.
    pub const MAX_BYTES: usize = 64 + MAX_SCALAR_LEN;

    /// The helper whose it claims to be; compare with the signer.
    pub fn from(&self) -> MemberIndex {
        self.from
    }

    /// The digest of the repair it is for.
    pub fn session(&self) -> &[u8; 32] {
        &self.session
    }

    /// The helper that it must be sealed to.
    pub fn to(&self) -> MemberIndex {
        self.to
    }

    /// The secret bytes, for a caller that seals them at once.
    pub fn expose(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(codec::encode(&RawDelta {
            suite: C::SUITE_ID,
            kind: Kind::RepairDelta as u8,
            from: self.from.get(),
            to: self.to.get(),
            session: self.session.to_vec(),
            value: self.value.expose_bytes().to_vec(),
        }))
    }

    /// Parses bytes that the caller has just unsealed.
    ///
    /// # Errors
    /// For anything but canonical bytes.
    pub fn from_exposed(bytes: &[u8]) -> Result<Self, DecodeError> {
        let raw: RawDelta = codec::decode(bytes, Self::MAX_BYTES)?;
        codec::check_suite::<C>(raw.suite)?;
        codec::check_kind(raw.kind, Kind::RepairDelta)?;
        Ok(Delta {
            session: codec::array32("session", &raw.session)?,
            from: codec::index("from", raw.from)?,
            to: codec::index("to", raw.to)?,
            value: SecretScalar::parse(&raw.value).ok_or(DecodeError::Scalar { field: "delta" })?,
        })
    }
}

impl<C: Suite> fmt::Debug for Delta<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Delta")
    }
}

impl<C: Suite> Sigma<C> {
    /// Longest exposed encoding, in bytes.
    pub const MAX_BYTES: usize = 64 + MAX_SCALAR_LEN;

    /// The helper whose it claims to be; compare with the signer.
    pub fn from(&self) -> MemberIndex {
        self.from
    }

    /// The digest of the repair it is for.
    pub fn session(&self) -> &[u8; 32] {
        &self.session
    }

    /// The secret bytes, for a caller that seals them to the member at once.
    pub fn expose(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(codec::encode(&RawSigma {
            suite: C::SUITE_ID,
            kind: Kind::RepairSigma as u8,
            from: self.from.get(),
            session: self.session.to_vec(),
            value: self.value.expose_bytes().to_vec(),
        }))
    }

    /// Parses bytes that the caller has just unsealed.
    ///
    /// # Errors
    /// For anything but canonical bytes.
    pub fn from_exposed(bytes: &[u8]) -> Result<Self, DecodeError> {
        let raw: RawSigma = codec::decode(bytes, Self::MAX_BYTES)?;
        codec::check_suite::<C>(raw.suite)?;
        codec::check_kind(raw.kind, Kind::RepairSigma)?;
        Ok(Sigma {
            session: codec::array32("session", &raw.session)?,
            from: codec::index("from", raw.from)?,
            value: SecretScalar::parse(&raw.value).ok_or(DecodeError::Scalar { field: "sigma" })?,
        })
    }
}

impl<C: Suite> fmt::Debug for Sigma<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sigma")
    }
}
