//! Epochs on real nodes: moving a root from 5 of 9 custodians to 6 of 11.
//!
//! Times are those that custodians signed, from handing in the last endorsement; all nodes run on this machine and have
//! one clock.

use std::thread;
use std::time::{Duration, Instant};

use keymesh_agent::client::Client;
use keymesh_agent::system::wall;
use keymesh_testnet::epochs::{Made, Said};
use keymesh_testnet::topology::Place;
use keymesh_wire::body::{Body, Reshare, SharingRef};
use keymesh_wire::ids::{RootId, StatementId};
use keymesh_wire::statement::Checked;
use keymesh_wire::time::Wall;
use serde::Serialize;

use crate::error::BenchError;
use crate::figures::{Figures, Row, Samples};
use crate::live::{Mesh, submit};
use crate::people::{Committee, Tenant};

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
        let endorsed = change_custody(mesh, &mut mesh.client(0)?, &mut tenant, &change)?;
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

pub(crate) fn only_root(tenant: &Tenant) -> Result<RootId, BenchError> {
    let root = tenant.draft.tenant()?.live_root().map(|root| root.id);
    root.ok_or(BenchError::Unexpected("the tenant has no live root"))
}

/// Proposes a change of custody and has it endorsed where one admin is not enough; returns when that was handed in.
pub(crate) fn change_custody(
    mesh: &Mesh,
    client: &mut Client,
    tenant: &mut Tenant,
    change: &Body,
) -> Result<Wall, BenchError> {
    let proposal: StatementId = mesh.people.say(tenant, change)?;
    tenant.draft.fold();
    if tenant.draft.tenant()?.pending.iter().any(|pending| pending.statement == proposal) {
        mesh.people.endorse(tenant, proposal)?;
    }
    let said = tenant.draft.take();
    let now = wall();
    submit(client, &said)?;
    Ok(now)
}

/// An epoch that was made.
pub(crate) struct Epoch {
    /// When its change was proposed and had its endorsements.
    pub(crate) begun: u64,
    /// How long after that it was agreed upon, and held.
    pub(crate) made: Made,
}

/// Waits until `members` hold their shares of an epoch that `quorum` voted for.
pub(crate) fn wait(
    mesh: &Mesh,
    tenant: &mut Tenant,
    epoch: u32,
    quorum: usize,
    members: usize,
) -> Result<Epoch, BenchError> {
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
