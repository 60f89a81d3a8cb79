//! A mesh of real node processes, mostly five, with everything a measurement needs, made as quickly as statements can be signed.
//!
//! The processes are the release builds under the test network's supervisor; what people say is signed here and handed
//! to the nodes' doors, so that a measurement begins and ends at the door and not at a command line.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use keymesh::config::{Addresses, Config};
use keymesh::keyfile::{self, KeyKind};
use keymesh_agent::client::{Client, Session, Trust};
use keymesh_agent::enrol::Evidence;
use keymesh_agent::system::{random_bytes, randomness, wall};
use keymesh_testnet::binaries::Binaries;
use keymesh_testnet::metadata::{InstanceSpec, Signer, make_signer, sign_document, wall_now};
use keymesh_testnet::testnet::Testnet;
use keymesh_testnet::topology::Place;
use keymesh_wire::api::{DocumentStatements, Enrol, Enrolled, Status, Submit, Submitted};
use keymesh_wire::body::{Body, NodeCard};
use keymesh_wire::envelope::Verified;
use keymesh_wire::ids::{DocumentId, MeshId, RequestId, StatementId};
use keymesh_wire::membership::Members;
use keymesh_wire::request::EnrolmentRequest;
use keymesh_wire::sign::Identity;
use keymesh_wire::suite::Suite;

use crate::draft::Draft;
use crate::error::BenchError;
use crate::people::{Committee, Keys, People, Tenant};

/// How long one question may take.
const ASK: Duration = Duration::from_secs(10);
/// How long anything awaited may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at a node that does not have it yet.
const LOOK: Duration = Duration::from_millis(1);
const ACCOUNT: &str = "123456789012";
const INSTANCE: &str = "i-0123456789abcdef0";

/// Admitted nodes that reach one another, and those who may speak.
#[derive(Debug)]
pub struct Mesh {
    /// The processes.
    pub net: Testnet,
    /// The mesh.
    pub mesh: MeshId,
    /// Its signed membership.
    pub members: Arc<Members>,
    /// The people.
    pub people: People,
    /// The nodes, as they were admitted.
    pub cards: Vec<NodeCard>,
    signer: Signer,
}

impl Mesh {
    /// Builds the programs, or takes those in the folder `programs` as they are; starts a node at each place and admits
    /// them.
    ///
    /// # Errors
    /// [`BenchError`].
    pub fn begin(programs: Option<&Path>, places: &[Place]) -> Result<Self, BenchError> {
        let binaries = programs.map_or_else(Binaries::build, Binaries::in_folder)?;
        Self::of(Testnet::new(binaries, places, None)?)
    }

    /// Starts the nodes of `net`, of which nothing runs yet, and admits them.
    ///
    /// # Errors
    /// [`BenchError`].
    pub fn of(mut net: Testnet) -> Result<Self, BenchError> {
        let people = People::new();
        let mut draft = people.mesh()?;
        let mesh = MeshId::from(draft.id());
        net.mesh = Some(mesh);
        let cards = set_up(&mut net, mesh, &draft.take().statements.concat())?;
        net.start(&net.all())?;
        for card in &cards {
            draft.say(&Body::AdmitNode(card.clone()), &people.ann, wall())?;
        }
        let admissions = draft.take();
        // Nodes that nobody admitted yet know of no others, so each is told by itself.
        for node in &net.nodes {
            submit(&mut node.client()?, &admissions)?;
        }
        net.wait_connected(&net.all(), PATIENCE)?;
        let members = net.members()?;
        let signer = make_signer(&net.dir)?;
        Ok(Self { net, mesh, members, people, cards, signer })
    }

    /// A connection to a node.
    ///
    /// # Errors
    /// [`BenchError::Client`].
    pub fn client(&self, node: usize) -> Result<Client, BenchError> {
        let trust = Trust::Members(self.members.clone());
        Ok(Client::connect(self.net.nodes[node].door(), &trust, ASK)?)
    }

    /// A session of `who` with a node.
    ///
    /// # Errors
    /// [`BenchError::Client`].
    pub fn session(&self, node: usize, who: &Identity, tenant: &Tenant) -> Result<Session, BenchError> {
        Ok(self.client(node)?.open_session(who, tenant.id)?)
    }

