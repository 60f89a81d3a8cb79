//! Random statement sets.
//!
//! Each author keeps a view of its own, a part of the graph that holds its statements' pasts. A step lets one author learn
//! another's view (or not: a partition is a run of steps without that), and say something built on its own view. The
//! malicious build on an old place in their view, say two things at one place, endorse twice, or reach for what is not
//! theirs. A *campaign* is several admins endorsing one proposal, each from its own view and what it endorses.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::body::*;
use keymesh_wire::ids::{DocumentId, KeyId, KeyringId, NamespaceId, RootId, StatementId};
use keymesh_wire::sign::Identity;
use keymesh_wire::statement::Checked;
use proptest::prelude::*;

use super::story::*;

/// People by name: the first three to five are the founders, the last two never are admins of their own right.
pub const PEOPLE: [&str; 7] = ["ann", "bob", "cem", "dan", "eve", "out", "sly"];
/// The most founders.
pub const FOUNDERS: usize = 5;

/// Which document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The mesh's.
    Mesh,
    /// A tenant's.
    Tenant,
}

/// One thing that happens.
#[derive(Debug, Clone)]
pub struct Step {
    author: usize,
    learns_from: Option<usize>,
    act: u8,
    target: u8,
    malice: Malice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Malice {
    None,
    Backdate,
    Equivocate,
}

/// A whole set, before it is signed.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Which document.
    pub kind: Kind,
    founders: usize,
    endorsements: u8,
    furnished: bool,
    steps: Vec<Step>,
}

/// Plans for a kind of document.
pub fn plans(kind: Kind) -> impl Strategy<Value = Plan> {
    let malice = prop_oneof![
        6 => Just(Malice::None),
        2 => Just(Malice::Backdate),
        1 => Just(Malice::Equivocate),
    ];
    let step = (0..12_usize, prop::option::weighted(0.45, 0..12_usize), any::<u8>(), any::<u8>(), malice)
        .prop_map(|(author, learns_from, act, target, malice)| Step { author, learns_from, act, target, malice });
    (3..=FOUNDERS, 1..=2_u8, any::<bool>(), prop::collection::vec(step, 12..34)).prop_map(
        move |(founders, endorsements, furnished, steps)| Plan { kind, founders, endorsements, furnished, steps },
    )
}

struct Writer {
    document: DocumentId,
    founders: usize,
    identities: Vec<Identity>,
    statements: Vec<Checked>,
    pasts: Vec<BTreeSet<usize>>,
    by_id: BTreeMap<StatementId, usize>,
    views: Vec<BTreeSet<usize>>,
    time: u64,
}

impl Plan {
    /// How many founders there are.
    pub fn founders(&self) -> usize {
        self.founders
    }

    /// The signed statements, parents before children, and each author's last view as places in the list.
    pub fn write(&self) -> (Vec<Checked>, Vec<BTreeSet<usize>>) {
        let founders = &PEOPLE[..self.founders];
        let genesis = match self.kind {
            Kind::Mesh => mesh_genesis(founders, self.endorsements),
            Kind::Tenant => tenant_genesis(founders, self.endorsements),
        };
        let identities: Vec<_> = PEOPLE.iter().chain(&NODES).map(|name| identity(name)).collect();
        let mut writer = Writer {
            document: genesis.document(),
            founders: self.founders,
            views: vec![BTreeSet::from([0]); identities.len()],
            identities,
            pasts: vec![BTreeSet::new()],
            by_id: BTreeMap::from([(genesis.id(), 0)]),
            statements: vec![genesis],
            time: 1000,
        };
        if self.furnished && self.kind == Kind::Tenant {
            writer.furnish();
        }
        for step in &self.steps {
            writer.step(self.kind, step);
        }
        (writer.statements, writer.views)
    }
}

impl Writer {
    fn say(&mut self, author: usize, view: &BTreeSet<usize>, body: &Body) -> usize {
        let inner: BTreeSet<usize> = view.iter().flat_map(|index| self.pasts[*index].iter().copied()).collect();
        let heads: Vec<usize> = view.difference(&inner).copied().take(16).collect();
        let parents = heads.iter().map(|index| self.statements[*index].id()).collect();
        self.time += 1;
        let statement = signed(&self.identities[author], body, Some(self.document), parents, self.time);
        let index = self.statements.len();
        let mut past: BTreeSet<usize> = heads.iter().flat_map(|head| self.pasts[*head].iter().copied()).collect();
        past.extend(heads);
        self.by_id.insert(statement.id(), index);
        self.statements.push(statement);
        self.views[author].extend(&past);
        self.views[author].insert(index);
        self.pasts.push(past);
        index
    }

