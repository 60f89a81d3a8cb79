//! Real nodes in this process, and the people and agents around them.

#![allow(dead_code, reason = "each test file uses a part")]

pub mod raw;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use keymesh::config::{Addresses, Config};
use keymesh::keyfile::{self, KeyKind};
use keymesh::runtime::Running;
use keymesh_agent::client::{Client, Session, Trust};
use keymesh_custody::{Ristretto, RootPublic};
use keymesh_mesh::state::Document;
use keymesh_mesh::state::tenant::TenantState;
use keymesh_wire::api::{DocumentStatements, Submit, Submitted};
use keymesh_wire::body::*;
use keymesh_wire::ids::*;
use keymesh_wire::label::{CapsuleLabel, CapsulePurpose, VersionLabel};
use keymesh_wire::sealing::{SealingPublic, SealingSecret, seal_to};
use keymesh_wire::secret::Secret32;
use keymesh_wire::sign::Identity;
use keymesh_wire::statement::Checked;
use keymesh_wire::suite::Suite;
use keymesh_wire::time::{Millis, Wall};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sha2::{Digest, Sha256};

/// Permits everything an enrolled instance in `aws/a` asks for.
pub const POLICY: &str = r#"permit(principal, action, resource) when { context.zone == "aws/a" };"#;

/// An identity that is the same in every run.
pub fn identity(number: u8) -> Identity {
    Identity::from_seed(Secret32::build(|out| out.fill(number)))
}

/// The one operator of these meshes.
pub fn founder() -> Identity {
    identity(200)
}

/// The one admin of these tenants.
pub fn admin() -> Identity {
    identity(201)
}

fn node_identity(place: usize) -> Identity {
    identity(u8::try_from(place).expect("few nodes") + 1)
}

pub fn rng() -> ChaCha20Rng {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("randomness");
    ChaCha20Rng::from_seed(seed)
}

pub fn wall() -> Wall {
    keymesh_agent::system::wall()
}

/// A port that nobody listens at, given out once. It lies below those that connections are given, so that none takes it
/// before the node does.
fn free_port() -> SocketAddr {
    const FIRST: u32 = 10_000;
    const MANY: u32 = 20_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let next = GIVEN.fetch_add(1, Ordering::Relaxed);
        assert!(next < MANY, "no port of {MANY} is free");
        let port = FIRST + (std::process::id().wrapping_mul(97).wrapping_add(next)) % MANY;
        let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).expect("below 30,000")));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

pub fn genesis() -> Checked {
    let founder = founder();
    let person = Person { principal: founder.principal(), name: "ann".into() };
    let body =
        MeshGenesis { name: "m".into(), founders: vec![person], endorsements: 1, salt: Nonce::from_bytes([0; 16]) };
    Checked::sign(&Body::MeshGenesis(body), None, vec![], Wall(1), &founder).expect("valid")
}

pub fn mesh() -> MeshId {
    MeshId::from(genesis().id())
}

/// One node's folder and configuration.
pub struct Place {
    pub folder: PathBuf,
    pub config: Config,
    pub identity: Identity,
}

/// Several nodes, admitted, not started yet.
pub struct World {
    pub dir: tempfile::TempDir,
    pub places: Vec<Place>,
    pub admissions: Vec<Vec<u8>>,
}

impl World {
    pub fn new(count: usize) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let genesis = genesis();
        let (mut places, mut admissions) = (Vec::new(), Vec::new());
        let mut parent = genesis.id();
        for place in 0..count {
            let identity = node_identity(place);
            let folder = dir.path().join(format!("n{place}"));
            std::fs::create_dir(&folder).expect("a folder");
            let listen = Addresses { mesh: free_port(), door: free_port() };
            let zone = "aws/a".parse().expect("a zone");
            let config = Config::new(&folder, mesh(), format!("n{place}"), zone, listen);
            keyfile::create(&config.key_file, KeyKind::Node, &identity).expect("a key file");
            std::fs::write(folder.join("mesh.genesis"), genesis.bytes()).expect("written");
            let card = NodeCard {
                node: identity.principal(),
                sealing: *identity.sealing().public().as_bytes(),
                name: config.name.clone(),
                zone: "aws/a".into(),
                provider: "aws".into(),
                mesh: vec![listen.mesh.to_string()],
                door: vec![listen.door.to_string()],
            };
            let admit = Body::AdmitNode(card);
            let admit = Checked::sign(&admit, Some(mesh().into()), vec![parent], Wall(2), &founder()).expect("valid");
            parent = admit.id();
            admissions.push(admit.bytes().to_vec());
            places.push(Place { folder, config, identity });
        }
        Self { dir, places, admissions }
    }

    pub async fn start(&self, place: usize) -> Running {
        Running::open_and_start(self.places[place].config.clone()).await.expect("a running node")
    }

    /// Starts all nodes and tells each who the others are.
    pub async fn start_all(&self) -> Vec<Running> {
        let mut running = Vec::new();
        for place in 0..self.places.len() {
            running.push(self.start(place).await);
        }
        for place in 0..self.places.len() {
            let (trust, door) = (Trust::Pinned(self.id(place)), self.door(place));
            let statements = self.admissions.clone();
            blocking(move || submit(door, &trust, statements, vec![])).await;
        }
        running
    }

    pub fn id(&self, place: usize) -> NodeId {
        self.places[place].identity.principal()
    }

    pub fn door(&self, place: usize) -> SocketAddr {
        self.places[place].config.listen.door
    }
}

