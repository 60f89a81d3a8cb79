//! The oracle against the core's fold on random sets of statements, in which people remove and suspend each other, date
//! acts back, endorse twice and reach for what is not theirs.
//!
//! Each author knows a part of the whole; now and then one learns what another knows. Compared is what every author knows
//! in the end, and everything together.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_mesh::state::Document;
use keymesh_mesh::state::graph::Insertion;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;
use crate::checks::agree::{differences, field_differences};
use crate::draw;

const PEOPLE: [&str; 6] = ["ann", "bob", "cem", "dan", "eve", "sly"];
const STEPS: usize = 40;

struct Writer {
    rng: ChaCha20Rng,
    document: DocumentId,
    mesh: bool,
    statements: Vec<Checked>,
    pasts: BTreeMap<StatementId, BTreeSet<usize>>,
    views: Vec<BTreeSet<usize>>,
    authors: Vec<Identity>,
}

fn genesis(mesh: bool) -> Checked {
    let people = PEOPLE[..4].iter().map(|name| person(name)).collect();
    let body = if mesh {
        let salt = nonce("mesh");
        Body::MeshGenesis(MeshGenesis { name: "mesh".into(), founders: people, endorsements: 2, salt })
    } else {
        let nodes = NODES.iter().zip(["aws", "gcp", "azure"]).map(|(node, provider)| placement(node, provider));
        Body::TenantGenesis(TenantGenesis {
            mesh: MeshId::from_bytes([7; 32]),
            name: "acme".into(),
            admins: people,
            endorsements: 2,
            nodes: nodes.collect(),
            salt: nonce("acme"),
        })
    };
    Checked::sign(&body, None, Vec::new(), Wall(1), &identity("ann")).expect("in bounds")
}

impl Writer {
    fn new(seed: u64, mesh: bool) -> Self {
        let genesis = genesis(mesh);
        let authors: Vec<Identity> = PEOPLE.iter().chain(&NODES).map(|name| identity(name)).collect();
        Self {
            rng: ChaCha20Rng::seed_from_u64(seed),
            document: genesis.document(),
            mesh,
            pasts: BTreeMap::from([(genesis.id(), BTreeSet::new())]),
            statements: vec![genesis],
            views: vec![BTreeSet::from([0]); authors.len()],
            authors,
        }
    }

    fn pick(&mut self, len: usize) -> usize {
        draw::place(&mut self.rng, len)
    }

    fn principal(&mut self) -> PrincipalId {
        let place = self.pick(PEOPLE.len());
        who(PEOPLE[place])
    }

