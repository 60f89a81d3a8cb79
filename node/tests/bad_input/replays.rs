//! What an agent sent, sent again by somebody else or somewhere else: it opens for nobody but that agent.

use keymesh_wire::api::{AuditPage, QuorumRelease, QuorumReleased};
use keymesh_wire::audit::{AuditKind, Outcome};
use keymesh_wire::envelope::Verified;
use keymesh_wire::error::Code;
use keymesh_wire::ids::RequestId;
use keymesh_wire::request::{QuorumRequest, Receipt};
use keymesh_wire::sealing::SealingSecret;
use keymesh_wire::sign::Identity;
use keymesh_wire::suite::Suite;
use keymesh_wire::time::Wall;

use crate::door_support::raw::{Raw, Said};
use crate::door_support::{admin, connect, identity, mesh, rng, wall};
use crate::support::{Acme, Mesh, session};

/// How many contributions to one request the three custodians have recorded.
fn contributions(mesh: &Mesh, acme: &Acme, request: RequestId) -> usize {
    let of = |place| {
        let mut session = connect(mesh.world.door(place), &mesh.trust(place))
            .open_session(&admin(), acme.tenant.id)
            .expect("a session");
        let page: AuditPage = session.get_json("/v1/audit").expect("the admin may read");
        let made = |record: &&keymesh_wire::audit::AuditRecord| {
            record.request == request && record.kind == AuditKind::QuorumPartial && record.outcome == Outcome::Allowed
        };
        page.records.iter().map(|entry| &entry.record).filter(made).count()
    };
    (0..3).map(of).sum()
}

fn request(acme: &Acme, agent: &Identity, recipient: &SealingSecret, id: RequestId, issued: Wall) -> QuorumRequest {
    QuorumRequest {
        suite: Suite::V1,
        tenant: acme.tenant.id,
        request: id,
        agent: agent.principal(),
        issued,
        key: acme.blind.key,
        version: None,
        recipient: *recipient.public().as_bytes(),
        receipt: Receipt::default(),
    }
}

fn post(raw: &mut Raw, request: &Verified<QuorumRequest>) -> Said {
    raw.post_json("/v1/quorum-release", &QuorumRelease { request: request.bytes().to_vec(), without: Vec::new() })
}

#[test]
fn a_quorum_request_replayed_by_others_and_elsewhere_opens_for_its_agent_alone() {
    let mesh_of = Mesh::of(3);
    let mut acme = Acme::begin(&mesh_of);
    let agent = acme.bind(&mesh_of, 100);
    mesh_of.until_equal(&[0, 1, 2], 2);
    let recipient = SealingSecret::random(&mut rng());
    let id = RequestId::from_bytes([7; 16]);
    let signed = Verified::sign(request(&acme, &agent, &recipient, id, wall()), &agent);
    let first = post(&mut Raw::connect(mesh_of.world.door(0)), &signed);
    assert_eq!(first.status, 200, "{first:?}");
    let made = contributions(&mesh_of, &acme, id);
    assert!((2..=3).contains(&made), "{made}");

    // By another connection without a session, and by another node: partials sealed to the agent's one-time key, the ones
    // made before where the same custodian answers. Whoever replays it gets nothing it could open.
    for place in 0..3 {
        let again = post(&mut Raw::connect(mesh_of.world.door(place)), &signed);
        assert_eq!(again.status, 200, "{again:?}");
        let answer: QuorumReleased = serde_json::from_slice(&again.body).expect("an answer");
        assert!(!answer.partials.is_empty());
        let bytes =
            [again.body.clone(), answer.partials.iter().flat_map(|part| part.sealed.clone()).collect()].concat();
        assert!(!bytes.windows(32).any(|window| window == acme.blind.data_key));
    }
    assert!(contributions(&mesh_of, &acme, id) <= 3, "one record at each custodian, however often it is replayed");

    // On somebody else's session.
    let thief = identity(150);
    let said = post(&mut session(&mesh_of, 0, &acme, &thief), &signed);
    assert_eq!((said.status, said.error().code), (401, Code::SessionInvalid));
    // With the thief's own one-time key: not the agent's signature any more.
    let mine = SealingSecret::random(&mut rng());
    let forged = Verified::sign(
        QuorumRequest {
            agent: thief.principal(),
            ..request(&acme, &agent, &mine, RequestId::from_bytes([8; 16]), wall())
        },
        &thief,
    );
    let said = post(&mut Raw::connect(mesh_of.world.door(0)), &forged);
    assert_eq!((said.status, said.error().code), (403, Code::Refused));
    let mut altered = signed.bytes().to_vec();
    let at = altered.windows(32).position(|window| window == recipient.public().as_bytes()).expect("the recipient");
    altered[at..at + 32].copy_from_slice(mine.public().as_bytes());
    let said = Raw::connect(mesh_of.world.door(0))
        .post_json("/v1/quorum-release", &QuorumRelease { request: altered, without: Vec::new() });
    assert_eq!((said.status, said.error().code), (400, Code::Malformed));

    // The same id with other bytes, even by the agent itself.
    let other = Verified::sign(request(&acme, &agent, &mine, id, wall()), &agent);
    let said = post(&mut Raw::connect(mesh_of.world.door(0)), &other);
    assert_eq!((said.status, said.error().code), (409, Code::Stale), "{said:?}");
    // Too old.
    let old = Wall(wall().0 - 600_000);
    let aged = Verified::sign(request(&acme, &agent, &recipient, RequestId::from_bytes([9; 16]), old), &agent);
    let said = post(&mut Raw::connect(mesh_of.world.door(0)), &aged);
    assert_eq!((said.status, said.error().code), (409, Code::ClockDifference));

    // A new request is served.
    acme.blind(&mesh_of, 0, &agent);
}

