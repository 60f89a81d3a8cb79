//! The one way to an audit record on stable storage, and so to the evidence that a key may leave (I7).

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use keymesh_mesh::release::Recorded;
use keymesh_wire::audit::AuditRecord;
use keymesh_wire::error::{Code, WireError};
use keymesh_wire::ids::{MeshId, NodeId};
use sha2::{Digest, Sha256};

use super::metrics::Metrics;
use crate::disk::audit_log::{Appended, AuditLog, Head};
use crate::disk::error::DiskError;

/// With what the chain of a node's audit log begins: whoever reads a log needs it.
pub fn log_id(mesh: &MeshId, node: &NodeId) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"keymesh audit log v1");
    hash.update(mesh.as_bytes());
    hash.update(node.as_bytes());
    hash.finalize().into()
}

/// Appends records and knows whether that works at the moment.
#[derive(Debug)]
pub struct Auditor {
    log: AuditLog,
    dir: PathBuf,
    log_id: [u8; 32],
    failing: Mutex<Option<String>>,
    metrics: Arc<Metrics>,
}

impl Auditor {
    /// Records go to `log`, which lies in `dir` and begins with `log_id`.
    pub fn new(log: AuditLog, dir: PathBuf, log_id: [u8; 32], metrics: Arc<Metrics>) -> Self {
        Self { log, dir, log_id, failing: Mutex::new(None), metrics }
    }

    /// Appends `record` and waits until it is durable. Requests that overlap share the wait.
    ///
    /// # Errors
    /// [`Code::Unavailable`]; then nothing may leave.
    pub async fn record(&self, record: &AuditRecord) -> Result<Recorded, WireError> {
        let appended = self.log.append(record.to_payload()).await;
        self.outcome(appended).map_err(|error| {
            tracing::warn!(%error, "an audit record was not written");
            WireError::new(Code::Unavailable, "the audit log takes no records at the moment")
        })
    }

    /// As [`Auditor::record`], for threads outside the asynchronous runtime.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn record_blocking(&self, record: &AuditRecord) -> Result<Recorded, DiskError> {
        self.outcome(self.log.append_blocking(record.to_payload()))
    }

    fn outcome(&self, appended: Result<Appended, DiskError>) -> Result<Recorded, DiskError> {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        match appended {
            Ok(appended) => {
                *failing = None;
                self.metrics.audit_appends.fetch_add(1, Ordering::Relaxed);
                Ok(Recorded::durable(appended.seq))
            }
            Err(error) => {
                *failing = Some(error.to_string());
                Err(error)
            }
        }
    }

    /// The newest record.
    pub fn head(&self) -> Head {
        self.log.head()
    }

    /// How often the log waited for the device.
    pub fn syncs(&self) -> u64 {
        self.log.syncs()
    }

    /// Why records cannot be written at the moment, if so.
    pub fn failing(&self) -> Option<String> {
        let failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.log.stopped().or(failing)
    }

    /// Where the log lies.
    pub fn dir(&self) -> &std::path::Path {
        &self.dir
    }

    /// With what its chain begins.
    pub fn log_id(&self) -> [u8; 32] {
        self.log_id
    }
}
