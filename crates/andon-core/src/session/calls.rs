//! Requests in flight: begun once, ended once, by whichever of answer, deadline and cancellation comes first.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use andon_types::error::{ErrorCode, ErrorObject};
use andon_types::message::{Json, Request, RequestId, encode_notification};
use andon_types::meta::Level;
use andon_types::method::Method;
use andon_types::params::Params;
use serde::Deserialize;
use serde_json::json;

use super::Session;
use super::record::{Dirty, RequestRecord};
use super::streams::Answered;
use crate::facts::{Facts, short_name};
use crate::io::{Call, CallId, Output, Reply, StreamId, Timestamp};
use crate::meter::Progress;
use crate::offer::Offer;
use crate::violation::status_of_outcome;

#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) call: CallId,
    id: RequestId,
    method: Method,
    /// Those who look want the tool or prompt that is named there.
    params: Option<Params>,
    pub(super) stream: StreamId,
    begun_at: Timestamp,
    timeout: Duration,
    ends_at: Timestamp,
    progress: Option<Box<Progress>>,
    /// Questions of its handler so far.
    pub(super) asked: u32,
    /// Whether it stands in the record, so that its end has to be written down too.
    recorded: bool,
}

impl InFlight {
    pub(super) fn id(&self) -> &RequestId {
        &self.id
    }

    pub(super) fn record(&self) -> RequestRecord {
        RequestRecord {
            call: self.call.0,
            id: self.id.clone(),
            method: self.method.as_str().into(),
            name: self.params.as_ref().and_then(short_name),
            stream: self.stream.0,
            begun_at: self.begun_at.0,
        }
    }

    pub(super) fn deadline(&self) -> Timestamp {
        self.progress.as_deref().and_then(Progress::deadline).map_or(self.ends_at, |held| held.min(self.ends_at))
    }
}

/// A number for itself, and a hash of any other text. Who finds two ids that are the same here harms only its own session.
pub(super) fn hash(id: &RequestId) -> u64 {
    match id {
        RequestId::Number(number) => number.cast_unsigned(),
        RequestId::String(text) => {
            let mut hasher = DefaultHasher::new();
            text.hash(&mut hasher);
            hasher.finish()
        }
    }
}

impl Session {
    pub(super) fn begin(
        &mut self,
        now: Timestamp,
        stream: StreamId,
        method: Method,
        request: Request,
        out: &mut Vec<Output>,
    ) {
        let facts = match Facts::of_legacy(&request, self.revision, self.client.clone()) {
            Ok(read) => read,
            Err(error) => return self.answer_error(stream, &request.id, error, out),
        };
        let call = self.new_call();
        let timeout = self.limits.call_timeout;
        // A task has a time of its own (2025-11-25, tasks, "Result Retrieval").
        let ends_at = if method == Method::TasksResult { Timestamp(u64::MAX) } else { now.after(timeout) };
        let per_s = self.limits.progress_per_s;
        self.calls.reserve_exact(usize::from(self.calls.is_empty()));
        self.calls.push(InFlight {
            call,
            id: request.id.clone(),
            method,
            params: request.params.clone(),
            stream,
            begun_at: now,
            timeout,
            ends_at,
            progress: facts.progress_token.clone().map(|token| Box::new(Progress::new(token, now, per_s))),
            asked: 0,
            recorded: false,
        });
        out.push(Output::Call(Call { id: call, method, request, facts }));
    }

    /// Enters a call in the record before it runs, so that nobody takes it for one that never did.
    pub fn enter(&mut self, call: CallId) {
        if let Some(known) = self.calls.iter_mut().find(|known| known.call == call) {
            known.recorded = true;
            self.mark(Dirty::Now);
        }
    }

    /// Says that the calls of `stream` stand in the record that is written next.
    pub(super) fn enter_all(&mut self, stream: StreamId) {
        self.calls.iter_mut().filter(|call| call.stream == stream).for_each(|call| call.recorded = true);
    }

    pub(super) fn done(
        &mut self,
        now: Timestamp,
        call: CallId,
        outcome: Result<Reply, ErrorObject>,
        out: &mut Vec<Output>,
    ) {
        let Some(index) = self.calls.iter().position(|known| known.call == call) else { return };
        self.active_at = now;
        let mut ended = self.calls.swap_remove(index);
        self.cancel_asks_of(call, ended.stream, out);
        if let Some(params) = ended.progress.as_deref_mut().and_then(Progress::finish) {
            self.send(ended.stream, encode_notification("notifications/progress", Some(&params)), 200, out);
        }
        self.remember(&ended.id);
        if ended.recorded {
            self.mark(Dirty::Later);
        }
        let taken = outcome.and_then(|reply| self.take_effect(&ended, &reply, out).map(|()| reply));
        match taken {
            Ok(reply) => self.answer(ended.stream, &ended.id, &Offer::legacy_result(&reply), out),
            Err(error) => {
                let status = status_of_outcome(&error, self.rules());
                self.answer_with_error(ended.stream, &ended.id, (error, status), out);
            }
        }
        if let Some(event) = self.logged_last(ended.stream) {
            event.answers = Some(call);
        }
    }

