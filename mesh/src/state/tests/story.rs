//! A small language for writing down who said what after having seen what.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::body::*;
use keymesh_wire::envelope::Verified;
use keymesh_wire::ids::*;
use keymesh_wire::secret::Secret32;
use keymesh_wire::sign::Identity;
use keymesh_wire::statement::{Checked, Statement};
use keymesh_wire::suite::{Level, Suite};
use keymesh_wire::time::Wall;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use crate::state::graph::Insertion;
use crate::state::{Document, MeshState, TenantState};

/// The nodes every tenant of these tests lies on.
pub const NODES: [&str; 5] = ["n1", "n2", "n3", "n4", "n5"];

/// One document as it is being written by several people.
pub struct Story {
    document: DocumentId,
    genesis: StatementId,
    people: BTreeMap<String, Identity>,
    statements: Vec<Checked>,
    time: u64,
}

/// Who somebody is, by name.
pub fn who(name: &str) -> PrincipalId {
    identity(name).principal()
}

/// The key of somebody, by name.
pub fn identity(name: &str) -> Identity {
    let mut seed: [u8; 32] = Sha256::digest(name.as_bytes()).into();
    Identity::from_seed(Secret32::from_array(&mut seed))
}

/// Somebody by name.
pub fn person(name: &str) -> Person {
    Person { principal: who(name), name: name.to_owned() }
}

