//! Events: put there with the record or not at all, replayed in order, forgotten.

use std::sync::Arc;

use andon_core::io::StreamId;
use andon_core::port::{Batch, Event, Key, Kind, Replay, Rev, Store, StoreError};

use super::{Checked, Wrong, checks, conflict, event, holds, record, replayed, same, session, text};

checks![Arc<dyn Store>:
    a_turn_creates_a_session,
    a_turn_of_nothing_needs_a_session,
    a_turn_names_the_state_that_it_leaves,
    a_turn_that_expects_another_state_does_nothing,
    a_number_comes_once_and_numbers_only_grow,
    a_turn_is_done_as_a_whole_or_not,
    a_replay_is_of_one_stream_after_a_number,
    a_replay_says_whether_it_is_complete,
    what_is_unknown_has_no_events,
    what_is_forgotten_is_gone_and_its_numbers_too,
    what_is_put_and_forgotten_in_one_turn_is_gone,
    events_end_with_their_session,
    events_do_not_end_with_something_else,
    a_session_of_many_events_ends_with_all_of_them,
];

/// A session with a record that says "x".
async fn opened(store: &dyn Store, id: u128) -> Result<Rev, StoreError> {
    store.write(session(id), record("x"), None).await
}

/// Puts events there and leaves the record as it is.
async fn put(store: &dyn Store, id: u128, rev: Rev, events: Vec<Event>) -> Result<Rev, StoreError> {
    store.commit(id, Batch { expect: Some(rev), events, ..Batch::default() }).await
}

async fn forget(store: &dyn Store, id: u128, rev: Rev, stream: u32, through: u32) -> Result<Rev, StoreError> {
    store.commit(id, Batch { expect: Some(rev), forget: vec![(StreamId(stream), through)], ..Batch::default() }).await
}

/// `first` to `last`, each with a text of its own.
fn run(stream: u32, first: u32, last: u32) -> Vec<Event> {
    (first..=last).map(|sequence| event(stream, sequence, &format!("{stream}/{sequence}"))).collect()
}

fn texts(stream: u32, first: u32, last: u32) -> Vec<(u32, String)> {
    (first..=last).map(|sequence| (sequence, format!("{stream}/{sequence}"))).collect()
}

async fn a_turn_creates_a_session(store: Arc<dyn Store>) -> Checked {
    let batch = Batch { record: Some(record("x")), events: run(1, 1, 2), ..Batch::default() };
    let rev = store.commit(1, batch.clone()).await?;
    same("the state", &store.load(session(1)).await?.map(|stored| stored.rev), &Some(rev))?;
    same("the events", &replayed(&*store, 1, 1, 0).await?, &texts(1, 1, 2))?;
    same("a second creation", &store.commit(1, batch.clone()).await, &conflict(Some(rev)))?;
    store.delete(session(1), None).await?;
    same("a creation after the end", &store.commit(1, batch).await, &conflict(None))?;
    same("the count", &store.count(Kind::Session).await?, &0)?;
    same("the events", &replayed(&*store, 1, 1, 0).await?, &Vec::new())
}

async fn a_turn_of_nothing_needs_a_session(store: Arc<dyn Store>) -> Checked {
    let events = Batch { events: run(1, 1, 1), ..Batch::default() };
    same("events without a session", &store.commit(1, events.clone()).await, &conflict(None))?;
    same("the events", &replayed(&*store, 1, 1, 0).await?, &Vec::new())?;
    let rev = opened(&*store, 1).await?;
    same("events without a state", &store.commit(1, events).await, &conflict(Some(rev)))?;
    let nothing = Batch { expect: Some(rev), ..Batch::default() };
    same("nothing", &store.commit(1, nothing).await, &Ok(rev))
}

async fn a_turn_names_the_state_that_it_leaves(store: Arc<dyn Store>) -> Checked {
    let first = opened(&*store, 1).await?;
    same("the state after events alone", &put(&*store, 1, first, run(1, 1, 1)).await?, &first)?;
    let batch = Batch { expect: Some(first), record: Some(record("y")), ..Batch::default() };
    let second = store.commit(1, batch).await?;
    holds("a written record is in another state", first != second)?;
    same("the state", &store.load(session(1)).await?.map(|stored| stored.rev), &Some(second))?;
    same("the record", &text(&*store, session(1)).await?, &Some("y".to_owned()))
}

async fn a_turn_that_expects_another_state_does_nothing(store: Arc<dyn Store>) -> Checked {
    let first = opened(&*store, 1).await?;
    put(&*store, 1, first, run(1, 1, 3)).await?;
    let second = store.write(session(1), record("taken over"), Some(first)).await?;
    same("events of who lost it", &put(&*store, 1, first, run(1, 4, 4)).await, &conflict(Some(second)))?;
    same("forgetting by who lost it", &forget(&*store, 1, first, 1, 3).await, &conflict(Some(second)))?;
    let batch = Batch { expect: Some(first), record: Some(record("late")), events: run(1, 4, 4), ..Batch::default() };
    same("a turn of who lost it", &store.commit(1, batch).await, &conflict(Some(second)))?;
    same("the record", &text(&*store, session(1)).await?, &Some("taken over".to_owned()))?;
    same("the events", &replayed(&*store, 1, 1, 0).await?, &texts(1, 1, 3))
}

