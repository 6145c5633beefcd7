//! One legacy client with its session: what it does, what it saw, and what it was promised.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use andon_core::event::EventId;
use andon_core::io::{AskId, CallId, Frame, Input, ListKind, Output, StreamId, Timestamp};
use andon_core::limits::Limits;
use andon_core::offer::Offer;
use andon_core::session::{AttachError, Phase, Session, Shape, StreamKind};
use andon_types::message::{Body, Message};
use andon_types::scan::ScanLimits;
use fastrand::Rng;
use serde_json::{Value, json};

use crate::handler::Handler;

/// One request of the client.
#[derive(Debug)]
struct Asked {
    stream: StreamId,
    is_cancelled: bool,
    is_answered: bool,
    last_progress: Option<f64>,
}

/// One stream as both sides know it.
#[derive(Debug, Default)]
struct View {
    /// Everything that was put on it, in order.
    said: Vec<Arc<str>>,
    /// How much of it the client has.
    seen: usize,
    /// How much of it the client has said to have.
    presented: usize,
    is_connected: bool,
    detached_at: Timestamp,
    is_over: bool,
}

/// A client and its session.
pub(crate) struct Client {
    session: Session,
    limits: Arc<Limits>,
    tag: u32,
    asked: BTreeMap<i64, Asked>,
    streams: BTreeMap<StreamId, View>,
    handlers: BTreeMap<CallId, Handler>,
    /// Questions of handlers without an outcome.
    asks: BTreeSet<AskId>,
    /// Questions that reached the client.
    questions: Vec<String>,
    next_id: i64,
    next_ask: u64,
    subscribed: BTreeSet<String>,
    /// When something changed that has not been told since.
    untold: BTreeMap<String, Timestamp>,
    pub(crate) answers: u64,
    is_over: bool,
}

const CAPABILITIES: &str = r#"{"roots":{}}"#;
const URIS: [&str; 3] = ["a:1", "a:2", "a:3"];

