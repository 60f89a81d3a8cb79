//! Addresses: literal ip and port, as libp2p writes them, and whether they are free.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use super::TransportError;
use super::config::Carrier;

/// How often a free port for both carriers is looked for before giving up.
const PORT_TRIES: usize = 16;

/// An address as libp2p writes it.
pub(super) fn multiaddr(address: SocketAddr, carrier: Carrier) -> Multiaddr {
    let base = Multiaddr::from(address.ip());
    match carrier {
        Carrier::Tcp => base.with(Protocol::Tcp(address.port())),
        Carrier::Quic => base.with(Protocol::Udp(address.port())).with(Protocol::QuicV1),
    }
}

/// Checks that `address` is free for every carrier and returns it with its port filled in.
///
/// libp2p sets SO_REUSEPORT on its TCP listeners, so a second node on the same port would start without an error and
/// the kernel would deal connections out between the two. A plain socket, bound and let go, finds that out. Another
/// process can still take the port in the moment between; for that the caller keeps libp2p's own error.
///
/// # Errors
/// [`TransportError::AddressInUse`] or [`TransportError::Listen`], naming the address.
pub(super) fn check_free(address: SocketAddr, carriers: &[Carrier]) -> Result<SocketAddr, TransportError> {
    let mut tries = if address.port() == 0 { PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        match check_once(address, carriers) {
            Err(TransportError::AddressInUse { .. }) if tries > 0 => {}
            outcome => return outcome,
        }
    }
}

fn check_once(mut address: SocketAddr, carriers: &[Carrier]) -> Result<SocketAddr, TransportError> {
    let mut held: (Option<TcpListener>, Option<UdpSocket>) = (None, None);
    for carrier in carriers {
        let bound = match carrier {
            Carrier::Tcp => TcpListener::bind(address).and_then(|s| held.0.insert(s).local_addr()),
            Carrier::Quic => UdpSocket::bind(address).and_then(|s| held.1.insert(s).local_addr()),
        };
        address = bound.map_err(|source| listen_error(address, *carrier, source))?;
    }
    Ok(address)
}

/// Names the address in what the system reported.
pub(super) fn listen_error(address: SocketAddr, carrier: Carrier, source: io::Error) -> TransportError {
    if source.kind() == io::ErrorKind::AddrInUse {
        TransportError::AddressInUse { address, carrier }
    } else {
        TransportError::Listen { address, carrier, source }
    }
}
