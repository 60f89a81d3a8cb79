//! Changes of custody: people and custodians have roots shared anew, among the same custodians or others; soundly or not,
//! once or twice at a time, for the next epoch or one that is not next.
//!
//! People propose nothing that the project does not promise to survive: a committee that they agree upon has no more bad
//! members than it tolerates, and enough good ones. What they only try may be anything.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_mesh::custody::slot::Slot;
use keymesh_mesh::state::TenantState;
use keymesh_wire::body::{Body, CommitteeSpec, Reshare, SharingAct, SharingRef};
use keymesh_wire::ids::{NodeId, RootId, StatementId};
use keymesh_wire::statement::Checked;
use keymesh_wire::time::Wall;
use rand_core::Rng;

use super::people::Voice;
use super::{Run, Then};
use crate::disk::{Reach, Rot};
use crate::draw;
use crate::node::EPOCH;
use crate::scenario::{CommitteePlan, some_of};

/// The most members that people share a root among.
const MEMBERS: usize = 7;

/// Some custodians who have, or may soon have, shares of one part of a root.
#[derive(Debug, Clone)]
pub(super) struct Circle {
    pub plan: CommitteePlan,
    /// Which sharing it is; nothing for a root that is still to be made.
    pub sharing: Option<SharingRef>,
    /// Which of its members have no share and cannot take one.
    pub lacking: BTreeSet<usize>,
}

impl Circle {
    /// Whether those of its members who count are enough for everything.
    pub fn is_enough(&self, counts: impl Fn(&&usize) -> bool) -> bool {
        self.with_share(counts) >= self.plan.needed()
    }

    /// Whether those of its members who count can give another one its share back.
    fn is_enough_to_repair(&self, counts: impl Fn(&&usize) -> bool) -> bool {
        self.with_share(counts) >= usize::from(self.plan.threshold)
    }

    fn with_share(&self, counts: impl Fn(&&usize) -> bool) -> usize {
        self.plan.members.iter().filter(|member| !self.lacking.contains(member) && counts(member)).count()
    }
}

impl Run {
    /// Custody of one of a tenant's roots is changed, or somebody tries to.
    pub(super) fn custody(&mut self, tenant: usize, node: usize) {
        let Some(next) = self.next_sharing(tenant, node) else { return };
        if draw::chance(&mut self.world.rng, 400) {
            self.crash_in_the_making(tenant);
        }
        let custodians = self.custodians(tenant, node, next);
        if draw::chance(&mut self.world.rng, 500) {
            self.unlucky(tenant, node).into_iter().for_each(|place| self.lose_share(place));
        }
        if !custodians.is_empty() && draw::chance(&mut self.world.rng, 500) {
            let away = custodians[self.place(custodians.len())];
            let span = draw::between(&mut self.world.rng, 2_000, 150_000);
            self.world.leave(away, span);
            self.count("custodians away during a change");
        }
        let older = custodians.into_iter().find(|place| self.may_spoil(*place));
        let older = older.filter(|_| draw::chance(&mut self.world.rng, 400));
        older.into_iter().for_each(|place| self.world.back_up(place));
        self.change(tenant, node, next);
        if draw::chance(&mut self.world.rng, 300) {
            self.ask_meanwhile(tenant);
        }
        if let Some(place) = older {
            let span = draw::between(&mut self.world.rng, 200, 8_000);
            self.pass(span);
            if self.may_spoil(place) && self.world.restore_backup(place) {
                self.spoiled.insert(place);
                self.count("old copies put back during a change");
            }
        }
    }

    /// While one sharing takes over from another, leases and blind releases are asked for.
    fn ask_meanwhile(&mut self, tenant: usize) {
        for _ in 0..10 {
            let span = draw::between(&mut self.world.rng, 20, 150);
            self.pass(span);
            let Some(node) = self.holder(tenant).filter(|_| !self.tenants[tenant].keys.is_empty()) else { return };
            let known = self.place(self.tenants[tenant].keys.len());
            let agent = self.place(self.tenants[tenant].agents.len());
            let (key, leased) = (self.tenants[tenant].keys[known].key, self.tenants[tenant].keys[known].leased);
            match leased {
                true => self.release_at(tenant, node, agent, key),
                false => self.ask_at(tenant, node, agent, key),
            };
        }
        self.count("leases and releases asked for during a change");
    }

