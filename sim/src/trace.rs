//! What happened in a run: a running hash over every event, and a timeline for people.
//!
//! The hash is what makes "one seed is the whole scenario" a checked statement (I3): two runs of one seed that end in one
//! hash had the same events at the same virtual times in the same order, down to every byte sent and written.

use std::sync::mpsc::Sender;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::record::{Entry, What};

/// A recording has the hash after every so many events.
const MARK: u64 = 1_000;

/// The record of a run.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    hash: Sha256,
    events: u64,
    timeline: Vec<(u64, String)>,
    /// The act under way, and when it began.
    act: Option<(u64, u64)>,
    listener: Option<Sender<Entry>>,
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
        if self.listener.is_some() && self.events.is_multiple_of(MARK) {
            self.tell(at, What::Events { count: self.events, hash: self.hash() });
        }
    }

    /// From now on everything in here is passed on as well.
    pub(crate) fn listen(&mut self, listener: Sender<Entry>) {
        self.listener = Some(listener);
    }

    fn tell(&self, at: u64, what: What) {
        if let Some(listener) = &self.listener {
            listener.send(Entry { at, what }).unwrap_or_default();
        }
    }

    /// An act begins; it lasts until [`Trace::acted`].
    pub(crate) fn act(&mut self, at: u64, number: u64) {
        self.event(at, "act", usize::MAX, &[&number.to_be_bytes()]);
        self.act = Some((number, at));
        if self.listener.is_some() {
            self.tell(at, What::Act { number, hash: self.hash() });
        }
    }

    /// The act is over.
    pub(crate) fn acted(&mut self) {
        self.act = None;
    }

    /// Says what an act does. Outside of acts, as when a scenario is set up, there is nothing to say.
    pub(crate) fn did(&mut self, at: u64, line: impl FnOnce() -> String) {
        if let Some((number, _)) = self.act {
            self.line(at, Some(number), line());
        }
    }

    /// Adds a line to the timeline. It is an event like any other. What happens the moment an act begins is its doing.
    pub fn note(&mut self, at: u64, line: impl Into<String>) {
        let act = self.act.filter(|(_, began)| *began == at).map(|(number, _)| number);
        self.line(at, act, line.into());
    }

    fn line(&mut self, at: u64, act: Option<u64>, text: String) {
        let line = act.map_or_else(|| text.clone(), |number| format!("#{number} {text}"));
        self.event(at, "note", usize::MAX, &[line.as_bytes()]);
        self.timeline.push((at, line));
        self.tell(at, What::Note { act, text });
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