/// Runs what blocks beside the asynchronous runtime.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

pub fn connect(door: SocketAddr, trust: &Trust) -> Client {
    Client::connect(door, trust, Duration::from_secs(10)).expect("a connection")
}

pub fn submit(door: SocketAddr, trust: &Trust, statements: Vec<Vec<u8>>, blobs: Vec<Vec<u8>>) -> Submitted {
    connect(door, trust).post_json("/v1/statements", &Submit { statements, blobs }).expect("submitted")
}

/// Waits until `ready` gives something.
pub fn eventually<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A tenant as its admin works on it, by way of the first node.
pub struct Tenant {
    pub id: TenantId,
    pub door: SocketAddr,
    pub node: NodeId,
    heads: Vec<StatementId>,
    number: u8,
}

/// What a test asks keys with.
pub struct Made {
    pub keyring: KeyringId,
    pub key: KeyId,
    pub data_key: [u8; 32],
}

impl Tenant {
    /// Begins a tenant on all nodes of the world.
    pub fn begin(world: &World) -> Self {
        let (door, node) = (world.door(0), world.id(0));
        let nodes = world.places.iter().map(|place| Placement {
            node: place.identity.principal(),
            sealing: *place.identity.sealing().public().as_bytes(),
            zone: "aws/a".into(),
            provider: format!("p{}", place.config.name),
            lessee: true,
        });
        let body = TenantGenesis {
            mesh: mesh(),
            name: "acme".into(),
            admins: vec![Person { principal: admin().principal(), name: "bob".into() }],
            endorsements: 1,
            nodes: nodes.collect(),
            salt: Nonce::from_bytes([3; 16]),
        };
        let genesis = Checked::sign(&Body::TenantGenesis(body), None, vec![], Wall(3), &admin()).expect("valid");
        submit(door, &Trust::Pinned(node), vec![genesis.bytes().to_vec()], vec![]);
        Self { id: TenantId::from(genesis.id()), door, node, heads: vec![genesis.id()], number: 0 }
    }

    pub fn trust(&self) -> Trust {
        Trust::Pinned(self.node)
    }

    pub fn session(&self, who: &Identity) -> Session {
        connect(self.door, &self.trust()).open_session(who, self.id).expect("a session")
    }

    /// Signs and hands in a statement that has seen everything the first node has.
    pub fn say(&mut self, body: &Body, who: &Identity, blobs: Vec<Vec<u8>>) -> StatementId {
        self.read();
        let said = Checked::sign(body, Some(self.id.into()), self.heads.clone(), wall(), who).expect("valid");
        submit(self.door, &self.trust(), vec![said.bytes().to_vec()], blobs);
        self.heads = vec![said.id()];
        said.id()
    }

    /// The document as the first node has it.
    pub fn read(&mut self) -> TenantState {
        let path = format!("/v1/documents/{}", DocumentId::from(self.id));
        let read: DocumentStatements = self.session(&admin()).get_json(&path).expect("the admin may read");
        let mut open: Vec<Checked> =
            read.statements.iter().map(|bytes| Checked::from_bytes(bytes).expect("valid")).collect();
        let mut document = Document::begin(open.remove(0)).expect("a genesis");
        for statement in open {
            document.insert(statement);
        }
        document.refold();
        self.heads = document.graph().heads().copied().collect();
        document.tenant().expect("a tenant").clone()
    }

    fn nonce(&mut self) -> [u8; 16] {
        self.number += 1;
        [self.number; 16]
    }

    /// Has a root made by all nodes of the world and waits until it is live.
    pub fn root(&mut self, world: &World, threshold: u8) -> RootId {
        let members = world.places.iter().map(|place| place.identity.principal()).collect();
        let spec = RootSpec { committees: vec![CommitteeSpec { members, threshold, faults: 0 }] };
        let root = RootId::from(self.say(&Body::ProposeRoot(spec), &admin(), vec![]));
        eventually("a live root", || self.read().roots.get(&root).is_some_and(|root| root.live).then_some(root))
    }

    pub fn publics(&mut self, root: RootId) -> Vec<RootPublic<Ristretto>> {
        let state = self.read();
        let committees = &state.roots[&root].committees;
        let public = |c: &keymesh_mesh::state::tenant::RootCommittee| c.public.clone().expect("public");
        committees.iter().map(|c| RootPublic::from_bytes(&public(c)).expect("sound")).collect()
    }

    pub fn namespace(&mut self) -> NamespaceId {
        let new = NewNamespace { parent: None, name: "payments".into() };
        NamespaceId::from(self.say(&Body::CreateNamespace(new), &admin(), vec![]))
    }

