//! What can go wrong with a data directory, each with the path concerned and what a person can do about it.

use std::io;
use std::path::{Path, PathBuf};

use keymesh_wire::ids::{BlobHash, MeshId};

/// The one error of everything under a node's data directory.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The operating system refused an operation.
    #[error("{path}: {doing} failed: {source}; check the path, its owner (0700 for the node's user) and the device", path = path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The operation, as in "writing".
        doing: &'static str,
        /// The reason given.
        source: io::Error,
    },
    /// No room is left on the filesystem. Nothing half-written was acknowledged.
    #[error("{path}: no space left while {doing}; free some room on this filesystem, nothing acknowledged is lost", path = path.display())]
    Full {
        /// The file that could not grow.
        path: PathBuf,
        /// The operation, as in "writing".
        doing: &'static str,
    },
    /// Another process works in this data directory.
    #[error("{path}: the data directory is in use by process {pid}; stop that process or give this node its own directory", path = path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The process id found in the lock file, or "unknown".
        pid: String,
    },
    /// The directory belongs to a node of another mesh.
    #[error("{path}: this data directory belongs to {found}, but the node is configured for {expected}; point the node at the right directory or mesh", path = path.display())]
    OtherMesh {
        /// The store.
        path: PathBuf,
        /// The mesh the directory was created for.
        found: MeshId,
        /// The mesh this node was told to serve.
        expected: MeshId,
    },
    /// The directory was last used at a level that this program does not know.
    #[error("{path}: this data directory is at level {found}, this program knows levels up to {supported}; start the newer program again", path = path.display())]
    NewerLevel {
        /// The store.
        path: PathBuf,
        /// The level on disk.
        found: u32,
        /// The highest level of this program.
        supported: u32,
    },
    /// The store was written by a program with a newer schema.
    #[error("{path}: this store has schema {found}, this program knows schemas up to {supported}; start the newer program again", path = path.display())]
    NewerSchema {
        /// The store.
        path: PathBuf,
        /// The schema on disk.
        found: u32,
        /// The newest schema of this program.
        supported: u32,
    },
    /// A step to a newer schema was refused. The store is unchanged.
    #[error("{path}: the step from schema {from} failed and was undone: {what}; the older program can still open this store", path = path.display())]
    Migration {
        /// The store.
        path: PathBuf,
        /// The schema before the step.
        from: u32,
        /// What the step reported.
        what: String,
    },
    /// The store does not hold what was written to it.
    #[error("{path}: the store is damaged: {what}; restore this node from its peers: move {path} away and start again; statements come back by sync, the shares stay", path = path.display())]
    StoreDamaged {
        /// The store.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The store is sound but older than what it acknowledged.
    #[error("{path}: the store stands at commit {found} although commit {acknowledged} was acknowledged; it lost its end or was replaced by an older copy; restore this node from its peers: move {path} away and start again; statements come back by sync, the shares stay", path = path.display())]
    StoreRolledBack {
        /// The store.
        path: PathBuf,
        /// The last commit in the store.
        found: u64,
        /// The last commit acknowledged.
        acknowledged: u64,
    },
    /// A write to the store failed earlier, so nothing more is accepted until it has been opened and checked again.
    #[error("{path}: the store stopped after a failed write ({what}); free room or repair the device, then restart the node", path = path.display())]
    StoreStopped {
        /// The store.
        path: PathBuf,
        /// The failure that stopped it.
        what: String,
    },
    /// A name that no slot may have.
    #[error("`{name}` is not a slot name; use 1 to 100 of a-z, 0-9, `_` and `-`")]
    SlotName {
        /// The name given, at most 120 characters of it.
        name: String,
    },
    /// A secret larger than a slot.
    #[error("slot {name}: {size} bytes do not fit, a slot holds {limit}")]
    SlotTooLarge {
        /// The slot.
        name: String,
        /// Bytes given.
        size: usize,
        /// Bytes a slot holds.
        limit: usize,
    },
    /// The slot is whole but was not sealed for this name under this key.
    #[error("{path}: the slot is whole but does not open under this node's sealing key; give the node the sealer it was created with", path = path.display())]
    SlotKey {
        /// The slot's file.
        path: PathBuf,
    },
    /// Neither half of the slot is whole.
    #[error("{path}: the slot is damaged: {what}; this share is lost here, have the committee repair it", path = path.display())]
    SlotDamaged {
        /// The slot's file.
        path: PathBuf,
        /// What was found.
        what: &'static str,
    },
    /// The ciphertext is not the one its name says.
    #[error("{path}: the bytes are {found}, not {expected}; erase this ciphertext and fetch it from a peer", path = path.display())]
    BlobDamaged {
        /// The ciphertext's file, or where it would have been written.
        path: PathBuf,
        /// The hash asked for.
        expected: BlobHash,
        /// The hash of the bytes.
        found: BlobHash,
    },
    /// A ciphertext above the limit.
    #[error("{path}: a ciphertext of {size} bytes is over the limit of {limit}", path = path.display())]
    BlobTooLarge {
        /// The ciphertext's file, or where it would have been written.
        path: PathBuf,
        /// Bytes given or found.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// A record of the audit log was altered, removed or reordered.
    #[error("{file}: the audit log was tampered with at record {seq}, offset {offset}: {what}; keep DIR/audit as evidence, compare with the heads peers have witnessed, move it away and start a new log", file = file.display())]
    AuditTampered {
        /// The log file.
        file: PathBuf,
        /// The sequence number that should stand there.
        seq: u64,
        /// Byte offset in the file.
        offset: u64,
        /// What was found.
        what: String,
    },
    /// The audit log ends before a record that is known to have been acknowledged.
    #[error("{path}: the audit log ends at record {found} although record {expected} was acknowledged; keep it as evidence, compare with the heads peers have witnessed, move it away and start a new log", path = path.display())]
    AuditTruncated {
        /// The log file, or the log's directory.
        path: PathBuf,
        /// The last record found.
        found: u64,
        /// The record that is missing.
        expected: u64,
    },
    /// The log cannot be trusted to write any more in this process.
    #[error("{path}: the audit log stopped after a failed write ({what}); no key is released until the node has been restarted on a sound device", path = path.display())]
    AuditStopped {
        /// The log's directory.
        path: PathBuf,
        /// The failure that stopped it.
        what: String,
    },
    /// Too many appends wait; retry.
    #[error("the audit log has {waiting} records waiting; retry shortly")]
    AuditBusy {
        /// The length of the queue.
        waiting: usize,
    },
    /// An audit record above the limit.
    #[error("an audit record of {size} bytes is over the limit of {limit}")]
    AuditTooLarge {
        /// Bytes given.
        size: usize,
        /// The limit.
        limit: usize,
    },
}

impl DiskError {
    /// Wraps a refusal of the operating system; a full filesystem (or quota) gets its own variant.
    pub(crate) fn io(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| {
            if no_room(&source) { DiskError::Full { path, doing } } else { DiskError::Io { path, doing, source } }
        }
    }

    /// True when freeing room is all that is needed.
    pub fn is_full(&self) -> bool {
        matches!(self, DiskError::Full { .. })
    }

    /// True when what is on disk is not what was written there, as opposed to a refusal or a wrong configuration.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            DiskError::StoreDamaged { .. }
                | DiskError::StoreRolledBack { .. }
                | DiskError::SlotDamaged { .. }
                | DiskError::BlobDamaged { .. }
                | DiskError::AuditTampered { .. }
                | DiskError::AuditTruncated { .. }
        )
    }
}

/// True for the two ways a filesystem says that it is full.
pub(crate) fn no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
