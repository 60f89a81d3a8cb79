//! What custodians do, and how a node asks them: key generation, leases, blind releases, enrolments.
//!
//! Every custodian judges a request against its own replica before it contributes (I5), records it before it answers (I7),
//! and seals its contribution to the one-time key of whoever may have it.

pub mod accusation;
pub mod agreement;
pub mod ceremony;
pub mod change;
pub mod enrolment;
pub mod lease;
pub mod message;
pub mod partial;
pub mod repair;
pub mod slot;
#[cfg(test)]
pub(crate) mod stage;
