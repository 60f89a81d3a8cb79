//! One connection to one node, and the session an identity opens on it.
//!
//! Guarantees: nothing but `GET /v1/membership` is sent before the other end is known to be the pinned node, or a node
//! that the mesh's founders admitted ([`Trust`]); a session's proof is signed over this very connection, node, mesh and
//! tenant, so it is worth nothing elsewhere; a released key opens only with this session's one-time key and under its
//! request's id. One request is in flight at a time. Used by the agent, by people's command line and by the benchmarks.
//!
//! Leaves to others: which node ([`crate::fleet`]), and what is asked.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keymesh_wire::api::{Membership, NodeInfo, Release, Released, SessionOpen, SessionOpened};
use keymesh_wire::envelope::Verified;
use keymesh_wire::error::{Code, WireError};
use keymesh_wire::ids::{KeyId, MeshId, NodeId, PrincipalId, RequestId, TenantId, VersionId};
use keymesh_wire::limits;
use keymesh_wire::membership::{MEMBERSHIP_BYTES, Members};
use keymesh_wire::request::{EXPORTER_LABEL, Receipt, SessionProof, session_info};
use keymesh_wire::sealing::{ENCAPSULATED, SealingSecret, SessionOpener};
use keymesh_wire::sign::Identity;
use keymesh_wire::suite::Suite;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::data_key::DataKey;
use crate::error::ClientError;
use crate::http::{self, HttpError};
use crate::{system, tls};

/// The largest answer to a `POST`, in bytes.
pub const ANSWER_BYTES: usize = limits::FRAME_BYTES;

/// The largest answer to a `GET`, in bytes: whole documents are read in this way.
pub const READ_BYTES: usize = 64 * 1024 * 1024;

/// By what a node is known.
#[derive(Debug, Clone)]
pub enum Trust {
    /// By its key.
    Pinned(NodeId),
    /// By the signed membership of this mesh, which the node shows first.
    Mesh(MeshId),
    /// By a membership that was verified before; saves the node and us from going through it on each connection.
    Members(Arc<Members>),
}

/// A connection to a node that is the one it should be.
#[derive(Debug)]
pub struct Client {
    stream: tls::Stream,
    address: SocketAddr,
    host: String,
    node: NodeId,
    mesh: Option<MeshId>,
    members: Option<Arc<Members>>,
    timeout: Duration,
    round_trip: Duration,
    usable: bool,
}

impl Client {
    /// Connects to the node at `address`. `timeout` bounds the connecting as a whole, and each later request.
    ///
    /// # Errors
    /// [`ClientError`]; after every one of them the connection is closed and no secret or proof was sent.
    pub fn connect(address: SocketAddr, trust: &Trust, timeout: Duration) -> Result<Self, ClientError> {
        let started = Instant::now();
        let (stream, node) =
            tls::connect(address, started + timeout).map_err(|error| connecting(address, timeout, error))?;
        let mut client = Self {
            stream,
            address,
            host: address.to_string(),
            node,
            mesh: None,
            members: None,
            timeout: timeout.saturating_sub(started.elapsed()),
            round_trip: Duration::ZERO,
            usable: true,
        };
        match trust {
            Trust::Pinned(expected) => {
                if *expected != node {
                    return Err(ClientError::OtherNode { address, expected: *expected, found: node });
                }
            }
            Trust::Mesh(mesh) => {
                let shown: Membership = client.exchange("GET", "/v1/membership", None, MEMBERSHIP_BYTES)?;
                let members = Members::verify(*mesh, &shown.statements)
                    .map_err(|source| ClientError::Membership { address, source })?;
                client.admit(Arc::new(members))?;
            }
            Trust::Members(members) => client.admit(members.clone())?,
        }
        client.timeout = timeout;
        client.round_trip = started.elapsed();
        Ok(client)
    }

    fn admit(&mut self, members: Arc<Members>) -> Result<(), ClientError> {
        let mesh = members.mesh();
        if members.node(&self.node).is_none() {
            return Err(ClientError::NotAMember { address: self.address, node: self.node, mesh });
        }
        self.mesh = Some(mesh);
        self.members = Some(members);
        Ok(())
    }

    /// The address connected to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The node at the other end.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The membership by which the node is known; absent for a pinned node.
    pub fn members(&self) -> Option<&Arc<Members>> {
        self.members.as_ref()
    }

    /// How long it took from the first packet until the node was known: what distance and load cost.
    pub fn connected_in(&self) -> Duration {
        self.round_trip
    }

    /// Whether another request can be sent.
    pub fn is_usable(&self) -> bool {
        self.usable
    }