    /// Other honest custodians of the sharing that is to be changed, in a drawn order.
    fn custodians(&mut self, tenant: usize, node: usize, next: SharingRef) -> Vec<usize> {
        let root = self.state(node, tenant).and_then(|state| state.roots.get(&next.root));
        let part = root.and_then(|root| root.committees.get(usize::from(next.committee)));
        let members = part.into_iter().flat_map(|part| &part.spec.members);
        let places = members.filter_map(|member| self.world.place(member));
        let is_other = |place: &usize| ![0, node].contains(place) && !self.scenario.liars.contains(place);
        let places: Vec<usize> = places.filter(is_other).collect();
        some_of(&places, places.len(), &mut self.world.rng)
    }

    /// A custodian that may lose its share, with a liar beside it where there is one.
    fn unlucky(&mut self, tenant: usize, node: usize) -> Option<usize> {
        let circles = self.circles(tenant);
        let beside_a_liar = |place: &usize| {
            let mut its = circles.iter().filter(|circle| circle.plan.members.contains(place));
            its.any(|circle| circle.plan.members.iter().any(|member| self.scenario.liars.contains(member)))
        };
        let members: BTreeSet<usize> = circles.iter().flat_map(|circle| circle.plan.members.iter().copied()).collect();
        let honest = members.into_iter().filter(|place| *place != node && !self.scenario.liars.contains(place));
        let may_lose: Vec<usize> = honest.filter(|place| self.may_lose(*place)).collect();
        let beside: Vec<usize> = may_lose.iter().copied().filter(beside_a_liar).collect();
        let among = if beside.is_empty() { may_lose } else { beside };
        (!among.is_empty()).then(|| among[self.place(among.len())])
    }

    /// A share of a custodian rots. It starts again without, says so to nobody, and is given it back by the others.
    fn lose_share(&mut self, place: usize) {
        if self.world.rot(place, Rot::Share) {
            self.count("shares lost that others can give back");
            self.world.start(place);
        }
    }

    /// Whether others can give back whatever shares a custodian has.
    fn may_lose(&self, place: usize) -> bool {
        (0..self.tenants.len()).all(|tenant| {
            let displaced = &self.tenants[tenant].displaced;
            let counts = |member: &&usize| **member != place && !self.is_bad(**member) && !displaced.contains(*member);
            let mut its = self.circles(tenant).into_iter().filter(|circle| circle.plan.members.contains(&place));
            its.all(|circle| circle.is_enough_to_repair(counts))
        })
    }

    fn change(&mut self, tenant: usize, node: usize, next: SharingRef) {
        match self.place(10) {
            0..=2 => self.refresh(tenant, node, next),
            3 => self.refresh_by_custodian(tenant, node, next),
            4..=6 => self.reshare(tenant, node, next),
            7 => self.reshare_unsoundly(tenant, node, next),
            8 => self.reshare_twice(tenant, node, next),
            _ => self.change_as_stranger(tenant, node, next),
        }
    }

    /// One or two of those who have the tenant are to crash at some boundary of the change that comes.
    fn crash_in_the_making(&mut self, tenant: usize) {
        for _ in 0..1 + self.place(2) {
            let Some(node) = self.holder(tenant) else { return };
            let reach = Reach::ALL[self.place(Reach::ALL.len())];
            match self.place(4) {
                0 | 1 => self.world.doom_word(node, reach),
                2 => self.world.doom_share(node, reach),
                _ => self.world.doom_erasure(node, reach),
            }
            self.world.did(|| format!("n{} is to crash in the next change of custody: {reach:?}", node + 1));
        }
    }

    /// The next sharing of a part of a root, by what a node shows. Now and then another number.
    fn next_sharing(&mut self, tenant: usize, node: usize) -> Option<SharingRef> {
        let roots = self.state(node, tenant)?.roots.values().filter(|root| root.live);
        let parts = roots.flat_map(|root| {
            (0u8..).zip(&root.committees).map(|(committee, part)| SharingRef {
                root: root.id,
                committee,
                epoch: part.epoch + 1,
            })
        });
        let parts: Vec<SharingRef> = parts.collect();
        if parts.is_empty() {
            return None;
        }
        let next = parts[self.place(parts.len())];
        let epoch = match self.place(12) {
            0 => (next.epoch - 1).max(1),
            1 => next.epoch + 1 + self.place(3) as u32,
            _ => next.epoch,
        };
        if epoch != next.epoch {
            self.count("changes of another epoch than the next");
        }
        Some(SharingRef { epoch, ..next })
    }

