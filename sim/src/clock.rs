//! A machine's two clocks, and what can be wrong with them.
//!
//! The wall clock is off, drifts and jumps. The boot clock counts from the start of the machine and through a suspension,
//! as `CLOCK_BOOTTIME` does; it drifts along, being the same oscillator, and it stands still only when the machine itself
//! is frozen from outside, as by a snapshot that is resumed later. It never goes back.

use keymesh_wire::time::{Boot, Now, Wall};

/// What a boot clock shows when the machine starts: it never shows zero.
const FIRST: u64 = 1_000;

/// The clocks of one machine. They are read at virtual milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// The readings and when that was.
    since: u64,
    wall: u64,
    boot: u64,
    /// Millionths by which both run fast.
    ppm: i64,
    /// Whether the boot clock stands still.
    stands: bool,
}

impl Clocks {
    /// Clocks of a machine that starts at virtual millisecond 0, whose wall clock then shows `wall`.
    pub fn new(wall: Wall) -> Self {
        Self { since: 0, wall: wall.0, boot: FIRST, ppm: 0, stands: false }
    }

    /// What they show.
    pub fn now(&self, at: u64) -> Now {
        let passed = self.scaled(at - self.since);
        let boot = if self.stands { self.boot } else { self.boot + passed };
        Now { wall: Wall(self.wall + passed), boot: Boot(boot) }
    }

    /// The first virtual millisecond at which the boot clock shows `boot`, if it goes on as it does at `at`. A clock that
    /// stands still is taken to go on at once.
    pub fn when(&self, boot: Boot, at: u64) -> u64 {
        let from = if self.stands { at } else { self.since };
        let left = u128::from(boot.0.saturating_sub(self.boot));
        let span = (left * 1_000_000).div_ceil((1_000_000 + self.ppm) as u128);
        at.max(from + span as u64)
    }

    /// The machine starts: its boot clock begins anew, its wall clock goes on.
    pub fn start(&mut self, at: u64) {
        self.settle(at);
        self.boot = FIRST;
        self.stands = false;
    }

    /// The wall clock jumps by so many milliseconds.
    pub fn jump(&mut self, at: u64, by: i64) {
        self.settle(at);
        self.wall = self.wall.saturating_add_signed(by);
    }

    /// From now on both clocks run fast by so many millionths; slow if negative.
    pub fn drift(&mut self, at: u64, ppm: i64) {
        debug_assert!(ppm.abs() < 500_000);
        self.settle(at);
        self.ppm = ppm;
    }

    /// The boot clock stands still from now on, or goes on.
    pub fn stand(&mut self, at: u64, still: bool) {
        self.settle(at);
        self.stands = still;
    }

    fn settle(&mut self, at: u64) {
        let Now { wall, boot } = self.now(at);
        (self.since, self.wall, self.boot) = (at, wall.0, boot.0);
    }

    fn scaled(&self, span: u64) -> u64 {
        (i128::from(span) * i128::from(1_000_000 + self.ppm) / 1_000_000) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clocks() -> Clocks {
        Clocks::new(Wall(50_000))
    }

    fn read(clocks: &Clocks, at: u64) -> (u64, u64) {
        let now = clocks.now(at);
        (now.wall.0, now.boot.0)
    }

    #[test]
    fn a_start_begins_the_boot_clock_anew_and_leaves_the_wall_clock() {
        let mut clocks = clocks();
        assert_eq!(read(&clocks, 70), (50_070, 1_070));
        clocks.start(100);
        assert_eq!(read(&clocks, 150), (50_150, 1_050));
    }

    #[test]
    fn a_jump_moves_the_wall_clock_alone() {
        let mut clocks = clocks();
        clocks.jump(10, -1_000);
        assert_eq!(read(&clocks, 20), (49_020, 1_020));
    }

    #[test]
    fn a_boot_clock_that_stood_still_goes_on_where_it_stood() {
        let mut clocks = clocks();
        clocks.stand(100, true);
        assert_eq!(read(&clocks, 5_100), (55_100, 1_100));
        clocks.stand(5_100, false);
        assert_eq!(read(&clocks, 5_200), (55_200, 1_200));
    }

    #[test]
    fn both_clocks_drift_together_and_never_go_back() {
        let mut clocks = clocks();
        clocks.drift(0, 100_000);
        assert_eq!(read(&clocks, 1_000), (51_100, 2_100));
        clocks.drift(1_000, -100_000);
        assert_eq!(read(&clocks, 2_000), (52_000, 3_000));
    }

    #[test]
    fn a_clock_shows_what_it_will_show_when_it_says_and_not_before() {
        for ppm in [-90_000, -37, 0, 37, 90_000] {
            let mut clocks = clocks();
            clocks.drift(17, ppm);
            for ahead in [0, 1, 10, 999, 123_457] {
                let boot = Boot(clocks.now(40).boot.0 + ahead);
                let when = clocks.when(boot, 40);
                assert!(
                    clocks.now(when).boot >= boot && (when == 40 || clocks.now(when - 1).boot < boot),
                    "{ppm} {ahead}"
                );
            }
        }
    }
}
