//! The oracle by itself, on sets of statements made by hand: a few for each rule.

mod differential;

use keymesh_wire::body::*;
use keymesh_wire::ids::*;
use keymesh_wire::secret::Secret32;
use keymesh_wire::sign::Identity;
use keymesh_wire::statement::Checked;
use keymesh_wire::time::{Millis, Wall};
use sha2::{Digest, Sha256};
use std::sync::Arc;

use super::facts::Facts;
use super::story::NoPart;
use super::{Match, Model, Reason, Rule, Verdict, Wish};

const NODES: [&str; 3] = ["n1", "n2", "n3"];
const TEXT: &str = "the policy";

fn identity(name: &str) -> Identity {
    let mut seed: [u8; 32] = Sha256::digest(name.as_bytes()).into();
    Identity::from_seed(Secret32::from_array(&mut seed))
}

fn who(name: &str) -> PrincipalId {
    identity(name).principal()
}

fn person(name: &str) -> Person {
    Person { principal: who(name), name: name.to_owned() }
}

fn nonce(word: &str) -> Nonce {
    let hash: [u8; 32] = Sha256::digest(word.as_bytes()).into();
    Nonce::from_bytes(std::array::from_fn(|at| hash[at]))
}

fn placement(node: &str, provider: &str) -> Placement {
    let (node, zone) = (who(node), format!("{provider}/z1"));
    Placement { node, sealing: *node.as_bytes(), zone, provider: provider.to_owned(), lessee: true }
}

fn role_of(name: &str) -> RoleGrant {
    RoleGrant { principal: who(name), name: name.to_owned(), role: Role::Launcher, scope: Scope::Tenant }
}

fn gone_role_of(name: &str) -> Body {
    Body::RevokeGrant(RoleRevocation { principal: who(name), role: Role::Launcher, scope: Scope::Tenant })
}

/// A mesh and a tenant of it on one disk, said by whoever, each statement after those that are named.
struct Pen {
    model: Model,
    mesh: Checked,
    tenant: Checked,
    time: u64,
}

impl Pen {
    /// Ann, bob and cem are admins, two of whom a guarded change needs; three nodes are members and placed.
    fn new() -> Self {
        let people = || ["ann", "bob", "cem"].map(person).to_vec();
        let sign = |body: &Body| Checked::sign(body, None, Vec::new(), Wall(1), &identity("ann")).expect("in bounds");
        let mesh = sign(&Body::MeshGenesis(MeshGenesis {
            name: "mesh".into(),
            founders: people(),
            endorsements: 1,
            salt: nonce("mesh"),
        }));
        let nodes = NODES.iter().zip(["aws", "gcp", "azure"]).map(|(node, provider)| placement(node, provider));
        let tenant = sign(&Body::TenantGenesis(TenantGenesis {
            mesh: mesh.id().into(),
            name: "acme".into(),
            admins: people(),
            endorsements: 2,
            nodes: nodes.collect(),
            salt: nonce("acme"),
        }));
        let mut pen = Self { model: Model::default(), mesh, tenant, time: 1 };
        for (place, node) in NODES.iter().enumerate() {
            pen.model.node(place, who(node));
        }
        pen.model.policy(
            TEXT,
            Rule {
                permits: vec![Match { zone: Some("aws/a".into()), launched_by: Some("deploy".into()) }],
                forbids: vec![Match { zone: None, launched_by: Some("eve".into()) }],
            },
        );
        for genesis in [pen.mesh.clone(), pen.tenant.clone()] {
            pen.model.stored(0, &genesis).expect("it has no parents");
        }
        let mut last = pen.mesh.id();
        for (number, node) in NODES.iter().enumerate() {
            let card = NodeCard {
                node: who(node),
                sealing: *who(node).as_bytes(),
                name: (*node).to_owned(),
                zone: "aws/a".into(),
                provider: "aws".into(),
                mesh: vec![format!("10.0.0.{number}:1")],
                door: vec![format!("10.0.0.{number}:2")],
            };
            let mesh = pen.mesh.id().into();
            last = pen.write("ann", mesh, &[last], &Body::AdmitNode(card));
        }
        pen
    }

    fn write(&mut self, name: &str, document: DocumentId, after: &[StatementId], body: &Body) -> StatementId {
        self.time += 1;
        let statement = Checked::sign(body, Some(document), after.to_vec(), Wall(self.time), &identity(name));
        let statement = statement.expect("in bounds");
        self.model.stored(0, &statement).expect("its parents are there");
        statement.id()
    }

    fn document(&self) -> DocumentId {
        self.tenant.id().into()
    }

    fn say(&mut self, name: &str, after: &[StatementId], body: &Body) -> StatementId {
        let document = self.document();
        self.write(name, document, after, body)
    }