    fn refresh(&mut self, tenant: usize, node: usize, sharing: SharingRef) {
        self.say(tenant, node, &Body::RefreshShares(sharing), Vec::new(), Then::Nothing);
    }

    fn refresh_by_custodian(&mut self, tenant: usize, node: usize, sharing: SharingRef) {
        let document = self.tenants[tenant].document();
        let (body, parents) = (Body::RefreshShares(sharing), self.world.heads(node, document));
        let (time, custodian) = (Wall(EPOCH + self.world.at()), &self.world.node(node).identity);
        if let Ok(statement) = Checked::sign(&body, Some(document), parents, time, custodian) {
            self.hand_in(node, &[statement], Vec::new(), body.kind(), Then::Nothing);
        }
    }

    fn reshare(&mut self, tenant: usize, node: usize, sharing: SharingRef) {
        let Some(spec) = self.next_committee(tenant, node, sharing) else { return };
        if !self.world.network.is_whole() {
            self.count("reshares proposed during a cut");
        }
        self.say(tenant, node, &Body::ReshareRoot(Reshare { sharing, spec }), Vec::new(), Then::Nothing);
    }

    /// Two groups of people propose two committees at two nodes, neither having seen the other.
    fn reshare_twice(&mut self, tenant: usize, node: usize, sharing: SharingRef) {
        let Some(other) = self.holder(tenant).filter(|other| *other != node) else { return };
        for place in [node, other] {
            let Some(spec) = self.next_committee(tenant, node, sharing) else { continue };
            let voice = Voice { first: 0, together: true };
            self.say_by(tenant, place, voice, &Body::ReshareRoot(Reshare { sharing, spec }), Vec::new(), Then::Nothing);
        }
        self.count("competing reshares");
    }

    /// A committee of machines of one provider, which alone could open: refused, unless another part of the root is out of
    /// its reach. Or one with somebody in it who is not placed.
    fn reshare_unsoundly(&mut self, tenant: usize, node: usize, sharing: SharingRef) {
        let Some(state) = self.state(node, tenant) else { return };
        let mut by_provider: BTreeMap<&str, Vec<NodeId>> = BTreeMap::new();
        for (id, placement) in &state.nodes {
            by_provider.entry(placement.provider.as_str()).or_default().push(*id);
        }
        let together = by_provider.into_values().max_by_key(Vec::len).unwrap_or_default();
        let bad = |id: &NodeId| self.world.place(id).is_none_or(|place| self.is_bad(place));
        let mut members: Vec<NodeId> = together.into_iter().filter(|id| !bad(id)).take(MEMBERS).collect();
        let stranger = draw::chance(&mut self.world.rng, 300);
        if stranger {
            let mut id = [0; 32];
            self.world.rng.fill_bytes(&mut id);
            members.push(NodeId::from_bytes(id));
        }
        if members.len() < 2 {
            return;
        }
        let threshold = (members.len() / 2 + 1) as u8;
        let spec = CommitteeSpec { members, threshold, faults: 0 };
        let sound = !stranger && self.state(node, tenant).is_some_and(|state| is_sound(state, sharing, &spec));
        let body = Body::ReshareRoot(Reshare { sharing, spec });
        if sound {
            self.say(tenant, node, &body, Vec::new(), Then::Nothing);
        } else {
            let tenancy = &self.tenants[tenant];
            let statements = self.world.together(node, tenancy.document(), &[&tenancy.admins[0]], &body);
            self.hand_in(node, &statements, Vec::new(), "without a right", Then::Nothing);
            self.count("unsound reshares tried");
        }
    }

    /// Somebody with no right to it proposes a change of custody.
    fn change_as_stranger(&mut self, tenant: usize, node: usize, sharing: SharingRef) {
        let spec = self.next_committee(tenant, node, sharing);
        let body = match spec {
            Some(spec) if draw::chance(&mut self.world.rng, 500) => Body::ReshareRoot(Reshare { sharing, spec }),
            _ => Body::RefreshShares(sharing),
        };
        let other = (tenant + 1) % self.tenants.len();
        let signer = match self.place(3) {
            0 => &self.founders[0],
            1 if other != tenant => &self.tenants[other].admins[0],
            _ => &self.tenants[tenant].launcher,
        };
        let statements = self.world.together(node, self.tenants[tenant].document(), &[signer], &body);
        self.hand_in(node, &statements, Vec::new(), "without a right", Then::Nothing);
    }

