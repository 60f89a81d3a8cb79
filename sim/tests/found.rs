//! What random scenarios found, each as a scenario of its own that fails without its fix.

use keymesh_sim::ground::Ground;
use keymesh_sim::world::Plan;
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
