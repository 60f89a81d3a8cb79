//! Fencing: a custodian that starts says nothing and contributes nothing for a tenant until its peers have told it that
//! they know of no words of its own that it does not (I9).
//!
//! A disk that was put back to an older copy, or a machine that ran on while this one stood still, shows nothing of that by
//! itself; but what it said meanwhile is with others. So a custodian asks, at every start and after every gap in its time,
//! the members of each committee it belongs to for its newest statements. Those who answer with ones that it holds are
//! *clear*; it waits for f + 1 clear members of each committee, of whom one is honest, or for all that a quorum needs beside
//! it. Statements that it lacks come by the spread, as any others do; then it goes on where its last life ended, without
//! voting twice. Liars who tell of statements that there are not are never clear and hold nobody up beyond the f that the
//! committee stands.
//!
//! Only answers to what it asked since it started count, which a nonce shows: one that was given to an earlier life of the
//! node tells nothing of what it said since.
//!
//! What nobody has heard of it need not know: it harms nobody.
//!
//! Two machines under one identity both come through that. But a custodian says one thing after another, each built on the
//! one before, so the first time that both speak the document shows it to everybody ([`crate::state::graph::Graph::forked`]).
//! From then on the identity is fenced for this tenant for good: it keeps silent, and others take its place by a reshare.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::body::CommitteeSpec;
use keymesh_wire::ids::{NodeId, Nonce, StatementId, TenantId};
use keymesh_wire::statement::Checked;
use keymesh_wire::time::{Boot, Millis, Now};
use rand_core::CryptoRng;

use super::Replica;
use super::step::{Channel, Effect, Step};
use crate::custody::message::CustodyMessage;
use crate::mutant::{self, Mutant};
use crate::state::TenantState;

/// How often peers are asked again.
const ASK_AGAIN: Millis = Millis(500);
/// A gap between two steps after which a node cannot know what happened meanwhile: far longer than it ever sleeps.
const GAP: Millis = Millis::seconds(60);
/// How many times a custodian is told its newest statements for one tenant within [`SPAN`]: it asks twice a second, and
/// whenever a peer comes up.
const ANSWERS: u32 = 20;
/// See [`ANSWERS`].
const SPAN: Millis = Millis::seconds(5);

/// How often who was told since when.
pub(super) type Told = BTreeMap<(TenantId, NodeId), (Boot, u32)>;

/// How far a node is with one tenant.
#[derive(Debug)]
pub(super) struct Fence {
    ask_at: Boot,
    /// Goes with every question of this start and comes back with its answers.
    nonce: Nonce,
    /// What peers told of this node's newest statements.
    told: BTreeMap<NodeId, Vec<StatementId>>,
    is_behind: bool,
    is_open: bool,
    /// Nothing opens it any more.
    is_over: bool,
}

impl Fence {
    fn new(now: Boot, rng: &mut impl CryptoRng) -> Self {
        let mut nonce = [0; 16];
        rng.fill_bytes(&mut nonce);
        let nonce = Nonce::from_bytes(nonce);
        Self { ask_at: now, nonce, told: BTreeMap::new(), is_behind: false, is_open: false, is_over: false }
    }

    /// When peers have to be asked again.
    pub(super) fn next_wake(&self) -> Option<Boot> {
        (!self.is_open && !self.is_over).then_some(self.ask_at)
    }
}

impl Replica {
    /// Whether this node keeps silent as a custodian of a tenant.
    pub(super) fn is_fenced(&self, tenant: &TenantId) -> bool {
        self.fences.get(tenant).is_some_and(|fence| !fence.is_open)
    }

    /// All such tenants.
    pub(super) fn fenced(&self) -> BTreeSet<TenantId> {
        self.fences.iter().filter(|(_, fence)| !fence.is_open).map(|(tenant, _)| *tenant).collect()
    }

