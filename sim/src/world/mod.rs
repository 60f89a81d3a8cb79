//! The world of one run: nodes, network, disks and clocks under one agenda.
//!
//! Everything happens in order of virtual time, then in the order in which it was put on the agenda; every draw comes from
//! one generator. The contract of the core is kept as a node's runtime keeps it: inputs one at a time, the batch on disk
//! before the effects (a step that waits for its disk makes the next inputs wait), wakes on time, frames only over
//! connections between nodes that list each other.
//!
//! What is found wrong on the way goes to [`World::violations`]; a run is good when that stays empty.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use keymesh_mesh::custody::message::{CustodyMessage, Verdict};
use keymesh_mesh::release::{GrantError, ReleaseRequest};
use keymesh_mesh::replica::{Channel, Effect, Input, Replica, ReplicaConfig, ReplyTo, Step};
use keymesh_mesh::state::TenantState;
use keymesh_wire::api::Submitted;
use keymesh_wire::body::{Body, CustodianAccusation};
use keymesh_wire::error::WireError;
use keymesh_wire::ids::{DocumentId, KeyId, MeshId, NodeId, StatementId, TenantId};
use keymesh_wire::secret::{Secret32, SecretBytes};
use keymesh_wire::sign::Identity;
use keymesh_wire::statement::Checked;
use keymesh_wire::time::{Boot, Millis};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::canary::Canaries;
use crate::custodian::Job;
use crate::disk::{Disk, DiskFault, Found, Reach};
use crate::draw;
use crate::liar::Liar;
use crate::network::{Arrival, Flap, Network, Spot, Weather};
use crate::node::{Doom, Node, Running};
use crate::panics;
use crate::people::Creation;
use crate::record::{Recorder, What};
use crate::run::Options;
use crate::seen::{Boundary, Seen};
use crate::trace::Trace;
use crate::watch::Watch;

mod checks;
mod cores;
mod disks;
mod liars;
mod links;
mod lives;
mod machines;
mod secrets;

pub use checks::Lack;
pub use machines::Pause;

/// How many inputs a node takes in before one write.
const GROUP: usize = 8;
/// How long a release waits for a lease, in milliseconds.
const RELEASE_PATIENCE: u64 = 3_000;
/// How often some node's state is compared with the oracle's, in milliseconds.
const LOOK: u64 = 5_000;
/// From which stream of the seed on nodes have theirs, so that what one node draws moves nothing elsewhere.
const NODE_STREAMS: u64 = 1 << 32;
/// How far clocks may differ before requests are refused.
pub const CLOCK_TOLERANCE: Millis = Millis::seconds(120);

/// By which the caller finds the outcome of what it asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(pub u64);

/// Why a client got nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The node is not running.
    #[error("the node is down")]
    Down,
    /// The node refused; an operator finds this reason in its audit log.
    #[error("refused: {0}")]
    Refused(String),
    /// The node's audit log takes no records, so no key leaves.
    #[error("the audit log takes no records")]
    NoRecord,
    /// No lease came in time.
    #[error("no lease came in time")]
    NoLease,
    /// The grant came to nothing.
    #[error(transparent)]
    Grant(#[from] GrantError),
}

/// What became of something a client asked for.
#[derive(Debug)]
pub enum Outcome {
    /// Statements handed in.
    Submitted(Result<Submitted, WireError>),
    /// A release from a leased keyring.
    Released(Result<SecretBytes, Denied>),
    /// What custodians said so far to a request that a node carried to them.
    Gathered(Vec<(NodeId, Verdict)>),
}

/// Something on the agenda.
#[derive(Debug)]
pub(crate) enum Event {
    Frame {
        from: usize,
        to: usize,
        channel: Channel,
        bytes: Vec<u8>,
    },
    Written {
        node: usize,
        life: u32,
    },
    Recorded {
        node: usize,
        life: u32,
        job: Box<Job>,
    },
    Wake {
        node: usize,
        life: u32,
        boot: Boot,
    },
    Link {
        a: usize,
        b: usize,
    },
    Lie {
        node: usize,
    },
    Restart {
        node: usize,
    },
    /// A machine that stood still goes on.
    Resume {
        node: usize,
        life: u32,
    },
    /// A link that flaps goes up or down.
    Turn,
    /// An agent's request reaches a node that stood still.
    Ask {
        node: usize,
        handle: Handle,
        request: Box<ReleaseRequest>,
    },
    GiveUp {
        node: usize,
        life: u32,
        handle: Handle,
    },
}

