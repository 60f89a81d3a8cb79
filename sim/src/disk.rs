//! A node's disk: it keeps what batches wrote and nothing else, unless a fault is done to it.
//!
//! It follows what the node's disk guarantees, part by part, and in the order in which the node writes a batch:
//!
//! - **Shares** first, each durable on its own. A rewrite goes to the half of its slot that is not in use, so power that
//!   fails leaves the old share or the new one.
//! - **Ciphertexts** next, one file each: there or not. One that is torn is an unfinished file that the next start removes.
//! - **Statements** then, all of a batch in one atomic commit of the store. A commit that is torn does not verify when the
//!   store is next opened, which then stands at the commit before: nobody had been told of the torn one. So a torn batch
//!   ([`Reach::Torn`]) leaves shares and some ciphertexts and no statement.
//! - **Erasures** and **audit records** last, after the commit ([`Reach::Committed`] is a power cut in between).
//!
//! The audit log cuts an unfinished last record off when it is opened: nothing in it was acknowledged.
//!
//! **Bit rot** is always noticed, because everything carries a checksum, and what follows is what the node does: a damaged
//! store or audit log refuses to start and has to be moved away by an operator ([`Disk::new_store`],
//! [`Disk::new_audit`]); a damaged ciphertext is erased with a warning and comes back from peers; a damaged share is
//! warned of and the others serve. A store put back alone from an older copy is refused, too, by the number of the last
//! commit beside it. A **backup of the whole disk** ([`Disk::clone`]) put back is not, and cannot be: see
//! [`World::restore_backup`](crate::world::World::restore_backup).
//!
//! A **full disk** takes no batch and no record. A node whose batch fails ends; one whose record fails gives no key.
//!
//! Left out: devices that lie about having synced (nothing could be promised on them), sealing at rest, and the layout of
//! files; the node's own tests cut power at every write of the real store, slots and log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keymesh_mesh::custody::slot::Slot;
use keymesh_mesh::release::Recorded;
use keymesh_mesh::replica::{Stored, Write};
use keymesh_wire::audit::AuditRecord;
use keymesh_wire::ids::{BlobHash, DocumentId, StatementId};
use keymesh_wire::secret::SecretBytes;
use rand_core::Rng;

use crate::draw;

/// How much of a batch reaches the disk before the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Nothing.
    Nothing,
    /// Shares, which are written before the rest.
    SharesOnly,
    /// Shares and every second ciphertext; the commit of the statements is torn and taken back.
    Torn,
    /// All but what follows the commit: erasures and audit records.
    Committed,
    /// Everything; only what follows it is lost.
    Everything,
}

impl Reach {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Nothing, Self::SharesOnly, Self::Torn, Self::Committed, Self::Everything];
}

/// What rots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rot {
    /// A bit of a statement, and with it the store.
    Statement,
    /// A bit of a ciphertext.
    Blob,
    /// A bit of a share.
    Share,
    /// A bit of the share in one slot.
    Slot(Slot),
    /// A bit of the audit log.
    Audit,
}

/// Why a disk does not do what is asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DiskFault {
    /// The store does not verify.
    #[error("the store is damaged; move it away and start again")]
    Store,
    /// The audit log does not verify.
    #[error("the audit log is damaged; keep it as evidence and begin a new one")]
    Audit,
    /// There is no room.
    #[error("no space left; free some room")]
    Full,
}

/// One disk.
#[derive(Debug, Clone)]
pub struct Disk {
    statements: BTreeMap<StatementId, (DocumentId, Vec<u8>)>,
    blobs: BTreeMap<(DocumentId, BlobHash), Arc<[u8]>>,
    shares: BTreeMap<String, Vec<u8>>,
    audit: Vec<AuditRecord>,
    torn: bool,
    rot: Damage,
    full: bool,
    pace: (u64, u64),
}

/// What no longer verifies.
#[derive(Debug, Clone, Default)]
struct Damage {
    /// With the bytes as they were written.
    statements: BTreeMap<StatementId, Vec<u8>>,
    audit: bool,
    blobs: BTreeSet<(DocumentId, BlobHash)>,
    shares: BTreeSet<String>,
}

/// What a node finds when it starts.
#[derive(Debug)]
pub struct Found {
    /// From which its core is restored.
    pub stored: Stored,
    /// What its operator is told.
    pub warnings: Vec<String>,
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            statements: BTreeMap::new(),
            blobs: BTreeMap::new(),
            shares: BTreeMap::new(),
            audit: Vec::new(),
            torn: false,
            rot: Damage::default(),
            full: false,
            pace: Self::QUICK,
        }
    }
}

