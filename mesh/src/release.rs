//! Releases: who gets a key, decided purely on the published view.
//!
//! [`decide`] is the one decision that a lessee makes for a leased keyring, in the simulator and in every worker of a node
//! alike. Its result cannot be turned into a key before the audit record that comes with it is on stable storage (I7):
//! [`Grant::open`] asks for the evidence. Lease and permission are looked at again there, because time passes between: a
//! node that has said that it holds a denial lets nothing go that it decided before (I6).
//!
//! Whoever has no right to know gets [`Decision::Refuse`] with one and the same answer for everything; the reason goes into
//! the audit record alone. Nothing is fetched and no lease is asked for on behalf of somebody without a right.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use keymesh_wire::audit::{AuditKind, AuditRecord, Outcome};
use keymesh_wire::body::{CustodyClass, GenerationRef, WrappedVersion};
use keymesh_wire::ids::{KeyId, KeyringId, NodeId, PrincipalId, RequestId, TenantId, VersionId};
use keymesh_wire::label::VersionLabel;
use keymesh_wire::sealing::{self, SealError};
use keymesh_wire::secret::SecretBytes;
use keymesh_wire::suite::Suite;
use keymesh_wire::time::{Now, Wall};

use crate::mutant::{self, Mutant};
use crate::policy::{self, Action};
use crate::state::tenant::{Key, Keyring};
use crate::view::{BoundAgent, Lease, TenantView, View, class_name, releasable};

/// Evidence that an audit record is on stable storage. Only whoever writes the log can have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    sequence: u64,
}

impl Recorded {
    /// Called by the audit log once the record with this sequence number is durable, and by nobody else.
    pub fn durable(sequence: u64) -> Self {
        Self { sequence }
    }

    /// The record's number.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }
}

/// What an agent asks for, its key proved by the session.
#[derive(Debug, Clone)]
pub struct ReleaseRequest {
    /// The agent.
    pub agent: PrincipalId,
    /// The tenant.
    pub tenant: TenantId,
    /// The key.
    pub key: KeyId,
    /// The version; absent for the newest.
    pub version: Option<VersionId>,
    /// The request's id.
    pub request: RequestId,
    /// The trace it belongs to.
    pub trace: Option<String>,
}

/// What was decided.
#[derive(Debug)]
pub enum Decision {
    /// The key may leave once the record is durable.
    Release(Grant),
    /// No. The record says why.
    Refuse,
    /// It may, but this node has no lease at the moment. Nothing is recorded yet; ask again when one is there.
    NeedLease {
        /// Of which generation.
        generation: GenerationRef,
    },
    /// It may, but not from this node as it is now: another may serve it, or this one a little later. Nothing is recorded.
    /// Only whoever has the right is told so much.
    Elsewhere {
        /// Why not from here.
        why: &'static str,
    },
}

/// A release that was decided and is not yet carried out.
#[derive(Debug)]
pub struct Grant {
    request: ReleaseRequest,
    decided_on: Arc<TenantView>,
    lease: Arc<Lease>,
    label: VersionLabel,
    ciphertext: Arc<[u8]>,
}

/// Why a grant came to nothing after it was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// The lease ran out between decision and release.
    #[error("the lease ended before the key left")]
    LeaseEnded,
    /// A denial, or another change, came between decision and release: decide again.
    #[error("the permission ended before the key left")]
    NoLongerPermitted,
    /// The stored ciphertext does not open under the keyring's generation.
    #[error("the key's ciphertext does not open: {0}")]
    Ciphertext(#[from] SealError),
}

impl Grant {
    /// Opens the data key, now that the record is durable, if it is still permitted on the current `view`.
    pub fn open(self, _recorded: &Recorded, view: &View, now: Now) -> Result<SecretBytes, GrantError> {
        if self.lease.is_over(now) && !mutant::is(Mutant::LeaseOutlivesSuspend) {
            return Err(GrantError::LeaseEnded);
        }
        let lessee = view.tenant(&self.request.tenant).is_some_and(|tenant| may_lease(view, tenant, &view.me));
        if !lessee || !is_still_permitted(view, &self.decided_on, &self.request) {
            return Err(GrantError::NoLongerPermitted);
        }
        self.lease.used.store(true, Ordering::Relaxed);
        Ok(sealing::open_with(&self.lease.secret, &self.label.bytes(), &[], &self.ciphertext)?)
    }

    /// The version that is released.
    pub fn version(&self) -> VersionId {
        self.label.version
    }
}

/// Whether what was permitted on one view of a tenant is permitted on the current one. Costs nothing if that is the same.
pub(crate) fn is_still_permitted(view: &View, decided_on: &Arc<TenantView>, request: &ReleaseRequest) -> bool {
    let Some(current) = view.tenant(&request.tenant) else { return false };
    if Arc::ptr_eq(current, decided_on) {
        return true;
    }
    let mut unused = AuditRecord::new(AuditKind::Release, Outcome::Refused, Wall(0), view.me, request.request);
    permit(view, request, &mut unused).is_ok()
}

/// Whether a node may hold leases of a tenant's keyrings.
pub(crate) fn may_lease(view: &View, tenant: &TenantView, node: &NodeId) -> bool {
    let state = tenant.tenant();
    view.counts(state, node) && state.nodes.get(node).is_some_and(|placement| placement.lessee)
}

