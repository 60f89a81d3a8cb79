//! What people without a right, and machines that are copies, get: nothing, and nothing stays of it.

use keymesh_mesh::custody::message::{CustodyMessage, RefusalCode, Verdict};
use keymesh_mesh::evidence::Evidence;
use keymesh_sim::agents::{Agent, Instance};
use keymesh_sim::ground::Ground;
use keymesh_sim::node::EPOCH;
use keymesh_sim::people::Signer;
use keymesh_sim::world::{Handle, Plan};
use keymesh_wire::body::{Body, NodeCard, Role, RoleGrant, Scope};
use keymesh_wire::codec;
use keymesh_wire::envelope::Verified;
use keymesh_wire::error::Code;
use keymesh_wire::ids::{NodeId, RequestId};
use keymesh_wire::request::EnrolmentRequest;
use keymesh_wire::suite::Suite;
use keymesh_wire::ticket::Ticket;
use keymesh_wire::time::{Millis, Wall};

fn statements(ground: &Ground, node: usize) -> usize {
    let replica = ground.world.node(node).replica().expect("running");
    replica.documents().iter().map(|document| document.statements).sum()
}

#[test]
fn what_a_stranger_hands_in_at_a_door_is_kept_nowhere() {
    let mut ground = Ground::new(1, Plan::calm(3));
    let stranger = Signer::new("eve", &mut ground.world.rng);
    let before = statements(&ground, 0);
    let card = ground.world.node(1).card.clone();
    for (document, body) in [
        (ground.mesh.into(), Body::AdmitNode(NodeCard { node: stranger.identity.principal(), ..card })),
        (ground.mesh.into(), Body::Endorse(ground.world.heads(0, ground.mesh.into())[0])),
        (ground.document(), Body::Endorse(ground.world.heads(0, ground.document())[0])),
    ] {
        let heads = ground.world.heads(0, document);
        let said = stranger.sign(Some(document), heads, ground.world.at(), &body);
        let answer = ground.world.submit_now(0, &[said], Vec::new()).expect("an answer");
        assert_eq!(answer.expect_err("a refusal").code, Code::NotAuthorised);
    }
    assert_eq!(statements(&ground, 0), before, "nothing is held, so nothing is on disk or spread");
    // Who is made somebody in the same breath may speak.
    let document = ground.document();
    let launcher = Signer::new("new", &mut ground.world.rng);
    let grant = RoleGrant {
        principal: launcher.identity.principal(),
        name: "new".into(),
        role: Role::NamespaceAdmin,
        scope: Scope::Tenant,
    };
    let together = ground.world.together(0, document, &[&ground.admins[0], &ground.admins[1]], &Body::Grant(grant));
    let last = together.iter().map(keymesh_wire::statement::Checked::id).collect();
    let named = Body::CreateNamespace(keymesh_wire::body::NewNamespace { parent: None, name: "theirs".into() });
    let own = launcher.sign(Some(document), last, ground.world.at(), &named);
    let all: Vec<_> = together.into_iter().chain([own]).collect();
    assert!(matches!(ground.world.submit_now(0, &all, Vec::new()), Some(Ok(_))));
    assert_eq!(ground.world.violations(), [] as [String; 0]);
}

/// Asks the custodians `to` with a ticket that is for the agent's key and for whichever instance.
fn ask(ground: &mut Ground, agent: &Agent, ticket: &Verified<Ticket>, request: u8, to: &[NodeId]) -> Handle {
    let request = RequestId::from_bytes([request; 16]);
    let asked = EnrolmentRequest {
        suite: Suite::V1,
        tenant: ground.tenant,
        request,
        agent: agent.id(),
        issued: Wall(EPOCH + ground.world.at()),
        evidence: codec::encode(&Evidence::AwsIid { pkcs7: agent.instance.document().to_vec() }),
        ticket: ticket.bytes().to_vec(),
        voucher: None,
    };
    let envelope = Verified::sign(asked, &agent.identity).bytes().to_vec();
    ground.world.carry(0, request, to, &CustodyMessage::EnrolAsk(envelope))
}

fn ticket(ground: &mut Ground, agent: &Agent) -> Verified<Ticket> {
    let issued = Wall(EPOCH + ground.world.at());
    let ticket = Ticket {
        suite: Suite::V1,
        tenant: ground.tenant,
        launcher: ground.launcher.identity.principal(),
        nonce: keymesh_sim::people::nonce(&mut ground.world.rng),
        instance: None,
        agent: Some(agent.id()),
        issued,
        expires: issued.plus(Millis::seconds(3600)),
    };
    Verified::sign(ticket, &ground.launcher.identity)
}

#[test]
fn of_two_instances_at_once_with_one_ticket_and_one_key_at_most_one_is_bound() {
    for seed in 0..8 {
        let mut ground = Ground::with_root(seed, Plan::calm(5), 3, 1);
        let first = Agent::new(Instance::A1, &mut ground.world.rng);
        let copy = Agent { identity: keymesh_wire::sign::Identity::from_seed(seed_of(&first)), instance: Instance::A2 };
        let ticket = ticket(&mut ground, &first);
        let all: Vec<NodeId> = (0..5).map(|node| ground.world.node(node).id()).collect();
        ask(&mut ground, &first, &ticket, 1, &all);
        ask(&mut ground, &copy, &ticket, 2, &all);
        assert!(ground.settle());
        for node in 0..5 {
            let state = ground.world.tenant(node, ground.tenant).expect("held");
            let bound = state.enrolments.values().filter(|enrolment| enrolment.holder().is_some()).count();
            assert!(bound <= 1, "seed {seed}: {bound} instances by one ticket");
            let mut votes = std::collections::BTreeMap::new();
            for claim in state.enrolments.values().flat_map(|enrolment| &enrolment.claims) {
                claim.votes.iter().for_each(|voter| *votes.entry(*voter).or_insert(0) += 1);
            }
            assert!(votes.values().all(|count| *count == 1), "seed {seed}: a custodian voted for both: {votes:?}");
        }
    }
}

#[test]
fn a_copy_of_a_machine_is_not_bound_with_the_same_key_though_it_has_its_own_evidence_and_ticket() {
    let mut ground = Ground::with_root(1, Plan::calm(5), 3, 1);
    let first = Agent::new(Instance::A1, &mut ground.world.rng);
    assert!(ground.world.enrol_now(1, ground.tenant, &first, &ground.launcher));
    let copy = Agent { identity: keymesh_wire::sign::Identity::from_seed(seed_of(&first)), instance: Instance::A2 };
    let ticket = ticket(&mut ground, &copy);
    let all: Vec<NodeId> = (0..5).map(|node| ground.world.node(node).id()).collect();
    let handle = ask(&mut ground, &copy, &ticket, 2, &all);
    ground.world.run(1_000);
    let refused =
        |verdict: &Verdict| matches!(verdict, Verdict::No(refusal) if refusal.code == RefusalCode::AlreadyBound);
    assert_eq!(ground.world.gathered(handle).len(), 5);
    assert!(ground.world.gathered(handle).iter().all(|(_, verdict)| refused(verdict)));
    // A reboot of the first is none of this.
    assert!(ground.world.enrol_now(2, ground.tenant, &first, &ground.launcher));
    assert_eq!(ground.world.violations(), [] as [String; 0]);
}

fn seed_of(agent: &Agent) -> keymesh_wire::secret::Secret32 {
    keymesh_wire::secret::Secret32::build(|out| out.copy_from_slice(agent.identity.expose_seed()))
}
