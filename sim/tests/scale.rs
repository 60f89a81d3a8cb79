//! How the cost of the mesh grows, at sizes that every test run can afford. Counts and bytes are the same in every run of
//! one seed, so they are asserted.

use keymesh_sim::scale::{Figures, Plan, measure};

fn figures(seed: u64, nodes: usize) -> Figures {
    measure(Plan { seed, nodes, history: 300, statements: 6 }, &[4, 40], &mut |_| {})
}

#[test]
fn small_meshes_cost_what_the_protocol_is_steered_by() {
    for nodes in [2, 10, 30] {
        let figures = figures(3, nodes);
        assert_eq!(figures.missed(), Vec::<String>::new(), "{figures:?}");
    }
}

#[test]
fn two_measurements_of_one_seed_are_the_same_and_of_two_seeds_are_not() {
    assert_eq!(figures(5, 10), figures(5, 10));
    assert_ne!(figures(5, 10), figures(6, 10));
}
