//! Ciphertexts that can be erased (I10).
//!
//! One file per ciphertext, named by the SHA-256 of its bytes and checked against it on the way in and on the way out,
//! in a folder per document, so that one tenant's bytes are in one place and nowhere else. A file appears whole or not
//! at all and is durable when `put` returns.
//!
//! This store remembers nothing of what it erased: that a destroyed hash is never admitted again is for the replicated
//! state to know.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use data_encoding::HEXLOWER;
use keymesh_wire::ids::{BlobHash, DocumentId};
use sha2::{Digest, Sha256};

use super::error::DiskError;
use super::files;

/// The largest ciphertext in bytes.
pub const MAX_BLOB: usize = 64 * 1024;

/// The name a ciphertext has.
pub fn blob_hash(bytes: &[u8]) -> BlobHash {
    BlobHash::from_bytes(Sha256::digest(bytes).into())
}

/// A directory of ciphertexts.
#[derive(Debug)]
pub struct Blobs {
    dir: PathBuf,
    /// One writer at a time: two writers of one ciphertext would share an unfinished file.
    writing: Mutex<()>,
}

impl Blobs {
    /// Opens a directory of ciphertexts, creating it, and removes what an interrupted write or erasure left behind.
    pub fn open(dir: &Path) -> Result<Self, DiskError> {
        files::make_dir(dir)?;
        let blobs = Self { dir: dir.to_path_buf(), writing: Mutex::new(()) };
        for document in blobs.documents()? {
            let folder = blobs.folder(document);
            let mut removed = false;
            for path in paths(&folder)? {
                if path.extension().is_some_and(|extension| extension == "tmp") {
                    removed |= files::overwrite_and_remove(&path)?;
                }
            }
            if removed {
                files::sync_dir(&folder)?;
            }
        }
        Ok(blobs)
    }

    /// Writes one ciphertext. One that is already there is left alone.
    pub fn put(&self, document: DocumentId, hash: BlobHash, bytes: &[u8]) -> Result<(), DiskError> {
        self.put_all(document, &[(hash, bytes)])
    }

    /// Writes several ciphertexts of one document with a single sync of its folder. All are checked before the first is
    /// written; after an error some may be there.
    pub fn put_all(&self, document: DocumentId, blobs: &[(BlobHash, &[u8])]) -> Result<(), DiskError> {
        let folder = self.folder(document);
        for (hash, bytes) in blobs {
            check(&file(&folder, *hash), *hash, bytes)?;
        }
        if blobs.is_empty() {
            return Ok(());
        }
        let _writing = self.lock();
        files::make_dir(&folder)?;
        for (hash, bytes) in blobs {
            let path = file(&folder, *hash);
            // Read, not just seen: a damaged file is replaced by the sound bytes at hand.
            if matches!(read(&path, *hash), Ok(Some(_))) {
                continue;
            }
            let unfinished = path.with_extension("tmp");
            files::write_new(&unfinished, bytes)?;
            files::rename(&unfinished, &path)?;
        }
        files::sync_dir(&folder)
    }

    /// A ciphertext; none if it is not here. Damage is an error.
    pub fn get(&self, document: DocumentId, hash: BlobHash) -> Result<Option<Vec<u8>>, DiskError> {
        read(&file(&self.folder(document), hash), hash)
    }

    /// Destroys a ciphertext: overwrites, syncs, removes, and syncs the folder. False if it was not here.
    pub fn erase(&self, document: DocumentId, hash: BlobHash) -> Result<bool, DiskError> {
        let _writing = self.lock();
        let folder = self.folder(document);
        let path = file(&folder, hash);
        let doomed = path.with_extension("tmp");
        match fs::rename(&path, &doomed) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(DiskError::io(&path, "renaming")(error)),
        }
        files::sync_dir(&folder)?;
        files::overwrite_and_remove(&doomed)?;
        files::sync_dir(&folder)?;
        Ok(true)
    }

    /// Destroys every ciphertext of a document and its folder; the number destroyed.
    pub fn erase_document(&self, document: DocumentId) -> Result<u64, DiskError> {
        let _writing = self.lock();
        let folder = self.folder(document);
        if !folder.is_dir() {
            return Ok(0);
        }
        let mut erased = 0;
        for path in paths(&folder)? {
            erased += u64::from(files::overwrite_and_remove(&path)?);
        }
        files::sync_dir(&folder)?;
        fs::remove_dir(&folder).map_err(DiskError::io(&folder, "removing"))?;
        files::sync_dir(&self.dir)?;
        Ok(erased)
    }

    /// The documents that have a folder here, sorted.
    pub fn documents(&self) -> Result<Vec<DocumentId>, DiskError> {
        names(&self.dir, "")
    }

    /// The hashes of a document's ciphertexts, sorted; not checked.
    pub fn hashes(&self, document: DocumentId) -> Result<Vec<BlobHash>, DiskError> {
        let folder = self.folder(document);
        if folder.is_dir() { names(&folder, ".blob") } else { Ok(Vec::new()) }
    }

    /// The lock guards no data, so one left by a panicking thread is as good as any.
    fn lock(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folder(&self, document: DocumentId) -> PathBuf {
        self.dir.join(document.to_string())
    }
}

