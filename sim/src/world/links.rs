//! Frames and connections between nodes.

use super::*;

impl World {
    pub(super) fn transmit(&mut self, from: usize, to: &NodeId, channel: Channel, bytes: Vec<u8>) {
        self.trace.event(self.at, "send", from, &[to.as_bytes(), &bytes]);
        let Some(place) = self.place(to) else { return };
        if place == from {
            self.schedule(0, Event::Frame { from, to: place, channel, bytes });
            return;
        }
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
    pub(super) fn links_of(&mut self, node: usize) {
        for other in 0..self.nodes.len() {
            if other == node || self.wanted_link(node, other) == self.linked(node, other) {
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
        let what = format!("cut off: {}", names.join(" "));
        self.saw(Seen::Network { what: &what });
        self.trace.note(self.at, what);
        (0..self.nodes.len()).for_each(|node| self.links_of(node));
    }

    /// Heals all cuts.
    pub fn heal(&mut self) {
        self.network.heal();
        self.saw(Seen::Network { what: "healed" });
        self.trace.note(self.at, "healed");
        (0..self.nodes.len()).for_each(|node| self.links_of(node));
    }
}
