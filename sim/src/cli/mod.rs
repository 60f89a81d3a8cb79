//! What the commands of `keymesh-sim` share.

pub mod failures;
pub mod mutants;

use std::io;

/// Why a command could not do its work; the exit code is 2.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The output went nowhere.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
    /// What was asked for cannot be done.
    #[error("{0}")]
    Usage(String),
}

impl Trouble {
    /// A mutant was asked for, and there are none.
    pub fn without_mutants() -> Self {
        Self::Usage("this build has no mutants: build with --features mutants".to_owned())
    }
}
