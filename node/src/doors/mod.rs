//! Doors: the protocols clients speak to a node. Each is one folder and one line here.
//!
//! A door translates; it decides nothing. Whatever it is asked for, it asks [`crate::ops`] for.

pub mod native;
