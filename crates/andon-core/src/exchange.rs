//! The machine of a request that stands alone, and everything it needs is in it: a modern one, or a legacy one that belongs to no
//! session.
//!
//! A call is answered once, by its result, by an error, or by `input_required`; then the handler is gone and the
//! client comes back with the answers in a new request. A listen request stays open and carries changes.

mod listen;

pub use listen::{is_task_subject, task_subject};

use std::sync::Arc;
use std::time::Duration;

use andon_types::adapt::Adapt;
use andon_types::client::InputRequest;
use andon_types::error::{ErrorCode, ErrorObject};
use andon_types::message::{Json, RequestId, encode_error, encode_notification, encode_result};
use andon_types::meta::Level;
use andon_types::method::Method;
use andon_types::revision::{Era, Rules};
use serde_json::{Map, Value, json};

use crate::endpoint::Admitted;
use crate::facts::{Facts, undeclared};
use crate::io::{AskError, AskId, Call, CallId, Frame, Input, Output, Reply, StreamId, Timestamp};
use crate::limits::Limits;
use crate::meter::{Bucket, Progress};
use crate::offer::Offer;
use crate::session::log_params;

/// The only call of an exchange.
pub const CALL: CallId = CallId(0);
/// The only stream of an exchange.
pub const STREAM: StreamId = StreamId(0);

/// One request on its way to its answer.
#[derive(Debug)]
pub struct Exchange {
    id: RequestId,
    method: Method,
    facts: Arc<Facts>,
    limits: Arc<Limits>,
    offer: Arc<Offer>,
    begun_at: Timestamp,
    timeout: Duration,
    ends_at: Timestamp,
    progress: Option<Box<Progress>>,
    log: Option<(Bucket, u64)>,
    /// Questions of the handler that this request does not answer.
    questions: Vec<(AskId, Box<str>, InputRequest)>,
    listening: Option<Box<listen::Listening>>,
    over: bool,
}

impl Exchange {
    /// Opens the exchange of an admitted request. What opens a connection is answered at once; all others call a handler.
    pub fn open(now: Timestamp, admitted: Admitted, limits: Arc<Limits>, offer: Arc<Offer>) -> (Exchange, Vec<Output>) {
        let Admitted { method, request, facts } = admitted;
        let mut exchange = Self {
            id: request.id.clone(),
            method,
            begun_at: now,
            timeout: limits.call_timeout,
            ends_at: now.after(limits.call_timeout),
            progress: facts
                .progress_token
                .clone()
                .map(|token| Box::new(Progress::new(token, now, limits.progress_per_s))),
            log: None,
            facts: facts.clone(),
            limits,
            offer,
            questions: Vec::new(),
            listening: None,
            over: false,
        };
        let mut out = Vec::with_capacity(1);
        let at_once = match method {
            Method::Discover | Method::Initialize => Some(exchange.offer.opening(facts.revision).to_owned()),
            Method::Ping => Some("{}".to_owned()),
            _ => None,
        };
        match at_once {
            Some(body) => exchange.finish(Ok(Reply { body: body.into(), ..Reply::default() }), &mut out),
            None => out.push(Output::Call(Call { id: CALL, method, request, facts })),
        }
        (exchange, out)
    }

