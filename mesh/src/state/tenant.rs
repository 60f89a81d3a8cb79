//! The state of a tenant: its people, nodes, root, namespaces, keyrings, keys, policies, enrolments and denials.
//!
//! Each part is a lattice or a set with denials that are only added, folded from the valid statements:
//!
//! - states of keys only move forward, so the furthest wins;
//! - of concurrent policies for one scope all are kept as heads, and the decision has to pass each of them;
//! - names are bindings: two live objects with one name make the name ambiguous, not one of them invalid;
//! - a generation is tainted for good by a reader that was expelled ([`GenerationState`]);
//! - an enrolment is fixed by votes of more than (n+f)/2 custodians, any two such sets sharing an honest one (I9);
//! - a revocation is effective once n−t+1+f custodians of one required committee witnessed it (I6).

mod accusations;
mod fold;
mod generations;

use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::body::{
    Body, CommitteeSpec, CustodyClass, EvidenceKind, InstanceFacts, KeyState, Person, Placement, Role, Scope, Subject,
    WrappedVersion,
};
use keymesh_wire::ids::{
    BlobHash, KeyId, KeyringId, MeshId, NamespaceId, NodeId, Nonce, PrincipalId, RootId, StatementId, TenantId,
};
use keymesh_wire::time::{Millis, Wall};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::authority::Authority;
use super::document::{Pending, Quarantined};
use super::graph::Graph;
use super::sharing::PastSharing;
use crate::custody::accusation::Accused;
use crate::mutant::{self, Mutant};

pub(in crate::state) use generations::check_seal;
pub use generations::{Due, GenerationState, Unfit};

/// How long a destruction waits before ciphertexts are erased, counted from the latest signed time
/// of the proposal and of the endorsements behind it.
pub const DESTROY_DELAY: Millis = Millis::seconds(24 * 3600);

/// An admin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Admin {
    /// Who.
    pub person: Person,
    /// Whether suspended for now.
    pub suspended: bool,
}

/// A root and where its making stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Root {
    /// The root.
    pub id: RootId,
    /// Its committees, all required.
    pub committees: Vec<RootCommittee>,
    /// Whether every custodian of every committee attested the same outcome.
    pub live: bool,
}

/// One committee of a root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RootCommittee {
    /// Members, threshold, faults of the current epoch.
    pub spec: CommitteeSpec,
    /// The public key package of the current epoch. Of the first one it is there once all members attested the same
    /// outcome, and no other one all of them as well.
    pub public: Option<Vec<u8>>,
    /// The current version of the sharing.
    pub epoch: u32,
    /// When that was agreed upon, by the latest clock of those who did; nothing for the first.
    pub since: Option<Wall>,
    /// Who says that its share of the current epoch is on its disk.
    pub holders: BTreeSet<NodeId>,
    /// Earlier epochs of which shares may still be in use.
    pub past: Vec<PastSharing>,
    /// The committee and the public key package of the epoch before, for custodians that have to take their shares yet.
    #[serde(skip)]
    pub before: Option<(CommitteeSpec, Vec<u8>)>,
    /// The committees of all epochs, each different one once: what their votes bound stays bound.
    #[serde(skip)]
    pub specs: Vec<CommitteeSpec>,
    /// Who committed to other custodians for the next epoch, as long as there is no certificate. They say nothing by which
    /// denials or bindings are counted until then: what they said before, the next custodians know; what they say after,
    /// shows that there are others to be counted.
    #[serde(skip)]
    pub moving: BTreeSet<NodeId>,
    /// Whether two certificates for the next epoch exist. Nobody picks: custody rests until people have looked.
    pub frozen: bool,
    /// Custodians that were shown to have given false partials, of whichever epoch: the first proof of each and epoch.
    pub accused: Vec<Accused>,
    /// The attempt that all of them attested: the lowest such.
    pub attempt: Option<u32>,
    /// Who attested so far, in whichever attempt.
    pub attested: BTreeSet<NodeId>,
    /// What was attested, as long as there is no outcome.
    pub claims: Vec<RootClaim>,
    /// Whether members attested different outcomes: a matter for people, not a reason to take a root out of use.
    pub conflict: bool,
}

/// What members attested as the outcome of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RootClaim {
    /// The attempt.
    pub attempt: u32,
    /// Hash of the transcript.
    pub transcript: BlobHash,
    /// The public key package.
    pub public: Vec<u8>,
}

impl RootCommittee {
    /// How many custodians must hold a denial before no quorum without one of them and an honest one can exist.
    pub fn denial_quorum(&self) -> usize {
        denial_quorum(&self.spec)
    }

