//! A network of a few nodes under one seed: fake replicas on maps, real statements, real spreads.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::body::{Body, EditOp, MeshGenesis, NewVersion, Person, WrappedVersion};
use keymesh_wire::ids::{BlobHash, DocumentId, KeyId, KeyringId, NodeId, Nonce, StatementId, VersionId};
use keymesh_wire::limits;
use keymesh_wire::sign::Identity;
use keymesh_wire::statement::Checked;
use keymesh_wire::time::{Boot, Wall};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use crate::spread::offers::named_blobs;
use crate::spread::{Action, Holdings, Misbehaviour, Spread, SpreadLimits};

#[derive(Default)]
pub struct Doc {
    pub statements: BTreeMap<StatementId, Checked>,
    pub blobs: BTreeMap<BlobHash, Vec<u8>>,
    pub heights: BTreeMap<StatementId, u64>,
    pub digest: [u8; 32],
}

/// What a node holds. A document that `placed` does not mention may be held by everybody.
#[derive(Default)]
pub struct Replica {
    pub docs: BTreeMap<DocumentId, Doc>,
    pub placed: BTreeMap<DocumentId, BTreeSet<NodeId>>,
    /// Goes into the digest of the folded state: a replica that folds differently.
    pub quirk: u8,
}

impl Replica {
    pub fn insert(&mut self, statement: &Checked) {
        let quirk = self.quirk;
        let doc = self.docs.entry(statement.document()).or_default();
        for parent in statement.parents() {
            assert!(doc.statements.contains_key(parent), "a statement is taken after its parents");
        }
        let height = statement.parents().iter().map(|parent| doc.heights[parent] + 1).max().unwrap_or_default();
        doc.heights.insert(statement.id(), height);
        let before = doc.statements.insert(statement.id(), statement.clone());
        assert!(before.is_none(), "a statement is taken once");
        // Stands for a fold: depends on the set alone.
        for (byte, of) in doc.digest.iter_mut().zip(statement.id().as_bytes()) {
            *byte ^= of ^ quirk;
        }
    }

    pub fn heads(&self, document: &DocumentId) -> Vec<StatementId> {
        let doc = &self.docs[document];
        let parents: BTreeSet<_> = doc.statements.values().flat_map(|s| s.parents().iter().copied()).collect();
        doc.statements.keys().filter(|id| !parents.contains(*id)).copied().collect()
    }
}

impl Holdings for Replica {
    fn documents(&self) -> Vec<DocumentId> {
        self.docs.keys().copied().collect()
    }
    fn shares(&self, document: &DocumentId, peer: &NodeId) -> bool {
        self.placed.get(document).is_none_or(|nodes| nodes.contains(peer))
    }
    fn holds(&self, document: &DocumentId) -> bool {
        self.docs.contains_key(document)
    }
    fn contains(&self, document: &DocumentId, id: &StatementId) -> bool {
        self.docs.get(document).is_some_and(|doc| doc.statements.contains_key(id))
    }
    fn bytes(&self, document: &DocumentId, id: &StatementId) -> Option<&[u8]> {
        Some(self.docs.get(document)?.statements.get(id)?.bytes())
    }
    fn parents(&self, document: &DocumentId, id: &StatementId) -> Option<&[StatementId]> {
        Some(self.docs.get(document)?.statements.get(id)?.parents())
    }
    fn ids(&self, document: &DocumentId) -> Vec<StatementId> {
        self.docs.get(document).into_iter().flat_map(|doc| doc.statements.keys().copied()).collect()
    }
    fn height(&self, document: &DocumentId, id: &StatementId) -> u64 {
        self.docs.get(document).and_then(|doc| doc.heights.get(id)).copied().unwrap_or_default()
    }
    fn digest(&self, document: &DocumentId) -> [u8; 32] {
        self.docs.get(document).map(|doc| doc.digest).unwrap_or_default()
    }
    fn blob(&self, document: &DocumentId, hash: &BlobHash) -> Option<&[u8]> {
        Some(self.docs.get(document)?.blobs.get(hash)?)
    }
    fn missing_blobs(&self, document: &DocumentId) -> Vec<BlobHash> {
        let Some(doc) = self.docs.get(document) else { return Vec::new() };
        let named: BTreeSet<_> = doc.statements.values().flat_map(named_blobs).collect();
        named.into_iter().filter(|hash| !doc.blobs.contains_key(hash)).collect()
    }
}

pub struct Node {
    pub id: NodeId,
    pub replica: Replica,
    pub spread: Spread,
    /// Takes no statement that a peer brings.
    pub refuses: bool,
}

/// What the network does to frames.
#[derive(Clone, Copy)]
pub struct Weather {
    pub loss: u64,
    pub twice: u64,
    pub delay_ms: u64,
}

pub const FAIR: Weather = Weather { loss: 0, twice: 0, delay_ms: 10 };

