//! Opaque frames between admitted nodes, over libp2p.
//!
//! Guarantees: a frame delivered as from a node was sent by the holder of that node's key (Noise over TCP, TLS 1.3 over
//! QUIC), and only listed nodes connect, in either direction. A listed node is dialled until it answers, with growing,
//! jittered pauses. Frames of one channel arrive in order while a connection lasts; a broken one loses what was on the
//! way, and the owner learns of it by [`Event::Down`]. Everything is bounded: queues, read-ahead, events and their
//! bytes; a slow owner slows its peers.
//!
//! Leaves to others: what frames mean and who is admitted (the core; I2), delivery across failures (the core's
//! reconciliation and retries), and everything agents and people connect to (the doors). Addresses are literal; there
//! is no discovery, no relay, no DNS: membership is signed, and a node found any other way would be refused anyway.
//!
//! `mod.rs` is the whole public surface. `driver` owns the swarm, `streams` is its behaviour, `link` serves one peer.

mod backoff;
mod bucket;
mod config;
mod driver;
mod events;
mod frame;
mod link;
mod listen;
mod outbox;
pub mod peer_id;
mod refusals;
mod stats;
mod streams;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use keymesh_wire::ids::NodeId;
use tokio::sync::watch;

pub use config::{Carrier, Channel, Limits, MAX_FRAME, Rate, TransportConfig};
pub use events::{Event, Events, Misbehaviour};
pub use stats::{ChannelStats, PeerStats, Stats};

use driver::{Driver, Links, Parts, Wishes};
use outbox::Refusal;
use refusals::Refusals;

/// Why a transport did not start.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// Another process, or another node on this machine, listens there.
    #[error("cannot listen on {address} by {carrier}: the address is in use")]
    AddressInUse {
        /// The address.
        address: SocketAddr,
        /// The carrier.
        carrier: Carrier,
    },
    /// The system refused the address.
    #[error("cannot listen on {address} by {carrier}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The carrier.
        carrier: Carrier,
        /// What the system reported.
        source: io::Error,
    },
    /// Both carriers are switched off.
    #[error("neither TCP nor QUIC is switched on")]
    NoCarrier,
    /// A limit is outside its range.
    #[error("the limit `{limit}` is outside its range")]
    Limit {
        /// The name of the field in [`Limits`].
        limit: &'static str,
    },
    /// The seed gives no key libp2p accepts.
    #[error("the identity seed was not accepted: {reason}")]
    Identity {
        /// What libp2p reported.
        reason: String,
    },
    /// Noise could not be set up with the key.
    #[error("Noise could not be set up: {reason}")]
    Noise {
        /// What libp2p reported.
        reason: String,
    },
    /// The call was not made on a tokio runtime.
    #[error("a transport starts only inside a tokio runtime")]
    NoRuntime,
}

/// Why a frame was not queued. The frame is lost; the core sends what still matters again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The node is not listed, or the transport has stopped.
    #[error("{to} is not a listed peer")]
    NotListed {
        /// The addressee.
        to: NodeId,
    },
    /// The node is not connected.
    #[error("{to} is down")]
    Down {
        /// The addressee.
        to: NodeId,
    },
    /// The peer reads slower than we send.
    #[error("the {channel} queue for {to} is full with {frames} frames, {bytes} bytes")]
    Full {
        /// The addressee.
        to: NodeId,
        /// The channel.
        channel: Channel,
        /// Frames waiting.
        frames: usize,
        /// Bytes waiting.
        bytes: usize,
    },
    /// The frame is larger than the limit.
    #[error("a frame of {len} bytes is above the limit of {limit}")]
    TooLarge {
        /// The frame's length in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
}

/// A node this one may talk to, and where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerEntry {
    /// The node: its key is checked by the handshake.
    pub node: NodeId,
    /// Where it listens; empty if it will call.
    pub addresses: Vec<SocketAddr>,
}

/// Starts transports.
#[derive(Debug)]
pub struct Transport;

