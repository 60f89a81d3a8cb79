//! What two nodes say to one another about statements and ciphertexts.
//!
//! A frame is one version byte and one canonically encoded [`Message`]. Decoding is strict and bounded; who may ask for
//! what is judged elsewhere.

use keymesh_wire::codec::{self, CodecError};
use keymesh_wire::ids::{BlobHash, DocumentId, StatementId};
use keymesh_wire::limits;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

/// The version of this protocol, the first byte of every frame.
pub const VERSION: u8 = 1;
/// Entries in a list of one message, salted ids excepted.
pub const LIST: usize = 4096;
/// Salted ids in one message.
pub const LACKING: usize = 16 * 1024;

/// What a node holds of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Summary {
    /// SHA-256 over the sorted statement ids.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub ids: [u8; 32],
    /// How many statements.
    #[n(1)]
    pub count: u64,
    /// The replica's digest over ids and folded state.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub state: [u8; 32],
}

/// A [`Summary`] with its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Told {
    /// The document.
    #[n(0)]
    pub document: DocumentId,
    /// What the sender holds of it.
    #[n(1)]
    pub summary: Summary,
}

/// A statement id under the salt of one session: all that the side without the statement knows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct SaltedId(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub [u8; 32],
);

/// A message between two nodes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Message {
    /// Statements the receiver may not have, each after its parents as far as they are in the same message, and
    /// ciphertexts that they name.
    #[n(0)]
    Push {
        /// Their document.
        #[n(0)]
        document: DocumentId,
        /// Envelopes.
        #[n(1)]
        statements: Vec<ByteVec>,
        /// Ciphertexts.
        #[n(2)]
        blobs: Vec<ByteVec>,
    },
    /// The sender holds these statements.
    #[n(1)]
    Announce {
        /// Their document.
        #[n(0)]
        document: DocumentId,
        /// Which.
        #[n(1)]
        ids: Vec<StatementId>,
    },
    /// Asks for statements; answered by [`Message::Push`].
    #[n(2)]
    Pull {
        /// Their document.
        #[n(0)]
        document: DocumentId,
        /// Which.
        #[n(1)]
        ids: Vec<StatementId>,
    },
    /// Asks for ciphertexts; answered by [`Message::Blobs`].
    #[n(3)]
    PullBlobs {
        /// The document whose statements name them.
        #[n(0)]
        document: DocumentId,
        /// Which.
        #[n(1)]
        hashes: Vec<BlobHash>,
    },
    /// Ciphertexts.
    #[n(4)]
    Blobs {
        /// The document whose statements name them.
        #[n(0)]
        document: DocumentId,
        /// The bytes; their hashes are their names.
        #[n(1)]
        blobs: Vec<ByteVec>,
    },
    /// What the sender holds of each document that it shares with the receiver.
    #[n(5)]
    Digests {
        /// One entry a document.
        #[n(0)]
        told: Vec<Told>,
    },
    /// Begins a reconciliation. Sent by the side that holds more.
    #[n(6)]
    Open {
        /// Of which document.
        #[n(0)]
        document: DocumentId,
        /// Random; the same in all messages of the session.
        #[n(1)]
        session: u64,
        /// The initiator's half of the salt.
        #[n(2)]
        #[cbor(with = "minicbor::bytes")]
        salt: [u8; 16],
    },
    /// Takes part in a reconciliation.
    #[n(7)]
    Accept {
        /// Of which document.
        #[n(0)]
        document: DocumentId,
        /// The session.
        #[n(1)]
        session: u64,
        /// The responder's half of the salt.
        #[n(2)]
        #[cbor(with = "minicbor::bytes")]
        salt: [u8; 16],
    },
    /// The initiator's ranges.
    #[n(8)]
    Ask {
        /// Of which document.
        #[n(0)]
        document: DocumentId,
        /// The session.
        #[n(1)]
        session: u64,
        /// A negentropy message.
        #[n(2)]
        #[cbor(with = "minicbor::bytes")]
        ranges: Vec<u8>,
    },
    /// The responder's ranges.
    #[n(9)]
    Answer {
        /// Of which document.
        #[n(0)]
        document: DocumentId,
        /// The session.
        #[n(1)]
        session: u64,
        /// A negentropy message.
        #[n(2)]
        #[cbor(with = "minicbor::bytes")]
        ranges: Vec<u8>,
    },
    /// The initiator knows both differences. The responder answers with [`Message::Chunk`]s of what the initiator lacks
    /// and forgets the session. In answer to [`Message::Open`], with nothing in it: not now.
    #[n(10)]
    Close {
        /// Of which document.
        #[n(0)]
        document: DocumentId,
        /// The session.
        #[n(1)]
        session: u64,
        /// The salted ids of what the initiator lacks: sorted, distinct.
        #[n(2)]
        lacking: Vec<SaltedId>,
    },
    /// A piece of what the receiver lacks, in causal order. The next piece follows a [`Message::Credit`].
    #[n(11)]
    Chunk {
        /// Their document.
        #[n(0)]
        document: DocumentId,
        /// The session that found the difference.
        #[n(1)]
        session: u64,
        /// Envelopes.
        #[n(2)]
        statements: Vec<ByteVec>,
    },
    /// Ready for the next piece.
    #[n(12)]
    Credit {
        /// Of which document.
        #[n(0)]
        document: DocumentId,
        /// The session.
        #[n(1)]
        session: u64,
        /// How many statements of the last piece were new. With none the stream ends: somebody else brings the same.
        #[n(2)]
        fresh: u64,
    },
}

