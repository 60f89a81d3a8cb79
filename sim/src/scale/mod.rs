//! How the cost of the mesh grows with its size.
//!
//! `keymesh-sim scale --nodes 10,30,100` runs the real spread at so many nodes ([`swarm`]) and says what an idle node
//! sends, how long a statement takes to 99 % of the nodes and what it costs each of them, how a cut heals and how much
//! memory a real node takes ([`memory`]). A CSV file and a plot go into `docs/simulation`. The figures that the protocol is
//! steered by are checked ([`Figures::missed`]); the small sizes of them in `cargo test` too.
//!
//! Left out: lost frames and hostile nodes (the other simulations), the time that computing takes, and what a transport
//! adds to a frame.

mod land;
mod measure;
mod memory;
mod plot;
mod swarm;
mod table;
mod tally;

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

pub use measure::{Figures, Heal, Plan, Spreading, measure};
pub use tally::Count;

/// What `keymesh-sim scale` is told.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// The sizes, in nodes.
    #[arg(long, value_delimiter = ',', default_value = "10,30,100,300,1000")]
    pub nodes: Vec<usize>,
    /// The seed.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Statements that the document has from the beginning.
    #[arg(long, default_value_t = 1000)]
    pub history: usize,
    /// Statements whose spread is measured.
    #[arg(long, default_value_t = 30)]
    pub statements: usize,
    /// How many statements are said during the cuts.
    #[arg(long, value_delimiter = ',', default_value = "10,100")]
    pub cuts: Vec<usize>,
    /// Where `scale.csv` and `scale.svg` go.
    #[arg(long, default_value = "docs/simulation")]
    pub out: PathBuf,
    /// The figures as JSON, too.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// Measures every size and writes what was found. Returns whether all figures are as they should be.
///
/// # Errors
/// When a file cannot be written.
pub fn run(arguments: &Arguments, out: &mut impl Write) -> io::Result<bool> {
    let Arguments { seed, history, statements, .. } = *arguments;
    // First of all, while no memory is free to be used again.
    let mut kept = memory::Kept::default();
    let mut memories = Vec::new();
    for nodes in &arguments.nodes {
        eprintln!("{nodes:>5} nodes: memory");
        memories.push(memory::measure(seed, (*nodes).max(2), history, &mut kept));
    }
    drop(kept);
    let mut all = Vec::new();
    for (nodes, memory) in arguments.nodes.iter().zip(memories) {
        let plan = Plan { seed, nodes: (*nodes).max(2), history, statements };
        let mut tell = |what: &str| eprintln!("{nodes:>5} nodes: {what}");
        all.push(Figures { memory, ..measure(plan, &arguments.cuts, &mut tell) });
    }
    fs::create_dir_all(&arguments.out)?;
    fs::write(arguments.out.join("scale.csv"), table::csv(&all))?;
    fs::write(arguments.out.join("scale.svg"), plot::svg(&all))?;
    if let Some(file) = &arguments.json {
        fs::write(file, table::json(&all))?;
    }
    write!(out, "{}", table::text(&all))?;
    let missed: Vec<String> = all.iter().flat_map(Figures::missed).collect();
    missed.iter().try_for_each(|line| writeln!(out, "missed: {line}"))?;
    Ok(missed.is_empty())
}
