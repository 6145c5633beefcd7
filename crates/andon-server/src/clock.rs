//! The time of a process: what the wall says when it starts, and steady from there on.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use andon_core::io::Timestamp;
use tokio::time::Instant;

/// Wall time that goes on as the process does, whatever is done to the clock on the wall.
pub(crate) struct Clock {
    origin: Timestamp,
    since: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let origin = Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        Self { origin, since: Instant::now() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.origin.after(self.uptime())
    }

    /// When it was started.
    pub(crate) fn origin(&self) -> Timestamp {
        self.origin
    }

    /// How long ago it was started.
    pub(crate) fn uptime(&self) -> Duration {
        self.since.elapsed()
    }

    pub(crate) fn instant(&self, at: Timestamp) -> Instant {
        let after = at.since(self.origin);
        self.since.checked_add(after).unwrap_or(self.since + Duration::from_secs(365 * 24 * 60 * 60))
    }
}
