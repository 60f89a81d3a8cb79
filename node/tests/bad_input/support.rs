//! Meshes of nodes in this process and of processes, mixed, for tests that do not care how they wait.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use keymesh::config::Config;
use keymesh::runtime::Running;
use keymesh_agent::client::{Client, Trust};
use keymesh_agent::quorum::{Question, Wanted};
use keymesh_testnet::process::Process;
use keymesh_wire::api::Status;
use keymesh_wire::ids::{DocumentId, NodeId};
use keymesh_wire::request::Receipt;
use keymesh_wire::sign::Identity;
use keymesh_wire::time::Millis;
use tokio::runtime::Runtime;

use crate::door_support::raw::Raw;
use crate::door_support::{Made, POLICY, Tenant, World, connect, eventually, identity, mesh, rng, submit, wall};

/// Far beyond what a start or an end takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Nodes, each at rest, in this process, or a process of its own.
pub struct Mesh {
    pub world: World,
    running: BTreeMap<usize, Running>,
    processes: BTreeMap<usize, Process>,
    runtime: Runtime,
}

impl Mesh {
    /// `count` admitted nodes at rest.
    pub fn at_rest(count: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
        let runtime = runtime.expect("a runtime");
        Self { world: World::new(count), running: BTreeMap::new(), processes: BTreeMap::new(), runtime }
    }

    /// `count` nodes in this process that know one another.
    pub fn of(count: usize) -> Self {
        let mut mesh = Self::at_rest(count);
        (0..count).for_each(|place| mesh.start(place));
        mesh.admit(&(0..count).collect::<Vec<_>>());
        mesh
    }

    /// Starts a node in this process.
    pub fn start(&mut self, place: usize) {
        let running = self.runtime.block_on(self.world.start(place));
        self.running.insert(place, running);
    }

    /// Runs what needs the nodes' runtime.
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Runs what goes on beside the test on the nodes' runtime.
    pub fn beside(&self, work: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
        self.runtime.spawn(work)
    }

    /// Stops a node of either kind, as an operator does.
    pub fn stop(&mut self, place: usize) {
        if let Some(running) = self.running.remove(&place) {
            self.runtime.block_on(running.stop()).expect("a clean stop");
        }
        if let Some(mut process) = self.processes.remove(&place) {
            assert!(process.stop(PATIENCE), "it ends when asked");
        }
    }

    /// Tells these nodes who is a node, as `keymesh node admit` does.
    pub fn admit(&self, places: &[usize]) {
        for place in places {
            submit(self.world.door(*place), &self.trust(*place), self.world.admissions.clone(), vec![]);
        }
    }

    pub fn trust(&self, place: usize) -> Trust {
        Trust::Pinned(self.world.id(place))
    }

    pub fn config(&self, place: usize) -> &Config {
        &self.world.places[place].config
    }

    /// The node's configuration file, written as `keymesh node init` writes it.
    pub fn config_file(&self, place: usize) -> PathBuf {
        let path = self.world.places[place].folder.join("node.toml");
        let _ = std::fs::remove_file(&path);
        self.config(place).write_new(&path).expect("written");
        path
    }

    fn log_file(&self, place: usize) -> PathBuf {
        self.world.places[place].folder.join("node.log")
    }

    fn run(&self, place: usize) -> Process {
        let log = self.log_file(place);
        let _ = std::fs::remove_file(&log);
        let mut command = Command::new(env!("CARGO_BIN_EXE_keymesh"));
        command.arg("run").arg("--config").arg(self.world.places[place].folder.join("node.toml"));
        Process::spawn(&format!("n{place}"), command, &log).expect("a process")
    }

