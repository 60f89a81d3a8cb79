//! Of every mutant that it is alive: what it changes, and that without it all is as it should be.

mod fold;
mod nodes;
mod parts;
mod releases;

use super::{Mutant, active, is, with};

/// The same without any mutant and with one.
fn both<T>(mutant: Mutant, run: impl Fn() -> T) -> (T, T) {
    (with(None, &run), with(Some(mutant), &run))
}

#[test]
fn every_mutant_is_found_by_its_name_and_has_one_of_its_own() {
    for mutant in Mutant::ALL {
        assert_eq!(mutant.name().parse(), Ok(*mutant));
        assert!(mutant.about().starts_with('I') && mutant.about().ends_with('.'), "{mutant}");
    }
    assert!("ack".parse::<Mutant>().is_err());
}

#[test]
fn a_mutant_is_active_in_its_run_and_its_thread_alone() {
    let mutant = Mutant::GrantBeatsRevoke;
    with(Some(mutant), || {
        assert!(is(mutant) && !is(Mutant::ParentsUnchecked));
        with(None, || assert_eq!(active(), None));
        assert!(std::thread::spawn(move || !is(mutant)).join().expect("no panic"));
        assert!(std::panic::catch_unwind(|| with(Some(Mutant::ParentsUnchecked), || panic!("on purpose"))).is_err());
        assert!(is(mutant), "also after a panic");
    });
    assert_eq!(active(), None);
}