    /// What may happen next, and what has to be done: in order, stopping at the first that fails.
    pub fn handle(&mut self, now: Timestamp, input: Input) -> Vec<Output> {
        let mut out = Vec::with_capacity(1);
        if self.over {
            if let Input::Ask { ask, .. } = input {
                out.push(Output::Answered { ask, outcome: Err(AskError::Cancelled) });
            }
            return out;
        }
        match input {
            Input::Done { outcome, .. } => match outcome {
                Ok(filter) if self.method == Method::Listen => self.listen(now, &filter, &mut out),
                outcome => self.finish(outcome, &mut out),
            },
            Input::Ask { ask, key, request, .. } => self.ask(ask, key, request, &mut out),
            Input::Abandon { ask } => self.questions.retain(|(known, ..)| *known != ask),
            Input::Park if !self.questions.is_empty() => out.push(Output::Park),
            Input::Sealed { request_state } => self.require_input(request_state, &mut out),
            Input::Progress { progress, total, message, .. } => {
                self.report(now, (progress, total, message.as_deref()), &mut out);
            }
            Input::Log { level, logger, data, .. } => self.log(now, level, logger.as_deref(), &data, &mut out),
            Input::Extend { timeout, .. } => {
                self.timeout = timeout;
                self.ends_at = now.after(timeout).min(self.begun_at.after(self.limits.call_timeout_max));
            }
            Input::Changed(kind) => self.changed(now, kind, &mut out),
            Input::Updated(update) => self.updated(now, &update, &mut out),
            Input::TaskChanged { id, members } => self.task_changed(&id, &members, &mut out),
            // The client went away, or said so: nothing more is sent (Streamable HTTP, "Cancellation").
            Input::Detached { .. } | Input::Message { .. } => self.cancel(&mut out),
            Input::Tick => self.tick(now, &mut out),
            Input::End => self.end(&mut out),
            Input::Park | Input::Keep(_) | Input::Notify { .. } | Input::CloseConnection { .. } => {}
        }
        out
    }

    /// When [`Input::Tick`] is due next.
    pub fn deadline(&self) -> Option<Timestamp> {
        if self.over {
            return None;
        }
        if let Some(listening) = &self.listening {
            return listening.deadline(&self.limits);
        }
        let held = self.progress.as_deref().and_then(Progress::deadline);
        Some(held.map_or(self.ends_at, |held| held.min(self.ends_at)))
    }

    /// Whether the answer was sent, or none is wanted.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Whether it is a listen request, acknowledged or not.
    pub fn is_listen(&self) -> bool {
        self.method == Method::Listen
    }

    /// Whether it is a listen request that was acknowledged.
    pub fn is_listening(&self) -> bool {
        self.listening.is_some()
    }

    /// The request's id, which `notifications/cancelled` on stdio names.
    pub fn id(&self) -> &RequestId {
        &self.id
    }

