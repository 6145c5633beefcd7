use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use andon_types::capability::ServerCapabilities;
use andon_types::client::InputRequest;
use andon_types::error::ErrorObject;
use andon_types::message::{Body, Message};
use andon_types::meta::Implementation;
use andon_types::scan::ScanLimits;
use proptest::prelude::{Just, Strategy, prop_oneof};
use serde_json::{Value, json};

use super::{AttachError, Phase, Session, Shape, StreamKind};
use crate::io::{AskError, AskId, CallId, Frame, Input, ListKind, Output, Reply, StreamId, Timestamp};
use crate::limits::Limits;
use crate::offer::Offer;

const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

fn message(text: &str) -> Message {
    match Body::parse(text.as_bytes(), ScanLimits::default()) {
        Ok(Body::Single(message)) => message,
        other => panic!("{text}: {other:?}"),
    }
}

/// A session and the time, which only passes when the test says so.
struct Bench {
    session: Session,
    now: Timestamp,
    pipe: StreamId,
}

impl Bench {
    fn new(shape: Shape) -> Self {
        let capabilities: ServerCapabilities =
            serde_json::from_value(json!({"tools": {}, "resources": {"subscribe": true}, "logging": {}}))
                .expect("fine");
        let offer = Offer::new(&Implementation::new("test", "1"), None, &capabilities);
        let mut session = Session::new(Timestamp(0), shape, 7, Arc::new(Limits::default()), Arc::new(offer));
        let pipe = session.open_stream(Timestamp(0), StreamKind::Pipe);
        Self { session, now: Timestamp(0), pipe }
    }

    /// A session of `revision` that is ready, with a client that declares everything.
    fn ready(shape: Shape, revision: &str) -> Self {
        let mut bench = Self::new(shape);
        let capabilities = json!({"sampling": {}, "elicitation": {}, "roots": {}});
        let params = json!({"protocolVersion": revision, "capabilities": capabilities,
            "clientInfo": {"name": "c", "version": "1"}});
        let answers =
            bench.ask(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).to_string());
        assert_eq!(answers[0]["result"]["protocolVersion"], revision);
        bench.say(INITIALIZED);
        assert_eq!(bench.session.phase(), Phase::Initialized);
        bench
    }

    fn input(&mut self, input: Input) -> Vec<Output> {
        self.session.handle(self.now, input)
    }

    fn say(&mut self, text: &str) -> Vec<Output> {
        self.input(Input::Message { stream: self.pipe, message: message(text) })
    }

    /// What is sent back at once.
    fn ask(&mut self, text: &str) -> Vec<Value> {
        sent(&self.say(text))
    }

    fn call(&mut self, id: u32) -> CallId {
        self.call_with(id, &json!({"name": "x"}))
    }

    fn call_with(&mut self, id: u32, params: &Value) -> CallId {
        let out = self.say(&json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string());
        match out.as_slice() {
            [Output::Call(call)] => call.id,
            other => panic!("no call: {other:?}"),
        }
    }

    fn done(&mut self, call: CallId) -> Vec<Output> {
        self.input(Input::Done { call, outcome: Ok(Reply::default()) })
    }

    fn wait(&mut self, duration: Duration) -> Vec<Output> {
        self.now = self.now.after(duration);
        self.input(Input::Tick)
    }
}

fn frames(out: &[Output]) -> Vec<Frame> {
    out.iter()
        .filter_map(|output| if let Output::Send { frame, .. } = output { Some(frame.clone()) } else { None })
        .collect()
}

fn sent(out: &[Output]) -> Vec<Value> {
    let texts = frames(out).into_iter().filter_map(|frame| frame.text);
    texts.map(|text| serde_json::from_str(&text).expect("JSON")).collect()
}

fn ping(id: u32) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": "ping"}).to_string()
}

