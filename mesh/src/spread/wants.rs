//! What this node lacks and asks for: statements and ciphertexts, whom it asked, and when it asks the next.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::ids::{DocumentId, NodeId};
use keymesh_wire::time::{Boot, Millis};

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
    /// When it is asked for next: its place in the queue.
    due: Boot,
}

/// The missing things of one kind, by document and id, and in the order in which they are due: peers may make a node
/// want thousands, and it looks after each frame whether one of them is due.
#[derive(Debug)]
pub(super) struct Wants<I> {
    wants: BTreeMap<(DocumentId, I), Want>,
    queue: BTreeSet<(Boot, (DocumentId, I))>,
    accounts: BTreeMap<NodeId, usize>,
}

impl<I> Default for Wants<I> {
    fn default() -> Self {
        Self { wants: BTreeMap::new(), queue: BTreeSet::new(), accounts: BTreeMap::new() }
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
        self.queue.insert((now, (document, id)));
        self.wants.insert((document, id), want);
        true
    }

    /// No longer wants something.
    pub(super) fn remove(&mut self, document: &DocumentId, id: &I) -> Option<Want> {
        let want = self.wants.remove(&(*document, *id))?;
        self.queue.remove(&(want.due, (*document, *id)));
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

    /// What is to be asked for now, sorted.
    pub(super) fn due(&self, now: Boot) -> Vec<(DocumentId, I)> {
        let mut due: Vec<_> = self.queue.iter().take_while(|(due, _)| *due <= now).map(|(_, key)| *key).collect();
        due.sort_unstable();
        due
    }

    /// Something was asked for: the next time after `retry`, and longer the more often it was, up to `longest` times that.
    pub(super) fn asked(&mut self, document: &DocumentId, id: &I, now: Boot, retry: Millis, longest: u64) {
        let key = (*document, *id);
        let Some(want) = self.wants.get_mut(&key) else { return };
        self.queue.remove(&(want.due, key));
        want.tries = want.tries.saturating_add(1);
        want.due = now.plus(Millis(retry.0.saturating_mul(u64::from(want.tries).min(longest))));
        self.queue.insert((want.due, key));
    }

    /// All that is wanted.
    pub(super) fn keys(&self) -> Vec<(DocumentId, I)> {
        self.wants.keys().copied().collect()
    }

    /// The want for something.
    pub(super) fn get(&self, document: &DocumentId, id: &I) -> Option<&Want> {
        self.wants.get(&(*document, *id))
    }

    /// With whom of the peers the asking for something begins.
    pub(super) fn begin_with(&mut self, document: &DocumentId, id: &I, turn: u32) {
        if let Some(want) = self.wants.get_mut(&(*document, *id)) {
            want.turn = turn;
        }
    }

    /// When something is to be asked for next.
    pub(super) fn next(&self) -> Option<Boot> {
        self.queue.first().map(|(due, _)| *due)
    }
}

/// Whom to ask the `tries`th time: those who said to hold it and are `up` first, then `others` in turn.
pub(super) fn choose(want: &Want, others: &[NodeId], up: impl Fn(&NodeId) -> bool) -> Option<NodeId> {
    let mut order: Vec<NodeId> = want.sources.iter().filter(|source| up(source)).copied().collect();
    if want.why != Why::Announced {
        order.extend(others.iter().filter(|peer| !want.sources.contains(peer)));
    }
    let index = (want.tries.wrapping_add(want.turn) as usize).checked_rem(order.len())?;
    order.get(index).copied()
}
