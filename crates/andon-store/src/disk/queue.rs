//! Calls that wait for the thread that does them, in the order in which they were made.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use andon_core::port::{Key, Pending, StoreError};

use super::write::{Trouble, Writing};
use crate::unheard::{self, Asked, Outcome, Unheard};

/// How much may wait. What is called beyond it is unavailable at once.
const WAITING_MAX: Cost = Cost { calls: 100_000, bytes: 256 << 20 };
/// How much is done in one transaction.
const TRANSACTION_MAX: Cost = Cost { calls: 1_000, bytes: 8 << 20 };
/// When to try again what was unavailable.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How much a call is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// In calls that each change one row.
    pub(super) calls: usize,
    /// What it writes.
    pub(super) bytes: usize,
}

impl Cost {
    /// Of one call.
    pub(super) fn of_bytes(bytes: usize) -> Self {
        Self { calls: 1, bytes }
    }

    /// Of a call that is like many.
    pub(super) fn of_calls(calls: usize) -> Self {
        Self { calls, bytes: 0 }
    }

    fn exceeds(self, max: Self) -> bool {
        self.calls > max.calls || self.bytes > max.bytes
    }

    fn plus(self, other: Self) -> Self {
        Self { calls: self.calls + other.calls, bytes: self.bytes + other.bytes }
    }

    fn minus(self, other: Self) -> Self {
        Self { calls: self.calls - other.calls, bytes: self.bytes - other.bytes }
    }
}

/// The answer when nothing was done because of the disk.
pub(super) fn unavailable() -> StoreError {
    StoreError::Unavailable { retry_after: RETRY_AFTER }
}

/// A call that waits.
pub(super) trait Job: Send {
    fn cost(&self) -> Cost;
    /// Does it. What comes of it is told when the transaction is durable.
    ///
    /// # Errors
    /// The engine failed, and with it the transaction.
    fn run(&mut self, writing: &mut Writing<'_>) -> Result<(), redb::Error>;
    /// See [`Asked::note_failure`].
    fn note_failure(&self);
    /// Says what came of it.
    fn tell(self: Box<Self>);
    /// Says that it failed.
    fn fail(self: Box<Self>, error: StoreError);
}

/// Jobs of one transaction.
pub(super) type Jobs = Vec<Box<dyn Job>>;

/// What the thread has to do next.
pub(super) enum Next {
    /// These, in one transaction.
    Transaction(Jobs),
    /// A reader found the engine broken.
    Suspicion,
    /// Nothing came in the time that was given.
    Nothing,
    /// Nothing any more.
    Closed,
}

/// How many calls are worth waiting for, and how long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Company {
    pub(super) calls: usize,
    pub(super) time: Duration,
}

#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    arrival: Condvar,
    unheard: Arc<Unheard>,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Box<dyn Job>>,
    cost: Cost,
    is_suspicious: bool,
    /// A suspicion was the last thing to do: calls go first now, however often readers fail.
    was_suspicious: bool,
    is_closing: bool,
    /// The thread has ended.
    is_closed: bool,
}

impl Queue {
    /// A call for `key`. Its place among all calls is decided when this returns.
    pub(super) fn submit<T, F>(&self, key: Option<Key>, cost: Cost, work: F) -> Pending<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Writing<'_>) -> Result<T, Trouble> + Send + 'static,
    {
        let (asked, answer) = unheard::call(key, &self.unheard);
        let mut waiting = self.lock();
        let refusal = if waiting.is_closed {
            Some(StoreError::Fatal("it is closed".to_owned()))
        } else if key.is_some_and(|key| self.unheard.has(key)) || waiting.is_full(cost) {
            Some(unavailable())
        } else {
            None
        };
        if let Some(error) = refusal {
            asked.note_failure();
            drop(waiting);
            asked.tell(Err(error));
        } else {
            waiting.cost = waiting.cost.plus(cost);
            waiting.jobs.push_back(Box::new(Call { work: Some(work), outcome: None, asked, cost }));
            drop(waiting);
            self.arrival.notify_one();
        }
        Box::pin(answer)
    }

    /// A reader found the engine broken.
    pub(super) fn suspect(&self) {
        self.lock().is_suspicious = true;
        self.arrival.notify_one();
    }

