//! The task that owns the libp2p swarm: who may connect, who is dialled when, and where streams go.
//!
//! It never waits for a peer's task or for the owner, so pings are answered and the allow list is enforced however slow
//! the rest is. What the owner wants arrives as one value, the latest, never as a list of orders.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::StreamExt;
use keymesh_wire::ids::NodeId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, ListenError, NetworkBehaviour, SwarmEvent};
use libp2p::{PeerId, Swarm, noise, ping, tcp, yamux};
use libp2p_allow_block_list::{AllowedPeers, NotAllowed};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::backoff::{Backoff, jitter};
use super::config::{Carrier, Channel, Limits};
use super::events::EventSender;
use super::link::{Link, Notice, serve};
use super::peer_id::{node_id_of, peer_id_of};
use super::refusals::Refusals;
use super::streams::{self, Direction, Report, StreamEvent};
use super::{PeerEntry, TransportError, listen};

/// Two nodes that dial each other at once get two connections; one more would serve nothing.
const CONNECTIONS_PER_PEER: u32 = 2;

/// Pause before a stream that ended is opened again.
const REOPEN_AFTER: Duration = Duration::from_millis(100);

/// The node with the larger id lets the other dial first, so that most pairs end up with one connection.
const COURTESY: Duration = Duration::from_millis(100);

/// Two nodes that dial each other at once finish within this time. A peer that calls in later, while we hold older
/// connections with it, no longer has its end of them: nobody dials a peer it is connected with.
const SIMULTANEOUS: Duration = Duration::from_secs(2);

/// Yamux grants every stream 256 KiB and lets busy ones share what remains of one GiB per connection; libp2p exposes
/// only the number of streams. So many streams leave 16 MiB to share. A peer cannot use the number itself: streams
/// beyond a few are dropped before they are negotiated.
const YAMUX_STREAMS: usize = 4096 - 64;

/// Streams a peer may be negotiating at once on one connection.
const NEGOTIATING: usize = 16;

const QUIC_STREAMS: u32 = 32;
const QUIC_STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const QUIC_CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
const QUIC_IDLE_MS: u32 = 10_000;
const QUIC_KEEP_ALIVE: Duration = Duration::from_secs(2);

/// What the owner wants, as of now.
#[derive(Debug, Clone, Default)]
pub(super) struct Wishes {
    pub(super) peers: BTreeMap<NodeId, Vec<SocketAddr>>,
    pub(super) cut: BTreeSet<NodeId>,
    pub(super) stop: bool,
}

impl Wishes {
    /// Replaces the peers; entries of one node add up.
    pub(super) fn set_peers(&mut self, entries: Vec<PeerEntry>) {
        self.peers.clear();
        for entry in entries {
            self.peers.entry(entry.node).or_default().extend(entry.addresses);
        }
    }
}

/// The links of all listed peers, for senders and snapshots.
pub(super) type Links = Arc<ArcSwap<BTreeMap<NodeId, Arc<Link>>>>;

#[derive(NetworkBehaviour)]
struct Behaviour {
    // The order matters: an unlisted peer is refused before it counts against anything.
    allowed: libp2p_allow_block_list::Behaviour<AllowedPeers>,
    limits: libp2p_connection_limits::Behaviour,
    ping: ping::Behaviour,
    streams: streams::Behaviour,
}

/// One peer as the driver sees it.
struct Peer {
    addresses: Vec<SocketAddr>,
    link: Arc<Link>,
    /// Listed, whether or not cut.
    listed: bool,
    /// Listed and not cut.
    allowed: bool,
    /// With the time each was established, oldest first.
    connections: Vec<(ConnectionId, Instant)>,
    /// The connection that carries, or was asked for, our stream of each channel.
    outbound: [Option<ConnectionId>; 2],
    reopen_at: [Option<Instant>; 2],
    dialing: Option<ConnectionId>,
    dial_at: Option<Instant>,
    /// Which carrier the next attempt uses.
    carrier: usize,
    backoff: Backoff,
    task: AbortHandle,
}

