//! The alarm rings for a seeded mistake, and for nothing else. `just mutants` looks for all of them.
#![cfg(feature = "mutants")]

use keymesh_mesh::mutant::Mutant;
use keymesh_sim::mutants::hunt;

#[test]
fn a_mutant_is_caught_in_the_first_seed_that_shows_it_however_many_threads_look() {
    let alone = hunt(&[Mutant::AckBeforeFsync], 0..2, 1, |_| ());
    assert!(alone[0].caught, "{alone:?}");
    assert_eq!(alone[0].check.as_deref(), Some("I8"));
    assert_eq!(hunt(&[Mutant::AckBeforeFsync], 0..2, 3, |_| ()), alone);
}
