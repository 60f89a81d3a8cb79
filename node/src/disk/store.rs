//! What the node keeps about the mesh: the trait, its record families and batches.
//!
//! A batch is all or nothing, and once `commit` has returned it survives `kill -9` and power loss (I8). One commit is
//! one wait for the device: whoever has several batches waiting merges them first, which is all that group commit is.
//!
//! Nothing secret belongs here. The store is copy-on-write, so freed bytes linger in its file: shares live in
//! [`super::slots`], erasable ciphertexts in [`super::blobs`]. What the bytes mean is the mesh core's business.

use keymesh_wire::ids::{DocumentId, StatementId};

use super::error::DiskError;

/// A kind of record, with its own key space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Statements: the document's id and the statement's id to the exact signed bytes.
    Statements,
    /// The node's own small durable state: a text key to bytes.
    Meta,
    /// What waits for something, under keys of the caller's choice.
    Pending,
}

impl Family {
    /// Every family.
    pub const ALL: [Family; 3] = [Family::Statements, Family::Meta, Family::Pending];

    /// The name used in messages and inside record checksums.
    pub fn name(self) -> &'static str {
        match self {
            Family::Statements => "statements",
            Family::Meta => "meta",
            Family::Pending => "pending",
        }
    }
}

/// One change of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The family of the record.
    pub family: Family,
    /// The key inside the family.
    pub key: Vec<u8>,
    /// The new value; none deletes the record.
    pub value: Option<Vec<u8>>,
}

/// Changes that become durable together, applied in order: of two changes to one record the later stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    changes: Vec<Change>,
}

impl Batch {
    /// A batch without changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a record, replacing one under the same key.
    pub fn put(&mut self, family: Family, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> &mut Self {
        self.changes.push(Change { family, key: key.into(), value: Some(value.into()) });
        self
    }

    /// Removes a record; none under the key is fine.
    pub fn delete(&mut self, family: Family, key: impl Into<Vec<u8>>) -> &mut Self {
        self.changes.push(Change { family, key: key.into(), value: None });
        self
    }

    /// Writes a statement.
    pub fn put_statement(&mut self, document: DocumentId, id: StatementId, bytes: impl Into<Vec<u8>>) -> &mut Self {
        self.put(Family::Statements, statement_key(document, id), bytes)
    }

    /// Writes a piece of the node's own state.
    pub fn put_meta(&mut self, key: &str, value: impl Into<Vec<u8>>) -> &mut Self {
        self.put(Family::Meta, key.as_bytes(), value)
    }

    /// Appends the changes of another batch, so that both share one wait for the device.
    pub fn merge(&mut self, mut other: Batch) -> &mut Self {
        self.changes.append(&mut other.changes);
        self
    }

    /// The changes in order.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// True when there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// A record as read: key and value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The key inside its family.
    pub key: Vec<u8>,
    /// The bytes that were put.
    pub value: Vec<u8>,
}

/// Counts of a full check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verified {
    /// Records read and found whole.
    pub records: u64,
    /// Their keys and values in bytes.
    pub bytes: u64,
}

/// Durable records. Implementations may be called from any thread; commits happen one after the other.
pub trait Store: Send + Sync {
    /// The value under a key. Damage to the record is an error, never an absence.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError>;

    /// Up to `limit` records whose key begins with `prefix` and is greater than `after`, in key order.
    fn range(
        &self,
        family: Family,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Record>, DiskError>;

    /// Makes a batch durable and returns the number of this commit, counted from the store's creation. An empty batch
    /// costs nothing and returns the number of the last commit.
    ///
    /// After an error the batch may or may not be there when the store is next opened, and this store accepts no more.
    fn commit(&self, batch: &Batch) -> Result<u64, DiskError>;

    /// Reads every record and checks it.
    fn verify(&self) -> Result<Verified, DiskError>;

    /// A statement's exact bytes.
    fn statement(&self, document: DocumentId, id: StatementId) -> Result<Option<Vec<u8>>, DiskError> {
        self.get(Family::Statements, &statement_key(document, id))
    }

    /// A piece of the node's own state.
    fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, DiskError> {
        self.get(Family::Meta, key.as_bytes())
    }

    /// Hands every record of a family under `prefix` to `visit` in key order, reading a page at a time.
    fn for_each(&self, family: Family, prefix: &[u8], visit: &mut dyn FnMut(Record)) -> Result<(), DiskError> {
        const PAGE: usize = 1024;
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.range(family, prefix, after.as_deref(), PAGE)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.key.clone());
            let full = page.len() == PAGE;
            page.into_iter().for_each(&mut *visit);
            if !full {
                return Ok(());
            }
        }
    }
}

/// The key of a statement: document id, then statement id, so that a document's statements lie together.
pub fn statement_key(document: DocumentId, id: StatementId) -> [u8; 64] {
    let mut key = [0; 64];
    key[..32].copy_from_slice(document.as_bytes());
    key[32..].copy_from_slice(id.as_bytes());
    key
}

/// The ids in a statement's key; none if the key has another length.
pub fn statement_of_key(key: &[u8]) -> Option<(DocumentId, StatementId)> {
    let (document, id) = key.split_at_checked(32)?;
    Some((DocumentId::from_bytes(document.try_into().ok()?), StatementId::from_bytes(id.try_into().ok()?)))
}