/// What the driver is built from.
pub(super) struct Parts {
    pub(super) keypair: libp2p::identity::Keypair,
    pub(super) node: NodeId,
    pub(super) listen: Vec<SocketAddr>,
    pub(super) carriers: Vec<Carrier>,
    pub(super) limits: Limits,
    pub(super) wishes: watch::Receiver<Wishes>,
    pub(super) links: Links,
    pub(super) refusals: Arc<Refusals>,
    pub(super) events: EventSender,
}

/// The swarm and everything that decides about it.
pub(super) struct Driver {
    swarm: Swarm<Behaviour>,
    node: NodeId,
    carriers: Vec<Carrier>,
    limits: Limits,
    wishes: watch::Receiver<Wishes>,
    links: Links,
    refusals: Arc<Refusals>,
    events: EventSender,
    notices: mpsc::Receiver<Notice>,
    notice_sender: mpsc::Sender<Notice>,
    peers: HashMap<PeerId, Peer>,
    tasks: JoinSet<()>,
}

impl Driver {
    /// Builds the swarm and listens on every address.
    pub(super) fn new(parts: Parts) -> Result<Self, TransportError> {
        let swarm = listening_swarm(&parts)?;
        let (notice_sender, notices) = mpsc::channel(256);
        let Parts { node, carriers, limits, wishes, links, refusals, events, .. } = parts;
        Ok(Self {
            swarm,
            node,
            carriers,
            limits,
            wishes,
            links,
            refusals,
            events,
            notices,
            notice_sender,
            peers: HashMap::new(),
            tasks: JoinSet::new(),
        })
    }

    /// Runs until told to stop or until every handle is gone.
    pub(super) async fn run(mut self) {
        loop {
            let alarm = self.next_alarm();
            tokio::select! {
                changed = self.wishes.changed() => {
                    let wishes = self.wishes.borrow_and_update().clone();
                    if changed.is_err() || wishes.stop {
                        break;
                    }
                    self.apply(wishes);
                }
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                Some(notice) = self.notices.recv() => self.on_notice(notice),
                Some(_) = self.tasks.join_next(), if !self.tasks.is_empty() => {}
                () = sleep_until(alarm.unwrap_or_else(Instant::now)), if alarm.is_some() => self.on_alarm(),
            }
        }
        self.links.store(Arc::default());
        for peer in self.peers.values() {
            peer.link.end_session();
        }
        tracing::debug!(node = %self.node, "transport stopped");
    }

    fn apply(&mut self, wishes: Wishes) {
        let now = Instant::now();
        let mut listed = BTreeMap::new();
        for (node, addresses) in &wishes.peers {
            if *node == self.node {
                continue;
            }
            let Ok(peer_id) = peer_id_of(node) else {
                tracing::warn!(%node, "a listed node has no peer id and cannot be reached");
                continue;
            };
            let peer = self.peers.entry(peer_id).or_insert_with(|| {
                let link = Arc::new(Link::new(*node, &self.limits, now));
                let serving =
                    serve(link.clone(), self.events.clone(), self.notice_sender.clone(), self.limits.frame_bytes);
                Peer::new(link, self.tasks.spawn(serving), &self.limits)
            });
            peer.listed = true;
            if peer.addresses != *addresses {
                peer.addresses.clone_from(addresses);
                peer.carrier = 0;
                if peer.is_disconnected() {
                    peer.dial_at = Some(now);
                }
            }
            let allowed = !wishes.cut.contains(node);
            if allowed && !peer.allowed {
                peer.allowed = true;
                peer.backoff.reset();
                let courtesy = if self.node < *node { Duration::ZERO } else { jitter(COURTESY) };
                peer.dial_at = Some(now + courtesy);
                self.swarm.behaviour_mut().allowed.allow_peer(peer_id);
            }
            listed.insert(*node, peer.link.clone());
        }
        for (peer_id, peer) in &mut self.peers {
            peer.listed = wishes.peers.contains_key(&peer.link.node);
            let allowed = peer.listed && !wishes.cut.contains(&peer.link.node);
            if peer.allowed && !allowed {
                // The behaviour closes the connections; what still arrives from them is ignored from here on.
                self.swarm.behaviour_mut().allowed.disallow_peer(*peer_id);
                peer.disconnect();
            } else if !peer.listed {
                // Wakes the task, whose answer lets the entry go.
                peer.link.end_session();
            }
        }
        self.links.store(Arc::new(listed));
    }

