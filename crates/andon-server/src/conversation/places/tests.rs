use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use andon_core::io::{Frame, StreamId};
use tokio::sync::oneshot;

use super::{Early, Place, Places};
use crate::host::Host;
use crate::outlet::{First, Held, Outlet};
use crate::server::Server;
use crate::work::Work;

const STREAM: StreamId = StreamId(7);

/// Somebody stands by, and was told nothing yet.
fn standing_by() -> (Arc<Host>, Places) {
    let (host, mut places) = (Server::new("test", "1").build().unwrap(), Places::default());
    places.put(STREAM, Place::stand_by());
    (host, places)
}

fn answer() -> Held {
    Held {
        frame: Frame { id: None, text: Some("{}".to_owned().into()), retry_ms: None, last: true, status: 200 },
        until: None,
    }
}

/// A handler that says when it is done, which it is as soon as it is told to.
fn work() -> (oneshot::Sender<()>, Work, oneshot::Receiver<()>) {
    let ((go, gone), (done, is_done)) = (oneshot::channel::<()>(), oneshot::channel());
    let handler = async move {
        gone.await.unwrap();
        done.send(()).unwrap();
    };
    (go, Work::new(handler), is_done)
}

/// How the answer begins, if that is known.
fn first(outlet: &Outlet) -> Poll<First> {
    outlet.poll_whole(&mut Context::from_waker(Waker::noop()))
}

/// What whoever stood by was told, if that was not all at once.
fn more(places: &mut Places, host: &Host) -> Outlet {
    let Some((Early::More(outlet), None)) = places.early(host, STREAM) else { panic!("one message, or a handler") };
    outlet
}

#[test]
fn who_stands_by_when_all_leave_is_sent_elsewhere() {
    let (host, mut places) = standing_by();
    places.leave(&host);
    let outlet = more(&mut places, &host);
    assert!(matches!(first(&outlet), Poll::Ready(First::Elsewhere)));
    assert!(!places.has(STREAM), "nothing follows");
}

#[test]
fn who_stands_by_when_the_stream_closes_is_told_nothing() {
    let (host, mut places) = standing_by();
    places.close(&host, STREAM);
    let outlet = more(&mut places, &host);
    assert!(matches!(first(&outlet), Poll::Ready(First::Nothing)));
    assert!(!places.has(STREAM), "nothing follows");
}

#[test]
fn what_is_said_after_somebody_stood_by_goes_where_they_look() {
    let (host, mut places) = standing_by();
    let outlet = more(&mut places, &host);
    assert!(first(&outlet).is_pending());
    places.send(&host, STREAM, answer());
    assert!(matches!(first(&outlet), Poll::Ready(First::Whole(frame)) if frame == answer().frame));
    assert!(!places.has(STREAM), "the last was said");
}

#[tokio::test]
async fn a_handler_whose_place_another_one_takes_goes_on_as_a_task() {
    let (host, mut places) = standing_by();
    let (go, handler, is_done) = work();
    assert!(places.carry(STREAM, handler).is_none());
    places.put(STREAM, Place::Outlet(host.outlet()));
    assert!(places.early(&host, STREAM).is_none(), "the place is another connection's");
    go.send(()).unwrap();
    is_done.await.expect("it goes on");
}

#[tokio::test]
async fn a_handler_is_carried_by_who_stands_by_and_has_none() {
    let (host, mut places) = standing_by();
    let (mut goes, mut ends) = (Vec::new(), Vec::new());
    let mut next = || {
        let (go, handler, is_done) = work();
        goes.push(go);
        ends.push(is_done);
        handler
    };
    assert!(places.carry(STREAM, next()).is_none());
    assert!(places.carry(STREAM, next()).is_some(), "the second one of a batch");
    assert!(places.carry(StreamId(8), next()).is_some(), "nobody is there");
    let Some((Early::More(outlet), Some(mut carried))) = places.early(&host, STREAM) else { panic!("no handler") };
    assert!(places.carry(STREAM, next()).is_some(), "nobody stands by any more");
    goes.into_iter().for_each(|go| go.send(()).unwrap());
    assert!(carried.poll_whole(&outlet, &mut Context::from_waker(Waker::noop())).is_pending());
    ends.first_mut().unwrap().try_recv().expect("the first one was carried");
    for is_done in ends.into_iter().skip(1) {
        is_done.await.expect("what nobody carries is a task");
    }
}

#[test]
fn a_whole_answer_is_taken_once_and_nothing_follows_it() {
    let (host, mut places) = standing_by();
    places.send(&host, STREAM, answer());
    places.send(&host, STREAM, answer());
    places.close(&host, STREAM);
    assert!(places.outlet(STREAM).is_none(), "no outlet is made for it");
    let Some((Early::Whole(held), None)) = places.early(&host, STREAM) else { panic!("no whole answer") };
    assert_eq!(held.frame, answer().frame);
    assert!(!places.has(STREAM));
    assert!(places.early(&host, STREAM).is_none());
}
