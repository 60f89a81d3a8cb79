//! How much the spread holds, sends and asks for. Limits throttle: what they drop comes again by reconciliation.

use keymesh_wire::limits;
use keymesh_wire::time::Millis;

/// Counts, sizes, rates and spans of one [`Spread`](super::Spread).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpreadLimits {
    /// To how many peers a statement submitted here is pushed at once; the other peers hear its id.
    pub push_fanout: usize,
    /// A statement of at most so many bytes, its ciphertexts included, is pushed to all peers instead.
    pub push_small: usize,
    /// How many peers a node tells about statements that it got from a peer.
    pub announce_fanout: usize,
    /// How long such ids are gathered before they are told.
    pub announce_delay: Millis,
    /// How often digests are compared with `compare_fanout` peers, or with all if there are fewer; jittered by a quarter
    /// to either side.
    pub reconcile_every: Millis,
    /// With how many peers digests are compared in `reconcile_every`, each after the other.
    pub compare_fanout: usize,
    /// How long an answer to a pull is waited for before the next peer is asked.
    pub retry: Millis,
    /// How often a missing statement is asked for before it is given up.
    pub tries: u32,
    /// Statements per peer that may wait for their parents.
    pub waiting_count: usize,
    /// Bytes of statements per peer that may wait for their parents.
    pub waiting_bytes: usize,
    /// Missing statements that one peer may make this node ask for.
    pub wants_per_peer: usize,
    /// Reconciliations at a time, over all peers and documents.
    pub sessions: usize,
    /// Round trips of one reconciliation.
    pub rounds: u32,
    /// How long a reconciliation or a transfer waits for the peer.
    pub session_timeout: Millis,
    /// The largest reconciliation message, in bytes; at least 4096.
    pub reconcile_bytes: u64,
    /// Bytes of statements in one frame of a transfer.
    pub chunk_bytes: usize,
    /// Statements in one frame of a transfer.
    pub chunk_statements: usize,
    /// Bytes in the answer to one pull.
    pub answer_bytes: usize,
    /// Frames a second taken from one peer.
    pub frames_per_s: u64,
    /// Bytes a second taken from one peer.
    pub bytes_per_s: u64,
    /// Signatures a second checked for one peer.
    pub checks_per_s: u64,
    /// Bytes a second sent to one peer because it asked.
    pub served_per_s: u64,
    /// How many seconds of each rate may come at once.
    pub burst_s: u64,
    /// Peers remembered, connected or not.
    pub peers: usize,
}

impl Default for SpreadLimits {
    fn default() -> Self {
        Self {
            push_fanout: 7,
            push_small: 1024,
            announce_fanout: 3,
            announce_delay: Millis(20),
            reconcile_every: Millis::seconds(10),
            compare_fanout: 8,
            retry: Millis(500),
            tries: 6,
            waiting_count: 1024,
            waiting_bytes: 4 << 20,
            wants_per_peer: 4096,
            sessions: 16,
            rounds: 64,
            session_timeout: Millis::seconds(5),
            reconcile_bytes: 64 << 10,
            chunk_bytes: 256 << 10,
            chunk_statements: 512,
            answer_bytes: 4 << 20,
            frames_per_s: 4000,
            bytes_per_s: 16 << 20,
            checks_per_s: 2000,
            served_per_s: 32 << 20,
            burst_s: 4,
            peers: 1024,
        }
    }
}

impl SpreadLimits {
    /// These limits within the bounds in which they make sense: whatever is sent fits a frame, and every bucket can hold
    /// what is taken from it at once.
    pub(super) fn sane(mut self) -> Self {
        let largest = limits::STATEMENT_BYTES + limits::BLOB_BYTES;
        self.chunk_bytes = self.chunk_bytes.clamp(1, limits::FRAME_BYTES - largest);
        self.reconcile_bytes = self.reconcile_bytes.clamp(4096, limits::FRAME_BYTES as u64 / 2);
        self.burst_s = self.burst_s.max(1);
        self.frames_per_s = self.frames_per_s.max(1);
        self.checks_per_s = self.checks_per_s.max(1);
        self.bytes_per_s = self.bytes_per_s.max(limits::FRAME_BYTES as u64);
        self.served_per_s = self.served_per_s.max(limits::FRAME_BYTES as u64);
        let served = usize::try_from(self.served_per_s.saturating_mul(self.burst_s)).unwrap_or(usize::MAX);
        self.answer_bytes = self.answer_bytes.clamp(largest, served);
        self.retry = self.retry.max(Millis(1));
        self.reconcile_every = self.reconcile_every.max(Millis(2));
        self.compare_fanout = self.compare_fanout.max(1);
        self.announce_delay = self.announce_delay.max(Millis(1));
        self.session_timeout = self.session_timeout.max(Millis(1));
        self
    }
}