    /// Everything the node's process has said.
    pub fn log(&self, place: usize) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_file(place)).unwrap_or_default()).into_owned()
    }

    /// Starts a node as a process, from its configuration file as it is, and waits until its door answers.
    pub fn spawn_as_configured(&mut self, place: usize) {
        let mut process = self.run(place);
        let deadline = Instant::now() + PATIENCE;
        while Client::connect(self.world.door(place), &self.trust(place), Duration::from_secs(2)).is_err() {
            process.expect_running().expect("a node that stays up");
            assert!(Instant::now() < deadline, "no answer: {}", self.log(place));
            std::thread::sleep(Duration::from_millis(20));
        }
        self.processes.insert(place, process);
    }

    /// Starts a node as a process.
    pub fn spawn(&mut self, place: usize) {
        self.config_file(place);
        self.spawn_as_configured(place);
    }

    /// Waits for a node's process to end by itself. Returns its exit status and what it said.
    pub fn end(&mut self, place: usize) -> (i32, String) {
        let process = self.processes.remove(&place).expect("a process");
        self.until_ended(place, process)
    }

    fn until_ended(&self, place: usize, mut process: Process) -> (i32, String) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = process.ended() {
                break status;
            }
            assert!(Instant::now() < deadline, "it should have ended: {}", self.log(place));
            std::thread::sleep(Duration::from_millis(10));
        };
        let said = self.log(place);
        let code = status.code().unwrap_or_else(|| panic!("ended by a signal ({status}): {said}"));
        assert!(!said.contains("panicked"), "{said}");
        (code, said)
    }

    /// Starts a node's process, which must not come up. Returns its exit status and what it said.
    pub fn refused(&self, place: usize) -> (i32, String) {
        let (code, said) = self.until_ended(place, self.run(place));
        assert_ne!(code, 0, "{said}");
        (code, said)
    }

    pub fn status(&self, place: usize) -> Status {
        let mut client = connect(self.world.door(place), &self.trust(place));
        client.get_json("/v1/status").expect("a status")
    }

    pub fn health(&self, place: usize) -> u16 {
        Raw::connect(self.world.door(place)).get("/healthz").status
    }

    /// Waits until these nodes hold the same of every document.
    pub fn until_equal(&self, places: &[usize], documents: usize) {
        eventually("equal digests", || {
            let held: Vec<BTreeMap<DocumentId, String>> = places
                .iter()
                .map(|place| self.status(*place).documents.into_iter().map(|d| (d.document, d.digest)).collect())
                .collect();
            (held[0].len() == documents && held.iter().all(|other| *other == held[0])).then_some(())
        });
    }

    /// A warning in a node's status that contains `words`, waited for.
    pub fn warning(&self, place: usize, words: &str) -> String {
        let mut last = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            last = self.status(place).warnings;
            if let Some(found) = last.iter().find(|warning| warning.contains(words)) {
                return found.clone();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("no warning with `{words}`: {last:?}");
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for place in self.processes.keys() {
                eprintln!("n{place} said:\n{}", self.log(*place));
            }
        }
        self.processes.clear();
        for (_, running) in std::mem::take(&mut self.running) {
            let _ = self.runtime.block_on(running.stop());
        }
    }
}

/// A tenant on all nodes with a root 2 of them open, a policy for zone `aws/a`, and a key of each class.
pub struct Acme {
    pub tenant: Tenant,
    pub leased: Made,
    pub blind: Made,
}

impl Acme {
    pub fn begin(mesh: &Mesh) -> Self {
        let mut tenant = Tenant::begin(&mesh.world);
        let root = tenant.root(&mesh.world, 2);
        let namespace = tenant.namespace();
        tenant.policy(POLICY);
        tenant.launcher();
        let leased = tenant.leased(namespace, root, Millis::seconds(60));
        let blind = tenant.quorum(namespace, root);
        Self { tenant, leased, blind }
    }

    /// An instance in `aws/a`, bound to an agent's key.
    pub fn bind(&mut self, mesh: &Mesh, number: u8) -> Identity {
        let agent = identity(number);
        self.tenant.bind(&mesh.world, &agent, &format!("aws:1:i-{number}"), "aws/a");
        agent
    }

    /// The leased key by way of one node, waited for.
    pub fn released(&self, mesh: &Mesh, place: usize, agent: &Identity) {
        let mut last = None;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.release(mesh, place, agent) {
                Ok(key) => return assert_eq!(key, self.leased.data_key),
                Err(error) => last.replace(error),
            };
            assert!(Instant::now() < deadline, "no release by node {place}: {last:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The quorum key by way of one node, waited for.
    pub fn blind(&self, mesh: &Mesh, place: usize, agent: &Identity) {
        eventually("a blind release", || {
            let question = self.question(agent);
            let answer = question.send(&mut connect(mesh.world.door(place), &mesh.trust(place))).ok()?;
            let opened = question.open(&answer, None, wall()).expect("it opens");
            assert_eq!(opened.key.expose_secret(), self.blind.data_key);
            Some(())
        });
    }

    /// A request for the quorum key.
    pub fn question(&self, agent: &Identity) -> Question {
        let wanted = Wanted {
            mesh: mesh(),
            tenant: self.tenant.id,
            key: self.blind.key,
            version: None,
            root: None,
            receipt: Receipt::default(),
        };
        Question::new(&wanted, agent, wall(), &mut rng())
    }

    /// Asks one node for the leased key, once.
    pub fn release(&self, mesh: &Mesh, place: usize, agent: &Identity) -> Result<Vec<u8>, String> {
        let client = Client::connect(mesh.world.door(place), &mesh.trust(place), Duration::from_secs(10));
        let session = client.and_then(|client| client.open_session(agent, self.tenant.id));
        let released = session.and_then(|mut session| session.release(self.leased.key, None));
        released.map(|(key, _)| key.expose_secret().to_vec()).map_err(|error| error.to_string())
    }
}

/// An open session on a raw connection.
pub fn session(mesh_of: &Mesh, place: usize, acme: &Acme, who: &Identity) -> Raw {
    let mut raw = Raw::connect(mesh_of.world.door(place));
    let proof = raw.proof(mesh(), mesh_of.world.id(place), acme.tenant.id, who);
    assert_eq!(raw.open(proof, who).status, 200);
    raw
}

/// A node's id as a log or a warning shows it.
pub fn shown(node: &NodeId) -> String {
    node.to_string()
}