    fn on_notice(&mut self, notice: Notice) {
        match notice {
            Notice::StreamEnded { node, session, channel } => {
                let Some(peer) = self.peers.values_mut().find(|peer| peer.link.node == node) else { return };
                if peer.link.is_current(session) {
                    peer.outbound[channel.index()] = None;
                    peer.reopen_at[channel.index()] = Some(Instant::now() + jitter(REOPEN_AFTER));
                }
            }
            Notice::Idle { node } => {
                let Ok(peer_id) = peer_id_of(&node) else { return };
                if self.peers.get(&peer_id).is_some_and(|peer| !peer.listed)
                    && let Some(peer) = self.peers.remove(&peer_id)
                {
                    peer.task.abort();
                }
            }
        }
    }

    fn next_alarm(&self) -> Option<Instant> {
        self.peers.values().flat_map(|peer| peer.reopen_at.iter().chain([&peer.dial_at])).filter_map(|at| *at).min()
    }

    fn on_alarm(&mut self) {
        let now = Instant::now();
        for (peer_id, peer) in &mut self.peers {
            for channel in Channel::ALL {
                let at = &mut peer.reopen_at[channel.index()];
                if at.is_some_and(|at| at <= now) {
                    *at = None;
                    open_stream(&mut self.swarm, *peer_id, peer, channel);
                }
            }
            if peer.dial_at.is_some_and(|at| at <= now) {
                peer.dial_at = None;
                if peer.allowed && peer.is_disconnected() {
                    dial(&mut self.swarm, *peer_id, peer, &self.carriers);
                }
            }
        }
    }

    fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Streams(event)) => self.on_stream(event),
            SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) => self.on_ping(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                let Some(peer) = self.peers.get_mut(&peer_id).filter(|peer| peer.allowed) else {
                    self.swarm.close_connection(connection_id);
                    return;
                };
                tracing::debug!(node = %peer.link.node, ?endpoint, "connected");
                if endpoint.is_listener() {
                    for dead in peer.superseded(Instant::now()) {
                        self.swarm.close_connection(dead);
                    }
                }
                peer.connections.push((connection_id, Instant::now()));
                peer.dial_at = None;
                if peer.dialing == Some(connection_id) {
                    peer.dialing = None;
                }
                for channel in Channel::ALL {
                    open_stream(&mut self.swarm, peer_id, peer, channel);
                }
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                let Some(peer) = self.peers.get_mut(&peer_id) else { return };
                if !peer.has(connection_id) {
                    return;
                }
                tracing::debug!(node = %peer.link.node, ?cause, "disconnected");
                peer.forget(connection_id);
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer_id), connection_id, error } => {
                self.on_dial_failure(peer_id, connection_id, &error);
            }
            SwarmEvent::IncomingConnectionError { peer_id, error, send_back_addr, .. } => match (peer_id, error) {
                (Some(peer_id), ListenError::Denied { cause }) if cause.downcast_ref::<NotAllowed>().is_some() => {
                    let name = node_id_of(&peer_id).map_or_else(|_| peer_id.to_string(), |node| node.to_string());
                    self.refusals.record(&name, &send_back_addr);
                }
                (_, error) => tracing::debug!(%error, address = %send_back_addr, "inbound connection failed"),
            },
            SwarmEvent::ListenerClosed { addresses, reason: Err(error), .. } => {
                tracing::warn!(?addresses, %error, "stopped listening");
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "listening hit an error"),
            _ => {}
        }
    }

    fn on_stream(&mut self, event: StreamEvent) {
        let StreamEvent { peer: peer_id, connection, report } = event;
        let Some(peer) = self.peers.get_mut(&peer_id) else { return };
        if !peer.has(connection) {
            return;
        }
        match report {
            Report::Opened { channel, direction, stream } => {
                if direction == Direction::Out && peer.outbound[channel.index()] != Some(connection) {
                    return;
                }
                // Only now has the peer accepted us: a refused dial also gets as far as a connection.
                peer.backoff.reset();
                peer.link.hand_over(channel, direction, stream);
            }
            Report::Failed { channel, reason } => {
                tracing::debug!(node = %peer.link.node, %channel, reason, "stream could not be opened");
                if peer.outbound[channel.index()] == Some(connection) {
                    peer.outbound[channel.index()] = None;
                    peer.reopen_at[channel.index()] = Some(Instant::now() + jitter(REOPEN_AFTER));
                }
            }
        }
    }

    fn on_ping(&mut self, event: ping::Event) {
        match event.result {
            Ok(round_trip) => {
                if let Some(peer) = self.peers.get(&event.peer).filter(|peer| peer.link.is_up()) {
                    peer.link.set_round_trip(round_trip);
                }
            }
            Err(ping::Failure::Unsupported) => {}
            Err(error @ (ping::Failure::Timeout | ping::Failure::Other { .. })) => {
                tracing::debug!(peer = %event.peer, %error, "closing a connection that does not answer");
                self.swarm.close_connection(event.connection);
            }
        }
    }

    fn on_dial_failure(&mut self, peer_id: PeerId, connection: ConnectionId, error: &DialError) {
        let Some(peer) = self.peers.get_mut(&peer_id) else { return };
        tracing::debug!(node = %peer.link.node, %error, "dial failed");
        if peer.dialing == Some(connection) {
            peer.dialing = None;
            peer.retry_dial(self.carriers.len());
        }
    }
}

