//! One replicated document: its statements, their fold, and the digest by which two nodes compare.

use std::sync::Arc;

use keymesh_wire::body::Body;
use keymesh_wire::ids::{DocumentId, PrincipalId, StatementId};
use keymesh_wire::statement::{Checked, Content};
use keymesh_wire::suite::Level;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::authority::{Authority, Guard, guard};
use super::graph::{Graph, Insertion};
use super::mesh::MeshState;
use super::tenant::TenantState;

/// A proposal that waits for endorsements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pending {
    /// The proposal.
    pub statement: StatementId,
    /// Its kind.
    pub kind: &'static str,
    /// Who proposed it.
    pub author: PrincipalId,
    /// Who stands behind it, the proposer included.
    pub persons: Vec<PrincipalId>,
    /// How many it needs.
    pub required: usize,
}

/// A statement whose authority a removal took away, shown to people because something may hang on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Quarantined {
    /// The statement.
    pub statement: StatementId,
    /// Its kind.
    pub kind: &'static str,
    /// Its author.
    pub author: PrincipalId,
}

/// What a document's statements mean.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DocumentState {
    /// The mesh's document.
    Mesh(MeshState),
    /// A tenant's document.
    Tenant(TenantState),
}

/// One replicated document.
#[derive(Debug, Clone)]
pub struct Document {
    graph: Graph,
    state: Arc<DocumentState>,
    digest: [u8; 32],
    above: Option<Level>,
    stale: bool,
}

impl Document {
    /// A document that begins with `genesis`; nothing if that does not begin one.
    pub fn begin(genesis: Checked) -> Option<Self> {
        if !genesis.body().is_some_and(Body::begins_document) {
            return None;
        }
        let graph = Graph::begin(genesis);
        let state = Arc::new(fold(&graph)?);
        let digest = digest(&graph, &state);
        Some(Self { graph, state, digest, above: None, stale: false })
    }

    /// Adds a statement if its parents are here. The state stays as it was until [`Document::refold`].
    pub fn insert(&mut self, statement: Checked) -> Insertion {
        if let Content::Above(level) = statement.content() {
            self.above = self.above.max(Some(*level));
        }
        let insertion = self.graph.insert(statement);
        self.stale |= matches!(insertion, Insertion::New(_));
        insertion
    }

    /// Brings the state up to date with the statements. Returns whether anything was new.
    pub fn refold(&mut self) -> bool {
        if !std::mem::take(&mut self.stale) {
            return false;
        }
        if let Some(state) = fold(&self.graph) {
            self.state = Arc::new(state);
            self.digest = digest(&self.graph, &self.state);
        }
        true
    }

    /// The document's id.
    pub fn id(&self) -> DocumentId {
        self.graph.document()
    }

    /// The statements.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// What they mean.
    pub fn state(&self) -> &Arc<DocumentState> {
        &self.state
    }

    /// The mesh's state, if this is the mesh's document.
    pub fn mesh(&self) -> Option<&MeshState> {
        match &*self.state {
            DocumentState::Mesh(state) => Some(state),
            DocumentState::Tenant(_) => None,
        }
    }

    /// The tenant's state, if this is a tenant's document.
    pub fn tenant(&self) -> Option<&TenantState> {
        match &*self.state {
            DocumentState::Tenant(state) => Some(state),
            DocumentState::Mesh(_) => None,
        }
    }

    /// SHA-256 over the ids and the folded state.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The level this document asks for, if it is above this software's: then it is kept and forwarded, not served.
    pub fn above(&self) -> Option<Level> {
        self.above
    }
}

fn fold(graph: &Graph) -> Option<DocumentState> {
    let authority = Authority::judge(graph);
    match graph.entries().first().and_then(|entry| entry.statement.body())? {
        Body::MeshGenesis(genesis) => Some(DocumentState::Mesh(MeshState::fold(graph, &authority, genesis))),
        Body::TenantGenesis(genesis) => Some(DocumentState::Tenant(TenantState::fold(graph, &authority, genesis))),
        _ => None,
    }
}

fn digest(graph: &Graph, state: &DocumentState) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"keymesh document digest v1");
    for id in graph.ids() {
        hash.update(id.as_bytes());
    }
    // The state holds only ordered maps and sets, so its JSON is one text for one state.
    match serde_json::to_vec(state) {
        Ok(text) => hash.update(text),
        Err(never) => unreachable!("state of maps with string keys serialises: {never}"),
    }
    hash.finalize().into()
}

/// Proposals without enough endorsements yet.
pub(super) fn pending(graph: &Graph, authority: &Authority<'_>) -> Vec<Pending> {
    let mut pending: Vec<_> = graph
        .entries()
        .iter()
        .enumerate()
        .filter_map(|(index, entry)| {
            let body = entry.statement.body()?;
            if guard(body) == Guard::Single || !authority.is_valid(index) || authority.is_effective(index) {
                return None;
            }
            let support = authority.support(index);
            Some(Pending {
                statement: entry.statement.id(),
                kind: body.kind(),
                author: entry.statement.author(),
                persons: support.persons.into_iter().collect(),
                required: support.required,
            })
        })
        .collect();
    pending.sort_by_key(|proposal| proposal.statement);
    pending
}

/// Statements whose authority a removal took away.
pub(super) fn quarantined(graph: &Graph, authority: &Authority<'_>) -> Vec<Quarantined> {
    let mut quarantined: Vec<_> = graph
        .entries()
        .iter()
        .enumerate()
        .filter(|(index, _)| authority.is_quarantined(*index))
        .filter_map(|(_, entry)| {
            Some(Quarantined {
                statement: entry.statement.id(),
                kind: entry.statement.body()?.kind(),
                author: entry.statement.author(),
            })
        })
        .collect();
    quarantined.sort_by_key(|entry| entry.statement);
    quarantined
}
