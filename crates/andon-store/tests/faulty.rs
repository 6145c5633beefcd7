//! The store that fails on command does so as the contract says.

use std::sync::Arc;

use andon_core::port::{Batch, EventLog as _, Key, Kind, Pending, Record, Rev, SessionStore as _, Store, StoreError};
use andon_store::suite::{Outage, outage_suite, suite};
use andon_store::{FaultyStore, MemoryStore, Really};
use futures_util::FutureExt as _;

const KEY: Key = Key { kind: Kind::Session, id: 1 };

fn faulty() -> Arc<FaultyStore> {
    Arc::new(FaultyStore::new(Arc::new(MemoryStore::new())))
}

fn record(text: &str) -> Record {
    Record { bytes: Arc::from(text.as_bytes()), owner: 1, expires_at: None }
}

async fn text(store: &FaultyStore) -> Option<String> {
    let stored = store.load(KEY).await.expect("loads");
    stored.map(|stored| String::from_utf8_lossy(&stored.record.bytes).into_owned())
}

fn is_unavailable<T>(outcome: &Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Unavailable { .. }))
}

#[tokio::test]
async fn without_faults_it_passes_the_suite() {
    suite(|| faulty()).await.expect("passes");
}

#[tokio::test]
async fn its_outage_passes_the_suite() {
    let checks = outage_suite(|| {
        let store = faulty();
        let outage: Outage = {
            let store = store.clone();
            Arc::new(move |is_on| store.outage(is_on))
        };
        (store as Arc<dyn Store>, outage)
    });
    assert!(checks.await.expect("passes") >= 4);
}

#[tokio::test]
async fn the_next_writes_fail_and_no_more() {
    let store = faulty();
    store.fail_writes(2);
    assert!(is_unavailable(&store.write(KEY, record("a"), None).await));
    assert!(is_unavailable(&store.delete(KEY, None).await));
    assert_eq!(text(&store).await, None);
    store.write(KEY, record("b"), None).await.expect("writes");
    assert_eq!(text(&store).await.as_deref(), Some("b"));
}

#[tokio::test]
async fn what_is_unknown_is_done_or_not_as_told() {
    for (really, expected) in [(Really::Done, Some("a")), (Really::NotDone, None)] {
        let store = faulty();
        store.leave_writes_unknown(1, really);
        assert_eq!(store.write(KEY, record("a"), None).await, Err(StoreError::Unknown));
        assert_eq!(text(&store).await.as_deref(), expected);
    }
}

#[tokio::test]
async fn a_held_call_takes_effect_before_it_is_answered() {
    let store = faulty();
    store.hold();
    let mut written: Pending<Rev> = store.write(KEY, record("a"), None);
    assert!((&mut written).now_or_never().is_none());
    store.release();
    let rev = written.await.expect("writes");
    assert_eq!(store.load(KEY).await.expect("loads").map(|stored| stored.rev), Some(rev));
}

#[tokio::test]
async fn a_held_failure_spreads_until_it_is_heard_of() {
    let store = faulty();
    let rev = store.write(KEY, record("a"), None).await.expect("writes");
    let turn = || store.commit(KEY.id, Batch { expect: Some(rev), ..Batch::default() });
    store.hold();
    store.fail_writes(1);
    let (first, second) = (turn(), turn());
    store.release();
    assert!(is_unavailable(&second.await));
    // The first is not known yet.
    assert!(is_unavailable(&turn().await));
    drop(first);
    assert_eq!(turn().await, Ok(rev));
}
