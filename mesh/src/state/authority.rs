//! Who had the right to say what (I2), and whose word removal takes away (I4).
//!
//! A statement's right is judged from its own causal past and from nothing else, so every node comes to the same
//! judgement whatever it received first. Passes over all statements make that precise, and each pass settles one kind of
//! denial before the next one relies on it:
//!
//! 1. Every statement is judged by its own past alone. This settles removals of admins and the endorsements of those: a
//!    removal that more than half of its past's admins endorsed stands whatever happens to them, even when two sides
//!    remove each other at the same time.
//! 2. What a removed admin did outside the removal's past (concurrently, or dated back) is void, suspensions included, and
//!    so is what rested on it. This settles suspensions; two admins who suspend each other are both suspended.
//! 3. What a suspended admin did outside the suspension's past is void until the suspension is lifted. A lift may itself
//!    become void by this, so the pass is repeated until no further suspension stands.
//! 4. A role that was revoked carries no act outside the revocation's past, or its former holder could go on from an old
//!    place for ever.
//! 5. What a displaced node said as a node outside the displacement's past is void.
//!
//! An act that had a removal in its past *in effect* is no longer a matter of voiding: it is judged by that past, in
//! which its author may have been made an admin anew. An act that had seen the bare proposal is still void, or whoever is
//! being removed could go on from the proposal for ever.
//!
//! A suspension ends when more than half of the admins lift it, or when they remove whoever ordered it: without the
//! latter, one admin who suspends all others would leave nobody to lift anything after being removed.
//!
//! Proposals take effect through endorsements by distinct persons, each judged at its own place. A proposal keeps its own
//! place in the order: an endorsement that saw a denial does not lift the proposal over a denial the proposal had not seen.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::body::{Body, CommitteeSpec, KeyState, Person, Placement, Reshare, Role, Scope, keyring_id};
use keymesh_wire::ids::{KeyringId, NamespaceId, NodeId, PrincipalId, RootId, StatementId};
use keymesh_wire::statement::Checked;

use super::graph::{Graph, Index};
use super::layout::{is_enough_at, lone_provider};
use crate::mutant::{self, Mutant};

/// The point from which a question is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// From the past of this statement.
    Before(Index),
    /// From everything there is.
    End,
}

/// How many endorsements a kind needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// None: it acts at once.
    Single,
    /// As many as the document's genesis asks for.
    Endorsed,
    /// More than half of the admins in the proposal's past.
    Majority,
}

/// The guard of a kind.
pub fn guard(body: &Body) -> Guard {
    match body {
        Body::AddAdmin(_)
        | Body::RemoveAdmin(_)
        | Body::LiftSuspension(_)
        | Body::ProposeRoot(_)
        | Body::ReshareRoot(_) => Guard::Majority,
        Body::AdmitNode(_)
        | Body::RemoveNode(_)
        | Body::PlaceNode(_)
        | Body::DisplaceNode(_)
        | Body::Grant(_)
        | Body::SetPolicy(_)
        | Body::TrustEvidence(_) => Guard::Endorsed,
        Body::SetKeyState(change) if change.state == KeyState::Destroyed => Guard::Endorsed,
        Body::MeshGenesis(_)
        | Body::TenantGenesis(_)
        | Body::Endorse(_)
        | Body::SuspendAdmin(_)
        | Body::Edit(_)
        | Body::AttestRoot(_)
        | Body::CreateNamespace(_)
        | Body::RevokeGrant(_)
        | Body::CreateKeyring(_)
        | Body::OpenGeneration(_)
        | Body::AttestGeneration(_)
        | Body::AccuseGeneration(_)
        | Body::CreateKey(_)
        | Body::AddVersion(_)
        | Body::SetKeyState(_)
        | Body::DistrustEvidence(_)
        | Body::VoteEnrolment(_)
        | Body::Revoke(_)
        | Body::Witness(_)
        | Body::Rename(_)
        | Body::RefreshShares(_)
        | Body::Sharing(_)
        | Body::AccuseCustodian(_) => Guard::Single,
    }
}

