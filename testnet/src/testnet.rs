//! A mesh of real processes on this machine, and the people who run it.
//!
//! Everything is done with the programs' own commands, on files below one folder: a folder for each node, `people/` with
//! key files, `context.toml` of the command line, `logs/`, and `commands.log` with every command that was run. Nothing is
//! left running when the [`Testnet`] is dropped; its temporary folder goes, too, unless one was named.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use keymesh_agent::client::{Client, Trust};
use keymesh_agent::error::ClientError;
use keymesh_wire::api::{DocumentStatus, NodeInfo, Status};
use keymesh_wire::ids::{DocumentId, MeshId, NodeId};
use keymesh_wire::membership::Members;
use serde_json::{Value, json};

use crate::binaries::Binaries;
use crate::error::TestnetError;
use crate::netns::Namespace;
use crate::process::Process;
use crate::tool::{Json, Tool};
use crate::topology::{self, Addresses, Place};

/// How long a node may take to start.
const START: Duration = Duration::from_secs(20);
/// How long one question to a node may take.
const ASK: Duration = Duration::from_secs(5);
/// How often something awaited is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// A node.
#[derive(Debug)]
pub struct Node {
    /// Where it runs.
    pub place: Place,
    /// Its addresses.
    pub addresses: Addresses,
    /// Its folder.
    pub dir: PathBuf,
    /// Its id, once its folder is set up.
    pub id: Option<NodeId>,
    /// The network it is started in; absent, that of whoever starts it.
    pub namespace: Option<Arc<Namespace>>,
    process: Slot,
}

/// A node's process, shared with whoever disturbs it ([`crate::disturb`]).
pub(crate) type Slot = Arc<Mutex<Option<Process>>>;

/// The process in a slot. A panic elsewhere leaves the process as it is.
pub(crate) fn occupant(slot: &Slot) -> MutexGuard<'_, Option<Process>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How much of a scenario that enumerates cases is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Extent {
    /// Every case.
    #[default]
    Whole,
    /// A few cases, for tests that are run often.
    Sample,
}

/// A mesh of real processes.
#[derive(Debug)]
pub struct Testnet {
    /// How much of a scenario is told on it.
    pub extent: Extent,
    /// The programs.
    pub binaries: Binaries,
    /// The folder everything is in.
    pub dir: PathBuf,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// The mesh, once it is founded.
    pub mesh: Option<MeshId>,
    cli: Tool,
    words: Tool,
    // Last, so that processes end before their folder goes.
    temporary: Option<tempfile::TempDir>,
}

impl Testnet {
    /// Folders and addresses for nodes in `places`; nothing runs yet. `dir` must be new or empty; absent, a temporary
    /// folder is made.
    ///
    /// # Errors
    /// [`TestnetError::Io`], also if `dir` holds something.
    pub fn new(binaries: Binaries, places: &[Place], dir: Option<&Path>) -> Result<Self, TestnetError> {
        let (dir, temporary) = match dir {
            Some(dir) => {
                fs::create_dir_all(dir).map_err(TestnetError::io("make", dir))?;
                let mut entries = fs::read_dir(dir).map_err(TestnetError::io("list", dir))?;
                if entries.next().is_some() {
                    return Err(TestnetError::Unexpected(format!("{} is not empty; name a new folder", dir.display())));
                }
                (dir.canonicalize().map_err(TestnetError::io("find", dir))?, None)
            }
            None => {
                let made = tempfile::Builder::new().prefix("keymesh-testnet-").tempdir();
                let made = made.map_err(TestnetError::io("make a folder in", std::env::temp_dir()))?;
                (made.path().to_owned(), Some(made))
            }
        };
        for folder in ["people", "logs", "instances"] {
            let path = dir.join(folder);
            fs::create_dir(&path).map_err(TestnetError::io("make", path))?;
        }
        let nodes = places.iter().zip(topology::addresses(places.len())?);
        let nodes = nodes.map(|(place, addresses)| Node {
            place: *place,
            addresses,
            dir: dir.join(place.name),
            id: None,
            namespace: None,
            process: Slot::default(),
        });
        let cli = Tool::new(&binaries.keymesh, &dir.join("commands.log"));
        let words = cli.with(["--context".as_ref(), dir.join("context.toml").as_os_str()]);
        let cli = words.with(["--json"]);
        Ok(Self { extent: Extent::Whole, nodes: nodes.collect(), mesh: None, cli, words, temporary, dir, binaries })
    }

