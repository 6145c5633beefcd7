//! What the server asks: each question has one answer, whichever era it came in.
//!
//! A question holds up the call that it belongs to: the server waits for its answer. Where the server does not say which
//! call that is, it may be any that was there when it asked.

use std::collections::HashMap;
use std::time::Duration;

use andon_types::capability::ClientCapabilities;
use andon_types::client::InputRequest;
use andon_types::error::ErrorObject;
use andon_types::message::{Json, Request, RequestId, encode_error, encode_result};
use andon_types::revision::Rules;
use serde_json::{Map, Value};

use super::dialogue::not_declared;
use super::io::{CallId, Output, QuestionId, Round};
use crate::facts::undeclared;
use crate::io::Timestamp;

/// Questions of one call at once, and those that belong to no call that is known; a server that asks more gets errors.
pub(super) const QUESTIONS_OF_ONE_MAX: usize = 16;

/// The open questions.
#[derive(Debug)]
pub(super) struct Asks {
    last: u64,
    /// Open at once, of all calls; a server that asks more gets errors.
    max: usize,
    open: Vec<Open>,
    /// How many are of each call that has any.
    of_calls: HashMap<CallId, usize>,
    /// Up to which call those hold up that do not say which they are of.
    up_to: Option<CallId>,
    /// Whom those that are over held up.
    over: Vec<Holds>,
}

#[derive(Debug)]
struct Open {
    question: QuestionId,
    begun_at: Timestamp,
    answers: Answers,
    holds: Holds,
}

/// What a question holds up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// The call that it belongs to.
    Call(CallId),
    /// It does not say: all that there were when it was asked, up to this one.
    UpTo(CallId),
}

/// Where the answer goes.
#[derive(Debug)]
enum Answers {
    /// A request of a legacy server, by its id.
    Request(RequestId),
    /// A round of a modern call, under this key.
    Round(CallId, String),
}

impl Asks {
    /// None yet, and `max` at once.
    pub(super) fn new(max: usize) -> Self {
        Self { last: 0, max, open: Vec::new(), of_calls: HashMap::new(), up_to: None, over: Vec::new() }
    }

    /// A request of a legacy server.
    pub(super) fn server_request(
        &mut self,
        now: Timestamp,
        (request, holds): (Request, Holds),
        capabilities: &ClientCapabilities,
        rules: &Rules,
        out: &mut Vec<Output>,
    ) {
        if !rules.server_requests {
            return out.push(Output::Dropped("a request of a server whose revision has none"));
        }
        let Request { id, method, params } = request;
        let mut refuse = |error: &ErrorObject| out.push(Output::Say { text: encode_error(Some(&id), error, rules) });
        if &*method == "ping" {
            return out.push(Output::Say { text: encode_result(&id, "{}") });
        }
        if !matches!(&*method, "elicitation/create" | "sampling/createMessage" | "roots/list") {
            return refuse(&ErrorObject::method_not_found(&method));
        }
        if self.open.iter().any(|open| matches!(&open.answers, Answers::Request(known) if *known == id)) {
            return out.push(Output::Dropped("a request whose id is in use"));
        }
        let params = params.map(|params| params.parse_owned::<Value>()).transpose();
        let mut asked = Map::new();
        asked.insert("method".into(), (&*method).into());
        match params {
            Ok(Some(params)) => drop(asked.insert("params".into(), params)),
            Ok(None) => {}
            Err(_) => return refuse(&ErrorObject::invalid_params("\"params\" cannot be read")),
        }
        match serde_json::from_value::<InputRequest>(Value::Object(asked)) {
            Err(error) => refuse(&ErrorObject::invalid_params(error.to_string())),
            Ok(request) if undeclared(capabilities, &request).is_some() => refuse(&not_declared(&method)),
            Ok(_) if !self.has_room(holds, 1) => {
                refuse(&ErrorObject::unavailable("too many questions to this client at once"));
            }
            Ok(request) => self.ask(now, Answers::Request(id), (request, holds, None), out),
        }
    }

    /// The questions of a modern round, whose answers go back with `request_state`.
    ///
    /// # Errors
    /// When one of them cannot be answered: then none is asked.
    pub(super) fn input_requests(
        &mut self,
        now: Timestamp,
        call: CallId,
        (requests, request_state): (Map<String, Value>, Option<&Json>),
        capabilities: &ClientCapabilities,
        out: &mut Vec<Output>,
    ) -> Result<(), ErrorObject> {
        if !self.has_room(Holds::Call(call), requests.len()) {
            return Err(ErrorObject::unavailable("too many questions to this client at once"));
        }
        let mut asked = Vec::with_capacity(requests.len());
        for (key, request) in requests {
            let request: InputRequest = serde_json::from_value(request)
                .map_err(|error| ErrorObject::invalid_params(format!("bad input request: {error}")))?;
            if undeclared(capabilities, &request).is_some() {
                return Err(not_declared(request.method()));
            }
            asked.push((key, request));
        }
        let round = Round { request_state: request_state.cloned(), questions: asked.len() };
        for (key, request) in asked {
            let round = Some((key.clone(), round.clone()));
            self.ask(now, Answers::Round(call, key), (request, Holds::Call(call), round), out);
        }
        Ok(())
    }