    /// What waits is still done.
    pub(super) fn close(&self) {
        self.lock().is_closing = true;
        self.arrival.notify_one();
    }

    /// Waits for at most `time` until there is something to do; then a little for company, if much came the last time:
    /// those who were answered together often call again together, and their calls shall share a transaction.
    pub(super) fn next(&self, time: Duration, company: Company) -> Next {
        let is_quiet = |waiting: &mut Waiting| waiting.jobs.is_empty() && !waiting.is_suspicious && !waiting.is_closing;
        let (mut waiting, _) =
            self.arrival.wait_timeout_while(self.lock(), time, is_quiet).unwrap_or_else(PoisonError::into_inner);
        let is_suspicious = std::mem::take(&mut waiting.is_suspicious);
        if is_suspicious && (waiting.jobs.is_empty() || !waiting.was_suspicious) {
            waiting.was_suspicious = true;
            return Next::Suspicion;
        }
        waiting.was_suspicious = false;
        if (1..company.calls).contains(&waiting.jobs.len()) {
            let is_lonely = |waiting: &mut Waiting| waiting.jobs.len() < company.calls && !waiting.is_closing;
            (waiting, _) = self
                .arrival
                .wait_timeout_while(waiting, company.time, is_lonely)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let jobs = waiting.take();
        match (jobs.is_empty(), waiting.is_closing) {
            (false, _) => Next::Transaction(jobs),
            (true, false) => Next::Nothing,
            (true, true) => Next::Closed,
        }
    }

    /// `jobs` failed, and so does all that waits: it was called by those who did not know.
    pub(super) fn fail(&self, jobs: Jobs, error: &StoreError) {
        let rest = {
            let mut waiting = self.lock();
            waiting.cost = Cost::default();
            let rest = std::mem::take(&mut waiting.jobs);
            jobs.iter().chain(&rest).for_each(|job| job.note_failure());
            rest
        };
        for job in jobs {
            job.fail(error.clone());
        }
        for job in rest {
            job.fail(unavailable());
        }
    }

    /// Nothing is done any more. Whoever waits still is told that it is not known what came of it.
    pub(super) fn end(&self) {
        let rest = {
            let mut waiting = self.lock();
            waiting.is_closed = true;
            std::mem::take(&mut waiting.jobs)
        };
        drop(rest);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Whether there is no room for one more. For one alone there always is.
    fn is_full(&self, cost: Cost) -> bool {
        !self.jobs.is_empty() && self.cost.plus(cost).exceeds(WAITING_MAX)
    }

    /// As many as one transaction does.
    fn take(&mut self) -> Jobs {
        let (mut jobs, mut sum) = (Vec::new(), Cost::default());
        while let Some(job) = self.jobs.front() {
            sum = sum.plus(job.cost());
            if sum.exceeds(TRANSACTION_MAX) && !jobs.is_empty() {
                break;
            }
            self.cost = self.cost.minus(job.cost());
            jobs.extend(self.jobs.pop_front());
        }
        jobs
    }
}

struct Call<T, F> {
    work: Option<F>,
    outcome: Option<Outcome<T>>,
    asked: Asked<T>,
    cost: Cost,
}

impl<T, F> Job for Call<T, F>
where
    T: Send,
    F: FnOnce(&mut Writing<'_>) -> Result<T, Trouble> + Send,
{
    fn cost(&self) -> Cost {
        self.cost
    }

    fn run(&mut self, writing: &mut Writing<'_>) -> Result<(), redb::Error> {
        let Some(work) = self.work.take() else { return Ok(()) };
        self.outcome = Some(match work(writing) {
            Ok(value) => Ok(value),
            Err(Trouble::Conflict(current)) => Err(StoreError::Conflict { current }),
            Err(Trouble::Engine(error)) => return Err(error),
        });
        Ok(())
    }

    fn note_failure(&self) {
        self.asked.note_failure();
    }

    fn tell(self: Box<Self>) {
        self.asked.tell(self.outcome.unwrap_or(Err(StoreError::Unknown)));
    }

    fn fail(self: Box<Self>, error: StoreError) {
        self.asked.tell(Err(error));
    }
}