    fn node(&mut self) -> &'static str {
        let place = self.pick(NODES.len());
        NODES[place]
    }

    fn step(&mut self) {
        // Admins speak more often than others, and endorsing comes in bursts, or little would come into effect.
        let author = if draw::chance(&mut self.rng, 700) { self.pick(4) } else { self.pick(self.authors.len()) };
        if draw::chance(&mut self.rng, 500) {
            let other = self.pick(self.views.len());
            let learned = self.views[other].clone();
            self.views[author].extend(learned);
        }
        let mut view = self.views[author].clone();
        if draw::chance(&mut self.rng, 150) {
            let places: Vec<usize> = view.iter().copied().collect();
            let old = places[self.pick(places.len())];
            view = self.pasts[&self.statements[old].id()].clone();
            view.insert(old);
        }
        let body = self.body(&view);
        let Some(said) = self.say(author, &view, &body) else { return };
        let proposal = self.statements[said].id();
        for other in 0..4 {
            if draw::chance(&mut self.rng, 400) {
                let learned = self.pasts[&proposal].clone();
                self.views[other].extend(learned);
                self.views[other].insert(said);
                let view = self.views[other].clone();
                self.say(other, &view, &Body::Endorse(proposal));
            }
        }
    }

    fn say(&mut self, author: usize, view: &BTreeSet<usize>, body: &Body) -> Option<usize> {
        let over: BTreeSet<usize> =
            view.iter().flat_map(|place| self.pasts[&self.statements[*place].id()].clone()).collect();
        let heads: Vec<StatementId> =
            view.difference(&over).take(16).map(|place| self.statements[*place].id()).collect();
        let time = Wall(1000 + draw::between(&mut self.rng, 0, 50));
        let statement = Checked::sign(body, Some(self.document), heads, time, &self.authors[author]).ok()?;
        if self.pasts.contains_key(&statement.id()) {
            return None;
        }
        let mut past = BTreeSet::new();
        for parent in statement.parents() {
            let place = self.statements.iter().position(|known| known.id() == *parent)?;
            past.extend(self.pasts[parent].clone());
            past.insert(place);
        }
        self.pasts.insert(statement.id(), past);
        self.statements.push(statement);
        let place = self.statements.len() - 1;
        self.views[author].insert(place);
        Some(place)
    }

    /// One of the statements in view of which `pick` makes something.
    fn some<T>(&mut self, view: &BTreeSet<usize>, pick: impl Fn(&Checked) -> Option<T>) -> Option<T> {
        let mut found: Vec<T> = view.iter().filter_map(|place| pick(&self.statements[*place])).collect();
        if found.is_empty() {
            return None;
        }
        let place = self.pick(found.len());
        Some(found.swap_remove(place))
    }

    fn scope(&mut self, view: &BTreeSet<usize>) -> Scope {
        let namespace = |s: &Checked| matches!(s.body(), Some(Body::CreateNamespace(_))).then(|| s.id().into());
        match self.pick(2) {
            0 => Scope::Tenant,
            _ => self.some(view, namespace).map_or(Scope::Tenant, Scope::Namespace),
        }
    }

    fn role(&mut self) -> Role {
        [Role::NamespaceAdmin, Role::Launcher][self.pick(2)]
    }

    fn body(&mut self, view: &BTreeSet<usize>) -> Body {
        match self.pick(if self.mesh { 9 } else { 28 }) {
            0 => Body::AddAdmin(person(PEOPLE[self.pick(PEOPLE.len())])),
            1 => Body::RemoveAdmin(self.principal()),
            2 => Body::SuspendAdmin(self.principal()),
            3 => Body::LiftSuspension(self.principal()),
            4 | 5 => {
                let proposal = self.some(view, |s| s.body().is_some().then(|| s.id()));
                Body::Endorse(proposal.unwrap_or(self.statements[0].id()))
            }
            6 => {
                let path: Vec<String> = [vec!["a"], vec!["a", "b"], vec!["c"]][self.pick(3)]
                    .iter()
                    .map(|name| (*name).to_owned())
                    .collect();
                let value = ["x", "y"][self.pick(2)].to_owned();
                let op = [EditOp::Put { path: path.clone(), value }, EditOp::Delete { path }];
                Body::Edit(vec![op[self.pick(2)].clone()])
            }
            choice if self.mesh => self.about_mesh(choice),
            choice => self.about_tenant(choice, view),
        }
    }

    fn about_mesh(&mut self, choice: usize) -> Body {
        let node = self.node();
        if choice == 7 {
            return Body::RemoveNode(who(node));
        }
        Body::AdmitNode(NodeCard {
            node: who(node),
            sealing: *who(node).as_bytes(),
            name: node.to_owned(),
            zone: "aws/a".into(),
            provider: "aws".into(),
            mesh: vec!["10.0.0.1:1".into()],
            door: vec!["10.0.0.1:2".into()],
        })
    }

    fn about_tenant(&mut self, choice: usize, view: &BTreeSet<usize>) -> Body {
        let (document, word) = (self.document, format!("{}", self.pick(4)));
        let keyring = |s: &Checked| match s.body() {
            Some(Body::CreateKeyring(new)) => Some(keyring_id(&document, &s.author(), &new.nonce)),
            _ => None,
        };
        let key = |s: &Checked| match s.body() {
            Some(Body::CreateKey(new)) => Some((key_id(&document, &s.author(), &new.nonce), new.keyring)),
            _ => None,
        };
        let root = |s: &Checked| matches!(s.body(), Some(Body::ProposeRoot(_))).then(|| RootId::from(s.id()));
        let namespace = |s: &Checked| matches!(s.body(), Some(Body::CreateNamespace(_))).then(|| s.id().into());
        let fallback = Body::CreateNamespace(NewNamespace { parent: None, name: word.clone() });
        let made = match choice {
            7 | 8 => {
                let (name, scope) = (PEOPLE[self.pick(PEOPLE.len())], self.scope(view));
                Some(Body::Grant(RoleGrant { principal: who(name), name: name.into(), role: self.role(), scope }))
            }
            9 => {
                let (principal, scope) = (self.principal(), self.scope(view));
                // Of roles that its author may not have heard of too: that is what makes a pair concurrent.
                let all: BTreeSet<usize> = (0..self.statements.len()).collect();
                let given = self.some(&all, |s| match s.body() {
                    Some(Body::Grant(grant)) => Some((grant.principal, grant.role, grant.scope)),
                    _ => None,
                });
                let (principal, role, scope) = given.unwrap_or((principal, Role::Launcher, scope));
                Some(Body::RevokeGrant(RoleRevocation { principal, role, scope }))
            }
            10 => {
                let (node, provider) = (self.node(), ["aws", "gcp"][self.pick(2)]);
                Some(Body::PlaceNode(placement(node, provider)))
            }
            11 => Some(Body::DisplaceNode(who(self.node()))),
            12 => {
                let committee = CommitteeSpec { members: NODES.map(who).to_vec(), threshold: 2, faults: 0 };
                Some(Body::ProposeRoot(RootSpec { committees: vec![committee] }))
            }
            13 | 14 => self.some(view, root).map(|root| {
                let (attempt, public) = (1, vec![u8::from(self.pick(8) == 0)]);
                let transcript = BlobHash::from_bytes([1; 32]);
                Body::AttestRoot(RootAttestation { root, committee: 0, attempt, epoch: 0, transcript, public })
            }),
            15 | 16 => {
                let parent = self.some(view, namespace);
                Some(Body::CreateNamespace(NewNamespace { parent, name: word }))
            }
            17 => self.some(view, namespace).map(|namespace| {
                let (nonce, root) = (nonce(&word), RootId::from_bytes([1; 32]));
                Body::CreateKeyring(NewKeyring { nonce, namespace, name: word, root, class: leased() })
            }),
            18 => self.some(view, keyring).map(|keyring| {
                let version = self.version();
                Body::CreateKey(NewKey { nonce: nonce(&word), keyring, name: word, version })
            }),
            19 => self.some(view, key).map(|(key, keyring)| {
                let version = self.version();
                Body::AddVersion(NewVersion { key, keyring, version })
            }),
            20 => self.some(view, key).map(|(key, keyring)| {
                let state = [KeyState::Suspended, KeyState::Deactivated, KeyState::Destroyed][self.pick(3)];
                Body::SetKeyState(KeyStateChange { key, keyring, state })
            }),
            21 => {
                let scope = self.scope(view);
                Some(Body::SetPolicy(NewPolicy { scope, text: POLICIES[self.pick(2)].into() }))
            }
            22 | 23 => {
                let (agent, instance) = (["agent", "rival"][self.pick(2)], ["i-1", "i-2"][self.pick(2)]);
                Some(Body::VoteEnrolment(vote(agent, instance)))
            }
            24 => {
                let subject = Subject::Agent(who("agent"));
                Some(Body::Revoke(Revocation { subject, reason: "stolen".into() }))
            }
            25 => self
                .some(view, |s| matches!(s.body(), Some(Body::Revoke(_))).then(|| s.id()))
                .map(|denial| Body::Witness(vec![denial])),
            26 => self
                .some(view, namespace)
                .map(|namespace| Body::Rename(Renaming { object: Named::Namespace(namespace), name: word })),
            _ => {
                let certificate = vec![1; 8];
                let print = BlobHash::from_bytes(Sha256::digest(&certificate).into());
                let root = EvidenceRoot { kind: EvidenceKind::AwsInstanceIdentity, certificate };
                Some([Body::TrustEvidence(root), Body::DistrustEvidence(print)][self.pick(2)].clone())
            }
        };
        made.unwrap_or(fallback)
    }

    fn version(&mut self) -> WrappedVersion {
        let version = VersionId::from_bytes([self.pick(4) as u8; 16]);
        WrappedVersion { version, generation: 1, ciphertext: BlobHash::from_bytes([2; 32]), opened: None }
    }
}

