//! TLS to a node: 1.3 only, post-quantum key exchange only, and a node's Ed25519 key instead of a certificate authority.
//!
//! Guarantees: the handshake (RFC 8446) completes only if the other end has the Ed25519 key in its certificate, checked
//! with the house's strict verification; no older version and no other key exchange than X25519MLKEM768 is offered; no
//! session is resumed and nothing is sent early, so every connection has its own exporter. Every wait has an end.
//!
//! Leaves to others: whose key it is. [`crate::client`] sends nothing before it knows.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use keymesh_wire::ids::NodeId;
use keymesh_wire::sign;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, ClientConnection, Resumption};
use rustls::crypto::{
    CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom, WebPkiSupportedAlgorithms, aws_lc_rs,
};
use rustls::sign::SigningKey;
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerIncompatible, SignatureScheme, StreamOwned};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::certificate;
use crate::timed::Timed;

/// A connection whose other end has shown that it holds a node key.
pub(crate) type Stream = StreamOwned<ClientConnection, Timed>;

/// Connects to `address` by `deadline` and completes the handshake. Returns the key of the other end.
pub(crate) fn connect(address: SocketAddr, deadline: Instant) -> io::Result<(Stream, NodeId)> {
    let socket = Timed::connect(address, deadline)?;
    // An address as name: none is sent, none is checked.
    let name = ServerName::IpAddress(address.ip().into());
    let connection = ClientConnection::new(config(), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    let leaf = stream.conn.peer_certificates().and_then(<[_]>::first);
    let leaf = leaf.ok_or_else(|| io::Error::other(Error::NoCertificatesPresented))?;
    let node = certificate::node_of(leaf).map_err(io::Error::other)?;
    Ok((stream, node))
}

fn config() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    CONFIG.get_or_init(|| Arc::new(build())).clone()
}

fn build() -> ClientConfig {
    // Put together by hand: the default one refers to every algorithm there is, and a third of the program is theirs.
    let provider = CryptoProvider {
        cipher_suites: vec![
            aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
            aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
        ],
        kx_groups: vec![aws_lc_rs::kx_group::X25519MLKEM768],
        signature_verification_algorithms: WebPkiSupportedAlgorithms { all: &[], mapping: &[] },
        secure_random: &System,
        key_provider: &NoKeys,
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has suites of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(NodeKeys))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    config
}

/// The operating system's randomness.
#[derive(Debug)]
struct System;

impl SecureRandom for System {
    fn fill(&self, out: &mut [u8]) -> Result<(), GetRandomFailed> {
        getrandom::fill(out).map_err(|_| GetRandomFailed)
    }
}

/// This end shows no certificate, so it loads no key for one.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(&self, _key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        Err(Error::General("this end has no certificate".to_owned()))
    }
}

/// Accepts every holder of an Ed25519 key.
#[derive(Debug)]
struct NodeKeys;

impl ServerCertVerifier for NodeKeys {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        certificate::node_of(end_entity).map_err(refused)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::ServerDoesNotSupportTls12Or13.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let node = certificate::node_of(cert).map_err(refused)?;
        if signed.scheme != SignatureScheme::ED25519 || !sign::verify(&node, message, signed.signature()) {
            return Err(CertificateError::BadSignature.into());
        }
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

fn refused(error: certificate::CertificateError) -> Error {
    CertificateError::Other(rustls::OtherError(Arc::new(error))).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_with_another_kind_of_key_is_refused_before_its_signature() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        let cert = rcgen::CertificateParams::default().self_signed(&key).expect("a certificate");
        let name = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
        let source = NodeKeys.verify_server_cert(cert.der(), &[], &name, &[], UnixTime::now()).expect_err("a refusal");
        let address = SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), 1);
        let error = crate::error::ClientError::Tls { address, source };
        assert!(error.to_string().ends_with("its key is not Ed25519"), "{error}");
    }

    #[test]
    fn nothing_older_or_weaker_is_offered() {
        let config = build();
        let groups: Vec<_> = config.crypto_provider().kx_groups.iter().map(|group| group.name()).collect();
        assert_eq!(groups, [rustls::NamedGroup::X25519MLKEM768]);
        assert!(!config.enable_early_data);
    }
}
