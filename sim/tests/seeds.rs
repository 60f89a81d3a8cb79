//! Random scenarios: safety under faults, then everything heals and has to come right. `keymesh-sim sweep` runs more.

use std::ops::Range;

use keymesh_sim::coverage::Coverage;
use keymesh_sim::kinds::{INPUTS, SHARING_ACTS, STATEMENTS};
use keymesh_sim::run::run;
use keymesh_sim::scenario::{Pins, Scenario};

fn small() -> Pins {
    Pins { virtual_minutes: Some(2), ..Pins::default() }
}

fn all_come_right(seeds: Range<u64>) -> Coverage {
    let mut coverage = Coverage::default();
    for seed in seeds {
        let report = run(Scenario::draw(seed, &small()));
        let again = format!("again: keymesh-sim run --seed {seed} --virtual-minutes 2");
        assert!(report.violations.is_empty(), "{again}\n{:#?}", report.violations);
        coverage.add(&report.coverage);
    }
    coverage
}

/// Whether the workload brings about everything that the core knows: a kind that is new there has to be added here.
fn everything_is_exercised(coverage: &Coverage, but: &[&str]) {
    let statements = STATEMENTS.iter().map(|(kind, who)| (format!("statements {kind}"), who));
    let inputs = INPUTS.iter().map(|(kind, who)| (format!("inputs {kind}"), who));
    let acts = SHARING_ACTS.iter().map(|(kind, who)| (format!("words on epochs {kind}"), who));
    for (what, who) in statements.chain(inputs).chain(acts) {
        let spared = but.iter().any(|kind| what.ends_with(kind));
        assert!(spared || coverage.of(&what) > 0, "no {what} in these seeds, though `{who}` is to bring it about");
    }
}

// Two halves, because a run is one thread and the tests of one file are not.

#[test]
fn whatever_happened_everything_comes_right_once_it_is_healed() {
    let coverage = all_come_right(0..12);
    everything_is_exercised(&coverage, &["Complain"]);
}

#[test]
fn whatever_else_happened_everything_comes_right_once_it_is_healed() {
    all_come_right(12..20);
}

#[test]
fn a_random_scenario_run_twice_is_one_run() {
    let hash = |seed| run(Scenario::draw(seed, &small())).hash;
    assert_eq!(hash(100), hash(100));
    assert_ne!(hash(100), hash(101));
}
