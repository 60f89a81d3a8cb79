//! A scenario: everything that a run is made of, drawn from its seed. What is pinned is kept; the rest is drawn as if
//! nothing had been pinned.
//!
//! The drawing uses a stream of its own of the seed's generator, and so does every act of the run: leaving out an act
//! (as shrinking does) leaves the draws of the others alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use keymesh_wire::time::Millis;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

use crate::draw;
use crate::network::{Spot, Weather};

/// The most nodes that a tenant lies on; what a tenant costs grows with the square of it.
const PLACED: u64 = 9;
/// The most members of a committee.
const MEMBERS: usize = 7;

/// Who holds the shares of one committee.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitteePlan {
    /// Places of the members.
    pub members: Vec<usize>,
    /// How many of them open.
    pub threshold: u8,
    /// How many of them may lie.
    pub faults: u8,
}

impl CommitteePlan {
    /// How many honest members have to run for everything: to open, to fix enrolments, to put denials in effect.
    pub(crate) fn needed(&self) -> usize {
        let (n, t, f) = (self.members.len(), usize::from(self.threshold), usize::from(self.faults));
        t.max(n - t + 1 + f).max((n + f) / 2 + 1)
    }
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantPlan {
    /// Places of the nodes it lies on from the beginning.
    pub placed: Vec<usize>,
    /// How many admins there are.
    pub admins: usize,
    /// How many of them a guarded change needs.
    pub endorsements: u8,
    /// Its root's committees, all of which are needed; none if no layout keeps it from a single provider.
    pub committees: Vec<CommitteePlan>,
    /// How long its leases last.
    pub lease: Millis,
}

/// How often people, agents and misfortune act, as weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mix {
    /// People.
    pub people: u64,
    /// Agents.
    pub agents: u64,
    /// Faults.
    pub faults: u64,
}

/// What a run is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scenario {
    /// The seed.
    pub seed: u64,
    /// The nodes.
    pub nodes: Vec<Spot>,
    /// How many of the last nodes are admitted only while the run goes on.
    pub late: usize,
    /// The tenants.
    pub tenants: Vec<TenantPlan>,
    /// The network while faults last.
    pub weather: Weather,
    /// How far wall clocks are off at most, in milliseconds.
    pub skew: u64,
    /// How long acts go on, in virtual milliseconds.
    pub span: u64,
    /// The mean pause between two acts, in virtual milliseconds.
    pub pause: u64,
    /// Who acts how often.
    pub mix: Mix,
    /// Places of nodes that lie.
    pub liars: BTreeSet<usize>,
    /// Whether an admin of the first tenant was bribed.
    pub bribed: bool,
    /// Numbers of acts to leave out.
    #[serde(default)]
    pub skip: BTreeSet<u64>,
}

/// What is not to be drawn.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Pins {
    /// So many nodes instead of 3 to 50
    #[arg(long, value_parser = clap::value_parser!(u16).range(3..=50))]
    pub nodes: Option<u16>,
    /// So many zones instead of 1 to 6
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=6))]
    pub zones: Option<u8>,
    /// So many providers instead of 1 to 4
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=4))]
    pub providers: Option<u8>,
    /// So many tenants instead of 1 to 3
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=8))]
    pub tenants: Option<u8>,
    /// Lease time of all keyrings, in seconds
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub lease: Option<u32>,
    /// How long people, agents and faults act, in virtual minutes
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_440))]
    pub virtual_minutes: Option<u32>,
    /// Mean pause between acts, in virtual milliseconds
    #[arg(long, value_parser = clap::value_parser!(u32).range(10..=600_000))]
    pub pause: Option<u32>,
    /// Of all acts about so many per cent are faults
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=90))]
    pub faults: Option<u8>,
    /// So many nodes lie instead of as many as the committees tolerate at most
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=8))]
    pub liars: Option<u8>,
}

const PROVIDERS: [&str; 4] = ["aws", "gcp", "azure", "onprem"];

