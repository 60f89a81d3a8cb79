//! Traces in files: a scenario with everything that happened in its run, a line each, and whether that happens again.
//!
//! A trace that replays as the same is I3's "one seed is the whole scenario" between two builds or two machines. The first
//! line that differs says where they part: entries have the hash over everything before them.

use std::io::{self, Write};

use keymesh_mesh::mutant::{self, Mutant};
use serde::{Deserialize, Serialize};

use crate::record::{Entry, What};
use crate::run::{Recorded, recorded};
use crate::scenario::Scenario;

/// The format's version; the first line of a file has it.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    keymesh_trace: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mutant: Option<String>,
    scenario: Scenario,
}

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The scenario.
    pub scenario: Scenario,
    /// The mistake that is seeded into the core, if one is.
    pub mutant: Option<Mutant>,
}

impl Subject {
    /// The scenario with the core as it is.
    pub fn of(scenario: Scenario) -> Self {
        Self { scenario, mutant: None }
    }

    /// Runs it.
    pub fn run(&self) -> Recorded {
        mutant::with(self.mutant, || recorded(&self.scenario, false))
    }
}

/// A file is no whole trace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoTrace {
    /// Its first line is not that of a trace.
    #[error("line 1: no keymesh trace: {0}")]
    Foreign(String),
    /// It has another version.
    #[error("line 1: a trace of version {0}; this program reads version {VERSION}")]
    Version(u32),
    /// It is of a core with a mistake in it, which this program does not have.
    #[error("line 1: a trace of the mutant {0}: build with --features mutants")]
    Mutant(String),
    /// A line is no entry.
    #[error("line {line}: no entry of a trace: {why}")]
    Line {
        /// The line's number, from 1.
        line: usize,
        /// Why not.
        why: String,
    },
    /// It ends before its run does.
    #[error("line {line}: the trace ends here, and its run does not: it was cut short")]
    Truncated {
        /// The last line's number.
        line: usize,
    },
    /// It goes on after its run.
    #[error("line {line}: the run is over, and the trace goes on")]
    Continued {
        /// The line's number.
        line: usize,
    },
}

/// A trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// What was run.
    pub subject: Subject,
    /// What happened.
    pub entries: Vec<Entry>,
}

/// Writes a run into a file.
pub fn write(subject: &Subject, run: &Recorded, out: &mut impl Write) -> io::Result<()> {
    let Subject { scenario, mutant } = subject.clone();
    let head = Head { keymesh_trace: VERSION, mutant: mutant.map(|mutant| mutant.name().to_owned()), scenario };
    writeln!(out, "{}", serde_json::to_string(&head)?)?;
    for entry in &run.entries {
        writeln!(out, "{}", serde_json::to_string(entry)?)?;
    }
    Ok(())
}

/// Reads what a trace is of, whatever became of the rest of the file.
pub fn subject(text: &str) -> Result<Subject, NoTrace> {
    let head = text.lines().next().unwrap_or_default();
    let head: Head = serde_json::from_str(head).map_err(|error| NoTrace::Foreign(error.to_string()))?;
    if head.keymesh_trace != VERSION {
        return Err(NoTrace::Version(head.keymesh_trace));
    }
    head.scenario.check().map_err(NoTrace::Foreign)?;
    let mutant = head.mutant.map(|name| match name.parse() {
        Ok(mutant) if mutant::COMPILED_IN => Ok(mutant),
        Ok(_) | Err(_) => Err(NoTrace::Mutant(name)),
    });
    Ok(Subject { scenario: head.scenario, mutant: mutant.transpose()? })
}

/// Reads a whole trace.
pub fn read(text: &str) -> Result<Trace, NoTrace> {
    let subject = subject(text)?;
    let mut entries = Vec::new();
    let mut over = false;
    for (number, line) in text.lines().enumerate().skip(1) {
        let line_number = number + 1;
        if over {
            return Err(NoTrace::Continued { line: line_number });
        }
        let entry: Entry = serde_json::from_str(line).map_err(|error| match text.lines().nth(number + 1) {
            None => NoTrace::Truncated { line: line_number },
            Some(_) => NoTrace::Line { line: line_number, why: error.to_string() },
        })?;
        over = matches!(entry.what, What::End { .. } | What::Panic { .. });
        entries.push(entry);
    }
    if over { Ok(Trace { subject, entries }) } else { Err(NoTrace::Truncated { line: text.lines().count() }) }
}

/// How a run compares with a trace of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Comparison {
    /// All of it is the same.
    Same,
    /// It parts from it.
    Differs {
        /// The line of the file, from 1.
        line: usize,
        /// What the file says happened, if it says more.
        file: Option<Entry>,
        /// What happened now, if the run went on.
        run: Option<Entry>,
    },
}

/// Runs what a trace is of again and compares.
pub fn replay(trace: &Trace) -> Comparison {
    compare(trace, &trace.subject.run())
}

fn compare(trace: &Trace, run: &Recorded) -> Comparison {
    let longest = trace.entries.len().max(run.entries.len());
    let differs = (0..longest).find(|number| trace.entries.get(*number) != run.entries.get(*number));
    match differs {
        None => Comparison::Same,
        Some(number) => Comparison::Differs {
            line: number + 2,
            file: trace.entries.get(number).cloned(),
            run: run.entries.get(number).cloned(),
        },
    }
}
