//! Liars: nodes that have their genuine keys and take part with the real core, and whose traffic is bent (I2, I3, I5, I6).
//!
//! A liar hears, says and signs otherwise than its core would, in the ways of its [`Lie`]s. It can do no more than a
//! machine in an attacker's hands: it has its own identity, shares and leases and what others sent to it, and nobody
//! else's keys. Everything is drawn from the liar's own generator; all lies are bounded, so that a run ends.
//!
//! What must hold with at most f liars in a committee: honest nodes agree, keep what they acknowledged, answer while
//! n minus the liars reaches t, give nobody anything on a liar's word alone, and name whom they caught. Honest nodes never
//! complain about each other.
//!
//! Within what the project says of a lessee in an attacker's hands is [`Lie::KeepsLeases`]: it can go on using what it
//! leased. Checks are about what honest nodes do.
//!
//! People who lie are in [`people`]: an admin below the threshold, and whoever operates the mesh.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use keymesh_mesh::custody::message::CustodyMessage;
use keymesh_mesh::replica::{Channel, Replica};
use keymesh_mesh::spread::Message;
use keymesh_mesh::view::Lease;
use keymesh_wire::body::{Body, CustodianAccusation, GenerationRef, SharingRef};
use keymesh_wire::ids::{BlobHash, DocumentId, NodeId, RequestId, RootId, StatementId, TenantId};
use keymesh_wire::sign::Identity;
use keymesh_wire::statement::Checked;
use keymesh_wire::time::{Millis, Now, Wall};
use minicbor::bytes::ByteVec;
use rand_chacha::ChaCha20Rng;

use crate::draw;

mod accusations;
mod acts;
mod ceremony;
mod epochs;
mod partials;
pub mod people;
mod repair;
mod rivals;
mod spread;

/// A way in which a node lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lie {
    /// Tells one half of its peers one thing and the other half another: votes, words about generations, edits.
    Equivocates,
    /// Announces and never serves: no statement and no ciphertext leaves it.
    Withholds,
    /// Leaves out every other statement and ciphertext of what it serves.
    ServesHalf,
    /// Sends old frames of everybody again: requests, partials, steps of key generations, statements.
    Replays,
    /// Sends garbage, ids of nothing, and openings of sessions it does not go on with.
    Floods,
    /// Pushes statements whose parents it keeps to itself.
    Orphans,
    /// Signs what only admins or operators may: grants and placements of itself, policies, endorsements, removals.
    GrantsItself,
    /// Votes for enrolments that nobody asked for, and for other keys of instances that are enrolled.
    ForgesVotes,
    /// Alters enrolments and releases that it carries for agents.
    AltersRequests,
    /// Answers no custody request.
    IsMute,
    /// Refuses every custody request.
    RefusesAll,
    /// Gives partials made with another share than its own.
    FalsePartials,
    /// Gives partials of another capsule than asked.
    ForeignPartials,
    /// Gives partials that name another sharing epoch.
    OtherEpochs,
    /// Gives partials in the place of another member.
    BorrowsIndexes,
    /// Gives sealed bytes that are no partial, or do not unseal.
    GarbledPartials,
    /// Gives partials of earlier requests.
    OldPartials,
    /// Commits to different polynomials before different members of a key generation.
    TwoFacedInKeyGeneration,
    /// Proves no knowledge of what it committed to in a key generation.
    FalseProofs,
    /// Deals sub-shares that do not fit its commitment.
    FalseSubShares,
    /// Echoes other round-1 messages than it saw.
    FalseEchoes,
    /// Says nothing in a key generation.
    SilentInKeyGeneration,
    /// Tells members of a key generation that it saw another transcript, and attests outcomes there never were.
    FalseTranscripts,
    /// Calls for new attempts at a key generation all the time.
    RushesAttempts,
    /// Signs with the genesis as the only parent and a wall time of last year.
    Backdates,
    /// Takes no revocation in, passes none on, and says all the same that it holds them.
    HidesRevocations,
    /// Says that it holds statements that are no denials or do not exist.
    FalseWitness,
    /// Accuses true generations, and attests generations it never opened; accuses custodians of partials that hold.
    FalseAccusations,
    /// Keeps the secrets of its leases for good and uses them when they ended.
    KeepsLeases,
    /// Says that it holds other statements, or folds them to another state, than is so.
    FalseDigests,
    /// Answers reconciliations with ranges and differences that it made up.
    FalseRanges,
    /// Deals shares of another secret in a change of sharing, to one recipient or all; or a second time, differently.
    FalseDeals,
    /// Complains of good deals.
    FalseComplaints,
    /// Votes for one thing before one half of its peers and for another before the other half.
    TwoFacedInEpochs,
    /// Votes for anything in any ballot, proposes transcripts that do not follow, says to be ready for all.
    FalseVotes,
    /// Says nothing in changes of sharing.
    SilentInEpochs,
    /// Says that it holds shares it has not, and erased those it has.
    FalseHolds,
    /// Offers somebody else's one-time key as its own.
    ForeignEpochKeys,
    /// Prepares everything, commits to nothing, and proposes another transcript once some are bound to one.
    RivalProposals,
    /// Commits to another share than its own when it helps in a repair.
    FalseRepairCommitments,
    /// Gives other helpers of a repair what does not fit its commitment.
    FalseDeltas,
    /// Gives whoever repairs its share a part that does not fit.
    FalseSigmas,
    /// Is willing to help in repairs and then says nothing.
    SilentInRepair,
    /// Accuses honest helpers of repairs.
    FalseBlame,
}

