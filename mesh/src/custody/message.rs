//! Messages on the custody channel between nodes.

use keymesh_wire::body::{GenerationRef, SharingRef};
use keymesh_wire::codec::{self, CodecError};
use keymesh_wire::envelope::Signable;
use keymesh_wire::error::Code;
use keymesh_wire::ids::{BlobHash, KeyringId, NodeId, Nonce, PrincipalId, RequestId, RootId, StatementId, TenantId};
use keymesh_wire::limits;
use keymesh_wire::suite::{Level, Suite};
use keymesh_wire::time::Wall;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

/// A message between two nodes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum CustodyMessage {
    /// Says who is there; sent on connecting and every few seconds.
    #[n(0)]
    Hello(#[n(0)] Hello),
    /// A step of a key generation: the envelope of a [`CeremonyMessage`].
    #[n(1)]
    Ceremony(
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        Vec<u8>,
    ),
    /// Asks for a partial of a lease: the envelope of a [`LeaseRequest`].
    #[n(2)]
    LeaseAsk(
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        Vec<u8>,
    ),
    /// Forwards an agent's quorum request: the envelope of a [`keymesh_wire::request::QuorumRequest`].
    #[n(3)]
    QuorumAsk(
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        Vec<u8>,
    ),
    /// Forwards an enrolment: the envelope of a [`keymesh_wire::request::EnrolmentRequest`].
    #[n(4)]
    EnrolAsk(
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        Vec<u8>,
    ),
    /// Answers any of the three.
    #[n(5)]
    Answer(#[n(0)] Answer),
    /// A custodian that started asks which statements of its own the others hold: see `crate::replica`. The nonce is of
    /// this start.
    #[n(6)]
    TipsAsk(#[n(0)] TenantId, #[n(1)] Nonce),
    /// The newest statements of whoever asked, at most [`limits::PARENTS`], with the nonce it asked with.
    #[n(7)]
    Tips(#[n(0)] TenantId, #[n(1)] Nonce, #[n(2)] Vec<StatementId>),
    /// A step of a repair: envelopes of [`RepairMessage`]s, of which the first is the sender's own.
    #[n(8)]
    Repair(#[n(0)] Vec<ByteVec>),
}

impl CustodyMessage {
    /// The frame that carries it.
    pub fn to_frame(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads a frame.
    pub fn from_frame(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(bytes, limits::STATEMENT_BYTES * 2)
    }
}

/// Who is there.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// Its level.
    #[n(0)]
    pub level: Level,
    /// Its wall clock.
    #[n(1)]
    pub time: Wall,
    /// The newest record of its audit log, for others to witness.
    #[n(2)]
    pub audit: Option<AuditHead>,
}

/// The newest record of a node's audit log.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AuditHead {
    /// Its sequence number.
    #[n(0)]
    pub sequence: u64,
    /// The chain's hash there.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub chain: [u8; 32],
}

/// A custodian's answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Answer {
    /// The request.
    #[n(0)]
    pub request: RequestId,
    /// What it says.
    #[n(1)]
    pub verdict: Verdict,
}

/// What a custodian says.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Verdict {
    /// Its sealed partial.
    #[n(0)]
    Partial(#[n(0)] SealedPart),
    /// It voted for the enrolment, or had done so before.
    #[n(1)]
    Voted,
    /// No. The reason is for the asking node's operators when the asker is a node, and empty towards agents.
    #[n(2)]
    No(#[n(0)] Refusal),
}

/// A refusal between nodes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Refusal {
    /// The stable code's name.
    #[n(0)]
    pub code: RefusalCode,
    /// For operators, at most [`limits::TEXT_BYTES`].
    #[n(1)]
    pub reason: String,
}

/// Why a custodian contributes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum RefusalCode {
    /// Not permitted.
    #[n(0)]
    Refused,
    /// The asker knows other denials than the custodian: synchronise and ask again.
    #[n(1)]
    DenialsDiffer,
    /// The clocks differ too much.
    #[n(2)]
    ClockDifference,
    /// The custodian has not what it needs yet: share, capsule, statement.
    #[n(3)]
    NotReady,
    /// The request is too old or was used.
    #[n(4)]
    Stale,
    /// Evidence does not hold.
    #[n(5)]
    EvidenceInvalid,
    /// The ticket does not hold.
    #[n(6)]
    TicketInvalid,
    /// The instance is bound to another key.
    #[n(7)]
    AlreadyBound,
}

impl RefusalCode {
    /// What a client is told.
    pub fn wire(self) -> Code {
        match self {
            Self::Refused => Code::Refused,
            Self::DenialsDiffer | Self::NotReady => Code::QuorumUnavailable,
            Self::ClockDifference => Code::ClockDifference,
            Self::Stale => Code::Stale,
            Self::EvidenceInvalid => Code::EvidenceInvalid,
            Self::TicketInvalid => Code::TicketInvalid,
            Self::AlreadyBound => Code::AlreadyBound,
        }
    }
}

/// A custodian's sealed partial, with what the recipient needs to rebuild its binding.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SealedPart {
    /// Which committee of the root, from 0.
    #[n(0)]
    pub committee: u8,
    /// The epoch of the share.
    #[n(1)]
    pub epoch: u32,
    /// When it is no longer to be used.
    #[n(2)]
    pub expires: Wall,
    /// HPKE to the request's one-time key, the binding as info.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub sealed: Vec<u8>,
    /// The custodian's audit record.
    #[n(4)]
    pub audit: u64,
}

