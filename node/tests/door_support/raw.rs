//! A client that says whatever a test wants, byte for byte.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use keymesh_wire::api::SessionOpen;
use keymesh_wire::envelope::Verified;
use keymesh_wire::error::WireError;
use keymesh_wire::ids::{MeshId, NodeId, TenantId};
use keymesh_wire::request::{EXPORTER_LABEL, SessionProof};
use keymesh_wire::sealing::SealingSecret;
use keymesh_wire::sign::Identity;
use keymesh_wire::suite::Suite;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// Trusts anybody: these tests know whom they call.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// A connection.
pub struct Raw {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

/// An answer: the status line's number, the head and the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Said {
    pub fn error(&self) -> WireError {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no keymesh error: {self:?}"))
    }

    /// Head and body without the date, which is the only part that may differ.
    pub fn bytes(&self) -> String {
        let head: Vec<&str> =
            self.head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("date:")).collect();
        format!("{}\n{}", head.join("\n"), String::from_utf8_lossy(&self.body))
    }
}

impl Raw {
    pub fn connect(door: SocketAddr) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody))
            .with_no_client_auth();
        let socket = TcpStream::connect(door).expect("a connection");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        socket.set_nodelay(true).expect("no delay");
        let name = ServerName::IpAddress(door.ip().into());
        let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).expect("a handshake");
        }
        Self { stream }
    }

    /// This connection's exporter.
    pub fn exporter(&self) -> [u8; 32] {
        self.stream.conn.export_keying_material([0; 32], EXPORTER_LABEL, Some(&[])).expect("an exporter")
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("written");
        self.stream.flush().expect("flushed");
    }

    /// Sends what may not be taken any more; false if it was not.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).is_ok()
    }

    /// Waits for 200 ms for the other end to close. What it says meanwhile is thrown away.
    pub fn is_closed(&mut self) -> bool {
        self.stream.sock.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        let heard = self.stream.read(&mut [0; 1024]);
        match heard {
            Ok(read) => read == 0,
            Err(error) => !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
        }
    }

    pub fn get(&mut self, path: &str) -> Said {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: node\r\n\r\n").as_bytes());
        self.read()
    }

    pub fn post(&mut self, path: &str, body: &[u8]) -> Said {
        let head = format!("POST {path} HTTP/1.1\r\nHost: node\r\nContent-Length: {}\r\n\r\n", body.len());
        self.send(&[head.as_bytes(), body].concat());
        self.read()
    }

    pub fn post_json(&mut self, path: &str, value: &impl serde::Serialize) -> Said {
        self.post(path, &serde_json::to_vec(value).expect("JSON"))
    }

    pub fn read(&mut self) -> Said {
        let mut bytes = Vec::new();
        let mut one = [0];
        while !bytes.ends_with(b"\r\n\r\n") {
            self.hear(&mut one).unwrap_or_else(|error| {
                panic!("no answer: {error}; so far {}", String::from_utf8_lossy(&bytes));
            });
            bytes.push(one[0]);
        }
        let head = String::from_utf8(bytes).expect("a head");
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok())
            .unwrap_or(0);
        let mut body = vec![0; length];
        self.hear(&mut body).expect("a body");
        Said { status, head, body }
    }

    /// Fills `buffer` from what has come, without writing: what was not taken of a request is pending
    /// still, and a stream would try it again before it reads the answer that says why.
    fn hear(&mut self, mut buffer: &mut [u8]) -> io::Result<()> {
        let StreamOwned { conn, sock } = &mut self.stream;
        while !buffer.is_empty() {
            match conn.reader().read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => buffer = &mut buffer[read..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    conn.read_tls(sock)?;
                    conn.process_new_packets().map_err(io::Error::other)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A proof that fits this connection.
    pub fn proof(&self, mesh: MeshId, node: NodeId, tenant: TenantId, who: &Identity) -> SessionProof {
        let recipient = SealingSecret::random(&mut super::rng());
        SessionProof {
            suite: Suite::V1,
            mesh,
            node,
            tenant,
            agent: who.principal(),
            exporter: self.exporter(),
            recipient: *recipient.public().as_bytes(),
        }
    }

    pub fn open(&mut self, proof: SessionProof, who: &Identity) -> Said {
        self.post_json("/v1/session", &SessionOpen { proof: Verified::sign(proof, who).bytes().to_vec() })
    }
}
