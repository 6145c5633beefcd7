use std::sync::Arc;
use std::time::Duration;

use super::{Journal, Owner, Standing, Step};
use crate::io::StreamId;
use crate::port::{Replay, Rev, StoreError};
use crate::session::record::{Changes, LoggedEvent};

const OUTAGE: StoreError = StoreError::Unavailable { retry_after: Duration::from_secs(1) };

fn said(sequence: u32) -> Changes {
    let event = LoggedEvent { stream: StreamId(1), sequence, answers: None, last: false, text: "{}".into() };
    Changes { events: vec![event], gates: true, ..Changes::default() }
}

fn journal() -> Journal {
    Journal::new(Owner::default(), Arc::default(), Some(Rev(7)))
}

fn numbers(step: &Step) -> Vec<u32> {
    match step {
        Step::Commit(batch) => batch.events.iter().map(|event| event.sequence).collect(),
        other => panic!("a commit, not {other:?}"),
    }
}

#[test]
fn what_comes_during_a_commit_is_the_next_one() {
    let mut journal = journal();
    let first = journal.submit(said(1)).expect("it gates");
    assert!(journal.is_due());
    assert_eq!(numbers(&journal.next_step()), [1]);
    let second = journal.submit(said(2)).expect("it gates");
    assert!(!journal.is_due(), "somebody is at it");
    journal.committed(Ok(Rev(7)));
    assert_eq!((journal.standing(first), journal.standing(second)), (Standing::Durable, Standing::Waiting));
    assert_eq!(numbers(&journal.next_step()), [2]);
    journal.committed(Ok(Rev(7)));
    assert_eq!(journal.standing(second), Standing::Durable);
    assert_eq!(journal.next_step(), Step::Rest);
    assert_eq!(journal.rest(), Some(Rev(7)));
}

#[test]
fn an_outage_stalls_all_that_waits_and_ends_in_one_commit() {
    let mut journal = journal();
    journal.submit(said(1));
    journal.next_step();
    journal.committed(Err(OUTAGE));
    let second = journal.submit(said(2)).expect("it gates");
    assert_eq!(journal.standing(second), Standing::Stalled);
    assert_eq!(journal.next_step(), Step::Pause(Duration::from_secs(1)));
    journal.resumed();
    assert_eq!(numbers(&journal.next_step()), [1, 2]);
}

#[test]
fn an_outage_while_looking_does_not_make_it_forget_to_look() {
    let mut journal = journal();
    let mark = journal.submit(said(1)).expect("it gates");
    let Step::Commit(batch) = journal.next_step() else { panic!("a commit") };
    journal.committed(Err(StoreError::Unknown));
    assert_eq!(journal.next_step(), Step::Load);
    journal.loaded(Err(OUTAGE));
    assert!(matches!(journal.next_step(), Step::Pause(_)));
    journal.resumed();
    assert_eq!(journal.next_step(), Step::Load, "it may have been done");
    let record = crate::port::Record { bytes: Arc::default(), owner: 0, expires_at: None };
    journal.loaded(Ok(Some(crate::port::Stored { id: 1, record, rev: Rev(8) })));
    assert_eq!(journal.next_step(), Step::Replay(StreamId(1), 0));
    journal.replayed(Ok(Replay { events: batch.events, complete: true }));
    assert_eq!(journal.standing(mark), Standing::Durable);
    journal.submit(said(2));
    let Step::Commit(batch) = journal.next_step() else { panic!("a commit") };
    assert_eq!(batch.expect, Some(Rev(7)), "the state that another node wrote is not ours");
}

#[test]
fn what_is_said_after_the_session_was_lost_never_leaves() {
    let mut journal = journal();
    journal.submit(said(1));
    journal.next_step();
    journal.committed(Err(StoreError::Conflict { current: Some(Rev(9)) }));
    let late = journal.submit(said(2)).expect("it gates");
    assert_eq!(journal.standing(late), Standing::Lost);
    assert!(journal.is_lost() && !journal.is_due());
    assert_eq!(journal.next_step(), Step::Rest);
}

#[test]
fn what_is_under_way_when_the_session_is_ended_never_leaves() {
    let mut journal = journal();
    let mark = journal.submit(said(1)).expect("it gates");
    journal.next_step();
    journal.end();
    journal.committed(Ok(Rev(7)));
    assert_eq!(journal.standing(mark), Standing::Ended);
    assert_eq!(journal.next_step(), Step::Rest);
}

#[test]
fn a_record_that_is_as_before_says_nothing_of_the_events_beside_it() {
    let mut journal = journal();
    let session = crate::session::Session::new(
        crate::io::Timestamp(1),
        crate::session::Shape::Http,
        1,
        Arc::default(),
        Arc::new(crate::offer::Offer::new(
            &andon_types::meta::Implementation::new("t", "1"),
            None,
            &Default::default(),
        )),
    );
    journal.submit(Changes { record: Some(Box::new(session.record())), ..said(1) });
    let Step::Commit(batch) = journal.next_step() else { panic!("a commit") };
    journal.committed(Err(StoreError::Unknown));
    let record = batch.record.clone().expect("there is one");
    assert_eq!(journal.next_step(), Step::Load);
    journal.loaded(Ok(Some(crate::port::Stored { id: 1, record, rev: Rev(7) })));
    assert_eq!(journal.next_step(), Step::Replay(StreamId(1), 0));
    journal.replayed(Ok(Replay { events: Vec::new(), complete: true }));
    assert_eq!(journal.next_step(), Step::Commit(batch), "once more");
}
