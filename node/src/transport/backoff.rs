//! When to try a peer again.

use std::time::Duration;

/// The first pause.
const FIRST: Duration = Duration::from_millis(100);

/// Doubling pauses, each spread by chance so that nodes which lost one peer together do not return to it together.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    /// Pauses from 100 ms (or `max`, if shorter) up to `max`.
    pub(super) fn new(max: Duration) -> Self {
        Self { next: FIRST.min(max), max }
    }

    /// Back to the first pause.
    pub(super) fn reset(&mut self) {
        self.next = FIRST.min(self.max);
    }

    /// The pause to make now.
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.max);
        jitter(pause)
    }
}

/// Between half of `full` and all of it. Without system randomness, all of it.
pub(super) fn jitter(full: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX);
    full.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit_and_start_again() {
        let max = Duration::from_secs(5);
        let mut backoff = Backoff::new(max);
        assert!((FIRST / 2..=FIRST).contains(&backoff.next()));
        assert!((FIRST..=FIRST * 2).contains(&backoff.next()));
        for _ in 0..10 {
            backoff.next();
        }
        assert!((max / 2..=max).contains(&backoff.next()));
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
