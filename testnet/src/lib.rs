//! Real keymesh processes with faults: a supervisor, the demo, and the emulated metadata service.
//!
//! Everything here acts like a user: it starts the programs, runs their commands and reads what they print. Only faults
//! (a cut between zones, a killed or held process), searches (a process's memory, the files of a disk) and thefts (whole
//! nodes) go past them.
//! What is seen is real; what is simulated with a clock and a seed lives in `keymesh-sim`.

pub mod binaries;
pub mod demo;
pub mod disturb;
pub mod epochs;
pub mod error;
pub mod instance;
pub mod load;
pub mod metadata;
pub mod netns;
pub mod packages;
pub mod prepared;
pub mod process;
pub mod report;
pub mod scenario;
pub mod search;
pub mod setup;
pub mod testnet;
pub mod theft;
pub mod tool;
pub mod topology;
