//! The node's and people's identity key files: see [`keymesh_agent::keyfile`], which the agent uses too.

pub use keymesh_agent::keyfile::{KeyFileError, KeyKind, create, load};
