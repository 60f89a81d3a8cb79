//! Byzantine nodes with their genuine keys, at most f of a committee: honest nodes agree, serve, and name whom they caught.

use keymesh_sim::agents::{Agent, Instance};
use keymesh_sim::ground::{Ground, is_live};
use keymesh_sim::liar::{Lie, people};
use keymesh_sim::world::{Denied, Plan};
use keymesh_wire::body::Body;
use keymesh_wire::ids::{KeyId, NodeId};
use keymesh_wire::time::Millis;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

const LIAR: usize = 4;

/// Five custodians, three must act; keys of both classes and an agent who may have them.
struct Scene {
    ground: Ground,
    agent: Agent,
    disk: (KeyId, [u8; 32]),
    seal: (KeyId, [u8; 32]),
}

impl Scene {
    fn new(seed: u64) -> Self {
        let mut ground = Ground::with_root(seed, Plan::calm(5), 3, 1);
        let agent = Agent::new(Instance::A1, &mut ground.world.rng);
        assert!(ground.world.enrol_now(1, ground.tenant, &agent, &ground.launcher));
        let volumes = ground.leased_keyring(0, "volumes", Millis::seconds(4), None);
        let disk = ground.key(0, volumes, "disk");
        let vault = ground.quorum_keyring(0, "vault");
        let seal = ground.key(0, vault, "seal");
        assert!(ground.settle());
        Self { ground, agent, disk, seal }
    }

    fn lying(seed: u64, lies: &[Lie]) -> Self {
        let mut scene = Self::new(seed);
        scene.ground.world.corrupt(LIAR, lies.to_vec());
        scene
    }

    /// Whom each honest node holds for a liar.
    fn accused(&self) -> Vec<Vec<NodeId>> {
        let of = |node| self.ground.world.tenant(node, self.ground.tenant).expect("held").accused();
        (0..LIAR).map(|node| of(node).into_iter().collect()).collect()
    }

    fn liar(&self) -> NodeId {
        self.ground.world.node(LIAR).id()
    }

    fn release(&mut self, node: usize) -> Result<Vec<u8>, Denied> {
        let key = self.ground.world.release_now(node, self.ground.tenant, &self.agent, self.disk.0)?;
        Ok(key.expose_secret().to_vec())
    }

    /// A blind release through a node: what came out, and who was named.
    fn question(&mut self, node: usize) -> (Result<Vec<u8>, String>, Vec<NodeId>) {
        let Self { ground, agent, seal, .. } = self;
        let question = agent.asks(ground.tenant, seal.0, ground.world.at(), &mut ground.world.rng);
        let handle = ground.world.ask(node, &question);
        ground.world.run(1_000);
        ground.world.opened(node, &question, None, handle, 5)
    }

    /// Honest nodes go on serving both classes.
    fn serves(&mut self) {
        for node in 0..LIAR {
            assert_eq!(self.release(node).as_deref(), Ok(&self.disk.1[..]), "n{}", node + 1);
        }
        let (opened, _) = self.question(1);
        assert_eq!(opened.as_deref(), Ok(&self.seal.1[..]));
    }

    /// What the honest say of each other and of the state is as if there were no liar.
    fn is_sound(&mut self) {
        assert!(self.ground.settle(), "honest nodes agree");
        let before = self.ground.state(0);
        assert_eq!(before.admins.len(), 2);
        assert!(before.admins.values().all(|admin| !admin.suspended));
        assert_eq!(before.grants.len(), 1, "the launcher's");
        assert_eq!(before.nodes.len(), 5);
        assert_eq!(before.policies.values().map(Vec::len).sum::<usize>(), 1);
        assert_eq!(before.evidence_roots.len(), 1);
        assert_eq!(before.roots.len(), 1);
        let mesh = self.ground.world.node(0).replica().and_then(|replica| replica.document(&self.ground.mesh.into()));
        let mesh = mesh.and_then(|document| document.mesh()).expect("held");
        assert_eq!((mesh.admins.len(), mesh.nodes.len()), (2, 5));
        self.ground.finish();
        assert_eq!(self.ground.world.violations(), [] as [String; 0]);
    }

