//! Draws from the run's generator, in one place so that all of them are the same on every platform.

use rand_core::Rng;

/// A number from `low` to `high`, both included.
pub fn between(rng: &mut impl Rng, low: u64, high: u64) -> u64 {
    debug_assert!(low <= high);
    low + rng.next_u64() % (high - low + 1)
}

/// A place in a list of `len`, which is not empty.
pub fn place(rng: &mut impl Rng, len: usize) -> usize {
    (rng.next_u64() % len as u64) as usize
}

/// Whether something happens that happens `per_mille` times in a thousand.
pub fn chance(rng: &mut impl Rng, per_mille: u64) -> bool {
    per_mille > 0 && rng.next_u64() % 1000 < per_mille
}
