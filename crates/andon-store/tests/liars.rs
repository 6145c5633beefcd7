//! Stores that break one promise each: the suite catches every one of them.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use andon_core::io::{StreamId, Timestamp};
use andon_core::port::{
    Batch, EventLog, Key, Kind, Pending, Record, Replay, Rev, SessionStore, Store, StoreError, Stored,
};
use andon_store::suite::{Failure, Open, Outage, outage_suite, restart_suite, suite};
use andon_store::{FaultyStore, MemoryStore};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    Nothing,
    AcknowledgesAndForgets,
    LosesTheLastEvent,
    ReadsAreStale,
    IgnoresWhatIsExpected,
    ReplaysWithAHole,
    ReplaysTwice,
    ReplaysBackwards,
    SaysCompleteTooEarly,
    Resurrects,
    KeepsEventsOfTheDead,
    ActsWhenPolled,
    SweepsTooEarly,
    SweepsInAnyOrder,
    ListsWithAHole,
    CountsWrongly,
    NamesStatesAgain,
    SaysAbsentInAnOutage,
    ActsInAnOutage,
    LosesTheLastAtRestart,
    ForgetsDeathsAtRestart,
}

struct LyingStore {
    inner: Arc<dyn Store>,
    lie: Lie,
    is_out: Arc<AtomicBool>,
    /// What the record was before, by key.
    before: Mutex<BTreeMap<Key, Option<Stored>>>,
    dead: Mutex<HashSet<Key>>,
    fake: AtomicU64,
}

impl LyingStore {
    fn new(inner: Arc<dyn Store>, lie: Lie) -> Self {
        let (before, dead) = (Mutex::default(), Mutex::default());
        Self { inner, lie, is_out: Arc::default(), before, dead, fake: AtomicU64::new(1 << 40) }
    }

    /// Where a key that was dead lives on.
    fn place(&self, key: Key) -> Key {
        let lives_on = self.lie == Lie::Resurrects && self.dead.lock().expect("unpoisoned").contains(&key);
        Key { id: if lives_on { key.id ^ (1 << 77) } else { key.id }, ..key }
    }

    fn remember(&self, key: Key) {
        let stored = self.inner.load(key);
        let stored = futures_util::FutureExt::now_or_never(stored).and_then(Result::ok).flatten();
        self.before.lock().expect("unpoisoned").insert(key, stored);
    }

    fn acts_in_outage(&self) -> bool {
        self.lie == Lie::ActsInAnOutage && self.is_out.load(Ordering::Relaxed)
    }
}

fn unavailable<T: 'static>() -> Pending<T> {
    Box::pin(async { Err(StoreError::Unavailable { retry_after: Duration::from_secs(1) }) })
}

fn fold(rev: Rev) -> Rev {
    Rev(rev.0 % 4)
}

impl SessionStore for LyingStore {
    fn write(&self, key: Key, record: Record, expect: Option<Rev>) -> Pending<Rev> {
        let inner = self.inner.clone();
        let key = self.place(key);
        match self.lie {
            Lie::AcknowledgesAndForgets => {
                let rev = Rev(self.fake.fetch_add(1, Ordering::Relaxed));
                Box::pin(async move { Ok(rev) })
            }
            Lie::IgnoresWhatIsExpected => Box::pin(async move {
                let current = inner.load(key).await?.map(|stored| stored.rev);
                inner.write(key, record, current).await
            }),
            Lie::ActsWhenPolled => Box::pin(async move { inner.write(key, record, expect).await }),
            Lie::NamesStatesAgain => Box::pin(async move {
                let current = inner.load(key).await?.map(|stored| stored.rev);
                let is_expected = current.map(fold) == expect;
                inner.write(key, record, if is_expected { current } else { expect }).await.map(fold)
            }),
            _ if self.acts_in_outage() => {
                drop(inner.write(key, record, expect));
                unavailable()
            }
            _ => {
                self.remember(key);
                inner.write(key, record, expect)
            }
        }
    }

    fn load(&self, key: Key) -> Pending<Option<Stored>> {
        let key = self.place(key);
        let loaded = self.inner.load(key);
        let stale = self.before.lock().expect("unpoisoned").get(&key).cloned();
        let lie = self.lie;
        Box::pin(async move {
            match (lie, loaded.await) {
                (Lie::SaysAbsentInAnOutage, Err(_)) => Ok(None),
                (Lie::ReadsAreStale, Ok(now)) => Ok(stale.flatten().or(now)),
                (_, loaded) => loaded,
            }
        })
    }

    fn delete(&self, key: Key, expect: Option<Rev>) -> Pending<()> {
        let inner = self.inner.clone();
        let key = self.place(key);
        match self.lie {
            Lie::Resurrects => {
                self.dead.lock().expect("unpoisoned").insert(key);
                inner.delete(key, expect)
            }
            Lie::ActsWhenPolled => Box::pin(async move { inner.delete(key, expect).await }),
            _ => inner.delete(key, expect),
        }
    }

