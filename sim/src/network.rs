//! The network: who reaches whom, how late, and what is lost, doubled, reordered and replayed on the way.
//!
//! It carries frames and knows nothing about what is in them. What blocks a way adds up and lasts until
//! [`Network::heal`]: cuts between groups, one-way cuts, nodes gone dark with their zone or provider, links that flap by a
//! schedule. A way that is blocked loses frames at once; that a connection is gone is noticed later, as with a real
//! transport, and is not decided here.
//!
//! Everything a link remembers (its latency, what waits for its bandwidth, until when it is clogged, old frames that may
//! come once more) is kept by ordered pair: no fault has to be the same both ways. Draws come from the generator handed
//! in; time does too.
//!
//! A real transport authenticates its streams, so the network alone cannot replay a frame into them. That it happens here
//! stands for old frames that a peer or a relay of it sends again: the core must not rest on the transport for that.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use keymesh_mesh::replica::Channel;
use rand_core::Rng;
use serde::{Deserialize, Serialize};

use crate::draw;
pub use crate::weather::{Latency, Weather};

/// Old frames remembered per ordered pair.
const MEMORY: usize = 4;

/// Where a node stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spot {
    /// Its zone.
    pub zone: String,
    /// The provider of that zone.
    pub provider: String,
}

/// A frame and after how many milliseconds it arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Milliseconds from now.
    pub delay: u64,
    /// The channel it was sent on.
    pub channel: Channel,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A link that goes up and down by a schedule: up for `up` milliseconds of every `period`, beginning down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flap {
    /// One end.
    pub a: usize,
    /// The other end.
    pub b: usize,
    /// From one going down to the next.
    pub period: u64,
    /// How long of that the link is up, less than the period.
    pub up: u64,
}

/// What an ordered pair remembers.
#[derive(Debug, Default)]
struct Way {
    /// Until when what was sent before occupies it, in microseconds.
    busy: u64,
    /// Until when it delivers nothing.
    clogged: u64,
    old: VecDeque<(Channel, Vec<u8>)>,
}

/// The network of one run.
#[derive(Debug)]
pub struct Network {
    weather: Weather,
    spots: Vec<Spot>,
    /// By ordered pair: latency is not the same both ways.
    latency: Vec<Vec<u32>>,
    ways: BTreeMap<(usize, usize), Way>,
    /// Nodes reach one another if they are on one side.
    side: Vec<usize>,
    /// Ways that are blocked, one by one.
    blocked: BTreeSet<(usize, usize)>,
    /// Nodes that reach nobody.
    dark: BTreeSet<usize>,
    /// Flapping links with when they began.
    flaps: Vec<(u64, Flap)>,
    at: u64,
}

impl Network {
    /// A whole network between nodes that stand where `spots` says.
    pub fn between(spots: Vec<Spot>, weather: Weather, rng: &mut impl Rng) -> Self {
        let distance = |from: &Spot, to: &Spot| match (from.provider == to.provider, from.zone == to.zone) {
            (true, true) => weather.latency.zone,
            (true, false) => weather.latency.provider,
            (false, _) => weather.latency.far,
        };
        let mut link = |from: &Spot, to: &Spot| {
            let (low, high) = distance(from, to);
            u32::try_from(draw::between(rng, low, high)).expect("latencies are below weeks")
        };
        let latency = spots.iter().map(|from| spots.iter().map(|to| link(from, to)).collect()).collect();
        let side = vec![0; spots.len()];
        Self {
            weather,
            spots,
            latency,
            ways: BTreeMap::new(),
            side,
            blocked: BTreeSet::new(),
            dark: BTreeSet::new(),
            flaps: Vec::new(),
            at: 0,
        }
    }

