//! The one thread that writes the audit log.
//!
//! It takes whatever waits, writes it in one piece, syncs once and then answers everybody: while a sync runs the next
//! batch gathers by itself, so requests that overlap share their wait without a timer.
//!
//! A full filesystem refuses a batch before a byte of it is written, because room is reserved first; the log goes on
//! when there is room again. Any other failed write, and every failed sync, ends writing for good: after it the kernel
//! may report pages as clean that never reached the device, so only a new process that reads the file can know.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::frame::{self, FileHeader, HEADER, MARKS, Mark};
use super::medium::{Medium, Opener};
use super::{Appended, Head, file_name};
use crate::disk::error::{DiskError, no_room};
use crate::disk::files;

/// Reserved at a time when there is no room for more.
const SMALL_STEP: u64 = 64 << 10;
/// A batch takes no further record beyond this.
const BATCH_BYTES: usize = 1 << 20;

/// One append that waits.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) payload: Vec<u8>,
    pub(super) answer: oneshot::Sender<Result<Appended, DiskError>>,
}

/// What the writer shows to others.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) head: Head,
    pub(super) stopped: Option<String>,
    pub(super) syncs: u64,
}

pub(super) struct Writer {
    pub(super) dir: PathBuf,
    pub(super) log_id: [u8; 32],
    pub(super) file_limit: u64,
    pub(super) reserve: u64,
    pub(super) opener: Opener,
    pub(super) shown: Arc<Mutex<Shown>>,
    pub(super) file: Tail,
    pub(super) head: Head,
}

/// The file that grows.
pub(super) struct Tail {
    path: PathBuf,
    number: u32,
    medium: Box<dyn Medium>,
    end: u64,
    allocated: u64,
    marks: usize,
}

impl Tail {
    /// Opens a file whose records end at `end`, cuts off whatever follows, and marks what is there as acknowledged.
    pub(super) fn open(
        dir: &Path,
        number: u32,
        end: u64,
        head: Head,
        old: Option<Mark>,
        opener: &mut Opener,
    ) -> Result<Self, DiskError> {
        let path = dir.join(file_name(number));
        let mut medium = opener(&path).map_err(DiskError::io(&path, "opening"))?;
        // Without this, the rest of an unfinished write could one day continue a chain that has grown up to it.
        medium.truncate(end).map_err(DiskError::io(&path, "cutting off an unfinished record"))?;
        // The records must be durable before a mark says so.
        medium.sync().map_err(DiskError::io(&path, "syncing"))?;
        let mut tail = Self { path, number, medium, end, allocated: end, marks: 0 };
        if head.seq > 0 && old != Some(Mark { seq: head.seq, closed: false }) {
            tail.mark(head.seq, false).map_err(DiskError::io(&tail.path, "marking"))?;
            tail.medium.sync().map_err(DiskError::io(&tail.path, "syncing"))?;
        }
        Ok(tail)
    }

    fn mark(&mut self, seq: u64, closed: bool) -> std::io::Result<()> {
        self.marks += 1;
        self.medium.write_at(&Mark { seq, closed }.encode(), MARKS[self.marks % 2])
    }

    /// Reserves room for `len` more bytes, in steps of `step` bytes if so much is free.
    fn reserve(&mut self, len: u64, step: u64) -> std::io::Result<()> {
        let needed = self.end + len;
        if needed <= self.allocated {
            return Ok(());
        }
        let mut last = Ok(());
        for step in [step.max(SMALL_STEP), SMALL_STEP] {
            let end = needed.next_multiple_of(step);
            last = self.medium.allocate(self.allocated, end);
            match &last {
                Ok(()) => {
                    self.allocated = end;
                    break;
                }
                Err(error) if no_room(error) => {}
                Err(_) => break,
            }
        }
        last
    }
}

/// Creates an empty log file under its final name, durably.
pub(super) fn create_file(dir: &Path, log_id: &[u8; 32], number: u32, head: Head) -> Result<(), DiskError> {
    let path = dir.join(file_name(number));
    let header = FileHeader { number, first_seq: head.seq + 1, previous: head.chain_hash };
    let unfinished = path.with_extension("tmp");
    files::write_new(&unfinished, &header.encode(log_id))?;
    files::rename(&unfinished, &path)?;
    files::sync_dir(dir)
}

