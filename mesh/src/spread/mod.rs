//! Spread: statements and ciphertexts reach every node that may hold them.
//!
//! What is guaranteed, as long as peers stay connected and answer at all: replicas that share a document end up with the
//! same statements (the first half of I3; the fold is the other), whatever is lost, repeated or reordered on the way and
//! whatever any single peer does. Speed comes from pushing: what is submitted here goes at once to all peers if it is
//! small, else to a few and its id to the rest, and what a peer lacks it pulls. Certainty comes from anti-entropy: digests are compared when a peer appears
//! and with a few peers in turn every few seconds; where they differ, range-based set reconciliation (Meyer, "Range-Based Set Reconciliation",
//! 2022; the `negentropy` protocol) finds both differences and each side streams what the other lacks in causal order, in
//! pieces that the receiver paces. Equal ids with unequal folded state are reported: that is a fault, not lag.
//!
//! A document's bytes go only to peers that [`Holdings::shares`] names. Every list, queue and rate is bounded
//! ([`SpreadLimits`]), per peer, so that one peer's flood costs the others nothing. Signatures are checked here, once for
//! each statement; whether a statement has any authority (I2) is the fold's business and does not stop its spread.
//!
//! Left to others: connections and the peers' identities (the transport's: `from` is taken as authenticated), storage,
//! and carrying out the [`Action`]s.

mod blobs;
mod limits;
mod mends;
mod message;
mod meter;
mod offers;
mod partners;
mod peek;
mod reconcile;
mod salted;
mod waiting;
mod wants;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::ids::{BlobHash, DocumentId, NodeId, StatementId};
use keymesh_wire::statement::{Checked, StatementError};
use keymesh_wire::time::{Boot, Millis};
use rand_core::CryptoRng;

pub use limits::SpreadLimits;
pub use message::{FrameError, LACKING, LIST, Message, SaltedId, Summary, Told, VERSION};

use mends::Mends;
use meter::Meter;
use partners::Partners;
use reconcile::{Credit, Session, Stream};
use waiting::Waiting;
use wants::Wants;

/// What the replica holds, and who may hold it too.
pub trait Holdings {
    /// The documents held here.
    fn documents(&self) -> Vec<DocumentId>;
    /// Whether `peer` may hold `document`: only then is anything of it sent there.
    fn shares(&self, document: &DocumentId, peer: &NodeId) -> bool;
    /// Whether statements of a held `document` are taken from `peer`. A node that has only the beginning of a document
    /// cannot know yet where else it is placed, so it may take from more peers than it sends to: statements prove
    /// themselves.
    fn takes(&self, document: &DocumentId, peer: &NodeId) -> bool {
        self.shares(document, peer)
    }
    /// Whether the document is held here.
    fn holds(&self, document: &DocumentId) -> bool;
    /// Whether a statement is held.
    fn contains(&self, document: &DocumentId, id: &StatementId) -> bool;
    /// The envelope of a held statement.
    fn bytes(&self, document: &DocumentId, id: &StatementId) -> Option<&[u8]>;
    /// The parents of a held statement.
    fn parents(&self, document: &DocumentId, id: &StatementId) -> Option<&[StatementId]>;
    /// The ids of a document's statements, sorted.
    fn ids(&self, document: &DocumentId) -> Vec<StatementId>;
    /// How many statements lie on the longest way from a held statement back to its document's beginning: the same at
    /// every replica that holds it.
    fn height(&self, document: &DocumentId, id: &StatementId) -> u64;
    /// A digest over the ids and the folded state of a document: of the same statements as [`Holdings::ids`] gives at
    /// that moment, and cheap to ask for again while nothing changes.
    fn digest(&self, document: &DocumentId) -> [u8; 32];
    /// A ciphertext.
    fn blob(&self, document: &DocumentId, hash: &BlobHash) -> Option<&[u8]>;
    /// Ciphertexts that live state names and that are not here.
    fn missing_blobs(&self, document: &DocumentId) -> Vec<BlobHash>;
}

