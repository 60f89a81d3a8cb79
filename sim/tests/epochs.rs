//! Changes of sharing between real cores: refresh and reshare, with custodians away, crashing, lying, cut apart.

use keymesh_mesh::custody::message::CustodyMessage;
use keymesh_mesh::custody::slot::Slot;
use keymesh_sim::agents::{Agent, Instance};
use keymesh_sim::ground::Ground;
use keymesh_sim::world::{Pause, Plan, World};
use keymesh_wire::body::{Body, CommitteeSpec, Reshare, SharingRef};
use keymesh_wire::ids::{KeyId, Nonce, RootId};
use keymesh_wire::time::Millis;

/// A root of 3 of 5 with f = 1, a key under it and an agent that may have it.
struct Vault {
    ground: Ground,
    root: RootId,
    agent: Agent,
    key: KeyId,
    data: [u8; 32],
}

impl Vault {
    fn new(seed: u64, nodes: usize) -> Self {
        Self::of(seed, nodes, 3, 1)
    }

    /// With a root of five custodians.
    fn of(seed: u64, nodes: usize, threshold: u8, faults: u8) -> Self {
        let mut ground = Ground::new(seed, Plan::calm(nodes));
        let root = ground.propose_root(&[0, 1, 2, 3, 4], threshold, faults);
        ground.await_root(root);
        ground.furnish();
        let keyring = ground.quorum_keyring(0, "vault");
        let (key, data) = ground.key(0, keyring, "seal");
        let agent = Agent::new(Instance::A1, &mut ground.world.rng);
        assert!(ground.world.enrol_now(0, ground.tenant, &agent, &ground.launcher));
        assert!(ground.settle());
        Self { ground, root, agent, key, data }
    }

    /// Whether the agent gets its key blindly through a node.
    fn opens(&mut self, node: usize) -> bool {
        let world = &mut self.ground.world;
        let question = self.agent.asks(self.ground.tenant, self.key, world.at(), &mut world.rng);
        let handle = world.ask(node, &question);
        world.run(1_000);
        world.open(node, &question, None, handle, 64).as_deref() == Ok(&self.data[..])
    }

    fn comes_right(mut self) {
        self.ground.finish();
        assert_eq!(self.ground.world.violations(), [] as [String; 0]);
    }
}

fn next(ground: &Ground, root: RootId) -> SharingRef {
    SharingRef { root, committee: 0, epoch: ground.state(0).roots[&root].committees[0].epoch + 1 }
}

fn refresh(ground: &mut Ground, root: RootId) -> SharingRef {
    let sharing = next(ground, root);
    ground.admin_says(0, &Body::RefreshShares(sharing));
    sharing
}

fn reshare(ground: &mut Ground, root: RootId, members: &[usize], threshold: u8, faults: u8) -> SharingRef {
    let sharing = next(ground, root);
    let members = members.iter().map(|node| ground.world.node(*node).id()).collect();
    let spec = CommitteeSpec { members, threshold, faults };
    ground.admins_say(0, &Body::ReshareRoot(Reshare { sharing, spec }));
    sharing
}

/// Whether every one of these nodes sees the epoch as made, with all its members holding their shares and no earlier one
/// open.
fn is_made(ground: &Ground, sharing: SharingRef, at: &[usize]) -> bool {
    at.iter().all(|node| {
        let Some(state) = ground.world.tenant(*node, ground.tenant) else { return false };
        let committee = &state.roots[&sharing.root].committees[0];
        let all = committee.holders.len() == committee.spec.members.len();
        committee.epoch == sharing.epoch && all && committee.past.is_empty() && !committee.frozen
    })
}

fn await_epoch(ground: &mut Ground, sharing: SharingRef, within: u64, at: &[usize]) -> u64 {
    let begun = ground.world.at();
    for _ in 0..within / 50 {
        ground.world.run(50);
        if is_made(ground, sharing, at) {
            return ground.world.at() - begun;
        }
    }
    let committee = &ground.state(at[0]).roots[&sharing.root].committees[0];
    panic!("no epoch {} within {within} ms: {committee:?}", sharing.epoch);
}

fn public(ground: &Ground, root: RootId) -> keymesh_custody::RootPublic<keymesh_custody::Ristretto> {
    let public = ground.state(0).roots[&root].committees[0].public.clone().expect("live");
    keymesh_custody::RootPublic::from_bytes(&public).expect("readable")
}