/// What a run is made of.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How many nodes.
    pub nodes: usize,
    /// The network at the beginning.
    pub weather: Weather,
    /// How far wall clocks are off at most, in milliseconds.
    pub skew: u64,
}

impl Plan {
    /// So many nodes on a calm network with clocks half a second off.
    pub fn calm(nodes: usize) -> Self {
        Self { nodes, weather: Weather::CALM, skew: 500 }
    }
}

/// The world of one run.
#[derive(Debug)]
pub struct World {
    /// The generator of what people and agents do; nodes have their own.
    pub rng: ChaCha20Rng,
    /// The record of the run.
    pub trace: Trace,
    /// The network.
    pub network: Network,
    /// The nodes, then the twins of those that were cloned.
    pub(crate) nodes: Vec<Node>,
    identities: usize,
    pub(crate) places: BTreeMap<NodeId, usize>,
    pub(crate) outcomes: BTreeMap<Handle, Outcome>,
    mesh: Option<MeshId>,
    at: u64,
    agenda: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
    handles: u64,
    /// Which machine a node reaches under a cloned identity.
    routes: BTreeMap<(usize, NodeId), usize>,
    /// Nodes whose shares were lost through no fault of theirs.
    shareless: BTreeSet<usize>,
    /// How old sharings get before custodians ask for new ones.
    pub refresh_after: Option<Millis>,
    /// When a flapping link turns next, if that is on the agenda.
    turn: Option<u64>,
    acknowledged: BTreeMap<StatementId, (usize, DocumentId)>,
    sent: BTreeMap<u64, (usize, DocumentId)>,
    violations: Vec<String>,
    /// Whether the first violation ends the run.
    stop_at_first: bool,
    recorder: Option<Recorder>,
    canaries: Canaries,
    next_look: u64,
    liars: BTreeMap<usize, Liar>,
    /// What is known from outside.
    pub watch: Watch,
}

impl World {
    /// A world with nodes that have keys and empty disks, in three clouds.
    pub fn new(seed: u64, plan: Plan) -> Self {
        let places: Vec<Spot> = (0..plan.nodes)
            .map(|number| {
                let provider = ["aws", "gcp", "azure"][number % 3];
                Spot { zone: format!("{provider}/z{}", number / 3 % 2 + 1), provider: provider.to_owned() }
            })
            .collect();
        Self::at_places(seed, plan, &places)
    }