    /// Bounds each later request.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// The mesh: the trusted one, or by the word of the pinned node.
    ///
    /// # Errors
    /// [`ClientError`] of the question to a pinned node.
    pub fn mesh(&mut self) -> Result<MeshId, ClientError> {
        match self.mesh {
            Some(mesh) => Ok(mesh),
            None => {
                let info: NodeInfo = self.get_json("/v1/node")?;
                Ok(*self.mesh.insert(info.mesh))
            }
        }
    }

    /// Asks for `path` and reads the JSON that answers, at most [`READ_BYTES`].
    ///
    /// # Errors
    /// [`ClientError`]; after [`ClientError::Wire`] the connection can be used further.
    pub fn get_json<A: DeserializeOwned>(&mut self, path: &str) -> Result<A, ClientError> {
        self.exchange("GET", path, None, READ_BYTES)
    }

    /// Asks for `path` and reads the text that answers, at most [`ANSWER_BYTES`]: health and metrics.
    ///
    /// # Errors
    /// As [`Client::get_json`].
    pub fn get_text(&mut self, path: &str) -> Result<String, ClientError> {
        let answer = self.answer("GET", path, None, ANSWER_BYTES)?;
        String::from_utf8(answer).map_err(|_| self.malformed(format!("the answer to {path} is no text")))
    }

    /// Sends `question` as JSON to `path` and reads the JSON that answers, at most [`ANSWER_BYTES`].
    ///
    /// # Errors
    /// As [`Client::get_json`].
    pub fn post_json<Q: Serialize, A: DeserializeOwned>(&mut self, path: &str, question: &Q) -> Result<A, ClientError> {
        let body = serde_json::to_vec(question)
            .map_err(|error| self.malformed(format!("the question cannot be written: {error}")))?;
        self.exchange("POST", path, Some(&body), ANSWER_BYTES)
    }

    /// Proves `identity` on this connection for one tenant.
    ///
    /// # Errors
    /// [`ClientError`]; [`Code::SessionInvalid`] if mesh, node or clock do not fit.
    pub fn open_session(mut self, identity: &Identity, tenant: TenantId) -> Result<Session, ClientError> {
        let mesh = self.mesh()?;
        let exporter = self
            .stream
            .conn
            .export_keying_material([0; 32], EXPORTER_LABEL, Some(&[]))
            .map_err(|source| ClientError::Tls { address: self.address, source })?;
        let recipient = SealingSecret::random(&mut system::randomness());
        let agent = identity.principal();
        let proof = SessionProof {
            suite: Suite::V1,
            mesh,
            node: self.node,
            tenant,
            agent,
            exporter,
            recipient: *recipient.public().as_bytes(),
        };
        let proof = Verified::sign(proof, identity);
        let opened: SessionOpened = self.post_json("/v1/session", &SessionOpen { proof: proof.bytes().to_vec() })?;
        let encapsulated: [u8; ENCAPSULATED] = opened
            .encapsulated
            .try_into()
            .map_err(|_| self.malformed("the encapsulated key of the session has another length"))?;
        let opener = SessionOpener::new(&recipient, &encapsulated, &session_info(&proof))
            .map_err(|_| self.malformed("the encapsulated key of the session is none"))?;
        Ok(Session { client: self, opener, tenant, agent })
    }

    fn exchange<A: DeserializeOwned>(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&[u8]>,
        limit: usize,
    ) -> Result<A, ClientError> {
        let answer = self.answer(method, path, body, limit)?;
        serde_json::from_slice(&answer).map_err(|error| self.malformed(format!("the answer to {path}: {error}")))
    }

    fn answer(&mut self, method: &str, path: &str, body: Option<&[u8]>, limit: usize) -> Result<Vec<u8>, ClientError> {
        if !std::mem::take(&mut self.usable) {
            return Err(ClientError::Closed { address: self.address });
        }
        self.stream.sock.set_deadline(Instant::now() + self.timeout);
        let json: &[_] = &[("Content-Type", "application/json")];
        let request =
            http::Request { method, path, host: &self.host, fields: if body.is_some() { json } else { &[] }, body };
        let answer = http::exchange(&mut self.stream, &request, limit).map_err(|error| self.failed(error))?;
        self.usable = answer.keeps;
        if answer.status >= 300 {
            return Err(self.refused(&answer));
        }
        Ok(answer.body)
    }

    fn refused(&self, answer: &http::Answer) -> ClientError {
        #[derive(serde::Deserialize)]
        struct Unknown {
            code: String,
            retryable: bool,
            message: String,
        }

        let address = self.address;
        if let Ok(mut source) = serde_json::from_slice::<WireError>(&answer.body) {
            source.message = printable(&source.message);
            return ClientError::Wire { address, source };
        }
        match serde_json::from_slice::<Unknown>(&answer.body) {
            Ok(Unknown { code, retryable, message }) => ClientError::UnknownCode {
                address,
                code: printable(&code).chars().take(40).collect(),
                retryable,
                message: printable(&message),
            },
            Err(_) => self.malformed(format!("status {} without a keymesh error", answer.status)),
        }
    }