const POLICIES: [&str; 2] = ["permit(principal, action, resource);", "forbid(principal, action, resource);"];

fn vote(agent: &str, instance: &str) -> EnrolmentVote {
    let facts = InstanceFacts {
        instance: instance.to_owned(),
        provider: "aws".into(),
        account: "1".into(),
        region: "eu".into(),
        zone: "aws/a".into(),
        image: "ami".into(),
        pending: Wall(1),
        launched_by: "deploy".into(),
    };
    let (evidence, ticket) = (BlobHash::from_bytes([3; 32]), nonce(agent));
    EnrolmentVote { agent: who(agent), facts, evidence, ticket, launcher: who("deploy") }
}

/// In what the two differ on everything that was written, and on what each author knows.
fn compared(seed: u64, mesh: bool) -> (Vec<String>, Arc<Facts>) {
    let mut writer = Writer::new(seed, mesh);
    (0..STEPS).for_each(|_| writer.step());
    let mut model = Model::default();
    writer.statements.iter().for_each(|statement| model.stored(0, statement).expect("parents come first"));
    let all: BTreeSet<usize> = (0..writer.statements.len()).collect();
    let mut found = Vec::new();
    // Each author's view is a set of its own; a few of them are enough.
    for view in writer.views.iter().step_by(3).chain([&all]) {
        let known = || view.iter().map(|place| &writer.statements[*place]);
        let mut document = Document::begin(writer.statements[0].clone()).expect("a genesis");
        for statement in known().skip(1) {
            assert!(matches!(document.insert(statement.clone()), Insertion::New(_)));
        }
        document.refold();
        let ids: Vec<StatementId> = known().map(Checked::id).collect();
        let set = model.set(&writer.document, &ids).expect("all are stored");
        let facts = model.meaning(&writer.document, &set).expect("a beginning");
        found.extend(differences(&facts, document.state()));
        if view.len() == all.len() {
            found.extend(field_differences(&facts, &document.materialise()));
        }
    }
    let facts = model.facts(0, &writer.document).expect("all of it");
    (found, facts)
}

