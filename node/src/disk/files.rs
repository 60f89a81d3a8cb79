//! The few file operations whose order decides what survives a power cut.
//!
//! A file's bytes are durable after its own fsync, its name after an fsync of the directory. Whoever acknowledges
//! anything here has done both.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

use super::error::DiskError;

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), DiskError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(DiskError::io(dir, "syncing the directory"))
}

/// Creates a directory only its owner can enter, durably; one that exists is fine.
pub(crate) fn make_dir(dir: &Path) -> Result<(), DiskError> {
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => dir.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync_dir),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(error) => Err(DiskError::io(dir, "creating the directory")(error)),
    }
}

/// Writes a new file with these bytes and syncs it. Its name is not durable yet, and an unfinished one is removed.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|error| {
        let _ = fs::remove_file(path);
        DiskError::io(path, "writing")(error)
    })
}

/// Renames within one directory. The new name is durable once the directory is synced.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), DiskError> {
    fs::rename(from, to).map_err(DiskError::io(to, "renaming into place"))
}

/// Overwrites a file with zeros, syncs it and removes its name; false if there was none. The caller syncs the directory.
///
/// On a filesystem that writes in place this destroys the bytes above the device. Copy-on-write filesystems and flash
/// translation layers may keep older copies: what is stored here is a ciphertext for that reason.
pub(crate) fn overwrite_and_remove(path: &Path) -> Result<bool, DiskError> {
    let file = match OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(DiskError::io(path, "opening")(error)),
    };
    let overwrite = || {
        let len = file.metadata()?.len();
        let zeros = vec![0; 64 * 1024];
        let mut at = 0;
        while at < len {
            let n = (len - at).min(zeros.len() as u64);
            file.write_all_at(&zeros[..n as usize], at)?;
            at += n;
        }
        file.sync_all()
    };
    overwrite().map_err(DiskError::io(path, "overwriting"))?;
    fs::remove_file(path).map_err(DiskError::io(path, "removing"))?;
    Ok(true)
}
