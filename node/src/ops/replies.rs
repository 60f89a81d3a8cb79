//! Answers of the core on their way to whoever asked.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use keymesh_mesh::replica::ReplyTo;
use keymesh_wire::api::Submitted;
use keymesh_wire::error::WireError;
use tokio::sync::oneshot;

type Answer = Result<Submitted, WireError>;

/// Who waits for which answer.
#[derive(Debug, Default)]
pub struct Replies {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
}

impl Replies {
    /// A new address for an answer, and where it arrives.
    pub fn expect(&self) -> (ReplyTo, oneshot::Receiver<Answer>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.lock().insert(id, sender);
        (ReplyTo(id), receiver)
    }

    /// Hands an answer over. Whoever no longer waits gets none.
    pub fn answer(&self, to: ReplyTo, answer: Answer) {
        if let Some(sender) = self.lock().remove(&to.0) {
            let _ = sender.send(answer);
        }
    }

    /// No longer waits.
    pub fn forget(&self, to: ReplyTo) {
        self.lock().remove(&to.0);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
