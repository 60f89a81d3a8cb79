//! Shares, each in its own rewritable file outside the store (I1, I10).
//!
//! A slot file has two halves of [`HALF`] bytes. A rewrite goes to the half that is not in use, is synced, and only then
//! is the older half overwritten with zeros and synced: a cut at any moment leaves the old value or the new one, and
//! once `put` has returned the old one is gone. That order also tells damage from an interrupted write: a value that
//! was acknowledged stands alone in its file, so if it does not verify there is nothing older to mistake for it.
//!
//! The contents, padded to one size, are sealed with AES-256-GCM under a key of their own (HKDF-SHA256 of the sealing
//! key with the slot's name as info, RFC 5869); name and sequence number are authenticated along, so neither a renamed
//! nor an older half passes. The outer SHA-256 is there to tell a damaged slot from one sealed under another key.
//!
//! Leaves to others: the sealing key, and what a share is. Overwriting reaches the device only as far as the filesystem
//! writes in place; sealed contents and an erasable sealing key are the answer to the rest.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hkdf::Hkdf;
use keymesh_wire::sealing::{open_at_rest, seal_at_rest};
use keymesh_wire::secret::{Secret32, SecretBytes};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};

use super::error::DiskError;
use super::files;

/// Bytes of one half of a slot file.
pub const HALF: usize = 16 * 1024;

/// The most bytes a slot holds: a half less its frame (magic, sequence number, suite, nonce, tag, length, checksum).
pub const CAPACITY: usize = HALF - 8 - 8 - 1 - 12 - 16 - 4 - 32;

const MAGIC: &[u8; 8] = b"KMSLOT01";
const SALT: &[u8] = b"keymesh slot v1";
const SUFFIX: &str = "slot";

/// A directory of sealed slots.
#[derive(Debug)]
pub struct Slots {
    dir: PathBuf,
    key: Secret32,
    /// One writer at a time: a rewrite reads which half is in use first.
    writing: Mutex<()>,
}

/// A whole half as found in a file.
struct Half {
    index: u64,
    sequence: u64,
    sealed: Vec<u8>,
}

impl Slots {
    /// Opens a directory of slots, creating it, and removes what an interrupted `put` or `erase` left behind.
    pub fn open(dir: &Path, key: Secret32) -> Result<Self, DiskError> {
        files::make_dir(dir)?;
        let mut removed = false;
        for entry in fs::read_dir(dir).map_err(DiskError::io(dir, "listing"))? {
            let path = entry.map_err(DiskError::io(dir, "listing"))?.path();
            if path.extension().is_some_and(|extension| extension == "tmp") {
                removed |= files::overwrite_and_remove(&path)?;
            }
        }
        if removed {
            files::sync_dir(dir)?;
        }
        Ok(Self { dir: dir.to_path_buf(), key, writing: Mutex::new(()) })
    }

    /// Writes a slot, replacing and overwriting what it held. Durable when this returns.
    pub fn put(&self, name: &str, content: &SecretBytes, rng: &mut impl CryptoRng) -> Result<(), DiskError> {
        let path = self.path(name)?;
        if content.len() > CAPACITY {
            return Err(DiskError::SlotTooLarge { name: name.to_owned(), size: content.len(), limit: CAPACITY });
        }
        let _writing = self.lock();
        let Some(file) = open(&path)? else {
            let mut bytes = self.half(name, 1, content, rng);
            bytes.resize(2 * HALF, 0);
            let unfinished = path.with_extension("tmp");
            files::write_new(&unfinished, &bytes)?;
            files::rename(&unfinished, &path)?;
            return files::sync_dir(&self.dir);
        };
        let current = newest(&path, &file)?;
        let next = self.half(name, current.sequence + 1, content, rng);
        let other = 1 - current.index;
        write_half(&path, &file, other, &next)?;
        write_half(&path, &file, current.index, &[0; HALF])
    }

    /// What a slot holds; none if it does not exist.
    ///
    /// Errors: [`DiskError::SlotKey`] if it is whole but does not open under this key and name,
    /// [`DiskError::SlotDamaged`] if it is not whole.
    pub fn get(&self, name: &str) -> Result<Option<SecretBytes>, DiskError> {
        let path = self.path(name)?;
        let _writing = self.lock();
        let Some(file) = open(&path)? else { return Ok(None) };
        let half = newest(&path, &file)?;
        let padded = open_at_rest(&self.key_of(name), &aad(name, half.sequence), &half.sealed)
            .map_err(|_| DiskError::SlotKey { path: path.clone() })?;
        let content = padded.expose_secret().split_first_chunk::<4>().and_then(|(len, rest)| {
            let content = rest.get(..u32::from_be_bytes(*len) as usize)?;
            Some(SecretBytes::build(content.len(), |out| out.copy_from_slice(content)))
        });
        content.map(Some).ok_or(DiskError::SlotDamaged { path, what: "its length field is impossible" })
    }

