//! Records: created, loaded, replaced, deleted, listed.

use std::collections::HashSet;
use std::sync::Arc;

use andon_core::io::Timestamp;
use andon_core::port::{Key, Kind, Record, Rev, Store};

use super::{Checked, checks, conflict, holds, record, same, session, text};

checks![Arc<dyn Store>:
    a_record_is_loaded_as_it_was_written,
    a_record_may_be_empty_large_and_at_the_limits,
    a_record_is_created_once,
    a_record_is_replaced_only_in_the_expected_state,
    what_is_not_there_is_not_replaced,
    the_name_of_a_state_never_comes_again,
    kinds_are_apart,
    a_deleted_record_is_gone,
    a_record_is_deleted_only_in_the_expected_state,
    a_deleted_key_is_dead,
    a_key_is_dead_though_there_was_no_record,
    records_are_listed_by_id_in_pages,
    records_are_listed_by_owner,
    records_are_counted,
];

async fn a_record_is_loaded_as_it_was_written(store: Arc<dyn Store>) -> Checked {
    same("a record that nobody wrote", &store.load(session(1)).await?, &None)?;
    let written = Record { bytes: Arc::from(&b"\0\xff text"[..]), owner: 3, expires_at: Some(Timestamp(5)) };
    let rev = store.write(session(1), written.clone(), None).await?;
    let Some(stored) = store.load(session(1)).await? else { return holds("a written record is there", false) };
    same("the id", &stored.id, &1)?;
    same("the record", &stored.record, &written)?;
    same("its state", &stored.rev, &rev)
}

async fn a_record_may_be_empty_large_and_at_the_limits(store: Arc<dyn Store>) -> Checked {
    let all = [
        (0, Record { bytes: Arc::from(&[][..]), owner: 0, expires_at: Some(Timestamp(0)) }),
        (1, Record { bytes: Arc::from(vec![7; 1 << 20]), owner: u128::MAX, expires_at: None }),
        (u128::MAX, Record { bytes: Arc::from(&b"x"[..]), owner: 1 << 127, expires_at: Some(Timestamp(u64::MAX)) }),
    ];
    for (id, written) in &all {
        store.write(session(*id), written.clone(), None).await?;
    }
    for (id, written) in &all {
        same("the record", &store.load(session(*id)).await?.map(|stored| stored.record), &Some(written.clone()))?;
    }
    same("those listed", &store.list(Kind::Session, None, None, 9).await?.len(), &3)?;
    same("those after the last", &store.list(Kind::Session, None, Some(u128::MAX), 9).await?.len(), &0)
}

async fn a_record_is_created_once(store: Arc<dyn Store>) -> Checked {
    let rev = store.write(session(1), record("first"), None).await?;
    same("a second creation", &store.write(session(1), record("second"), None).await, &conflict(Some(rev)))?;
    same("the record", &text(&*store, session(1)).await?, &Some("first".to_owned()))
}

async fn a_record_is_replaced_only_in_the_expected_state(store: Arc<dyn Store>) -> Checked {
    let first = store.write(session(1), record("first"), None).await?;
    let second = store.write(session(1), record("second"), Some(first)).await?;
    holds("a replaced record is in another state", first != second)?;
    let late = store.write(session(1), record("late"), Some(first)).await;
    same("a write that expects an old state", &late, &conflict(Some(second)))?;
    same("the record", &text(&*store, session(1)).await?, &Some("second".to_owned()))?;
    store.write(session(1), record("third"), Some(second)).await?;
    same("the record", &text(&*store, session(1)).await?, &Some("third".to_owned()))
}

async fn what_is_not_there_is_not_replaced(store: Arc<dyn Store>) -> Checked {
    let written = store.write(session(1), record("x"), Some(Rev(1))).await;
    same("a write that expects a state of nothing", &written, &conflict(None))?;
    same("the record", &text(&*store, session(1)).await?, &None)?;
    store.write(session(1), record("x"), None).await?;
    Ok(())
}

async fn the_name_of_a_state_never_comes_again(store: Arc<dyn Store>) -> Checked {
    let mut seen = HashSet::new();
    let mut rev = None;
    for turn in 0..50 {
        let next = store.write(session(1), record(["even", "odd"][turn % 2]), rev).await?;
        holds("the name of a state is new", seen.insert(next))?;
        rev = Some(next);
    }
    Ok(())
}

async fn kinds_are_apart(store: Arc<dyn Store>) -> Checked {
    for kind in Kind::ALL {
        store.write(Key { kind, id: 1 }, record(&format!("{kind:?}")), None).await?;
    }
    store.delete(Key { kind: Kind::Reply, id: 1 }, None).await?;
    for kind in Kind::ALL {
        let expected = (kind != Kind::Reply).then(|| format!("{kind:?}"));
        same("the record", &text(&*store, Key { kind, id: 1 }).await?, &expected)?;
        same("the count", &store.count(kind).await?, &u64::from(kind != Kind::Reply))?;
    }
    Ok(())
}

