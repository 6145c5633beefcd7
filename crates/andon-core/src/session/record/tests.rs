use std::sync::Arc;
use std::time::Duration;

use andon_types::capability::ServerCapabilities;
use andon_types::message::{Body, Message};
use andon_types::meta::Implementation;
use andon_types::scan::ScanLimits;
use serde_json::json;

use super::{Changes, Life, LoggedEvent, SessionRecord};
use crate::io::{CallId, Frame, Input, ListKind, Output, Reply, StreamId, Timestamp};
use crate::limits::Limits;
use crate::offer::Offer;
use crate::session::{AttachError, Phase, Session, Shape, StreamKind};

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;

fn message(text: &str) -> Message {
    match Body::parse(text.as_bytes(), ScanLimits::default()) {
        Ok(Body::Single(message)) => message,
        other => panic!("{text}: {other:?}"),
    }
}

fn offer() -> Arc<Offer> {
    let capabilities: ServerCapabilities =
        serde_json::from_value(json!({"tools": {}, "resources": {"subscribe": true}})).expect("fine");
    Arc::new(Offer::new(&Implementation::new("test", "1"), None, &capabilities))
}

/// A durable session and the time, which passes when the test says so.
struct Bench {
    session: Session,
    now: Timestamp,
}

impl Bench {
    /// A session that is ready, and of which everything is written down.
    fn ready() -> Self {
        let now = Timestamp(1_000 * HOUR);
        let session = Session::new(now, Shape::Http, 7, Arc::new(Limits::default()), offer()).durable();
        let mut bench = Self { session, now };
        let params =
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}});
        let (stream, _) =
            bench.post(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).to_string());
        let opened = bench.changes();
        assert!(opened.gates && opened.record.is_some_and(|record| record.phase == Phase::Initializing));
        bench.session.delivered(stream);
        bench.input(Input::Message {
            stream: StreamId(0),
            message: message(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#),
        });
        assert!(bench.changes().gates);
        bench
    }

    fn input(&mut self, input: Input) -> Vec<Output> {
        self.session.handle(self.now, input)
    }

    fn changes(&mut self) -> Changes {
        self.session.take_changes()
    }

    /// A request on a stream of its own.
    fn post(&mut self, text: &str) -> (StreamId, Vec<Output>) {
        let stream = self.session.open_stream(self.now, StreamKind::Request);
        self.session.owe(stream, 1);
        let out = self.input(Input::Message { stream, message: message(text) });
        (stream, out)
    }

    fn call(&mut self, id: u32) -> (StreamId, CallId) {
        let text = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "x"}}).to_string();
        let (stream, out) = self.post(&text);
        match out.as_slice() {
            [Output::Call(call)] => (stream, call.id),
            other => panic!("no call: {other:?}"),
        }
    }

    fn done(&mut self, call: CallId) -> Vec<Output> {
        self.input(Input::Done { call, outcome: Ok(Reply::default()) })
    }

    /// The process dies, and another one has `record` and `events`.
    fn revive(&self, record: SessionRecord, events: Vec<LoggedEvent>) -> (Self, Vec<Output>) {
        let record = SessionRecord::decode(&record.encode()).expect("it was written").taken_over(self.now);
        let limits = Arc::new(Limits::default());
        let (session, out) = Session::restore(self.now, record, events, limits, offer()).expect("it goes on");
        (Self { session, now: self.now }, out)
    }
}

fn texts(frames: &[Frame]) -> Vec<&str> {
    frames.iter().filter_map(|frame| frame.text.as_deref()).collect()
}

#[test]
fn a_call_that_is_answered_at_once_is_not_written_down() {
    let mut bench = Bench::ready();
    let (stream, call) = bench.call(1);
    bench.done(call);
    bench.session.delivered(stream);
    assert!(bench.changes().is_empty());
}

#[test]
fn a_call_that_is_entered_is_in_the_record_before_it_runs_and_out_of_it_after() {
    let mut bench = Bench::ready();
    let (stream, call) = bench.call(1);
    bench.session.enter(call);
    let entered = bench.changes();
    let record = entered.record.expect("it is entered");
    assert!(entered.gates);
    assert_eq!(record.requests.iter().map(|request| request.call).collect::<Vec<_>>(), [call.0]);
    bench.done(call);
    bench.session.delivered(stream);
    let left = bench.changes();
    // Nobody has to wait for that.
    assert!(!left.gates && left.record.is_some_and(|record| record.requests.is_empty()));
    // It had no stream that anybody could come back to: nothing is said of it.
    let (_, out) = bench.revive(*record, Vec::new());
    assert!(out.is_empty(), "{out:?}");
}