/// A denial that voids what somebody did outside its past.
#[derive(Debug, Clone)]
struct Standing {
    denial: Index,
    kind: Denial,
    denied: PrincipalId,
    past: BTreeSet<Index>,
}

/// A role that was taken away.
#[derive(Debug, Clone)]
struct Revoked {
    revocation: Index,
    what: (PrincipalId, Role, Scope),
    past: BTreeSet<Index>,
}

/// A kind of denial, by which it is known what it voids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Denial {
    /// Voids everything but removals of admins.
    Removal,
    /// Voids everything but removals of admins and suspensions.
    Suspension,
    /// Voids what only nodes say, so that fewer than a majority cannot void an admin's acts.
    Displacement,
}

impl Denial {
    fn voids(self, body: Option<&Body>) -> bool {
        match self {
            Self::Removal => !mutant::is(Mutant::BackdatedActCounted),
            Self::Suspension => !matches!(body, Some(Body::SuspendAdmin(_))),
            // What a custodian attested of a root stays: others' ciphertexts are sealed to it, and it attests no right.
            Self::Displacement => body.is_none_or(|body| {
                matches!(
                    body,
                    Body::AttestGeneration(_) | Body::AccuseGeneration(_) | Body::VoteEnrolment(_) | Body::Witness(_)
                )
            }),
        }
    }
}

/// How a proposal stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Support {
    /// The distinct persons behind it, the proposer included.
    pub persons: BTreeSet<PrincipalId>,
    /// How many it needs.
    pub required: usize,
}

impl Support {
    /// Whether it takes effect.
    pub fn suffices(&self) -> bool {
        self.persons.len() >= self.required
    }
}

/// The judgement over one document's statements.
pub struct Authority<'g> {
    graph: &'g Graph,
    founders: Vec<Person>,
    placed: Vec<Placement>,
    endorsements: usize,
    index: Kinds,
    valid: Vec<bool>,
    settled: Vec<bool>,
    void: Vec<bool>,
    quarantined: Vec<bool>,
    standing: Vec<Standing>,
    revoked: Vec<Revoked>,
    required: BTreeMap<Index, usize>,
}

/// Where statements of the kinds that matter for authority are.
#[derive(Default)]
struct Kinds {
    add_admin: Vec<(Index, PrincipalId)>,
    remove_admin: Vec<(Index, PrincipalId)>,
    suspend: Vec<(Index, PrincipalId)>,
    lift: Vec<(Index, PrincipalId)>,
    place: Vec<(Index, Placement)>,
    displace: Vec<(Index, NodeId)>,
    grant: Vec<(Index, PrincipalId, Role, Scope)>,
    revoke_grant: Vec<(Index, PrincipalId, Role, Scope)>,
    roots: Vec<Index>,
    reshares: Vec<Index>,
    namespaces: BTreeMap<NamespaceId, (Index, Option<NamespaceId>)>,
    keyrings: BTreeMap<KeyringId, Vec<(Index, NamespaceId)>>,
    endorse: BTreeMap<Index, Vec<Index>>,
}

impl Kinds {
    fn of(graph: &Graph) -> Self {
        let mut kinds = Self::default();
        for (index, entry) in graph.entries().iter().enumerate() {
            let statement = &entry.statement;
            match statement.body() {
                Some(Body::AddAdmin(person)) => kinds.add_admin.push((index, person.principal)),
                Some(Body::RemoveAdmin(principal)) => kinds.remove_admin.push((index, *principal)),
                Some(Body::SuspendAdmin(principal)) => kinds.suspend.push((index, *principal)),
                Some(Body::LiftSuspension(principal)) => kinds.lift.push((index, *principal)),
                Some(Body::PlaceNode(placement)) => kinds.place.push((index, placement.clone())),
                Some(Body::DisplaceNode(node)) => kinds.displace.push((index, *node)),
                Some(Body::Grant(grant)) => kinds.grant.push((index, grant.principal, grant.role, grant.scope)),
                Some(Body::RevokeGrant(gone)) => {
                    kinds.revoke_grant.push((index, gone.principal, gone.role, gone.scope))
                }
                Some(Body::ProposeRoot(_)) => kinds.roots.push(index),
                Some(Body::ReshareRoot(_)) => kinds.reshares.push(index),
                Some(Body::CreateNamespace(new)) => {
                    kinds.namespaces.insert(statement.id().into(), (index, new.parent));
                }
                Some(Body::CreateKeyring(new)) => {
                    let id = keyring_id(&statement.document(), &statement.author(), &new.nonce);
                    kinds.keyrings.entry(id).or_default().push((index, new.namespace));
                }
                Some(Body::Endorse(target)) => {
                    if let Some(target) = graph.index(target) {
                        kinds.endorse.entry(target).or_default().push(index);
                    }
                }
                _ => {}
            }
        }
        kinds
    }
}

