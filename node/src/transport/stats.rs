//! Counters of a transport and their snapshot.

use std::sync::atomic::{AtomicU64, Ordering};

use keymesh_wire::ids::NodeId;
use serde::Serialize;

use super::config::Channel;

/// A snapshot of a transport.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Connections refused because their peer is not listed.
    pub refused_connections: u64,
    /// Every listed peer, by node id.
    pub peers: Vec<PeerStats>,
}

/// A snapshot of one peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PeerStats {
    /// The peer.
    pub node: NodeId,
    /// Whether it is up.
    pub connected: bool,
    /// Last measured round trip in microseconds while connected.
    pub round_trip_micros: Option<u64>,
    /// How often it broke the framing.
    pub misbehaved: u64,
    /// One entry per channel.
    pub channels: Vec<ChannelStats>,
}

/// A snapshot of one channel with one peer. Bytes are those of frames, without prefixes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChannelStats {
    /// The channel.
    pub channel: Channel,
    /// Frames waiting to be written.
    pub queued_frames: usize,
    /// Bytes waiting to be written.
    pub queued_bytes: usize,
    /// Frames written.
    pub sent_frames: u64,
    /// Bytes written.
    pub sent_bytes: u64,
    /// Frames handed to the receiver.
    pub received_frames: u64,
    /// Bytes handed to the receiver.
    pub received_bytes: u64,
    /// Frames refused because the queue was full, or lost with a connection.
    pub dropped_frames: u64,
    /// Frames of which only a part arrived.
    pub truncated_frames: u64,
}

/// A count that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one channel.
#[derive(Debug, Default)]
pub(super) struct ChannelCounters {
    pub(super) sent_frames: Counter,
    pub(super) sent_bytes: Counter,
    pub(super) received_frames: Counter,
    pub(super) received_bytes: Counter,
    pub(super) dropped_frames: Counter,
    pub(super) truncated_frames: Counter,
}
