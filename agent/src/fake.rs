//! A node for tests: real TLS on loopback with a real certificate, and whatever a test wants it to answer.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use keymesh_wire::api::{AuditRef, Membership, Release, Released, SessionOpen, SessionOpened};
use keymesh_wire::body::{Body, MeshGenesis, NodeCard, Person};
use keymesh_wire::envelope::Verified;
use keymesh_wire::error::{Code, WireError};
use keymesh_wire::ids::{MeshId, NodeId, Nonce, TenantId, VersionId};
use keymesh_wire::request::{EXPORTER_LABEL, SessionProof, session_info};
use keymesh_wire::sealing::{SealingPublic, SessionSealer};
use keymesh_wire::secret::Secret32;
use keymesh_wire::sign::Identity;
use keymesh_wire::statement::Checked;
use keymesh_wire::time::Wall;
use rustls::crypto::aws_lc_rs;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::Serialize;

use crate::system;

/// An identity that is the same in every run.
pub fn identity(number: u8) -> Identity {
    Identity::from_seed(Secret32::build(|out| out.fill(number)))
}

/// The tenant of these tests.
pub fn tenant() -> TenantId {
    TenantId::from_bytes([9; 32])
}

/// The self-signed certificate of an identity's key.
pub fn certificate(identity: &Identity) -> rcgen::CertifiedKey<rcgen::KeyPair> {
    let der = PrivatePkcs8KeyDer::from(pkcs8(identity));
    let signing_key = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ED25519).expect("a key");
    let cert = rcgen::CertificateParams::default().self_signed(&signing_key).expect("a certificate");
    rcgen::CertifiedKey { cert, signing_key }
}

/// RFC 8410 section 7: the seed in its fixed frame.
fn pkcs8(identity: &Identity) -> Vec<u8> {
    let frame = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    [&frame[..], identity.expose_seed()].concat()
}

/// A mesh with one founder and these nodes.
pub fn mesh(nodes: &[(&Identity, &str)]) -> (MeshId, Vec<Vec<u8>>) {
    let founder = identity(200);
    let person = Person { principal: founder.principal(), name: "ann".into() };
    let genesis =
        MeshGenesis { name: "m".into(), founders: vec![person], endorsements: 1, salt: Nonce::from_bytes([0; 16]) };
    let genesis = Checked::sign(&Body::MeshGenesis(genesis), None, vec![], Wall(0), &founder).expect("valid");
    let mesh = MeshId::from(genesis.id());
    let mut statements = vec![genesis.bytes().to_vec()];
    for (node, zone) in nodes {
        let card = NodeCard {
            node: node.principal(),
            sealing: *node.sealing().public().as_bytes(),
            name: "n".into(),
            zone: (*zone).into(),
            provider: "aws".into(),
            mesh: vec!["127.0.0.1:1".into()],
            door: vec!["127.0.0.1:2".into()],
        };
        let body = Body::AdmitNode(card);
        let admit = Checked::sign(&body, Some(mesh.into()), vec![genesis.id()], Wall(0), &founder).expect("valid");
        statements.push(admit.bytes().to_vec());
    }
    (mesh, statements)
}

/// What a fake node does when it is asked something.
pub enum Reply {
    Json(u16, Vec<u8>),
    /// These bytes, instead of an answer.
    Raw(Vec<u8>),
    /// Nothing, for a while; then the connection closes.
    Silence(Duration),
}

impl Reply {
    pub fn ok(value: &impl Serialize) -> Self {
        Self::Json(200, serde_json::to_vec(value).expect("JSON"))
    }

    pub fn error(code: Code) -> Self {
        let error = WireError::new(code, "the message");
        Self::Json(code.status(), serde_json::to_vec(&error).expect("JSON"))
    }
}

/// One connection as a fake node sees it.
pub struct Conversation {
    pub node: NodeId,
    pub exporter: [u8; 32],
    pub session: Option<(SessionProof, SessionSealer)>,
}

impl Conversation {
    /// Opens a session as an honest node does.
    pub fn open_session(&mut self, body: &[u8]) -> Reply {
        let open: SessionOpen = serde_json::from_slice(body).expect("a session's JSON");
        let proof = Verified::<SessionProof>::from_bytes(&open.proof).expect("a signed proof");
        assert_eq!((proof.exporter, proof.node), (self.exporter, self.node), "the proof is for this connection");
        let recipient = SealingPublic::from_bytes(proof.recipient).expect("a key");
        let (sealer, encapsulated) = SessionSealer::new(&recipient, &session_info(&proof), &mut system::randomness());
        self.session = Some((proof.into_payload(), sealer));
        Reply::ok(&SessionOpened { encapsulated: encapsulated.to_vec() })
    }

    /// Releases a key of 32 sevens as an honest node does.
    pub fn release(&mut self, body: &[u8]) -> Reply {
        let request: Release = serde_json::from_slice(body).expect("a release's JSON");
        let Some((_, sealer)) = &mut self.session else { return Reply::error(Code::SessionRequired) };
        Reply::ok(&Released {
            key: request.key,
            version: request.version.unwrap_or(VersionId::from_bytes([5; 16])),
            sealed: sealer.seal(request.request.as_bytes(), &[7; 32]).expect("sealed"),
            audit: AuditRef { node: self.node, sequence: 1 },
        })
    }