#[test]
fn r10_r11_before_the_handshake_only_ping_is_served() {
    let mut bench = Bench::new(Shape::Pipe);
    let list = |id: u32| json!({"jsonrpc": "2.0", "id": id, "method": "tools/list"}).to_string();
    assert_eq!(bench.ask(&list(1))[0]["error"]["code"], -32600);
    assert_eq!(bench.ask(&ping(2))[0]["result"], json!({}));
    let params =
        json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}});
    bench.say(&json!({"jsonrpc": "2.0", "id": 3, "method": "initialize", "params": params}).to_string());
    assert_eq!(bench.session.phase(), Phase::Initializing);
    assert_eq!(bench.ask(&list(4))[0]["error"]["code"], -32600, "a pipe keeps order: nothing races");
    bench.say(INITIALIZED);
    assert!(matches!(bench.say(&list(5)).as_slice(), [Output::Call(_)]));
}

#[test]
fn r12_a_second_initialize_changes_nothing() {
    let mut bench = Bench::ready(Shape::Pipe, "2025-06-18");
    let params =
        json!({"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "d", "version": "2"}});
    let again = json!({"jsonrpc": "2.0", "id": 9, "method": "initialize", "params": params}).to_string();
    assert_eq!(bench.ask(&again)[0]["error"]["code"], -32600);
    assert_eq!(bench.session.revision().as_str(), "2025-06-18");
}

#[test]
fn initialize_with_bad_parameters_opens_nothing() {
    for params in
        [json!({}), json!({"protocolVersion": 1}), json!({"protocolVersion": "2025-06-18", "capabilities": []})]
    {
        let mut bench = Bench::new(Shape::Pipe);
        let text = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).to_string();
        assert_eq!(bench.ask(&text)[0]["error"]["code"], -32602, "{params}");
        assert_eq!(bench.session.phase(), Phase::NotInitialized);
    }
}

#[test]
fn r3_r4_r5_ids_are_used_once() {
    let mut bench = Bench::ready(Shape::Pipe, "2025-11-25");
    let first = bench.call(1);
    let twin = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
    assert_eq!(bench.ask(&twin)[0]["error"]["code"], -32600, "in flight");
    let text = json!({"jsonrpc": "2.0", "id": "1", "method": "tools/list"}).to_string();
    assert!(matches!(bench.say(&text).as_slice(), [Output::Call(_)]), "\"1\" is not 1");
    assert_eq!(sent(&bench.done(first))[0]["id"], 1);
    assert_eq!(bench.ask(&twin)[0]["error"]["code"], -32600, "answered already");
}

#[test]
fn r14_cancelling_what_is_not_there_is_ignored() {
    let mut bench = Bench::ready(Shape::Pipe, "2025-11-25");
    for params in [json!({"requestId": 77}), json!({"requestId": null}), json!({}), json!([])] {
        let text = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}).to_string();
        assert!(bench.say(&text).is_empty(), "{params}");
    }
}

#[test]
fn can3_can9_a_cancelled_call_is_stopped_and_gets_no_answer() {
    let mut bench = Bench::ready(Shape::Pipe, "2025-11-25");
    let call = bench.call(1);
    let ask = AskId(1);
    let asked = bench.input(Input::Ask { call, ask, key: "k".into(), request: InputRequest::roots(), timeout: None });
    let question = sent(&asked)[0]["id"].clone();
    let text = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}).to_string();
    let out = bench.say(&text);
    assert!(out.iter().any(|output| matches!(output, Output::Cancel { call: cancelled } if *cancelled == call)));
    assert!(out.iter().any(|output| matches!(output, Output::Answered { outcome: Err(AskError::Cancelled), .. })));
    assert_eq!(sent(&out)[0]["params"]["requestId"], question, "the client need not answer any more");
    assert!(bench.done(call).is_empty(), "what comes too late is dropped");
}

#[test]
fn r6_r15_a_question_has_one_outcome() {
    let mut bench = Bench::ready(Shape::Pipe, "2025-11-25");
    let call = bench.call(1);
    let asked =
        bench.input(Input::Ask { call, ask: AskId(1), key: "k".into(), request: InputRequest::roots(), timeout: None });
    let id = sent(&asked)[0]["id"].clone();
    let answer = json!({"jsonrpc": "2.0", "id": id, "result": {"roots": []}}).to_string();
    assert!(matches!(bench.say(&answer).as_slice(), [Output::Answered { outcome: Ok(_), .. }]));
    assert!(matches!(bench.say(&answer).as_slice(), [Output::Dropped(_)]), "answered already");
    let unknown = json!({"jsonrpc": "2.0", "id": "andon-999", "result": {}}).to_string();
    assert!(matches!(bench.say(&unknown).as_slice(), [Output::Dropped(_)]));
}

