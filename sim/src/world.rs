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
use keymesh_mesh::release::GrantError;
use keymesh_mesh::replica::{Channel, Effect, Input, Replica, ReplicaConfig, ReplyTo, Step};
use keymesh_mesh::state::TenantState;
use keymesh_wire::api::Submitted;
use keymesh_wire::body::Body;
use keymesh_wire::error::WireError;
use keymesh_wire::ids::{DocumentId, MeshId, NodeId, StatementId, TenantId};
use keymesh_wire::secret::{Secret32, SecretBytes};
use keymesh_wire::sign::Identity;
use keymesh_wire::statement::Checked;
use keymesh_wire::time::{Boot, Millis};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::custodian::Job;
use crate::disk::{Disk, Reach};
use crate::draw;
use crate::network::{Network, Weather};
use crate::node::{Doom, Node, Running};
use crate::trace::Trace;

/// How many inputs a node takes in before one write.
const GROUP: usize = 8;
/// How long a release waits for a lease, in milliseconds.
const RELEASE_PATIENCE: u64 = 3_000;
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
    Frame { from: usize, to: usize, channel: Channel, bytes: Vec<u8> },
    Written { node: usize, life: u32 },
    Recorded { node: usize, life: u32, job: Box<Job> },
    Wake { node: usize, life: u32, boot: Boot },
    Link { a: usize, b: usize },
    Restart { node: usize },
    GiveUp { node: usize, life: u32, handle: Handle },
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
    /// The one generator.
    pub rng: ChaCha20Rng,
    /// The record of the run.
    pub trace: Trace,
    /// The network.
    pub network: Network,
    pub(crate) nodes: Vec<Node>,
    pub(crate) places: BTreeMap<NodeId, usize>,
    pub(crate) outcomes: BTreeMap<Handle, Outcome>,
    mesh: Option<MeshId>,
    at: u64,
    agenda: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
    handles: u64,
    acknowledged: BTreeMap<StatementId, (usize, DocumentId)>,
    sent: BTreeMap<u64, (usize, DocumentId)>,
    violations: Vec<String>,
    canaries: Vec<Vec<u8>>,
}

impl World {
    /// A world with nodes that have keys and empty disks.
    pub fn new(seed: u64, plan: Plan) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let network = Network::new(plan.nodes, plan.weather, &mut rng);
        let nodes: Vec<Node> = (0..plan.nodes)
            .map(|number| {
                let identity = Identity::from_seed(Secret32::random(&mut rng));
                let skew = draw::between(&mut rng, 0, 2 * plan.skew) as i64 - plan.skew as i64;
                let provider = ["aws", "gcp", "azure"][number % 3];
                let zone = format!("{provider}/z{}", number / 3 % 2 + 1);
                Node::new(identity, number + 1, &zone, provider, Disk::default(), skew)
            })
            .collect();
        let places = nodes.iter().enumerate().map(|(place, node)| (node.id(), place)).collect();
        let mut trace = Trace::default();
        trace.event(0, "seed", 0, &[&seed.to_be_bytes()]);
        Self {
            rng,
            trace,
            network,
            nodes,
            places,
            outcomes: BTreeMap::new(),
            mesh: None,
            at: 0,
            agenda: BTreeMap::new(),
            scheduled: 0,
            handles: 0,
            acknowledged: BTreeMap::new(),
            sent: BTreeMap::new(),
            violations: Vec::new(),
            canaries: Vec::new(),
        }
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

    /// How many nodes there are.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// What was found wrong so far.
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// Reports something wrong.
    pub fn violation(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.trace.note(self.at, format!("VIOLATION {what}"));
        self.violations.push(what);
    }

    /// From now on these secret bytes must appear in no frame and on no disk.
    pub fn plant(&mut self, secret: &[u8]) {
        self.canaries.push(secret.to_vec());
    }

    /// The tenant's state as a node sees it.
    pub fn tenant(&self, node: usize, tenant: TenantId) -> Option<&TenantState> {
        self.nodes[node].replica()?.document(&tenant.into())?.tenant()
    }

