//! What ciphertexts are bound to.
//!
//! A capsule or a sealed key version opens only for the very thing it was made for: all of this is authenticated (TDH2
//! label, HPKE info). Ids, never names; not the share epoch, because a refresh must not touch ciphertexts.

use minicbor::{Decode, Encode};

use crate::codec;
use crate::ids::{BlobHash, KeyId, KeyringId, MeshId, NodeId, RequestId, RootId, TenantId, VersionId};
use crate::suite::Suite;
use crate::time::Wall;

/// What a capsule holds. The root's committee public keys are added, in order, by the custody crate.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CapsuleLabel {
    /// The algorithms.
    #[n(0)]
    pub suite: Suite,
    /// The mesh.
    #[n(1)]
    pub mesh: MeshId,
    /// The tenant.
    #[n(2)]
    pub tenant: TenantId,
    /// The root it is sealed to.
    #[n(3)]
    pub root: RootId,
    /// The keyring.
    #[n(4)]
    pub keyring: KeyringId,
    /// What it holds of that keyring.
    #[n(5)]
    pub purpose: CapsulePurpose,
}

/// What a capsule is for.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum CapsulePurpose {
    /// The secret half of a leased keyring's generation.
    #[n(0)]
    Generation {
        /// Its number.
        #[n(0)]
        number: u32,
        /// Its public half.
        #[n(1)]
        #[cbor(with = "minicbor::bytes")]
        public: [u8; 32],
    },
    /// One version of a key in a quorum keyring.
    #[n(1)]
    Version {
        /// The key.
        #[n(0)]
        key: KeyId,
        /// The version.
        #[n(1)]
        version: VersionId,
    },
}

impl CapsuleLabel {
    /// The bytes that are authenticated.
    pub fn bytes(&self) -> Vec<u8> {
        [b"keymesh capsule label v1".to_vec(), codec::encode(self)].concat()
    }
}

/// What a version sealed to a leased keyring's generation is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct VersionLabel {
    /// The algorithms.
    #[n(0)]
    pub suite: Suite,
    /// The mesh.
    #[n(1)]
    pub mesh: MeshId,
    /// The tenant.
    #[n(2)]
    pub tenant: TenantId,
    /// The keyring.
    #[n(3)]
    pub keyring: KeyringId,
    /// The generation's number.
    #[n(4)]
    pub generation: u32,
    /// The key.
    #[n(5)]
    pub key: KeyId,
    /// The version.
    #[n(6)]
    pub version: VersionId,
}

impl VersionLabel {
    /// The bytes that are authenticated.
    pub fn bytes(&self) -> Vec<u8> {
        [b"keymesh version label v1".to_vec(), codec::encode(self)].concat()
    }
}

/// What a custodian's partial is bound to: in its proof, and as HPKE info when it is sealed to the recipient.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PartialBinding {
    /// The algorithms.
    #[n(0)]
    pub suite: Suite,
    /// What the partial may be used for.
    #[n(1)]
    pub purpose: PartialPurpose,
    /// The tenant.
    #[n(2)]
    pub tenant: TenantId,
    /// The request it answers.
    #[n(3)]
    pub request: RequestId,
    /// The capsule it helps to open.
    #[n(4)]
    pub capsule: BlobHash,
    /// The recipient's one-time X25519 key.
    #[n(5)]
    #[cbor(with = "minicbor::bytes")]
    pub recipient: [u8; 32],
    /// The root.
    #[n(6)]
    pub root: RootId,
    /// Which of its committees, from 0.
    #[n(7)]
    pub committee: u8,
    /// The epoch of the share.
    #[n(8)]
    pub epoch: u32,
    /// The custodian.
    #[n(9)]
    pub custodian: NodeId,
    /// When it is no longer to be used.
    #[n(10)]
    pub expires: Wall,
}

/// What a partial may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum PartialPurpose {
    /// A node opens a leased keyring's generation.
    #[n(0)]
    Lease,
    /// An agent opens one key version.
    #[n(1)]
    Release,
}

impl PartialBinding {
    /// The bytes that are authenticated.
    pub fn bytes(&self) -> Vec<u8> {
        [b"keymesh partial binding v1".to_vec(), codec::encode(self)].concat()
    }
}
