//! Epochs on real nodes: moving a root from 5 of 9 custodians to 6 of 11, and refreshing the roots of many tenants while
//! others get their keys.
//!
//! Times are those that custodians signed, from handing in the last endorsement; all nodes run on this machine and have
//! one clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use keymesh_agent::system::wall;
use keymesh_testnet::epochs::{Made, Said};
use keymesh_testnet::topology::Place;
use keymesh_wire::body::{Body, Reshare, SharingRef};
use keymesh_wire::ids::{RootId, StatementId};
use keymesh_wire::sign::Identity;
use keymesh_wire::statement::Checked;
use keymesh_wire::time::Wall;
use serde::Serialize;

use crate::error::BenchError;
use crate::figures::{Figures, Row, Samples};
use crate::live::{Mesh, submit};
use crate::people::{Committee, Keys, Tenant};
use crate::quorum;

/// Where eleven nodes are, of which no provider has five.
pub const ELEVEN: [Place; 11] = [
    Place { name: "aws-1", zone: "aws/a" },
    Place { name: "gcp-1", zone: "gcp/a" },
    Place { name: "azure-1", zone: "azure/a" },
    Place { name: "aws-2", zone: "aws/b" },
    Place { name: "gcp-2", zone: "gcp/b" },
    Place { name: "azure-2", zone: "azure/b" },
    Place { name: "aws-3", zone: "aws/c" },
    Place { name: "gcp-3", zone: "gcp/c" },
    Place { name: "azure-3", zone: "azure/c" },
    Place { name: "own-1", zone: "own/hall-1" },
    Place { name: "own-2", zone: "own/hall-2" },
];
/// The first of them, 5 needed, 2 may lie.
const NINE: Committee = Committee { members: 9, threshold: 5, faults: 2 };
/// All of them, 6 needed, 2 may lie.
const ALL: Committee = Committee { members: 11, threshold: 6, faults: 2 };
/// How long one epoch may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a document.
const LOOK: Duration = Duration::from_millis(100);
/// How long releases are measured before anything is refreshed.
const CALM: Duration = Duration::from_secs(10);

/// What moving a root came to.
#[derive(Debug, Clone, Serialize)]
pub struct ReshareFigures {
    /// Until there was a certificate, half of the times.
    pub agreed_p50_ms: f64,
    /// Until the last of the new custodians said that its share is on its disk.
    pub held_p50_ms: f64,
    /// The longest.
    pub held_max_ms: f64,
    /// How many.
    pub times: usize,
}

/// Moves one root to and fro, `times` times.
///
/// # Errors
/// [`BenchError`].
pub fn reshare(mesh: &Mesh, times: usize) -> Result<ReshareFigures, BenchError> {
    let mut tenant = mesh.tenant("reshare")?;
    mesh.root_of(&mut tenant, NINE)?;
    let root = only_root(&tenant)?;
    let (mut agreed, mut held) = (Samples::default(), Samples::default());
    for epoch in (1..).take(times.max(1)) {
        let (from, to) = if epoch % 2 == 1 { (NINE, ALL) } else { (ALL, NINE) };
        let spec = to.spec(&mesh.cards);
        let change = Body::ReshareRoot(Reshare { sharing: SharingRef { root, committee: 0, epoch }, spec });
        let endorsed = change_custody(mesh, &mut tenant, &change)?;
        let made = wait(mesh, &mut tenant, epoch, from.quorum(), to.members)?;
        let since = |time: u64| Duration::from_millis((made.begun + time).saturating_sub(endorsed.0));
        agreed.add(since(made.made.agreed));
        held.add(since(made.made.held));
    }
    Ok(ReshareFigures {
        agreed_p50_ms: agreed.millis(50),
        held_p50_ms: held.millis(50),
        held_max_ms: held.millis(100),
        times: held.len(),
    })
}

/// What refreshing many roots came to.
#[derive(Debug, Clone, Serialize)]
pub struct RefreshFigures {
    /// How many roots.
    pub tenants: usize,
    /// From the first proposal until the last custodian of the last root held its new share.
    pub all_s: f64,
    /// Blind releases a second, of one agent, before.
    pub calm_per_s: f64,
    /// The same while the roots were refreshed.
    pub busy_per_s: f64,
}

