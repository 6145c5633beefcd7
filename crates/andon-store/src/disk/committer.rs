//! The thread that does what was called: all that waits in one transaction, made durable once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use andon_core::port::StoreError;
use redb::WriteTransaction;

use super::engine::{Engine, refusal};
use super::queue::{Company, Jobs, Next, Queue, unavailable};
use super::tables::Ledger;
use super::write::Writing;
use super::{Durability, OpenError};
use crate::uptime::Uptime;

/// How long a broken engine is left alone when nobody calls.
const RETRY: Duration = Duration::from_secs(1);
/// Which part of the time of a transaction the next one waits at most for as many calls as the last one had.
const COMPANY_PART: u32 = 8;
/// How long it waits at most, however slow the disk is.
const COMPANY_MAX: Duration = Duration::from_millis(1);
/// How often it is looked for what can be taken away.
const TIDY: Duration = Duration::from_mins(1);
/// How many rows are taken away in a transaction of calls.
const TIDY_BESIDE_MAX: usize = 100;
/// How many rows are taken away in a transaction of its own.
const TIDY_ALONE_MAX: usize = 1_000;

pub(super) struct Committer {
    engine: Arc<Engine>,
    queue: Arc<Queue>,
    durability: Durability,
    ledger: Ledger,
    /// How many transactions the disk has.
    durable_transactions: u64,
    uptime: Uptime,
    /// Since when the disk has not everything that was acknowledged.
    behind_since: Option<Instant>,
    /// Since when nothing can be written.
    failing_since: Option<Instant>,
    /// When to open the file again, if nobody calls before.
    retry_at: Instant,
    /// When to look for what can be taken away.
    tidy_at: Instant,
    /// How many calls the last transaction did, and a small part of the time that it took.
    company: Company,
}

/// Why a transaction failed.
struct Failure {
    error: redb::Error,
    /// It failed when it was made durable: perhaps it is.
    perhaps_done: bool,
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { error: error.into(), perhaps_done: false }
    }
}

/// How a transaction is committed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sync {
    Now,
    Later,
}

