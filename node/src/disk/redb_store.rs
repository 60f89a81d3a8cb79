//! [`Store`] over redb.
//!
//! Three nets catch what is not as it was written, because each misses what another catches:
//! - redb's page checksums, all of which are checked on opening: a flipped byte in the tree, also one that would make a
//!   record unfindable;
//! - eight bytes of SHA-256 in front of every value, checked on every read: damage that happens later, and a value
//!   under a key that is not its own;
//! - the number of the last acknowledged commit in `store.commits` beside the store: redb falls back to the commit
//!   before when the last one does not verify, and that would be a silent loss. The file is written after each commit
//!   without a sync, so it is never ahead of the store; after a power cut it may be behind and then says less.
//!
//! The store records the mesh and level it was created for and refuses others. Only [`super::lock::DirLock`] keeps a
//! second process away with a good message; redb's own lock is the last resort.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use keymesh_wire::ids::MeshId;
use redb::backends::FileBackend;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, WriteTransaction};
use sha2::{Digest, Sha256};

use super::error::{DiskError, no_room};
use super::files;
use super::store::{Batch, Family, Record, Store, Verified, statement_of_key};

type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

const OWN: Table = TableDefinition::new("keymesh");
const OWN_NAME: &str = "keymesh";
const HEADER: &[u8] = b"header";
const COMMITS: &[u8] = b"commits";
const CHECK: usize = 8;
const WITNESS: usize = 32;

/// Memory that redb may keep pages in. Its own default of 1 GiB is more than a whole node should use.
const CACHE: usize = 32 << 20;

fn table(family: Family) -> Table {
    TableDefinition::new(family.name())
}

/// A step from one schema to the next, inside one transaction with the new schema number.
pub type Migration = fn(&mut Migrating<'_>) -> Result<(), DiskError>;

/// The steps of this program: step `i` leads from schema `i + 1` to `i + 2`.
pub const MIGRATIONS: &[Migration] = &[];

/// What a store must match to be opened.
#[derive(Debug, Clone, Copy)]
pub struct StoreOptions<'a> {
    /// The mesh this node serves.
    pub mesh: MeshId,
    /// The level of this program. An older store is raised to it, a newer one refused.
    pub level: u32,
    /// The schema steps this program knows; [`MIGRATIONS`] outside tests.
    pub migrations: &'a [Migration],
}

impl StoreOptions<'_> {
    fn schema(&self) -> u32 {
        u32::try_from(self.migrations.len()).map_or(u32::MAX, |steps| steps.saturating_add(1))
    }
}

#[derive(minicbor::Encode, minicbor::Decode)]
struct Header {
    #[n(0)]
    schema: u32,
    #[n(1)]
    level: u32,
    #[n(2)]
    mesh: MeshId,
    /// Random, so that the commit witness of a store that was moved away says nothing about the next one.
    #[cbor(n(3), with = "minicbor::bytes")]
    instance: [u8; 16],
}

/// A redb file in a data directory.
#[derive(Debug)]
pub struct RedbStore {
    path: PathBuf,
    db: Database,
    commits: Mutex<Commits>,
    created: bool,
}

#[derive(Debug)]
struct Commits {
    last: u64,
    instance: [u8; 16],
    witness: Option<File>,
    stopped: Option<String>,
}

impl RedbStore {
    /// Opens `dir/store.redb`, creating it if there is none, and checks every byte that is in use.
    ///
    /// Takes about as long as reading the file twice.
    pub fn open(dir: &Path, options: &StoreOptions<'_>) -> Result<Self, DiskError> {
        let path = dir.join("store.redb");
        let exists = path.try_exists().map_err(DiskError::io(&path, "looking for the store"))?;
        if !exists {
            // Under another name until it is complete: an empty or half-made store is always damage.
            let unfinished = dir.join("store.redb.new");
            let file = open_file(&unfinished, true)?;
            file.set_len(0).map_err(DiskError::io(&unfinished, "emptying"))?;
            Self::create_on(&path, file_backend(&path, file)?, options)?;
            files::rename(&unfinished, &path)?;
            files::sync_dir(dir)?;
        }
        let file = open_file(&path, false)?;
        let witness = open_file(&dir.join("store.commits"), true)?;
        let mut store = Self::open_on(&path, file_backend(&path, file)?, Some(witness), options)?;
        store.created = !exists;
        Ok(store)
    }

