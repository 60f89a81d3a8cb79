//! The deterministic core of keymesh: state, authority, policy, custody, leases, spread.

pub mod evidence;
