//! The network: who reaches whom, how late, and what is lost, doubled and reordered on the way.
//!
//! It carries frames and knows nothing about what is in them. A cut drops frames at once; that a connection is gone is
//! noticed later, as with a real transport. Every draw comes from the run's generator.

use rand_core::Rng;

use crate::draw;

/// How bad the network is. Rates are in thousandths of all frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weather {
    /// The shortest and the longest latency of a link, in milliseconds; each link draws its own.
    pub latency: (u64, u64),
    /// How much later than that a single frame may be, in milliseconds.
    pub jitter: u64,
    /// Frames that vanish.
    pub loss: u64,
    /// Frames that come twice.
    pub duplicates: u64,
    /// Frames that are held back long enough to be overtaken by many others.
    pub stragglers: u64,
}

impl Weather {
    /// A network without faults.
    pub const CALM: Self = Self { latency: (1, 4), jitter: 1, loss: 0, duplicates: 0, stragglers: 0 };
    /// A bad day between clouds.
    pub const ROUGH: Self = Self { latency: (2, 60), jitter: 20, loss: 50, duplicates: 30, stragglers: 30 };
}

/// The network of one run.
#[derive(Debug)]
pub struct Network {
    weather: Weather,
    /// By ordered pair: latency is not the same both ways.
    latency: Vec<Vec<u64>>,
    /// Nodes reach one another if they are on one side.
    side: Vec<usize>,
}

impl Network {
    /// A whole network of `nodes`.
    pub fn new(nodes: usize, weather: Weather, rng: &mut impl Rng) -> Self {
        let mut link = || draw::between(rng, weather.latency.0, weather.latency.1);
        let latency = (0..nodes).map(|_| (0..nodes).map(|_| link()).collect()).collect();
        Self { weather, latency, side: vec![0; nodes] }
    }

    /// Changes the weather; links keep their latencies.
    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

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

    /// Makes the network whole again.
    pub fn heal(&mut self) {
        self.side.fill(0);
    }

    /// Whether frames get from one node to the other.
    pub fn reaches(&self, from: usize, to: usize) -> bool {
        self.side[from] == self.side[to]
    }

    /// Whether all nodes reach one another.
    pub fn is_whole(&self) -> bool {
        self.side.iter().all(|side| *side == self.side[0])
    }

    /// After how many milliseconds each copy of a frame arrives; none if it is lost.
    pub fn fates(&self, from: usize, to: usize, rng: &mut impl Rng) -> Vec<u64> {
        if !self.reaches(from, to) || draw::chance(rng, self.weather.loss) {
            return Vec::new();
        }
        let copies = if draw::chance(rng, self.weather.duplicates) { 2 } else { 1 };
        (0..copies)
            .map(|_| {
                let late = if draw::chance(rng, self.weather.stragglers) { 400 } else { self.weather.jitter };
                self.latency[from][to] + draw::between(rng, 0, late)
            })
            .collect()
    }
}
