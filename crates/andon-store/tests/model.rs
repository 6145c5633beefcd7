//! Any sequence of calls gives what a simple model of a store gives, in memory and on disk, and over restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use andon_core::io::{StreamId, Timestamp};
use andon_core::port::{Batch, Event, Key, Kind, Record, Rev, Store, StoreError, Stored};
use andon_store::suite::Open;
use andon_store::{DiskStore, Durability, MemoryStore};
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestRunner};
use tempfile::TempDir;

/// Which state a call expects.
#[derive(Debug, Clone, Copy)]
enum Expect {
    Nothing,
    Current,
    /// The one before, if there was one.
    Old,
}

/// What a call says of a record: owner, expiry, text.
type Said = (u8, Option<u8>, u8);

#[derive(Debug, Clone)]
enum Call {
    Write(u8, Expect, Said),
    Delete(u8, Expect),
    Commit { session: u8, expect: Expect, record: Option<Said>, events: Vec<(u8, u8)>, forget: Vec<(u8, u8)> },
    Sweep(u8, usize),
    List(u8, Option<u8>, Option<u8>, usize),
    Replay(u8, u8, u8, usize),
    Reopen,
}

/// What a store is, said as simply as possible.
#[derive(Default)]
struct Model {
    records: BTreeMap<Key, Stored>,
    old: BTreeMap<Key, Rev>,
    dead: BTreeSet<Key>,
    events: BTreeMap<(u128, StreamId, u32), Arc<[u8]>>,
    forgotten: BTreeMap<(u128, StreamId), u32>,
    revs: BTreeSet<u64>,
}

fn key(number: u8) -> Key {
    Key { kind: Kind::ALL[usize::from(number % 4)], id: place(number / 4) }
}

/// Ids far from each other, in the order of their numbers.
fn place(number: u8) -> u128 {
    (u128::from(number) << 120) | u128::from(number)
}

fn record((owner, at, text): Said) -> Record {
    Record { bytes: Arc::from([text]), owner: owner.into(), expires_at: at.map(|at| Timestamp(at.into())) }
}

/// Now and then a stream is over.
fn forgotten(through: u8) -> u32 {
    if through == 11 { u32::MAX } else { through.into() }
}

impl Model {
    fn expected(&self, key: Key, expect: Expect) -> Option<Rev> {
        match expect {
            Expect::Nothing => None,
            Expect::Current => self.records.get(&key).map(|stored| stored.rev),
            Expect::Old => self.old.get(&key).copied(),
        }
    }

    /// `Err` with the current state if the record may not be written.
    fn check(&self, key: Key, expect: Option<Rev>) -> Result<(), Option<Rev>> {
        let current = self.records.get(&key).map(|stored| stored.rev);
        if current == expect && !(current.is_none() && self.dead.contains(&key)) { Ok(()) } else { Err(current) }
    }

    fn put(&mut self, key: Key, record: Record, rev: Rev) {
        assert!(self.revs.insert(rev.0), "{rev:?} comes again");
        if let Some(before) = self.records.insert(key, Stored { id: key.id, record, rev }) {
            self.old.insert(key, before.rev);
        }
    }

    fn bury(&mut self, key: Key) {
        self.dead.insert(key);
        if let Some(before) = self.records.remove(&key) {
            self.old.insert(key, before.rev);
        }
        if key.kind == Kind::Session {
            self.events.retain(|(session, ..), _| *session != key.id);
            self.forgotten.retain(|(session, _), _| *session != key.id);
        }
    }

    fn top(&self, session: u128, stream: StreamId) -> u32 {
        let of_stream = self.events.keys().filter(|(id, name, _)| (*id, *name) == (session, stream));
        let last = of_stream.map(|(.., number)| *number).max().unwrap_or(0);
        last.max(self.forgotten.get(&(session, stream)).copied().unwrap_or(0))
    }

