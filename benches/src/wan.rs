//! Blind releases and lease openings between zones that are far from each other.
//!
//! Five real nodes in three zones, each on a host of its own ([`crate::switch`]), and the agent on one more in the first
//! zone: this process, which moves there. Packets within a zone take no longer than the switch needs, between zones the
//! delay that was asked for. Whatever needs the custodians takes a round trip to the t-th nearest of them; how much more it
//! takes is what is measured.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use keymesh_agent::client::{Client, Session};
use keymesh_testnet::binaries::Binaries;
use keymesh_testnet::testnet::Testnet;
use keymesh_testnet::topology::{Addresses, THREE_CLOUDS};
use keymesh_wire::api::Status;
use keymesh_wire::sign::Identity;
use keymesh_wire::time::Millis;
use serde::Serialize;

use crate::error::BenchError;
use crate::figures::{Figures, Row, Samples};
use crate::live::Mesh;
use crate::people::{Committee, Keys, Tenant};
use crate::switch::Switch;
use crate::{quorum, release};

/// So short that a lease which was measured is soon over, and the next one can be.
const LEASE: Millis = Millis::seconds(1);
/// How long a lease may take to end: it is renewed once if it was used.
const END: Duration = Duration::from_secs(10);
/// Between two looks whether it has.
const LOOK: Duration = Duration::from_millis(50);
/// Before anything is measured: nodes have told each other what was set up, and have measured how far they are.
const SETTLE: Duration = Duration::from_secs(6);
/// Between two blind releases: they are not to wait for each other's audit records.
const PAUSE: Duration = Duration::from_millis(20);
/// TCP handshakes by which a round trip is measured.
const HANDSHAKES: usize = 9;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much more than the round trip releases may take, in milliseconds.
const MORE_MS: f64 = 5.0;
/// Every host is alone at its address.
const MESH_PORT: u16 = 7400;
const DOOR_PORT: u16 = 7401;

/// How long something took.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Took {
    /// Half of them took at most this long.
    pub p50_ms: f64,
    /// All but one in ten took at most this long.
    pub p90_ms: f64,
    /// How many there were.
    pub samples: usize,
}

impl Took {
    fn of(samples: &Samples) -> Self {
        Self { p50_ms: samples.millis(50), p90_ms: samples.millis(90), samples: samples.len() }
    }
}

/// What releases across zones came to.
#[derive(Debug, Clone, Serialize)]
pub struct WanFigures {
    /// The delay between zones that was asked for, one way.
    pub one_way_ms: u64,
    /// How many custodians it takes.
    pub threshold: usize,
    /// The round trip from the agent to the node it asks: the median of TCP handshakes.
    pub to_node_ms: f64,
    /// The same from that node to the custodian that is the nearest but threshold - 1, itself counted.
    pub round_trip_ms: f64,
    /// A blind release, the agent's combining included.
    pub blind: Took,
    /// A release for which the node had to open a lease first.
    pub opening: Took,
    /// A release under a lease that is renewed meanwhile.
    pub served: Took,
}

/// Measures `releases` blind releases and as many under a lease, and `openings` lease openings, with zones `one_way` apart.
///
/// # Errors
/// [`BenchError::Testnet`] without root; [`BenchError`].
pub fn measure(
    programs: Option<&Path>,
    one_way: Duration,
    releases: usize,
    openings: usize,
) -> Result<WanFigures, BenchError> {
    // First of all, so that whoever may not do this waits for nothing; and last to go.
    let switch = connect(one_way)?;
    let binaries = programs.map_or_else(Binaries::build, Binaries::in_folder)?;
    let mut net = Testnet::new(binaries, &THREE_CLOUDS, None)?;
    for (node, host) in net.nodes.iter_mut().zip(&switch.hosts) {
        let at = |port| SocketAddr::from((host.address, port));
        node.addresses = Addresses { mesh: at(MESH_PORT), door: at(DOOR_PORT) };
        node.namespace = Some(host.namespace.clone());
    }
    // The agent and everything it starts.
    switch.hosts.last().ok_or(BenchError::Unexpected("the network has no hosts"))?.namespace.enter()?;
    let mut mesh = Mesh::of(net)?;
    mesh.people.lease = LEASE;
    let mut tenant = mesh.tenant("acme")?;
    mesh.root_of(&mut tenant, Committee::FIVE)?;
    let keys = mesh.keys(&mut tenant)?;
    let agent = mesh.agent(&tenant)?;
    thread::sleep(SETTLE);
    let node = mesh.nearest()?;
    let (blind, opening, served) =
        Asker { mesh: &mesh, tenant: &tenant, keys: &keys, agent: &agent, node }.ask(releases, openings)?;
    let threshold = usize::from(Committee::FIVE.threshold);
    Ok(WanFigures {
        one_way_ms: u64::try_from(one_way.as_millis()).unwrap_or(u64::MAX),
        threshold,
        to_node_ms: round_trip(mesh.net.nodes[node].door())?.millis(50),
        round_trip_ms: to_nearest(&mesh, &switch, node, threshold)?,
        blind: Took::of(&blind),
        opening: Took::of(&opening),
        served: Took::of(&served),
    })
}

