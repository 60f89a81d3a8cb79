//! What a set of statements means: people, nodes, roots, keys, policies, bindings and denials, each by its own plain rule.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::body::{
    Body, CommitteeSpec, CustodyClass, EditOp, GenerationRef, InstanceFacts, KeyState, Named, Placement, Role, Scope,
    Subject, WrappedVersion, key_id, keyring_id,
};
use keymesh_wire::ids::{
    BlobHash, KeyId, KeyringId, MeshId, NamespaceId, NodeId, PrincipalId, RootId, StatementId, VersionId,
};
use keymesh_wire::time::Wall;
use sha2::{Digest, Sha256};

use super::epochs;
use super::generations::{self, Generation, Ring};
use super::rights::{Rights, role};
use super::story::Story;

/// A keyring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyring {
    /// Where it lies.
    pub namespace: NamespaceId,
    /// What guards it.
    pub root: RootId,
    /// How its keys are kept.
    pub class: CustodyClass,
}

/// A key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its keyring.
    pub keyring: KeyringId,
    /// Its versions in the order of their times.
    pub versions: Vec<VersionId>,
    /// What the newest is sealed to.
    pub sealed_to: Option<GenerationRef>,
    /// Its state.
    pub state: KeyState,
}

/// A root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Its committees.
    pub committees: Vec<Committee>,
    /// Whether all members of all of them agree on an outcome.
    pub live: bool,
}

/// One part of a root and who has shares of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committee {
    /// The number of the sharing in use.
    pub epoch: u32,
    /// The members of all sharings so far, by number.
    pub sharings: Vec<CommitteeSpec>,
    /// Earlier sharings of which enough shares for opening may be left.
    pub unclosed: BTreeSet<u32>,
    /// Whether the next sharing was agreed upon twice.
    pub frozen: bool,
}

impl Committee {
    /// Who has the shares in use.
    pub fn spec(&self) -> &CommitteeSpec {
        &self.sharings[self.epoch as usize]
    }

    /// The numbers of all sharings of which shares may be in use, the current one last.
    pub fn in_use(&self) -> impl Iterator<Item = u32> + '_ {
        self.unclosed.iter().copied().chain([self.epoch])
    }

    /// The members of those.
    pub fn specs_in_use(&self) -> impl Iterator<Item = &CommitteeSpec> {
        self.in_use().map(|epoch| &self.sharings[epoch as usize])
    }
}

/// A denial of an agent or an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Whom.
    pub subject: Subject,
    /// Who says to hold it.
    pub witnesses: BTreeSet<NodeId>,
    /// Whether, by what they say, no quorum can do without one who holds it.
    pub effective: bool,
}

/// What one set of statements of a document means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// For a tenant: the mesh it lives in.
    pub mesh: Option<MeshId>,
    /// Whether somebody with a right says something this software does not know.
    pub above: bool,
    /// Admins, with whether they are suspended.
    pub admins: BTreeMap<PrincipalId, bool>,
    /// For the mesh: its nodes.
    pub members: BTreeSet<NodeId>,
    /// For a tenant: its nodes.
    pub nodes: BTreeMap<NodeId, Placement>,
    /// Roles with their holders and the names policies see.
    pub grants: BTreeSet<(PrincipalId, Role, Scope, String)>,
    /// Policies in force, several for a scope after a cut.
    pub policies: BTreeMap<Scope, BTreeMap<StatementId, String>>,
    /// Certificates that are believed.
    pub evidence: BTreeSet<BlobHash>,
    /// Roots.
    pub roots: BTreeMap<RootId, Root>,
    /// Namespaces with what they lie in.
    pub namespaces: BTreeMap<NamespaceId, Option<NamespaceId>>,
    /// Keyrings.
    pub keyrings: BTreeMap<KeyringId, Keyring>,
    /// Generations of leased keyrings.
    pub generations: BTreeMap<KeyringId, BTreeMap<GenerationRef, Generation>>,
    /// The generation that new versions go to.
    pub current: BTreeMap<KeyringId, GenerationRef>,
    /// Keys.
    pub keys: BTreeMap<KeyId, Key>,
    /// Keys whose newest version somebody could read who was expelled, or lies in a generation that is called false.
    pub due: BTreeSet<KeyId>,
    /// Names.
    pub names: BTreeMap<Named, BTreeSet<String>>,
    /// Instances that are bound, with their agent.
    pub bound: BTreeMap<String, (PrincipalId, InstanceFacts)>,
    /// Denials.
    pub denials: BTreeMap<StatementId, Denial>,
    /// Changes of custody that are in effect, whether carried out or not.
    pub changes: BTreeSet<StatementId>,
    /// Proposals that wait.
    pub waiting: BTreeSet<StatementId>,
    /// The descriptive fields: per path all texts that stand.
    pub fields: BTreeMap<Vec<String>, BTreeSet<String>>,
}