    /// The program's answer. If it belongs to a round of a modern call: to which, and under which key.
    pub(super) fn reply(
        &mut self,
        question: QuestionId,
        outcome: Result<Value, ErrorObject>,
        rules: &Rules,
        out: &mut Vec<Output>,
    ) -> Option<(CallId, String, Result<Value, ErrorObject>)> {
        // An answer to a question that was withdrawn is late, and no mistake.
        let index = self.open.iter().position(|open| open.question == question)?;
        match self.close(index).answers {
            Answers::Round(call, key) => Some((call, key, outcome)),
            Answers::Request(id) => {
                let text = match outcome {
                    Ok(result) => encode_result(&id, &result.to_string()),
                    Err(error) => encode_error(Some(&id), &error, rules),
                };
                out.push(Output::Say { text });
                None
            }
        }
    }

    /// The server withdraws its request: no response is sent (utilities, "Cancellation").
    pub(super) fn cancelled(&mut self, id: &RequestId, out: &mut Vec<Output>) {
        let found = self.open.iter().position(|open| matches!(&open.answers, Answers::Request(known) if known == id));
        match found {
            Some(index) => out.push(Output::Withdrawn { question: self.close(index).question }),
            None => out.push(Output::Dropped("a cancellation of no question")),
        }
    }

    /// The questions of `call` need no answers any more.
    pub(super) fn forget(&mut self, call: CallId, out: &mut Vec<Output>) {
        self.withdraw(out, |open| matches!(open.answers, Answers::Round(known, _) if known == call));
    }

    /// All questions went with their connection.
    pub(super) fn clear(&mut self, out: &mut Vec<Output>) {
        self.withdraw(out, |_| true);
    }

    /// Questions that the program does not answer are refused, so that the server can go on.
    pub(super) fn expire(&mut self, now: Timestamp, timeout: Duration, rules: &Rules, out: &mut Vec<Output>) {
        for open in &self.open {
            if let Answers::Request(id) = &open.answers
                && open.begun_at.after(timeout) <= now
            {
                let error = ErrorObject::unavailable("nobody answered in time");
                out.push(Output::Say { text: encode_error(Some(id), &error, rules) });
            }
        }
        self.withdraw(out, |open| open.begun_at.after(timeout) <= now);
    }

    pub(super) fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    pub(super) fn waits_for(&self, call: CallId) -> bool {
        self.open.iter().any(|open| matches!(open.answers, Answers::Round(known, _) if known == call))
    }

    /// Whether `call` may be what a question holds up.
    pub(super) fn hold_up(&self, call: CallId) -> bool {
        self.of_calls.contains_key(&call) || self.up_to.is_some_and(|last| call <= last)
    }

    /// What the questions held up that are over since this was asked last.
    pub(super) fn take_over(&mut self) -> Vec<Holds> {
        std::mem::take(&mut self.over)
    }

    /// When the question that is open longest was put.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.open.iter().map(|open| open.begun_at).min()
    }

    fn has_room(&self, holds: Holds, more: usize) -> bool {
        let of_one = match holds {
            Holds::Call(call) => self.of_calls.get(&call).copied().unwrap_or_default(),
            Holds::UpTo(_) => self.open.iter().filter(|open| matches!(open.holds, Holds::UpTo(_))).count(),
        };
        of_one + more <= QUESTIONS_OF_ONE_MAX && self.open.len() + more <= self.max
    }

    fn ask(
        &mut self,
        now: Timestamp,
        answers: Answers,
        (request, holds, round): (InputRequest, Holds, Option<(String, Round)>),
        out: &mut Vec<Output>,
    ) {
        self.last += 1;
        let question = QuestionId(self.last);
        let call = match holds {
            Holds::Call(call) => Some(call),
            Holds::UpTo(_) => None,
        };
        match holds {
            Holds::Call(call) => *self.of_calls.entry(call).or_default() += 1,
            Holds::UpTo(last) => self.up_to = self.up_to.max(Some(last)),
        }
        self.open.push(Open { question, begun_at: now, answers, holds });
        out.push(Output::Asked { question, request, call, round });
    }

    fn close(&mut self, index: usize) -> Open {
        let closed = self.open.remove(index);
        self.closed(closed.holds);
        closed
    }

    fn closed(&mut self, holds: Holds) {
        self.over.push(holds);
        match holds {
            Holds::Call(call) => {
                let count = self.of_calls.entry(call).or_default();
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.of_calls.remove(&call);
                }
            }
            Holds::UpTo(_) => {
                let left = self.open.iter().filter_map(|open| match open.holds {
                    Holds::UpTo(last) => Some(last),
                    Holds::Call(_) => None,
                });
                self.up_to = left.max();
            }
        }
    }

    fn withdraw(&mut self, out: &mut Vec<Output>, is_over: impl Fn(&Open) -> bool) {
        let over: Vec<Open>;
        (over, self.open) = std::mem::take(&mut self.open).into_iter().partition(is_over);
        for closed in over {
            self.closed(closed.holds);
            out.push(Output::Withdrawn { question: closed.question });
        }
    }
}
