//! Token buckets: how much one peer may make this node do.

use keymesh_wire::time::{Boot, Millis};

use super::SpreadLimits;

/// A rate with a burst. Tokens come back with time and are counted in thousandths.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    rate: u64,
    burst: u64,
    level: u64,
    at: Boot,
}

impl Bucket {
    /// A full bucket that gains `rate` tokens a second and holds `burst_s` seconds of them.
    pub(super) fn new(rate: u64, burst_s: u64, now: Boot) -> Self {
        let burst = rate.saturating_mul(burst_s).saturating_mul(1000);
        Self { rate, burst, level: burst, at: now }
    }

    fn refill(&mut self, now: Boot) {
        let gained = now.since(self.at).0.saturating_mul(self.rate);
        self.level = self.level.saturating_add(gained).min(self.burst);
        self.at = self.at.max(now);
    }

    /// Takes `tokens` if there are that many.
    pub(super) fn take(&mut self, tokens: u64, now: Boot) -> bool {
        self.refill(now);
        let cost = tokens.saturating_mul(1000);
        if self.level < cost {
            return false;
        }
        self.level -= cost;
        true
    }

    /// How long until `tokens` (or a full bucket, if that is less) are there.
    pub(super) fn until(&mut self, tokens: u64, now: Boot) -> Millis {
        self.refill(now);
        let short = tokens.saturating_mul(1000).min(self.burst).saturating_sub(self.level);
        Millis(short.div_ceil(self.rate.max(1)))
    }
}

/// The buckets of one peer.
#[derive(Debug, Clone)]
pub(super) struct Meter {
    /// Frames that came.
    pub(super) frames: Bucket,
    /// Bytes that came.
    pub(super) bytes: Bucket,
    /// Signature checks, and other work counted as such.
    pub(super) checks: Bucket,
    /// Bytes sent because the peer asked.
    pub(super) served: Bucket,
    /// What is told to operators about its frames: each is a line in a log.
    pub(super) reports: Bucket,
}

/// Reports about the frames of one peer in a second.
const REPORTS_PER_S: u64 = 5;

impl Meter {
    pub(super) fn new(limits: &SpreadLimits, now: Boot) -> Self {
        let bucket = |rate| Bucket::new(rate, limits.burst_s, now);
        Self {
            frames: bucket(limits.frames_per_s),
            bytes: bucket(limits.bytes_per_s),
            checks: bucket(limits.checks_per_s),
            served: bucket(limits.served_per_s),
            reports: bucket(REPORTS_PER_S),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::new(10, 2, Boot(0));
        assert!(bucket.take(20, Boot(0)));
        assert!(!bucket.take(1, Boot(99)));
        assert_eq!(bucket.until(1, Boot(99)), Millis(1));
        assert!(bucket.take(1, Boot(100)));
        assert!(!bucket.take(21, Boot(1_000_000)));
        assert!(bucket.take(20, Boot(1_000_000)));
    }

    #[test]
    fn a_clock_that_goes_back_gives_no_tokens() {
        let mut bucket = Bucket::new(1, 1, Boot(5000));
        assert!(bucket.take(1, Boot(5000)));
        assert!(!bucket.take(1, Boot(0)));
        assert!(!bucket.take(1, Boot(5500)));
    }
}
