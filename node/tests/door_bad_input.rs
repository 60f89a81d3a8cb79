//! What a stranger can do at the door of a node, and what happens then: a clear error, and nothing is lost.

mod door_support;

use std::time::{Duration, Instant};

use door_support::raw::Raw;
use door_support::{World, admin, blocking, genesis, identity, mesh};
use keymesh::config::Addresses;
use keymesh::disk::error::DiskError;
use keymesh::doors::native::DoorError;
use keymesh::runtime::{Running, RuntimeError};
use keymesh_wire::api::{Membership, Status};
use keymesh_wire::error::Code;
use keymesh_wire::ids::{KeyId, MeshId, TenantId};
use keymesh_wire::membership::Members;

fn tenant() -> TenantId {
    TenantId::from_bytes([9; 32])
}

/// A node with nobody else, for as long as `ask` runs.
async fn with_a_node(ask: impl FnOnce(&World) + Send + 'static) {
    let world = World::new(1);
    let running = world.start_all().await;
    let world = blocking(move || {
        ask(&world);
        world
    })
    .await;
    for node in running {
        node.stop().await.expect("a clean stop");
    }
    drop(world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_shows_who_is_a_member_and_how_it_is() {
    with_a_node(|world| {
        let mut raw = Raw::connect(world.door(0));
        assert_eq!(raw.get("/healthz").status, 200);
        let membership: Membership = serde_json::from_slice(&raw.get("/v1/membership").body).expect("a membership");
        let members = Members::verify(mesh(), &membership.statements).expect("it holds");
        assert!(members.node(&world.id(0)).is_some());
        let status: Status = serde_json::from_slice(&raw.get("/v1/status").body).expect("a status");
        assert_eq!(status.node, world.id(0));
        assert_eq!(status.documents.len(), 1);
        assert_eq!(status.card.expect("admitted").name, "n0");
        let metrics = raw.get("/metrics");
        assert!(String::from_utf8_lossy(&metrics.body).contains("\nkeymesh_statements 2\n"), "{metrics:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_malformed_or_has_an_unknown_field_is_refused_and_named() {
    with_a_node(|world| {
        let mut raw = Raw::connect(world.door(0));
        let large = format!("{{\"statements\":[\"{}\"]}}", "A".repeat(300 * 1024));
        let said = raw.post("/v1/statements", large.as_bytes());
        assert_eq!((said.status, said.error().code), (413, Code::TooLarge));
        // The connection lives on, because the body was read to its end.
        let said = raw.post("/v1/statements", b"{\"statements\":");
        assert_eq!((said.status, said.error().code), (400, Code::Malformed));
        let said = raw.post("/v1/statements", b"{\"statements\":[],\"blobz\":[]}");
        assert_eq!((said.status, said.error().code), (400, Code::Malformed));
        assert!(said.error().message.contains("blobz"), "{}", said.error().message);
        let said = raw.post("/v1/statements", b"{\"statements\":[]}");
        assert_eq!((said.status, said.error().code), (400, Code::Malformed));
        let said = raw.post("/v1/statements", b"{\"statements\":[\"AAAA\"]}");
        assert_eq!((said.status, said.error().code), (400, Code::StatementInvalid));
        let said = raw.get("/v1/nothing");
        assert_eq!((said.status, said.error().code), (404, Code::NotFound));
        let said = raw.get("/v1/release");
        assert_eq!((said.status, said.error().code), (400, Code::Malformed));
        let said = raw.get("/v1/documents/tenant_zz");
        assert_eq!((said.status, said.error().code), (400, Code::Malformed));
        for (path, body) in [
            ("/v1/testing/cut", "{\"nodes\":[]}"),
            ("/v1/testing/crash", "{\"at\":\"deal\",\"side\":\"before\",\"nth\":1}"),
        ] {
            assert_eq!(raw.post(path, body.as_bytes()).status, 404, "faults are not allowed by this configuration");
        }
        assert_eq!(raw.get("/healthz").status, 200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_and_noise_instead_of_tls_cost_nobody_else_anything() {
    with_a_node(|world| {
        let mut raw = Raw::connect(world.door(0));
        raw.send(b"POST /v1/statements HTTP/1.1\r\nHost: node\r\nContent-Length: 1000\r\n\r\n{\"statements\"");
        drop(raw);
        let mut noise = std::net::TcpStream::connect(world.door(0)).expect("a connection");
        std::io::Write::write_all(&mut noise, &[0xff; 4096]).expect("written");
        let mut raw = Raw::connect(world.door(0));
        raw.send(b"\x00\x01garbage\r\n\r\n");
        assert_eq!(raw.read().status, 400);
        assert_eq!(Raw::connect(world.door(0)).get("/healthz").status, 200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_proof_of_another_connection_node_or_mesh_is_refused() {
    with_a_node(|world| {
        let (agent, node) = (identity(90), world.id(0));
        let (mut one, mut other) = (Raw::connect(world.door(0)), Raw::connect(world.door(0)));
        assert_ne!(one.exporter(), other.exporter());
        let stolen = one.proof(mesh(), node, tenant(), &agent);
        let said = other.open(stolen, &agent);
        assert_eq!((said.status, said.error().code), (401, Code::SessionInvalid));
        let proof = other.proof(mesh(), identity(91).principal(), tenant(), &agent);
        assert_eq!(other.open(proof, &agent).error().code, Code::SessionInvalid);
        let proof = other.proof(MeshId::from_bytes([1; 32]), node, tenant(), &agent);
        assert_eq!(other.open(proof, &agent).error().code, Code::SessionInvalid);
        let mut proof = other.proof(mesh(), node, tenant(), &agent);
        proof.recipient = [0; 32];
        assert_eq!(other.open(proof, &agent).error().code, Code::SessionInvalid);
        // Whoever it is may open one that fits; that says nothing of rights.
        let proof = one.proof(mesh(), node, tenant(), &agent);
        assert_eq!(one.open(proof, &agent).status, 200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_tenant_is_released_or_read_without_a_session_that_may() {
    with_a_node(|world| {
        let mut tenant = door_support::Tenant::begin(world);
        let path = format!("/v1/documents/{}", keymesh_wire::ids::DocumentId::from(tenant.id));
        let release = serde_json::json!({ "tenant": tenant.id, "key": KeyId::from_bytes([1; 32]),
            "request": keymesh_wire::ids::RequestId::from_bytes([1; 16]) });
        let mut raw = Raw::connect(world.door(0));
        assert_eq!(raw.get(&path).error().code, Code::SessionRequired);
        assert_eq!(raw.get("/v1/audit").error().code, Code::SessionRequired);
        assert_eq!(raw.post_json("/v1/release", &release).error().code, Code::SessionRequired);
        let stranger = identity(90);
        let proof = raw.proof(mesh(), world.id(0), tenant.id, &stranger);
        assert_eq!(raw.open(proof, &stranger).status, 200);
        let refused = raw.get(&path);
        assert_eq!((refused.status, refused.error().code), (403, Code::Refused));
        assert_eq!(raw.get("/v1/audit").bytes(), refused.bytes());
        let unknown = format!("/v1/documents/{}", keymesh_wire::ids::DocumentId::from_bytes([5; 32]));
        assert_eq!(raw.get(&unknown).bytes(), refused.bytes());
        assert_eq!(raw.post_json("/v1/release", &release).bytes(), refused.bytes());
        let mut other = Raw::connect(world.door(0));
        let proof = other.proof(mesh(), world.id(0), TenantId::from_bytes([7; 32]), &admin());
        assert_eq!(other.open(proof, &admin()).status, 200);
        assert_eq!(other.get(&path).bytes(), refused.bytes(), "a session for another tenant");
        assert_eq!(tenant.read().name, "acme");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_recorded_and_their_number_is_bounded() {
    with_a_node(|world| {
        let tenant = door_support::Tenant::begin(world);
        let mut raw = Raw::connect(world.door(0));
        let stranger = identity(90);
        let proof = raw.proof(mesh(), world.id(0), tenant.id, &stranger);
        assert_eq!(raw.open(proof, &stranger).status, 200);
        let mut codes = Vec::new();
        for number in 0..2000_u128 {
            let release = serde_json::json!({ "tenant": tenant.id, "key": KeyId::from_bytes([1; 32]),
                "request": keymesh_wire::ids::RequestId::from_bytes(number.to_be_bytes()) });
            codes.push(raw.post_json("/v1/release", &release).error().code);
            if codes.last() == Some(&Code::Throttled) {
                break;
            }
        }
        assert_eq!(codes.last(), Some(&Code::Throttled), "after {} refusals", codes.len());
        let refused = codes.iter().filter(|code| **code == Code::Refused).count();
        assert_eq!(refused, codes.len() - 1);
        let mut session = tenant.session(&admin());
        let page: keymesh_wire::api::AuditPage = session.get_json("/v1/audit").expect("the admin may read");
        assert!(page.verified, "{page:?}");
        assert_eq!(page.records.len(), refused);
        assert_eq!(page.records[0].record.reason.as_deref(), Some("the agent's key is not bound to an instance"));
    })
    .await;
}

async fn refusal(config: keymesh::config::Config) -> RuntimeError {
    match Running::open_and_start(config).await {
        Ok(_) => panic!("the node started"),
        Err(error) => error,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let world = World::new(1);
    let running = world.start(0).await;
    let second = World::new(1);
    let mut config = second.places[0].config.clone();
    let own = config.listen;
    config.listen = Addresses { door: world.door(0), ..own };
    let error = refusal(config.clone()).await;
    assert!(matches!(&error, RuntimeError::Door(DoorError::AddressInUse { address }) if *address == world.door(0)));
    assert!(error.to_string().contains(&world.door(0).to_string()), "{error}");
    config.listen = Addresses { mesh: world.places[0].config.listen.mesh, ..own };
    let error = refusal(config.clone()).await;
    assert!(error.to_string().contains("in use"), "{error}");
    // Nothing of the failed starts is left: the node starts where it should.
    config.listen = own;
    Running::open_and_start(config).await.expect("a running node").stop().await.expect("stopped");
    running.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_of_another_mesh_or_in_use_is_refused() {
    let world = World::new(1);
    let running = world.start(0).await;
    let error = refusal(world.places[0].config.clone()).await;
    assert!(matches!(error, RuntimeError::Disk(DiskError::Locked { .. })), "{error}");
    running.stop().await.expect("stopped");
    let mut config = world.places[0].config.clone();
    config.mesh = MeshId::from_bytes([5; 32]);
    let error = refusal(config).await;
    assert!(matches!(error, RuntimeError::Disk(DiskError::OtherMesh { .. })), "{error}");
    world.start(0).await.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_foreign_genesis_is_named() {
    let world = World::new(1);
    let file = world.places[0].folder.join("mesh.genesis");
    std::fs::remove_file(&file).expect("removed");
    let error = refusal(world.places[0].config.clone()).await;
    assert!(error.to_string().contains("genesis file"), "{error}");
    std::fs::write(&file, b"no statement").expect("written");
    let error = refusal(world.places[0].config.clone()).await;
    assert!(matches!(error, RuntimeError::Genesis { .. }), "{error}");
    std::fs::write(&file, genesis().bytes()).expect("written");
    world.start(0).await.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tampered_audit_log_keeps_the_node_from_starting_and_is_located() {
    let world = World::new(1);
    for _ in 0..3 {
        world.start(0).await.stop().await.expect("stopped");
    }
    let log = world.places[0].config.data_dir.join("audit/0001.log");
    let mut bytes = std::fs::read(&log).expect("a log");
    let at = bytes.windows(7).position(|window| window == b"keymesh").expect("a start record");
    bytes[at] ^= 1;
    std::fs::write(&log, bytes).expect("written");
    let error = refusal(world.places[0].config.clone()).await;
    assert!(matches!(error, RuntimeError::Disk(DiskError::AuditTampered { .. })), "{error}");
    assert!(error.to_string().contains("record 1"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_stops_within_two_seconds_even_with_idle_connections() {
    let world = World::new(1);
    let running = world.start(0).await;
    let door = world.door(0);
    let idle = blocking(move || Raw::connect(door)).await;
    let started = Instant::now();
    running.stop().await.expect("a clean stop");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    drop(idle);
}
