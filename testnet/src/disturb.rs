//! Killing nodes at random moments while something else goes on (I8).
//!
//! A thread of its own kills one node at a time with `SIGKILL`, starts it again at once, and waits until it answers before
//! it looks for the next moment. Which node and when is drawn from a seed; what the seed meets in a real mesh is not the same
//! every time. While it is paused nothing is killed and every node answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::error::TestnetError;
use crate::testnet::{Starter, Testnet, occupant};

/// Between two kills, in milliseconds.
const PAUSES: (u64, u64) = (300, 2_300);

/// The thread that kills.
#[derive(Debug)]
pub struct Disturber {
    // Held by the thread while it kills and restarts.
    killed: Arc<Mutex<Vec<Value>>>,
    paused: Arc<AtomicBool>,
    end: Sender<()>,
    thread: JoinHandle<Result<(), TestnetError>>,
}

impl Disturber {
    /// Begins to kill nodes of `net`. The nodes killed become children of the new thread and end with it.
    pub fn start(net: &Testnet, seed: u64) -> Self {
        let starters: Vec<Starter> = net.all().into_iter().map(|index| net.starter(index)).collect();
        let (killed, paused) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (end, ended) = mpsc::channel();
        let (log, quiet) = (killed.clone(), paused.clone());
        let thread = thread::spawn(move || {
            let (mut random, started) = (seed, Instant::now());
            loop {
                let pause = PAUSES.0 + draw(&mut random) % (PAUSES.1 - PAUSES.0);
                match ended.recv_timeout(Duration::from_millis(pause)) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                }
                let starter = &starters[usize::try_from(draw(&mut random)).unwrap_or_default() % starters.len()];
                let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                if quiet.load(Ordering::SeqCst) {
                    continue;
                }
                {
                    let mut slot = occupant(&starter.slot);
                    if let Some(process) = slot.as_mut() {
                        process.kill();
                    }
                    *slot = Some(starter.spawn()?);
                }
                let at = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                starter.wait_answering()?;
                let back = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                log.push(json!({ "node": starter.name(), "killed_at_ms": at, "answers_after_ms": back - at }));
            }
        });
        Self { killed, paused, end, thread }
    }

    /// Kills nothing until [`Disturber::resume`]. Returns once a node that was killed before answers again. True if it was
    /// not paused already.
    pub fn pause(&self) -> bool {
        let first = !self.paused.swap(true, Ordering::SeqCst);
        drop(self.log());
        first
    }

    /// Goes on killing.
    pub fn resume(&self) {
        self.paused.store(false, Ordering::SeqCst);
    }

    /// Whom it killed, and when.
    pub fn killed(&self) -> Vec<Value> {
        self.log().clone()
    }

    fn log(&self) -> MutexGuard<'_, Vec<Value>> {
        self.killed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it, and with it the nodes it started.
    ///
    /// # Errors
    /// [`TestnetError`] if a node did not come back.
    pub fn finish(self) -> Result<(), TestnetError> {
        // It may have ended by itself, with an error that the join tells.
        let _ = self.end.send(());
        self.thread.join().unwrap_or_else(|_| Err(TestnetError::Unexpected("the disturbing thread panicked".into())))
    }
}

/// SplitMix64: a few numbers, not secrets.
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
