//! Limits of statements that need no state to check: sizes, ranges, names, distinct entries.

use super::{
    AccusationError, Body, CommitteeSpec, CustodyClass, EditOp, Person, SharingAct, SharingRef, SharingWord, Subject,
};
use crate::limits;

/// A limit that a body breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// A name is empty, too long, or has other characters than `a-z 0-9 . _ -`.
    #[error("a name must be 1 to {limit} of a-z, 0-9, '.', '_', '-'", limit = limits::NAME_BYTES)]
    Name,
    /// A text is too long.
    #[error("{field} is longer than {limit} bytes")]
    Text {
        /// Which.
        field: &'static str,
        /// How long it may be.
        limit: usize,
    },
    /// A list is empty, too long, or names something twice.
    #[error("{field} must hold 1 to {limit} distinct entries")]
    List {
        /// Which.
        field: &'static str,
        /// How many it may hold.
        limit: usize,
    },
    /// A number is out of its range.
    #[error("{field} must be {range}")]
    Range {
        /// Which.
        field: &'static str,
        /// What it may be.
        range: &'static str,
    },
    /// An accusation that its own evidence does not carry, whatever the state.
    #[error("the accusation: {0}")]
    Accusation(#[from] AccusationError),
}

impl Body {
    /// Checks every limit that needs no state.
    pub fn check(&self) -> Result<(), BodyError> {
        match self {
            Self::MeshGenesis(genesis) => {
                name(&genesis.name)?;
                people(&genesis.founders)?;
                endorsements(genesis.endorsements, genesis.founders.len())
            }
            Self::AdmitNode(card) => {
                name(&card.name)?;
                place(&card.zone, &card.provider)?;
                for addresses in [&card.mesh, &card.door] {
                    list("addresses", addresses, limits::ADDRESSES)?;
                    addresses.iter().try_for_each(|address| text("address", address, limits::NAME_BYTES))?;
                }
                Ok(())
            }
            Self::AddAdmin(person) => name(&person.name),
            Self::Edit(ops) => {
                if ops.is_empty() || ops.len() > limits::EDIT_OPS {
                    return Err(BodyError::List { field: "operations", limit: limits::EDIT_OPS });
                }
                ops.iter().try_for_each(|op| {
                    let (EditOp::Put { path, .. } | EditOp::Delete { path }) = op;
                    if path.is_empty() || path.len() > 4 {
                        return Err(BodyError::List { field: "path", limit: 4 });
                    }
                    path.iter().try_for_each(|field| name(field))?;
                    match op {
                        EditOp::Put { value, .. } => text("value", value, limits::TEXT_BYTES),
                        EditOp::Delete { .. } => Ok(()),
                    }
                })
            }
            Self::TenantGenesis(genesis) => {
                name(&genesis.name)?;
                people(&genesis.admins)?;
                endorsements(genesis.endorsements, genesis.admins.len())?;
                let nodes: Vec<_> = genesis.nodes.iter().map(|placed| placed.node).collect();
                list("nodes", &nodes, limits::TENANT_NODES)?;
                genesis.nodes.iter().try_for_each(|placed| place(&placed.zone, &placed.provider))
            }
            Self::PlaceNode(placed) => place(&placed.zone, &placed.provider),
            Self::ProposeRoot(spec) => {
                if spec.committees.is_empty() || spec.committees.len() > limits::COMMITTEES {
                    return Err(BodyError::List { field: "committees", limit: limits::COMMITTEES });
                }
                spec.committees.iter().try_for_each(committee)
            }
            Self::ReshareRoot(change) => {
                later_epoch(&change.sharing)?;
                committee(&change.spec)
            }
            Self::RefreshShares(sharing) => later_epoch(sharing),
            Self::Sharing(word) => sharing(word),
            Self::AttestRoot(attestation) => {
                text("public key package", &attestation.public, limits::STATEMENT_BYTES / 2)
            }
            Self::CreateNamespace(namespace) => name(&namespace.name),
            Self::Grant(grant) => name(&grant.name),
            Self::CreateKeyring(keyring) => {
                name(&keyring.name)?;
                match &keyring.class {
                    CustodyClass::Leased { generation, lease } => {
                        if generation.number != 1 {
                            return Err(BodyError::Range { field: "first generation", range: "1" });
                        }
                        if lease.0 < limits::LEASE_MIN_MS || lease.0 > limits::LEASE_MAX_MS {
                            return Err(BodyError::Range { field: "lease", range: "1 second to 1 day" });
                        }
                        Ok(())
                    }
                    CustodyClass::Quorum => Ok(()),
                }
            }
            Self::OpenGeneration(new) if new.generation.number < 2 => {
                Err(BodyError::Range { field: "further generation", range: "above 1" })
            }
            Self::CreateKey(key) => name(&key.name),
            Self::SetPolicy(policy) => text("policy", &policy.text, limits::POLICY_BYTES),
            Self::TrustEvidence(root) => text("certificate", &root.certificate, 8 * 1024),
            Self::VoteEnrolment(vote) => {
                let facts = &vote.facts;
                [&facts.instance, &facts.provider, &facts.account, &facts.region, &facts.zone, &facts.image]
                    .into_iter()
                    .chain([&facts.launched_by])
                    .try_for_each(|fact| text("fact", fact, 256))
            }
            Self::Revoke(revocation) => {
                text("reason", &revocation.reason, limits::TEXT_BYTES)?;
                match &revocation.subject {
                    Subject::Instance(instance) => text("instance", instance, 256),
                    Subject::Agent(_) => Ok(()),
                }
            }
            Self::AccuseCustodian(accusation) => Ok(accusation.claim().map(drop)?),
            Self::Witness(targets) => list("witnessed statements", targets, limits::WITNESS_TARGETS),
            Self::Rename(renaming) => name(&renaming.name),
            Self::RemoveNode(_)
            | Self::Endorse(_)
            | Self::RemoveAdmin(_)
            | Self::SuspendAdmin(_)
            | Self::LiftSuspension(_)
            | Self::DisplaceNode(_)
            | Self::RevokeGrant(_)
            | Self::AttestGeneration(_)
            | Self::AccuseGeneration(_)
            | Self::OpenGeneration(_)
            | Self::AddVersion(_)
            | Self::SetKeyState(_)
            | Self::DistrustEvidence(_) => Ok(()),
        }
    }
}

