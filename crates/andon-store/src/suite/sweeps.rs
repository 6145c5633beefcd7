//! Expiry: exact, in order, and for ever.

use std::sync::Arc;

use andon_core::io::Timestamp;
use andon_core::port::{Batch, Key, Kind, Record, Store};

use super::{Checked, checks, conflict, event, expiring, record, replayed, same, session, text};

checks![Arc<dyn Store>:
    a_record_is_there_until_it_is_swept,
    a_sweep_takes_what_expired_and_nothing_else,
    a_sweep_begins_with_what_expired_first,
    a_sweep_sees_the_last_expiry,
    a_sweep_is_of_all_kinds_and_names_owners,
    a_swept_key_is_dead,
    a_swept_session_has_no_events,
];

async fn a_record_is_there_until_it_is_swept(store: Arc<dyn Store>) -> Checked {
    let rev = store.write(session(1), expiring("x", 0), None).await?;
    same("an expired record", &text(&*store, session(1)).await?, &Some("x".to_owned()))?;
    same("the count", &store.count(Kind::Session).await?, &1)?;
    store.write(session(1), expiring("y", 0), Some(rev)).await?;
    same("an expired record", &text(&*store, session(1)).await?, &Some("y".to_owned()))
}

async fn a_sweep_takes_what_expired_and_nothing_else(store: Arc<dyn Store>) -> Checked {
    for (id, at) in [(1, 99), (2, 100), (3, 101), (5, u64::MAX)] {
        store.write(session(id), expiring("x", at), None).await?;
    }
    store.write(session(4), record("x"), None).await?;
    same("what was swept too early", &store.sweep(Timestamp(98), 9).await?, &Vec::new())?;
    let swept = store.sweep(Timestamp(100), 9).await?;
    same("what was swept", &swept, &vec![(session(1), 7), (session(2), 7)])?;
    same("what was swept again", &store.sweep(Timestamp(100), 9).await?, &Vec::new())?;
    for id in 1..=5 {
        same("whether the record is there", &store.load(session(id)).await?.is_some(), &(id > 2))?;
    }
    same("the count", &store.count(Kind::Session).await?, &3)
}

async fn a_sweep_begins_with_what_expired_first(store: Arc<dyn Store>) -> Checked {
    let at = |id: u128| u64::try_from(id * 37 % 101).unwrap_or_default();
    for id in 0..101 {
        store.write(session(id), expiring("x", at(id)), None).await?;
    }
    let mut moments = Vec::new();
    loop {
        let swept = store.sweep(Timestamp(90), 10).await?;
        if swept.is_empty() {
            break;
        }
        same("whether no more were swept than asked for", &(swept.len() <= 10), &true)?;
        moments.extend(swept.iter().map(|(key, _)| at(key.id)));
    }
    same("the moments in order", &moments, &(0..=90).collect())
}

async fn a_sweep_sees_the_last_expiry(store: Arc<dyn Store>) -> Checked {
    for (id, last) in [(1, Some(200)), (2, None), (3, Some(50))] {
        let rev = store.write(session(id), expiring("x", 100), None).await?;
        let record = Record { expires_at: last.map(Timestamp), ..record("y") };
        store.write(session(id), record, Some(rev)).await?;
    }
    same("what was swept", &store.sweep(Timestamp(60), 9).await?, &vec![(session(3), 7)])?;
    same("what was swept", &store.sweep(Timestamp(199), 9).await?, &Vec::new())?;
    same("what was swept", &store.sweep(Timestamp(u64::MAX), 9).await?, &vec![(session(1), 7)])
}

async fn a_sweep_is_of_all_kinds_and_names_owners(store: Arc<dyn Store>) -> Checked {
    let mut expected = Vec::new();
    for (owner, kind) in (20..).zip(Kind::ALL) {
        let key = Key { kind, id: 1 };
        store.write(key, Record { owner, ..expiring("x", 1 + owner as u64) }, None).await?;
        expected.push((key, owner));
    }
    same("what was swept", &store.sweep(Timestamp(100), 9).await?, &expected)
}

async fn a_swept_key_is_dead(store: Arc<dyn Store>) -> Checked {
    let rev = store.write(session(1), expiring("x", 1), None).await?;
    store.sweep(Timestamp(1), 9).await?;
    same("a creation after the end", &store.write(session(1), record("y"), None).await, &conflict(None))?;
    same("a write after the end", &store.write(session(1), record("y"), Some(rev)).await, &conflict(None))?;
    same("deleting it", &store.delete(session(1), Some(rev)).await, &Ok(()))
}

async fn a_swept_session_has_no_events(store: Arc<dyn Store>) -> Checked {
    for id in [1, 2] {
        let at = u64::try_from(id).unwrap_or_default();
        let record = Some(expiring("x", at));
        let batch = Batch { record, events: vec![event(1, 1, "a"), event(2, 1, "b")], ..Batch::default() };
        store.commit(id, batch).await?;
    }
    same("what was swept", &store.sweep(Timestamp(1), 9).await?, &vec![(session(1), 7)])?;
    same("events of a swept session", &replayed(&*store, 1, 1, 0).await?, &Vec::new())?;
    same("events of another one", &replayed(&*store, 2, 1, 0).await?, &vec![(1, "a".to_owned())])
}
