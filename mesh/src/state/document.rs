//! One replicated document: its statements, their fold, and the digest by which two nodes compare.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use keymesh_wire::body::Body;
use keymesh_wire::ids::{DocumentId, PrincipalId, StatementId};
use keymesh_wire::statement::{Checked, Content};
use keymesh_wire::suite::Level;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::authority::{Authority, Guard, guard};
use super::graph::{Graph, Insertion};
use super::mesh::MeshState;
use super::tenant::{TenantState, Unfit, check_seal};
use crate::custody::accusation::{Doubt, Judged};
use crate::materialise::{HumanEdit, Materialised, ViewOp, materialise};

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
    /// Made when somebody asks: statements come more often than digests are compared.
    digest: OnceLock<[u8; 32]>,
    above: Option<Level>,
    invalid: BTreeMap<StatementId, Option<Doubt>>,
    judged: Judged,
    stale: bool,
}

impl Document {
    /// A document that begins with `genesis`; nothing if that does not begin one.
    pub fn begin(genesis: Checked) -> Option<Self> {
        if !genesis.body().is_some_and(Body::begins_document) {
            return None;
        }
        let graph = Graph::begin(genesis);
        let mut judged = Judged::default();
        let Folded { state, above, invalid } = fold(&graph, &mut judged)?;
        let (state, digest) = (Arc::new(state), OnceLock::new());
        Some(Self { graph, state, digest, above, invalid, judged, stale: false })
    }

    /// Adds a statement if its parents are here. The state stays as it was until [`Document::refold`].
    pub fn insert(&mut self, statement: Checked) -> Insertion {
        let insertion = self.graph.insert(statement);
        self.stale |= matches!(insertion, Insertion::New(_));
        insertion
    }

