//! A testing aid: ends the process right before or right after a write of a change of shares, as a power cut there would.
//!
//! It is armed through the native door, only where the configuration allows faults. The kinds are all that a change of
//! shares puts on a disk or takes from it, so that a test can name every boundary between two of them (I8).

use std::sync::{Mutex, PoisonError};

use keymesh_mesh::custody::slot::Slot;
use keymesh_mesh::replica::Write;
use keymesh_wire::body::{Body, SharingAct};
use keymesh_wire::ids::NodeId;
use keymesh_wire::statement::Checked;
use serde::Deserialize;

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The slot of a one-time key.
    KeySlot,
    /// The offer of that key.
    OfferKey,
    /// A leader's call for deals.
    CallDeals,
    /// A deal.
    Deal,
    /// A leader's proposal.
    Propose,
    /// A first vote.
    Prepare,
    /// The word that a share could be taken.
    Ready,
    /// A second vote.
    Commit,
    /// The slot of the new share.
    ShareSlot,
    /// The word that it is there.
    Hold,
    /// The old share, erased.
    OldShareErased,
    /// The one-time key, erased.
    KeyErased,
    /// The word that the old share is gone.
    Erase,
}

/// On which side of the write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// Nothing of it is on the disk.
    Before,
    /// All of it is, and nobody heard of it.
    After,
}

/// Where to end.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// At what.
    pub at: Kind,
    /// On which side of it.
    pub side: Side,
    /// At which write of this kind from now on, from 1.
    pub nth: u32,
}

/// Where this process is to end, if anywhere.
#[derive(Debug, Default)]
pub struct Crash(Mutex<Option<Plan>>);

impl Crash {
    /// Ends the process there, in place of what was planned before.
    pub fn plan(&self, plan: Plan) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(plan);
    }

    /// What of `writes` a plan could name: of statements only this node's own. Nothing is looked at without a plan.
    pub(super) fn kinds<'w>(&self, me: &NodeId, writes: impl IntoIterator<Item = &'w Write>) -> Vec<Kind> {
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            return Vec::new();
        }
        writes.into_iter().filter_map(|write| kind(me, write)).collect()
    }

    /// These are about to be written, or were: the process ends here if that was planned.
    pub(super) fn pass(&self, side: Side, kinds: &[Kind]) {
        let mut planned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(plan) = planned.as_mut() else { return };
        let passed = kinds.iter().filter(|kind| **kind == plan.at).count();
        let left = usize::try_from(plan.nth).unwrap_or(usize::MAX);
        if side == plan.side && passed > 0 {
            if passed >= left {
                tracing::warn!(at = ?plan.at, side = ?plan.side, "testing: this process ends here on request");
                std::process::abort();
            }
            plan.nth -= u32::try_from(passed).unwrap_or_default();
        }
    }
}

fn kind(me: &NodeId, write: &Write) -> Option<Kind> {
    let slot = |name: &str| name.parse::<Slot>().ok();
    match write {
        Write::Share { slot: name, .. } => match slot(name)? {
            Slot::Key(_) => Some(Kind::KeySlot),
            Slot::Epoch { .. } => Some(Kind::ShareSlot),
            Slot::Made { .. } => None,
        },
        Write::EraseShare { slot: name } => match slot(name)? {
            Slot::Key(_) => Some(Kind::KeyErased),
            Slot::Epoch { .. } | Slot::Made { .. } => Some(Kind::OldShareErased),
        },
        Write::Statement { bytes, .. } => {
            let statement = Checked::from_bytes(bytes).ok().filter(|said| said.author() == *me)?;
            let Some(Body::Sharing(word)) = statement.body() else { return None };
            match word.act {
                SharingAct::OfferKey { .. } => Some(Kind::OfferKey),
                SharingAct::CallDeals { .. } => Some(Kind::CallDeals),
                SharingAct::Deal { .. } => Some(Kind::Deal),
                SharingAct::Propose { .. } => Some(Kind::Propose),
                SharingAct::Prepare { .. } => Some(Kind::Prepare),
                SharingAct::Ready { .. } => Some(Kind::Ready),
                SharingAct::Commit { .. } => Some(Kind::Commit),
                SharingAct::Hold => Some(Kind::Hold),
                SharingAct::Erase => Some(Kind::Erase),
                SharingAct::Complain { .. } => None,
            }
        }
        Write::Blob { .. } | Write::EraseBlob { .. } | Write::Audit(_) => None,
    }
}
