//! Starting a node that has state, and what it holds in memory once nobody asks it anything.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::error::BenchError;
use crate::figures::{Figures, Row, Samples};
use crate::live::Mesh;

const TIMES: usize = 5;
const IDLE: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(2);

/// What starting came to.
#[derive(Debug, Clone, Serialize)]
pub struct StartFigures {
    /// Half of the starts took at most this long until `/healthz` was well.
    pub p50_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// The largest resident set of the five nodes after some idle seconds, in MB (10^6 bytes).
    pub idle_rss_mb: f64,
}

/// Kills and starts one node five times, then lets all five idle.
///
/// # Errors
/// [`BenchError`].
pub fn measure(mesh: &Mesh) -> Result<StartFigures, BenchError> {
    let mut samples = Samples::default();
    for _ in 0..TIMES {
        mesh.net.kill(&[4]);
        let started = Instant::now();
        mesh.net.start(&[4])?;
        while !is_well(mesh, 4) {
            if started.elapsed() > PATIENCE {
                return Err(BenchError::Waited { what: "a healthy node".to_owned(), seconds: PATIENCE.as_secs() });
            }
            thread::sleep(LOOK);
        }
        samples.add(started.elapsed());
    }
    mesh.net.wait_connected(&mesh.net.all(), PATIENCE)?;
    thread::sleep(IDLE);
    let mut largest = 0;
    for node in &mesh.net.nodes {
        let pid = node.pid().ok_or(BenchError::Unexpected("a node of the mesh does not run"))?;
        largest = largest.max(resident(pid)?);
    }
    let idle_rss_mb = (largest as f64 / 100_000.0).round() / 10.0;
    Ok(StartFigures { p50_ms: samples.millis(50), max_ms: samples.millis(100), idle_rss_mb })
}

fn is_well(mesh: &Mesh, node: usize) -> bool {
    // While it starts, every error means: not yet.
    mesh.client(node).is_ok_and(|mut client| client.get_text("/healthz").is_ok())
}

/// `VmRSS` of a process, in bytes.
fn resident(pid: u32) -> Result<u64, BenchError> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).map_err(BenchError::io("read", path))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or(BenchError::Unexpected("the kernel does not say how much memory a node holds"))
}

impl Figures for StartFigures {
    fn rows(&self) -> Vec<Row> {
        vec![
            Row::new("node start until healthy, p50", format!("{} ms", self.p50_ms), "< 2000 ms"),
            Row::new("node start until healthy, longest", format!("{} ms", self.max_ms), ""),
            Row::new("idle node, resident memory", format!("{} MB", self.idle_rss_mb), "< 80 MB"),
        ]
    }
}