#[test]
fn changed_roots_are_passed_on_once_the_session_is_initialized() {
    let text = json!({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}).to_string();
    let mut bench = Bench::ready(Shape::Pipe, "2025-11-25");
    assert!(matches!(bench.say(&text).as_slice(), [Output::RootsChanged]));
    bench.input(Input::End);
    assert!(bench.say(&text).is_empty());
}

#[test]
fn tmo3_questions_and_calls_end_by_their_deadlines() {
    let mut bench = Bench::ready(Shape::Pipe, "2025-11-25");
    let call = bench.call(1);
    let timeout = Some(Duration::from_secs(5));
    bench.input(Input::Ask { call, ask: AskId(1), key: "k".into(), request: InputRequest::roots(), timeout });
    assert_eq!(bench.session.deadline(), Some(Timestamp(5_000)));
    let out = bench.wait(Duration::from_secs(5));
    assert!(out.iter().any(|output| matches!(output, Output::Answered { outcome: Err(AskError::TimedOut), .. })));
    assert_eq!(sent(&out)[0]["method"], "notifications/cancelled");
    let out = bench.wait(Duration::from_secs(60));
    assert!(out.iter().any(|output| matches!(output, Output::Cancel { .. })));
    assert_eq!(sent(&out)[0]["error"]["code"], -32603);
    assert!(!bench.session.is_busy() || bench.session.deadline().is_none());
}

#[test]
fn r19_ses12_what_was_not_declared_is_not_used() {
    let mut bench = Bench::new(Shape::Pipe);
    let params =
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}});
    bench.say(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).to_string());
    bench.say(INITIALIZED);
    let call = bench.call(1);
    for request in [InputRequest::roots(), InputRequest::sample("x", 1), InputRequest::form("x", json!({}))] {
        let out = bench.input(Input::Ask { call, ask: AskId(1), key: "k".into(), request, timeout: None });
        assert!(matches!(out.as_slice(), [Output::Answered { outcome: Err(AskError::NotDeclared(_)), .. }]));
    }
    let prompts = json!({"jsonrpc": "2.0", "id": 2, "method": "prompts/list"}).to_string();
    assert_eq!(bench.ask(&prompts)[0]["error"]["code"], -32601, "the server declares no prompts");
}

#[test]
fn prg_progress_increases_stops_and_is_bounded() {
    let mut bench = Bench::ready(Shape::Pipe, "2025-11-25");
    let call = bench.call_with(1, &json!({"name": "x", "_meta": {"progressToken": "t"}}));
    let report = |bench: &mut Bench, progress: f64| {
        sent(&bench.input(Input::Progress { call, progress, total: None, message: None }))
    };
    assert_eq!(report(&mut bench, 1.0)[0]["params"], json!({"progressToken": "t", "progress": 1}));
    assert_eq!(report(&mut bench, 1.5)[0]["params"]["progress"], 1.5);
    assert!(
        report(&mut bench, 1.0).is_empty()
            && report(&mut bench, 0.5).is_empty()
            && report(&mut bench, f64::NAN).is_empty()
    );
    let passed: usize = (2..100_000).map(|n| report(&mut bench, f64::from(n)).len()).sum();
    assert!(passed <= 10, "x2: {passed} of a storm");
    let out = sent(&bench.done(call));
    assert_eq!(out[0]["params"]["progress"], 99_999.0, "the last value is never lost");
    assert_eq!(out[1]["id"], 1);
    assert!(report(&mut bench, 1e9).is_empty(), "silent after the answer");
}