    /// True when this opening created the store: the node has nothing yet, or has lost what it had.
    pub fn created(&self) -> bool {
        self.created
    }

    /// Makes a new store on an empty backend and closes it.
    pub(crate) fn create_on(
        path: &Path,
        backend: impl StorageBackend,
        options: &StoreOptions<'_>,
    ) -> Result<(), DiskError> {
        let failed = |error: redb::Error| failure(path, "creating the store", error);
        let mut instance = [0; 16];
        getrandom::fill(&mut instance)
            .map_err(|error| DiskError::io(path, "drawing an instance id")(std::io::Error::other(error)))?;
        let header = Header { schema: options.schema(), level: options.level, mesh: options.mesh, instance };
        let db =
            Database::builder().set_cache_size(CACHE).create_with_backend(backend).map_err(|e| failed(e.into()))?;
        let mut txn = db.begin_write().map_err(|e| failed(e.into()))?;
        txn.set_durability(Durability::Immediate).map_err(|e| failed(e.into()))?;
        for family in Family::ALL {
            txn.open_table(table(family)).map_err(|e| failed(e.into()))?;
        }
        put_own(&txn, HEADER, &encode(&header)).map_err(failed)?;
        put_own(&txn, COMMITS, &0u64.to_be_bytes()).map_err(failed)?;
        txn.commit().map_err(|e| failed(e.into()))?;
        db.close().map_err(|e| failed(e.into()))
    }

    /// Opens an existing store on a backend.
    pub(crate) fn open_on(
        path: &Path,
        backend: impl StorageBackend,
        witness: Option<File>,
        options: &StoreOptions<'_>,
    ) -> Result<Self, DiskError> {
        let damaged = |what: &str| DiskError::StoreDamaged { path: path.to_path_buf(), what: what.to_owned() };
        if backend.len().map_err(DiskError::io(path, "reading the length"))? == 0 {
            return Err(damaged("the file is empty"));
        }
        // redb promises an error for a damaged file, but its debug assertions are compiled in for our tests and a
        // panic on bytes from a disk must not end the node without a word about which file it was.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            Database::builder().set_cache_size(CACHE).set_check_integrity_on_open(true).create_with_backend(backend)
        }));
        let db = match opened {
            Ok(Ok(db)) => db,
            Ok(Err(error)) => return Err(failure(path, "opening the store", error.into())),
            Err(_) => return Err(damaged("its pages contradict each other")),
        };
        let (header, last) = read_own(path, &db)?;
        if header.schema > options.schema() {
            let (found, supported) = (header.schema, options.schema());
            return Err(DiskError::NewerSchema { path: path.to_path_buf(), found, supported });
        }
        if header.mesh != options.mesh {
            let (found, expected) = (header.mesh, options.mesh);
            return Err(DiskError::OtherMesh { path: path.to_path_buf(), found, expected });
        }
        if header.level > options.level {
            let (found, supported) = (header.level, options.level);
            return Err(DiskError::NewerLevel { path: path.to_path_buf(), found, supported });
        }
        if let Some(acknowledged) = witness.as_ref().and_then(|file| read_witness(file, header.instance))
            && acknowledged > last
        {
            return Err(DiskError::StoreRolledBack { path: path.to_path_buf(), found: last, acknowledged });
        }
        let commits = Mutex::new(Commits { last, instance: header.instance, witness, stopped: None });
        let store = Self { path: path.to_path_buf(), db, commits, created: false };
        store.verify()?;
        store.raise(header, options)?;
        Ok(store)
    }

    /// Takes an older store to this program's schema and level, in one transaction.
    fn raise(&self, mut header: Header, options: &StoreOptions<'_>) -> Result<(), DiskError> {
        if header.schema == options.schema() && header.level == options.level {
            return Ok(());
        }
        let failed = |error: redb::Error| failure(&self.path, "raising the schema", error);
        let txn = self.db.begin_write().map_err(|e| failed(e.into()))?;
        for (from, step) in (1u32..).zip(options.migrations).skip(header.schema.saturating_sub(1) as usize) {
            step(&mut Migrating { txn: &txn, path: &self.path }).map_err(|error| DiskError::Migration {
                path: self.path.clone(),
                from,
                what: error.to_string(),
            })?;
        }
        header.schema = options.schema();
        header.level = options.level;
        put_own(&txn, HEADER, &encode(&header)).map_err(failed)?;
        txn.commit().map_err(|e| failed(e.into()))
    }

    fn write(&self, number: u64, batch: &Batch) -> Result<(), redb::Error> {
        let mut txn = self.db.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
        for family in Family::ALL {
            let mut changes = batch.changes().iter().filter(|change| change.family == family).peekable();
            if changes.peek().is_none() {
                continue;
            }
            let mut table = txn.open_table(table(family))?;
            for change in changes {
                match &change.value {
                    Some(value) => {
                        table.insert(&*change.key, &*checked(family.name(), &change.key, value))?;
                    }
                    None => {
                        table.remove(&*change.key)?;
                    }
                }
            }
        }
        put_own(&txn, COMMITS, &number.to_be_bytes())?;
        txn.commit()?;
        Ok(())
    }
}

