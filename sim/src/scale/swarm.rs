//! A thousand real spreads over light replicas, under one seed.
//!
//! What runs is [`keymesh_mesh::spread::Spread`] with real frames and real signature checks at every node. Light is what
//! is below it: a node's document is a set of shared statements, its folded state a sum over their ids. The network is a
//! full mesh of links with latency by distance ([`super::land`]) and an uplink of 100 Mbit/s at every node; it loses
//! nothing, because lost frames are what the other simulations are about. Computing takes no virtual time.

use std::collections::BTreeMap;
use std::rc::Rc;

use keymesh_mesh::spread::{Action, Holdings, Spread, SpreadLimits};
use keymesh_wire::body::{Body, MeshGenesis, Person, Revocation, Subject};
use keymesh_wire::ids::{BlobHash, DocumentId, NodeId, Nonce, StatementId};
use keymesh_wire::limits;
use keymesh_wire::secret::Secret32;
use keymesh_wire::sign::Identity;
use keymesh_wire::statement::Checked;
use keymesh_wire::time::{Boot, Wall};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::land;
use super::tally::Tally;
use crate::draw;
use crate::node::EPOCH;

/// Bytes that a node's uplink takes in a millisecond: 100 Mbit/s.
const UPLINK: u64 = 12_500;
/// Within which time after a cut its links come back, in microseconds.
const RELINK: u64 = 500_000;

/// What a light node holds.
#[derive(Debug, Default)]
struct Shelf {
    document: Option<DocumentId>,
    statements: BTreeMap<StatementId, Rc<Checked>>,
    heights: BTreeMap<StatementId, u64>,
    digest: [u8; 32],
    heads: Vec<StatementId>,
}

impl Shelf {
    fn insert(&mut self, statement: Rc<Checked>) {
        for (sum, byte) in self.digest.iter_mut().zip(statement.id().as_bytes()) {
            *sum ^= byte;
        }
        let height = statement.parents().iter().filter_map(|parent| self.heights.get(parent)).max();
        self.heights.insert(statement.id(), height.map_or(0, |height| height + 1));
        self.heads.retain(|head| !statement.parents().contains(head));
        self.heads.push(statement.id());
        self.statements.insert(statement.id(), statement);
    }
}

impl Holdings for Shelf {
    fn documents(&self) -> Vec<DocumentId> {
        self.document.into_iter().collect()
    }
    fn shares(&self, _: &DocumentId, _: &NodeId) -> bool {
        true
    }
    fn holds(&self, document: &DocumentId) -> bool {
        self.document == Some(*document)
    }
    fn contains(&self, _: &DocumentId, id: &StatementId) -> bool {
        self.statements.contains_key(id)
    }
    fn bytes(&self, _: &DocumentId, id: &StatementId) -> Option<&[u8]> {
        self.statements.get(id).map(|statement| statement.bytes())
    }
    fn parents(&self, _: &DocumentId, id: &StatementId) -> Option<&[StatementId]> {
        self.statements.get(id).map(|statement| statement.parents())
    }
    fn ids(&self, _: &DocumentId) -> Vec<StatementId> {
        self.statements.keys().copied().collect()
    }
    fn height(&self, _: &DocumentId, id: &StatementId) -> u64 {
        self.heights.get(id).copied().unwrap_or_default()
    }
    fn digest(&self, _: &DocumentId) -> [u8; 32] {
        self.digest
    }
    fn blob(&self, _: &DocumentId, _: &BlobHash) -> Option<&[u8]> {
        None
    }
    fn missing_blobs(&self, _: &DocumentId) -> Vec<BlobHash> {
        Vec::new()
    }
}

#[derive(Debug)]
struct Member {
    id: NodeId,
    shelf: Shelf,
    spread: Spread,
    /// When its uplink is free again, in microseconds.
    uplink: u64,
    wake: Option<u64>,
}

#[derive(Debug)]
enum Event {
    Frame { from: usize, to: usize, bytes: Vec<u8> },
    Wake { node: usize },
    Link { a: usize, b: usize },
}

/// How far a statement is.
#[derive(Debug, Clone, Copy)]
struct Reach {
    /// How many nodes have it.
    nodes: usize,
    /// When 99 % of the nodes had it, in microseconds.
    most: Option<u64>,
    /// When all had it.
    all: Option<u64>,
}

/// The mesh of one measurement.
#[derive(Debug)]
pub struct Swarm {
    /// What was sent since it was last cleared.
    pub tally: Tally,
    rng: ChaCha20Rng,
    author: Identity,
    document: DocumentId,
    members: Vec<Member>,
    places: BTreeMap<NodeId, usize>,
    reach: BTreeMap<StatementId, Reach>,
    /// Statements that are not everywhere yet.
    incomplete: usize,
    agenda: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
    at: u64,
    is_cut: bool,
    /// What nodes reported about one another: nobody misbehaves here.
    pub reports: Vec<String>,
}

