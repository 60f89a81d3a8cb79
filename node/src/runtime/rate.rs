//! Token buckets: how often something may be done, with room for a burst.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// A bucket that fills steadily and is taken from.
#[derive(Debug)]
pub struct Bucket {
    per_second: f64,
    burst: f64,
    level: Mutex<(f64, Instant)>,
}

impl Bucket {
    /// A full bucket of `burst` tokens that gains `per_second`.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let burst = f64::from(burst);
        Self { per_second: f64::from(per_second), burst, level: Mutex::new((burst, Instant::now())) }
    }

    /// Takes `amount` tokens, all or none. More than the whole burst is never there.
    pub fn take(&self, amount: u32) -> bool {
        let now = Instant::now();
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, since) = *level;
        let filled = (left + now.duration_since(since).as_secs_f64() * self.per_second).min(self.burst);
        let enough = filled >= f64::from(amount);
        *level = (if enough { filled - f64::from(amount) } else { filled }, now);
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let bucket = Bucket::new(1000, 3);
        assert!(bucket.take(2) && bucket.take(1));
        assert!(!bucket.take(3));
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(bucket.take(3));
        assert!(!bucket.take(4), "more than the burst at once");
    }
}