    /// Whether an honest node warned about the liar in words that hold `what`.
    fn is_named(&self, what: &str) -> bool {
        let liar = self.liar().to_string();
        let world = &self.ground.world;
        world
            .honest()
            .any(|node| world.node(node).warnings.iter().any(|said| said.contains(&liar) && said.contains(what)))
    }

    /// A day among liars: releases, a new key, a cut with a revocation in it, and the time after.
    fn day(&mut self) {
        self.serves();
        let other = Agent::new(Instance::A2, &mut self.ground.world.rng);
        assert!(self.ground.world.enrol_now(0, self.ground.tenant, &other, &self.ground.launcher));
        self.ground.world.cut(&[0, 1]);
        self.ground.world.run(4_000);
        self.ground.revoke(2, &other);
        self.ground.world.run(3_000);
        self.ground.world.heal();
        self.ground.world.run(4_000);
        assert!(self.ground.settle(), "honest nodes agree");
        for node in 0..LIAR {
            let denied = self.ground.world.release_now(node, self.ground.tenant, &other, self.disk.0);
            assert!(matches!(denied, Err(Denied::Refused(_))), "n{}: {denied:?}", node + 1);
        }
        let denial = self.ground.state(0).denial_of(&other.id(), &other.instance.name()).expect("revoked");
        assert!(denial.effective, "four honest custodians are enough");
        self.serves();
        self.is_sound();
    }
}

fn survives(seed: u64, lies: &[Lie]) -> Scene {
    let mut scene = Scene::lying(seed, lies);
    scene.day();
    scene
}

#[test]
fn a_node_that_withholds_or_serves_half_keeps_nothing_from_the_others() {
    survives(1, &[Lie::Withholds]);
    survives(2, &[Lie::ServesHalf]);
}

#[test]
fn a_node_that_floods_and_replays_is_named_and_disturbs_nobody() {
    let scene = survives(3, &[Lie::Floods, Lie::Replays]);
    assert!(scene.is_named("sent garbage"));
}

#[test]
fn statements_without_their_parents_are_dropped_and_their_sender_named() {
    let mut scene = survives(4, &[Lie::Orphans]);
    scene.ground.world.run(30_000);
    assert!(scene.is_named("withheld"));
}

#[test]
fn a_node_grants_itself_nothing_by_signing_what_admins_sign_or_dating_it_back() {
    let scene = survives(5, &[Lie::GrantsItself, Lie::Backdates]);
    let liar = scene.liar();
    let document = scene.ground.document();
    let graph = scene.ground.world.node(0).replica().and_then(|replica| replica.document(&document)).expect("held");
    let said = graph.graph().entries().iter().filter(|entry| entry.statement.author() == liar).count();
    assert!(said > 5, "the liar was heard {said} times");
}

#[test]
fn one_vote_for_what_nobody_asked_binds_nobody() {
    let scene = survives(6, &[Lie::ForgesVotes, Lie::Equivocates]);
    let state = scene.ground.state(0);
    let bound: Vec<_> = state.enrolments.values().filter_map(|enrolment| enrolment.holder()).collect();
    assert_eq!(bound.len(), 2, "the two that enrolled");
    let claims: usize = state.enrolments.values().map(|enrolment| enrolment.claims.len()).sum();
    assert!(claims > 2, "the liar's claims are kept, and worth nothing");
}

#[test]
fn what_a_node_alters_on_the_way_is_believed_by_nobody() {
    let mut scene = Scene::lying(7, &[Lie::AltersRequests]);
    let agent = Agent::new(Instance::A3, &mut scene.ground.world.rng);
    let handle = scene.ground.world.enrol(LIAR, scene.ground.tenant, &agent, &scene.ground.launcher);
    scene.ground.world.run(2_000);
    let own = scene.liar();
    let voted = scene.ground.world.gathered(handle).iter().filter(|(who, _)| *who != own).count();
    assert_eq!(voted, 0);
    let enrolment = scene.ground.state(0).enrolments.get(&agent.instance.name());
    assert!(enrolment.is_none_or(|enrolment| enrolment.holder().is_none()), "bound by the liar's vote alone");
    // Through an honest node it works.
    assert!(scene.ground.world.enrol_now(0, scene.ground.tenant, &agent, &scene.ground.launcher));
    scene.serves();
    scene.is_sound();
}