    fn list(&self, kind: Kind, owner: Option<u128>, after: Option<u128>, max: usize) -> Pending<Vec<Stored>> {
        let listed = self.inner.list(kind, owner, after, max);
        let lie = self.lie;
        Box::pin(async move {
            let mut listed = listed.await?;
            if lie == Lie::ListsWithAHole && listed.len() > 3 {
                listed.remove(1);
            }
            Ok(listed)
        })
    }

    fn count(&self, kind: Kind) -> Pending<u64> {
        let (counted, lie) = (self.inner.count(kind), self.lie);
        Box::pin(async move { Ok(counted.await? + u64::from(lie == Lie::CountsWrongly)) })
    }

    fn sweep(&self, now: Timestamp, max: usize) -> Pending<Vec<(Key, u128)>> {
        let early = u64::from(self.lie == Lie::SweepsTooEarly);
        let swept = self.inner.sweep(Timestamp(now.0.saturating_add(early)), max);
        let lie = self.lie;
        Box::pin(async move {
            let mut swept = swept.await?;
            if lie == Lie::SweepsInAnyOrder {
                swept.reverse();
            }
            Ok(swept)
        })
    }
}

impl EventLog for LyingStore {
    fn commit(&self, session: u128, mut batch: Batch) -> Pending<Rev> {
        let inner = self.inner.clone();
        match self.lie {
            Lie::AcknowledgesAndForgets => {
                let rev = Rev(self.fake.fetch_add(1, Ordering::Relaxed));
                return Box::pin(async move { Ok(rev) });
            }
            Lie::LosesTheLastEvent => drop(batch.events.pop()),
            Lie::ActsWhenPolled => return Box::pin(async move { inner.commit(session, batch).await }),
            _ => {}
        }
        inner.commit(session, batch)
    }

    fn replay(&self, session: u128, stream: StreamId, after: u32, max: usize) -> Pending<Replay> {
        let replayed = self.inner.replay(session, stream, after, max);
        let keeps = self.lie == Lie::KeepsEventsOfTheDead;
        let (lie, inner) = (self.lie, self.inner.clone());
        Box::pin(async move {
            let mut replay = match (lie, replayed.await) {
                (Lie::SaysAbsentInAnOutage, Err(_)) => Replay { events: Vec::new(), complete: true },
                (_, replayed) => replayed?,
            };
            let events = &mut replay.events;
            match lie {
                Lie::ReplaysWithAHole if events.len() > 2 => drop(events.remove(1)),
                Lie::ReplaysTwice if !events.is_empty() => events.insert(0, events[0].clone()),
                Lie::ReplaysBackwards => events.reverse(),
                Lie::SaysCompleteTooEarly => replay.complete = true,
                _ => {}
            }
            let is_dead = inner.load(Key { kind: Kind::Session, id: session }).await?.is_none();
            if keeps && is_dead && after == 0 {
                let bytes = Arc::from(&b"old"[..]);
                replay.events.push(andon_core::port::Event { stream, sequence: 1, bytes });
            }
            Ok(replay)
        })
    }
}

fn caught(outcome: Result<usize, Vec<Failure>>, lie: Lie, by: &[&str]) {
    let failures = outcome.expect_err(&format!("{lie:?} is caught"));
    let names: Vec<&str> = failures.iter().map(|failure| failure.check).collect();
    for check in by {
        assert!(names.contains(check), "{lie:?} is caught by {names:?}, but not by {check}");
    }
}

