//! What the node does to its own process before it reads a secret: see [`keymesh_wire::hardening`], which the agent
//! uses too.

pub use keymesh_wire::hardening::{Hardening, harden};
