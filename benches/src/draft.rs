//! A document as the people of a benchmark write it: signed statements, ready to be handed to a node.
//!
//! Each statement names all that was said before as its parents, so that a document is one line of history unless it
//! was read from nodes. Holds the same document as a node does and folds it with the same code.

use std::collections::BTreeSet;

use keymesh_mesh::state::{Document, TenantState};
use keymesh_wire::api::Submit;
use keymesh_wire::body::Body;
use keymesh_wire::ids::{BlobHash, DocumentId, StatementId};
use keymesh_wire::sign::Identity;
use keymesh_wire::statement::Checked;
use keymesh_wire::time::Wall;
use sha2::{Digest as _, Sha256};

use crate::error::BenchError;

/// A document that is being written.
#[derive(Debug)]
pub struct Draft {
    document: Document,
    /// SHA-256 of the envelopes that were taken in: looking again costs no signature checks.
    seen: BTreeSet<[u8; 32]>,
    fresh: Submit,
}

impl Draft {
    /// Begins a document.
    ///
    /// # Errors
    /// [`BenchError::Statement`] if `body` breaks a limit; [`BenchError::Unexpected`] if it begins no document.
    pub fn begin(body: &Body, by: &Identity, time: Wall) -> Result<Self, BenchError> {
        let genesis = Checked::sign(body, None, Vec::new(), time, by)?;
        let fresh = Submit { statements: vec![genesis.bytes().to_vec()], blobs: Vec::new() };
        let document = Document::begin(genesis).ok_or(BenchError::Unexpected("this body begins no document"))?;
        Ok(Self { document, seen: BTreeSet::new(), fresh })
    }

    /// Says something after everything that is in here. The state follows with [`Draft::fold`].
    ///
    /// # Errors
    /// [`BenchError::Statement`] if `body` breaks a limit.
    pub fn say(&mut self, body: &Body, by: &Identity, time: Wall) -> Result<StatementId, BenchError> {
        let parents = self.document.graph().parents_for_new();
        let statement = Checked::sign(body, Some(self.document.id()), parents, time, by)?;
        let id = statement.id();
        self.fresh.statements.push(statement.bytes().to_vec());
        self.document.insert(statement);
        Ok(id)
    }

    /// Puts a ciphertext beside the next statements.
    pub fn attach(&mut self, ciphertext: Vec<u8>) -> BlobHash {
        let hash = BlobHash::from_bytes(Sha256::digest(&ciphertext).into());
        self.fresh.blobs.push(ciphertext);
        hash
    }

    /// What was said and attached since the last time.
    pub fn take(&mut self) -> Submit {
        std::mem::take(&mut self.fresh)
    }

    /// Takes in what a node holds, parents before children.
    ///
    /// # Errors
    /// [`BenchError::Statement`].
    pub fn catch_up(&mut self, statements: &[Vec<u8>]) -> Result<(), BenchError> {
        for bytes in statements {
            let digest = Sha256::digest(bytes).into();
            if !self.seen.contains(&digest) {
                self.document.insert(Checked::from_bytes(bytes)?);
                self.seen.insert(digest);
            }
        }
        self.fold();
        Ok(())
    }

    /// Brings the state up to date.
    pub fn fold(&mut self) {
        self.document.refold();
    }

    /// The document.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The document's id.
    pub fn id(&self) -> DocumentId {
        self.document.id()
    }

    /// How many statements it has.
    pub fn len(&self) -> usize {
        self.document.graph().len()
    }

    /// Never: a document has at least the statement that began it.
    pub fn is_empty(&self) -> bool {
        self.document.graph().is_empty()
    }

    /// The tenant's state as of the last fold.
    ///
    /// # Errors
    /// [`BenchError::Unexpected`] for the mesh's document.
    pub fn tenant(&self) -> Result<&TenantState, BenchError> {
        self.document.tenant().ok_or(BenchError::Unexpected("the mesh's document is no tenant's"))
    }
}
