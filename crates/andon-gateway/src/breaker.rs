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
    /// Nobody waited for it; or its server's process ended, which its supervisor sees to.
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
        trial: Option<Trial>,
    },
}

/// A call that is let through to see how it goes. It stands in the way of others for as long as the breaker rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trial {
    number: u64,
    until: Instant,
}

/// What a call was let through with. What becomes of it counts until the breaker opens or is reset, and then no more.
#[derive(Debug)]
pub(crate) struct Ticket {
    /// How often the breaker had opened or was reset.
    turns: u64,
    /// The number of the trial, if it is one that has not come to anything yet.
    trial: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Breaker {
    thresholds: Thresholds,
    failures: usize,
    state: State,
    turns: u64,
    trials: u64,
}

impl Breaker {
    pub(crate) fn new(thresholds: Thresholds) -> Self {
        Self { thresholds, failures: 0, state: State::Closed, turns: 0, trials: 0 }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Whether a call may be made now.
    ///
    /// # Errors
    /// How long it rests still.
    pub(crate) fn admit(&mut self, now: Instant) -> Result<Ticket, Duration> {
        let successes = match self.state {
            State::Closed => return Ok(Ticket { turns: self.turns, trial: None }),
            State::Open { until } if now < until => return Err(until - now),
            State::HalfOpen { trial: Some(Trial { until, .. }), .. } if now < until => {
                return Err(Duration::from_secs(1));
            }
            State::Open { .. } => 0,
            State::HalfOpen { successes, .. } => successes,
        };
        self.trials += 1;
        let trial = Trial { number: self.trials, until: now + self.thresholds.rest };
        self.state = State::HalfOpen { successes, trial: Some(trial) };
        Ok(Ticket { turns: self.turns, trial: Some(trial.number) })
    }

    /// The call that was admitted with `ticket` came to something: it is over, or its server showed by it that it is at
    /// work. Whether that opened the breaker.
    pub(crate) fn record(&mut self, now: Instant, ticket: &mut Ticket, outcome: Outcome) -> bool {
        let number = ticket.trial.take();
        if ticket.turns != self.turns {
            return false;
        }
        match (&mut self.state, outcome) {
            (State::Closed, Outcome::Success) => self.failures = 0,
            (State::Closed, Outcome::Failure) => {
                self.failures += 1;
                if self.failures >= self.thresholds.failures {
                    return self.open(now);
                }
            }
            (State::HalfOpen { .. }, Outcome::Failure) => return self.open(now),
            (State::HalfOpen { successes, trial }, outcome) => {
                // A trial counts once.
                let Some(number) = number else { return false };
                if trial.is_some_and(|trial| trial.number == number) {
                    *trial = None;
                }
                if outcome == Outcome::Success {
                    *successes += 1;
                    if *successes >= self.thresholds.successes {
                        self.failures = 0;
                        self.state = State::Closed;
                    }
                }
            }
            (State::Open { .. }, _) | (State::Closed, Outcome::Neither) => {}
        }
        false
    }

    /// The server began anew, and what went wrong before says nothing about it.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
        self.turns += 1;
        self.state = State::Closed;
    }

    fn open(&mut self, now: Instant) -> bool {
        self.failures = 0;
        self.turns += 1;
        self.state = State::Open { until: now + self.thresholds.rest };
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Breaker, Outcome, State, Thresholds};

    /// A breaker that has opened, with what a call from before holds, and when it may be tried.
    fn opened() -> (Breaker, super::Ticket, Instant) {
        let (mut breaker, start) = (Breaker::new(Thresholds { failures: 1, ..Thresholds::default() }), Instant::now());
        let before = breaker.admit(start).expect("it is closed");
        let mut failing = breaker.admit(start).expect("it is closed");
        assert!(breaker.record(start, &mut failing, Outcome::Failure));
        (breaker, before, start + Duration::from_secs(60))
    }

    #[test]
    fn it_opens_after_five_failures_and_closes_after_two_successes() {
        let (mut breaker, start) = (Breaker::new(Thresholds::default()), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        let call = |breaker: &mut Breaker, now, outcome| {
            let mut ticket = breaker.admit(now).expect("it is let through");
            breaker.record(now, &mut ticket, outcome)
        };
        for _ in 0..4 {
            assert!(!call(&mut breaker, start, Outcome::Failure));
        }
        call(&mut breaker, start, Outcome::Success);
        for turn in 0..5 {
            assert_eq!(call(&mut breaker, start, Outcome::Failure), turn == 4, "a success forgives");
        }
        assert_eq!(breaker.admit(after(10)).expect_err("it rests"), Duration::from_secs(50));
        let mut trial = breaker.admit(after(60)).expect("it is tried again");
        assert!(breaker.admit(after(60)).is_err(), "one at a time");
        breaker.record(after(60), &mut trial, Outcome::Neither);
        call(&mut breaker, after(61), Outcome::Success);
        call(&mut breaker, after(61), Outcome::Success);
        assert_eq!(breaker.state(), State::Closed);
    }

    #[test]
    fn a_failed_trial_opens_it_again() {
        let (mut breaker, _, later) = opened();
        let mut trial = breaker.admit(later).expect("a trial");
        assert!(breaker.record(later, &mut trial, Outcome::Failure));
        assert!(breaker.admit(later + Duration::from_secs(59)).is_err());
        assert!(matches!(breaker.state(), State::Open { .. }));
    }

    #[test]
    fn a_call_from_before_it_opened_says_nothing_of_the_trial() {
        for outcome in [Outcome::Success, Outcome::Failure, Outcome::Neither] {
            let (mut breaker, mut before, later) = opened();
            let trial = breaker.admit(later).expect("a trial");
            let state = breaker.state();
            assert!(!breaker.record(later, &mut before, outcome));
            assert_eq!(breaker.state(), state, "{outcome:?}");
            assert!(breaker.admit(later).is_err(), "{outcome:?}: {trial:?} is still on its way");
        }
    }

    #[test]
    fn a_trial_that_takes_long_does_not_stand_in_the_way_for_good() {
        let (mut breaker, _, later) = opened();
        let mut long = breaker.admit(later).expect("a trial");
        let then = later + Duration::from_secs(60);
        let mut short = breaker.admit(then).expect("another trial");
        assert!(!breaker.record(then, &mut long, Outcome::Neither));
        assert!(breaker.admit(then).is_err(), "the other one is on its way");
        breaker.record(then, &mut short, Outcome::Success);
        breaker.admit(then).expect("the next");
    }

    #[test]
    fn a_server_that_began_anew_is_not_judged_by_calls_from_before() {
        let (mut breaker, mut before, later) = opened();
        breaker.reset();
        let mut of_then = breaker.admit(later).expect("it is closed");
        assert!(!breaker.record(later, &mut before, Outcome::Failure));
        breaker.reset();
        assert!(!breaker.record(later, &mut of_then, Outcome::Failure));
        assert_eq!(breaker.state(), State::Closed);
    }

    #[test]
    fn a_trial_whose_server_shows_that_it_is_at_work_counts_once() {
        let (mut breaker, _, later) = opened();
        let mut trial = breaker.admit(later).expect("a trial");
        breaker.record(later, &mut trial, Outcome::Success);
        breaker.record(later, &mut trial, Outcome::Success);
        assert_eq!(breaker.state(), State::HalfOpen { successes: 1, trial: None });
        let mut next = breaker.admit(later).expect("the next");
        breaker.record(later, &mut next, Outcome::Success);
        assert_eq!(breaker.state(), State::Closed);
    }
}
