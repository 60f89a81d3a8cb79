//! Custodians that lie in changes of sharing, in cases made by hand; the default mix draws the others.

use keymesh_sim::ground::Ground;
use keymesh_sim::liar::Lie;
use keymesh_sim::world::Plan;
use keymesh_wire::body::{Body, SharingRef};

const AWAY: usize = 4;
const LIAR: usize = 3;

/// Three of five custodians are bound to a transcript that the fourth prepared and does not commit to while the fifth is
/// away. The fourth proposes another one when its turn comes. Then the fifth is back.
fn rivalry() -> Ground {
    let mut ground = Ground::new(1, Plan::calm(5));
    let root = ground.propose_root(&[0, 1, 2, LIAR, AWAY], 3, 1);
    ground.await_root(root);
    ground.furnish();
    assert!(ground.settle());
    ground.world.corrupt(LIAR, vec![Lie::RivalProposals]);
    ground.world.crash(AWAY);
    ground.admin_says(0, &Body::RefreshShares(SharingRef { root, committee: 0, epoch: 1 }));
    // The liar leads the ballot from 21 s to 45 s.
    ground.world.run(40_000);
    assert_eq!(ground.state(0).roots[&root].committees[0].epoch, 0, "nobody agreed upon anything");
    assert!(ground.world.watch.coverage.of("proposals against a lock") > 0);
    ground.world.start(AWAY);
    let tenant = ground.tenant;
    let made = ground.world.run_until(200_000, |world| {
        let state = world.tenant(AWAY, tenant);
        state.is_some_and(|state| state.roots[&root].committees[0].epoch == 1)
    });
    assert!(made, "the four honest ones are enough");
    ground
}

#[test]
fn whoever_is_bound_to_a_transcript_prepares_no_other_one_that_a_liar_proposes() {
    let mut ground = rivalry();
    assert!(ground.settle());
    ground.finish();
    assert_eq!(ground.world.violations(), [] as [String; 0]);
}

/// The alarm rings when the lock is forgotten.
#[cfg(feature = "mutants")]
#[test]
fn a_custodian_that_forgets_its_lock_is_noticed() {
    use keymesh_mesh::mutant::{Mutant, with};

    let wrong = with(Some(Mutant::BallotForgetsItsLock), || rivalry().world.violations().to_vec());
    assert!(wrong.iter().any(|what| what.contains("to which it is bound")), "{wrong:?}");
}
