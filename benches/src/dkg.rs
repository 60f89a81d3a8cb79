//! Making a root of five real nodes: from handing in the last endorsement until it is live on all five, shares on disk.

use serde::Serialize;

use crate::error::BenchError;
use crate::figures::{Figures, Row, Samples};
use crate::live::Mesh;
use crate::people::Committee;

/// What key generations came to.
#[derive(Debug, Clone, Serialize)]
pub struct DkgFigures {
    /// Half of them took at most this long.
    pub p50_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// How many.
    pub times: usize,
}

/// Makes `times` roots, each for a tenant of its own.
///
/// # Errors
/// [`BenchError`].
pub fn measure(mesh: &Mesh, times: usize) -> Result<DkgFigures, BenchError> {
    let mut samples = Samples::default();
    for number in 0..times.max(1) {
        let mut tenant = mesh.tenant(&format!("dkg-{number}"))?;
        samples.add(mesh.root_of(&mut tenant, Committee::FIVE)?);
    }
    Ok(DkgFigures { p50_ms: samples.millis(50), max_ms: samples.millis(100), times: samples.len() })
}

impl Figures for DkgFigures {
    fn rows(&self) -> Vec<Row> {
        vec![
            Row::new("root of five by DKG, p50", format!("{} ms", self.p50_ms), "< 500 ms"),
            Row::new("root of five by DKG, longest", format!("{} ms", self.max_ms), ""),
        ]
    }
}