/// Refreshes the root of each of `many` tenants at once, while an agent of another one gets a key blindly, again and again.
///
/// # Errors
/// [`BenchError`].
pub fn refresh(
    mesh: &Mesh,
    (tenant, keys, agent): (&Tenant, &Keys, &Arc<Identity>),
    many: usize,
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
    let calm = quorum::measure(mesh, tenant, keys, agent, 1, CALM)?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let busy = scope.spawn(|| quorum::measure_until(mesh, tenant, keys, agent, 1, || over.load(Ordering::Relaxed)));
        let all = refresh_all(mesh, &mut tenants);
        over.store(true, Ordering::Relaxed);
        let busy = busy.join().unwrap_or(Err(BenchError::Thread))?;
        Ok(RefreshFigures { tenants: many, all_s: all?, calm_per_s: calm.per_s, busy_per_s: busy.per_s })
    })
}

fn refresh_all(mesh: &Mesh, tenants: &mut [Tenant]) -> Result<f64, BenchError> {
    let begun = wall();
    for tenant in tenants.iter_mut() {
        let sharing = SharingRef { root: only_root(tenant)?, committee: 0, epoch: 1 };
        change_custody(mesh, tenant, &Body::RefreshShares(sharing))?;
    }
    let mut last = begun.0;
    for tenant in tenants {
        let made = wait(mesh, tenant, 1, Committee::FIVE.quorum(), Committee::FIVE.members)?;
        last = last.max(made.begun + made.made.held);
    }
    Ok((last.saturating_sub(begun.0) as f64 / 100.0).round() / 10.0)
}

fn only_root(tenant: &Tenant) -> Result<RootId, BenchError> {
    let root = tenant.draft.tenant()?.live_root().map(|root| root.id);
    root.ok_or(BenchError::Unexpected("the tenant has no live root"))
}

/// Proposes a change of custody and has it endorsed where one admin is not enough; returns when that was handed in.
fn change_custody(mesh: &Mesh, tenant: &mut Tenant, change: &Body) -> Result<Wall, BenchError> {
    let proposal: StatementId = mesh.people.say(tenant, change)?;
    tenant.draft.fold();
    if tenant.draft.tenant()?.pending.iter().any(|pending| pending.statement == proposal) {
        mesh.people.endorse(tenant, proposal)?;
    }
    let (mut client, said) = (mesh.client(0)?, tenant.draft.take());
    let now = wall();
    submit(&mut client, &said)?;
    Ok(now)
}

struct Epoch {
    begun: u64,
    made: Made,
}

/// Waits until `members` hold their shares of an epoch that `quorum` voted for.
fn wait(mesh: &Mesh, tenant: &mut Tenant, epoch: u32, quorum: usize, members: usize) -> Result<Epoch, BenchError> {
    let until = Instant::now() + PATIENCE;
    loop {
        mesh.catch_up(tenant)?;
        let graph = tenant.draft.document().graph();
        let statements: Vec<Checked> = graph.entries().iter().map(|entry| entry.statement.clone()).collect();
        let said = Said::of(&statements, epoch);
        let closed = tenant.draft.tenant()?.live_root().is_some_and(|root| root.committees[0].past.is_empty());
        if let (Some(begun), Some(made)) = (said.in_effect, said.made(quorum))
            && said.holders().len() >= members
            && closed
        {
            return Ok(Epoch { begun, made });
        }
        if Instant::now() > until {
            let what = format!("epoch {epoch} of {}", tenant.draft.id());
            return Err(BenchError::Waited { what, seconds: PATIENCE.as_secs() });
        }
        thread::sleep(LOOK);
    }
}

impl Figures for ReshareFigures {
    fn rows(&self) -> Vec<Row> {
        vec![
            Row::new("reshare between 5 of 9 and 6 of 11, agreed, p50", format!("{} ms", self.agreed_p50_ms), ""),
            Row::new("all new shares held, p50", format!("{} ms", self.held_p50_ms), "< 1000 ms"),
            Row::new("all new shares held, longest", format!("{} ms", self.held_max_ms), ""),
        ]
    }
}

impl Figures for RefreshFigures {
    fn rows(&self) -> Vec<Row> {
        let ratio = self.busy_per_s / self.calm_per_s.max(f64::MIN_POSITIVE);
        vec![
            Row::new(format!("{} roots refreshed", self.tenants), format!("{} s", self.all_s), "1000 in < 90 s"),
            Row::new("blind releases a second before", format!("{:.0}", self.calm_per_s), ""),
            Row::new("meanwhile, as a part of that", format!("{:.0} %", ratio * 100.0), "> 80 %"),
        ]
    }
}
