//! When a failure counts as known.

use std::sync::Arc;
use std::time::Duration;

use andon_core::port::{Key, Kind, StoreError};
use futures_util::FutureExt as _;

use super::{Unheard, call};

const KEY: Key = Key { kind: Kind::Session, id: 1 };
const OTHER: Key = Key { kind: Kind::Task, id: 1 };

fn unavailable() -> StoreError {
    StoreError::Unavailable { retry_after: Duration::from_secs(1) }
}

#[test]
fn a_failure_is_known_when_it_was_told() {
    let unheard = Arc::new(Unheard::default());
    let (asked, answer) = call::<()>(Some(KEY), &unheard);
    asked.note_failure();
    assert!(unheard.has(KEY) && !unheard.has(OTHER));
    asked.tell(Err(unavailable()));
    assert!(unheard.has(KEY));
    assert_eq!(answer.now_or_never(), Some(Err(unavailable())));
    assert!(!unheard.has(KEY));
}

#[test]
fn a_failure_that_nobody_will_ask_for_is_known() {
    let unheard = Arc::new(Unheard::default());
    // Dropped after it was told, and before.
    for is_early in [false, true] {
        let (asked, answer) = call::<()>(Some(KEY), &unheard);
        let answer = (!is_early).then_some(answer);
        asked.note_failure();
        asked.tell(Err(StoreError::Unknown));
        assert_eq!(unheard.has(KEY), !is_early);
        drop(answer);
        assert!(!unheard.has(KEY));
    }
}

#[test]
fn each_failure_has_to_be_known() {
    let unheard = Arc::new(Unheard::default());
    let answers = [(); 2].map(|()| {
        let (asked, answer) = call::<()>(Some(KEY), &unheard);
        asked.note_failure();
        asked.tell(Err(unavailable()));
        answer
    });
    for answer in answers {
        assert!(unheard.has(KEY));
        drop(answer);
    }
    assert!(!unheard.has(KEY));
}

#[test]
fn a_refusal_spreads_to_nobody() {
    let unheard = Arc::new(Unheard::default());
    let (asked, answer) = call::<()>(Some(KEY), &unheard);
    asked.tell(Err(StoreError::Conflict { current: None }));
    assert!(!unheard.has(KEY));
    drop(answer);
    assert!(!unheard.has(KEY));
}

#[test]
fn who_asks_a_thread_that_is_gone_is_told_so() {
    let unheard = Arc::new(Unheard::default());
    let (asked, answer) = call::<()>(Some(KEY), &unheard);
    drop(asked);
    assert_eq!(answer.now_or_never(), Some(Err(StoreError::Unknown)));
}
