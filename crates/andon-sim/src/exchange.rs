//! One modern request on its way, and what it was promised.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use andon_core::descriptions::Descriptions;
use andon_core::endpoint::admit;
use andon_core::exchange::{CALL, Exchange, STREAM};
use andon_core::io::{AskId, Input, ListKind, Output, Timestamp};
use andon_core::limits::Limits;
use andon_core::offer::Offer;
use andon_types::message::{Body, Message, Request};
use andon_types::scan::ScanLimits;
use fastrand::Rng;
use serde_json::{Value, json};

use crate::handler::Handler;

/// A request and its client.
pub(crate) struct Modern {
    exchange: Exchange,
    id: i64,
    listens: bool,
    handler: Option<Handler>,
    asks: BTreeSet<AskId>,
    next_ask: u64,
    is_answered: bool,
    is_gone: bool,
    is_acknowledged: bool,
    last_progress: Option<f64>,
    /// When something changed that has not been told since.
    untold: BTreeMap<String, Timestamp>,
    /// In the index of who is to be told.
    subscribed: BTreeSet<String>,
    limits: Arc<Limits>,
    opened_at: Timestamp,
}

/// How late the driver may be with a deadline.
const LATENESS: Duration = Duration::from_secs(3);
/// What a listening client is told of.
const HONOURED: &str = r#"{"toolsListChanged":true,"resourceSubscriptions":["a:1","a:2"]}"#;

impl Modern {
    pub(crate) fn new(now: Timestamp, rng: &mut Rng, id: i64, limits: Arc<Limits>, offer: Arc<Offer>) -> Self {
        let listens = rng.u32(..4) == 0;
        let admitted = admit(request(id, listens), None, &offer, &Descriptions::default()).expect("a good request");
        let (exchange, outputs) = Exchange::open(now, admitted, limits.clone(), offer);
        let mut modern = Self {
            exchange,
            id,
            listens,
            handler: None,
            asks: BTreeSet::new(),
            next_ask: 0,
            is_answered: false,
            is_gone: false,
            is_acknowledged: false,
            last_progress: None,
            untold: BTreeMap::new(),
            subscribed: BTreeSet::new(),
            limits,
            opened_at: now,
        };
        modern.perform(rng, outputs);
        modern
    }

