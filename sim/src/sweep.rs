//! Many runs: one after another on each of several threads, their failures and what they exercised together.
//!
//! Threads are between runs, never inside one: a run that failed here fails alone in the same way.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::Serialize;

use crate::coverage::{Coverage, Floor};
use crate::run::{Options, run_with};
use crate::scenario::{Pins, Scenario};

/// A seed that failed.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What was wrong first.
    pub first: String,
    /// How much was wrong.
    pub violations: usize,
}

/// What came of a sweep.
#[derive(Debug, Default, Serialize)]
pub struct Summary {
    /// Runs made.
    pub runs: u64,
    /// Events in all of them.
    pub events: u64,
    /// Virtual milliseconds of all of them.
    pub time: u64,
    /// Seeds that failed, in order.
    pub failures: Vec<Failure>,
    /// What was exercised.
    pub coverage: Coverage,
}

impl Summary {
    /// Floors that the sweep did not reach.
    pub fn below(&self) -> Vec<Floor> {
        self.coverage.below(self.runs)
    }
}

/// Runs all `seeds` on `jobs` threads. `progress` hears of every run that ended; `stop` is asked before each.
pub fn sweep(
    seeds: Range<u64>,
    jobs: usize,
    pins: &Pins,
    stop: impl Fn() -> bool + Sync,
    progress: impl Fn(&Summary) + Sync,
) -> Summary {
    let next = AtomicU64::new(seeds.start);
    let over = AtomicBool::new(false);
    let failures: Mutex<BTreeMap<u64, Failure>> = Mutex::default();
    let summary: Mutex<Summary> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || stop() {
                        over.store(true, Ordering::Relaxed);
                        break;
                    }
                    let outcome = run_with(&Scenario::draw(seed, pins), Options::default());
                    let mut summary = summary.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    summary.runs += 1;
                    let wrong = match outcome {
                        Ok(report) => {
                            summary.events += report.events;
                            summary.time += report.time;
                            summary.coverage.add(&report.coverage);
                            report.violations
                        }
                        Err(panic) => vec![panic],
                    };
                    if let Some(first) = wrong.first().cloned() {
                        let failure = Failure { seed, first, violations: wrong.len() };
                        let mut failures = failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        failures.insert(seed, failure);
                        summary.failures = failures.values().cloned().collect();
                    }
                    progress(&summary);
                }
            });
        }
    });
    summary.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}