#[test]
fn a_refresh_gives_everybody_a_new_share_of_the_same_root_and_erases_the_old_ones() {
    let mut vault = Vault::new(1, 5);
    let root = vault.root;
    let before = public(&vault.ground, root);
    for epoch in 1..=3 {
        let sharing = refresh(&mut vault.ground, root);
        assert_eq!(sharing.epoch, epoch);
        let took = await_epoch(&mut vault.ground, sharing, 20_000, &[0, 1, 2, 3, 4]);
        assert!(took < 2_500, "without faults one ballot is enough: {took} ms");
        let after = public(&vault.ground, root);
        assert_eq!(after.group_key(), before.group_key());
        assert_ne!(after.hash(), before.hash());
        for node in 0..5 {
            let slots: Vec<&str> = vault.ground.world.node(node).disk.slots().collect();
            assert_eq!(slots, [Slot::Epoch { root, committee: 0, epoch }.to_string()], "one share, and no key is left");
        }
        assert!(vault.opens(1));
    }
    vault.comes_right();
}

#[test]
fn a_reshare_moves_the_root_to_other_custodians_while_some_old_ones_are_away() {
    let mut vault = Vault::new(2, 9);
    let root = vault.root;
    let group = public(&vault.ground, root);
    let sharing = reshare(&mut vault.ground, root, &[3, 4, 5, 6, 7, 8], 4, 1);
    await_epoch(&mut vault.ground, sharing, 30_000, &[0, 3, 4, 5, 6, 7, 8]);
    let after = public(&vault.ground, root);
    assert_eq!((after.group_key(), after.threshold().t(), after.threshold().n()), (group.group_key(), 4, 6));
    for node in [0, 1, 2] {
        assert_eq!(vault.ground.world.node(node).disk.slots().count(), 0, "n{} holds nothing any more", node + 1);
    }
    assert!(vault.opens(0), "a node without a share relays");
    vault.ground.world.cut(&[0, 1, 2]);
    vault.ground.world.run(4_000);
    assert!(vault.opens(4), "the old custodians are not needed");
    vault.ground.world.heal();
    // One of the six is away: q = 4 of 6 with f = 1 agree, and 5 recipients are enough.
    vault.ground.world.crash(8);
    let sharing = reshare(&mut vault.ground, root, &[0, 1, 2, 3, 4], 3, 1);
    await_epoch(&mut vault.ground, sharing, 60_000, &[0, 1, 2, 3, 4]);
    vault.ground.world.start(8);
    assert!(vault.ground.settle());
    assert!(vault.opens(8));
    vault.comes_right();
}

#[test]
fn a_custodian_from_a_stale_backup_keeps_silent_until_it_has_its_own_words_back() {
    let mut vault = Vault::new(3, 5);
    let root = vault.root;
    vault.ground.world.back_up(4);
    let agent = Agent::new(Instance::A2, &mut vault.ground.world.rng);
    assert!(vault.ground.world.enrol_now(4, vault.ground.tenant, &agent, &vault.ground.launcher));
    assert!(vault.ground.settle());
    // Nobody is there to tell it: it contributes to nothing, although it holds a share and sees no denial.
    vault.ground.world.cut(&[4]);
    vault.ground.world.run(4_000);
    assert!(vault.ground.world.restore_backup(4));
    vault.ground.world.run(10_000);
    let view = vault.ground.world.node(4).view().expect("running").clone();
    assert!(view.fenced.contains(&vault.ground.tenant));
    assert!(vault.opens(0), "the other four do without it");
    let told = |vault: &Vault| {
        let warnings = &vault.ground.world.node(4).warnings;
        warnings.iter().filter(|what| what.contains("its disk is older than its last words")).count()
    };
    assert_eq!(told(&vault), 0);
    vault.ground.world.heal();
    assert!(vault.ground.settle());
    let tenant = vault.ground.tenant;
    let speaks = vault
        .ground
        .world
        .run_until(10_000, |world| world.node(4).view().is_some_and(|view| !view.fenced.contains(&tenant)));
    assert!(speaks, "it has its words back");
    assert_eq!(told(&vault), 1, "whether its words came back before anybody told of them or after");
    let sharing = refresh(&mut vault.ground, root);
    await_epoch(&mut vault.ground, sharing, 30_000, &[0, 1, 2, 3, 4]);
    assert!(vault.opens(4));
    vault.comes_right();
}