#[test]
fn x3_logs_are_bounded_and_say_what_was_dropped() {
    let mut bench = Bench::ready(Shape::Pipe, "2025-11-25");
    let call = bench.call(1);
    let log = |bench: &mut Bench| {
        let data = json!("x").into();
        sent(&bench.input(Input::Log { call, level: andon_types::meta::Level::Error, logger: None, data }))
    };
    let passed: usize = (0..10_000).map(|_| log(&mut bench).len()).sum();
    assert_eq!(passed, 50);
    bench.now = bench.now.after(Duration::from_secs(1));
    assert_eq!(log(&mut bench)[0]["params"]["_meta"]["andon.dev/dropped"], 9_950);
}

#[test]
fn sub11_x4_changes_are_coalesced_and_the_last_is_not_lost() {
    let mut bench = Bench::ready(Shape::Pipe, "2025-11-25");
    assert_eq!(sent(&bench.input(Input::Changed(ListKind::Tools))).len(), 1);
    assert!((0..1000).all(|_| bench.input(Input::Changed(ListKind::Tools)).is_empty()));
    assert_eq!(bench.session.deadline(), Some(Timestamp(100)));
    assert_eq!(sent(&bench.wait(Duration::from_millis(100)))[0]["method"], "notifications/tools/list_changed");
    assert!(bench.wait(Duration::from_secs(1)).is_empty());

    let uri: Arc<str> = "demo://x".into();
    assert!(bench.input(Input::Updated(uri.clone().into())).is_empty(), "nobody subscribed");
    let text =
        json!({"jsonrpc": "2.0", "id": 5, "method": "resources/subscribe", "params": {"uri": "demo://x"}}).to_string();
    let out = bench.say(&text);
    let [Output::Call(call)] = out.as_slice() else { panic!("{out:?}") };
    let reply = Reply { subject: Some("demo://x".into()), ..Reply::default() };
    let out = bench.input(Input::Done { call: call.id, outcome: Ok(reply) });
    assert!(
        matches!(&out[..], [Output::Subscription { present: true, .. }, Output::Send { .. }]),
        "in force before it is said"
    );
    assert_eq!(sent(&bench.input(Input::Updated(uri.into())))[0]["params"]["uri"], "demo://x");
    let ended = bench.input(Input::End);
    assert!(ended.iter().any(|output| matches!(output, Output::Subscription { present: false, .. })));
}

#[test]
fn x1_subscriptions_of_one_session_are_bounded() {
    let mut bench = Bench::ready(Shape::Pipe, "2025-11-25");
    let mut subscribe = |id: usize| {
        let uri = format!("demo://{id}");
        let text = json!({"jsonrpc": "2.0", "id": id, "method": "resources/subscribe", "params": {"uri": uri}});
        let out = bench.say(&text.to_string());
        let [Output::Call(call)] = out.as_slice() else { panic!("{out:?}") };
        let reply = Reply { subject: Some(uri.into()), ..Reply::default() };
        sent(&bench.input(Input::Done { call: call.id, outcome: Ok(reply) })).remove(0)
    };
    assert!((100..1_100).all(|id| subscribe(id)["result"] == json!({})));
    assert_eq!(subscribe(1_100)["error"]["code"], -32602);
    assert_eq!(bench.session.subscriptions().count(), 1_000);
}

#[test]
fn x5_calls_in_flight_are_bounded() {
    let mut bench = Bench::ready(Shape::Pipe, "2025-11-25");
    for id in 1..=64 {
        bench.call(id);
    }
    let text = json!({"jsonrpc": "2.0", "id": 65, "method": "tools/list"}).to_string();
    assert_eq!(bench.ask(&text)[0]["error"]["code"], -32000);
    assert_eq!(bench.ask(&ping(66))[0]["result"], json!({}), "ping is always served");
}

#[test]
fn s4_s12_expiry_takes_idle_sessions_only() {
    let mut bench = Bench::ready(Shape::Http, "2025-11-25");
    let day = Timestamp(0).after(Duration::from_secs(86_400 * 400));
    assert!(!bench.session.is_expired(day), "the connection of the pipe is open: busy");
    bench.input(Input::Detached { stream: bench.pipe });
    bench.session.forget_streams(day);
    assert!(!bench.session.is_expired(Timestamp(60_000)));
    assert!(bench.session.is_expired(Timestamp(31 * 60_000)));
    let silent = Bench::new(Shape::Http);
    assert!(silent.session.is_expired(Timestamp(10_000)), "r20: no handshake in time");
}