#[test]
fn a_custodian_that_is_mute_or_refuses_is_done_without() {
    survives(8, &[Lie::IsMute]);
    survives(9, &[Lie::RefusesAll]);
}

/// Serves as ever; and where only two honest custodians are within reach beside the liar, nothing opens, and both the
/// lessee and the agent name the liar.
fn bad_partials(seed: u64, lie: Lie) -> (bool, bool) {
    let mut scene = Scene::lying(seed, &[lie]);
    scene.serves();
    scene.ground.world.cut(&[0, 1]);
    let (mut lease, mut blind) = (false, false);
    for _ in 0..5 {
        scene.ground.world.run(5_000);
        let named = |scene: &Scene| {
            scene.is_named("a partial that does not hold") || scene.is_named("nothing usable as a partial")
        };
        lease |= matches!(scene.release(2), Err(Denied::NoLease)) && named(&scene);
        let (opened, culprits) = scene.question(2);
        assert!(opened.as_deref().is_err() || lie == Lie::OtherEpochs, "{lie:?}");
        assert!(culprits.iter().all(|culprit| *culprit == scene.liar()), "{lie:?}: {culprits:?}");
        blind |= !culprits.is_empty();
    }
    scene.ground.world.heal();
    scene.ground.world.run(5_000);
    scene.serves();
    scene.is_sound();
    if matches!(lie, Lie::FalsePartials | Lie::ForeignPartials | Lie::BorrowsIndexes) {
        assert_eq!(scene.accused(), vec![vec![scene.liar()]; 4], "{lie:?}: what it signed is shown to everybody");
    }
    (lease, blind)
}

#[test]
fn a_partial_made_with_another_share_or_of_another_capsule_is_named_by_whoever_combines() {
    for (seed, lie) in [(10, Lie::FalsePartials), (11, Lie::ForeignPartials)] {
        assert_eq!(bad_partials(seed, lie), (true, true), "{lie:?}");
    }
}

#[test]
fn a_partial_in_the_place_of_another_member_or_none_at_all_is_named_by_whoever_combines() {
    for (seed, lie) in [(12, Lie::BorrowsIndexes), (13, Lie::GarbledPartials), (14, Lie::OldPartials)] {
        assert_eq!(bad_partials(seed, lie), (true, true), "{lie:?}");
    }
}

#[test]
fn a_partial_that_names_another_epoch_is_right_or_useless() {
    bad_partials(15, Lie::OtherEpochs);
}

#[test]
fn with_two_liars_that_give_false_partials_three_honest_custodians_still_serve() {
    let mut scene = Scene::lying(16, &[Lie::FalsePartials]);
    scene.ground.world.corrupt(3, vec![Lie::BorrowsIndexes]);
    for node in 0..3 {
        assert_eq!(scene.release(node).as_deref(), Ok(&scene.disk.1[..]));
    }
    let (opened, _) = scene.question(0);
    assert_eq!(opened.as_deref(), Ok(&scene.seal.1[..]));
    assert!(scene.ground.settle());
    scene.ground.finish();
    assert_eq!(scene.ground.world.violations(), [] as [String; 0]);
}

#[test]
fn revocations_that_one_node_hides_or_falsely_witnesses_are_effective_through_the_honest() {
    survives(17, &[Lie::HidesRevocations]);
    survives(18, &[Lie::FalseWitness, Lie::FalseAccusations]);
}