/// What is to be done, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send a frame to a peer.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        frame: Vec<u8>,
    },
    /// Insert a new statement, brought by a peer, and call [`Spread::inserted`]. Its signature holds; its parents are
    /// held or were taken earlier in the same list of actions; or it begins a document not held here, which the replica
    /// may not want.
    Take(NodeId, Checked),
    /// Store a ciphertext if it is still wanted and call [`Spread::blob_inserted`]. Its hash holds.
    TakeBlob {
        /// The document whose statements name it.
        document: DocumentId,
        /// SHA-256 of the bytes.
        hash: BlobHash,
        /// The ciphertext.
        bytes: Vec<u8>,
        /// Who brought it.
        from: NodeId,
    },
    /// Tell the operators about a peer.
    Misbehaved {
        /// Who.
        peer: NodeId,
        /// What it did.
        what: Misbehaviour,
    },
}

/// What a peer did that it should not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misbehaviour {
    /// Sent a frame that is no message.
    #[error("sent garbage: {0}")]
    Garbage(#[from] FrameError),
    /// Sent reconciliation ranges that cannot be read.
    #[error("sent unreadable reconciliation ranges of {document}: {what}")]
    Ranges {
        /// Of which document.
        document: DocumentId,
        /// What is wrong with them.
        what: String,
    },
    /// Sent bytes that are not a statement of the document it said they belong to.
    #[error("sent something that is no statement of {0}")]
    NoStatement(DocumentId),
    /// Sent a statement that does not hold by itself.
    #[error("sent a bad statement of {document}: {error}")]
    BadStatement {
        /// Of which document.
        document: DocumentId,
        /// What is wrong with it.
        error: StatementError,
    },
    /// Sent more than its rate allows. Reported once a second at most.
    #[error("sent too much: {0}")]
    Flood(Flood),
    /// Asked for a document that it may not hold.
    #[error("asked for {0}, which it may not hold")]
    Foreign(DocumentId),
    /// Sent statements whose parents nobody gave.
    #[error("sent {dropped} statements of {document} whose ancestor {parent} it withheld")]
    WithheldParents {
        /// Of which document.
        document: DocumentId,
        /// The statement that never came.
        parent: StatementId,
        /// How many of the peer's statements waited for it.
        dropped: usize,
    },
    /// Has folded the same statements to another state: one of the two nodes is wrong.
    #[error("folds the same {count} statements of {document} to another state")]
    Diverged {
        /// Which document.
        document: DocumentId,
        /// How many statements both hold.
        count: u64,
        /// This node's digest.
        ours: [u8; 32],
        /// The peer's digest.
        theirs: [u8; 32],
    },
}

/// Which of a peer's limits ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flood {
    /// Frames or bytes a second.
    #[error("frames or bytes")]
    Frames,
    /// Signatures to check a second.
    #[error("statements to check")]
    Checks,
    /// Statements that wait for their parents.
    #[error("statements without their parents")]
    Waiting,
}

/// How far a peer is with a document, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerLag {
    /// What it last said to hold.
    pub told: Summary,
    /// When.
    pub at: Boot,
    /// Its statements that wait here for their parents.
    pub waiting: usize,
}

#[derive(Debug)]
struct Lag {
    told: Summary,
    at: Boot,
    /// Digests already reported as diverged.
    reported: Option<([u8; 32], [u8; 32])>,
    /// No new reconciliation is begun before.
    quiet_until: Boot,
    /// How much it held when it was last sent what it lacked, and how often in a row it held no more afterwards.
    given: Option<u64>,
    in_vain: u32,
}

impl Lag {
    fn new(told: Summary, now: Boot) -> Self {
        Self { told, at: now, reported: None, quiet_until: now, given: None, in_vain: 0 }
    }
}

#[derive(Debug)]
struct Peer {
    up: bool,
    meter: Meter,
    flood_reported: Option<Boot>,
    lag: BTreeMap<DocumentId, Lag>,
}

