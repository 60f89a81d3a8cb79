//! Replicated state: what a set of statements means.
//!
//! Two nodes with the same statements have the same state (I3), because the fold is a function of the *set*: first who had
//! the right to say what ([`authority`]), then the state from the valid statements alone ([`mesh`], [`tenant`]), with the
//! restrictive statement winning among concurrent ones (I4). No clock enters. The fold is done anew from the statements
//! whenever a document changed; it is not the place where speed is won, the published view of it is read lock-free.

pub mod authority;
pub mod document;
pub mod graph;
pub mod layout;
pub mod mesh;
pub mod sharing;
pub mod tenant;

#[cfg(test)]
pub(crate) mod tests;

pub use document::{Document, DocumentState};
pub use mesh::MeshState;
pub use tenant::TenantState;
