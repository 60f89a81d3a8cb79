//! What helps to understand a failure: traces, and whether they come out the same; smaller scenarios; timelines.

use std::convert::Infallible;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use keymesh_mesh::mutant::{self, Mutant};
use keymesh_sim::checks;
use keymesh_sim::explain::{self, svg};
use keymesh_sim::record::Entry;
use keymesh_sim::replay::{self, Comparison, Subject};
use keymesh_sim::run::Recorded;
use keymesh_sim::scenario::{Pins, Scenario};
use keymesh_sim::shrink::{Shrunk, shrink, try_out};

use super::Trouble;

/// A seed, or a file that begins with a scenario.
#[derive(Debug, Clone)]
pub enum Source {
    /// What the seed draws.
    Seed(u64),
    /// What the trace was made of.
    File(PathBuf),
}

impl FromStr for Source {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.parse().map_or_else(|_| Self::File(text.into()), Self::Seed))
    }
}

impl Source {
    /// What to run.
    pub fn subject(&self, mutant: Option<Mutant>) -> Result<Subject, Trouble> {
        match self {
            Self::Seed(seed) => subject(Scenario::draw(*seed, &Pins::default()), mutant),
            Self::File(path) => {
                let found = replay::subject(&text(path)?).map_err(|error| about(path, &error))?;
                subject(found.scenario, mutant.or(found.mutant))
            }
        }
    }
}

/// A scenario with a mutant, if this build has any.
pub fn subject(scenario: Scenario, mutant: Option<Mutant>) -> Result<Subject, Trouble> {
    match mutant {
        Some(_) if !mutant::COMPILED_IN => Err(Trouble::without_mutants()),
        mutant => Ok(Subject { scenario, mutant }),
    }
}

fn text(path: &Path) -> Result<String, Trouble> {
    fs::read_to_string(path).map_err(|error| about(path, &error))
}

fn about(path: &Path, error: &dyn std::error::Error) -> Trouble {
    Trouble::Usage(format!("{}: {error}", path.display()))
}

/// Writes a trace.
pub fn write_trace(path: &Path, subject: &Subject, run: &Recorded) -> Result<(), Trouble> {
    let mut file = io::BufWriter::new(fs::File::create(path).map_err(|error| about(path, &error))?);
    replay::write(subject, run, &mut file)?;
    Ok(file.flush()?)
}

/// Runs a trace again and says whether it came out the same.
pub fn replay(path: &Path, out: &mut impl Write) -> Result<bool, Trouble> {
    let trace = replay::read(&text(path)?).map_err(|error| about(path, &error))?;
    match replay::replay(&trace) {
        Comparison::Same => {
            writeln!(out, "same")?;
            Ok(true)
        }
        Comparison::Differs { line, file, run } => {
            let shown = |entry: Option<Entry>| match entry {
                Some(entry) => serde_json::to_string(&entry),
                None => Ok("nothing more".to_owned()),
            };
            writeln!(out, "differs at line {line}")?;
            writeln!(out, "  the file has  {}", shown(file).map_err(io::Error::other)?)?;
            writeln!(out, "  the run has   {}", shown(run).map_err(io::Error::other)?)?;
            Ok(false)
        }
    }
}

/// Looks for a smaller scenario that fails in the same check, and writes its trace.
pub fn shrunk(subject: &Subject, budget: u32, path: Option<&Path>, out: &mut impl Write) -> Result<bool, Trouble> {
    let mutant = subject.mutant;
    let trial = |scenario: &Scenario| mutant::with(mutant, || try_out(scenario));
    let Some(found) = shrink(&subject.scenario, budget, trial, |best| bar(best, budget)) else {
        return Err(Trouble::Usage("this scenario does not fail: there is nothing to shrink".to_owned()));
    };
    eprint!("{}", if io::stderr().is_terminal() { "\r\x1b[K" } else { "" });
    let smaller = Subject { scenario: found.scenario, mutant };
    let run = smaller.run();
    let path = path.map_or_else(|| PathBuf::from(format!("seed-{}.trace", smaller.scenario.seed)), Path::to_owned);
    write_trace(&path, &smaller, &run)?;
    writeln!(out, "{}", smaller.scenario)?;
    writeln!(out, "{} of {} acts are left after {} runs", found.acts.len(), found.before, found.runs)?;
    for Entry { at, what } in &run.entries {
        if what.wrong().is_some() {
            break;
        }
        if let Some((who, line)) = explain::words(what).filter(|(who, _)| who.starts_with('#')) {
            writeln!(out, "{:>8}.{:03}  {who:<5} {line}", at / 1000, at % 1000)?;
        }
    }
    writeln!(out, "violation: {}", found.violation)?;
    let path = path.display();
    writeln!(out, "the smaller scenario is in {path}; again: keymesh-sim explain {path}")?;
    Ok(true)
}

fn bar(best: &Shrunk, budget: u32) {
    let Shrunk { runs, acts, before, violation, .. } = best;
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[K{runs}/{budget} runs, {} of {before} acts, {} ", acts.len(), checks::name(violation));
    } else if runs.is_multiple_of(10) {
        eprintln!("{runs}/{budget} runs, {} of {before} acts", acts.len());
    }
}

/// Tells what happens in a scenario, and draws it.
pub fn explain(subject: &Subject, picture: Option<&Path>, out: &mut impl Write) -> Result<bool, Trouble> {
    let Subject { scenario, .. } = subject;
    let run = subject.run();
    explain::timeline(scenario, &run.entries, out)?;
    if let Some(path) = picture {
        fs::write(path, svg::draw(scenario, &run.entries)).map_err(|error| about(path, &error))?;
    }
    Ok(run.violations().next().is_none())
}
