//! `keymesh person`: keys of people. A person is a key; a name is given to it where it is trusted.

use std::path::PathBuf;

use clap::Subcommand;
use keymesh_wire::sign::Identity;
use serde_json::json;

use super::error::CliError;
use super::names;
use super::output::Output;
use crate::keyfile::{self, KeyKind};

/// Keys of people.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a new person's key file and print the person's id
    #[command(after_help = "Example:\n  keymesh person new ann --out ann.key")]
    New {
        /// How the person is called; used in what is printed, not kept in the file
        name: String,
        /// The file to make, readable by you alone; never written over another
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Print whose key a file holds
    #[command(after_help = "Example:\n  keymesh person show ann.key")]
    Show {
        /// The key file
        file: PathBuf,
    },
}

/// Does it.
pub fn run(command: Command) -> Result<Output, CliError> {
    match command {
        Command::New { name, out } => {
            let identity = Identity::generate(&mut keymesh_agent::system::randomness());
            keyfile::create(&out, KeyKind::Person, &identity)?;
            let id = identity.principal();
            let text =
                format!("{name}={id}\nThe key is in {}. Keep a copy offline: it cannot be made again.", out.display());
            Ok(Output::new(text, json!({"name": name, "principal": id, "file": out})))
        }
        Command::Show { file } => {
            let (kind, id) = names::key_file(&file)?;
            Ok(Output::new(id.to_string(), json!({"principal": id, "kind": kind.to_string(), "file": file})))
        }
    }
}
