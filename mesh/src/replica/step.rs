//! What goes into the core and what comes out: inputs, batches, effects, and the order between them.
//!
//! Effects (messages, answers, views) become reachable only against [`Durable`], which exists only once the batch of the
//! same step has been written (I7, I8): persist before send is a matter of types, not of remembering.

use std::sync::Arc;

use keymesh_wire::api::Submitted;
use keymesh_wire::audit::AuditRecord;
use keymesh_wire::body::{CustodianAccusation, EnrolmentVote, GenerationRef, NodeCard};
use keymesh_wire::error::WireError;
use keymesh_wire::ids::{BlobHash, DocumentId, NodeId, StatementId, TenantId};
use keymesh_wire::secret::SecretBytes;

use crate::custody::message::CustodyMessage;
use crate::view::View;

/// By which the caller finds whom an answer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyTo(pub u64);

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// A client hands in statements with the ciphertexts they name.
    Submit {
        /// Envelopes.
        statements: Vec<Vec<u8>>,
        /// Ciphertexts.
        blobs: Vec<Vec<u8>>,
        /// For the answer.
        reply: ReplyTo,
    },
    /// A connection to an admitted peer is there.
    PeerUp(NodeId),
    /// It is gone.
    PeerDown(NodeId),
    /// A frame on the spread channel.
    Spread {
        /// From whom.
        from: NodeId,
        /// Its bytes.
        frame: Vec<u8>,
    },
    /// A message on the custody channel that the core handles itself: ceremonies, answers to its own lease requests.
    Custody {
        /// From whom.
        from: NodeId,
        /// The message.
        message: CustodyMessage,
    },
    /// A release needs a lease.
    WantLease {
        /// The tenant.
        tenant: TenantId,
        /// The generation.
        generation: GenerationRef,
    },
    /// This custodian decided to vote for an enrolment.
    Vote {
        /// The tenant.
        tenant: TenantId,
        /// The vote.
        vote: Box<EnrolmentVote>,
        /// For the answer.
        reply: ReplyTo,
    },
    /// An agent, or whoever else holds a proof, accuses a custodian.
    Accuse {
        /// The tenant.
        tenant: TenantId,
        /// The proof.
        accusation: Box<CustodianAccusation>,
        /// For the answer.
        reply: ReplyTo,
    },
    /// Time passed.
    Tick,
}

/// A record to keep.
#[derive(Debug)]
pub enum Write {
    /// A statement.
    Statement {
        /// Its document.
        document: DocumentId,
        /// Its id.
        id: StatementId,
        /// Its envelope.
        bytes: Vec<u8>,
    },
    /// A ciphertext.
    Blob {
        /// The document that needs it.
        document: DocumentId,
        /// Its hash.
        hash: BlobHash,
        /// Its bytes.
        bytes: Arc<[u8]>,
    },
    /// A ciphertext to erase.
    EraseBlob {
        /// The document it belonged to.
        document: DocumentId,
        /// Its hash.
        hash: BlobHash,
    },
    /// A root share, or a one-time key for a change of sharing, for a sealed slot outside the database.
    Share {
        /// The slot's name.
        slot: String,
        /// The share's exposed bytes.
        share: SecretBytes,
    },
    /// A slot to erase.
    EraseShare {
        /// The slot's name.
        slot: String,
    },
    /// An audit record.
    Audit(Box<AuditRecord>),
}

/// Everything of one or several steps that must be on stable storage before their effects.
#[derive(Debug, Default)]
pub struct Batch {
    /// The writes, in order.
    pub writes: Vec<Write>,
}

/// Evidence that a batch was written.
#[derive(Debug)]
pub struct Durable(());

impl Batch {
    /// Writes the batch with `write` and gives evidence of it. An empty batch needs no writing.
    pub fn persist<E>(self, write: impl FnOnce(Vec<Write>) -> Result<(), E>) -> Result<Durable, E> {
        if !self.writes.is_empty() {
            write(self.writes)?;
        }
        Ok(Durable(()))
    }
}

/// Which stream of the transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// Statements and ciphertexts.
    Spread,
    /// Ceremonies, leases, releases, enrolments.
    Custody,
}

/// Something to do.
#[derive(Debug)]
pub enum Effect {
    /// Send a frame to a peer. One to the node itself is delivered as if a peer had sent it.
    Send {
        /// To whom.
        to: NodeId,
        /// On which channel.
        channel: Channel,
        /// Its bytes.
        frame: Vec<u8>,
    },
    /// Answer a client.
    Reply {
        /// Which.
        to: ReplyTo,
        /// With what.
        result: Result<Submitted, WireError>,
    },
    /// Decide on this from now on.
    Publish(Arc<View>),
    /// These nodes are admitted: connect to them and to no others.
    Peers(Vec<NodeCard>),
    /// For operators.
    Warn(String),
}

/// Effects that may not happen yet.
#[derive(Debug, Default)]
pub struct Held(Vec<Effect>);

impl Held {
    pub(super) fn push(&mut self, effect: Effect) {
        self.0.push(effect);
    }

    /// Puts an effect before all others of its step.
    pub(super) fn push_first(&mut self, effect: Effect) {
        self.0.insert(0, effect);
    }

    /// The effects, now that their batch is written.
    pub fn release(self, _durable: &Durable) -> Vec<Effect> {
        self.0
    }
}

/// What a step leads to.
#[derive(Debug, Default)]
pub struct Step {
    /// To be written first.
    pub batch: Batch,
    /// To be done then.
    pub effects: Held,
}