impl Facts {
    /// Reads what is known.
    pub fn of(story: &Story, rights: &Rights<'_>) -> Self {
        let mut facts = Self { admins: rights.admins(), nodes: rights.nodes(), ..Self::default() };
        if let Some(Body::TenantGenesis(genesis)) = story.body(0) {
            facts.mesh = Some(genesis.mesh);
        }
        let read = Reading { story, rights };
        facts.members = read.members();
        facts.waiting = read.waiting();
        facts.fields = read.fields();
        facts.above = !rights.strange().is_empty();
        facts.grants = read.grants();
        facts.policies = read.policies();
        facts.evidence = read.evidence();
        facts.namespaces = read.namespaces();
        facts.keyrings = read.keyrings();
        facts.generations = read.generations();
        let nodes = facts.nodes.values();
        let lessees: BTreeSet<NodeId> = nodes.filter(|placed| placed.lessee).map(|placed| placed.node).collect();
        let newest = facts.generations.iter().filter_map(|(id, all)| Some((*id, generations::current(all, &lessees)?)));
        facts.current = newest.collect();
        facts.keys = read.keys();
        let due = facts.keys.iter().filter(|(_, key)| {
            let generation = key.sealed_to.and_then(|of| facts.generations.get(&of.keyring)?.get(&of));
            let taken = |known: &Generation| {
                !known.expelled.is_empty() || known.accusers.intersection(&lessees).next().is_some()
            };
            key.state < KeyState::Deactivated && generation.is_some_and(taken)
        });
        facts.due = due.map(|(id, _)| *id).collect();
        facts.names = read.names();
        facts.roots = read.roots();
        facts.changes = read.changes();
        facts.bound = read.bound(facts.live_root());
        facts.denials = read.denials(&facts.roots);
        facts
    }

    /// The root in use.
    pub fn live_root(&self) -> Option<&Root> {
        self.roots.values().find(|root| root.live)
    }

    /// The only instance that an agent's key is bound to.
    pub fn instance_of(&self, agent: &PrincipalId) -> Option<&InstanceFacts> {
        let mut bound = self.bound.values().filter(|(who, _)| who == agent);
        let only = bound.next();
        only.filter(|_| bound.next().is_none()).map(|(_, facts)| facts)
    }

    /// A denial of an agent on an instance.
    pub fn denial_of(&self, agent: &PrincipalId, instance: &str) -> Option<StatementId> {
        let denied = self.denials.iter().find(|(_, denial)| is_about(&denial.subject, agent, instance));
        denied.map(|(id, _)| *id)
    }

    /// A namespace and all it lies in.
    pub fn around(&self, namespace: NamespaceId) -> Vec<NamespaceId> {
        let mut path = vec![namespace];
        while let Some(Some(Some(parent))) = path.last().map(|last| self.namespaces.get(last))
            && !path.contains(parent)
        {
            path.push(*parent);
        }
        path
    }
}

/// Whether a denial is about an agent or its instance.
pub fn is_about(subject: &Subject, agent: &PrincipalId, instance: &str) -> bool {
    match subject {
        Subject::Agent(denied) => denied == agent,
        Subject::Instance(denied) => denied == instance,
    }
}

struct Reading<'r, 's> {
    story: &'s Story,
    rights: &'r Rights<'s>,
}

