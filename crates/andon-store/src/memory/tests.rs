//! What the suite cannot see from outside: how long a key is dead, and that nothing is left behind.

use std::sync::Arc;
use std::time::Duration;

use andon_core::io::{StreamId, Timestamp};
use andon_core::port::{Batch, Event, EventLog as _, Key, Kind, Pending, Record, SessionStore as _, StoreError};
use futures_util::FutureExt as _;

use super::MemoryStore;
use crate::uptime::DEAD_FOR;

const MINUTE: Duration = Duration::from_mins(1);

fn key(id: u128) -> Key {
    Key { kind: Kind::Session, id }
}

fn record() -> Record {
    Record { bytes: Arc::from(&b"x"[..]), owner: 1, expires_at: Some(Timestamp(1)) }
}

fn done<T>(pending: Pending<T>) -> Result<T, StoreError> {
    pending.now_or_never().expect("is done at once")
}

#[test]
fn a_key_is_dead_for_a_day_of_uptime() {
    let store = MemoryStore::new();
    done(store.write(key(1), record(), None)).expect("writes");
    done(store.delete(key(1), None)).expect("deletes");
    store.uptime.advance(DEAD_FOR - MINUTE);
    // It dies once more, and its day begins again.
    done(store.delete(key(1), None)).expect("deletes");
    done(store.delete(key(2), None)).expect("deletes");
    store.uptime.advance(MINUTE * 2);
    done(store.delete(key(3), None)).expect("deletes");
    for id in [1, 2, 3] {
        assert!(done(store.write(key(id), record(), None)).is_err(), "{id}");
    }
    store.uptime.advance(DEAD_FOR);
    // Those that were dead for long enough are forgotten when others die.
    for id in 4..8 {
        done(store.delete(key(id), None)).expect("deletes");
    }
    for id in [1, 2, 3] {
        assert!(done(store.write(key(id), record(), None)).is_ok(), "{id}");
    }
}

#[test]
fn nothing_is_left_of_what_was_swept() {
    let store = MemoryStore::new();
    for id in (0..1_000).map(|number: u128| number << 118) {
        let events = vec![Event { stream: StreamId(1), sequence: 1, bytes: Arc::from(&b"x"[..]) }];
        let batch = Batch { record: Some(record()), events, forget: vec![(StreamId(2), 1)], ..Batch::default() };
        done(store.commit(id, batch)).expect("commits");
    }
    assert_eq!(done(store.sweep(Timestamp(1), 2_000)).expect("sweeps").len(), 1_000);
    assert!(store.expiring().is_empty());
    assert!(store.owned(1).is_empty());
    let rows = |shard: &std::sync::RwLock<super::Shard>| shard.read().expect("unpoisoned").rows();
    assert!(store.shards.iter().all(|shard| rows(shard) == [0, 0, 0]));
}

#[test]
fn streams_that_are_over_cost_next_to_nothing() {
    let store = MemoryStore::new();
    let rev = done(store.write(key(1), record(), None)).expect("writes");
    let turn = |events, forget| done(store.commit(1, Batch { expect: Some(rev), record: None, events, forget }));
    let rows = || store.read(1).rows();
    // In some order, and all but the last of them.
    for number in (0..1_000).map(|number| number * 7 % 1_000).filter(|number| *number != 999) {
        let event = Event { stream: StreamId(number), sequence: 1, bytes: Arc::from(&b"x"[..]) };
        turn(vec![event], Vec::new()).expect("commits");
        turn(Vec::new(), vec![(StreamId(number), u32::MAX)]).expect("forgets");
    }
    assert_eq!(rows(), [1, 0, 1]);
    let event = |stream| Event { stream: StreamId(stream), sequence: u32::MAX, bytes: Arc::from(&b"x"[..]) };
    for number in [0, 1, 500, 998] {
        turn(vec![event(number)], Vec::new()).expect_err("is over");
    }
    turn(vec![event(999)], Vec::new()).expect("is not over");
    done(store.delete(key(1), None)).expect("deletes");
    assert_eq!(rows(), [0, 0, 0]);
}