impl<'g> Authority<'g> {
    /// Judges every statement of `graph`.
    pub fn judge(graph: &'g Graph) -> Self {
        let (founders, placed, endorsements) = match graph.entries().first().and_then(|first| first.statement.body()) {
            Some(Body::MeshGenesis(genesis)) => {
                (genesis.founders.clone(), Vec::new(), usize::from(genesis.endorsements))
            }
            Some(Body::TenantGenesis(genesis)) => {
                (genesis.admins.clone(), genesis.nodes.clone(), usize::from(genesis.endorsements))
            }
            _ => (Vec::new(), Vec::new(), usize::MAX),
        };
        let mut authority = Self {
            graph,
            founders,
            placed,
            endorsements,
            index: Kinds::of(graph),
            valid: vec![false; graph.len()],
            settled: vec![false; graph.len()],
            void: vec![false; graph.len()],
            quarantined: Vec::new(),
            standing: Vec::new(),
            revoked: Vec::new(),
            required: BTreeMap::new(),
        };
        authority.pass();
        let as_made = authority.outcome();
        authority.settle(|authority, index| authority.is_removal_act(index));
        let removals = authority.index.remove_admin.clone();
        authority.enforce(Denial::Removal, removals);
        authority.settle(|_, index| matches!(graph.entries()[index].statement.body(), Some(Body::SuspendAdmin(_))));
        let suspensions = authority.index.suspend.clone();
        while authority.enforce(Denial::Suspension, suspensions.clone()) {}
        authority.enforce_revocations();
        let displacements = authority.index.displace.clone();
        authority.enforce(Denial::Displacement, displacements);
        let outcome = authority.outcome();
        let lost = as_made.iter().zip(&outcome).map(|(was, is)| (was.0 && !is.0) || (was.1 && !is.1));
        authority.quarantined = lost.collect();
        authority
    }

    /// Of each statement whether it holds and whether it is in effect.
    fn outcome(&self) -> Vec<(bool, bool)> {
        (0..self.graph.len()).map(|index| (self.valid[index], self.is_effective(index))).collect()
    }

    /// Fixes the judgement over some statements for all later passes.
    fn settle(&mut self, which: impl Fn(&Self, Index) -> bool) {
        for index in 0..self.graph.len() {
            self.settled[index] |= which(self, index);
        }
    }

    /// One judgement of every statement that is not settled, parents before children.
    fn pass(&mut self) {
        for index in 0..self.graph.len() {
            let statement = &self.graph.entries()[index].statement;
            let Some(body) = statement.body().filter(|_| !self.settled[index]) else { continue };
            if guard(body) != Guard::Single {
                let required = match guard(body) {
                    Guard::Majority => self.admins(At::Before(index)).len() / 2 + 1,
                    Guard::Endorsed => self.endorsements.min(self.admins(At::Before(index)).len().max(1)),
                    Guard::Single => 1,
                };
                self.required.insert(index, required);
            }
            self.valid[index] = !self.void[index] && self.entitled(index, statement, body);
        }
    }