#[test]
fn a_session_proof_taken_from_one_connection_opens_no_other_and_no_other_node() {
    let mesh_of = Mesh::of(2);
    let tenant = crate::door_support::Tenant::begin(&mesh_of.world);
    let agent = identity(100);
    let mut own = Raw::connect(mesh_of.world.door(0));
    let proof = own.proof(mesh(), mesh_of.world.id(0), tenant.id, &agent);
    for place in [0, 1] {
        let mut other = Raw::connect(mesh_of.world.door(place));
        let said = other.open(proof.clone(), &agent);
        assert_eq!((said.status, said.error().code), (401, Code::SessionInvalid));
        assert!(said.error().message.contains("another connection"), "{said:?}");
        // The connection is as good as before.
        let proof = other.proof(mesh(), mesh_of.world.id(place), tenant.id, &agent);
        assert_eq!(other.open(proof, &agent).status, 200);
    }
    // With the exporter of the thief's connection in it, it is not the agent's signature any more.
    let mut other = Raw::connect(mesh_of.world.door(0));
    let theirs = other.proof(mesh(), mesh_of.world.id(0), tenant.id, &agent);
    let mut envelope = Verified::sign(proof.clone(), &agent).bytes().to_vec();
    let at = envelope.windows(32).position(|window| window == proof.exporter).expect("the exporter");
    envelope[at..at + 32].copy_from_slice(&theirs.exporter);
    let said = other.post_json("/v1/session", &keymesh_wire::api::SessionOpen { proof: envelope });
    assert_eq!((said.status, said.error().code), (401, Code::SessionInvalid));
    assert_eq!(own.open(proof, &agent).status, 200, "its owner still can");
}

#[test]
fn a_statement_replayed_or_handed_in_by_anybody_is_the_same_statement() {
    let mesh_of = Mesh::of(2);
    let mut tenant = crate::door_support::Tenant::begin(&mesh_of.world);
    let namespace = keymesh_wire::body::NewNamespace { parent: None, name: "payments".into() };
    tenant.say(&keymesh_wire::body::Body::CreateNamespace(namespace), &admin(), vec![]);
    let before = tenant.read();
    let path = format!("/v1/documents/{}", keymesh_wire::ids::DocumentId::from(tenant.id));
    let mut reader = tenant.session(&admin());
    let all: keymesh_wire::api::DocumentStatements = reader.get_json(&path).expect("the document");
    for place in [0, 1] {
        let (door, trust) = (mesh_of.world.door(place), mesh_of.trust(place));
        crate::door_support::submit(door, &trust, all.statements.clone(), vec![]);
    }
    assert_eq!(tenant.read().namespaces.len(), before.namespaces.len());
    mesh_of.until_equal(&[0, 1], 2);
}