    /// The first says it and the others endorse it, one after the other.
    fn agree(&mut self, names: &[&str], after: &[StatementId], body: &Body) -> (StatementId, StatementId) {
        let said = self.say(names[0], after, body);
        let mut last = said;
        for name in &names[1..] {
            last = self.say(name, &[last], &Body::Endorse(said));
        }
        (said, last)
    }

    fn begin(&self) -> StatementId {
        self.tenant.id()
    }

    fn facts(&self) -> Arc<Facts> {
        self.model.facts(0, &self.document()).expect("the tenant is there")
    }

    fn has_role(&self, name: &str) -> bool {
        self.facts().grants.iter().any(|(whom, ..)| *whom == who(name))
    }

    /// A root, a keyring with a key, a policy, and agent `agent` bound to an instance in `zone`. What that is made of.
    fn furnish(&mut self, class: CustodyClass, zone: &str) -> (Wish, StatementId) {
        let committee = CommitteeSpec { members: NODES.map(who).to_vec(), threshold: 2, faults: 0 };
        let spec = RootSpec { committees: vec![committee] };
        let (root, mut last) = self.agree(&["ann", "bob"], &[self.begin()], &Body::ProposeRoot(spec));
        let blind = matches!(class, CustodyClass::Quorum);
        for node in NODES {
            let word = RootAttestation {
                root: root.into(),
                committee: 0,
                attempt: 1,
                epoch: 0,
                transcript: BlobHash::from_bytes([1; 32]),
                public: vec![1],
            };
            last = self.say(node, &[last], &Body::AttestRoot(word));
        }
        let policy = Body::SetPolicy(NewPolicy { scope: Scope::Tenant, text: TEXT.into() });
        let (_, last) = self.agree(&["ann", "bob"], &[last], &policy);
        let at = self.say("ann", &[last], &Body::CreateNamespace(NewNamespace { parent: None, name: "a".into() }));
        let keyring =
            NewKeyring { nonce: nonce("ring"), namespace: at.into(), name: "r".into(), root: root.into(), class };
        let last = self.say("ann", &[at], &Body::CreateKeyring(keyring));
        let ring = keyring_id(&self.document(), &who("ann"), &nonce("ring"));
        let version = WrappedVersion {
            version: VersionId::from_bytes([1; 16]),
            generation: u32::from(!blind),
            ciphertext: BlobHash::from_bytes([2; 32]),
            opened: None,
        };
        let key = NewKey { nonce: nonce("key"), keyring: ring, name: "k".into(), version };
        let mut last = self.say("ann", &[last], &Body::CreateKey(key));
        for node in &NODES[..2] {
            last = self.vote(node, &[last], "agent", "i-1", zone);
        }
        let key = key_id(&self.document(), &who("ann"), &nonce("key"));
        (Wish { agent: who("agent"), tenant: self.tenant.id().into(), key, blind }, last)
    }

    fn vote(&mut self, node: &str, after: &[StatementId], agent: &str, instance: &str, zone: &str) -> StatementId {
        let facts = InstanceFacts {
            instance: instance.to_owned(),
            provider: "aws".into(),
            account: "1".into(),
            region: "eu".into(),
            zone: zone.to_owned(),
            image: "ami".into(),
            pending: Wall(1),
            launched_by: "deploy".into(),
        };
        let (agent, evidence) = (who(agent), BlobHash::from_bytes([3; 32]));
        let vote = EnrolmentVote { agent, facts, evidence, ticket: nonce(instance), launcher: who("deploy") };
        self.say(node, after, &Body::VoteEnrolment(vote))
    }
}

fn leased() -> CustodyClass {
    let generation = Generation { number: 1, public: [9; 32], capsule: BlobHash::from_bytes([4; 32]) };
    CustodyClass::Leased { generation, lease: Millis::seconds(10) }
}

#[test]
fn a_statement_whose_parent_is_not_on_the_same_disk_has_no_place_there() {
    let mut pen = Pen::new();
    let first = pen.say("ann", &[pen.begin()], &gone_role_of("deploy"));
    let child = Checked::sign(&gone_role_of("x"), Some(pen.document()), vec![first], Wall(9), &identity("ann"));
    let genesis = pen.tenant.clone();
    pen.model.stored(1, &genesis).expect("it has no parents");
    assert_eq!(pen.model.stored(1, &child.expect("in bounds")), Err(NoPart::Parent(first)));
}

