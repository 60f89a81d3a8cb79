//! What goes wrong on the command line, and the exit status each kind has.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use keymesh_agent::client::is_refusal;
use keymesh_agent::error::ClientError;
use keymesh_custody::CapsuleError;
use keymesh_mesh::evidence::CertificateError;
use keymesh_mesh::policy::PolicyError;
use keymesh_wire::ids::{DocumentId, PrincipalId, StatementId};
use keymesh_wire::sealing::SealError;
use keymesh_wire::statement::StatementError;

use super::layout::LayoutError;
use crate::config::ConfigError;
use crate::disk::DiskError;
use crate::keyfile::KeyFileError;
use crate::runtime::RuntimeError;

/// Why a command did not do what was asked. Each says what, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The command line contradicts itself or lacks something.
    #[error("{what}")]
    Usage {
        /// What, and what to write instead.
        what: String,
    },
    /// Something that context or flags should say is said nowhere.
    #[error("no {what} is known; give {flag}, or set it once with `keymesh context set`")]
    Unset {
        /// What is missing.
        what: &'static str,
        /// The flag that gives it.
        flag: &'static str,
    },
    /// A file of the command line.
    #[error("cannot {doing} {path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the command line holds something else.
    #[error("{path} is not {expected}: {what}", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// A key file.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// A node's configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A node's data directory.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A policy that does not stand up to the checks every node makes.
    #[error("{path}: {source}", path = path.display())]
    Policy {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        source: PolicyError,
    },
    /// A certificate that cannot be trusted with evidence.
    #[error("{path}: {source}", path = path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: CertificateError,
    },
    /// A statement that breaks a limit; it was not sent.
    #[error("this cannot be signed: {0}")]
    Statement(#[from] StatementError),
    /// The fold on this side says that the signer has no right; nothing was sent.
    #[error("{who} has no right to {kind} in {document}; nothing was sent. Sign as somebody who has (--as KEYFILE)")]
    NotEntitled {
        /// Whose key.
        who: PrincipalId,
        /// The kind of statement.
        kind: &'static str,
        /// The document's name.
        document: String,
    },
    /// A root whose layout breaks I1 or cannot work.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Sealing to a root failed.
    #[error("cannot seal to the root: {0}")]
    Capsule(#[from] CapsuleError),
    /// Sealing to a generation failed.
    #[error("cannot seal to the keyring's generation: {0}")]
    Seal(#[from] SealError),
    /// No lessee attested a generation in time.
    #[error(
        "no lessee attested generation {number} of {keyring} within {waited} s, and keys are sealed to attested ones only. \
         A lessee does so by itself once it reaches custodians enough: see `keymesh status`, then try again; \
         `--unattested` seals to it all the same"
    )]
    Unattested {
        /// The keyring's path.
        keyring: String,
        /// The generation's number.
        number: u32,
        /// How long it was waited, in seconds.
        waited: u64,
    },
    /// No generation of a keyring is fit for new versions.
    #[error(
        "no generation of {keyring} takes new versions: whoever could read them was expelled, or they are accused \
             (`keymesh keyring show`). Open one with `keymesh key rotate --due` or `keymesh keyring renew {keyring}`"
    )]
    NoGeneration {
        /// The keyring's path.
        keyring: String,
    },
    /// A root of the tenant is needed and none is live.
    #[error("tenant {tenant} has no live root yet; make one with `keymesh root create`, see `keymesh root status`")]
    NoRoot {
        /// The tenant's name.
        tenant: String,
    },
    /// A name that stands for nothing.
    #[error("no {kind} `{name}` in {place}; {hint}")]
    NotFound {
        /// Of which kind.
        kind: &'static str,
        /// The name.
        name: String,
        /// Where it was looked for.
        place: String,
        /// What to do.
        hint: String,
    },
    /// A name that stands for several things.
    #[error("{kind} `{name}` is ambiguous: {}. Name one by its id, or give one of them another name with `keymesh rename`", .ids.join(", "))]
    Ambiguous {
        /// Of which kind.
        kind: &'static str,
        /// The name.
        name: String,
        /// The ids it stands for.
        ids: Vec<String>,
    },
    /// No node answered.
    #[error("no node could be reached: {}. Is one running, and is its address right (`keymesh context show`, --node IP:PORT)?", join(.tried))]
    NoNode {
        /// Every address with what happened there.
        tried: Vec<ClientError>,
    },
    /// Nodes answered, and none did what was asked.
    #[error("{what}: {}", join(.tried))]
    Refused {
        /// What was asked.
        what: String,
        /// Every node with what it said.
        tried: Vec<ClientError>,
    },
    /// A node showed something as a document that is none.
    #[error("{address}: what it shows as {document} does not hold: {what}. Ask another node (--node IP:PORT)")]
    FalseDocument {
        /// The node's address.
        address: SocketAddr,
        /// The document.
        document: DocumentId,
        /// What is wrong.
        what: String,
    },
    /// Something that should have happened by now has not.
    #[error("{what} within {seconds} s; {hint}")]
    TimedOut {
        /// What did not happen.
        what: String,
        /// How long was waited.
        seconds: u64,
        /// Where to look.
        hint: &'static str,
    },
    /// A proposal that was to be endorsed cannot be.
    #[error("{statement}: {what}")]
    NotPending {
        /// The proposal.
        statement: StatementId,
        /// Why.
        what: &'static str,
    },
    /// The node stopped.
    #[error(transparent)]
    Daemon(#[from] RuntimeError),
}

