//! What agents sign: the proof of their key once per session, enrolments, and each quorum request.
//!
//! Everything names what it is for, so a proof captured on one connection is worth nothing on another, and one made for a
//! tenant or a node nothing elsewhere.

use minicbor::{Decode, Encode};

use crate::envelope::Signable;
use crate::ids::{KeyId, MeshId, NodeId, PrincipalId, RequestId, TenantId, VersionId};
use crate::suite::Suite;
use crate::time::Wall;

/// The TLS exporter label (RFC 8446 section 7.5) that binds a session proof to its connection.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-keymesh-agent-session-v1";

/// Proves an agent's key on one TLS connection and names the one-time key to which the session's releases are sealed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SessionProof {
    /// The algorithms.
    #[n(0)]
    pub suite: Suite,
    /// The mesh.
    #[n(1)]
    pub mesh: MeshId,
    /// The node at the other end.
    #[n(2)]
    pub node: NodeId,
    /// The tenant whose keys are asked for.
    #[n(3)]
    pub tenant: TenantId,
    /// The agent's key.
    #[n(4)]
    pub agent: PrincipalId,
    /// 32 bytes exported from the TLS session under [`EXPORTER_LABEL`].
    #[n(5)]
    #[cbor(with = "minicbor::bytes")]
    pub exporter: [u8; 32],
    /// The agent's one-time X25519 key for this session.
    #[n(6)]
    #[cbor(with = "minicbor::bytes")]
    pub recipient: [u8; 32],
}

impl Signable for SessionProof {
    const DOMAIN: &'static str = "keymesh agent session v1";
    const LIMIT: usize = 1024;

    fn signer(&self) -> PrincipalId {
        self.agent
    }
}

/// What a session's releases are bound to (HPKE info), for both ends to compute alike.
pub fn session_info(proof: &SessionProof) -> Vec<u8> {
    [b"keymesh session release v1".to_vec(), crate::codec::encode(proof)].concat()
}

/// An instance asks to be bound to its agent's key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct EnrolmentRequest {
    /// The algorithms.
    #[n(0)]
    pub suite: Suite,
    /// The tenant.
    #[n(1)]
    pub tenant: TenantId,
    /// A retry carries the same id.
    #[n(2)]
    pub request: RequestId,
    /// The agent's key.
    #[n(3)]
    pub agent: PrincipalId,
    /// When the agent signed this.
    #[n(4)]
    pub issued: Wall,
    /// The evidence, encoded as its kind demands.
    #[n(5)]
    #[cbor(with = "minicbor::bytes")]
    pub evidence: Vec<u8>,
    /// The launch ticket's envelope.
    #[n(6)]
    #[cbor(with = "minicbor::bytes")]
    pub ticket: Vec<u8>,
    /// The envelope of a [`crate::ticket::Voucher`], if the ticket is not for the agent's key itself.
    #[n(7)]
    #[cbor(with = "minicbor::bytes")]
    pub voucher: Option<Vec<u8>>,
}

impl Signable for EnrolmentRequest {
    const DOMAIN: &'static str = "keymesh enrolment request v1";
    const LIMIT: usize = 24 * 1024;

    fn signer(&self) -> PrincipalId {
        self.agent
    }
}

/// An agent asks the custodians to open one key version straight to its one-time key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct QuorumRequest {
    /// The algorithms.
    #[n(0)]
    pub suite: Suite,
    /// The tenant.
    #[n(1)]
    pub tenant: TenantId,
    /// A retry carries the same id.
    #[n(2)]
    pub request: RequestId,
    /// The agent's key.
    #[n(3)]
    pub agent: PrincipalId,
    /// When the agent signed this.
    #[n(4)]
    pub issued: Wall,
    /// The key.
    #[n(5)]
    pub key: KeyId,
    /// The version; absent for the newest.
    #[n(6)]
    pub version: Option<VersionId>,
    /// The agent's one-time X25519 key for this request.
    #[n(7)]
    #[cbor(with = "minicbor::bytes")]
    pub recipient: [u8; 32],
    /// Where this request stands among the agent's.
    #[n(8)]
    pub receipt: Receipt,
}

impl Signable for QuorumRequest {
    const DOMAIN: &'static str = "keymesh quorum request v1";
    const LIMIT: usize = 2048;

    fn signer(&self) -> PrincipalId {
        self.agent
    }
}

/// Room for a request's place in the agent's history, by which a forked history shows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode, serde::Serialize, serde::Deserialize)]
pub struct Receipt {
    /// The kernel's boot id.
    #[n(0)]
    pub boot: Option<String>,
    /// Counts the agent's intents.
    #[n(1)]
    pub counter: Option<u64>,
    /// SHA-256 of the previous receipt, as hex.
    #[n(2)]
    pub previous: Option<String>,
}
