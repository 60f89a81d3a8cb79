//! What the replica does by itself when state or time changed: witness denials, make roots, keep leases alive, erase,
//! publish.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use keymesh_custody::{KeyShare, Ristretto, RootPublic};
use keymesh_wire::audit::{self, AuditKind, AuditRecord};
use keymesh_wire::body::{Body, GenerationRef, KeyState, RootAttestation};
use keymesh_wire::ids::{BlobHash, DocumentId, KeyringId, RequestId, RootId, StatementId, TenantId};
use keymesh_wire::limits;
use keymesh_wire::sealing::SealingPublic;
use keymesh_wire::time::{Boot, Millis, Now};
use rand_core::CryptoRng;

use super::step::{Channel, Effect, Step, Write};
use super::{ASK_AGAIN, Replica};
use crate::custody::ceremony::{Ceremony, CeremonyPlan, Outcome};
use crate::custody::lease::Asking;
use crate::custody::message::CustodyMessage;
use crate::custody::slot::Slot;
use crate::mutant::{self, Mutant};
use crate::state::tenant::{GenerationState, RootCommittee};
use crate::state::{DocumentState, TenantState};
use crate::view::{HeldShare, Lease, TenantView, View};

impl Replica {
    /// Brings state up to date and reacts, until nothing changes any more; then publishes the view.
    pub(super) fn settle(&mut self, now: Now, rng: &mut impl CryptoRng, step: &mut Step) {
        loop {
            self.refold_now();
            let changed = std::mem::take(&mut self.refolded);
            if changed.is_empty() {
                break;
            }
            for id in changed {
                self.react(id, now, rng, step);
            }
        }
        if std::mem::take(&mut self.view_changed) {
            let touched = std::mem::take(&mut self.touched);
            touched.iter().for_each(|tenant| self.note_shares_in_use(tenant));
            self.publish(step);
            touched.iter().for_each(|tenant| self.look_for_unattested(*tenant, now));
            self.sponsor(now);
            self.pursue_leases(now, rng, step);
        }
    }

    fn react(&mut self, id: DocumentId, now: Now, rng: &mut impl CryptoRng, step: &mut Step) {
        self.view_changed = true;
        let Some(document) = self.document_of(&id) else { return };
        let above = document.above();
        let state = document.state().clone();
        match &*state {
            DocumentState::Mesh(mesh) => {
                if *self.view.members != mesh.nodes {
                    self.members = Arc::new(mesh.nodes.clone());
                    self.touched.extend(self.tenants.keys());
                    let others = mesh.nodes.values().filter(|card| card.node != self.me).cloned().collect();
                    step.effects.push(Effect::Peers(others));
                }
            }
            DocumentState::Tenant(tenant) => {
                self.touch(tenant.tenant);
                if above.is_none() {
                    self.look_at_fence(tenant, now, rng, step);
                }
                if above.is_none() && !self.is_fenced(&tenant.tenant) {
                    self.witness(id, tenant, now, rng, step);
                    self.make_roots(tenant, now, rng, step);
                    self.make_epochs(id, tenant, now, rng, step);
                }
                if above.is_none() {
                    self.erase(id, tenant, now, step);
                }
                match tenant.keys.values().filter_map(|key| key.erase_after).min() {
                    Some(first) => self.erasures.insert(id, first),
                    None => self.erasures.remove(&id),
                };
                let blobs = self.library.blobs_of(&id);
                let before = self.tenants.get(&tenant.tenant).map(|view| &**view);
                if let Some(view) = TenantView::rebuild(&state, above, blobs, &mut self.policies, before) {
                    self.tenants.insert_mut(tenant.tenant, Arc::new(view));
                }
                self.repair_shares(tenant, now, rng, step);
            }
        }
    }

    /// Something about a tenant changed that decisions depend on.
    pub(super) fn touch(&mut self, tenant: TenantId) {
        self.view_changed = true;
        self.touched.insert(tenant);
    }

    /// Says of each denial that this custodian holds it. The statement is on disk before anybody hears of it.
    fn witness(
        &mut self,
        document: DocumentId,
        tenant: &TenantState,
        now: Now,
        rng: &mut impl CryptoRng,
        step: &mut Step,
    ) {
        if !is_custodian(tenant, self.me) || tenant.is_moving(&self.me) {
            return;
        }
        let unseen: Vec<StatementId> = tenant
            .denials
            .values()
            .filter(|denial| !denial.witnesses.contains(&self.me))
            .map(|denial| denial.statement)
            .take(limits::WITNESS_TARGETS)
            .collect();
        if !unseen.is_empty() {
            self.author(document, &Body::Witness(unseen), now, rng, step);
        }
    }

