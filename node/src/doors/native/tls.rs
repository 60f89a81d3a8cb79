//! TLS of the native door: 1.3 only, the node's own Ed25519 key as certificate.
//!
//! Clients check the key in the certificate against the signed membership; names, dates and issuer mean nothing. No session
//! is resumed and nothing is sent early, so every connection has an exporter of its own.

use std::sync::Arc;

use keymesh_wire::sign::Identity;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::NoServerSessionStorage;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::DoorError;

/// RFC 8410 section 7: an Ed25519 seed in its fixed frame.
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// The door's TLS. rcgen, rustls and aws-lc keep copies of the key for as long as the door is open.
pub(super) fn config(identity: &Identity) -> Result<ServerConfig, DoorError> {
    let failed = |error: &dyn std::fmt::Display| DoorError::Certificate(error.to_string());
    let pkcs8 = Zeroizing::new([&PKCS8[..], identity.expose_seed()].concat());
    let der = PrivatePkcs8KeyDer::from(pkcs8.as_slice());
    let key = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ED25519).map_err(|e| failed(&e))?;
    let certificate = rcgen::CertificateParams::default().self_signed(&key).map_err(|e| failed(&e))?;
    let chain = vec![certificate.der().clone()];
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| failed(&e))?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::Pkcs8(der.clone_key()))
        .map_err(|e| failed(&e))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use keymesh_wire::secret::Secret32;

    use super::*;

    #[test]
    fn the_certificates_key_is_the_node() {
        let identity = Identity::from_seed(Secret32::build(|out| out.fill(7)));
        let config = config(&identity).expect("a configuration");
        assert_eq!(config.send_tls13_tickets, 0);
        assert_eq!(config.max_early_data_size, 0);
    }
}