    pub(crate) fn is_over(&self) -> bool {
        self.exchange.is_over()
    }

    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.exchange.deadline()
    }

    pub(crate) fn tick(&mut self, now: Timestamp, rng: &mut Rng) {
        self.input(now, rng, Input::Tick);
        let is_late = now.since(self.opened_at) > self.limits.call_timeout_max + LATENESS;
        assert!(
            self.is_over() || self.is_acknowledged || !is_late,
            "request {} has no answer at its deadline",
            self.id
        );
        let patience = self.limits.change_interval + LATENESS;
        let is_told = self.untold.values().all(|since| now.since(*since) <= patience);
        assert!(self.is_over() || is_told, "a change, and nobody is told: {:?}", self.untold);
    }

    /// A deed of its handler. If it waits for answers, the request ends with `input_required`.
    pub(crate) fn work(&mut self, now: Timestamp, rng: &mut Rng) {
        let Some(handler) = &mut self.handler else { return };
        match handler.step(rng, &mut self.next_ask) {
            Some(input) => {
                if let Input::Ask { ask, .. } = &input {
                    self.asks.insert(*ask);
                }
                self.input(now, rng, input);
            }
            None if handler.waits_for.is_some() => self.input(now, rng, Input::Park),
            None => {}
        }
    }

    /// A list or a resource of the server changed.
    pub(crate) fn change(&mut self, now: Timestamp, rng: &mut Rng, kind: ListKind, uri: &str) {
        if self.is_acknowledged && !self.is_over() {
            if kind == ListKind::Tools {
                self.untold.insert(kind.notification().to_owned(), now);
            }
            if self.subscribed.contains(uri) {
                self.untold.insert(uri.to_owned(), now);
            }
        }
        self.input(now, rng, Input::Changed(kind));
        self.input(now, rng, Input::Updated(uri.into()));
    }

    /// The client goes away.
    pub(crate) fn hang_up(&mut self, now: Timestamp, rng: &mut Rng) {
        self.is_gone = true;
        self.input(now, rng, Input::Detached { stream: STREAM });
        assert!(self.is_over(), "a modern request outlives its connection");
    }

    /// Comes to its end by itself, or by the end of the server.
    pub(crate) fn settle(&mut self, mut now: Timestamp, rng: &mut Rng) {
        self.handler = None;
        for _ in 0..10_000 {
            let Some(deadline) = self.deadline() else { break };
            now = now.max(deadline);
            self.tick(now, rng);
        }
        assert!(self.untold.is_empty() || self.is_gone, "a change was never told");
        self.input(now, rng, Input::End);
        assert!(self.is_over() && self.deadline().is_none());
        assert!(self.is_answered || self.is_gone, "request {} was never answered", self.id);
        assert!(self.subscribed.is_empty(), "subscriptions outlive their request");
        for input in [Input::Tick, Input::Changed(ListKind::Tools), Input::End] {
            assert!(self.exchange.handle(now, input).is_empty(), "something is said after the end");
        }
    }

    fn input(&mut self, now: Timestamp, rng: &mut Rng, input: Input) {
        let outputs = self.exchange.handle(now, input);
        self.perform(rng, outputs);
        if self.is_over() {
            assert!(self.is_answered || self.is_gone, "request {} ends without an answer", self.id);
            assert_eq!(self.deadline(), None, "a deadline after the end");
        }
    }

    fn perform(&mut self, rng: &mut Rng, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Send { frame, .. } => {
                    assert!(!self.is_gone, "something is said to nobody");
                    let text = frame.text.expect("modern frames have text");
                    self.hear(&text, frame.last);
                }
                Output::Call(begin) => {
                    let body = if self.listens { HONOURED.to_owned() } else { json!({ "of": self.id }).to_string() };
                    self.handler = Some(Handler::new(rng, begin.id, body, None));
                }
                Output::Cancel { call } => {
                    assert_eq!(call, CALL);
                    self.handler = None;
                    self.asks.clear();
                }
                Output::Answered { ask, .. } => {
                    assert!(self.asks.remove(&ask), "a question has two outcomes");
                    if let Some(handler) = &mut self.handler {
                        handler.waits_for = handler.waits_for.filter(|waiting| *waiting != ask);
                    }
                }
                Output::Park => {
                    let outputs = self.exchange.handle(Timestamp(0), Input::Sealed { request_state: None });
                    self.perform(rng, outputs);
                }
                Output::Subscription { uri, present: true } => {
                    assert!(self.subscribed.insert(uri.to_string()), "subscribed twice");
                }
                Output::Subscription { uri, present: false } => {
                    assert!(self.subscribed.remove(&*uri), "unsubscribed without a subscription");
                }
                Output::Close { .. } | Output::RootsChanged | Output::Dropped(_) => {}
            }
        }
    }

    fn hear(&mut self, text: &str, is_last: bool) {
        assert!(!self.is_answered, "a frame after the answer");
        let message = json_of(text);
        match (message["method"].as_str(), message.get("id")) {
            (None, Some(id)) => {
                assert_eq!((id.as_i64(), is_last), (Some(self.id), true));
                self.is_answered = true;
                let result = &message["result"];
                if result["resultType"] == "complete" && !self.listens {
                    assert_eq!(result["of"].as_i64(), Some(self.id), "the answer to another request");
                }
            }
            (Some("notifications/progress"), None) => {
                let progress = message["params"]["progress"].as_f64().expect("a number");
                assert!(self.last_progress.is_none_or(|last| progress > last), "progress does not increase");
                self.last_progress = Some(progress);
            }
            (Some("notifications/subscriptions/acknowledged"), None) => {
                assert!(!std::mem::replace(&mut self.is_acknowledged, true), "acknowledged twice");
            }
            (Some("notifications/resources/updated"), None) => {
                assert!(self.is_acknowledged, "the acknowledgement comes first");
                let uri = message["params"]["uri"].as_str().expect("a URI");
                assert!(self.subscribed.contains(uri), "told of what it did not ask for");
                self.untold.remove(uri);
            }
            (Some(method @ "notifications/tools/list_changed"), None) => {
                assert!(self.is_acknowledged, "the acknowledgement comes first");
                self.untold.remove(method);
            }
            (Some("notifications/message"), None) => {}
            other => panic!("what is this? {other:?}: {text}"),
        }
    }
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

fn request(id: i64, listens: bool) -> Request {
    let method = if listens { "subscriptions/listen" } else { "tools/call" };
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": { "roots": {} },
        "io.modelcontextprotocol/logLevel": "debug",
        "progressToken": id,
    });
    let params = json!({ "name": "t", "notifications": json_of(HONOURED), "_meta": meta });
    let text = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string();
    match Body::parse(text.as_bytes(), ScanLimits::default()) {
        Ok(Body::Single(Message::Request(request))) => request,
        other => panic!("the simulator speaks well: {other:?}"),
    }
}
