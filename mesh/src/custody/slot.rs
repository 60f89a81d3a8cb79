//! Where a custodian's secrets lie: one named slot each, outside the database, so that they can be erased.

use std::fmt;
use std::str::FromStr;

use keymesh_wire::ids::{RootId, StatementId};

/// A slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// The share that an attempt at key generation made. Those of lost attempts stay until the root is live.
    Made {
        /// The root.
        root: RootId,
        /// Which of its committees.
        committee: u8,
        /// The attempt.
        attempt: u32,
    },
    /// The share of a later epoch.
    Epoch {
        /// The root.
        root: RootId,
        /// Which of its committees.
        committee: u8,
        /// The epoch, from 1.
        epoch: u32,
    },
    /// A recipient's one-time key for a change of sharing, named by the change's proposal.
    Key(StatementId),
}

impl Slot {
    /// Whose share lies here; nothing for a one-time key.
    pub fn share(&self) -> Option<(RootId, u8)> {
        match self {
            Self::Made { root, committee, .. } | Self::Epoch { root, committee, .. } => Some((*root, *committee)),
            Self::Key(_) => None,
        }
    }

    /// Of which epoch the share here is.
    pub fn epoch(&self) -> u32 {
        match self {
            Self::Epoch { epoch, .. } => *epoch,
            Self::Made { .. } | Self::Key(_) => 0,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Made { root, committee, attempt } => write!(f, "{root}-{committee}-{attempt}"),
            Self::Epoch { root, committee, epoch } => write!(f, "{root}-{committee}-e{epoch}"),
            Self::Key(change) => write!(f, "{change}-key"),
        }
    }
}

/// The name is not a slot's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the name of a slot")]
pub struct NoSlot(String);

impl FromStr for Slot {
    type Err = NoSlot;

    fn from_str(name: &str) -> Result<Self, NoSlot> {
        let parse = || {
            let mut parts = name.rsplitn(3, '-');
            let last = parts.next()?;
            let before = parts.next()?;
            let Some(root) = parts.next() else {
                return (last == "key").then(|| before.parse().ok().map(Self::Key))?;
            };
            let (root, committee) = (root.parse().ok()?, before.parse().ok()?);
            Some(match last.strip_prefix('e') {
                Some(epoch) => Self::Epoch { root, committee, epoch: epoch.parse().ok()? },
                None => Self::Made { root, committee, attempt: last.parse().ok()? },
            })
        };
        // One slot has one name, so that nothing lies in two files.
        let slot: Option<Self> = parse();
        slot.filter(|slot| slot.to_string() == name).ok_or_else(|| NoSlot(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_has_one_name_and_other_names_are_none() {
        let root = RootId::from_bytes([7; 32]);
        let slots = [
            Slot::Made { root, committee: 0, attempt: 12 },
            Slot::Epoch { root, committee: 3, epoch: 4 },
            Slot::Key(StatementId::from_bytes([9; 32])),
        ];
        for slot in slots {
            assert_eq!(slot.to_string().parse(), Ok(slot));
        }
        let made = slots[0].to_string();
        for wrong in ["", "key", "-key", "x-0-1", &made[1..], &format!("{made}0x"), &format!("{root}-00-1"), &made[5..]]
        {
            assert!(wrong.parse::<Slot>().is_err(), "{wrong}");
        }
    }
}