/// One step of a key generation, signed by its member.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CeremonyMessage {
    /// The algorithms.
    #[n(0)]
    pub suite: Suite,
    /// The tenant.
    #[n(1)]
    pub tenant: TenantId,
    /// The root.
    #[n(2)]
    pub root: RootId,
    /// Which of its committees, from 0.
    #[n(3)]
    pub committee: u8,
    /// Which attempt; a higher one replaces a lower.
    #[n(4)]
    pub attempt: u32,
    /// The member who signs.
    #[n(5)]
    pub member: NodeId,
    /// What it says.
    #[n(6)]
    pub content: CeremonyContent,
}

/// What a member says in a key generation.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum CeremonyContent {
    /// The same to every member: the custody crate's broadcast.
    #[n(0)]
    Broadcast(
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        Vec<u8>,
    ),
    /// A sub-share, sealed to one member.
    #[n(1)]
    SubShare {
        /// The member it is for.
        #[n(0)]
        to: NodeId,
        /// HPKE.
        #[n(1)]
        #[cbor(with = "minicbor::bytes")]
        sealed: Vec<u8>,
    },
    /// The member's share is on its disk, and this is the transcript it saw.
    #[n(2)]
    Finished(#[n(0)] BlobHash),
}

impl Signable for CeremonyMessage {
    const DOMAIN: &'static str = "keymesh key generation v1";
    const LIMIT: usize = 32 * 1024;

    fn signer(&self) -> PrincipalId {
        self.member
    }
}

/// One step of a repair, signed by whoever says it: see [`super::repair`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RepairMessage {
    /// The algorithms.
    #[n(0)]
    pub suite: Suite,
    /// The tenant.
    #[n(1)]
    pub tenant: TenantId,
    /// The sharing.
    #[n(2)]
    pub sharing: SharingRef,
    /// Whose share is missing.
    #[n(3)]
    pub member: NodeId,
    /// The member's attempt, at random.
    #[n(4)]
    pub attempt: RequestId,
    /// Who signs.
    #[n(5)]
    pub author: NodeId,
    /// What it says.
    #[n(6)]
    pub content: RepairContent,
}

/// What is said in a repair.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum RepairContent {
    /// The member, to all others: who has a share and would help?
    #[n(0)]
    Ask,
    /// A custodian, to the member: it would.
    #[n(1)]
    Willing,
    /// The member, to t custodians who would: these are the helpers.
    #[n(2)]
    Choose(#[n(0)] Vec<NodeId>),
    /// A helper, to the member and by it to all helpers: the custody crate's commitment.
    #[n(3)]
    Commitment(
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        Vec<u8>,
    ),
    /// A helper, by way of the member to one helper (itself among them): a summand of its weighted share.
    #[n(4)]
    Delta {
        /// The helper it is for.
        #[n(0)]
        to: NodeId,
        /// HPKE.
        #[n(1)]
        #[cbor(with = "minicbor::bytes")]
        sealed: Vec<u8>,
    },
    /// The member, to each helper: all commitments, and the deltas for this helper, follow.
    #[n(5)]
    Gather(#[n(0)] Vec<NodeId>),
    /// A helper, to the member: the sum of the deltas, a summand of the member's share.
    #[n(6)]
    Sigma(
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        Vec<u8>,
    ),
    /// A helper, to the member: nothing, because what this helper gave does not hold.
    #[n(7)]
    Blame(#[n(0)] NodeId),
}

impl Signable for RepairMessage {
    const DOMAIN: &'static str = "keymesh repair v1";
    const LIMIT: usize = 32 * 1024;

    fn signer(&self) -> PrincipalId {
        self.author
    }
}

/// A node asks the custodians to open a keyring's generation to it for a while.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LeaseRequest {
    /// The algorithms.
    #[n(0)]
    pub suite: Suite,
    /// The tenant.
    #[n(1)]
    pub tenant: TenantId,
    /// The request.
    #[n(2)]
    pub request: RequestId,
    /// The node that asks.
    #[n(3)]
    pub lessee: NodeId,
    /// When it asked, by its wall clock.
    #[n(4)]
    pub issued: Wall,
    /// The keyring.
    #[n(5)]
    pub keyring: KeyringId,
    /// The generation.
    #[n(6)]
    pub generation: u32,
    /// The lessee's one-time X25519 key for this request.
    #[n(7)]
    #[cbor(with = "minicbor::bytes")]
    pub recipient: [u8; 32],
    /// Digest of the denials the lessee knows: a custodian that knows others does not contribute.
    #[n(8)]
    #[cbor(with = "minicbor::bytes")]
    pub denials: [u8; 32],
    /// The statement that opened the generation; absent for the keyring's first.
    #[n(9)]
    pub opened: Option<StatementId>,
}

impl LeaseRequest {
    /// The generation asked for.
    pub fn wanted(&self) -> GenerationRef {
        GenerationRef { keyring: self.keyring, number: self.generation, opened: self.opened }
    }
}

impl Signable for LeaseRequest {
    const DOMAIN: &'static str = "keymesh lease request v1";
    const LIMIT: usize = 1024;

    fn signer(&self) -> PrincipalId {
        self.lessee
    }
}
