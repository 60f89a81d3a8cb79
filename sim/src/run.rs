//! One run: a scenario from its beginning to its end.

use crate::coverage::Coverage;
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

/// Runs a scenario to its end.
pub fn run(scenario: Scenario) -> Report {
    let mut run = Run::begin(scenario);
    run.acts();
    run.recover();
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
