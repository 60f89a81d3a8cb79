//! Who had which right (I2) and whose word counts for nothing (I4), by recursion over pasts.
//!
//! A statement's right follows from its past and from which denials stand. Denials are settled in levels, each relying on
//! those below only:
//!
//! - level 0: nothing stands. Decides removals of admins and their endorsements, for good.
//! - level 1: passed removals stand. Decides suspensions, for good.
//! - level 2: suspensions that nobody lifted stand too, as many as there are.
//! - level 3: roles taken away cut off what their holders did without having seen it.
//! - level 4: displacements of nodes stand too. Decides everything else.
//!
//! Under one level a statement's right does not depend on who asks, so it is remembered by level and statement.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::body::{Body, CommitteeSpec, KeyState, Placement, Reshare, Role, RootSpec, Scope, SharingRef};
use keymesh_wire::ids::{KeyringId, NamespaceId, NodeId, PrincipalId, StatementId};

use super::story::{STRANGE, Set, Story};

/// The level at which everything is decided.
const LAST: usize = 4;

/// How many persons a kind needs behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    One,
    AsMany,
    Majority,
}

fn needs(body: &Body) -> Needs {
    match body {
        Body::AddAdmin(_)
        | Body::RemoveAdmin(_)
        | Body::LiftSuspension(_)
        | Body::ProposeRoot(_)
        | Body::ReshareRoot(_) => Needs::Majority,
        Body::AdmitNode(_)
        | Body::RemoveNode(_)
        | Body::PlaceNode(_)
        | Body::DisplaceNode(_)
        | Body::Grant(_)
        | Body::SetPolicy(_)
        | Body::TrustEvidence(_) => Needs::AsMany,
        Body::SetKeyState(change) if change.state == KeyState::Destroyed => Needs::AsMany,
        _ => Needs::One,
    }
}

/// Which denials stand, by place.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Standing {
    removals: BTreeSet<usize>,
    suspensions: BTreeSet<usize>,
    revocations: BTreeSet<usize>,
    displacements: BTreeSet<usize>,
}

/// What was judged before: for each combination of standing denials the statements' rights.
#[derive(Debug, Default)]
pub struct Memory {
    numbers: BTreeMap<Standing, usize>,
    answers: BTreeMap<(usize, usize), bool>,
}

/// The place from which a question is asked.
#[derive(Debug, Clone, Copy)]
struct From<'s> {
    level: usize,
    seen: &'s Set,
    /// The statement whose past `seen` is; nothing if it is what somebody knows now.
    act: Option<usize>,
}

/// Judges one set of statements of a document.
#[derive(Debug)]
pub struct Rights<'s> {
    story: &'s Story,
    memory: &'s RefCell<Memory>,
    known: &'s Set,
    levels: Vec<(Standing, usize)>,
    founders: Vec<PrincipalId>,
    first_nodes: Vec<Placement>,
    as_many: usize,
}

impl<'s> Rights<'s> {
    /// Judges what is in `known`, which holds the parents of all it holds.
    pub fn of(story: &'s Story, memory: &'s RefCell<Memory>, known: &'s Set) -> Self {
        let (founders, first_nodes, as_many) = match story.body(0) {
            Some(Body::MeshGenesis(begin)) => (&begin.founders, Vec::new(), begin.endorsements),
            Some(Body::TenantGenesis(begin)) => (&begin.admins, begin.nodes.clone(), begin.endorsements),
            _ => unreachable!("a story begins with a genesis"),
        };
        let founders = founders.iter().map(|person| person.principal).collect();
        let mut rights =
            Self { story, memory, known, levels: Vec::new(), founders, first_nodes, as_many: usize::from(as_many) };
        let mut standing = Standing::default();
        rights.settle(&standing);
        standing.removals = rights.known_of("remove-admin").filter(|r| rights.passed(rights.now(), *r)).collect();
        rights.settle(&standing);
        rights.settle(&standing);
        loop {
            let more: Vec<usize> = rights
                .known_of("suspend-admin")
                .filter(|s| !standing.suspensions.contains(s) && rights.holds(2, *s))
                .filter(|s| !rights.is_lifted(rights.now(), *s))
                .collect();
            if more.is_empty() {
                break;
            }
            standing.suspensions.extend(more);
            rights.levels.pop();
            rights.settle(&standing);
        }
        standing.revocations = rights.known_of("revoke-grant").filter(|r| rights.holds(2, *r)).collect();
        rights.settle(&standing);
        standing.displacements = rights.known_of("displace-node").filter(|d| rights.passed(rights.now(), *d)).collect();
        rights.settle(&standing);
        rights
    }

