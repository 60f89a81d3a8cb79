//! The two clocks the core is given with every step and decision.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use keymesh_wire::time::{Boot, Now, Wall};
use nix::time::{ClockId, clock_gettime};

/// By how much the wall clock is wrong on purpose, in milliseconds.
static OFFSET: AtomicI64 = AtomicI64::new(0);

/// Makes this process's wall clock wrong, for test networks (`testing.clock_offset_ms`). The boot clock stays right.
pub fn set_offset(milliseconds: i64) {
    OFFSET.store(milliseconds, Ordering::Relaxed);
}

/// Both clocks, one right after the other. The boot clock (`CLOCK_BOOTTIME`) counts while the machine is suspended, too.
///
/// # Panics
/// If the kernel has no boot clock: without it no lease can be held to its time.
pub fn now() -> Now {
    let boot = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has a boot clock");
    let boot = boot.tv_sec().unsigned_abs() * 1000 + boot.tv_nsec().unsigned_abs() / 1_000_000;
    Now { wall: wall(), boot: Boot(boot) }
}

/// The wall clock. One before 1970 reads as 1970, and whoever is asked answers with a clock difference.
pub fn wall() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let since = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    Wall(since.saturating_add_signed(OFFSET.load(Ordering::Relaxed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_clock_goes_forward() {
        let before = now();
        std::thread::sleep(std::time::Duration::from_millis(5));
        let after = now();
        assert!(after.boot.since(before.boot).0 >= 4, "{before:?} {after:?}");
    }
}
