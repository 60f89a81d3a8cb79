use std::sync::atomic::{AtomicUsize, Ordering};

use keymesh_wire::body::InstanceFacts;
use keymesh_wire::error::Code;
use keymesh_wire::time::Wall;

use super::*;
use crate::client::Trust;
use crate::fake::{self, Conversation, FakeNode, Reply, identity, tenant};
use crate::fleet::{Candidate, Times};

#[test]
fn the_bytes_of_evidence_stay() {
    // Array of variant number and fields; the fields an array of one byte string.
    let bytes = Evidence::AwsIid { pkcs7: b"MIAG".to_vec() }.bytes();
    assert_eq!(bytes, [0x82, 0x00, 0x81, 0x44, b'M', b'I', b'A', b'G']);
}

fn facts() -> InstanceFacts {
    InstanceFacts {
        instance: "aws:1:i-1".into(),
        provider: "aws".into(),
        account: "1".into(),
        region: "r".into(),
        zone: "aws/a".into(),
        image: "ami".into(),
        pending: Wall(1),
        launched_by: "deploy".into(),
    }
}

fn fleet(behave: impl Fn(&mut Conversation, &str) -> Reply + Send + Sync + 'static) -> (FakeNode, Fleet) {
    let (mesh, statements) = fake::mesh(&[(&identity(1), "aws/a")]);
    let node = FakeNode::start(&identity(1), move |talk, call, body| match call {
        "POST /v1/enrol" => behave(talk, call),
        _ => talk.honest(call, body, &statements),
    });
    let candidates = vec![Candidate { address: node.address, zone: None }];
    let times = Times { total: Duration::from_secs(10), ..Times::default() };
    (node, Fleet { candidates, trust: Trust::Mesh(mesh), zone: None, times })
}

#[test]
fn enrolment_waits_for_custodians_with_one_request() {
    let asked = AtomicUsize::new(0);
    let (node, fleet) = fleet(move |_, _| match asked.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => Reply::error(Code::QuorumUnavailable),
        _ => Reply::ok(&Enrolled { facts: facts(), votes: 3 }),
    });
    let evidence = Evidence::AwsIid { pkcs7: vec![65; 100] };
    let agent = Arc::new(identity(5));
    let done = enrol(&fleet, &agent, tenant(), &evidence, bare(&[1, 2])).expect("enrolled");
    assert_eq!((done.value.votes, done.value.facts), (3, facts()));
    let bodies = node.bodies("POST /v1/enrol");
    assert!(bodies.len() == 3 && bodies.iter().all(|body| *body == bodies[0]), "a retry is the same request");
    let sent: Enrol = serde_json::from_slice(&bodies[0]).expect("JSON");
    let request = Verified::<EnrolmentRequest>::from_bytes(&sent.request).expect("signed by the agent");
    assert_eq!(
        (request.agent, &request.ticket, &request.evidence),
        (agent.principal(), &vec![1, 2], &evidence.bytes())
    );
}

#[test]
fn a_used_ticket_is_final() {
    let (node, fleet) = fleet(|_, _| Reply::error(Code::TicketInvalid));
    let evidence = Evidence::AwsIid { pkcs7: vec![65] };
    let error = enrol(&fleet, &Arc::new(identity(5)), tenant(), &evidence, bare(&[])).expect_err("a refusal");
    assert_eq!(error.code(), Some(Code::TicketInvalid));
    assert_eq!(node.bodies("POST /v1/enrol").len(), 1);
}

/// A ticket's file without a one-time key.
fn bare(ticket: &[u8]) -> TicketFile {
    TicketFile { ticket: ticket.to_vec(), bearer: None }
}

#[test]
fn a_one_time_key_vouches_for_this_agents_key_and_for_no_other() {
    let (launcher, bearer, agent) = (identity(1), identity(2), identity(3));
    let ticket = Ticket {
        suite: Suite::V1,
        tenant: tenant(),
        launcher: launcher.principal(),
        nonce: keymesh_wire::ids::Nonce::from_bytes([4; 16]),
        instance: Some("aws:1:i-0".to_owned()),
        agent: Some(bearer.principal()),
        issued: keymesh_wire::time::Wall(1),
        expires: keymesh_wire::time::Wall(2),
    };
    let ticket = Verified::sign(ticket, &launcher);
    let file = TicketFile { ticket: ticket.bytes().to_vec(), bearer: Some(bearer.expose_seed().to_vec()) };
    let voucher = vouch(&file, tenant(), &agent).expect("a voucher");
    let voucher = Verified::<Voucher>::from_bytes(&voucher).expect("it holds");
    assert_eq!((voucher.bearer, voucher.agent, voucher.ticket), (bearer.principal(), agent.principal(), ticket.nonce));
    assert!(vouch(&bare(ticket.bytes()), tenant(), &agent).is_none());
}