/// Over HTTP each request has a stream of its own.
fn http_call(bench: &mut Bench, id: u32) -> (StreamId, CallId) {
    let stream = bench.session.open_stream(bench.now, StreamKind::Request);
    bench.session.owe(stream, 1);
    let text = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
        "params": {"name": "x", "_meta": {"progressToken": id}}})
    .to_string();
    let out = bench.input(Input::Message { stream, message: message(&text) });
    let [Output::Call(call)] = out.as_slice() else { panic!("{out:?}") };
    (stream, call.id)
}

#[test]
fn str3_k4_a_stream_is_replayed_from_any_event_exactly() {
    let mut bench = Bench::ready(Shape::Http, "2025-11-25");
    let (stream, call) = http_call(&mut bench, 1);
    let mut said = Vec::new();
    for progress in 1..=5 {
        said.extend(frames(&bench.input(Input::Progress {
            call,
            progress: f64::from(progress),
            total: None,
            message: None,
        })));
    }
    bench.input(Input::Detached { stream });
    said.extend(frames(&bench.done(call)));
    assert!(said.last().expect("an answer").last);
    for seen in 0..said.len() {
        let id = said[seen].id.expect("streams can be resumed").to_string();
        let (again, replayed) = bench.session.resume(bench.now, &id).expect("kept");
        assert_eq!((again, &replayed[..]), (stream, &said[seen + 1..]), "after event {seen}");
        assert_eq!(frames_before(&mut bench, stream, &id), None, "what was seen is given up");
    }
}

/// Whether something older than `id` can still be had.
fn frames_before(bench: &mut Bench, stream: StreamId, id: &str) -> Option<Vec<Frame>> {
    let last = crate::event::EventId::parse(id)?;
    let older = crate::event::EventId { sequence: last.sequence.checked_sub(1)?, ..last };
    assert_eq!(older.stream, stream);
    match bench.session.resume(bench.now, &older.to_string()) {
        Ok((_, frames)) => Some(frames),
        Err(error) => {
            assert_eq!(error, AttachError::Evicted, "e4: a gap is an error and never silent");
            None
        }
    }
}

#[test]
fn e1_e2_e3_bad_event_ids_replay_nothing() {
    let mut bench = Bench::ready(Shape::Http, "2025-11-25");
    let (stream, _) = http_call(&mut bench, 1);
    for (id, error) in [
        ("", AttachError::Malformed),
        ("x", AttachError::Malformed),
        ("7-63-1", AttachError::Unknown),
        (&format!("8-{:x}-0", stream.0), AttachError::Unknown),
        (&format!("7-{:x}-9", stream.0), AttachError::Future),
    ] {
        assert_eq!(bench.session.resume(Timestamp(0), id).map(drop), Err(error), "{id:?}");
    }
    assert!(bench.session.resume(Timestamp(0), &format!("7-{:x}-0", stream.0)).is_ok());
}

#[test]
fn str12_what_is_kept_is_bounded() {
    let mut bench = Bench::ready(Shape::Http, "2025-11-25");
    let (_, call) = http_call(&mut bench, 1);
    let data: andon_types::message::Json = json!("x".repeat(100_000)).into();
    for _ in 0..200 {
        bench.now = bench.now.after(Duration::from_secs(1));
        let log = Input::Log { call, level: andon_types::meta::Level::Error, logger: None, data: data.clone() };
        bench.input(log);
        bench.input(Input::Progress {
            call,
            progress: f64::from(u32::try_from(bench.now.0).expect("small")),
            total: None,
            message: None,
        });
    }
    assert!(bench.session.kept().1 <= 1 << 20, "{:?}", bench.session.kept());
    bench.done(call);
    bench.session.forget_streams(bench.now.after(Duration::from_secs(301)));
    assert!(bench.session.streams.iter().all(|stream| stream.id == bench.pipe), "and in the end nothing is kept");
}

