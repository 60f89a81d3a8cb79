//! What is measured in one swarm: idling, spreading, healing.
//!
//! Everything but memory is counted in virtual time and so the same in every run of one seed.

use super::land;
use super::swarm::Swarm;
use super::tally::{Count, Purpose};

/// A second, in microseconds.
const SECOND: u64 = 1_000_000;
/// How long is waited for what ought to take much less.
const PATIENCE: u64 = 300 * SECOND;

/// What one measurement is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// Statements that all hold from the beginning.
    pub history: usize,
    /// Statements whose spread is measured, one at a time.
    pub statements: usize,
}

/// What the mesh of one size costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    /// Of what.
    pub plan: Plan,
    /// The longest that a frame takes, in microseconds.
    pub diameter: u64,
    /// What a node sends when the whole mesh connects, until that is quiet.
    pub connecting: Count,
    /// What a node sends in a minute in which nothing happens.
    pub idle: Count,
    /// One statement at a time.
    pub spread: Spreading,
    /// Cuts of several sizes.
    pub heals: Vec<Heal>,
    /// Bytes of memory that a real node takes, if that was measured.
    pub memory: Option<u64>,
}

/// How one statement reaches everybody, over several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spreading {
    /// A statement's envelope, on average.
    pub size: u64,
    /// Until 99 % of the nodes had it: on average, in microseconds.
    pub most: u64,
    /// Until 99 % had it: at worst.
    pub most_worst: u64,
    /// Until all had it: at worst.
    pub all_worst: u64,
    /// What all nodes sent for one statement, on average, except their usual digests.
    pub sent: Count,
    /// What the busiest node sent for one statement, on average.
    pub busiest: Count,
}

/// How a cut heals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heal {
    /// Statements said during the cut, half of them on each side.
    pub statements: usize,
    /// Their envelopes, together.
    pub difference: u64,
    /// From the moment at which links begin to come back until 99 % of the nodes have all, in microseconds.
    pub most: u64,
    /// Until all nodes have all.
    pub all: u64,
    /// Everything that was sent until then and a second longer.
    pub sent: Count,
    /// The part of it that digests are.
    pub digests: Count,
    /// Reconciliations that were begun.
    pub sessions: u64,
}

impl Heal {
    /// Bytes for each pair of nodes, if every node is mended by one of the other side.
    pub fn per_pair(&self, nodes: usize) -> u64 {
        self.sent.bytes * 2 / nodes as u64
    }
}

impl Figures {
    /// A total of all nodes for one of them.
    pub fn each(&self, total: u64) -> f64 {
        total as f64 / self.plan.nodes as f64
    }

    /// A time in diameters.
    pub fn diameters(&self, time: u64) -> f64 {
        time as f64 / self.diameter as f64
    }

    /// What one node sends for a statement, as a multiple of the statement.
    pub fn multiple(&self) -> f64 {
        self.each(self.spread.sent.bytes) / self.spread.size as f64
    }

    /// Which of the figures we steer by are missed.
    pub fn missed(&self) -> Vec<String> {
        let nodes = self.plan.nodes;
        let mut missed = Vec::new();
        let mut check = |holds: bool, what: String| {
            if !holds {
                missed.push(format!("{nodes} nodes: {what}"));
            }
        };
        let diameters = self.diameters(self.spread.most_worst);
        check(diameters <= 3.0, format!("99 % had a statement only after {diameters:.2} diameters, not 3"));
        let multiple = self.multiple();
        check(multiple <= 4.0, format!("a node sent {multiple:.2} times the statement's size, not 4"));
        for heal in &self.heals {
            let (is, may) = (heal.per_pair(nodes), heal.difference * 3 / 2 + 8192);
            let k = heal.statements;
            check(is <= may, format!("a cut of {k} statements healed with {is} bytes a pair, not {may}"));
        }
        let memory = self.memory.unwrap_or_default();
        check(memory <= 10 << 20, format!("a node takes {memory} bytes of memory, not 10 MB"));
        missed
    }
}

/// Measures the mesh of one size. `cuts` are the numbers of statements of the cuts; `tell` hears how far it is.
pub fn measure(plan: Plan, cuts: &[usize], tell: &mut impl FnMut(&str)) -> Figures {
    let mut swarm = Swarm::new(plan.seed, plan.nodes, plan.history);
    let each =
        |count: Count| Count { frames: count.frames / plan.nodes as u64, bytes: count.bytes / plan.nodes as u64 };
    tell("connecting");
    swarm.connect();
    // Each of a node's new peers has its turn first, four a second.
    swarm.run((15 + plan.nodes as u64 / 4) * SECOND);
    let connecting = each(swarm.tally.all());
    tell("idling");
    swarm.run(15 * SECOND);
    swarm.tally.clear();
    swarm.run(60 * SECOND);
    let idle = each(swarm.tally.all());
    tell("spreading");
    let spread = spread(&mut swarm, plan.statements);
    let heals = cuts
        .iter()
        .map(|statements| {
            tell(&format!("a cut of {statements} statements"));
            heal(&mut swarm, *statements)
        })
        .collect();
    assert_eq!(swarm.reports, Vec::<String>::new(), "honest nodes complained about one another");
    Figures { plan, diameter: land::diameter(plan.nodes), connecting, idle, spread, heals, memory: None }
}

fn spread(swarm: &mut Swarm, statements: usize) -> Spreading {
    let mut sum = Spreading::default();
    for _ in 0..statements {
        swarm.forget();
        swarm.tally.clear();
        let (begun, node) = (swarm.at(), swarm.any());
        sum.size += swarm.submit(node);
        swarm.run_until(PATIENCE, |swarm| swarm.complete().is_some());
        let (most, all) = swarm.complete().map_or((PATIENCE, PATIENCE), |(most, all)| (most - begun, all - begun));
        swarm.run(2 * SECOND);
        sum.most += most;
        sum.most_worst = sum.most_worst.max(most);
        sum.all_worst = sum.all_worst.max(all);
        for purpose in [Purpose::Spreading, Purpose::Mending] {
            sum.sent.add(swarm.tally.total(purpose));
        }
        sum.busiest.add(swarm.tally.busiest());
    }
    let count = statements.max(1) as u64;
    let mean = |of: Count| Count { frames: of.frames / count, bytes: of.bytes / count };
    let (sent, busiest) = (mean(sum.sent), mean(sum.busiest));
    Spreading { size: sum.size / count, most: sum.most / count, sent, busiest, ..sum }
}

fn heal(swarm: &mut Swarm, statements: usize) -> Heal {
    swarm.cut();
    swarm.run(SECOND);
    swarm.forget();
    let mut difference = 0;
    for number in 0..statements {
        let node = swarm.any_on(number % 2 == 1);
        difference += swarm.submit(node);
        swarm.run(SECOND / 20);
    }
    swarm.run(15 * SECOND);
    swarm.tally.clear();
    let begun = swarm.at();
    swarm.heal();
    swarm.run_until(PATIENCE, |swarm| swarm.complete().is_some());
    let (most, all) = swarm.complete().map_or((PATIENCE, PATIENCE), |(most, all)| (most - begun, all - begun));
    swarm.run(SECOND);
    let (sent, digests) = (swarm.tally.all(), swarm.tally.total(Purpose::Comparing));
    let sessions = swarm.tally.sessions();
    swarm.run(60 * SECOND);
    Heal { statements, difference, most, all, sent, digests, sessions }
}
