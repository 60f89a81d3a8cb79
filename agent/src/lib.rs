//! The keymesh agent: gets an instance's volume keys from the nearest node.
//!
//! Small, blocking, without a runtime (DESIGN section 7). [`client`] speaks to one node and is also what people's
//! command line and the benchmarks use; [`fleet`] finds the nearest node that answers; [`keys`] gets a key, of leased
//! keyrings from a lessee and of quorum keyrings from the custodians' partials ([`quorum`]); [`enrol`] binds the
//! instance to its agent's key with the evidence from [`metadata`]; [`volume`] hands keys to `cryptsetup`.

mod certificate;
pub mod client;
pub mod config;
pub mod data_key;
pub mod enrol;
pub mod error;
#[cfg(test)]
mod fake;
pub mod fleet;
pub mod handover;
pub mod http;
pub mod keyfile;
pub mod keys;
pub mod luks;
pub mod metadata;
pub mod quorum;
pub mod system;
mod timed;
mod tls;
pub mod volume;

// An agent that can be made to go wrong on purpose must not exist.
const _: () = assert!(
    !keymesh_wire::mutant::COMPILED_IN && !keymesh_custody::mutant::COMPILED_IN,
    "an agent must not be compiled with the feature `mutants`"
);