    /// How many votes fix an enrolment: any two such sets share an honest member.
    pub fn vote_quorum(&self) -> usize {
        vote_quorum(&self.spec)
    }

    /// Custodians of the current epoch that were shown to have given false partials, in whichever epoch.
    pub fn accused_members(&self) -> impl Iterator<Item = &Accused> {
        self.accused.iter().filter(|accused| self.spec.members.contains(&accused.custodian))
    }

    /// The sharings of which shares may be in use, the current one last, with their public key packages.
    pub fn sharings(&self) -> impl Iterator<Item = (u32, &CommitteeSpec, &[u8])> {
        let past = self.past.iter().map(|past| (past.epoch, &past.spec, past.public.as_slice()));
        past.chain(self.public.as_deref().map(|public| (self.epoch, &self.spec, public)))
    }
}

/// How many of a committee must hold a denial before no quorum without one of them and an honest one can exist.
pub(crate) fn denial_quorum(spec: &CommitteeSpec) -> usize {
    let (n, t, f) = sizes(spec);
    n - t + usize::from(!mutant::is(Mutant::RevocationOneWitnessEarly)) + f
}

/// How many votes of a committee fix an enrolment: any two such sets share an honest member.
pub(crate) fn vote_quorum(spec: &CommitteeSpec) -> usize {
    let (n, _, f) = sizes(spec);
    (n + f) / 2 + 1
}

fn sizes(spec: &CommitteeSpec) -> (usize, usize, usize) {
    (spec.members.len(), usize::from(spec.threshold), usize::from(spec.faults))
}

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Namespace {
    /// The namespace it lies in.
    pub parent: Option<NamespaceId>,
    /// Its names: one, unless it was renamed on two sides of a cut.
    pub names: BTreeSet<String>,
}

/// A keyring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Keyring {
    /// The namespace it lies in forever.
    pub namespace: NamespaceId,
    /// Its names.
    pub names: BTreeSet<String>,
    /// The root that guards it.
    pub root: RootId,
    /// How its keys are kept.
    pub class: CustodyClass,
    /// Who created it.
    pub creator: PrincipalId,
    /// The generations of a leased keyring, by number and opening.
    pub generations: Vec<GenerationState>,
}

/// A key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Key {
    /// Its keyring.
    pub keyring: KeyringId,
    /// Its names.
    pub names: BTreeSet<String>,
    /// Its versions, oldest first by signed time.
    pub versions: Vec<KeyVersion>,
    /// Its state.
    pub state: KeyState,
    /// When its ciphertexts are to be erased, if it is being destroyed.
    pub erase_after: Option<Wall>,
}

/// A version of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyVersion {
    /// Where it is and what it is sealed to.
    pub wrapped: WrappedVersion,
    /// When it was made, by its author's word.
    pub time: Wall,
}

/// A role somebody holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct GrantedRole {
    /// Who.
    pub principal: PrincipalId,
    /// What.
    pub role: Role,
    /// Where.
    pub scope: Scope,
    /// By which name policies see them.
    pub name: String,
}

/// A policy that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyHead {
    /// The statement that set it.
    pub statement: StatementId,
    /// Cedar.
    pub text: String,
}

/// Votes on one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Enrolment {
    /// Each claim with the custodians who voted for it.
    pub claims: Vec<Claim>,
    /// Which claim is fixed: its place in `claims`.
    pub bound: Option<usize>,
}

/// One claim to be an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// The agent's key.
    pub agent: PrincipalId,
    /// What custodians verified.
    pub facts: InstanceFacts,
    /// Who voted.
    pub votes: BTreeSet<NodeId>,
}

impl Enrolment {
    /// The claim that holds.
    pub fn holder(&self) -> Option<&Claim> {
        self.bound.and_then(|place| self.claims.get(place))
    }
}

/// A denial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Denial {
    /// The statement.
    pub statement: StatementId,
    /// Whom it refuses.
    pub subject: Subject,
    /// Why.
    pub reason: String,
    /// Who.
    pub author: PrincipalId,
    /// When, by the author's word.
    pub time: Wall,
    /// Custodians who hold it durably.
    pub witnesses: BTreeSet<NodeId>,
    /// Whether enough of one required committee do.
    pub effective: bool,
    /// Custodians of the committee nearest to that who have not witnessed yet.
    pub missing: BTreeSet<NodeId>,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup<T> {
    /// One object.
    One(T),
    /// Several: use an id or rename.
    Ambiguous(Vec<T>),
    /// Nothing.
    None,
}

