//! The state of a tenant: its people, nodes, root, namespaces, keyrings, keys, policies, enrolments and denials.
//!
//! Each part is a lattice or a set with denials that are only added, folded from the valid statements:
//!
//! - states of keys only move forward, so the furthest wins;
//! - of concurrent policies for one scope all are kept as heads, and the decision has to pass each of them;
//! - names are bindings: two live objects with one name make the name ambiguous, not one of them invalid;
//! - an enrolment is fixed by votes of more than (n+f)/2 custodians, any two such sets sharing an honest one (I9);
//! - a revocation is effective once n−t+1+f custodians of one required committee witnessed it (I6).

use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::body::{
    Body, CommitteeSpec, CustodyClass, EnrolmentVote, EvidenceKind, InstanceFacts, KeyState, Named, Person, Placement,
    Role, Scope, Subject, TenantGenesis, WrappedVersion, key_id,
};
use keymesh_wire::ids::{
    BlobHash, KeyId, KeyringId, MeshId, NamespaceId, NodeId, Nonce, PrincipalId, RootId, StatementId, TenantId,
};
use keymesh_wire::statement::Checked;
use keymesh_wire::time::{Millis, Wall};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::authority::Authority;
use super::document::{Pending, Quarantined, pending, quarantined};
use super::graph::{Graph, Index};

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
    /// Members, threshold, faults.
    pub spec: CommitteeSpec,
    /// The public key package, once all members attested the same outcome, and no other one all of them as well.
    pub public: Option<Vec<u8>>,
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
        let (n, t, f) = self.sizes();
        n - t + 1 + f
    }

    /// How many votes fix an enrolment: any two such sets share an honest member.
    pub fn vote_quorum(&self) -> usize {
        let (n, _, f) = self.sizes();
        (n + f) / 2 + 1
    }

    fn sizes(&self) -> (usize, usize, usize) {
        (self.spec.members.len(), usize::from(self.spec.threshold), usize::from(self.spec.faults))
    }
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
    /// Who created it, and so once knew its generation's secret.
    pub creator: PrincipalId,
    /// Lessees on record as having opened the generation.
    pub lessees: BTreeSet<NodeId>,
    /// Lessees who say the public half is false.
    pub accusers: BTreeSet<NodeId>,
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
    /// Proposals that wait.
    pub pending: Vec<Pending>,
    /// Statements that lost their authority.
    pub quarantined: Vec<Quarantined>,
}

