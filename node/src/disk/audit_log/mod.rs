//! The audit log: append-only, preallocated, hash-chained, in its own files (I7).
//!
//! Guarantees: an append that returned is on stable storage and stands in the chain under its number; appends that
//! overlap share one sync; nothing is acknowledged on a full filesystem or after a failed write; on opening, every
//! record is verified from the first on, the unfinished write of a crash is cut off, and anything altered, removed or
//! reordered is named and refused. [`frame`] has the bytes, [`reader`] what is told apart and how.
//!
//! Leaves to others: what a record says, signing the head and having peers witness it. Against somebody who rewrites
//! the whole log with a new chain only such a witnessed head helps; hand it back in as [`Options::expected`].

pub mod frame;
mod medium;
pub mod reader;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use self::frame::MAX_PAYLOAD;
use self::medium::Opener;
pub use self::reader::{Record, Records, TornTail};
use self::writer::{Request, Shown, Tail, Writer};
use super::error::DiskError;
use super::files;
use super::lock::DirLock;

/// The state of the chain after a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The number of the last record, zero before the first.
    pub seq: u64,
    /// The chain hash up to and including it.
    pub chain_hash: [u8; 32],
}

/// A record that is on stable storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its number, counted from one.
    pub seq: u64,
    /// The chain hash up to and including it.
    pub chain_hash: [u8; 32],
}

/// How a log is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whose log this is: 32 bytes that begin the chain, such as a hash over mesh id and node id. Another node's log
    /// does not open under it.
    pub log_id: [u8; 32],
    /// How many appends may wait before `try_append` refuses.
    pub queue: usize,
    /// When a file has grown to this many bytes, the next is begun.
    pub file_limit: u64,
    /// Bytes reserved on the filesystem at a time, so that growing the file is rare.
    pub reserve: u64,
    /// A head known from elsewhere, as witnessed by peers, that the log must contain.
    pub expected: Option<Head>,
}

impl Options {
    /// A queue of 1024, files of 64 MiB that grow by 4 MiB, no witnessed head.
    pub fn new(log_id: [u8; 32]) -> Self {
        Self { log_id, queue: 1024, file_limit: 64 << 20, reserve: 4 << 20, expected: None }
    }
}

/// A log that this process appends to.
#[derive(Debug)]
pub struct AuditLog {
    requests: Option<mpsc::Sender<Request>>,
    shown: Arc<Mutex<Shown>>,
    torn: Option<TornTail>,
    thread: Option<JoinHandle<()>>,
    dir: PathBuf,
    /// Two writers of one log would be the end of it, also within this process.
    _lock: DirLock,
}

/// An append that is under way.
#[derive(Debug)]
pub struct Pending {
    answer: oneshot::Receiver<Result<Appended, DiskError>>,
    dir: PathBuf,
}

impl Pending {
    /// Waits until the record is on stable storage.
    pub async fn durable(self) -> Result<Appended, DiskError> {
        self.answer.await.unwrap_or_else(|_| Err(gone(self.dir)))
    }

    /// The same for threads. Panics inside an asynchronous runtime.
    pub fn wait(self) -> Result<Appended, DiskError> {
        self.answer.blocking_recv().unwrap_or_else(|_| Err(gone(self.dir)))
    }
}

impl AuditLog {
    /// Opens the log in `dir`, creating both if there are none, and verifies every record.
    ///
    /// Errors: [`DiskError::AuditTampered`] and [`DiskError::AuditTruncated`] leave the files untouched.
    pub fn open(dir: &Path, options: &Options) -> Result<Self, DiskError> {
        Self::open_with(dir, options, medium::real())
    }