/// Why a batch was not written.
enum Refusal {
    /// No room; nothing was written and the log is sound.
    Full(&'static str),
    /// The log cannot be trusted any more.
    Stop(String),
}

impl Writer {
    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        while let Some(first) = requests.blocking_recv() {
            let mut bytes = first.payload.len();
            let mut batch = vec![first];
            while bytes < BATCH_BYTES
                && let Ok(request) = requests.try_recv()
            {
                bytes += request.payload.len();
                batch.push(request);
            }
            self.serve(batch);
        }
        // With this the mark is durable, too, and says everything.
        let _ = self.file.medium.sync();
    }

    /// Writes a batch, waits for the device once, and answers everybody in it.
    pub(super) fn serve(&mut self, batch: Vec<Request>) {
        let stopped = self.shown().stopped.clone();
        let result = match stopped {
            Some(what) => Err(Refusal::Stop(what)),
            None => self.write(&batch),
        };
        if let Err(Refusal::Stop(what)) = &result {
            self.shown().stopped.get_or_insert_with(|| what.clone());
        }
        match result {
            Ok(appended) => {
                for (request, appended) in batch.into_iter().zip(appended) {
                    // Whoever no longer waits has lost nothing: the record is there.
                    let _ = request.answer.send(Ok(appended));
                }
            }
            Err(refusal) => {
                for request in batch {
                    let error = match &refusal {
                        Refusal::Full(doing) => DiskError::Full { path: self.file.path.clone(), doing },
                        Refusal::Stop(what) => DiskError::AuditStopped { path: self.dir.clone(), what: what.clone() },
                    };
                    let _ = request.answer.send(Err(error));
                }
            }
        }
    }

    fn write(&mut self, batch: &[Request]) -> Result<Vec<Appended>, Refusal> {
        let mut bytes = Vec::new();
        let mut head = self.head;
        let mut appended = Vec::with_capacity(batch.len());
        for request in batch {
            let seq = head.seq + 1;
            let chain_hash = frame::encode_record(&mut bytes, &head.chain_hash, seq, &request.payload);
            head = Head { seq, chain_hash };
            appended.push(Appended { seq, chain_hash });
        }
        if self.file.end > HEADER && self.file.end + bytes.len() as u64 > self.file_limit {
            self.rotate()?;
        }
        let file = &mut self.file;
        file.reserve(bytes.len() as u64, self.reserve).map_err(|error| match no_room(&error) {
            true => Refusal::Full("reserving room for audit records"),
            false => Refusal::Stop(format!("reserving room: {error}")),
        })?;
        if let Err(error) = file.medium.write_at(&bytes, file.end) {
            // Only where room cannot be reserved. The log may go on if what was begun is provably off the disk.
            let undone = file.medium.truncate(file.end).and_then(|()| file.medium.sync());
            file.allocated = file.end;
            return Err(match (no_room(&error), undone) {
                (true, Ok(())) => Refusal::Full("writing audit records"),
                _ => Refusal::Stop(format!("writing: {error}")),
            });
        }
        file.medium.sync().map_err(|error| Refusal::Stop(format!("syncing: {error}")))?;
        file.end += bytes.len() as u64;
        if let Err(error) = file.mark(head.seq, false) {
            tracing::warn!(%error, "the audit log's mark could not be written");
        }
        self.head = head;
        let mut shown = self.shown();
        shown.head = head;
        shown.syncs += 1;
        drop(shown);
        Ok(appended)
    }

    /// Goes on to the next file. The next one exists before this one is closed, so a cut in between leaves both sound.
    fn rotate(&mut self) -> Result<(), Refusal> {
        let refusal = |error: DiskError| match error {
            DiskError::Full { .. } => Refusal::Full("beginning the next audit file"),
            error => Refusal::Stop(error.to_string()),
        };
        let number = self.file.number + 1;
        create_file(&self.dir, &self.log_id, number, self.head).map_err(refusal)?;
        let path = self.dir.join(file_name(number));
        let medium = (self.opener)(&path).map_err(|error| Refusal::Stop(format!("opening {number}: {error}")))?;
        let next = Tail { path, number, medium, end: HEADER, allocated: HEADER, marks: 0 };
        let mut last = std::mem::replace(&mut self.file, next);
        let closed = last.medium.truncate(last.end).and_then(|()| last.mark(self.head.seq, true));
        closed.and_then(|()| last.medium.sync()).map_err(|error| Refusal::Stop(format!("closing: {error}")))
    }

    fn shown(&self) -> std::sync::MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