impl Lie {
    /// All of them.
    pub const ALL: [Self; 44] = [
        Self::Equivocates,
        Self::Withholds,
        Self::ServesHalf,
        Self::Replays,
        Self::Floods,
        Self::Orphans,
        Self::GrantsItself,
        Self::ForgesVotes,
        Self::AltersRequests,
        Self::IsMute,
        Self::RefusesAll,
        Self::FalsePartials,
        Self::ForeignPartials,
        Self::OtherEpochs,
        Self::BorrowsIndexes,
        Self::GarbledPartials,
        Self::OldPartials,
        Self::TwoFacedInKeyGeneration,
        Self::FalseProofs,
        Self::FalseSubShares,
        Self::FalseEchoes,
        Self::SilentInKeyGeneration,
        Self::FalseTranscripts,
        Self::RushesAttempts,
        Self::Backdates,
        Self::HidesRevocations,
        Self::FalseWitness,
        Self::FalseAccusations,
        Self::KeepsLeases,
        Self::FalseDigests,
        Self::FalseRanges,
        Self::FalseDeals,
        Self::FalseComplaints,
        Self::TwoFacedInEpochs,
        Self::FalseVotes,
        Self::SilentInEpochs,
        Self::FalseHolds,
        Self::ForeignEpochKeys,
        Self::RivalProposals,
        Self::FalseRepairCommitments,
        Self::FalseDeltas,
        Self::FalseSigmas,
        Self::SilentInRepair,
        Self::FalseBlame,
    ];

    /// Those in changes of sharing.
    pub const IN_EPOCHS: [Self; 8] = [
        Self::FalseDeals,
        Self::FalseComplaints,
        Self::TwoFacedInEpochs,
        Self::FalseVotes,
        Self::SilentInEpochs,
        Self::FalseHolds,
        Self::ForeignEpochKeys,
        Self::RivalProposals,
    ];

    /// Those in repairs.
    pub const IN_REPAIRS: [Self; 5] =
        [Self::FalseRepairCommitments, Self::FalseDeltas, Self::FalseSigmas, Self::SilentInRepair, Self::FalseBlame];

    /// One to four of them, and mostly one more in changes of sharing, which take their moment. Whoever lies in what it
    /// says for all to hear is soon known for two machines and asked for nothing any more: some lie to the members that
    /// they help, in all ways there are, and are honest in all else.
    pub fn draw(rng: &mut impl rand_core::Rng) -> Vec<Self> {
        if draw::chance(rng, 400) {
            return Self::IN_REPAIRS.to_vec();
        }
        let many = draw::between(rng, 1, 4);
        let mut lies: Vec<Self> = (0..many).map(|_| Self::ALL[draw::place(rng, Self::ALL.len())]).collect();
        if draw::chance(rng, 700) {
            lies.push(Self::IN_EPOCHS[draw::place(rng, Self::IN_EPOCHS.len())]);
        }
        lies
    }
}

/// The most statements of its own a liar gets others to keep: nothing is ever forgotten.
const STATEMENTS: usize = 40;
/// The same for what it says in changes of sharing.
const WORDS: usize = 60;
/// Between two acts while a change of sharing is under way, which is over soon; and how often it makes such haste.
const HASTE: (u64, u64) = (20, 120);
/// See [`HASTE`].
const HASTES: usize = 1_500;
/// Old frames a liar keeps.
const OLD: usize = 48;
/// Between two acts of a liar, in milliseconds.
const PAUSE: (u64, u64) = (200, 1_500);

/// A frame to a node.
pub(crate) type Frame = (NodeId, Channel, Vec<u8>);

/// What a liar sees around itself.
pub(crate) struct Around<'a> {
    pub identity: &'a Identity,
    pub replica: &'a Replica,
    pub now: Now,
    pub linked: Vec<NodeId>,
}