    /// Takes part in making roots that were agreed upon, and forgets what is over.
    fn make_roots(&mut self, tenant: &TenantState, now: Now, rng: &mut impl CryptoRng, step: &mut Step) {
        for root in tenant.roots.values() {
            for (place, committee) in (0u8..).zip(&root.committees) {
                let key = (root.id, place);
                if committee.public.is_some() {
                    self.ceremonies.remove(&key);
                    continue;
                }
                if !committee.spec.members.contains(&self.me) || committee.attested.contains(&self.me) {
                    continue;
                }
                if let Some(attestation) = self.fitting_claim(root.id, place, committee) {
                    self.ceremonies.remove(&key);
                    self.author(tenant.tenant.into(), &Body::AttestRoot(attestation), now, rng, step);
                    continue;
                }
                if self.ceremonies.contains_key(&key) {
                    continue;
                }
                let sealing: Option<Vec<SealingPublic>> = committee
                    .spec
                    .members
                    .iter()
                    .map(|member| {
                        let placed = tenant.nodes.get(member)?;
                        SealingPublic::from_bytes(placed.sealing).ok()
                    })
                    .collect();
                let Some(sealing) = sealing else { continue };
                let plan = CeremonyPlan {
                    mesh: self.config.mesh,
                    tenant: tenant.tenant,
                    root: root.id,
                    committee: place,
                    spec: committee.spec.clone(),
                    sealing,
                };
                // A share of an earlier attempt without a live root: that attempt did not complete everywhere.
                let attempt = self.next_attempt(&root.id, place);
                let identity = self.config.identity.clone();
                if let Some((ceremony, outcomes)) = Ceremony::start(plan, attempt, &identity, now.boot, rng) {
                    self.ceremonies.insert(key, ceremony);
                    self.ceremony_outcomes(tenant.tenant, outcomes, now, rng, step);
                }
            }
        }
    }

    /// What another member attested and the share that this one holds fits to.
    fn fitting_claim(&self, root: RootId, place: u8, committee: &RootCommittee) -> Option<RootAttestation> {
        committee.claims.iter().find_map(|claim| {
            let held = self.shares.get(&Slot::Made { root, committee: place, attempt: claim.attempt })?;
            let public = RootPublic::<Ristretto>::from_bytes(&claim.public).ok()?;
            held.share.matches(&public).then(|| RootAttestation {
                root,
                committee: place,
                attempt: claim.attempt,
                epoch: 0,
                transcript: claim.transcript,
                public: claim.public.clone(),
            })
        })
    }

    /// Whether this member attested an outcome of a root already.
    fn has_attested(&self, tenant: &TenantId, attestation: &RootAttestation) -> bool {
        let root = self.tenant_state(tenant).and_then(|state| state.roots.get(&attestation.root));
        let committee = root.and_then(|root| root.committees.get(usize::from(attestation.committee)));
        committee.is_some_and(|committee| committee.attested.contains(&self.me))
    }

    fn next_attempt(&self, root: &RootId, committee: u8) -> u32 {
        let held = self.shares.keys().filter_map(|slot| match slot {
            Slot::Made { root: of, committee: place, attempt } if (of, *place) == (root, committee) => Some(*attempt),
            _ => None,
        });
        held.map(|attempt| attempt.saturating_add(1)).max().unwrap_or(0)
    }

    pub(super) fn ceremony_outcomes(
        &mut self,
        tenant: TenantId,
        outcomes: Vec<Outcome>,
        now: Now,
        rng: &mut impl CryptoRng,
        step: &mut Step,
    ) {
        for outcome in outcomes {
            match outcome {
                Outcome::Send(to, envelope) => {
                    let frame = CustodyMessage::Ceremony(envelope).to_frame();
                    step.effects.push(Effect::Send { to, channel: Channel::Custody, frame });
                }
                Outcome::Keep { slot, share } => {
                    let Ok(parsed) = KeyShare::from_exposed(share.expose_secret()) else { continue };
                    self.shares.insert(slot, Arc::new(HeldShare { share: parsed, epoch: 0 }));
                    step.batch.writes.push(Write::Share { slot: slot.to_string(), share });
                }
                Outcome::Attest(attestation) => {
                    self.refold_now();
                    if !self.has_attested(&tenant, &attestation) {
                        self.author(tenant.into(), &Body::AttestRoot(attestation), now, rng, step);
                    }
                }
                Outcome::Warn(what) => step.effects.push(Effect::Warn(what)),
            }
        }
    }