pub struct Net {
    pub nodes: Vec<Node>,
    pub now: Boot,
    pub rng: ChaCha8Rng,
    pub weather: Weather,
    pub cut: BTreeSet<(usize, usize)>,
    pub bytes: u64,
    pub largest: usize,
    pub frames: Vec<Vec<u8>>,
    pub misbehaved: Vec<(usize, NodeId, Misbehaviour)>,
    pub trace: Sha256,
    queue: BTreeMap<(Boot, u64), (usize, usize, Vec<u8>)>,
    serial: u64,
    pub author: Identity,
}

impl Net {
    pub fn new(count: usize, seed: u64, limits: &SpreadLimits) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let author = Identity::generate(&mut rng);
        let nodes = (0..count)
            .map(|_| {
                let id = Identity::generate(&mut rng).principal();
                let spread = Spread::new(id, limits.clone());
                Node { id, replica: Replica::default(), spread, refuses: false }
            })
            .collect();
        Self {
            nodes,
            now: Boot(1000),
            rng,
            weather: FAIR,
            cut: BTreeSet::new(),
            bytes: 0,
            largest: 0,
            frames: Vec::new(),
            misbehaved: Vec::new(),
            trace: Sha256::new(),
            queue: BTreeMap::new(),
            serial: 0,
            author,
        }
    }

    pub fn ids(&self) -> Vec<NodeId> {
        self.nodes.iter().map(|node| node.id).collect()
    }

    pub fn connect(&mut self) {
        for a in 0..self.nodes.len() {
            for b in 0..self.nodes.len() {
                self.up(a, b);
            }
        }
    }

    fn up(&mut self, a: usize, b: usize) {
        let peer = self.nodes[b].id;
        self.nodes[a].spread.peer_up(peer, self.now);
    }

    /// Cuts the nodes below `at` from the others.
    pub fn split(&mut self, at: usize) {
        for a in 0..at {
            for b in at..self.nodes.len() {
                for (a, b) in [(a, b), (b, a)] {
                    self.cut.insert((a, b));
                    let peer = self.nodes[b].id;
                    self.nodes[a].spread.peer_down(peer);
                }
            }
        }
    }

    pub fn heal(&mut self) {
        for (a, b) in std::mem::take(&mut self.cut) {
            self.up(a, b);
        }
    }

    pub fn genesis(&mut self) -> Checked {
        let founders = vec![Person { principal: self.author.principal(), name: "ada".into() }];
        let salt = Nonce::from_bytes(self.random());
        let body = Body::MeshGenesis(MeshGenesis { name: "north".into(), founders, endorsements: 1, salt });
        Checked::sign(&body, None, Vec::new(), Wall(1), &self.author).expect("the genesis holds")
    }

    pub fn edit(&mut self, document: DocumentId, mut parents: Vec<StatementId>) -> Checked {
        parents.sort_unstable();
        parents.truncate(limits::PARENTS);
        let value = format!("{:x}", self.rng.next_u64());
        let body = Body::Edit(vec![EditOp::Put { path: vec!["note".into()], value }]);
        Checked::sign(&body, Some(document), parents, Wall(2), &self.author).expect("the edit holds")
    }

    pub fn version(&mut self, document: DocumentId, mut parents: Vec<StatementId>) -> (Checked, BlobHash, Vec<u8>) {
        parents.sort_unstable();
        parents.truncate(limits::PARENTS);
        let blob: [u8; 80] = self.random();
        let ciphertext = BlobHash::from_bytes(Sha256::digest(blob).into());
        let version =
            WrappedVersion { version: VersionId::from_bytes([1; 16]), generation: 1, ciphertext, opened: None };
        let (key, keyring) = (KeyId::from_bytes([2; 32]), KeyringId::from_bytes([3; 32]));
        let body = Body::AddVersion(NewVersion { key, keyring, version });
        let statement = Checked::sign(&body, Some(document), parents, Wall(3), &self.author).expect("it holds");
        (statement, ciphertext, blob.to_vec())
    }

    fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// Puts a statement into every replica without spreading it.
    pub fn seed(&mut self, nodes: impl IntoIterator<Item = usize>, statement: &Checked) {
        for node in nodes {
            self.nodes[node].replica.insert(statement);
        }
    }

    /// A genesis and `count` edits on top of one another's heads, in the replicas of `nodes`.
    pub fn history(&mut self, nodes: &[usize], count: usize) -> DocumentId {
        let genesis = self.genesis();
        let document = genesis.document();
        self.seed(nodes.iter().copied(), &genesis);
        let mut recent = vec![genesis.id()];
        for _ in 0..count {
            let pick = (self.rng.next_u64() % recent.len() as u64) as usize;
            let edit = self.edit(document, vec![recent[pick]]);
            self.seed(nodes.iter().copied(), &edit);
            recent.push(edit.id());
            if recent.len() > 4 {
                recent.remove(0);
            }
        }
        document
    }

    /// A local submission at `node`.
    pub fn submit(&mut self, node: usize, statement: &Checked) {
        let Node { replica, spread, .. } = &mut self.nodes[node];
        replica.insert(statement);
        let actions = spread.inserted(statement, None, replica, self.now, &mut self.rng);
        self.apply(node, actions);
    }

    /// A ciphertext stored at `node` after its statement.
    pub fn store_blob(&mut self, node: usize, document: DocumentId, hash: BlobHash, blob: Vec<u8>) {
        let Node { replica, spread, .. } = &mut self.nodes[node];
        replica.docs.entry(document).or_default().blobs.insert(hash, blob);
        let actions = spread.blob_inserted(document, hash, None, replica, self.now, &mut self.rng);
        self.apply(node, actions);
    }

    pub fn submit_edit(&mut self, node: usize, document: DocumentId) -> StatementId {
        let heads = self.nodes[node].replica.heads(&document);
        let edit = self.edit(document, heads);
        self.submit(node, &edit);
        edit.id()
    }

    /// Gives `node` a frame as if it had just come from `from`; says what the node did at once.
    pub fn inject(&mut self, from: NodeId, node: usize, frame: &[u8]) -> Vec<Action> {
        let Node { replica, spread, .. } = &mut self.nodes[node];
        let actions = spread.receive(from, frame, replica, self.now, &mut self.rng);
        self.apply(node, actions.clone());
        actions
    }

    fn apply(&mut self, at: usize, actions: Vec<Action>) {
        self.trace.update(format!("{:?} {at} {actions:?}", self.now));
        for action in actions {
            match action {
                Action::Send { to, frame } => self.send(at, to, frame),
                Action::Take(..) if self.nodes[at].refuses => {}
                Action::Take(from, statement) => {
                    let Node { replica, spread, .. } = &mut self.nodes[at];
                    replica.insert(&statement);
                    let more = spread.inserted(&statement, Some(from), replica, self.now, &mut self.rng);
                    self.apply(at, more);
                }
                Action::TakeBlob { document, hash, bytes, from } => {
                    let Node { replica, spread, .. } = &mut self.nodes[at];
                    replica.docs.entry(document).or_default().blobs.insert(hash, bytes);
                    let more = spread.blob_inserted(document, hash, Some(from), replica, self.now, &mut self.rng);
                    self.apply(at, more);
                }
                Action::Misbehaved { peer, what } => self.misbehaved.push((at, peer, what)),
            }
        }
    }

    fn send(&mut self, from: usize, to: NodeId, frame: Vec<u8>) {
        self.bytes += frame.len() as u64;
        self.largest = self.largest.max(frame.len());
        self.frames.push(frame.clone());
        let Some(to) = self.nodes.iter().position(|node| node.id == to) else { return };
        if self.cut.contains(&(from, to)) || self.rng.next_u64() % 100 < self.weather.loss {
            return;
        }
        let copies = if self.rng.next_u64() % 100 < self.weather.twice { 2 } else { 1 };
        for _ in 0..copies {
            let delay = 1 + self.rng.next_u64() % self.weather.delay_ms;
            self.serial += 1;
            self.queue.insert((Boot(self.now.0 + delay), self.serial), (from, to, frame.clone()));
        }
    }

    /// Lets `ms` milliseconds pass.
    pub fn run(&mut self, ms: u64) {
        let end = Boot(self.now.0 + ms);
        loop {
            let frame = self.queue.keys().next().map(|(at, _)| *at);
            let wake = self.nodes.iter().filter_map(|node| node.spread.next_wake()).min();
            let Some(next) = frame.into_iter().chain(wake).min().filter(|at| *at <= end) else { break };
            self.now = self.now.max(next);
            if frame == Some(next) {
                let Some((_, (from, to, frame))) = self.queue.pop_first() else { continue };
                if !self.cut.contains(&(from, to)) {
                    self.inject(self.nodes[from].id, to, &frame);
                }
                continue;
            }
            for at in 0..self.nodes.len() {
                let Node { replica, spread, .. } = &mut self.nodes[at];
                if spread.next_wake().is_some_and(|wake| wake <= self.now) {
                    let actions = spread.tick(replica, self.now, &mut self.rng);
                    self.apply(at, actions);
                    let wake = self.nodes[at].spread.next_wake();
                    assert!(wake.is_none_or(|wake| wake > self.now), "a tick leaves nothing due");
                }
            }
        }
        self.now = end;
    }

    /// Runs until all nodes hold the same of `document`, at most `ms`; says how long it took.
    pub fn run_until_equal(&mut self, document: DocumentId, ms: u64) -> Option<u64> {
        for passed in (0..ms).step_by(10) {
            if self.equal(document) {
                return Some(passed);
            }
            self.run(10);
        }
        self.equal(document).then_some(ms)
    }

    pub fn equal(&self, document: DocumentId) -> bool {
        let ids: BTreeSet<_> = self.nodes.iter().map(|node| node.replica.ids(&document)).collect();
        ids.len() == 1 && self.nodes.iter().all(|node| node.replica.missing_blobs(&document).is_empty())
    }
}