    fn open_with(dir: &Path, options: &Options, opener: Opener) -> Result<Self, DiskError> {
        files::make_dir(dir)?;
        let lock = DirLock::take(dir)?;
        let (writer, torn) = prepare(dir, options, opener)?;
        let shown = writer.shown.clone();
        let (requests, queue) = mpsc::channel(options.queue.max(1));
        let thread = std::thread::Builder::new()
            .name("audit log".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(DiskError::io(dir, "starting the writer's thread"))?;
        Ok(Self { requests: Some(requests), shown, torn, thread: Some(thread), dir: dir.to_path_buf(), _lock: lock })
    }

    /// Appends a record and waits until it is on stable storage. Waits for a place in the queue, too.
    pub async fn append(&self, payload: Vec<u8>) -> Result<Appended, DiskError> {
        let (request, pending) = self.request(payload)?;
        self.requests()?.send(request).await.map_err(|_| gone(self.dir.clone()))?;
        pending.durable().await
    }

    /// The same for threads. Panics inside an asynchronous runtime.
    pub fn append_blocking(&self, payload: Vec<u8>) -> Result<Appended, DiskError> {
        let (request, pending) = self.request(payload)?;
        self.requests()?.blocking_send(request).map_err(|_| gone(self.dir.clone()))?;
        pending.wait()
    }

    /// Hands a record over without waiting. Refused with [`DiskError::AuditBusy`] if the queue is full.
    pub fn try_append(&self, payload: Vec<u8>) -> Result<Pending, DiskError> {
        let (request, pending) = self.request(payload)?;
        let requests = self.requests()?;
        requests.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => DiskError::AuditBusy { waiting: requests.max_capacity() },
            mpsc::error::TrySendError::Closed(_) => gone(self.dir.clone()),
        })?;
        Ok(pending)
    }

    /// The last record on stable storage.
    pub fn head(&self) -> Head {
        self.shown().head
    }

    /// How often this log has waited for the device since it was opened: appends divided by it is how many shared.
    pub fn syncs(&self) -> u64 {
        self.shown().syncs
    }

    /// Why the log takes no more records, if so.
    pub fn stopped(&self) -> Option<String> {
        self.shown().stopped.clone()
    }

    /// The unfinished write that was cut off when the log was opened.
    pub fn torn_tail(&self) -> Option<&TornTail> {
        self.torn.as_ref()
    }

    fn request(&self, payload: Vec<u8>) -> Result<(Request, Pending), DiskError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(DiskError::AuditTooLarge { size: payload.len(), limit: MAX_PAYLOAD });
        }
        let (answer, receiver) = oneshot::channel();
        Ok((Request { payload, answer }, Pending { answer: receiver, dir: self.dir.clone() }))
    }

    fn requests(&self) -> Result<&mpsc::Sender<Request>, DiskError> {
        self.requests.as_ref().ok_or_else(|| gone(self.dir.clone()))
    }

    fn shown(&self) -> std::sync::MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AuditLog {
    /// Writes what waits and ends the thread.
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has answered nobody; there is nothing to add here.
            let _ = thread.join();
        }
    }
}

/// Verifies what is there, creates the first file if there is none, and makes the end ready to grow.
fn prepare(dir: &Path, options: &Options, mut opener: Opener) -> Result<(Writer, Option<TornTail>), DiskError> {
    let mut records = Records::open(dir, options.log_id, options.expected)?;
    let head = records.verify()?;
    let (number, end, mark) = match records.position() {
        Some(position) => position,
        None => {
            writer::create_file(dir, &options.log_id, 1, head)?;
            (1, frame::HEADER, None)
        }
    };
    let file = Tail::open(dir, number, end, head, mark, &mut opener)?;
    let writer = Writer {
        dir: dir.to_path_buf(),
        log_id: options.log_id,
        file_limit: options.file_limit,
        reserve: options.reserve,
        opener,
        shown: Arc::new(Mutex::new(Shown { head, stopped: None, syncs: 0 })),
        file,
        head,
    };
    Ok((writer, records.torn_tail().cloned()))
}

fn gone(dir: PathBuf) -> DiskError {
    DiskError::AuditStopped { path: dir, what: "its writer has ended".to_owned() }
}

fn file_name(number: u32) -> String {
    format!("{number:04}.log")
}

#[cfg(test)]
mod tests;