async fn a_deleted_record_is_gone(store: Arc<dyn Store>) -> Checked {
    let rev = store.write(session(1), record("x"), None).await?;
    store.delete(session(1), Some(rev)).await?;
    same("a deleted record", &store.load(session(1)).await?, &None)?;
    same("those listed", &store.list(Kind::Session, None, None, 9).await?, &Vec::new())?;
    same("those of its owner", &store.list(Kind::Session, Some(7), None, 9).await?, &Vec::new())?;
    same("deleting it again", &store.delete(session(1), None).await, &Ok(()))?;
    same("deleting it again as it was", &store.delete(session(1), Some(rev)).await, &Ok(()))
}

async fn a_record_is_deleted_only_in_the_expected_state(store: Arc<dyn Store>) -> Checked {
    let first = store.write(session(1), record("first"), None).await?;
    let second = store.write(session(1), record("second"), Some(first)).await?;
    same("deleting an old state", &store.delete(session(1), Some(first)).await, &conflict(Some(second)))?;
    same("the record", &text(&*store, session(1)).await?, &Some("second".to_owned()))?;
    store.delete(session(1), Some(second)).await?;
    same("the record", &text(&*store, session(1)).await?, &None)
}

async fn a_deleted_key_is_dead(store: Arc<dyn Store>) -> Checked {
    let rev = store.write(session(1), record("x"), None).await?;
    store.delete(session(1), None).await?;
    same("a creation after the end", &store.write(session(1), record("y"), None).await, &conflict(None))?;
    same("a write after the end", &store.write(session(1), record("y"), Some(rev)).await, &conflict(None))?;
    same("the record", &store.load(session(1)).await?, &None)?;
    same("the count", &store.count(Kind::Session).await?, &0)
}

async fn a_key_is_dead_though_there_was_no_record(store: Arc<dyn Store>) -> Checked {
    store.delete(session(1), None).await?;
    store.delete(session(2), Some(Rev(1))).await?;
    for id in [1, 2] {
        same("a creation after the end", &store.write(session(id), record("x"), None).await, &conflict(None))?;
    }
    Ok(())
}

/// Ids that are far from each other.
fn spread(number: u128) -> u128 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
}

/// All ids of a kind, in pages of `max`.
async fn listed(store: &dyn Store, owner: Option<u128>, max: usize) -> Result<Vec<u128>, super::Wrong> {
    let mut ids = Vec::new();
    loop {
        let page = store.list(Kind::Task, owner, ids.last().copied(), max).await?;
        holds("a page is no longer than asked for", page.len() <= max)?;
        if page.is_empty() {
            return Ok(ids);
        }
        ids.extend(page.iter().map(|stored| stored.id));
    }
}

async fn records_are_listed_by_id_in_pages(store: Arc<dyn Store>) -> Checked {
    let mut expected: Vec<u128> = (0..100).map(spread).collect();
    for id in &expected {
        store.write(Key { kind: Kind::Task, id: *id }, record("x"), None).await?;
        store.write(session(id ^ 1), record("other"), None).await?;
    }
    expected.sort_unstable();
    for max in [1, 7, 100, 1_000] {
        same("the ids in pages", &listed(&*store, None, max).await?, &expected)?;
    }
    same("nothing", &store.list(Kind::Task, None, None, 0).await?, &Vec::new())
}

async fn records_are_listed_by_owner(store: Arc<dyn Store>) -> Checked {
    let mut revs = Vec::new();
    for number in 0..60 {
        let owned = Record { owner: number % 3, ..record("x") };
        revs.push(store.write(Key { kind: Kind::Task, id: spread(number) }, owned, None).await?);
    }
    // One changes hands, and one ends.
    store.write(Key { kind: Kind::Task, id: spread(1) }, Record { owner: 2, ..record("x") }, Some(revs[1])).await?;
    store.delete(Key { kind: Kind::Task, id: spread(4) }, None).await?;
    for owner in 0..4 {
        let belongs = |number: &u128| match number {
            1 => owner == 2,
            4 => false,
            number => number % 3 == owner,
        };
        let mut expected: Vec<u128> = (0..60).filter(belongs).map(spread).collect();
        expected.sort_unstable();
        for max in [1, 6, 100] {
            same("the ids of an owner", &listed(&*store, Some(owner), max).await?, &expected)?;
        }
    }
    Ok(())
}

async fn records_are_counted(store: Arc<dyn Store>) -> Checked {
    for kind in Kind::ALL {
        same("the count of nothing", &store.count(kind).await?, &0)?;
    }
    for id in 0..10 {
        store.write(session(id), record("x"), None).await?;
    }
    for id in 8..12 {
        store.delete(session(id), None).await?;
    }
    same("a creation that is refused", &store.write(session(1), record("y"), None).await.is_err(), &true)?;
    same("the count", &store.count(Kind::Session).await?, &8)
}