/// What each member attested as the outcome of one attempt.
type Attested = BTreeMap<NodeId, BTreeSet<(BlobHash, Vec<u8>)>>;

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
    pub(super) fn fold(graph: &Graph, authority: &Authority<'_>, genesis: &TenantGenesis) -> Self {
        let mut state = Self {
            tenant: graph.document().into(),
            mesh: genesis.mesh,
            name: genesis.name.clone(),
            endorsements: genesis.endorsements,
            admins: admins(graph, authority, &genesis.admins),
            nodes: authority.placements(),
            roots: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            keyrings: BTreeMap::new(),
            keys: BTreeMap::new(),
            grants: BTreeSet::new(),
            policies: BTreeMap::new(),
            evidence_roots: BTreeMap::new(),
            enrolments: BTreeMap::new(),
            tickets: BTreeMap::new(),
            denials: BTreeMap::new(),
            pending: pending(graph, authority),
            quarantined: quarantined(graph, authority),
        };
        let mut valid: Vec<Index> = (0..graph.len()).filter(|index| authority.is_effective(*index)).collect();
        // Folding in the order of ids makes the result one of the set alone.
        valid.sort_by_key(|index| graph.entries()[*index].statement.id());
        state.fold_roots(graph, &valid);
        state.fold_objects(graph, authority, &valid);
        state.fold_keys(graph, &valid);
        state.fold_names(graph, &valid);
        state.fold_trust(graph, authority, &valid);
        state.fold_enrolments(graph, &valid);
        state.fold_denials(graph, &valid);
        state
    }

    fn fold_roots(&mut self, graph: &Graph, valid: &[Index]) {
        for statement in valid.iter().map(|index| &graph.entries()[*index].statement) {
            if let Some(Body::ProposeRoot(spec)) = statement.body() {
                let id = RootId::from(statement.id());
                let committees = spec.committees.iter().map(|spec| RootCommittee {
                    spec: spec.clone(),
                    public: None,
                    attempt: None,
                    attested: BTreeSet::new(),
                    claims: Vec::new(),
                    conflict: false,
                });
                self.roots.insert(id, Root { id, committees: committees.collect(), live: false });
            }
        }
        // By committee and attempt, what each member attested.
        let mut outcomes: BTreeMap<(RootId, u8), BTreeMap<u32, Attested>> = BTreeMap::new();
        for statement in valid.iter().map(|index| &graph.entries()[*index].statement) {
            if let Some(Body::AttestRoot(attestation)) = statement.body() {
                let committee = outcomes.entry((attestation.root, attestation.committee)).or_default();
                let outcome = (attestation.transcript, attestation.public.clone());
                let attempt = committee.entry(attestation.attempt).or_default();
                attempt.entry(statement.author()).or_default().insert(outcome);
            }
        }
        for ((root, committee), attempts) in outcomes {
            let Some(root) = self.roots.get_mut(&root) else { continue };
            let Some(committee) = root.committees.get_mut(usize::from(committee)) else { continue };
            for (attempt, mut attested) in attempts {
                attested.retain(|node, _| committee.spec.members.contains(node));
                committee.attested.extend(attested.keys());
                let distinct: BTreeSet<_> = attested.values().flatten().collect();
                committee.conflict |= distinct.len() > 1;
                committee.claims.extend(distinct.iter().map(|(transcript, public)| RootClaim {
                    attempt,
                    transcript: *transcript,
                    public: public.clone(),
                }));
                // An honest member attests one outcome ever, so at most one outcome has them all. A liar who attests
                // another one later is a matter for people, but must not take away a root that is in use.
                let all = attested.len() == committee.spec.members.len();
                let agreed =
                    |outcome: &&&(BlobHash, Vec<u8>)| all && attested.values().all(|said| said.contains(**outcome));
                let mut agreed = distinct.iter().filter(agreed);
                if let (Some((_, public)), None, None) = (agreed.next(), agreed.next(), committee.attempt) {
                    (committee.public, committee.attempt) = (Some(public.clone()), Some(attempt));
                }
            }
            if committee.public.is_some() {
                committee.claims.clear();
            }
        }
        for root in self.roots.values_mut() {
            root.live = root.committees.iter().all(|committee| committee.public.is_some());
        }
    }

    fn fold_objects(&mut self, graph: &Graph, authority: &Authority<'_>, valid: &[Index]) {
        for index in valid {
            let statement = &graph.entries()[*index].statement;
            match statement.body() {
                Some(Body::CreateNamespace(new)) => {
                    let namespace = Namespace { parent: new.parent, names: BTreeSet::new() };
                    self.namespaces.insert(statement.id().into(), namespace);
                }
                Some(Body::CreateKeyring(new)) => {
                    let id = keymesh_wire::body::keyring_id(&statement.document(), &statement.author(), &new.nonce);
                    if authority.keyring(&id) == Some(*index) {
                        let keyring = Keyring {
                            namespace: new.namespace,
                            names: BTreeSet::new(),
                            root: new.root,
                            class: new.class.clone(),
                            creator: statement.author(),
                            lessees: BTreeSet::new(),
                            accusers: BTreeSet::new(),
                        };
                        self.keyrings.insert(id, keyring);
                    }
                }
                _ => {}
            }
        }
        for statement in valid.iter().map(|index| &graph.entries()[*index].statement) {
            match statement.body() {
                Some(Body::AttestGeneration(at)) => {
                    if let Some(keyring) = self.keyrings.get_mut(&at.keyring) {
                        keyring.lessees.insert(statement.author());
                    }
                }
                Some(Body::AccuseGeneration(at)) => {
                    if let Some(keyring) = self.keyrings.get_mut(&at.keyring) {
                        keyring.accusers.insert(statement.author());
                    }
                }
                _ => {}
            }
        }
    }

    fn fold_keys(&mut self, graph: &Graph, valid: &[Index]) {
        let mut made: BTreeMap<KeyId, Vec<Index>> = BTreeMap::new();
        for index in valid {
            let statement = &graph.entries()[*index].statement;
            if let Some(Body::CreateKey(new)) = statement.body() {
                let id = key_id(&statement.document(), &statement.author(), &new.nonce);
                made.entry(id).or_default().push(*index);
            }
        }
        // An author who used one nonce twice made one key: by the statement that had not seen another one, and of several
        // by the first by id. A later one does not disturb it.
        let mut keyrings: BTreeSet<(KeyId, KeyringId)> = BTreeSet::new();
        for (id, made) in &made {
            let first = match made.as_slice() {
                [only] => Some(*only),
                several => several.iter().copied().find(|index| {
                    let past = graph.whole_past(*index);
                    !several.iter().any(|other| past.contains(other))
                }),
            };
            for index in made {
                let statement = &graph.entries()[*index].statement;
                let Some(Body::CreateKey(new)) = statement.body() else { continue };
                keyrings.insert((*id, new.keyring));
                if first == Some(*index) {
                    let key = Key {
                        keyring: new.keyring,
                        names: BTreeSet::new(),
                        versions: vec![KeyVersion { wrapped: new.version.clone(), time: statement.time() }],
                        state: KeyState::Active,
                        erase_after: None,
                    };
                    self.keys.insert(*id, key);
                }
            }
        }
        for statement in valid.iter().map(|index| &graph.entries()[*index].statement) {
            match statement.body() {
                Some(Body::AddVersion(new)) => {
                    if let Some(key) = self.keys.get_mut(&new.key).filter(|key| key.keyring == new.keyring) {
                        key.versions.push(KeyVersion { wrapped: new.version.clone(), time: statement.time() });
                    }
                }
                Some(Body::SetKeyState(change)) => {
                    // Whichever of its keyrings it was moved in: making a key twice must not undo what was done to it.
                    let known = keyrings.contains(&(change.key, change.keyring));
                    if let Some(key) = self.keys.get_mut(&change.key).filter(|_| known) {
                        key.state = key.state.max(change.state);
                        if change.state == KeyState::Destroyed {
                            // The latest clock among those behind it counts: one proposer cannot date the delay away.
                            let stood_behind = valid.iter().map(|index| &graph.entries()[*index].statement);
                            let latest = stood_behind
                                .filter(
                                    |other| matches!(other.body(), Some(Body::Endorse(to)) if *to == statement.id()),
                                )
                                .map(Checked::time)
                                .max();
                            let agreed = latest.map_or(statement.time(), |latest| latest.max(statement.time()));
                            let after = agreed.plus(DESTROY_DELAY);
                            key.erase_after = Some(key.erase_after.map_or(after, |known| known.min(after)));
                        }
                    }
                }
                _ => {}
            }
        }
        for key in self.keys.values_mut() {
            key.versions.sort_by_key(|version| (version.time, version.wrapped.version));
            key.versions.dedup_by_key(|version| version.wrapped.version);
        }
    }

    /// Names: the newest bindings by causal order, where concurrent ones all stand.
    fn fold_names(&mut self, graph: &Graph, valid: &[Index]) {
        let mut bindings: BTreeMap<Named, Vec<(Index, bool, &str)>> = BTreeMap::new();
        for index in valid {
            let statement = &graph.entries()[*index].statement;
            let (document, author) = (statement.document(), statement.author());
            let (object, renamed, name) = match statement.body() {
                Some(Body::CreateNamespace(new)) => (Named::Namespace(statement.id().into()), false, &new.name),
                Some(Body::CreateKeyring(new)) => {
                    (Named::Keyring(keymesh_wire::body::keyring_id(&document, &author, &new.nonce)), false, &new.name)
                }
                Some(Body::CreateKey(new)) => (Named::Key(key_id(&document, &author, &new.nonce)), false, &new.name),
                Some(Body::Rename(renaming)) => (renaming.object, true, &renaming.name),
                _ => continue,
            };
            bindings.entry(object).or_default().push((*index, renamed, name));
        }
        for (object, bindings) in bindings {
            let renamed = bindings.iter().any(|(_, renamed, _)| *renamed);
            let names = bindings
                .iter()
                .filter(|(_, is_renaming, _)| *is_renaming == renamed)
                .filter(|(index, ..)| {
                    !renamed || !bindings.iter().any(|(later, is, _)| *is && graph.precedes(*index, *later))
                })
                .map(|(_, _, name)| (*name).to_owned())
                .collect();
            match object {
                Named::Namespace(id) => {
                    if let Some(namespace) = self.namespaces.get_mut(&id) {
                        namespace.names = names;
                    }
                }
                Named::Keyring(id) => {
                    if let Some(keyring) = self.keyrings.get_mut(&id) {
                        keyring.names = names;
                    }
                }
                Named::Key(id) => {
                    if let Some(key) = self.keys.get_mut(&id) {
                        key.names = names;
                    }
                }
            }
        }
    }

    fn fold_trust(&mut self, graph: &Graph, authority: &Authority<'_>, valid: &[Index]) {
        for index in authority.grants() {
            if let Some(Body::Grant(grant)) = graph.entries()[index].statement.body() {
                self.grants.insert(GrantedRole {
                    principal: grant.principal,
                    role: grant.role,
                    scope: grant.scope,
                    name: grant.name.clone(),
                });
            }
        }
        let of = |index: &Index| graph.entries()[*index].statement.body();
        let policies: Vec<Index> =
            valid.iter().copied().filter(|index| matches!(of(index), Some(Body::SetPolicy(_)))).collect();
        for index in &policies {
            let Some(Body::SetPolicy(policy)) = of(index) else { continue };
            let superseded = policies.iter().any(|other| {
                matches!(of(other), Some(Body::SetPolicy(later)) if later.scope == policy.scope)
                    && graph.precedes(*index, *other)
            });
            if !superseded {
                let statement = graph.entries()[*index].statement.id();
                self.policies
                    .entry(policy.scope)
                    .or_default()
                    .push(PolicyHead { statement, text: policy.text.clone() });
            }
        }
        for index in valid {
            let Some(Body::TrustEvidence(root)) = of(index) else { continue };
            let fingerprint = BlobHash::from_bytes(Sha256::digest(&root.certificate).into());
            let distrusted = valid.iter().any(|other| {
                matches!(of(other), Some(Body::DistrustEvidence(gone)) if *gone == fingerprint)
                    && !graph.precedes(*other, *index)
            });
            if !distrusted {
                self.evidence_roots.insert(fingerprint, (root.kind, root.certificate.clone()));
            }
        }
    }

    fn fold_enrolments(&mut self, graph: &Graph, valid: &[Index]) {
        let quorum = self.live_root().and_then(|root| root.committees.first()).map(RootCommittee::vote_quorum);
        let voters: BTreeSet<NodeId> = self
            .live_root()
            .and_then(|root| root.committees.first())
            .map(|committee| committee.spec.members.iter().copied().collect())
            .unwrap_or_default();
        for statement in valid.iter().map(|index| &graph.entries()[*index].statement) {
            let Some(Body::VoteEnrolment(EnrolmentVote { agent, facts, ticket, .. })) = statement.body() else {
                continue;
            };
            let users = self.tickets.entry(*ticket).or_default();
            users.entry(facts.instance.clone()).or_default().insert(statement.author());
            let enrolment =
                self.enrolments.entry(facts.instance.clone()).or_insert(Enrolment { claims: Vec::new(), bound: None });
            let known = enrolment.claims.iter().position(|claim| claim.agent == *agent && claim.facts == *facts);
            let place = known.unwrap_or_else(|| {
                let (agent, facts) = (*agent, facts.clone());
                enrolment.claims.push(Claim { agent, facts, votes: BTreeSet::new() });
                enrolment.claims.len() - 1
            });
            if voters.contains(&statement.author()) {
                enrolment.claims[place].votes.insert(statement.author());
            }
        }
        for enrolment in self.enrolments.values_mut() {
            enrolment.claims.sort_by(|a, b| (a.agent, &a.facts.launched_by).cmp(&(b.agent, &b.facts.launched_by)));
            let mut fixed = quorum.into_iter().flat_map(|quorum| {
                enrolment.claims.iter().enumerate().filter(move |(_, claim)| claim.votes.len() >= quorum)
            });
            // Two fixed claims need more liars than the tenant tolerates; then nobody holds the instance.
            enrolment.bound = match (fixed.next().map(|(place, _)| place), fixed.next()) {
                (Some(place), None) => Some(place),
                _ => None,
            };
        }
    }

    fn fold_denials(&mut self, graph: &Graph, valid: &[Index]) {
        let statements = || valid.iter().map(|index| &graph.entries()[*index].statement);
        for statement in statements() {
            if let Some(Body::Revoke(revocation)) = statement.body() {
                let denial = Denial {
                    statement: statement.id(),
                    subject: revocation.subject.clone(),
                    reason: revocation.reason.clone(),
                    author: statement.author(),
                    time: statement.time(),
                    witnesses: BTreeSet::new(),
                    effective: false,
                    missing: BTreeSet::new(),
                };
                self.denials.insert(statement.id(), denial);
            }
        }
        for statement in statements() {
            if let Some(Body::Witness(targets)) = statement.body() {
                for target in targets {
                    if let Some(denial) = self.denials.get_mut(target) {
                        denial.witnesses.insert(statement.author());
                    }
                }
            }
        }
        let roots: Vec<Vec<RootCommittee>> =
            self.roots.values().filter(|root| root.live).map(|root| root.committees.clone()).collect();
        for denial in self.denials.values_mut() {
            // Something may be sealed to any live root, so a denial has to hold at each. Without one nothing can be
            // opened, and it holds at once.
            let wanting: Vec<(usize, BTreeSet<NodeId>)> =
                roots.iter().filter_map(|committees| nearest(committees, &denial.witnesses)).collect();
            denial.effective = wanting.iter().all(|(wanting, _)| *wanting == 0);
            denial.missing = wanting.into_iter().flat_map(|(_, missing)| missing).collect();
        }
    }

    /// The root that is in use: live, and of several the one with the lowest id.
    pub fn live_root(&self) -> Option<&Root> {
        self.roots.values().find(|root| root.live)
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
        let liars = self.live_root().and_then(|root| root.committees.first()).map_or(0, |first| first.spec.faults);
        self.tickets
            .get(ticket)
            .into_iter()
            .flatten()
            .any(|(user, voters)| user != instance && (voters.contains(custodian) || voters.len() > usize::from(liars)))
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
        let generations = self.keyrings.values().filter_map(|keyring| match &keyring.class {
            CustodyClass::Leased { generation, .. } => Some(generation.capsule),
            CustodyClass::Quorum => None,
        });
        let live = self.keys.values().filter(|key| key.state < KeyState::Destroyed);
        let versions = live.flat_map(|key| key.versions.iter().map(|version| version.wrapped.ciphertext));
        generations.chain(versions).collect()
    }
}

/// Of a root's committees the one that wants the fewest witnesses still: how many, and who has not witnessed.
fn nearest(committees: &[RootCommittee], witnesses: &BTreeSet<NodeId>) -> Option<(usize, BTreeSet<NodeId>)> {
    let wanting = committees.iter().map(|committee| {
        let members: BTreeSet<NodeId> = committee.spec.members.iter().copied().collect();
        let held = members.intersection(witnesses).count();
        let missing: BTreeSet<NodeId> = members.difference(witnesses).copied().collect();
        (committee.denial_quorum().saturating_sub(held), missing)
    });
    wanting.min_by_key(|(wanting, _)| *wanting)
}

fn lookup<T>(found: impl Iterator<Item = T>) -> Lookup<T> {
    let mut found: Vec<T> = found.collect();
    match found.len() {
        0 => Lookup::None,
        1 => found.pop().map_or(Lookup::None, Lookup::One),
        _ => Lookup::Ambiguous(found),
    }
}
