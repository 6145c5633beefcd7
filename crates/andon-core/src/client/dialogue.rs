//! The conversation of a client: what becomes of each request, and who answers what the server asks.

use std::borrow::Cow;
use std::time::Duration;

use andon_types::capability::ClientCapabilities;
use andon_types::error::{ErrorCode, ErrorObject};
use andon_types::message::{Json, Message, Notification, RequestId, Response, encode_notification, encode_request};
use andon_types::meta::{
    CLIENT_CAPABILITIES, CLIENT_INFO, Implementation, PROGRESS_TOKEN, PROTOCOL_VERSION, SUBSCRIPTION_ID,
};
use andon_types::method::Method;
use andon_types::raw_object::{ObjectText, RawObject};
use andon_types::revision::{Revision, Rules};
use andon_types::task::{TASKS_EXTENSION, declares_tasks};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::asks::{Asks, Holds, QUESTIONS_OF_ONE_MAX};
use super::io::{CallError, CallId, Input, Loss, Newcall, Output, Report};
use crate::ascending::Ascending;
use crate::io::Timestamp;

/// Rounds of one call: a server that asks more often never ends.
const ROUNDS_MAX: u32 = 16;
/// The wait before a round that brings no answers, for each such round so far.
const EMPTY_ROUND_DELAY: Duration = Duration::from_millis(200);
/// Room for what most calls say in `_meta`.
const META_BYTES: usize = 320;
/// Room for the parameters of most calls.
const PARAMS_BYTES: usize = 512;
/// How long the program may take to answer a question before its call runs out of time again.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(600);

/// A client's side of a conversation.
#[derive(Debug)]
pub struct Dialogue {
    revision: Revision,
    info: Implementation,
    capabilities: ClientCapabilities,
    /// What calls say of the revision and of this client in `_meta`, as members; and what it can do (2026-07-28).
    told: (String, Json),
    calls: Ascending<CallId, Box<InFlight>>,
    pub(super) asks: Asks,
    next_call: u64,
    next_wire_id: i64,
    /// Nothing is due before.
    due: Option<Timestamp>,
}

#[derive(Debug)]
struct InFlight {
    new: Newcall,
    /// Of the round that is out; none while the call waits for answers of the program.
    wire_id: Option<i64>,
    /// The token of this call's progress: the first id, for all rounds.
    token: i64,
    begun_at: Timestamp,
    ends_at: Timestamp,
    last_progress: Option<f64>,
    rounds: u32,
    request_state: Option<Json>,
    answers: Map<String, Value>,
    /// When the next round is sent, if it is held back.
    resume_at: Option<Timestamp>,
}

impl InFlight {
    /// Gives the call its timeout again, within its maximum.
    fn extend(&mut self, now: Timestamp) {
        self.ends_at = now.after(self.new.timing.timeout).min(self.hard_end());
    }