    pub fn policy(&mut self, text: &str) {
        self.say(&Body::SetPolicy(NewPolicy { scope: Scope::Tenant, text: text.into() }), &admin(), vec![]);
    }

    /// A leased keyring with one key.
    pub fn leased(&mut self, namespace: NamespaceId, root: RootId, lease: Millis) -> Made {
        let publics = self.publics(root);
        let nonce = Nonce::from_bytes(self.nonce());
        let keyring = keyring_id(&self.id.into(), &admin().principal(), &nonce);
        let secret = SealingSecret::random(&mut rng());
        let public = *secret.public().as_bytes();
        let label = CapsuleLabel {
            suite: Suite::V1,
            mesh: mesh(),
            tenant: self.id,
            root,
            keyring,
            purpose: CapsulePurpose::Generation { number: 1, public },
        };
        let exposed = secret.expose_secret().expose_secret();
        let capsule = keymesh_custody::seal(&label.bytes(), &publics, exposed, &mut rng()).expect("sealed").to_bytes();
        let generation = Generation { number: 1, public, capsule: hash(&capsule) };
        let class = CustodyClass::Leased { generation, lease };
        let new = NewKeyring { nonce, namespace, name: format!("ring{}", self.number), root, class };
        self.say(&Body::CreateKeyring(new), &admin(), vec![capsule]);
        eventually("an attested generation", || {
            self.read().keyrings.get(&keyring).is_some_and(|ring| ring.current(|_| true).is_some()).then_some(())
        });
        let (nonce, version) = (Nonce::from_bytes(self.nonce()), VersionId::from_bytes(self.nonce()));
        let key = key_id(&self.id.into(), &admin().principal(), &nonce);
        let data_key = [self.number; 32];
        let label =
            VersionLabel { suite: Suite::V1, mesh: mesh(), tenant: self.id, keyring, generation: 1, key, version };
        let to = SealingPublic::from_bytes(public).expect("a key");
        let sealed = seal_to(&to, &label.bytes(), &[], &data_key, &mut rng());
        let version = WrappedVersion { version, generation: 1, ciphertext: hash(&sealed), opened: None };
        let new = NewKey { nonce, keyring, name: "volume".into(), version };
        self.say(&Body::CreateKey(new), &admin(), vec![sealed]);
        Made { keyring, key, data_key }
    }

    /// A quorum keyring with one key.
    pub fn quorum(&mut self, namespace: NamespaceId, root: RootId) -> Made {
        let publics = self.publics(root);
        let nonce = Nonce::from_bytes(self.nonce());
        let keyring = keyring_id(&self.id.into(), &admin().principal(), &nonce);
        let new = NewKeyring { nonce, namespace, name: "blind".into(), root, class: CustodyClass::Quorum };
        self.say(&Body::CreateKeyring(new), &admin(), vec![]);
        let (nonce, version) = (Nonce::from_bytes(self.nonce()), VersionId::from_bytes(self.nonce()));
        let key = key_id(&self.id.into(), &admin().principal(), &nonce);
        let data_key = [self.number; 32];
        let label = CapsuleLabel {
            suite: Suite::V1,
            mesh: mesh(),
            tenant: self.id,
            root,
            keyring,
            purpose: CapsulePurpose::Version { key, version },
        };
        let capsule =
            keymesh_custody::seal(&label.bytes(), &publics, &data_key, &mut rng()).expect("sealed").to_bytes();
        let version = WrappedVersion { version, generation: 0, ciphertext: hash(&capsule), opened: None };
        let new = NewKey { nonce, keyring, name: "volume".into(), version };
        self.say(&Body::CreateKey(new), &admin(), vec![capsule]);
        Made { keyring, key, data_key }
    }

    /// Binds an instance to an agent, with the custodians' votes signed here: evidence has its own tests.
    pub fn bind(&mut self, world: &World, agent: &Identity, instance: &str, zone: &str) {
        let facts = InstanceFacts {
            instance: instance.into(),
            provider: "aws".into(),
            account: "123456789012".into(),
            region: "eu-west-1".into(),
            zone: zone.into(),
            image: "ami-1".into(),
            pending: Wall(1),
            launched_by: "deploy".into(),
        };
        let vote = EnrolmentVote {
            agent: agent.principal(),
            facts,
            evidence: hash(instance.as_bytes()),
            ticket: Nonce::from_bytes(self.nonce()),
            launcher: identity(202).principal(),
        };
        for place in &world.places {
            self.say(&Body::VoteEnrolment(vote.clone()), &place.identity, vec![]);
        }
    }

    /// The launcher whose tickets the votes name.
    pub fn launcher(&mut self) {
        let grant = RoleGrant {
            principal: identity(202).principal(),
            name: "deploy".into(),
            role: Role::Launcher,
            scope: Scope::Tenant,
        };
        self.say(&Body::Grant(grant), &admin(), vec![]);
    }
}

pub fn hash(bytes: &[u8]) -> BlobHash {
    BlobHash::from_bytes(Sha256::digest(bytes).into())
}

/// The whole of a folder's files, for searching.
pub fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.clone(), std::fs::read(&path).expect("a file")));
        }
    }
    found
}