    /// Lets those of `denials` that are in effect and not lifted void what they void. Returns whether there were any that
    /// did not stand before.
    fn enforce(&mut self, kind: Denial, denials: Vec<(Index, PrincipalId)>) -> bool {
        let more: Vec<Standing> = denials
            .into_iter()
            .filter(|(index, _)| !self.stands(*index) && self.effective(*index, At::End))
            .filter(|(index, who)| kind != Denial::Suspension || !self.is_lifted(*index, who, At::End))
            .map(|(denial, denied)| Standing { denial, kind, denied, past: self.graph.whole_past(denial) })
            .collect();
        if more.is_empty() {
            return false;
        }
        self.standing.extend(more);
        self.void = (0..self.graph.len()).map(|index| self.is_void(index)).collect();
        self.pass();
        true
    }

    /// Lets revocations of roles that hold cut off what they had not seen.
    fn enforce_revocations(&mut self) {
        let holding = self.index.revoke_grant.iter().filter(|(index, ..)| self.valid[*index]);
        self.revoked = holding
            .map(|(index, who, role, scope)| Revoked {
                revocation: *index,
                what: (*who, *role, *scope),
                past: self.graph.whole_past(*index),
            })
            .collect();
        if !self.revoked.is_empty() {
            self.pass();
        }
    }

    /// Whether an act at `at` under the role that `grant` gave is outside the past of a revocation of it.
    fn is_cut_off(&self, grant: Index, what: (PrincipalId, Role, Scope), at: At) -> bool {
        let At::Before(act) = at else { return false };
        self.revoked.iter().any(|revoked| {
            revoked.what == what
                && !self.graph.precedes(revoked.revocation, grant)
                && !revoked.past.contains(&act)
                && !self.graph.precedes(revoked.revocation, act)
        })
    }

    fn is_void(&self, index: Index) -> bool {
        let statement = &self.graph.entries()[index].statement;
        index != 0
            && !self.is_removal_act(index)
            && self.standing.iter().any(|standing| {
                standing.denied == statement.author()
                    && standing.kind.voids(statement.body())
                    && !standing.past.contains(&index)
                    && !self.effective(standing.denial, At::Before(index))
            })
    }

    /// Removals of admins and their endorsements keep their force whatever becomes of their authors.
    fn is_removal_act(&self, index: Index) -> bool {
        match self.graph.entries()[index].statement.body() {
            Some(Body::Endorse(target)) => {
                matches!(self.graph.get(target).and_then(Checked::body), Some(Body::RemoveAdmin(_)))
            }
            body => matches!(body, Some(Body::RemoveAdmin(_))),
        }
    }

    fn stands(&self, index: Index) -> bool {
        self.standing.iter().any(|standing| standing.denial == index)
    }

    /// Whether a statement holds.
    pub fn is_valid(&self, index: Index) -> bool {
        self.valid[index]
    }

    /// Whether a statement was taken its authority by a removal, directly or through what it rested on.
    pub fn is_quarantined(&self, index: Index) -> bool {
        self.quarantined[index]
    }

    /// Whether whoever signed a statement of a kind above this software's level had any right in the document, so that
    /// it has to be heeded. Anybody can sign anything; an outsider's word must not stop a document from being served.
    pub fn has_standing(&self, index: Index) -> bool {
        let (at, author) = (At::Before(index), self.graph.entries()[index].statement.author());
        !self.void[index]
            && (self.is_admin(&author, at)
                || self.placed(at).contains_key(&author)
                || self.grants_at(at).any(|(_, who, ..)| *who == author))
    }

    /// Whether a statement holds and, if it is a proposal, has its endorsements.
    pub fn is_effective(&self, index: Index) -> bool {
        self.effective(index, At::End)
    }

    /// How a proposal stands.
    pub fn support(&self, index: Index) -> Support {
        self.support_at(index, At::End)
    }

    /// The admins there are, suspended ones left out.
    pub fn active_admins(&self) -> BTreeSet<PrincipalId> {
        let suspended = self.suspended(At::End);
        self.admins(At::End).into_iter().filter(|admin| !suspended.contains(admin)).collect()
    }

    /// The admins there are, suspended ones included.
    pub fn all_admins(&self) -> BTreeSet<PrincipalId> {
        self.admins(At::End)
    }

    /// The nodes placed by the tenant, with the facts it believes.
    pub fn placements(&self) -> BTreeMap<NodeId, Placement> {
        self.placed(At::End)
    }

