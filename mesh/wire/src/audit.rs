//! Audit records, as a node writes them before a key leaves (I7) and as people read them.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::ids::{KeyId, KeyringId, NodeId, PrincipalId, RequestId, StatementId, TenantId, VersionId};
use crate::time::Wall;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum AuditKind {
    /// A lessee decided about a release from a leased keyring.
    #[n(0)]
    Release,
    /// A custodian decided about its partial for a blind release.
    #[n(1)]
    QuorumPartial,
    /// A custodian decided about its partial for a lease.
    #[n(2)]
    LeasePartial,
    /// A custodian decided about an enrolment.
    #[n(3)]
    Enrolment,
    /// A lessee opened a lease.
    #[n(4)]
    LeaseOpened,
    /// The node started.
    #[n(5)]
    Start,
}

/// How it was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum Outcome {
    /// Allowed.
    #[n(0)]
    Allowed,
    /// Refused.
    #[n(1)]
    Refused,
}

/// One record. Which fields are present depends on the kind and on how far the decision got.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct AuditRecord {
    /// What happened.
    #[n(0)]
    pub kind: AuditKind,
    /// How it was decided.
    #[n(1)]
    pub outcome: Outcome,
    /// The operator's reason for a refusal; never shown to the one who asked.
    #[n(2)]
    pub reason: Option<String>,
    /// When, by the node's wall clock.
    #[n(3)]
    pub time: Wall,
    /// The node that decided.
    #[n(4)]
    pub node: NodeId,
    /// The request, the same at every node it touched.
    #[n(5)]
    pub request: RequestId,
    /// The tenant.
    #[n(6)]
    pub tenant: Option<TenantId>,
    /// Who asked: an agent, or a node for a lease.
    #[n(7)]
    pub asker: Option<PrincipalId>,
    /// The instance the asker is bound to.
    #[n(8)]
    pub instance: Option<String>,
    /// Its zone.
    #[n(9)]
    pub zone: Option<String>,
    /// Its image.
    #[n(10)]
    pub image: Option<String>,
    /// Who launched it.
    #[n(11)]
    pub launched_by: Option<String>,
    /// The keyring.
    #[n(12)]
    pub keyring: Option<KeyringId>,
    /// The keyring's class: `leased` or `quorum`.
    #[n(13)]
    pub class: Option<String>,
    /// The key.
    #[n(14)]
    pub key: Option<KeyId>,
    /// Its version.
    #[n(15)]
    pub version: Option<VersionId>,
    /// The policy statements that decided.
    #[n(16)]
    pub policies: Vec<StatementId>,
    /// Who approved, where approval was asked.
    #[n(17)]
    pub approvers: Vec<PrincipalId>,
    /// The custodians who took part, as far as the writer knows.
    #[n(18)]
    pub custodians: Vec<NodeId>,
    /// The trace the request belongs to, as its sender named it.
    #[n(19)]
    pub trace: Option<String>,
}

impl AuditRecord {
    /// The largest encoded record.
    pub const LIMIT: usize = 8 * 1024;

    /// A record with only what every record has.
    pub fn new(kind: AuditKind, outcome: Outcome, time: Wall, node: NodeId, request: RequestId) -> Self {
        Self {
            kind,
            outcome,
            reason: None,
            time,
            node,
            request,
            tenant: None,
            asker: None,
            instance: None,
            zone: None,
            image: None,
            launched_by: None,
            keyring: None,
            class: None,
            key: None,
            version: None,
            policies: Vec::new(),
            approvers: Vec::new(),
            custodians: Vec::new(),
            trace: None,
        }
    }
}