/// However the thread ends, nobody waits for it any more.
struct End(Arc<Queue>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Committer {
    pub(super) fn new(engine: Arc<Engine>, queue: Arc<Queue>, durability: Durability, ledger: Ledger) -> Self {
        let uptime = Uptime::from(ledger.uptime_ms);
        let now = Instant::now();
        let durable_transactions = ledger.transactions;
        Self {
            engine,
            queue,
            durability,
            ledger,
            durable_transactions,
            uptime,
            behind_since: None,
            failing_since: None,
            retry_at: now,
            tidy_at: now,
            company: Company::default(),
        }
    }

    pub(super) fn run(mut self) {
        let _end = End(self.queue.clone());
        loop {
            match self.queue.next(self.patience(), self.company) {
                Next::Transaction(jobs) => self.perform(jobs),
                Next::Suspicion => self.check(),
                Next::Nothing => self.rest(),
                Next::Closed => break,
            }
        }
        self.catch_up();
        self.engine.close();
    }

    /// How long to wait for calls before there is something else to do.
    fn patience(&self) -> Duration {
        let until = |at: Instant| at.saturating_duration_since(Instant::now());
        let retry = if self.is_open() { Duration::MAX } else { until(self.retry_at) };
        let sync = match (self.durability, self.behind_since) {
            (Durability::Interval(interval), Some(since)) => interval.saturating_sub(since.elapsed()),
            _ => Duration::MAX,
        };
        until(self.tidy_at).min(retry).min(sync)
    }

    fn perform(&mut self, mut jobs: Jobs) {
        if !self.is_open() && self.reopen().is_err() {
            return self.queue.fail(jobs, &unavailable());
        }
        let transactions = self.ledger.transactions + 1;
        let began = Instant::now();
        if let Err(failure) = self.transact(&mut jobs, self.sync(), TIDY_BESIDE_MAX)
            && let Err(error) = self.recover(&failure, transactions)
        {
            return self.queue.fail(jobs, &error);
        }
        let time = (began.elapsed() / COMPANY_PART).min(COMPANY_MAX);
        self.company = Company { calls: jobs.len(), time };
        for job in jobs {
            job.tell();
        }
        if self.is_late() {
            self.catch_up();
        }
    }

    /// Nobody called for a while.
    fn rest(&mut self) {
        if !self.is_open() && self.reopen().is_err() {
            return;
        }
        if self.is_late() {
            self.catch_up();
        }
        if Instant::now() >= self.tidy_at {
            self.tidy_at = Instant::now() + TIDY;
            self.tidy();
        }
    }

    /// Whether the disk has to get what was acknowledged.
    fn is_late(&self) -> bool {
        match (self.durability, self.behind_since) {
            (Durability::Interval(interval), Some(since)) => since.elapsed() >= interval,
            _ => false,
        }
    }

    /// The disk gets all that was acknowledged.
    fn catch_up(&mut self) {
        if self.behind_since.is_some() {
            self.transact_alone(Sync::Now, 0);
        }
    }

    /// A reader says that the engine is broken. One that is cannot write.
    fn check(&mut self) {
        if self.is_open() {
            self.transact_alone(Sync::Now, 0);
        } else if Instant::now() >= self.retry_at {
            // It complained itself if it failed.
            let _ = self.reopen();
        }
    }

    fn tidy(&mut self) {
        let forgettable_ms = self.uptime.forgettable_ms();
        let is_untidy = self.engine.read(&self.queue, |reading| reading.is_untidy(forgettable_ms));
        if is_untidy == Ok(true) {
            self.transact_alone(self.sync(), TIDY_ALONE_MAX);
        }
    }

    fn sync(&self) -> Sync {
        if self.durability == Durability::Commit { Sync::Now } else { Sync::Later }
    }

    fn is_open(&self) -> bool {
        self.engine.database().is_some()
    }

    /// A transaction that nobody waits for.
    fn transact_alone(&mut self, sync: Sync, tidy_max: usize) {
        if let Err(failure) = self.transact(&mut Jobs::new(), sync, tidy_max) {
            self.complain(&failure.error);
            // It complained itself if it failed.
            let _ = self.reopen();
        }
    }

    /// Does `jobs` in one transaction, and takes away at most `tidy_max` rows beside them.
    fn transact(&mut self, jobs: &mut Jobs, sync: Sync, tidy_max: usize) -> Result<(), Failure> {
        let engine = self.engine.clone();
        let database = engine.database();
        let database = database.as_ref().ok_or(redb::Error::DatabaseClosed)?;
        let mut transaction = database.begin_write()?;
        match sync {
            Sync::Now => transaction.set_quick_repair(true),
            Sync::Later => transaction.set_durability(redb::Durability::None)?,
        }
        let (ledger, has_more) = self.fill(&transaction, jobs, tidy_max)?;
        let perhaps_done = sync == Sync::Now;
        transaction.commit().map_err(|error| Failure { error: error.into(), perhaps_done })?;
        self.ledger = ledger;
        match sync {
            Sync::Now => {
                self.durable_transactions = ledger.transactions;
                self.behind_since = None;
            }
            Sync::Later => self.behind_since = self.behind_since.or_else(|| Some(Instant::now())),
        }
        if has_more {
            self.tidy_at = Instant::now();
        }
        if let Some(since) = self.failing_since.take() {
            tracing::info!(
                directory = %self.engine.directory().display(),
                seconds = since.elapsed().as_secs(),
                "the store can be written to again"
            );
        }
        Ok(())
    }

    /// Says whether there is more to take away.
    fn fill(
        &self,
        transaction: &WriteTransaction,
        jobs: &mut Jobs,
        tidy_max: usize,
    ) -> Result<(Ledger, bool), redb::Error> {
        let ledger = Ledger { uptime_ms: self.uptime.now_ms(), ..self.ledger };
        let mut writing = Writing::begin(transaction, ledger)?;
        for job in jobs {
            job.run(&mut writing)?;
        }
        let has_more = tidy_max > 0 && writing.tidy(self.uptime.forgettable_ms(), tidy_max)?;
        Ok((writing.end()?, has_more))
    }

    /// The transaction of number `transactions` failed: what became of it?
    fn recover(&mut self, failure: &Failure, transactions: u64) -> Result<(), StoreError> {
        self.complain(&failure.error);
        let reopened = self.reopen();
        if !failure.perhaps_done {
            return Err(refusal(&failure.error));
        }
        match reopened {
            Err(_) => Err(StoreError::Unknown),
            Ok(found) if found.transactions < transactions => Err(unavailable()),
            // It is in the file, but the disk may not have it yet: it does when it has the next one.
            Ok(_) => self.transact(&mut Jobs::new(), Sync::Now, 0).map_err(|failure| {
                self.complain(&failure.error);
                let _ = self.reopen();
                StoreError::Unknown
            }),
        }
    }

    /// Opens the file again, as it is now. An engine that failed once does nothing any more.
    fn reopen(&mut self) -> Result<Ledger, OpenError> {
        self.retry_at = Instant::now() + RETRY;
        let engine = self.engine.clone();
        let found = engine.reopen(self.durable_transactions).inspect_err(|error| self.complain(error))?;
        if self.behind_since.take().is_some() && found.transactions < self.ledger.transactions {
            tracing::error!(
                directory = %self.engine.directory().display(),
                transactions = self.ledger.transactions - found.transactions,
                "acknowledged writes that were not on disk yet are lost"
            );
        }
        // Names of states that were given out are not given out again, even if those states are lost.
        self.ledger = Ledger { rev: self.ledger.rev.max(found.rev), ..found };
        Ok(found)
    }

    /// Says once that something fails.
    fn complain(&mut self, error: &dyn std::fmt::Display) {
        if self.failing_since.is_none() {
            self.failing_since = Some(Instant::now());
            tracing::error!(
                directory = %self.engine.directory().display(),
                %error,
                "the store cannot be written to: writes are refused until it can"
            );
        }
    }
}
