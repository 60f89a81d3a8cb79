use std::sync::atomic::{AtomicUsize, Ordering};

use keymesh_wire::api::{Membership, Release};
use keymesh_wire::ids::{KeyId, MeshId, RequestId};
use keymesh_wire::request::Receipt;

use super::*;
use crate::fake::{self, FakeNode, Reply, identity, tenant};

fn quick() -> Times {
    Times {
        connect: Duration::from_secs(5),
        request: Duration::from_secs(5),
        hedge: Duration::from_millis(300),
        grace: Duration::from_millis(500),
        total: Duration::from_secs(5),
    }
}

fn at(node: &FakeNode) -> Candidate {
    Candidate { address: node.address, zone: None }
}

fn nobody() -> Candidate {
    let address = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    Candidate { address, zone: None }
}

fn fleet(mesh: MeshId, candidates: Vec<Candidate>) -> Fleet {
    Fleet { candidates, trust: Trust::Mesh(mesh), zone: None, times: quick() }
}

/// Two members, in zones a and b.
fn two() -> (MeshId, Vec<Vec<u8>>) {
    fake::mesh(&[(&identity(1), "aws/a"), (&identity(2), "aws/b")])
}

fn release(fleet: &Fleet) -> Result<Answered<()>, FleetError> {
    let request = Release {
        tenant: tenant(),
        key: KeyId::from_bytes([3; 32]),
        version: None,
        request: RequestId::from_bytes([8; 16]),
        receipt: Receipt::default(),
        trace: None,
    };
    fleet.ask(move |client| client.open_session(&identity(5), tenant())?.release_as(&request).map(|_| ()))
}

#[test]
fn a_dead_address_costs_nothing_but_a_mention() {
    let (mesh, statements) = two();
    let (dead, node) = (nobody(), FakeNode::honest(&identity(1), &statements));
    let started = Instant::now();
    let answered = release(&fleet(mesh, vec![dead.clone(), at(&node)])).expect("an answer");
    assert_eq!(answered.address, node.address);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert!(answered.failures.iter().all(|failure| failure.address() == dead.address));
}

#[test]
fn the_own_zone_is_asked_first_by_what_was_signed_about_the_node() {
    let (mesh, statements) = two();
    for (zone, own) in [("aws/a", 0), ("aws/b", 1)] {
        let nodes = [FakeNode::honest(&identity(1), &statements), FakeNode::honest(&identity(2), &statements)];
        let mut fleet = fleet(mesh, nodes.iter().map(at).collect());
        fleet.zone = Some(zone.into());
        let answered = release(&fleet).expect("an answer");
        assert_eq!(answered.address, nodes[own].address, "{zone}");
        assert!(!nodes[1 - own].calls().contains(&"POST /v1/session".to_owned()));
    }
}

#[test]
fn a_silent_node_is_hedged_with_the_same_request() {
    let (mesh, statements) = two();
    let shown = statements.clone();
    let silent = FakeNode::start(&identity(1), move |talk, call, body| match call {
        "POST /v1/release" => Reply::Silence(Duration::from_secs(30)),
        _ => talk.honest(call, body, &shown),
    });
    let node = FakeNode::honest(&identity(2), &statements);
    let mut fleet = fleet(mesh, vec![at(&silent), at(&node)]);
    fleet.zone = Some("aws/a".into());
    let started = Instant::now();
    let answered = release(&fleet).expect("an answer");
    assert_eq!(answered.address, node.address);
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    let first: Release = serde_json::from_slice(&silent.bodies("POST /v1/release")[0]).expect("a release");
    let second: Release = serde_json::from_slice(&node.bodies("POST /v1/release")[0]).expect("a release");
    assert_eq!(first, second, "a retry is the same request");
}