    /// The effective grants.
    pub fn grants(&self) -> Vec<Index> {
        self.grants_at(At::End).map(|(index, ..)| *index).collect()
    }

    /// The statement that created a keyring, if it holds.
    pub fn keyring(&self, id: &KeyringId) -> Option<Index> {
        self.keyring_at(id, At::End).map(|(index, _)| index)
    }

    /// What takes a node the right to lease, in effect by what is seen from `at`: displacements, and placements without
    /// the right.
    pub(super) fn expulsions(&self, at: At) -> Vec<(Index, NodeId)> {
        let without = self.index.place.iter().filter(|(_, placement)| !placement.lessee);
        let displaced = self.index.displace.iter().copied();
        let all = displaced.chain(without.map(|(index, placement)| (*index, placement.node)));
        all.filter(|(index, _)| self.effective(*index, at)).collect()
    }

    /// Whether somebody was removed as an admin by a removal that the statement at `made` had not seen.
    pub(super) fn is_removed_since(&self, made: Index, who: &PrincipalId, at: At) -> bool {
        let removals = self.index.remove_admin.iter().filter(|(_, whom)| whom == who).map(|(index, _)| index);
        self.denied(Some(made), removals, at)
    }

    /// Whether somebody is an admin, if only a suspended one, or has a role over a namespace.
    pub(super) fn holds_namespace(&self, who: &PrincipalId, namespace: NamespaceId, at: At) -> bool {
        self.admins(at).contains(who) || self.administers(who, Some(namespace), at)
    }

    fn sees(&self, at: At, index: Index) -> bool {
        match at {
            At::Before(later) => self.graph.precedes(index, later),
            At::End => true,
        }
    }

    fn support_at(&self, index: Index, at: At) -> Support {
        let author = |index: Index| self.graph.entries()[index].statement.author();
        let mut persons = BTreeSet::from([author(index)]);
        let mut voices = 1;
        for endorsement in self.index.endorse.get(&index).into_iter().flatten() {
            if self.valid[*endorsement] && self.sees(at, *endorsement) {
                persons.insert(author(*endorsement));
                voices += 1;
            }
        }
        let mut required = self.required.get(&index).copied().unwrap_or(1);
        if mutant::is(Mutant::EndorsementCountedTwice) && voices >= required {
            required = required.min(persons.len());
        }
        Support { persons, required }
    }

    fn effective(&self, index: Index, at: At) -> bool {
        // Most statements need nobody beside their author.
        let alone = self.required.get(&index).is_none_or(|required| *required <= 1);
        self.sees(at, index) && self.valid[index] && (alone || self.support_at(index, at).suffices())
    }