    fn hard_end(&self) -> Timestamp {
        self.begun_at.after(self.new.timing.max)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InputRequired {
    #[serde(default)]
    input_requests: Map<String, Value>,
    request_state: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProgressParams {
    progress_token: Value,
    progress: f64,
    total: Option<f64>,
    message: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CancelledParams {
    request_id: Option<RequestId>,
}

impl Dialogue {
    /// A conversation of a client that is `info` and can do `capabilities`.
    pub fn new(info: Implementation, capabilities: ClientCapabilities) -> Self {
        let told = (told(Revision::LATEST, &info), json!(capabilities).into());
        Self {
            revision: Revision::LATEST,
            info,
            capabilities,
            told,
            calls: Ascending::default(),
            asks: Asks::new(QUESTIONS_OF_ONE_MAX),
            next_call: 0,
            next_wire_id: 0,
            due: None,
        }
    }

    /// Takes at most `max` questions of the server at once, of which 16 are of one call, or of none that is known. Default 16.
    #[must_use]
    pub fn questions_max(mut self, max: usize) -> Self {
        self.asks = Asks::new(max);
        self
    }

    /// Speaks `revision` from here on.
    pub fn speak(&mut self, revision: Revision) {
        self.revision = revision;
        self.told.0 = told(revision, &self.info);
    }

    /// The revision that is spoken.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// What this client declares.
    pub fn capabilities(&self) -> &ClientCapabilities {
        &self.capabilities
    }

    /// The parameters of `initialize` that propose `revision`.
    pub fn initialize_params(&self, revision: Revision) -> RawObject {
        let mut params = RawObject::default();
        params.put("protocolVersion", json!(revision.as_str()));
        params.put("capabilities", json!(self.capabilities));
        params.put("clientInfo", json!(self.info));
        params
    }

    /// Begins a call: sends its first round.
    pub fn request(&mut self, now: Timestamp, new: Newcall) -> (CallId, Vec<Output>) {
        let mut out = Vec::new();
        self.next_call += 1;
        let call = CallId(self.next_call);
        let ends_at = now.after(new.timing.timeout.min(new.timing.max));
        let flight = InFlight {
            new,
            wire_id: None,
            token: self.next_wire_id + 1,
            begun_at: now,
            ends_at,
            last_progress: None,
            rounds: 0,
            request_state: None,
            answers: Map::new(),
            resume_at: None,
        };
        self.calls.push(call, Box::new(flight));
        self.is_due(ends_at);
        self.send_round(call, &mut out);
        (call, out)
    }

    /// The text of a notification to the server.
    pub fn notification(&self, method: &str, params: Map<String, Value>) -> String {
        let mut params = RawObject::from(params);
        if let Some(meta) = self.meta(params.get("_meta"), None, None) {
            params.put("_meta", meta);
        }
        encode_notification(method, Some(&params.encode()))
    }

    /// What may happen next, and what has to be done, in order.
    pub fn handle(&mut self, now: Timestamp, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        let is_tick = matches!(input, Input::Tick);
        match input {
            Input::Message(message) => self.message(now, message, None, &mut out),
            Input::Related { wire_id, message } => {
                let call = self.calls.iter().find(|(_, flight)| flight.wire_id == Some(wire_id)).map(|(call, _)| call);
                self.message(now, message, call, &mut out);
            }
            Input::Refused { call, status, error } => {
                self.end(call, Err(CallError::Protocol { error, status: Some(status) }), &mut out);
            }
            Input::Failed { call, loss } => self.end(call, Err(CallError::Lost(loss)), &mut out),
            Input::Unreadable { wire_id, loss } => self.unreadable(wire_id, &loss, &mut out),
            Input::Abandon { call } => {
                if let Some(flight) = self.calls.remove(call) {
                    self.cancel(call, &flight, "the caller no longer waits", &mut out);
                }
            }
            Input::Reply { question, outcome } => self.replied(now, question, outcome, &mut out),
            Input::Closed { loss } => self.closed(&loss, &mut out),
            Input::Tick => self.tick(now, &mut out),
        }
        self.go_on(now);
        if is_tick || self.is_idle() {
            self.due = self.soonest();
        }
        out
    }

    /// Calls that no question holds up any more have their time again.
    fn go_on(&mut self, now: Timestamp) {
        for holds in self.asks.take_over() {
            let calls: Vec<CallId> = match holds {
                Holds::Call(call) => vec![call],
                Holds::UpTo(last) => self.calls.iter().map(|(call, _)| call).filter(|call| *call <= last).collect(),
            };
            for call in calls {
                let goes_on = !self.asks.hold_up(call);
                if let Some(flight) = self.calls.get_mut(call).filter(|_| goes_on) {
                    flight.extend(now);
                    let ends_at = flight.ends_at;
                    self.is_due(ends_at);
                }
            }
        }
    }

    /// When [`Input::Tick`] is due next: never too late, but what was due then may be over already. So a call that is
    /// answered costs no look at the others.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.due
    }

    fn is_due(&mut self, at: Timestamp) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    fn soonest(&self) -> Option<Timestamp> {
        let asked = self.asks.oldest().map(|begun| begun.after(QUESTION_TIMEOUT));
        let due = self.calls.iter().map(|(call, flight)| match flight.resume_at {
            Some(resume_at) => resume_at,
            None => self.ends_at(call, flight),
        });
        due.chain(asked).min()
    }

    /// A call is not late while a person is asked for it, but it ends at its maximum.
    fn ends_at(&self, call: CallId, flight: &InFlight) -> Timestamp {
        if self.asks.hold_up(call) { flight.hard_end() } else { flight.ends_at }
    }

    /// Whether nothing is in flight.
    pub fn is_idle(&self) -> bool {
        self.calls.is_empty() && !self.asks.is_open()
    }

    fn rules(&self) -> &'static Rules {
        self.revision.rules()
    }

    fn send_round(&mut self, call: CallId, out: &mut Vec<Output>) {
        let Some(flight) = self.calls.get_mut(call) else { return };
        self.next_wire_id += 1;
        let wire_id = self.next_wire_id;
        flight.wire_id = Some(wire_id);
        flight.rounds += 1;
        flight.resume_at = None;
        let answers = std::mem::take(&mut flight.answers);
        let state = flight.request_state.take();
        let Some(InFlight { new, token, rounds, .. }) = self.calls.get(call).map(|flight| &**flight) else { return };
        let is_opening = &*new.method == Method::Initialize.as_str();
        let token = new.wants_progress.then_some(*token);
        let given = new.params.get("_meta");
        let meta = if is_opening { None } else { self.meta(given, token, Some(new)) };
        // Calls are many, so that it is written as it travels.
        let mut params = ObjectText::with_capacity(PARAMS_BYTES);
        for (name, value) in new.params.iter() {
            let is_replaced = match name {
                "_meta" => meta.is_some(),
                // What the program gave of a round is for the first that it sends.
                "inputResponses" | "requestState" => *rounds > 1,
                _ => false,
            };
            if !is_replaced {
                params.push(name, value.as_str());
            }
        }
        if !answers.is_empty() {
            params.push("inputResponses", Json::from(answers).as_str());
        }
        if let Some(state) = state {
            params.push("requestState", state.as_str());
        }
        if let Some(meta) = meta {
            params.push("_meta", &meta.end());
        }
        let params = (!params.is_empty()).then(|| params.end());
        let text = encode_request(&RequestId::Number(wire_id), &new.method, params.as_deref());
        let named_by = Method::find(&new.method, self.revision).and_then(Method::named_by);
        let name = named_by.and_then(|member| new.params.text(member)).map(Cow::into_owned);
        let (method, mirrored) = (new.method.clone(), new.mirrored.clone());
        out.push(Output::Send { call, wire_id, method, name, mirrored, text });
    }

    /// The `_meta` of `call`, or of a notification: what the revision wants, beside what the program put there, of which some is
    /// `given` with the parameters. `None` if those are to stay as they are.
    fn meta(&self, given: Option<&Json>, token: Option<i64>, call: Option<&Newcall>) -> Option<ObjectText> {
        let tells = self.rules().result_type;
        let put = call.and_then(|call| call.meta.as_deref()).filter(|put| !put.is_empty());
        if !tells && token.is_none() && put.is_none() {
            return None;
        }
        let mut meta = ObjectText::with_capacity(META_BYTES);
        let is_ours = |name: &str| {
            (token.is_some() && name == PROGRESS_TOKEN)
                || (tells && [PROTOCOL_VERSION, CLIENT_INFO, CLIENT_CAPABILITIES].contains(&name))
        };
        for (name, value) in given.into_iter().flat_map(Json::members) {
            if !is_ours(&name) && put.is_none_or(|put| put.get(&name).is_none()) {
                meta.push(&name, value);
            }
        }
        for (name, value) in put.into_iter().flat_map(RawObject::iter).filter(|(name, _)| !is_ours(name)) {
            meta.push(name, value.as_str());
        }
        if let Some(token) = token {
            meta.push(PROGRESS_TOKEN, Json::number(token).as_str());
        }
        if tells {
            let (told, all) = &self.told;
            meta.push_members(told);
            let declared = call.and_then(|call| call.capabilities.as_ref()).unwrap_or(all);
            if call.is_some_and(|call| call.takes_tasks) {
                meta.push(CLIENT_CAPABILITIES, with_tasks(declared).as_str());
            } else {
                meta.push(CLIENT_CAPABILITIES, declared.as_str());
            }
        }
        Some(meta)
    }

    fn message(&mut self, now: Timestamp, message: Message, call: Option<CallId>, out: &mut Vec<Output>) {
        match (message, call) {
            (Message::Response(response), _) => self.response(now, response, out),
            (Message::Request(request), call) => {
                let holds = call.map_or(Holds::UpTo(CallId(self.next_call)), Holds::Call);
                self.asks.server_request(now, (request, holds), &self.capabilities, self.rules(), out);
                self.is_due(now.after(QUESTION_TIMEOUT));
            }
            (Message::Notification(notification), Some(call)) if &*notification.method == "notifications/message" => {
                out.push(Output::Logged { call, notification });
            }
            (Message::Notification(notification), _) => self.notified(now, notification, out),
        }
    }

    fn response(&mut self, now: Timestamp, response: Response, out: &mut Vec<Output>) {
        let Some(RequestId::Number(wire_id)) = response.id else {
            return out.push(Output::Dropped("a response without an id of ours"));
        };
        let found = self.calls.iter().find(|(_, flight)| flight.wire_id == Some(wire_id)).map(|(call, _)| call);
        let Some(call) = found else { return out.push(Output::Dropped("a response without a request")) };
        match response.outcome {
            Err(error) => self.end(call, Err(CallError::Protocol { error, status: None }), out),
            Ok(result) if !self.rules().result_type => self.end(call, Ok(result), out),
            Ok(result) if !result.as_str().starts_with('{') => {
                self.end(call, Err(CallError::Invalid("a result is an object".to_owned())), out);
            }
            Ok(result) => match result.members().find(|(name, _)| name == "resultType").map(|(_, kind)| kind) {
                // Absent means complete (2026-07-28, base protocol, "Responses").
                None | Some("null" | "\"complete\"") => self.end(call, Ok(result), out),
                Some("\"input_required\"") => self.input_required(now, call, &result, out),
                Some("\"task\"") if self.takes_task(call) => self.end(call, Ok(result), out),
                Some(_) => {
                    let why = "a \"resultType\" that this client does not know".to_owned();
                    self.end(call, Err(CallError::Invalid(why)), out);
                }
            },
        }
    }

    /// Only calls of tools become tasks, and only where that was declared (tasks extension, "Capability Negotiation").
    fn takes_task(&self, call: CallId) -> bool {
        let declares = declares_tasks(self.capabilities.extensions.as_ref());
        self.calls.get(call).is_some_and(|flight| {
            &*flight.new.method == Method::ToolsCall.as_str() && (declares || flight.new.takes_tasks)
        })
    }

    /// The server needs answers: asks for each, and sends the call again when all are there.
    fn input_required(&mut self, now: Timestamp, call: CallId, result: &Json, out: &mut Vec<Output>) {
        let asked: InputRequired = match result.parse_owned() {
            Ok(asked) => asked,
            Err(error) => return self.end(call, Err(CallError::Invalid(error.to_string())), out),
        };
        let Some(flight) = self.calls.get_mut(call) else { return };
        flight.wire_id = None;
        // The server is at work: that is as good as progress.
        flight.extend(now);
        if flight.rounds >= ROUNDS_MAX {
            return self.end(call, Err(CallError::TooManyRounds), out);
        }
        if asked.input_requests.is_empty() && asked.request_state.is_none() {
            let why = "\"input_required\" without \"inputRequests\" and without \"requestState\"".to_owned();
            return self.end(call, Err(CallError::Invalid(why)), out);
        }
        let request_state = asked.request_state.map(Json::from);
        flight.request_state.clone_from(&request_state);
        if asked.input_requests.is_empty() {
            let resume_at = now.after(EMPTY_ROUND_DELAY * flight.rounds);
            flight.resume_at = Some(resume_at);
            return self.is_due(resume_at);
        }
        self.is_due(now.after(QUESTION_TIMEOUT));
        let asked = (asked.input_requests, request_state.as_ref());
        if let Err(error) = self.asks.input_requests(now, call, asked, &self.capabilities, out) {
            self.end(call, Err(CallError::Unanswerable(error)), out);
        }
    }

    fn replied(
        &mut self,
        now: Timestamp,
        question: super::QuestionId,
        outcome: Result<Value, ErrorObject>,
        out: &mut Vec<Output>,
    ) {
        let Some((call, key, outcome)) = self.asks.reply(question, outcome, self.rules(), out) else { return };
        match outcome {
            Err(error) => self.end(call, Err(CallError::Unanswerable(error)), out),
            Ok(answer) => {
                let Some(flight) = self.calls.get_mut(call) else { return };
                flight.answers.insert(key, answer);
                if !self.asks.waits_for(call) {
                    flight.extend(now);
                    self.send_round(call, out);
                }
            }
        }
    }

    fn notified(&mut self, now: Timestamp, notification: Notification, out: &mut Vec<Output>) {
        match &*notification.method {
            "notifications/progress" => self.progressed(now, &notification, out),
            "notifications/cancelled" => {
                let params: Option<CancelledParams> = notification.params.and_then(|params| params.parse_owned().ok());
                match params.and_then(|params| params.request_id) {
                    Some(id) => self.asks.cancelled(&id, out),
                    None => out.push(Output::Dropped("a cancellation without a request")),
                }
            }
            "notifications/subscriptions/acknowledged" => {
                let params = notification.params.and_then(|params| params.parse_owned::<Value>().ok());
                let wire_id = params.and_then(|params| params.get("_meta")?.get(SUBSCRIPTION_ID)?.as_i64());
                let found = self.calls.iter().find(|(_, flight)| flight.wire_id.is_some() && flight.wire_id == wire_id);
                match found {
                    Some((call, _)) => out.push(Output::Acknowledged { call }),
                    None => out.push(Output::Dropped("an acknowledgement of no call")),
                }
            }
            _ => out.push(Output::Heard(notification)),
        }
    }

    fn progressed(&mut self, now: Timestamp, notification: &Notification, out: &mut Vec<Output>) {
        let params = notification.params.as_ref().and_then(|params| params.parse_owned::<ProgressParams>().ok());
        let Some(params) = params else { return out.push(Output::Dropped("progress that cannot be read")) };
        let token = params.progress_token.as_i64();
        let found = self.calls.iter_mut().find(|(_, flight)| Some(flight.token) == token && flight.new.wants_progress);
        let Some((call, flight)) = found else { return out.push(Output::Dropped("progress of no call")) };
        if !params.progress.is_finite() || flight.last_progress.is_some_and(|last| params.progress <= last) {
            return out.push(Output::Dropped("progress that does not increase"));
        }
        flight.last_progress = Some(params.progress);
        flight.extend(now);
        let report = Report { progress: params.progress, total: params.total, message: params.message };
        out.push(Output::Progress { call, report });
    }

    fn tick(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        self.asks.expire(now, QUESTION_TIMEOUT, self.rules(), out);
        let (mut late, mut due) = (Vec::new(), Vec::new());
        for (call, flight) in self.calls.iter() {
            match flight.resume_at {
                Some(at) if at <= now => due.push(call),
                _ => {}
            }
            if self.ends_at(call, flight) <= now {
                late.push(call);
            }
        }
        for call in late {
            if let Some(flight) = self.calls.remove(call) {
                self.cancel(call, &flight, "it took too long", out);
                out.push(Output::Answered { call, outcome: Err(CallError::TimedOut) });
            }
        }
        due.into_iter().for_each(|call| self.send_round(call, out));
    }

    /// Tells the server that nobody wants the answer. `initialize` is never cancelled (lifecycle).
    fn cancel(&mut self, call: CallId, flight: &InFlight, reason: &str, out: &mut Vec<Output>) {
        self.asks.forget(call, out);
        if flight.wire_id.is_some() {
            out.push(Output::Cancel { call, text: self.cancellation(flight, reason) });
        }
    }

    /// What tells the server that nobody waits for the round that is out, which must not be `initialize`.
    fn cancellation(&self, flight: &InFlight, reason: &str) -> Option<String> {
        let wire_id = flight.wire_id.filter(|_| &*flight.new.method != Method::Initialize.as_str())?;
        let mut params = Map::new();
        params.insert("requestId".into(), wire_id.into());
        params.insert("reason".into(), reason.into());
        Some(self.notification("notifications/cancelled", params))
    }

    /// Somebody waits for what cannot be read, and would wait until time runs out: its call ends now. Where it may be
    /// the answer to any of several calls, none of them can be trusted to end by itself.
    fn unreadable(&mut self, wire_id: Option<i64>, loss: &Loss, out: &mut Vec<Output>) {
        let may_be_answered = |flight: &InFlight| match wire_id {
            Some(_) => flight.wire_id == wire_id,
            // The answer to this one says nothing, and cannot be long.
            None => flight.wire_id.is_some() && &*flight.new.method != Method::Listen.as_str(),
        };
        let calls: Vec<CallId> =
            self.calls.iter().filter(|(_, flight)| may_be_answered(flight)).map(|(call, _)| call).collect();
        if calls.is_empty() {
            out.push(Output::Dropped("a message that cannot be read"));
        }
        let is_sure = calls.len() == 1;
        for call in calls {
            let flight = self.calls.get(call).filter(|_| !is_sure);
            // The server may still be at work on it.
            if let Some(text) = flight.and_then(|flight| self.cancellation(flight, "its answer may have been lost")) {
                out.push(Output::Cancel { call, text: Some(text) });
            }
            self.end(call, Err(CallError::Lost(loss.clone())), out);
        }
    }

    fn end(&mut self, call: CallId, outcome: Result<Json, CallError>, out: &mut Vec<Output>) {
        if self.calls.remove(call).is_none() {
            return;
        }
        self.asks.forget(call, out);
        out.push(Output::Answered { call, outcome });
    }

    fn closed(&mut self, loss: &Loss, out: &mut Vec<Output>) {
        for (call, _) in std::mem::take(&mut self.calls).iter() {
            self.asks.forget(call, out);
            out.push(Output::Answered { call, outcome: Err(CallError::Lost(loss.clone())) });
        }
        self.asks.clear(out);
    }
}

/// What every call says of the revision and of the client that is `info`.
fn told(revision: Revision, info: &Implementation) -> String {
    let mut told = ObjectText::with_capacity(META_BYTES);
    told.push(PROTOCOL_VERSION, Json::string(revision.as_str()).as_str());
    told.push(CLIENT_INFO, Json::from(json!(info)).as_str());
    told.members()
}

/// The same capabilities, and tasks.
fn with_tasks(capabilities: &Json) -> Json {
    let mut capabilities: Value = capabilities.parse_owned().unwrap_or_default();
    capabilities["extensions"][TASKS_EXTENSION] = json!({});
    capabilities.into()
}

/// The answer to what this client does not do.
pub(super) fn not_declared(method: &str) -> ErrorObject {
    ErrorObject::new(ErrorCode::MethodNotFound, format!("this client did not declare what {method} needs"))
}

#[cfg(test)]
mod tests;
