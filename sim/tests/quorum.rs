//! Blind releases, and custodians that are no oracles.

use keymesh_mesh::custody::message::{RefusalCode, Verdict};
use keymesh_mesh::view::View;
use keymesh_sim::agents::{Agent, Instance};
use keymesh_sim::ground::Ground;
use keymesh_sim::world::Plan;
use keymesh_wire::body::{Body, CustodyClass, NewKey, NewKeyring, WrappedVersion};
use keymesh_wire::ids::KeyId;
use keymesh_wire::time::Millis;

fn ground(seed: u64) -> (Ground, Agent) {
    let mut ground = Ground::with_root(seed, Plan::calm(5), 3, 1);
    let agent = Agent::new(Instance::A1, &mut ground.world.rng);
    assert!(ground.world.enrol_now(1, ground.tenant, &agent, &ground.launcher));
    (ground, agent)
}

fn vault(ground: &mut Ground) -> (KeyId, [u8; 32]) {
    let keyring = ground.quorum_keyring(0, "vault");
    let made = ground.key(0, keyring, "seal");
    assert!(ground.settle());
    made
}

#[test]
fn partials_of_three_custodians_open_a_key_to_the_agent_and_to_nobody_else() {
    let (mut ground, agent) = ground(1);
    let (key, data) = vault(&mut ground);
    let question = agent.asks(ground.tenant, key, ground.world.at(), &mut ground.world.rng);
    let handle = ground.world.ask(2, &question);
    ground.world.run(1_000);
    assert_eq!(ground.world.gathered(handle).len(), 5);
    for enough in [3, 5] {
        assert_eq!(ground.world.open(2, &question, None, handle, enough).as_deref(), Ok(&data[..]));
    }
    let short = ground.world.open(2, &question, None, handle, 2);
    assert!(short.is_err_and(|why| why.contains('3')), "two are not enough");
    // The serving node tries with every key it has.
    let node = ground.world.node(2).identity.sealing();
    assert!(ground.world.open(2, &question, Some(&node), handle, 5).is_err());
    for node in 0..5 {
        let took_part = ground.world.node(node).disk.audit().iter().any(|record| record.key == Some(key));
        assert!(took_part, "every custodian has a record of its own");
        assert!(!ground.world.node(node).disk.contains(&data));
    }
    ground.finish();
    // The planted key would have been found in any frame.
    assert_eq!(ground.world.violations(), [] as [String; 0]);
}

#[test]
fn with_two_custodians_within_reach_nothing_opens() {
    let (mut ground, agent) = ground(2);
    let (key, _) = vault(&mut ground);
    ground.world.cut(&[3, 4]);
    ground.world.run(4_000);
    let question = agent.asks(ground.tenant, key, ground.world.at(), &mut ground.world.rng);
    let handle = ground.world.ask(4, &question);
    ground.world.run(2_000);
    assert_eq!(ground.world.gathered(handle).len(), 2);
    assert!(ground.world.open(4, &question, None, handle, 5).is_err());
    assert_eq!(ground.world.violations(), [] as [String; 0]);
}

#[test]
fn an_agent_without_a_right_gets_no_partial() {
    let (mut ground, agent) = ground(3);
    let (key, _) = vault(&mut ground);
    let nobody = Agent::new(Instance::A2, &mut ground.world.rng);
    let elsewhere = Agent::new(Instance::B1, &mut ground.world.rng);
    assert!(ground.world.enrol_now(0, ground.tenant, &elsewhere, &ground.launcher));
    for agent in [&nobody, &elsewhere] {
        let question = agent.asks(ground.tenant, key, ground.world.at(), &mut ground.world.rng);
        let handle = ground.world.ask(2, &question);
        ground.world.run(1_000);
        let answers = ground.world.gathered(handle);
        assert!(answers.len() == 5 && answers.iter().all(|(_, verdict)| matches!(verdict, Verdict::No(_))));
    }
    ground.revoke(0, &agent);
    assert!(ground.settle());
    let question = agent.asks(ground.tenant, key, ground.world.at(), &mut ground.world.rng);
    let handle = ground.world.ask(2, &question);
    ground.world.run(1_000);
    assert!(ground.world.gathered(handle).iter().all(|(_, verdict)| matches!(verdict, Verdict::No(_))));
    assert_eq!(ground.world.violations(), [] as [String; 0]);
}

#[test]
fn a_quorum_key_is_not_leased_and_a_leased_key_is_not_opened_blindly() {
    let (mut ground, agent) = ground(4);
    let (blind, _) = vault(&mut ground);
    let keyring = ground.leased_keyring(0, "volumes", Millis::seconds(10), None);
    let (leased, _) = ground.key(0, keyring, "disk");
    assert!(ground.settle());
    assert!(ground.world.release_now(0, ground.tenant, &agent, blind).is_err());
    let question = agent.asks(ground.tenant, leased, ground.world.at(), &mut ground.world.rng);
    let handle = ground.world.ask(0, &question);
    ground.world.run(1_000);
    let refused = |verdict: &Verdict| matches!(verdict, Verdict::No(refusal) if refusal.code == RefusalCode::Refused);
    assert!(ground.world.gathered(handle).iter().all(|(_, verdict)| refused(verdict)));
    assert_eq!(ground.world.violations(), [] as [String; 0]);
}

/// Another's capsule under a name of one's own is the classic way to use a custodian as an oracle.
#[test]
fn a_capsule_that_was_copied_into_another_keyring_or_key_is_opened_for_nobody() {
    let (mut ground, agent) = ground(5);
    let (key, _) = vault(&mut ground);
    let keyring = ground.leased_keyring(0, "volumes", Millis::seconds(10), None);
    assert!(ground.settle());
    let (root, namespace) = (ground.root.expect("made"), ground.namespace.expect("made"));
    let view: std::sync::Arc<View> = ground.world.node(0).view().expect("running").clone();
    let tenant = view.tenant(&ground.tenant).expect("held").clone();
    let CustodyClass::Leased { generation, lease } = tenant.tenant().keyrings[&keyring].class.clone() else {
        panic!("leased")
    };
    let nonce = keymesh_sim::people::nonce(&mut ground.world.rng);
    let copy =
        NewKeyring { nonce, namespace, name: "mine".into(), root, class: CustodyClass::Leased { generation, lease } };
    ground.admin_says(0, &Body::CreateKeyring(copy));
    let author = ground.admins[0].identity.principal();
    let mine = keymesh_wire::body::keyring_id(&ground.document(), &author, &nonce);
    let version = tenant.tenant().keys[&key].versions[0].wrapped.clone();
    let nonce = keymesh_sim::people::nonce(&mut ground.world.rng);
    let vault = tenant.tenant().keys[&key].keyring;
    let version = WrappedVersion { version: version.version, ..version };
    ground.admin_says(0, &Body::CreateKey(NewKey { nonce, keyring: vault, name: "copy".into(), version }));
    let copied = keymesh_wire::body::key_id(&ground.document(), &author, &nonce);
    assert!(!ground.await_generation(0, mine), "no lessee can open the copy, so none attests it");
    assert!(ground.settle());

    let question = agent.asks(ground.tenant, copied, ground.world.at(), &mut ground.world.rng);
    let handle = ground.world.ask(1, &question);
    ground.world.run(1_000);
    let answers = ground.world.gathered(handle);
    let refused = |verdict: &Verdict| matches!(verdict, Verdict::No(refusal) if refusal.code == RefusalCode::Refused);
    assert!(answers.len() == 5 && answers.iter().all(|(_, verdict)| refused(verdict)), "{answers:?}");
    assert_eq!(ground.world.violations(), [] as [String; 0]);
}