#[test]
fn one_node_alone_cannot_turn_an_instance_away() {
    let (mesh, statements) = two();
    let shown = statements.clone();
    for code in [Code::Malformed, Code::SessionInvalid, Code::AlreadyBound] {
        let shown = statements.clone();
        let hostile = FakeNode::start(&identity(1), move |talk, call, body| match call {
            "POST /v1/release" => Reply::error(code),
            _ => talk.honest(call, body, &shown),
        });
        let node = FakeNode::honest(&identity(2), &statements);
        let mut fleet = fleet(mesh, vec![at(&hostile), at(&node)]);
        fleet.zone = Some("aws/a".into());
        assert_eq!(release(&fleet).expect("an answer").address, node.address, "{code:?}");
    }
    let refuse = move |talk: &mut fake::Conversation, call: &str, body: &[u8]| match call {
        "POST /v1/release" => Reply::error(Code::Refused),
        _ => talk.honest(call, body, &shown),
    };
    let hostile = FakeNode::start(&identity(1), refuse.clone());
    let node = FakeNode::honest(&identity(2), &statements);
    let mut one = fleet(mesh, vec![at(&hostile), at(&node)]);
    one.zone = Some("aws/a".into());
    assert_eq!(release(&one).expect("an answer").address, node.address);

    let second = FakeNode::start(&identity(2), refuse);
    let error = release(&fleet(mesh, vec![at(&hostile), at(&second)])).expect_err("a refusal");
    assert_eq!(error.code(), Some(Code::Refused));
    let alone = release(&fleet(mesh, vec![at(&hostile)])).expect_err("a refusal");
    assert_eq!(alone.code(), Some(Code::Refused), "where there is no second, the first counts");
}

#[test]
fn a_node_that_is_not_ready_yet_is_asked_again() {
    let (mesh, statements) = two();
    let asked = AtomicUsize::new(0);
    let node = FakeNode::start(&identity(1), move |talk, call, body| match call {
        "POST /v1/release" if asked.fetch_add(1, Ordering::Relaxed) < 2 => Reply::error(Code::Unavailable),
        _ => talk.honest(call, body, &statements),
    });
    let answered = release(&fleet(mesh, vec![at(&node)])).expect("an answer");
    assert!(answered.failures.is_empty(), "what has passed is no failure");
    assert_eq!(node.bodies("POST /v1/release").len(), 3);
}

#[test]
fn what_failed_at_each_address_is_told_and_nothing_waits_in_vain() {
    let (mesh, _) = two();
    let stranger = FakeNode::start(&identity(3), |_, _, _| Reply::ok(&Membership { statements: Vec::new() }));
    let started = Instant::now();
    let error = release(&fleet(mesh, vec![at(&stranger)])).expect_err("no member");
    assert!(started.elapsed() < Duration::from_secs(2), "another mesh does not become ours by waiting");
    assert!(error.to_string().contains(&format!("\n  {}: its list of members", stranger.address)), "{error}");

    let dead = nobody();
    let mut short = fleet(mesh, vec![dead.clone(), at(&stranger)]);
    short.times.total = Duration::from_millis(700);
    let started = Instant::now();
    let error = release(&short).expect_err("nobody");
    assert!((200..2000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    assert!(!error.reached());
    assert!(error.to_string().contains(&format!("{}: cannot connect", dead.address)), "{error}");
}

#[test]
fn a_node_that_stays_unready_is_told_with_its_code() {
    let (mesh, statements) = two();
    let node = FakeNode::start(&identity(1), move |talk, call, body| match call {
        "POST /v1/release" => Reply::error(Code::QuorumUnavailable),
        _ => talk.honest(call, body, &statements),
    });
    let mut fleet = fleet(mesh, vec![at(&node)]);
    fleet.times.total = Duration::from_millis(600);
    let error = release(&fleet).expect_err("no answer");
    assert!(matches!(error, FleetError::Exhausted { .. }) && error.reached());
    assert_eq!(error.code(), Some(Code::QuorumUnavailable));
}

#[test]
fn no_address_at_all_is_said_so() {
    let (mesh, _) = two();
    assert!(matches!(release(&fleet(mesh, vec![])), Err(FleetError::NoAddresses)));
}

#[test]
fn what_is_signed_is_made_anew_when_it_is_old() {
    let made = AtomicUsize::new(0);
    let make = || made.fetch_add(1, Ordering::Relaxed);
    let renewed = Renewed::new(Duration::from_secs(60));
    assert_eq!((*renewed.get(make), *renewed.get(make)), (0, 0));
    let renewed = Renewed::new(Duration::ZERO);
    assert_eq!((*renewed.get(make), *renewed.get(make)), (1, 2));
}