/// Decides about a release from a leased keyring.
pub fn decide(view: &View, request: &ReleaseRequest, now: Now) -> (Decision, AuditRecord) {
    let mut record = AuditRecord::new(AuditKind::Release, Outcome::Refused, now.wall, view.me, request.request);
    record.tenant = Some(request.tenant);
    record.asker = Some(request.agent);
    record.key = Some(request.key);
    record.version = request.version;
    record.trace = request.trace.clone();
    let decision = match permit(view, request, &mut record) {
        Ok(permitted) => release(view, request, &permitted, now, &mut record),
        Err(reason) => Err(reason),
    };
    match decision {
        Ok(decision) => (decision, record),
        Err(reason) => {
            record.reason = Some(reason);
            (Decision::Refuse, record)
        }
    }
}

/// A request that identity, denials and policy let pass.
pub(crate) struct Permitted<'v> {
    pub(crate) tenant: &'v Arc<TenantView>,
    pub(crate) keyring_id: KeyringId,
    pub(crate) keyring: &'v Keyring,
    pub(crate) version: &'v WrappedVersion,
}

/// Judges identity, denials, key state and policy, the same for both custody classes.
pub(crate) fn permit<'v>(
    view: &'v View,
    request: &ReleaseRequest,
    record: &mut AuditRecord,
) -> Result<Permitted<'v>, String> {
    let tenant = view.tenant(&request.tenant).ok_or("this node does not serve the tenant")?;
    let state = tenant.tenant();
    let agent: &Arc<BoundAgent> =
        tenant.agents.get(&request.agent).ok_or("the agent's key is not bound to an instance")?;
    let facts = &agent.claim.facts;
    record.instance = Some(facts.instance.clone());
    record.zone = Some(facts.zone.clone());
    record.image = Some(facts.image.clone());
    record.launched_by = Some(facts.launched_by.clone());
    // Before anything that depends on the key: an unknown, a revoked and a forbidden one must take the same time. For a key
    // that does not exist some other one is judged, and what comes of it is not looked at.
    let target = tenant.keys.get(&request.key).or_else(|| tenant.keys.values().next());
    let verdict = target.map(|target| {
        policy::evaluate_prepared(&tenant.heads_for(target), Action::Release, &agent.subject, &target.target)
    });
    let key: &Key = state.keys.get(&request.key).ok_or("no such key")?;
    let keyring = state.keyrings.get(&key.keyring).ok_or("the key's keyring does not exist")?;
    record.keyring = Some(key.keyring);
    record.class = Some(class_name(&keyring.class).to_owned());
    if let Some(denial) = state.denial_of(&request.agent, &facts.instance) {
        return Err(format!("revoked by {}: {}", denial.statement, denial.reason));
    }
    if !releasable(key.state) {
        return Err(format!("the key is {:?}", key.state).to_lowercase());
    }
    let version = match request.version {
        None => key.versions.last(),
        Some(id) => key.versions.iter().find(|version| version.wrapped.version == id),
    };
    let version = &version.ok_or("the key has no such version")?.wrapped;
    record.version = Some(version.version);
    let verdict =
        verdict.filter(|_| tenant.keys.contains_key(&request.key)).ok_or("the key is not prepared for policy")?;
    record.policies.clone_from(&verdict.decided_by);
    if !verdict.allowed {
        return Err(verdict.reason);
    }
    Ok(Permitted { tenant, keyring_id: key.keyring, keyring, version })
}

fn release(
    view: &View,
    request: &ReleaseRequest,
    permitted: &Permitted<'_>,
    now: Now,
    record: &mut AuditRecord,
) -> Result<Decision, String> {
    match &permitted.keyring.class {
        CustodyClass::Leased { .. } => {}
        CustodyClass::Quorum => return Err("the keyring is quorum: ask with a quorum request".to_owned()),
    }
    if !may_lease(view, permitted.tenant, &view.me) {
        return Ok(Decision::Elsewhere { why: "this node may not lease keyrings of the tenant" });
    }
    let Some(ciphertext) = permitted.tenant.blobs.get(&permitted.version.ciphertext) else {
        return Ok(Decision::Elsewhere { why: "the key's ciphertext has not arrived here yet" });
    };
    let generation = permitted.version.sealed_to(permitted.keyring_id);
    let lease = view.leases.get(&(request.tenant, generation));
    let lasts = |lease: &&Arc<Lease>| !lease.is_over(now) || mutant::is(Mutant::LeaseOutlivesSuspend);
    let Some(lease) = lease.filter(lasts) else { return Ok(Decision::NeedLease { generation }) };
    if !mutant::is(Mutant::AuditAfterKey) {
        record.outcome = Outcome::Allowed;
    }
    record.custodians.clone_from(&lease.custodians);
    Ok(Decision::Release(Grant {
        request: ReleaseRequest { version: Some(permitted.version.version), ..request.clone() },
        decided_on: permitted.tenant.clone(),
        lease: lease.clone(),
        label: VersionLabel {
            suite: Suite::V1,
            mesh: view.mesh,
            tenant: request.tenant,
            keyring: permitted.keyring_id,
            generation: permitted.version.generation,
            key: request.key,
            version: permitted.version.version,
        },
        ciphertext: ciphertext.clone(),
    }))
}

#[cfg(test)]
mod tests;