#[test]
fn a_liar_that_accuses_custodians_by_partials_that_hold_is_believed_by_nobody() {
    let mut scene = Scene::lying(25, &[Lie::FalseAccusations]);
    for node in 0..3 {
        assert!(scene.release(node).is_ok());
        scene.ground.world.run(20_000);
    }
    assert!(scene.ground.settle());
    let document = scene.ground.tenant.into();
    let replica = scene.ground.world.node(0).replica().expect("it runs");
    let held = replica.document(&document).expect("held");
    let accusing = |body: &Body| matches!(body, Body::AccuseCustodian(_));
    let said: Vec<_> = held.graph().entries().iter().filter(|it| it.statement.body().is_some_and(accusing)).collect();
    assert!(!said.is_empty(), "it has accused somebody");
    assert!(said.iter().all(|entry| held.is_invalid(&entry.statement.id())));
    assert_eq!(scene.accused(), vec![Vec::new(); 4]);
    scene.is_sound();
}

/// Within the stated blast radius: a lessee in an attacker's hands reads what it leased, until the generation is replaced.
#[test]
fn a_lessee_may_keep_what_it_leased_and_the_honest_do_not() {
    let mut scene = Scene::lying(19, &[Lie::KeepsLeases]);
    let tenant = scene.ground.tenant;
    let held = scene.ground.world.release_now(LIAR, tenant, &scene.agent, scene.disk.0);
    assert_eq!(held.expect("a genuine lease").expose_secret(), scene.disk.1);
    scene.release(0).expect("served");
    scene.ground.world.run(2_000);
    scene.ground.revoke(0, &scene.agent);
    assert!(scene.ground.settle());
    scene.ground.world.run(10_000);
    let kept = scene.ground.world.open_with_kept_lease(LIAR, tenant, scene.disk.0).expect("kept");
    assert_eq!(kept.expose_secret(), scene.disk.1);
    for node in 0..LIAR {
        assert!(matches!(scene.release(node), Err(Denied::Refused(_))));
        assert!(scene.ground.world.node(node).view().is_some_and(|view| view.leases.is_empty()), "n{}", node + 1);
    }
    scene.ground.finish();
    assert_eq!(scene.ground.world.violations(), [] as [String; 0]);
}

#[test]
fn false_digests_and_ranges_delay_nothing_for_good_and_a_false_state_is_named() {
    let mut scene = survives(20, &[Lie::FalseDigests]);
    scene.ground.world.run(60_000);
    assert!(scene.is_named("to another state"));
    survives(21, &[Lie::FalseDigests, Lie::FalseRanges]);
}

/// A first key generation needs every member, so a liar can keep a root from being made, but not make two, and not keep
/// the others from making one without it.
fn key_generation(seed: u64, lie: Lie) {
    let mut ground = Ground::new(seed, Plan::calm(5));
    ground.world.corrupt(LIAR, vec![lie]);
    let first = ground.propose_root(&[0, 1, 2, 3, LIAR], 3, 1);
    ground.world.run(25_000);
    let publics: std::collections::BTreeSet<_> = ground
        .world
        .honest()
        .filter_map(|node| ground.state(node).roots.get(&first).and_then(|root| root.committees[0].public.clone()))
        .collect();
    assert!(publics.len() <= 1, "{lie:?}");
    let second = ground.propose_root(&[0, 1, 2, 3], 3, 0);
    assert!(ground.world.run_until(60_000, |world| is_live(world, ground.tenant, second)), "{lie:?}: no other root");
    assert!(ground.settle(), "{lie:?}");
    ground.finish();
    assert_eq!(ground.world.violations(), [] as [String; 0], "{lie:?}");
}

#[test]
fn who_deals_falsely_in_a_key_generation_cannot_keep_the_others_from_a_root_without_it() {
    key_generation(22, Lie::TwoFacedInKeyGeneration);
    key_generation(23, Lie::FalseProofs);
    key_generation(24, Lie::FalseSubShares);
}

#[test]
fn who_speaks_falsely_in_a_key_generation_cannot_keep_the_others_from_a_root_without_it() {
    key_generation(25, Lie::FalseEchoes);
    key_generation(26, Lie::SilentInKeyGeneration);
    key_generation(27, Lie::FalseTranscripts);
    key_generation(28, Lie::RushesAttempts);
}

