//! Bad input to whole nodes: each gets a clear error that names what, where and what to do; nothing is lost; the node
//! serves afterwards. The table of all bad inputs with their tests, also those of single parts, is `docs/bad-input.md`.
//!
//! Real nodes: some within this process, some as processes of the `keymesh` program, with real TLS, libp2p and files.

mod clock;
mod connections;
mod damage;
#[path = "../door_support/mod.rs"]
mod door_support;
mod enrolment;
mod full_disk;
mod peers;
mod replays;
mod start;
mod support;
mod unknown_keys;
