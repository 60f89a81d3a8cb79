//! The deterministic core of keymesh: state, authority, policy, custody, leases, spread.

pub mod evidence;
pub mod materialise;
pub mod policy;
pub mod spread;
pub mod state;
