//! Questions of handlers to the client: each has exactly one outcome.

use std::time::Duration;

use andon_types::adapt::Adapt;
use andon_types::client::InputRequest;
use andon_types::message::{RequestId, Response, encode_notification, encode_request};
use serde_json::json;

use super::Session;
use super::record::QuestionRecord;
use crate::facts::undeclared;
use crate::io::{AskError, AskId, CallId, Output, StreamId, Timestamp};

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) ask: AskId,
    call: CallId,
    stream: StreamId,
    id: RequestId,
    method: &'static str,
    asked_at: Timestamp,
    pub(super) deadline: Timestamp,
}

impl Pending {
    pub(super) fn record(&self) -> QuestionRecord {
        QuestionRecord { id: self.id.clone(), method: self.method.into(), call: self.call.0, asked_at: self.asked_at.0 }
    }
}

impl Session {
    pub(super) fn ask(
        &mut self,
        now: Timestamp,
        call: CallId,
        ask: AskId,
        mut request: InputRequest,
        timeout: Option<Duration>,
        out: &mut Vec<Output>,
    ) {
        let mut refuse = |error| out.push(Output::Answered { ask, outcome: Err(error) });
        let Some(index) = self.calls.iter().position(|known| known.call == call) else {
            return refuse(AskError::Cancelled);
        };
        if let Some(required) = undeclared(&self.client.capabilities, &request) {
            return refuse(AskError::NotDeclared(required));
        }
        if self.asks.iter().filter(|pending| pending.call == call).count() >= self.limits.asks_max {
            return refuse(AskError::TooMany);
        }
        // Otherwise a tool and a model that answer each other would go on until their time is up.
        if self.calls[index].asked >= self.limits.asks_per_call_max {
            return refuse(AskError::TooMany);
        }
        self.calls[index].asked += 1;
        request.adapt(self.rules());
        let stream = self.calls[index].stream;
        let timeout = timeout.unwrap_or(self.limits.ask_timeout).min(self.limits.ask_timeout);
        // A handler that waits for a person is not late.
        self.extend_for_ask(now, call, timeout);
        self.next_question += 1;
        // An answer to a question of before a restart must not be taken for one to another question.
        let id = match self.epoch() {
            1 => format!("andon-{}", self.next_question),
            epoch => format!("andon-{epoch}-{}", self.next_question),
        };
        let id = RequestId::String(id.into());
        let text = encode_request(&id, request.method(), Some(&json!(request.params()).to_string()));
        let (method, deadline) = (request.method(), now.after(timeout));
        self.asks.push(Pending { ask, call, stream, id, method, asked_at: now, deadline });
        self.send(stream, text, 200, out);
    }

    /// A response of the client: to a question of this session that is open, or dropped.
    pub(super) fn response(&mut self, response: Response, out: &mut Vec<Output>) {
        let found = self.asks.iter().position(|pending| Some(&pending.id) == response.id.as_ref());
        let Some(index) = found else { return out.push(Output::Dropped("response without a request")) };
        let pending = self.asks.swap_remove(index);
        out.push(Output::Answered { ask: pending.ask, outcome: response.outcome.map_err(AskError::Refused) });
    }

    pub(super) fn abandon(&mut self, now: Timestamp, ask: AskId, out: &mut Vec<Output>) {
        self.active_at = now;
        if let Some(index) = self.asks.iter().position(|pending| pending.ask == ask) {
            let pending = self.asks.swap_remove(index);
            self.withdraw(&pending, out);
        }
    }

    pub(super) fn cancel_asks_of(&mut self, call: CallId, stream: StreamId, out: &mut Vec<Output>) {
        debug_assert!(self.asks.iter().all(|pending| pending.call != call || pending.stream == stream));
        while let Some(index) = self.asks.iter().position(|pending| pending.call == call) {
            let pending = self.asks.swap_remove(index);
            self.withdraw(&pending, out);
            out.push(Output::Answered { ask: pending.ask, outcome: Err(AskError::Cancelled) });
        }
    }

    pub(super) fn expire_asks(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        while let Some(index) = self.asks.iter().position(|pending| pending.deadline <= now) {
            let pending = self.asks.swap_remove(index);
            self.withdraw(&pending, out);
            out.push(Output::Answered { ask: pending.ask, outcome: Err(AskError::TimedOut) });
        }
    }

    fn withdraw(&mut self, pending: &Pending, out: &mut Vec<Output>) {
        let params = json!({ "requestId": pending.id, "reason": "no answer is wanted any more" }).to_string();
        self.send(pending.stream, encode_notification("notifications/cancelled", Some(&params)), 200, out);
    }
}