/// The spread of one node. Contract: one thread; every [`Action`] is carried out in order before the next call, except
/// that sending may be late or fail; [`Spread::inserted`] is called once for each statement that the replica takes in,
/// from wherever; [`Spread::tick`] at [`Spread::next_wake`] or earlier. The same calls with the same random numbers give
/// the same actions.
#[derive(Debug)]
pub struct Spread {
    me: NodeId,
    limits: SpreadLimits,
    peers: BTreeMap<NodeId, Peer>,
    waiting: Waiting,
    scan_at: Boot,
    wants: Wants<StatementId>,
    blob_wants: Wants<BlobHash>,
    /// When all documents are searched for missing ciphertexts.
    blobs_at: Boot,
    /// Documents that got statements without their ciphertexts, and when those are searched.
    bare: BTreeSet<DocumentId>,
    bare_at: Boot,
    /// Whose turn it is to be asked first for a ciphertext.
    turn: u32,
    sessions: BTreeMap<(NodeId, DocumentId), Session>,
    streams: BTreeMap<(NodeId, DocumentId), Stream>,
    credits: BTreeMap<(NodeId, DocumentId), Credit>,
    checks: BTreeMap<(NodeId, DocumentId), Boot>,
    partners: Partners,
    mends: Mends,
    /// Statements to tell a few peers about, each with those who are known to have it.
    news: BTreeMap<(DocumentId, StatementId), BTreeSet<NodeId>>,
    announce_at: Boot,
    /// The last summary of each document; valid while its state digest is the replica's.
    summaries: BTreeMap<DocumentId, Summary>,
}

/// What one call works with.
struct Step<'a, H, R> {
    holdings: &'a H,
    now: Boot,
    rng: &'a mut R,
    actions: Vec<Action>,
}

impl<'a, H: Holdings, R: CryptoRng> Step<'a, H, R> {
    fn new(holdings: &'a H, now: Boot, rng: &'a mut R) -> Self {
        Self { holdings, now, rng, actions: Vec::new() }
    }

    fn send(&mut self, to: NodeId, message: &Message) {
        self.actions.push(Action::Send { to, frame: message.to_frame() });
    }

    fn misbehaved(&mut self, peer: NodeId, what: Misbehaviour) {
        self.actions.push(Action::Misbehaved { peer, what });
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = (self.rng.next_u64() % (last as u64 + 1)) as usize;
            items.swap(last, other);
        }
    }
}

/// `span`, up to a quarter shorter or longer.
fn jittered(span: Millis, rng: &mut impl CryptoRng) -> Millis {
    let half = span.0 / 2;
    let off = if half == 0 { 0 } else { rng.next_u64() % half };
    Millis(span.0 - span.0 / 4 + off)
}

impl Spread {
    /// The spread of node `me`, without peers.
    pub fn new(me: NodeId, limits: SpreadLimits) -> Self {
        let never = Boot(u64::MAX);
        Self {
            me,
            limits: limits.sane(),
            peers: BTreeMap::new(),
            waiting: Waiting::default(),
            scan_at: never,
            wants: Wants::default(),
            blob_wants: Wants::default(),
            blobs_at: never,
            bare: BTreeSet::new(),
            bare_at: never,
            turn: 0,
            sessions: BTreeMap::new(),
            streams: BTreeMap::new(),
            credits: BTreeMap::new(),
            checks: BTreeMap::new(),
            partners: Partners::default(),
            mends: Mends::default(),
            news: BTreeMap::new(),
            announce_at: never,
            summaries: BTreeMap::new(),
        }
    }