impl Peer {
    fn new(link: Arc<Link>, task: AbortHandle, limits: &Limits) -> Self {
        Self {
            addresses: Vec::new(),
            link,
            listed: true,
            allowed: false,
            connections: Vec::new(),
            outbound: [None; 2],
            reopen_at: [None; 2],
            dialing: None,
            dial_at: None,
            carrier: 0,
            backoff: Backoff::new(limits.redial_max),
            task,
        }
    }

    fn is_disconnected(&self) -> bool {
        self.connections.is_empty() && self.dialing.is_none()
    }

    fn has(&self, connection: ConnectionId) -> bool {
        self.connections.iter().any(|(known, _)| *known == connection)
    }

    /// The connections the peer must have lost, since it calls in again; they count as closed from here on.
    ///
    /// Without this a peer that lost power and came back would be sent frames into its old connection, and the core
    /// would not learn that it had gone, until a ping timed out.
    fn superseded(&mut self, now: Instant) -> Vec<ConnectionId> {
        let old = |since: &Instant| now.saturating_duration_since(*since) > SIMULTANEOUS;
        let dead: Vec<_> = self.connections.iter().filter(|(_, since)| old(since)).map(|(id, _)| *id).collect();
        for connection in &dead {
            self.forget(*connection);
        }
        dead
    }

    /// No longer allowed: nothing is expected of it any more.
    fn disconnect(&mut self) {
        self.allowed = false;
        self.connections.clear();
        self.outbound = [None; 2];
        self.reopen_at = [None; 2];
        self.dialing = None;
        self.dial_at = None;
        self.link.end_session();
    }

    /// One connection closed.
    fn forget(&mut self, connection: ConnectionId) {
        self.connections.retain(|(known, _)| *known != connection);
        let now = Instant::now();
        for channel in Channel::ALL.map(Channel::index) {
            if self.outbound[channel] == Some(connection) {
                self.outbound[channel] = None;
                self.reopen_at[channel] = (!self.connections.is_empty()).then_some(now);
            }
        }
        if self.connections.is_empty() {
            self.reopen_at = [None; 2];
            self.carrier = 0;
            self.dial_at = Some(now + self.backoff.next());
            self.link.end_session();
        }
    }

