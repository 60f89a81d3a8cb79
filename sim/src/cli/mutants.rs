//! `sweep --mutant`: whether the default mix notices each seeded mistake.

use std::fs;
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;

use keymesh_mesh::mutant::{self, Mutant};
use keymesh_sim::mutants::{Verdict, hunt};

use super::Trouble;

/// How many seeds a mutant has to be caught in, unless the command line says otherwise.
const SEEDS: Range<u64> = 0..200;

/// One mutant by name, or `all`.
#[derive(Debug, Clone)]
pub struct Chosen(Vec<Mutant>);

impl FromStr for Chosen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self(Mutant::ALL.to_vec()));
        }
        let known = || Mutant::ALL.iter().map(|mutant| mutant.name()).collect::<Vec<_>>().join(", ");
        text.parse().map(|mutant| Self(vec![mutant])).map_err(|error| format!("{error}; there are all, {}", known()))
    }
}

/// Runs the sweep and says of each mutant whether it was caught, and how.
pub fn run(
    chosen: &Chosen,
    seeds: Option<Range<u64>>,
    jobs: usize,
    json: Option<&Path>,
    out: &mut impl Write,
) -> Result<bool, Trouble> {
    if !mutant::COMPILED_IN {
        return Err(Trouble::without_mutants());
    }
    let verdicts = hunt(&chosen.0, seeds.unwrap_or(SEEDS), jobs, |verdict| eprintln!("{}", line(verdict, 0)));
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(&verdicts).map_err(std::io::Error::other)?;
        match path.as_os_str() == "-" {
            true => writeln!(out, "{text}")?,
            false => fs::write(path, text + "\n")?,
        }
    }
    let width = verdicts.iter().map(|verdict| verdict.name.len()).max().unwrap_or_default();
    for verdict in &verdicts {
        writeln!(out, "{}", line(verdict, width))?;
    }
    let caught = verdicts.iter().filter(|verdict| verdict.caught).count();
    writeln!(out, "{caught} of {} mutants caught", verdicts.len())?;
    Ok(caught == verdicts.len())
}

fn line(verdict: &Verdict, width: usize) -> String {
    let Verdict { name, check, seed, runs, violation, .. } = verdict;
    match (check, seed, violation) {
        (Some(check), Some(seed), Some(violation)) => {
            let text = violation.strip_prefix(&format!("{check}: ")).unwrap_or(violation);
            format!("{name:width$}  {check:8}  seed {seed:<4}  {runs:>4} runs  {text}")
        }
        _ => format!("{name:width$}  NOT CAUGHT         {runs:>5} runs"),
    }
}