    fn failed(&self, error: HttpError) -> ClientError {
        let (address, within) = (self.address, self.timeout);
        let doing = "waiting for an answer";
        match error {
            HttpError::Io(source) if source.kind() == io::ErrorKind::TimedOut => {
                ClientError::Timeout { address, doing, within }
            }
            HttpError::Io(source) => transport(address, doing, source),
            HttpError::Closed | HttpError::Truncated => {
                let source = io::Error::new(io::ErrorKind::UnexpectedEof, error.to_string());
                ClientError::Transport { address, doing, source }
            }
            HttpError::HeadTooLarge | HttpError::BodyTooLarge { .. } => {
                ClientError::TooLarge { address, source: error }
            }
            HttpError::Malformed(_) | HttpError::Request(_) => self.malformed(error.to_string()),
        }
    }

    fn malformed(&self, what: impl Into<String>) -> ClientError {
        ClientError::Malformed { address: self.address, what: what.into() }
    }
}

/// Text of a stranger, fit for a terminal: control characters replaced, at most 1024 characters.
fn printable(text: &str) -> String {
    let plain = |c: char| if c.is_control() && c != '\n' { '\u{fffd}' } else { c };
    text.chars().take(limits::TEXT_BYTES).map(plain).collect()
}

fn connecting(address: SocketAddr, within: Duration, error: io::Error) -> ClientError {
    match error.kind() {
        io::ErrorKind::TimedOut => ClientError::Timeout { address, doing: "connecting", within },
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            ClientError::Transport { address, doing: "connecting", source: error }
        }
        io::ErrorKind::InvalidData | io::ErrorKind::Other => transport(address, "connecting", error),
        _ => ClientError::Connect { address, source: error },
    }
}

/// An error of the stream, with TLS's own errors told apart.
fn transport(address: SocketAddr, doing: &'static str, error: io::Error) -> ClientError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(source) => ClientError::Tls { address, source: source.clone() },
        None => ClientError::Transport { address, doing, source: error },
    }
}

/// A connection on which an identity has been proved for one tenant.
#[derive(Debug)]
pub struct Session {
    client: Client,
    opener: SessionOpener,
    tenant: TenantId,
    agent: PrincipalId,
}

impl Session {
    /// Asks for a key of a leased keyring: its newest version, or the one named.
    ///
    /// # Errors
    /// [`ClientError`]; a refusal is [`ClientError::Wire`] with [`Code::Refused`] and says nothing more.
    pub fn release(&mut self, key: KeyId, version: Option<VersionId>) -> Result<(DataKey, Released), ClientError> {
        let request = RequestId::from_bytes(system::random_bytes());
        self.release_as(&Release {
            tenant: self.tenant,
            key,
            version,
            request,
            receipt: Receipt::default(),
            trace: None,
        })
    }

    /// As [`Session::release`], with everything in the caller's hands: a retry carries the same request id.
    ///
    /// # Errors
    /// As [`Session::release`].
    pub fn release_as(&mut self, request: &Release) -> Result<(DataKey, Released), ClientError> {
        let released: Released = self.client.post_json("/v1/release", request)?;
        if released.key != request.key || request.version.is_some_and(|version| version != released.version) {
            return Err(self.client.malformed("another key or version than was asked for"));
        }
        let Ok(bytes) = self.opener.open(request.request.as_bytes(), &released.sealed) else {
            // The messages of a session open in their order only; after a miss, no later one can be relied on.
            self.client.usable = false;
            return Err(ClientError::Sealed { address: self.client.address });
        };
        let key = DataKey::new(&bytes).ok_or_else(|| {
            self.client.malformed(format!("a data key of {} bytes, where keys have 32 or 64", bytes.len()))
        })?;
        Ok((key, released))
    }

    /// Asks for `path` as this session's identity.
    ///
    /// # Errors
    /// As [`Client::get_json`].
    pub fn get_json<A: DeserializeOwned>(&mut self, path: &str) -> Result<A, ClientError> {
        self.client.get_json(path)
    }

    /// Sends `question` to `path` as this session's identity.
    ///
    /// # Errors
    /// As [`Client::post_json`].
    pub fn post_json<Q: Serialize, A: DeserializeOwned>(&mut self, path: &str, question: &Q) -> Result<A, ClientError> {
        self.client.post_json(path, question)
    }

    /// The connection beneath.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The connection beneath.
    pub fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    /// The tenant.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Whose session it is.
    pub fn agent(&self) -> PrincipalId {
        self.agent
    }
}

/// Whether an error means that a node says no, and not that none could be asked.
pub fn is_refusal(error: &ClientError) -> bool {
    !error.retryable() || error.code() == Some(Code::Refused)
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