#[test]
fn a_role_needs_two_persons_and_one_who_endorses_twice_is_one() {
    let mut pen = Pen::new();
    let grant = pen.say("ann", &[pen.begin()], &Body::Grant(role_of("deploy")));
    let own = pen.say("ann", &[grant], &Body::Endorse(grant));
    assert!(!pen.has_role("deploy"));
    assert!(pen.facts().waiting.contains(&grant));
    pen.say("eve", &[own], &Body::Endorse(grant));
    assert!(!pen.has_role("deploy"), "whoever is no admin counts for nothing");
    pen.say("bob", &[own], &Body::Endorse(grant));
    assert!(pen.has_role("deploy"));
    assert!(pen.facts().waiting.is_empty());
}

#[test]
fn an_endorsement_is_judged_where_it_stands_and_not_where_its_proposal_does() {
    let mut pen = Pen::new();
    let grant = pen.say("ann", &[pen.begin()], &Body::Grant(role_of("deploy")));
    let removal = Body::RemoveAdmin(who("bob"));
    let (_, removed) = pen.agree(&["ann", "cem"], &[grant], &removal);
    pen.say("bob", &[removed], &Body::Endorse(grant));
    assert!(!pen.has_role("deploy"), "bob was an admin at the proposal's place only");
    pen.say("cem", &[removed], &Body::Endorse(grant));
    assert!(pen.has_role("deploy"));
}

#[test]
fn of_a_grant_and_a_revocation_that_had_not_seen_each_other_the_revocation_wins() {
    let mut pen = Pen::new();
    let (grant, granted) = pen.agree(&["ann", "bob"], &[pen.begin()], &Body::Grant(role_of("deploy")));
    let gone = pen.say("cem", &[pen.begin()], &gone_role_of("deploy"));
    assert!(!pen.has_role("deploy"));
    pen.say("cem", &[granted, gone], &Body::Endorse(grant));
    assert!(!pen.has_role("deploy"), "an endorsement that saw the denial does not lift the proposal over it");
    pen.agree(&["ann", "bob"], &[gone], &Body::Grant(role_of("deploy")));
    assert!(pen.has_role("deploy"), "a new grant that saw it does");
}

#[test]
fn what_a_removed_admin_does_beside_the_removal_counts_for_nothing_and_the_removal_stands() {
    let mut pen = Pen::new();
    let before = pen.say("bob", &[pen.begin()], &gone_role_of("a"));
    let (_, removed) = pen.agree(&["ann", "cem"], &[before], &Body::RemoveAdmin(who("bob")));
    let denial = Body::Revoke(Revocation { subject: Subject::Agent(who("agent")), reason: "x".into() });
    pen.say("bob", &[pen.begin()], &denial);
    pen.say("bob", &[removed], &denial);
    assert!(pen.facts().denials.is_empty(), "neither dated back nor after it");
    assert_eq!(pen.facts().admins.keys().copied().collect::<Vec<_>>().len(), 2);
    pen.agree(&["bob", "cem"], &[pen.begin()], &Body::RemoveAdmin(who("ann")));
    assert_eq!(pen.facts().admins.len(), 1, "removals that more than half of their past's admins want stand, both");
}

#[test]
fn a_suspended_admin_acts_no_more_until_a_majority_lifts_it() {
    let mut pen = Pen::new();
    let suspended = pen.say("ann", &[pen.begin()], &Body::SuspendAdmin(who("bob")));
    assert!(pen.facts().admins[&who("bob")]);
    let denial = Body::Revoke(Revocation { subject: Subject::Agent(who("agent")), reason: "x".into() });
    pen.say("bob", &[pen.begin()], &denial);
    assert!(pen.facts().denials.is_empty());
    let (_, lifted) = pen.agree(&["ann", "cem"], &[suspended], &Body::LiftSuspension(who("bob")));
    assert!(!pen.facts().admins[&who("bob")]);
    pen.say("bob", &[lifted], &denial);
    assert!(!pen.facts().denials.is_empty());
}

#[test]
fn the_furthest_state_of_a_key_counts_and_a_version_needs_the_right_keyring() {
    let mut pen = Pen::new();
    let (wish, last) = pen.furnish(CustodyClass::Quorum, "aws/a");
    let keyring = pen.facts().keys[&wish.key].keyring;
    let to = |state| Body::SetKeyState(KeyStateChange { key: wish.key, keyring, state });
    pen.say("ann", &[last], &to(KeyState::Deactivated));
    pen.say("bob", &[last], &to(KeyState::Suspended));
    assert_eq!(pen.facts().keys[&wish.key].state, KeyState::Deactivated);
    pen.say("ann", &[last], &to(KeyState::Destroyed));
    assert_eq!(pen.facts().keys[&wish.key].state, KeyState::Deactivated, "destruction needs two");
    assert_eq!(pen.model.judge(0, &wish), Verdict::MustNot(Reason::State(KeyState::Deactivated)));
}