/// A tenant's state.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TenantState {
    /// The tenant.
    pub tenant: TenantId,
    /// Its mesh.
    pub mesh: MeshId,
    /// Its alias.
    pub name: String,
    /// How many admins a guarded change needs.
    pub endorsements: u8,
    /// Its admins.
    pub admins: BTreeMap<PrincipalId, Admin>,
    /// The nodes it lies on, with the facts it believes.
    pub nodes: BTreeMap<NodeId, Placement>,
    /// Its roots.
    pub roots: BTreeMap<RootId, Root>,
    /// Its namespaces.
    pub namespaces: BTreeMap<NamespaceId, Namespace>,
    /// Its keyrings.
    pub keyrings: BTreeMap<KeyringId, Keyring>,
    /// Its keys.
    pub keys: BTreeMap<KeyId, Key>,
    /// Its roles.
    pub grants: BTreeSet<GrantedRole>,
    /// Its policies: the heads of each scope.
    #[serde(serialize_with = "as_pairs")]
    pub policies: BTreeMap<Scope, Vec<PolicyHead>>,
    /// Certificates it trusts, by SHA-256.
    pub evidence_roots: BTreeMap<BlobHash, (EvidenceKind, Vec<u8>)>,
    /// Votes on instances.
    pub enrolments: BTreeMap<String, Enrolment>,
    /// Tickets that custodians voted by, with the instances they voted for and who did.
    pub tickets: BTreeMap<Nonce, BTreeMap<String, BTreeSet<NodeId>>>,
    /// Denials, by statement.
    pub denials: BTreeMap<StatementId, Denial>,
    /// Nodes that spoke as custodians from two places at once: fenced, until others take their places.
    pub forked: BTreeSet<NodeId>,
    /// Proposals that wait.
    pub pending: Vec<Pending>,
    /// Statements that lost their authority.
    pub quarantined: Vec<Quarantined>,
}

fn as_pairs<S: serde::Serializer>(map: &BTreeMap<Scope, Vec<PolicyHead>>, s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(map.iter())
}

/// The admins of a document by what authority found.
pub(super) fn admins(graph: &Graph, authority: &Authority<'_>, founders: &[Person]) -> BTreeMap<PrincipalId, Admin> {
    let active = authority.active_admins();
    let mut names: BTreeMap<PrincipalId, (StatementId, String)> = BTreeMap::new();
    for (_, entry) in graph.entries().iter().enumerate().filter(|(index, _)| authority.is_effective(*index)) {
        if let Some(Body::AddAdmin(person)) = entry.statement.body() {
            let candidate = (entry.statement.id(), person.name.clone());
            let name = names.entry(person.principal).or_insert_with(|| candidate.clone());
            *name = candidate.max(name.clone());
        }
    }
    authority
        .all_admins()
        .into_iter()
        .map(|principal| {
            let founder = founders.iter().find(|founder| founder.principal == principal);
            let added = names.get(&principal).map(|(_, name)| name.clone());
            let name = founder.map(|founder| founder.name.clone()).or(added).unwrap_or_default();
            let suspended = !active.contains(&principal);
            (principal, Admin { person: Person { principal, name }, suspended })
        })
        .collect()
}

impl TenantState {
    /// The root that is in use: live, and of several the one with the lowest id.
    pub fn live_root(&self) -> Option<&Root> {
        self.roots.values().find(|root| root.live)
    }

    /// Whether a custodian is between two committees: bound to the next one, which is not certain yet.
    pub fn is_moving(&self, node: &NodeId) -> bool {
        self.roots.values().flat_map(|root| &root.committees).any(|committee| committee.moving.contains(node))
    }

    /// Whether a node belongs to a committee, now or in an earlier epoch.
    pub fn is_custodian(&self, node: &NodeId) -> bool {
        let committees = self.roots.values().flat_map(|root| &root.committees);
        committees.flat_map(|committee| &committee.specs).any(|spec| spec.members.contains(node))
    }

    /// Whether `principal` is an admin who may act.
    pub fn is_admin(&self, principal: &PrincipalId) -> bool {
        self.admins.get(principal).is_some_and(|admin| !admin.suspended)
    }

    /// The launcher with this key, if one is registered.
    pub fn launcher(&self, principal: &PrincipalId) -> Option<&GrantedRole> {
        self.grants.iter().find(|grant| grant.principal == *principal && grant.role == Role::Launcher)
    }

    /// Whether `principal` may read audit records and the document.
    pub fn may_read(&self, principal: &PrincipalId) -> bool {
        self.is_admin(principal)
            || self.nodes.contains_key(principal)
            || self.grants.iter().any(|grant| {
                grant.principal == *principal && matches!(grant.role, Role::Auditor | Role::NamespaceAdmin)
            })
    }

    /// The instance an agent's key is bound to.
    pub fn claim_of(&self, agent: &PrincipalId) -> Option<&Claim> {
        self.enrolments.values().filter_map(Enrolment::holder).find(|claim| claim.agent == *agent)
    }

