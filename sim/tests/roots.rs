//! Roots made over a bad network, with members that go down in the middle.

use keymesh_sim::disk::Reach;
use keymesh_sim::ground::{Ground, is_live};
use keymesh_sim::network::Weather;
use keymesh_sim::world::Plan;

fn rough(nodes: usize) -> Plan {
    Plan { nodes, weather: Weather::ROUGH, skew: 2_000 }
}

fn attested_once(ground: &Ground, root: keymesh_wire::ids::RootId) {
    let document = ground.document();
    for node in 0..ground.world.size() {
        let replica = ground.world.node(node).replica().expect("running");
        let graph = replica.document(&document).expect("held").graph();
        let mut attested: Vec<_> = graph
            .entries()
            .iter()
            .filter_map(|entry| match entry.statement.body() {
                Some(keymesh_wire::body::Body::AttestRoot(said)) if said.root == root => {
                    Some((entry.statement.author(), said.attempt))
                }
                _ => None,
            })
            .collect();
        let all = attested.len();
        attested.sort_unstable();
        attested.dedup();
        assert_eq!(attested.len(), all, "a member attests an attempt once");
    }
}

#[test]
fn five_nodes_make_a_root_of_three_in_less_than_half_a_second_and_attest_once() {
    let mut ground = Ground::new(1, Plan::calm(5));
    let root = ground.propose_root(&[0, 1, 2, 3, 4], 3, 1);
    assert!(ground.world.run_until(500, |world| is_live(world, ground.tenant, root)));
    ground.world.run(20_000);
    attested_once(&ground, root);
    let attestations = |ground: &Ground| {
        let replica = ground.world.node(0).replica().expect("running");
        let graph = replica.document(&ground.document()).expect("held").graph();
        let is = |entry: &&keymesh_mesh::state::graph::Entry| {
            matches!(entry.statement.body(), Some(keymesh_wire::body::Body::AttestRoot(_)))
        };
        graph.entries().iter().filter(is).count()
    };
    assert_eq!(attestations(&ground), 5, "one attempt was enough");
    ground.finish();
    assert_eq!(ground.world.violations(), [] as [String; 0]);
}

#[test]
fn a_root_is_made_over_a_network_that_loses_doubles_and_reorders() {
    for seed in 0..3 {
        let mut ground = Ground::with_root(seed, rough(5), 3, 1);
        attested_once(&ground, ground.root.expect("made"));
        ground.finish();
        assert_eq!(ground.world.violations(), [] as [String; 0], "seed {seed}");
    }
}

#[test]
fn a_member_that_restarts_in_the_middle_does_not_keep_the_root_from_being_made() {
    for pause in [2, 10, 40, 120] {
        let mut ground = Ground::new(pause, rough(5));
        let root = ground.propose_root(&[0, 1, 2, 3, 4], 3, 1);
        ground.world.run(pause);
        ground.world.crash(2);
        ground.world.run(300);
        ground.world.start(2);
        assert!(ground.world.run_until(120_000, |world| is_live(world, ground.tenant, root)), "after {pause} ms");
        assert!(ground.settle());
        ground.finish();
        assert_eq!(ground.world.violations(), [] as [String; 0]);
    }
}

#[test]
fn a_member_that_finished_and_went_down_before_the_others_finish_keeps_what_it_attested() {
    for reach in [Reach::Nothing, Reach::SharesOnly, Reach::Everything] {
        let mut ground = Ground::new(7, Plan::calm(5));
        let root = ground.propose_root(&[0, 1, 2, 3, 4], 3, 1);
        // Member 2's write after the proposal and its endorsement is its share.
        let has_share = |world: &keymesh_sim::world::World| world.node(2).disk.holds_a_share();
        ground.world.doom_share(2, reach);
        assert!(ground.world.run_until(120_000, |world| is_live(world, ground.tenant, root)), "{reach:?}");
        assert!(has_share(&ground.world));
        assert!(ground.settle());
        ground.finish();
        assert_eq!(ground.world.violations(), [] as [String; 0]);
    }
}