impl<'s> Reading<'_, 's> {
    /// Statements of a kind that count, in the order of ids.
    fn counting(&self, kind: &str) -> Vec<usize> {
        let mut places: Vec<usize> = self.rights.known_of(kind).filter(|place| self.rights.counts(*place)).collect();
        places.sort_by_key(|place| self.story.id(*place));
        places
    }

    fn saw(&self, later: usize, earlier: usize) -> bool {
        self.story.past(later).has(earlier)
    }

    fn members(&self) -> BTreeSet<NodeId> {
        let removals = self.counting("remove-node");
        let mut members = BTreeSet::new();
        for admission in self.counting("admit-node") {
            let Some(Body::AdmitNode(card)) = self.story.body(admission) else { continue };
            let gone = removals.iter().any(|removal| {
                matches!(self.story.body(*removal), Some(Body::RemoveNode(node)) if *node == card.node)
                    && !self.saw(admission, *removal)
            });
            // A later admission that saw a removal stands by itself, so a superseded one need not be looked for.
            if !gone {
                members.insert(card.node);
            }
        }
        members
    }

    fn waiting(&self) -> BTreeSet<StatementId> {
        let kinds = [
            "add-admin",
            "remove-admin",
            "lift-suspension",
            "propose-root",
            "reshare-root",
            "admit-node",
            "remove-node",
            "place-node",
            "displace-node",
            "grant",
            "set-policy",
            "trust-evidence",
            "set-key-state",
        ];
        let known = kinds.into_iter().flat_map(|kind| self.rights.known_of(kind));
        known.filter(|place| self.rights.waits(*place)).map(|place| self.story.id(place)).collect()
    }

    /// A text stands until an edit that saw it puts another one there or deletes it, or something around it.
    fn fields(&self) -> BTreeMap<Vec<String>, BTreeSet<String>> {
        let edits = self.counting("edit");
        let ends = |op: &EditOp, at: &[String]| match op {
            EditOp::Put { path, .. } => path == at,
            EditOp::Delete { path } => at.starts_with(path),
        };
        let ops = |edit: usize| match self.story.body(edit) {
            Some(Body::Edit(ops)) => ops.as_slice(),
            _ => &[],
        };
        let mut fields: BTreeMap<Vec<String>, BTreeSet<String>> = BTreeMap::new();
        for edit in &edits {
            for (number, op) in ops(*edit).iter().enumerate() {
                let EditOp::Put { path, value } = op else { continue };
                let again = ops(*edit)[number + 1..].iter().any(|later| ends(later, path));
                let after = edits.iter().filter(|other| self.saw(**other, *edit));
                if !again && !after.into_iter().any(|other| ops(*other).iter().any(|later| ends(later, path))) {
                    fields.entry(path.clone()).or_default().insert(value.clone());
                }
            }
        }
        fields
    }

    fn grants(&self) -> BTreeSet<(PrincipalId, Role, Scope, String)> {
        let name = |place: usize| match self.story.body(place) {
            Some(Body::Grant(grant)) => grant.name.clone(),
            _ => String::new(),
        };
        let grants = self.rights.grants().into_iter();
        grants
            .filter_map(|place| role(self.story.body(place)).map(|(who, role, scope)| (who, role, scope, name(place))))
            .collect()
    }

    fn policies(&self) -> BTreeMap<Scope, BTreeMap<StatementId, String>> {
        let set = self.counting("set-policy");
        let policy = |place: usize| match self.story.body(place) {
            Some(Body::SetPolicy(policy)) => Some(policy),
            _ => None,
        };
        let mut policies: BTreeMap<Scope, BTreeMap<StatementId, String>> = BTreeMap::new();
        for place in &set {
            let Some(this) = policy(*place) else { continue };
            let newer =
                |other: &usize| self.saw(*other, *place) && policy(*other).is_some_and(|o| o.scope == this.scope);
            if !set.iter().any(newer) {
                policies.entry(this.scope).or_default().insert(self.story.id(*place), this.text.clone());
            }
        }
        policies
    }

    fn evidence(&self) -> BTreeSet<BlobHash> {
        let distrusted = self.counting("distrust-evidence");
        let mut believed = BTreeSet::new();
        for place in self.counting("trust-evidence") {
            let Some(Body::TrustEvidence(root)) = self.story.body(place) else { continue };
            let print = BlobHash::from_bytes(Sha256::digest(&root.certificate).into());
            let gone = distrusted.iter().any(|other| {
                matches!(self.story.body(*other), Some(Body::DistrustEvidence(gone)) if *gone == print)
                    && !self.saw(place, *other)
            });
            if !gone {
                believed.insert(print);
            }
        }
        believed
    }

    fn namespaces(&self) -> BTreeMap<NamespaceId, Option<NamespaceId>> {
        let made = self.counting("create-namespace").into_iter();
        made.filter_map(|place| match self.story.body(place) {
            Some(Body::CreateNamespace(new)) => Some((NamespaceId::from(self.story.id(place)), new.parent)),
            _ => None,
        })
        .collect()
    }

    fn keyrings(&self) -> BTreeMap<KeyringId, Keyring> {
        let made = self.story.keyrings().filter_map(|id| Some((id, self.rights.keyring(&id)?)));
        made.filter_map(|(id, place)| match self.story.body(place) {
            Some(Body::CreateKeyring(new)) => {
                Some((id, Keyring { namespace: new.namespace, root: new.root, class: new.class.clone() }))
            }
            _ => None,
        })
        .collect()
    }

    fn generations(&self) -> BTreeMap<KeyringId, BTreeMap<GenerationRef, Generation>> {
        let mut all = BTreeMap::new();
        for (id, made) in self.story.keyrings().filter_map(|id| Some((id, self.rights.keyring(&id)?))) {
            let Some(Body::CreateKeyring(new)) = self.story.body(made) else { continue };
            let ring = Ring { id, made, namespace: new.namespace, class: &new.class };
            let found = generations::of_ring(self.story, self.rights, &ring);
            if !found.is_empty() {
                all.insert(id, found);
            }
        }
        all
    }

    fn keys(&self) -> BTreeMap<KeyId, Key> {
        let mut keys = BTreeMap::new();
        let changes = self.counting("set-key-state");
        let versions = self.counting("add-version");
        for (id, places) in self.story.keys() {
            let made: Vec<usize> = places.iter().copied().filter(|place| self.rights.counts(*place)).collect();
            let unseen = made.iter().filter(|place| !made.iter().any(|other| self.saw(**place, *other)));
            let Some(first) = unseen.min_by_key(|place| self.story.id(**place)) else { continue };
            let new = |place: usize| match self.story.body(place) {
                Some(Body::CreateKey(new)) => Some(new),
                _ => None,
            };
            let Some(body) = new(*first) else { continue };
            let lies_in: BTreeSet<KeyringId> =
                made.iter().filter_map(|place| new(*place)).map(|new| new.keyring).collect();
            let dated_at = |place: usize, version: &WrappedVersion| (self.story.at(place).time(), version.version);
            let mut dated: BTreeMap<(Wall, VersionId), GenerationRef> =
                BTreeMap::from([(dated_at(*first, &body.version), body.version.sealed_to(body.keyring))]);
            for place in &versions {
                if let Some(Body::AddVersion(more)) = self.story.body(*place)
                    && (more.key, more.keyring) == (id, body.keyring)
                {
                    dated.entry(dated_at(*place, &more.version)).or_insert(more.version.sealed_to(body.keyring));
                }
            }
            let moved = changes.iter().filter_map(|place| match self.story.body(*place) {
                Some(Body::SetKeyState(change)) if change.key == id && lies_in.contains(&change.keyring) => {
                    Some(change.state)
                }
                _ => None,
            });
            let state = moved.max().unwrap_or(KeyState::Active);
            let mut versions: Vec<(VersionId, GenerationRef)> =
                dated.into_iter().map(|((_, version), sealed_to)| (version, sealed_to)).collect();
            versions.dedup_by_key(|(version, _)| *version);
            let sealed_to = versions.last().map(|(_, sealed_to)| *sealed_to);
            let versions = versions.into_iter().map(|(version, _)| version).collect();
            keys.insert(id, Key { keyring: body.keyring, versions, sealed_to, state });
        }
        keys
    }

    /// The newest names by what their authors had seen; a name given at the beginning yields to any other.
    fn names(&self) -> BTreeMap<Named, BTreeSet<String>> {
        let mut first: BTreeMap<Named, BTreeSet<String>> = BTreeMap::new();
        for place in ["create-namespace", "create-keyring", "create-key"].iter().flat_map(|kind| self.counting(kind)) {
            let statement = self.story.at(place);
            let (document, author) = (statement.document(), statement.author());
            let (object, name) = match statement.body() {
                Some(Body::CreateNamespace(new)) => (Named::Namespace(statement.id().into()), &new.name),
                Some(Body::CreateKeyring(new)) => {
                    (Named::Keyring(keyring_id(&document, &author, &new.nonce)), &new.name)
                }
                Some(Body::CreateKey(new)) => (Named::Key(key_id(&document, &author, &new.nonce)), &new.name),
                _ => continue,
            };
            first.entry(object).or_default().insert(name.clone());
        }
        let renamings = self.counting("rename");
        let renaming = |place: usize| match self.story.body(place) {
            Some(Body::Rename(renaming)) => Some(renaming),
            _ => None,
        };
        let mut newer: BTreeMap<Named, BTreeSet<String>> = BTreeMap::new();
        for place in &renamings {
            let Some(this) = renaming(*place) else { continue };
            let over = renamings.iter().any(|other| {
                self.saw(*other, *place) && renaming(*other).is_some_and(|other| other.object == this.object)
            });
            if !over {
                newer.entry(this.object).or_default().insert(this.name.clone());
            }
        }
        first.extend(newer);
        first
    }

    fn changes(&self) -> BTreeSet<StatementId> {
        let proposals = ["refresh-shares", "reshare-root"].into_iter().flat_map(|kind| self.counting(kind));
        proposals.map(|place| self.story.id(place)).collect()
    }

    fn roots(&self) -> BTreeMap<RootId, Root> {
        let mut roots = BTreeMap::new();
        let attested = self.counting("attest-root");
        let words = epochs::Words::of(self.story, self.rights);
        for place in self.counting("propose-root") {
            let Some(Body::ProposeRoot(spec)) = self.story.body(place) else { continue };
            let id = RootId::from(self.story.id(place));
            let made = |number: u8, committee: &CommitteeSpec| {
                let mut said: BTreeMap<u32, BTreeMap<NodeId, BTreeSet<_>>> = BTreeMap::new();
                for place in &attested {
                    let Some(Body::AttestRoot(word)) = self.story.body(*place) else { continue };
                    let author = self.story.author(*place);
                    if (word.root, word.committee) == (id, number) && committee.members.contains(&author) {
                        let outcome = (word.transcript, word.public.clone());
                        said.entry(word.attempt).or_default().entry(author).or_default().insert(outcome);
                    }
                }
                said.values().any(|by| {
                    let mut all = by.values();
                    let common = all.next().cloned().unwrap_or_default();
                    let common = all.fold(common, |common, said| common.intersection(said).cloned().collect());
                    by.len() == committee.members.len() && common.len() == 1
                })
            };
            let mut live = true;
            let mut committees = Vec::new();
            for (number, spec) in (0u8..).zip(&spec.committees) {
                let is_made = made(number, spec);
                live &= is_made;
                committees.push(epochs::follow(&words, id, number, spec, is_made));
            }
            roots.insert(id, Root { committees, live });
        }
        roots
    }

    /// More than (n+f)/2 votes of the members that some sharing of every committee has or had, for one agent with the same
    /// facts, bind an instance, unless liars enough made that so for two.
    fn bound(&self, root: Option<&Root>) -> BTreeMap<String, (PrincipalId, InstanceFacts)> {
        let Some(root) = root else { return BTreeMap::new() };
        let mut claims: Vec<(PrincipalId, &InstanceFacts, BTreeSet<NodeId>)> = Vec::new();
        for place in self.counting("vote-enrolment") {
            let Some(Body::VoteEnrolment(vote)) = self.story.body(place) else { continue };
            let author = self.story.author(place);
            match claims.iter_mut().find(|(agent, facts, _)| *agent == vote.agent && **facts == vote.facts) {
                Some((_, _, votes)) => {
                    votes.insert(author);
                }
                None => claims.push((vote.agent, &vote.facts, BTreeSet::from([author]))),
            }
        }
        claims.retain(|(_, _, votes)| {
            let enough = |spec: &CommitteeSpec| {
                let votes = spec.members.iter().filter(|member| votes.contains(*member)).count();
                2 * votes > spec.members.len() + usize::from(spec.faults)
            };
            root.committees.iter().all(|committee| committee.sharings.iter().any(enough))
        });
        let alone = |instance: &str| claims.iter().filter(|(_, facts, _)| facts.instance == instance).count() == 1;
        let bound = claims.iter().filter(|(_, facts, _)| alone(&facts.instance));
        bound.map(|(agent, facts, _)| (facts.instance.clone(), (*agent, (*facts).clone()))).collect()
    }

    fn denials(&self, roots: &BTreeMap<RootId, Root>) -> BTreeMap<StatementId, Denial> {
        let mut witnesses: BTreeMap<StatementId, BTreeSet<NodeId>> = BTreeMap::new();
        for place in self.counting("witness") {
            let Some(Body::Witness(held)) = self.story.body(place) else { continue };
            for denial in held {
                witnesses.entry(*denial).or_default().insert(self.story.author(place));
            }
        }
        let mut denials = BTreeMap::new();
        for place in self.counting("revoke") {
            let Some(Body::Revoke(revocation)) = self.story.body(place) else { continue };
            let id = self.story.id(place);
            let witnesses = witnesses.get(&id).cloned().unwrap_or_default();
            let effective = is_effective(roots.values(), &witnesses);
            denials.insert(id, Denial { subject: revocation.subject.clone(), witnesses, effective });
        }
        denials
    }
}

/// Whether of every live root there is a committee such that of every sharing of it that may be in use n − t + 1 + f members
/// are among the holders (I6).
pub fn is_effective<'r>(roots: impl Iterator<Item = &'r Root>, holders: &BTreeSet<NodeId>) -> bool {
    let enough = |spec: &CommitteeSpec| {
        let members: BTreeSet<NodeId> = spec.members.iter().copied().collect();
        let (n, t, f) = (spec.members.len(), usize::from(spec.threshold), usize::from(spec.faults));
        members.intersection(holders).count() + t > n + f
    };
    let mut live = roots.filter(|root| root.live);
    live.all(|root| root.committees.iter().any(|committee| committee.specs_in_use().all(enough)))
}
