//! The bounded queue of frames waiting for one peer on one channel.
//!
//! Bounded by count and by bytes. It takes frames only while the peer is up: what was queued for a connection that died
//! is dropped and counted, because the core starts afresh with a peer that comes back and old frames would only mislead.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Why a frame did not enter the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The peer is not up.
    Closed,
    /// The queue already holds this much.
    Full { frames: usize, bytes: usize },
}

/// A queue with many producers and one consumer, the writer of the channel's stream.
#[derive(Debug)]
pub(super) struct Outbox {
    state: Mutex<State>,
    filled: Notify,
    max_frames: usize,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    open: bool,
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Outbox {
    /// A closed, empty queue.
    pub(super) fn new(max_frames: usize, max_bytes: usize) -> Self {
        Self { state: Mutex::default(), filled: Notify::new(), max_frames, max_bytes }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets frames in.
    pub(super) fn open(&self) {
        self.state().open = true;
    }

    /// Drops what is queued, refuses more, and says how many frames were lost.
    pub(super) fn close(&self) -> u64 {
        let mut state = self.state();
        let lost = state.frames.len() as u64;
        *state = State::default();
        lost
    }

    /// Adds a frame at the end.
    pub(super) fn push(&self, frame: Vec<u8>) -> Result<(), Refusal> {
        let mut state = self.state();
        if !state.open {
            return Err(Refusal::Closed);
        }
        if state.frames.len() >= self.max_frames || state.bytes.saturating_add(frame.len()) > self.max_bytes {
            return Err(Refusal::Full { frames: state.frames.len(), bytes: state.bytes });
        }
        state.bytes += frame.len();
        state.frames.push_back(frame);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Frames and bytes waiting.
    pub(super) fn queued(&self) -> (usize, usize) {
        let state = self.state();
        (state.frames.len(), state.bytes)
    }

    /// Waits for frames and takes them in order until they hold `enough` bytes. Never empty. Cancelling loses nothing.
    pub(super) async fn take(&self, enough: usize) -> Vec<Vec<u8>> {
        loop {
            let batch = self.take_now(enough);
            if !batch.is_empty() {
                return batch;
            }
            self.filled.notified().await;
        }
    }

    fn take_now(&self, enough: usize) -> Vec<Vec<u8>> {
        let mut state = self.state();
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < enough {
            let Some(frame) = state.frames.pop_front() else { break };
            bytes += frame.len();
            batch.push(frame);
        }
        state.bytes -= bytes;
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_bounded_by_count_and_by_bytes() {
        let outbox = Outbox::new(2, 10);
        outbox.open();
        assert_eq!(outbox.push(vec![0; 6]), Ok(()));
        assert_eq!(outbox.push(vec![0; 5]), Err(Refusal::Full { frames: 1, bytes: 6 }));
        assert_eq!(outbox.push(vec![0; 4]), Ok(()));
        assert_eq!(outbox.push(vec![]), Err(Refusal::Full { frames: 2, bytes: 10 }));
    }

    #[test]
    fn a_closed_queue_takes_nothing_and_says_what_it_lost() {
        let outbox = Outbox::new(8, 64);
        assert_eq!(outbox.push(vec![1]), Err(Refusal::Closed));
        outbox.open();
        outbox.push(vec![1]).unwrap();
        outbox.push(vec![2]).unwrap();
        assert_eq!(outbox.close(), 2);
        assert_eq!(outbox.queued(), (0, 0));
        assert_eq!(outbox.push(vec![1]), Err(Refusal::Closed));
    }

    #[tokio::test]
    async fn frames_come_out_in_the_order_they_went_in() {
        let outbox = Outbox::new(8, 64);
        outbox.open();
        for byte in 0..4 {
            outbox.push(vec![byte; 2]).unwrap();
        }
        assert_eq!(outbox.take(3).await, [[0; 2], [1; 2]]);
        assert_eq!(outbox.take(usize::MAX).await, [[2; 2], [3; 2]]);
        assert_eq!(outbox.queued(), (0, 0));
    }
}
