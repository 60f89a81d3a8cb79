//! The statements of one document and their causal order.
//!
//! Statements enter only after their parents, so the order of entry is a topological one; nothing that is computed from
//! the graph depends on which. For each statement the graph knows which *pivotal* statements lie in its past. Pivotal are
//! the kinds on which other statements' authority or precedence can depend; the many small ones (votes, witnesses, keys)
//! are not, so the table stays narrow.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::body::{Body, KeyState};
use keymesh_wire::ids::{DocumentId, PrincipalId, StatementId};
use keymesh_wire::limits;
use keymesh_wire::statement::Checked;

use crate::mutant::{self, Mutant};

/// A statement's place in the order of entry.
pub type Index = usize;

/// A set of pivotal statements.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Past(Vec<u64>);

impl Past {
    fn insert(&mut self, column: usize) {
        if self.0.len() <= column / 64 {
            self.0.resize(column / 64 + 1, 0);
        }
        self.0[column / 64] |= 1 << (column % 64);
    }

    fn contains(&self, column: usize) -> bool {
        self.0.get(column / 64).is_some_and(|word| word & (1 << (column % 64)) != 0)
    }

    fn unite(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }
}

/// One statement in the graph.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The statement.
    pub statement: Checked,
    /// Its parents' places.
    pub parents: Vec<Index>,
    height: u64,
    past: Past,
    column: Option<usize>,
}

/// What became of a statement that was offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Insertion {
    /// It is in the graph now.
    New(Index),
    /// It was there before.
    Known,
    /// These parents have to come first.
    Missing(Vec<StatementId>),
    /// It belongs to another document.
    Foreign,
}

/// The statements of one document.
#[derive(Debug, Clone)]
pub struct Graph {
    document: DocumentId,
    entries: Vec<Entry>,
    by_id: BTreeMap<StatementId, Index>,
    heads: BTreeSet<StatementId>,
    /// Of each author the statements that it has not built on since.
    tips: BTreeMap<PrincipalId, BTreeSet<Index>>,
    /// Of each author the custodians' words that no later one of them was built on.
    words: BTreeMap<PrincipalId, BTreeSet<Index>>,
    /// Who spoke as a custodian from two places at once.
    forked: BTreeSet<PrincipalId>,
    columns: usize,
}

impl Graph {
    /// A graph that begins with `genesis`, the statement that begins a document.
    pub fn begin(genesis: Checked) -> Self {
        let mut graph = Self {
            document: genesis.document(),
            entries: Vec::new(),
            by_id: BTreeMap::new(),
            heads: BTreeSet::new(),
            tips: BTreeMap::new(),
            words: BTreeMap::new(),
            forked: BTreeSet::new(),
            columns: 0,
        };
        graph.insert(genesis);
        graph
    }

    /// The document.
    pub fn document(&self) -> DocumentId {
        self.document
    }

    /// Adds a statement if its parents are here.
    pub fn insert(&mut self, statement: Checked) -> Insertion {
        if statement.document() != self.document {
            return Insertion::Foreign;
        }
        let id = statement.id();
        if self.by_id.contains_key(&id) {
            return Insertion::Known;
        }
        let mut parents = Vec::with_capacity(statement.parents().len());
        let mut missing = Vec::new();
        for parent in statement.parents() {
            match self.by_id.get(parent) {
                Some(index) => parents.push(*index),
                None => missing.push(*parent),
            }
        }
        if !missing.is_empty() && !mutant::is(Mutant::ParentsUnchecked) {
            return Insertion::Missing(missing);
        }
        let mut past = Past::default();
        let mut height = 0;
        for parent in &parents {
            let parent = &self.entries[*parent];
            height = height.max(parent.height + 1);
            past.unite(&parent.past);
            if let Some(column) = parent.column {
                past.insert(column);
            }
        }
        let column = statement.body().is_some_and(pivotal).then(|| {
            self.columns += 1;
            self.columns - 1
        });
        for parent in statement.parents() {
            self.heads.remove(parent);
        }
        self.heads.insert(id);
        let index = self.entries.len();
        self.by_id.insert(id, index);
        let author = statement.author();
        self.entries.push(Entry { statement, parents, height, past, column });
        self.advance_tips(author, index);
        Insertion::New(index)
    }

    /// An author's newest statement takes the place of those that it had seen.
    fn advance_tips(&mut self, author: PrincipalId, newest: Index) {
        let known = self.tips.get(&author).cloned().unwrap_or_default();
        let mut tips: BTreeSet<Index> = known.into_iter().filter(|tip| !self.is_behind(*tip, newest)).collect();
        tips.insert(newest);
        self.tips.insert(author, tips);
        if self.entries[newest].statement.body().is_some_and(is_custodians_word) {
            let known = self.words.get(&author).cloned().unwrap_or_default();
            let mut words: BTreeSet<Index> = known.into_iter().filter(|word| !self.is_behind(*word, newest)).collect();
            // A custodian is one machine that says one thing after another, each on top of the one before.
            if !words.is_empty() {
                self.forked.insert(author);
            }
            words.insert(newest);
            self.words.insert(author, words);
        }
    }