impl Swarm {
    /// A mesh of `nodes` that all hold the same `history` of statements and are not connected yet.
    ///
    /// # Panics
    /// When a statement is not well formed: a fault of this file.
    pub fn new(seed: u64, nodes: usize, history: usize) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let author = Identity::from_seed(Secret32::random(&mut rng));
        let founders = vec![Person { principal: author.principal(), name: "ada".into() }];
        let salt = Nonce::from_bytes(random(&mut rng));
        let genesis = Body::MeshGenesis(MeshGenesis { name: "north".into(), founders, endorsements: 1, salt });
        let genesis = Checked::sign(&genesis, None, Vec::new(), Wall(EPOCH), &author).expect("a genesis in its limits");
        let document = genesis.document();
        let members: Vec<Member> = (0..nodes)
            .map(|_| {
                let id = NodeId::from_bytes(random(&mut rng));
                let shelf = Shelf { document: Some(document), ..Shelf::default() };
                Member { id, shelf, spread: Spread::new(id, SpreadLimits::default()), uplink: 0, wake: None }
            })
            .collect();
        let places = members.iter().enumerate().map(|(place, member)| (member.id, place)).collect();
        let mut swarm = Self {
            tally: Tally::new(nodes),
            rng,
            author,
            document,
            members,
            places,
            reach: BTreeMap::new(),
            incomplete: 0,
            agenda: BTreeMap::new(),
            scheduled: 0,
            at: 0,
            is_cut: false,
            reports: Vec::new(),
        };
        swarm.seed(genesis);
        for number in 0..history {
            let mut parents = swarm.members[0].shelf.heads.clone();
            // Now and then somebody had not seen the last statement.
            if number % 4 == 0 {
                parents.truncate(1);
            }
            let statement = swarm.statement(parents);
            swarm.seed(statement);
        }
        swarm
    }

    fn seed(&mut self, statement: Checked) {
        let statement = Rc::new(statement);
        self.members.iter_mut().for_each(|member| member.shelf.insert(statement.clone()));
    }

    fn statement(&mut self, mut parents: Vec<StatementId>) -> Checked {
        parents.sort_unstable();
        parents.truncate(limits::PARENTS);
        let agent = NodeId::from_bytes(random(&mut self.rng));
        let body = Body::Revoke(Revocation { subject: Subject::Agent(agent), reason: "the key was found".into() });
        let at = Wall(EPOCH + self.at / 1000);
        Checked::sign(&body, Some(self.document), parents, at, &self.author).expect("a revocation in its limits")
    }

    /// Virtual microseconds since the beginning.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// A node, drawn.
    pub fn any(&mut self) -> usize {
        draw::place(&mut self.rng, self.members.len())
    }

    /// Connects every two nodes within half a second.
    pub fn connect(&mut self) {
        self.link(|_, _| true);
    }

    fn link(&mut self, which: impl Fn(usize, usize) -> bool) {
        for b in 0..self.members.len() {
            for a in 0..b {
                if which(a, b) {
                    let delay = draw::between(&mut self.rng, 0, RELINK);
                    self.schedule(delay, Event::Link { a, b });
                }
            }
        }
    }

    /// Cuts the ocean. Both ends of every link notice at once.
    pub fn cut(&mut self) {
        self.is_cut = true;
        for place in 0..self.members.len() {
            for other in (0..self.members.len()).filter(|other| land::is_far(place) != land::is_far(*other)) {
                let peer = self.members[other].id;
                self.members[place].spread.peer_down(peer);
            }
        }
    }

    /// Mends the cut; its links come back within half a second.
    pub fn heal(&mut self) {
        self.is_cut = false;
        self.link(|a, b| land::is_far(a) != land::is_far(b));
    }

    fn now(&self) -> Boot {
        Boot(1000 + self.at / 1000)
    }

    fn schedule(&mut self, delay: u64, event: Event) {
        self.scheduled += 1;
        self.agenda.insert((self.at + delay, self.scheduled), event);
    }

    /// A node on one side of the ocean, drawn; any node if there is none on that side.
    pub fn any_on(&mut self, far: bool) -> usize {
        let side: Vec<usize> = (0..self.members.len()).filter(|place| land::is_far(*place) == far).collect();
        if side.is_empty() { self.any() } else { side[draw::place(&mut self.rng, side.len())] }
    }

    /// Submits a revocation at a node, on top of all that it has. Returns the length of its envelope.
    pub fn submit(&mut self, node: usize) -> u64 {
        let mut heads = self.members[node].shelf.heads.clone();
        heads.truncate(limits::PARENTS);
        let statement = self.statement(heads);
        let length = statement.bytes().len() as u64;
        self.reach.insert(statement.id(), Reach { nodes: 0, most: None, all: None });
        self.incomplete += 1;
        self.insert(node, statement, None);
        self.rewake(node);
        length
    }

    /// Looks no longer after the statements submitted so far.
    pub fn forget(&mut self) {
        self.reach.clear();
        self.incomplete = 0;
    }

    /// When the last of the statements submitted so far had reached 99 % of the nodes, and when all.
    pub fn complete(&self) -> Option<(u64, u64)> {
        if self.incomplete > 0 {
            return None;
        }
        let most: Option<Vec<u64>> = self.reach.values().map(|reach| reach.most).collect();
        let all: Option<Vec<u64>> = self.reach.values().map(|reach| reach.all).collect();
        Some((most?.into_iter().max()?, all?.into_iter().max()?))
    }

    fn insert(&mut self, node: usize, statement: Checked, from: Option<NodeId>) {
        let (nodes, at, now) = (self.members.len(), self.at, self.now());
        if let Some(reach) = self.reach.get_mut(&statement.id()) {
            reach.nodes += 1;
            if reach.nodes * 100 >= nodes * 99 {
                reach.most.get_or_insert(at);
            }
            if reach.nodes == nodes {
                reach.all = Some(at);
                self.incomplete -= 1;
            }
        }
        let statement = Rc::new(statement);
        let Member { shelf, spread, .. } = &mut self.members[node];
        shelf.insert(statement.clone());
        let actions = spread.inserted(&statement, from, shelf, now, &mut self.rng);
        self.carry_out(node, actions);
    }

    fn carry_out(&mut self, node: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send { to, frame } => self.send(node, to, frame),
                Action::Take(from, statement) => self.insert(node, statement, Some(from)),
                Action::TakeBlob { .. } => {}
                Action::Misbehaved { peer, what } => {
                    let peer = self.places.get(&peer).copied().unwrap_or(usize::MAX);
                    self.reports.push(format!("n{node} says that n{peer} {what}"));
                }
            }
        }
    }

    fn send(&mut self, from: usize, to: NodeId, bytes: Vec<u8>) {
        let Some(to) = self.places.get(&to).copied() else { return };
        self.tally.sent(from, &bytes);
        let begins = self.members[from].uplink.max(self.at);
        let gone = begins + (bytes.len() as u64 * 1000).div_ceil(UPLINK);
        self.members[from].uplink = gone;
        let delay = gone - self.at + land::latency(from, to, &mut self.rng);
        self.schedule(delay, Event::Frame { from, to, bytes });
    }

    /// Lets time pass until `done`, at most `span` microseconds. Returns whether it was done.
    pub fn run_until(&mut self, span: u64, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.at + span;
        while !done(self) {
            let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= end) else {
                self.at = end;
                return false;
            };
            let ((at, _), event) = entry.remove_entry();
            self.at = at;
            self.happen(event);
        }
        true
    }

    /// Lets `span` microseconds pass.
    pub fn run(&mut self, span: u64) {
        self.run_until(span, |_| false);
    }

    fn apart(&self, a: usize, b: usize) -> bool {
        self.is_cut && land::is_far(a) != land::is_far(b)
    }

    fn happen(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Frame { from, to, bytes } => {
                if self.apart(from, to) {
                    return;
                }
                let sender = self.members[from].id;
                let Member { shelf, spread, .. } = &mut self.members[to];
                let actions = spread.receive(sender, &bytes, shelf, now, &mut self.rng);
                self.carry_out(to, actions);
                self.rewake(to);
            }
            Event::Wake { node } => {
                if self.members[node].wake != Some(self.at) {
                    return;
                }
                let Member { shelf, spread, wake, .. } = &mut self.members[node];
                *wake = None;
                let actions = spread.tick(shelf, now, &mut self.rng);
                self.carry_out(node, actions);
                self.rewake(node);
            }
            Event::Link { a, b } => {
                if self.apart(a, b) {
                    return;
                }
                for (node, peer) in [(a, b), (b, a)] {
                    let peer = self.members[peer].id;
                    self.members[node].spread.peer_up(peer, now);
                    self.rewake(node);
                }
            }
        }
    }

    fn rewake(&mut self, node: usize) {
        let Some(boot) = self.members[node].spread.next_wake() else { return };
        // At least a millisecond on, or a core that wants to be woken at once would stop time.
        let wanted = (boot.0.saturating_sub(1000) * 1000).max(self.at + 1000 - self.at % 1000);
        let earlier = self.members[node].wake.is_some_and(|wake| wake <= wanted);
        if !earlier {
            self.members[node].wake = Some(wanted);
            self.schedule(wanted - self.at, Event::Wake { node });
        }
    }
}

fn random<const N: usize>(rng: &mut impl Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}