    fn commit(&self, key: Key, batch: &Batch) -> Result<(), Option<Rev>> {
        self.check(key, batch.expect)?;
        if batch.expect.is_none() && batch.record.is_none() {
            return Err(None);
        }
        let mut tops = BTreeMap::new();
        for event in &batch.events {
            let top = tops.entry(event.stream).or_insert_with(|| self.top(key.id, event.stream));
            if event.sequence <= *top {
                return Err(batch.expect);
            }
            *top = event.sequence;
        }
        Ok(())
    }

    fn committed(&mut self, key: Key, batch: Batch, rev: Rev) {
        for event in batch.events {
            self.events.insert((key.id, event.stream, event.sequence), event.bytes);
        }
        for (stream, through) in batch.forget {
            self.events.retain(|(id, name, number), _| (*id, *name) != (key.id, stream) || *number > through);
            let forgotten = self.forgotten.entry((key.id, stream)).or_default();
            *forgotten = through.max(*forgotten);
        }
        match batch.record {
            Some(record) => self.put(key, record, rev),
            None => assert_eq!(Some(rev), batch.expect),
        }
    }

    fn due(&self, now: Timestamp) -> Vec<(Timestamp, Key, u128)> {
        let expiry = |(key, stored): (&Key, &Stored)| Some((stored.record.expires_at?, *key, stored.record.owner));
        let mut due: Vec<_> = self.records.iter().filter_map(expiry).filter(|(at, ..)| *at <= now).collect();
        due.sort_unstable();
        due
    }
}

fn refused<T>(current: Option<Rev>) -> Result<T, StoreError> {
    Err(StoreError::Conflict { current })
}

