//! What stops a measurement.

use std::io;
use std::path::PathBuf;

use keymesh::config::ConfigError;
use keymesh::disk::error::DiskError;
use keymesh::keyfile::KeyFileError;
use keymesh_agent::error::ClientError;
use keymesh_agent::quorum::QuorumError;
use keymesh_custody::{CapsuleError, DecodeError};
use keymesh_testnet::error::TestnetError;
use keymesh_testnet::metadata::SignerError;
use keymesh_wire::membership::MembershipError;
use keymesh_wire::sealing::SealError;
use keymesh_wire::statement::StatementError;

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The processes.
    #[error(transparent)]
    Testnet(#[from] TestnetError),
    /// A question to a node.
    #[error(transparent)]
    Client(Box<ClientError>),
    /// An answer of custodians that does not open.
    #[error(transparent)]
    Quorum(Box<QuorumError>),
    /// A statement that the fixture made does not hold.
    #[error("a statement of the benchmark: {0}")]
    Statement(#[from] StatementError),
    /// Membership as a node shows it.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// A node's configuration file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A node's key file.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// A node's disk, read after its end.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A capsule could not be sealed.
    #[error(transparent)]
    Capsule(#[from] CapsuleError),
    /// A root's public half does not decode.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A version could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Evidence could not be signed.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// A file.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something awaited did not come to pass.
    #[error("{what} did not happen within {seconds} s")]
    Waited {
        /// What.
        what: String,
        /// How long.
        seconds: u64,
    },
    /// Something does not follow from what was done before.
    #[error("{0}")]
    Unexpected(&'static str),
    /// A measuring thread broke an assertion; its words are above.
    #[error("a measuring thread ended early")]
    Thread,
    /// Keys left of which the log knows nothing: I7 does not hold.
    #[error("{missing} of {releases} acknowledged releases have no audit record on disk")]
    Unrecorded {
        /// How many releases were acknowledged.
        releases: usize,
        /// How many of them are not in the log.
        missing: usize,
    },
}

impl BenchError {
    /// An error about a file.
    pub fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }
}

impl From<ClientError> for BenchError {
    fn from(error: ClientError) -> Self {
        Self::Client(Box::new(error))
    }
}

impl From<QuorumError> for BenchError {
    fn from(error: QuorumError) -> Self {
        Self::Quorum(Box::new(error))
    }
}