async fn a_number_comes_once_and_numbers_only_grow(store: Arc<dyn Store>) -> Checked {
    let rev = opened(&*store, 1).await?;
    put(&*store, 1, rev, run(1, 1, 3)).await?;
    let zero = vec![event(2, 0, "zero")];
    let again = vec![event(1, 3, "another")];
    let before = vec![event(1, 2, "another")];
    let twice = vec![event(1, 4, "4"), event(1, 4, "4")];
    let back = vec![event(1, 5, "5"), event(1, 4, "4")];
    for (what, events) in [("zero", zero), ("again", again), ("before", before), ("twice", twice), ("back", back)] {
        same(what, &put(&*store, 1, rev, events).await, &conflict(Some(rev)))?;
    }
    same("the events", &replayed(&*store, 1, 1, 0).await?, &texts(1, 1, 3))?;
    same("the events", &replayed(&*store, 1, 2, 0).await?, &Vec::new())?;
    put(&*store, 1, rev, run(1, 4, 5)).await?;
    same("the events", &replayed(&*store, 1, 1, 0).await?, &texts(1, 1, 5))
}

async fn a_turn_is_done_as_a_whole_or_not(store: Arc<dyn Store>) -> Checked {
    let rev = opened(&*store, 1).await?;
    put(&*store, 1, rev, run(1, 1, 3)).await?;
    let events = vec![event(2, 1, "new"), event(1, 4, "new"), event(1, 3, "taken")];
    let forget = vec![(StreamId(1), 2)];
    let batch = Batch { expect: Some(rev), record: Some(record("new")), events, forget };
    same("a turn with a number that is taken", &store.commit(1, batch).await, &conflict(Some(rev)))?;
    same("the record", &text(&*store, session(1)).await?, &Some("x".to_owned()))?;
    same("the events", &replayed(&*store, 1, 1, 0).await?, &texts(1, 1, 3))?;
    same("the events", &replayed(&*store, 1, 2, 0).await?, &Vec::new())
}

async fn a_replay_is_of_one_stream_after_a_number(store: Arc<dyn Store>) -> Checked {
    for id in [1, 2, u128::MAX] {
        let rev = opened(&*store, id).await?;
        for stream in [0, 1, 2, u32::MAX] {
            let events = run(stream, 1, 20);
            // Streams take turns.
            put(&*store, id, rev, events[..10].to_vec()).await?;
            put(&*store, id, rev, events[10..].to_vec()).await?;
        }
        put(&*store, id, rev, vec![event(2, u32::MAX, "last")]).await?;
    }
    for id in [1, 2, u128::MAX] {
        for after in [0, 1, 10, 19, 20, 21] {
            same("the events", &replayed(&*store, id, 1, after).await?, &texts(1, after + 1, 20))?;
        }
        let mut all = texts(2, 1, 20);
        all.push((u32::MAX, "last".to_owned()));
        same("the events", &replayed(&*store, id, 2, 0).await?, &all)?;
        same("after the last", &replayed(&*store, id, 2, u32::MAX).await?, &Vec::new())?;
        same("the events", &replayed(&*store, id, u32::MAX, 0).await?, &texts(u32::MAX, 1, 20))?;
    }
    Ok(())
}

async fn a_replay_says_whether_it_is_complete(store: Arc<dyn Store>) -> Checked {
    let rev = opened(&*store, 1).await?;
    put(&*store, 1, rev, run(1, 1, 20)).await?;
    put(&*store, 1, rev, run(2, 1, 1)).await?;
    for (after, max) in [(0, 1), (0, 19), (0, 20), (0, 21), (5, 14), (5, 15), (19, 1), (20, 1), (3, 0), (20, 0)] {
        let replay = store.replay(1, StreamId(1), after, max).await?;
        let rest = 20 - usize::try_from(after).unwrap_or_default();
        let what = format!("after {after} at most {max}");
        same(&what, &replay.events.len(), &rest.min(max))?;
        same(&what, &replay.complete, &(rest <= max))?;
        let numbers: Vec<u32> = replay.events.iter().map(|event| event.sequence).collect();
        same(&what, &numbers, &(after + 1..=20).take(max).collect())?;
    }
    Ok(())
}

async fn what_is_unknown_has_no_events(store: Arc<dyn Store>) -> Checked {
    let nothing = Replay { events: Vec::new(), complete: true };
    same("a session that is not there", &store.replay(1, StreamId(1), 0, 9).await?, &nothing)?;
    opened(&*store, 1).await?;
    same("a stream that is not there", &store.replay(1, StreamId(1), 0, 9).await?, &nothing)?;
    same("after something", &store.replay(1, StreamId(1), 9, 9).await?, &nothing)
}

