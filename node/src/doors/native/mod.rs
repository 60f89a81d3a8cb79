//! The native API: JSON over HTTPS (see [`keymesh_wire::api`]), TLS 1.3 by rustls, HTTP/1.1 by hyper.
//!
//! Guarantees: every connection has its own TLS exporter, to which its one session is bound; requests of a connection are
//! served one after the other; connections, handshakes, headers, bodies, answers and waits are bounded; every refusal is a
//! [`keymesh_wire::error::WireError`].

mod answer;
mod body;
mod handlers;
mod patient;
mod routes;
mod session;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use keymesh_wire::request::EXPORTER_LABEL;
use keymesh_wire::sign::Identity;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use self::patient::Patient;
use self::session::Connection;
use crate::config::Config;
use crate::ops::Node;

pub use self::routes::paths;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long requests under way may take once the door closes.
const CLOSE: Duration = Duration::from_millis(500);

/// Why the door did not open.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// Another process, or another node on this machine, listens there.
    #[error("cannot listen on {address}: the address is in use")]
    AddressInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The system refused the address.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system reported.
        source: io::Error,
    },
    /// The node's key gives no certificate.
    #[error("the node's certificate could not be made: {0}")]
    Certificate(String),
}

/// What every request needs.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The node.
    pub(crate) node: Arc<Node>,
    /// The largest body.
    pub(crate) body_bytes: usize,
}

/// A door whose port is taken and which does not answer yet.
#[derive(Debug)]
pub struct Bound {
    listener: std::net::TcpListener,
    address: SocketAddr,
    tls: Arc<rustls::ServerConfig>,
    body_bytes: usize,
    connections: usize,
    idle: Duration,
    allow_faults: bool,
}

/// Takes the port and makes the certificate.
///
/// # Errors
/// [`DoorError`].
pub fn bind(identity: &Identity, config: &Config) -> Result<Bound, DoorError> {
    let address = config.listen.door;
    let refused = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => DoorError::AddressInUse { address },
        _ => DoorError::Listen { address, source },
    };
    let listener = std::net::TcpListener::bind(address).map_err(refused)?;
    listener.set_nonblocking(true).map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    Ok(Bound {
        listener,
        address,
        tls: Arc::new(tls::config(identity)?),
        body_bytes: config.limits.body_bytes,
        connections: config.limits.connections,
        idle: Duration::from_millis(config.limits.idle.0),
        allow_faults: config.allow_faults,
    })
}

/// An open door.
#[derive(Debug)]
pub struct Door {
    address: SocketAddr,
    close: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Door {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no further connections, lets requests under way finish for a moment, and closes.
    pub async fn stop(self) {
        self.close.send_replace(true);
        // The task ends by itself and has nothing to report.
        let _ = self.accepting.await;
    }
}

/// Serves the door on the current runtime.
pub fn serve(bound: Bound, node: Arc<Node>) -> Door {
    let (close, closing) = watch::channel(false);
    let address = bound.address;
    let accepting = tokio::spawn(accept(bound, node, closing));
    Door { address, close, accepting }
}

async fn accept(bound: Bound, node: Arc<Node>, mut closing: watch::Receiver<bool>) {
    let listener = match TcpListener::from_std(bound.listener) {
        Ok(listener) => listener,
        Err(error) => {
            node.warn(format!("the door at {} does not open: {error}", bound.address));
            return;
        }
    };
    let shared = Arc::new(Shared { node: node.clone(), body_bytes: bound.body_bytes });
    let router = routes::router(shared, bound.allow_faults);
    let tls = TlsAcceptor::from(bound.tls);
    let (room, idle) = (Arc::new(Semaphore::new(bound.connections)), bound.idle);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = closed(&mut closing) => break,
        };
        let socket = match accepted {
            Ok((socket, _)) => socket,
            Err(error) => {
                // Out of file descriptors, mostly: room comes back when a connection ends.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(permit) = room.clone().try_acquire_owned() else {
            node.metrics.connections_refused.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let (node, tls, router, closing) = (node.clone(), tls.clone(), router.clone(), closing.clone());
        connections.spawn(async move {
            let _permit = permit;
            node.metrics.connections.fetch_add(1, Ordering::Relaxed);
            connection(socket, &node, &tls, router, idle, closing).await;
            node.metrics.connections.fetch_sub(1, Ordering::Relaxed);
        });
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(CLOSE, finished).await.is_err() {
        connections.shutdown().await;
    }
}

/// Returns once the door closes, or is gone.
async fn closed(closing: &mut watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn connection(
    socket: TcpStream,
    node: &Arc<Node>,
    tls: &TlsAcceptor,
    router: Router,
    idle: Duration,
    mut closing: watch::Receiver<bool>,
) {
    // Answers are small and waited for; a socket that refuses the option still works.
    let _ = socket.set_nodelay(true);
    let handshake = tokio::time::timeout(HANDSHAKE, tls.accept(Patient::new(socket, idle))).await;
    let Ok(Ok(stream)) = handshake else {
        node.metrics.handshakes_failed.fetch_add(1, Ordering::Relaxed);
        return;
    };
    let exporter = stream.get_ref().1.export_keying_material([0; 32], EXPORTER_LABEL, Some(&[]));
    let Ok(exporter) = exporter else {
        node.metrics.handshakes_failed.fetch_add(1, Ordering::Relaxed);
        return;
    };
    let connection = Arc::new(Connection::new(exporter));
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(connection.clone());
        router.clone().oneshot(request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .max_headers(32)
        .max_buf_size(32 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = closed(&mut closing) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "a connection broke");
    }
}