    /// As [`World::new`], with a place for every node.
    pub fn at_places(seed: u64, plan: Plan, places: &[Spot]) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let nodes: Vec<Node> = places
            .iter()
            .enumerate()
            .map(|(number, place)| {
                let identity = Identity::from_seed(Secret32::random(&mut rng));
                let skew = draw::between(&mut rng, 0, 2 * plan.skew) as i64 - plan.skew as i64;
                let mut own = ChaCha20Rng::seed_from_u64(seed);
                own.set_stream(NODE_STREAMS + number as u64);
                Node::new(identity, number + 1, place, Disk::default(), skew, own)
            })
            .collect();
        let spot = |node: &Node| Spot { zone: node.card.zone.clone(), provider: node.card.provider.clone() };
        let network = Network::between(nodes.iter().map(spot).collect(), plan.weather, &mut rng);
        let mut watch = Watch::default();
        nodes.iter().enumerate().for_each(|(place, node)| watch.model.node(place, node.id()));
        crate::agents::genuine().for_each(|evidence| watch.checks.genuine(evidence));
        let places: BTreeMap<NodeId, usize> =
            nodes.iter().enumerate().map(|(place, node)| (node.id(), place)).collect();
        let mut trace = Trace::default();
        trace.event(0, "seed", 0, &[&seed.to_be_bytes()]);
        let mut world = Self {
            rng,
            trace,
            network,
            identities: nodes.len(),
            nodes,
            places,
            routes: BTreeMap::new(),
            shareless: BTreeSet::new(),
            refresh_after: None,
            turn: None,
            outcomes: BTreeMap::new(),
            mesh: None,
            at: 0,
            agenda: BTreeMap::new(),
            scheduled: 0,
            handles: 0,
            acknowledged: BTreeMap::new(),
            sent: BTreeMap::new(),
            violations: Vec::new(),
            stop_at_first: false,
            recorder: None,
            canaries: Canaries::default(),
            next_look: 0,
            liars: BTreeMap::new(),
            watch,
        };
        world.plant_nodes();
        world
    }

    /// Virtual milliseconds since the beginning.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// A node.
    pub fn node(&self, node: usize) -> &Node {
        &self.nodes[node]
    }

    /// A node's place by its id.
    pub fn place(&self, id: &NodeId) -> Option<usize> {
        self.places.get(id).copied()
    }

    /// How many machines there are: nodes and copies of nodes.
    pub fn machines(&self) -> usize {
        self.nodes.len()
    }

    /// How many nodes there are, twins not counted.
    pub fn size(&self) -> usize {
        self.identities
    }

    /// What was found wrong so far.
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// Reports something wrong.
    pub fn violation(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.trace.note(self.at, format!("VIOLATION {what}"));
        if let Some(recorder) = &self.recorder {
            recorder.tell(self.at, What::Violation { text: what.clone() });
        }
        if self.stop_at_first {
            panics::stop(what);
        }
        self.violations.push(what);
    }

    /// How this run is made.
    pub(crate) fn make(&mut self, options: Options) {
        self.stop_at_first = options.stop_at_first;
        if let Some(listener) = options.listener {
            self.recorder = Some(Recorder::new(listener.clone()));
            self.trace.listen(listener);
        }
    }

    /// An act begins.
    pub(crate) fn begin_act(&mut self, number: u64) {
        self.trace.act(self.at, number);
        if let Some(recorder) = &mut self.recorder {
            recorder.look(self.at, &self.network, self.nodes.len());
        }
    }

    /// Says what the act does that is under way.
    pub(crate) fn did(&mut self, line: impl FnOnce() -> String) {
        self.trace.did(self.at, line);
    }

    /// Takes note of something that happened.
    pub(crate) fn saw(&mut self, seen: Seen<'_>) {
        let wrong = self.watch.see(self.at, &seen);
        if let Some(recorder) = &mut self.recorder {
            recorder.see(self.at, &seen, &self.watch);
            if matches!(seen, Seen::Network { .. }) {
                recorder.look(self.at, &self.network, self.nodes.len());
            }
            if let Seen::Clock { node, .. } = seen {
                recorder.stands(self.at, node, self.nodes[node].is_paused());
            }
        }
        for wrong in wrong {
            self.violation(wrong);
        }
    }

    /// As [`World::plant`], for the data of a key about to be made, by which releases are judged.
    pub fn plant_key(&mut self, made: &Creation<KeyId>, data: &[u8]) {
        self.plant(data);
        if let Body::CreateKey(new) = &made.body {
            self.watch.model.planted(made.id, new.version.version, data);
        }
    }

    /// The tenant's state as a node sees it.
    pub fn tenant(&self, node: usize, tenant: TenantId) -> Option<&TenantState> {
        self.nodes[node].replica()?.document(&tenant.into())?.tenant()
    }

    pub(crate) fn schedule(&mut self, delay: u64, event: Event) {
        self.scheduled += 1;
        self.agenda.insert((self.at + delay, self.scheduled), event);
    }

    /// Lets `span` milliseconds pass.
    pub fn run(&mut self, span: u64) {
        self.run_until(span, |_| false);
    }

    /// Lets time pass until `done`, at most `span` milliseconds. Returns whether it was done.
    pub fn run_until(&mut self, span: u64, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.at + span;
        if done(self) {
            return true;
        }
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((at, _), event) = entry.remove_entry();
            self.at = at;
            self.happen(event);
            self.look_around();
            if done(self) {
                return true;
            }
        }
        self.at = end;
        done(self)
    }

    fn happen(&mut self, event: Event) {
        let Some(event) = self.hold(event) else { return };
        match event {
            Event::Frame { from, to, channel, bytes } => self.arrive(from, to, channel, bytes),
            Event::Written { node, life } => {
                if self.lives(node, life) {
                    self.written(node);
                }
            }
            Event::Recorded { node, life, job } => {
                if self.lives(node, life) {
                    self.recorded(node, *job);
                }
            }
            Event::Wake { node, life, boot } => {
                let due = self.lives(node, life)
                    && self.nodes[node].running.as_mut().is_some_and(|running| {
                        let due = running.wake == Some(boot);
                        if due {
                            running.wake = None;
                        }
                        due
                    });
                if due {
                    self.feed(node, Input::Tick);
                }
            }
            Event::Link { a, b } => self.relink(a, b),
            Event::Lie { node } => self.lies(node),
            Event::Restart { node } => self.start(node),
            Event::Resume { node, life } => {
                if self.lives(node, life) {
                    self.resume(node);
                }
            }
            Event::Turn => self.turn(),
            Event::Ask { node, handle, request } => self.ask_node(node, handle, *request),
            Event::GiveUp { node, life, handle } => {
                if self.lives(node, life) {
                    self.give_up(node, handle);
                }
            }
        }
    }

    fn lives(&self, node: usize, life: u32) -> bool {
        self.nodes[node].running.is_some() && self.nodes[node].life == life
    }

    pub(crate) fn handle(&mut self) -> Handle {
        self.handles += 1;
        Handle(self.handles)
    }

    /// What became of a request, if that is known.
    pub fn outcome(&self, handle: Handle) -> Option<&Outcome> {
        self.outcomes.get(&handle)
    }

    /// What became of a request; nobody asks for it again.
    pub fn forget(&mut self, handle: Handle) -> Option<Outcome> {
        self.outcomes.remove(&handle)
    }

    /// Hands statements in at a node.
    pub fn submit(&mut self, node: usize, statements: &[Checked], blobs: Vec<Vec<u8>>) -> Handle {
        let handle = self.handle();
        if let Some(first) = statements.first() {
            self.sent.insert(handle.0, (node, first.document()));
        }
        let statements = statements.iter().map(|statement| statement.bytes().to_vec()).collect();
        self.feed(node, Input::Submit { statements, blobs, reply: ReplyTo(handle.0) });
        handle
    }

    /// Hands in bytes that need not be statements.
    pub fn submit_bytes(&mut self, node: usize, document: DocumentId, statements: Vec<Vec<u8>>) -> Handle {
        let handle = self.handle();
        self.sent.insert(handle.0, (node, document));
        self.feed(node, Input::Submit { statements, blobs: Vec::new(), reply: ReplyTo(handle.0) });
        handle
    }

    /// An agent hands a node the proof that a custodian gave it a false partial.
    pub fn accuse(&mut self, node: usize, tenant: TenantId, accusation: CustodianAccusation) -> Handle {
        let handle = self.handle();
        self.sent.insert(handle.0, (node, tenant.into()));
        self.feed(node, Input::Accuse { tenant, accusation: Box::new(accusation), reply: ReplyTo(handle.0) });
        handle
    }

    /// Hands in and waits for the answer; `None` if none comes.
    pub fn submit_now(
        &mut self,
        node: usize,
        statements: &[Checked],
        blobs: Vec<Vec<u8>>,
    ) -> Option<Result<Submitted, WireError>> {
        let handle = self.submit(node, statements, blobs);
        self.run_until(3_000, |world| world.outcome(handle).is_some());
        match self.outcomes.remove(&handle) {
            Some(Outcome::Submitted(result)) => Some(result),
            Some(Outcome::Released(_) | Outcome::Gathered(_)) | None => None,
        }
    }

    pub(crate) fn patience(&mut self, node: usize, handle: Handle) {
        let life = self.nodes[node].life;
        self.schedule(RELEASE_PATIENCE, Event::GiveUp { node, life, handle });
    }
}