#[test]
fn an_admin_alone_who_proposes_endorses_himself_and_renames_changes_nothing_that_is_permitted() {
    let mut scene = Scene::new(29);
    let mut rng = ChaCha20Rng::seed_from_u64(29);
    let mut kinds = std::collections::BTreeSet::new();
    for _ in 0..30 {
        let Ground { world, admins, tenant, .. } = &scene.ground;
        let (abuse, statements) = people::corrupted_admin(world, 1, *tenant, &admins[1], &mut rng);
        if abuse == people::Abuse::Denies {
            continue;
        }
        kinds.extend(statements[0].body().map(|body| body.kind()));
        assert!(scene.ground.world.submit_now(1, &statements, Vec::new()).is_some());
    }
    assert!(kinds.len() >= 7, "{kinds:?}");
    assert!(scene.ground.settle());
    scene.serves();
    scene.is_sound();
}

#[test]
fn an_admin_alone_can_suspend_and_revoke() {
    let mut scene = Scene::new(30);
    let mut rng = ChaCha20Rng::seed_from_u64(30);
    let mut kinds = std::collections::BTreeSet::new();
    while kinds.len() < 2 {
        let Ground { world, admins, tenant, .. } = &scene.ground;
        let (abuse, statements) = people::corrupted_admin(world, 1, *tenant, &admins[1], &mut rng);
        if abuse == people::Abuse::Denies && kinds.insert(statements[0].body().map(|body| body.kind())) {
            let _ = scene.ground.world.submit_now(1, &statements, Vec::new());
        }
    }
    assert!(scene.ground.settle());
    assert!(scene.ground.state(0).admins.values().any(|admin| admin.suspended));
    assert!(matches!(scene.release(0), Err(Denied::Refused(_))));
    scene.ground.finish();
    assert_eq!(scene.ground.world.violations(), [] as [String; 0]);
}

#[test]
fn the_operators_of_the_mesh_can_widen_nothing_in_a_tenant() {
    let mut scene = Scene::new(31);
    let mut rng = ChaCha20Rng::seed_from_u64(31);
    let mut kinds = std::collections::BTreeSet::new();
    for _ in 0..30 {
        let Ground { world, founders, tenant, mesh, .. } = &scene.ground;
        let (_, statements) = people::operator(world, 1, *mesh, *tenant, &[&founders[0], &founders[1]], &mut rng);
        kinds.extend(statements[0].body().map(|body| body.kind()));
        let _ = scene.ground.world.submit_now(1, &statements, Vec::new());
    }
    assert!(kinds.len() >= 8, "{kinds:?}");
    assert!(scene.ground.settle());
    scene.serves();
    let state = scene.ground.state(0);
    assert_eq!((state.nodes.len(), state.admins.len(), state.roots.len(), state.grants.len()), (5, 2, 1, 1));
    assert!(state.admins.values().all(|admin| !admin.suspended) && state.denials.is_empty());
    assert_eq!(state.policies.values().map(Vec::len).sum::<usize>(), 1);
    scene.ground.finish();
    assert_eq!(scene.ground.world.violations(), [] as [String; 0]);
}

#[test]
fn operators_who_take_a_node_out_of_the_mesh_narrow_what_a_tenant_has() {
    let mut scene = Scene::new(32);
    let Ground { world, founders, mesh, .. } = &scene.ground;
    let statements = people::operator_removes(world, 0, *mesh, &[&founders[0], &founders[1]], LIAR);
    let _ = scene.ground.world.submit_now(0, &statements, Vec::new());
    scene.ground.world.run(10_000);
    for node in 0..LIAR {
        assert_eq!(scene.release(node).as_deref(), Ok(&scene.disk.1[..]), "n{}", node + 1);
    }
    // It does not hear of it any more, but what it held it holds for the length of a lease at most.
    scene.ground.world.run(10_000);
    assert!(scene.release(LIAR).is_err());
    assert_eq!(scene.ground.world.violations(), [] as [String; 0]);
}