    /// Brings the state up to date with the statements. Returns whether anything was new.
    pub fn refold(&mut self) -> bool {
        if !std::mem::take(&mut self.stale) {
            return false;
        }
        if let Some(Folded { state, above, invalid }) = fold(&self.graph, &mut self.judged) {
            self.state = Arc::new(state);
            self.above = above;
            self.invalid = invalid;
            self.digest = OnceLock::new();
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

    /// SHA-256 over the ids and the folded state; for a document whose state is up to date.
    pub fn digest(&self) -> [u8; 32] {
        debug_assert!(!self.stale, "the digest of statements with the state of fewer");
        *self.digest.get_or_init(|| digest(&self.graph, &self.state))
    }

    /// The level this document asks for by the word of somebody with a right in it, if it is above this software's: then
    /// it is kept and forwarded, not served.
    pub fn above(&self) -> Option<Level> {
        self.above
    }

    /// Whether a statement is held that does not count, as things stand: its author had no right to it, or it accuses
    /// somebody of what did not happen.
    pub fn is_invalid(&self, id: &StatementId) -> bool {
        self.invalid.contains_key(id)
    }

    /// Why an accusation that is held does not count.
    pub fn doubt(&self, id: &StatementId) -> Option<&Doubt> {
        self.invalid.get(id)?.as_ref()
    }

    /// The first of these statements that would seal a version to a generation it may not be sealed to any more, or not
    /// yet, were they added.
    pub fn unfit_seal(&self, statements: &[&Checked]) -> Option<(StatementId, Unfit)> {
        let seals = |statement: &&&Checked| {
            let sealed = match statement.body() {
                Some(Body::CreateKey(new)) => new.version.generation,
                Some(Body::AddVersion(new)) => new.version.generation,
                _ => 0,
            };
            sealed != 0 && !self.graph.contains(&statement.id())
        };
        let sealing: Vec<&&Checked> = statements.iter().filter(seals).collect();
        if sealing.is_empty() {
            return None;
        }
        let mut with = self.clone();
        statements.iter().for_each(|statement| drop(with.insert((*statement).clone())));
        with.refold();
        let authority = Authority::judge(&with.graph);
        let state = with.tenant()?;
        sealing.into_iter().find_map(|statement| {
            let index = with.graph.index(&statement.id())?;
            let unfit = check_seal(state, &with.graph, &authority, index).err()?;
            Some((statement.id(), unfit))
        })
    }

    /// Whom the statements that hold make somebody here: founders, admins, nodes, holders of roles, past ones included.
    /// What an author may do follows from the statement's own past, so whoever is not among them has a right to nothing
    /// that could be added now.
    pub fn somebodies(&self) -> BTreeSet<PrincipalId> {
        let holding = self.graph.entries().iter().filter(|entry| !self.invalid.contains_key(&entry.statement.id()));
        holding.filter_map(|entry| entry.statement.body()).flat_map(made_somebody).collect()
    }

    /// The descriptive fields that people edit, with conflicts and history. Built on demand: nothing is decided by it.
    pub fn materialise(&self) -> Materialised {
        materialise(&human_edits(&self.graph))
    }
}

/// Whom a statement gives a right to say something in its document, once it is in effect.
pub fn made_somebody(body: &Body) -> Vec<PrincipalId> {
    match body {
        Body::MeshGenesis(genesis) => genesis.founders.iter().map(|founder| founder.principal).collect(),
        Body::TenantGenesis(genesis) => {
            let admins = genesis.admins.iter().map(|admin| admin.principal);
            admins.chain(genesis.nodes.iter().map(|placed| placed.node)).collect()
        }
        Body::AddAdmin(person) => vec![person.principal],
        Body::AdmitNode(card) => vec![card.node],
        Body::PlaceNode(placement) => vec![placement.node],
        Body::Grant(grant) => vec![grant.principal],
        _ => Vec::new(),
    }
}

/// What a graph means.
struct Folded {
    state: DocumentState,
    above: Option<Level>,
    invalid: BTreeMap<StatementId, Option<Doubt>>,
}

fn fold(graph: &Graph, judged: &mut Judged) -> Option<Folded> {
    let authority = Authority::judge(graph);
    let mut doubted = BTreeMap::new();
    let state = match graph.entries().first().and_then(|entry| entry.statement.body())? {
        Body::MeshGenesis(genesis) => DocumentState::Mesh(MeshState::fold(graph, &authority, genesis)),
        Body::TenantGenesis(genesis) => {
            DocumentState::Tenant(TenantState::fold(graph, &authority, genesis, judged, &mut doubted))
        }
        _ => return None,
    };
    let without_right = graph.entries().iter().enumerate().filter(|(index, _)| !authority.is_valid(*index));
    let without_right = without_right.map(|(_, entry)| (entry.statement.id(), None));
    let doubted = doubted.into_iter().map(|(id, doubt)| (id, Some(doubt)));
    let invalid = without_right.chain(doubted).collect();
    let above = graph.entries().iter().enumerate().filter_map(|(index, entry)| match entry.statement.content() {
        Content::Above(level) if authority.has_standing(index) => Some(*level),
        Content::Above(_) | Content::Known(_) => None,
    });
    Some(Folded { state, above: above.max(), invalid })
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

/// The valid edits with their nearest edits as parents.
fn human_edits(graph: &Graph) -> Vec<HumanEdit> {
    let authority = Authority::judge(graph);
    // For each statement the newest valid edits in its past, itself included if it is one.
    let mut frontier: Vec<Vec<usize>> = Vec::with_capacity(graph.len());
    let mut edits = BTreeMap::new();
    for (index, entry) in graph.entries().iter().enumerate() {
        let mut nearest: Vec<usize> = entry.parents.iter().flat_map(|parent| frontier[*parent].clone()).collect();
        nearest.sort_unstable();
        nearest.dedup();
        let all = nearest.clone();
        nearest.retain(|edit| !all.iter().any(|other| other != edit && graph.precedes(*edit, *other)));
        match entry.statement.body() {
            Some(Body::Edit(ops)) if authority.is_valid(index) => {
                let parents = nearest.iter().map(|edit| graph.entries()[*edit].statement.id()).collect();
                let ops = ops.iter().map(ViewOp::from).collect();
                edits.insert(entry.statement.id(), HumanEdit { id: entry.statement.id(), parents, ops });
                frontier.push(vec![index]);
            }
            _ => frontier.push(nearest),
        }
    }
    edits.into_values().collect()
}
