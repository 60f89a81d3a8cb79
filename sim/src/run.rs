//! One run: a scenario from its beginning to its end.

use std::sync::mpsc::{Sender, channel};

use crate::coverage::Coverage;
use crate::panics;
use crate::record::{Entry, What};
use crate::scenario::Scenario;
use crate::workload::Run;

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// The trace hash.
    pub hash: String,
    /// How many events there were.
    pub events: u64,
    /// Virtual milliseconds.
    pub time: u64,
    /// What was exercised.
    pub coverage: Coverage,
    /// The timeline, with virtual milliseconds.
    pub timeline: Vec<(u64, String)>,
    /// What was wrong; empty for a good run.
    pub violations: Vec<String>,
}

/// How a run is made; none of this changes what happens in it.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether the first violation ends the run.
    pub stop_at_first: bool,
    /// Who hears of everything that happens.
    pub listener: Option<Sender<Entry>>,
}

/// A run and everything that happened in it.
#[derive(Debug)]
pub struct Recorded {
    /// What happened. The last entry is the end or the panic.
    pub entries: Vec<Entry>,
    /// What came of it, or what ended it early.
    pub outcome: Result<Report, String>,
}

impl Recorded {
    /// What was wrong.
    pub fn violations(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter_map(|entry| entry.what.wrong())
    }

    /// The acts that were done.
    pub fn acts(&self) -> impl Iterator<Item = u64> {
        self.entries
            .iter()
            .filter_map(|entry| if let What::Act { number, .. } = entry.what { Some(number) } else { None })
    }
}

/// Runs a scenario to its end.
pub fn run(scenario: Scenario) -> Report {
    through(scenario, Options::default())
}

fn through(scenario: Scenario, options: Options) -> Report {
    let _remembered = keymesh_wire::sign::remembered::scope();
    let mut run = Run::begin(scenario, options);
    run.acts();
    run.recover();
    run.world.check_shares();
    run.world.check_secrets();
    let world = &run.world;
    Report {
        hash: world.trace.hash(),
        events: world.trace.events(),
        time: world.at(),
        coverage: world.watch.coverage.clone(),
        timeline: world.trace.timeline().to_vec(),
        violations: world.violations().to_vec(),
    }
}

/// Runs a scenario. An error is what ended it early: a panic, or the first violation if `options` say so.
pub fn run_with(scenario: &Scenario, options: Options) -> Result<Report, String> {
    panics::catch(|| through(scenario.clone(), options))
}

/// Runs a scenario and keeps everything that happens, to its end or to the first violation.
pub fn recorded(scenario: &Scenario, stop_at_first: bool) -> Recorded {
    let (listener, entries) = channel();
    let outcome = run_with(scenario, Options { stop_at_first, listener: Some(listener) });
    let mut entries: Vec<Entry> = entries.try_iter().collect();
    let at = entries.last().map(|entry| entry.at).unwrap_or_default();
    let last = match &outcome {
        Ok(report) => {
            Some(Entry { at: report.time, what: What::End { events: report.events, hash: report.hash.clone() } })
        }
        Err(text) if text.starts_with("panic: ") => Some(Entry { at, what: What::Panic { text: text.clone() } }),
        Err(_) => None,
    };
    entries.extend(last);
    Recorded { entries, outcome }
}

/// The first thing that is wrong in a scenario, if anything is. What comes after it is not run.
pub fn first_violation(scenario: &Scenario) -> Option<String> {
    match run_with(scenario, Options { stop_at_first: true, listener: None }) {
        Ok(report) => report.violations.into_iter().next(),
        Err(what) => Some(what),
    }
}