#[test]
fn k3_a_promised_stream_ends_in_one_answer_wherever_the_process_dies() {
    let mut bench = Bench::ready();
    let (stream, call) = bench.call(1);
    bench.session.promise(stream);
    let promised = bench.changes();
    bench.input(Input::Progress { call, progress: 1.0, total: None, message: None });
    assert!(promised.gates && bench.changes().is_empty(), "without a token there is no progress");
    let record = *promised.record.expect("it is promised");
    bench.done(call);
    let ended = bench.changes();
    let [answer] = ended.events.as_slice() else { panic!("{ended:?}") };
    assert_eq!((answer.answers, answer.last, ended.gates), (Some(call), true, true));

    // Before the answer was stored: the outcome is unknown.
    let (mut before, _) = bench.revive(record.clone(), Vec::new());
    let (_, frames) = before.session.resume(before.now, &format!("7-{:x}-0", stream.0)).expect("it is kept");
    assert!(frames.len() == 1 && frames[0].last && texts(&frames)[0].contains("outcome unknown"), "{frames:?}");

    // After: it is the answer, also with the record of before.
    for record in [record, *ended.record.expect("the call is out of it")] {
        let (mut after, _) = bench.revive(record, ended.events.clone());
        let (_, frames) = after.session.resume(after.now, &format!("7-{:x}-0", stream.0)).expect("it is kept");
        assert_eq!(texts(&frames), [&*answer.text]);
        assert!(frames[0].last);
    }
}

#[test]
fn k5_what_a_client_has_seen_is_forgotten_and_numbers_go_on() {
    let mut bench = Bench::ready();
    let standing = bench.session.attach(bench.now).expect("there is room");
    bench.session.promise(standing);
    bench.input(Input::Changed(crate::io::ListKind::Tools));
    let said = bench.changes();
    assert_eq!(said.events.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1]);
    bench.input(Input::Detached { stream: standing });
    bench.session.resume(bench.now, &format!("7-{:x}-1", standing.0)).expect("it is kept");
    let seen = bench.changes();
    assert_eq!((seen.forget.as_slice(), seen.gates), (&[(standing, 1)][..], false));
    let (mut next, _) = bench.revive(*seen.record.expect("with what is forgotten"), Vec::new());
    assert_eq!(next.session.resume(next.now, &format!("7-{:x}-0", standing.0)), Err(AttachError::Evicted));
    next.session.resume(next.now, &format!("7-{:x}-1", standing.0)).expect("nothing is missing");
    next.input(Input::Tick);
    let said = next.changes().events;
    assert_eq!(said.first().map(|event| event.sequence), Some(2));
}

#[test]
fn a_session_that_ended_writes_nothing() {
    let mut bench = Bench::ready();
    let (stream, _) = bench.call(1);
    bench.session.promise(stream);
    bench.input(Input::End);
    assert!(bench.changes().is_empty());
}

#[test]
fn ses_time_to_live_is_the_sessions_own_or_none() {
    let mut bench = Bench::ready();
    let at = |bench: &Bench, ms: u64| Timestamp(bench.now.0 + ms);
    assert!(!bench.session.is_expired(at(&bench, HOUR / 2 - 1)) && bench.session.is_expired(at(&bench, HOUR / 2)));
    bench.input(Input::Keep(Life::IdleMs(48 * HOUR)));
    assert!(bench.changes().gates, "a promise to keep it is written down");
    assert!(!bench.session.is_expired(at(&bench, 48 * HOUR - 1)) && bench.session.is_expired(at(&bench, 48 * HOUR)));
    bench.input(Input::Keep(Life::Forever));
    let record = *bench.changes().record.expect("it changed");
    assert_eq!(record.expires_at(&Limits::default()), None);
    assert!(!bench.session.is_expired(Timestamp(u64::MAX)));
    let (next, _) = bench.revive(record, Vec::new());
    assert!(!next.session.is_expired(Timestamp(u64::MAX)));
    // Busy it never expires, whatever its time is.
    bench.input(Input::Keep(Life::IdleMs(1)));
    bench.call(1);
    assert!(!bench.session.is_expired(at(&bench, 48 * HOUR)));
}