async fn what_is_forgotten_is_gone_and_its_numbers_too(store: Arc<dyn Store>) -> Checked {
    let rev = opened(&*store, 1).await?;
    put(&*store, 1, rev, [run(1, 1, 10), run(2, 1, 10)].concat()).await?;
    same("the state", &forget(&*store, 1, rev, 1, 4).await?, &rev)?;
    same("the events", &replayed(&*store, 1, 1, 0).await?, &texts(1, 5, 10))?;
    same("the events", &replayed(&*store, 1, 1, 7).await?, &texts(1, 8, 10))?;
    same("another stream", &replayed(&*store, 1, 2, 0).await?, &texts(2, 1, 10))?;
    // Less than before changes nothing, and more than there is counts for what comes.
    forget(&*store, 1, rev, 1, 2).await?;
    forget(&*store, 1, rev, 1, 15).await?;
    same("the events", &replayed(&*store, 1, 1, 0).await?, &Vec::new())?;
    forget(&*store, 1, rev, 3, 1).await?;
    for (stream, number) in [(1, 4), (1, 10), (1, 11), (1, 15), (3, 1)] {
        let put = put(&*store, 1, rev, run(stream, number, number)).await;
        same("a number that was forgotten", &put, &conflict(Some(rev)))?;
    }
    put(&*store, 1, rev, [run(1, 16, 16), run(3, 2, 2)].concat()).await?;
    same("the events", &replayed(&*store, 1, 1, 0).await?, &texts(1, 16, 16))
}

async fn what_is_put_and_forgotten_in_one_turn_is_gone(store: Arc<dyn Store>) -> Checked {
    let rev = opened(&*store, 1).await?;
    let forget = vec![(StreamId(1), 2), (StreamId(2), u32::MAX)];
    let events = [run(1, 1, 3), run(2, 1, 3)].concat();
    store.commit(1, Batch { expect: Some(rev), record: None, events, forget }).await?;
    same("the events", &replayed(&*store, 1, 1, 0).await?, &texts(1, 3, 3))?;
    same("the events", &replayed(&*store, 1, 2, 0).await?, &Vec::new())?;
    same("a number after the last", &put(&*store, 1, rev, run(2, 4, 4)).await, &conflict(Some(rev)))
}

async fn events_end_with_their_session(store: Arc<dyn Store>) -> Checked {
    let (rev, _) = (opened(&*store, 1).await?, opened(&*store, 2).await?);
    put(&*store, 1, rev, [run(1, 1, 3), run(9, 1, 3)].concat()).await?;
    let late = store.delete(session(1), Some(Rev(u64::MAX))).await;
    same("deleting another state", &late, &conflict(Some(rev)))?;
    same("the events", &replayed(&*store, 1, 1, 0).await?, &texts(1, 1, 3))?;
    store.delete(session(1), None).await?;
    for stream in [1, 9] {
        same("events of a deleted session", &replayed(&*store, 1, stream, 0).await?, &Vec::new())?;
    }
    same("events for a deleted session", &put(&*store, 1, rev, run(1, 4, 4)).await, &conflict(None))?;
    same("the events", &replayed(&*store, 1, 1, 0).await?, &Vec::new())
}

async fn events_do_not_end_with_something_else(store: Arc<dyn Store>) -> Checked {
    let rev = opened(&*store, 1).await?;
    put(&*store, 1, rev, run(1, 1, 3)).await?;
    for kind in [Kind::State, Kind::Reply, Kind::Task] {
        store.write(Key { kind, id: 1 }, record("x"), None).await?;
        store.delete(Key { kind, id: 1 }, None).await?;
    }
    store.delete(session(0), None).await?;
    store.delete(session(2), None).await?;
    same("the events", &replayed(&*store, 1, 1, 0).await?, &texts(1, 1, 3))
}

async fn a_session_of_many_events_ends_with_all_of_them(store: Arc<dyn Store>) -> Checked {
    let rev = opened(&*store, 1).await?;
    for turn in 0..25 {
        put(&*store, 1, rev, run(turn % 5, 1 + turn / 5 * 100, 100 + turn / 5 * 100)).await?;
    }
    for stream in 0..5 {
        let all = replayed(&*store, 1, stream, 0).await?;
        same("the events", &all, &texts(stream, 1, 500))?;
    }
    store.delete(session(1), None).await?;
    for stream in 0..5 {
        let replay = store.replay(1, StreamId(stream), 0, 9).await?;
        holds("nothing of a deleted session is replayed", replay == Replay { events: Vec::new(), complete: true })
            .map_err(|Wrong(why)| Wrong(format!("{why}: {} events", replay.events.len())))?;
    }
    Ok(())
}
