//! The native API's messages: JSON over HTTPS, ids as strings, bytes as base64url.
//!
//! | method and path | asks | answers |
//! |---|---|---|
//! | `GET /healthz` | | `200` when releases can be served |
//! | `GET /v1/node` | | [`NodeInfo`] |
//! | `GET /v1/membership` | | [`Membership`]: signed statements that admit nodes |
//! | `POST /v1/session` | [`SessionOpen`] | [`SessionOpened`] |
//! | `POST /v1/enrol` | [`Enrol`] | [`Enrolled`] |
//! | `POST /v1/release` | [`Release`] | [`Released`] |
//! | `POST /v1/quorum-release` | [`QuorumRelease`] | [`QuorumReleased`] |
//! | `POST /v1/accusations` | [`Accuse`] | [`Accused`] (needs a session of an enrolled agent) |
//! | `POST /v1/statements` | [`Submit`] | [`Submitted`] |
//! | `GET /v1/documents/{document}` | | [`DocumentStatements`] (needs a session of a principal with a right to read) |
//! | `GET /v1/documents/{document}/blobs/{blob}` | | [`Blob`] (likewise) |
//! | `GET /v1/status` | | [`Status`] |
//! | `GET /v1/audit` | [`AuditQuery`] | [`AuditPage`] (likewise) |
//!
//! Every error is a [`crate::error::WireError`].

use serde::{Deserialize, Serialize};

use crate::audit::AuditRecord;
use crate::body::{InstanceFacts, NodeCard, SharingRef};
use crate::codec::{base64, base64_list};
use crate::ids::{DocumentId, KeyId, KeyringId, MeshId, NodeId, RequestId, RootId, StatementId, TenantId, VersionId};
use crate::request::Receipt;
use crate::suite::Level;
use crate::time::{Millis, Wall};

/// What a node says of itself before anything is proved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Its mesh.
    pub mesh: MeshId,
    /// Its key.
    pub node: NodeId,
    /// Its level.
    pub level: Level,
    /// Its wall clock.
    pub time: Wall,
    /// The software's version.
    pub version: String,
}

/// Statements of the mesh document by which a client checks who is a node (see [`crate::membership`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Membership {
    /// Envelopes: the genesis, admissions, endorsements, removals.
    #[serde(with = "base64_list")]
    pub statements: Vec<Vec<u8>>,
}

/// A session proof.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionOpen {
    /// The envelope of a [`crate::request::SessionProof`].
    #[serde(with = "base64")]
    pub proof: Vec<u8>,
}

/// The session is open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionOpened {
    /// The encapsulated key with which the agent sets up the HPKE context that opens this session's releases.
    #[serde(with = "base64")]
    pub encapsulated: Vec<u8>,
}

/// An enrolment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Enrol {
    /// The envelope of a [`crate::request::EnrolmentRequest`].
    #[serde(with = "base64")]
    pub request: Vec<u8>,
}

/// The instance is bound to the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The facts the custodians verified.
    pub facts: InstanceFacts,
    /// How many custodians voted.
    pub votes: usize,
}

/// Asks for a key of a leased keyring.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The tenant.
    pub tenant: TenantId,
    /// The key.
    pub key: KeyId,
    /// The version; absent for the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
    /// A retry carries the same id.
    pub request: RequestId,
    /// Where this request stands among the agent's.
    #[serde(default)]
    pub receipt: Receipt,
    /// The trace it belongs to, at most 64 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// A released key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Released {
    /// The key.
    pub key: KeyId,
    /// The version.
    pub version: VersionId,
    /// The data key, sealed in the session's HPKE context with the request id as associated data.
    #[serde(with = "base64")]
    pub sealed: Vec<u8>,
    /// The audit record that was on disk before this answer left.
    pub audit: AuditRef,
}

/// Where an audit record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRef {
    /// The node whose log it is.
    pub node: NodeId,
    /// Its sequence number there.
    pub sequence: u64,
}

/// Asks the custodians for a key of a quorum keyring.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuorumRelease {
    /// The envelope of a [`crate::request::QuorumRequest`].
    #[serde(with = "base64")]
    pub request: Vec<u8>,
    /// Custodians not to ask, because what they sent before was of no use. Not signed: it takes nothing away that the
    /// node which carries the request could not leave out by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<NodeId>,
}

/// What custodians answered; only the agent's one-time key opens it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuorumReleased {
    /// The key.
    pub key: KeyId,
    /// The version.
    pub version: VersionId,
    /// The keyring, from which with the request the agent builds the [`crate::label::CapsuleLabel`] itself.
    pub keyring: KeyringId,
    /// The root.
    pub root: RootId,
    /// The capsule.
    #[serde(with = "base64")]
    pub capsule: Vec<u8>,
    /// The public key packages of the root's committees, in order, as the custody crate encodes them.
    #[serde(with = "base64_list")]
    pub committees: Vec<Vec<u8>>,
    /// The partials.
    pub partials: Vec<SealedPartial>,
}

