//! Shrinking: a smaller scenario that fails in the same check.
//!
//! First acts are left out, by delta debugging (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing
//! input", 2002): halves, quarters, and so on down to single ones. An act has its own stream of the seed, so leaving one
//! out moves no draw of the others. Then whatever else makes a run hard to read is taken away: time, liars, bad weather,
//! clocks that are off, tenants. A smaller scenario counts only if it still fails in the same check; whether it is for the
//! same reason is for whoever reads it to see.

use std::collections::BTreeSet;

use crate::checks;
use crate::network::Weather;
use crate::run::recorded;
use crate::scenario::Scenario;
use crate::workload::{begins, most_acts};

/// What a run came to as far as shrinking is concerned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trial {
    /// The first violation.
    pub violation: Option<String>,
    /// The acts that were done until then.
    pub acts: BTreeSet<u64>,
}

/// Runs a scenario to its first violation.
pub fn try_out(scenario: &Scenario) -> Trial {
    let run = recorded(scenario, true);
    let violation = run.violations().next().map(str::to_owned);
    Trial { violation, acts: run.acts().collect() }
}

/// How far it got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shrunk {
    /// The smallest scenario so far that fails.
    pub scenario: Scenario,
    /// How it fails.
    pub violation: String,
    /// The acts that are left.
    pub acts: BTreeSet<u64>,
    /// How many acts the first scenario did until it failed.
    pub before: usize,
    /// Runs made.
    pub runs: u32,
}

struct Search<T, P> {
    best: Shrunk,
    budget: u32,
    trial: T,
    progress: P,
}

/// Shrinks a scenario within a `budget` of runs, by `trial`, which is [`try_out`] except in tests. `progress` hears of
/// every run. Nothing comes of a scenario that does not fail.
pub fn shrink(
    scenario: &Scenario,
    budget: u32,
    mut trial: impl FnMut(&Scenario) -> Trial,
    progress: impl FnMut(&Shrunk),
) -> Option<Shrunk> {
    let first = trial(scenario);
    let violation = first.violation?;
    let before = first.acts.len();
    let best = Shrunk { scenario: scenario.clone(), violation, acts: first.acts, before, runs: 1 };
    let mut search = Search { best, budget, trial, progress };
    search.acts();
    search.simplify();
    search.acts();
    Some(search.best)
}

impl<T: FnMut(&Scenario) -> Trial, P: FnMut(&Shrunk)> Search<T, P> {
    /// Takes a scenario if it fails in the same check. Returns whether it does.
    fn takes(&mut self, scenario: Scenario) -> bool {
        if self.best.runs >= self.budget || scenario == self.best.scenario {
            return false;
        }
        self.best.runs += 1;
        let Trial { violation, acts } = (self.trial)(&scenario);
        let same = |violation: &String| checks::name(violation) == checks::name(&self.best.violation);
        let taken = violation.filter(same).map(|violation| {
            self.best.violation = violation;
            self.best.scenario = scenario;
            self.best.acts = acts;
        });
        (self.progress)(&self.best);
        taken.is_some()
    }

    fn with_acts(&self, kept: &BTreeSet<u64>) -> Scenario {
        let mut scenario = self.best.scenario.clone();
        scenario.skip = (0..most_acts(&scenario)).filter(|act| !kept.contains(act)).collect();
        scenario
    }

    /// Leaves out acts: parts of the list, smaller and smaller ones.
    fn acts(&mut self) {
        let mut parts = 1;
        loop {
            let acts: Vec<u64> = self.best.acts.iter().copied().collect();
            let size = acts.len().div_ceil(parts).max(1);
            let smaller = acts.chunks(size).find_map(|part| {
                let kept = acts.iter().copied().filter(|act| !part.contains(act)).collect();
                let scenario = self.with_acts(&kept);
                self.takes(scenario).then_some(())
            });
            if self.best.acts.is_empty() || self.best.runs >= self.budget {
                return;
            }
            match smaller {
                Some(()) => parts = parts.saturating_sub(1).max(2),
                None if size == 1 => return,
                None => parts *= 2,
            }
        }
    }