    /// Notices a gap in time, after which every fence is closed again.
    pub(super) fn watch_time(&mut self, now: Now, rng: &mut impl CryptoRng) {
        let last = std::mem::replace(&mut self.last_step, now);
        let boot = now.boot.since(last.boot);
        // A machine that was frozen finds only its wall clock ahead.
        let wall = Millis(now.wall.0.saturating_sub(last.wall.0));
        if boot > GAP || wall > Millis(boot.0 + GAP.0) {
            self.view_changed |= !self.fences.is_empty();
            self.fences.values_mut().for_each(|fence| *fence = Fence::new(now.boot, rng));
        }
    }

    /// Looks whether enough peers are clear. Whoever is in no committee has nothing to wait for, unless two machines spoke
    /// in its name.
    pub(super) fn look_at_fence(&mut self, tenant: &TenantState, now: Now, rng: &mut impl CryptoRng, step: &mut Step) {
        let committees = committees_of(tenant, &self.me);
        let is_forked = tenant.forked.contains(&self.me) && !mutant::is(Mutant::FenceSkipped);
        if committees.is_empty() && !is_forked {
            self.fences.remove(&tenant.tenant);
            return;
        }
        let document = self.library.document(&tenant.tenant.into());
        let holds = |id: &StatementId| document.is_some_and(|document| document.graph().contains(id));
        let fence = self.fences.entry(tenant.tenant).or_insert_with(|| Fence::new(now.boot, rng));
        if is_forked {
            if !fence.is_over {
                let (name, tenant) = (&tenant.name, tenant.tenant);
                step.effects.push(Effect::Warn(format!(
                    "another machine spoke under this node's identity for tenant {name} ({tenant}): this one keeps silent as \
                     a custodian from now on. Stop one of them, give this node a new identity, and give its place to that \
                     with `keymesh root reshare`"
                )));
            }
            (fence.is_open, fence.is_behind, fence.is_over) = (false, true, true);
            return;
        }
        if fence.is_open {
            return;
        }
        let is_clear = |node: &NodeId| fence.told.get(node).is_some_and(|tips| tips.iter().all(holds));
        let open = committees.iter().all(|committee| {
            let others = || committee.members.iter().filter(|member| **member != self.me);
            // A quorum of the committee is this node and t − 1 others: with those clear it can do no harm that they do not.
            let wanted = usize::from(committee.faults + 1).min(usize::from(committee.threshold) - 1);
            others().filter(|member| is_clear(member)).count() >= wanted
        });
        fence.is_open = open || mutant::is(Mutant::FenceSkipped);
        if !fence.is_behind && !fence.told.values().flatten().all(holds) {
            fence.is_behind = true;
            step.effects.push(Effect::Warn(behind(tenant)));
        }
    }

    /// Asks peers for this node's newest statements, where they are needed.
    pub(super) fn tick_fences(&mut self, now: Now, step: &mut Step) {
        let due: Vec<(TenantId, Nonce)> = self
            .fences
            .iter_mut()
            .filter(|(_, fence)| !fence.is_open && !fence.is_over && now.boot >= fence.ask_at)
            .map(|(tenant, fence)| {
                fence.ask_at = now.boot.plus(ASK_AGAIN);
                (*tenant, fence.nonce)
            })
            .collect();
        for (tenant, nonce) in due {
            let Some(state) = self.tenant_state(&tenant) else { continue };
            let committees = committees_of(state, &self.me);
            let mut members: Vec<NodeId> = committees.iter().flat_map(|spec| &spec.members).copied().collect();
            members.sort_unstable();
            members.dedup();
            let frame = CustodyMessage::TipsAsk(tenant, nonce).to_frame();
            for to in members.into_iter().filter(|member| *member != self.me) {
                step.effects.push(Effect::Send { to, channel: Channel::Custody, frame: frame.clone() });
            }
        }
    }

