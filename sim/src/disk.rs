//! A node's disk: it keeps what batches wrote and nothing else.
//!
//! Statements and ciphertexts of a batch are written together or not at all, as the node's store does it; shares lie in
//! slots of their own and are written first. The audit log is apart.

use std::collections::BTreeMap;
use std::sync::Arc;

use keymesh_mesh::release::Recorded;
use keymesh_mesh::replica::{Stored, Write};
use keymesh_wire::audit::AuditRecord;
use keymesh_wire::ids::{BlobHash, DocumentId, StatementId};
use keymesh_wire::secret::SecretBytes;

/// How much of a batch reaches the disk before the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Nothing.
    Nothing,
    /// Shares, which are written before the rest.
    SharesOnly,
    /// Everything; only what follows it is lost.
    Everything,
}

/// One disk.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    statements: BTreeMap<StatementId, (DocumentId, Vec<u8>)>,
    blobs: BTreeMap<(DocumentId, BlobHash), Arc<[u8]>>,
    shares: BTreeMap<String, Vec<u8>>,
    audit: Vec<AuditRecord>,
}

impl Disk {
    /// A disk with a document that somebody copied onto it.
    pub fn with(document: DocumentId, statements: impl IntoIterator<Item = (StatementId, Vec<u8>)>) -> Self {
        let statements = statements.into_iter().map(|(id, bytes)| (id, (document, bytes))).collect();
        Self { statements, ..Self::default() }
    }

    /// Writes a batch as far as `reach` says.
    pub fn write(&mut self, writes: Vec<Write>, reach: Reach) {
        for write in writes {
            match (write, reach) {
                (_, Reach::Nothing) => {}
                (Write::Share { slot, share }, Reach::SharesOnly | Reach::Everything) => {
                    self.shares.insert(slot, share.expose_secret().to_vec());
                }
                (_, Reach::SharesOnly) => {}
                (Write::Statement { document, id, bytes }, Reach::Everything) => {
                    self.statements.insert(id, (document, bytes));
                }
                (Write::Blob { document, hash, bytes }, Reach::Everything) => {
                    self.blobs.insert((document, hash), bytes);
                }
                (Write::EraseBlob { document, hash }, Reach::Everything) => {
                    self.blobs.remove(&(document, hash));
                }
                (Write::Audit(record), Reach::Everything) => self.audit.push(*record),
            }
        }
    }

    /// Appends to the audit log. The evidence says that it is durable.
    pub fn record(&mut self, record: AuditRecord) -> Recorded {
        self.audit.push(record);
        Recorded::durable(self.audit.len() as u64)
    }

    /// What a node finds here when it starts.
    pub fn stored(&self) -> Stored {
        Stored {
            statements: self.statements.values().map(|(_, bytes)| bytes.clone()).collect(),
            blobs: self.blobs.iter().map(|((document, hash), bytes)| (*document, *hash, bytes.to_vec())).collect(),
            shares: self
                .shares
                .iter()
                .map(|(slot, share)| (slot.clone(), SecretBytes::from_vec(share.clone())))
                .collect(),
        }
    }

    /// Whether a statement is here.
    pub fn has(&self, id: &StatementId) -> bool {
        self.statements.contains_key(id)
    }

    /// The ids of all statements here.
    pub fn ids(&self) -> impl Iterator<Item = StatementId> {
        self.statements.keys().copied()
    }

    /// Envelopes of all statements here.
    pub fn statements(&self) -> impl Iterator<Item = &[u8]> {
        self.statements.values().map(|(_, bytes)| bytes.as_slice())
    }

    /// Whether a share lies in a slot.
    pub fn has_share(&self, slot: &str) -> bool {
        self.shares.contains_key(slot)
    }

    /// Whether any share lies here.
    pub fn holds_a_share(&self) -> bool {
        !self.shares.is_empty()
    }

    /// The audit log.
    pub fn audit(&self) -> &[AuditRecord] {
        &self.audit
    }

    /// Whether these bytes lie anywhere on the disk outside share slots.
    pub fn contains(&self, needle: &[u8]) -> bool {
        let found = |hay: &[u8]| hay.windows(needle.len()).any(|window| window == needle);
        self.statements().any(found) || self.blobs.values().any(|bytes| found(bytes))
    }
}