impl Store for RedbStore {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        let stored = || -> Result<Option<Vec<u8>>, redb::Error> {
            let table = self.db.begin_read()?.open_table(table(family))?;
            Ok(table.get(key)?.map(|guard| guard.value().to_vec()))
        };
        let stored = stored().map_err(|error| failure(&self.path, "reading a record", error))?;
        stored.map(|stored| unchecked(&self.path, family.name(), key, &stored).map(<[u8]>::to_vec)).transpose()
    }

    fn range(
        &self,
        family: Family,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Record>, DiskError> {
        let failed = |error: redb::Error| failure(&self.path, "reading records", error);
        let txn = self.db.begin_read().map_err(|e| failed(e.into()))?;
        let table = txn.open_table(table(family)).map_err(|e| failed(e.into()))?;
        let from = after.map_or(prefix, |after| after.max(prefix));
        let mut records = Vec::new();
        for item in table.range(from..).map_err(|e| failed(e.into()))? {
            let (key, stored) = item.map_err(|e| failed(e.into()))?;
            let (key, stored) = (key.value(), stored.value());
            if records.len() == limit || !key.starts_with(prefix) {
                break;
            }
            if after == Some(key) {
                continue;
            }
            let value = unchecked(&self.path, family.name(), key, stored)?.to_vec();
            records.push(Record { key: key.to_vec(), value });
        }
        Ok(records)
    }

    fn commit(&self, batch: &Batch) -> Result<u64, DiskError> {
        let mut commits = self.commits.lock().expect("no commit panics while it holds the lock");
        if let Some(what) = &commits.stopped {
            return Err(DiskError::StoreStopped { path: self.path.clone(), what: what.clone() });
        }
        if batch.is_empty() {
            return Ok(commits.last);
        }
        let number = commits.last + 1;
        if let Err(error) = self.write(number, batch) {
            let error = failure(&self.path, "committing", error);
            commits.stopped = Some(error.to_string());
            return Err(error);
        }
        commits.last = number;
        if let Some(file) = &commits.witness
            && let Err(error) = file.write_all_at(&witness(commits.instance, number), 0)
        {
            // The commit stands; only the net beneath it is thinner until the next one.
            tracing::warn!(%error, "the commit witness could not be written");
        }
        Ok(number)
    }

    fn verify(&self) -> Result<Verified, DiskError> {
        let failed = |error: redb::Error| failure(&self.path, "checking records", error);
        let mut verified = Verified::default();
        let txn = self.db.begin_read().map_err(|e| failed(e.into()))?;
        for family in Family::ALL {
            let table = match txn.open_table(table(family)) {
                Ok(table) => table,
                // A family that came with a newer schema.
                Err(redb::TableError::TableDoesNotExist(_)) => continue,
                Err(error) => return Err(failed(error.into())),
            };
            for item in table.iter().map_err(|e| failed(e.into()))? {
                let (key, stored) = item.map_err(|e| failed(e.into()))?;
                let (key, stored) = (key.value(), stored.value());
                let value = unchecked(&self.path, family.name(), key, stored)?;
                if family == Family::Statements && statement_of_key(key).is_none() {
                    return Err(damaged_record(&self.path, family.name(), key, "its key is not a statement's"));
                }
                verified.records += 1;
                verified.bytes += (key.len() + value.len()) as u64;
            }
        }
        Ok(verified)
    }
}