    /// Tries the next carrier at once; after the last one, pauses.
    fn retry_dial(&mut self, carriers: usize) {
        self.carrier = (self.carrier + 1) % carriers;
        if self.connections.is_empty() {
            let pause = if self.carrier == 0 { self.backoff.next() } else { Duration::ZERO };
            self.dial_at = Some(Instant::now() + pause);
        }
    }
}

/// Asks for our stream of `channel` on the newest connection, unless one has been asked for.
fn open_stream(swarm: &mut Swarm<Behaviour>, peer_id: PeerId, peer: &mut Peer, channel: Channel) {
    if peer.outbound[channel.index()].is_none()
        && let Some((connection, _)) = peer.connections.last()
    {
        peer.outbound[channel.index()] = Some(*connection);
        swarm.behaviour_mut().streams.open(peer_id, *connection, channel);
    }
}

fn dial(swarm: &mut Swarm<Behaviour>, peer_id: PeerId, peer: &mut Peer, carriers: &[Carrier]) {
    if peer.addresses.is_empty() {
        return;
    }
    let carrier = carriers[peer.carrier % carriers.len()];
    let addresses = peer.addresses.iter().map(|address| listen::multiaddr(*address, carrier)).collect();
    let mut options = DialOpts::peer_id(peer_id).condition(PeerCondition::Disconnected).addresses(addresses);
    // From the listening port, two nodes dialling each other by TCP at once would meet in one half-made connection.
    // QUIC keeps the port, so that a node that restarts can tell its peers their connections are void.
    if carrier == Carrier::Tcp {
        options = options.allocate_new_port();
    }
    let options = options.build();
    peer.dialing = Some(options.connection_id());
    if let Err(error) = swarm.dial(options) {
        tracing::debug!(node = %peer.link.node, %error, "dial refused");
        peer.dialing = None;
        peer.retry_dial(carriers.len());
    }
}

fn listening_swarm(parts: &Parts) -> Result<Swarm<Behaviour>, TransportError> {
    let limits = &parts.limits;
    let behaviour = Behaviour {
        allowed: libp2p_allow_block_list::Behaviour::default(),
        limits: libp2p_connection_limits::Behaviour::new(
            libp2p_connection_limits::ConnectionLimits::default()
                .with_max_pending_incoming(Some(limits.pending_inbound))
                .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER)),
        ),
        ping: ping::Behaviour::new(
            ping::Config::new().with_interval(limits.ping_interval).with_timeout(limits.ping_timeout),
        ),
        streams: streams::Behaviour::default(),
    };
    let yamux = || {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(YAMUX_STREAMS);
        config
    };
    let mut swarm = libp2p::SwarmBuilder::with_existing_identity(parts.keypair.clone())
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux)
        .map_err(|source| TransportError::Noise { reason: source.to_string() })?
        .with_quic_config(|mut config| {
            config.max_concurrent_stream_limit = QUIC_STREAMS;
            config.max_stream_data = QUIC_STREAM_WINDOW;
            config.max_connection_data = QUIC_CONNECTION_WINDOW;
            config.max_idle_timeout = QUIC_IDLE_MS;
            config.keep_alive_interval = QUIC_KEEP_ALIVE;
            config
        })
        .with_behaviour(|_| behaviour)
        .map_err(|never| match never {})?
        .with_swarm_config(|config| config.with_max_negotiating_inbound_streams(NEGOTIATING))
        .build();
    for address in &parts.listen {
        for carrier in &parts.carriers {
            swarm.listen_on(listen::multiaddr(*address, *carrier)).map_err(|error| {
                let source = match error {
                    libp2p::TransportError::Other(source) => source,
                    unsupported @ libp2p::TransportError::MultiaddrNotSupported(_) => {
                        std::io::Error::new(std::io::ErrorKind::Unsupported, unsupported.to_string())
                    }
                };
                listen::listen_error(*address, *carrier, source)
            })?;
        }
    }
    Ok(swarm)
}