/// A host for each node, and one for the agent in the first one's zone.
fn connect(one_way: Duration) -> Result<Switch, BenchError> {
    let mut zones: Vec<&str> = THREE_CLOUDS.iter().map(|place| place.zone).collect();
    zones.push(THREE_CLOUDS[0].zone);
    let apart = |from: usize, to: usize| if zones[from] == zones[to] { Duration::ZERO } else { one_way };
    Switch::start(u8::try_from(zones.len()).unwrap_or(u8::MAX), apart)
}

/// Who asks whom for what.
struct Asker<'m> {
    mesh: &'m Mesh,
    tenant: &'m Tenant,
    keys: &'m Keys,
    agent: &'m Arc<Identity>,
    node: usize,
}

impl Asker<'_> {
    /// Blind releases, lease openings, and releases under leases.
    fn ask(&self, releases: usize, openings: usize) -> Result<(Samples, Samples, Samples), BenchError> {
        let mut session = self.mesh.session(self.node, self.agent, self.tenant)?;
        release::first(&mut session, self.keys.leased)?;
        let opening = self.openings(&mut session, openings)?;
        let served = self.served(&mut session, releases)?;
        Ok((self.blind(&mut self.mesh.client(self.node)?, releases)?, opening, served))
    }

    fn blind(&self, client: &mut Client, count: usize) -> Result<Samples, BenchError> {
        let wanted = quorum::wanted(client, self.mesh, self.tenant, self.keys, self.agent)?;
        let mut samples = Samples::default();
        for _ in 0..count {
            thread::sleep(PAUSE);
            let asked = Instant::now();
            quorum::one(client, &wanted, self.agent)?;
            samples.add(asked.elapsed());
        }
        Ok(samples)
    }

    /// Each after the lease before has ended.
    fn openings(&self, session: &mut Session, count: usize) -> Result<Samples, BenchError> {
        let mut samples = Samples::default();
        for _ in 0..count {
            self.until_no_lease(session)?;
            let asked = Instant::now();
            session.release(self.keys.leased, None)?;
            samples.add(asked.elapsed());
        }
        Ok(samples)
    }

    fn until_no_lease(&self, session: &mut Session) -> Result<(), BenchError> {
        let until = Instant::now() + END;
        loop {
            let status: Status = session.client_mut().get_json("/v1/status")?;
            if !status.leases.iter().any(|lease| lease.keyring == self.keys.leased_ring) {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(BenchError::Waited { what: "the end of a lease".to_owned(), seconds: END.as_secs() });
            }
            thread::sleep(LOOK);
        }
    }

    fn served(&self, session: &mut Session, count: usize) -> Result<Samples, BenchError> {
        session.release(self.keys.leased, None)?;
        let mut samples = Samples::default();
        for _ in 0..count {
            thread::sleep(PAUSE);
            let asked = Instant::now();
            session.release(self.keys.leased, None)?;
            samples.add(asked.elapsed());
        }
        Ok(samples)
    }
}

/// The round trip from `node` to the `nth` nearest custodian, itself counted, in milliseconds.
fn to_nearest(mesh: &Mesh, switch: &Switch, node: usize, nth: usize) -> Result<f64, BenchError> {
    let from = &switch.hosts[node].namespace;
    let mut round_trips = vec![0.0];
    for other in mesh.net.others(node) {
        let door = mesh.net.nodes[other].door();
        round_trips.push(from.within(|| round_trip(door))??.millis(50));
    }
    round_trips.sort_by(f64::total_cmp);
    round_trips.get(nth - 1).copied().ok_or(BenchError::Unexpected("the root has too few custodians"))
}

/// How long TCP handshakes take: a packet there, one back, and no program between.
fn round_trip(to: SocketAddr) -> Result<Samples, BenchError> {
    let mut samples = Samples::default();
    for _ in 0..HANDSHAKES {
        let started = Instant::now();
        let connected = TcpStream::connect_timeout(&to, PATIENCE);
        samples.add(started.elapsed());
        drop(connected.map_err(BenchError::io("connect to", to.to_string()))?);
    }
    Ok(samples)
}

impl Figures for WanFigures {
    fn rows(&self) -> Vec<Row> {
        let target = format!("<= {:.2} ms, the round trip and {MORE_MS}", self.round_trip_ms + MORE_MS);
        let nth = self.threshold;
        let mut rows = vec![
            Row::new("round trip to the node", format!("{} ms", self.to_node_ms), ""),
            Row::new(
                format!("round trip to the custodian needed as number {nth}"),
                format!("{} ms", self.round_trip_ms),
                "",
            ),
        ];
        for (what, took, target) in [
            ("blind release", &self.blind, target.as_str()),
            ("release that opens a lease", &self.opening, target.as_str()),
            ("release under a lease", &self.served, ""),
        ] {
            rows.push(Row::new(format!("{what} p50"), format!("{} ms", took.p50_ms), target));
            rows.push(Row::new(format!("{what} p90"), format!("{} ms", took.p90_ms), ""));
        }
        rows
    }
}