    fn is_bad(&self, place: usize) -> bool {
        self.scenario.liars.contains(&place) || self.spoiled.contains(&place)
    }

    /// A committee that people may agree upon, drawn among the nodes that they see placed.
    fn next_committee(&mut self, tenant: usize, node: usize, sharing: SharingRef) -> Option<CommitteeSpec> {
        let placed: Vec<usize> = self.state(node, tenant)?.nodes.keys().filter_map(|id| self.world.place(id)).collect();
        let placed: Vec<usize> =
            placed.into_iter().filter(|place| !self.tenants[tenant].displaced.contains(place)).collect();
        for _ in 0..20 {
            if placed.len() < 2 {
                return None;
            }
            let n = draw::between(&mut self.world.rng, 2, placed.len().min(MEMBERS) as u64) as usize;
            let members = some_of(&placed, n, &mut self.world.rng);
            let drawn = draw::between(&mut self.world.rng, n as u64 / 2 + 1, n as u64) as usize;
            let threshold = if n > 2 { drawn.clamp(2, n - 1) } else { drawn.max(2) };
            let faults = ((threshold - 1) / 2).min(n - threshold);
            let plan = CommitteePlan { members, threshold: threshold as u8, faults: faults as u8 };
            let bad = plan.members.iter().filter(|member| self.is_bad(**member)).count();
            let spec = self.spec(&plan);
            // Fewer than t and f honest ones, and one that is ready and then takes no share leaves both sharings in use.
            if bad <= faults
                && n - bad >= plan.needed().max(threshold + faults)
                && self.state(node, tenant).is_some_and(|state| is_sound(state, sharing, &spec))
            {
                return Some(spec);
            }
        }
        None
    }

    pub(super) fn spec(&self, plan: &CommitteePlan) -> CommitteeSpec {
        let CommitteePlan { members, threshold, faults } = plan;
        let members = members.iter().map(|place| self.world.node(*place).id()).collect();
        CommitteeSpec { members, threshold: *threshold, faults: *faults }
    }

    fn plan(&self, spec: &CommitteeSpec) -> CommitteePlan {
        let members = spec.members.iter().filter_map(|member| self.world.place(member)).collect();
        CommitteePlan { members, threshold: spec.threshold, faults: spec.faults }
    }

    /// Who has shares of a tenant's roots, of every sharing that may be in use, by all that was ever written; and who is
    /// about to get some. Every one of these has to be able to go on.
    pub(super) fn circles(&self, tenant: usize) -> Vec<Circle> {
        let document = self.tenants[tenant].document();
        let facts = self.world.watch.model.all_facts(&document);
        let roots = facts.as_ref().map(|facts| &facts.roots);
        let mut circles = Vec::new();
        for (id, root) in roots.into_iter().flatten() {
            for (number, committee) in (0u8..).zip(&root.committees) {
                for epoch in committee.in_use() {
                    let sharing = SharingRef { root: *id, committee: number, epoch };
                    let is_made = epoch > 0 || root.live;
                    circles.push(self.circle(&committee.sharings[epoch as usize], sharing, is_made));
                }
                let next = SharingRef { root: *id, committee: number, epoch: committee.epoch + 1 };
                circles.extend(self.coming(next).into_iter().map(|spec| self.circle(spec, next, true)));
            }
        }
        if !roots.is_some_and(|roots| roots.values().any(|root| root.live)) {
            let first = self.tenants[tenant].plan.committees.iter();
            circles.extend(first.map(|plan| Circle { plan: plan.clone(), sharing: None, lacking: BTreeSet::new() }));
        }
        circles
    }

    /// Other custodians that some recipients are ready to be: it may be agreed upon at any time.
    fn coming(&self, next: SharingRef) -> Vec<&CommitteeSpec> {
        let statements = || self.world.watch.statements.values();
        let ready = statements().any(|statement| match statement.body() {
            Some(Body::Sharing(word)) => word.sharing == next && matches!(word.act, SharingAct::Ready { .. }),
            _ => false,
        });
        let proposed = statements().filter_map(|statement| match statement.body() {
            Some(Body::ReshareRoot(change)) if ready && change.sharing == next => Some(&change.spec),
            _ => None,
        });
        proposed.collect()
    }