/// Frames of others come again, also those that told it everything before its disk went back.
#[test]
fn an_answer_to_an_earlier_life_of_a_custodian_does_not_let_it_speak() {
    let mut vault = Vault::new(6, 5);
    let tenant = vault.ground.tenant;
    vault.ground.world.cut(&[4]);
    vault.ground.world.crash(4);
    vault.ground.world.start(4);
    for from in 0..4 {
        let old = CustodyMessage::Tips(tenant, Nonce::from_bytes([7; 16]), Vec::new());
        vault.ground.world.tell(from, 4, old);
    }
    vault.ground.world.run(5_000);
    let is_fenced = |vault: &Vault| vault.ground.world.node(4).view().expect("running").fenced.contains(&tenant);
    assert!(is_fenced(&vault));
    vault.ground.world.heal();
    vault.ground.world.run(5_000);
    assert!(!is_fenced(&vault), "it was told anew");
    vault.comes_right();
}

#[test]
fn two_machines_under_one_identity_show_when_both_speak_and_are_fenced() {
    let mut vault = Vault::new(4, 6);
    let root = vault.root;
    let twin = vault.ground.world.clone_node(4);
    // Each of them is heard by some, so both hold a denial and say so.
    vault.ground.world.flip_clone(twin, &[0, 1]);
    vault.ground.world.run(3_000);
    let agent = Agent::new(Instance::A2, &mut vault.ground.world.rng);
    vault.ground.revoke(0, &agent);
    vault.ground.world.run(10_000);
    let id = vault.ground.world.node(4).id();
    for node in [0, 1, 2, 3, 5] {
        assert!(vault.ground.state(node).forked.contains(&id), "n{} knows", node + 1);
    }
    for machine in [4, twin] {
        let view = vault.ground.world.node(machine).view().expect("running").clone();
        assert!(view.fenced.contains(&vault.ground.tenant));
    }
    assert!(vault.opens(0), "four custodians are enough");
    vault.ground.world.retire_clone(twin);
    assert!(vault.ground.settle());
    let view = vault.ground.world.node(4).view().expect("running").clone();
    assert!(view.fenced.contains(&vault.ground.tenant), "for good");
    // Another node takes its place; the four others are a quorum.
    let sharing = reshare(&mut vault.ground, root, &[0, 1, 2, 3, 5], 3, 1);
    await_epoch(&mut vault.ground, sharing, 60_000, &[0, 1, 2, 3, 5]);
    assert!(vault.opens(5));
}

/// It went on offering keys: nobody counted as one of two machines that was in no committee yet (seed 254).
#[test]
fn two_machines_that_a_root_moves_to_are_fenced_before_they_are_custodians() {
    let mut vault = Vault::new(9, 6);
    let root = vault.root;
    let (id, tenant) = (vault.ground.world.node(5).id(), vault.ground.tenant);
    let twin = vault.ground.world.clone_node(5);
    vault.ground.world.flip_clone(twin, &[0, 1]);
    // Without the fourth and the fifth nobody leads the first ballot to its end, and both machines have time to speak.
    [3, 4].into_iter().for_each(|node| vault.ground.world.crash(node));
    reshare(&mut vault.ground, root, &[0, 1, 2, 3, 5], 3, 1);
    vault.ground.world.run(10_000);
    for node in [0, 1, 2] {
        assert!(vault.ground.state(node).forked.contains(&id), "n{} knows", node + 1);
    }
    for machine in [5, twin] {
        let view = vault.ground.world.node(machine).view().expect("running").clone();
        assert!(view.fenced.contains(&tenant));
    }
}

/// It was woken at once after every tick: the change that stood still while it kept silent was always due.
#[test]
fn a_custodian_that_slept_and_keeps_silent_is_not_woken_for_a_ballot_over_and_over() {
    let mut vault = Vault::new(5, 5);
    let root = vault.root;
    [3, 4].into_iter().for_each(|node| vault.ground.world.crash(node));
    let sharing = refresh(&mut vault.ground, root);
    vault.ground.world.run(2_000);
    vault.ground.world.cut(&[2]);
    vault.ground.world.pause(2, 60_000, Pause::Suspended);
    vault.ground.world.run(90_000);
    vault.ground.world.heal();
    [3, 4].into_iter().for_each(|node| vault.ground.world.start(node));
    await_epoch(&mut vault.ground, sharing, 400_000, &[0, 1, 2, 3, 4]);
    vault.comes_right();
}

/// It called for deals at once, in a ballot that others had begun long before, and left itself out.
#[test]
fn a_leader_that_comes_back_in_the_middle_of_its_ballot_waits_for_offers() {
    let mut vault = Vault::new(6, 5);
    let root = vault.root;
    [3, 4].into_iter().for_each(|node| vault.ground.world.crash(node));
    let sharing = refresh(&mut vault.ground, root);
    // Ballot 4, which the fifth member leads, lasts from 45 s to 93 s.
    vault.ground.world.run(60_000);
    [3, 4].into_iter().for_each(|node| vault.ground.world.start(node));
    await_epoch(&mut vault.ground, sharing, 20_000, &[0, 1, 2, 3, 4]);
    vault.comes_right();
}

