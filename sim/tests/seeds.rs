//! Random scenarios: safety under faults, then everything heals and has to come right.

use keymesh_sim::random::{Scenario, run};

#[test]
fn whatever_happened_everything_comes_right_once_it_is_healed() {
    for seed in 0..30 {
        let report = run(Scenario::draw(seed, None));
        assert!(report.violations.is_empty(), "again: keymesh-sim run --seed {seed}\n{:#?}", report.violations);
    }
}

#[test]
fn a_random_scenario_run_twice_is_one_run() {
    let hash = |seed| run(Scenario::draw(seed, None)).hash;
    assert_eq!(hash(100), hash(100));
    assert_ne!(hash(100), hash(101));
}
