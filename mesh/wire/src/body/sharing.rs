//! What is said when the shares of a committee change hands: a refresh among the same custodians, a reshare to others.
//!
//! The numbered sharings of one committee are its *epochs*; the public key of the root stays the same through all of
//! them. Admins (or, for a refresh, custodians) propose the next epoch; everything else is custodians' words about it,
//! all of them statements, so that votes are durable before anybody hears of them, reach everybody, and can be shown.
//! How they add up is `keymesh_mesh::custody::agreement`.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::CommitteeSpec;
use crate::codec;
use crate::ids::{BlobHash, RootId, StatementId};

/// One sharing of one committee's part of a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct SharingRef {
    /// The root.
    #[n(0)]
    pub root: RootId,
    /// Which of the root's committees, from 0.
    #[n(1)]
    pub committee: u8,
    /// The version of the sharing; the first, made by key generation, is 0.
    #[n(2)]
    pub epoch: u32,
}

/// Proposes the next epoch among other custodians or with other numbers.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Reshare {
    /// The epoch it would be.
    #[n(0)]
    pub sharing: SharingRef,
    /// Who holds its shares, how many open, how many may lie.
    #[n(1)]
    pub spec: CommitteeSpec,
}

/// A custodian's word in the making of an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SharingWord {
    /// The epoch it is about.
    #[n(0)]
    pub sharing: SharingRef,
    /// What is said.
    #[n(1)]
    pub act: SharingAct,
}

/// What a custodian says in the making of an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum SharingAct {
    /// A recipient's one-time key for this change, which its sub-shares are to be encrypted to.
    #[n(0)]
    OfferKey {
        /// The proposal.
        #[n(0)]
        change: StatementId,
        /// The key with its proof of possession, as the custody crate encodes it.
        #[n(1)]
        #[cbor(with = "minicbor::bytes")]
        key: Vec<u8>,
    },
    /// Asks the holders of the old epoch to deal to the recipients who made these offers.
    #[n(1)]
    CallDeals {
        /// The proposal.
        #[n(0)]
        change: StatementId,
        /// The offers, in the order of the recipients.
        #[n(1)]
        offers: Vec<StatementId>,
    },
    /// A holder's deal of its share to the recipients of a call.
    #[n(2)]
    Deal {
        /// The call.
        #[n(0)]
        call: StatementId,
        /// The deal, as the custody crate encodes it.
        #[n(1)]
        #[cbor(with = "minicbor::bytes")]
        deal: Vec<u8>,
    },
    /// A recipient reveals a sub-share that does not fit, with a proof of what it was sent.
    #[n(3)]
    Complain {
        /// The deal.
        #[n(0)]
        deal: StatementId,
        /// The complaint, as the custody crate encodes it.
        #[n(1)]
        #[cbor(with = "minicbor::bytes")]
        complaint: Vec<u8>,
    },
    /// The leader of a ballot proposes what the epoch is to be.
    #[n(4)]
    Propose {
        /// The ballot, from 0.
        #[n(0)]
        ballot: u32,
        /// What it proposes.
        #[n(1)]
        transcript: Transcript,
        /// The earlier ballot in which this transcript was prepared, if it was.
        #[n(2)]
        prepared: Option<u32>,
    },
    /// A holder's first vote in a ballot.
    #[n(5)]
    Prepare {
        /// The ballot.
        #[n(0)]
        ballot: u32,
        /// Which transcript, by [`Transcript::id`].
        #[n(1)]
        transcript: BlobHash,
    },
    /// A recipient's word that it can take its share of this transcript: its key is on its disk, every deal fits.
    #[n(6)]
    Ready {
        /// Which transcript.
        #[n(0)]
        transcript: BlobHash,
    },
    /// A holder's second vote in a ballot, by which it is bound in all later ones.
    #[n(7)]
    Commit {
        /// The ballot.
        #[n(0)]
        ballot: u32,
        /// Which transcript.
        #[n(1)]
        transcript: BlobHash,
    },
    /// A recipient's word that its share of a committed epoch is on its disk.
    #[n(8)]
    Hold,
    /// A holder's word that its share of an epoch that is over is erased.
    #[n(9)]
    Erase,
}

impl SharingAct {
    /// The act's name, for people and logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::OfferKey { .. } => "offer-epoch-key",
            Self::CallDeals { .. } => "call-deals",
            Self::Deal { .. } => "deal-shares",
            Self::Complain { .. } => "complain-of-deal",
            Self::Propose { .. } => "propose-transcript",
            Self::Prepare { .. } => "prepare-epoch",
            Self::Ready { .. } => "ready-for-epoch",
            Self::Commit { .. } => "commit-epoch",
            Self::Hold => "hold-share",
            Self::Erase => "erase-share",
        }
    }
}

/// What an epoch is to be: which deals make it, and what comes of them.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Transcript {
    /// The call that the deals answer.
    #[n(0)]
    pub call: StatementId,
    /// The deals, in the order of their dealers.
    #[n(1)]
    pub deals: Vec<StatementId>,
    /// The public key package that follows from them, as the custody crate encodes it.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    #[serde(with = "crate::codec::base64")]
    pub public: Vec<u8>,
    /// The custody crate's hash over the whole exchange.
    #[n(3)]
    pub hash: BlobHash,
}

impl Transcript {
    /// By what votes name a transcript: SHA-256 over its encoding.
    pub fn id(&self) -> BlobHash {
        let mut hash = Sha256::new();
        hash.update(b"keymesh sharing transcript v1");
        hash.update(codec::encode(self));
        BlobHash::from_bytes(hash.finalize().into())
    }
}
