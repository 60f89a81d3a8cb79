//! Nodes that misbehave towards nodes: a peer that nobody admitted, and one that was admitted and sends garbage, floods
//! and statements whose parents it withholds. It is named to the operators, costs bounded room, and everybody else is
//! served as before. The single cases of frames and of spread are in `node/tests/transport.rs` and
//! `mesh/src/spread/tests/hostile.rs`.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use keymesh::transport::{Channel, Events, MAX_FRAME, PeerEntry, Transport, TransportConfig, TransportHandle};
use keymesh_mesh::custody::message::{CustodyMessage, Hello};
use keymesh_mesh::spread::Message;
use keymesh_wire::body::{Body, NewNamespace};
use keymesh_wire::envelope::Verified;
use keymesh_wire::ids::{DocumentId, RequestId, StatementId};
use keymesh_wire::request::{QuorumRequest, Receipt};
use keymesh_wire::sign::Identity;
use keymesh_wire::statement::Checked;
use keymesh_wire::suite::{Level, Suite};
use keymesh_wire::time::Wall;
use zeroize::Zeroizing;

use crate::door_support::{eventually, identity, wall};
use crate::support::{Acme, Mesh, shown};

/// The admitted node in whose name this test speaks.
const HOSTILE: usize = 3;

/// Three nodes at work and a fourth whose key this test holds.
fn three_and_a_hostile_one() -> (Mesh, Acme, Identity) {
    let mut mesh = Mesh::at_rest(4);
    (0..3).for_each(|place| mesh.start(place));
    mesh.admit(&[0, 1, 2]);
    // The key generation needs everybody; afterwards the fourth is ours.
    mesh.start(HOSTILE);
    mesh.admit(&[HOSTILE]);
    let mut acme = Acme::begin(&mesh);
    let agent = acme.bind(&mesh, 100);
    mesh.until_equal(&[0, 1, 2, HOSTILE], 2);
    mesh.stop(HOSTILE);
    (mesh, acme, agent)
}

/// A transport that speaks with this key to the first nodes.
fn speak_as(mesh: &Mesh, who: &Identity) -> (TransportHandle, Events) {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let config = TransportConfig::new(Zeroizing::new(*who.expose_seed()), vec![listen]);
    let (handle, events) = mesh.block_on(async { Transport::start(config) }).expect("a transport");
    let entry =
        |place: usize| PeerEntry { node: mesh.world.id(place), addresses: vec![mesh.config(place).listen.mesh] };
    handle.set_peers((0..3).map(entry).collect());
    (handle, events)
}

fn connected(handle: &TransportHandle) -> usize {
    handle.stats().peers.iter().filter(|peer| peer.connected).count()
}

/// Everybody else is served, and the three agree.
fn serves_on(mesh: &Mesh, acme: &Acme, agent: &Identity) {
    for place in 0..3 {
        acme.released(mesh, place, agent);
        assert_eq!(mesh.health(place), 200);
    }
    acme.blind(mesh, 0, agent);
    mesh.until_equal(&[0, 1, 2], 2);
}

#[test]
fn a_node_that_nobody_admitted_does_not_connect() {
    let (mesh, acme, agent) = three_and_a_hostile_one();
    let (handle, _events) = speak_as(&mesh, &identity(160));
    let seen = Instant::now();
    while seen.elapsed() < Duration::from_secs(3) {
        assert_eq!(connected(&handle), 0);
        std::thread::sleep(Duration::from_millis(50));
    }
    let stranger = identity(160).principal();
    assert!(mesh.status(0).peers.iter().all(|peer| peer.node != stranger), "it is nobody's peer");
    serves_on(&mesh, &acme, &agent);
}