impl Transport {
    /// Listens on every configured address and starts the tasks that carry frames. Nobody is listed yet.
    ///
    /// # Errors
    /// [`TransportError`]; when an address cannot be had it is named, and nothing is left running.
    pub fn start(config: TransportConfig) -> Result<(TransportHandle, Events), TransportError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| TransportError::NoRuntime)?;
        if let Some(limit) = config.limits.out_of_range() {
            return Err(TransportError::Limit { limit });
        }
        let carriers = config.carriers();
        if carriers.is_empty() {
            return Err(TransportError::NoCarrier);
        }
        let (keypair, node) = identity(&config)?;
        let listen = config
            .listen
            .iter()
            .map(|address| listen::check_free(*address, &carriers))
            .collect::<Result<Vec<_>, _>>()?;

        let (wishes, wishes_receiver) = watch::channel(Wishes::default());
        let (event_sender, events) = events::queue(config.limits.event_queue, config.limits.event_bytes);
        let links = Links::default();
        let refusals = Arc::<Refusals>::default();
        let frame_limit = config.limits.frame_bytes;
        let driver = Driver::new(Parts {
            keypair,
            node,
            listen: listen.clone(),
            carriers,
            limits: config.limits,
            wishes: wishes_receiver,
            links: links.clone(),
            refusals: refusals.clone(),
            events: event_sender,
        })?;
        runtime.spawn(driver.run());
        tracing::info!(%node, ?listen, "transport listens");
        let shared = Shared { node, listen, frame_limit, wishes, links, refusals };
        Ok((TransportHandle { shared: Arc::new(shared) }, events))
    }
}

/// The key and the id a seed gives.
fn identity(config: &TransportConfig) -> Result<(libp2p::identity::Keypair, NodeId), TransportError> {
    let refused = |reason: String| TransportError::Identity { reason };
    let keypair =
        libp2p::identity::Keypair::ed25519_from_bytes(config.seed.clone()).map_err(|e| refused(e.to_string()))?;
    let public = keypair.public().try_into_ed25519().map_err(|e| refused(e.to_string()))?;
    Ok((keypair, NodeId::from_bytes(public.to_bytes())))
}

/// Controls a running transport. Clones control the same one; it stops when the last is dropped.
#[derive(Clone)]
pub struct TransportHandle {
    shared: Arc<Shared>,
}

struct Shared {
    node: NodeId,
    listen: Vec<SocketAddr>,
    frame_limit: usize,
    wishes: watch::Sender<Wishes>,
    links: Links,
    refusals: Arc<Refusals>,
}

impl fmt::Debug for TransportHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransportHandle")
            .field("node", &self.shared.node)
            .field("listen", &self.shared.listen)
            .finish_non_exhaustive()
    }
}

impl TransportHandle {
    /// This node's id, derived from the seed.
    pub fn node(&self) -> NodeId {
        self.shared.node
    }

    /// The addresses listened on, ports filled in, in the order of the configuration.
    pub fn listening(&self) -> &[SocketAddr] {
        &self.shared.listen
    }

    /// Lists the peers, replacing the list before. New ones are dialled, missing ones disconnected. This node itself
    /// may be among them and is ignored. Takes effect soon after the call returns.
    pub fn set_peers(&self, peers: Vec<PeerEntry>) {
        self.shared.wishes.send_modify(|wishes| wishes.set_peers(peers));
    }

    /// A testing aid: behaves as if these nodes were not listed, until called again with others or none.
    pub fn cut(&self, nodes: Vec<NodeId>) {
        self.shared.wishes.send_modify(|wishes| wishes.cut = nodes.into_iter().collect());
    }

    /// Queues a frame for a connected peer. Never waits; that it is queued does not mean that it arrives.
    ///
    /// # Errors
    /// [`SendError`]; the frame is then dropped, and counted where the peer is listed.
    pub fn send(&self, to: NodeId, channel: Channel, frame: Vec<u8>) -> Result<(), SendError> {
        if frame.len() > self.shared.frame_limit {
            return Err(SendError::TooLarge { len: frame.len(), limit: self.shared.frame_limit });
        }
        let links = self.shared.links.load();
        let link = links.get(&to).ok_or(SendError::NotListed { to })?;
        link.outbox(channel).push(frame).map_err(|refusal| {
            link.counters(channel).dropped_frames.add(1);
            match refusal {
                Refusal::Closed => SendError::Down { to },
                Refusal::Full { frames, bytes } => SendError::Full { to, channel, frames, bytes },
            }
        })
    }

    /// How long a ping to a peer last took there and back; nothing if none was answered yet.
    pub fn round_trip(&self, peer: &NodeId) -> Option<Duration> {
        self.shared.links.load().get(peer)?.round_trip()
    }

    /// A snapshot of every listed peer.
    pub fn stats(&self) -> Stats {
        Stats {
            refused_connections: self.shared.refusals.count(),
            peers: self.shared.links.load().values().map(|link| link.stats()).collect(),
        }
    }

    /// Stops the transport and returns once it no longer accepts connections. Other handles then find no peers.
    pub async fn shutdown(&self) {
        self.shared.wishes.send_modify(|wishes| wishes.stop = true);
        self.shared.wishes.closed().await;
    }
}