    /// Whether a launch ticket was used up by another instance than this: `custodian` itself voted so, or more others than
    /// may lie. One liar who sees a ticket cannot use it up, and as no honest custodian votes twice by one ticket, two
    /// instances are never bound by it.
    pub fn ticket_used_by_another(&self, ticket: &Nonce, instance: &str, custodian: &NodeId) -> bool {
        let committees = self.live_root().into_iter().flat_map(|root| &root.committees);
        let liars: usize = committees.map(|committee| usize::from(committee.spec.faults)).sum();
        self.tickets
            .get(ticket)
            .into_iter()
            .flatten()
            .any(|(user, voters)| user != instance && (voters.contains(custodian) || voters.len() > liars))
    }

    /// The instance to which an agent's key is bound, or for which `custodian` voted with this key where nothing is bound
    /// yet.
    pub fn instance_of(&self, agent: &PrincipalId, custodian: &NodeId) -> Option<&str> {
        let bound = self.claim_of(agent);
        let open = self.enrolments.values().filter(|enrolment| enrolment.bound.is_none());
        let mut voted = open
            .flat_map(|enrolment| &enrolment.claims)
            .filter(|claim| claim.agent == *agent && claim.votes.contains(custodian));
        bound.or_else(|| voted.next()).map(|claim| claim.facts.instance.as_str())
    }

    /// A denial that stands against an agent or its instance, effective or not: a node refuses as soon as it knows.
    pub fn denial_of(&self, agent: &PrincipalId, instance: &str) -> Option<&Denial> {
        self.denials.values().find(|denial| match &denial.subject {
            Subject::Instance(denied) => denied == instance,
            Subject::Agent(denied) => denied == agent,
        })
    }

    /// SHA-256 over the ids of all denials, by which two nodes see whether they know the same ones.
    pub fn denial_digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"keymesh denials v1");
        for id in self.denials.keys() {
            hash.update(id.as_bytes());
        }
        hash.finalize().into()
    }

    /// The namespaces that hold `namespace`, itself first.
    pub fn enclosing(&self, namespace: NamespaceId) -> Vec<NamespaceId> {
        let mut path = Vec::new();
        let mut next = Some(namespace);
        while let Some(id) = next {
            if path.contains(&id) {
                break;
            }
            path.push(id);
            next = self.namespaces.get(&id).and_then(|namespace| namespace.parent);
        }
        path
    }

    /// A namespace by path, e.g. `payments/dev`.
    pub fn find_namespace(&self, path: &str) -> Lookup<NamespaceId> {
        let mut parents: Vec<Option<NamespaceId>> = vec![None];
        for name in path.split('/') {
            let here: Vec<Option<NamespaceId>> = self
                .namespaces
                .iter()
                .filter(|(_, namespace)| parents.contains(&namespace.parent) && namespace.names.contains(name))
                .map(|(id, _)| Some(*id))
                .collect();
            parents = here;
        }
        lookup(parents.into_iter().flatten())
    }

    /// A keyring by its namespace and name.
    pub fn find_keyring(&self, namespace: NamespaceId, name: &str) -> Lookup<KeyringId> {
        let named = self.keyrings.iter().filter(|(_, keyring)| keyring.namespace == namespace);
        lookup(named.filter(|(_, keyring)| keyring.names.contains(name)).map(|(id, _)| *id))
    }

    /// A key by its keyring and name.
    pub fn find_key(&self, keyring: KeyringId, name: &str) -> Lookup<KeyId> {
        let named = self.keys.iter().filter(|(_, key)| key.keyring == keyring && key.names.contains(name));
        lookup(named.map(|(id, _)| *id))
    }

    /// Ciphertexts that live keys and keyrings need.
    pub fn wanted_blobs(&self) -> BTreeSet<BlobHash> {
        let needed = self.needed_generations();
        let generations = self.keyrings.values().flat_map(|keyring| &keyring.generations);
        let generations = generations.filter(|generation| needed.contains(&generation.id));
        let generations = generations.map(|generation| generation.generation.capsule);
        let live = self.keys.values().filter(|key| key.state < KeyState::Destroyed);
        let versions = live.flat_map(|key| key.versions.iter().map(|version| version.wrapped.ciphertext));
        generations.chain(versions).collect()
    }
}

fn lookup<T>(found: impl Iterator<Item = T>) -> Lookup<T> {
    let mut found: Vec<T> = found.collect();
    match found.len() {
        0 => Lookup::None,
        1 => found.pop().map_or(Lookup::None, Lookup::One),
        _ => Lookup::Ambiguous(found),
    }
}
