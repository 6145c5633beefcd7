//! The circuit breaker of one server: when it fails again and again it is given a rest, in which calls fail at once.

use std::time::Duration;

use tokio::time::Instant;

/// When a breaker opens and closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Failures in a row that open it. Default 5.
    pub failures: usize,
    /// How long it stays open before calls are tried again. Default 60 s.
    pub rest: Duration,
    /// Successes in a row that close it again. Default 2.
    pub successes: usize,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { failures: 5, rest: Duration::from_secs(60), successes: 2 }
    }
}

/// What became of a call, as far as it says something about the server's health. A tool that failed, an error that the
/// server answered with: that is a server at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    /// The connection broke, or there was no answer in time.
    Failure,
    /// Nobody waited for it.
    Neither,
}

/// What a breaker shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Closed,
    Open {
        until: Instant,
    },
    /// One call at a time is let through to see how it goes.
    HalfOpen {
        successes: usize,
        is_trying: bool,
    },
}

#[derive(Debug)]
pub(crate) struct Breaker {
    thresholds: Thresholds,
    failures: usize,
    state: State,
}

impl Breaker {
    pub(crate) fn new(thresholds: Thresholds) -> Self {
        Self { thresholds, failures: 0, state: State::Closed }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Whether a call may be made now.
    ///
    /// # Errors
    /// How long it rests still.
    pub(crate) fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        match self.state {
            State::Closed => Ok(()),
            State::Open { until } if now < until => Err(until - now),
            State::Open { .. } => {
                self.state = State::HalfOpen { successes: 0, is_trying: true };
                Ok(())
            }
            State::HalfOpen { is_trying: true, .. } => Err(Duration::from_secs(1)),
            State::HalfOpen { successes, .. } => {
                self.state = State::HalfOpen { successes, is_trying: true };
                Ok(())
            }
        }
    }

    /// A call that was admitted is over. Whether that opened the breaker.
    pub(crate) fn record(&mut self, now: Instant, outcome: Outcome) -> bool {
        match (self.state, outcome) {
            (State::Closed, Outcome::Success) => self.failures = 0,
            (State::Closed, Outcome::Failure) => {
                self.failures += 1;
                if self.failures >= self.thresholds.failures {
                    return self.open(now);
                }
            }
            (State::HalfOpen { .. }, Outcome::Failure) => return self.open(now),
            (State::HalfOpen { successes, .. }, Outcome::Success) => {
                if successes + 1 >= self.thresholds.successes {
                    self.failures = 0;
                    self.state = State::Closed;
                } else {
                    self.state = State::HalfOpen { successes: successes + 1, is_trying: false };
                }
            }
            (State::HalfOpen { successes, .. }, Outcome::Neither) => {
                self.state = State::HalfOpen { successes, is_trying: false };
            }
            // Calls that began before it opened.
            (State::Open { .. }, _) | (State::Closed, Outcome::Neither) => {}
        }
        false
    }

    fn open(&mut self, now: Instant) -> bool {
        self.failures = 0;
        self.state = State::Open { until: now + self.thresholds.rest };
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Breaker, Outcome, State, Thresholds};

    #[test]
    fn it_opens_after_five_failures_and_closes_after_two_successes() {
        let (mut breaker, start) = (Breaker::new(Thresholds::default()), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        for _ in 0..4 {
            breaker.admit(start).expect("it is closed");
            assert!(!breaker.record(start, Outcome::Failure));
        }
        breaker.record(start, Outcome::Success);
        for turn in 0..5 {
            breaker.admit(start).expect("a success forgives");
            assert_eq!(breaker.record(start, Outcome::Failure), turn == 4);
        }
        assert_eq!(breaker.admit(after(10)), Err(Duration::from_secs(50)));
        breaker.admit(after(60)).expect("it is tried again");
        assert!(breaker.admit(after(60)).is_err(), "one at a time");
        breaker.record(after(60), Outcome::Neither);
        breaker.admit(after(61)).expect("that said nothing");
        breaker.record(after(61), Outcome::Success);
        breaker.admit(after(61)).expect("one more");
        breaker.record(after(61), Outcome::Success);
        assert_eq!(breaker.state(), State::Closed);
    }

    #[test]
    fn a_failed_trial_opens_it_again() {
        let (mut breaker, start) = (Breaker::new(Thresholds { failures: 1, ..Thresholds::default() }), Instant::now());
        assert!(breaker.record(start, Outcome::Failure));
        let later = start + Duration::from_secs(60);
        breaker.admit(later).expect("a trial");
        assert!(breaker.record(later, Outcome::Failure));
        assert!(breaker.admit(later + Duration::from_secs(59)).is_err());
        assert!(!breaker.record(later, Outcome::Success), "a call from before says nothing");
        assert!(matches!(breaker.state(), State::Open { .. }));
    }
}
