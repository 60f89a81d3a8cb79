//! What every part of keymesh says to every other: ids, secret types, sealing, signed envelopes, messages, errors.
//!
//! The agent depends on this crate and on the threshold cryptography alone, so nothing here may pull in a runtime, a
//! network stack or the replicated state. Nothing here reads a clock, the network or the operating system's randomness.

pub mod api;
pub mod audit;
pub mod body;
pub mod codec;
pub mod envelope;
pub mod error;
pub mod hardening;
pub mod ids;
pub mod invite;
pub mod label;
pub mod limits;
pub mod membership;
pub mod mutant;
pub mod request;
pub mod sealing;
pub mod secret;
pub mod sign;
pub mod statement;
pub mod suite;
pub mod ticket;
pub mod time;