    /// Changes the weather; links keep their latencies, and no longer clog if that is not in the weather.
    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
        if weather.clogs == 0 {
            self.ways.values_mut().for_each(|way| way.clogged = 0);
        }
    }

    /// The weather.
    pub fn weather(&self) -> &Weather {
        &self.weather
    }

    // ---- who reaches whom ----

    /// Cuts `island` off from all others. Cuts add up: what was apart stays apart.
    pub fn cut(&mut self, island: &[usize]) {
        let next = self.side.iter().max().map_or(0, |side| side + 1);
        // Nodes of different earlier sides that are cut off together do not find one another by that.
        let mut sides: Vec<usize> = island.iter().map(|node| self.side[*node]).collect();
        sides.sort_unstable();
        sides.dedup();
        for node in island {
            let place = sides.iter().position(|side| *side == self.side[*node]).unwrap_or_default();
            self.side[*node] = next + place;
        }
    }

    /// Cuts the way from one node to another; the way back stays.
    pub fn cut_way(&mut self, from: usize, to: usize) {
        self.blocked.insert((from, to));
    }

    /// Leaves a node only these others, both ways.
    pub fn leave_only(&mut self, node: usize, others: &[usize]) {
        for other in (0..self.side.len()).filter(|other| *other != node && !others.contains(other)) {
            self.cut_way(node, other);
            self.cut_way(other, node);
        }
    }

    /// Loses a zone or all zones of a provider: whoever stands there reaches nobody, not even each other. Returns who.
    pub fn lose(&mut self, lost: impl Fn(&Spot) -> bool) -> Vec<usize> {
        let gone: Vec<usize> = (0..self.spots.len()).filter(|node| lost(&self.spots[*node])).collect();
        self.dark.extend(&gone);
        gone
    }

    /// Lets a link go up and down from now on.
    pub fn flap(&mut self, flap: Flap) {
        debug_assert!(flap.up < flap.period);
        self.flaps.push((self.at, flap));
    }

    /// Makes the network whole again; what waits on clogged links arrives as it would have.
    pub fn heal(&mut self) {
        self.side.fill(0);
        self.blocked.clear();
        self.dark.clear();
        self.flaps.clear();
    }

    /// Lets time pass for links that flap.
    pub fn advance(&mut self, at: u64) {
        self.at = at;
    }

    /// When the next link goes up or down by itself.
    pub fn next_turn(&self) -> Option<u64> {
        self.flaps.iter().map(|(began, flap)| flap.next_turn(self.at - began) + began).min()
    }

    /// Whether frames get from one node to the other.
    pub fn reaches(&self, from: usize, to: usize) -> bool {
        let flaps = |(began, flap): &(u64, Flap)| {
            ((flap.a, flap.b) == (from, to) || (flap.b, flap.a) == (from, to)) && !flap.is_up(self.at - began)
        };
        self.side[from] == self.side[to]
            && !self.blocked.contains(&(from, to))
            && !self.dark.contains(&from)
            && !self.dark.contains(&to)
            && !self.flaps.iter().any(flaps)
    }

    /// Whether all nodes reach one another and will.
    pub fn is_whole(&self) -> bool {
        let apart = self.side.iter().any(|side| *side != self.side[0]);
        !apart && self.blocked.is_empty() && self.dark.is_empty() && self.flaps.is_empty()
    }

    /// Clogs the way from one node to another for `span` milliseconds: what is sent meanwhile arrives after that.
    pub fn clog(&mut self, from: usize, to: usize, span: u64) {
        let until = self.at + span;
        let way = self.ways.entry((from, to)).or_default();
        way.clogged = way.clogged.max(until);
    }

    /// A further node that stands where another does and is on its side.
    pub fn join(&mut self, beside: usize) {
        let (spot, side) = (self.spots[beside].clone(), self.side[beside]);
        self.spots.push(spot);
        self.side.push(side);
        self.latency.iter_mut().for_each(|row| row.push(row[beside]));
        let row = self.latency[beside].clone();
        self.latency.push(row);
    }

    // ---- frames ----

    /// What arrives at `to` because `from` sends a frame at millisecond `at`: copies of it, none if it is lost, and
    /// perhaps an old frame.
    pub fn carry(
        &mut self,
        at: u64,
        from: usize,
        to: usize,
        channel: Channel,
        bytes: Vec<u8>,
        rng: &mut impl Rng,
    ) -> Vec<Arrival> {
        self.at = at;
        if !self.reaches(from, to) || draw::chance(rng, self.weather.loss) {
            return Vec::new();
        }
        let mut arrivals = Vec::with_capacity(1);
        let Some(wait) = self.queue(from, to, bytes.len() as u64, rng) else { return arrivals };
        if self.weather.replays > 0 {
            arrivals.extend(self.replay(from, to, channel, &bytes, rng));
        }
        if draw::chance(rng, self.weather.duplicates) {
            let delay = wait + self.travel(from, to, rng);
            arrivals.push(Arrival { delay, channel, bytes: bytes.clone() });
        }
        let delay = wait + self.travel(from, to, rng);
        arrivals.push(Arrival { delay, channel, bytes });
        arrivals
    }

    fn travel(&self, from: usize, to: usize, rng: &mut impl Rng) -> u64 {
        let late = if draw::chance(rng, self.weather.stragglers) { Weather::STRAGGLE } else { self.weather.jitter };
        u64::from(self.latency[from][to]) + draw::between(rng, 0, late)
    }

    /// How long a frame waits before it is on its way; none if there is no room to wait.
    fn queue(&mut self, from: usize, to: usize, size: u64, rng: &mut impl Rng) -> Option<u64> {
        let Weather { clogs, clog_span, bandwidth, .. } = self.weather;
        let clog = draw::chance(rng, clogs).then(|| draw::between(rng, 1, clog_span.max(1)));
        if clog.is_none() && bandwidth.is_none() && !self.ways.contains_key(&(from, to)) {
            return Some(0);
        }
        let at = self.at;
        let way = self.ways.entry((from, to)).or_default();
        if let Some(span) = clog {
            way.clogged = way.clogged.max(at + span);
        }
        let mut ready = at.max(way.clogged);
        if let Some(limit) = bandwidth {
            let begin = way.busy.max(ready * 1000);
            if (begin - at * 1000) / 1000 * limit > Weather::QUEUE && begin > ready * 1000 {
                return None;
            }
            way.busy = begin + (size * 1000).div_ceil(limit);
            ready = way.busy / 1000;
        }
        Some(ready - at)
    }

    /// Remembers a frame and picks an older one that comes once more.
    fn replay(
        &mut self,
        from: usize,
        to: usize,
        channel: Channel,
        bytes: &[u8],
        rng: &mut impl Rng,
    ) -> Option<Arrival> {
        let way = self.ways.entry((from, to)).or_default();
        let again = draw::chance(rng, self.weather.replays) && !way.old.is_empty();
        let arrival = again.then(|| {
            let (channel, bytes) = way.old[draw::place(rng, way.old.len())].clone();
            Arrival { delay: draw::between(rng, 1, Weather::REPLAY_SPAN), channel, bytes }
        });
        // One in four is worth remembering, so that what is remembered is not only the last second.
        if way.old.len() < MEMORY || draw::chance(rng, 250) {
            if way.old.len() == MEMORY {
                way.old.remove(draw::place(rng, MEMORY));
            }
            way.old.push_back((channel, bytes.to_vec()));
        }
        arrival
    }
}

impl Flap {
    fn down(&self) -> u64 {
        self.period - self.up
    }

    fn is_up(&self, since: u64) -> bool {
        since % self.period >= self.down()
    }

    fn next_turn(&self, since: u64) -> u64 {
        let (begun, into) = (since - since % self.period, since % self.period);
        begun + if into < self.down() { self.down() } else { self.period }
    }
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