/// A store inside a schema step: everything done here becomes durable with the new schema number, or not at all.
pub struct Migrating<'t> {
    txn: &'t WriteTransaction,
    path: &'t Path,
}

impl Migrating<'_> {
    /// Every record of a family in key order.
    pub fn records(&self, family: Family) -> Result<Vec<Record>, DiskError> {
        let failed = |error: redb::Error| failure(self.path, "reading records", error);
        let table = self.txn.open_table(table(family)).map_err(|e| failed(e.into()))?;
        let mut records = Vec::new();
        for item in table.iter().map_err(|e| failed(e.into()))? {
            let (key, stored) = item.map_err(|e| failed(e.into()))?;
            let value = unchecked(self.path, family.name(), key.value(), stored.value())?.to_vec();
            records.push(Record { key: key.value().to_vec(), value });
        }
        Ok(records)
    }

    /// Writes a record.
    pub fn put(&mut self, family: Family, key: &[u8], value: &[u8]) -> Result<(), DiskError> {
        let failed = |error: redb::Error| failure(self.path, "writing a record", error);
        let mut table = self.txn.open_table(table(family)).map_err(|e| failed(e.into()))?;
        table.insert(key, &*checked(family.name(), key, value)).map_err(|e| failed(e.into()))?;
        Ok(())
    }

    /// Removes a record.
    pub fn delete(&mut self, family: Family, key: &[u8]) -> Result<(), DiskError> {
        let failed = |error: redb::Error| failure(self.path, "removing a record", error);
        let mut table = self.txn.open_table(table(family)).map_err(|e| failed(e.into()))?;
        table.remove(key).map_err(|e| failed(e.into()))?;
        Ok(())
    }
}

fn open_file(path: &Path, create: bool) -> Result<File, DiskError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .mode(0o600)
        .open(path)
        .map_err(DiskError::io(path, "opening"))
}

fn file_backend(path: &Path, file: File) -> Result<FileBackend, DiskError> {
    FileBackend::new(file).map_err(|error| failure(path, "opening the store", error.into()))
}

fn encode(header: &Header) -> Vec<u8> {
    minicbor::to_vec(header).expect("encoding into memory cannot fail")
}

fn put_own(txn: &WriteTransaction, key: &[u8], value: &[u8]) -> Result<(), redb::Error> {
    txn.open_table(OWN)?.insert(key, &*checked(OWN_NAME, key, value))?;
    Ok(())
}