    fn circle(&self, spec: &CommitteeSpec, sharing: SharingRef, is_made: bool) -> Circle {
        let plan = self.plan(spec);
        // One that has its key and found every deal good may yet take its share; one that came too late has to be given it.
        let id = |place: usize| self.world.node(place).id();
        let ready: BTreeSet<NodeId> = (self.world.watch.statements.values())
            .filter(|statement| match statement.body() {
                Some(Body::Sharing(word)) => word.sharing == sharing && matches!(word.act, SharingAct::Ready { .. }),
                _ => false,
            })
            .map(|statement| statement.author())
            .collect();
        // Of the attempts at a root a member attests one.
        let attested: BTreeSet<(NodeId, Slot)> = (self.world.watch.statements.values())
            .filter_map(|statement| match statement.body() {
                Some(Body::AttestRoot(said)) => {
                    let (root, committee, attempt) = (said.root, said.committee, said.attempt);
                    Some((statement.author(), Slot::Made { root, committee, attempt }))
                }
                _ => None,
            })
            .collect();
        let has = |place: usize, name: &str| match name.parse() {
            Ok(Slot::Epoch { root, committee, epoch }) => SharingRef { root, committee, epoch } == sharing,
            Ok(slot @ Slot::Made { root, committee, .. }) => {
                SharingRef { root, committee, epoch: 0 } == sharing && attested.contains(&(id(place), slot))
            }
            Ok(Slot::Key(change)) => ready.contains(&id(place)) && self.is_about(&change, sharing),
            _ => false,
        };
        let lacks = |place: &&usize| !self.world.node(**place).disk.whole_slots().any(|name| has(**place, name));
        let lacking = if is_made { plan.members.iter().filter(lacks).copied().collect() } else { BTreeSet::new() };
        Circle { plan, sharing: Some(sharing), lacking }
    }

    /// Whether a statement proposes this sharing.
    fn is_about(&self, change: &StatementId, sharing: SharingRef) -> bool {
        match self.world.watch.statements.get(change).and_then(|statement| statement.body()) {
            Some(Body::RefreshShares(next)) => *next == sharing,
            Some(Body::ReshareRoot(change)) => change.sharing == sharing,
            _ => false,
        }
    }

    /// Whether by all that was ever written some sharing was agreed upon twice.
    pub(super) fn is_frozen(&self, tenant: usize) -> bool {
        let facts = self.world.watch.model.all_facts(&self.tenants[tenant].document());
        facts.is_some_and(|facts| facts.roots.values().flat_map(|root| &root.committees).any(|part| part.frozen))
    }

    /// The epochs of the parts of a tenant's root by what a node shows, if no earlier ones are in use.
    pub(super) fn settled_epochs(&self, node: usize, tenant: usize) -> Option<Vec<u32>> {
        let tenancy = &self.tenants[tenant];
        let root: RootId = tenancy.root?;
        let view = self.world.node(node).view()?.tenant(&tenancy.id)?;
        let parts = &view.tenant().roots.get(&root)?.committees;
        let settled = parts.iter().all(|part| part.past.is_empty() && !part.frozen);
        settled.then(|| parts.iter().map(|part| part.epoch).collect())
    }
}

/// Whether with a new committee every provider stays below the threshold of one required part (I1), whichever custodians
/// were proposed for the other parts.
fn is_sound(state: &TenantState, sharing: SharingRef, spec: &CommitteeSpec) -> bool {
    let Some(root) = state.roots.get(&sharing.root) else { return false };
    let placed = spec.members.iter().all(|member| state.nodes.contains_key(member));
    let opens = |spec: &CommitteeSpec, provider: &str| {
        let there = |member: &&NodeId| state.nodes.get(*member).is_some_and(|at| at.provider == provider);
        spec.members.iter().filter(there).count() >= usize::from(spec.threshold)
    };
    let providers: BTreeSet<&str> = state.nodes.values().map(|at| at.provider.as_str()).collect();
    placed
        && providers.into_iter().all(|provider| {
            (0u8..).zip(&root.committees).any(|(number, part)| match number == sharing.committee {
                true => !opens(spec, provider),
                false => !part.specs.iter().any(|spec| opens(spec, provider)),
            })
        })
}