async fn suite_of(lie: Lie) -> Result<usize, Vec<Failure>> {
    suite(|| Arc::new(LyingStore::new(Arc::new(MemoryStore::new()), lie))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_catches_every_lie() {
    assert!(suite_of(Lie::Nothing).await.is_ok());
    let lies: [(Lie, &[&str]); 17] = [
        (Lie::AcknowledgesAndForgets, &["a_record_is_loaded_as_it_was_written", "a_turn_creates_a_session"]),
        (Lie::LosesTheLastEvent, &["a_replay_is_of_one_stream_after_a_number"]),
        (Lie::ReadsAreStale, &["a_reader_sees_what_is_done"]),
        (Lie::IgnoresWhatIsExpected, &["a_record_is_replaced_only_in_the_expected_state"]),
        (Lie::ReplaysWithAHole, &["a_replay_says_whether_it_is_complete"]),
        (Lie::ReplaysTwice, &["a_replay_is_of_one_stream_after_a_number"]),
        (Lie::ReplaysBackwards, &["a_replay_is_of_one_stream_after_a_number"]),
        (Lie::SaysCompleteTooEarly, &["a_replay_says_whether_it_is_complete"]),
        (Lie::Resurrects, &["a_deleted_key_is_dead"]),
        (Lie::KeepsEventsOfTheDead, &["events_end_with_their_session", "a_swept_session_has_no_events"]),
        (Lie::ActsWhenPolled, &["a_dropped_future_changes_nothing"]),
        (Lie::SweepsTooEarly, &["a_sweep_takes_what_expired_and_nothing_else"]),
        (Lie::SweepsInAnyOrder, &["a_sweep_begins_with_what_expired_first"]),
        (Lie::ListsWithAHole, &["records_are_listed_by_id_in_pages", "records_are_listed_by_owner"]),
        (Lie::CountsWrongly, &["records_are_counted"]),
        (Lie::NamesStatesAgain, &["the_name_of_a_state_never_comes_again"]),
        (Lie::ActsWhenPolled, &["calls_take_effect_in_the_order_in_which_they_are_made"]),
    ];
    for (lie, by) in lies {
        caught(suite_of(lie).await, lie, by);
    }
}

#[tokio::test]
async fn the_outage_suite_catches_who_guesses_and_who_acts() {
    let suite_of = |lie| {
        outage_suite(move || {
            let faulty = Arc::new(FaultyStore::new(Arc::new(MemoryStore::new())));
            // Who acts in an outage reaches the disk after all.
            let inner: Arc<dyn Store> =
                if lie == Lie::ActsInAnOutage { Arc::new(MemoryStore::new()) } else { faulty.clone() };
            let liar = LyingStore::new(inner, lie);
            let is_out = liar.is_out.clone();
            let outage: Outage = Arc::new(move |is_on| {
                is_out.store(is_on, Ordering::Relaxed);
                faulty.outage(is_on);
            });
            (Arc::new(liar) as Arc<dyn Store>, outage)
        })
    };
    assert!(suite_of(Lie::Nothing).await.is_ok());
    caught(
        suite_of(Lie::SaysAbsentInAnOutage).await,
        Lie::SaysAbsentInAnOutage,
        &["in_an_outage_nothing_is_said_to_be_absent"],
    );
    caught(suite_of(Lie::ActsInAnOutage).await, Lie::ActsInAnOutage, &["after_an_outage_all_is_as_before"]);
}

/// A store that keeps what it was told in another one, which outlives it, but not everything.
struct Forgetful {
    lasting: Arc<MemoryStore>,
    lie: Lie,
    last: Mutex<Option<Key>>,
}

impl Drop for Forgetful {
    fn drop(&mut self) {
        if let (Lie::LosesTheLastAtRestart, Some(key)) = (self.lie, *self.last.lock().expect("unpoisoned")) {
            drop(self.lasting.delete(key, None));
        }
    }
}

impl SessionStore for Forgetful {
    fn write(&self, key: Key, record: Record, expect: Option<Rev>) -> Pending<Rev> {
        *self.last.lock().expect("unpoisoned") = Some(key);
        self.lasting.write(key, record, expect)
    }

    fn load(&self, key: Key) -> Pending<Option<Stored>> {
        self.lasting.load(key)
    }

    fn delete(&self, key: Key, expect: Option<Rev>) -> Pending<()> {
        // It says that it is gone, and finds it again.
        if self.lie == Lie::ForgetsDeathsAtRestart {
            return Box::pin(async { Ok(()) });
        }
        self.lasting.delete(key, expect)
    }

    fn list(&self, kind: Kind, owner: Option<u128>, after: Option<u128>, max: usize) -> Pending<Vec<Stored>> {
        self.lasting.list(kind, owner, after, max)
    }

    fn count(&self, kind: Kind) -> Pending<u64> {
        self.lasting.count(kind)
    }

    fn sweep(&self, now: Timestamp, max: usize) -> Pending<Vec<(Key, u128)>> {
        self.lasting.sweep(now, max)
    }
}

impl EventLog for Forgetful {
    fn commit(&self, session: u128, batch: Batch) -> Pending<Rev> {
        *self.last.lock().expect("unpoisoned") = Some(Key { kind: Kind::Session, id: session });
        self.lasting.commit(session, batch)
    }

    fn replay(&self, session: u128, stream: StreamId, after: u32, max: usize) -> Pending<Replay> {
        self.lasting.replay(session, stream, after, max)
    }
}

#[tokio::test]
async fn the_restart_suite_catches_who_forgets() {
    let suite_of = |lie| {
        restart_suite(move || -> Open {
            let lasting = Arc::new(MemoryStore::new());
            Arc::new(move || -> Arc<dyn Store> {
                Arc::new(Forgetful { lasting: lasting.clone(), lie, last: Mutex::default() })
            })
        })
    };
    assert!(suite_of(Lie::Nothing).await.is_ok());
    let by = ["records_are_there_again", "events_are_there_again"];
    caught(suite_of(Lie::LosesTheLastAtRestart).await, Lie::LosesTheLastAtRestart, &by);
    caught(suite_of(Lie::ForgetsDeathsAtRestart).await, Lie::ForgetsDeathsAtRestart, &["what_was_deleted_stays_dead"]);
}