#[test]
fn str12_what_is_kept_is_bounded_over_all_streams() {
    let mut bench = Bench::ready(Shape::Http, "2025-11-25");
    let (lost, last) = http_call(&mut bench, 1);
    bench.input(Input::Detached { stream: lost });
    bench.done(last);
    for id in 2..2_000 {
        let (_, call) = http_call(&mut bench, id);
        let body = json!({ "x": "x".repeat(3_000) }).to_string();
        bench.input(Input::Done { call, outcome: Ok(Reply { body: body.into(), ..Reply::default() }) });
        let (streams, bytes) = bench.session.kept();
        assert!(streams <= 100 && bytes <= 1 << 20, "{streams} streams with {bytes} bytes");
    }
    let id = format!("7-{:x}-0", lost.0);
    let (_, frames) = bench.session.resume(bench.now, &id).expect("what nobody heard goes last");
    assert!(frames[0].last);
}

#[test]
fn k3_a_stream_is_kept_from_its_end_on_whenever_its_connection_was_lost() {
    let mut bench = Bench::ready(Shape::Http, "2025-11-25");
    let (stream, call) = http_call(&mut bench, 1);
    bench.input(Input::Detached { stream });
    bench.input(Input::Extend { call, timeout: Duration::from_secs(300) });
    bench.now = bench.now.after(Duration::from_secs(299));
    bench.done(call);
    let later = bench.now.after(Duration::from_secs(299));
    bench.session.forget_streams(later);
    let (_, frames) = bench.session.resume(later, &format!("7-{:x}-0", stream.0)).expect("kept for five minutes");
    assert!(frames[0].last);
}

#[test]
fn standing_streams_that_were_lost_keep_nobody_out() {
    let mut bench = Bench::ready(Shape::Http, "2025-11-25");
    let mut streams: Vec<_> = (0..8).map(|_| bench.session.attach(bench.now).expect("room")).collect();
    assert_eq!(bench.session.attach(bench.now), Err(AttachError::TooMany), "all of them are read");
    for _ in 0..100 {
        bench.input(Input::Detached { stream: streams.remove(0) });
        streams.push(bench.session.attach(bench.now).expect("the lost one makes room"));
    }
}

#[test]
fn a_question_is_no_way_around_the_longest_time_of_a_call() {
    let mut bench = Bench::ready(Shape::Http, "2025-11-25");
    let (_, call) = http_call(&mut bench, 1);
    bench.input(Input::Extend { call, timeout: Duration::from_secs(1_000_000) });
    let request = InputRequest::roots();
    bench.input(Input::Ask { call, ask: AskId(1), key: "k".into(), request, timeout: None });
    bench.wait(Duration::from_secs(601));
    assert!(!bench.session.has_calls());
}

/// All that clients and handlers may do, in any order.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..20_u32).prop_map(Step::Call),
        (0..20_u32).prop_map(Step::Cancel),
        (0..20_u64).prop_map(Step::Done),
        (0..20_u64).prop_map(Step::Ask),
        (0..20_u32).prop_map(Step::Answer),
        (0..20_u64, 0..100_u32).prop_map(|(call, value)| Step::Progress(call, value)),
        (0..20_u64).prop_map(Step::Log),
        Just(Step::Changed),
        (0..20_u32).prop_map(Step::Detach),
        (0..60_000_u64).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..60)
}

#[derive(Debug, Clone)]
enum Step {
    Call(u32),
    Cancel(u32),
    Done(u64),
    Ask(u64),
    Answer(u32),
    Progress(u64, u32),
    Log(u64),
    Changed,
    Detach(u32),
    Wait(u64),
}

