//! Connections refused because their peer is not listed: every one counted, one a second logged.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use libp2p::Multiaddr;
use tokio::time::Instant;

use super::stats::Counter;

/// At most one line in this time, so that an outsider cannot fill a disk with logs.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// Count and log of refusals.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    count: Counter,
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    last: Option<Instant>,
    unsaid: u64,
}

impl Refusals {
    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.count.get()
    }

    /// Counts one by the peer named `peer` and perhaps logs it.
    pub(super) fn record(&self, peer: &str, address: &Multiaddr) {
        self.count.add(1);
        if let Some(unsaid) = self.may_log(Instant::now()) {
            tracing::info!(peer, %address, unsaid, "refused a connection: the peer is not listed");
        }
    }

    /// Whether a line may be written now, and how many refusals went unsaid since the last.
    fn may_log(&self, now: Instant) -> Option<u64> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.last.is_some_and(|last| now.saturating_duration_since(last) < LOG_EVERY) {
            log.unsaid += 1;
            return None;
        }
        log.last = Some(now);
        Some(std::mem::take(&mut log.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_beyond_one_a_second_are_counted_but_not_said() {
        let refusals = Refusals::default();
        let start = Instant::now();
        assert_eq!(refusals.may_log(start), Some(0));
        assert_eq!(refusals.may_log(start), None);
        assert_eq!(refusals.may_log(start + LOG_EVERY / 2), None);
        assert_eq!(refusals.may_log(start + LOG_EVERY), Some(2));
    }
}
