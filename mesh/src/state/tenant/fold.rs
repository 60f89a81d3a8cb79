//! How a tenant's state comes from its valid statements: each part folded from the set alone.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::body::{Body, EnrolmentVote, KeyState, Named, SharingRef, TenantGenesis, key_id, keyring_id};
use keymesh_wire::ids::{BlobHash, KeyId, KeyringId, NodeId, RootId, StatementId};
use keymesh_wire::statement::Checked;
use sha2::{Digest, Sha256};

use super::accusations::{Accusing, Sharings, accusations};
use super::{
    Claim, DESTROY_DELAY, Denial, Enrolment, GrantedRole, Key, KeyVersion, Keyring, Namespace, PolicyHead, Root,
    RootClaim, RootCommittee, TenantState, admins, denial_quorum, vote_quorum,
};
use crate::custody::accusation::{Doubt, Judged};
use crate::mutant::{self, Mutant};
use crate::state::authority::Authority;
use crate::state::document::{pending, quarantined};
use crate::state::graph::{Graph, Index};
use crate::state::sharing::{Chain, Words};

/// What each member attested as the outcome of one attempt.
type Attested = BTreeMap<NodeId, BTreeSet<(BlobHash, Vec<u8>)>>;

impl TenantState {
    pub(in crate::state) fn fold(
        graph: &Graph,
        authority: &Authority<'_>,
        genesis: &TenantGenesis,
        judged: &mut Judged,
        doubted: &mut BTreeMap<StatementId, Doubt>,
    ) -> Self {
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
            forked: BTreeSet::new(),
            pending: pending(graph, authority),
            quarantined: quarantined(graph, authority),
        };
        let mut valid: Vec<Index> = (0..graph.len()).filter(|index| authority.is_effective(*index)).collect();
        // Folding in the order of ids makes the result one of the set alone.
        if !mutant::is(Mutant::FoldedInArrivalOrder) {
            valid.sort_by_key(|index| graph.entries()[*index].statement.id());
        }
        let accused = accusations(graph, &valid, judged);
        let sharings = state.fold_roots(graph, &valid, &accused);
        state.fold_accusations(&accused, &sharings, judged, doubted);
        state.fold_objects(graph, authority, &valid);
        state.fold_keys(graph, &valid);
        state.fold_names(graph, &valid);
        state.fold_trust(graph, authority, &valid);
        state.fold_enrolments(graph, &valid);
        state.fold_denials(graph, &valid);
        state
    }

    /// Gives back the sharings that somebody is accused for, whether they are still in use or not.
    fn fold_roots(&mut self, graph: &Graph, valid: &[Index], accused: &[Accusing<'_>]) -> Sharings {
        for statement in valid.iter().map(|index| &graph.entries()[*index].statement) {
            if let Some(Body::ProposeRoot(spec)) = statement.body() {
                let id = RootId::from(statement.id());
                let committees = spec.committees.iter().map(|spec| RootCommittee {
                    spec: spec.clone(),
                    public: None,
                    epoch: 0,
                    since: None,
                    holders: BTreeSet::new(),
                    past: Vec::new(),
                    before: None,
                    moving: BTreeSet::new(),
                    specs: vec![spec.clone()],
                    frozen: false,
                    accused: Vec::new(),
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
        let sharings = self.fold_epochs(graph, accused);
        // Whoever is only about to become a custodian speaks as one already: it says which keys its shares come under.
        let speaks = |who: &&NodeId| self.nodes.contains_key(who) || self.is_custodian(who);
        self.forked = graph.forked().iter().filter(speaks).copied().collect();
        for root in self.roots.values_mut() {
            root.live = root.committees.iter().all(|committee| committee.public.is_some());
        }
        sharings
    }

    /// The sharings that came after the first. Which words count is settled by the committees and not by authority.
    fn fold_epochs(&mut self, graph: &Graph, accused: &[Accusing<'_>]) -> Sharings {
        let words = Words::of(graph);
        let wanted: BTreeSet<SharingRef> = accused.iter().map(Accusing::sharing).collect();
        let mut sharings = Sharings::new();
        for root in self.roots.values_mut() {
            for (place, committee) in (0u8..).zip(&mut root.committees) {
                let Some(public) = &committee.public else { continue };
                let chain = Chain::follow(&words, root.id, place, &committee.spec, public, |epoch, spec, public| {
                    let sharing = SharingRef { root: root.id, committee: place, epoch };
                    if wanted.contains(&sharing) {
                        sharings.insert(sharing, (spec.members.clone(), public.to_vec()));
                    }
                });
                let sharing = SharingRef { root: root.id, committee: place, epoch: chain.epoch };
                committee.holders = match (chain.epoch, words.get(&sharing)) {
                    (0, _) => committee.attested.clone(),
                    (_, words) => words.map(|words| words.held.clone()).unwrap_or_default(),
                };
                committee.holders.retain(|node| chain.spec.members.contains(node));
                (committee.epoch, committee.since, committee.frozen) = (chain.epoch, chain.since, chain.frozen);
                (committee.past, committee.specs, committee.before) = (chain.past, chain.specs, chain.before);
                (committee.spec, committee.public) = (chain.spec, Some(chain.public));
                committee.moving = chain.moving;
            }
        }
        sharings
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
                    let id = keyring_id(&statement.document(), &statement.author(), &new.nonce);
                    if authority.keyring(&id) == Some(*index) {
                        let keyring = Keyring {
                            namespace: new.namespace,
                            names: BTreeSet::new(),
                            root: new.root,
                            class: new.class.clone(),
                            creator: statement.author(),
                            generations: Vec::new(),
                        };
                        self.keyrings.insert(id, keyring);
                    }
                }
                _ => {}
            }
        }
        self.fold_generations(graph, authority);
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
                        if mutant::is(Mutant::DeleteLosesToPut) {
                            key.state = change.state;
                        }
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
                    (Named::Keyring(keyring_id(&document, &author, &new.nonce)), false, &new.name)
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
        // Where a root needs several committees, so does a binding: none of them takes another's word for who an agent is.
        // What the custodians of an earlier epoch bound stays bound.
        let of_one = |committee: &RootCommittee| -> Vec<(BTreeSet<NodeId>, usize)> {
            let specs = committee.specs.iter();
            specs.map(|spec| (spec.members.iter().copied().collect(), vote_quorum(spec))).collect()
        };
        let committees: Vec<_> = self.live_root().into_iter().flat_map(|root| &root.committees).map(of_one).collect();
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
            if committees.iter().flatten().any(|(members, _)| members.contains(&statement.author())) {
                enrolment.claims[place].votes.insert(statement.author());
            }
        }
        for enrolment in self.enrolments.values_mut() {
            enrolment.claims.sort_by(|a, b| (a.agent, &a.facts.launched_by).cmp(&(b.agent, &b.facts.launched_by)));
            let quorate = |claim: &Claim| {
                let enough = |(members, quorum): &(BTreeSet<NodeId>, usize)| {
                    claim.votes.intersection(members).count() >= *quorum
                };
                !committees.is_empty() && committees.iter().all(|epochs| epochs.iter().any(enough))
            };
            let mut fixed = enrolment.claims.iter().enumerate().filter(|(_, claim)| quorate(claim));
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
}

/// Of a root's committees the one that wants the fewest witnesses still: how many, and who has not witnessed. Every
/// sharing of it counts of which shares may be in use.
fn nearest(committees: &[RootCommittee], witnesses: &BTreeSet<NodeId>) -> Option<(usize, BTreeSet<NodeId>)> {
    let wanting = committees.iter().map(|committee| {
        let mut all = (0, BTreeSet::new());
        for (_, spec, _) in committee.sharings() {
            let members: BTreeSet<NodeId> = spec.members.iter().copied().collect();
            let held = members.intersection(witnesses).count();
            let wanting = denial_quorum(spec).saturating_sub(held);
            all.0 += wanting;
            // Of an earlier committee only those are shown that are needed, or its members would be missing for ever.
            if wanting > 0 || *spec == committee.spec {
                all.1.extend(members.difference(witnesses));
            }
        }
        all
    });
    wanting.min_by_key(|(wanting, _)| *wanting)
}