    /// Erases ciphertexts of keys whose destruction has waited long enough, and nothing else: what hangs on a statement
    /// that lost its authority is kept, because a disk may depend on it (I4).
    fn erase(&mut self, document: DocumentId, tenant: &TenantState, now: Now, step: &mut Step) {
        let over = tenant
            .keys
            .values()
            .filter(|key| key.state == KeyState::Destroyed && key.erase_after.is_some_and(|after| now.wall >= after));
        let mut gone: BTreeSet<BlobHash> =
            over.flat_map(|key| key.versions.iter().map(|version| version.wrapped.ciphertext)).collect();
        for wanted in tenant.wanted_blobs() {
            gone.remove(&wanted);
        }
        for hash in self.library.erase_blobs(&document, &gone) {
            step.batch.writes.push(Write::EraseBlob { document, hash });
        }
    }

    /// Time passed.
    pub(super) fn tick(&mut self, now: Now, rng: &mut impl CryptoRng, step: &mut Step) {
        let actions = self.spread.tick(&self.library, now.boot, rng);
        self.carry_out(actions, now, rng, step);
        let identity = self.config.identity.clone();
        let mut outcomes = BTreeMap::new();
        for (place, ceremony) in &mut self.ceremonies {
            if now.boot >= ceremony.next_wake() {
                outcomes.insert(*place, (ceremony.tenant(), ceremony.tick(&identity, now.boot, rng)));
            }
        }
        for (_, (tenant, outcomes)) in outcomes {
            self.ceremony_outcomes(tenant, outcomes, now, rng, step);
        }
        self.tick_fences(now, step);
        self.tick_epochs(now, rng, step);
        self.refresh_old(now, rng, step);
        self.tick_repairs(now, rng, step);
        self.erase_due(now, step);
        self.end_leases(now);
        self.renew_leases(now);
        self.sponsor(now);
        self.pursue_leases(now, rng, step);
    }

    fn erase_due(&mut self, now: Now, step: &mut Step) {
        let due: Vec<DocumentId> =
            self.erasures.iter().filter(|(_, at)| now.wall >= **at).map(|(document, _)| *document).collect();
        for id in due {
            let state = self.document_of(&id).map(|document| document.state().clone());
            if let Some(DocumentState::Tenant(tenant)) = state.as_deref() {
                self.erase(id, tenant, now, step);
            }
        }
    }

    fn end_leases(&mut self, now: Now) {
        let before = self.leases.len();
        self.leases.retain(|_, lease| !lease.is_over(now));
        self.view_changed |= self.leases.len() != before;
    }

    /// Past half of its time a lease that was used is asked for again.
    fn renew_leases(&mut self, now: Now) {
        for (place, lease) in &self.leases {
            let due = self.lease_half(place, lease).is_some_and(|half| now.boot >= half);
            if due && !self.wishes.contains_key(place) && lease.used.load(Ordering::Relaxed) {
                self.wishes.insert(*place, super::Wish { until: lease.expires, ask_at: now.boot });
            }
        }
        self.looked_at_leases = now.boot;
    }

    /// When half of a lease's time is over.
    fn lease_half(&self, (tenant, generation): &(TenantId, GenerationRef), lease: &Lease) -> Option<Boot> {
        let span = self.tenants.get(tenant).and_then(|view| lease_span(view.tenant(), &generation.keyring))?;
        Some(Boot(lease.expires.0.saturating_sub(span.0 / 2)))
    }

    /// When a lease has to be looked at next: when half of its time is over, then every eighth of it in case that it is
    /// used late, and when it ends. An open wish looks after itself.
    pub(super) fn lease_wake(&self, place: &(TenantId, GenerationRef), lease: &Lease) -> Boot {
        let Some(half) = self.lease_half(place, lease).filter(|_| !self.wishes.contains_key(place)) else {
            return lease.expires;
        };
        let eighth = Millis(lease.expires.since(half).0 / 4 + 1);
        half.max(self.looked_at_leases.plus(eighth)).min(lease.expires)
    }

