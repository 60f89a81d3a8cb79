//! Repair of lost shares: which shares this node lacks, and whom it helps.
//!
//! A custodian that finds no share in its slot asks the others for it by itself, and goes on asking. Whoever is asked
//! judges by its own replica: it helps only a node that is a custodian of the current epoch of that committee, admitted and
//! placed, and seals to the key that the tenant signed for. Nobody helps while fenced, nor where custody rests. What a
//! helper gives is on record before it leaves (I7), and it gives it only so often.

use std::collections::BTreeMap;
use std::sync::Arc;

use keymesh_wire::audit::{self, AuditKind, AuditRecord};
use keymesh_wire::body::SharingRef;
use keymesh_wire::envelope::Verified;
use keymesh_wire::ids::{NodeId, TenantId};
use keymesh_wire::sealing::SealingPublic;
use keymesh_wire::secret::SecretBytes;
use keymesh_wire::time::{Boot, Millis, Now};
use minicbor::bytes::ByteVec;
use rand_core::CryptoRng;

use super::Replica;
use super::epochs::slot_of;
use super::step::{Channel, Effect, Step, Write};
use crate::custody::message::{CustodyMessage, RepairContent, RepairMessage};
use crate::custody::repair::{Gathered, Helper, Outcome, Repairing, Subject};
use crate::state::TenantState;
use crate::view::HeldShare;

/// How many of a member's messages about one sharing a custodian answers within [`SPAN`]: they cost it curve
/// multiplications.
const ANSWERS: u32 = 30;
/// See [`ANSWERS`].
const SPAN: Millis = Millis::seconds(60);

/// Repairs of this node's own shares.
pub(super) type Repairs = BTreeMap<SharingRef, (TenantId, Repairing)>;
/// How many messages were answered since when, by sharing and member.
pub(super) type Answered = BTreeMap<(SharingRef, NodeId), (Boot, u32)>;

impl Replica {
    /// The shares of current epochs that this node should hold and does not: it asks for them.
    pub fn lacking(&self) -> Vec<(TenantId, SharingRef)> {
        let tenants = self.tenants.values().map(|view| view.tenant());
        tenants.flat_map(|tenant| self.lacks(tenant).into_iter().map(|of| (tenant.tenant, of))).collect()
    }

    pub(super) fn lacks(&self, tenant: &TenantState) -> Vec<SharingRef> {
        let mut lacks = Vec::new();
        for root in tenant.roots.values().filter(|root| root.live) {
            for (place, committee) in (0u8..).zip(&root.committees) {
                let slot = slot_of(root.id, place, committee, committee.epoch);
                let has = slot.is_none_or(|slot| self.shares.contains_key(&slot));
                if !has && !committee.frozen && committee.spec.members.contains(&self.me) {
                    lacks.push(SharingRef { root: root.id, committee: place, epoch: committee.epoch });
                }
            }
        }
        lacks
    }

    /// Begins to ask for shares that are lacking, and forgets what is over.
    pub(super) fn repair_shares(&mut self, tenant: &TenantState, now: Now, rng: &mut impl CryptoRng, step: &mut Step) {
        let wanted = match self.is_fenced(&tenant.tenant) || !self.counts(tenant, &self.me) {
            true => Vec::new(),
            false => self.lacks(tenant),
        };
        self.repairs.retain(|of, (whose, _)| *whose != tenant.tenant || wanted.contains(of));
        for sharing in wanted {
            if self.repairs.contains_key(&sharing) {
                continue;
            }
            let Some(subject) = self.subject(tenant.tenant, sharing) else { continue };
            let identity = self.config.identity.clone();
            let (repairing, outcomes) = Repairing::begin(subject, &identity, now.boot, rng);
            self.repairs.insert(sharing, (tenant.tenant, repairing));
            self.repair_outcomes(sharing, outcomes, now, step);
        }
    }

