//! A key manager node of keymesh and the command line for its people.

pub mod config;
pub mod disk;
pub mod hardening;
pub mod keyfile;
pub mod transport;