    /// Leaves the folder in place when this goes.
    pub fn keep_folder(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            self.dir = temporary.keep();
        }
    }

    /// How to use the command line in this mesh by hand.
    pub fn by_hand(&self) -> String {
        let (dir, keymesh) = (self.dir.display(), self.binaries.keymesh.display());
        format!(
            "The mesh is up; everything is in {dir}. In another terminal:\n\n  \
             export KEYMESH_CONTEXT={dir}/context.toml\n  alias keymesh={keymesh}\n  keymesh status\n\n\
             People's keys (--as) are in {dir}/people, every command that was run in {dir}/commands.log, the nodes' logs \
             in {dir}/logs."
        )
    }

    /// The command line, in this mesh's context.
    pub fn cli(&self) -> &Tool {
        &self.cli
    }

    /// The command line as one of the people.
    pub fn cli_as(&self, person: &str) -> Tool {
        self.cli.with(["--as".as_ref(), self.key_of(person).as_os_str()])
    }

    /// What a command prints for people, run as one of them.
    ///
    /// # Errors
    /// [`TestnetError::Command`] if it fails.
    pub fn words_as(&self, person: &str, line: &[&str]) -> Result<String, TestnetError> {
        let answer = self.words.with(["--as".as_ref(), self.key_of(person).as_os_str()]).run(line)?;
        if !answer.succeeded() {
            return Err(answer.failed());
        }
        Ok(String::from_utf8_lossy(&answer.stdout).trim().to_owned())
    }

    /// `keymesh status` as people see it.
    ///
    /// # Errors
    /// [`TestnetError::Command`] if it fails.
    pub fn status_words(&self) -> Result<String, TestnetError> {
        let answer = self.words.run(["status"])?;
        if !answer.succeeded() {
            return Err(answer.failed());
        }
        Ok(String::from_utf8_lossy(&answer.stdout).trim().to_owned())
    }

    /// The command line as one of the people, asking only these nodes.
    pub fn cli_at(&self, person: &str, nodes: &[usize]) -> Tool {
        let doors = nodes.iter().map(|index| format!("--node={}", self.pinned(*index)));
        self.cli_as(person).with(doors)
    }

    fn pinned(&self, index: usize) -> String {
        let node = &self.nodes[index];
        node.id.map_or_else(|| node.addresses.door.to_string(), |id| format!("{}={id}", node.addresses.door))
    }

    /// A person's key file.
    pub fn key_of(&self, person: &str) -> PathBuf {
        self.dir.join("people").join(format!("{person}.key"))
    }

    /// Makes a person's key. Returns the person's id.
    ///
    /// # Errors
    /// [`TestnetError`].
    pub fn new_person(&self, name: &str) -> Result<String, TestnetError> {
        let file = self.key_of(name);
        self.cli
            .json(["person".as_ref(), "new".as_ref(), name.as_ref(), "--out".as_ref(), file.as_os_str()])?
            .text("/principal")
    }

    /// Begins the mesh: its people's keys and its genesis, signed by the first founder.
    ///
    /// # Errors
    /// [`TestnetError`].
    pub fn found(&mut self, name: &str, founders: &[&str], endorsements: usize) -> Result<Json, TestnetError> {
        let mut line: Vec<String> = ["mesh", "found", "--name", name].map(str::to_owned).into();
        for founder in founders {
            self.new_person(founder)?;
            line.push(format!("--founder={founder}={}", self.key_of(founder).display()));
        }
        line.push(format!("--endorsements={endorsements}"));
        line.push(format!("--out={}", self.genesis().display()));
        let founded = self.cli_as(founders[0]).json(&line)?;
        self.mesh = Some(parsed(&founded.text("/mesh")?)?);
        Ok(founded)
    }

    fn genesis(&self) -> PathBuf {
        self.dir.join("mesh.genesis")
    }

    /// Sets up every node's folder: configuration, key, invite. Faults are allowed, as this is a test network.
    ///
    /// # Errors
    /// [`TestnetError`].
    pub fn init_nodes(&mut self) -> Result<(), TestnetError> {
        let genesis = self.genesis();
        for node in &mut self.nodes {
            let flag = |name: &str, value: &dyn std::fmt::Display| format!("--{name}={value}");
            let made = self.cli.json([
                "node".to_owned(),
                "init".to_owned(),
                flag("dir", &node.dir.display()),
                flag("genesis", &genesis.display()),
                flag("name", &node.place.name),
                flag("zone", &node.place.zone),
                flag("mesh-listen", &node.addresses.mesh),
                flag("door-listen", &node.addresses.door),
            ])?;
            node.id = Some(parsed(&made.text("/node")?)?);
            let config = node.dir.join("node.toml");
            let text = fs::read_to_string(&config).map_err(TestnetError::io("read", &config))?;
            let allowed = text.replace("allow_faults = false", "allow_faults = true");
            fs::write(&config, allowed).map_err(TestnetError::io("write", &config))?;
        }
        Ok(())
    }

    /// The place of the node of this name.
    ///
    /// # Panics
    /// If there is none.
    pub fn at(&self, name: &str) -> usize {
        let place = self.nodes.iter().position(|node| node.place.name == name);
        place.unwrap_or_else(|| panic!("the topology has no node {name}"))
    }

    /// The places of all nodes.
    pub fn all(&self) -> Vec<usize> {
        (0..self.nodes.len()).collect()
    }

    /// The places of all nodes but one.
    pub fn others(&self, than: usize) -> Vec<usize> {
        self.all().into_iter().filter(|index| *index != than).collect()
    }

    /// The names of these nodes.
    pub fn names(&self, nodes: &[usize]) -> Vec<&'static str> {
        nodes.iter().map(|index| self.nodes[*index].place.name).collect()
    }

    /// The name of a node by its id.
    pub fn name_of(&self, id: &NodeId) -> String {
        let node = self.nodes.iter().find(|node| node.id.as_ref() == Some(id));
        node.map_or_else(|| id.to_string(), |node| node.place.name.to_owned())
    }

    /// The process ids of all nodes that were started, by name.
    pub fn pids(&self) -> Value {
        let running = self.nodes.iter().filter_map(|node| Some((node.place.name.to_owned(), node.pid()?.into())));
        Value::Object(running.collect())
    }

    /// Starts these nodes and waits until each answers at its door. Returns the longest time one took.
    ///
    /// # Errors
    /// [`TestnetError::Ended`] with the last lines of its log if one does not stay up.
    pub fn start(&self, nodes: &[usize]) -> Result<Duration, TestnetError> {
        let started = Instant::now();
        for index in nodes {
            let start = self.starter(*index);
            *occupant(&start.slot) = Some(start.spawn()?);
        }
        for index in nodes {
            self.starter(*index).wait_answering()?;
        }
        Ok(started.elapsed())
    }

    /// What it takes to start a node.
    pub(crate) fn starter(&self, index: usize) -> Starter {
        let node = &self.nodes[index];
        Starter {
            name: node.place.name,
            program: self.binaries.keymesh.clone(),
            config: node.dir.join("node.toml"),
            log: self.dir.join("logs").join(format!("{}.log", node.place.name)),
            door: node.door(),
            id: node.id,
            namespace: node.namespace.clone(),
            slot: node.process.clone(),
        }
    }

    /// Does something with the processes of these nodes.
    ///
    /// # Panics
    /// If one was never started.
    pub fn with_processes(&self, nodes: &[usize], mut act: impl FnMut(&mut Process)) {
        for index in nodes {
            let node = &self.nodes[*index];
            let mut slot = occupant(&node.process);
            act(slot.as_mut().unwrap_or_else(|| panic!("{} was never started", node.place.name)));
        }
    }

    /// Holds these nodes (`SIGSTOP`): as good as gone, their memory and connections kept.
    pub fn hold(&self, nodes: &[usize]) {
        self.with_processes(nodes, Process::hold);
    }

    /// Lets held nodes go on.
    pub fn resume(&self, nodes: &[usize]) {
        self.with_processes(nodes, Process::resume);
    }

    /// Kills these nodes (`SIGKILL`), all before the first is reaped.
    pub fn kill(&self, nodes: &[usize]) {
        self.with_processes(nodes, Process::begin_kill);
        self.with_processes(nodes, Process::kill);
    }

    /// Stops these nodes one after the other (`SIGTERM`).
    pub fn stop(&self, nodes: &[usize], within: Duration) {
        self.with_processes(nodes, |process| {
            process.stop(within);
        });
    }

    /// Tells each node to keep no connection to nodes outside its own group; nodes in no group are cut from all.
    /// One group with everybody heals.
    ///
    /// # Errors
    /// [`TestnetError::Client`].
    pub fn cut(&self, groups: &[&[usize]]) -> Result<(), TestnetError> {
        for (index, node) in self.nodes.iter().enumerate() {
            let mine = groups.iter().find(|group| group.contains(&index)).copied().unwrap_or_default();
            let away = self.nodes.iter().enumerate().filter(|(other, _)| *other != index && !mine.contains(other));
            let away: Vec<NodeId> = away.filter_map(|(_, other)| other.id).collect();
            let _done: Value = node.client()?.post_json("/v1/testing/cut", &json!({ "nodes": away }))?;
        }
        Ok(())
    }

    /// What a node says of itself.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn status(&self, index: usize) -> Result<Status, ClientError> {
        self.nodes[index].client()?.get_json("/v1/status")
    }

    /// Waits until each of these nodes has connections to all the others of them. Returns how long it took.
    ///
    /// # Errors
    /// [`TestnetError::Waited`].
    pub fn wait_connected(&self, nodes: &[usize], within: Duration) -> Result<Duration, TestnetError> {
        let ids: Vec<NodeId> = nodes.iter().filter_map(|index| self.nodes[*index].id).collect();
        self.wait("connections between all nodes", within, || {
            for index in nodes {
                let status = self.status(*index)?;
                let reached = |id: &NodeId| status.peers.iter().any(|peer| peer.node == *id && peer.reachable);
                if let Some(missing) = ids.iter().find(|id| Some(**id) != self.nodes[*index].id && !reached(id)) {
                    let (from, to) = (self.nodes[*index].place.name, self.name_of(missing));
                    return Ok(Err(format!("{from} does not reach {to}")));
                }
            }
            Ok(Ok(()))
        })
    }

    /// Waits until all of these nodes that hold a document hold the same of it, and at least one and all of them hold
    /// something. Returns how long it took.
    ///
    /// # Errors
    /// [`TestnetError::Waited`] with the first document that differs.
    pub fn wait_equal(&self, nodes: &[usize], within: Duration) -> Result<Duration, TestnetError> {
        self.wait("equal digests", within, || Ok(difference(&self.documents(nodes)?)))
    }

    /// Every document at each of these nodes, by the node's name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn documents(&self, nodes: &[usize]) -> Result<Vec<(&'static str, Vec<DocumentStatus>)>, ClientError> {
        nodes.iter().map(|index| Ok((self.nodes[*index].place.name, self.status(*index)?.documents))).collect()
    }

    /// Every document's digest at each of these nodes, as JSON.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn digests(&self, nodes: &[usize]) -> Result<Value, ClientError> {
        let of = |documents: Vec<DocumentStatus>| -> Value {
            let digest =
                |held: DocumentStatus| (held.name, json!({ "digest": held.digest, "statements": held.statements }));
            Value::Object(documents.into_iter().map(digest).collect())
        };
        let all = self.documents(nodes)?.into_iter().map(|(name, documents)| (name.to_owned(), of(documents)));
        Ok(Value::Object(all.collect()))
    }

    /// Looks again and again until `look` sees what is awaited; it returns what it saw instead. A node that does not
    /// answer is looked at again.
    ///
    /// # Errors
    /// [`TestnetError::Waited`] with what was seen last.
    pub fn wait(
        &self,
        what: &str,
        within: Duration,
        mut look: impl FnMut() -> Result<Result<(), String>, TestnetError>,
    ) -> Result<Duration, TestnetError> {
        let started = Instant::now();
        loop {
            let seen = match look() {
                Ok(Ok(())) => return Ok(started.elapsed()),
                Ok(Err(seen)) => seen,
                Err(TestnetError::Client(error)) => error.to_string(),
                Err(error) => return Err(error),
            };
            if started.elapsed() > within {
                return Err(TestnetError::Waited { what: what.to_owned(), seconds: within.as_secs(), last: seen });
            }
            thread::sleep(LOOK);
        }
    }

    /// The doors of these nodes as the agent takes them, `ZONE=IP:PORT`.
    pub fn doors(&self, nodes: &[usize]) -> Vec<String> {
        let door = |index: &usize| format!("{}={}", self.nodes[*index].place.zone, self.nodes[*index].addresses.door);
        nodes.iter().map(door).collect()
    }

    /// The signed membership, as a node shows it.
    ///
    /// # Errors
    /// [`TestnetError`].
    pub fn members(&self) -> Result<Arc<Members>, TestnetError> {
        let mesh = self.mesh.ok_or_else(|| TestnetError::Unexpected("the mesh is not founded yet".into()))?;
        let client = Client::connect(self.nodes[0].addresses.door, &Trust::Mesh(mesh), ASK)?;
        client.members().cloned().ok_or_else(|| TestnetError::Unexpected("no membership was shown".into()))
    }
}