    /// Several admins propose and endorse, each from its own view and what it endorses.
    fn campaign(&mut self, author: usize, body: &Body, supporters: usize) {
        let view = self.views[author].clone();
        let proposal = self.say(author, &view, body);
        let seen = self.views[author].clone();
        let id = self.statements[proposal].id();
        for other in (0..self.founders).filter(|other| *other != author).take(supporters) {
            self.views[other].extend(&seen);
            let view = self.views[other].clone();
            self.say(other, &view, &Body::Endorse(id));
        }
    }

    /// A namespace, a namespace admin and a root, known to everybody.
    fn furnish(&mut self) {
        let view = self.views[0].clone();
        self.say(0, &view, &Body::CreateNamespace(NewNamespace { parent: None, name: "dev".into() }));
        self.campaign(0, &grant("out", Role::NamespaceAdmin, Scope::Tenant), self.founders - 1);
        let members = NODES.iter().map(|node| who(node)).collect();
        let spec = RootSpec { committees: vec![CommitteeSpec { members, threshold: 3, faults: 1 }] };
        self.campaign(0, &Body::ProposeRoot(spec), self.founders - 1);
        let everything: BTreeSet<usize> = (0..self.statements.len()).collect();
        self.views.fill(everything);
    }

    fn step(&mut self, kind: Kind, step: &Step) {
        let people = PEOPLE.len();
        // Admins act more often than others.
        let author = match step.author {
            0..8 => step.author % self.founders,
            8 => self.founders.min(people - 1),
            9 => people - 2 + usize::from(step.target % 2),
            _ => people + usize::from(step.target) % NODES.len(),
        };
        if let Some(other) = step.learns_from {
            let other = self.views[other].clone();
            self.views[author].extend(other);
        }
        let mut view = self.views[author].clone();
        if step.malice == Malice::Backdate {
            let chosen = view.iter().copied().nth(usize::from(step.target) % view.len()).unwrap_or(0);
            view = self.pasts[chosen].clone();
            view.insert(chosen);
        }
        let campaigning = author < self.founders && step.malice == Malice::None;
        let strength = self.founders / 2 + usize::from(step.target % 2);
        let victim = who(PEOPLE[usize::from(step.target / 2) % self.founders]);
        let newcomer = person(PEOPLE[usize::from(step.target / 2) % PEOPLE.len()]);
        if campaigning && step.act < 56 {
            let node = NODES[usize::from(step.target) % NODES.len()];
            let body = match (step.act % 8, kind) {
                (0..3, _) => Body::RemoveAdmin(victim),
                (3, _) => Body::AddAdmin(newcomer),
                (4, _) => Body::LiftSuspension(victim),
                (5, Kind::Mesh) => Body::RemoveNode(who(node)),
                (_, Kind::Mesh) => admit(node),
                (5, Kind::Tenant) => Body::DisplaceNode(who(node)),
                (6, Kind::Tenant) => Body::PlaceNode(placement(node)),
                (_, Kind::Tenant) => role(step.target, true),
            };
            self.campaign(author, &body, strength);
            return;
        }
        let body = self.body(kind, step, author, &view);
        self.say(author, &view, &body);
        if step.malice == Malice::Equivocate {
            let again = Step { target: step.target.wrapping_add(2), ..step.clone() };
            let other = self.body(kind, &again, author, &view);
            self.say(author, &view, &other);
        }
    }

