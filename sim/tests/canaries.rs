//! Planted secrets: nothing leaks of an ordinary day, and what leaks is noticed.

use keymesh_sim::agents::{Agent, Instance};
use keymesh_sim::ground::Ground;
use keymesh_sim::world::Plan;
use keymesh_wire::body::{Body, EditOp};
use keymesh_wire::time::Millis;

#[test]
fn an_ordinary_day_shows_no_secret_in_any_frame_file_record_or_print() {
    let mut ground = Ground::with_root(1, Plan::calm(3), 2, 0);
    let agent = Agent::new(Instance::A1, &mut ground.world.rng);
    assert!(ground.world.enrol_now(0, ground.tenant, &agent, &ground.launcher));
    let volumes = ground.leased_keyring(0, "volumes", Millis::seconds(10), None);
    let (disk, data) = ground.key(0, volumes, "disk");
    let vault = ground.quorum_keyring(1, "vault");
    let (seal, sealed) = ground.key(1, vault, "seal");
    assert!(ground.settle());
    let released = ground.world.release_now(2, ground.tenant, &agent, disk);
    assert_eq!(released.expect("served").expose_secret(), data);
    let question = agent.asks(ground.tenant, seal, ground.world.at(), &mut ground.world.rng);
    let handle = ground.world.ask(0, &question);
    ground.world.run(1_000);
    assert_eq!(ground.world.open(0, &question, None, handle, 3).as_deref(), Ok(&sealed[..]));
    (0..3).for_each(|node| ground.world.check_printed(node));
    ground.finish();
    assert_eq!(ground.world.violations(), [] as [String; 0]);
}

#[test]
fn a_share_that_somebody_writes_into_a_document_is_noticed_in_frames_and_on_disks() {
    let mut ground = Ground::with_root(2, Plan::calm(3), 2, 0);
    let stored = ground.world.node(1).disk.stored();
    let (_, share) = stored.shares.first().expect("a custodian");
    let value: String = share.expose_secret().iter().map(|byte| format!("{byte:02x}")).collect();
    ground.admin_says(0, &Body::Edit(vec![EditOp::Put { path: vec!["note".into()], value }]));
    assert!(ground.settle());
    ground.finish();
    let violations = ground.world.violations();
    for place in
        ["n1 writes n2's share in", "n1 sends n2's share in", "n3 writes n2's share in", "on n3's disk lies n2's"]
    {
        assert!(
            violations.iter().any(|what| what.starts_with("I1: ") && what.contains(place)),
            "{place}: {violations:?}"
        );
    }
}

#[test]
fn a_seed_in_the_timeline_is_noticed() {
    let mut ground = Ground::with_root(3, Plan::calm(3), 2, 0);
    let seed = *ground.world.node(0).identity.expose_seed();
    let at = ground.world.at();
    ground.world.trace.note(at, format!("started with {seed:?}"));
    ground.finish();
    let violations = ground.world.violations();
    assert!(
        violations.len() == 1 && violations[0].contains("the timeline shows n1's seed (Decimal)"),
        "{violations:?}"
    );
}