/// A number that depends on a word.
pub fn nonce(word: &str) -> Nonce {
    let hash = Sha256::digest(word.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    Nonce::from_bytes(bytes)
}

/// A hash that depends on a word.
pub fn blob(word: &str) -> BlobHash {
    BlobHash::from_bytes(Sha256::digest(word.as_bytes()).into())
}

/// A node as a tenant places it.
pub fn placement(node: &str) -> Placement {
    let provider = match node {
        "n1" | "n2" => "aws",
        "n3" | "n4" => "gcp",
        _ => "azure",
    };
    Placement {
        node: who(node),
        sealing: *who(node).as_bytes(),
        zone: format!("{provider}/z-{node}"),
        provider: provider.to_owned(),
        lessee: true,
    }
}

/// A version of a key.
pub fn version(word: &str) -> WrappedVersion {
    let version = VersionId::from_bytes(*nonce(word).as_bytes());
    WrappedVersion { version, generation: 0, ciphertext: blob(word), opened: None }
}

/// Facts about an instance.
pub fn facts(instance: &str) -> InstanceFacts {
    InstanceFacts {
        instance: instance.to_owned(),
        provider: "aws".into(),
        account: "123456789012".into(),
        region: "eu-west-1".into(),
        zone: "aws/eu-west-1a".into(),
        image: "ami-1".into(),
        pending: Wall(1),
        launched_by: "deploy".into(),
    }
}

/// A role for somebody.
pub fn grant(name: &str, role: Role, scope: Scope) -> Body {
    Body::Grant(RoleGrant { principal: who(name), name: name.to_owned(), role, scope })
}

/// A role taken away.
pub fn revoke_grant(name: &str, role: Role, scope: Scope) -> Body {
    Body::RevokeGrant(RoleRevocation { principal: who(name), role, scope })
}

/// A policy for the whole tenant.
pub fn policy(text: &str) -> Body {
    Body::SetPolicy(NewPolicy { scope: Scope::Tenant, text: text.to_owned() })
}

/// A denial of an instance.
pub fn revoke(instance: &str) -> Body {
    Body::Revoke(Revocation { subject: Subject::Instance(instance.to_owned()), reason: "stolen".into() })
}

/// A vote that an agent is an instance.
pub fn vote(agent: &str, instance: &str) -> Body {
    Body::VoteEnrolment(EnrolmentVote {
        agent: who(agent),
        facts: facts(instance),
        evidence: blob(instance),
        ticket: nonce(agent),
        launcher: who("deploy"),
    })
}

/// A statement that begins a mesh, of which the first founder is the author.
pub fn mesh_genesis(founders: &[&str], endorsements: u8) -> Checked {
    let body = Body::MeshGenesis(MeshGenesis {
        name: "mesh".into(),
        founders: founders.iter().map(|name| person(name)).collect(),
        endorsements,
        salt: nonce("mesh"),
    });
    signed(&identity(founders[0]), &body, None, Vec::new(), 1)
}

/// A statement that begins a tenant, of which the first admin is the author.
pub fn tenant_genesis(admins: &[&str], endorsements: u8) -> Checked {
    tenant_genesis_in(MeshId::from_bytes([7; 32]), admins, endorsements)
}

/// As [`tenant_genesis`], in this mesh.
pub fn tenant_genesis_in(mesh: MeshId, admins: &[&str], endorsements: u8) -> Checked {
    let body = Body::TenantGenesis(TenantGenesis {
        mesh,
        name: "acme".into(),
        admins: admins.iter().map(|name| person(name)).collect(),
        endorsements,
        nodes: NODES.iter().map(|node| placement(node)).collect(),
        salt: nonce("acme"),
    });
    signed(&identity(admins[0]), &body, None, Vec::new(), 1)
}

/// A signed statement.
pub fn signed(
    author: &Identity,
    body: &Body,
    document: Option<DocumentId>,
    parents: Vec<StatementId>,
    time: u64,
) -> Checked {
    Checked::sign(body, document, parents, Wall(time), author).expect("a body within its limits")
}

/// A signed statement of a kind that nobody here knows.
pub fn unknown(author: &Identity, document: DocumentId, parents: Vec<StatementId>, level: u16) -> Checked {
    let statement = Statement {
        suite: Suite::V1,
        level: Level(level),
        author: author.principal(),
        document: Some(document),
        parents,
        time: Wall(9),
        body: b"\x82\x18\x63\x80".to_vec(),
    };
    let signed = Verified::sign(statement, author);
    Checked::from_bytes(signed.bytes()).expect("well-formed above our level")
}

impl Story {
    /// A tenant on five nodes.
    pub fn tenant(admins: &[&str], endorsements: u8) -> Self {
        Self::begin(tenant_genesis(admins, endorsements))
    }

    /// A mesh.
    pub fn mesh(founders: &[&str], endorsements: u8) -> Self {
        Self::begin(mesh_genesis(founders, endorsements))
    }

    /// What a genesis begins.
    pub fn begin(genesis: Checked) -> Self {
        let (document, id) = (genesis.document(), genesis.id());
        Self { document, genesis: id, people: BTreeMap::new(), statements: vec![genesis], time: 1000 }
    }

    /// The document.
    pub fn document(&self) -> DocumentId {
        self.document
    }

    /// The statement that began it.
    pub fn genesis(&self) -> StatementId {
        self.genesis
    }

    /// Everything said, in the order in which it was.
    pub fn statements(&self) -> &[Checked] {
        &self.statements
    }

    /// The statements on which no other builds yet.
    pub fn heads(&self) -> Vec<StatementId> {
        let parents: BTreeSet<_> = self.statements.iter().flat_map(Checked::parents).collect();
        self.statements.iter().map(Checked::id).filter(|id| !parents.contains(id)).collect()
    }

    /// Somebody says something after having seen everything.
    pub fn say(&mut self, author: &str, body: &Body) -> StatementId {
        self.say_after(author, &self.heads(), body)
    }

    /// Somebody says something after having seen `parents` and what they build on, and nothing else.
    pub fn say_after(&mut self, author: &str, parents: &[StatementId], body: &Body) -> StatementId {
        self.time += 1;
        let identity = self.people.entry(author.to_owned()).or_insert_with(|| identity(author));
        let statement = signed(identity, body, Some(self.document), parents.to_vec(), self.time);
        self.add(statement)
    }

    /// Adds a statement that was made elsewhere.
    pub fn add(&mut self, statement: Checked) -> StatementId {
        let id = statement.id();
        self.statements.push(statement);
        id
    }

    /// Somebody endorses after having seen everything.
    pub fn endorse(&mut self, author: &str, target: StatementId) -> StatementId {
        self.say(author, &Body::Endorse(target))
    }

    /// Several propose and endorse together; the first proposes. Gives the proposal and the last endorsement.
    pub fn together(&mut self, authors: &[&str], body: &Body) -> (StatementId, StatementId) {
        self.together_after(authors, &self.heads(), body)
    }

    /// As [`Story::together`], after having seen `parents` and what the authors say here, and nothing else.
    pub fn together_after(
        &mut self,
        authors: &[&str],
        parents: &[StatementId],
        body: &Body,
    ) -> (StatementId, StatementId) {
        let proposal = self.say_after(authors[0], parents, body);
        let mut last = proposal;
        for author in &authors[1..] {
            last = self.say_after(author, &[last], &Body::Endorse(proposal));
        }
        (proposal, last)
    }

    /// Makes a root of all five nodes, `threshold` of 5 with `faults`, which all of them attest.
    pub fn root(&mut self, admins: &[&str], threshold: u8, faults: u8) -> RootId {
        let members = NODES.iter().map(|node| who(node)).collect();
        let spec = RootSpec { committees: vec![CommitteeSpec { members, threshold, faults }] };
        let (root, _) = self.together(admins, &Body::ProposeRoot(spec));
        for node in NODES {
            self.say(node, &attest_root(root.into(), "transcript"));
        }
        root.into()
    }

    /// A namespace.
    pub fn namespace(&mut self, author: &str, parent: Option<NamespaceId>, name: &str) -> NamespaceId {
        self.say(author, &Body::CreateNamespace(NewNamespace { parent, name: name.to_owned() })).into()
    }

    /// A keyring of class quorum, with its name for a nonce.
    pub fn keyring(&mut self, author: &str, namespace: NamespaceId, name: &str) -> KeyringId {
        self.say(author, &new_keyring(namespace, name, name));
        keyring_id(&self.document, &who(author), &nonce(name))
    }

    /// A key, with its name for a nonce.
    pub fn key(&mut self, author: &str, keyring: KeyringId, name: &str) -> KeyId {
        self.say(author, &new_key(keyring, name, name));
        key_id(&self.document, &who(author), &nonce(name))
    }

    /// The document with everything said, the same in every order of delivery that was tried.
    pub fn document_now(&self) -> Document {
        let told = deliver(&self.statements);
        for seed in 0..4 {
            let shuffled = deliver(&shuffle(&self.statements, &mut ChaCha8Rng::seed_from_u64(seed)));
            assert_eq!(told.state(), shuffled.state(), "another order of delivery gave another state");
            assert_eq!(told.digest(), shuffled.digest());
            assert_eq!(told.above(), shuffled.above());
        }
        told
    }

    /// The tenant's state.
    pub fn tenant_now(&self) -> TenantState {
        self.document_now().tenant().expect("a tenant's document").clone()
    }

    /// The mesh's state.
    pub fn mesh_now(&self) -> MeshState {
        self.document_now().mesh().expect("the mesh's document").clone()
    }
}

/// A custodian's word about a root's first committee.
pub fn attest_root(root: RootId, transcript: &str) -> Body {
    Body::AttestRoot(RootAttestation {
        root,
        committee: 0,
        attempt: 0,
        epoch: 0,
        transcript: blob(transcript),
        public: transcript.as_bytes().to_vec(),
    })
}

/// A keyring of class quorum.
pub fn new_keyring(namespace: NamespaceId, name: &str, word: &str) -> Body {
    let (root, class) = (RootId::from_bytes([1; 32]), CustodyClass::Quorum);
    Body::CreateKeyring(NewKeyring { nonce: nonce(word), namespace, name: name.to_owned(), root, class })
}

/// A key.
pub fn new_key(keyring: KeyringId, name: &str, word: &str) -> Body {
    Body::CreateKey(NewKey { nonce: nonce(word), keyring, name: name.to_owned(), version: version(word) })
}

/// The names of the admins who may act.
pub fn active(admins: &BTreeMap<PrincipalId, crate::state::tenant::Admin>) -> BTreeSet<String> {
    admins.values().filter(|admin| !admin.suspended).map(|admin| admin.person.name.clone()).collect()
}

/// A set of names.
pub fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A document to which `statements` were delivered in this order and folded once at the end.
pub fn deliver(statements: &[Checked]) -> Document {
    let mut document = Document::begin(statements[0].clone()).expect("the first statement begins the document");
    for statement in &statements[1..] {
        assert!(matches!(document.insert(statement.clone()), Insertion::New(_)));
    }
    document.refold();
    document
}

/// The statements in another order in which parents still come before children.
pub fn shuffle(statements: &[Checked], rng: &mut ChaCha8Rng) -> Vec<Checked> {
    let mut waiting: Vec<&Checked> = statements[1..].iter().collect();
    let mut there = BTreeSet::from([statements[0].id()]);
    let mut out = vec![statements[0].clone()];
    while !waiting.is_empty() {
        let ready: Vec<usize> = (0..waiting.len())
            .filter(|index| waiting[*index].parents().iter().all(|parent| there.contains(parent)))
            .collect();
        let chosen = waiting.swap_remove(ready[below(rng, ready.len())]);
        there.insert(chosen.id());
        out.push(chosen.clone());
    }
    out
}

/// A number below `limit`.
pub fn below(rng: &mut ChaCha8Rng, limit: usize) -> usize {
    (rng.next_u32() as usize) % limit
}