    /// An admitted peer is connected. Digests are told soon: at the next tick, if no other peer came up just before.
    pub fn peer_up(&mut self, peer: NodeId, now: Boot) {
        if peer == self.me {
            return;
        }
        if !self.peers.contains_key(&peer) && self.peers.len() >= self.limits.peers {
            let Some(gone) = self.peers.iter().find(|(_, peer)| !peer.up).map(|(id, _)| *id) else { return };
            self.peers.remove(&gone);
        }
        let limits = &self.limits;
        let entry = self.peers.entry(peer).or_insert_with(|| Peer {
            up: true,
            meter: Meter::new(limits, now),
            flood_reported: None,
            lag: BTreeMap::new(),
        });
        entry.up = true;
        // What was sent in vain may have been lost with the connection.
        for lag in entry.lag.values_mut() {
            (lag.given, lag.in_vain) = (None, 0);
            lag.quiet_until = lag.quiet_until.min(now.plus(reconcile::QUIET));
        }
        self.partners.up(peer, now);
        self.blobs_at = self.blobs_at.min(now);
    }

    /// A peer is gone. What it was asked for is asked from others when its time is up; what it brought may still be
    /// completed by others, and its used-up rates stay used up.
    pub fn peer_down(&mut self, peer: NodeId) {
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.up = false;
        }
        self.partners.down(&peer);
        self.mends.gone(&peer);
        self.sessions.retain(|(of, _), _| *of != peer);
        self.streams.retain(|(of, _), _| *of != peer);
        self.credits.retain(|(of, _), _| *of != peer);
        self.checks.retain(|(of, _), _| *of != peer);
    }

    /// A frame from a connected peer. Frames from others are ignored.
    pub fn receive(
        &mut self,
        from: NodeId,
        frame: &[u8],
        holdings: &impl Holdings,
        now: Boot,
        rng: &mut impl CryptoRng,
    ) -> Vec<Action> {
        let mut step = Step::new(holdings, now, rng);
        let Some(peer) = self.peers.get_mut(&from).filter(|peer| peer.up) else { return Vec::new() };
        if !peer.meter.frames.take(1, now) || !peer.meter.bytes.take(frame.len() as u64, now) {
            self.flood(from, Flood::Frames, &mut step);
            return step.actions;
        }
        match Message::from_frame(frame) {
            Ok(message) => self.handle(from, message, &mut step),
            Err(error) => step.misbehaved(from, error.into()),
        }
        let mut actions = step.actions;
        if let Some(peer) = self.peers.get_mut(&from) {
            actions.retain(|action| match action {
                // These are metered where they are found.
                Action::Misbehaved { what: Misbehaviour::Flood(_) | Misbehaviour::Diverged { .. }, .. } => true,
                Action::Misbehaved { peer: who, .. } if *who == from => peer.meter.reports.take(1, now),
                Action::Misbehaved { .. } | Action::Send { .. } | Action::Take(..) | Action::TakeBlob { .. } => true,
            });
        }
        actions
    }

    fn handle(&mut self, from: NodeId, message: Message, step: &mut Step<'_, impl Holdings, impl CryptoRng>) {
        match message {
            Message::Push { document, statements, blobs } => {
                let brought = self.take_statements(from, document, &statements, step);
                self.take_blobs(from, document, blobs, &brought.named, step);
                self.pull_due(step);
            }
            Message::Announce { document, ids } => self.announced(from, document, &ids, step),
            Message::Pull { document, ids } => self.pulled(from, document, &ids, step),
            Message::PullBlobs { document, hashes } => self.blobs_pulled(from, document, &hashes, step),
            Message::Blobs { document, blobs } => self.take_blobs(from, document, blobs, &BTreeSet::new(), step),
            Message::Digests { told } => self.told(from, &told, step),
            Message::Open { document, session, salt } => self.opened(from, document, session, salt, step),
            Message::Accept { document, session, salt } => self.accepted(from, document, session, salt, step),
            Message::Ask { document, session, ranges } => self.asked(from, document, session, &ranges, step),
            Message::Answer { document, session, ranges } => self.answered(from, document, session, &ranges, step),
            Message::Close { document, session, lacking } => self.closed(from, document, session, &lacking, step),
            Message::Chunk { document, session, statements } => {
                let brought = self.take_statements(from, document, &statements, step);
                self.pull_due(step);
                self.chunk_taken(from, document, session, brought.fresh, step);
            }
            Message::Credit { document, session, fresh } => self.credited(from, document, session, fresh, step),
        }
    }

    /// The replica holds `statement` now: submitted here, or taken from `from`. It is forwarded, and what waited for it
    /// is taken.
    pub fn inserted(
        &mut self,
        statement: &Checked,
        from: Option<NodeId>,
        holdings: &impl Holdings,
        now: Boot,
        rng: &mut impl CryptoRng,
    ) -> Vec<Action> {
        let mut step = Step::new(holdings, now, rng);
        self.mends.changed(statement.document(), now);
        self.release(statement, &mut step);
        self.forward(statement, from, &mut step);
        step.actions
    }

    /// The replica holds a ciphertext now. One that was stored here after the statement that names it (`from` is none)
    /// is pushed; one that came from a peer only ends the asking.
    pub fn blob_inserted(
        &mut self,
        document: DocumentId,
        hash: BlobHash,
        from: Option<NodeId>,
        holdings: &impl Holdings,
        now: Boot,
        rng: &mut impl CryptoRng,
    ) -> Vec<Action> {
        let mut step = Step::new(holdings, now, rng);
        self.blob_wants.remove(&document, &hash);
        if from.is_none() {
            self.forward_blob(document, hash, &mut step);
        }
        step.actions
    }

    /// Does what is due: digests, asking again, giving up, sending what was gathered.
    pub fn tick(&mut self, holdings: &impl Holdings, now: Boot, rng: &mut impl CryptoRng) -> Vec<Action> {
        let mut step = Step::new(holdings, now, rng);
        self.flush_announces(&mut step);
        self.scan_waiting(&mut step);
        self.pull_due(&mut step);
        self.expire_sessions(&mut step);
        self.send_streams(&mut step);
        self.send_credits(&mut step);
        self.compare_due(&mut step);
        self.scan_blobs(&mut step);
        self.pull_blobs_due(&mut step);
        step.actions
    }

    /// When [`Spread::tick`] has something to do next.
    pub fn next_wake(&self) -> Option<Boot> {
        let sessions = self.sessions.values().map(Session::deadline);
        let streams = self.streams.values().map(Stream::wake);
        let credits = self.credits.values().map(|credit| credit.due);
        let fixed = [self.scan_at, self.blobs_at, self.bare_at, self.announce_at, self.partners.at()];
        sessions
            .chain(streams)
            .chain(credits)
            .chain(self.checks.values().copied())
            .chain(fixed)
            .chain(self.wants.next())
            .chain(self.blob_wants.next())
            .min()
            .filter(|at| *at < Boot(u64::MAX))
    }

    /// How far a peer is with a document, if it ever said.
    pub fn peer_lag(&self, peer: &NodeId, document: &DocumentId) -> Option<PeerLag> {
        let lag = self.peers.get(peer)?.lag.get(document)?;
        Some(PeerLag { told: lag.told, at: lag.at, waiting: self.waiting.count(peer, document) })
    }

    /// Connected peers that may hold a document, in order.
    fn sharers(&self, document: &DocumentId, holdings: &impl Holdings) -> Vec<NodeId> {
        self.peers.iter().filter(|(id, peer)| peer.up && holdings.shares(document, id)).map(|(id, _)| *id).collect()
    }

    fn flood(&mut self, from: NodeId, what: Flood, step: &mut Step<'_, impl Holdings, impl CryptoRng>) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if peer.flood_reported.is_none_or(|at| step.now.since(at) >= Millis::seconds(1)) {
            peer.flood_reported = Some(step.now);
            step.misbehaved(from, Misbehaviour::Flood(what));
        }
    }

    /// Whether `from` may still be sent `bytes` because it asked.
    fn may_serve(&mut self, to: &NodeId, bytes: usize, now: Boot) -> bool {
        self.peers.get_mut(to).is_some_and(|peer| peer.meter.served.take(bytes as u64, now))
    }
}
