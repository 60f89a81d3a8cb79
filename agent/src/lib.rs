//! The keymesh agent: gets an instance's volume keys from the nearest node.

pub mod keyfile;
