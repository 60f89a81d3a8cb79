//! The two things only the operating system has: its randomness and its clock.

use std::time::{SystemTime, UNIX_EPOCH};

use getrandom::SysRng;
use keymesh_wire::time::Wall;
use rand_core::UnwrapErr;

/// The operating system's generator. A system without randomness can do nothing for us, so its failure ends the process.
pub fn randomness() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

/// `N` random bytes that are not secret: ids and nonces.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand_core::Rng::fill_bytes(&mut randomness(), &mut bytes);
    bytes
}

/// The wall clock. A clock before 1970 reads as 1970, which nodes answer with a clock difference.
pub fn wall() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