#[test]
fn garbage_floods_and_withheld_parents_of_an_admitted_node_are_named_bounded_and_cost_nobody_else_anything() {
    let (mesh, acme, agent) = three_and_a_hostile_one();
    let who = identity(u8::try_from(HOSTILE).expect("small") + 1);
    assert_eq!(who.principal(), mesh.world.id(HOSTILE));
    let (handle, mut events) = speak_as(&mesh, &who);
    eventually("connections in the node's name", || (connected(&handle) == 3).then_some(()));
    let drain = mesh.beside(async move { while events.recv().await.is_some() {} });
    let target = mesh.world.id(0);
    let send = |channel, bytes: Vec<u8>| handle.send(target, channel, bytes).is_ok();
    let name = shown(&who.principal());

    // Garbage on both channels.
    for bytes in [vec![], vec![0xff; 1000], vec![1], vec![7; MAX_FRAME], b"\x01\x9f\x9f\x9f\x9f".to_vec()] {
        send(Channel::Spread, bytes.clone());
        send(Channel::Custody, bytes);
    }
    let warning = mesh.warning(0, "sent garbage");
    assert!(warning.contains(&name), "{warning}");
    mesh.warning(0, "unreadable");

    // Statements that are none, of a document it may hold, and statements whose parents it withholds.
    let document = DocumentId::from(acme.tenant.id);
    let push = |statements: Vec<Vec<u8>>| {
        let statements = statements.into_iter().map(Into::into).collect();
        Message::Push { document, statements, blobs: vec![] }.to_frame()
    };
    send(Channel::Spread, push(vec![vec![9; 500]]));
    mesh.warning(0, "sent something that is no statement");
    let orphan = |number: u32| {
        let new = NewNamespace { parent: None, name: format!("x{number}") };
        let parent = StatementId::from_bytes([u8::try_from(number % 251).expect("small"); 32]);
        let made = Checked::sign(&Body::CreateNamespace(new), Some(document), vec![parent], wall(), &who);
        made.expect("valid").bytes().to_vec()
    };
    let mut sent = 0;
    for batch in 0..40_u32 {
        sent += u32::from(send(Channel::Spread, push((0..100).map(|number| orphan(batch * 100 + number)).collect())));
    }
    assert!(sent > 0);
    let waiting = || {
        let held = mesh.status(0).documents.into_iter().find(|held| held.document == document);
        held.expect("the tenant's document").waiting
    };
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        assert!(waiting() <= 1024, "{} statements wait", waiting());
        std::thread::sleep(Duration::from_millis(200));
    }
    let warning = mesh.warning(0, "it withheld");
    assert!(warning.contains(&name), "{warning}");
    serves_on(&mesh, &acme, &agent);

    // A flood of frames on both channels for some seconds, while the others work.
    let records = mesh.status(0).audit_sequence;
    let until = Instant::now() + Duration::from_secs(4);
    let (mut frames, mut number) = (0_u64, 0_u128);
    while Instant::now() < until {
        for _ in 0..50 {
            number += 1;
            let hello = Hello { level: Level(1), time: Wall(number as u64), audit: None };
            frames += u64::from(send(Channel::Custody, CustodyMessage::Hello(hello).to_frame()));
            frames +=
                u64::from(send(Channel::Custody, CustodyMessage::QuorumAsk(strange_request(&acme, number)).to_frame()));
            frames += u64::from(send(Channel::Spread, push(vec![orphan(number as u32)])));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let grown = mesh.status(0).audit_sequence - records;
    println!("{frames} frames in 4 s, {grown} audit records for them");
    assert!(frames > 1000, "{frames}");
    assert!(grown < 2000, "an admitted peer fills the audit log: {grown} records");
    serves_on(&mesh, &acme, &agent);
    assert!(mesh.status(0).warnings.len() <= 34, "warnings are bounded");
    drain.abort();
}

/// A quorum request of an agent nobody knows: refused, and a refusal is an audit record.
fn strange_request(acme: &Acme, number: u128) -> Vec<u8> {
    let agent = identity(170);
    let request = QuorumRequest {
        suite: Suite::V1,
        tenant: acme.tenant.id,
        request: RequestId::from_bytes(number.to_be_bytes()),
        agent: agent.principal(),
        issued: wall(),
        key: acme.blind.key,
        version: None,
        recipient: [9; 32],
        receipt: Receipt::default(),
    };
    Verified::sign(request, &agent).bytes().to_vec()
}

#[test]
fn a_tenants_document_is_not_given_to_an_admitted_node_that_may_not_hold_it() {
    let mut mesh = Mesh::at_rest(4);
    (0..4).for_each(|place| mesh.start(place));
    mesh.admit(&[0, 1, 2, 3]);
    mesh.stop(HOSTILE);
    let mut world = std::mem::take(&mut mesh.world.places);
    let hostile = world.pop().expect("four places");
    mesh.world.places = world;
    let tenant = crate::door_support::Tenant::begin(&mesh.world);
    mesh.world.places.push(hostile);
    let who = identity(u8::try_from(HOSTILE).expect("small") + 1);
    let (handle, mut events) = speak_as(&mesh, &who);
    eventually("connections in the node's name", || (connected(&handle) == 3).then_some(()));
    let document = DocumentId::from(tenant.id);
    let genesis = StatementId::from_bytes(*tenant.id.as_bytes());
    let pull = Message::Pull { document, ids: vec![genesis] }.to_frame();
    handle.send(mesh.world.id(0), Channel::Spread, pull).expect("sent");
    let warning = mesh.warning(0, "which it may not hold");
    assert!(warning.contains(&shown(&who.principal())), "{warning}");
    let heard = mesh.block_on(async {
        let mut heard = Vec::new();
        let until = tokio::time::Instant::now() + Duration::from_secs(2);
        while let Ok(Some(event)) = tokio::time::timeout_at(until, events.recv()).await {
            if let keymesh::transport::Event::Frame { bytes, .. } = event {
                heard.extend(bytes);
            }
            if heard.len() > 1 << 20 {
                break;
            }
        }
        heard
    });
    assert!(!heard.windows(4).any(|window| window == b"acme"), "the tenant's name went to a node that may not hold it");
}
