//! Who holds the shares of one root.
//!
//! Guarantees: the members are distinct, there are at most 255, and t of them (2 ≤ t ≤ n) open. The order is part of
//! the committee: a member's place is the index of its share, so everyone must list the members alike; the digest
//! that the DKG binds tells when they do not.
//!
//! Left to others: what the 32 bytes of a member id are (in keymesh, an Ed25519 public key), and whether a layout puts
//! too many shares in one hand (I1).

use std::collections::BTreeMap;

use crate::threshold::{CommitteeError, MemberIndex, Threshold};

/// An ordered, checked committee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committee {
    members: Vec<[u8; 32]>,
    threshold: Threshold,
}

impl Committee {
    /// Checks an ordered list of member ids and the number t of members that open.
    ///
    /// # Errors
    /// When the numbers are out of range or a member is listed twice.
    pub fn new(members: Vec<[u8; 32]>, t: u8) -> Result<Self, CommitteeError> {
        let threshold = Threshold::new(t, members.len())?;
        let mut seen = BTreeMap::new();
        for (second, id) in threshold.indexes().zip(&members) {
            if let Some(first) = seen.insert(id, second) {
                return Err(CommitteeError::DuplicateMember { first, second });
            }
        }
        Ok(Committee { members, threshold })
    }

    /// t of n.
    pub fn threshold(&self) -> Threshold {
        self.threshold
    }

    /// The member ids; the member at offset i has index i + 1.
    pub fn members(&self) -> &[[u8; 32]] {
        &self.members
    }

    /// The id of a member; `None` when the index is not of this committee.
    pub fn member(&self, index: MemberIndex) -> Option<&[u8; 32]> {
        self.members.get(index.offset())
    }

    /// The index of a member; `None` for a stranger.
    pub fn index_of(&self, id: &[u8; 32]) -> Option<MemberIndex> {
        self.threshold.indexes().zip(&self.members).find(|(_, member)| *member == id).map(|(index, _)| index)
    }
}