#[test]
fn a_release_is_permitted_by_bindings_policies_and_the_absence_of_denials() {
    let mut pen = Pen::new();
    let (wish, last) = pen.furnish(leased(), "aws/a");
    assert_eq!(pen.model.judge(0, &wish), Verdict::May);
    assert_eq!(pen.model.judge(1, &wish), Verdict::MustNot(Reason::NoTenant));
    assert_eq!(pen.model.judge(0, &Wish { blind: true, ..wish }), Verdict::MustNot(Reason::Class));
    assert_eq!(pen.model.judge(0, &Wish { agent: who("eve"), ..wish }), Verdict::MustNot(Reason::NotBound));
    let other = Body::SetPolicy(NewPolicy { scope: Scope::Tenant, text: "who knows".into() });
    let (_, last) = pen.agree(&["ann", "bob"], &[last], &other);
    assert!(matches!(pen.model.judge(0, &wish), Verdict::Either(_)));
    pen.agree(&["ann", "bob"], &[last], &Body::DisplaceNode(who("n1")));
    assert_eq!(pen.model.judge(0, &wish), Verdict::MustNot(Reason::NoLessee));
    let subject = Subject::Instance("i-1".into());
    let denial = pen.say("cem", &[last], &Body::Revoke(Revocation { subject, reason: "stolen".into() }));
    assert_eq!(pen.model.judge(0, &wish), Verdict::MustNot(Reason::Denied(denial)));
}

#[test]
fn another_zone_is_not_permitted_and_each_of_several_policies_has_to_permit() {
    let mut pen = Pen::new();
    let (wish, _) = pen.furnish(leased(), "aws/b");
    assert_eq!(pen.model.judge(0, &wish), Verdict::MustNot(Reason::Policy));
    let mut pen = Pen::new();
    let (wish, _) = pen.furnish(leased(), "aws/a");
    let narrow = Match { zone: Some("aws/c".into()), launched_by: None };
    pen.model.policy("narrow", Rule { permits: vec![narrow], forbids: Vec::new() });
    let policy = Body::SetPolicy(NewPolicy { scope: Scope::Tenant, text: "narrow".into() });
    pen.agree(&["ann", "bob"], &[pen.begin()], &policy);
    assert_eq!(pen.model.judge(0, &wish), Verdict::MustNot(Reason::Policy), "one head permits, the other does not");
}

#[test]
fn two_of_three_votes_bind_an_instance_and_votes_for_two_agents_bind_neither() {
    let mut pen = Pen::new();
    let (wish, last) = pen.furnish(leased(), "aws/a");
    let one = pen.vote("n1", &[last], "other", "i-2", "aws/a");
    assert!(!pen.facts().bound.contains_key("i-2"));
    pen.vote("n1", &[one], "other", "i-2", "aws/a");
    assert!(!pen.facts().bound.contains_key("i-2"), "one custodian is one vote");
    for node in ["n2", "n3"] {
        pen.vote(node, &[last], "rival", "i-1", "aws/a");
    }
    assert!(pen.facts().instance_of(&wish.agent).is_none());
}

#[test]
fn a_denial_is_effective_when_no_quorum_can_do_without_one_who_holds_it() {
    let mut pen = Pen::new();
    let (_, last) = pen.furnish(leased(), "aws/a");
    let subject = Subject::Agent(who("agent"));
    let denial = pen.say("ann", &[last], &Body::Revoke(Revocation { subject, reason: "stolen".into() }));
    let one = pen.say("n1", &[denial], &Body::Witness(vec![denial]));
    pen.say("n1", &[one], &Body::Witness(vec![denial]));
    assert!(!pen.facts().denials[&denial].effective, "n - t + 1 + f is two");
    pen.say("n3", &[denial], &Body::Witness(vec![denial]));
    assert!(pen.facts().denials[&denial].effective);
}

#[test]
fn a_text_stands_until_somebody_who_saw_it_replaces_or_deletes_it() {
    let mut pen = Pen::new();
    let path = || vec!["contact".to_owned(), "mail".to_owned()];
    let put = |value: &str| Body::Edit(vec![EditOp::Put { path: path(), value: value.into() }]);
    let first = pen.say("ann", &[pen.begin()], &put("a"));
    pen.say("bob", &[pen.begin()], &put("b"));
    assert_eq!(pen.facts().fields[&path()].len(), 2);
    pen.say("cem", &[first], &Body::Edit(vec![EditOp::Delete { path: vec!["contact".into()] }]));
    assert_eq!(pen.facts().fields[&path()].iter().collect::<Vec<_>>(), ["b"]);
}
