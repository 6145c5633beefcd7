//! What earlier releases wrote is read. A file per format, as the release that had it wrote it; they are never changed.

use std::sync::Arc;

use andon_core::io::{CallId, StreamId, Timestamp};
use andon_core::limits::Limits;
use andon_core::offer::Offer;
use andon_core::session::record::{LoggedEvent, RecordError, SessionRecord};
use andon_core::session::{Phase, Session};
use andon_types::capability::ServerCapabilities;
use andon_types::meta::Implementation;
use andon_types::revision::Revision;

const FORMAT_1: &[u8] = include_bytes!("fixtures/session-1.json");

fn offer() -> Arc<Offer> {
    Arc::new(Offer::new(&Implementation::new("test", "1"), None, &ServerCapabilities::default()))
}

#[test]
fn a_record_of_format_1_is_read_and_goes_on() {
    let record = SessionRecord::decode(FORMAT_1).expect("it is one");
    let now = Timestamp(record.active_at + 1_000);
    let record = record.taken_over(now);
    assert_eq!(record.subject.as_deref(), Some("alice"));
    assert_eq!((record.streams.len(), record.requests.len(), record.questions.len()), (2, 1, 1));
    let events = vec![LoggedEvent {
        stream: StreamId(4),
        sequence: 1,
        answers: None,
        last: false,
        text: r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#.into(),
    }];
    let limits = Arc::new(Limits::default());
    let (mut session, _) = Session::restore(now, record, events, limits, offer()).expect("it can go on");
    assert_eq!((session.phase(), session.revision()), (Phase::Initialized, Revision::V2025_11_25));
    assert_eq!(session.value("cart").map(andon_types::raw::RawJson::as_str), Some(r#"{"items":3}"#));
    assert_eq!(session.subscriptions().map(|uri| &**uri).collect::<Vec<_>>(), ["file:///a", "file:///b"]);
    let (stream, frames) = session.resume(now, "1c1de6f4-4-1").expect("the stream is kept");
    assert_eq!(stream, StreamId(4));
    let [answer] = frames.as_slice() else { panic!("{frames:?}") };
    assert!(answer.last && answer.text.as_deref().is_some_and(|text| text.contains("outcome unknown")), "{answer:?}");
    // What it writes from now on is of this release's format.
    let written = session.take_changes().record.expect("it came back, which is written down");
    assert_eq!((written.format, written.epoch), (SessionRecord::FORMAT, 3));
    assert_eq!(SessionRecord::decode(&written.encode()).as_ref(), Ok(&*written));
}

#[test]
fn records_that_cannot_be_read_say_why() {
    let newer = br#"{"format":2,"and":"whatever"}"#;
    assert_eq!(SessionRecord::decode(newer), Err(RecordError::Newer(2)));
    for bad in [&b""[..], b"{}", b"null", br#"{"format":0}"#, br#"{"format":1}"#, &FORMAT_1[..200]] {
        assert!(matches!(SessionRecord::decode(bad), Err(RecordError::Malformed(_))), "{bad:?}");
    }
}

#[test]
fn events_are_read_as_they_were_written() {
    let event =
        |answers, last, text: &str| LoggedEvent { stream: StreamId(7), sequence: 9, answers, last, text: text.into() };
    for event in [event(None, false, "{}"), event(None, true, "\u{e9}"), event(Some(CallId(u64::MAX)), true, "")] {
        assert_eq!(LoggedEvent::decode(StreamId(7), 9, &event.encode()), Some(event));
    }
    // Written by the release that had format 1.
    let old = b"\x03\x00\x00\x00\x01\x00\x00\x00\x02{}";
    assert_eq!(LoggedEvent::decode(StreamId(7), 9, old), Some(event(Some(CallId((1 << 32) + 2)), true, "{}")));
    for bad in [&b""[..], b"\x02\x00", b"\x04{}", b"\x00\xff"] {
        assert_eq!(LoggedEvent::decode(StreamId(7), 9, bad), None, "{bad:?}");
    }
}