impl Node {
    /// A connection to its door, pinned to its key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn client(&self) -> Result<Client, ClientError> {
        connect(self.place.name, self.door(), self.id)
    }

    /// Where its door is.
    pub fn door(&self) -> SocketAddr {
        self.addresses.door
    }

    /// Its process id, once it was started.
    pub fn pid(&self) -> Option<u32> {
        occupant(&self.process).as_ref().map(Process::pid)
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }
}

/// What it takes to start a node, also from another thread.
#[derive(Debug)]
pub(crate) struct Starter {
    name: &'static str,
    program: PathBuf,
    config: PathBuf,
    log: PathBuf,
    door: SocketAddr,
    id: Option<NodeId>,
    namespace: Option<Arc<Namespace>>,
    pub(crate) slot: Slot,
}

impl Starter {
    /// The node's name.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Starts it without waiting.
    pub(crate) fn spawn(&self) -> Result<Process, TestnetError> {
        let mut command = Command::new(&self.program);
        command.arg("run").arg("--config").arg(&self.config);
        let spawn = || Process::spawn(self.name, command, &self.log);
        match &self.namespace {
            Some(namespace) => namespace.within(spawn)?,
            None => spawn(),
        }
    }

    /// Waits until the node answers at its door.
    pub(crate) fn wait_answering(&self) -> Result<(), TestnetError> {
        let until = Instant::now() + START;
        loop {
            if let Some(process) = occupant(&self.slot).as_mut() {
                process.expect_running()?;
            }
            match connect(self.name, self.door, self.id).and_then(|mut client| client.get_json::<NodeInfo>("/v1/node"))
            {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > until => {
                    let what = format!("an answer of {}", self.name);
                    return Err(TestnetError::Waited { what, seconds: START.as_secs(), last: error.to_string() });
                }
                Err(_) => thread::sleep(LOOK),
            }
        }
    }
}