    /// What an honest node answers.
    pub fn honest(&mut self, call: &str, body: &[u8], statements: &[Vec<u8>]) -> Reply {
        match call {
            "GET /v1/membership" => Reply::ok(&Membership { statements: statements.to_vec() }),
            "POST /v1/session" => self.open_session(body),
            "POST /v1/release" => self.release(body),
            _ => Reply::error(Code::NotFound),
        }
    }
}

/// What a node was asked, with the bodies.
type Calls = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A node that runs until the test's process ends.
pub struct FakeNode {
    pub address: SocketAddr,
    pub node: NodeId,
    calls: Calls,
}

impl FakeNode {
    /// Starts a node with the key of `identity`, which answers what `behave` says.
    pub fn start<F>(identity: &Identity, behave: F) -> Self
    where
        F: Fn(&mut Conversation, &str, &[u8]) -> Reply + Send + Sync + 'static,
    {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8(identity)));
        Self::start_with(identity.principal(), certificate(identity).cert.der().to_vec(), key, behave)
    }

    /// As [`FakeNode::start`], with any certificate and key.
    pub fn start_with<F>(node: NodeId, certificate: Vec<u8>, key: PrivateKeyDer<'static>, behave: F) -> Self
    where
        F: Fn(&mut Conversation, &str, &[u8]) -> Reply + Send + Sync + 'static,
    {
        let signing = aws_lc_rs::sign::any_supported_type(&key).expect("a key");
        let certified = rustls::sign::CertifiedKey::new(vec![certificate.into()], signing);
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let (config, behave, calls) = (Arc::new(config), Arc::new(behave), Arc::new(Mutex::new(Vec::new())));
        let seen = calls.clone();
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (config, behave, seen) = (config.clone(), behave.clone(), seen.clone());
                thread::spawn(move || converse(socket, node, config, &*behave, &seen));
            }
        });
        Self { address, node, calls }
    }

    /// An honest node of this mesh.
    pub fn honest(identity: &Identity, statements: &[Vec<u8>]) -> Self {
        let statements = statements.to_vec();
        Self::start(identity, move |talk, call, body| talk.honest(call, body, &statements))
    }

    /// What it was asked so far, in order.
    pub fn calls(&self) -> Vec<String> {
        self.calls.lock().expect("calls").iter().map(|(call, _)| call.clone()).collect()
    }

    /// The bodies it got with this call.
    pub fn bodies(&self, call: &str) -> Vec<Vec<u8>> {
        let calls = self.calls.lock().expect("calls");
        calls.iter().filter(|(name, _)| name == call).map(|(_, body)| body.clone()).collect()
    }
}

fn converse(
    socket: TcpStream,
    node: NodeId,
    config: Arc<ServerConfig>,
    behave: &dyn Fn(&mut Conversation, &str, &[u8]) -> Reply,
    seen: &Mutex<Vec<(String, Vec<u8>)>>,
) -> Option<()> {
    let mut stream = StreamOwned::new(ServerConnection::new(config).ok()?, socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).ok()?;
    }
    let exporter = stream.conn.export_keying_material([0; 32], EXPORTER_LABEL, Some(&[])).ok()?;
    let mut talk = Conversation { node, exporter, session: None };
    let mut arrived = VecDeque::new();
    loop {
        let (call, body) = read_request(&mut stream, &mut arrived)?;
        seen.lock().expect("calls").push((call.clone(), body.clone()));
        match behave(&mut talk, &call, &body) {
            Reply::Json(status, body) => {
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all(&[head.as_bytes(), &body].concat()).ok()?;
                stream.flush().ok()?;
            }
            Reply::Raw(bytes) => {
                stream.write_all(&bytes).ok()?;
                stream.conn.send_close_notify();
                stream.flush().ok()?;
                return None;
            }
            Reply::Silence(time) => {
                thread::sleep(time);
                return None;
            }
        }
    }
}

fn read_request(
    stream: &mut StreamOwned<ServerConnection, TcpStream>,
    arrived: &mut VecDeque<u8>,
) -> Option<(String, Vec<u8>)> {
    loop {
        let bytes = arrived.make_contiguous();
        let mut fields = [httparse::EMPTY_HEADER; 16];
        let mut request = httparse::Request::new(&mut fields);
        if let httparse::Status::Complete(head) = request.parse(bytes).expect("a request") {
            let field = request.headers.iter().find(|field| field.name == "Content-Length");
            let length = field.map_or(0, |field| String::from_utf8_lossy(field.value).parse().expect("a number"));
            if bytes.len() >= head + length {
                let call = format!("{} {}", request.method?, request.path?);
                let body = bytes[head..head + length].to_vec();
                arrived.drain(..head + length);
                return Some((call, body));
            }
        }
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).ok().filter(|count| *count > 0)?;
        arrived.extend(&piece[..count]);
    }
}