    /// Takes away whatever else is not needed.
    fn simplify(&mut self) {
        let last = self.best.acts.last().copied();
        self.change(|scenario| scenario.span = last.map_or(0, |act| begins(scenario, act)).min(scenario.span));
        for liar in self.best.scenario.liars.clone() {
            let mut scenario = self.best.scenario.clone();
            scenario.liars.remove(&liar);
            self.takes(scenario);
        }
        self.change(|scenario| scenario.bribed = false);
        let weather = self.best.scenario.weather;
        if !self.change(|scenario| scenario.weather = Weather { latency: weather.latency, ..Weather::CALM }) {
            self.change(|scenario| scenario.weather.loss = 0);
            self.change(|scenario| scenario.weather.duplicates = 0);
            self.change(|scenario| scenario.weather.stragglers = 0);
            self.change(|scenario| scenario.weather.replays = 0);
            self.change(|scenario| scenario.weather.clogs = 0);
            self.change(|scenario| scenario.weather.bandwidth = None);
            self.change(|scenario| scenario.weather.jitter = 0);
        }
        self.change(|scenario| scenario.weather.latency = Weather::CALM.latency);
        self.change(|scenario| scenario.skew = 0);
        while self.best.scenario.tenants.len() > 1 && self.change(|scenario| drop(scenario.tenants.pop())) {}
        while self.change(drop_last_node) {}
    }

    fn change(&mut self, change: impl FnOnce(&mut Scenario)) -> bool {
        let mut scenario = self.best.scenario.clone();
        change(&mut scenario);
        self.takes(scenario)
    }
}

/// Drops the last node if it serves nobody.
fn drop_last_node(scenario: &mut Scenario) {
    let last = scenario.nodes.len() - 1;
    let serves = scenario.tenants.iter().any(|tenant| tenant.placed.contains(&last));
    if !serves && last >= 2 {
        scenario.nodes.pop();
        scenario.late = scenario.late.saturating_sub(1);
        scenario.liars.remove(&last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Pins;

    /// Fails in I4 if both acts are done, in I5 if only one is.
    fn needs(both: [u64; 2]) -> impl FnMut(&Scenario) -> Trial {
        move |scenario| {
            let acts: BTreeSet<u64> =
                (0..most_acts(scenario)).filter(|number| !scenario.skip.contains(number)).collect();
            let done = both.iter().filter(|number| acts.contains(number)).count();
            let violation = match done {
                0 => None,
                1 => Some("I5: one of them".to_owned()),
                _ => Some("I4: both of them".to_owned()),
            };
            Trial { violation, acts }
        }
    }

    fn many_acts() -> Scenario {
        let scenario = Scenario { span: 100_000, pause: 1_000, ..Scenario::draw(3, &Pins::default()) };
        assert!(most_acts(&scenario) > 60);
        scenario
    }

    #[test]
    fn only_the_acts_that_a_failure_needs_are_left() {
        let found = shrink(&many_acts(), 500, needs([7, 40]), |_| ()).expect("it fails");
        assert_eq!(found.acts, BTreeSet::from([7, 40]));
        assert_eq!(found.violation, "I4: both of them");
        assert!(found.scenario.liars.is_empty() && found.scenario.skew == 0 && found.scenario.tenants.len() == 1);
        assert!(found.before > 60, "{}", found.before);
        let placed = found.scenario.tenants.iter().flat_map(|tenant| &tenant.placed).max();
        assert_eq!(found.scenario.nodes.len(), placed.expect("a tenant lies somewhere").max(&1) + 1);
        assert_eq!(found.scenario.span, begins(&found.scenario, 40));
    }

    #[test]
    fn shrinking_keeps_to_its_budget_and_keeps_what_it_found_until_then() {
        let mut runs = 0;
        let found = shrink(&many_acts(), 9, needs([7, 40]), |_| runs += 1).expect("it fails");
        assert_eq!((found.runs, runs), (9, 8));
        assert!(found.acts.len() < found.before);
        assert!(found.acts.is_superset(&BTreeSet::from([7, 40])));
    }

    #[test]
    fn a_scenario_that_does_not_fail_does_not_shrink() {
        assert_eq!(shrink(&many_acts(), 9, |_| Trial::default(), |_| ()), None);
    }
}
