//! Statements that came before their parents.
//!
//! Each waits on the account of the peer that brought it, so that a flood from one peer uses up that peer's room alone
//! and never pushes out what another brought. Signatures were checked before: what waits is worth keeping.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::ids::{DocumentId, NodeId, StatementId};
use keymesh_wire::statement::Checked;

use super::SpreadLimits;

/// A statement that waits.
#[derive(Debug, Clone)]
pub(super) struct Waiter {
    /// It.
    pub(super) statement: Checked,
    /// Who brought it.
    pub(super) from: NodeId,
}

#[derive(Debug, Default, Clone, Copy)]
struct Account {
    count: usize,
    bytes: usize,
}

/// All that wait, with the parents they wait for.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    waiters: BTreeMap<StatementId, Waiter>,
    children: BTreeMap<StatementId, BTreeSet<StatementId>>,
    accounts: BTreeMap<NodeId, Account>,
}

impl Waiting {
    /// Whether a statement waits.
    pub(super) fn contains(&self, id: &StatementId) -> bool {
        self.waiters.contains_key(id)
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// How many statements of a document one peer has waiting here.
    pub(super) fn count(&self, peer: &NodeId, document: &DocumentId) -> usize {
        self.waiters.values().filter(|waiter| waiter.from == *peer && waiter.statement.document() == *document).count()
    }

    /// Keeps `statement` on `from`'s account; false when that is full.
    pub(super) fn put(&mut self, statement: Checked, from: NodeId, limits: &SpreadLimits) -> bool {
        let account = self.accounts.entry(from).or_default();
        let bytes = account.bytes + statement.bytes().len();
        if account.count >= limits.waiting_count || bytes > limits.waiting_bytes {
            return false;
        }
        account.count += 1;
        account.bytes = bytes;
        for parent in statement.parents() {
            self.children.entry(*parent).or_default().insert(statement.id());
        }
        self.waiters.insert(statement.id(), Waiter { statement, from });
        true
    }

    /// Takes a statement out.
    pub(super) fn remove(&mut self, id: &StatementId) -> Option<Waiter> {
        let waiter = self.waiters.remove(id)?;
        for parent in waiter.statement.parents() {
            if let Some(children) = self.children.get_mut(parent) {
                children.remove(id);
                if children.is_empty() {
                    self.children.remove(parent);
                }
            }
        }
        if let Some(account) = self.accounts.get_mut(&waiter.from) {
            account.count -= 1;
            account.bytes -= waiter.statement.bytes().len();
            if account.count == 0 {
                self.accounts.remove(&waiter.from);
            }
        }
        Some(waiter)
    }

    /// Takes out everything that waits for `parent`, directly or through others.
    pub(super) fn remove_descendants(&mut self, parent: &StatementId) -> Vec<Waiter> {
        let mut removed = Vec::new();
        let mut open = vec![*parent];
        while let Some(parent) = open.pop() {
            let children: Vec<_> = self.children.get(&parent).into_iter().flatten().copied().collect();
            for child in children {
                removed.extend(self.remove(&child));
                open.push(child);
            }
        }
        removed
    }

    /// Takes out the direct children of `parent` for which `ready` says that all parents are held.
    pub(super) fn release(&mut self, parent: &StatementId, ready: impl Fn(&Checked) -> bool) -> Vec<Waiter> {
        let children: Vec<_> = self.children.get(parent).into_iter().flatten().copied().collect();
        children
            .into_iter()
            .filter(|child| self.waiters.get(child).is_some_and(|waiter| ready(&waiter.statement)))
            .collect::<Vec<_>>()
            .iter()
            .filter_map(|child| self.remove(child))
            .collect()
    }

    /// Every parent that is waited for, with one statement that waits for it.
    pub(super) fn parents(&self) -> Vec<(StatementId, &Waiter)> {
        self.children
            .iter()
            .filter_map(|(parent, children)| Some((*parent, self.waiters.get(children.first()?)?)))
            .collect()
    }
}
