//! A key manager node of keymesh and the command line for its people.

pub mod cli;
pub mod config;
pub mod disk;
pub mod doors;
pub mod hardening;
pub mod keyfile;
pub mod ops;
pub mod runtime;
pub mod transport;

// A node that can be made to go wrong on purpose must not exist.
const _: () = assert!(!keymesh_mesh::mutant::COMPILED_IN, "a node must not be compiled with the feature `mutants`");
