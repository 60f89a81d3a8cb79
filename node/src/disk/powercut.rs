//! Test support: a disk whose power can be cut.
//!
//! Writes since the last sync are kept apart. When the power is cut, each of them is kept, dropped, or torn into
//! sectors of 512 bytes of which some arrive, whatever the order they were issued in; what was synced stays. From a
//! chosen operation on every operation fails, as for a process whose machine is gone.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand_chacha::ChaCha20Rng;
use rand_core::Rng;

const SECTOR: usize = 512;

/// One file on such a disk; clones are the same file.
#[derive(Debug, Clone)]
pub(crate) struct CutFile(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    synced: Vec<u8>,
    unsynced: Vec<Operation>,
    /// What a running process reads back.
    seen: Vec<u8>,
    /// Operations until the power goes.
    left: Option<u64>,
    /// True once an operation has failed for lack of power.
    off: bool,
    /// True for a device that says it has synced and has not.
    lies: bool,
}

#[derive(Debug)]
enum Operation {
    Length(usize),
    Write(usize, Vec<u8>),
}

impl Operation {
    fn apply(&self, bytes: &mut Vec<u8>, arrives: &mut dyn FnMut() -> bool) {
        match self {
            Operation::Length(len) => {
                if arrives() {
                    bytes.resize(*len, 0);
                }
            }
            Operation::Write(offset, data) => {
                let mut done = 0;
                while done < data.len() {
                    let at = offset + done;
                    let n = (SECTOR - at % SECTOR).min(data.len() - done);
                    if arrives() {
                        if bytes.len() < at + n {
                            bytes.resize(at + n, 0);
                        }
                        bytes[at..at + n].copy_from_slice(&data[done..done + n]);
                    }
                    done += n;
                }
            }
        }
    }
}

impl CutFile {
    /// A file with these bytes, all synced. The power goes at the operation after the next `left`.
    pub(crate) fn new(bytes: Vec<u8>, left: Option<u64>) -> Self {
        let (synced, unsynced) = (bytes.clone(), Vec::new());
        Self(Arc::new(Mutex::new(State { synced, unsynced, seen: bytes, left, off: false, lies: false })))
    }

    /// From now on syncs succeed without doing anything.
    pub(crate) fn lie(&self) {
        self.lock().lies = true;
    }

    /// What is found when the power is back.
    pub(crate) fn cut(&self, rng: &mut ChaCha20Rng) -> Vec<u8> {
        let state = self.lock();
        let mut bytes = state.synced.clone();
        for operation in &state.unsynced {
            let fate = rng.next_u32() % 3;
            operation.apply(&mut bytes, &mut || match fate {
                0 => false,
                1 => true,
                _ => rng.next_u32().is_multiple_of(2),
            });
        }
        bytes
    }

    pub(crate) fn length(&self) -> u64 {
        self.lock().seen.len() as u64
    }

    pub(crate) fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.lock();
        let from = offset as usize;
        let bytes = state.seen.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    pub(crate) fn set_length(&self, len: u64) -> io::Result<()> {
        self.lock().issue(Operation::Length(len as usize))
    }

    pub(crate) fn put_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.lock().issue(Operation::Write(offset as usize, bytes.to_vec()))
    }

    pub(crate) fn sync_all(&self) -> io::Result<()> {
        let mut state = self.lock();
        if let Err(error) = state.spend() {
            state.off = true;
            return Err(error);
        }
        if state.lies {
            return Ok(());
        }
        for operation in std::mem::take(&mut state.unsynced) {
            operation.apply(&mut state.synced, &mut || true);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn spend(&mut self) -> io::Result<()> {
        match &mut self.left {
            Some(0) => Err(io::Error::other("the power is off")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn issue(&mut self, operation: Operation) -> io::Result<()> {
        let power = self.spend();
        if power.is_ok() {
            operation.apply(&mut self.seen, &mut || true);
        }
        // The operation during which the power goes may still arrive, or a part of it.
        if power.is_ok() || !std::mem::replace(&mut self.off, true) {
            self.unsynced.push(operation);
        }
        power
    }
}

impl redb::StorageBackend for CutFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.length())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.set_length(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync_all()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.put_at(offset, data)
    }
}
