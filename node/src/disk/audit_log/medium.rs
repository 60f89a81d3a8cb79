//! The file beneath the writer, as a trait so that tests can fail its syncs and cut its power.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::fcntl::{FallocateFlags, fallocate};

/// What the writer asks of a log file. Nothing is durable before `sync`.
pub(super) trait Medium: Debug + Send {
    /// Reserves room up to `end`; bytes not written read as zeros.
    fn allocate(&mut self, from: u64, end: u64) -> io::Result<()>;
    /// Cuts the file off at `len`.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
    /// Writes all the bytes at an offset.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Waits until everything before is on stable storage.
    fn sync(&mut self) -> io::Result<()>;
}

/// Opens an existing log file for writing.
pub(super) type Opener = Box<dyn FnMut(&Path) -> io::Result<Box<dyn Medium>> + Send>;

pub(super) fn real() -> Opener {
    Box::new(|path| Ok(Box::new(RealFile(OpenOptions::new().read(true).write(true).open(path)?)) as Box<dyn Medium>))
}

#[derive(Debug)]
struct RealFile(File);

impl Medium for RealFile {
    fn allocate(&mut self, from: u64, end: u64) -> io::Result<()> {
        let too_far = |_| io::Error::from(io::ErrorKind::FileTooLarge);
        let (offset, len) = (i64::try_from(from).map_err(too_far)?, i64::try_from(end - from).map_err(too_far)?);
        match fallocate(&self.0, FallocateFlags::empty(), offset, len) {
            // Some filesystems cannot reserve; there a full disk shows itself when writing.
            Err(nix::errno::Errno::EOPNOTSUPP) => self.0.set_len(end),
            result => result.map_err(io::Error::from),
        }
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}
