//! The command line's words, and what its exit status means.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use keymesh_agent::config::{self, ConfigError};
use keymesh_agent::fleet::Candidate;
use keymesh_agent::keys::Class;
use keymesh_agent::quorum::RootPin;
use keymesh_wire::ids::{KeyId, MeshId, TenantId, VersionId};

use crate::commands;

const STATUSES: &str = "\
Exit status:
  0  done
  1  refused: by the mesh, or because it would overwrite or reveal something
  2  the command line or the configuration is wrong
  3  a program is missing; the message names its package
  4  no node could be reached
  5  any other error

Examples:
  keymesh-agent identity new
  keymesh-agent enrol --ticket launch.ticket --wait 120
  keymesh-agent volume format --file data.img --key key_4be1... --size 1G
  keymesh-agent volume unlock --file data.img --test
  keymesh-agent volume unlock --file /dev/nvme1n1 data
  keymesh-agent key get key_4be1... --out-fd 1 | program-that-reads-a-key

Mesh, tenant and nodes come from /etc/keymesh/agent.toml; flags go before it.";

/// Gets this instance's volume keys from the nearest node of a keymesh.
#[derive(Debug, Parser)]
#[command(name = "keymesh-agent", version, after_help = STATUSES, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub struct Common {
    /// Configuration file [default: /etc/keymesh/agent.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The mesh
    #[arg(long, global = true, value_name = "MESH_ID")]
    pub mesh: Option<MeshId>,
    /// The tenant
    #[arg(long, global = true, value_name = "TENANT_ID")]
    pub tenant: Option<TenantId>,
    /// A node to ask, as IP:PORT or ZONE=IP:PORT; repeat it for more
    #[arg(long = "node", global = true, value_name = "ADDRESS", value_parser = config::candidate, value_delimiter = ',')]
    pub nodes: Vec<Candidate>,
    /// The agent's key file [default: /var/lib/keymesh/agent.key]
    #[arg(long, global = true, value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// This instance's zone, whose nodes are asked first; `metadata` asks the metadata service
    #[arg(long, global = true, value_name = "ZONE")]
    pub zone: Option<String>,
    /// The metadata service [default: 169.254.169.254:80]
    #[arg(long, global = true, value_name = "ADDRESS", value_parser = config::metadata_address)]
    pub metadata: Option<SocketAddr>,
    /// How long to try, in seconds [default: 20; enrol: 60]
    #[arg(long, global = true, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub wait: Option<u32>,
    /// Print one JSON object instead of text
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The agent's own key
    #[command(subcommand)]
    Identity(Identity),
    /// Bind this instance to its agent's key, once
    Enrol {
        /// The launch ticket, as the launcher wrote it
        #[arg(long, value_name = "FILE")]
        ticket: PathBuf,
        /// The signed identity document, instead of asking the metadata service
        #[arg(long, value_name = "FILE")]
        evidence: Option<PathBuf>,
    },
    /// Get a key and hand it to another program
    #[command(subcommand)]
    Key(Key),
    /// Volumes that the mesh opens
    #[command(subcommand)]
    Volume(Volume),
    /// Ask every node how it is, and show how long that took
    Status,
}

#[derive(Debug, Subcommand)]
enum Identity {
    /// Make a key file; never overwrites one
    New,
    /// Show the public key
    Show,
}

#[derive(Debug, Subcommand)]
enum Key {
    /// Get one key
    Get {
        #[command(flatten)]
        wanted: WantedKey,
        #[command(flatten)]
        to: Receiver,
    },
}

/// Which key.
#[derive(Debug, Args)]
pub struct WantedKey {
    /// The key
    #[arg(value_name = "KEY_ID")]
    pub key: KeyId,
    /// Its version [default: the newest]
    #[arg(long, value_name = "VERSION_ID")]
    pub key_version: Option<VersionId>,
    /// How its keyring is kept: leased or quorum
    #[arg(long, default_value = "leased")]
    pub class: Class,
    /// The root's public hash, if it is known (quorum)
    #[arg(long, value_name = "HASH")]
    pub root_public: Option<RootPin>,
}

/// Where a key goes.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Receiver {
    /// Write its bytes to this open descriptor, unless it is a terminal
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub out_fd: Option<i32>,
    /// Put it into the kernel's user keyring under this description
    #[arg(long, value_name = "DESCRIPTION", num_args = 0..=1, default_missing_value = "keymesh")]
    pub to_keyring: Option<String>,
    /// Print it as hex, for everybody to see
    #[arg(long)]
    pub reveal: bool,
}

