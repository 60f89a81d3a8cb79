//! `keymesh-sim`: runs scenarios from seeds.

mod cli;

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use cli::Trouble;
use cli::failures::{self, Source};
use keymesh_mesh::mutant::Mutant;
use keymesh_sim::record::{Entry, What};
use keymesh_sim::run::Recorded;
use keymesh_sim::scale;
use keymesh_sim::scenario::{Pins, Scenario};
use keymesh_sim::sweep::{Summary, sweep};

/// Many keymesh cores under one seed: clock, network, disks, people and agents.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  keymesh-sim run --seed 7                     one scenario, its timeline, and the hash over all that happened
  keymesh-sim run --seed 7 --nodes 9 --virtual-minutes 60
  keymesh-sim sweep --seeds 0..500 --jobs 2    many scenarios, the failing seeds, and what was exercised
  keymesh-sim sweep --mutant all --jobs 2      whether every seeded mistake of the core is noticed
  keymesh-sim run --seed 7 --trace 7.trace && keymesh-sim replay 7.trace
  keymesh-sim shrink 7 --out small.trace       a smaller scenario that fails in the same check
  keymesh-sim explain small.trace --svg 7.svg  everything that happens, in words and as a picture

Exit codes: 0 all is well, 1 something was wrong, 2 wrong usage, or a file that cannot be read or written";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the scenario of one seed. The last line is the hash over everything that happened.
    Run {
        /// The seed
        #[arg(long)]
        seed: u64,
        /// Only the scenario and what came of it, without the timeline
        #[arg(long)]
        quiet: bool,
        /// Write everything that happens into a file that `replay` compares with
        #[arg(long, value_name = "FILE")]
        trace: Option<PathBuf>,
        /// With this mistake seeded into the core
        #[arg(long, value_name = "NAME")]
        mutant: Option<Mutant>,
        #[command(flatten)]
        pins: Pins,
    },
    /// Run many seeds, name those that fail, and say what was exercised.
    Sweep {
        /// The first seed and the one after the last, as `A..B`; of mutants 0..200 unless it is given
        #[arg(long, value_parser = range, required_unless_present = "mutant")]
        seeds: Option<Range<u64>>,
        /// Seed a mistake into the core and look whether a run notices: its name, or `all`
        #[arg(long, value_name = "NAME", conflicts_with_all = ["minutes", "Pins"])]
        mutant: Option<cli::mutants::Chosen>,
        /// Threads, each with one run at a time
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
        jobs: u16,
        /// Begin no more runs after so many minutes
        #[arg(long)]
        minutes: Option<u64>,
        /// Write the summary to a file, or to the standard output with `-`
        #[arg(long)]
        json: Option<PathBuf>,
        #[command(flatten)]
        pins: Pins,
    },
    /// Run the scenario of a trace again and say where it comes out differently.
    Replay {
        /// A trace that `run --trace` or `shrink` wrote
        file: PathBuf,
    },
    /// Look for a smaller scenario that fails in the same check, and write its trace.
    Shrink {
        /// A seed or a trace
        #[arg(value_name = "SEED|FILE")]
        source: Source,
        /// Where to write it; seed-N.trace unless it is given
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// At most so many runs
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
        runs: u32,
        /// With this mistake seeded into the core
        #[arg(long, value_name = "NAME")]
        mutant: Option<Mutant>,
    },
    /// Tell everything that happens in a scenario, in words and as a picture.
    Explain {
        /// A seed or a trace
        #[arg(value_name = "SEED|FILE")]
        source: Source,
        /// Draw a picture with a lane for every node
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
        /// With this mistake seeded into the core
        #[arg(long, value_name = "NAME")]
        mutant: Option<Mutant>,
    },
    /// Measure how the cost of the mesh grows with its size.
    Scale(scale::Arguments),
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("write it as A..B")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
    let (from, to) = (number(from)?, number(to)?);
    if from < to { Ok(from..to) } else { Err("the second number has to be larger".to_owned()) }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match act(cli.command, &mut io::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn act(command: Command, out: &mut impl Write) -> Result<bool, Trouble> {
    match command {
        Command::Scale(arguments) => Ok(scale::run(&arguments, out)?),
        Command::Run { seed, quiet, trace, mutant, pins } => {
            let subject = failures::subject(Scenario::draw(seed, &pins), mutant)?;
            writeln!(out, "{}", subject.scenario)?;
            out.flush()?;
            let run = subject.run();
            if let Some(path) = trace {
                failures::write_trace(&path, &subject, &run)?;
            }
            Ok(show(&run, quiet, out)?)
        }
        Command::Replay { file } => failures::replay(&file, out),
        Command::Shrink { source, out: path, runs, mutant } => {
            failures::shrunk(&source.subject(mutant)?, runs, path.as_deref(), out)
        }
        Command::Explain { source, svg, mutant } => failures::explain(&source.subject(mutant)?, svg.as_deref(), out),
        Command::Sweep { seeds, mutant: Some(chosen), jobs, json, .. } => {
            cli::mutants::run(&chosen, seeds, usize::from(jobs), json.as_deref(), out)
        }
        Command::Sweep { seeds, mutant: None, jobs, minutes, json, pins } => {
            let seeds = seeds.unwrap_or_default();
            let total = seeds.end - seeds.start;
            let over = deadline(minutes);
            let summary = sweep(seeds, usize::from(jobs), &pins, over, |summary| bar(summary, total));
            eprint!("{}", if io::stderr().is_terminal() { "\r\x1b[K" } else { "" });
            if let Some(path) = json {
                let text = serde_json::to_string_pretty(&summary).map_err(io::Error::other)?;
                match path.as_os_str() == "-" {
                    true => writeln!(out, "{text}")?,
                    false => fs::write(path, text + "\n")?,
                }
            }
            let pinned = pins != Pins::default();
            Ok(conclude(&summary, pinned, out)?)
        }
    }
}

/// Whether the time is up. A sweep is about many runs; inside a run there is no such clock.
#[allow(clippy::disallowed_methods)]
fn deadline(minutes: Option<u64>) -> impl Fn() -> bool + Sync {
    let end = minutes.map(|minutes| std::time::Instant::now() + Duration::from_secs(60 * minutes));
    move || end.is_some_and(|end| std::time::Instant::now() >= end)
}

fn bar(summary: &Summary, total: u64) {
    let Summary { runs, failures, .. } = summary;
    if io::stderr().is_terminal() {
        let filled = (runs * 40 / total) as usize;
        eprint!("\r[{}{}] {runs}/{total}, {} failed ", "#".repeat(filled), ".".repeat(40 - filled), failures.len());
    } else if runs % 25 == 0 || *runs == total {
        eprintln!("{runs}/{total}, {} failed", failures.len());
    }
}

fn conclude(summary: &Summary, pinned: bool, out: &mut impl Write) -> io::Result<bool> {
    for failure in &summary.failures {
        writeln!(out, "seed {}: {}", failure.seed, failure.first)?;
        let pins = if pinned { " with the same pins" } else { "" };
        writeln!(out, "  {} violations; again: keymesh-sim run --seed {}{pins}", failure.violations, failure.seed)?;
    }
    let width = summary.coverage.counts().map(|(what, _)| what.len()).max().unwrap_or_default();
    writeln!(out, "exercised")?;
    for (what, count) in summary.coverage.counts() {
        writeln!(out, "  {what:width$}  {count:>9}")?;
    }
    let below = summary.below();
    for floor in &below {
        writeln!(out, "too little: {} {}, at least {} in so many runs", floor.times, floor.what, floor.floor)?;
    }
    let Summary { runs, events, time, failures, .. } = summary;
    let hours = time / 360_000;
    writeln!(
        out,
        "{runs} runs, {events} events in {}.{} virtual hours, {} failed, {} floors missed",
        hours / 10,
        hours % 10,
        failures.len(),
        below.len()
    )?;
    Ok(failures.is_empty() && below.is_empty())
}

fn show(run: &Recorded, quiet: bool, out: &mut impl Write) -> io::Result<bool> {
    for Entry { at, what } in run.entries.iter().filter(|_| !quiet) {
        if let What::Note { act, text } = what {
            let act = act.map(|number| format!("#{number} ")).unwrap_or_default();
            writeln!(out, "{:>8}.{:03}  {act}{text}", at / 1000, at % 1000)?;
        }
    }
    let mut wrong = 0;
    for violation in run.violations() {
        wrong += 1;
        writeln!(out, "violation: {violation}")?;
    }
    let Ok(report) = &run.outcome else { return Ok(false) };
    let counts: Vec<String> = report.coverage.counts().map(|(what, count)| format!("{count} {what}")).collect();
    writeln!(out, "{}", counts.join(", "))?;
    let seconds = report.time / 1000;
    writeln!(out, "{} events in {seconds} virtual seconds, {wrong} violations", report.events)?;
    writeln!(out, "hash {}", report.hash)?;
    Ok(wrong == 0)
}
