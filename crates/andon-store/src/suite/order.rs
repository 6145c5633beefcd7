//! Order: calls take effect where they are made, one after the other, whoever waits for them.

use std::collections::HashSet;
use std::sync::Arc;

use andon_core::port::{Batch, Kind, Rev, Store, StoreError};
use tokio::task::JoinSet;

use super::{Checked, Wrong, checks, conflict, event, holds, record, replayed, same, session, text};

checks![Arc<dyn Store>:
    calls_take_effect_in_the_order_in_which_they_are_made,
    a_dropped_future_changes_nothing,
    events_of_calls_that_nobody_waits_for_are_in_order,
    one_of_many_creates_a_record,
    writers_who_compare_lose_nothing,
    a_reader_sees_what_is_done,
    sessions_do_not_disturb_each_other,
    a_list_has_what_stays_while_others_come_and_go,
    a_sweep_beside_writers_takes_nothing_that_lives,
];

async fn calls_take_effect_in_the_order_in_which_they_are_made(store: Arc<dyn Store>) -> Checked {
    let created = store.write(session(1), record("a"), None);
    let again = store.write(session(1), record("b"), None);
    let deleted = store.delete(session(1), None);
    let late = store.write(session(1), record("c"), None);
    // Whoever waits for the last one first changes nothing.
    same("a creation after the end", &late.await, &conflict(None))?;
    same("the end", &deleted.await, &Ok(()))?;
    let again = again.await;
    let rev = created.await?;
    same("a second creation", &again, &conflict(Some(rev)))
}

async fn a_dropped_future_changes_nothing(store: Arc<dyn Store>) -> Checked {
    drop(store.write(session(1), record("a"), None));
    holds("a dropped creation was made", store.write(session(1), record("b"), None).await.is_err())?;
    same("the record", &text(&*store, session(1)).await?, &Some("a".to_owned()))?;
    drop(store.delete(session(1), None));
    same("a creation after a dropped end", &store.write(session(1), record("c"), None).await, &conflict(None))?;
    let batch = Batch { record: Some(record("a")), events: vec![event(1, 1, "a")], ..Batch::default() };
    drop(store.commit(2, batch));
    holds("a dropped turn was made", store.write(session(2), record("b"), None).await.is_err())?;
    same("the events", &replayed(&*store, 2, 1, 0).await?, &vec![(1, "a".to_owned())])
}

async fn events_of_calls_that_nobody_waits_for_are_in_order(store: Arc<dyn Store>) -> Checked {
    let rev = store.write(session(1), record("x"), None).await?;
    let put = |number: u32| {
        let events = vec![event(1, number, &number.to_string())];
        store.commit(1, Batch { expect: Some(rev), events, ..Batch::default() })
    };
    let mut last = None;
    for number in 1..=200 {
        last = Some(put(number));
    }
    if let Some(last) = last {
        last.await?;
    }
    let expected: Vec<_> = (1..=200).map(|number: u32| (number, number.to_string())).collect();
    same("the events", &replayed(&*store, 1, 1, 0).await?, &expected)
}

async fn one_of_many_creates_a_record(store: Arc<dyn Store>) -> Checked {
    let mut tasks = JoinSet::new();
    for number in 0..32 {
        let store = store.clone();
        tasks.spawn(async move {
            let text = number.to_string();
            store.write(session(1), record(&text), None).await.map(|rev| (rev, text))
        });
    }
    let mut winners = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        winners.extend(ended?.ok());
    }
    same("the number of those who created it", &winners.len(), &1)?;
    let Some(stored) = store.load(session(1)).await? else { return holds("the record is there", false) };
    same("the state", &Some(stored.rev), &winners.first().map(|(rev, _)| *rev))?;
    same("the record", &text(&*store, session(1)).await?, &winners.pop().map(|(_, text)| text))
}

/// Adds one to the number in the record, by comparing, until it succeeds.
async fn add_one(store: &dyn Store) -> Result<Rev, Wrong> {
    loop {
        let Some(stored) = store.load(session(1)).await? else {
            return Err(Wrong("the record is gone".to_owned()));
        };
        let number: u64 = String::from_utf8_lossy(&stored.record.bytes).parse().unwrap_or(u64::MAX);
        match store.write(session(1), record(&(number + 1).to_string()), Some(stored.rev)).await {
            Err(StoreError::Conflict { .. }) => tokio::task::yield_now().await,
            other => return Ok(other?),
        }
    }
}

