use std::sync::Arc;
use std::time::Duration;

use andon_types::capability::ServerCapabilities;
use andon_types::message::{Body, Message};
use andon_types::meta::Implementation;
use andon_types::scan::ScanLimits;
use serde_json::json;

use super::{Buffered, State};
use crate::io::{Input, StreamId, Timestamp};
use crate::limits::Limits;
use crate::offer::Offer;
use crate::session::{Phase, Session, Shape, StreamKind};

const MINUTE_MS: u64 = 60_000;

fn session() -> Session {
    let capabilities: ServerCapabilities = serde_json::from_value(json!({"tools": {}, "resources": {}})).expect("fine");
    let offer = Offer::new(&Implementation::new("test", "1"), None, &capabilities);
    Session::new(Timestamp(0), Shape::Http, 7, Arc::new(Limits::default()), Arc::new(offer)).durable()
}

fn say(session: &mut Session, now: u64, stream: StreamId, text: &serde_json::Value) {
    match Body::parse(text.to_string().as_bytes(), ScanLimits::default()) {
        Ok(Body::Single(message)) => {
            let owes = matches!(message, Message::Request(_));
            session.owe(stream, u32::from(owes));
            drop(session.handle(Timestamp(now), Input::Message { stream, message }));
        }
        other => panic!("{text}: {other:?}"),
    }
}

/// A session whose handshake is complete, and a call that runs in it.
fn busy() -> (Session, StreamId) {
    let mut session = session();
    let opening = session.open_stream(Timestamp(0), StreamKind::Request);
    let params =
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}});
    say(&mut session, 0, opening, &json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}));
    session.delivered(opening);
    say(&mut session, 0, StreamId(0), &json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    let stream = session.open_stream(Timestamp(MINUTE_MS), StreamKind::Request);
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x".repeat(500)}});
    say(&mut session, MINUTE_MS, stream, &call);
    (session, stream)
}

#[test]
fn every_phase_has_its_state() {
    let mut session = session();
    assert_eq!((session.look().phase, session.look().state), (Phase::NotInitialized, State::Negotiation));
    assert_eq!(session.look().revision, None, "nothing was agreed on");
    assert_eq!(session.look().expires_at, Some(Timestamp(10_000)), "the handshake takes that long at most");
    session.handle(Timestamp(0), Input::End);
    assert_eq!((session.look().phase, session.look().state), (Phase::Disconnected, State::Closed));
    for (phase, is_busy, state) in [
        (Phase::Initializing, true, State::Negotiation),
        (Phase::Initialized, true, State::Active),
        (Phase::Initialized, false, State::Suspended),
    ] {
        assert_eq!(State::of(phase, is_busy), state);
    }
}

#[test]
fn what_runs_is_seen_with_its_time_and_name_and_nothing_that_was_said() {
    let (session, stream) = busy();
    let look = session.look();
    assert_eq!((look.state, look.expires_at), (State::Active, None));
    let [request] = look.requests.as_slice() else { panic!("{look:?}") };
    assert_eq!((&*request.method, request.begun_at, request.stream), ("tools/call", MINUTE_MS, stream.0));
    assert_eq!(request.name.as_deref(), Some("x".repeat(128).as_str()), "no more than names have");
    let [open] = look.streams.as_slice() else { panic!("{look:?}") };
    assert!(open.is_open && open.buffered == Some(Buffered::default()), "{open:?}");
}

#[test]
fn a_session_rests_when_its_client_is_gone_and_nothing_runs() {
    let (mut session, stream) = busy();
    session.handle(Timestamp(2 * MINUTE_MS), Input::Detached { stream });
    assert_eq!(session.look().state, State::Active, "the call still runs");
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    say(&mut session, 3 * MINUTE_MS, StreamId(0), &cancel);
    let look = session.look();
    assert_eq!((look.state, look.requests.len()), (State::Suspended, 0));
    let at = look.expires_at.expect("an idle session expires");
    assert_eq!(at, Timestamp(3 * MINUTE_MS).after(Duration::from_secs(30 * 60)));
    assert!(session.is_expired(at) && !session.is_expired(Timestamp(at.0 - 1)));
}

#[test]
fn a_record_looks_like_its_session_except_for_what_is_kept_elsewhere() {
    let (session, stream) = busy();
    let mut session = session;
    session.promise(stream);
    session.handle(Timestamp(MINUTE_MS), Input::Detached { stream });
    let (live, stored) = (session.look(), session.record().look(&Limits::default()));
    assert_eq!((stored.phase, &stored.revision, stored.epoch), (live.phase, &live.revision, live.epoch));
    assert_eq!((&stored.requests, &stored.client_info), (&live.requests, &live.client_info));
    assert_eq!((stored.streams.len(), stored.streams[0].buffered), (1, None));
    assert_eq!(stored.state, State::Suspended, "nobody has it in memory");
}
