//! How much of what nobody asked for is told: a server that floods costs those beside it nothing.

use std::time::Duration;

use tokio::time::Instant;

/// A bounded number each second; the rest is counted.
#[derive(Debug)]
pub(crate) struct Throttle {
    most: u32,
    since: Option<Instant>,
    passed: u32,
    left_out: u64,
}

impl Throttle {
    /// As many as `most` each second.
    pub(crate) const fn new(most: u32) -> Self {
        Self { most, since: None, passed: 0, left_out: 0 }
    }

    /// Whether one more may pass; then, how many did not since the last that did.
    pub(crate) fn pass(&mut self) -> Option<u64> {
        let now = Instant::now();
        if self.since.is_none_or(|since| now.duration_since(since) >= Duration::from_secs(1)) {
            self.since = Some(now);
            self.passed = 0;
        }
        if self.passed >= self.most {
            self.left_out += 1;
            return None;
        }
        self.passed += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests;