async fn call(store: &dyn Store, model: &mut Model, call: Call) {
    match call {
        Call::Write(number, expect, said) => {
            let (key, expect) = (key(number), model.expected(key(number), expect));
            let written = store.write(key, record(said), expect).await;
            match model.check(key, expect) {
                Ok(()) => model.put(key, record(said), written.expect("is allowed")),
                Err(current) => assert_eq!(written, refused(current)),
            }
        }
        Call::Delete(number, expect) => {
            let (key, expect) = (key(number), model.expected(key(number), expect));
            let deleted = store.delete(key, expect).await;
            match model.records.get(&key) {
                Some(stored) if expect.is_some_and(|rev| rev != stored.rev) => {
                    assert_eq!(deleted, refused(Some(stored.rev)));
                }
                _ => {
                    assert_eq!(deleted, Ok(()));
                    model.bury(key);
                }
            }
        }
        Call::Commit { session, expect, record: said, events, forget } => {
            let key = Key { kind: Kind::Session, id: place(session) };
            let stream = |number: u8| StreamId(u32::from(number) % 5);
            let event = |(name, sequence): (u8, u8)| {
                let bytes = Arc::from([name, sequence]);
                Event { stream: stream(name), sequence: sequence.into(), bytes }
            };
            let batch = Batch {
                expect: model.expected(key, expect),
                record: said.map(record),
                events: events.into_iter().map(event).collect(),
                forget: forget.into_iter().map(|(name, through)| (stream(name), forgotten(through))).collect(),
            };
            let committed = store.commit(key.id, batch.clone()).await;
            match model.commit(key, &batch) {
                Ok(()) => model.committed(key, batch, committed.expect("is allowed")),
                Err(current) => assert_eq!(committed, refused(current)),
            }
        }
        Call::Sweep(now, max) => {
            let now = Timestamp(now.into());
            let swept = store.sweep(now, max).await.expect("sweeps");
            let due: Vec<_> = model.due(now).into_iter().take(max).map(|(_, key, owner)| (key, owner)).collect();
            // Both orders among those that expire at once are by key.
            assert_eq!(swept, due);
            due.into_iter().for_each(|(key, _)| model.bury(key));
        }
        Call::List(kind, owner, after, max) => {
            let (kind, owner, after) = (Kind::ALL[usize::from(kind % 4)], owner.map(u128::from), after.map(place));
            let listed = store.list(kind, owner, after, max).await.expect("lists");
            let is_asked_for = |key: &Key, stored: &Stored| {
                let is_after = after.is_none_or(|after| stored.id > after);
                key.kind == kind && is_after && owner.is_none_or(|owner| stored.record.owner == owner)
            };
            let expected = model.records.iter().filter(|(key, stored)| is_asked_for(key, stored));
            assert_eq!(listed, expected.map(|(_, stored)| stored.clone()).take(max).collect::<Vec<_>>());
            let count = model.records.keys().filter(|key| key.kind == kind).count();
            assert_eq!(store.count(kind).await, Ok(count as u64));
        }
        Call::Replay(session, stream, after, max) => {
            let (session, stream) = (place(session), StreamId(u32::from(stream) % 5));
            let replay = store.replay(session, stream, after.into(), max).await.expect("replays");
            let kept = model.events.range((session, stream, u32::from(after) + 1)..=(session, stream, u32::MAX));
            let kept: Vec<_> = kept.map(|((.., sequence), bytes)| (*sequence, bytes.clone())).collect();
            assert_eq!(replay.complete, kept.len() <= max);
            let events: Vec<_> = replay.events.into_iter().map(|event| (event.sequence, event.bytes)).collect();
            assert_eq!(events, kept[..kept.len().min(max)]);
        }
        Call::Reopen => {}
    }
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let expect = || prop_oneof![2 => Just(Expect::Nothing), 6 => Just(Expect::Current), 1 => Just(Expect::Old)];
    let said = || (0..3_u8, proptest::option::of(0..20_u8), any::<u8>());
    let number = || 0..24_u8;
    let pairs = |most: usize| proptest::collection::vec((0..5_u8, 0..12_u8), 0..most);
    let commit = (0..4_u8, expect(), proptest::option::of(said()), pairs(4), pairs(2))
        .prop_map(|(session, expect, record, events, forget)| Call::Commit { session, expect, record, events, forget });
    let call = prop_oneof![
        6 => (number(), expect(), said()).prop_map(|(number, expect, said)| Call::Write(number, expect, said)),
        1 => (number(), expect()).prop_map(|(number, expect)| Call::Delete(number, expect)),
        8 => commit,
        1 => (0..20_u8, 0..4_usize).prop_map(|(now, max)| Call::Sweep(now, max)),
        2 => (0..4_u8, proptest::option::of(0..3_u8), proptest::option::of(0..6_u8), 0..8_usize)
            .prop_map(|(kind, owner, after, max)| Call::List(kind, owner, after, max)),
        3 => (0..4_u8, 0..5_u8, 0..12_u8, 0..6_usize)
            .prop_map(|(session, stream, after, max)| Call::Replay(session, stream, after, max)),
        1 => Just(Call::Reopen),
    ];
    proptest::collection::vec(call, 1..120)
}

async fn run(open: &Open, calls: Vec<Call>) {
    let (mut store, mut model) = (open(), Model::default());
    for next in calls {
        if matches!(next, Call::Reopen) {
            drop(store);
            store = open();
        }
        call(&*store, &mut model, next).await;
    }
    for key in (0..24).map(key) {
        assert_eq!(store.load(key).await, Ok(model.records.get(&key).cloned()));
    }
}

fn check(cases: u32, make: impl Fn() -> Open) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let checked = TestRunner::new(config).run(&calls(), |calls| {
        runtime.block_on(run(&make(), calls));
        Ok(())
    });
    if let Err(error) = checked {
        panic!("{error}");
    }
}

#[test]
fn memory_is_as_the_model() {
    check(500, || {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        Arc::new(move || store.clone())
    });
}

#[test]
fn disk_is_as_the_model() {
    let folder = TempDir::new().expect("a folder");
    let number = std::sync::atomic::AtomicU32::new(0);
    check(40, || {
        let place = folder.path().join(number.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string());
        Arc::new(move || Arc::new(DiskStore::open(&place, Durability::Memory).expect("opens")))
    });
}