impl Scenario {
    /// The scenario of a seed.
    pub fn draw(seed: u64, pins: &Pins) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        rng.set_stream(1);
        let rng = &mut rng;
        // Most runs are small: what goes wrong goes wrong among few, and few are quick.
        let drawn = match draw::between(rng, 0, 99) {
            0..=19 => draw::between(rng, 3, 5),
            20..=69 => draw::between(rng, 6, 9),
            70..=94 => draw::between(rng, 10, 14),
            _ => draw::between(rng, 15, 50),
        };
        let count = pins.nodes.map_or(drawn, u64::from) as usize;
        let drawn = if draw::chance(rng, 40) { 1 } else { draw::between(rng, 2, 4) };
        let providers = pins.providers.map_or(drawn, u64::from) as usize;
        let drawn = draw::between(rng, 1, 6);
        let zones = pins.zones.map_or(drawn, u64::from).max(1) as usize;
        let nodes: Vec<Spot> = (0..count)
            .map(|number| {
                let provider = PROVIDERS[number % providers];
                Spot { zone: format!("{provider}/z{}", number / providers % zones + 1), provider: provider.to_owned() }
            })
            .collect();
        let late = if count > 4 { draw::between(rng, 0, 2) as usize } else { 0 };
        let drawn = match draw::between(rng, 0, 9) {
            0..=5 => 1,
            6..=8 => 2,
            _ => 3,
        };
        let tenants = pins.tenants.map_or(drawn, u64::from);
        let lease = pins.lease.map(|seconds| Millis::seconds(u64::from(seconds)));
        let tenants: Vec<TenantPlan> =
            (0..tenants).map(|_| TenantPlan::draw(&nodes, count - late, lease, rng)).collect();
        let weather = Weather::draw(rng);
        let skew = draw::between(rng, 0, 20_000);
        let drawn = draw::between(rng, 2, 8);
        let minutes = pins.virtual_minutes.map_or(drawn, u64::from);
        let drawn = minutes * 60_000 / draw::between(rng, 60, 300);
        let pause = pins.pause.map_or(drawn, u64::from);
        let drawn = draw::between(rng, 5, 45);
        let faults = pins.faults.map_or(drawn, u64::from);
        let people = draw::between(rng, 20, 60) * (100 - faults) / 100;
        let mix = Mix { people, agents: 100 - faults - people, faults };
        let liars = liars(&tenants, count, pins.liars, rng);
        let bribed = draw::chance(rng, 250);
        Self {
            seed,
            nodes,
            late,
            tenants,
            weather,
            skew,
            span: minutes * 60_000,
            pause,
            mix,
            liars,
            bribed,
            skip: BTreeSet::new(),
        }
    }
}

impl Scenario {
    /// Whether a scenario that somebody wrote or changed can be run at all; if not, why.
    pub fn check(&self) -> Result<(), String> {
        let nodes = self.nodes.len();
        let there = |places: &[usize]| places.iter().all(|place| *place < nodes - self.late);
        if nodes < 2 || self.late >= nodes {
            return Err("too few nodes".to_owned());
        }
        if self.tenants.is_empty() || self.pause == 0 || self.mix.people + self.mix.agents + self.mix.faults == 0 {
            return Err("nobody acts".to_owned());
        }
        for (number, tenant) in self.tenants.iter().enumerate() {
            let members = tenant.committees.iter().all(|committee| there(&committee.members));
            let admins = (2..=5).contains(&tenant.admins);
            if tenant.placed.is_empty() || !there(&tenant.placed) || !members || !admins {
                return Err(format!("tenant {} has places or people that there are not", number + 1));
            }
        }
        match self.liars.iter().find(|liar| **liar >= nodes) {
            Some(liar) => Err(format!("n{} lies, which does not exist", liar + 1)),
            None => Ok(()),
        }
    }
}

impl TenantPlan {
    fn draw(nodes: &[Spot], admitted: usize, lease: Option<Millis>, rng: &mut ChaCha20Rng) -> Self {
        let most = PLACED.min(admitted as u64);
        let least = if draw::chance(rng, 700) { 5 } else { 3 };
        let count = draw::between(rng, most.min(least), most) as usize;
        let mut placed = some_of(&(0..admitted).collect::<Vec<_>>(), count, rng);
        let mut committees = committees(nodes, &placed, rng);
        for _ in 0..10 {
            if !committees.is_empty() {
                break;
            }
            placed = some_of(&(0..admitted).collect::<Vec<_>>(), count, rng);
            committees = self::committees(nodes, &placed, rng);
        }
        let admins = draw::between(rng, 2, 5) as usize;
        let endorsements = draw::between(rng, 1, admins.min(3) as u64) as u8;
        let drawn = Millis(draw::between(rng, 3_000, 60_000));
        Self { placed, admins, endorsements, committees, lease: lease.unwrap_or(drawn) }
    }
}

/// Committees that no provider could open by itself: one, or now and then two that are both needed.
fn committees(nodes: &[Spot], placed: &[usize], rng: &mut ChaCha20Rng) -> Vec<CommitteePlan> {
    for _ in 0..20 {
        let both = draw::chance(rng, 200) && placed.len() >= 4;
        let pool = some_of(placed, placed.len(), rng);
        let halves: Vec<&[usize]> = if both { pool.chunks(pool.len().div_ceil(2)).collect() } else { vec![&pool] };
        let drawn: Vec<CommitteePlan> = halves
            .into_iter()
            .map(|half| {
                // Mostly large enough to tolerate a liar, and often somebody without its share beside it, where there
                // are the nodes for it.
                let tolerant = half.len() >= 4 && draw::chance(rng, 700);
                let spare = tolerant && half.len() >= 5 && draw::chance(rng, 700);
                let small = half.len().min(if draw::chance(rng, 600) { 3 } else { 2 }) as u64;
                let least = if spare {
                    5
                } else if tolerant {
                    4
                } else {
                    small
                };
                let n = draw::between(rng, least, half.len().min(MEMBERS) as u64) as usize;
                let most = if spare { n - 2 } else { n } as u64;
                let threshold = draw::between(rng, (n as u64 / 2 + 1).max(if tolerant { 3 } else { 0 }), most);
                let threshold = if n > 2 { threshold.min(n as u64 - 1).max(2) } else { threshold };
                // As many liars as neither open the root, nor keep it shut, nor keep a denial from taking effect.
                let faults = ((threshold - 1) / 2).min(n as u64 - threshold);
                let faults = if draw::chance(rng, 800) { faults } else { 0 };
                CommitteePlan { members: half[..n].to_vec(), threshold: threshold as u8, faults: faults as u8 }
            })
            .collect();
        let open = |committee: &CommitteePlan| {
            let mut of: BTreeMap<&str, u8> = BTreeMap::new();
            committee.members.iter().for_each(|member| *of.entry(nodes[*member].provider.as_str()).or_default() += 1);
            let able = of.into_iter().filter(|(_, count)| *count >= committee.threshold);
            able.map(|(provider, _)| provider).collect::<BTreeSet<_>>()
        };
        let alone = drawn.iter().map(open).reduce(|a, b| a.intersection(&b).copied().collect()).unwrap_or_default();
        if alone.is_empty() {
            return drawn;
        }
    }
    Vec::new()
}