    /// Asks for leases that are wanted and not under way.
    pub(super) fn pursue_leases(&mut self, now: Now, rng: &mut impl CryptoRng, step: &mut Step) {
        self.asking.retain(|_, asking| !asking.is_overdue(now.boot));
        self.wishes.retain(|_, wish| now.boot < wish.until);
        // What this node found false stays false: asking again would bother custodians for nothing.
        let accused: Vec<_> = self.wishes.keys().filter(|place| self.has_accused(place)).copied().collect();
        accused.iter().for_each(|place| {
            self.wishes.remove(place);
        });
        let asking: BTreeSet<(TenantId, GenerationRef)> = self.asking.values().map(|asking| asking.place()).collect();
        let due: Vec<(TenantId, GenerationRef)> = self
            .wishes
            .iter()
            .filter(|(place, wish)| now.boot >= wish.ask_at && !asking.contains(place))
            .map(|(place, _)| *place)
            .collect();
        for (tenant, generation) in due {
            if let Some(wish) = self.wishes.get_mut(&(tenant, generation)) {
                wish.ask_at = now.boot.plus(ASK_AGAIN);
            }
            let Some(denials) = self.tenants.get(&tenant).map(|view| view.denials) else { continue };
            let Some(asking) = Asking::start(&self.view, tenant, generation, now, rng) else { continue };
            let envelope = asking.request(denials, &self.config.identity).bytes().to_vec();
            let frame = CustodyMessage::LeaseAsk(envelope).to_frame();
            for custodian in asking.custodians() {
                step.effects.push(Effect::Send { to: custodian, channel: Channel::Custody, frame: frame.clone() });
            }
            self.asking.insert(asking.id(), asking);
        }
    }

    /// Whether this node is on record as having found a generation false.
    pub(super) fn has_accused(&self, place: &(TenantId, GenerationRef)) -> bool {
        self.generation(place).is_some_and(|generation| generation.accusers.contains(&self.me))
    }

    fn generation(&self, (tenant, id): &(TenantId, GenerationRef)) -> Option<&GenerationState> {
        self.tenant_state(tenant)?.keyrings.get(&id.keyring)?.generation(id)
    }

    /// A lease is open: decisions may use it, and the node goes on record as able to read the generation.
    pub(super) fn lease_opened(
        &mut self,
        request: RequestId,
        place: (TenantId, GenerationRef),
        mut lease: Lease,
        now: Now,
        rng: &mut impl CryptoRng,
        step: &mut Step,
    ) {
        let (tenant, generation) = place;
        self.wishes.remove(&place);
        let mut record = AuditRecord::new(AuditKind::LeaseOpened, audit::Outcome::Allowed, now.wall, self.me, request);
        (record.tenant, record.keyring, record.asker) = (Some(tenant), Some(generation.keyring), Some(self.me));
        record.class = Some("leased".to_owned());
        record.custodians.clone_from(&lease.custodians);
        step.batch.writes.push(Write::Audit(Box::new(record)));
        if mutant::is(Mutant::LeaseBeforeRecord) {
            let last = step.batch.writes.len() - 1;
            self.late.put_off(&mut step.batch.writes, last);
        }
        if mutant::is(Mutant::LeaseFromAnswer)
            && let Some(span) = self.tenant_state(&tenant).and_then(|state| lease_span(state, &generation.keyring))
        {
            lease.expires = now.boot.plus(span);
        }
        // The new lease starts unused: it is renewed only if releases use it.
        lease.used.store(false, Ordering::Relaxed);
        self.leases.insert(place, Arc::new(lease));
        self.view_changed = true;
        if !self.generation(&place).is_some_and(|generation| generation.lessees.contains(&self.me)) {
            self.author(tenant.into(), &Body::AttestGeneration(generation), now, rng, step);
        }
    }

    fn publish(&mut self, step: &mut Step) {
        self.view = Arc::new(View {
            me: self.me,
            mesh: self.config.mesh,
            members: self.members.clone(),
            tenants: self.tenants.clone(),
            leases: self.leases.clone(),
            shares: self.in_use.clone(),
            fenced: self.fenced(),
            clock_tolerance: self.config.clock_tolerance,
        });
        // Before anything is sent: whoever hears that this node holds a denial must be able to rely on it.
        step.effects.push_first(Effect::Publish(self.view.clone()));
    }
}

fn is_custodian(tenant: &TenantState, node: keymesh_wire::ids::NodeId) -> bool {
    tenant.nodes.contains_key(&node)
        && tenant.roots.values().flat_map(|root| &root.committees).any(|c| c.spec.members.contains(&node))
}

fn lease_span(tenant: &TenantState, keyring: &KeyringId) -> Option<Millis> {
    match &tenant.keyrings.get(keyring)?.class {
        keymesh_wire::body::CustodyClass::Leased { lease, .. } => Some(*lease),
        keymesh_wire::body::CustodyClass::Quorum => None,
    }
}
