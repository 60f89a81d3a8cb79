//! How many of how many: the checked numbers of a sharing.

use std::fmt;
use std::num::NonZeroU8;

use frost_core::{Ciphersuite, Identifier};

/// Why a threshold or a committee is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitteeError {
    /// With t = 1 every member holds the root (I1).
    #[error("a threshold of {t} is below 2")]
    ThresholdTooLow {
        /// The threshold asked for.
        t: u8,
    },
    /// More would have to act than there are.
    #[error("threshold {t} exceeds the {n} members")]
    ThresholdTooHigh {
        /// The threshold asked for.
        t: u8,
        /// The number of members.
        n: usize,
    },
    /// More members than an index can name.
    #[error("{n} members where at most 255 are allowed")]
    TooManyMembers {
        /// The number of members.
        n: usize,
    },
    /// One member listed twice would hold two shares.
    #[error("members {first} and {second} are the same")]
    DuplicateMember {
        /// The first place.
        first: MemberIndex,
        /// The second place.
        second: MemberIndex,
    },
}

/// A member's place in its committee, 1 to 255: the point at which its share is the polynomial's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberIndex(NonZeroU8);

impl MemberIndex {
    /// The index with this number; `None` for 0, the place of the secret itself.
    pub fn new(index: u8) -> Option<Self> {
        NonZeroU8::new(index).map(MemberIndex)
    }

    /// The number, 1 to 255.
    pub fn get(self) -> u8 {
        self.0.get()
    }

    /// The offset in an ordered list of members.
    pub(crate) fn offset(self) -> usize {
        usize::from(self.get()) - 1
    }

    /// The index as frost names it.
    pub(crate) fn identifier<C: Ciphersuite>(self) -> Identifier<C> {
        match Identifier::try_from(u16::from(self.get())) {
            Ok(identifier) => identifier,
            Err(_) => unreachable!("a member index is not zero"),
        }
    }
}

impl fmt::Display for MemberIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// t of n, with 2 ≤ t ≤ n ≤ 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Threshold {
    t: u8,
    n: u8,
}

impl Threshold {
    /// Checks the numbers.
    ///
    /// # Errors
    /// When t is below 2 or above n, or n above 255.
    pub fn new(t: u8, n: usize) -> Result<Self, CommitteeError> {
        let Ok(members) = u8::try_from(n) else { return Err(CommitteeError::TooManyMembers { n }) };
        if t < 2 {
            return Err(CommitteeError::ThresholdTooLow { t });
        }
        if t > members {
            return Err(CommitteeError::ThresholdTooHigh { t, n });
        }
        Ok(Threshold { t, n: members })
    }

    /// How many must act.
    pub fn t(self) -> u8 {
        self.t
    }

    /// How many there are.
    pub fn n(self) -> u8 {
        self.n
    }

    /// All member indexes, in order.
    pub fn indexes(self) -> impl Iterator<Item = MemberIndex> {
        (1..=self.n).filter_map(MemberIndex::new)
    }

    /// Whether the index is one of this committee's.
    pub fn contains(self, index: MemberIndex) -> bool {
        index.get() <= self.n
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.t, self.n)
    }
}
