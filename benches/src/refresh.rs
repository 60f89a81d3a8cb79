//! Refreshing the roots of many tenants while the agent of another one gets a key blindly, again and again.
//!
//! It is done twice, because it can be asked in two ways what releases lose by it: once while one agent asks as soon as it
//! was answered, which shows how much of the machine is left for releases, and once while keys are due at a fixed rate,
//! which shows what agents notice of it. All nodes and the agents run on this machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use keymesh_agent::system::wall;
use keymesh_wire::body::{Body, SharingRef};
use keymesh_wire::sign::Identity;
use serde::Serialize;

use crate::epochs::{change_custody, only_root, wait};
use crate::error::BenchError;
use crate::figures::{Figures, Row};
use crate::live::Mesh;
use crate::people::{Committee, Keys, Tenant};
use crate::quorum::{self, Load, QuorumFigures};

/// How long releases are measured before anything is refreshed.
const CALM: Duration = Duration::from_secs(10);
/// Connections over which keys are asked for that are due at a fixed rate, so that one that is late holds up no other.
const OPEN_CONNECTIONS: usize = 8;

/// What refreshing many roots came to.
#[derive(Debug, Clone, Serialize)]
pub struct RefreshFigures {
    /// How many roots.
    pub tenants: usize,
    /// While one agent asked as soon as it was answered.
    pub closed: Meanwhile,
    /// While `per_s` keys a second were due.
    pub open: Meanwhile,
    /// See there.
    pub per_s: u32,
}

/// One refresh of all roots.
#[derive(Debug, Clone, Serialize)]
pub struct Meanwhile {
    /// From the first proposal until the last custodian of the last root held its new share.
    pub all_s: f64,
    /// Blind releases before.
    pub calm: QuorumFigures,
    /// Blind releases meanwhile.
    pub busy: QuorumFigures,
}

/// Refreshes the root of each of `many` tenants at once, twice, while an agent gets keys: as fast as it can, and `per_s` a
/// second.
///
/// # Errors
/// [`BenchError`].
pub fn measure(
    mesh: &Mesh,
    whose: (&Tenant, &Keys, &Arc<Identity>),
    many: usize,
    per_s: u32,
) -> Result<RefreshFigures, BenchError> {
    let mut tenants = Vec::with_capacity(many);
    for number in 0..many {
        let mut one = mesh.tenant(&format!("refresh-{number}"))?;
        mesh.root_of(&mut one, Committee::FIVE)?;
        if number % 50 == 49 {
            eprintln!("{} of {many} tenants have their roots", number + 1);
        }
        tenants.push(one);
    }
    let closed = meanwhile(mesh, whose, &mut tenants, 1, (1, Load::Closed))?;
    let open = meanwhile(mesh, whose, &mut tenants, 2, (OPEN_CONNECTIONS, Load::Open(per_s)))?;
    Ok(RefreshFigures { tenants: many, closed, open, per_s })
}

fn meanwhile(
    mesh: &Mesh,
    whose: (&Tenant, &Keys, &Arc<Identity>),
    tenants: &mut [Tenant],
    epoch: u32,
    (connections, load): (usize, Load),
) -> Result<Meanwhile, BenchError> {
    let until = Instant::now() + CALM;
    let calm = quorum::measure_until(mesh, whose, connections, load, || Instant::now() >= until)?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let busy =
            scope.spawn(|| quorum::measure_until(mesh, whose, connections, load, || over.load(Ordering::Relaxed)));
        let all = refresh_all(mesh, tenants, epoch);
        over.store(true, Ordering::Relaxed);
        let busy = busy.join().unwrap_or(Err(BenchError::Thread))?;
        Ok(Meanwhile { all_s: all?, calm, busy })
    })
}

fn refresh_all(mesh: &Mesh, tenants: &mut [Tenant], epoch: u32) -> Result<f64, BenchError> {
    let begun = wall();
    let mut client = mesh.client(0)?;
    for tenant in tenants.iter_mut() {
        let sharing = SharingRef { root: only_root(tenant)?, committee: 0, epoch };
        change_custody(mesh, &mut client, tenant, &Body::RefreshShares(sharing))?;
    }
    let mut last = begun.0;
    for tenant in tenants {
        let made = wait(mesh, tenant, epoch, Committee::FIVE.quorum(), Committee::FIVE.members)?;
        last = last.max(made.begun + made.made.held);
    }
    Ok((last.saturating_sub(begun.0) as f64 / 100.0).round() / 10.0)
}

impl Meanwhile {
    fn rows(&self, load: &str) -> [Row; 5] {
        let kept = 100.0 * self.busy.per_s / self.calm.per_s.max(f64::MIN_POSITIVE);
        let of = |figures: &QuorumFigures| format!("{} ms, {} ms", figures.p50_ms, figures.p99_ms);
        [
            Row::new(format!("all refreshed, {load}"), format!("{} s", self.all_s), "1000 in < 90 s"),
            Row::new("  blind releases a second before", format!("{:.1}", self.calm.per_s), ""),
            Row::new("  meanwhile, as a part of that", format!("{kept:.0} %"), "> 80 %"),
            Row::new("  p50, p99 before", of(&self.calm), ""),
            Row::new("  p50, p99 meanwhile", of(&self.busy), ""),
        ]
    }
}

impl Figures for RefreshFigures {
    fn rows(&self) -> Vec<Row> {
        let roots = Row::new("roots refreshed, twice", self.tenants.to_string(), "");
        let closed = self.closed.rows("one agent asking again and again");
        let open = self.open.rows(&format!("{} keys a second due", self.per_s));
        std::iter::once(roots).chain(closed).chain(open).collect()
    }
}