/// A node that lies.
#[derive(Debug)]
pub(crate) struct Liar {
    lies: BTreeSet<Lie>,
    rng: ChaCha20Rng,
    /// To which half of the world a peer belongs.
    halves: BTreeMap<NodeId, bool>,
    old: VecDeque<(Channel, Vec<u8>)>,
    said: usize,
    words: usize,
    hastes: usize,
    is_in_haste: bool,
    asked: BTreeMap<RequestId, partials::Asked>,
    given: Vec<keymesh_mesh::custody::message::SealedPart>,
    solicited: BTreeMap<RequestId, accusations::Solicited>,
    /// Accusations of custodians by what they really signed.
    collected: Vec<CustodianAccusation>,
    decoys: BTreeMap<(RootId, u8, u32), Vec<u8>>,
    sessions: BTreeMap<(RootId, u8, u32), [u8; 32]>,
    repairs: BTreeMap<RequestId, repair::Helped>,
    denials: BTreeMap<StatementId, DocumentId>,
    /// What it says to some instead of what it says to others, by the latter.
    bent: BTreeMap<StatementId, Checked>,
    /// Transcripts of epochs that it heard of.
    transcripts: BTreeSet<BlobHash>,
    /// In which ballots it prepared what, beside its core.
    stood_for: BTreeSet<(SharingRef, u32, BlobHash)>,
    /// For which ballots it proposed a rival.
    led: BTreeSet<(SharingRef, u32)>,
    pub(crate) hoard: BTreeMap<(TenantId, GenerationRef), Arc<Lease>>,
}

impl Liar {
    pub(crate) fn new(lies: Vec<Lie>, rng: ChaCha20Rng) -> Self {
        Self {
            lies: lies.into_iter().collect(),
            rng,
            halves: BTreeMap::new(),
            old: VecDeque::new(),
            said: 0,
            words: 0,
            hastes: 0,
            is_in_haste: false,
            asked: BTreeMap::new(),
            given: Vec::new(),
            solicited: BTreeMap::new(),
            collected: Vec::new(),
            decoys: BTreeMap::new(),
            sessions: BTreeMap::new(),
            repairs: BTreeMap::new(),
            denials: BTreeMap::new(),
            bent: BTreeMap::new(),
            transcripts: BTreeSet::new(),
            stood_for: BTreeSet::new(),
            led: BTreeSet::new(),
            hoard: BTreeMap::new(),
        }
    }

    pub(crate) fn lies(&self) -> &BTreeSet<Lie> {
        &self.lies
    }

    pub(crate) fn add(&mut self, lies: Vec<Lie>) {
        self.lies.extend(lies);
    }

    fn does(&self, lie: Lie) -> bool {
        self.lies.contains(&lie)
    }

    /// When it acts next.
    pub(crate) fn pause(&mut self) -> u64 {
        let (least, most) = match std::mem::take(&mut self.is_in_haste) && self.hastes < HASTES {
            true => {
                self.hastes += 1;
                HASTE
            }
            false => PAUSE,
        };
        draw::between(&mut self.rng, least, most)
    }

    /// Peers are told apart in turn, so that there are always some on both sides.
    fn half(&mut self, peer: &NodeId) -> bool {
        let next = self.halves.len().is_multiple_of(2);
        *self.halves.entry(*peer).or_insert(next)
    }

    fn random(&mut self, len: u64) -> Vec<u8> {
        let mut bytes = vec![0; len as usize];
        rand_core::Rng::fill_bytes(&mut self.rng, &mut bytes);
        bytes
    }

    fn random_id(&mut self) -> [u8; 32] {
        let mut id = [0; 32];
        rand_core::Rng::fill_bytes(&mut self.rng, &mut id);
        id
    }

    fn remember(&mut self, channel: Channel, frame: &[u8]) {
        if self.does(Lie::Replays) && draw::chance(&mut self.rng, 300) {
            if self.old.len() == OLD {
                self.old.pop_front();
            }
            self.old.push_back((channel, frame.to_vec()));
        }
    }

    /// What it sends instead of what its core sends to a peer.
    pub(crate) fn outbound(&mut self, around: &Around<'_>, to: NodeId, channel: Channel, frame: Vec<u8>) -> Vec<Frame> {
        self.remember(channel, &frame);
        let bent = match channel {
            Channel::Spread => match Message::from_frame(&frame) {
                Ok(Message::Push { document, statements, blobs }) => {
                    let statements = self.bend_words(around, &to, statements);
                    self.bend_spread(Message::Push { document, statements, blobs }).map(|message| message.to_frame())
                }
                Ok(Message::Chunk { document, session, statements }) => {
                    let statements = self.bend_words(around, &to, statements);
                    self.bend_spread(Message::Chunk { document, session, statements }).map(|message| message.to_frame())
                }
                Ok(message) => self.bend_spread(message).map(|message| message.to_frame()),
                Err(_) => Some(frame),
            },
            Channel::Custody => match CustodyMessage::from_frame(&frame) {
                Ok(message) => self.bend_custody(around, &to, message).map(|message| message.to_frame()),
                Err(_) => Some(frame),
            },
        };
        bent.map(|frame| (to, channel, frame)).into_iter().collect()
    }