#[derive(Debug, Subcommand)]
enum Volume {
    /// Make a LUKS2 volume that a key of the mesh opens
    Format {
        /// The file or block device
        #[arg(long, value_name = "PATH")]
        file: PathBuf,
        /// The key
        #[arg(long, value_name = "KEY_ID")]
        key: KeyId,
        /// How its keyring is kept: leased or quorum
        #[arg(long, default_value = "leased")]
        class: Class,
        /// Size of a new file, in bytes or with K, M, G
        #[arg(long, default_value = "64M", value_parser = size)]
        size: u64,
        /// The root's public hash, if it is known (quorum)
        #[arg(long, value_name = "HASH")]
        root_public: Option<RootPin>,
        /// Format it even if there is something in it
        #[arg(long)]
        overwrite: bool,
    },
    /// Open a volume with its key from the nearest node
    Unlock {
        /// The file or block device
        #[arg(long, value_name = "PATH")]
        file: PathBuf,
        /// Its name under /dev/mapper
        #[arg(required_unless_present = "test")]
        name: Option<String>,
        /// Only find out whether the key opens it
        #[arg(long, conflicts_with = "name")]
        test: bool,
    },
    /// Show what a volume's token says; asks nobody
    Show {
        /// The file or block device
        #[arg(long, value_name = "PATH")]
        file: PathBuf,
    },
}

fn size(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 'K' | 'k')) => (&text[..at], 1 << 10),
        Some((at, 'M' | 'm')) => (&text[..at], 1 << 20),
        Some((at, 'G' | 'g')) => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    number.ok_or_else(|| "a size is a number of bytes, or with K, M or G".to_owned())
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let Cli { common, command } = Cli::parse();
    let json = common.json;
    let done = match command {
        Command::Identity(Identity::New) => commands::identity_new(&common),
        Command::Identity(Identity::Show) => commands::identity_show(&common),
        Command::Enrol { ticket, evidence } => commands::enrol(&common, &ticket, evidence.as_deref()),
        Command::Key(Key::Get { wanted, to }) => commands::key_get(&common, &wanted, &to),
        Command::Volume(Volume::Format { file, key, class, size, root_public, overwrite }) => {
            let wanted = WantedKey { key, key_version: None, class, root_public };
            commands::volume_format(&common, &file, &wanted, size, overwrite)
        }
        Command::Volume(Volume::Unlock { file, name, .. }) => commands::volume_unlock(&common, &file, name.as_deref()),
        Command::Volume(Volume::Show { file }) => commands::volume_show(&common, &file),
        Command::Status => commands::status(&common),
    };
    if let Some(warning) = keymesh_wire::secret::arena::take_warning() {
        eprintln!("warning: {warning}");
    }
    match done {
        Ok(report) => {
            for warning in &report.warnings {
                eprintln!("warning: {warning}");
            }
            if json {
                println!("{}", report.json);
            } else if !report.text.is_empty() {
                println!("{}", report.text.trim_end());
            }
            report.status.into()
        }
        Err(failure) => {
            if json {
                println!("{}", failure.json());
            }
            eprintln!("error: {}", failure.text);
            failure.status.into()
        }
    }
}

/// How the process ends. The numbers are documented and stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Done = 0,
    /// Refused.
    Refused = 1,
    /// Told wrongly.
    Usage = 2,
    /// A program is missing.
    Missing = 3,
    /// No node answers.
    Unreachable = 4,
    /// Anything else.
    Other = 5,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

/// Why a command was not carried out.
#[derive(Debug)]
pub struct Failure {
    /// How the process ends.
    pub status: Status,
    /// The stable code of a node's refusal.
    pub code: Option<keymesh_wire::error::Code>,
    /// What, where, and what to do.
    pub text: String,
}

impl Failure {
    /// A failure of this status.
    pub fn new(status: Status, text: impl ToString) -> Self {
        Self { status, code: None, text: text.to_string() }
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({ "ok": false, "status": self.status as u8, "code": self.code, "error": self.text })
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Status::Usage, error)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(size("64M"), Ok(64 << 20));
        assert_eq!(size("1G"), Ok(1 << 30));
        assert_eq!(size("4096"), Ok(4096));
        for wrong in ["", "M", "-1", "1T", "99999999999G", "1 M", "é"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_goes_to_exactly_one_place() {
        let key = format!("key_{}", "0".repeat(64));
        let parse = |rest: &[&str]| {
            let line = ["keymesh-agent", "key", "get", &key].iter().chain(rest).copied().collect::<Vec<_>>();
            Cli::try_parse_from(line)
        };
        assert!(parse(&[]).is_err());
        assert!(parse(&["--reveal", "--out-fd", "3"]).is_err());
        assert!(parse(&["--out-fd", "3"]).is_ok());
        assert!(parse(&["--to-keyring"]).is_ok());
        assert!(parse(&["--out-fd", "-1"]).is_err());
    }
}
