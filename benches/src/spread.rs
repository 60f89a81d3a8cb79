//! Spread: from handing a statement to one node until all five show it.
//!
//! The nodes are asked one after the other over kept connections, a millisecond apart while they do not have it, so the
//! figures are a little too high and never too low.

use std::time::{Duration, Instant};

use keymesh_wire::body::{Body, EditOp};
use serde::Serialize;

use crate::error::BenchError;
use crate::figures::{Figures, Row, Samples};
use crate::live::{Mesh, submit};

/// How long one statement may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What spreading came to.
#[derive(Debug, Clone, Serialize)]
pub struct SpreadFigures {
    /// Half of the statements took at most this long.
    pub p50_ms: f64,
    /// All but one in a hundred took at most this long.
    pub p99_ms: f64,
    /// How many.
    pub statements: usize,
}

/// Spreads `statements` statements of a tenant of their own, one after the other.
///
/// # Errors
/// [`BenchError`].
pub fn measure(mesh: &Mesh, statements: usize) -> Result<SpreadFigures, BenchError> {
    let mut tenant = mesh.tenant("spread")?;
    let (mut client, mut watch) = (mesh.client(0)?, mesh.watch()?);
    let mut samples = Samples::default();
    for number in 0..statements.max(1) {
        let path = vec!["notes".to_owned(), format!("n{number}")];
        mesh.people.say(&mut tenant, &Body::Edit(vec![EditOp::Put { path, value: "a line of text".to_owned() }]))?;
        let said = tenant.draft.take();
        let started = Instant::now();
        submit(&mut client, &said)?;
        watch.wait(tenant.draft.id(), tenant.draft.len(), PATIENCE)?;
        samples.add(started.elapsed());
    }
    Ok(SpreadFigures { p50_ms: samples.millis(50), p99_ms: samples.millis(99), statements: samples.len() })
}

impl Figures for SpreadFigures {
    fn rows(&self) -> Vec<Row> {
        vec![
            Row::new("statement on all five nodes, p50", format!("{} ms", self.p50_ms), ""),
            Row::new("statement on all five nodes, p99", format!("{} ms", self.p99_ms), "< 50 ms"),
        ]
    }
}
