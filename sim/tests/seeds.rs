//! Random scenarios: safety under faults, then everything heals and has to come right. `keymesh-sim sweep` runs more.

use std::ops::Range;

use keymesh_sim::random::{Scenario, run};

fn all_come_right(seeds: Range<u64>) {
    for seed in seeds {
        let report = run(Scenario::draw(seed, None));
        assert!(report.violations.is_empty(), "again: keymesh-sim run --seed {seed}\n{:#?}", report.violations);
    }
}

// Two halves, because a run is one thread and the tests of one file are not.

#[test]
fn whatever_happened_everything_comes_right_once_it_is_healed() {
    all_come_right(0..8);
}

#[test]
fn whatever_else_happened_everything_comes_right_once_it_is_healed() {
    all_come_right(8..16);
}

#[test]
fn a_random_scenario_run_twice_is_one_run() {
    let hash = |seed| run(Scenario::draw(seed, None)).hash;
    assert_eq!(hash(100), hash(100));
    assert_ne!(hash(100), hash(101));
}
