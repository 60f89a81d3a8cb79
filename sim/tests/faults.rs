//! Cuts, crashes and restarts of everything; and one seed is one run.

use keymesh_mesh::state::tenant::Lookup;
use keymesh_sim::agents::{Agent, Instance};
use keymesh_sim::disk::Reach;
use keymesh_sim::ground::{Ground, is_live};
use keymesh_sim::world::{Plan, World};
use keymesh_wire::body::{Body, NewNamespace};
use keymesh_wire::time::Millis;

fn assert_sound(ground: &mut Ground) {
    ground.finish();
    assert_eq!(ground.world.violations(), [] as [String; 0]);
}

#[test]
fn keyrings_of_one_name_made_on_both_sides_of_a_cut_both_live_and_the_name_is_ambiguous() {
    let mut ground = Ground::with_root(1, Plan::calm(5), 3, 1);
    let agent = Agent::new(Instance::A1, &mut ground.world.rng);
    assert!(ground.world.enrol_now(0, ground.tenant, &agent, &ground.launcher));
    ground.world.cut(&[3, 4]);
    ground.world.run(5_000);
    let one = ground.leased_keyring(0, "prod", Millis::seconds(20), None);
    let (here, data_here) = ground.key(0, one, "disk");
    let other = ground.leased_keyring(4, "prod", Millis::seconds(20), None);
    let (there, data_there) = ground.key(4, other, "disk");
    ground.world.run(5_000);
    let namespace = ground.namespace.expect("made");
    assert_eq!(ground.state(0).find_keyring(namespace, "prod"), Lookup::One(one));
    assert_eq!(ground.state(4).find_keyring(namespace, "prod"), Lookup::One(other));
    ground.world.heal();
    assert!(ground.settle(), "equal digests everywhere");
    for node in 0..5 {
        let found = ground.state(node).find_keyring(namespace, "prod");
        assert!(matches!(found, Lookup::Ambiguous(both) if both.len() == 2));
        for (key, data) in [(here, data_here), (there, data_there)] {
            let released = ground.world.release_now(node, ground.tenant, &agent, key);
            assert_eq!(released.expect("by id it is served").expose_secret(), data);
        }
    }
    assert_sound(&mut ground);
}

#[test]
fn a_mesh_whose_nodes_all_restart_serves_again_without_any_ceremony() {
    let mut ground = Ground::with_root(2, Plan::calm(5), 3, 1);
    let keyring = ground.leased_keyring(0, "volumes", Millis::seconds(20), None);
    let (key, data) = ground.key(0, keyring, "disk");
    let agent = Agent::new(Instance::A1, &mut ground.world.rng);
    assert!(ground.world.enrol_now(0, ground.tenant, &agent, &ground.launcher));
    for _ in 0..3 {
        ground.world.restart_all();
        ground.world.run(1_000);
        for node in 0..5 {
            let released = ground.world.release_now(node, ground.tenant, &agent, key);
            assert_eq!(released.expect("served").expose_secret(), data);
        }
    }
    assert!(ground.settle());
    assert_sound(&mut ground);
}

/// A short workload in which node 2 takes part in everything and others hand in.
fn workload(ground: &mut Ground) {
    let root = ground.propose_root(&[0, 1, 2], 2, 1);
    ground.world.run(200);
    ground.root = Some(root);
    let name = |name: &str| Body::CreateNamespace(NewNamespace { parent: None, name: name.into() });
    let document = ground.document();
    if ground.world.node(2).running.is_some() {
        let statements = ground.world.together(2, document, &[&ground.admins[1]], &name("dev"));
        ground.world.submit(2, &statements, Vec::new());
    }
    ground.world.run(100);
    let statements = ground.world.together(0, document, &[&ground.admins[0]], &name("ops"));
    ground.world.submit(0, &statements, Vec::new());
    assert!(ground.world.run_until(120_000, |world| is_live(world, ground.tenant, root)), "no root");
    ground.furnish();
    let keyring = ground.leased_keyring(0, "volumes", Millis::seconds(20), None);
    let (key, data) = ground.key(0, keyring, "disk");
    assert!(ground.settle());
    let agent = Agent::new(Instance::A1, &mut ground.world.rng);
    assert!(ground.world.enrol_now(0, ground.tenant, &agent, &ground.launcher));
    ground.world.run_until(5_000, |world| (0..3).all(|node| world.node(node).running.is_some()));
    for node in 0..3 {
        let mut released = ground.world.release_now(node, ground.tenant, &agent, key);
        for _ in 0..4 {
            if released.is_err() {
                ground.world.run(1_000);
                released = ground.world.release_now(node, ground.tenant, &agent, key);
            }
        }
        assert_eq!(released.expect("served").expose_secret(), data, "n{}", node + 1);
    }
}

#[test]
fn a_crash_at_any_write_loses_nothing_that_was_acknowledged_or_attested() {
    let mut batches = 0;
    for batch in 1.. {
        let mut struck = true;
        for reach in [Reach::Nothing, Reach::Everything] {
            let mut ground = Ground::new(3, Plan::calm(3));
            ground.world.doom(2, batch, reach);
            workload(&mut ground);
            assert!(ground.settle(), "batch {batch}, {reach:?}");
            struck = ground.world.node(2).doom.is_none();
            ground.finish();
            assert_eq!(ground.world.violations(), [] as [String; 0], "batch {batch}, {reach:?}");
            if !struck {
                break;
            }
        }
        if !struck {
            break;
        }
        batches = batch;
    }
    println!("{batches} batches");
    assert!(batches >= 10, "only {batches} batches were written");
}

fn run(seed: u64) -> String {
    let mut ground = Ground::with_root(seed, Plan::calm(3), 2, 1);
    ground.world.cut(&[2]);
    ground.leased_keyring(0, "volumes", Millis::seconds(20), None);
    ground.world.run(3_000);
    ground.world.crash(1);
    ground.world.heal();
    ground.world.start(1);
    assert!(ground.world.run_until(60_000, World::is_converged));
    ground.world.trace.hash()
}

#[test]
fn one_seed_twice_is_one_run_and_another_seed_is_another() {
    assert_eq!(run(11), run(11));
    assert_ne!(run(11), run(12));
}
