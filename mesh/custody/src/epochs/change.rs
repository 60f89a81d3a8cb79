//! What a change of sharing is about: from which sharing, to which threshold, to whose keys.
//!
//! Guarantees: every recipient's key was proved for the context and for its place; the new sharing can be opened by the
//! recipients alone; and one digest, the session, covers all of it. Everything made for the change is bound to that
//! digest, so two members that do not mean the very same change do not accept each other's deals.

use std::collections::BTreeMap;
use std::fmt;

use sha2::Sha256;

use super::key::EpochKey;
use crate::hash::Framed;
use crate::mutant::{self, Mistake};
use crate::share::RootPublic;
use crate::suite::Suite;
use crate::threshold::{MemberIndex, Threshold};

/// Why a change cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// A key for a place that the new committee does not have.
    #[error("the new committee has no member {index}")]
    NoSuchMember {
        /// The place that the key names.
        index: MemberIndex,
    },
    /// Two keys for one place.
    #[error("there are two keys of member {index}")]
    TwoKeys {
        /// The place.
        index: MemberIndex,
    },
    /// A key without a proof that holds in this context: its maker does not know the secret, or made it for another
    /// change or place.
    #[error("the epoch key of member {index} is not proved for this change")]
    KeyUnproven {
        /// The place that the key names.
        index: MemberIndex,
    },
    /// Fewer recipients than must act in the new sharing.
    #[error("{have} members have keys where the new sharing needs {need}")]
    TooFewKeys {
        /// How many have one.
        have: usize,
        /// The new threshold.
        need: usize,
    },
}

/// One change of a sharing, checked.
#[derive(Clone)]
pub struct Change<C: Suite> {
    old: RootPublic<C>,
    threshold: Threshold,
    recipients: BTreeMap<MemberIndex, EpochKey<C>>,
    session: [u8; 32],
}

impl<C: Suite> Change<C> {
    /// The change from `old` to `threshold` with these recipients. Members of the new committee that are away have no
    /// key, receive nothing and get their share by [`repair`](super::repair) later. `context` (mesh, root, epoch,
    /// attempt) is the one that the keys were made with.
    ///
    /// # Errors
    /// When a key is not of this change or there are too few.
    pub fn new(
        old: &RootPublic<C>,
        threshold: Threshold,
        keys: impl IntoIterator<Item = EpochKey<C>>,
        context: &[u8],
    ) -> Result<Self, ChangeError> {
        let mut recipients = BTreeMap::new();
        for key in keys {
            let index = key.member();
            if !threshold.contains(index) {
                return Err(ChangeError::NoSuchMember { index });
            }
            if !key.verify(context) {
                return Err(ChangeError::KeyUnproven { index });
            }
            if recipients.insert(index, key).is_some() {
                return Err(ChangeError::TwoKeys { index });
            }
        }
        let (have, need) = (recipients.len(), threshold.t().into());
        if have < need {
            return Err(ChangeError::TooFewKeys { have, need });
        }
        let mut session =
            Framed::<Sha256>::new::<C>("resharing session").part(context).part(&[threshold.t(), threshold.n()]);
        if !mutant::is(Mistake::TranscriptNotBound) {
            let keys: Vec<Vec<u8>> = recipients.values().map(EpochKey::to_bytes).collect();
            session = session.part(&old.hash()).list(&keys);
        }
        Ok(Change { old: old.clone(), threshold, recipients, session: session.digest() })
    }

    /// The sharing that is left.
    pub fn old(&self) -> &RootPublic<C> {
        &self.old
    }

    /// t′ of n′.
    pub fn threshold(&self) -> Threshold {
        self.threshold
    }

    /// The digest of everything that defines the change.
    pub fn session(&self) -> &[u8; 32] {
        &self.session
    }

    /// The places of the members that receive something, in order.
    pub fn recipients(&self) -> impl ExactSizeIterator<Item = MemberIndex> {
        self.recipients.keys().copied()
    }

    /// The key of a recipient; `None` for members that are away and for strangers.
    pub fn key(&self, index: MemberIndex) -> Option<&EpochKey<C>> {
        self.recipients.get(&index)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &EpochKey<C>> {
        self.recipients.values()
    }
}

impl<C: Suite> fmt::Debug for Change<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Change({} to {}, {} recipients)", self.old.threshold(), self.threshold, self.recipients.len())
    }
}
