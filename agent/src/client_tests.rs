use keymesh_wire::api::Membership;
use keymesh_wire::membership::MembershipError;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::*;
use crate::fake::{self, FakeNode, Reply, identity, tenant};

const TIMEOUT: Duration = Duration::from_secs(5);

fn key() -> KeyId {
    KeyId::from_bytes([3; 32])
}

fn pinned(node: &FakeNode) -> Trust {
    Trust::Pinned(node.node)
}

fn text(error: &ClientError) -> String {
    error.to_string()
}

#[test]
fn a_member_releases_keys_in_one_session() {
    let (mesh, statements) = fake::mesh(&[(&identity(1), "aws/a")]);
    let node = FakeNode::honest(&identity(1), &statements);
    let client = Client::connect(node.address, &Trust::Mesh(mesh), TIMEOUT).expect("a member");
    assert_eq!((client.node(), client.members().map(|members| members.mesh())), (node.node, Some(mesh)));
    let mut session = client.open_session(&identity(5), tenant()).expect("a session");
    for _ in 0..3 {
        let (released, answer) = session.release(key(), None).expect("a key");
        assert_eq!((released.expose_secret(), answer.key), (&[7; 32][..], key()));
    }
    assert_eq!(node.calls().len(), 5, "membership, session and three releases, on one connection");
}

#[test]
fn a_node_that_is_no_member_gets_nothing_but_the_question_who_it_is() {
    let (mesh, statements) = fake::mesh(&[(&identity(1), "aws/a")]);
    let stranger = FakeNode::honest(&identity(2), &statements);
    let error = Client::connect(stranger.address, &Trust::Mesh(mesh), TIMEOUT).expect_err("a refusal");
    assert!(matches!(&error, ClientError::NotAMember { node, .. } if *node == stranger.node), "{error}");
    assert_eq!(stranger.calls(), ["GET /v1/membership"]);
    let members = Arc::new(Members::verify(mesh, &statements).expect("members"));
    let error = Client::connect(stranger.address, &Trust::Members(members), TIMEOUT).expect_err("a refusal");
    assert!(matches!(error, ClientError::NotAMember { .. }));
    assert_eq!(stranger.calls().len(), 1, "not even that, when the members are known");
}

#[test]
fn the_membership_of_another_mesh_is_refused() {
    let (mesh, statements) = fake::mesh(&[(&identity(1), "aws/a")]);
    let node =
        FakeNode::start(&identity(1), move |_, _, _| Reply::ok(&Membership { statements: statements[1..].to_vec() }));
    let error = Client::connect(node.address, &Trust::Mesh(mesh), TIMEOUT).expect_err("a refusal");
    assert!(matches!(error, ClientError::Membership { source: MembershipError::NoGenesis(_), .. }), "{error}");
}

#[test]
fn another_node_than_the_pinned_one_is_sent_nothing() {
    let node = FakeNode::honest(&identity(1), &[]);
    let trust = Trust::Pinned(identity(2).principal());
    let error = Client::connect(node.address, &trust, TIMEOUT).expect_err("a refusal");
    assert!(matches!(&error, ClientError::OtherNode { found, .. } if *found == node.node), "{error}");
    assert!(node.calls().is_empty());
}

#[test]
fn a_certificate_whose_key_the_other_end_lacks_is_refused() {
    // The certificate is identity 1's, the handshake is signed by another Ed25519 key.
    let other = fake::certificate(&identity(2)).signing_key.serialize_der();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(other));
    let cert = fake::certificate(&identity(1)).cert.der().to_vec();
    let node = FakeNode::start_with(identity(1).principal(), cert, key, |_, _, _| unreachable!("nothing is asked"));
    let error = Client::connect(node.address, &pinned(&node), TIMEOUT).expect_err("a refusal");
    assert!(matches!(error, ClientError::Tls { .. }), "{error}");
    assert!(text(&error).ends_with("it does not have the key in its certificate"), "{error}");
}

#[test]
fn a_server_whose_key_is_not_ed25519_is_no_node() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let cert = rcgen::CertificateParams::default().self_signed(&pair).expect("a certificate").der().to_vec();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialize_der()));
    let node = FakeNode::start_with(identity(1).principal(), cert, key, |_, _, _| unreachable!("nothing is asked"));
    let error = Client::connect(node.address, &pinned(&node), TIMEOUT).expect_err("a refusal");
    assert!(matches!(error, ClientError::Tls { .. }), "{error}");
}

