//! Audit records, as a node writes them before a key leaves (I7) and as people read them.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::codec;
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
    /// A custodian helped another one to its lost share.
    #[n(6)]
    ShareRepair,
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

    /// The record as a log keeps it, never longer than [`AuditRecord::LIMIT`]: texts and lists that would not fit are
    /// shortened, and the reason says so. A record must not fail for the length of a rule's name, or whoever sets
    /// policies would decide whether a node can write its log.
    pub fn to_payload(&self) -> Vec<u8> {
        let whole = codec::encode(self);
        if whole.len() <= Self::LIMIT {
            return whole;
        }
        let mut short = self.clone();
        short.reason =
            Some(format!("{} (record shortened)", self.reason.as_deref().map(shortened).unwrap_or_default()));
        for text in [&mut short.instance, &mut short.zone, &mut short.image, &mut short.launched_by, &mut short.trace] {
            *text = text.as_deref().map(shortened);
        }
        short.class = short.class.as_deref().map(shortened);
        short.policies.truncate(MOST_NAMED);
        short.approvers.truncate(MOST_NAMED);
        short.custodians.truncate(MOST_NAMED);
        codec::encode(&short)
    }
}

/// How much of each list a shortened record keeps.
const MOST_NAMED: usize = 32;
/// How much of each text, in bytes.
const MOST_TEXT: usize = 512;

fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(MOST_TEXT)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> AuditRecord {
        let (node, request) = (NodeId::from_bytes([1; 32]), RequestId::from_bytes([2; 16]));
        AuditRecord::new(AuditKind::Release, Outcome::Refused, Wall(u64::MAX), node, request)
    }

    #[test]
    fn whatever_is_in_a_record_it_fits_the_log_and_is_read_again() {
        let plain = AuditRecord { reason: Some("no such key".to_owned()), ..record() };
        assert_eq!(codec::decode(&plain.to_payload(), AuditRecord::LIMIT), Ok(plain));
        let long = || Some("\u{e9}".repeat(20_000));
        let full = AuditRecord {
            reason: long(),
            instance: long(),
            zone: long(),
            image: long(),
            launched_by: long(),
            class: long(),
            trace: long(),
            tenant: Some(TenantId::from_bytes([1; 32])),
            asker: Some(PrincipalId::from_bytes([1; 32])),
            keyring: Some(KeyringId::from_bytes([1; 32])),
            key: Some(KeyId::from_bytes([1; 32])),
            version: Some(VersionId::from_bytes([1; 16])),
            policies: vec![StatementId::from_bytes([1; 32]); 1000],
            approvers: vec![PrincipalId::from_bytes([1; 32]); 1000],
            custodians: vec![NodeId::from_bytes([1; 32]); 1000],
            ..record()
        };
        let read: AuditRecord = codec::decode(&full.to_payload(), AuditRecord::LIMIT).expect("fits and is read");
        assert!(read.reason.is_some_and(|reason| reason.ends_with("(record shortened)")));
        assert_eq!((read.key, read.custodians.len()), (full.key, MOST_NAMED));
    }
}
