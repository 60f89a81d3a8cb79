//! What this node lacks and asks for: statements and ciphertexts, whom it asked, and when it asks the next.

use std::collections::BTreeMap;

use keymesh_wire::ids::{DocumentId, NodeId};
use keymesh_wire::time::Boot;

use super::SpreadLimits;

/// Peers remembered as having said that they hold what is wanted.
const SOURCES: usize = 4;

/// Why something is wanted, which decides whom it is asked from and what giving up means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// A peer said it holds it: only such peers are asked.
    Announced,
    /// A statement here waits for it: every peer that shares the document is asked.
    Parent,
    /// Live state names it: every peer that shares the document is asked, for as long as it is missing.
    Blob,
}

/// One missing thing.
#[derive(Debug, Clone)]
pub(super) struct Want {
    /// Why.
    pub(super) why: Why,
    /// On whose account it counts.
    pub(super) owner: Option<NodeId>,
    /// Who said to hold it, or brought what needs it.
    pub(super) sources: Vec<NodeId>,
    /// How often it was asked for.
    pub(super) tries: u32,
    /// With whom of the peers the asking begins.
    pub(super) turn: u32,
    /// When it is asked for next.
    pub(super) due: Boot,
}

/// The missing things of one kind, by document and id.
#[derive(Debug)]
pub(super) struct Wants<I> {
    wants: BTreeMap<(DocumentId, I), Want>,
    accounts: BTreeMap<NodeId, usize>,
}

impl<I> Default for Wants<I> {
    fn default() -> Self {
        Self { wants: BTreeMap::new(), accounts: BTreeMap::new() }
    }
}

impl<I: Ord + Copy> Wants<I> {
    /// Whether something is wanted already.
    pub(super) fn contains(&self, document: &DocumentId, id: &I) -> bool {
        self.wants.contains_key(&(*document, *id))
    }

    /// How many things are wanted.
    pub(super) fn len(&self) -> usize {
        self.wants.len()
    }

    /// Wants something, or notes one more source of it. False when `owner`'s account is full.
    pub(super) fn add(
        &mut self,
        (document, id): (DocumentId, I),
        why: Why,
        owner: Option<NodeId>,
        now: Boot,
        limits: &SpreadLimits,
    ) -> bool {
        if let Some(want) = self.wants.get_mut(&(document, id)) {
            // What one peer only claimed may have been asked for in vain already; what a statement needs starts afresh.
            if why == Why::Parent && want.why == Why::Announced {
                want.why = why;
                want.tries = 0;
            }
            if let Some(source) = owner
                && want.sources.len() < SOURCES
                && !want.sources.contains(&source)
            {
                want.sources.push(source);
            }
            return true;
        }
        if let Some(owner) = owner {
            let account = self.accounts.entry(owner).or_default();
            if *account >= limits.wants_per_peer {
                return false;
            }
            *account += 1;
        }
        let want = Want { why, owner, sources: owner.into_iter().collect(), tries: 0, turn: 0, due: now };
        self.wants.insert((document, id), want);
        true
    }

    /// No longer wants something.
    pub(super) fn remove(&mut self, document: &DocumentId, id: &I) -> Option<Want> {
        let want = self.wants.remove(&(*document, *id))?;
        if let Some(owner) = want.owner
            && let Some(account) = self.accounts.get_mut(&owner)
        {
            *account -= 1;
            if *account == 0 {
                self.accounts.remove(&owner);
            }
        }
        Some(want)
    }

    /// What is to be asked for now.
    pub(super) fn due(&self, now: Boot) -> Vec<(DocumentId, I)> {
        self.wants.iter().filter(|(_, want)| want.due <= now).map(|(key, _)| *key).collect()
    }

    /// All that is wanted.
    pub(super) fn keys(&self) -> Vec<(DocumentId, I)> {
        self.wants.keys().copied().collect()
    }

    /// The want for something.
    pub(super) fn get_mut(&mut self, document: &DocumentId, id: &I) -> Option<&mut Want> {
        self.wants.get_mut(&(*document, *id))
    }

    /// When something is to be asked for next.
    pub(super) fn next(&self) -> Option<Boot> {
        self.wants.values().map(|want| want.due).min()
    }
}

/// Whom to ask the `tries`th time: those who said to hold it first, then `others` in turn.
pub(super) fn choose(want: &Want, others: &[NodeId], may: impl Fn(&NodeId) -> bool) -> Option<NodeId> {
    let mut order: Vec<NodeId> = want.sources.iter().filter(|source| may(source)).copied().collect();
    if want.why != Why::Announced {
        order.extend(others.iter().filter(|peer| !want.sources.contains(peer) && may(peer)));
    }
    let index = (want.tries.wrapping_add(want.turn) as usize).checked_rem(order.len())?;
    order.get(index).copied()
}
