//! Strict encodings.
//!
//! Guarantees: a value has exactly one encoding. Decoders bound the length before they look inside, refuse bytes that
//! would not be produced again from what was read, a suite other than the caller's, points that are the identity or
//! not canonical, and scalars that are not reduced. They return errors, whatever the bytes.

use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use crate::proof::Proof;
use crate::suite::{self, Element, Scalar, Suite};
use crate::threshold::MemberIndex;

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Longer than any valid value.
    #[error("{len} bytes where at most {max} are allowed")]
    TooLong {
        /// Length seen, in bytes.
        len: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// Not the expected CBOR structure.
    #[error("malformed encoding")]
    Malformed,
    /// Readable, but a canonical writer would have written other bytes.
    #[error("encoding is not canonical")]
    NotCanonical,
    /// Made for another suite.
    #[error("suite {got} where {want} was expected")]
    WrongSuite {
        /// The suite in the bytes.
        got: u16,
        /// The suite of the caller.
        want: u16,
    },
    /// A field of the wrong length.
    #[error("{field} has {got} bytes")]
    Length {
        /// Name of the field.
        field: &'static str,
        /// Length seen, in bytes.
        got: usize,
    },
    /// Not a canonical encoding of a point other than the identity.
    #[error("{field} is not a valid point")]
    Point {
        /// Name of the field.
        field: &'static str,
    },
    /// Not a reduced scalar (or zero, where zero has no meaning).
    #[error("{field} is not a valid scalar")]
    Scalar {
        /// Name of the field.
        field: &'static str,
    },
    /// Not a member index, a position or a threshold.
    #[error("{field} is out of range")]
    Range {
        /// Name of the field.
        field: &'static str,
    },
    /// The verifying shares do not lie on one polynomial of the stated degree through the group key.
    #[error("verifying shares do not belong to the group key")]
    Inconsistent,
}

/// What an encoding holds, so that one is never read as another. Capsules, partials, shares and key generation have no
/// such number; their shapes tell them apart. These numbers are above every position of a committee in a capsule, which
/// a partial has in the same place.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    EpochKey = 32,
    EpochSecret,
    Deal,
    Complaint,
    RepairCommitment,
    RepairDelta,
    RepairSigma,
}

/// Room that no encoding of a secret exceeds: a buffer that grows leaves copies behind that nobody wipes.
const SECRET_ROOM: usize = 512;

/// Encodes; writing to memory cannot fail.
pub(crate) fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SECRET_ROOM);
    match minicbor::encode(value, &mut bytes) {
        Ok(()) => bytes,
        Err(error) => unreachable!("encoding to memory failed: {error}"),
    }
}

/// Decodes exactly one canonical value from at most `max` bytes.
pub(crate) fn decode<'b, T: Encode<()> + Decode<'b, ()>>(bytes: &'b [u8], max: usize) -> Result<T, DecodeError> {
    if bytes.len() > max {
        return Err(DecodeError::TooLong { len: bytes.len(), max });
    }
    let value: T = minicbor::decode(bytes).map_err(|_| DecodeError::Malformed)?;
    // Secrets pass here as well.
    if Zeroizing::new(encode(&value)).as_slice() != bytes {
        return Err(DecodeError::NotCanonical);
    }
    Ok(value)
}

pub(crate) fn check_suite<C: Suite>(got: u16) -> Result<(), DecodeError> {
    if got == C::SUITE_ID { Ok(()) } else { Err(DecodeError::WrongSuite { got, want: C::SUITE_ID }) }
}

pub(crate) fn check_kind(got: u8, want: Kind) -> Result<(), DecodeError> {
    if got == want as u8 { Ok(()) } else { Err(DecodeError::Range { field: "kind" }) }
}

pub(crate) fn point<C: Suite>(field: &'static str, bytes: &[u8]) -> Result<Element<C>, DecodeError> {
    suite::parse_point::<C>(bytes).ok_or(DecodeError::Point { field })
}

pub(crate) fn scalar<C: Suite>(field: &'static str, bytes: &[u8]) -> Result<Scalar<C>, DecodeError> {
    suite::parse_scalar::<C>(bytes).ok_or(DecodeError::Scalar { field })
}

pub(crate) fn proof<C: Suite>(challenge: &[u8], response: &[u8]) -> Result<Proof<C>, DecodeError> {
    Ok(Proof { challenge: scalar::<C>("challenge", challenge)?, response: scalar::<C>("response", response)? })
}

/// Points one after the other, at least one and at most 255.
pub(crate) fn points<C: Suite>(field: &'static str, bytes: &[u8]) -> Result<Vec<Element<C>>, DecodeError> {
    let (count, rest) = (bytes.len() / C::POINT_LEN, bytes.len() % C::POINT_LEN);
    if rest != 0 || !(1..=255).contains(&count) {
        return Err(DecodeError::Length { field, got: bytes.len() });
    }
    bytes.chunks_exact(C::POINT_LEN).map(|bytes| point::<C>(field, bytes)).collect()
}

pub(crate) fn index(field: &'static str, byte: u8) -> Result<MemberIndex, DecodeError> {
    MemberIndex::new(byte).ok_or(DecodeError::Range { field })
}

/// Member indexes, each above the one before it.
pub(crate) fn ascending(field: &'static str, bytes: &[u8]) -> Result<Vec<MemberIndex>, DecodeError> {
    if !bytes.is_sorted_by(|before, after| before < after) {
        return Err(DecodeError::Range { field });
    }
    bytes.iter().map(|byte| index(field, *byte)).collect()
}

pub(crate) fn array32(field: &'static str, bytes: &[u8]) -> Result<[u8; 32], DecodeError> {
    bytes.try_into().map_err(|_| DecodeError::Length { field, got: bytes.len() })
}