impl Disk {
    /// How long a write takes on a disk that is well, in milliseconds.
    pub const QUICK: (u64, u64) = (0, 2);

    /// A disk with a document that somebody copied onto it.
    pub fn with(document: DocumentId, statements: impl IntoIterator<Item = (StatementId, Vec<u8>)>) -> Self {
        let statements = statements.into_iter().map(|(id, bytes)| (id, (document, bytes))).collect();
        Self { statements, ..Self::default() }
    }

    // ---- writing ----

    /// Writes a batch as far as `reach` says.
    ///
    /// # Errors
    /// [`DiskFault::Full`]; then nothing was written.
    pub fn write(&mut self, writes: Vec<Write>, reach: Reach) -> Result<(), DiskFault> {
        if self.full && !writes.is_empty() {
            return Err(DiskFault::Full);
        }
        let mut blobs = 0;
        for write in writes {
            match write {
                Write::Share { slot, share } => {
                    if reach != Reach::Nothing {
                        self.rot.shares.remove(&slot);
                        self.shares.insert(slot, share.expose_secret().to_vec());
                    }
                }
                // Slots are rewritten in place, so an erasure is as early on the disk as a share.
                Write::EraseShare { slot } => {
                    if reach != Reach::Nothing {
                        self.shares.remove(&slot);
                        self.rot.shares.remove(&slot);
                    }
                }
                Write::Blob { document, hash, bytes } => {
                    let whole = match reach {
                        Reach::Nothing | Reach::SharesOnly => false,
                        Reach::Torn => blobs % 2 == 0,
                        Reach::Committed | Reach::Everything => true,
                    };
                    blobs += 1;
                    if whole {
                        self.rot.blobs.remove(&(document, hash));
                        self.blobs.insert((document, hash), bytes);
                    }
                }
                Write::Statement { document, id, bytes } => {
                    if matches!(reach, Reach::Committed | Reach::Everything) {
                        self.statements.insert(id, (document, bytes));
                    }
                }
                Write::EraseBlob { document, hash } => {
                    if reach == Reach::Everything {
                        self.blobs.remove(&(document, hash));
                    }
                }
                Write::Audit(record) => {
                    if reach == Reach::Everything {
                        self.audit.push(*record);
                    }
                }
            }
        }
        Ok(())
    }

    /// Appends to the audit log. The evidence says that it is durable.
    ///
    /// # Errors
    /// [`DiskFault::Full`]; then there is no record.
    pub fn record(&mut self, record: AuditRecord) -> Result<Recorded, DiskFault> {
        if self.full {
            return Err(DiskFault::Full);
        }
        self.audit.push(record);
        Ok(Recorded::durable(self.audit.len() as u64))
    }

    /// The power failed while a record was written: a part of it is there.
    pub fn tear_record(&mut self) {
        self.torn = true;
    }

    /// How long the next write takes, in milliseconds.
    pub fn delay(&self, rng: &mut impl Rng) -> u64 {
        draw::between(rng, self.pace.0, self.pace.1)
    }

    /// From now on writes take from `pace.0` to `pace.1` milliseconds.
    pub fn set_pace(&mut self, pace: (u64, u64)) {
        self.pace = pace;
    }

    /// Fills the disk or frees room.
    pub fn set_full(&mut self, full: bool) {
        self.full = full;
    }

    // ---- starting ----

    /// What a node finds here when it starts. Repairs what the node repairs by itself.
    ///
    /// # Errors
    /// [`DiskFault`] of what an operator has to see to first; a full disk is one, as the start is recorded.
    pub fn open(&mut self) -> Result<Found, DiskFault> {
        if let Some(fault) = self.fault() {
            return Err(fault);
        }
        let mut warnings = Vec::new();
        if std::mem::take(&mut self.torn) {
            warnings.push("an unfinished record was cut off; nothing in it had been acknowledged".to_owned());
        }
        for place in std::mem::take(&mut self.rot.blobs) {
            self.blobs.remove(&place);
            warnings.push(format!("the ciphertext {:?} is damaged; erased, it comes back from peers", place.1));
        }
        warnings.extend(self.rot.shares.iter().map(|slot| format!("the share in {slot} is damaged")));
        Ok(Found { stored: self.stored(), warnings })
    }

