//! What a store says while it cannot answer: that it cannot, and never that there is nothing.

use std::fmt;
use std::sync::Arc;

use andon_core::io::{StreamId, Timestamp};
use andon_core::port::{Batch, Kind, Pending, Rev, Store, StoreError};

use super::{Checked, Outage, Wrong, checks, conflict, event, expiring, record, replayed, same, session, text};

checks![(Arc<dyn Store>, Outage):
    in_an_outage_nothing_is_said_to_be_absent,
    in_an_outage_nothing_is_done,
    after_an_outage_all_is_as_before,
    what_was_called_before_a_failure_was_known_fails_too,
];

/// A call that fails during an outage must say so. One that still succeeds must be right.
async fn unavailable<T: fmt::Debug>(what: &str, call: Pending<T>) -> Checked {
    match call.await {
        Err(StoreError::Unavailable { .. } | StoreError::Unknown) => Ok(()),
        other => Err(Wrong(format!("{what} in an outage: {other:?}"))),
    }
}

async fn filled(store: &dyn Store) -> Result<Rev, StoreError> {
    let batch = Batch { record: Some(expiring("x", 10)), events: vec![event(1, 1, "a")], ..Batch::default() };
    store.commit(1, batch).await
}

/// A read must say what is there, or that it cannot.
fn right_or_unavailable<T: PartialEq + fmt::Debug>(what: &str, seen: Result<T, StoreError>, expected: &T) -> Checked {
    match seen {
        Err(StoreError::Unavailable { .. }) => Ok(()),
        Ok(seen) => same(what, &seen, expected),
        Err(error) => Err(error.into()),
    }
}

async fn in_an_outage_nothing_is_said_to_be_absent((store, outage): (Arc<dyn Store>, Outage)) -> Checked {
    filled(&*store).await?;
    outage(true);
    let loaded = store.load(session(1)).await.map(|stored| stored.is_some());
    right_or_unavailable("whether the record is there", loaded, &true)?;
    let listed = store.list(Kind::Session, None, None, 9).await.map(|page| page.len());
    right_or_unavailable("those listed", listed, &1)?;
    let owned = store.list(Kind::Session, Some(7), None, 9).await.map(|page| page.len());
    right_or_unavailable("those of an owner", owned, &1)?;
    right_or_unavailable("the count", store.count(Kind::Session).await, &1)?;
    let replay = store.replay(1, StreamId(1), 0, 9).await.map(|replay| replay.events.len());
    right_or_unavailable("the events", replay, &1)?;
    outage(false);
    Ok(())
}

async fn in_an_outage_nothing_is_done((store, outage): (Arc<dyn Store>, Outage)) -> Checked {
    let rev = filled(&*store).await?;
    outage(true);
    unavailable("a creation", store.write(session(2), record("new"), None)).await?;
    unavailable("a write", store.write(session(1), record("new"), Some(rev))).await?;
    unavailable("a deletion", store.delete(session(1), None)).await?;
    unavailable("a sweep", store.sweep(Timestamp(100), 9)).await?;
    let batch = Batch { expect: Some(rev), events: vec![event(1, 2, "b")], ..Batch::default() };
    unavailable("a turn", store.commit(1, batch)).await?;
    outage(false);
    Ok(())
}

async fn after_an_outage_all_is_as_before((store, outage): (Arc<dyn Store>, Outage)) -> Checked {
    let rev = filled(&*store).await?;
    outage(true);
    let _ = store.write(session(2), record("new"), None).await;
    let _ = store.write(session(1), record("new"), Some(rev)).await;
    outage(false);
    let written = store.write(session(2), record("newer"), None).await;
    // Whatever was not known to be done was done or not; but the store works, and what was refused was not done.
    same("a creation after the outage", &written.is_ok(), &true)?;
    same("the record", &text(&*store, session(1)).await?, &Some("x".to_owned()))?;
    same("the events", &replayed(&*store, 1, 1, 0).await?, &vec![(1, "a".to_owned())])?;
    let turn = Batch { expect: Some(rev), events: vec![event(1, 2, "b")], ..Batch::default() };
    same("a turn after the outage", &store.commit(1, turn).await, &Ok(rev))?;
    same("an old state", &store.write(session(1), record("y"), Some(Rev(u64::MAX))).await, &conflict(Some(rev)))
}

async fn what_was_called_before_a_failure_was_known_fails_too((store, outage): (Arc<dyn Store>, Outage)) -> Checked {
    let rev = filled(&*store).await?;
    let put = |number: u32| {
        let events = vec![event(1, number, &number.to_string())];
        store.commit(1, Batch { expect: Some(rev), events, ..Batch::default() })
    };
    outage(true);
    let first = put(2);
    // Another key's failure shows that the outage has struck; it says nothing of the first to its caller.
    unavailable("a creation", store.write(session(2), record("x"), None)).await?;
    outage(false);
    let second = put(3);
    let third = put(4);
    unavailable("the third of three", third).await?;
    unavailable("the first of three", first).await?;
    unavailable("the second of three", second).await?;
    // Now that they know, they may try again.
    put(2).await?;
    same("the events", &replayed(&*store, 1, 1, 0).await?, &vec![(1, "a".to_owned()), (2, "2".to_owned())])
}
