//! What is done to machines: they stand still, their clocks go wrong, they are copied.

use super::*;

/// How many frames wait for a machine that stands still; what comes then is lost.
const HELD: usize = 512;

/// From which stream of the seed on copies of nodes have theirs.
const TWIN_STREAMS: u64 = 3 << 32;

/// How a machine stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// It is suspended and knows how long: its boot clock counts through it.
    Suspended,
    /// It is frozen from outside and knows nothing of it: its boot clock goes on where it stood. Its wall clock is set
    /// right when it goes on.
    Frozen,
}

impl World {
    fn clock_seen(&mut self, node: usize, kind: &str, what: String) {
        self.watch.coverage.count(kind);
        self.saw(Seen::Clock { node, what: &what });
        self.trace.note(self.at, what);
    }

    // ---- standing still ----

    /// A node's machine stands still for `span` milliseconds. What is sent to it waits, up to a bound; its peers find
    /// that it does not answer and give the connections up.
    pub fn pause(&mut self, node: usize, span: u64, pause: Pause) {
        if self.nodes[node].running.is_none() || self.nodes[node].is_paused() {
            return;
        }
        let (kind, how) = match pause {
            Pause::Suspended => ("suspended machines", "is suspended"),
            Pause::Frozen => ("frozen machines", "is frozen"),
        };
        self.nodes[node].held = Some(VecDeque::new());
        if pause == Pause::Frozen {
            self.nodes[node].clocks.stand(self.at, true);
        }
        self.clock_seen(node, kind, format!("n{} {how} for {span} ms", node + 1));
        let life = self.nodes[node].life;
        self.schedule(span, Event::Resume { node, life });
        self.links_of(node);
    }

    /// Lets a machine that stands still go on.
    pub fn resume(&mut self, node: usize) {
        let Some(held) = self.nodes[node].held.take() else { return };
        self.nodes[node].clocks.stand(self.at, false);
        self.clock_seen(node, "machines that went on", format!("n{} goes on", node + 1));
        let life = self.nodes[node].life;
        for event in held {
            if self.lives(node, life) {
                self.happen(event);
            }
        }
        // Connections that the other end gave up meanwhile are found to be gone after what was still in them.
        let id = self.nodes[node].id();
        let linked = self.nodes[node].running.as_ref().map(|running| running.linked.clone()).unwrap_or_default();
        for peer in linked {
            let Some(place) = self.route(node, &peer) else { continue };
            if !self.nodes[place].running.as_ref().is_some_and(|running| running.linked.contains(&id)) {
                self.reset_link(node, place);
            }
        }
        self.pump(node);
        self.links_of(node);
    }

    /// Keeps an event for a machine that stands still. Returns it if it can happen.
    pub(super) fn hold(&mut self, event: Event) -> Option<Event> {
        let node = match &event {
            Event::Frame { to: node, .. }
            | Event::Written { node, .. }
            | Event::Recorded { node, .. }
            | Event::Wake { node, .. }
            | Event::GiveUp { node, .. }
            | Event::Ask { node, .. } => *node,
            Event::Link { .. } | Event::Lie { .. } | Event::Restart { .. } | Event::Resume { .. } | Event::Turn => {
                return Some(event);
            }
        };
        let Some(held) = &mut self.nodes[node].held else { return Some(event) };
        if held.len() < HELD || !matches!(event, Event::Frame { .. }) {
            held.push_back(event);
        }
        None
    }

    // ---- clocks ----

    /// A node's wall clock jumps by so many milliseconds.
    pub fn jump_clock(&mut self, node: usize, by: i64) {
        self.nodes[node].clocks.jump(self.at, by);
        let kind = if by < 0 { "clocks set back" } else { "clocks set ahead" };
        self.clock_seen(node, kind, format!("the wall clock of n{} jumps by {by} ms", node + 1));
    }

    /// From now on both clocks of a node run fast by so many millionths.
    pub fn drift_clock(&mut self, node: usize, ppm: i64) {
        self.nodes[node].clocks.drift(self.at, ppm);
        self.clock_seen(node, "drifting clocks", format!("the clocks of n{} drift by {ppm} ppm", node + 1));
    }

    // ---- clones ----

    /// Starts a second machine from a copy of a node's disk, under the same identity, and returns its place. Its peers
    /// have their connections with the first machine until [`World::flip_clone`].
    pub fn clone_node(&mut self, node: usize) -> usize {
        let twin = self.nodes.len();
        let copied = &self.nodes[node];
        let mut own = copied.rng.clone();
        own.set_stream(TWIN_STREAMS + twin as u64);
        self.nodes.push(copied.twin(own, self.at));
        self.network.join(node);
        self.watch.model.node(twin, self.nodes[twin].id());
        self.shareless.insert(node);
        // The twin reaches the others; that they reach it is what flips.
        self.watch.coverage.count("clones");
        self.saw(Seen::Cloned { node, twin });
        self.trace.note(self.at, format!("n{} is a copy of n{} and runs beside it", twin + 1, node + 1));
        self.start(twin);
        twin
    }

    /// Each of these peers has its connection with the other machine of a cloned identity from now on.
    pub fn flip_clone(&mut self, twin: usize, peers: &[usize]) {
        let id = self.nodes[twin].id();
        let Some(first) = self.place(&id) else { return };
        for peer in peers.iter().copied().filter(|peer| *peer != first) {
            let old = self.route(peer, &id).unwrap_or(first);
            let new = if old == first { twin } else { first };
            self.reset_link(peer, old);
            self.routes.insert((peer, id), new);
            self.links_of(peer);
        }
        self.trace
            .note(self.at, format!("connections of {} flip between n{} and its copy", Self::names(peers), first + 1));
    }

    /// The second machine of a cloned identity is switched off for good. What it acknowledged and told nobody is gone.
    pub fn retire_clone(&mut self, twin: usize) {
        if self.nodes[twin].disk.is_empty() {
            return;
        }
        let id = self.nodes[twin].id();
        self.crash(twin);
        self.nodes[twin].doom = None;
        self.routes.retain(|(_, to), _| *to != id);
        self.nodes[twin].disk = Disk::default();
        self.owe(twin);
        self.trace.note(self.at, format!("n{} is switched off for good", twin + 1));
        (0..self.nodes.len()).for_each(|node| self.links_of(node));
    }
}
