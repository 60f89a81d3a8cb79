//! A node's data directory.
//!
//! ```text
//! DIR/node.lock       one process at a time                         [`lock`]
//! DIR/store.redb      statements and the node's own state          [`redb_store`], behind the trait [`store::Store`]
//! DIR/store.commits   the last acknowledged commit of the store
//! DIR/mesh.copy       who belongs to the mesh, for a node that lost its store  [`mesh_copy`]
//! DIR/slots/          shares, sealed, rewritable, erasable          [`slots`]
//! DIR/blobs/DOC/      ciphertexts by hash, one folder per document  [`blobs`]
//! DIR/audit/NNNN.log  the hash-chained audit log                    [`audit_log`]
//! ```
//!
//! Guarantees: what was acknowledged survives `kill -9` and power loss (I8); a release's audit record is on stable
//! storage before its append returns (I7); shares and ciphertexts can be destroyed (I10), which is why they are outside
//! the copy-on-write store; and whatever is not as it was written is found and named with a way out, never served.
//!
//! Leaves to others: what the bytes mean, who may read them, and key files' permissions. Everything here blocks; the
//! runtime calls it from threads that may wait. The guarantees are those of a device that keeps what it said it synced.

pub mod audit_log;
pub mod blobs;
pub mod error;
mod files;
pub mod lock;
pub mod mesh_copy;
#[cfg(test)]
mod powercut;
pub mod redb_store;
pub mod slots;
pub mod store;

use std::path::{Path, PathBuf};

pub use audit_log::AuditLog;
pub use blobs::Blobs;
pub use error::DiskError;
use keymesh_wire::ids::MeshId;
use keymesh_wire::secret::Secret32;
pub use mesh_copy::MeshCopy;
pub use redb_store::RedbStore;
pub use slots::Slots;
pub use store::{Batch, Family, Store};

/// A data directory that this process holds.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: lock::DirLock,
}

impl DataDir {
    /// Takes a data directory, creating it (0700) if its parent exists. Refused while another process holds it.
    pub fn take(path: &Path) -> Result<Self, DiskError> {
        files::make_dir(path)?;
        let lock = lock::DirLock::take(path)?;
        Ok(Self { path: path.to_path_buf(), _lock: lock })
    }

    /// Opens the store, checked from end to end, creating it if there is none.
    pub fn store(&self, mesh: MeshId, level: u32) -> Result<RedbStore, DiskError> {
        let options = redb_store::StoreOptions { mesh, level, migrations: redb_store::MIGRATIONS };
        RedbStore::open(&self.path, &options)
    }

    /// The copy of the mesh's document.
    pub fn mesh_copy(&self) -> MeshCopy {
        MeshCopy::new(&self.path)
    }

    /// Opens the shares under the node's sealing key.
    pub fn slots(&self, sealing_key: Secret32) -> Result<Slots, DiskError> {
        Slots::open(&self.path.join("slots"), sealing_key)
    }

    /// Opens the ciphertexts.
    pub fn blobs(&self) -> Result<Blobs, DiskError> {
        Blobs::open(&self.path.join("blobs"))
    }

    /// Opens the audit log, verified from its first record on. See [`AuditLog::open`].
    pub fn audit_log(&self, options: &audit_log::Options) -> Result<AuditLog, DiskError> {
        AuditLog::open(&self.audit_dir(), options)
    }

    /// Where the audit log lies, for [`audit_log::Records`].
    pub fn audit_dir(&self) -> PathBuf {
        self.path.join("audit")
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
