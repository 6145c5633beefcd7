//! How long a store has been open in all: the only time that a store has.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a key stays dead. Counted in time that the store is open, so that a clock that jumps cannot shorten it.
pub(crate) const DEAD_FOR: Duration = Duration::from_hours(24);

/// A clock that only runs while the store is open, and goes on from where it was.
#[derive(Debug)]
pub(crate) struct Uptime {
    started: Instant,
    before_ms: AtomicU64,
}

impl Uptime {
    /// Goes on from `before_ms`.
    pub(crate) fn from(before_ms: u64) -> Self {
        Self { started: Instant::now(), before_ms: AtomicU64::new(before_ms) }
    }

    /// Milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        let running_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.before_ms.load(Ordering::Relaxed).saturating_add(running_ms)
    }

    /// What died at this moment or before may be forgotten.
    pub(crate) fn forgettable_ms(&self) -> Option<u64> {
        self.now_ms().checked_sub(u64::try_from(DEAD_FOR.as_millis()).unwrap_or(u64::MAX))
    }

    #[cfg(test)]
    pub(crate) fn advance(&self, time: Duration) {
        self.before_ms.fetch_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