    /// Whether the thing that `gave` gave is taken away again by one of `denials` that `gave` had not seen.
    fn denied<'a>(&self, gave: Option<Index>, mut denials: impl Iterator<Item = &'a Index>, at: At) -> bool {
        denials.any(|denial| {
            let unseen = gave.is_none_or(|gave| !self.graph.precedes(*denial, gave));
            unseen && self.effective(*denial, at)
        })
    }

    fn admins(&self, at: At) -> BTreeSet<PrincipalId> {
        let removals_of = |principal: &PrincipalId| {
            let principal = *principal;
            self.index.remove_admin.iter().filter(move |(_, who)| *who == principal).map(|(index, _)| index)
        };
        let founders = self.founders.iter().map(|founder| (None, founder.principal));
        let added = self.index.add_admin.iter().filter(|(index, _)| self.effective(*index, at));
        founders
            .chain(added.map(|(index, principal)| (Some(*index), *principal)))
            .filter(|(gave, principal)| !self.denied(*gave, removals_of(principal), at))
            .map(|(_, principal)| principal)
            .collect()
    }

    fn suspended(&self, at: At) -> BTreeSet<PrincipalId> {
        let suspensions = self.index.suspend.iter().filter(|(index, principal)| {
            self.valid[*index] && self.sees(at, *index) && !self.is_lifted(*index, principal, at)
        });
        suspensions.map(|(_, principal)| *principal).collect()
    }

    fn is_lifted(&self, suspension: Index, principal: &PrincipalId, at: At) -> bool {
        if at == At::End && self.stands(suspension) {
            return false;
        }
        let author = self.graph.entries()[suspension].statement.author();
        let lifted = |(lift, who): &(Index, PrincipalId)| {
            who == principal && self.graph.precedes(suspension, *lift) && self.effective(*lift, at)
        };
        let fell = |(removal, who): &(Index, PrincipalId)| {
            *who == author && self.effective(*removal, at) && !self.effective(*removal, At::Before(suspension))
        };
        self.index.lift.iter().any(lifted) || self.index.remove_admin.iter().any(fell)
    }

    fn placed(&self, at: At) -> BTreeMap<NodeId, Placement> {
        let displacements_of = |node: &NodeId| {
            let node = *node;
            self.index.displace.iter().filter(move |(_, who)| *who == node).map(|(index, _)| index)
        };
        let later: Vec<_> = self.index.place.iter().filter(|(index, _)| self.effective(*index, at)).collect();
        let superseded = |gave: Option<Index>, node: &NodeId| {
            later.iter().any(|(index, placement)| {
                placement.node == *node && gave.is_none_or(|gave| self.graph.precedes(gave, *index))
            })
        };
        let first = self.placed.iter().map(|placement| (None, placement));
        let mut placed: Vec<(Option<StatementId>, &Placement)> = first
            .chain(later.iter().map(|(index, placement)| (Some(*index), placement)))
            .filter(|(gave, placement)| !superseded(*gave, &placement.node))
            .filter(|(gave, placement)| !self.denied(*gave, displacements_of(&placement.node), at))
            .map(|(gave, placement)| (gave.map(|index| self.graph.entries()[index].statement.id()), placement))
            .collect();
        // Of concurrent placements of one node the one with the highest statement id counts, everywhere.
        placed.sort_by_key(|(id, _)| *id);
        placed.into_iter().map(|(_, placement)| (placement.node, placement.clone())).collect()
    }

    fn grants_at(&self, at: At) -> impl Iterator<Item = &(Index, PrincipalId, Role, Scope)> {
        self.index.grant.iter().filter(move |(index, principal, role, scope)| {
            let revocations = self
                .index
                .revoke_grant
                .iter()
                .filter(move |(_, who, what, place)| (who, what, place) == (principal, role, scope))
                .filter(|(gone, ..)| !mutant::is(Mutant::GrantBeatsRevoke) || self.graph.precedes(*index, *gone));
            self.effective(*index, at)
                && !self.denied(Some(*index), revocations.map(|(index, ..)| index), at)
                && !self.is_cut_off(*index, (*principal, *role, *scope), at)
        })
    }

    fn is_admin(&self, principal: &PrincipalId, at: At) -> bool {
        self.admins(at).contains(principal)
            && (!self.suspended(at).contains(principal) || mutant::is(Mutant::SuspendedAdminGoesOn))
    }

    /// Whether `principal` may administer `namespace`: as an admin, or by a grant on it or on one that holds it.
    fn administers(&self, principal: &PrincipalId, namespace: Option<NamespaceId>, at: At) -> bool {
        if self.is_admin(principal, at) {
            return true;
        }
        let mut scopes = vec![Scope::Tenant];
        let mut next = namespace;
        while let Some(id) = next {
            let Some((index, parent)) = self.index.namespaces.get(&id) else { return false };
            // Ids are hashes, so the way out ends.
            if !self.sees(at, *index) || !self.valid[*index] {
                return false;
            }
            scopes.push(Scope::Namespace(id));
            next = *parent;
        }
        self.grants_at(at)
            .any(|(_, who, role, scope)| who == principal && *role == Role::NamespaceAdmin && scopes.contains(scope))
    }

    fn administers_keyring(&self, principal: &PrincipalId, keyring: &KeyringId, at: At) -> bool {
        self.keyring_at(keyring, at).is_some_and(|(_, namespace)| self.administers(principal, Some(namespace), at))
    }

    /// The statement that made a keyring, and its namespace. An author who used one nonce twice made one keyring: the
    /// valid statement that had not seen another one, and of several the one with the lowest id. Later ones and ones
    /// without authority do not disturb it.
    fn keyring_at(&self, id: &KeyringId, at: At) -> Option<(Index, NamespaceId)> {
        let made = self.index.keyrings.get(id)?;
        let valid = || made.iter().filter(|(index, _)| self.sees(at, *index) && self.valid[*index]);
        valid()
            .filter(|(index, _)| !valid().any(|(other, _)| self.graph.precedes(*other, *index)))
            .min_by_key(|(index, _)| self.graph.entries()[*index].statement.id())
            .copied()
    }

    /// Whether `node` is placed and holds a share of a root, or may: by the proposal of the root or of a reshare of it.
    fn is_custodian(&self, node: &NodeId, at: At) -> bool {
        let proposals = self.index.roots.iter().chain(&self.index.reshares);
        let mut effective = proposals.filter(|proposal| self.effective(**proposal, at));
        self.placed(at).contains_key(node)
            && effective.any(|proposal| match self.graph.entries()[*proposal].statement.body() {
                Some(Body::ProposeRoot(spec)) => spec.committees.iter().any(|c| c.members.contains(node)),
                Some(Body::ReshareRoot(change)) => change.spec.members.contains(node),
                _ => false,
            })
    }

    /// The committees that the shares of one committee's part may lie with, as seen from a place: the first one and those
    /// of every reshare that was proposed by somebody with the right to. Nothing for a root that is not in effect.
    fn committees(&self, root: RootId, committee: u8, at: At) -> Vec<&CommitteeSpec> {
        let Some(proposal) = self.graph.index(&root.into()) else { return Vec::new() };
        let Some(Body::ProposeRoot(spec)) = self.graph.entries()[proposal].statement.body() else { return Vec::new() };
        let Some(first) = spec.committees.get(usize::from(committee)).filter(|_| self.effective(proposal, at)) else {
            return Vec::new();
        };
        let reshares = self.index.reshares.iter().filter(|index| self.valid[**index] && self.sees(at, **index));
        let later = reshares.filter_map(|index| match self.graph.entries()[*index].statement.body() {
            Some(Body::ReshareRoot(change)) if (change.sharing.root, change.sharing.committee) == (root, committee) => {
                Some(&change.spec)
            }
            _ => None,
        });
        std::iter::once(first).chain(later).collect()
    }

    /// Whether a reshare leaves every provider without a threshold of one required committee (I1). Of the committees that
    /// stay as they are, the sharing in which a provider holds most counts: shares of earlier ones may be left over.
    fn is_sound(&self, change: &Reshare, placed: &BTreeMap<NodeId, Placement>, at: At) -> bool {
        let providers: BTreeSet<&str> = placed.values().map(|placement| placement.provider.as_str()).collect();
        let root = self.graph.get(&change.sharing.root.into()).and_then(Checked::body);
        let Some(Body::ProposeRoot(spec)) = root else { return false };
        !providers.into_iter().any(|provider| {
            (0u8..).zip(&spec.committees).all(|(place, _)| {
                if place == change.sharing.committee {
                    return is_enough_at(provider, &change.spec, placed);
                }
                let committees = self.committees(change.sharing.root, place, at);
                committees.into_iter().any(|spec| is_enough_at(provider, spec, placed))
            })
        })
    }

    /// Whether the author had the right, judged from the statement's own past.
    fn entitled(&self, index: Index, statement: &Checked, body: &Body) -> bool {
        let at = At::Before(index);
        let author = statement.author();
        let tenant = !self.placed.is_empty();
        match body {
            Body::MeshGenesis(genesis) => index == 0 && genesis.founders.iter().any(|f| f.principal == author),
            Body::TenantGenesis(genesis) => index == 0 && genesis.admins.iter().any(|a| a.principal == author),
            Body::AdmitNode(_) | Body::RemoveNode(_) => !tenant && self.is_admin(&author, at),
            Body::Endorse(target) => {
                let Some(target) = self.graph.index(target) else { return false };
                let Some(proposal) = self.graph.entries()[target].statement.body() else { return false };
                if guard(proposal) == Guard::Single || !self.graph.precedes(target, index) {
                    return false;
                }
                // A suspended admin may still endorse removals, so that one admin alone cannot silence the others.
                let at = if mutant::is(Mutant::EndorsementAtTarget) { At::Before(target) } else { at };
                let may_be_suspended = matches!(proposal, Body::RemoveAdmin(_));
                self.valid[target]
                    && if may_be_suspended { self.admins(at).contains(&author) } else { self.is_admin(&author, at) }
            }
            Body::RemoveAdmin(_) => self.admins(at).contains(&author),
            // Only admins can be suspended, or one admin alone could void what nodes said.
            Body::SuspendAdmin(who) => *who != author && self.admins(at).contains(who) && self.is_admin(&author, at),
            Body::AddAdmin(_) | Body::LiftSuspension(_) | Body::Edit(_) => self.is_admin(&author, at),
            Body::PlaceNode(_)
            | Body::DisplaceNode(_)
            | Body::Grant(_)
            | Body::RevokeGrant(_)
            | Body::TrustEvidence(_)
            | Body::DistrustEvidence(_)
            | Body::SetPolicy(_) => tenant && self.is_admin(&author, at),
            Body::ProposeRoot(spec) => {
                let placed = self.placed(at);
                tenant
                    && self.is_admin(&author, at)
                    && spec.committees.iter().flat_map(|c| &c.members).all(|member| placed.contains_key(member))
                    && lone_provider(spec, &placed).is_none()
            }
            Body::ReshareRoot(change) => {
                let placed = self.placed(at);
                tenant
                    && self.is_admin(&author, at)
                    && !self.committees(change.sharing.root, change.sharing.committee, at).is_empty()
                    && change.spec.members.iter().all(|member| placed.contains_key(member))
                    && self.is_sound(change, &placed, at)
            }
            Body::RefreshShares(sharing) => {
                let committees = self.committees(sharing.root, sharing.committee, at);
                let holds = committees.iter().any(|spec| spec.members.contains(&author));
                tenant && !committees.is_empty() && (holds || self.is_admin(&author, at))
            }
            Body::Sharing(word) => {
                let committees = self.committees(word.sharing.root, word.sharing.committee, at);
                tenant && committees.iter().any(|spec| spec.members.contains(&author))
            }
            Body::Revoke(_) => tenant && self.is_admin(&author, at),
            Body::CreateNamespace(new) => {
                tenant
                    && new.parent.is_none_or(|parent| {
                        self.index
                            .namespaces
                            .get(&parent)
                            .is_some_and(|(index, _)| self.valid[*index] && self.sees(at, *index))
                    })
                    && self.administers(&author, new.parent, at)
            }
            Body::CreateKeyring(new) => {
                let known = self.index.namespaces.get(&new.namespace);
                tenant
                    && known.is_some_and(|(index, _)| self.valid[*index] && self.sees(at, *index))
                    && self.administers(&author, Some(new.namespace), at)
            }
            Body::OpenGeneration(new) => tenant && self.administers_keyring(&author, &new.keyring, at),
            Body::CreateKey(new) => tenant && self.administers_keyring(&author, &new.keyring, at),
            Body::AddVersion(new) => tenant && self.administers_keyring(&author, &new.keyring, at),
            Body::SetKeyState(change) => match guard(body) {
                Guard::Single => tenant && self.administers_keyring(&author, &change.keyring, at),
                Guard::Endorsed | Guard::Majority => tenant && self.is_admin(&author, at),
            },
            Body::Rename(_) => tenant && self.is_admin(&author, at),
            Body::AttestRoot(_) | Body::VoteEnrolment(_) | Body::Witness(_) => tenant && self.is_custodian(&author, at),
            // The evidence convinces by itself; that nodes alone bring it keeps the document from being filled.
            Body::AccuseCustodian(_) => tenant && self.placed(at).contains_key(&author),
            Body::AttestGeneration(_) | Body::AccuseGeneration(_) => {
                tenant && self.placed(at).get(&author).is_some_and(|placement| placement.lessee)
            }
        }
    }
}