    /// What a successful answer changes here: a subscription is in force before its answer leaves.
    fn take_effect(&mut self, ended: &InFlight, reply: &Reply, out: &mut Vec<Output>) -> Result<(), ErrorObject> {
        let Some(uri) = reply.subject.as_deref() else { return Ok(()) };
        match ended.method {
            // Who asks again is answered when what was asked first is durable, and it may be on its way still.
            Method::Subscribe if self.subscriptions.contains(uri) => self.mark(Dirty::Now),
            Method::Subscribe => {
                if self.subscriptions.len() >= self.limits.subscriptions_max {
                    let why = format!("a session has at most {} subscriptions", self.limits.subscriptions_max);
                    return Err(ErrorObject::invalid_params(why));
                }
                let uri: Arc<str> = uri.into();
                self.subscriptions.insert(uri.clone());
                self.mark(Dirty::Now);
                out.push(Output::Subscription { uri, present: true });
            }
            Method::Unsubscribe => {
                self.mark(Dirty::Now);
                if let Some(uri) = self.subscriptions.take(uri) {
                    self.notices.forget(&uri);
                    out.push(Output::Subscription { uri, present: false });
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn remember(&mut self, id: &RequestId) {
        if self.answered.len() == Self::IDS_REMEMBERED {
            self.answered.pop_front();
        }
        self.answered.push_back(hash(id));
    }

    /// The client no longer wants an answer: it gets none (utilities, "Cancellation").
    pub(super) fn cancelled(&mut self, params: Option<&Json>, out: &mut Vec<Output>) {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Cancelled {
            request_id: RequestId,
        }
        let id = params.and_then(|params| params.parse::<Cancelled>().ok()).map(|params| params.request_id);
        let Some(index) = id.and_then(|id| self.calls.iter().position(|call| call.id == id)) else { return };
        let ended = self.calls.swap_remove(index);
        self.remember(&ended.id);
        if ended.recorded {
            self.mark(Dirty::Later);
        }
        self.cancel_asks_of(ended.call, ended.stream, out);
        out.push(Output::Cancel { call: ended.call });
        self.settle(ended.stream, Answered::No, out);
    }

    pub(super) fn expire_calls(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        while let Some(late) = self.calls.iter().find(|call| call.ends_at <= now) {
            let (call, took) = (late.call, now.since(late.begun_at));
            out.push(Output::Cancel { call });
            let why = format!("the call took longer than its time, {} ms, and was cancelled", took.as_millis());
            let error = ErrorObject::new(ErrorCode::InternalError, why);
            self.done(now, call, Err(error), out);
        }
    }

    pub(super) fn extend(&mut self, now: Timestamp, call: CallId, timeout: Duration) {
        let most = self.limits.call_timeout_max;
        if let Some(known) = self.calls.iter_mut().find(|known| known.call == call) {
            known.timeout = timeout;
            known.ends_at = now.after(timeout).min(known.begun_at.after(most));
        }
    }

    /// Gives a call that asks the client as long as the answer may take, and its own time after that.
    pub(super) fn extend_for_ask(&mut self, now: Timestamp, call: CallId, timeout: Duration) {
        let most = self.limits.call_timeout_max;
        if let Some(known) = self.calls.iter_mut().find(|known| known.call == call) {
            known.ends_at = known.ends_at.max(now.after(timeout).after(known.timeout.min(most)));
        }
    }

    pub(super) fn progress(
        &mut self,
        now: Timestamp,
        call: CallId,
        report: (f64, Option<f64>, Option<&str>),
        out: &mut Vec<Output>,
    ) {
        let (rules, per_s, most) = (self.rules(), self.limits.progress_per_s, self.limits.call_timeout_max);
        let Some(known) = self.calls.iter_mut().find(|known| known.call == call) else { return };
        known.ends_at = known.ends_at.max(now.after(known.timeout).min(known.begun_at.after(most)));
        let stream = known.stream;
        let params = known.progress.as_mut().and_then(|progress| progress.report(now, per_s, report, rules));
        if let Some(params) = params {
            self.send(stream, encode_notification("notifications/progress", Some(&params)), 200, out);
        }
    }

    pub(super) fn flush_progress(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let per_s = self.limits.progress_per_s;
        let due: Vec<_> = self
            .calls
            .iter_mut()
            .filter_map(|call| Some((call.stream, call.progress.as_mut()?.due(now, per_s)?)))
            .collect();
        for (stream, params) in due {
            self.send(stream, encode_notification("notifications/progress", Some(&params)), 200, out);
        }
    }

    pub(super) fn log(
        &mut self,
        now: Timestamp,
        call: CallId,
        level: Level,
        logger: Option<&str>,
        data: &Json,
        out: &mut Vec<Output>,
    ) {
        let Some(known) = self.calls.iter().find(|known| known.call == call) else { return };
        let stream = known.stream;
        if level < self.log_level {
            return;
        }
        match self.notices.admit_log(now, self.limits.logs_per_s) {
            Some(dropped) => {
                let params = log_params(level, logger, data, dropped);
                self.send(stream, encode_notification("notifications/message", Some(&params)), 200, out);
            }
            None => out.push(Output::Dropped("log notification over the rate")),
        }
    }

    /// Ends the connection of the call's stream where the client can come back to it.
    pub(super) fn close_connection(&mut self, call: CallId, retry_ms: u32, out: &mut Vec<Output>) {
        let Some(known) = self.calls.iter().find(|known| known.call == call) else { return };
        let stream = known.stream;
        if let Some(mut frame) = self.priming(stream) {
            // Only the delay: an id here would move the client's place on the stream.
            frame.id = None;
            frame.retry_ms = Some(retry_ms);
            out.push(Output::Send { stream, frame });
            out.push(Output::Close { stream });
        }
    }
}

/// The parameters of a log notification; says how many were dropped before it.
pub(crate) fn log_params(level: Level, logger: Option<&str>, data: &Json, dropped: u64) -> String {
    let mut params = format!(r#"{{"level":{}"#, json!(level));
    if let Some(logger) = logger {
        params.push_str(&format!(r#","logger":{}"#, json!(logger)));
    }
    if dropped > 0 {
        params.push_str(&format!(r#","_meta":{{"andon.dev/dropped":{dropped}}}"#));
    }
    params.push_str(&format!(r#","data":{}}}"#, data.as_str()));
    params
}