    fn body(&self, kind: Kind, step: &Step, author: usize, view: &BTreeSet<usize>) -> Body {
        let target = usize::from(step.target);
        let someone = PEOPLE[target % PEOPLE.len()];
        let node = NODES[target % NODES.len()];
        let word = format!("w{}", target % 3);
        if author >= PEOPLE.len() {
            return self.node_says(step, view);
        }
        match (step.act % 16, kind) {
            (0, _) => Body::SuspendAdmin(who(someone)),
            (1, _) => Body::RemoveAdmin(who(someone)),
            (2, _) => Body::AddAdmin(person(someone)),
            (3, _) => Body::LiftSuspension(who(someone)),
            (4..6, _) => self.endorse(target, view),
            (6, _) => Body::Edit(vec![EditOp::Put { path: vec!["note".into()], value: word }]),
            (7..9, Kind::Mesh) => Body::RemoveNode(who(node)),
            (9.., Kind::Mesh) => admit(node),
            (7..9, Kind::Tenant) => role(step.target, false),
            (9..11, Kind::Tenant) => role(step.target, true),
            (11, Kind::Tenant) => revoke(&format!("i-{}", target % 3)),
            (12, Kind::Tenant) => match target % 3 {
                0 => Body::DisplaceNode(who(node)),
                1 => Body::PlaceNode(placement(node)),
                _ => policy(&word),
            },
            (13, Kind::Tenant) => {
                let parent = self.first(view, |body| matches!(body, Body::CreateNamespace(_))).map(NamespaceId::from);
                Body::CreateNamespace(NewNamespace { parent: parent.filter(|_| target % 2 == 0), name: word })
            }
            (14, Kind::Tenant) => {
                let namespace = self.first(view, |body| matches!(body, Body::CreateNamespace(_)));
                new_keyring(namespace.unwrap_or(self.statements[0].id()).into(), &word, &word)
            }
            (15.., Kind::Tenant) => {
                let keyring = self.keyring(view);
                let key = key_id(&self.document, &self.identities[author].principal(), &nonce(&word));
                match target % 5 {
                    0 | 1 => new_key(keyring, &word, &word),
                    2 => Body::AddVersion(NewVersion { key, keyring, version: version(&word) }),
                    3 => self.move_key(key, keyring, KeyState::Suspended),
                    _ => self.move_key(key, keyring, KeyState::Destroyed),
                }
            }
        }
    }

    fn node_says(&self, step: &Step, view: &BTreeSet<usize>) -> Body {
        let root = self.first(view, |body| matches!(body, Body::ProposeRoot(_))).unwrap_or(self.statements[0].id());
        match step.act % 8 {
            0..3 => attest_root(RootId::from(root), if step.act < 250 { "t" } else { "lie" }),
            3..5 => vote(PEOPLE[5 + usize::from(step.act) % 2], "i-1"),
            5 => Body::AccuseGeneration(GenerationRef { keyring: self.keyring(view), number: 1, opened: None }),
            6 => Body::AttestGeneration(GenerationRef { keyring: self.keyring(view), number: 1, opened: None }),
            _ => {
                let denial = self.first(view, |body| matches!(body, Body::Revoke(_)));
                Body::Witness(vec![denial.unwrap_or(self.statements[0].id())])
            }
        }
    }

    fn move_key(&self, key: KeyId, keyring: KeyringId, state: KeyState) -> Body {
        Body::SetKeyState(KeyStateChange { key, keyring, state })
    }

    fn keyring(&self, view: &BTreeSet<usize>) -> KeyringId {
        let made = view.iter().rev().map(|index| &self.statements[*index]).find_map(|statement| {
            let Some(Body::CreateKeyring(new)) = statement.body() else { return None };
            Some(keyring_id(&self.document, &statement.author(), &new.nonce))
        });
        made.unwrap_or(KeyringId::from_bytes([3; 32]))
    }

    fn first(&self, view: &BTreeSet<usize>, fits: impl Fn(&Body) -> bool) -> Option<StatementId> {
        let mut statements = view.iter().map(|index| &self.statements[*index]);
        statements.find(|statement| statement.body().is_some_and(&fits)).map(Checked::id)
    }

    /// Endorses something in the view, the newest proposals first; also one's own and ones endorsed before.
    fn endorse(&self, target: usize, view: &BTreeSet<usize>) -> Body {
        let guarded: Vec<StatementId> = view
            .iter()
            .rev()
            .map(|index| &self.statements[*index])
            .filter(|statement| {
                !matches!(
                    statement.body(),
                    Some(Body::Endorse(_) | Body::Revoke(_) | Body::RevokeGrant(_) | Body::Witness(_) | Body::Edit(_))
                )
            })
            .map(Checked::id)
            .take(6)
            .collect();
        Body::Endorse(guarded[target % guarded.len()])
    }
}

/// One of few roles, so that the same is often given and taken.
fn role(target: u8, given: bool) -> Body {
    let (name, role) = match target % 3 {
        0 => ("out", Role::NamespaceAdmin),
        1 => ("sly", Role::Launcher),
        _ => ("sly", Role::NamespaceAdmin),
    };
    if given { grant(name, role, Scope::Tenant) } else { revoke_grant(name, role, Scope::Tenant) }
}

fn admit(node: &str) -> Body {
    Body::AdmitNode(NodeCard {
        node: who(node),
        sealing: *who(node).as_bytes(),
        name: node.into(),
        zone: "aws/a".into(),
        provider: "aws".into(),
        mesh: vec!["127.0.0.1:1".into()],
        door: vec!["127.0.0.1:2".into()],
    })
}
