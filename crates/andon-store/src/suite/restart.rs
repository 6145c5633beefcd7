//! What a store that outlives its process has after it was opened again.

use std::sync::Arc;

use andon_core::io::{StreamId, Timestamp};
use andon_core::port::{Batch, Key, Kind, Record, Store};

use super::{Checked, Open, checks, conflict, event, expiring, holds, record, replayed, same, session, text};

checks![Open:
    records_are_there_again,
    events_are_there_again,
    what_was_forgotten_stays_forgotten,
    what_was_deleted_stays_dead,
    expiry_goes_on,
    the_name_of_a_state_lasts_and_never_comes_again,
    a_store_can_be_opened_many_times,
];

async fn records_are_there_again(open: Open) -> Checked {
    let mut written = Vec::new();
    let store = open();
    for id in 0..50 {
        let key = Key { kind: Kind::ALL[usize::try_from(id % 4).unwrap_or_default()], id };
        let record = Record { owner: id % 3, ..expiring(&id.to_string(), 5) };
        written.push((key, record.clone(), store.write(key, record, None).await?));
    }
    drop(store);
    let store = open();
    for (key, record, rev) in written {
        let Some(stored) = store.load(key).await? else { return holds("an acknowledged record is there", false) };
        same("the record", &stored.record, &record)?;
        same("its state", &stored.rev, &rev)?;
    }
    same("the count", &store.count(Kind::Session).await?, &13)?;
    same("those of an owner", &store.list(Kind::Session, Some(1), None, 99).await?.len(), &4)
}

async fn events_are_there_again(open: Open) -> Checked {
    let store = open();
    let mut rev = None;
    for number in 1..=50 {
        let batch = Batch {
            expect: rev,
            record: Some(record(&number.to_string())),
            events: vec![event(1, number, &number.to_string())],
            ..Batch::default()
        };
        rev = Some(store.commit(1, batch).await?);
    }
    drop(store);
    let store = open();
    let expected: Vec<_> = (1..=50).map(|number| (number, number.to_string())).collect();
    same("the events", &replayed(&*store, 1, 1, 0).await?, &expected)?;
    same("the record", &text(&*store, session(1)).await?, &Some("50".to_owned()))?;
    let batch = Batch { expect: rev, events: vec![event(1, 50, "again")], ..Batch::default() };
    same("a number that is taken", &store.commit(1, batch).await, &conflict(rev))
}

async fn what_was_forgotten_stays_forgotten(open: Open) -> Checked {
    let store = open();
    let events = vec![event(1, 1, "a"), event(1, 2, "b")];
    let batch = Batch { record: Some(record("x")), events, forget: vec![(StreamId(1), 2)], ..Batch::default() };
    let rev = store.commit(1, batch).await?;
    drop(store);
    let store = open();
    same("the events", &replayed(&*store, 1, 1, 0).await?, &Vec::new())?;
    let batch = Batch { expect: Some(rev), events: vec![event(1, 2, "again")], ..Batch::default() };
    same("a number that was forgotten", &store.commit(1, batch).await, &conflict(Some(rev)))
}

async fn what_was_deleted_stays_dead(open: Open) -> Checked {
    let store = open();
    let batch = Batch { record: Some(record("x")), events: vec![event(1, 1, "a")], ..Batch::default() };
    store.commit(1, batch).await?;
    store.write(session(2), expiring("x", 1), None).await?;
    store.delete(session(1), None).await?;
    store.sweep(Timestamp(1), 9).await?;
    drop(store);
    let store = open();
    for id in [1, 2] {
        same("a deleted record", &store.load(session(id)).await?, &None)?;
        same("a creation after the end", &store.write(session(id), record("y"), None).await, &conflict(None))?;
    }
    same("events of a deleted session", &replayed(&*store, 1, 1, 0).await?, &Vec::new())
}

async fn expiry_goes_on(open: Open) -> Checked {
    let store = open();
    for (id, at) in [(1, 30), (2, 10), (3, 20)] {
        store.write(session(id), expiring("x", at), None).await?;
    }
    drop(store);
    let store = open();
    same("what was swept", &store.sweep(Timestamp(20), 9).await?, &vec![(session(2), 7), (session(3), 7)])
}

async fn the_name_of_a_state_lasts_and_never_comes_again(open: Open) -> Checked {
    let mut seen = std::collections::HashSet::new();
    let mut rev = None;
    for _ in 0..5 {
        let store = open();
        for _ in 0..3 {
            let next = store.write(session(1), record("x"), rev).await?;
            holds("the name of a state is new", seen.insert(next))?;
            rev = Some(next);
        }
    }
    Ok(())
}

async fn a_store_can_be_opened_many_times(open: Open) -> Checked {
    for turn in 0..10 {
        let store: Arc<dyn Store> = open();
        same("the count", &store.count(Kind::Task).await?, &turn)?;
        store.write(Key { kind: Kind::Task, id: turn.into() }, record("x"), None).await?;
        // Nobody waits for this one, but closing the store does.
        drop(store.write(session(turn.into()), record("x"), None));
    }
    same("the count", &open().count(Kind::Session).await?, &10)
}
