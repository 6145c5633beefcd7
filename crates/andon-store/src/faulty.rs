//! A store that fails on command, for tests of those who use one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use andon_core::io::{StreamId, Timestamp};
use andon_core::port::{
    Batch, EventLog, Key, Kind, Pending, Record, Replay, Rev, SessionStore, Store, StoreError, Stored,
};
use tokio::sync::watch;

use crate::unheard::{self, Unheard};

/// What becomes of a write whose caller is told [`StoreError::Unknown`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Really {
    /// It was done.
    Done,
    /// It was not done.
    NotDone,
}

/// Passes calls on to another store until it is told to fail. It fails as the contract says: a call that is refused is not
/// done, and neither is one for the same key that was made before that was known.
///
/// Writes are all calls that change something. An outage goes before counted failures, and those in the order of their
/// methods here.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    faults: Mutex<Faults>,
    is_held: watch::Sender<bool>,
    unheard: Arc<Unheard>,
}

#[derive(Debug, Default)]
struct Faults {
    is_out: bool,
    failing_count: usize,
    unknown_count: usize,
    really: Option<Really>,
}

/// What to do with a write.
enum Plan {
    Pass,
    Refuse(StoreError),
    PassAndSayUnknown,
}

impl FaultyStore {
    /// One that does not fail yet.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, faults: Mutex::default(), is_held: watch::Sender::new(false), unheard: Arc::default() }
    }

    /// While it is on, all calls are unavailable, reads too.
    pub fn outage(&self, is_on: bool) {
        self.lock().is_out = is_on;
    }

    /// The next `count` writes are unavailable.
    pub fn fail_writes(&self, count: usize) {
        self.lock().failing_count = count;
    }

    /// The next `count` writes are done or not, and their callers are not told which.
    pub fn leave_writes_unknown(&self, count: usize, really: Really) {
        let mut faults = self.lock();
        (faults.unknown_count, faults.really) = (count, Some(really));
    }

    /// From now on calls take effect but are not answered.
    pub fn hold(&self) {
        self.is_held.send_replace(true);
    }

    /// All calls that were held are answered, and so are those to come.
    pub fn release(&self) {
        self.is_held.send_replace(false);
    }

    fn read<T: 'static>(&self, call: impl FnOnce(&dyn Store) -> Pending<T>) -> Pending<T> {
        let pending = if self.lock().is_out { refused() } else { call(&*self.inner) };
        self.answer(pending)
    }

    fn change<T: Send + 'static>(&self, key: Option<Key>, call: impl FnOnce(&dyn Store) -> Pending<T>) -> Pending<T> {
        let error = match self.plan(key) {
            Plan::Pass => return self.answer(call(&*self.inner)),
            Plan::Refuse(error) => error,
            Plan::PassAndSayUnknown => {
                drop(call(&*self.inner));
                StoreError::Unknown
            }
        };
        let (asked, answer) = unheard::call(key, &self.unheard);
        asked.note_failure();
        asked.tell(Err(error));
        self.answer(Box::pin(answer))
    }

    fn plan(&self, key: Option<Key>) -> Plan {
        let mut faults = self.lock();
        if faults.is_out || key.is_some_and(|key| self.unheard.has(key)) {
            return Plan::Refuse(unavailable());
        }
        if faults.failing_count > 0 {
            faults.failing_count -= 1;
            return Plan::Refuse(unavailable());
        }
        if faults.unknown_count > 0 {
            faults.unknown_count -= 1;
            return match faults.really {
                Some(Really::Done) => Plan::PassAndSayUnknown,
                Some(Really::NotDone) | None => Plan::Refuse(StoreError::Unknown),
            };
        }
        Plan::Pass
    }

    /// Asks for the answer only once it may be given, so that nobody has heard of a failure before.
    fn answer<T: 'static>(&self, pending: Pending<T>) -> Pending<T> {
        let mut is_held = self.is_held.subscribe();
        Box::pin(async move {
            // It fails if the store is gone, and then nothing is held any more.
            let _ = is_held.wait_for(|is_held| !is_held).await;
            pending.await
        })
    }

    fn lock(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unavailable() -> StoreError {
    StoreError::Unavailable { retry_after: Duration::from_secs(1) }
}

fn refused<T: 'static>() -> Pending<T> {
    Box::pin(async { Err(unavailable()) })
}

impl SessionStore for FaultyStore {
    fn write(&self, key: Key, record: Record, expect: Option<Rev>) -> Pending<Rev> {
        self.change(Some(key), |inner| inner.write(key, record, expect))
    }

    fn load(&self, key: Key) -> Pending<Option<Stored>> {
        self.read(|inner| inner.load(key))
    }

    fn delete(&self, key: Key, expect: Option<Rev>) -> Pending<()> {
        self.change(Some(key), |inner| inner.delete(key, expect))
    }

    fn list(&self, kind: Kind, owner: Option<u128>, after: Option<u128>, max: usize) -> Pending<Vec<Stored>> {
        self.read(|inner| inner.list(kind, owner, after, max))
    }

    fn count(&self, kind: Kind) -> Pending<u64> {
        self.read(|inner| inner.count(kind))
    }

    fn sweep(&self, now: Timestamp, max: usize) -> Pending<Vec<(Key, u128)>> {
        self.change(None, |inner| inner.sweep(now, max))
    }
}

impl EventLog for FaultyStore {
    fn commit(&self, session: u128, batch: Batch) -> Pending<Rev> {
        let key = Key { kind: Kind::Session, id: session };
        self.change(Some(key), |inner| inner.commit(session, batch))
    }

    fn replay(&self, session: u128, stream: StreamId, after: u32, max: usize) -> Pending<Replay> {
        self.read(|inner| inner.replay(session, stream, after, max))
    }
}