/// Why a frame is not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than a frame may be.
    #[error("a frame of {got} bytes where at most {limit} are allowed", limit = limits::FRAME_BYTES)]
    TooLong {
        /// How long it is.
        got: usize,
    },
    /// Another version of the protocol, or no byte at all.
    #[error("frame of protocol version {0:?}, this software speaks {VERSION}")]
    Version(Option<u8>),
    /// What follows the version is not a message in its one encoding.
    #[error(transparent)]
    Message(#[from] CodecError),
    /// A list is longer than [`LIST`] or [`LACKING`], or an entry longer than its kind may be.
    #[error("{0} exceed their limit")]
    Limit(&'static str),
}

impl Message {
    /// The frame that carries this message.
    pub fn to_frame(&self) -> Vec<u8> {
        let mut frame = vec![VERSION];
        frame.extend(codec::encode(self));
        frame
    }

    /// Reads a frame from a peer.
    pub fn from_frame(frame: &[u8]) -> Result<Self, FrameError> {
        if frame.len() > limits::FRAME_BYTES {
            return Err(FrameError::TooLong { got: frame.len() });
        }
        let Some((&VERSION, rest)) = frame.split_first() else {
            return Err(FrameError::Version(frame.first().copied()));
        };
        let message: Self = codec::decode(rest, limits::FRAME_BYTES)?;
        message.check()?;
        Ok(message)
    }

    /// Whether a frame, if it is a message at all, only brings, names or asks for statements: that needs to know which
    /// are held, and not what they come to. Digests, reconciliation and ciphertexts need both.
    pub(crate) fn is_for_the_graph(frame: &[u8]) -> bool {
        let kind = frame.get(1..).and_then(|rest| {
            let mut decoder = minicbor::Decoder::new(rest);
            decoder.array().ok()?;
            decoder.u32().ok()
        });
        // Push, Announce, Pull.
        matches!(kind, Some(0..=2))
    }

    fn check(&self) -> Result<(), FrameError> {
        let at_most = |what, len: usize| if len > LIST { Err(FrameError::Limit(what)) } else { Ok(()) };
        let blobs_fit = |blobs: &[ByteVec]| {
            at_most("ciphertexts", blobs.len())?;
            match blobs.iter().any(|blob| blob.len() > limits::BLOB_BYTES) {
                true => Err(FrameError::Limit("ciphertext bytes")),
                false => Ok(()),
            }
        };
        match self {
            Self::Push { statements, blobs, .. } => {
                at_most("statements", statements.len())?;
                blobs_fit(blobs)
            }
            Self::Chunk { statements, .. } => at_most("statements", statements.len()),
            Self::Announce { ids, .. } | Self::Pull { ids, .. } => at_most("ids", ids.len()),
            Self::PullBlobs { hashes, .. } => at_most("hashes", hashes.len()),
            Self::Blobs { blobs, .. } => blobs_fit(blobs),
            Self::Digests { told } => at_most("digests", told.len()),
            Self::Close { lacking, .. } => {
                if lacking.len() > LACKING || !lacking.is_sorted_by(|a, b| a < b) {
                    return Err(FrameError::Limit("salted ids"));
                }
                Ok(())
            }
            Self::Open { .. } | Self::Accept { .. } | Self::Ask { .. } | Self::Answer { .. } | Self::Credit { .. } => {
                Ok(())
            }
        }
    }
}
