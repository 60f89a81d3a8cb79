//! Counters for `/metrics`, in Prometheus' text format (version 0.0.4).
//!
//! A handful of atomics instead of a registry: nothing is allocated or locked where a key is released. No metric carries
//! an id of a tenant, key or agent, because whoever reaches the door may read them.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the latency buckets, in microseconds.
const BOUNDS: [u64; 12] = [100, 250, 500, 750, 1_000, 2_000, 5_000, 10_000, 50_000, 100_000, 500_000, 2_000_000];

/// Durations by size.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS.len()],
    count: AtomicU64,
    sum_us: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(place) = BOUNDS.iter().position(|bound| us <= *bound) {
            self.buckets[place].fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    fn write(&self, out: &mut String, name: &str, help: &str) {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        let mut below = 0;
        for (bound, bucket) in BOUNDS.iter().zip(&self.buckets) {
            below += bucket.load(Ordering::Relaxed);
            let _ = writeln!(out, "{name}_bucket{{le=\"{}\"}} {below}", seconds(*bound));
        }
        let count = self.count.load(Ordering::Relaxed).max(below);
        let sum = seconds(self.sum_us.load(Ordering::Relaxed));
        let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}");
    }
}

/// Microseconds as decimal seconds, without floating point.
fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

/// What a node counts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Keys of leased keyrings released.
    pub releases: AtomicU64,
    /// Blind releases carried to agents.
    pub quorum_releases: AtomicU64,
    /// Requests for a key refused.
    pub refusals: AtomicU64,
    /// Accusations of custodians by agents that hold.
    pub accusations: AtomicU64,
    /// Accusations by agents that do not.
    pub accusations_refused: AtomicU64,
    /// Requests turned away because there were too many.
    pub throttled: AtomicU64,
    /// From request to answer of releases that succeeded.
    pub release_time: Histogram,
    /// Audit records on stable storage since the start.
    pub audit_appends: AtomicU64,
    /// Steps of the core.
    pub steps: AtomicU64,
    /// Batches written for the core.
    pub batches: AtomicU64,
    /// Writes in them.
    pub batch_writes: AtomicU64,
    /// How long writing them took.
    pub batch_time: Histogram,
    /// Statements held.
    pub statements: AtomicU64,
    /// Requests of peers and agents this node judged as a custodian.
    pub custodian_requests: AtomicU64,
    /// Messages of peers dropped: unreadable, or more at once than are taken.
    pub peer_dropped: AtomicU64,
    /// Frames that could not be queued for a peer.
    pub send_failures: AtomicU64,
    /// Connections open at the door.
    pub connections: AtomicU64,
    /// Connections turned away at the door.
    pub connections_refused: AtomicU64,
    /// TLS handshakes that failed or took too long.
    pub handshakes_failed: AtomicU64,
}

/// What is read off elsewhere at the moment of asking.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gauges {
    /// Peers that are connected.
    pub peers_up: usize,
    /// Peers that are admitted.
    pub peers: usize,
    /// Leases held.
    pub leases: usize,
    /// Newest audit record.
    pub audit_sequence: u64,
    /// Waits of the audit log for the device.
    pub audit_syncs: u64,
    /// Whether releases can be served.
    pub healthy: bool,
}

impl Metrics {
    /// All of it as text.
    pub fn text(&self, gauges: &Gauges) -> String {
        let mut out = String::with_capacity(4096);
        let mut one = |name: &str, kind: &str, help: &str, value: u64| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        };
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        one("keymesh_releases_total", "counter", "Keys of leased keyrings released.", read(&self.releases));
        one("keymesh_quorum_releases_total", "counter", "Blind releases carried.", read(&self.quorum_releases));
        one("keymesh_refusals_total", "counter", "Requests for a key refused.", read(&self.refusals));
        one("keymesh_accusations_total", "counter", "Proofs of false partials taken.", read(&self.accusations));
        let refused = read(&self.accusations_refused);
        one("keymesh_accusations_refused_total", "counter", "Accusations that do not hold.", refused);
        one("keymesh_throttled_total", "counter", "Requests turned away: too many.", read(&self.throttled));
        one("keymesh_audit_appends_total", "counter", "Audit records made durable.", read(&self.audit_appends));
        one("keymesh_audit_syncs_total", "counter", "Waits of the audit log for the device.", gauges.audit_syncs);
        one("keymesh_audit_sequence", "gauge", "Newest audit record.", gauges.audit_sequence);
        one("keymesh_steps_total", "counter", "Steps of the core.", read(&self.steps));
        one("keymesh_batches_total", "counter", "Batches written for the core.", read(&self.batches));
        one("keymesh_batch_writes_total", "counter", "Writes in those batches.", read(&self.batch_writes));
        one("keymesh_statements", "gauge", "Statements held.", read(&self.statements));
        let judged = read(&self.custodian_requests);
        one("keymesh_custodian_requests_total", "counter", "Requests judged as a custodian.", judged);
        one("keymesh_peer_dropped_total", "counter", "Messages of peers dropped.", read(&self.peer_dropped));
        one("keymesh_send_failures_total", "counter", "Frames not queued for a peer.", read(&self.send_failures));
        one("keymesh_door_connections", "gauge", "Connections open at the door.", read(&self.connections));
        let refused = read(&self.connections_refused);
        one("keymesh_door_connections_refused_total", "counter", "Connections turned away.", refused);
        let failed = read(&self.handshakes_failed);
        one("keymesh_door_handshakes_failed_total", "counter", "TLS handshakes that failed.", failed);
        one("keymesh_peers", "gauge", "Other admitted nodes.", gauges.peers as u64);
        one("keymesh_peers_up", "gauge", "Other nodes connected.", gauges.peers_up as u64);
        one("keymesh_leases", "gauge", "Leases held.", gauges.leases as u64);
        one("keymesh_healthy", "gauge", "Whether releases can be served.", gauges.healthy.into());
        self.release_time.write(&mut out, "keymesh_release_seconds", "From request to answer of a release.");
        self.batch_time.write(&mut out, "keymesh_batch_seconds", "Writing one batch of the core.");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_its_bucket_and_all_above() {
        let metrics = Metrics::default();
        metrics.release_time.observe(Duration::from_micros(300));
        metrics.release_time.observe(Duration::from_secs(10));
        let text = metrics.text(&Gauges::default());
        assert!(text.contains("keymesh_release_seconds_bucket{le=\"0.000250\"} 0\n"), "{text}");
        assert!(text.contains("keymesh_release_seconds_bucket{le=\"0.000500\"} 1\n"), "{text}");
        assert!(text.contains("keymesh_release_seconds_bucket{le=\"2.000000\"} 1\n"), "{text}");
        assert!(text.contains("keymesh_release_seconds_bucket{le=\"+Inf\"} 2\n"), "{text}");
        assert!(text.contains("keymesh_release_seconds_sum 10.000300\n"), "{text}");
    }
}
