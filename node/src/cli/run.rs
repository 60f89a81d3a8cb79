//! `keymesh run`: the node.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::error::CliError;
use super::output::Output;
use crate::config::Config;

/// Which node.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  keymesh run --config /var/lib/keymesh/node.toml

Runs until it is told to stop (SIGTERM, SIGINT). Needs no ceremony after a restart.")]
pub struct Run {
    /// The node's configuration, as `keymesh node init` wrote it
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Runs the node until it stops.
pub fn run(run: &Run) -> Result<Output, CliError> {
    let config = Config::load(&run.config)?;
    let name = config.name.clone();
    crate::runtime::run(config)?;
    Ok(Output::new(format!("node {name} stopped"), json!({"stopped": name})))
}
