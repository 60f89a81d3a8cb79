//! What stops a test network or a step of the demo.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use keymesh_agent::error::ClientError;

use crate::metadata::SignerError;

/// Why something on a test network did not go as it should.
#[derive(Debug, thiserror::Error)]
pub enum TestnetError {
    /// A file, folder or process of the test network.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The programs could not be built.
    #[error("cargo could not build the programs ({status}); what it said is above")]
    Build {
        /// How cargo ended.
        status: ExitStatus,
    },
    /// A program that should be there is not.
    #[error("{program} is not where it should be: {}", path.display())]
    NoProgram {
        /// Which.
        program: &'static str,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A program of the system is missing and cannot be installed from here.
    #[error("{program} is missing; it is in Debian's package `{package}`: apt-get install {package}")]
    Missing {
        /// The program.
        program: &'static str,
        /// The package that has it.
        package: &'static str,
    },
    /// The system lets nobody but root do this.
    #[error("cannot {doing} a network namespace: it takes root")]
    Unprivileged {
        /// What was being done.
        doing: &'static str,
    },
    /// A command failed that should have succeeded.
    #[error("`{command}` ended with {status}: {said}")]
    Command {
        /// The command line.
        command: String,
        /// Its exit status, or the signal that ended it.
        status: String,
        /// What it wrote to standard error.
        said: String,
    },
    /// A command did not end in time and was killed.
    #[error("`{command}` did not end within {seconds} s")]
    Endless {
        /// The command line.
        command: String,
        /// How long it had.
        seconds: u64,
    },
    /// A command's answer lacks something.
    #[error("`{command}` answered without a usable `{field}`: {answer}")]
    Answer {
        /// The command line.
        command: String,
        /// What was looked for.
        field: String,
        /// The answer, shortened.
        answer: String,
    },
    /// A process ended that should run.
    #[error("{name} ended ({status}); the last lines of {}:\n{tail}", log.display())]
    Ended {
        /// Which process.
        name: String,
        /// How it ended.
        status: String,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// Something did not come to pass in time.
    #[error("{what} did not happen within {seconds} s; last seen: {last}")]
    Waited {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
        /// What was seen last.
        last: String,
    },
    /// A node did not answer as a node.
    #[error(transparent)]
    Client(#[from] Box<ClientError>),
    /// The metadata service's signing key.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The observation contradicts what keymesh promises.
    #[error("{0}")]
    Unexpected(String),
}

impl TestnetError {
    /// An error about a file or folder.
    pub fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }
}

impl From<ClientError> for TestnetError {
    fn from(error: ClientError) -> Self {
        Self::Client(Box::new(error))
    }
}

/// Ends the step that sees something else than what was promised.
macro_rules! promised {
    ($holds:expr, $($said:tt)+) => {
        if !$holds {
            return Err($crate::error::TestnetError::Unexpected(format!($($said)+)));
        }
    };
}
pub(crate) use promised;