    /// What an operator has to see to before a node starts from here.
    pub fn fault(&self) -> Option<DiskFault> {
        if !self.rot.statements.is_empty() {
            Some(DiskFault::Store)
        } else if self.rot.audit {
            Some(DiskFault::Audit)
        } else {
            self.full.then_some(DiskFault::Full)
        }
    }

    /// What is here and whole.
    pub fn stored(&self) -> Stored {
        Stored {
            statements: self.statements.values().map(|(_, bytes)| bytes.clone()).collect(),
            blobs: self.blobs.iter().map(|((document, hash), bytes)| (*document, *hash, bytes.to_vec())).collect(),
            shares: self
                .shares
                .iter()
                .filter(|(slot, _)| self.has_share(slot))
                .map(|(slot, share)| (slot.clone(), SecretBytes::from_vec(share.clone())))
                .collect(),
        }
    }

    // ---- faults and their remedies ----

    /// Flips a bit of something. Returns what in words, or nothing if there is nothing of the kind here.
    pub fn rot(&mut self, what: Rot, rng: &mut impl Rng) -> Option<String> {
        let flip = |bytes: &mut [u8], rng: &mut _| {
            let bit = draw::place(rng, bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        };
        match what {
            Rot::Statement => {
                let place = (!self.statements.is_empty()).then(|| draw::place(rng, self.statements.len()))?;
                let (id, (_, bytes)) = self.statements.iter_mut().nth(place)?;
                self.rot.statements.entry(*id).or_insert_with(|| bytes.clone());
                flip(bytes, rng);
                Some(format!("a bit of {id}"))
            }
            Rot::Blob => {
                let place = (!self.blobs.is_empty()).then(|| draw::place(rng, self.blobs.len()))?;
                let (name, bytes) = self.blobs.iter_mut().nth(place)?;
                let mut flipped = bytes.to_vec();
                flip(&mut flipped, rng);
                *bytes = flipped.into();
                self.rot.blobs.insert(*name);
                Some(format!("a bit of the ciphertext {:?}", name.1))
            }
            Rot::Share => {
                let place = (!self.shares.is_empty()).then(|| draw::place(rng, self.shares.len()))?;
                let (slot, bytes) = self.shares.iter_mut().nth(place)?;
                flip(bytes, rng);
                self.rot.shares.insert(slot.clone());
                Some(format!("a bit of the share in {slot}"))
            }
            Rot::Slot(slot) => {
                let slot = slot.to_string();
                flip(self.shares.get_mut(&slot)?, rng);
                self.rot.shares.insert(slot.clone());
                Some(format!("a bit of the share in {slot}"))
            }
            Rot::Audit => {
                self.rot.audit = !self.audit.is_empty();
                self.rot.audit.then(|| "a bit of the audit log".to_owned())
            }
        }
    }

    /// Moves the store away, as an operator does with a damaged one. What is left is the mesh's own document from its copy
    /// beside the store, ciphertexts, shares and the audit log; the rest comes back from peers.
    ///
    /// The copy is written of its own and does not rot with the store.
    pub fn new_store(&mut self, mesh: DocumentId) {
        for (id, whole) in std::mem::take(&mut self.rot.statements) {
            if let Some((_, bytes)) = self.statements.get_mut(&id) {
                *bytes = whole;
            }
        }
        self.statements.retain(|_, (document, _)| *document == mesh);
    }

    /// Takes away whatever is a node's own: shares, ciphertexts, the audit log.
    pub fn forget_own(&mut self) {
        *self = Self { statements: std::mem::take(&mut self.statements), ..Self::default() };
    }

    /// Moves the audit log away. Peers see that it went back.
    pub fn new_audit(&mut self) {
        self.audit.clear();
        self.torn = false;
        self.rot.audit = false;
    }

    // ---- looking ----

    /// Whether there is no statement here.
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
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

    /// Whether a whole share lies in a slot.
    pub fn has_share(&self, slot: &str) -> bool {
        self.shares.contains_key(slot) && !self.rot.shares.contains(slot)
    }

    /// The slots in which something lies, whole or not.
    pub fn slots(&self) -> impl Iterator<Item = &str> {
        self.shares.keys().map(String::as_str)
    }

    /// The slots in which something whole lies.
    pub fn whole_slots(&self) -> impl Iterator<Item = &str> {
        self.slots().filter(|slot| self.has_share(slot))
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

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