/// The record in the store lives as long as the session that is used in memory, and is written rarely for that.
#[test]
fn a_session_that_is_used_does_not_expire_in_the_store() {
    let mut bench = Bench::ready();
    let limits = Limits::default();
    let mut expires_at = bench.session.record().expires_at(&limits).expect("it does");
    let mut written = 0;
    for _ in 0..1_000 {
        bench.now = bench.now.after(Duration::from_secs(60));
        bench.input(Input::Message { stream: StreamId(0), message: message(r#"{"jsonrpc":"2.0","method":"x"}"#) });
        bench.session.touch(bench.now);
        if let Some(record) = bench.changes().record {
            written += 1;
            expires_at = record.expires_at(&limits).expect("it does");
        }
        assert!(expires_at > bench.now, "the store would sweep a session that is alive");
    }
    assert!((50..=150).contains(&written), "{written} writes in 1,000 minutes");
}

#[test]
fn who_came_back_in_the_last_moment_is_not_idle() {
    let limits = Limits::default();
    let mut first = Bench::ready();
    let (record, events) = (first.session.record(), Vec::new());
    first.now = first.now.after(limits.idle_timeout);
    let (mut second, _) = first.revive(record, events);
    let written = |bench: &mut Bench| bench.session.take_changes().record.map(|record| record.expires_at(&limits));
    let later = second.now.after(limits.idle_timeout);
    assert!(written(&mut second).is_none(), "it was written down when it was taken over");
    assert!(second.session.record().expires_at(&limits) > Some(later));
    // Something is written down while nobody uses it; then somebody does.
    second.now = second.now.after(limits.idle_timeout / 2);
    second.session.set_value("name", Some(andon_types::raw::RawJson::of(&1).expect("it is JSON"))).expect("room");
    written(&mut second);
    second.now = second.now.after(limits.idle_timeout / 4);
    second.post(r#"{"jsonrpc":"2.0","id":9,"method":"ping"}"#);
    let (now, used) = (second.now, second.now.after(limits.idle_timeout));
    second.session.touch(now);
    assert!(written(&mut second).is_some_and(|at| at > Some(used)), "at the next look");
}

#[test]
fn nobody_comes_back_for_a_stream_that_was_not_promised() {
    let mut bench = Bench::ready();
    let (stream, _) = bench.call(2);
    let (now, id) = (bench.now, format!("7-{:x}-0", stream.0));
    assert_eq!(bench.session.resume(now, &id), Err(AttachError::Unknown), "another node gave the number to another");
    bench.session.promise(stream);
    assert!(bench.session.resume(now, &id).is_ok());
}

#[test]
fn what_was_announced_to_nobody_is_announced_again() {
    let mut bench = Bench::ready();
    let lost = bench.session.attach(bench.now).expect("room");
    assert_eq!(announced(&bench.input(Input::Changed(ListKind::Tools))), [lost]);
    bench.input(Input::Detached { stream: lost });
    // It got no event, so that it cannot come back for the stream: it opens another one.
    let other = bench.session.attach(bench.now).expect("room");
    bench.now = bench.now.after(Duration::from_secs(1));
    assert_eq!(announced(&bench.input(Input::Tick)), [other]);
    // Once is enough.
    bench.session.attach(bench.now).expect("room");
    bench.now = bench.now.after(Duration::from_secs(1));
    assert!(announced(&bench.input(Input::Tick)).is_empty());
}

#[test]
fn what_was_announced_on_a_connection_that_was_dead_already_is_announced_again() {
    let mut bench = Bench::ready();
    let dead = bench.session.attach(bench.now).expect("room");
    let other = bench.session.attach(bench.now).expect("room");
    assert_eq!(announced(&bench.input(Input::Changed(ListKind::Tools))), [dead]);
    bench.input(Input::Detached { stream: dead });
    bench.now = bench.now.after(Duration::from_secs(1));
    assert_eq!(announced(&bench.input(Input::Tick)), [other]);
}

/// Where changes of the list of tools were announced.
fn announced(out: &[Output]) -> Vec<StreamId> {
    let on = |output: &Output| match output {
        Output::Send { stream, frame } => {
            frame.text.as_deref().is_some_and(|text| text.contains("tools/list_changed")).then_some(*stream)
        }
        _ => None,
    };
    out.iter().filter_map(on).collect()
}
