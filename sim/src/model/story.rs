//! The story of one document: every statement of it that ever reached a disk, each with its whole past spelled out.
//!
//! Plain sets and nothing clever: what a statement had seen is a set of places, what a node knows is one too.

use std::collections::BTreeMap;

use keymesh_wire::body::{Body, key_id, keyring_id};
use keymesh_wire::ids::{DocumentId, KeyId, KeyringId, PrincipalId, StatementId};
use keymesh_wire::statement::Checked;

/// The kind of statements that this software does not understand.
pub const STRANGE: &str = "strange";

/// A set of places in a story. Equal sets are equal values.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Set(Vec<u64>);

impl Set {
    /// Adds a place.
    pub fn insert(&mut self, place: usize) {
        if self.0.len() <= place / 64 {
            self.0.resize(place / 64 + 1, 0);
        }
        self.0[place / 64] |= 1 << (place % 64);
    }

    /// Whether a place is in it.
    pub fn has(&self, place: usize) -> bool {
        self.0.get(place / 64).is_some_and(|word| word & (1 << (place % 64)) != 0)
    }

    /// Adds all of another set.
    pub fn add(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(mine, theirs)| *mine |= theirs);
    }

    /// The places in it, in order.
    pub fn places(&self) -> impl Iterator<Item = usize> {
        let words = self.0.iter().enumerate();
        words.flat_map(|(word, bits)| (0..64).filter(move |bit| bits & (1 << bit) != 0).map(move |bit| word * 64 + bit))
    }
}

/// Why a statement cannot be part of a story.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoPart {
    /// A parent of it is not there, or in another document.
    #[error("its parent {0} is not there")]
    Parent(StatementId),
}

/// One document's statements, parents before children.
#[derive(Debug, Default)]
pub struct Story {
    statements: Vec<Checked>,
    places: BTreeMap<StatementId, usize>,
    pasts: Vec<Set>,
    kinds: BTreeMap<&'static str, Vec<usize>>,
    endorsements: BTreeMap<usize, Vec<usize>>,
    keyrings: BTreeMap<KeyringId, Vec<usize>>,
    keys: BTreeMap<KeyId, Vec<usize>>,
}

impl Story {
    /// Adds a statement. Returns its place.
    ///
    /// # Errors
    /// When it names a parent that is not here.
    pub fn add(&mut self, statement: Checked) -> Result<usize, NoPart> {
        if let Some(known) = self.places.get(&statement.id()) {
            return Ok(*known);
        }
        let mut past = Set::default();
        for parent in statement.parents() {
            let place = self.place(parent).ok_or(NoPart::Parent(*parent))?;
            past.insert(place);
            past.add(&self.pasts[place]);
        }
        let place = self.statements.len();
        let (document, author) = (statement.document(), statement.author());
        match statement.body() {
            Some(Body::Endorse(target)) => {
                if let Some(target) = self.place(target).filter(|target| past.has(*target)) {
                    self.endorsements.entry(target).or_default().push(place);
                }
            }
            Some(Body::CreateKeyring(new)) => {
                self.keyrings.entry(keyring_id(&document, &author, &new.nonce)).or_default().push(place);
            }
            Some(Body::CreateKey(new)) => {
                self.keys.entry(key_id(&document, &author, &new.nonce)).or_default().push(place);
            }
            _ => {}
        }
        self.kinds.entry(statement.body().map_or(STRANGE, Body::kind)).or_default().push(place);
        self.places.insert(statement.id(), place);
        self.statements.push(statement);
        self.pasts.push(past);
        Ok(place)
    }

    /// The document, once it has begun.
    pub fn document(&self) -> Option<DocumentId> {
        self.statements.first().map(Checked::document)
    }

    /// Where a statement is.
    pub fn place(&self, id: &StatementId) -> Option<usize> {
        self.places.get(id).copied()
    }

    /// How many statements there are.
    pub fn len(&self) -> usize {
        self.statements.len()
    }

    /// Whether there are none yet.
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// A statement.
    pub fn at(&self, place: usize) -> &Checked {
        &self.statements[place]
    }

    /// What it says.
    pub fn body(&self, place: usize) -> Option<&Body> {
        self.statements[place].body()
    }

    /// Its author.
    pub fn author(&self, place: usize) -> PrincipalId {
        self.statements[place].author()
    }

    /// Its id.
    pub fn id(&self, place: usize) -> StatementId {
        self.statements[place].id()
    }

    /// Everything its author had seen.
    pub fn past(&self, place: usize) -> &Set {
        &self.pasts[place]
    }

    /// Whether neither of two statements had seen the other.
    pub fn concurrent(&self, one: usize, other: usize) -> bool {
        one != other && !self.pasts[one].has(other) && !self.pasts[other].has(one)
    }

    /// Statements of a kind, by the kind's name.
    pub fn of_kind(&self, kind: &str) -> impl Iterator<Item = usize> + '_ {
        self.kinds.get(kind).into_iter().flatten().copied()
    }

    /// Endorsements of a proposal that had seen it.
    pub fn endorsements(&self, proposal: usize) -> impl Iterator<Item = usize> + '_ {
        self.endorsements.get(&proposal).into_iter().flatten().copied()
    }

    /// Statements that make the keyring with this id.
    pub fn makers_of_keyring(&self, keyring: &KeyringId) -> impl Iterator<Item = usize> + '_ {
        self.keyrings.get(keyring).into_iter().flatten().copied()
    }

    /// All keyring ids that anybody claimed.
    pub fn keyrings(&self) -> impl Iterator<Item = KeyringId> + '_ {
        self.keyrings.keys().copied()
    }

    /// All key ids that anybody claimed, with the statements that do.
    pub fn keys(&self) -> impl Iterator<Item = (KeyId, &[usize])> {
        self.keys.iter().map(|(id, places)| (*id, places.as_slice()))
    }
}