/// One custodian's sealed partial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SealedPartial {
    /// The custodian.
    pub custodian: NodeId,
    /// Which committee of the root, from 0.
    pub committee: u8,
    /// The epoch of its share.
    pub epoch: u32,
    /// When the partial is no longer to be used.
    pub expires: Wall,
    /// HPKE to the request's one-time key, with the bytes of its [`crate::label::PartialBinding`] as info.
    #[serde(with = "base64")]
    pub sealed: Vec<u8>,
    /// The custodian's audit record.
    pub audit: AuditRef,
}

/// An agent was given a partial that does not hold, and shows what its custodian signed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accuse {
    /// The tenant.
    pub tenant: TenantId,
    /// An encoded [`crate::body::CustodianAccusation`].
    #[serde(with = "base64")]
    pub accusation: Vec<u8>,
}

/// The accusation holds, and everybody gets to know of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accused {
    /// Who gave the partial.
    pub custodian: NodeId,
    /// The statement that shows it: this one, or one that showed the same before.
    pub statement: StatementId,
}

/// Statements to take in, with the ciphertexts they name.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submit {
    /// Envelopes, each after its parents.
    #[serde(with = "base64_list")]
    pub statements: Vec<Vec<u8>>,
    /// Ciphertexts.
    #[serde(with = "base64_list", default)]
    pub blobs: Vec<Vec<u8>>,
}

/// The statements are on disk here and on their way to the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Submitted {
    /// Their ids, in order.
    pub statements: Vec<StatementId>,
}

/// A whole document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DocumentStatements {
    /// The document.
    pub document: DocumentId,
    /// Envelopes, parents before children.
    #[serde(with = "base64_list")]
    pub statements: Vec<Vec<u8>>,
}

/// A ciphertext.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Blob {
    /// Its bytes.
    #[serde(with = "base64")]
    pub bytes: Vec<u8>,
}

/// How a node is and what it sees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The node's card as admitted; absent until it is.
    pub card: Option<NodeCard>,
    /// The node.
    pub node: NodeId,
    /// Its mesh.
    pub mesh: MeshId,
    /// Its level.
    pub level: Level,
    /// The software's version.
    pub version: String,
    /// Its wall clock.
    pub time: Wall,
    /// How long it has run.
    pub uptime: Millis,
    /// The other admitted nodes as it sees them.
    pub peers: Vec<PeerStatus>,
    /// Documents it holds.
    pub documents: Vec<DocumentStatus>,
    /// Leases it holds.
    pub leases: Vec<LeaseStatus>,
    /// The newest record of its audit log.
    pub audit_sequence: u64,
    /// Things an operator should look at.
    pub warnings: Vec<String>,
}

/// A peer as a node sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// The peer.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// Whether there is a connection.
    pub reachable: bool,
    /// The last measured round trip, in microseconds.
    pub round_trip_us: Option<u64>,
    /// How far its wall clock is from ours, positive when it is ahead.
    pub clock_difference_ms: Option<i64>,
    /// Documents in which its last announced digest differs from ours.
    pub lagging: usize,
}

/// A document as a node holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DocumentStatus {
    /// The document.
    pub document: DocumentId,
    /// Its name: the mesh's or the tenant's.
    pub name: String,
    /// How many statements.
    pub statements: usize,
    /// SHA-256 over the sorted statement ids and the folded state, as hex.
    pub digest: String,
    /// Its newest statements.
    pub heads: Vec<StatementId>,
    /// Statements waiting for parents.
    pub waiting: usize,
    /// Shares of the current epochs that the node should hold and does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacking: Vec<SharingRef>,
}

/// A lease a node holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeaseStatus {
    /// The tenant.
    pub tenant: TenantId,
    /// The keyring.
    pub keyring: KeyringId,
    /// Its name.
    pub name: String,
    /// The generation.
    pub generation: u32,
    /// How long it still lasts.
    pub remaining: Millis,
}

/// Which audit records are asked for.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// The tenant.
    pub tenant: Option<TenantId>,
    /// Only those of this instance.
    #[serde(default)]
    pub instance: Option<String>,
    /// Only those with a higher sequence number.
    #[serde(default)]
    pub after: Option<u64>,
}

/// Audit records of one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditPage {
    /// The node whose log it is.
    pub node: NodeId,
    /// The records with their sequence numbers.
    pub records: Vec<AuditEntry>,
    /// The newest sequence number of the log.
    pub head: u64,
    /// The chain's hash there, as hex.
    pub chain: String,
    /// Whether the whole chain was read and holds.
    pub verified: bool,
    /// Where it does not hold, in words.
    pub broken: Option<String>,
}

/// One audit record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its sequence number.
    pub sequence: u64,
    /// The record.
    pub record: AuditRecord,
}
