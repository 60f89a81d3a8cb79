//! Many keymesh cores under one seed: clock, network, disk, workers, people and agents.
//!
//! What runs is the real core ([`keymesh_mesh::replica`]) and the real decisions ([`keymesh_mesh::release`],
//! [`keymesh_mesh::custody`]) with real cryptography; simulated is everything around them. There is no thread, no wall
//! clock and no randomness but ChaCha20 streams of the seed, so a seed is the whole scenario: run twice it ends in the
//! same [`trace::Trace`] hash.
//!
//! Looked at: I2 to I9 as named checks ([`checks`]) by an oracle of its own ([`model`]), I1 and I10 as far as planted
//! secrets show them ([`canary`]).
//! Not simulated: transports and their handshakes, sealing at rest, TLS, the sizes of queues.
//!
//! What helps when a run fails: [`replay`] says whether two runs are one, [`shrink`] finds a smaller scenario that fails in
//! the same check, [`explain`] tells and draws what happened, and [`mutants`] proves that the checks ring at all.
//!
//! To add to it: a new kind of fault belongs into [`network`], [`disk`] or [`world`]; a new thing people or agents do
//! into [`people`] or [`agents`]; a new act of the random workload into `workload`, and who brings a new kind of statement
//! about into [`kinds`].

pub mod agents;
pub mod canary;
pub mod checks;
pub mod clock;
pub mod coverage;
mod custodian;
pub mod disk;
pub mod draw;
pub mod explain;
pub mod ground;
pub mod kinds;
pub mod liar;
pub mod model;
pub mod mutants;
pub mod network;
pub mod node;
pub mod panics;
pub mod people;
pub mod record;
pub mod replay;
pub mod run;
pub mod scale;
pub mod scenario;
pub mod seen;
pub mod shrink;
pub mod sweep;
pub mod trace;
pub mod watch;
pub mod weather;
mod workload;
pub mod world;