    /// The node that is quickest to connect to: where an agent goes.
    ///
    /// # Errors
    /// [`BenchError::Client`].
    pub fn nearest(&self) -> Result<usize, BenchError> {
        let mut nearest = None;
        for node in self.net.all() {
            let took = self.client(node)?.connected_in();
            if nearest.is_none_or(|(best, _)| took < best) {
                nearest = Some((took, node));
            }
        }
        nearest.map(|(_, node)| node).ok_or(BenchError::Unexpected("the mesh has no nodes"))
    }

    /// Looks at all nodes at once.
    ///
    /// # Errors
    /// [`BenchError::Client`].
    pub fn watch(&self) -> Result<Watch, BenchError> {
        let clients = self.net.all().into_iter().map(|node| self.client(node)).collect::<Result<_, _>>()?;
        Ok(Watch { clients })
    }

    /// Begins a tenant on all nodes and waits until all have it.
    ///
    /// # Errors
    /// [`BenchError`].
    pub fn tenant(&self, name: &str) -> Result<Tenant, BenchError> {
        let mut tenant = self.people.tenant(self.mesh, name, &self.cards)?;
        self.hand_in(&mut tenant.draft)?;
        Ok(tenant)
    }

    /// Hands in what was said and waits until all nodes have it.
    fn hand_in(&self, draft: &mut Draft) -> Result<(), BenchError> {
        submit(&mut self.client(0)?, &draft.take())?;
        self.watch()?.wait(draft.id(), draft.len(), PATIENCE)
    }

    /// Takes in what a node holds of a tenant.
    ///
    /// # Errors
    /// [`BenchError`].
    pub fn catch_up(&self, tenant: &mut Tenant) -> Result<(), BenchError> {
        let mut session = self.session(0, &self.people.ann, tenant)?;
        let held: DocumentStatements = session.get_json(&format!("/v1/documents/{}", tenant.draft.id()))?;
        tenant.draft.catch_up(&held.statements)
    }

    /// Has a committee make a root. Returns how long it took from handing in the last endorsement until all nodes have all
    /// attestations.
    ///
    /// # Errors
    /// [`BenchError`].
    pub fn root_of(&self, tenant: &mut Tenant, committee: Committee) -> Result<Duration, BenchError> {
        let root = self.people.propose_root(tenant, &self.cards, committee)?;
        self.hand_in(&mut tenant.draft)?;
        self.people.endorse(tenant, StatementId::from(root))?;
        let (endorsement, mut client, mut watch) = (tenant.draft.take(), self.client(0)?, self.watch()?);
        let attested = tenant.draft.len() + committee.members;
        let started = Instant::now();
        submit(&mut client, &endorsement)?;
        watch.wait(tenant.draft.id(), attested, PATIENCE)?;
        let took = started.elapsed();
        self.catch_up(tenant)?;
        if tenant.draft.tenant()?.roots.get(&root).is_some_and(|root| root.live) {
            Ok(took)
        } else {
            Err(BenchError::Unexpected("all attested the root, but it is not live"))
        }
    }

    /// Makes keyrings, keys and the policy that lets the agent have them ([`People::keys`]), known to all nodes.
    ///
    /// # Errors
    /// [`BenchError`].
    pub fn keys(&self, tenant: &mut Tenant) -> Result<Keys, BenchError> {
        let certificate = self.signer.certificate().der().to_vec();
        let keys = self.people.keys(tenant, certificate, |tenant, keyring| {
            self.hand_in(&mut tenant.draft)?;
            let until = Instant::now() + PATIENCE;
            while Instant::now() < until {
                self.catch_up(tenant)?;
                let known = tenant.draft.tenant()?.keyrings.get(&keyring);
                if known.is_some_and(|known| known.current(|_| true).is_some()) {
                    return Ok(());
                }
                thread::sleep(Duration::from_millis(50));
            }
            Err(BenchError::Unexpected("no lessee attested the keyring's generation"))
        })?;
        self.hand_in(&mut tenant.draft)?;
        Ok(keys)
    }

