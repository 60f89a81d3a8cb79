//! A custodian's part in a lease or a blind release.
//!
//! The decision is pure; the contribution can be made only against evidence that its audit record is durable, and only if
//! the custodian still permits it then: it may have said meanwhile that it holds a denial (I6). A custodian never acts on a bare point: it verifies the capsule against the label and public keys that *its own replica* gives for
//! exactly this key, so that nobody can use it as an oracle.

use std::sync::Arc;

use keymesh_custody::{Capsule, Ristretto, VerifiedCapsule, open_partial};
use keymesh_wire::audit::{AuditKind, AuditRecord, Outcome};
use keymesh_wire::body::{Contribution, CustodyClass, Generation};
use keymesh_wire::envelope::Verified;
use keymesh_wire::ids::{BlobHash, KeyringId, NodeId, RequestId, RootId, TenantId};
use keymesh_wire::label::{CapsuleLabel, CapsulePurpose, PartialBinding, PartialPurpose};
use keymesh_wire::limits;
use keymesh_wire::request::QuorumRequest;
use keymesh_wire::sealing::SealingPublic;
use keymesh_wire::sign::Identity;
use keymesh_wire::suite::Suite;
use keymesh_wire::time::{Millis, Now, Wall};
use rand_core::CryptoRng;

use super::message::{LeaseRequest, Refusal, RefusalCode, SealedPart};
use crate::mutant::{self, Mutant};
use crate::release::{Recorded, ReleaseRequest, is_still_permitted, may_lease, permit};
use crate::view::{HeldShare, Sharing, TenantView, View};

/// Contributions that a custodian decided to make.
#[derive(Debug)]
pub struct PartialGrant {
    capsule: VerifiedCapsule<Ristretto>,
    shares: Vec<(u8, Arc<HeldShare>)>,
    recipient: SealingPublic,
    purpose: PartialPurpose,
    tenant: TenantId,
    request: RequestId,
    capsule_hash: BlobHash,
    root: RootId,
    me: NodeId,
    expires: Wall,
    condition: Condition,
}

/// What must still be so when a contribution leaves.
#[derive(Debug)]
enum Condition {
    /// The agent may have the key.
    Release(Arc<TenantView>, ReleaseRequest),
    /// The node may lease, and knows the denials this custodian knows.
    Lease(NodeId, [u8; 32]),
}

impl Condition {
    fn check(&self, view: &View, tenant: &TenantId) -> Result<(), Refusal> {
        match self {
            Self::Release(decided_on, request) => {
                let gone = || no(RefusalCode::Refused, "the permission ended while the record was written");
                is_still_permitted(view, decided_on, request).then_some(()).ok_or_else(gone)
            }
            Self::Lease(lessee, denials) => {
                let tenant = view.tenant(tenant);
                let tenant = tenant.ok_or_else(|| no(RefusalCode::NotReady, "the tenant's document is not served"))?;
                check_lessee(view, tenant, lessee, denials)
            }
        }
    }
}

fn check_lessee(view: &View, tenant: &TenantView, lessee: &NodeId, denials: &[u8; 32]) -> Result<(), Refusal> {
    if tenant.tenant().forked.contains(lessee) {
        return Err(no(RefusalCode::Refused, "two machines speak under the node's identity"));
    }
    if !may_lease(view, tenant, lessee) {
        return Err(no(RefusalCode::Refused, "the node may not lease for this tenant"));
    }
    if tenant.denials != *denials && !mutant::is(Mutant::DenialsNotCompared) {
        return Err(no(RefusalCode::DenialsDiffer, "the node knows other denials than this custodian"));
    }
    Ok(())
}

impl PartialGrant {
    /// A testing aid: the same contributions as a custodian makes that lies, of other shares than its own.
    #[must_use]
    pub fn danger_altered(mut self) -> Self {
        for (_, held) in &mut self.shares {
            if let Ok(share) = held.share.danger_altered() {
                *held = Arc::new(HeldShare { share, epoch: held.epoch });
            }
        }
        self
    }