/// Nodes that lie: in every committee at most as many as it tolerates.
fn liars(tenants: &[TenantPlan], count: usize, pinned: Option<u8>, rng: &mut ChaCha20Rng) -> BTreeSet<usize> {
    let drawn = if draw::chance(rng, 700) { draw::between(rng, 1, 3) } else { 0 };
    let wanted = pinned.map_or(drawn, u64::from) as usize;
    let mut liars = BTreeSet::new();
    // The first node is where a mesh begins; somebody has to be honest there. Mostly they are custodians.
    let mut places = some_of(&(1..count).collect::<Vec<_>>(), count - 1, rng);
    if draw::chance(rng, 900) {
        let committees = || tenants.iter().flat_map(|tenant| &tenant.committees);
        places.sort_by_key(|place| !committees().any(|part| part.faults > 0 && part.members.contains(place)));
    }
    for place in places {
        if liars.len() == wanted {
            break;
        }
        liars.insert(place);
        let tolerated = tenants.iter().flat_map(|tenant| &tenant.committees).all(|committee| {
            committee.members.iter().filter(|member| liars.contains(member)).count() <= usize::from(committee.faults)
        });
        if !tolerated || liars.len() * 3 > count {
            liars.remove(&place);
        }
    }
    liars
}

/// Some of a list, in a drawn order.
pub(crate) fn some_of(list: &[usize], count: usize, rng: &mut ChaCha20Rng) -> Vec<usize> {
    let mut left = list.to_vec();
    let mut taken = Vec::with_capacity(count);
    while taken.len() < count && !left.is_empty() {
        taken.push(left.swap_remove(draw::place(rng, left.len())));
    }
    taken
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zones: BTreeSet<&str> = self.nodes.iter().map(|node| node.zone.as_str()).collect();
        let providers: BTreeSet<&str> = self.nodes.iter().map(|node| node.provider.as_str()).collect();
        writeln!(f, "seed {}", self.seed)?;
        write!(f, "nodes     {} in {} zones of {} providers", self.nodes.len(), zones.len(), providers.len())?;
        writeln!(f, ", {} of them admitted later", self.late)?;
        for (number, tenant) in self.tenants.iter().enumerate() {
            write!(f, "tenant {}  on {}, ", number + 1, names(&tenant.placed))?;
            write!(f, "{} of {} admins for a guarded change, ", tenant.endorsements, tenant.admins)?;
            for (number, committee) in tenant.committees.iter().enumerate() {
                let CommitteePlan { members, threshold, faults } = committee;
                let and = if number > 0 { " AND " } else { "root " };
                write!(f, "{and}{threshold} of {} (f = {faults})", names(members))?;
            }
            if tenant.committees.is_empty() {
                write!(f, "no root")?;
            }
            writeln!(f, ", leases of {}", tenant.lease)?;
        }
        writeln!(f, "network   {}", self.weather)?;
        writeln!(f, "clocks    up to {} ms off", self.skew)?;
        let Mix { people, agents, faults } = self.mix;
        write!(f, "acts      for {} s, about every {} ms: ", self.span / 1000, self.pause)?;
        writeln!(f, "{people} % people, {agents} % agents, {faults} % faults")?;
        let liars: Vec<usize> = self.liars.iter().copied().collect();
        write!(f, "liars     {}", if liars.is_empty() { "none".to_owned() } else { names(&liars) })?;
        if self.bribed {
            write!(f, ", and an admin of tenant 1")?;
        }
        if !self.skip.is_empty() {
            write!(f, "\nwithout   {} of the acts", self.skip.len())?;
        }
        Ok(())
    }
}

fn names(places: &[usize]) -> String {
    let mut places = places.to_vec();
    places.sort_unstable();
    places.iter().map(|place| format!("n{}", place + 1)).collect::<Vec<_>>().join(" ")
}