#[test]
fn shares_that_are_old_are_refreshed_by_the_first_custodian_that_is_there() {
    let mut vault = Vault::new(5, 5);
    let root = vault.root;
    for node in 0..5 {
        vault.ground.world.crash(node);
    }
    vault.ground.world.refresh_after = Some(Millis::seconds(600));
    for node in 1..5 {
        vault.ground.world.start(node);
    }
    vault.ground.world.run(850_000);
    assert_eq!(vault.ground.state(1).roots[&root].committees[0].epoch, 0, "the first one's turn passes");
    vault.ground.world.run(300_000);
    assert_eq!(vault.ground.state(1).roots[&root].committees[0].epoch, 1);
    vault.ground.world.start(0);
    vault.ground.world.run(60_000);
    assert!(vault.opens(0));
    let sharing = refresh(&mut vault.ground, root);
    await_epoch(&mut vault.ground, sharing, 30_000, &[0, 1, 2, 3, 4]);
    assert!(vault.opens(0), "it has a share again");
    vault.comes_right();
}

/// With n below t + 2f a member that is ready and never takes its share keeps both sharings in use (seed 262), and a denial
/// waits for custodians who may not vouch for it any more. The next move ends that.
#[test]
fn a_committee_that_lacks_a_recipient_for_good_is_moved_once_more_and_denials_take_effect() {
    let mut vault = Vault::new(10, 7);
    let (root, tenant) = (vault.root, vault.ground.tenant);
    reshare(&mut vault.ground, root, &[2, 3, 4, 5, 6], 4, 1);
    let commits = |vault: &Vault| {
        let said = vault.ground.world.watch.statements.values();
        said.filter(|s| matches!(s.body(), Some(Body::Sharing(word)) if word.act.kind() == "commit-epoch")).count()
    };
    while commits(&vault) == 0 {
        vault.ground.world.run(1);
    }
    vault.ground.world.crash(5);
    let held = |world: &World| world.tenant(2, tenant).map(|state| state.roots[&root].committees[0].holders.len());
    assert!(vault.ground.world.run_until(30_000, |world| held(world) == Some(4)));
    let denial = vault.ground.revoke(0, &vault.agent);
    vault.ground.world.run(90_000);
    let committee = &vault.ground.state(2).roots[&root].committees[0];
    assert_eq!((committee.epoch, committee.past.len(), committee.holders.len()), (1, 1, 4), "both are in use");
    assert!(!vault.ground.state(2).denials[&denial].effective, "two of the older custodians leave");
    let sharing = reshare(&mut vault.ground, root, &[0, 1, 2, 3, 4], 3, 1);
    await_epoch(&mut vault.ground, sharing, 60_000, &[0, 1, 2, 3, 4, 6]);
    vault.ground.world.run(2_000);
    assert!(vault.ground.state(2).denials[&denial].effective);
    vault.ground.world.start(5);
    assert!(vault.ground.settle());
    vault.comes_right();
}

/// A denial that enough of the old custodians hold is known to whoever agrees on the new ones: with 4 of 5 two are enough
/// to keep the root shut, and three others must not move it to where nobody heard of the denial.
#[test]
fn an_effective_denial_binds_the_custodians_that_the_others_move_the_root_to() {
    let mut vault = Vault::of(7, 7, 4, 0);
    let root = vault.root;
    reshare(&mut vault.ground, root, &[2, 3, 4, 5, 6], 3, 1);
    let dealt = |vault: &Vault| {
        let said = vault.ground.world.watch.statements.values();
        said.filter(|s| matches!(s.body(), Some(Body::Sharing(word)) if word.act.kind() == "deal-shares")).count()
    };
    while dealt(&vault) < 5 {
        vault.ground.world.run(5);
    }
    vault.ground.world.cut(&[0, 1]);
    let denial = vault.ground.revoke(0, &vault.agent);
    vault.ground.world.run(90_000);
    assert!(vault.ground.state(0).denials[&denial].effective, "two of five hold it");
    assert!(!vault.opens(4), "and so nobody opens");
    assert_eq!(vault.ground.world.violations(), [] as [String; 0]);
    vault.ground.world.heal();
    assert!(vault.ground.settle());
    vault.comes_right();
}
