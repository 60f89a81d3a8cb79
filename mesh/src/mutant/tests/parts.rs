//! Mutants of parts that stand by themselves: signatures, spread, what is held, making roots.

use std::collections::VecDeque;

use keymesh_wire::body::{Body, CommitteeSpec, KeyState, KeyStateChange};
use keymesh_wire::envelope::Verified;
use keymesh_wire::ids::{MeshId, NodeId, RootId, TenantId};
use keymesh_wire::sign::Identity;
use keymesh_wire::statement::Checked;
use keymesh_wire::time::Boot;
use minicbor::bytes::ByteVec;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::super::Mutant;
use super::both;
use crate::custody::ceremony::{Ceremony, CeremonyPlan, Outcome};
use crate::custody::message::{CeremonyContent, CeremonyMessage};
use crate::replica::Library;
use crate::spread::tests::net::{Net, Node};
use crate::spread::{Action, Holdings, Message, SpreadLimits};
use crate::state::tests::story::*;

#[test]
fn a_statement_with_a_broken_signature_is_taken() {
    let mut bytes = tenant_genesis(&["ann", "bob"], 1).bytes().to_vec();
    *bytes.last_mut().expect("a signature") ^= 1;
    assert_eq!(both(Mutant::SignatureOverOtherBytes, || Checked::from_bytes(&bytes).is_ok()), (false, true));
}

#[test]
fn the_spread_hands_over_a_statement_before_its_parent() {
    let taken = || {
        let mut net = Net::new(2, 5, &SpreadLimits::default());
        let document = net.history(&[0], 2);
        net.connect();
        let heads = net.nodes[0].replica.heads(&document);
        let parent = net.edit(document, heads);
        let child = net.edit(document, vec![parent.id()]);
        let statements = vec![ByteVec::from(child.bytes().to_vec())];
        let frame = Message::Push { document, statements, blobs: Vec::new() }.to_frame();
        let (from, now) = (net.nodes[1].id, net.now);
        let Node { replica, spread, .. } = &mut net.nodes[0];
        let actions = spread.receive(from, &frame, replica, now, &mut net.rng);
        actions.iter().any(|action| matches!(action, Action::Take(..)))
    };
    assert_eq!(both(Mutant::ParentsUnchecked, taken), (false, true));
}

#[test]
fn a_healed_cut_stays_a_difference() {
    let healed = || {
        let mut net = Net::new(2, 6, &SpreadLimits::default());
        let document = net.history(&[0, 1], 5);
        let heads = net.nodes[0].replica.heads(&document);
        let edit = net.edit(document, heads);
        net.seed([0], &edit);
        net.connect();
        net.run_until_equal(document, 60_000).is_some()
    };
    assert_eq!(both(Mutant::ReconciliationEndsEarly, healed), (true, false));
}

/// A mesh with a node in it, and a tenant of the mesh's that lies on other nodes alone.
fn library(tenant: &Story, mesh: &Story) -> Library {
    let mut library = Library::new(who("n1"), mesh.document().into());
    library.adopt(mesh.document_now());
    library.adopt(tenant.document_now());
    library
}

#[test]
fn a_tenants_document_goes_to_a_node_that_the_tenant_did_not_place() {
    let mut mesh = Story::mesh(&["op"], 1);
    mesh.say("op", &Body::AdmitNode(crate::custody::stage::card("n9")));
    let tenant = Story::begin(tenant_genesis_in(mesh.document().into(), &["ann", "bob"], 1));
    let library = library(&tenant, &mesh);
    let shared = || library.shares(&tenant.document(), &who("n9"));
    assert_eq!(both(Mutant::PlacementNotAsked, shared), (false, true));
}

#[test]
fn a_destroyed_keys_ciphertext_is_wanted_again() {
    let mesh = Story::mesh(&["op"], 1);
    let mut tenant = Story::begin(tenant_genesis_in(mesh.document().into(), &["ann", "bob"], 1));
    let namespace = tenant.namespace("ann", None, "dev");
    let keyring = tenant.keyring("ann", namespace, "volumes");
    let key = tenant.key("ann", keyring, "disk");
    tenant.say("ann", &Body::SetKeyState(KeyStateChange { key, keyring, state: KeyState::Destroyed }));
    let library = library(&tenant, &mesh);
    let missing = || library.missing_blobs(&tenant.document());
    assert_eq!(both(Mutant::DestroyedHashReadmitted, missing), (vec![], vec![blob("disk")]));
}

/// Runs a key generation of three in which the third never says that it finished. Whether the first attested.
fn attests_without_the_third() -> bool {
    let members: Vec<Identity> = ["n1", "n2", "n3"].into_iter().map(identity).collect();
    let ids: Vec<NodeId> = members.iter().map(Identity::principal).collect();
    let plan = CeremonyPlan {
        mesh: MeshId::from_bytes([1; 32]),
        tenant: TenantId::from_bytes([2; 32]),
        root: RootId::from_bytes([3; 32]),
        committee: 0,
        spec: CommitteeSpec { members: ids.clone(), threshold: 2, faults: 1 },
        sealing: members.iter().map(|member| member.sealing().public()).collect(),
    };
    let mut rng = ChaCha20Rng::seed_from_u64(9);
    let mut queue = VecDeque::new();
    let mut ceremonies = Vec::new();
    for member in &members {
        let (ceremony, outcomes) = Ceremony::start(plan.clone(), 0, member, Boot(0), &mut rng).expect("a member");
        ceremonies.push(ceremony);
        queue.extend(outcomes);
    }
    let mut attested = false;
    while let Some(outcome) = queue.pop_front() {
        let Outcome::Send(to, envelope) = outcome else { continue };
        let message = Verified::<CeremonyMessage>::from_bytes(&envelope).expect("signed");
        if message.member == ids[2] && matches!(message.content, CeremonyContent::Finished(_)) {
            continue;
        }
        let place = ids.iter().position(|id| *id == to).expect("a member");
        let outcomes = ceremonies[place].receive(&message, &members[place], Boot(1), &mut rng);
        attested |= place == 0 && outcomes.iter().any(|outcome| matches!(outcome, Outcome::Attest(_)));
        queue.extend(outcomes);
    }
    attested
}

#[test]
fn a_root_is_attested_before_every_member_said_that_it_has_its_share() {
    assert_eq!(both(Mutant::RootAttestedEarly, attests_without_the_third), (false, true));
}
