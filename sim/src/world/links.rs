//! Frames and connections between nodes.

use super::*;

impl World {
    pub(super) fn transmit(&mut self, from: usize, to: &NodeId, channel: Channel, bytes: Vec<u8>) {
        self.trace.event(self.at, "send", from, &[to.as_bytes(), &bytes]);
        if channel == Channel::Spread {
            self.saw(Seen::Spread { from, to: *to, frame: &bytes });
        }
        if *to == self.nodes[from].id() {
            self.schedule(0, Event::Frame { from, to: from, channel, bytes });
            return;
        }
        let Some(place) = self.route(from, to) else { return };
        if !self.nodes[from].running.as_ref().is_some_and(|running| running.linked.contains(to)) {
            return;
        }
        let arrivals = self.network.carry(self.at, from, place, channel, bytes, &mut self.nodes[from].rng);
        for Arrival { delay, channel, bytes } in arrivals {
            self.schedule(delay, Event::Frame { from, to: place, channel, bytes });
        }
    }

    pub(super) fn arrive(&mut self, from: usize, to: usize, channel: Channel, bytes: Vec<u8>) {
        let sender = self.nodes[from].id();
        let open = from == to
            || (self.network.reaches(from, to)
                && self.route(to, &sender) == Some(from)
                && self.nodes[to].running.as_ref().is_some_and(|running| running.linked.contains(&sender)));
        if !open {
            return;
        }
        self.trace.event(self.at, "frame", to, &[sender.as_bytes(), &bytes]);
        if !self.hears(to, from, channel, &bytes) {
            return;
        }
        match channel {
            Channel::Spread => self.feed(to, Input::Spread { from: sender, frame: bytes }),
            Channel::Custody => match CustodyMessage::from_frame(&bytes) {
                Ok(message) => self.custody(to, sender, message),
                Err(_) if self.is_liar(from) => {}
                Err(error) => self.violation(format!("n{} sent an unreadable message: {error}", from + 1)),
            },
        }
    }

    /// Which machine a node reaches under an identity.
    pub(super) fn route(&self, from: usize, to: &NodeId) -> Option<usize> {
        self.routes.get(&(from, *to)).copied().or_else(|| self.place(to))
    }

    /// Whether two machines are the ends of a connection that could be; with a cloned identity at one end there is one
    /// connection for both machines.
    fn are_ends(&self, a: usize, b: usize) -> bool {
        let (one, other) = (self.nodes[a].id(), self.nodes[b].id());
        one != other && self.route(a, &other) == Some(b) && self.route(b, &one) == Some(a)
    }

    fn wanted_link(&self, a: usize, b: usize) -> bool {
        let lists = |of: usize, who: usize| {
            self.nodes[of].running.as_ref().is_some_and(|running| running.peers.contains(&self.nodes[who].id()))
        };
        // A way without the way back brings no acknowledgement, a machine that stands still neither.
        let answers = !self.nodes[a].is_paused() && !self.nodes[b].is_paused();
        answers && self.network.reaches(a, b) && self.network.reaches(b, a) && lists(a, b) && lists(b, a)
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
    pub(super) fn links_of(&mut self, node: usize) {
        for other in 0..self.nodes.len() {
            if !self.are_ends(node, other) || self.wanted_link(node, other) == self.linked(node, other) {
                continue;
            }
            let delay = if self.linked(node, other) {
                draw::between(&mut self.nodes[node].rng, 500, 3_000)
            } else {
                draw::between(&mut self.nodes[node].rng, 5, 200)
            };
            self.schedule(delay, Event::Link { a: node, b: other });
        }
    }

    pub(super) fn relink(&mut self, a: usize, b: usize) {
        if !self.are_ends(a, b) {
            return;
        }
        let wanted = self.wanted_link(a, b);
        for (of, who) in [(a, b), (b, a)] {
            if self.nodes[of].is_paused() {
                continue;
            }
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

    /// Takes a connection away at both ends at once, as when it is reset.
    pub(super) fn reset_link(&mut self, a: usize, b: usize) {
        for (of, who) in [(a, b), (b, a)] {
            let id = self.nodes[who].id();
            if let Some(running) = &mut self.nodes[of].running
                && running.linked.remove(&id)
            {
                self.trace.event(self.at, "down", of, &[id.as_bytes()]);
                self.feed(of, Input::PeerDown(id));
            }
        }
    }

    // ---- what is done to the network ----

    pub(super) fn names(nodes: &[usize]) -> String {
        nodes.iter().map(|node| format!("n{}", node + 1)).collect::<Vec<_>>().join(" ")
    }

    fn network_changed(&mut self, kind: &str, what: String) {
        self.watch.coverage.count(kind);
        self.saw(Seen::Network { what: &what });
        self.trace.note(self.at, what);
        (0..self.nodes.len()).for_each(|node| self.links_of(node));
    }

    /// Cuts some nodes off from all others.
    pub fn cut(&mut self, island: &[usize]) {
        self.network.cut(island);
        self.network_changed("cuts", format!("cut off: {}", Self::names(island)));
    }

    /// Cuts the way from one node to another. The way back stays, but no connection outlives it for long.
    pub fn cut_way(&mut self, from: usize, to: usize) {
        self.network.cut_way(from, to);
        self.network_changed("one-way cuts", format!("n{} no longer reaches n{}", from + 1, to + 1));
    }

    /// Leaves a node only these others.
    pub fn leave_only(&mut self, node: usize, others: &[usize]) {
        self.network.leave_only(node, others);
        self.network_changed("nodes left with some", format!("n{} reaches only {}", node + 1, Self::names(others)));
    }

    /// A zone loses its network: its nodes reach nobody, not even each other.
    pub fn lose_zone(&mut self, zone: &str) {
        let gone = self.network.lose(|spot| spot.zone == zone);
        self.network_changed("zones lost", format!("zone {zone} is lost: {}", Self::names(&gone)));
    }

    /// All zones of a provider lose their network.
    pub fn lose_provider(&mut self, provider: &str) {
        let gone = self.network.lose(|spot| spot.provider == provider);
        self.network_changed("providers lost", format!("provider {provider} is lost: {}", Self::names(&gone)));
    }

    /// Lets a link go down and up again and again: up for `up` milliseconds of every `period`.
    pub fn flap(&mut self, a: usize, b: usize, period: u64, up: u64) {
        self.network.advance(self.at);
        self.network.flap(Flap { a, b, period, up });
        let what = format!("the link of n{} and n{} flaps: up {up} of every {period} ms", a + 1, b + 1);
        self.network_changed("flapping links", what);
        self.await_turn();
    }

    /// Clogs the way from one node to another: what is sent in the next `span` milliseconds arrives after them.
    pub fn clog(&mut self, from: usize, to: usize, span: u64) {
        self.network.advance(self.at);
        self.network.clog(from, to, span);
        let what = format!("the way from n{} to n{} is clogged for {span} ms", from + 1, to + 1);
        self.network_changed("clogged ways", what);
    }

    /// Heals all cuts and whatever else keeps nodes apart.
    pub fn heal(&mut self) {
        self.network.heal();
        self.network_changed("heals", "healed".to_owned());
    }

    fn await_turn(&mut self) {
        let next = self.network.next_turn();
        if let Some(next) = next.filter(|_| next != self.turn) {
            self.turn = Some(next);
            self.schedule(next - self.at, Event::Turn);
        }
    }

    pub(super) fn turn(&mut self) {
        if self.turn != Some(self.at) {
            return;
        }
        self.network.advance(self.at);
        (0..self.nodes.len()).for_each(|node| self.links_of(node));
        self.await_turn();
    }
}
