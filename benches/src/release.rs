//! Releases from a leased keyring: how many and how fast, with every audit record durable before its key leaves.
//!
//! Each connection is a thread with a kept TLS session of one enrolled agent and one request under way. Latency is the
//! agent's: from building the request to the opened key. Afterwards the node is killed (`SIGKILL`) and its log read back
//! from disk, record by record along the chain: each acknowledged release has to be in there (I7).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use keymesh::disk::audit_log::Records;
use keymesh::runtime::audit::log_id;
use keymesh_agent::client::Session;
use keymesh_wire::audit::{AuditKind, AuditRecord, Outcome};
use keymesh_wire::codec;
use keymesh_wire::ids::{KeyId, MeshId, NodeId, PrincipalId};
use keymesh_wire::sign::Identity;
use serde::Serialize;

use crate::disk;
use crate::error::BenchError;
use crate::figures::{Figures, Row, Samples};
use crate::live::Mesh;
use crate::people::{Keys, Tenant};

/// Before anything counts: the lease is asked for and code and caches are warm.
const WARM_UP: Duration = Duration::from_secs(1);
/// How often the device is asked how long it takes.
const PROBES: usize = 200;
/// How long the first release may wait for the custodians.
const PATIENCE: Duration = Duration::from_secs(30);

/// What releases came to.
#[derive(Debug, Clone, Serialize)]
pub struct ReleaseFigures {
    /// Releases a second.
    pub per_s: f64,
    /// Half of them took at most this long.
    pub p50_us: f64,
    /// All but one in a hundred took at most this long.
    pub p99_us: f64,
    /// Connections.
    pub connections: usize,
    /// Releases that were acknowledged.
    pub releases: usize,
    /// Records of them in the killed node's log.
    pub audit_records: usize,
    /// A durable write of about one record, alone on the same filesystem.
    pub fdatasync_p50_us: f64,
    /// How often the log waited for the device meanwhile.
    pub audit_syncs: u64,
    /// Processor time of the node for one release.
    pub node_cpu_us: f64,
    /// Processor time of the client for one release.
    pub client_cpu_us: f64,
    /// Processors that nodes and clients share.
    pub cpus: usize,
}

/// What one connection did.
#[derive(Debug, Default)]
struct Run {
    samples: Samples,
    sequences: Vec<u64>,
}

/// Measures on `connections` connections for `length`; the node is killed, and started again for whoever comes next.
///
/// # Errors
/// [`BenchError::Unrecorded`] if a release has no record; [`BenchError`].
pub fn measure(
    mesh: &Mesh,
    tenant: &Tenant,
    keys: &Keys,
    agent: &Arc<Identity>,
    connections: usize,
    length: Duration,
) -> Result<ReleaseFigures, BenchError> {
    let node = mesh.nearest()?;
    let data = mesh.net.nodes[node].data();
    let mut device = disk::fdatasync(&data, PROBES)?;
    let open = |_| mesh.session(node, agent, tenant);
    let mut sessions = (0..connections.max(1)).map(open).collect::<Result<Vec<_>, _>>()?;
    first(&mut sessions[0], keys.leased)?;
    let before = counter(&mut sessions[0], "keymesh_audit_syncs_total")?;
    let pid = mesh.net.nodes[node].pid().ok_or(BenchError::Unexpected("the node does not run"))?;
    let (runs, took, cpu) = run(sessions, keys.leased, length, [pid, std::process::id()])?;
    let after = counter(&mut mesh.session(node, agent, tenant)?, "keymesh_audit_syncs_total")?;
    mesh.net.kill(&[node]);
    device.extend(disk::fdatasync(&data, PROBES)?);

    let (mut samples, mut sequences) = (Samples::default(), BTreeSet::new());
    for run in runs {
        samples.extend(run.samples);
        sequences.extend(run.sequences);
    }
    let (id, releases) = (mesh.net.nodes[node].id, samples.len());
    let id = id.ok_or(BenchError::Unexpected("the node has no id"))?;
    let recorded = recorded(&data.join("audit"), mesh.mesh, id, agent.principal(), &sequences)?;
    mesh.net.start(&[node])?;
    mesh.net.wait_connected(&mesh.net.all(), PATIENCE)?;
    let missing = sequences.difference(&recorded).count();
    // Two releases with one record would be as bad as one without.
    if missing > 0 || sequences.len() < releases || recorded.len() < releases {
        let missing = missing.max(releases.saturating_sub(recorded.len()));
        return Err(BenchError::Unrecorded { releases, missing });
    }
    Ok(ReleaseFigures {
        per_s: (releases as f64 / took.as_secs_f64() * 10.0).round() / 10.0,
        p50_us: samples.micros(50),
        p99_us: samples.micros(99),
        connections: connections.max(1),
        releases,
        audit_records: recorded.len(),
        fdatasync_p50_us: device.micros(50),
        audit_syncs: after.saturating_sub(before),
        node_cpu_us: each(cpu[0], releases),
        client_cpu_us: each(cpu[1], releases),
        cpus: thread::available_parallelism().map_or(1, usize::from),
    })
}