fn file(folder: &Path, hash: BlobHash) -> PathBuf {
    folder.join(format!("{}.blob", HEXLOWER.encode(hash.as_bytes())))
}

fn check(path: &Path, expected: BlobHash, bytes: &[u8]) -> Result<(), DiskError> {
    if bytes.len() > MAX_BLOB {
        let (size, limit) = (bytes.len() as u64, MAX_BLOB as u64);
        return Err(DiskError::BlobTooLarge { path: path.to_path_buf(), size, limit });
    }
    let found = blob_hash(bytes);
    if found != expected {
        return Err(DiskError::BlobDamaged { path: path.to_path_buf(), expected, found });
    }
    Ok(())
}

fn read(path: &Path, hash: BlobHash) -> Result<Option<Vec<u8>>, DiskError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DiskError::io(path, "opening")(error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BLOB as u64 + 1).read_to_end(&mut bytes).map_err(DiskError::io(path, "reading"))?;
    check(path, hash, &bytes)?;
    Ok(Some(bytes))
}

fn paths(dir: &Path) -> Result<Vec<PathBuf>, DiskError> {
    let entries = fs::read_dir(dir).map_err(DiskError::io(dir, "listing"))?;
    let listed: io::Result<_> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    listed.map_err(DiskError::io(dir, "listing"))
}

/// The ids among the names in a directory. Names that are none are not ours and stay.
fn names<I: FromStr + Ord>(dir: &Path, suffix: &str) -> Result<Vec<I>, DiskError> {
    let prefix = if suffix.is_empty() { "" } else { "blob_" };
    let mut ids: Vec<I> = paths(dir)?
        .iter()
        .filter_map(|path| path.file_name()?.to_str()?.strip_suffix(suffix))
        .filter_map(|name| format!("{prefix}{name}").parse().ok())
        .collect();
    ids.sort();
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOC: DocumentId = DocumentId::from_bytes([1; 32]);
    const OTHER: DocumentId = DocumentId::from_bytes([2; 32]);

    fn open() -> (tempfile::TempDir, Blobs) {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(&dir.path().join("blobs")).unwrap();
        (dir, blobs)
    }

    #[test]
    fn a_ciphertext_lies_in_its_documents_folder_alone() {
        let (_dir, blobs) = open();
        let (a, b) = (blob_hash(b"a"), blob_hash(b"b"));
        blobs.put_all(DOC, &[(a, b"a"), (b, b"b")]).unwrap();
        blobs.put(DOC, a, b"a").unwrap();
        assert_eq!(blobs.get(DOC, a).unwrap().as_deref(), Some(&b"a"[..]));
        assert_eq!(blobs.get(OTHER, a).unwrap(), None);
        assert_eq!(blobs.documents().unwrap(), [DOC]);
        let mut both = [a, b];
        both.sort();
        assert_eq!(blobs.hashes(DOC).unwrap(), both);
        assert_eq!(blobs.hashes(OTHER).unwrap(), []);
        assert_eq!(blobs.erase_document(DOC).unwrap(), 2);
        assert_eq!(blobs.erase_document(DOC).unwrap(), 0);
        assert!(blobs.documents().unwrap().is_empty());
    }

    #[test]
    fn bytes_that_are_not_what_their_name_says_are_refused_on_both_ways() {
        let (_dir, blobs) = open();
        let hash = blob_hash(b"right");
        assert!(matches!(blobs.put(DOC, hash, b"wrong"), Err(DiskError::BlobDamaged { .. })));
        assert!(blobs.documents().unwrap().is_empty());
        blobs.put(DOC, hash, b"right").unwrap();
        let path = file(&blobs.folder(DOC), hash);
        fs::write(&path, b"rIght").unwrap();
        assert!(matches!(blobs.get(DOC, hash), Err(DiskError::BlobDamaged { expected, .. }) if expected == hash));
        blobs.put(DOC, hash, b"right").unwrap();
        assert_eq!(blobs.get(DOC, hash).unwrap().as_deref(), Some(&b"right"[..]));
        let large = vec![0; MAX_BLOB + 1];
        assert!(matches!(blobs.put(DOC, blob_hash(&large), &large), Err(DiskError::BlobTooLarge { .. })));
        blobs.put(DOC, blob_hash(&large[1..]), &large[1..]).unwrap();
    }

    #[test]
    fn an_erased_ciphertext_is_gone_also_when_the_erasure_was_interrupted() {
        let (_dir, blobs) = open();
        let (a, b) = (blob_hash(b"a"), blob_hash(b"b"));
        blobs.put_all(DOC, &[(a, b"a"), (b, b"b")]).unwrap();
        assert!(blobs.erase(DOC, a).unwrap());
        assert!(!blobs.erase(DOC, a).unwrap());
        let path = file(&blobs.folder(DOC), b);
        fs::rename(&path, path.with_extension("tmp")).unwrap();
        let again = Blobs::open(&blobs.dir).unwrap();
        assert_eq!(again.get(DOC, b).unwrap(), None);
        assert_eq!(fs::read_dir(blobs.folder(DOC)).unwrap().count(), 0);
    }
}