fn apply(bench: &mut Bench, step: &Step, asks: &mut u64) -> Vec<Output> {
    let call = |n: &u64| CallId(*n);
    match step {
        Step::Call(id) => {
            let stream = bench.session.open_stream(bench.now, StreamKind::Request);
            bench.session.owe(stream, 1);
            let text = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
                "params": {"name": "x", "_meta": {"progressToken": id}}})
            .to_string();
            bench.input(Input::Message { stream, message: message(&text) })
        }
        Step::Cancel(id) => {
            let text =
                json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}).to_string();
            bench.say(&text)
        }
        Step::Done(n) => bench.done(call(n)),
        Step::Ask(n) => {
            *asks += 1;
            let (ask, request) = (AskId(*asks), InputRequest::roots());
            bench.input(Input::Ask { call: call(n), ask, key: "k".into(), request, timeout: None })
        }
        Step::Answer(n) => bench.say(&json!({"jsonrpc": "2.0", "id": format!("andon-{n}"), "result": {}}).to_string()),
        Step::Progress(n, value) => {
            bench.input(Input::Progress { call: call(n), progress: f64::from(*value), total: None, message: None })
        }
        Step::Log(n) => {
            let data = json!(1).into();
            bench.input(Input::Log { call: call(n), level: andon_types::meta::Level::Error, logger: None, data })
        }
        Step::Changed => bench.input(Input::Changed(ListKind::Tools)),
        Step::Detach(n) => bench.input(Input::Detached { stream: StreamId(*n) }),
        Step::Wait(ms) => bench.wait(Duration::from_millis(*ms)),
    }
}

proptest::proptest! {
    /// promises.md in small: one answer per call and none after it, one outcome per question, no message on two streams,
    /// event ids dense and increasing per stream, nothing left at the end.
    #[test]
    fn invariants_hold_over_any_sequence(steps in steps()) {
        let mut bench = Bench::ready(Shape::Http, "2025-11-25");
        let (mut asks, mut outcomes) = (0, BTreeMap::new());
        let (mut open, mut answered) = (BTreeMap::<CallId, StreamId>::new(), BTreeSet::new());
        let mut sequences = BTreeMap::<StreamId, u32>::new();
        let mut closed = BTreeSet::new();
        for step in steps.iter().chain([&Step::Wait(10 * 60_000)]) {
            for output in apply(&mut bench, step, &mut asks) {
                match output {
                    Output::Call(call) => {
                        let stream = StreamId(bench.session.next_stream);
                        assert!(open.insert(call.id, stream).is_none());
                    }
                    Output::Answered { ask, .. } => *outcomes.entry(ask).or_insert(0) += 1,
                    Output::Send { stream, frame } => {
                        assert!(!closed.contains(&stream), "nothing after the end of a stream");
                        if let Some(id) = frame.id {
                            let last = sequences.entry(stream).or_insert(u32::from(stream == bench.pipe));
                            assert_eq!((id.stream, id.sequence), (stream, *last + 1), "dense and increasing");
                            *last = id.sequence;
                        }
                        let text: Value = serde_json::from_str(&frame.text.expect("a message")).expect("JSON");
                        if frame.last {
                            assert!(text.get("result").or(text.get("error")).is_some(), "the last frame is the answer");
                            assert!(answered.insert(stream), "one answer per request");
                            closed.insert(stream);
                        }
                    }
                    Output::Close { stream } => assert!(closed.insert(stream), "closed once"),
                    _ => {}
                }
            }
        }
        assert!(outcomes.values().all(|count| *count == 1), "one outcome per question");
        assert_eq!(outcomes.len() as u64, asks, "every question has one in the end");
        assert!(!bench.session.has_calls(), "every call ended by its deadline");
        assert!(open.values().all(|stream| closed.contains(stream)), "and so did its stream");
        bench.input(Input::End);
        assert!(bench.session.streams.is_empty() && bench.session.asks.is_empty());
    }
}

#[test]
fn what_a_handler_ends_with_is_an_answer_and_no_refusal() {
    for (code, status) in [(-32600, 200), (-32000, 200), (-32602, 200), (-32601, 200)] {
        let mut bench = Bench::ready(Shape::Http, "2025-11-25");
        let call = bench.call(1);
        let outcome = Err(ErrorObject { code, message: "of another server".to_owned(), data: None });
        let out = bench.input(Input::Done { call, outcome });
        assert_eq!((frames(&out)[0].status, &sent(&out)[0]["error"]["code"]), (status, &json!(code)));
    }
    let mut bench = Bench::ready(Shape::Http, "2025-11-25");
    let call = bench.call(1);
    let out = bench.input(Input::Done { call, outcome: Err(ErrorObject::outage("nothing was done")) });
    assert_eq!(frames(&out)[0].status, 503);
}