fn read_own(path: &Path, db: &Database) -> Result<(Header, u64), DiskError> {
    let failed = |error: redb::Error| failure(path, "reading the header", error);
    let damaged = |what: &str| DiskError::StoreDamaged { path: path.to_path_buf(), what: what.to_owned() };
    let txn = db.begin_read().map_err(|e| failed(e.into()))?;
    let own = txn.open_table(OWN).map_err(|e| failed(e.into()))?;
    let read = |key: &[u8]| -> Result<Vec<u8>, DiskError> {
        let guard = own.get(key).map_err(|e| failed(e.into()))?.ok_or_else(|| damaged("its header is missing"))?;
        Ok(unchecked(path, OWN_NAME, key, guard.value())?.to_vec())
    };
    let header = minicbor::decode(&read(HEADER)?).map_err(|_| damaged("its header is unreadable"))?;
    let commits = read(COMMITS)?.try_into().map_err(|_| damaged("its commit number is unreadable"))?;
    Ok((header, u64::from_be_bytes(commits)))
}

fn check(family: &str, key: &[u8], value: &[u8]) -> [u8; CHECK] {
    let mut hash = Sha256::new();
    hash.update(family);
    hash.update([0]);
    hash.update((key.len() as u64).to_be_bytes());
    hash.update(key);
    hash.update(value);
    let digest: [u8; 32] = hash.finalize().into();
    let (check, _) = digest.split_first_chunk().expect("a digest is longer than a check");
    *check
}

fn checked(family: &str, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(CHECK + value.len());
    stored.extend_from_slice(&check(family, key, value));
    stored.extend_from_slice(value);
    stored
}

fn unchecked<'a>(path: &Path, family: &str, key: &[u8], stored: &'a [u8]) -> Result<&'a [u8], DiskError> {
    match stored.split_first_chunk::<CHECK>() {
        Some((found, value)) if *found == check(family, key, value) => Ok(value),
        Some(_) => Err(damaged_record(path, family, key, "its checksum does not match")),
        None => Err(damaged_record(path, family, key, "it is too short")),
    }
}

fn damaged_record(path: &Path, family: &str, key: &[u8], what: &str) -> DiskError {
    let key = &key[..key.len().min(64)];
    let what = format!("record {} of {family}: {what}", data_encoding::HEXLOWER.encode(key));
    DiskError::StoreDamaged { path: path.to_path_buf(), what }
}

fn witness(instance: [u8; 16], number: u64) -> [u8; WITNESS] {
    let mut bytes = [0; WITNESS];
    bytes[..16].copy_from_slice(&instance);
    bytes[16..24].copy_from_slice(&number.to_be_bytes());
    let check = check("witness", &instance, &bytes[16..24]);
    bytes[24..].copy_from_slice(&check);
    bytes
}

/// The commit number in the witness, if it is whole and about this store.
fn read_witness(file: &File, instance: [u8; 16]) -> Option<u64> {
    let mut bytes = [0; WITNESS];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let number = u64::from_be_bytes(bytes[16..24].try_into().ok()?);
    (bytes == witness(instance, number)).then_some(number)
}

fn failure(path: &Path, doing: &'static str, error: redb::Error) -> DiskError {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    let path_buf = path.to_path_buf();
    match error {
        redb::Error::Io(error) if matches!(error.kind(), UnexpectedEof | InvalidData) => {
            DiskError::StoreDamaged { path: path_buf, what: format!("{doing}: {error}") }
        }
        redb::Error::Io(error) if no_room(&error) => DiskError::Full { path: path_buf, doing },
        redb::Error::Io(error) => DiskError::io(path, doing)(error),
        redb::Error::DatabaseAlreadyOpen => DiskError::Locked { path: path_buf, pid: "unknown".to_owned() },
        redb::Error::PreviousIo => DiskError::StoreStopped { path: path_buf, what: "an earlier I/O error".to_owned() },
        error @ (redb::Error::Corrupted(_)
        | redb::Error::TableDoesNotExist(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::UpgradeRequired(_)) => {
            DiskError::StoreDamaged { path: path_buf, what: format!("{doing}: {error}") }
        }
        error => DiskError::StoreStopped { path: path_buf, what: format!("{doing}: {error}") },
    }
}

#[cfg(test)]
#[path = "redb_store_tests.rs"]
mod tests;
