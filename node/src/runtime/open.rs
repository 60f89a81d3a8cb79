//! Opening what a node has on its disk, before anything runs.
//!
//! Everything is read and checked from end to end; what is not as it was written ends the start with the words of
//! [`DiskError`], except where the mesh can give it back: a damaged ciphertext is erased and fetched again, and a damaged
//! share leaves the others usable.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use keymesh_mesh::replica::Stored;
use keymesh_wire::audit::{AuditKind, AuditRecord, Outcome};
use keymesh_wire::body::Body;
use keymesh_wire::codec;
use keymesh_wire::ids::{DocumentId, MeshId, RequestId};
use keymesh_wire::limits::STATEMENT_BYTES;
use keymesh_wire::sign::Identity;
use keymesh_wire::statement::Checked;
use keymesh_wire::suite::LEVEL;

use super::audit::{Auditor, log_id};
use super::core::Disk;
use super::custodian::Custodian;
use super::metrics::Metrics;
use super::{RuntimeError, clock};
use crate::config::Config;
use crate::disk::audit_log::{Options, Records};
use crate::disk::error::DiskError;
use crate::disk::{Batch, Blobs, DataDir, Family, RedbStore, Slots, Store};
use crate::keyfile::{self, KeyKind};

/// The name of the file beside the configuration from which a new node takes the mesh's genesis.
pub const GENESIS_FILE: &str = "mesh.genesis";

/// A node's disk, opened and checked.
pub struct Opened {
    /// The node's configuration.
    pub config: Config,
    /// Its key.
    pub identity: Arc<Identity>,
    /// What the core is restored from.
    pub stored: Stored,
    /// Where its batches go.
    pub disk: Disk,
    /// Its audit log.
    pub audit: Auditor,
    /// What it remembers as a custodian.
    pub custodian: Custodian,
    /// Its counters.
    pub metrics: Arc<Metrics>,
    /// What an operator should know.
    pub warnings: Vec<String>,
    /// Held as long as the node runs.
    pub data: DataDir,
}

/// Opens everything that `config` names.
///
/// # Errors
/// [`RuntimeError`].
pub fn open(config: Config) -> Result<Opened, RuntimeError> {
    let identity = Arc::new(keyfile::load(&config.key_file, KeyKind::Node)?);
    let data = DataDir::take(&config.data_dir)?;
    let mut warnings = Vec::new();
    let store = data.store(config.mesh, u32::from(LEVEL.0))?;
    if store.range(Family::Statements, DocumentId::from(config.mesh).as_bytes(), None, 1)?.is_empty() {
        import_genesis(&config, &store)?;
        recover_mesh(config.mesh, &data, &store)?;
    }
    let mut stored = Stored::default();
    store.for_each(Family::Statements, &[], &mut |record| stored.statements.push(record.value))?;
    let blobs = data.blobs()?;
    read_blobs(&blobs, &mut stored, &mut warnings)?;
    let slots = data.slots(identity.derive(b"keymesh share slots v1"))?;
    read_shares(&slots, &mut stored, &mut warnings)?;

    let metrics = Arc::new(Metrics::default());
    metrics.statements.store(stored.statements.len() as u64, std::sync::atomic::Ordering::Relaxed);
    let custodian = Custodian::new(config.clock_max_difference);
    let id = log_id(&config.mesh, &identity.principal());
    let log = data.audit_log(&Options { queue: config.limits.request_queue, ..Options::new(id) })?;
    if let Some(torn) = log.torn_tail() {
        let (file, offset) = (torn.file.display(), torn.offset);
        warnings.push(format!(
            "{file}: an unfinished record at offset {offset} was cut off; nothing in it had been acknowledged"
        ));
    }
    recall(&data.audit_dir(), id, &custodian)?;
    let audit = Auditor::new(log, data.audit_dir(), id, metrics.clone());
    let mut start = AuditRecord::new(
        AuditKind::Start,
        Outcome::Allowed,
        clock::wall(),
        identity.principal(),
        RequestId::from_bytes(super::random_bytes()),
    );
    start.reason = Some(format!("keymesh {}", env!("CARGO_PKG_VERSION")));
    audit.record_blocking(&start)?;
    let disk = Disk { store: Arc::new(store), slots, blobs, mesh: data.mesh_copy() };
    Ok(Opened { config, identity, stored, disk, audit, custodian, metrics, warnings, data })
}

