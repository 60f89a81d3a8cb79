//! What a transport is started with, and its limits.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use zeroize::Zeroizing;

/// The largest frame the protocol allows, in bytes.
pub const MAX_FRAME: usize = 1024 * 1024;

/// The two kinds of traffic between nodes. Each has a stream of its own, so neither waits behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// Replication of signed statements.
    Spread,
    /// Rounds among custodians: requests, partials, sealed shares.
    Custody,
}

impl Channel {
    /// Every channel, in the order of [`Channel::index`].
    pub const ALL: [Self; 2] = [Self::Spread, Self::Custody];

    /// The stream protocol's name on the wire.
    pub const fn protocol(self) -> &'static str {
        match self {
            Self::Spread => "/keymesh/spread/1",
            Self::Custody => "/keymesh/custody/1",
        }
    }

    pub(super) const fn index(self) -> usize {
        match self {
            Self::Spread => 0,
            Self::Custody => 1,
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spread => "spread",
            Self::Custody => "custody",
        })
    }
}

/// How bytes travel. Both authenticate the peer by its node key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// TCP with Noise and Yamux.
    Tcp,
    /// QUIC over UDP.
    Quic,
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Quic => "QUIC",
        })
    }
}

/// A rate with the burst it lets through at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Sustained amount per second; at least 1.
    pub per_second: u64,
    /// Amount let through at once after a quiet time; at least 1.
    pub burst: u64,
}

/// Bounds on what peers and callers can make a transport hold or do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest frame in either direction, in bytes; 1 to [`MAX_FRAME`].
    pub frame_bytes: usize,
    /// Frames waiting per peer and channel.
    pub queue_frames: usize,
    /// Bytes waiting per peer and channel; at least `frame_bytes`.
    pub queue_bytes: usize,
    /// Events waiting for the receiver.
    pub event_queue: usize,
    /// Bytes of received frames waiting for the receiver, over all peers; `frame_bytes` to 4 GiB.
    pub event_bytes: u32,
    /// Bytes read per second from one peer.
    pub inbound_bytes: Rate,
    /// Frames read per second from one peer.
    pub inbound_frames: Rate,
    /// Longest pause between two attempts to reach a peer; the first is 100 ms.
    pub redial_max: Duration,
    /// Pause between two measurements of the round trip on a connection.
    pub ping_interval: Duration,
    /// A connection whose ping is unanswered for so long is closed.
    pub ping_timeout: Duration,
    /// Connections from outside whose peer is not yet authenticated.
    pub pending_inbound: u32,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self {
            frame_bytes: MAX_FRAME,
            queue_frames: 4096,
            queue_bytes: 16 * MAX_FRAME,
            event_queue: 1024,
            event_bytes: 32 * 1024 * 1024,
            inbound_bytes: Rate { per_second: 128 * MIB, burst: 128 * MIB },
            inbound_frames: Rate { per_second: 100_000, burst: 100_000 },
            redial_max: Duration::from_secs(5),
            ping_interval: Duration::from_secs(5),
            ping_timeout: Duration::from_secs(10),
            pending_inbound: 128,
        }
    }
}

impl Limits {
    /// The first limit outside its range, by name.
    pub(super) fn out_of_range(&self) -> Option<&'static str> {
        let rate_ok = |rate: &Rate| rate.per_second > 0 && rate.burst > 0;
        let checks = [
            ((1..=MAX_FRAME).contains(&self.frame_bytes), "frame_bytes"),
            (self.queue_frames > 0, "queue_frames"),
            (self.queue_bytes >= self.frame_bytes, "queue_bytes"),
            (self.event_queue > 0, "event_queue"),
            (self.event_bytes as usize >= self.frame_bytes, "event_bytes"),
            (rate_ok(&self.inbound_bytes), "inbound_bytes"),
            (rate_ok(&self.inbound_frames), "inbound_frames"),
            (!self.redial_max.is_zero(), "redial_max"),
            (!self.ping_interval.is_zero(), "ping_interval"),
            (!self.ping_timeout.is_zero(), "ping_timeout"),
            (self.pending_inbound > 0, "pending_inbound"),
        ];
        checks.into_iter().find(|(ok, _)| !ok).map(|(_, name)| name)
    }
}

/// What a transport needs to start. `Debug` shows no secret.
pub struct TransportConfig {
    /// The Ed25519 seed of this node. libp2p keeps its own copies of the key for as long as the transport runs.
    pub seed: Zeroizing<[u8; 32]>,
    /// Addresses to listen on; port 0 takes a free one, the same for both carriers.
    pub listen: Vec<SocketAddr>,
    /// Listen and dial by TCP.
    pub tcp: bool,
    /// Listen and dial by QUIC, on the same port numbers.
    pub quic: bool,
    /// Bounds.
    pub limits: Limits,
}

impl TransportConfig {
    /// Both carriers and the default limits.
    pub fn new(seed: Zeroizing<[u8; 32]>, listen: Vec<SocketAddr>) -> Self {
        Self { seed, listen, tcp: true, quic: true, limits: Limits::default() }
    }

    /// The carriers in the order in which they are tried. TCP leads: it costs less time per frame, and where a
    /// firewall drops it, QUIC follows at once.
    pub(super) fn carriers(&self) -> Vec<Carrier> {
        [(self.tcp, Carrier::Tcp), (self.quic, Carrier::Quic)]
            .into_iter()
            .filter_map(|(on, carrier)| on.then_some(carrier))
            .collect()
    }
}

impl fmt::Debug for TransportConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransportConfig")
            .field("listen", &self.listen)
            .field("tcp", &self.tcp)
            .field("quic", &self.quic)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