    /// Destroys a slot: overwrites both halves, syncs, and removes the name. False if there was none.
    ///
    /// The name goes first to `.tmp`, so that a cut in between ends in a finished erasure and not in a damaged slot.
    pub fn erase(&self, name: &str) -> Result<bool, DiskError> {
        let path = self.path(name)?;
        let _writing = self.lock();
        if open(&path)?.is_none() {
            return Ok(false);
        }
        let doomed = path.with_extension("tmp");
        files::rename(&path, &doomed)?;
        files::sync_dir(&self.dir)?;
        // Whether this name is gone after a cut makes no difference: what it names is, and it is removed at the next start.
        files::overwrite_and_remove(&doomed)?;
        Ok(true)
    }

    /// The names of all slots, sorted.
    pub fn names(&self) -> Result<Vec<String>, DiskError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(DiskError::io(&self.dir, "listing"))? {
            let file = entry.map_err(DiskError::io(&self.dir, "listing"))?.file_name();
            if let Some(name) = file.to_str().and_then(|file| file.strip_suffix(".slot")).filter(|name| valid(name)) {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// The lock guards no data, so one left by a panicking thread is as good as any.
    fn lock(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, name: &str) -> Result<PathBuf, DiskError> {
        if !valid(name) {
            return Err(DiskError::SlotName { name: name.chars().take(120).collect() });
        }
        Ok(self.dir.join(format!("{name}.{SUFFIX}")))
    }

    fn key_of(&self, name: &str) -> Secret32 {
        Secret32::build(|key| {
            Hkdf::<Sha256>::new(Some(SALT), self.key.expose_secret())
                .expand(name.as_bytes(), key)
                .expect("32 bytes are within what HKDF-SHA256 gives");
        })
    }

    fn half(&self, name: &str, sequence: u64, content: &SecretBytes, rng: &mut impl CryptoRng) -> Vec<u8> {
        let padded = SecretBytes::build(4 + CAPACITY, |padded| {
            padded[..4].copy_from_slice(&(content.len() as u32).to_be_bytes());
            padded[4..4 + content.len()].copy_from_slice(content.expose_secret());
        });
        let sealed = seal_at_rest(&self.key_of(name), &aad(name, sequence), padded.expose_secret(), rng);
        let mut half = Vec::with_capacity(HALF);
        half.extend_from_slice(MAGIC);
        half.extend_from_slice(&sequence.to_be_bytes());
        half.extend_from_slice(&sealed);
        let checksum: [u8; 32] = Sha256::digest(&half).into();
        half.extend_from_slice(&checksum);
        assert_eq!(half.len(), HALF, "a half of a slot has one size");
        half
    }
}

fn valid(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    (1..=100).contains(&name.len()) && name.bytes().all(allowed)
}

fn aad(name: &str, sequence: u64) -> Vec<u8> {
    let mut aad = Vec::with_capacity(SALT.len() + 8 + name.len());
    aad.extend_from_slice(SALT);
    aad.extend_from_slice(&sequence.to_be_bytes());
    aad.extend_from_slice(name.as_bytes());
    aad
}

fn open(path: &Path) -> Result<Option<File>, DiskError> {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DiskError::io(path, "opening")(error)),
    }
}

fn write_half(path: &Path, file: &File, index: u64, bytes: &[u8]) -> Result<(), DiskError> {
    file.write_all_at(bytes, index * HALF as u64)
        .and_then(|()| file.sync_data())
        .map_err(DiskError::io(path, "writing"))
}

/// The whole half with the higher sequence number.
fn newest(path: &Path, file: &File) -> Result<Half, DiskError> {
    let damaged = |what| DiskError::SlotDamaged { path: path.to_path_buf(), what };
    let len = file.metadata().map_err(DiskError::io(path, "reading the length"))?.len();
    if len != 2 * HALF as u64 {
        return Err(damaged("the file has the wrong length"));
    }
    let mut newest: Option<Half> = None;
    for index in 0..2 {
        let mut bytes = vec![0; HALF];
        file.read_exact_at(&mut bytes, index * HALF as u64).map_err(DiskError::io(path, "reading"))?;
        let (body, checksum) = bytes.split_at(HALF - 32);
        let digest: [u8; 32] = Sha256::digest(body).into();
        if *checksum != digest || !body.starts_with(MAGIC) {
            continue;
        }
        let (sequence, sealed) = body[8..].split_first_chunk::<8>().expect("a half is longer than its frame");
        let sequence = u64::from_be_bytes(*sequence);
        if newest.as_ref().is_none_or(|half| half.sequence < sequence) {
            newest = Some(Half { index, sequence, sealed: sealed.to_vec() });
        }
    }
    newest.ok_or(damaged("neither half is whole"))
}

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
