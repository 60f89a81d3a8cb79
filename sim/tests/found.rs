//! What random scenarios found, each as a scenario of its own that fails without its fix.

use keymesh_mesh::custody::slot::Slot;
use keymesh_sim::agents::{Agent, Instance};
use keymesh_sim::ground::Ground;
use keymesh_sim::people::Signer;
use keymesh_sim::world::Plan;
use keymesh_wire::body::{Body, TenantGenesis};
use keymesh_wire::ids::{Nonce, TenantId};
use keymesh_wire::time::Millis;

/// Found by seed 1: a document with keys was refused where it was handed over, because no ciphertexts came along; and of a
/// destroyed key nobody could have brought one.
#[test]
fn a_tenant_with_keys_is_handed_over_to_a_node_that_has_nothing_of_it() {
    let mut ground = Ground::with_root(1, Plan::calm(4), 3, 0);
    let keyring = ground.leased_keyring(0, "volumes", Millis::seconds(20), None);
    ground.key(0, keyring, "disk");
    assert!(ground.settle());
    ground.world.cut(&[3]);
    ground.world.run(4_000);
    ground.world.replace_disk(3, 0);
    ground.world.run(1_000);
    assert!(ground.world.tenant(3, ground.tenant).is_none(), "it is cut off: nobody brought it yet");
    let document = ground.document();
    ground.world.hand_over(document, 0, 3);
    assert!(ground.world.tenant(3, ground.tenant).is_some(), "taken without its ciphertexts");
    ground.world.heal();
    assert!(ground.settle(), "the ciphertexts come from peers");
    let replica = ground.world.node(3).replica().expect("running");
    let held = replica.document(&document).and_then(|held| held.tenant()).expect("held");
    assert!(!held.wanted_blobs().is_empty());
    assert!(held.wanted_blobs().iter().all(|hash| replica.blob(&document, hash).is_some()));
    ground.finish();
    assert_eq!(ground.world.violations(), [] as [String; 0]);
}

/// Found by seed 26: of a root that needs two committees only the first one's votes were looked at, so a custodian of the
/// second did not see that it had voted and voted again, for a copy.
#[test]
fn custodians_of_every_committee_vote_once_for_an_instance_and_each_committee_has_to() {
    let mut ground = Ground::new(2, Plan::calm(6));
    let root = ground.propose_committees(&[(&[0, 1, 2], 2, 0), (&[3, 4, 5], 2, 0)]);
    ground.await_root(root);
    ground.furnish();
    let first = Agent::new(Instance::A1, &mut ground.world.rng);
    // Cut off from the second committee nobody is bound, however many of the first one vote.
    ground.world.cut(&[3, 4, 5]);
    ground.world.run(4_000);
    ground.world.enrol(0, ground.tenant, &first, &ground.launcher);
    ground.world.run(3_000);
    assert!(ground.state(0).claim_of(&first.id()).is_none(), "one committee alone binds nobody");
    ground.world.heal();
    assert!(ground.settle());
    assert!(ground.world.enrol_now(0, ground.tenant, &first, &ground.launcher));
    let copy = Agent::new(Instance::A1, &mut ground.world.rng);
    for node in [0, 3] {
        ground.world.enrol(node, ground.tenant, &copy, &ground.launcher);
        ground.world.run(3_000);
    }
    assert_eq!(ground.state(0).enrolments[&Instance::A1.name()].claims.len(), 1, "nobody voted for the copy");
    ground.finish();
    assert_eq!(ground.world.violations(), [] as [String; 0]);
}

/// Found by seed 117: what had waited for a document was written before the document, which was handed over later, and a
/// disk with children before their parents gives a node back less than it said it had.
///
/// A node whose placement came after the genesis takes no genesis from peers, so all that they send it waits.
#[test]
fn a_document_that_is_handed_over_is_written_before_what_waited_for_it() {
    let mut ground = Ground::new(3, Plan::calm(4));
    let genesis = Body::TenantGenesis(TenantGenesis {
        mesh: ground.mesh,
        name: "beta".into(),
        admins: ground.admins.iter().map(Signer::person).collect(),
        endorsements: 2,
        nodes: (0..3).map(|node| ground.world.node(node).placement()).collect(),
        salt: Nonce::from_bytes([9; 16]),
    });
    let genesis = ground.admins[0].sign(None, Vec::new(), ground.world.at(), &genesis);
    let (document, tenant) = (genesis.document(), TenantId::from(genesis.id()));
    assert!(matches!(ground.world.submit_now(0, &[genesis], Vec::new()), Some(Ok(_))));
    let everywhere = ground.world.run_until(60_000, |world| (0..3).all(|node| world.tenant(node, tenant).is_some()));
    assert!(everywhere);
    let placement = Body::PlaceNode(ground.world.node(3).placement());
    let together = [&ground.admins[0], &ground.admins[1]];
    ground.world.say(0, document, &together, &placement);
    ground.world.run(5_000);
    assert!(ground.world.tenant(3, tenant).is_none(), "nobody handed it over yet");
    ground.world.hand_over(document, 0, 3);
    assert!(ground.settle());
    let before = ground.world.tenant(3, tenant).expect("handed over").nodes.len();
    ground.world.crash(3);
    ground.world.start(3);
    assert!(ground.settle());
    assert_eq!(ground.world.tenant(3, tenant).map(|tenant| tenant.nodes.len()), Some(before));
    ground.finish();
    assert_eq!(ground.world.violations(), [] as [String; 0]);
}

/// Found by seed 419: a root was made with a copy of a custodian that its peers had their connections with, and the check
/// looked for the share on the disk of the original.
#[test]
fn a_root_made_with_a_copy_of_a_custodian_has_its_shares_on_disk() {
    let mut ground = Ground::new(3, Plan::calm(4));
    let twin = ground.world.clone_node(1);
    ground.world.flip_clone(twin, &[0, 2, 3]);
    let root = ground.propose_root(&[0, 1, 2, 3], 3, 0);
    ground.world.run(20_000);
    let attempt = ground.state(0).roots[&root].committees[0].attempt.expect("live");
    let shares =
        |node: usize| ground.world.node(node).disk.has_share(&Slot::Made { root, committee: 0, attempt }.to_string());
    assert!(shares(twin) && !shares(1), "the copy took part");
    assert_eq!(ground.world.violations(), [] as [String; 0]);
}