fn committee(spec: &CommitteeSpec) -> Result<(), BodyError> {
    list("committee members", &spec.members, limits::COMMITTEE)?;
    let (t, n) = (usize::from(spec.threshold), spec.members.len());
    if t < 2 || t > n {
        return Err(BodyError::Range { field: "threshold", range: "2 to the number of members" });
    }
    if spec.faults >= spec.threshold {
        return Err(BodyError::Range { field: "faults", range: "below the threshold" });
    }
    Ok(())
}

fn later_epoch(sharing: &SharingRef) -> Result<(), BodyError> {
    if sharing.epoch == 0 {
        return Err(BodyError::Range { field: "epoch", range: "1 or more: key generation makes the first sharing" });
    }
    Ok(())
}

fn sharing(word: &SharingWord) -> Result<(), BodyError> {
    if !matches!(word.act, SharingAct::Erase) {
        later_epoch(&word.sharing)?;
    }
    match &word.act {
        SharingAct::OfferKey { key, .. } => text("one-time key", key, limits::EPOCH_KEY_BYTES),
        SharingAct::CallDeals { offers, .. } => list("offers", offers, limits::COMMITTEE),
        SharingAct::Deal { deal, .. } => text("deal", deal, limits::DEAL_BYTES),
        SharingAct::Complain { complaint, .. } => text("complaint", complaint, limits::COMPLAINT_BYTES),
        SharingAct::Propose { transcript, .. } => {
            list("deals", &transcript.deals, limits::COMMITTEE)?;
            text("public key package", &transcript.public, limits::STATEMENT_BYTES / 2)
        }
        SharingAct::Prepare { .. }
        | SharingAct::Ready { .. }
        | SharingAct::Commit { .. }
        | SharingAct::Hold
        | SharingAct::Erase => Ok(()),
    }
}

fn name(name: &str) -> Result<(), BodyError> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    if name.is_empty() || name.len() > limits::NAME_BYTES || !name.bytes().all(fits) {
        return Err(BodyError::Name);
    }
    Ok(())
}

fn place(zone: &str, provider: &str) -> Result<(), BodyError> {
    name(provider)?;
    zone.split('/').try_for_each(name)?;
    text("zone", zone, limits::NAME_BYTES)
}

fn text(field: &'static str, value: impl AsRef<[u8]>, limit: usize) -> Result<(), BodyError> {
    if value.as_ref().len() > limit { Err(BodyError::Text { field, limit }) } else { Ok(()) }
}

fn list<T: Ord + Clone>(field: &'static str, entries: &[T], limit: usize) -> Result<(), BodyError> {
    let mut sorted = entries.to_vec();
    sorted.sort();
    sorted.dedup();
    if entries.is_empty() || entries.len() > limit || sorted.len() != entries.len() {
        return Err(BodyError::List { field, limit });
    }
    Ok(())
}

fn people(people: &[Person]) -> Result<(), BodyError> {
    let principals: Vec<_> = people.iter().map(|person| person.principal).collect();
    list("admins", &principals, limits::ADMINS)?;
    people.iter().try_for_each(|person| name(&person.name))
}

fn endorsements(required: u8, of: usize) -> Result<(), BodyError> {
    if required == 0 || usize::from(required) > of {
        return Err(BodyError::Range { field: "endorsements", range: "1 to the number of admins" });
    }
    Ok(())
}