/// Takes the mesh's genesis from its file, on the first start. Without the file the restore will say what is missing.
fn import_genesis(config: &Config, store: &RedbStore) -> Result<(), RuntimeError> {
    let Some(path) = genesis_file(config) else { return Ok(()) };
    let wrong = |what: String| RuntimeError::Genesis { path: path.clone(), what };
    let bytes = std::fs::read(&path).map_err(|error| wrong(error.to_string()))?;
    let statement = read_genesis(&bytes, config.mesh).map_err(wrong)?;
    let mut batch = Batch::new();
    batch.put_statement(statement.document(), statement.id(), statement.bytes());
    store.commit(&batch)?;
    tracing::info!(path = %path.display(), mesh = %config.mesh, "took the mesh's genesis");
    Ok(())
}

/// Takes the mesh's document from its copy, where a store was lost: the node must know its peers to get the rest from them.
/// What does not hold, or hangs on something that is not there, is left out.
fn recover_mesh(mesh: MeshId, data: &DataDir, store: &RedbStore) -> Result<(), RuntimeError> {
    let mut known = BTreeSet::new();
    store.for_each(Family::Statements, DocumentId::from(mesh).as_bytes(), &mut |record| {
        known.extend(Checked::from_bytes(&record.value).map(|statement| statement.id()));
    })?;
    let mut batch = Batch::new();
    for bytes in data.mesh_copy().read()? {
        let Ok(statement) = Checked::from_bytes(&bytes) else { continue };
        let grounded = statement.parents().iter().all(|parent| known.contains(parent));
        if statement.document() == DocumentId::from(mesh) && grounded && known.insert(statement.id()) {
            batch.put_statement(statement.document(), statement.id(), statement.bytes());
        }
    }
    if !batch.is_empty() {
        store.commit(&batch)?;
        tracing::warn!(%mesh, "the store was new; took the mesh's document from its copy, the rest comes from peers");
    }
    Ok(())
}

/// The genesis in a file: its envelope, as bytes or as base64url text.
fn read_genesis(bytes: &[u8], mesh: MeshId) -> Result<Checked, String> {
    if bytes.len() > 2 * STATEMENT_BYTES {
        return Err("too long to be a statement".to_owned());
    }
    let text = bytes.trim_ascii();
    let envelope = BASE64URL_NOPAD.decode(text).unwrap_or_else(|_| bytes.to_vec());
    let statement = Checked::from_bytes(&envelope).map_err(|error| error.to_string())?;
    match statement.body() {
        Some(Body::MeshGenesis(_)) if MeshId::from(statement.id()) == mesh => Ok(statement),
        Some(Body::MeshGenesis(_)) => Err(format!("it begins {}", MeshId::from(statement.id()))),
        Some(_) | None => Err("the statement in it begins no mesh".to_owned()),
    }
}

/// Beside the configuration file; its folder is where the data directory or the key lies.
fn genesis_file(config: &Config) -> Option<PathBuf> {
    let folders = [config.key_file.parent(), config.data_dir.parent(), Some(&config.data_dir)];
    let here = |folder: &Path| if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_path_buf() };
    folders.into_iter().flatten().map(|folder| here(folder).join(GENESIS_FILE)).find(|path| path.is_file())
}

fn read_blobs(blobs: &Blobs, stored: &mut Stored, warnings: &mut Vec<String>) -> Result<(), DiskError> {
    for document in blobs.documents()? {
        for hash in blobs.hashes(document)? {
            match blobs.get(document, hash) {
                Ok(Some(bytes)) => stored.blobs.push((document, hash, bytes)),
                Ok(None) => {}
                Err(error @ (DiskError::BlobDamaged { .. } | DiskError::BlobTooLarge { .. })) => {
                    warnings.push(format!("{error}; erased, it comes back from peers"));
                    blobs.erase(document, hash)?;
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn read_shares(slots: &Slots, stored: &mut Stored, warnings: &mut Vec<String>) -> Result<(), DiskError> {
    for name in slots.names()? {
        match slots.get(&name) {
            Ok(Some(share)) => stored.shares.push((name, share)),
            Ok(None) => {}
            Err(error @ DiskError::SlotDamaged { .. }) => warnings.push(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn recall(dir: &Path, id: [u8; 32], custodian: &Custodian) -> Result<(), DiskError> {
    let now = clock::wall();
    for record in Records::open(dir, id, None)? {
        if let Ok(record) = codec::decode::<AuditRecord>(&record?.payload, AuditRecord::LIMIT) {
            custodian.recall(&record, now);
        }
    }
    Ok(())
}
