//! Random scenarios: safety under faults, then everything heals and has to come right. `keymesh-sim sweep` runs more.

use std::ops::Range;

use keymesh_sim::coverage::Coverage;
use keymesh_sim::random::{Scenario, run};

fn all_come_right(seeds: Range<u64>) {
    let mut coverage = Coverage::default();
    for seed in seeds {
        let report = run(Scenario::draw(seed, None));
        assert!(report.violations.is_empty(), "again: keymesh-sim run --seed {seed}\n{:#?}", report.violations);
        coverage.add(&report.coverage);
    }
    // An oracle that is hardly ever asked, or shrugs, proves nothing.
    for said in ["oracle said may", "oracle said must not, for a denial", "oracle said must not, for want of a right"] {
        assert!(coverage.of(said) > 5, "{said}: {}", coverage.of(said));
    }
    assert_eq!(coverage.of("oracle said either"), 0, "all policies of these runs are known to the oracle");
    assert!(coverage.of("states compared with the oracle's") > 50 && coverage.of("revocations effective") > 3);
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
