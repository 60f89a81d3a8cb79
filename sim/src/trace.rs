//! What happened in a run: a running hash over every event, and a timeline for people.
//!
//! The hash is what makes "one seed is the whole scenario" a checked statement (I3): two runs of one seed that end in one
//! hash had the same events at the same virtual times in the same order, down to every byte sent and written.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// The record of a run.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    hash: Sha256,
    events: u64,
    timeline: Vec<(u64, String)>,
}

impl Trace {
    /// Adds an event at virtual millisecond `at` with everything that identifies it.
    pub fn event(&mut self, at: u64, kind: &str, node: usize, parts: &[&[u8]]) {
        self.events += 1;
        self.hash.update(at.to_be_bytes());
        self.hash.update((kind.len() as u64).to_be_bytes());
        self.hash.update(kind);
        self.hash.update((node as u64).to_be_bytes());
        for part in parts {
            self.hash.update((part.len() as u64).to_be_bytes());
            self.hash.update(part);
        }
    }

    /// Adds a line to the timeline. It is an event like any other.
    pub fn note(&mut self, at: u64, line: impl Into<String>) {
        let line = line.into();
        self.event(at, "note", usize::MAX, &[line.as_bytes()]);
        self.timeline.push((at, line));
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The hash over all events so far, in hex.
    pub fn hash(&self) -> String {
        HEXLOWER.encode(&self.hash.clone().finalize())
    }

    /// The lines for people with their virtual milliseconds.
    pub fn timeline(&self) -> &[(u64, String)] {
        &self.timeline
    }
}
