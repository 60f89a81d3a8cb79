//! Blind releases: three of five custodians open a key straight to the agent, which combines what they send.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use keymesh_agent::client::Client;
use keymesh_agent::quorum::{Question, RootPin, Wanted};
use keymesh_agent::system::{randomness, wall};
use keymesh_wire::request::Receipt;
use keymesh_wire::sign::Identity;
use serde::Serialize;

use crate::error::BenchError;
use crate::figures::{Figures, Row, Samples};
use crate::live::Mesh;
use crate::people::{Keys, Tenant};

/// How long the first one may wait until what was set up has reached the custodians.
const PATIENCE: Duration = Duration::from_secs(30);

/// What blind releases came to.
#[derive(Debug, Clone, Serialize)]
pub struct QuorumFigures {
    /// Blind releases a second.
    pub per_s: f64,
    /// Half of them took at most this long, combining included.
    pub p50_ms: f64,
    /// All but one in a hundred took at most this long.
    pub p99_ms: f64,
    /// Connections.
    pub connections: usize,
    /// How many keys were opened.
    pub releases: usize,
}

/// When a connection asks for the next key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// As soon as it has the one before: as many as go.
    Closed,
    /// When the next one of so many a second is due, over all connections. It took as long as it came after that, whether
    /// the mesh was slow or the one before was.
    Open(u32),
}

/// Measures on `connections` connections for `length`.
///
/// # Errors
/// [`BenchError`].
pub fn measure(
    mesh: &Mesh,
    tenant: &Tenant,
    keys: &Keys,
    agent: &Arc<Identity>,
    connections: usize,
    length: Duration,
) -> Result<QuorumFigures, BenchError> {
    let until = Instant::now() + length;
    measure_until(mesh, (tenant, keys, agent), connections, Load::Closed, || Instant::now() >= until)
}

/// The same until it `is_over`.
///
/// # Errors
/// [`BenchError`].
pub fn measure_until(
    mesh: &Mesh,
    (tenant, keys, agent): (&Tenant, &Keys, &Arc<Identity>),
    connections: usize,
    load: Load,
    is_over: impl Fn() -> bool + Sync,
) -> Result<QuorumFigures, BenchError> {
    let node = mesh.nearest()?;
    let wanted = wanted(&mut mesh.client(node)?, mesh, tenant, keys, agent)?;
    let clients = (0..connections.max(1)).map(|_| mesh.client(node)).collect::<Result<Vec<_>, _>>()?;
    let (started, number) = (Instant::now(), AtomicU32::new(0));
    let due = || match load {
        Load::Closed => Instant::now(),
        Load::Open(per_s) => {
            let due = started + Duration::from_secs(1) * number.fetch_add(1, Ordering::Relaxed) / per_s.max(1);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            due
        }
    };
    let samples = thread::scope(|scope| {
        let threads = clients.into_iter().map(|mut client| {
            let (wanted, is_over, due) = (&wanted, &is_over, &due);
            scope.spawn(move || {
                let mut samples = Samples::default();
                while !is_over() {
                    let asked = due();
                    one(&mut client, wanted, agent)?;
                    samples.add(asked.elapsed());
                }
                Ok::<_, BenchError>(samples)
            })
        });
        let mut samples = Samples::default();
        for thread in threads.collect::<Vec<_>>() {
            samples.extend(thread.join().unwrap_or(Err(BenchError::Thread))?);
        }
        Ok::<_, BenchError>(samples)
    })?;
    Ok(QuorumFigures {
        per_s: (samples.len() as f64 / started.elapsed().as_secs_f64() * 10.0).round() / 10.0,
        p50_ms: samples.millis(50),
        p99_ms: samples.millis(99),
        connections: connections.max(1),
        releases: samples.len(),
    })
}

/// What is asked for, with the root as the first blind release over `client` showed it: that one waits until what was set
/// up has reached the custodians.
///
/// # Errors
/// [`BenchError`].
pub(crate) fn wanted(
    client: &mut Client,
    mesh: &Mesh,
    tenant: &Tenant,
    keys: &Keys,
    agent: &Identity,
) -> Result<Wanted, BenchError> {
    let wanted = Wanted {
        mesh: mesh.mesh,
        tenant: tenant.id,
        key: keys.quorum,
        version: None,
        root: None,
        receipt: Receipt::default(),
    };
    let root = first(client, &wanted, agent)?;
    Ok(Wanted { root: Some(root), ..wanted })
}

/// One blind release: signed, carried, judged by the custodians, combined here.
///
/// # Errors
/// [`BenchError`].
pub(crate) fn one(client: &mut Client, wanted: &Wanted, agent: &Identity) -> Result<RootPin, BenchError> {
    let question = Question::new(wanted, agent, wall(), &mut randomness());
    Ok(question.ask(client, wanted.root, wall)?.root)
}

fn first(client: &mut Client, wanted: &Wanted, agent: &Identity) -> Result<RootPin, BenchError> {
    let until = Instant::now() + PATIENCE;
    loop {
        match one(client, wanted, agent) {
            Err(BenchError::Quorum(error)) if client.is_usable() && Instant::now() < until => {
                eprintln!("not yet: {error}");
                thread::sleep(Duration::from_millis(100));
            }
            other => return other,
        }
    }
}

impl Figures for QuorumFigures {
    fn rows(&self) -> Vec<Row> {
        let n = self.connections;
        vec![
            Row::new(format!("blind releases a second, {n} connections"), format!("{:.0}", self.per_s), ""),
            Row::new(
                format!("blind release p50, {n} connections"),
                format!("{} ms", self.p50_ms),
                match n {
                    1 => "< 10 ms",
                    _ => "",
                },
            ),
            Row::new(format!("blind release p99, {n} connections"), format!("{} ms", self.p99_ms), ""),
        ]
    }
}
