//! One legacy client with its session: what it does, what it saw, and what it was promised.
//!
//! Of any revision and on any transport: with a stream for each POST, or with one for everything.

mod promises;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use andon_core::event::EventId;
use andon_core::io::{AskId, CallId, Input, ListKind, StreamId, Timestamp};
use andon_core::limits::Limits;
use andon_core::offer::Offer;
use andon_core::session::{AttachError, Phase, Session, Shape, StreamKind};
use andon_types::encoded::Encoded;
use andon_types::message::{Body, Message};
use andon_types::revision::{Revision, Rules};
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
    /// When it will be over whatever its handler does.
    ends_by: Timestamp,
}

/// One stream as both sides know it.
#[derive(Debug, Default)]
struct View {
    /// Everything that was put on it, in order.
    said: Vec<Encoded>,
    /// How much of it the client has.
    seen: usize,
    /// How much of it the client has said to have.
    presented: usize,
    is_connected: bool,
    /// When it was said to, or taken from, somebody for the last time.
    rests_since: Timestamp,
    /// Requests on it that are not over.
    owed: usize,
    is_over: bool,
}

/// A client and its session.
pub(crate) struct Client {
    session: Session,
    shape: Shape,
    revision: Revision,
    limits: Arc<Limits>,
    tag: u32,
    asked: BTreeMap<i64, Asked>,
    /// Requests with the ids of others, by the streams that they came with.
    twins: BTreeMap<StreamId, i64>,
    calls: BTreeMap<CallId, i64>,
    askers: BTreeMap<AskId, CallId>,
    streams: BTreeMap<StreamId, View>,
    /// The stream for everything, and where nothing answers to.
    main: StreamId,
    /// The size of a session that holds nothing, and the largest that it may be.
    empty_size: usize,
    said_bytes: usize,
    ended_streams: usize,
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
/// How late the driver may be with a deadline.
const LATENESS: Duration = Duration::from_secs(3);
const URIS: [&str; 3] = ["a:1", "a:2", "a:3"];

impl Client {
    pub(crate) fn new(now: Timestamp, rng: &mut Rng, tag: u32, limits: Arc<Limits>, offer: Arc<Offer>) -> Self {
        let shape = [Shape::Http, Shape::Http, Shape::Http, Shape::Pipe, Shape::Posts][rng.usize(..5)];
        let revision = Revision::ALL[rng.usize(..4)];
        let mut session = Session::new(now, shape, tag, limits.clone(), offer);
        let empty_size = size(&session);
        let mut streams = BTreeMap::new();
        let mut main = StreamId(0);
        if shape != Shape::Http {
            main = session.open_stream(now, StreamKind::Pipe);
            streams.insert(main, View { is_connected: true, rests_since: now, ..View::default() });
        }
        Self {
            session,
            shape,
            revision,
            limits,
            tag,
            asked: BTreeMap::new(),
            twins: BTreeMap::new(),
            calls: BTreeMap::new(),
            askers: BTreeMap::new(),
            streams,
            main,
            empty_size,
            said_bytes: 0,
            ended_streams: 0,
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
        for (id, asked) in &self.asked {
            let is_late = !asked.is_answered && !asked.is_cancelled && asked.ends_by.after(LATENESS) < now;
            assert!(!is_late, "request {id} has no answer at its deadline");
        }
    }

    /// Something that clients do.
    pub(crate) fn act(&mut self, now: Timestamp, rng: &mut Rng) {
        match self.session.phase() {
            Phase::NotInitialized => {
                let params = json!({ "protocolVersion": self.revision.as_str(), "capabilities": json_of(CAPABILITIES),
                    "clientInfo": { "name": "sim", "version": "1" } });
                self.request(now, rng, "initialize", params);
            }
            Phase::Initializing => self.notify(now, rng, "notifications/initialized", json!({})),
            Phase::Initialized => self.wander(now, rng),
            Phase::Disconnected => {}
        }
    }

    fn wander(&mut self, now: Timestamp, rng: &mut Rng) {
        match rng.u32(..30) {
            0..=7 => {
                let token = self.next_id + 1;
                self.request(now, rng, "tools/call", json!({ "name": "t", "_meta": { "progressToken": token } }));
            }
            8 => self.request(now, rng, "ping", json!({})),
            9 | 10 => {
                let uri = URIS[rng.usize(..URIS.len())];
                self.request(now, rng, "resources/subscribe", json!({ "uri": uri }));
            }
            11 => {
                let uri = URIS[rng.usize(..URIS.len())];
                self.request(now, rng, "resources/unsubscribe", json!({ "uri": uri }));
            }
            12 | 13 => self.cancel(now, rng),
            14..=17 => self.lose_connection(now, rng),
            18..=22 => self.come_back(now, rng),
            23 | 24 => self.stand(now, rng),
            25 | 26 => self.answer(now, rng),
            27 => self.batch(now, rng),
            28 => self.twin(now, rng),
            _ => self.nonsense(now, rng),
        }
    }

    fn request(&mut self, now: Timestamp, rng: &mut Rng, method: &str, params: Value) {
        let stream = self.open(now, 1);
        self.say(now, rng, stream, method, params);
        // What was answered at once leaves as one piece of JSON.
        let view = &self.streams[&stream];
        if stream != self.main && view.is_over && view.said.len() == 1 && rng.bool() {
            self.streams.remove(&stream);
            self.session.delivered(stream);
        }
    }

    /// Several requests in one POST, where the revision has that.
    fn batch(&mut self, now: Timestamp, rng: &mut Rng) {
        if !self.rules().batch || self.shape != Shape::Http {
            return;
        }
        let count = rng.usize(2..4);
        let stream = self.open(now, count);
        for _ in 0..count {
            let token = self.next_id + 1;
            self.say(now, rng, stream, "tools/call", json!({ "name": "t", "_meta": { "progressToken": token } }));
        }
    }

    /// A request with the id of one that is in flight.
    fn twin(&mut self, now: Timestamp, rng: &mut Rng) {
        let open = self.asked.iter().filter(|(_, asked)| !asked.is_answered && !asked.is_cancelled);
        let open: Vec<i64> = open.map(|(id, _)| *id).collect();
        let Some(id) = rng.choice(open) else { return };
        if self.shape != Shape::Http {
            return;
        }
        let stream = self.open(now, 1);
        self.twins.insert(stream, id);
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "t" } });
        self.input(now, rng, Input::Message { stream, message: read(&message) });
        assert!(!self.twins.contains_key(&stream), "an id is used twice at once");
    }

    /// The stream that answers `count` requests.
    fn open(&mut self, now: Timestamp, count: usize) -> StreamId {
        if self.shape != Shape::Http {
            return self.main;
        }
        let stream = self.session.open_stream(now, StreamKind::Request);
        self.session.owe(stream, u32::try_from(count).expect("few"));
        self.streams.insert(stream, View { is_connected: true, rests_since: now, owed: count, ..View::default() });
        stream
    }

    fn say(&mut self, now: Timestamp, rng: &mut Rng, stream: StreamId, method: &str, params: Value) {
        self.next_id += 1;
        let id = self.next_id;
        let ends_by = now.after(self.limits.call_timeout_max);
        let asked = Asked { stream, is_cancelled: false, is_answered: false, last_progress: None, ends_by };
        self.asked.insert(id, asked);
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.input(now, rng, Input::Message { stream, message: read(&message) });
    }

    fn notify(&mut self, now: Timestamp, rng: &mut Rng, method: &str, params: Value) {
        let message = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        self.input(now, rng, Input::Message { stream: self.main, message: read(&message) });
    }

    fn cancel(&mut self, now: Timestamp, rng: &mut Rng) {
        let open: Vec<i64> = self.asked.iter().filter(|(_, asked)| !asked.is_answered).map(|(id, _)| *id).collect();
        let Some(id) = rng.choice(open) else { return };
        self.notify(now, rng, "notifications/cancelled", json!({ "requestId": id }));
        let asked = self.asked.get_mut(&id).expect("chosen among them");
        if !std::mem::replace(&mut asked.is_cancelled, true) {
            let stream = asked.stream;
            self.is_one_less(now, stream);
        }
    }

    /// A request of `stream` is over. Whether it was the last.
    fn is_one_less(&mut self, now: Timestamp, stream: StreamId) -> bool {
        if stream == self.main {
            return false;
        }
        let view = self.streams.get_mut(&stream).expect("a stream outlives its requests");
        view.owed -= 1;
        if view.owed == 0 {
            view.is_over = true;
            view.rests_since = now;
            self.ended_streams += 1;
        }
        view.is_over
    }

    fn rules(&self) -> &'static Rules {
        self.revision.rules()
    }

    /// Whether what is said is kept for a client that comes back.
    fn keeps(&self) -> bool {
        self.rules().resumable && self.shape == Shape::Http
    }

    /// Whether more was said than the session keeps.
    fn is_crowded(&self) -> bool {
        self.said_bytes > self.limits.replay_bytes_max || self.ended_streams > self.limits.replay_streams_max
    }

    fn lose_connection(&mut self, now: Timestamp, rng: &mut Rng) {
        let open: Vec<StreamId> =
            self.streams.iter().filter(|(_, view)| view.is_connected && !view.is_over).map(|(id, _)| *id).collect();
        let Some(stream) = rng.choice(open).filter(|stream| *stream != self.main) else { return };
        let view = self.streams.get_mut(&stream).expect("chosen among them");
        view.is_connected = false;
        view.rests_since = now;
        // The network may have lost the last of what was sent.
        view.seen -= rng.usize(..=(view.seen - view.presented).min(2));
        self.input(now, rng, Input::Detached { stream });
    }

    fn come_back(&mut self, now: Timestamp, rng: &mut Rng) {
        if !self.keeps() {
            return;
        }
        let is_crowded = self.is_crowded();
        let lost: Vec<StreamId> =
            self.streams.iter().filter(|(_, view)| !view.is_connected).map(|(id, _)| *id).collect();
        let Some(stream) = rng.choice(lost) else { return };
        let view = self.streams.get_mut(&stream).expect("chosen among them");
        // Some wrote down late how far they were.
        if rng.u32(..3) == 0 {
            view.seen = rng.usize(view.presented..=view.seen);
        }
        let last = EventId { tag: self.tag, stream, sequence: u32::try_from(view.seen).expect("few events") };
        match self.session.resume(now, &last.to_string()) {
            Ok((id, frames)) => {
                assert_eq!(id, stream, "another stream was taken up");
                let missed = &view.said[view.seen..];
                let replayed: Vec<&Encoded> = frames.iter().filter_map(|frame| frame.text.as_ref()).collect();
                assert!(replayed.iter().copied().eq(missed.iter()), "replayed {replayed:?} and not {missed:?}");
                let numbers = frames.iter().filter_map(|frame| frame.id.map(|id| id.sequence as usize));
                assert!(numbers.eq(view.seen + 1..=view.said.len()), "the ids go on where they ended");
                (view.presented, view.seen) = (view.seen, view.said.len());
                view.is_connected = true;
                view.rests_since = now;
                let is_finished = self.session.is_finished(stream);
                assert_eq!(is_finished, view.is_over, "a stream goes on that is over, or is over and goes on");
                assert_eq!(is_finished && !frames.is_empty(), frames.last().is_some_and(|frame| frame.last));
                self.tick(now, rng);
            }
            Err(AttachError::Evicted) => {
                let is_long = view.said.len() - view.seen > self.limits.replay_events_max;
                assert!(is_long || is_crowded, "lost within the bound");
            }
            Err(AttachError::Unknown) => {
                let is_old = now.since(view.rests_since) >= self.limits.replay_timeout;
                let is_standing = view.owed == 0 && !view.is_over;
                // Cancelled, with nothing left to say that the client has not said to have.
                let is_silent = view.is_over && view.said.len() == view.presented;
                let is_told = is_old || is_crowded || is_standing || is_silent;
                assert!(is_told, "a stream was forgotten early: {view:?}");
                self.streams.remove(&stream);
            }
            Err(error) => panic!("an event id of the session's own is refused: {error:?}"),
        }
    }

    fn stand(&mut self, now: Timestamp, rng: &mut Rng) {
        if self.shape != Shape::Http {
            return;
        }
        let stands = |view: &&View| view.is_connected && view.owed == 0 && !view.is_over;
        let standing = self.streams.values().filter(stands).count();
        match self.session.attach(now) {
            Ok(stream) => {
                self.streams.insert(stream, View { is_connected: true, rests_since: now, ..View::default() });
                self.tick(now, rng);
            }
            Err(_) => assert!(standing >= self.limits.standing_streams_max, "no stream for one who has {standing}"),
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
        self.input(now, rng, Input::Message { stream: self.main, message: read(&message) });
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
                self.askers.insert(*ask, call);
                // A handler that waits for a person is not late.
                let asked = self.calls.get(&call).and_then(|id| self.asked.get_mut(id));
                if let Some(asked) = asked {
                    let patience = self.limits.ask_timeout + self.limits.call_timeout_max;
                    asked.ends_by = asked.ends_by.max(now.after(patience));
                }
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

    /// The client is gone without a word. A session that is one connection ends with it.
    pub(crate) fn vanish(&mut self, now: Timestamp, rng: &mut Rng) {
        if self.shape != Shape::Http && !self.is_over {
            self.end(now, rng);
        }
        let open: Vec<StreamId> =
            self.streams.iter().filter(|(_, view)| view.is_connected).map(|(id, _)| *id).collect();
        for stream in open {
            if let Some(view) = self.streams.get_mut(&stream) {
                view.is_connected = false;
                view.rests_since = now;
            }
            self.input(now, rng, Input::Detached { stream });
        }
    }

    /// DELETE, expiry or shutdown.
    pub(crate) fn end(&mut self, now: Timestamp, rng: &mut Rng) {
        self.input(now, rng, Input::End);
        self.is_over = true;
        assert!(self.asks.is_empty(), "questions outlive their session");
        assert!(self.subscribed.is_empty(), "subscriptions outlive their session");
        assert_eq!(self.deadline(), None);
        let call =
            json!({ "jsonrpc": "2.0", "id": self.next_id + 1, "method": "tools/call", "params": { "name": "t" } });
        let call = Input::Message { stream: self.main, message: read(&call) };
        for input in [Input::Tick, Input::Changed(ListKind::Tools), Input::Updated("a:1".into()), call] {
            assert!(self.session.handle(now, input).is_empty(), "something is said after the end");
        }
    }

    fn input(&mut self, now: Timestamp, rng: &mut Rng, input: Input) {
        for output in self.session.handle(now, input) {
            self.check(now, rng, output);
        }
    }
}

/// All that a session holds, as text.
fn size(session: &Session) -> usize {
    format!("{session:?}").len()
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
