//! A look into a statement's envelope without checking its signature.
//!
//! Enough to know whether the statement is new and where it belongs, so that only new ones cost a signature check. Nothing
//! found here is believed. Beside it, the causal order of statements that are already held.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::codec;
use keymesh_wire::envelope::Signable;
use keymesh_wire::ids::{DocumentId, StatementId};
use keymesh_wire::statement::Statement;
use minicbor::Decoder;
use sha2::{Digest, Sha256};

use super::Holdings;

/// What an envelope says about its statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peeked {
    /// The id the statement has if the envelope holds.
    pub(super) id: StatementId,
    /// The document it belongs to or begins.
    pub(super) document: DocumentId,
    /// Its parents; empty when it begins a document.
    pub(super) parents: Vec<StatementId>,
}

/// Reads the payload of an envelope, or nothing when it has none of the right shape.
pub(super) fn peek(bytes: &[u8]) -> Option<Peeked> {
    let mut decoder = Decoder::new(bytes);
    if decoder.array().ok()? != Some(4) {
        return None;
    }
    decoder.bytes().ok()?;
    if decoder.map().ok()? != Some(0) {
        return None;
    }
    let payload = decoder.bytes().ok()?;
    let statement: Statement = codec::decode(payload, Statement::LIMIT).ok()?;
    let mut hash = Sha256::new();
    hash.update((Statement::DOMAIN.len() as u64).to_be_bytes());
    hash.update(Statement::DOMAIN.as_bytes());
    hash.update(payload);
    let id = StatementId::from_bytes(hash.finalize().into());
    Some(Peeked { id, document: statement.document.unwrap_or_else(|| id.into()), parents: statement.parents })
}

/// Those of `ids` that are held, each after those of its ancestors that are among them; ties by id.
pub(super) fn causal_order(
    ids: impl IntoIterator<Item = StatementId>,
    document: &DocumentId,
    holdings: &impl Holdings,
) -> Vec<StatementId> {
    let parents: BTreeMap<StatementId, &[StatementId]> =
        ids.into_iter().filter_map(|id| Some((id, holdings.parents(document, &id)?))).collect();
    let mut children: BTreeMap<StatementId, Vec<StatementId>> = BTreeMap::new();
    let mut open: BTreeMap<StatementId, usize> = BTreeMap::new();
    let mut ready = BTreeSet::new();
    for (id, of) in &parents {
        let inside: Vec<_> = of.iter().filter(|parent| parents.contains_key(*parent)).collect();
        if inside.is_empty() {
            ready.insert(*id);
        }
        open.insert(*id, inside.len());
        for parent in inside {
            children.entry(*parent).or_default().push(*id);
        }
    }
    let mut order = Vec::with_capacity(parents.len());
    while let Some(id) = ready.pop_first() {
        order.push(id);
        for child in children.remove(&id).unwrap_or_default() {
            if let Some(left) = open.get_mut(&child) {
                *left -= 1;
                if *left == 0 {
                    ready.insert(child);
                }
            }
        }
    }
    order
}