    fn rules(&self) -> &'static Rules {
        self.facts.revision.rules()
    }

    fn ask(&mut self, ask: AskId, key: Box<str>, mut request: InputRequest, out: &mut Vec<Output>) {
        let mut refuse = |error| out.push(Output::Answered { ask, outcome: Err(error) });
        if self.facts.revision.era() == Era::Legacy {
            let why = format!("a server without sessions cannot ask a client of {} for anything", self.facts.revision);
            return refuse(AskError::Invalid(why));
        }
        if let Some(required) = undeclared(&self.facts.client.capabilities, &request) {
            return refuse(AskError::NotDeclared(required));
        }
        if self.questions.len() >= self.limits.asks_max {
            return refuse(AskError::TooMany);
        }
        if !self.method.may_ask() {
            return refuse(AskError::Invalid(format!("{} cannot ask the client for input", self.method.as_str())));
        }
        if self.questions.iter().any(|(_, known, _)| *known == key) {
            return refuse(AskError::Invalid(format!("two questions of one call have the key {key:?}")));
        }
        request.adapt(self.rules());
        self.questions.push((ask, key, request));
    }

    /// Ends with `input_required` (multi round-trip requests).
    fn require_input(&mut self, request_state: Option<String>, out: &mut Vec<Output>) {
        let mut body = Map::new();
        let questions = std::mem::take(&mut self.questions);
        let requests = questions.into_iter().map(|(_, key, request)| (key.into(), json!(request)));
        body.insert("inputRequests".into(), Value::Object(requests.collect()));
        if let Some(state) = request_state {
            body.insert("requestState".into(), state.into());
        }
        let reply = Reply { body: Value::Object(body).to_string().into(), ..Reply::default() };
        let text = self.offer.modern_response(&self.id, &reply, "input_required", false);
        self.over = true;
        out.push(Output::Cancel { call: CALL });
        self.send(text, 200, true, out);
    }

    fn finish(&mut self, outcome: Result<Reply, ErrorObject>, out: &mut Vec<Output>) {
        if let Some(params) = self.progress.as_deref_mut().and_then(Progress::finish) {
            self.send(encode_notification("notifications/progress", Some(&params)), 200, false, out);
        }
        self.over = true;
        match outcome {
            Ok(reply) => {
                let text = match self.facts.revision.era() {
                    Era::Legacy => encode_result(&self.id, &Offer::legacy_result(&reply)),
                    Era::Modern => {
                        let (kind, is_cacheable) = (reply.kind.as_str(), self.is_cacheable());
                        self.offer.modern_response(&self.id, &reply, kind, is_cacheable)
                    }
                };
                self.send(text, 200, true, out);
            }
            Err(mut error) => {
                error.adapt(self.rules());
                let status = crate::violation::status_of_outcome(&error, self.rules());
                self.send(encode_error(Some(&self.id), &error, self.rules()), status, true, out);
            }
        }
    }

    /// A result that answers questions is for this request alone (multi round-trip requests).
    fn is_cacheable(&self) -> bool {
        let kept = matches!(
            self.method,
            Method::Discover
                | Method::ToolsList
                | Method::PromptsList
                | Method::ResourcesList
                | Method::TemplatesList
                | Method::ResourcesRead
        );
        kept && self.rules().cache_hints
    }

    fn report(&mut self, now: Timestamp, report: (f64, Option<f64>, Option<&str>), out: &mut Vec<Output>) {
        let most = self.begun_at.after(self.limits.call_timeout_max);
        self.ends_at = self.ends_at.max(now.after(self.timeout).min(most));
        let (rules, per_s) = (self.rules(), self.limits.progress_per_s);
        if let Some(params) = self.progress.as_mut().and_then(|known| known.report(now, per_s, report, rules)) {
            self.send(encode_notification("notifications/progress", Some(&params)), 200, false, out);
        }
    }

    /// Silent unless the request asked for logs (2026-07-28, logging).
    fn log(&mut self, now: Timestamp, level: Level, logger: Option<&str>, data: &Json, out: &mut Vec<Output>) {
        if self.facts.log_level.is_none_or(|threshold| level < threshold) {
            return;
        }
        let per_s = self.limits.logs_per_s;
        let (bucket, dropped) = self.log.get_or_insert_with(|| (Bucket::new(now, per_s), 0));
        if bucket.take(now, per_s) {
            let params = log_params(level, logger, data, std::mem::take(dropped));
            self.send(encode_notification("notifications/message", Some(&params)), 200, false, out);
        } else {
            *dropped += 1;
            out.push(Output::Dropped("log notification over the rate"));
        }
    }

    fn tick(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        if self.listening.is_some() {
            return self.flush(now, out);
        }
        let per_s = self.limits.progress_per_s;
        if let Some(params) = self.progress.as_mut().and_then(|progress| progress.due(now, per_s)) {
            self.send(encode_notification("notifications/progress", Some(&params)), 200, false, out);
        }
        if self.ends_at <= now {
            let took = now.since(self.begun_at).as_millis();
            let why = format!("the call took longer than its time, {took} ms, and was cancelled");
            out.push(Output::Cancel { call: CALL });
            self.finish(Err(ErrorObject::new(ErrorCode::InternalError, why)), out);
        }
    }

    fn cancel(&mut self, out: &mut Vec<Output>) {
        self.over = true;
        self.unsubscribe(out);
        out.push(Output::Cancel { call: CALL });
        out.push(Output::Close { stream: STREAM });
    }

    fn send(&self, text: String, status: u16, last: bool, out: &mut Vec<Output>) {
        let frame = Frame { id: None, text: Some(text.into()), retry_ms: None, last, status };
        out.push(Output::Send { stream: STREAM, frame });
    }
}

#[cfg(test)]
mod tests;