    /// Goes on with repairs whose time has come.
    pub(super) fn tick_repairs(&mut self, now: Now, rng: &mut impl CryptoRng, step: &mut Step) {
        let identity = self.config.identity.clone();
        let mut outcomes = Vec::new();
        for (sharing, (_, repairing)) in &mut self.repairs {
            if now.boot >= repairing.next_wake() {
                outcomes.push((*sharing, repairing.tick(&identity, now.boot, rng)));
            }
        }
        for (sharing, outcomes) in outcomes {
            self.repair_outcomes(sharing, outcomes, now, step);
        }
    }

    /// A step of a repair: of this node's, or of one that asks for help.
    pub(super) fn repair(
        &mut self,
        from: NodeId,
        envelopes: &[ByteVec],
        now: Now,
        rng: &mut impl CryptoRng,
        step: &mut Step,
    ) {
        let Some((first, rest)) = envelopes.split_first() else { return };
        let Ok(message) = Verified::<RepairMessage>::from_bytes(first) else {
            return self.complain(from, format!("{from} sent an unreadable step of a repair"), now.boot, step);
        };
        if message.author != from {
            let what = format!("{from} relayed a step of a repair by {}", message.author);
            return self.complain(from, what, now.boot, step);
        }
        match &message.content {
            RepairContent::Ask | RepairContent::Choose(_) | RepairContent::Gather(_) => {
                if message.member == from {
                    self.help(&message, rest, now, rng, step);
                }
            }
            RepairContent::Willing
            | RepairContent::Commitment(_)
            | RepairContent::Delta { .. }
            | RepairContent::Sigma(_)
            | RepairContent::Blame(_) => {
                // Others help only together with helpers that count: one that was displaced, and may not have heard
                // of it, would hold them up. No more signatures are checked than there can be members.
                let counts = self.tenant_state(&message.tenant).is_some_and(|tenant| self.counts(tenant, &from));
                let Some((_, repairing)) = self.repairs.get_mut(&message.sharing) else { return };
                if !counts || !repairing.is_about(&message) || rest.len() > u8::MAX.into() {
                    return;
                }
                let sharing = message.sharing;
                let rest = rest.iter().filter_map(|envelope| Verified::from_bytes(envelope).ok());
                let messages: Vec<_> = std::iter::once(message).chain(rest).collect();
                let identity = self.config.identity.clone();
                let outcomes = repairing.receive(&messages, &identity, now.boot, rng);
                self.repair_outcomes(sharing, outcomes, now, step);
            }
        }
    }

    /// Answers a member that asks for help, if it is to be helped.
    fn help(
        &mut self,
        message: &Verified<RepairMessage>,
        given: &[ByteVec],
        now: Now,
        rng: &mut impl CryptoRng,
        step: &mut Step,
    ) {
        let RepairMessage { tenant, sharing, member, attempt, .. } = **message;
        let Some(state) = self.tenant_state(&tenant) else { return };
        let committee =
            state.roots.get(&sharing.root).and_then(|root| root.committees.get(usize::from(sharing.committee)));
        let slot = committee.and_then(|committee| slot_of(sharing.root, sharing.committee, committee, sharing.epoch));
        let Some(held) = slot.and_then(|slot| self.shares.get(&slot)).cloned() else { return };
        let Some(subject) = self.subject(tenant, sharing) else { return };
        let may = member != self.me && subject.members.contains(&member) && self.counts(state, &member);
        if !may || self.is_fenced(&tenant) {
            return;
        }
        let keys: BTreeMap<NodeId, [u8; 32]> =
            subject.members.iter().filter_map(|node| Some((*node, state.nodes.get(node)?.sealing))).collect();
        let sealing = |node: &NodeId| SealingPublic::from_bytes(*keys.get(node)?).ok();
        if !self.may_answer(sharing, member, now.boot) {
            return;
        }
        let identity = self.config.identity.clone();
        let helper = Helper { subject: &subject, member, attempt, identity: &identity };
        let Some(to) = sealing(&member) else { return };
        let (answer, audited) = match &message.content {
            RepairContent::Ask => (Some(helper.willing()), None),
            RepairContent::Choose(helpers) => (helper.help(helpers, &held.share, sealing, rng), None),
            RepairContent::Gather(helpers) => match helper.gather(helpers, given, &to, rng) {
                Some(Gathered::Sigma(answer)) => (Some(answer), Some(helpers.clone())),
                Some(Gathered::Blame(whom, answer)) => {
                    let what = format!("{whom} gave this helper in a repair what does not fit");
                    self.complain(whom, what, now.boot, step);
                    (Some(answer), None)
                }
                None => (None, None),
            },
            _ => (None, None),
        };
        let Some(answer) = answer else { return };
        if let Some(helpers) = audited {
            let allowed = audit::Outcome::Allowed;
            let mut record = AuditRecord::new(AuditKind::ShareRepair, allowed, now.wall, self.me, attempt);
            (record.tenant, record.asker, record.custodians) = (Some(tenant), Some(member), helpers);
            step.batch.writes.push(Write::Audit(Box::new(record)));
        }
        let frame = CustodyMessage::Repair(answer).to_frame();
        step.effects.push(Effect::Send { to: member, channel: Channel::Custody, frame });
    }

