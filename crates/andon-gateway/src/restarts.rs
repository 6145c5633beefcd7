//! How often a server is started again, and when it is left alone for a while.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The first wait; it doubles with each failure in a row.
const BACK_OFF: Duration = Duration::from_millis(250);
const BACK_OFF_MAX: Duration = Duration::from_secs(30);
/// A server that held for so long has recovered.
const GOOD: Duration = Duration::from_secs(60);

/// How many restarts are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intensity {
    /// Restarts within the time below; one more parks the server. Default 5.
    pub most: usize,
    /// Default 60 s.
    pub within: Duration,
    /// How long it is parked before one more attempt. Default 5 min.
    pub park: Duration,
}

impl Default for Intensity {
    fn default() -> Self {
        Self { most: 5, within: Duration::from_secs(60), park: Duration::from_secs(300) }
    }
}

/// What happens next to a server that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Start it after this wait.
    Start(Duration),
    /// It is in a crash loop: leave it alone for so long.
    Park(Duration),
}

/// The restarts of one server, or of one process of any kind.
#[derive(Debug)]
pub struct Restarts {
    intensity: Intensity,
    ended: VecDeque<Instant>,
    in_a_row: u32,
}

impl Restarts {
    /// None yet.
    pub fn new(intensity: Intensity) -> Self {
        Self { intensity, ended: VecDeque::new(), in_a_row: 0 }
    }

    /// It ended at `now`, after it had run for `ran`. `jitter` is from 0 to 1.
    pub fn ended(&mut self, now: Instant, ran: Option<Duration>, jitter: f64) -> Next {
        if ran.is_some_and(|ran| ran >= GOOD) {
            self.in_a_row = 0;
        }
        while self.ended.front().is_some_and(|at| now.duration_since(*at) > self.intensity.within) {
            self.ended.pop_front();
        }
        self.ended.push_back(now);
        if self.ended.len() > self.intensity.most {
            self.ended.clear();
            self.in_a_row = 0;
            return Next::Park(self.intensity.park);
        }
        let wait = (BACK_OFF * 2_u32.saturating_pow(self.in_a_row.min(8))).min(BACK_OFF_MAX);
        self.in_a_row += 1;
        // From half of it to all of it, so that many that fell together do not rise together.
        Next::Start(wait.mul_f64(0.5 + jitter / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Intensity, Next, Restarts};

    #[test]
    fn waits_double_until_it_is_parked() {
        let (mut restarts, mut now) = (Restarts::new(Intensity::default()), Instant::now());
        for wait_ms in [250, 500, 1000, 2000, 4000] {
            assert_eq!(restarts.ended(now, None, 1.0), Next::Start(Duration::from_millis(wait_ms)));
            now += Duration::from_millis(wait_ms);
        }
        assert_eq!(restarts.ended(now, None, 1.0), Next::Park(Duration::from_secs(300)));
        assert_eq!(restarts.ended(now, None, 0.0), Next::Start(Duration::from_millis(125)));
    }

    #[test]
    fn a_crash_now_and_then_is_no_loop() {
        let (mut restarts, mut now) = (Restarts::new(Intensity::default()), Instant::now());
        for _ in 0..20 {
            now += Duration::from_secs(61);
            let next = restarts.ended(now, Some(Duration::from_secs(61)), 1.0);
            assert_eq!(next, Next::Start(Duration::from_millis(250)));
        }
    }
}