    /// Who spoke as a custodian from two places at once: two machines under one identity, or one that went back in time
    /// (I9). What one of them said later does not undo it.
    pub fn forked(&self) -> &BTreeSet<PrincipalId> {
        &self.forked
    }

    /// Whether `earlier` lies in the past of `later`, of whatever kinds they are.
    fn is_behind(&self, earlier: Index, later: Index) -> bool {
        let floor = self.entries[earlier].height;
        let mut seen = BTreeSet::new();
        let mut open = self.entries[later].parents.clone();
        while let Some(next) = open.pop() {
            if next == earlier {
                return true;
            }
            if self.entries[next].height > floor && seen.insert(next) {
                open.extend(&self.entries[next].parents);
            }
        }
        false
    }

    /// An author's newest statements, at most [`limits::PARENTS`]: one, as long as it speaks from one place.
    pub fn tips_of(&self, author: &PrincipalId) -> Vec<StatementId> {
        let tips = self.tips.get(author).into_iter().flatten().take(limits::PARENTS);
        tips.map(|index| self.entries[*index].statement.id()).collect()
    }

    /// Whether a statement is here.
    pub fn contains(&self, id: &StatementId) -> bool {
        self.by_id.contains_key(id)
    }

    /// A statement by id.
    pub fn get(&self, id: &StatementId) -> Option<&Checked> {
        self.by_id.get(id).map(|index| &self.entries[*index].statement)
    }

    /// How many statements lie on the longest way from a statement back to the document's beginning.
    pub fn height(&self, id: &StatementId) -> Option<u64> {
        self.by_id.get(id).map(|index| self.entries[*index].height)
    }

    /// A statement's place.
    pub fn index(&self, id: &StatementId) -> Option<Index> {
        self.by_id.get(id).copied()
    }

    /// All statements, parents before children.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// All ids in order.
    pub fn ids(&self) -> impl Iterator<Item = &StatementId> {
        self.by_id.keys()
    }

    /// How many statements there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// A graph always holds its genesis.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The newest statements, on which no other builds.
    pub fn heads(&self) -> impl Iterator<Item = &StatementId> {
        self.heads.iter()
    }

    /// What a new statement should name as its parents.
    pub fn parents_for_new(&self) -> Vec<StatementId> {
        self.heads.iter().take(limits::PARENTS).copied().collect()
    }

    /// The parents of what a node says next.
    pub fn parents_for(&self, author: &PrincipalId) -> Vec<StatementId> {
        // Its own newest ones first: where there are more heads than parents, it must not seem to have forgotten them.
        let own = self.tips_of(author);
        let own: Vec<StatementId> = own.into_iter().filter(|tip| self.heads.contains(tip)).collect();
        let others = self.heads.iter().filter(|head| !own.contains(head)).copied();
        own.iter().copied().chain(others).take(limits::PARENTS).collect()
    }

    /// Whether pivotal `earlier` lies in the past of `later`.
    pub fn precedes(&self, earlier: Index, later: Index) -> bool {
        let Some(column) = self.entries[earlier].column else {
            unreachable!("precedence is only asked of pivotal kinds")
        };
        self.entries[later].past.contains(column)
    }

    /// Everything in the past of `index`, pivotal or not.
    pub fn whole_past(&self, index: Index) -> BTreeSet<Index> {
        let mut seen = BTreeSet::new();
        let mut open = self.entries[index].parents.clone();
        while let Some(next) = open.pop() {
            if seen.insert(next) {
                open.extend(&self.entries[next].parents);
            }
        }
        seen
    }
}

/// Whether custodians, and only they, say this by themselves.
fn is_custodians_word(body: &Body) -> bool {
    matches!(body, Body::AttestRoot(_) | Body::VoteEnrolment(_) | Body::Witness(_) | Body::Sharing(_))
}

/// Whether other statements' authority or precedence can depend on this kind.
fn pivotal(body: &Body) -> bool {
    match body {
        Body::MeshGenesis(_)
        | Body::AdmitNode(_)
        | Body::RemoveNode(_)
        | Body::Endorse(_)
        | Body::AddAdmin(_)
        | Body::RemoveAdmin(_)
        | Body::SuspendAdmin(_)
        | Body::LiftSuspension(_)
        | Body::Edit(_)
        | Body::TenantGenesis(_)
        | Body::PlaceNode(_)
        | Body::DisplaceNode(_)
        | Body::ProposeRoot(_)
        | Body::CreateNamespace(_)
        | Body::Grant(_)
        | Body::RevokeGrant(_)
        | Body::CreateKeyring(_)
        | Body::OpenGeneration(_)
        | Body::SetPolicy(_)
        | Body::TrustEvidence(_)
        | Body::DistrustEvidence(_)
        | Body::Rename(_)
        | Body::ReshareRoot(_) => true,
        Body::SetKeyState(change) => change.state == KeyState::Destroyed,
        Body::AttestRoot(_)
        | Body::AttestGeneration(_)
        | Body::AccuseGeneration(_)
        | Body::CreateKey(_)
        | Body::AddVersion(_)
        | Body::VoteEnrolment(_)
        | Body::Revoke(_)
        | Body::Witness(_)
        | Body::RefreshShares(_)
        | Body::Sharing(_)
        | Body::AccuseCustodian(_) => false,
    }
}
