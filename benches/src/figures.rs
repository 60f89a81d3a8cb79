//! Figures: quantiles of samples, a line of JSON for programs, a table with the targets for people.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::error::BenchError;

/// Durations that were measured.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    nanos: Vec<u64>,
}

impl Samples {
    /// Adds one.
    pub fn add(&mut self, took: Duration) {
        self.nanos.push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds all of another thread.
    pub fn extend(&mut self, other: Self) {
        self.nanos.extend(other.nanos);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.nanos.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.nanos.is_empty()
    }

    /// The smallest sample that `percent` of all samples do not exceed (nearest rank), in nanoseconds; 0 without any.
    pub fn quantile(&self, percent: usize) -> u64 {
        let mut sorted = self.nanos.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or_default()
    }

    /// A quantile in microseconds, to a tenth.
    pub fn micros(&self, percent: usize) -> f64 {
        (self.quantile(percent) as f64 / 100.0).round() / 10.0
    }

    /// A quantile in milliseconds, to a hundredth.
    pub fn millis(&self, percent: usize) -> f64 {
        (self.quantile(percent) as f64 / 10_000.0).round() / 100.0
    }
}

/// A line of the table: what, the figure, and what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// What came out.
    pub figure: String,
    /// What it should be; empty where nothing was promised.
    pub target: String,
}

impl Row {
    /// A line.
    pub fn new(what: impl Into<String>, figure: impl Into<String>, target: impl Into<String>) -> Self {
        Self { what: what.into(), figure: figure.into(), target: target.into() }
    }
}

/// What a measurement came to.
pub trait Figures: Serialize {
    /// For people.
    fn rows(&self) -> Vec<Row>;
}

/// The rows as a table with aligned columns.
pub fn table(rows: &[Row]) -> String {
    let head = Row::new("MEASURED", "FIGURE", "TARGET");
    let width = |column: fn(&Row) -> &str| {
        rows.iter().chain([&head]).map(|row| column(row).chars().count()).max().unwrap_or_default()
    };
    let (what, figure) = (width(|row| &row.what), width(|row| &row.figure));
    let line = |row: &Row| format!("{:what$}  {:>figure$}  {}", row.what, row.figure, row.target).trim_end().to_owned();
    [&head].into_iter().chain(rows).map(|row| line(row) + "\n").collect()
}

/// Shows figures: with `json` as `-` exactly one line of JSON on standard output, with a file that line in there and the
/// table on standard output, otherwise the table alone.
///
/// # Errors
/// [`BenchError::Io`].
pub fn show(figures: &impl Figures, json: Option<&Path>) -> Result<(), BenchError> {
    let line = serde_json::to_string(figures).map_err(io::Error::other);
    let line = line.map_err(BenchError::io("write as JSON", "the figures"))? + "\n";
    let text = match json {
        Some(path) if path == Path::new("-") => line,
        Some(path) => {
            fs::write(path, line).map_err(BenchError::io("write", path))?;
            table(&figures.rows())
        }
        None => table(&figures.rows()),
    };
    io::stdout().write_all(text.as_bytes()).map_err(BenchError::io("write to", "standard output"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(millis: impl IntoIterator<Item = u64>) -> Samples {
        let mut samples = Samples::default();
        millis.into_iter().for_each(|ms| samples.add(Duration::from_millis(ms)));
        samples
    }

    #[test]
    fn a_quantile_is_one_of_the_samples() {
        let samples = samples((1..=100).rev());
        assert_eq!((samples.millis(50), samples.millis(99), samples.millis(100)), (50.0, 99.0, 100.0));
        assert_eq!(self::samples([7]).millis(50), 7.0);
        assert_eq!(Samples::default().millis(99), 0.0);
    }

    #[test]
    fn columns_of_the_table_are_aligned() {
        let text = table(&[Row::new("p50", "0.4 ms", "< 1 ms"), Row::new("a longer name", "12", "")]);
        assert_eq!(text, "MEASURED       FIGURE  TARGET\np50            0.4 ms  < 1 ms\na longer name      12\n");
    }
}