/// The first release waits until the custodians gave a lease, and until what was set up has reached them all.
pub(crate) fn first(session: &mut Session, key: KeyId) -> Result<(), BenchError> {
    let until = Instant::now() + PATIENCE;
    loop {
        match session.release(key, None) {
            Ok(_) => return Ok(()),
            Err(error) if session.client().is_usable() && Instant::now() < until => {
                eprintln!("not yet: {error}");
                thread::sleep(Duration::from_millis(100));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// One of a node's counters.
fn counter(session: &mut Session, name: &str) -> Result<u64, BenchError> {
    let text = session.client_mut().get_text("/metrics")?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.ok_or(BenchError::Unexpected("the node's metrics lack a counter"))
}

/// Runs all sessions at once: first to warm up, then for the figures. Returns them with the time between the moment all
/// began and the moment the last ended, and the processor time of `processes` meanwhile.
fn run(
    sessions: Vec<Session>,
    key: KeyId,
    length: Duration,
    processes: [u32; 2],
) -> Result<(Vec<Run>, Duration, [Duration; 2]), BenchError> {
    let (start, end) = (Arc::new(Barrier::new(sessions.len() + 1)), Arc::new(Barrier::new(sessions.len() + 1)));
    let spawn = |mut session: Session| {
        let (start, end) = (start.clone(), end.clone());
        thread::spawn(move || {
            let warm = releases(&mut session, key, WARM_UP);
            start.wait();
            let measured = releases(&mut session, key, length);
            end.wait();
            // The session closes after the last one has measured.
            warm.and(measured)
        })
    };
    let threads: Vec<_> = sessions.into_iter().map(spawn).collect();
    start.wait();
    let (started, before) = (Instant::now(), processes.map(cpu_time));
    end.wait();
    let (took, after) = (started.elapsed(), processes.map(cpu_time));
    let cpu = [0, 1].map(|which: usize| after[which].saturating_sub(before[which]));
    let runs = threads.into_iter().map(|thread| thread.join().unwrap_or(Err(BenchError::Thread)));
    Ok((runs.collect::<Result<_, _>>()?, took, cpu))
}

/// Processor time of all threads of a process so far, to 10 ms; none if the kernel does not say.
fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field is the program's name in brackets and may hold anything; user and system time are the 14th and 15th.
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Microseconds of `whole` for each of `parts`, to a tenth.
fn each(whole: Duration, parts: usize) -> f64 {
    (whole.as_secs_f64() * 1e7 / parts.max(1) as f64).round() / 10.0
}

fn releases(session: &mut Session, key: KeyId, length: Duration) -> Result<Run, BenchError> {
    let mut run = Run::default();
    let until = Instant::now() + length;
    loop {
        let asked = Instant::now();
        if asked >= until {
            return Ok(run);
        }
        let (_key, released) = session.release(key, None)?;
        run.samples.add(asked.elapsed());
        run.sequences.push(released.audit.sequence);
    }
}

/// The records of allowed releases to `agent` in the log at `dir`, from the first of `sequences` on.
fn recorded(
    dir: &Path,
    mesh: MeshId,
    node: NodeId,
    agent: PrincipalId,
    sequences: &BTreeSet<u64>,
) -> Result<BTreeSet<u64>, BenchError> {
    let first = sequences.first().copied().unwrap_or_default();
    let mut found = BTreeSet::new();
    for stored in Records::open(dir, log_id(&mesh, &node), None)? {
        let stored = stored?;
        let record = codec::decode::<AuditRecord>(&stored.payload, AuditRecord::LIMIT);
        let record = record.map_err(|_| BenchError::Unexpected("an audit record does not decode"))?;
        let release = record.kind == AuditKind::Release && record.outcome == Outcome::Allowed;
        if release && record.asker == Some(agent) && stored.seq >= first {
            found.insert(stored.seq);
        }
    }
    Ok(found)
}

impl Figures for ReleaseFigures {
    fn rows(&self) -> Vec<Row> {
        let n = self.connections;
        let p50 = format!("< 1000 us, or fdatasync + 600 = {:.0} us", self.fdatasync_p50_us + 600.0);
        let shared = self.releases as f64 / self.audit_syncs.max(1) as f64;
        vec![
            Row::new(
                format!("releases a second, {n} connections"),
                format!("{:.0}", self.per_s),
                match n {
                    8 => "> 5000",
                    _ => "",
                },
            ),
            Row::new(
                format!("release p50, {n} connections"),
                format!("{} us", self.p50_us),
                match n {
                    1 => p50.as_str(),
                    _ => "",
                },
            ),
            Row::new(format!("release p99, {n} connections"), format!("{} us", self.p99_us), ""),
            Row::new("fdatasync p50 beside it", format!("{} us", self.fdatasync_p50_us), ""),
            Row::new("processor time of a release", format!("{} us", self.node_cpu_us), ""),
            Row::new("releases that shared one fdatasync", format!("{shared:.1}"), ""),
            Row::new("audit records after SIGKILL", self.audit_records.to_string(), format!(">= {}", self.releases)),
        ]
    }
}
