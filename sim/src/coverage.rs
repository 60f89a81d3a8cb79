//! What a run exercised, counted: a sweep that exercised too little proves nothing.

use std::collections::BTreeMap;

use crate::seen::{Boundary, Seen};

/// How often each thing happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
                Boundary::BeforeRecord => "crashes before an audit record",
                Boundary::AfterRecord => "crashes after an audit record",
            }),
            Seen::RolledBack { .. } => self.count("stale backups"),
            Seen::Answered { result, .. } => self.count(if result.is_ok() { "releases" } else { "refusals" }),
            Seen::Contributed { .. } => self.count("contributions to blind releases"),
            Seen::Leased { .. } => self.count("contributions to leases"),
            Seen::LeaseHeld { .. } => self.count("leases"),
            Seen::Stored { .. }
            | Seen::Acknowledged { .. }
            | Seen::Started { .. }
            | Seen::Asked { .. }
            | Seen::Recorded { .. }
            | Seen::Network { .. }
            | Seen::Clock { .. }
            | Seen::Decided { .. }
            | Seen::Warned { .. } => {}
        }
    }

    /// Adds what another run exercised.
    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.counts {
            *self.counts.entry(what.clone()).or_default() += count;
        }
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
