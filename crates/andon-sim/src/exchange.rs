//! One modern request on its way, and what it was promised.

use std::collections::BTreeSet;
use std::sync::Arc;

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
    untold: Option<Timestamp>,
}

impl Modern {
    pub(crate) fn new(now: Timestamp, rng: &mut Rng, id: i64, limits: Arc<Limits>, offer: Arc<Offer>) -> Self {
        let listens = rng.u32(..4) == 0;
        let admitted = admit(request(id, listens), None, &offer).expect("a good request");
        let (exchange, outputs) = Exchange::open(now, admitted, limits, offer);
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
            untold: None,
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

    pub(crate) fn change(&mut self, now: Timestamp, rng: &mut Rng, kind: ListKind) {
        if self.is_acknowledged && kind == ListKind::Tools && !self.is_over() {
            self.untold = Some(now);
        }
        self.input(now, rng, Input::Changed(kind));
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
        assert!(self.untold.is_none() || self.is_gone, "a change was never told");
        self.input(now, rng, Input::End);
        assert!(self.is_over() && self.deadline().is_none());
        assert!(self.is_answered || self.is_gone, "request {} was never answered", self.id);
        for input in [Input::Tick, Input::Changed(ListKind::Tools), Input::End] {
            assert!(self.exchange.handle(now, input).is_empty(), "something is said after the end");
        }
    }

    fn input(&mut self, now: Timestamp, rng: &mut Rng, input: Input) {
        let outputs = self.exchange.handle(now, input);
        self.perform(rng, outputs);
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
                    let body = if self.listens { r#"{"toolsListChanged":true}"# } else { "{}" };
                    self.handler = Some(Handler::new(rng, begin.id, body.to_owned(), None));
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
                Output::Close { .. } | Output::Subscription { .. } | Output::Dropped(_) => {}
            }
        }
    }

    fn hear(&mut self, text: &str, is_last: bool) {
        assert!(!self.is_answered, "a frame after the answer");
        let message: Value = serde_json::from_str(text).expect("what is sent is JSON");
        match (message["method"].as_str(), message.get("id")) {
            (None, Some(id)) => {
                assert_eq!((id.as_i64(), is_last), (Some(self.id), true));
                self.is_answered = true;
            }
            (Some("notifications/progress"), None) => {
                let progress = message["params"]["progress"].as_f64().expect("a number");
                assert!(self.last_progress.is_none_or(|last| progress > last), "progress does not increase");
                self.last_progress = Some(progress);
            }
            (Some("notifications/subscriptions/acknowledged"), None) => {
                assert!(!std::mem::replace(&mut self.is_acknowledged, true), "acknowledged twice");
            }
            (Some("notifications/tools/list_changed"), None) => {
                assert!(self.is_acknowledged, "the acknowledgement comes first");
                self.untold = None;
            }
            (Some("notifications/message"), None) => {}
            other => panic!("what is this? {other:?}: {text}"),
        }
    }
}

fn request(id: i64, listens: bool) -> Request {
    let method = if listens { "subscriptions/listen" } else { "tools/call" };
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": { "roots": {} },
        "io.modelcontextprotocol/logLevel": "debug",
        "progressToken": id,
    });
    let params = json!({ "name": "t", "notifications": { "toolsListChanged": true }, "_meta": meta });
    let text = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string();
    match Body::parse(text.as_bytes(), ScanLimits::default()) {
        Ok(Body::Single(Message::Request(request))) => request,
        other => panic!("the simulator speaks well: {other:?}"),
    }
}