fn connect(name: &str, door: SocketAddr, id: Option<NodeId>) -> Result<Client, ClientError> {
    let id = id.unwrap_or_else(|| panic!("{name} was not set up"));
    Client::connect(door, &Trust::Pinned(id), ASK)
}

/// The first document in which nodes that hold it differ.
fn difference(held: &[(&'static str, Vec<DocumentStatus>)]) -> Result<(), String> {
    let mut seen: Vec<(DocumentId, &str, &DocumentStatus)> = Vec::new();
    for (name, documents) in held {
        if documents.is_empty() {
            return Err(format!("{name} holds nothing"));
        }
        for document in documents {
            match seen.iter().find(|(id, ..)| *id == document.document) {
                Some((_, other, first)) if first.digest != document.digest => {
                    let name = (&document.name, name);
                    return Err(format!(
                        "{} differs: {other} has {} statements, {} has {}",
                        name.0, first.statements, name.1, document.statements
                    ));
                }
                Some(_) => {}
                None => seen.push((document.document, name, document)),
            }
        }
    }
    Ok(())
}

/// An id as a command printed it.
///
/// # Errors
/// [`TestnetError::Unexpected`] with the text.
pub(crate) fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, TestnetError> {
    text.parse().map_err(|error| TestnetError::Unexpected(format!("`{text}` is not the id it should be: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(id: u8, digest: &str) -> DocumentStatus {
        DocumentStatus {
            document: DocumentId::from_bytes([id; 32]),
            name: format!("d{id}"),
            statements: 3,
            digest: digest.to_owned(),
            heads: Vec::new(),
            waiting: 0,
            lacking: Vec::new(),
        }
    }

    #[test]
    fn a_document_counts_as_equal_only_where_it_is_held() {
        let both = [("a", vec![document(1, "x"), document(2, "y")]), ("b", vec![document(1, "x")])];
        assert_eq!(difference(&both), Ok(()));
        let differ = [("a", vec![document(1, "x")]), ("b", vec![document(1, "z")])];
        assert!(difference(&differ).is_err_and(|seen| seen.starts_with("d1 differs: a")));
        assert!(difference(&[("a", Vec::new())]).is_err());
    }
}
