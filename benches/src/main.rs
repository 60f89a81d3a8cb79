//! `keymesh-benches`: measures a real mesh on this machine.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use keymesh_benches::error::BenchError;
use keymesh_benches::figures::{Figures, Row, show};
use keymesh_benches::live::Mesh;
use keymesh_benches::people::Committee;
use keymesh_benches::people::{Keys, Tenant};
use keymesh_benches::{dkg, epochs, quorum, refresh, release, spread, start, wan};
use keymesh_testnet::topology::THREE_CLOUDS;
use keymesh_wire::sign::Identity;
use serde::Serialize;

/// Measure keymesh end to end: real nodes on this machine, five unless said otherwise, reached over TLS
#[derive(Debug, Parser)]
#[command(version, after_help = "Times are never asserted; a release without its audit record is an error.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Write the figures as one line of JSON: to FILE, or with - to standard output instead of the table
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Take the programs in FOLDER as they are, instead of building them
    #[arg(long, global = true, value_name = "FOLDER")]
    programs: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Command {
    /// Releases from a leased keyring, audit durable first
    Release {
        /// Kept connections, each with one request under way
        #[arg(long, default_value_t = 8)]
        connections: usize,
        /// For how long
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// Blind releases from a quorum keyring
    Quorum {
        /// Kept connections, each with one request under way
        #[arg(long, default_value_t = 1)]
        connections: usize,
        /// For how long
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// Making a root of five nodes
    Dkg {
        /// How often
        #[arg(long, default_value_t = 5)]
        times: usize,
    },
    /// Moving a root from 5 of 9 custodians to 6 of 11, and back
    Reshare {
        /// How often
        #[arg(long, default_value_t = 6)]
        times: usize,
    },
    /// Refreshing the roots of many tenants, twice, while another one's agent gets its key
    Refresh {
        /// How many
        #[arg(long, default_value_t = 1000)]
        tenants: usize,
        /// Keys a second that are due while they are refreshed the second time
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        per_s: u32,
    },
    /// A statement's way to all five nodes
    Spread {
        /// How many, one after the other
        #[arg(long, default_value_t = 200)]
        statements: usize,
    },
    /// Starting a node, and its memory when idle
    Start,
    /// Blind releases and lease openings between zones that are far apart; takes root
    Wan {
        /// How long a packet takes from one zone to another
        #[arg(long, default_value_t = 40)]
        one_way_ms: u64,
        /// How many blind releases, and how many under a lease
        #[arg(long, default_value_t = 100)]
        releases: usize,
        /// How many lease openings; each takes two seconds
        #[arg(long, default_value_t = 30)]
        openings: usize,
    },
    /// Everything that takes no root, in one table beside what it should be
    All,
}

/// A mesh with an agent that may have keys.
struct Prepared {
    mesh: Mesh,
    tenant: Tenant,
    keys: Keys,
    agent: Arc<Identity>,
}

impl Prepared {
    fn on(mesh: Mesh) -> Result<Self, BenchError> {
        let mut tenant = mesh.tenant("acme")?;
        mesh.root_of(&mut tenant, Committee::FIVE)?;
        let keys = mesh.keys(&mut tenant)?;
        let agent = mesh.agent(&tenant)?;
        Ok(Self { mesh, tenant, keys, agent })
    }

    fn release(&self, connections: usize, seconds: u64) -> Result<release::ReleaseFigures, BenchError> {
        let length = Duration::from_secs(seconds);
        release::measure(&self.mesh, &self.tenant, &self.keys, &self.agent, connections, length)
    }

    fn quorum(&self, connections: usize, seconds: u64) -> Result<quorum::QuorumFigures, BenchError> {
        let length = Duration::from_secs(seconds);
        quorum::measure(&self.mesh, &self.tenant, &self.keys, &self.agent, connections, length)
    }
}

#[derive(Debug, Serialize)]
struct Everything {
    release_1: release::ReleaseFigures,
    release_8: release::ReleaseFigures,
    quorum: quorum::QuorumFigures,
    dkg: dkg::DkgFigures,
    spread: spread::SpreadFigures,
    start: start::StartFigures,
}

impl Figures for Everything {
    fn rows(&self) -> Vec<Row> {
        let parts: [&dyn Fn() -> Vec<Row>; 6] = [
            &|| self.release_1.rows(),
            &|| self.release_8.rows(),
            &|| self.quorum.rows(),
            &|| self.dkg.rows(),
            &|| self.spread.rows(),
            &|| self.start.rows(),
        ];
        parts.iter().flat_map(|rows| rows()).collect()
    }
}

fn everything(mesh: Mesh) -> Result<Everything, BenchError> {
    let (dkg, spread, start) = (dkg::measure(&mesh, 5)?, spread::measure(&mesh, 200)?, start::measure(&mesh)?);
    let prepared = Prepared::on(mesh)?;
    Ok(Everything {
        quorum: prepared.quorum(1, 5)?,
        release_1: prepared.release(1, 10)?,
        release_8: prepared.release(8, 10)?,
        dkg,
        spread,
        start,
    })
}

fn run(cli: &Cli) -> Result<(), BenchError> {
    let (json, programs) = (cli.json.as_deref(), cli.programs.as_deref());
    let five = || Mesh::begin(programs, &THREE_CLOUDS);
    match cli.command {
        Command::Release { connections, seconds } => show(&Prepared::on(five()?)?.release(connections, seconds)?, json),
        Command::Quorum { connections, seconds } => show(&Prepared::on(five()?)?.quorum(connections, seconds)?, json),
        Command::Dkg { times } => show(&dkg::measure(&five()?, times)?, json),
        Command::Reshare { times } => show(&epochs::reshare(&Mesh::begin(programs, &epochs::ELEVEN)?, times)?, json),
        Command::Refresh { tenants, per_s } => {
            let Prepared { mesh, tenant, keys, agent } = Prepared::on(five()?)?;
            show(&refresh::measure(&mesh, (&tenant, &keys, &agent), tenants, per_s)?, json)
        }
        Command::Spread { statements } => show(&spread::measure(&five()?, statements)?, json),
        Command::Start => show(&start::measure(&five()?)?, json),
        Command::Wan { one_way_ms, releases, openings } => {
            show(&wan::measure(programs, Duration::from_millis(one_way_ms), releases, openings)?, json)
        }
        Command::All => show(&everything(five()?)?, json),
    }
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keymesh-benches: {error}");
            ExitCode::FAILURE
        }
    }
}