    // ---- the run ----

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
            if done(self) {
                return true;
            }
        }
        self.at = end;
        done(self)
    }

    fn happen(&mut self, event: Event) {
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
            Event::Restart { node } => self.start(node),
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

    // ---- the core of one node ----

    /// Gives a node an input. It is lost if the node is down.
    pub(crate) fn feed(&mut self, node: usize, input: Input) {
        if let Some(running) = &mut self.nodes[node].running {
            running.inbox.push_back(input);
            self.pump(node);
        }
    }

    fn pump(&mut self, node: usize) {
        let at = self.at;
        let now = self.nodes[node].now(at);
        let Some(running) = &mut self.nodes[node].running else { return };
        if running.writing.is_some() || running.inbox.is_empty() {
            return;
        }
        let mut step = Step::default();
        let mut spun = false;
        for _ in 0..GROUP {
            let Some(input) = running.inbox.pop_front() else { break };
            let tick = matches!(input, Input::Tick);
            step.merge(running.replica.step(now, &mut self.rng, input));
            spun |= tick && running.replica.next_wake().is_some_and(|wake| wake <= now.boot);
        }
        if spun {
            self.violation(format!("n{} wants to be woken at once after a tick, for ever", node + 1));
        }
        self.stepped(node, step);
    }

    fn stepped(&mut self, node: usize, step: Step) {
        let life = self.nodes[node].life;
        if step.batch.writes.is_empty() {
            self.set_wake(node);
            self.finish(node, step, Reach::Everything);
            self.pump(node);
            return;
        }
        if let Some(running) = &mut self.nodes[node].running {
            running.writing = Some(step);
        }
        let delay = draw::between(&mut self.rng, 0, 2);
        self.schedule(delay, Event::Written { node, life });
    }

    fn written(&mut self, node: usize) {
        let Some(step) = self.nodes[node].running.as_mut().and_then(|running| running.writing.take()) else { return };
        self.nodes[node].persists += 1;
        let share = step.batch.writes.iter().any(|write| matches!(write, keymesh_mesh::replica::Write::Share { .. }));
        let doom = match self.nodes[node].doom {
            Some(Doom::Batch(at, reach)) if at == self.nodes[node].persists => Some(reach),
            Some(Doom::Share(reach)) if share => Some(reach),
            Some(Doom::Batch(..) | Doom::Share(_)) | None => None,
        };
        match doom {
            Some(reach) => {
                self.nodes[node].doom = None;
                self.finish(node, step, reach);
            }
            None => {
                self.set_wake(node);
                self.finish(node, step, Reach::Everything);
                self.pump(node);
                return;
            }
        }
        self.crash(node);
        self.schedule(500, Event::Restart { node });
    }

    /// Writes the batch as far as it gets and, if that is all of it and no crash comes, carries out the effects.
    fn finish(&mut self, node: usize, step: Step, reach: Reach) {
        let doomed = self.nodes[node].running.is_none() || reach != Reach::Everything;
        let mut leaks = 0;
        for write in &step.batch.writes {
            if let keymesh_mesh::replica::Write::Statement { id, bytes, .. } = write {
                self.trace.event(self.at, "write", node, &[id.as_bytes()]);
                leaks += usize::from(self.leaks(bytes));
            }
        }
        if leaks > 0 {
            self.violation(format!("n{} writes a planted secret", node + 1));
        }
        let disk = &mut self.nodes[node].disk;
        let written: Result<_, std::convert::Infallible> = step.batch.persist(|writes| {
            disk.write(writes, reach);
            Ok(())
        });
        let Ok(durable) = written;
        if !doomed {
            for effect in step.effects.release(&durable) {
                self.effect(node, effect);
            }
        }
    }

    fn effect(&mut self, node: usize, effect: Effect) {
        match effect {
            Effect::Send { to, channel, frame } => self.send(node, &to, channel, frame),
            Effect::Reply { to, result } => self.replied(node, to, result),
            Effect::Publish(view) => {
                if let Some(running) = &mut self.nodes[node].running {
                    running.view = Some(view);
                }
                self.retry_releases(node);
            }
            Effect::Peers(cards) => {
                if let Some(running) = &mut self.nodes[node].running {
                    running.peers = cards.iter().map(|card| card.node).collect();
                }
                self.links_of(node);
            }
            Effect::Warn(what) => {
                self.trace.event(self.at, "warn", node, &[what.as_bytes()]);
                for fault in
                    ["to another state", "sent garbage", "unreadable", "no statement", "too much", "may not hold"]
                {
                    if what.contains(fault) {
                        self.violation(format!("n{}: {what}", node + 1));
                    }
                }
                self.nodes[node].warnings.push(what);
            }
        }
    }

    fn replied(&mut self, node: usize, to: ReplyTo, result: Result<Submitted, WireError>) {
        let vote = self.nodes[node].running.as_mut().and_then(|running| running.votes.remove(&to.0));
        if let Some((asker, request)) = vote {
            self.voted(node, asker, request, result.is_ok());
            return;
        }
        if let (Ok(done), Some((_, document))) = (&result, self.sent.remove(&to.0)) {
            for id in &done.statements {
                self.acknowledged.insert(*id, (node, document));
            }
        }
        self.trace.event(self.at, if result.is_ok() { "reply" } else { "error" }, node, &[&to.0.to_be_bytes()]);
        self.outcomes.insert(Handle(to.0), Outcome::Submitted(result));
    }

    fn set_wake(&mut self, node: usize) {
        let life = self.nodes[node].life;
        let wanted = self.nodes[node].replica().and_then(Replica::next_wake);
        let now = self.nodes[node].now(self.at).boot;
        let Some(running) = &mut self.nodes[node].running else { return };
        let wanted = wanted.map(|wake| wake.max(now));
        if wanted.is_none() || running.wake == wanted {
            return;
        }
        running.wake = wanted;
        if let Some(boot) = wanted {
            // At least a millisecond, or a core that wants to be woken at once would stop time.
            let delay = self.nodes[node].when(boot).saturating_sub(self.at).max(1);
            self.schedule(delay, Event::Wake { node, life, boot });
        }
    }

    // ---- frames and connections ----

    fn leaks(&self, bytes: &[u8]) -> bool {
        self.canaries.iter().any(|secret| bytes.windows(secret.len()).any(|window| window == secret))
    }

    pub(crate) fn send(&mut self, from: usize, to: &NodeId, channel: Channel, bytes: Vec<u8>) {
        self.trace.event(self.at, "send", from, &[to.as_bytes(), &bytes]);
        if self.leaks(&bytes) {
            self.violation(format!("n{} sends a planted secret", from + 1));
        }
        let Some(place) = self.place(to) else { return };
        if place == from {
            self.schedule(0, Event::Frame { from, to: place, channel, bytes });
            return;
        }
        if !self.nodes[from].running.as_ref().is_some_and(|running| running.linked.contains(to)) {
            return;
        }
        for delay in self.network.fates(from, place, &mut self.rng) {
            self.schedule(delay, Event::Frame { from, to: place, channel, bytes: bytes.clone() });
        }
    }

    fn arrive(&mut self, from: usize, to: usize, channel: Channel, bytes: Vec<u8>) {
        let sender = self.nodes[from].id();
        let open = from == to
            || (self.network.reaches(from, to)
                && self.nodes[to].running.as_ref().is_some_and(|running| running.linked.contains(&sender)));
        if !open {
            return;
        }
        self.trace.event(self.at, "frame", to, &[sender.as_bytes(), &bytes]);
        match channel {
            Channel::Spread => self.feed(to, Input::Spread { from: sender, frame: bytes }),
            Channel::Custody => match CustodyMessage::from_frame(&bytes) {
                Ok(message) => self.custody(to, sender, message),
                Err(error) => self.violation(format!("n{} sent an unreadable message: {error}", from + 1)),
            },
        }
    }

    fn wanted_link(&self, a: usize, b: usize) -> bool {
        let lists = |of: usize, who: usize| {
            self.nodes[of].running.as_ref().is_some_and(|running| running.peers.contains(&self.nodes[who].id()))
        };
        self.network.reaches(a, b) && lists(a, b) && lists(b, a)
    }

    /// Whether two nodes have a connection, as both of them see it.
    pub fn is_linked(&self, a: usize, b: usize) -> bool {
        let has = |of: usize, who: usize| {
            self.nodes[of].running.as_ref().is_some_and(|running| running.linked.contains(&self.nodes[who].id()))
        };
        has(a, b) && has(b, a)
    }

    fn linked(&self, a: usize, b: usize) -> bool {
        let has = |of: usize, who: usize| {
            self.nodes[of].running.as_ref().is_some_and(|running| running.linked.contains(&self.nodes[who].id()))
        };
        has(a, b) || has(b, a)
    }

    /// Puts looks at all connections of a node on the agenda. That one can be made is found out sooner than that one is
    /// gone.
    fn links_of(&mut self, node: usize) {
        for other in 0..self.nodes.len() {
            if other == node || self.wanted_link(node, other) == self.linked(node, other) {
                continue;
            }
            let delay = if self.linked(node, other) {
                draw::between(&mut self.rng, 500, 3_000)
            } else {
                draw::between(&mut self.rng, 5, 200)
            };
            self.schedule(delay, Event::Link { a: node, b: other });
        }
    }

    fn relink(&mut self, a: usize, b: usize) {
        let wanted = self.wanted_link(a, b);
        for (of, who) in [(a, b), (b, a)] {
            let id = self.nodes[who].id();
            let Some(running) = &mut self.nodes[of].running else { continue };
            if wanted && running.linked.insert(id) {
                self.trace.event(self.at, "up", of, &[id.as_bytes()]);
                self.feed(of, Input::PeerUp(id));
            } else if !wanted && running.linked.remove(&id) {
                self.trace.event(self.at, "down", of, &[id.as_bytes()]);
                self.feed(of, Input::PeerDown(id));
            }
        }
    }

    /// Cuts some nodes off from all others.
    pub fn cut(&mut self, island: &[usize]) {
        self.network.cut(island);
        let names: Vec<String> = island.iter().map(|node| format!("n{}", node + 1)).collect();
        self.trace.note(self.at, format!("cut off: {}", names.join(" ")));
        (0..self.nodes.len()).for_each(|node| self.links_of(node));
    }

    /// Heals all cuts.
    pub fn heal(&mut self) {
        self.network.heal();
        self.trace.note(self.at, "healed");
        (0..self.nodes.len()).for_each(|node| self.links_of(node));
    }

    // ---- lives ----

    /// Puts the mesh's genesis on every disk and starts all nodes.
    pub fn start_all(&mut self, genesis: &Checked) {
        self.mesh = Some(MeshId::from(genesis.id()));
        for node in 0..self.nodes.len() {
            self.nodes[node].disk = Disk::with(genesis.document(), [(genesis.id(), genesis.bytes().to_vec())]);
            self.start(node);
        }
    }

    /// Stops a node as the power does: what is not on its disk is gone.
    pub fn crash(&mut self, node: usize) {
        let Some(gone) = self.nodes[node].running.take() else { return };
        self.trace.note(self.at, format!("n{} crashed", node + 1));
        let id = self.nodes[node].id();
        for peer in gone.linked {
            let Some(place) = self.place(&peer) else { continue };
            if let Some(running) = &mut self.nodes[place].running
                && running.linked.remove(&id)
            {
                self.feed(place, Input::PeerDown(id));
            }
        }
    }

    /// Starts a node from its disk, as a machine that was just booted.
    pub fn start(&mut self, node: usize) {
        let Some(mesh) = self.mesh.filter(|_| self.nodes[node].running.is_none()) else { return };
        let at = self.at;
        self.nodes[node].life += 1;
        self.nodes[node].booted = at;
        let now = self.nodes[node].now(at);
        let config =
            ReplicaConfig { identity: self.nodes[node].identity.clone(), mesh, clock_tolerance: CLOCK_TOLERANCE };
        let stored = self.nodes[node].disk.stored();
        match Replica::restore(config, stored, now, &mut self.rng) {
            Ok((replica, step)) => {
                self.trace.event(at, "start", node, &[]);
                self.nodes[node].running = Some(Running {
                    replica,
                    view: None,
                    inbox: VecDeque::new(),
                    writing: None,
                    wake: None,
                    peers: BTreeSet::new(),
                    linked: BTreeSet::new(),
                    waiting: BTreeMap::new(),
                    carried: BTreeMap::new(),
                    votes: BTreeMap::new(),
                });
                self.stepped(node, step);
                self.check_acknowledged(node);
            }
            Err(error) => self.violation(format!("n{} does not start from its disk: {error}", node + 1)),
        }
    }

    /// Stops all nodes at once and starts them again.
    pub fn restart_all(&mut self) {
        self.trace.note(self.at, "every node restarts");
        (0..self.nodes.len()).for_each(|node| self.crash(node));
        (0..self.nodes.len()).for_each(|node| self.start(node));
    }

    /// Lets a node crash at its `batch`-th write from now on, counted from 1; it starts again half a second later.
    pub fn doom(&mut self, node: usize, batch: u64, reach: Reach) {
        self.nodes[node].doom = Some(Doom::Batch(self.nodes[node].persists + batch, reach));
    }

    /// As [`World::doom`], at the next write that holds a root share.
    pub fn doom_share(&mut self, node: usize, reach: Reach) {
        self.nodes[node].doom = Some(Doom::Share(reach));
    }

    /// Takes a crash to come back.
    pub fn pardon(&mut self, node: usize) {
        self.nodes[node].doom = None;
    }

    // ---- what clients ask ----

    pub(crate) fn handle(&mut self) -> Handle {
        self.handles += 1;
        Handle(self.handles)
    }

    /// What became of a request, if that is known.
    pub fn outcome(&self, handle: Handle) -> Option<&Outcome> {
        self.outcomes.get(&handle)
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

    // ---- checks ----

    /// Statements that were acknowledged, with where and for which document.
    pub fn acknowledged(&self) -> impl Iterator<Item = (&StatementId, &(usize, DocumentId))> {
        self.acknowledged.iter()
    }

    /// I8: what a node acknowledged it has after a restart.
    fn check_acknowledged(&mut self, node: usize) {
        let lost: Vec<StatementId> = self
            .acknowledged
            .iter()
            .filter(|(id, (at, _))| *at == node && !self.nodes[node].disk.has(id))
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            self.violation(format!("n{} acknowledged {id} and lost it", node + 1));
        }
        self.check_shares();
    }

    /// No node attested a share that is not on its disk, wherever the attestation got to.
    pub fn check_shares(&mut self) {
        let mut attested = BTreeSet::new();
        for node in &self.nodes {
            for statement in node.disk.statements().filter_map(|bytes| Checked::from_bytes(bytes).ok()) {
                if let Some(Body::AttestRoot(said)) = statement.body() {
                    let slot = keymesh_mesh::custody::ceremony::slot_name(&said.root, said.committee, said.attempt);
                    attested.insert((statement.author(), slot));
                }
            }
        }
        for (author, slot) in attested {
            let Some(place) = self.place(&author) else { continue };
            if !self.nodes[place].disk.has_share(&slot) {
                self.violation(format!("n{} attested the share in {slot}, which is not on its disk", place + 1));
            }
        }
    }

    /// Whether all running nodes that hold a document hold the same of it, ciphertexts included, and all nodes run.
    pub fn is_converged(&self) -> bool {
        let mut seen: BTreeMap<DocumentId, ([u8; 32], usize)> = BTreeMap::new();
        for node in &self.nodes {
            let Some(running) = node.running.as_ref().filter(|running| running.writing.is_none()) else {
                return false;
            };
            for status in running.replica.documents() {
                let Some(document) = running.replica.document(&status.document) else { return false };
                let missing = document.tenant().map(TenantState::wanted_blobs).unwrap_or_default();
                if missing.iter().any(|hash| running.replica.blob(&status.document, hash).is_none()) {
                    return false;
                }
                let mine = (document.digest(), document.graph().len());
                if *seen.entry(status.document).or_insert(mine) != mine {
                    return false;
                }
            }
        }
        true
    }
}
