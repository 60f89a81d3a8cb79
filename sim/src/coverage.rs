//! What a run exercised, counted: a sweep that exercised too little proves nothing.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::seen::{Boundary, Seen};

/// What a hundred runs have to exercise at least. A sweep below a floor fails, however few violations it found.
const FLOORS: [(&str, u64); 30] = [
    ("revocations", 60),
    ("revocations during a cut", 40),
    ("healed cuts", 100),
    ("crashes while idle", 60),
    ("crashes before a write", 20),
    ("crashes between shares and the rest", 20),
    ("crashes before effects", 20),
    ("crashes between effects", 20),
    ("crashes before an audit record", 10),
    ("restarts of everything", 30),
    ("leases", 300),
    ("released", 300),
    ("opened blindly", 60),
    ("served in the end", 150),
    ("epochs by refresh", 25),
    ("epochs by reshare", 15),
    ("epochs with a later ballot", 25),
    ("epochs of one of several committees", 2),
    ("reshares proposed during a cut", 20),
    ("crashes at a share", 25),
    ("crashes at a word on an epoch", 25),
    ("crashes at an erased share", 4),
    ("accusations", 4),
    ("false accusations refused", 4),
    ("custodians away during a change", 60),
    ("old copies put back during a change", 3),
    ("starts without one's own last words", 3),
    ("shares lost that others can give back", 60),
    ("leases and releases asked for during a change", 70),
    ("false parts of repairs named", 1),
];

/// A floor that was not reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Floor {
    /// What happened too rarely.
    pub what: &'static str,
    /// How often it happened.
    pub times: u64,
    /// How often it should have happened in so many runs.
    pub floor: u64,
}

/// How often each thing happened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Coverage {
    counts: BTreeMap<String, u64>,
}

impl Coverage {
    /// Counts something.
    pub fn count(&mut self, what: impl Into<String>) {
        *self.counts.entry(what.into()).or_default() += 1;
    }

    /// Counts what was seen.
    pub(crate) fn see(&mut self, _at: u64, seen: &Seen<'_>) {
        match seen {
            Seen::Crashed { boundary, .. } => self.count(match boundary {
                Boundary::Idle => "crashes while idle",
                Boundary::BeforeWrite => "crashes before a write",
                Boundary::BetweenWrites => "crashes between shares and the rest",
                Boundary::BeforeEffects => "crashes before effects",
                Boundary::BetweenEffects => "crashes between effects",
                Boundary::FailedWrite => "ends on a failed write",
                Boundary::BeforeRecord => "crashes before an audit record",
                Boundary::AfterRecord => "crashes after an audit record",
            }),
            Seen::RolledBack { .. } => self.count("disks rolled back"),
            Seen::Cloned { .. } => self.count("cloned nodes"),
            Seen::Answered { result, .. } => self.count(if result.is_ok() { "releases" } else { "refusals" }),
            Seen::Contributed { .. } => self.count("contributions to blind releases"),
            Seen::Leased { .. } => self.count("contributions to leases"),
            Seen::LeaseHeld { .. } => self.count("leases"),
            Seen::Stored { .. }
            | Seen::Acknowledged { .. }
            | Seen::Started { .. }
            | Seen::Shared { .. }
            | Seen::Asked { .. }
            | Seen::Recorded { .. }
            | Seen::Network { .. }
            | Seen::Clock { .. }
            | Seen::Disk { .. }
            | Seen::Decided { .. }
            | Seen::Spread { .. }
            | Seen::Warned { .. } => {}
        }
    }

    /// Adds what another run exercised.
    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.counts {
            *self.counts.entry(what.clone()).or_default() += count;
        }
    }

    /// Floors that so many runs should have reached and did not.
    pub fn below(&self, runs: u64) -> Vec<Floor> {
        FLOORS
            .into_iter()
            .map(|(what, hundred)| Floor { what, times: self.of(what), floor: hundred * runs / 100 })
            .filter(|floor| floor.times < floor.floor)
            .collect()
    }

    /// How often something happened.
    pub fn of(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or_default()
    }

    /// Everything that happened, by name.
    pub fn counts(&self) -> impl Iterator<Item = (&str, u64)> {
        self.counts.iter().map(|(what, count)| (what.as_str(), *count))
    }
}
