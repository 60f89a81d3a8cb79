//! The state of the mesh's own document: who operates it and which nodes belong to it.

use std::collections::BTreeMap;

use keymesh_wire::body::{Body, MeshGenesis, NodeCard, Person};
use keymesh_wire::ids::{MeshId, NodeId, PrincipalId};
use serde::Serialize;

use super::authority::Authority;
use super::document::{Pending, Quarantined, pending, quarantined};
use super::graph::Graph;
use super::tenant::{Admin, admins};

/// Who operates the mesh and which nodes belong to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MeshState {
    /// The mesh.
    pub mesh: MeshId,
    /// Its name.
    pub name: String,
    /// How many operators a guarded change needs.
    pub endorsements: u8,
    /// Its operators.
    pub admins: BTreeMap<PrincipalId, Admin>,
    /// Its nodes.
    pub nodes: BTreeMap<NodeId, NodeCard>,
    /// Proposals that wait.
    pub pending: Vec<Pending>,
    /// Statements that lost their authority.
    pub quarantined: Vec<Quarantined>,
}

impl MeshState {
    pub(super) fn fold(graph: &Graph, authority: &Authority<'_>, genesis: &MeshGenesis) -> Self {
        Self {
            mesh: graph.document().into(),
            name: genesis.name.clone(),
            endorsements: genesis.endorsements,
            admins: admins(graph, authority, &genesis.founders),
            nodes: nodes(graph, authority),
            pending: pending(graph, authority),
            quarantined: quarantined(graph, authority),
        }
    }

    /// The operator with this key, suspended or not.
    pub fn admin(&self, principal: &PrincipalId) -> Option<&Person> {
        self.admins.get(principal).map(|admin| &admin.person)
    }
}

/// Effective admissions without an effective removal that they had not seen; the latest of them, by causal order and then
/// by id.
fn nodes(graph: &Graph, authority: &Authority<'_>) -> BTreeMap<NodeId, NodeCard> {
    let mut admissions = Vec::new();
    let mut removals = Vec::new();
    for (index, entry) in graph.entries().iter().enumerate().filter(|(index, _)| authority.is_effective(*index)) {
        match entry.statement.body() {
            Some(Body::AdmitNode(card)) => admissions.push((index, card)),
            Some(Body::RemoveNode(node)) => removals.push((index, *node)),
            _ => {}
        }
    }
    let mut live: Vec<_> = admissions
        .iter()
        .filter(|(admission, card)| {
            let removed =
                removals.iter().any(|(removal, node)| *node == card.node && !graph.precedes(*removal, *admission));
            let superseded =
                admissions.iter().any(|(other, later)| later.node == card.node && graph.precedes(*admission, *other));
            !removed && !superseded
        })
        .map(|(index, card)| (graph.entries()[*index].statement.id(), *card))
        .collect();
    live.sort_by_key(|(id, _)| *id);
    live.into_iter().map(|(_, card)| (card.node, card.clone())).collect()
}
