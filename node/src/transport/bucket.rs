//! A token bucket in which a caller may go into debt.
//!
//! The reader learns a frame's size only from its prefix, so it takes what the frame costs and then sleeps off the debt
//! before reading the body. A frame larger than the burst therefore passes, later, instead of never.

use std::time::Duration;

use tokio::time::Instant;

use super::config::Rate;

/// Tokens for bytes and for frames of one peer. Time is an argument.
#[derive(Debug)]
pub(super) struct TokenBucket {
    bytes: Tokens,
    frames: Tokens,
    updated: Instant,
}

#[derive(Debug)]
struct Tokens {
    level: f64,
    rate: Rate,
}

impl Tokens {
    fn full(rate: Rate) -> Self {
        Self { level: rate.burst as f64, rate }
    }

    fn refill(&mut self, elapsed: Duration) {
        let earned = elapsed.as_secs_f64() * self.rate.per_second as f64;
        self.level = (self.level + earned).min(self.rate.burst as f64);
    }

    fn spend(&mut self, amount: u64) -> Duration {
        self.level -= amount as f64;
        if self.level >= 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(-self.level / self.rate.per_second as f64).unwrap_or(Duration::MAX)
    }
}

impl TokenBucket {
    /// A full bucket.
    pub(super) fn new(bytes: Rate, frames: Rate, now: Instant) -> Self {
        Self { bytes: Tokens::full(bytes), frames: Tokens::full(frames), updated: now }
    }

    /// Takes one frame of `bytes` bytes and says how long to wait until it is paid for.
    pub(super) fn take(&mut self, bytes: u64, now: Instant) -> Duration {
        let elapsed = now.saturating_duration_since(self.updated);
        self.updated = now;
        self.bytes.refill(elapsed);
        self.frames.refill(elapsed);
        self.bytes.spend(bytes).max(self.frames.spend(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_the_rest_waits_for_the_rate() {
        let start = Instant::now();
        let bytes = Rate { per_second: 1_000, burst: 2_000 };
        let frames = Rate { per_second: 1_000_000, burst: 1_000_000 };
        let mut bucket = TokenBucket::new(bytes, frames, start);
        assert_eq!(bucket.take(2_000, start), Duration::ZERO);
        assert_eq!(bucket.take(500, start), Duration::from_millis(500));
        assert_eq!(bucket.take(0, start + Duration::from_secs(1)), Duration::ZERO);
    }

    #[test]
    fn small_frames_are_limited_by_their_number() {
        let start = Instant::now();
        let bytes = Rate { per_second: 1_000_000, burst: 1_000_000 };
        let frames = Rate { per_second: 10, burst: 1 };
        let mut bucket = TokenBucket::new(bytes, frames, start);
        assert_eq!(bucket.take(1, start), Duration::ZERO);
        assert_eq!(bucket.take(1, start), Duration::from_millis(100));
    }

    #[test]
    fn a_quiet_peer_saves_up_no_more_than_the_burst() {
        let start = Instant::now();
        let rate = Rate { per_second: 10, burst: 10 };
        let mut bucket = TokenBucket::new(rate, rate, start);
        let later = start + Duration::from_secs(3_600);
        assert_eq!(bucket.take(20, later), Duration::from_secs(1));
    }
}