    /// An agent whose instance `deploy` launched just now, bound to it by the custodians.
    ///
    /// # Errors
    /// [`BenchError::Client`] if it is refused.
    pub fn agent(&self, tenant: &Tenant) -> Result<Arc<Identity>, BenchError> {
        let agent = Arc::new(Identity::generate(&mut randomness()));
        let instance = InstanceSpec {
            account: ACCOUNT.to_owned(),
            region: "eu-west-1".to_owned(),
            zone: "eu-west-1a".to_owned(),
            instance: INSTANCE.to_owned(),
            image: "ami-0abcdef1234567890".to_owned(),
            instance_type: "m7g.large".to_owned(),
            pending: wall_now(),
        };
        let pkcs7 = sign_document(&self.signer, &instance.document())?.into_bytes();
        let ticket = self.people.ticket(tenant, &format!("aws:{ACCOUNT}:{INSTANCE}"), &agent);
        let request = EnrolmentRequest {
            suite: Suite::V1,
            tenant: tenant.id,
            request: RequestId::from_bytes(random_bytes()),
            agent: agent.principal(),
            issued: wall(),
            evidence: Evidence::AwsIid { pkcs7 }.bytes(),
            ticket: Verified::sign(ticket, &self.people.deploy).bytes().to_vec(),
            voucher: None,
        };
        let enrol = Enrol { request: Verified::sign(request, &agent).bytes().to_vec() };
        let mut client = self.client(0)?;
        let until = Instant::now() + PATIENCE;
        loop {
            match client.post_json::<_, Enrolled>("/v1/enrol", &enrol) {
                Ok(_) => return Ok(agent),
                Err(error) if error.retryable() && Instant::now() < until => thread::sleep(Duration::from_millis(50)),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Makes every node's folder as `keymesh node init` does, and returns the cards they want to be admitted with.
fn set_up(net: &mut Testnet, mesh: MeshId, genesis: &[u8]) -> Result<Vec<NodeCard>, BenchError> {
    let mut cards = Vec::new();
    for node in &mut net.nodes {
        fs::create_dir(&node.dir).map_err(BenchError::io("make", &node.dir))?;
        let zone = node.place.zone.parse();
        let zone = zone.map_err(|_| BenchError::Unexpected("the topology has a zone that is none"))?;
        let listen = Addresses { mesh: node.addresses.mesh, door: node.addresses.door };
        let config = Config::new(&node.dir, mesh, node.place.name.to_owned(), zone, listen);
        let identity = Identity::generate(&mut randomness());
        keyfile::create(&config.key_file, KeyKind::Node, &identity)?;
        config.write_new(&node.dir.join("node.toml"))?;
        let file = node.dir.join("mesh.genesis");
        fs::write(&file, genesis).map_err(BenchError::io("write", &file))?;
        node.id = Some(identity.principal());
        cards.push(NodeCard {
            node: identity.principal(),
            sealing: *identity.sealing().public().as_bytes(),
            name: config.name.clone(),
            zone: config.zone.to_string(),
            provider: config.provider.clone(),
            mesh: vec![listen.mesh.to_string()],
            door: vec![listen.door.to_string()],
        });
    }
    Ok(cards)
}

/// Hands statements to a node.
///
/// # Errors
/// [`BenchError::Client`] if they are refused.
pub fn submit(client: &mut Client, submit: &Submit) -> Result<(), BenchError> {
    let _taken: Submitted = client.post_json("/v1/statements", submit)?;
    Ok(())
}

/// A connection to each node over which is asked how much it holds: one small answer a look.
#[derive(Debug)]
pub struct Watch {
    clients: Vec<Client>,
}

impl Watch {
    /// Waits until every node has at least `statements` of a document. Nodes are looked at one after the other, so that
    /// the looking does not take the processors from what is looked for.
    ///
    /// # Errors
    /// [`BenchError::Waited`], [`BenchError::Client`].
    pub fn wait(&mut self, document: DocumentId, statements: usize, within: Duration) -> Result<(), BenchError> {
        let until = Instant::now() + within;
        for client in &mut self.clients {
            loop {
                let status: Status = client.get_json("/v1/status")?;
                let held = status.documents.iter().find(|held| held.document == document);
                if held.is_some_and(|held| held.statements >= statements) {
                    break;
                }
                if Instant::now() > until {
                    let what = format!("{statements} statements of {document} at {}", client.address());
                    return Err(BenchError::Waited { what, seconds: within.as_secs() });
                }
                thread::sleep(LOOK);
            }
        }
        Ok(())
    }
}
