//! The human-edited view of a document: descriptive fields with field-level merge, conflicts and history, by automerge.
//!
//! A view and nothing more: nobody decides anything by it. It is a function of the set of valid edits alone (I3) and is
//! rebuilt when an edit loses validity; the fold says which edits are valid and what their nearest valid ancestors are.
//!
//! Deterministic because each edit is one change whose actor is the whole statement id (two edits can never share actor
//! and sequence number), whose time is 0, and which is committed on a document that holds exactly the edit's causal past.
//! Such a document is continued along a chain and copied only where the history branches, because building one costs with
//! its size. automerge draws a random actor for each document it makes; it is replaced before anything is committed.
//!
//! **automerge never sees bytes from outside**: it panics on mutated changes and documents. Only typed operations that
//! passed [`keymesh_wire::body::Body::check`] come here. Its history never shrinks, so nothing that must be destroyed
//! may be put into a descriptive field.
//!
//! Every path is one key of the root map. With nested maps two sides of a partition that both create `nodes` would each
//! make a map, and one map with all its fields would lose.

use std::collections::{BTreeMap, BTreeSet};

use automerge::transaction::{CommitOptions, Transactable, Transaction};
use automerge::{ActorId, Automerge, ObjId, ROOT, ReadDoc, ScalarValue, Value};
use keymesh_wire::body::EditOp;
use keymesh_wire::ids::StatementId;
use serde::Serialize;

/// The longest path of an operation; a longer one is skipped.
pub const PATH: usize = 6;

/// Cannot be part of a field's name (`a-z 0-9 . _ -`).
const SEPARATOR: char = '/';

/// One valid edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HumanEdit {
    /// The statement.
    pub id: StatementId,
    /// Its nearest valid ancestors that are edits. Those that are not among the edits given are ignored.
    pub parents: Vec<StatementId>,
    /// What it does, in order.
    pub ops: Vec<ViewOp>,
}

/// One operation on the fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ViewOp {
    /// Sets the text at a path.
    Put {
        /// Field names from the outside in.
        path: Vec<String>,
        /// The text.
        value: String,
    },
    /// Removes the text at a path and everything beneath it, as far as the edit had seen it.
    Delete {
        /// Field names from the outside in.
        path: Vec<String>,
    },
}

impl From<&EditOp> for ViewOp {
    fn from(op: &EditOp) -> Self {
        match op {
            EditOp::Put { path, value } => Self::Put { path: path.clone(), value: value.clone() },
            EditOp::Delete { path } => Self::Delete { path: path.clone() },
        }
    }
}

/// The fields as all valid edits make them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Materialised {
    /// The fields by name.
    pub fields: BTreeMap<String, Field>,
    /// The automerge heads, as sorted hex: equal heads mean equal histories.
    pub heads: Vec<String>,
    /// Every edit, each after the edits it had seen.
    pub history: Vec<HistoryEntry>,
}

/// A field: a text, fields within, or both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Field {
    /// The text that wins among concurrent ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// All concurrent texts with who put them, the winning one included, sorted; empty if there is only one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<Contender>,
    /// The fields within.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Field>,
}

/// A text that some edit put and that no edit which saw it replaced.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Contender {
    /// The edit.
    pub by: StatementId,
    /// The text.
    pub value: String,
}

/// One edit of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HistoryEntry {
    /// The statement, which tells author and time.
    pub edit: StatementId,
    /// What it did.
    pub ops: Vec<ViewOp>,
}

impl Materialised {
    /// The field at a path.
    pub fn field(&self, path: &[&str]) -> Option<&Field> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.fields.get(*first)?, |field, name| field.fields.get(*name))
    }
}

/// Builds the view from the valid edits, given in any order; an edit given twice counts once.
///
/// About 0.2 ms per edit in a release build while the history is linear; each branch or merge costs with the size of the
/// document.
pub fn materialise(edits: &[HumanEdit]) -> Materialised {
    build(&causal_order(edits))
}

/// Each edit after its parents, keeping chains together; the same for every order of the input.
fn causal_order(edits: &[HumanEdit]) -> Vec<&HumanEdit> {
    let by_id: BTreeMap<StatementId, &HumanEdit> = edits.iter().map(|edit| (edit.id, edit)).collect();
    let mut children: BTreeMap<StatementId, Vec<StatementId>> = BTreeMap::new();
    let mut missing: BTreeMap<StatementId, usize> = BTreeMap::new();
    let mut ready = Vec::new();
    for (id, edit) in by_id.iter().rev() {
        let parents: BTreeSet<_> = edit.parents.iter().filter(|parent| by_id.contains_key(parent)).collect();
        if parents.is_empty() {
            ready.push(*id);
        }
        missing.insert(*id, parents.len());
        for parent in parents {
            children.entry(*parent).or_default().push(*id);
        }
    }
    let mut order = Vec::with_capacity(by_id.len());
    while let Some(id) = ready.pop() {
        order.push(by_id[&id]);
        for child in children.get(&id).into_iter().flatten() {
            let waiting_for = missing.entry(*child).or_default();
            *waiting_for = waiting_for.saturating_sub(1);
            if *waiting_for == 0 {
                ready.push(*child);
            }
        }
    }
    order
}