async fn writers_who_compare_lose_nothing(store: Arc<dyn Store>) -> Checked {
    let mut revs = HashSet::from([store.write(session(1), record("0"), None).await?]);
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut revs = Vec::new();
            for _ in 0..20 {
                revs.push(add_one(&*store).await?);
            }
            Ok::<_, Wrong>(revs)
        });
    }
    while let Some(ended) = tasks.join_next().await {
        revs.extend(ended??);
    }
    same("the number", &text(&*store, session(1)).await?, &Some("160".to_owned()))?;
    same("the number of states", &revs.len(), &161)
}

async fn a_reader_sees_what_is_done(store: Arc<dyn Store>) -> Checked {
    let mut rev = None;
    for number in 0..100 {
        let expected = number.to_string();
        rev = Some(store.write(session(1), record(&expected), rev).await?);
        let reader = store.clone();
        let seen = tokio::spawn(async move { text(&*reader, session(1)).await }).await??;
        same("the record", &seen, &Some(expected))?;
        let batch = Batch { expect: rev, events: vec![event(1, number + 1, "x")], ..Batch::default() };
        store.commit(1, batch).await?;
        same("the events", &replayed(&*store, 1, 1, number).await?, &vec![(number + 1, "x".to_owned())])?;
    }
    Ok(())
}

async fn sessions_do_not_disturb_each_other(store: Arc<dyn Store>) -> Checked {
    let mut tasks = JoinSet::new();
    for id in 1..=8 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut rev = store.write(session(id), record("0"), None).await?;
            for number in 1..=50 {
                let events = vec![event(1, number, &format!("{id}/{number}"))];
                let record = (number % 5 == 0).then(|| record(&number.to_string()));
                let forget = Vec::new();
                rev = store.commit(id, Batch { expect: Some(rev), record, events, forget }).await?;
            }
            Ok::<_, Wrong>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    for id in 1..=8 {
        same("the record", &text(&*store, session(id)).await?, &Some("50".to_owned()))?;
        let expected: Vec<_> = (1..=50).map(|number| (number, format!("{id}/{number}"))).collect();
        same("the events", &replayed(&*store, id, 1, 0).await?, &expected)?;
    }
    same("the count", &store.count(Kind::Session).await?, &8)
}

async fn a_list_has_what_stays_while_others_come_and_go(store: Arc<dyn Store>) -> Checked {
    // Even ids stay, odd ones come and go.
    let id = |number: u128| (number << 120) | 1;
    for number in (0..200).step_by(2) {
        store.write(session(id(number)), record("stays"), None).await?;
    }
    let others = store.clone();
    let coming = tokio::spawn(async move {
        for number in (1..200).step_by(2) {
            others.write(session(id(number)), record("goes"), None).await?;
            others.delete(session(id(number)), None).await?;
        }
        Ok::<_, Wrong>(())
    });
    let expected: Vec<u128> = (0..200).step_by(2).map(id).collect();
    for owner in [None, Some(7), None, Some(7)] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = store.list(Kind::Session, owner, after, 16).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            let stays = page.iter().filter(|stored| *stored.record.bytes == *b"stays");
            seen.extend(stays.map(|stored| stored.id));
        }
        same("the ids of those who stay", &seen, &expected)?;
    }
    coming.await?
}

async fn a_sweep_beside_writers_takes_nothing_that_lives(store: Arc<dyn Store>) -> Checked {
    let mut tasks = JoinSet::new();
    for id in 0..8 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut rev = store.write(session(id), super::expiring("0", 1_000), None).await?;
            // Each turn moves the end on, ahead of the sweeps.
            for at in 1_001..1_030 {
                rev = store.write(session(id), super::expiring("1", at), Some(rev)).await?;
            }
            Ok::<_, Wrong>(())
        });
    }
    for now in (900..1_000).step_by(10) {
        same("what was swept", &store.sweep(andon_core::io::Timestamp(now), 9).await?, &Vec::new())?;
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let swept = store.sweep(andon_core::io::Timestamp(1_029), 100).await?;
    same("how many were swept", &swept.len(), &8)?;
    same("the count", &store.count(Kind::Session).await?, &0)
}