    /// The sharings of which there is a contribution, by committee and epoch. While one takes over from another they are
    /// more than one of a committee; parts of two of them do not add up.
    pub fn sharings(&self) -> impl Iterator<Item = (u8, u32)> + '_ {
        self.shares.iter().map(|(committee, held)| (*committee, held.epoch))
    }

    /// Makes the contributions, now that the record is durable, if the current `view` still permits them. They carry the
    /// signature of `identity`, which is this node's: what does not hold can be held against it.
    pub fn contribute(
        self,
        recorded: &Recorded,
        view: &View,
        identity: &Identity,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<SealedPart>, Refusal> {
        if view.fenced.contains(&self.tenant) {
            return Err(no(RefusalCode::NotReady, "this custodian keeps silent since the record was written"));
        }
        self.condition.check(view, &self.tenant)?;
        let head = self.capsule.head().to_bytes();
        let mut parts = Vec::with_capacity(self.shares.len());
        for (committee, held) in &self.shares {
            let binding = PartialBinding {
                suite: Suite::V1,
                purpose: self.purpose,
                tenant: self.tenant,
                request: self.request,
                capsule: self.capsule_hash,
                recipient: *self.recipient.as_bytes(),
                root: self.root,
                committee: *committee,
                epoch: held.epoch,
                custodian: self.me,
                expires: self.expires,
            };
            let partial = open_partial(&held.share, &self.capsule, &binding.bytes(), rng)
                .map_err(|error| no(RefusalCode::NotReady, error.to_string()))?;
            parts.push(SealedPart {
                committee: *committee,
                epoch: held.epoch,
                expires: self.expires,
                sealed: Contribution::seal(&self.recipient, &binding, &head, &partial.to_bytes(), identity, rng),
                audit: recorded.sequence(),
            });
        }
        Ok(parts)
    }
}

/// A refusal.
pub fn no(code: RefusalCode, reason: impl Into<String>) -> Refusal {
    let mut reason: String = reason.into();
    reason.truncate(reason.floor_char_boundary(limits::TEXT_BYTES));
    Refusal { code, reason }
}

/// Decides about an agent's quorum request, from this custodian's own replica.
pub fn decide_quorum(
    view: &View,
    request: &Verified<QuorumRequest>,
    now: Now,
) -> (Result<PartialGrant, Refusal>, AuditRecord) {
    let mut record = AuditRecord::new(AuditKind::QuorumPartial, Outcome::Refused, now.wall, view.me, request.request);
    record.tenant = Some(request.tenant);
    record.asker = Some(request.agent);
    record.key = Some(request.key);
    let decision = quorum(view, request, now, &mut record);
    finish(decision, record)
}

/// Decides about a node's lease request, from this custodian's own replica.
pub fn decide_lease(
    view: &View,
    request: &Verified<LeaseRequest>,
    now: Now,
) -> (Result<PartialGrant, Refusal>, AuditRecord) {
    let mut record = AuditRecord::new(AuditKind::LeasePartial, Outcome::Refused, now.wall, view.me, request.request);
    record.tenant = Some(request.tenant);
    record.asker = Some(request.lessee);
    record.keyring = Some(request.keyring);
    let decision = lease(view, request, now);
    finish(decision, record)
}

fn finish(
    decision: Result<PartialGrant, Refusal>,
    mut record: AuditRecord,
) -> (Result<PartialGrant, Refusal>, AuditRecord) {
    match &decision {
        Ok(_) => record.outcome = Outcome::Allowed,
        Err(refusal) => record.reason = Some(refusal.reason.clone()),
    }
    (decision, record)
}

fn fresh(view: &View, issued: Wall, now: Now) -> Result<Wall, Refusal> {
    let life = Millis(limits::REQUEST_LIFE_MS);
    let clock = if mutant::is(Mutant::PeerClockTrusted) { issued } else { now.wall };
    let differs = issued.distance(clock);
    if differs > view.clock_tolerance {
        let reason = format!("the clocks differ by {differs}, at most {} is tolerated", view.clock_tolerance);
        return Err(no(RefusalCode::ClockDifference, reason));
    }
    Ok(issued.plus(life))
}

fn quorum(
    view: &View,
    request: &Verified<QuorumRequest>,
    now: Now,
    record: &mut AuditRecord,
) -> Result<PartialGrant, Refusal> {
    let expires = fresh(view, request.issued, now)?;
    let asked = ReleaseRequest {
        agent: request.agent,
        tenant: request.tenant,
        key: request.key,
        version: request.version,
        request: request.request,
        trace: None,
    };
    let permitted = permit(view, &asked, record).map_err(|reason| no(RefusalCode::Refused, reason))?;
    match &permitted.keyring.class {
        CustodyClass::Quorum => {}
        CustodyClass::Leased { .. } => {
            return Err(no(RefusalCode::Refused, "the keyring is leased: ask a lessee"));
        }
    }
    let purpose = CapsulePurpose::Version { key: request.key, version: permitted.version.version };
    grant(
        view,
        permitted.tenant,
        Asked {
            keyring: permitted.keyring_id,
            root: permitted.keyring.root,
            capsule: permitted.version.ciphertext,
            purpose,
            partial: PartialPurpose::Release,
            request: request.request,
            recipient: request.recipient,
            expires,
            condition: Condition::Release(
                permitted.tenant.clone(),
                ReleaseRequest { version: Some(permitted.version.version), ..asked },
            ),
        },
    )
}