/// Applies edits in an order in which each comes after its parents.
fn build(order: &[&HumanEdit]) -> Materialised {
    let mut whole = Automerge::new();
    let mut branches = Branches::of(order);
    for edit in order {
        let mut document = branches.past_of(edit);
        commit(&mut document, edit);
        if let Some(leaf) = branches.keep(edit.id, document) {
            join(&mut whole, leaf);
        }
    }
    let mut heads: Vec<String> = whole.get_heads().iter().map(ToString::to_string).collect();
    heads.sort_unstable();
    let history = order.iter().map(|edit| HistoryEntry { edit: edit.id, ops: edit.ops.clone() }).collect();
    Materialised { fields: fields(&whole), heads, history }
}

/// For each edit that others follow the document that ends with it, as long as some of them are still to come.
struct Branches {
    followers: BTreeMap<StatementId, usize>,
    documents: BTreeMap<StatementId, Automerge>,
}

impl Branches {
    fn of(order: &[&HumanEdit]) -> Self {
        let ids: BTreeSet<StatementId> = order.iter().map(|edit| edit.id).collect();
        let mut followers = BTreeMap::new();
        for edit in order {
            for parent in edit.parents.iter().filter(|parent| ids.contains(parent)).collect::<BTreeSet<_>>() {
                *followers.entry(*parent).or_insert(0) += 1;
            }
        }
        Self { followers, documents: BTreeMap::new() }
    }

    /// The document that holds exactly what the edit had seen.
    fn past_of(&mut self, edit: &HumanEdit) -> Automerge {
        let parents: BTreeSet<StatementId> = edit.parents.iter().copied().collect();
        let mut past: Option<Automerge> = None;
        for parent in parents {
            let Some(document) = self.take(parent) else { continue };
            match &mut past {
                None => past = Some(document),
                Some(past) => join(past, document),
            }
        }
        past.unwrap_or_default()
    }

    /// The document itself for the last follower, a copy for the others.
    fn take(&mut self, id: StatementId) -> Option<Automerge> {
        let followers = self.followers.get_mut(&id)?;
        *followers = followers.saturating_sub(1);
        if *followers == 0 { self.documents.remove(&id) } else { self.documents.get(&id).cloned() }
    }

    /// Keeps the document if edits follow, otherwise gives it back.
    fn keep(&mut self, id: StatementId, document: Automerge) -> Option<Automerge> {
        if self.followers.contains_key(&id) {
            self.documents.insert(id, document);
            None
        } else {
            Some(document)
        }
    }
}

fn join(document: &mut Automerge, mut other: Automerge) {
    if document.is_empty() {
        *document = other;
        return;
    }
    document.merge(&mut other).expect("changes that this module built have their dependencies");
}

fn commit(document: &mut Automerge, edit: &HumanEdit) {
    document.set_actor(ActorId::from(edit.id.as_bytes().as_slice()));
    let options = || CommitOptions::default().with_time(0);
    let mut transaction = document.transaction();
    edit.ops.iter().for_each(|op| apply(&mut transaction, op));
    if let (None, _) = transaction.commit_with(options()) {
        // A deletion of what is not there makes no operation, but the edit belongs to the history all the same.
        document.empty_commit(options());
    }
}

fn apply(transaction: &mut Transaction<'_>, op: &ViewOp) {
    match op {
        ViewOp::Put { path, value } => {
            let Some(key) = key(path) else { return };
            if is_already(transaction, &key, value) {
                // automerge drops a put that changes nothing. But who confirms a text while another replaces it disagrees,
                // and that must show.
                transaction.delete(ROOT, key.as_str()).expect("the root is a map and the key is there");
            }
            transaction.put(ROOT, key, value.as_str()).expect("the root is a map and the key is not empty");
        }
        ViewOp::Delete { path } => {
            let Some(key) = key(path) else { return };
            let beneath = format!("{key}{SEPARATOR}");
            let gone: Vec<String> =
                transaction.keys(ROOT).filter(|seen| *seen == key || seen.starts_with(&beneath)).collect();
            for key in gone {
                transaction.delete(ROOT, key).expect("the root is a map and the key is there");
            }
        }
    }
}

fn is_already(transaction: &Transaction<'_>, key: &str, value: &str) -> bool {
    transaction.get(ROOT, key).ok().flatten().and_then(|(seen, _)| text(seen)).as_deref() == Some(value)
}

fn key(path: &[String]) -> Option<String> {
    let fits =
        (1..=PATH).contains(&path.len()) && path.iter().all(|name| !name.is_empty() && !name.contains(SEPARATOR));
    fits.then(|| path.join(&SEPARATOR.to_string()))
}

fn fields(document: &Automerge) -> BTreeMap<String, Field> {
    let mut top = Field::default();
    for key in document.keys(ROOT) {
        let field = key.split(SEPARATOR).fold(&mut top, |field, name| field.fields.entry(name.to_owned()).or_default());
        field.value = document.get(ROOT, key.as_str()).ok().flatten().and_then(|(value, _)| text(value));
        let mut contenders: Vec<Contender> = document
            .get_all(ROOT, key.as_str())
            .into_iter()
            .flatten()
            .filter_map(|(value, put)| Some(Contender { by: author(&put)?, value: text(value)? }))
            .collect();
        if contenders.len() > 1 {
            contenders.sort_unstable();
            field.conflicts = contenders;
        }
    }
    top.fields
}

fn text(value: Value<'_>) -> Option<String> {
    match value.into_scalar().ok()? {
        ScalarValue::Str(text) => Some(text.to_string()),
        _ => None,
    }
}

/// The edit that made an operation, which is its actor.
fn author(operation: &ObjId) -> Option<StatementId> {
    match operation {
        ObjId::Root => None,
        ObjId::Id(_, actor, _) => actor.to_bytes().try_into().ok().map(StatementId::from_bytes),
    }
}

#[cfg(test)]
mod tests;