/// Exit statuses, as `keymesh --help` lists them.
pub mod status {
    /// A refusal or a failure that the message explains.
    pub const FAILED: u8 = 1;
    /// The command line or a file it names is wrong.
    pub const USAGE: u8 = 2;
    /// No node answered.
    pub const NO_NODE: u8 = 4;
    /// Anything else.
    pub const OTHER: u8 = 5;
}

impl CliError {
    /// The exit status.
    pub fn status(&self) -> u8 {
        match self {
            Self::Usage { .. } | Self::Unset { .. } | Self::Config(_) | Self::Content { .. } => status::USAGE,
            Self::NoNode { .. } => status::NO_NODE,
            Self::File { .. } | Self::Capsule(_) | Self::Seal(_) => status::OTHER,
            Self::Daemon(RuntimeError::Core | RuntimeError::Threads(_)) => status::OTHER,
            Self::KeyFile(KeyFileError::Io { .. }) => status::OTHER,
            Self::KeyFile(_)
            | Self::Disk(_)
            | Self::Daemon(_)
            | Self::Policy { .. }
            | Self::Certificate { .. }
            | Self::Statement(_)
            | Self::NotEntitled { .. }
            | Self::Layout(_)
            | Self::NoRoot { .. }
            | Self::Unattested { .. }
            | Self::NoGeneration { .. }
            | Self::NotFound { .. }
            | Self::Ambiguous { .. }
            | Self::Refused { .. }
            | Self::FalseDocument { .. }
            | Self::TimedOut { .. }
            | Self::NotPending { .. } => status::FAILED,
        }
    }

    /// The exit status for the process.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.status())
    }

    /// A stable word for the kind of error, for `--json`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Usage { .. } => "usage",
            Self::Unset { .. } => "unset",
            Self::File { .. } => "file",
            Self::Content { .. } => "content",
            Self::KeyFile(_) => "key-file",
            Self::Config(_) => "config",
            Self::Disk(_) => "disk",
            Self::Policy { .. } => "policy",
            Self::Certificate { .. } => "certificate",
            Self::Statement(_) => "statement",
            Self::NotEntitled { .. } => "not-entitled",
            Self::Layout(_) => "layout",
            Self::Capsule(_) | Self::Seal(_) => "seal",
            Self::NoRoot { .. } => "no-root",
            Self::Unattested { .. } => "unattested",
            Self::NoGeneration { .. } => "no-generation",
            Self::NotFound { .. } => "not-found",
            Self::Ambiguous { .. } => "ambiguous",
            Self::NoNode { .. } => "no-node",
            Self::Refused { .. } => "refused",
            Self::FalseDocument { .. } => "false-document",
            Self::TimedOut { .. } => "timed-out",
            Self::NotPending { .. } => "not-pending",
            Self::Daemon(_) => "daemon",
        }
    }

    /// A contradiction or a gap in the command line.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::Usage { what: what.into() }
    }

    /// Nobody did what was asked: unreachable if nobody answered at all, refused otherwise.
    pub fn nobody(what: impl Into<String>, tried: Vec<ClientError>) -> Self {
        if tried.iter().any(|error| error.code().is_some() || is_refusal(error)) {
            Self::Refused { what: what.into(), tried }
        } else {
            Self::NoNode { tried }
        }
    }
}

/// What a node's error says, without where.
pub fn without_address(error: &ClientError) -> String {
    let (text, address) = (error.to_string(), error.address().to_string());
    text.strip_prefix(&format!("{address}: ")).map(str::to_owned).unwrap_or(text)
}

fn join(errors: &[ClientError]) -> String {
    if errors.is_empty() {
        return "no address is known".to_owned();
    }
    // Several nodes often say the same.
    let mut said: Vec<(String, Vec<String>)> = Vec::new();
    for error in errors {
        let (address, text) = (error.address().to_string(), without_address(error));
        match said.iter_mut().find(|(known, _)| *known == text) {
            Some((_, addresses)) => addresses.push(address),
            None => said.push((text, vec![address])),
        }
    }
    let each = said.into_iter().map(|(text, addresses)| format!("{}: {text}", addresses.join(", ")));
    each.collect::<Vec<_>>().join("; ")
}