    fn bend_custody(&mut self, around: &Around<'_>, to: &NodeId, message: CustodyMessage) -> Option<CustodyMessage> {
        match message {
            CustodyMessage::Ceremony(envelope) => {
                self.bend_ceremony(around, to, envelope).map(CustodyMessage::Ceremony)
            }
            CustodyMessage::Answer(answer) => self.bend_answer(around, answer).map(CustodyMessage::Answer),
            CustodyMessage::EnrolAsk(mut envelope) if self.does(Lie::AltersRequests) => {
                self.alter(&mut envelope);
                Some(CustodyMessage::EnrolAsk(envelope))
            }
            CustodyMessage::QuorumAsk(mut envelope) if self.does(Lie::AltersRequests) => {
                self.alter(&mut envelope);
                Some(CustodyMessage::QuorumAsk(envelope))
            }
            // Statements that there are not, so that whoever started waits for them.
            CustodyMessage::Tips(tenant, nonce, _) if self.does(Lie::AltersRequests) => {
                let invented = StatementId::from_bytes([draw::between(&mut self.rng, 0, 255) as u8; 32]);
                Some(CustodyMessage::Tips(tenant, nonce, vec![invented]))
            }
            CustodyMessage::Hello(_)
            | CustodyMessage::LeaseAsk(_)
            | CustodyMessage::EnrolAsk(_)
            | CustodyMessage::QuorumAsk(_)
            | CustodyMessage::TipsAsk(..)
            | CustodyMessage::Tips(..) => Some(message),
            CustodyMessage::Repair(envelopes) => self.bend_repair(around, envelopes).map(CustodyMessage::Repair),
        }
    }

    fn alter(&mut self, bytes: &mut [u8]) {
        if !bytes.is_empty() {
            let place = draw::place(&mut self.rng, bytes.len());
            bytes[place] ^= 1 << draw::between(&mut self.rng, 0, 7);
        }
    }

    /// Whether its core gets to know of a frame.
    pub(crate) fn inbound(&mut self, from: NodeId, channel: Channel, frame: &[u8]) -> bool {
        self.remember(channel, frame);
        match channel {
            Channel::Spread => !self.does(Lie::HidesRevocations) || !self.spots_denials(frame),
            Channel::Custody => match CustodyMessage::from_frame(frame) {
                Ok(CustodyMessage::Answer(answer)) if self.solicited.contains_key(&answer.request) => {
                    self.collect(&from, &answer);
                    false
                }
                Ok(message) => self.hears_custody(&message),
                Err(_) => true,
            },
        }
    }

    /// A statement of its own, if it has not said too much already.
    fn sign(&mut self, around: &Around<'_>, document: DocumentId, body: &Body, dated: Dated) -> Option<Checked> {
        let said = if matches!(body, Body::Sharing(_)) { self.words >= WORDS } else { self.said >= STATEMENTS };
        if said {
            return None;
        }
        let held = around.replica.document(&document)?;
        let (parents, wall) = match dated {
            Dated::Now => (held.graph().parents_for_new(), around.now.wall),
            Dated::AfterGenesis => {
                let year = Millis::seconds(365 * 24 * 3600);
                (vec![StatementId::from(document)], Wall(around.now.wall.0.saturating_sub(year.0)))
            }
        };
        let statement = Checked::sign(body, Some(document), parents, wall, around.identity).ok()?;
        *(if matches!(body, Body::Sharing(_)) { &mut self.words } else { &mut self.said }) += 1;
        Some(statement)
    }
}

/// Where a liar puts a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dated {
    /// After all that it holds.
    Now,
    /// Long ago, with nothing but the document's beginning in its past.
    AfterGenesis,
}

/// A frame that pushes statements.
fn push(document: DocumentId, statements: &[&Checked]) -> Vec<u8> {
    let statements = statements.iter().map(|statement| ByteVec::from(statement.bytes().to_vec())).collect();
    Message::Push { document, statements, blobs: Vec::new() }.to_frame()
}

/// Whether a statement takes something from somebody.
fn is_denial(body: &Body) -> bool {
    matches!(
        body,
        Body::Revoke(_)
            | Body::RevokeGrant(_)
            | Body::RemoveNode(_)
            | Body::DisplaceNode(_)
            | Body::RemoveAdmin(_)
            | Body::SuspendAdmin(_)
            | Body::DistrustEvidence(_)
    )
}