fn lease(view: &View, request: &Verified<LeaseRequest>, now: Now) -> Result<PartialGrant, Refusal> {
    let expires = fresh(view, request.issued, now)?;
    let tenant = view
        .tenant(&request.tenant)
        .ok_or_else(|| no(RefusalCode::NotReady, "this custodian does not hold the tenant's document"))?;
    let state = tenant.tenant();
    check_lessee(view, tenant, &request.lessee, &request.denials)?;
    let keyring =
        state.keyrings.get(&request.keyring).ok_or_else(|| no(RefusalCode::NotReady, "no such keyring here"))?;
    match &keyring.class {
        CustodyClass::Leased { .. } => {}
        CustodyClass::Quorum => return Err(no(RefusalCode::Refused, "a quorum keyring is never leased")),
    }
    let wanted = request.wanted();
    let generation = keyring.generation(&wanted).ok_or_else(|| no(RefusalCode::NotReady, "no such generation here"))?;
    // Whoever may lease reads what honest disks depend on, and no more than that.
    if !state.is_needed(&wanted) {
        return Err(no(RefusalCode::Refused, "no live key needs this generation any more"));
    }
    let generation = &generation.generation;
    grant(
        view,
        tenant,
        Asked {
            keyring: request.keyring,
            root: keyring.root,
            capsule: generation.capsule,
            purpose: generation_purpose(generation),
            partial: PartialPurpose::Lease,
            request: request.request,
            recipient: request.recipient,
            expires,
            condition: Condition::Lease(request.lessee, request.denials),
        },
    )
}

/// What a generation's capsule is for.
pub fn generation_purpose(generation: &Generation) -> CapsulePurpose {
    CapsulePurpose::Generation { number: generation.number, public: generation.public }
}

struct Asked {
    keyring: KeyringId,
    root: RootId,
    capsule: BlobHash,
    purpose: CapsulePurpose,
    partial: PartialPurpose,
    request: RequestId,
    recipient: [u8; 32],
    expires: Wall,
    condition: Condition,
}

fn grant(view: &View, tenant: &TenantView, asked: Asked) -> Result<PartialGrant, Refusal> {
    let not_ready = |what: &str| no(RefusalCode::NotReady, what);
    if view.fenced.contains(&tenant.tenant().tenant) {
        return Err(not_ready("this custodian has not heard from its peers since it started"));
    }
    let recipient = SealingPublic::from_bytes(asked.recipient)
        .map_err(|_| no(RefusalCode::Refused, "the one-time key is not a valid X25519 key"))?;
    let state = tenant.tenant();
    let capsule = verified_capsule(view, tenant, asked.keyring, asked.root, &asked.capsule, asked.purpose)?;
    let sharings = tenant.sharings.get(&asked.root).ok_or_else(|| not_ready("the root is not live"))?;
    // While one epoch takes the place of another both are of use to somebody; each part names its own.
    let mine = |place: u8, committee: &[Sharing]| -> Vec<(u8, Arc<HeldShare>)> {
        let held = view.held(&state.tenant, asked.root, place).iter();
        let is_in_use = |held: &&Arc<HeldShare>| {
            committee.iter().any(|sharing| sharing.epoch == held.epoch && sharing.members.contains(&view.me))
        };
        held.filter(is_in_use).map(|held| (place, held.clone())).collect()
    };
    let shares: Vec<_> = (0u8..).zip(sharings).flat_map(|(place, committee)| mine(place, committee)).collect();
    if shares.is_empty() {
        return Err(not_ready("this node holds no share of the root"));
    }
    if !view.counts(state, &view.me) && !mutant::is(Mutant::RemovedNodeContributes) {
        return Err(not_ready("this node is not admitted, or not placed by the tenant"));
    }
    Ok(PartialGrant {
        capsule,
        shares,
        recipient,
        purpose: asked.partial,
        tenant: state.tenant,
        request: asked.request,
        capsule_hash: asked.capsule,
        root: asked.root,
        me: view.me,
        expires: asked.expires,
        condition: asked.condition,
    })
}

/// The capsule with this hash, verified for exactly this purpose against the roots of this replica.
pub fn verified_capsule(
    view: &View,
    tenant: &TenantView,
    keyring: KeyringId,
    root: RootId,
    hash: &BlobHash,
    purpose: CapsulePurpose,
) -> Result<VerifiedCapsule<Ristretto>, Refusal> {
    let not_ready = |what: &str| no(RefusalCode::NotReady, what);
    let publics = tenant.roots.get(&root).ok_or_else(|| not_ready("the root is not live"))?;
    let bytes = tenant.blobs.get(hash).ok_or_else(|| not_ready("the capsule has not arrived here yet"))?;
    let label =
        CapsuleLabel { suite: Suite::V1, mesh: view.mesh, tenant: tenant.tenant().tenant, root, keyring, purpose };
    let capsule = Capsule::<Ristretto>::from_bytes(bytes)
        .map_err(|error| no(RefusalCode::Refused, format!("the capsule is malformed: {error}")))?;
    capsule
        .verify(&label.bytes(), publics)
        .map_err(|error| no(RefusalCode::Refused, format!("the capsule is not for this: {error}")))
}

#[cfg(test)]
mod tests;