#[test]
fn a_refusal_keeps_its_code_and_the_connection() {
    let node = FakeNode::start(&identity(1), |_, call, _| {
        if call == "GET /v1/status" { Reply::error(Code::Throttled) } else { Reply::error(Code::Refused) }
    });
    let mut client = Client::connect(node.address, &pinned(&node), TIMEOUT).expect("connected");
    let error = client.get_json::<NodeInfo>("/v1/node").expect_err("a refusal");
    assert_eq!((error.code(), error.retryable(), error.address()), (Some(Code::Refused), false, node.address));
    let error = client.get_json::<NodeInfo>("/v1/status").expect_err("a refusal");
    assert_eq!((error.code(), error.retryable()), (Some(Code::Throttled), true));
}

#[test]
fn an_error_newer_than_this_software_is_understood_by_halves_and_shown_safely() {
    let node = FakeNode::start(&identity(1), |_, _, _| {
        Reply::Json(418, br#"{"code":"teapot","retryable":true,"message":"tea\u001b[2J"}"#.to_vec())
    });
    let mut client = Client::connect(node.address, &pinned(&node), TIMEOUT).expect("connected");
    let error = client.get_json::<NodeInfo>("/v1/node").expect_err("a refusal");
    assert!(error.retryable() && text(&error).contains("[teapot, unknown to this version]"), "{error}");
    assert!(!text(&error).contains('\u{1b}'), "no terminal is told what to do by a stranger");
}

#[test]
fn a_silent_node_costs_the_timeout_and_no_more() {
    let node = FakeNode::start(&identity(1), |_, _, _| Reply::Silence(Duration::from_secs(20)));
    let mut client = Client::connect(node.address, &pinned(&node), TIMEOUT).expect("connected");
    client.set_timeout(Duration::from_millis(200));
    let started = Instant::now();
    let error = client.get_json::<NodeInfo>("/v1/node").expect_err("a timeout");
    assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
    let error = client.get_json::<NodeInfo>("/v1/node").expect_err("closed");
    assert!(matches!(error, ClientError::Closed { .. }), "an answer that comes late is nobody's: {error}");
}

#[test]
fn answers_cut_short_oversized_or_not_of_keymesh_are_told_apart() {
    let cases: [(&[u8], &str); 4] = [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{", "cut short"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", "over the limit"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "transfer encoding"),
        (b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 4\r\n\r\noops", "status 502"),
    ];
    for (bytes, expected) in cases {
        let node = FakeNode::start(&identity(1), move |_, _, _| Reply::Raw(bytes.to_vec()));
        let mut client = Client::connect(node.address, &pinned(&node), TIMEOUT).expect("connected");
        let error = client.get_json::<NodeInfo>("/v1/node").expect_err("a refusal");
        assert!(text(&error).contains(expected), "{error}");
    }
}

#[test]
fn a_key_sealed_for_another_request_does_not_open() {
    let node = FakeNode::start(&identity(1), |talk, call, body| match call {
        "POST /v1/release" => {
            let mut release: Release = serde_json::from_slice(body).expect("a release");
            release.request = RequestId::from_bytes([0; 16]);
            talk.release(&serde_json::to_vec(&release).expect("JSON"))
        }
        "GET /v1/node" => Reply::ok(&NodeInfo {
            mesh: MeshId::from_bytes([1; 32]),
            node: talk.node,
            level: keymesh_wire::suite::LEVEL,
            time: keymesh_wire::time::Wall(0),
            version: "0".into(),
        }),
        _ => talk.honest(call, body, &[]),
    });
    let client = Client::connect(node.address, &pinned(&node), TIMEOUT).expect("connected");
    let mut session = client.open_session(&identity(5), tenant()).expect("a session");
    assert!(matches!(session.release(key(), None), Err(ClientError::Sealed { .. })));
    assert!(!session.client().is_usable());
}

#[test]
fn the_answer_for_another_key_is_refused() {
    let (mesh, statements) = fake::mesh(&[(&identity(1), "aws/a")]);
    let node = FakeNode::start(&identity(1), move |talk, call, body| match call {
        "POST /v1/release" => {
            let mut release: Release = serde_json::from_slice(body).expect("a release");
            release.key = KeyId::from_bytes([4; 32]);
            talk.release(&serde_json::to_vec(&release).expect("JSON"))
        }
        _ => talk.honest(call, body, &statements),
    });
    let client = Client::connect(node.address, &Trust::Mesh(mesh), TIMEOUT).expect("connected");
    let mut session = client.open_session(&identity(5), tenant()).expect("a session");
    let error = session.release(key(), None).expect_err("a refusal");
    assert!(text(&error).contains("another key"), "{error}");
}

#[test]
fn nobody_listening_is_said_with_the_address() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    let error = Client::connect(free, &Trust::Pinned(identity(1).principal()), TIMEOUT).expect_err("nobody");
    assert!(text(&error).starts_with(&format!("{free}: cannot connect: ")), "{error}");
}