    fn may_answer(&mut self, sharing: SharingRef, member: NodeId, now: Boot) -> bool {
        self.answered.retain(|_, (since, _)| now.since(*since) < SPAN);
        let (_, said) = self.answered.entry((sharing, member)).or_insert((now, 0));
        *said = said.saturating_add(1);
        *said <= ANSWERS
    }

    fn repair_outcomes(&mut self, sharing: SharingRef, outcomes: Vec<Outcome>, now: Now, step: &mut Step) {
        for outcome in outcomes {
            match outcome {
                Outcome::Send(to, envelopes) => {
                    let frame = CustodyMessage::Repair(envelopes).to_frame();
                    step.effects.push(Effect::Send { to, channel: Channel::Custody, frame });
                }
                Outcome::Keep(share) => {
                    let Some((tenant, _)) = self.repairs.remove(&sharing) else { continue };
                    let SharingRef { root, committee: place, epoch } = sharing;
                    let root_state = self.tenant_state(&tenant).and_then(|state| state.roots.get(&root));
                    let committee = root_state.and_then(|root| root.committees.get(usize::from(place)));
                    let slot = committee.filter(|committee| committee.epoch == epoch);
                    let Some(slot) = slot.and_then(|committee| slot_of(root, place, committee, epoch)) else {
                        continue;
                    };
                    let exposed = SecretBytes::from_slice(&mut share.expose());
                    self.shares.insert(slot, Arc::new(HeldShare { share, epoch }));
                    step.batch.writes.push(Write::Share { slot: slot.to_string(), share: exposed });
                    self.touch(tenant);
                    // It says so, if it is of a later epoch.
                    self.refolded.insert(tenant.into());
                }
                Outcome::Warn(about, what) => self.complain(about, what, now.boot, step),
            }
        }
    }

    /// The current sharing of a committee of a live root, if this is it and custody does not rest.
    fn subject(&self, tenant: TenantId, sharing: SharingRef) -> Option<Subject> {
        let view = self.tenants.get(&tenant).filter(|view| view.above.is_none())?;
        let sharings = view.sharings.get(&sharing.root)?.get(usize::from(sharing.committee))?;
        let current = sharings.last().filter(|current| current.epoch == sharing.epoch)?;
        let (members, public) = (current.members.clone(), current.public.clone());
        Some(Subject { mesh: self.config.mesh, tenant, sharing, members, public })
    }

    /// Whether a node is admitted by the mesh and placed by the tenant.
    fn counts(&self, tenant: &TenantState, node: &NodeId) -> bool {
        self.members.contains_key(node) && tenant.nodes.contains_key(node)
    }
}
