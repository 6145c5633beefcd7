//! What the server asks: each question has one answer, whichever era it came in.

use andon_types::capability::ClientCapabilities;
use andon_types::client::InputRequest;
use andon_types::error::ErrorObject;
use andon_types::message::{Request, RequestId, encode_error, encode_result};
use andon_types::revision::Rules;
use serde_json::{Map, Value};
use std::time::Duration;

use super::dialogue::not_declared;
use super::io::{CallId, Output, QuestionId};
use crate::facts::undeclared;
use crate::io::Timestamp;

/// Questions of one server at once; a server that asks more gets errors.
const QUESTIONS_MAX: usize = 16;

/// The open questions.
#[derive(Debug, Default)]
pub(super) struct Asks {
    last: u64,
    open: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    question: QuestionId,
    begun_at: Timestamp,
    answers: Answers,
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
    /// A request of a legacy server.
    pub(super) fn server_request(
        &mut self,
        now: Timestamp,
        (request, call): (Request, Option<CallId>),
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
            Ok(_) if self.open.len() >= QUESTIONS_MAX => {
                refuse(&ErrorObject::unavailable("too many questions to this client at once"));
            }
            Ok(request) => self.ask(now, Answers::Request(id), (request, call), out),
        }
    }

    /// The questions of a modern round.
    ///
    /// # Errors
    /// When one of them cannot be answered: then none is asked.
    pub(super) fn input_requests(
        &mut self,
        now: Timestamp,
        call: CallId,
        requests: Map<String, Value>,
        capabilities: &ClientCapabilities,
        out: &mut Vec<Output>,
    ) -> Result<(), ErrorObject> {
        if self.open.len() + requests.len() > QUESTIONS_MAX {
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
        for (key, request) in asked {
            self.ask(now, Answers::Round(call, key), (request, Some(call)), out);
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
        match self.open.remove(index).answers {
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
            Some(index) => out.push(Output::Withdrawn { question: self.open.remove(index).question }),
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

    /// When the question that is open longest was put.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.open.iter().map(|open| open.begun_at).min()
    }

    fn ask(
        &mut self,
        now: Timestamp,
        answers: Answers,
        (request, call): (InputRequest, Option<CallId>),
        out: &mut Vec<Output>,
    ) {
        self.last += 1;
        let question = QuestionId(self.last);
        let key = match &answers {
            Answers::Round(_, key) => Some(key.clone()),
            Answers::Request(_) => None,
        };
        self.open.push(Open { question, begun_at: now, answers });
        out.push(Output::Asked { question, request, call, key });
    }

    fn withdraw(&mut self, out: &mut Vec<Output>, is_over: impl Fn(&Open) -> bool) {
        self.open.retain(|open| {
            let over = is_over(open);
            if over {
                out.push(Output::Withdrawn { question: open.question });
            }
            !over
        });
    }
}