impl Client {
    pub(crate) fn new(now: Timestamp, tag: u32, limits: Arc<Limits>, offer: Arc<Offer>) -> Self {
        let session = Session::new(now, Shape::Http, tag, limits.clone(), offer);
        Self {
            session,
            limits,
            tag,
            asked: BTreeMap::new(),
            streams: BTreeMap::new(),
            handlers: BTreeMap::new(),
            asks: BTreeSet::new(),
            questions: Vec::new(),
            next_id: 0,
            next_ask: 0,
            subscribed: BTreeSet::new(),
            untold: BTreeMap::new(),
            answers: 0,
            is_over: false,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.session.deadline()
    }

    pub(crate) fn tick(&mut self, now: Timestamp, rng: &mut Rng) {
        self.input(now, rng, Input::Tick);
    }

    /// Something that clients do.
    pub(crate) fn act(&mut self, now: Timestamp, rng: &mut Rng) {
        match self.session.phase() {
            Phase::NotInitialized => {
                let params = json!({ "protocolVersion": "2025-11-25", "capabilities": json_of(CAPABILITIES),
                    "clientInfo": { "name": "sim", "version": "1" } });
                self.request(now, rng, "initialize", params);
            }
            Phase::Initializing => self.notify(now, rng, "notifications/initialized", json!({})),
            Phase::Initialized => self.wander(now, rng),
            Phase::Disconnected => {}
        }
    }

    fn wander(&mut self, now: Timestamp, rng: &mut Rng) {
        match rng.u32(..20) {
            0..=7 => {
                let token = self.next_id + 1;
                self.request(now, rng, "tools/call", json!({ "name": "t", "_meta": { "progressToken": token } }));
            }
            8 => self.request(now, rng, "ping", json!({})),
            9 => {
                let uri = URIS[rng.usize(..URIS.len())];
                self.request(now, rng, "resources/subscribe", json!({ "uri": uri }));
            }
            10 => {
                let uri = URIS[rng.usize(..URIS.len())];
                self.request(now, rng, "resources/unsubscribe", json!({ "uri": uri }));
            }
            11 | 12 => self.cancel(now, rng),
            13 => self.lose_connection(now, rng),
            14 | 15 => self.come_back(now, rng),
            16 => self.stand(now),
            17 | 18 => self.answer(now, rng),
            _ => self.nonsense(now, rng),
        }
    }

    fn request(&mut self, now: Timestamp, rng: &mut Rng, method: &str, params: Value) {
        self.next_id += 1;
        let id = self.next_id;
        let stream = self.session.open_stream(now, StreamKind::Request);
        self.session.owe(stream, 1);
        self.streams.insert(stream, View { is_connected: true, detached_at: now, ..View::default() });
        let asked = Asked { stream, is_cancelled: false, is_answered: false, last_progress: None };
        self.asked.insert(id, asked);
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.input(now, rng, Input::Message { stream, message: read(&message) });
    }

    fn notify(&mut self, now: Timestamp, rng: &mut Rng, method: &str, params: Value) {
        let message = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        self.input(now, rng, Input::Message { stream: StreamId(0), message: read(&message) });
    }

    fn cancel(&mut self, now: Timestamp, rng: &mut Rng) {
        let open: Vec<i64> = self.asked.iter().filter(|(_, asked)| !asked.is_answered).map(|(id, _)| *id).collect();
        let Some(id) = rng.choice(open) else { return };
        self.notify(now, rng, "notifications/cancelled", json!({ "requestId": id }));
        if let Some(asked) = self.asked.get_mut(&id) {
            asked.is_cancelled = true;
            if let Some(view) = self.streams.get_mut(&asked.stream) {
                view.is_over = true;
            }
        }
    }

    fn lose_connection(&mut self, now: Timestamp, rng: &mut Rng) {
        let open: Vec<StreamId> =
            self.streams.iter().filter(|(_, view)| view.is_connected && !view.is_over).map(|(id, _)| *id).collect();
        let Some(stream) = rng.choice(open) else { return };
        let view = self.streams.get_mut(&stream).expect("chosen among them");
        view.is_connected = false;
        view.detached_at = now;
        // The network may have lost the last of what was sent.
        view.seen -= rng.usize(..=(view.seen - view.presented).min(2));
        self.input(now, rng, Input::Detached { stream });
    }

    fn come_back(&mut self, now: Timestamp, rng: &mut Rng) {
        let lost: Vec<StreamId> =
            self.streams.iter().filter(|(_, view)| !view.is_connected).map(|(id, _)| *id).collect();
        let Some(stream) = rng.choice(lost) else { return };
        let view = self.streams.get_mut(&stream).expect("chosen among them");
        let last = EventId { tag: self.tag, stream, sequence: u32::try_from(view.seen).expect("few events") };
        match self.session.resume(now, &last.to_string()) {
            Ok((id, frames)) => {
                assert_eq!(id, stream, "another stream was taken up");
                let missed = &view.said[view.seen..];
                let replayed: Vec<&Arc<str>> = frames.iter().filter_map(|frame| frame.text.as_ref()).collect();
                assert!(replayed.iter().copied().eq(missed.iter()), "replayed {replayed:?} and not {missed:?}");
                let numbers = frames.iter().filter_map(|frame| frame.id.map(|id| id.sequence as usize));
                assert!(numbers.eq(view.seen + 1..=view.said.len()), "the ids go on where they ended");
                (view.presented, view.seen) = (view.seen, view.said.len());
                view.is_connected = true;
                let is_finished = self.session.is_finished(stream);
                assert_eq!(is_finished && !frames.is_empty(), frames.last().is_some_and(|frame| frame.last));
                view.is_over |= is_finished;
            }
            Err(AttachError::Evicted) => {
                assert!(view.said.len() - view.seen > self.limits.replay_events_max, "lost within the bound");
            }
            Err(AttachError::Unknown) => {
                let is_old = now.since(view.detached_at) >= self.limits.replay_timeout;
                assert!(is_old || view.is_over || view.said.is_empty(), "a stream was forgotten early: {view:?}");
            }
            Err(error) => panic!("an event id of the session's own is refused: {error:?}"),
        }
    }

    fn stand(&mut self, now: Timestamp) {
        if let Ok(stream) = self.session.attach(now) {
            self.streams.insert(stream, View { is_connected: true, detached_at: now, ..View::default() });
        }
    }

    /// Answers a question: well, badly, again, or one that was never put.
    fn answer(&mut self, now: Timestamp, rng: &mut Rng) {
        let id = match self.questions.len() {
            0 => "andon-99999".to_owned(),
            count => self.questions[rng.usize(..count)].clone(),
        };
        let message = match rng.u32(..4) {
            0 => json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -1, "message": "no" } }),
            _ => json!({ "jsonrpc": "2.0", "id": id, "result": { "roots": [] } }),
        };
        self.input(now, rng, Input::Message { stream: StreamId(0), message: read(&message) });
    }

    fn nonsense(&mut self, now: Timestamp, rng: &mut Rng) {
        let foreign = EventId { tag: self.tag.wrapping_add(1), stream: StreamId(1), sequence: 0 };
        assert!(self.session.resume(now, &foreign.to_string()).is_err(), "another session's event is taken up");
        self.notify(now, rng, "notifications/nonsense", json!({ "x": [1, 2, 3] }));
        let (stream, ask) = (StreamId(rng.u32(1 << 20..)), AskId(rng.u64(1 << 20..)));
        self.input(now, rng, Input::Detached { stream });
        self.input(now, rng, Input::Abandon { ask });
    }

    /// One deed of one handler. Whether there is one that is not at its end.
    pub(crate) fn work(&mut self, now: Timestamp, rng: &mut Rng) -> bool {
        let calls: Vec<CallId> = self.handlers.keys().copied().collect();
        let Some(call) = rng.choice(calls) else { return false };
        let handler = self.handlers.get_mut(&call).expect("chosen among them");
        // Some notice that they were cancelled, and some do not.
        if handler.is_cancelled && rng.bool() {
            self.handlers.remove(&call);
            return true;
        }
        let deed = handler.step(rng, &mut self.next_ask);
        if deed.is_some() && handler.is_over() {
            self.handlers.remove(&call);
        }
        if let Some(input) = deed {
            if let Input::Ask { ask, .. } = &input {
                self.asks.insert(*ask);
            }
            self.input(now, rng, input);
        }
        true
    }

    /// A list or a resource of the server changed.
    pub(crate) fn change(&mut self, now: Timestamp, rng: &mut Rng, what: &str) {
        let kind = ListKind::ALL.into_iter().find(|kind| kind.notification() == what);
        let is_told = kind.is_some() || self.subscribed.contains(what);
        if is_told && self.session.phase() == Phase::Initialized {
            self.untold.insert(what.to_owned(), now);
        }
        self.input(now, rng, kind.map_or_else(|| Input::Updated(what.into()), Input::Changed));
    }

    /// The client is gone without a word.
    pub(crate) fn vanish(&mut self, now: Timestamp, rng: &mut Rng) {
        let open: Vec<StreamId> =
            self.streams.iter().filter(|(_, view)| view.is_connected).map(|(id, _)| *id).collect();
        for stream in open {
            if let Some(view) = self.streams.get_mut(&stream) {
                view.is_connected = false;
                view.detached_at = now;
            }
            self.input(now, rng, Input::Detached { stream });
        }
    }

    /// Everything that was begun comes to its end, and every promise is kept.
    pub(crate) fn settle(&mut self, mut now: Timestamp, rng: &mut Rng, vanished: bool) {
        let is_listening = !vanished && self.session.phase() == Phase::Initialized;
        if is_listening {
            self.stand(now);
            self.tick(now, rng);
        }
        self.handlers.clear();
        for _ in 0..10_000 {
            let Some(deadline) = self.deadline().filter(|_| self.session.has_calls() || !self.untold.is_empty()) else {
                break;
            };
            now = now.max(deadline);
            self.tick(now, rng);
        }
        for (id, asked) in &self.asked {
            assert!(asked.is_answered || asked.is_cancelled || self.is_over, "request {id} was never answered");
        }
        assert!(self.asks.is_empty(), "questions without an outcome: {:?}", self.asks);
        let stands = self.streams.iter().any(|(_, view)| view.is_connected && !view.is_over);
        if is_listening && stands {
            assert!(self.untold.is_empty(), "changes that were never told: {:?}", self.untold);
        }
        self.vanish(now, rng);
        if !self.is_over {
            assert!(!self.session.is_busy(), "busy with nobody there");
            let later = now.after(self.limits.idle_timeout + Duration::from_secs(1));
            assert!(self.session.is_expired(later), "an idle session does not expire");
            self.end(later, rng);
        }
    }

    /// DELETE, expiry or shutdown.
    pub(crate) fn end(&mut self, now: Timestamp, rng: &mut Rng) {
        self.input(now, rng, Input::End);
        self.is_over = true;
        assert!(self.asks.is_empty(), "questions outlive their session");
        assert_eq!(self.deadline(), None);
        for input in [Input::Tick, Input::Changed(ListKind::Tools), Input::Updated("a:1".into())] {
            assert!(self.session.handle(now, input).is_empty(), "something is said after the end");
        }
    }

    fn input(&mut self, now: Timestamp, rng: &mut Rng, input: Input) {
        for output in self.session.handle(now, input) {
            self.check(now, rng, output);
        }
    }

    fn check(&mut self, now: Timestamp, rng: &mut Rng, output: Output) {
        match output {
            Output::Send { stream, frame } => self.hear(now, stream, &frame),
            Output::Close { stream } => {
                if let Some(view) = self.streams.get_mut(&stream) {
                    view.is_connected = false;
                    view.detached_at = now;
                }
            }
            Output::Call(begin) => {
                let params = begin.request.params.as_ref().and_then(|params| params.parse_owned::<Value>().ok());
                let subject = params.filter(|_| begin.method.as_str().starts_with("resources/"));
                let subject = subject.and_then(|params| params["uri"].as_str().map(Box::from));
                self.handlers.insert(begin.id, Handler::new(rng, begin.id, "{}".to_owned(), subject));
            }
            Output::Cancel { call } => {
                if let Some(handler) = self.handlers.get_mut(&call) {
                    handler.is_cancelled = true;
                }
            }
            Output::Answered { ask, .. } => {
                assert!(self.asks.remove(&ask), "a question has two outcomes");
                for handler in self.handlers.values_mut() {
                    handler.waits_for = handler.waits_for.filter(|waiting| *waiting != ask);
                }
            }
            Output::Subscription { uri, present } => {
                let uri = uri.to_string();
                if present {
                    assert!(self.subscribed.insert(uri), "subscribed twice");
                } else {
                    self.untold.remove(&uri);
                    assert!(self.subscribed.remove(&uri), "unsubscribed without a subscription");
                }
            }
            Output::Park => panic!("a session does not park"),
            Output::Dropped(_) => {}
        }
    }

    /// A frame on its way to the client.
    fn hear(&mut self, now: Timestamp, stream: StreamId, frame: &Frame) {
        assert!(!self.is_over, "something is said after the end");
        let Some(text) = &frame.text else {
            return assert!(
                frame.retry_ms.is_some() && !frame.last,
                "an event without a message says when to come back"
            );
        };
        let view = self.streams.get_mut(&stream).expect("a frame for a stream that was never opened");
        assert!(!view.is_over, "a frame after the last one");
        view.said.push(text.clone());
        let id = frame.id.expect("what can be resumed has an id");
        assert_eq!((id.tag, id.stream, id.sequence as usize), (self.tag, stream, view.said.len()));
        if view.is_connected {
            view.seen = view.said.len();
        }
        view.is_over |= frame.last;
        if frame.last {
            view.detached_at = now;
        }
        let message = json_of(text);
        match (message["method"].as_str(), message["id"].as_i64()) {
            (None, Some(id)) => {
                let asked = self.asked.get_mut(&id).expect("an answer to a request that was never made");
                assert_eq!(asked.stream, stream, "an answer on another stream");
                assert!(!asked.is_answered, "two answers to one request");
                assert!(!asked.is_cancelled, "an answer after the cancellation");
                asked.is_answered = true;
                self.answers += 1;
            }
            (Some("notifications/progress"), _) => {
                let token = message["params"]["progressToken"].as_i64().expect("our tokens are numbers");
                let asked = self.asked.get_mut(&token).expect("progress of a request that was never made");
                let progress = message["params"]["progress"].as_f64().expect("a number");
                assert!(!asked.is_answered && !asked.is_cancelled, "progress after the end");
                assert!(asked.last_progress.is_none_or(|last| progress > last), "progress does not increase");
                assert_eq!(asked.stream, stream, "progress on another stream");
                asked.last_progress = Some(progress);
            }
            (Some("notifications/resources/updated"), _) => {
                let uri = message["params"]["uri"].as_str().expect("a URI");
                assert!(self.subscribed.contains(uri), "told without a subscription");
                self.untold.remove(uri);
            }
            (Some(method), None) if method.ends_with("/list_changed") => drop(self.untold.remove(method)),
            (Some("roots/list"), _) => {
                self.questions.push(message["id"].as_str().expect("our ids are text").to_owned());
            }
            (Some("notifications/message" | "notifications/cancelled"), None) => {}
            other => panic!("what is this? {other:?}: {text}"),
        }
    }
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).expect("what is sent is JSON")
}

fn read(message: &Value) -> Message {
    match Body::parse(message.to_string().as_bytes(), ScanLimits::default()) {
        Ok(Body::Single(message)) => message,
        other => panic!("the simulator speaks well: {other:?}"),
    }
}