    /// A custodian asks for its newest statements. Only whoever the tenant placed is told, and only so often.
    pub(super) fn tell_tips(&mut self, from: NodeId, tenant: TenantId, nonce: Nonce, now: Boot, step: &mut Step) {
        let Some(document) = self.library.document(&tenant.into()) else { return };
        if document.tenant().is_some_and(|state| state.nodes.contains_key(&from))
            && may_tell(&mut self.told, (tenant, from), now)
        {
            let tips = document.graph().tips_of(&from);
            let frame = CustodyMessage::Tips(tenant, nonce, tips).to_frame();
            step.effects.push(Effect::Send { to: from, channel: Channel::Custody, frame });
        }
    }

    /// A peer tells this node's newest statements.
    pub(super) fn hear_tips(&mut self, from: NodeId, tenant: TenantId, nonce: Nonce, tips: Vec<StatementId>) {
        if let Some(fence) = self.fences.get_mut(&tenant).filter(|fence| !fence.is_open && fence.nonce == nonce)
            && tips.len() <= keymesh_wire::limits::PARENTS
        {
            fence.told.insert(from, tips);
            // What waited for the fence is looked at again.
            self.refolded.insert(tenant.into());
        }
    }

    /// A peer sent a statement. One of this node's own that it did not hold shows that its disk is old even where it comes
    /// before anybody tells of it.
    pub(super) fn hear_of_itself(&mut self, statement: &Checked, step: &mut Step) {
        if statement.author() != self.me {
            return;
        }
        let document = self.library.document(&statement.document());
        let Some(tenant) = document.and_then(|document| document.tenant()) else { return };
        if let Some(fence) = self.fences.get_mut(&tenant.tenant).filter(|fence| !fence.is_behind) {
            fence.is_behind = true;
            step.effects.push(Effect::Warn(behind(tenant)));
        }
    }

    /// Asks at once when a peer comes up, rather than half a second later.
    pub(super) fn hurry_fences(&mut self, now: Boot) {
        self.fences.values_mut().for_each(|fence| fence.ask_at = fence.ask_at.min(now));
    }
}

fn may_tell(told: &mut Told, whom: (TenantId, NodeId), now: Boot) -> bool {
    told.retain(|_, (since, _)| now.since(*since) < SPAN);
    let (_, said) = told.entry(whom).or_insert((now, 0));
    *said = said.saturating_add(1);
    *said <= ANSWERS
}

/// What operators are told of a node that said more than it knows.
fn behind(tenant: &TenantState) -> String {
    let (name, tenant) = (&tenant.name, tenant.tenant);
    format!(
        "peers hold statements of this node for tenant {name} ({tenant}) that it did not: its disk is older than its last \
         words. It contributes nothing until it has them; if another machine runs under its identity, stop that one and \
         give this node a new identity"
    )
}

/// The committees, of roots made or being made, in any sharing that is in use, to which a node belongs.
fn committees_of<'t>(tenant: &'t TenantState, node: &NodeId) -> Vec<&'t CommitteeSpec> {
    let committees = tenant.roots.values().flat_map(|root| &root.committees);
    let specs = committees
        .flat_map(|committee| committee.past.iter().map(|past| &past.spec).chain(std::iter::once(&committee.spec)));
    specs.filter(|spec| spec.members.contains(node)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_over_and_over_is_told_only_so_often_and_others_are_told_meanwhile() {
        let tenant = TenantId::from_bytes([1; 32]);
        let [one, other] = [2, 3].map(|byte| NodeId::from_bytes([byte; 32]));
        let mut told = Told::new();
        let answers = (0..1_000).filter(|_| may_tell(&mut told, (tenant, one), Boot(7))).count();
        assert_eq!(answers, ANSWERS as usize);
        assert!(may_tell(&mut told, (tenant, other), Boot(8)));
        assert!(may_tell(&mut told, (tenant, one), Boot(7 + SPAN.0)), "and again after a while");
        assert_eq!(told.len(), 2);
    }
}
