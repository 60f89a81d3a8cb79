//! `keymesh-sim`: runs scenarios from seeds.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use keymesh_sim::random::{Report, Scenario, run};

/// Many keymesh cores under one seed: clock, network, disks, people and agents.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the scenario of one seed. The last line is the hash over everything that happened.
    Run {
        /// The seed.
        #[arg(long)]
        seed: u64,
        /// So many nodes instead of the drawn number.
        #[arg(long, value_parser = clap::value_parser!(u64).range(3..=50))]
        nodes: Option<u64>,
        /// So many acts of people, agents and faults.
        #[arg(long)]
        acts: Option<usize>,
    },
    /// Run many seeds and name those that fail.
    Sweep {
        /// The first seed and the one after the last, as `A..B`.
        #[arg(long, value_parser = range)]
        seeds: (u64, u64),
        /// So many nodes instead of the drawn number.
        #[arg(long, value_parser = clap::value_parser!(u64).range(3..=50))]
        nodes: Option<u64>,
    },
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let (from, to) = text.split_once("..").ok_or("write it as A..B")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
    Ok((number(from)?, number(to)?))
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match act(cli.command, &mut io::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("cannot write: {error}");
            ExitCode::from(2)
        }
    }
}

fn act(command: Command, out: &mut impl Write) -> io::Result<bool> {
    match command {
        Command::Run { seed, nodes, acts } => {
            let mut scenario = Scenario::draw(seed, nodes.map(|nodes| nodes as usize));
            scenario.acts = acts.unwrap_or(scenario.acts);
            writeln!(out, "{scenario}")?;
            let report = run(scenario);
            show(&report, out)?;
            Ok(report.violations.is_empty())
        }
        Command::Sweep { seeds, nodes } => {
            let mut failed = Vec::new();
            for seed in seeds.0..seeds.1 {
                let report = run(Scenario::draw(seed, nodes.map(|nodes| nodes as usize)));
                if let Some(first) = report.violations.first() {
                    writeln!(out, "seed {seed}: {first}")?;
                    writeln!(out, "  again: keymesh-sim run --seed {seed}")?;
                    failed.push(seed);
                }
            }
            writeln!(out, "{} seeds, {} failed", seeds.1.saturating_sub(seeds.0), failed.len())?;
            Ok(failed.is_empty())
        }
    }
}

fn show(report: &Report, out: &mut impl Write) -> io::Result<()> {
    for (at, line) in &report.timeline {
        writeln!(out, "{:>8}.{:03}  {line}", at / 1000, at % 1000)?;
    }
    let counts: Vec<String> = report.counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
    writeln!(out, "{}", counts.join(", "))?;
    let seconds = report.time / 1000;
    writeln!(out, "{} events in {seconds} virtual seconds, {} violations", report.events, report.violations.len())?;
    writeln!(out, "hash {}", report.hash)
}