#[test]
fn oracle_and_core_take_every_random_tenant_alike() {
    let (mut removed, mut suspended, mut roles, mut keys, mut waiting) = (0, 0, 0, 0, 0);
    for seed in 0..50 {
        let (found, facts) = compared(seed, false);
        assert_eq!(found, [] as [String; 0], "seed {seed}");
        removed += usize::from(facts.admins.len() < 4);
        suspended += usize::from(facts.admins.values().any(|suspended| *suspended));
        roles += facts.grants.len();
        keys += facts.keys.len();
        waiting += facts.waiting.len();
    }
    // What came about has to be worth comparing.
    assert!(
        removed > 5 && suspended > 5 && roles > 10 && keys > 2 && waiting > 10,
        "{removed} {suspended} {roles} {keys} {waiting}"
    );
}

#[test]
fn oracle_and_core_take_every_random_mesh_alike() {
    for seed in 1000..1020 {
        let (found, _) = compared(seed, true);
        assert_eq!(found, [] as [String; 0], "seed {seed}");
    }
}

#[cfg(feature = "mutants")]
#[test]
fn the_oracle_tells_mistakes_of_the_fold_apart() {
    use keymesh_mesh::mutant::{Mutant, with};
    for mutant in [
        Mutant::GrantBeatsRevoke,
        Mutant::DeleteLosesToPut,
        Mutant::EndorsementCountedTwice,
        Mutant::EndorsementAtTarget,
        Mutant::BackdatedActCounted,
        Mutant::SuspendedAdminGoesOn,
    ] {
        let told = (0..150).any(|seed| !with(Some(mutant), || compared(seed, false)).0.is_empty());
        assert!(told, "{mutant}");
    }
}
