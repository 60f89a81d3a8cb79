//! Speed of keymesh, end to end and by part.
//!
//! The end-to-end figures come from real node processes on this machine, reached over TLS as an agent reaches them; the
//! parts ([`fixture`], `benches/parts.rs`) are what those figures are made of. Nothing here asserts a time: machines
//! differ, and a figure that waits for the device is only worth something beside the device's own ([`disk`]). What is
//! asserted is that nothing was lost: a release without its audit record ends the measurement with an error (I7).
//!
//! Leaves to others: how processes are started and stopped ([`keymesh_testnet`]), and what an agent does
//! ([`keymesh_agent`]).

pub mod disk;
pub mod dkg;
pub mod draft;
pub mod epochs;
pub mod error;
pub mod figures;
pub mod fixture;
pub mod live;
pub mod people;
pub mod quorum;
pub mod refresh;
pub mod release;
pub mod spread;
pub mod start;
pub mod switch;
pub mod wan;
