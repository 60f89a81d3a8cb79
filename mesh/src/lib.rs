//! The deterministic core of keymesh: state, authority, policy, custody, leases, spread.

pub mod custody;
pub mod evidence;
pub mod materialise;
pub mod mutant;
pub mod policy;
pub mod release;
pub mod replica;
pub mod spread;
pub mod state;
pub mod view;