    fn settle(&mut self, standing: &Standing) {
        let mut memory = self.memory.borrow_mut();
        let next = memory.numbers.len();
        let number = *memory.numbers.entry(standing.clone()).or_insert(next);
        drop(memory);
        self.levels.push((standing.clone(), number));
    }

    /// Known statements of a kind.
    pub fn known_of(&self, kind: &str) -> impl Iterator<Item = usize> + use<'s> {
        let known = self.known;
        self.story.of_kind(kind).filter(|place| known.has(*place)).collect::<Vec<_>>().into_iter()
    }

    fn now(&self) -> From<'s> {
        From { level: self.levels.len() - 1, seen: self.known, act: None }
    }

    fn before(&self, level: usize, act: usize) -> From<'s> {
        From { level, seen: self.story.past(act), act: Some(act) }
    }

    // ---- what is asked from outside, from everything known ----

    /// Whether a known statement's author had the right to it.
    pub fn is_rightful(&self, place: usize) -> bool {
        self.holds(LAST, place)
    }

    /// Whether a known statement's author had the right to it, or would have if no denial stood.
    pub fn was_ever_rightful(&self, place: usize) -> bool {
        self.holds(0, place) || self.holds(LAST, place)
    }

    /// Whether somebody has a right over a namespace, if only as a suspended admin.
    pub fn rules(&self, who: &PrincipalId, namespace: NamespaceId) -> bool {
        self.admins_from(self.now()).contains(who) || self.administers(self.now(), who, Some(namespace))
    }

    /// Whether a known statement is rightful and has the persons it needs behind it.
    pub fn counts(&self, place: usize) -> bool {
        self.known.has(place) && self.passed(self.now(), place)
    }

    /// Whether a known rightful statement still waits for persons.
    pub fn waits(&self, place: usize) -> bool {
        self.story.body(place).is_some_and(|body| needs(body) != Needs::One)
            && self.is_rightful(place)
            && !self.counts(place)
    }

    /// The admins, each with whether they are suspended.
    pub fn admins(&self) -> BTreeMap<PrincipalId, bool> {
        let suspended = self.suspended(self.now());
        self.admins_from(self.now()).into_iter().map(|admin| (admin, suspended.contains(&admin))).collect()
    }

    /// The tenant's nodes.
    pub fn nodes(&self) -> BTreeMap<NodeId, Placement> {
        self.placed(self.now())
    }

    /// The grants of roles that hold.
    pub fn grants(&self) -> Vec<usize> {
        self.grants_from(self.now())
    }

    /// The statement that makes a keyring.
    pub fn keyring(&self, keyring: &KeyringId) -> Option<usize> {
        self.keyring_from(self.now(), keyring)
    }

    /// Known statements above this software's level by somebody with any right here.
    pub fn strange(&self) -> Vec<usize> {
        let heeded = |place: usize| {
            let (from, who) = (self.before(LAST, place), self.story.author(place));
            let holds_a_role = || {
                let grants = self.grants_from(from).into_iter();
                grants.filter_map(|grant| role(self.story.body(grant))).any(|(whom, ..)| whom == who)
            };
            !self.is_void(LAST, place)
                && (self.is_admin(from, &who) || self.placed(from).contains_key(&who) || holds_a_role())
        };
        self.known_of(STRANGE).filter(|place| heeded(*place)).collect()
    }

    // ---- the rules ----

    fn is_about_removal(&self, place: usize) -> bool {
        match self.story.body(place) {
            Some(Body::RemoveAdmin(_)) => true,
            Some(Body::Endorse(target)) => {
                let target = self.story.place(target);
                target.is_some_and(|target| matches!(self.story.body(target), Some(Body::RemoveAdmin(_))))
            }
            _ => false,
        }
    }

    /// The level that decides a statement.
    fn deciding(&self, level: usize, place: usize) -> usize {
        match self.story.body(place) {
            _ if self.is_about_removal(place) => 0,
            Some(Body::SuspendAdmin(_)) => level.min(1),
            _ => level,
        }
    }

    fn holds(&self, level: usize, place: usize) -> bool {
        let level = self.deciding(level, place);
        let key = (self.levels[level].1, place);
        if let Some(answer) = self.memory.borrow().answers.get(&key) {
            return *answer;
        }
        let answer = !self.is_void(level, place)
            && self.story.body(place).is_some_and(|body| self.is_entitled(level, place, body));
        self.memory.borrow_mut().answers.insert(key, answer);
        answer
    }

    /// Whether a standing denial of its author takes a statement its force: it had not seen the denial in force, and the
    /// denial had not seen it.
    fn is_void(&self, level: usize, place: usize) -> bool {
        if place == 0 || self.is_about_removal(place) {
            return false;
        }
        let (author, body) = (self.story.author(place), self.story.body(place));
        let apart = |denial: usize, level: usize| {
            !self.story.past(denial).has(place) && !self.passed(self.before(level, place), denial)
        };
        let standing = &self.levels[level].0;
        let removed = standing
            .removals
            .iter()
            .any(|r| matches!(self.story.body(*r), Some(Body::RemoveAdmin(who)) if *who == author) && apart(*r, level));
        let suspended = !matches!(body, Some(Body::SuspendAdmin(_)))
            && standing.suspensions.iter().any(|s| {
                matches!(self.story.body(*s), Some(Body::SuspendAdmin(who)) if *who == author) && apart(*s, level)
            });
        let said_as_a_node = matches!(
            body,
            None | Some(
                Body::AttestGeneration(_) | Body::AccuseGeneration(_) | Body::VoteEnrolment(_) | Body::Witness(_)
            )
        );
        let displaced = said_as_a_node
            && standing.displacements.iter().any(|d| {
                matches!(self.story.body(*d), Some(Body::DisplaceNode(who)) if *who == author) && apart(*d, LAST - 1)
            });
        removed || suspended || displaced
    }

    /// Whether a statement is seen, rightful, and has distinct persons enough behind it by what is seen.
    fn passed(&self, from: From<'s>, place: usize) -> bool {
        if !from.seen.has(place) || !self.holds(from.level, place) {
            return false;
        }
        let Some(body) = self.story.body(place) else { return false };
        let admins = || self.admins_from(self.before(self.deciding(from.level, place), place)).len();
        let needed = match needs(body) {
            Needs::One => return true,
            Needs::AsMany => self.as_many.min(admins().max(1)),
            Needs::Majority => admins() / 2 + 1,
        };
        let mut behind = BTreeSet::from([self.story.author(place)]);
        for endorsement in self.story.endorsements(place) {
            if from.seen.has(endorsement) && self.holds(from.level, endorsement) {
                behind.insert(self.story.author(endorsement));
            }
        }
        behind.len() >= needed
    }

    /// The admins: founders and those added, without those whom a removal took away that the addition had not seen.
    fn admins_from(&self, from: From<'s>) -> BTreeSet<PrincipalId> {
        let added = self.story.of_kind("add-admin").filter(|a| self.passed(from, *a)).filter_map(|a| {
            let Some(Body::AddAdmin(person)) = self.story.body(a) else { return None };
            Some((Some(a), person.principal))
        });
        let given = self.founders.iter().map(|who| (None, *who)).chain(added);
        let taken: Vec<usize> = self.story.of_kind("remove-admin").filter(|r| self.passed(from, *r)).collect();
        given
            .filter(|(gave, who)| {
                !taken.iter().any(|r| {
                    matches!(self.story.body(*r), Some(Body::RemoveAdmin(gone)) if gone == who)
                        && !gave.is_some_and(|gave| self.story.past(gave).has(*r))
                })
            })
            .map(|(_, who)| who)
            .collect()
    }

    fn suspended(&self, from: From<'s>) -> BTreeSet<PrincipalId> {
        let standing = self
            .story
            .of_kind("suspend-admin")
            .filter(|s| from.seen.has(*s) && self.holds(from.level, *s) && !self.is_lifted(from, *s));
        standing
            .filter_map(|s| match self.story.body(s) {
                Some(Body::SuspendAdmin(who)) => Some(*who),
                _ => None,
            })
            .collect()
    }

    /// Whether a suspension was lifted, or whoever ordered it fell without its order having known that.
    fn is_lifted(&self, from: From<'s>, suspension: usize) -> bool {
        let Some(Body::SuspendAdmin(who)) = self.story.body(suspension) else { return false };
        if from.act.is_none() && self.levels[from.level].0.suspensions.contains(&suspension) {
            return false;
        }
        let author = self.story.author(suspension);
        let lifted = self.story.of_kind("lift-suspension").any(|lift| {
            matches!(self.story.body(lift), Some(Body::LiftSuspension(whom)) if whom == who)
                && self.story.past(lift).has(suspension)
                && self.passed(from, lift)
        });
        lifted
            || self.story.of_kind("remove-admin").any(|r| {
                matches!(self.story.body(r), Some(Body::RemoveAdmin(gone)) if *gone == author)
                    && self.passed(from, r)
                    && !self.passed(self.before(from.level, suspension), r)
            })
    }

    fn is_admin(&self, from: From<'s>, who: &PrincipalId) -> bool {
        self.admins_from(from).contains(who) && !self.suspended(from).contains(who)
    }

    fn placed(&self, from: From<'s>) -> BTreeMap<NodeId, Placement> {
        let later: Vec<(usize, &Placement)> = (self.story.of_kind("place-node").filter(|p| self.passed(from, *p)))
            .filter_map(|p| match self.story.body(p) {
                Some(Body::PlaceNode(placement)) => Some((p, placement)),
                _ => None,
            })
            .collect();
        let gone: Vec<(usize, NodeId)> = (self.story.of_kind("displace-node").filter(|d| self.passed(from, *d)))
            .filter_map(|d| match self.story.body(d) {
                Some(Body::DisplaceNode(node)) => Some((d, *node)),
                _ => None,
            })
            .collect();
        let saw = |one: Option<usize>, other: usize| one.is_some_and(|one| self.story.past(one).has(other));
        let mut best: BTreeMap<NodeId, (Option<StatementId>, &Placement)> = BTreeMap::new();
        let first = self.first_nodes.iter().map(|placement| (None, placement));
        for (gave, placement) in first.chain(later.iter().map(|(p, placement)| (Some(*p), *placement))) {
            let node = placement.node;
            let replaced = later
                .iter()
                .any(|(other, newer)| newer.node == node && gave.is_none_or(|gave| self.story.past(*other).has(gave)));
            let displaced = gone.iter().any(|(d, whom)| *whom == node && !saw(gave, *d));
            let rank = gave.map(|gave| self.story.id(gave));
            if !replaced && !displaced && best.get(&node).is_none_or(|(known, _)| *known <= rank) {
                best.insert(node, (rank, placement));
            }
        }
        best.into_iter().map(|(node, (_, placement))| (node, placement.clone())).collect()
    }

    fn grants_from(&self, from: From<'s>) -> Vec<usize> {
        let taken = |grant: usize| {
            let Some(what) = role(self.story.body(grant)) else { return true };
            let same = |revocation: usize| role(self.story.body(revocation)) == Some(what);
            let unseen = |revocation: usize| !self.story.past(grant).has(revocation);
            let denied = self
                .story
                .of_kind("revoke-grant")
                .any(|r| same(r) && unseen(r) && from.seen.has(r) && self.holds(from.level, r));
            let cut_off = from.act.is_some_and(|act| {
                let standing = &self.levels[from.level].0.revocations;
                standing.iter().any(|r| same(*r) && unseen(*r) && self.story.concurrent(*r, act))
            });
            denied || cut_off
        };
        self.story.of_kind("grant").filter(|grant| self.passed(from, *grant) && !taken(*grant)).collect()
    }

    /// Whether somebody administers a namespace: as an admin, or by a grant on it or around it.
    fn administers(&self, from: From<'s>, who: &PrincipalId, namespace: Option<NamespaceId>) -> bool {
        if self.is_admin(from, who) {
            return true;
        }
        let mut scopes = BTreeSet::from([Scope::Tenant]);
        let mut next = namespace;
        while let Some(id) = next {
            let Some(parent) = self.namespace(from, &id).filter(|_| scopes.insert(Scope::Namespace(id))) else {
                return false;
            };
            next = parent;
        }
        self.grants_from(from).into_iter().any(|grant| {
            role(self.story.body(grant)).is_some_and(|(whom, role, scope)| {
                whom == *who && role == Role::NamespaceAdmin && scopes.contains(&scope)
            })
        })
    }

    /// A namespace's parent, if it rightfully exists.
    fn namespace(&self, from: From<'s>, id: &NamespaceId) -> Option<Option<NamespaceId>> {
        let place = self.story.place(&StatementId::from_bytes(*id.as_bytes()))?;
        match self.story.body(place) {
            Some(Body::CreateNamespace(new)) if from.seen.has(place) && self.holds(from.level, place) => {
                Some(new.parent)
            }
            _ => None,
        }
    }

    fn keyring_from(&self, from: From<'s>, id: &KeyringId) -> Option<usize> {
        let made: Vec<usize> = (self.story.makers_of_keyring(id))
            .filter(|place| from.seen.has(*place) && self.holds(from.level, *place))
            .collect();
        let first = made.iter().filter(|place| !made.iter().any(|other| self.story.past(**place).has(*other)));
        first.min_by_key(|place| self.story.id(**place)).copied()
    }

    fn is_custodian(&self, from: From<'s>, node: &NodeId) -> bool {
        let proposals = self.story.of_kind("propose-root").chain(self.story.of_kind("reshare-root"));
        let mut of_the_node = proposals.filter(|place| match self.story.body(*place) {
            Some(Body::ProposeRoot(spec)) => spec.committees.iter().any(|c| c.members.contains(node)),
            Some(Body::ReshareRoot(change)) => change.spec.members.contains(node),
            _ => false,
        });
        self.placed(from).contains_key(node) && of_the_node.any(|place| self.passed(from, place))
    }

    /// The committees that one part of a root was or may be shared among: as proposed, and as reshares propose. None for a
    /// root that did not pass.
    fn sharings(&self, from: From<'s>, of: &SharingRef) -> Vec<&'s CommitteeSpec> {
        let root = self.story.place(&StatementId::from(of.root)).filter(|root| self.passed(from, *root));
        let Some(Body::ProposeRoot(spec)) = root.and_then(|root| self.story.body(root)) else { return Vec::new() };
        let Some(first) = spec.committees.get(usize::from(of.committee)) else { return Vec::new() };
        let mut all = vec![first];
        for place in self.story.of_kind("reshare-root") {
            if let Some(Body::ReshareRoot(change)) = self.story.body(place)
                && (change.sharing.root, change.sharing.committee) == (of.root, of.committee)
                && from.seen.has(place)
                && self.holds(from.level, place)
            {
                all.push(&change.spec);
            }
        }
        all
    }

    /// Whether after a reshare every provider is still below the threshold of one committee, whichever sharing of the
    /// others it has kept shares of (I1).
    fn stays_sound(&self, from: From<'s>, change: &Reshare) -> bool {
        let placed = self.placed(from);
        let root = self.story.place(&StatementId::from(change.sharing.root));
        let Some(Body::ProposeRoot(spec)) = root.and_then(|root| self.story.body(root)) else { return false };
        let others = (0u8..).zip(&spec.committees).map(|(place, _)| place).filter(|p| *p != change.sharing.committee);
        let mut parts: Vec<Vec<&CommitteeSpec>> =
            others.map(|committee| self.sharings(from, &SharingRef { committee, ..change.sharing })).collect();
        parts.push(vec![&change.spec]);
        let providers: BTreeSet<&str> = placed.values().map(|at| at.provider.as_str()).collect();
        providers.into_iter().all(|provider| {
            parts.iter().any(|sharings| {
                sharings.iter().all(|spec| {
                    let there =
                        |member: &&NodeId| placed.get(*member).is_some_and(|placement| placement.provider == provider);
                    spec.members.iter().filter(there).count() < usize::from(spec.threshold)
                })
            })
        })
    }

    fn is_entitled(&self, level: usize, place: usize, body: &Body) -> bool {
        let from = self.before(level, place);
        let who = self.story.author(place);
        let tenant = !self.first_nodes.is_empty();
        let keyring_of = |keyring: &KeyringId| {
            self.keyring_from(from, keyring).and_then(|made| match self.story.body(made) {
                Some(Body::CreateKeyring(new)) => Some(new.namespace),
                _ => None,
            })
        };
        let runs_keyring =
            |keyring: &KeyringId| keyring_of(keyring).is_some_and(|at| self.administers(from, &who, Some(at)));
        match body {
            Body::MeshGenesis(_) | Body::TenantGenesis(_) => place == 0 && self.founders.contains(&who),
            Body::Endorse(target) => {
                let Some(target) = self.story.place(target).filter(|target| from.seen.has(*target)) else {
                    return false;
                };
                let Some(proposal) = self.story.body(target) else { return false };
                let is_admin = match proposal {
                    Body::RemoveAdmin(_) => self.admins_from(from).contains(&who),
                    _ => self.is_admin(from, &who),
                };
                needs(proposal) != Needs::One && self.holds(level, target) && is_admin
            }
            Body::RemoveAdmin(_) => self.admins_from(from).contains(&who),
            Body::SuspendAdmin(whom) => {
                *whom != who && self.admins_from(from).contains(whom) && self.is_admin(from, &who)
            }
            Body::AddAdmin(_) | Body::LiftSuspension(_) | Body::Edit(_) => self.is_admin(from, &who),
            Body::AdmitNode(_) | Body::RemoveNode(_) => !tenant && self.is_admin(from, &who),
            Body::PlaceNode(_)
            | Body::DisplaceNode(_)
            | Body::Grant(_)
            | Body::RevokeGrant(_)
            | Body::TrustEvidence(_)
            | Body::DistrustEvidence(_)
            | Body::SetPolicy(_)
            | Body::Revoke(_)
            | Body::Rename(_) => tenant && self.is_admin(from, &who),
            Body::ProposeRoot(spec) => tenant && self.is_admin(from, &who) && is_sound(spec, &self.placed(from)),
            Body::ReshareRoot(change) => {
                let placed = self.placed(from);
                tenant
                    && self.is_admin(from, &who)
                    && !self.sharings(from, &change.sharing).is_empty()
                    && change.spec.members.iter().all(|member| placed.contains_key(member))
                    && self.stays_sound(from, change)
            }
            Body::RefreshShares(sharing) => {
                let sharings = self.sharings(from, sharing);
                let has_a_share = sharings.iter().any(|spec| spec.members.contains(&who));
                tenant && !sharings.is_empty() && (has_a_share || self.is_admin(from, &who))
            }
            Body::Sharing(word) => {
                tenant && self.sharings(from, &word.sharing).iter().any(|spec| spec.members.contains(&who))
            }
            Body::CreateNamespace(new) => {
                let stands = new.parent.is_none_or(|parent| self.namespace(from, &parent).is_some());
                tenant && stands && self.administers(from, &who, new.parent)
            }
            Body::CreateKeyring(new) => {
                let stands = self.namespace(from, &new.namespace).is_some();
                tenant && stands && self.administers(from, &who, Some(new.namespace))
            }
            Body::OpenGeneration(new) => tenant && runs_keyring(&new.keyring),
            Body::CreateKey(new) => tenant && runs_keyring(&new.keyring),
            Body::AddVersion(new) => tenant && runs_keyring(&new.keyring),
            Body::SetKeyState(change) if needs(body) == Needs::One => tenant && runs_keyring(&change.keyring),
            Body::SetKeyState(_) => tenant && self.is_admin(from, &who),
            Body::AttestRoot(_) | Body::VoteEnrolment(_) | Body::Witness(_) => tenant && self.is_custodian(from, &who),
            Body::AccuseCustodian(_) => tenant && self.placed(from).contains_key(&who),
            Body::AttestGeneration(_) | Body::AccuseGeneration(_) => {
                self.placed(from).get(&who).is_some_and(|placement| placement.lessee)
            }
        }
    }
}

/// The role that a grant gives or a revocation takes.
pub fn role(body: Option<&Body>) -> Option<(PrincipalId, Role, Scope)> {
    match body {
        Some(Body::Grant(given)) => Some((given.principal, given.role, given.scope)),
        Some(Body::RevokeGrant(taken)) => Some((taken.principal, taken.role, taken.scope)),
        _ => None,
    }
}

/// Whether all members are placed and some committee keeps each provider below its threshold (I1).
fn is_sound(spec: &RootSpec, placed: &BTreeMap<NodeId, Placement>) -> bool {
    let provider = |node: &NodeId| placed.get(node).map(|at| at.provider.as_str());
    let members = || spec.committees.iter().flat_map(|committee| &committee.members);
    let providers: BTreeSet<&str> = placed.values().map(|at| at.provider.as_str()).collect();
    let kept_out = |name: &str| {
        spec.committees.iter().any(|committee| {
            let shares = committee.members.iter().filter(|member| provider(member) == Some(name)).count();
            shares < usize::from(committee.threshold)
        })
    };
    members().all(|member| placed.contains_key(member)) && providers.into_iter().all(kept_out)
}
