//! The alarm rings: every seeded mistake of the core has to be caught by the default mix of scenarios.
//!
//! Each mutant is run over the same seeds until one run reports a violation or panics. No scenario is made for a mutant,
//! and a seed that fails without the mutant as well proves nothing and does not count. What is found for a mutant does
//! not depend on how many threads look for it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use keymesh_mesh::mutant::{self, Mutant};
use serde::Serialize;

use crate::checks;
use crate::run::first_violation;
use crate::scenario::{Pins, Scenario};

/// What became of a mutant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Its name.
    pub name: &'static str,
    /// Whether a run noticed it.
    pub caught: bool,
    /// The check that rang, as its violation names it.
    pub check: Option<String>,
    /// The seed of that run.
    pub seed: Option<u64>,
    /// How many runs it took, that one included.
    pub runs: u64,
    /// What the check said.
    pub violation: Option<String>,
}

/// A mutant under way.
#[derive(Debug, Default)]
struct Hunt {
    next: u64,
    running: BTreeSet<u64>,
    clean: u64,
    found: BTreeMap<u64, String>,
}

impl Hunt {
    /// The next seed worth a run.
    fn wanted(&self, end: u64) -> Option<u64> {
        let end = self.found.keys().next().copied().unwrap_or(end).min(end);
        (self.next < end).then_some(self.next)
    }

    fn verdict(&self, mutant: Mutant, seeds: &Range<u64>) -> Verdict {
        let found = self.found.first_key_value();
        Verdict {
            name: mutant.name(),
            caught: found.is_some(),
            check: found.map(|(_, what)| checks::name(what).to_owned()),
            seed: found.map(|(seed, _)| *seed),
            runs: found.map_or(self.clean, |(seed, _)| seed - seeds.start + 1),
            violation: found.map(|(_, what)| what.clone()),
        }
    }
}

#[derive(Debug)]
struct Board {
    hunts: Vec<Hunt>,
    told: BTreeSet<usize>,
}

impl Board {
    /// The mutant with the fewest runs under way among those that want one, and its seed.
    fn take(&mut self, seeds: &Range<u64>) -> Option<(usize, u64)> {
        let wanting = self.hunts.iter().enumerate().filter(|(_, hunt)| hunt.wanted(seeds.end).is_some());
        let (number, _) = wanting.min_by_key(|(number, hunt)| (hunt.running.len(), *number))?;
        let seed = self.hunts[number].next;
        self.hunts[number].next += 1;
        self.hunts[number].running.insert(seed);
        Some((number, seed))
    }

    fn is_over(&self, number: usize, seeds: &Range<u64>) -> bool {
        let hunt = &self.hunts[number];
        let least = hunt.found.keys().next();
        hunt.wanted(seeds.end).is_none() && hunt.running.iter().all(|seed| least.is_some_and(|least| least < seed))
    }
}

fn locked(board: &Mutex<Board>) -> MutexGuard<'_, Board> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks for runs that notice each of the `mutants` among `seeds`, on `jobs` threads. `progress` hears of every mutant
/// whose fate is known.
///
/// # Panics
/// When the build has no mutants: ask [`mutant::COMPILED_IN`] before.
pub fn hunt(mutants: &[Mutant], seeds: Range<u64>, jobs: usize, progress: impl Fn(&Verdict) + Sync) -> Vec<Verdict> {
    let hunts = mutants.iter().map(|_| Hunt { next: seeds.start, ..Hunt::default() }).collect();
    let board = Mutex::new(Board { hunts, told: BTreeSet::new() });
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                let mut held = locked(&board);
                while let Some((number, seed)) = held.take(&seeds) {
                    drop(held);
                    let found = noticed(mutants[number], seed);
                    held = locked(&board);
                    let hunt = &mut held.hunts[number];
                    hunt.running.remove(&seed);
                    match found {
                        Some(what) => drop(hunt.found.insert(seed, what)),
                        None => hunt.clean += 1,
                    }
                    if held.is_over(number, &seeds) && held.told.insert(number) {
                        progress(&held.hunts[number].verdict(mutants[number], &seeds));
                    }
                }
            });
        }
    });
    let board = board.into_inner().unwrap_or_else(PoisonError::into_inner);
    board.hunts.iter().zip(mutants).map(|(hunt, mutant)| hunt.verdict(*mutant, &seeds)).collect()
}

/// What the run of a seed says of a mutant and does not say without it.
fn noticed(mutant: Mutant, seed: u64) -> Option<String> {
    let scenario = Scenario::draw(seed, &Pins::default());
    let what = mutant::with(Some(mutant), || first_violation(&scenario))?;
    first_violation(&scenario).is_none().then_some(what)
}
