//! The machine of a legacy conversation: `initialize` opens it, and it remembers what was said.
//!
//! Phases: not_initialized -> initializing -> initialized -> disconnected. An idle session holds no task and
//! no connection: it is this record and nothing else.

mod asks;
mod calls;
mod handshake;
pub mod journal;
pub mod look;
mod notices;
pub mod record;
mod streams;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use andon_types::error::ErrorObject;
use andon_types::message::{Message, Notification, Request, RequestId, encode_error, encode_result};
use andon_types::meta::Level;
use andon_types::method::Method;
use andon_types::raw::RawJson;
use andon_types::revision::{Revision, Rules};

use crate::facts::ClientFacts;
use crate::io::{AskError, CallId, Input, Output, StreamId, Timestamp};
use crate::limits::Limits;
use crate::meter::Bucket;
use crate::offer::Offer;
use crate::values::{TooLarge, Values};

pub(crate) use calls::log_params;
pub(crate) use notices::{Due, Notices};
use record::{Dirty, Life};
use streams::Answered;
pub use streams::{AttachError, StreamKind};

/// Where a session stands (lifecycle).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Only `initialize` and `ping` are served.
    NotInitialized,
    /// `initialize` was answered; `notifications/initialized` is awaited.
    Initializing,
    /// Everything is served.
    Initialized,
    /// Over; nothing is served any more.
    Disconnected,
}

/// Whether messages keep their order on the way here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One duplex stream: stdio, a pipe. Nothing is kept for resumption.
    Pipe,
    /// HTTP with SSE of 2024-11-05: one stream for all answers, of which nothing is kept; messages come by POSTs, which
    /// can overtake each other.
    Posts,
    /// Streamable HTTP: each request brings a stream of its own, and requests may overtake each other.
    Http,
}

/// One legacy conversation.
#[derive(Debug)]
pub struct Session {
    shape: Shape,
    phase: Phase,
    revision: Revision,
    tag: u32,
    limits: Arc<Limits>,
    offer: Arc<Offer>,
    client: Arc<ClientFacts>,
    log_level: Level,
    opened_at: Timestamp,
    active_at: Timestamp,
    next_call: u64,
    next_question: u64,
    next_stream: u32,
    calls: Vec<calls::InFlight>,
    asks: Vec<asks::Pending>,
    streams: Vec<streams::Stream>,
    subscriptions: BTreeSet<Arc<str>>,
    notices: notices::Notices,
    resumes: Bucket,
    /// Hashes of the ids of the last requests that were answered.
    answered: VecDeque<u64>,
    life: Life,
    values: Values,
    /// Of a session that outlives the process.
    unwritten: Option<Box<record::Unwritten>>,
}

impl Session {
    /// How many answered ids are remembered, so that a client which uses one again is told.
    pub const IDS_REMEMBERED: usize = 16;

    /// A session that nothing was said in. `tag` is random and marks its event ids.
    pub fn new(now: Timestamp, shape: Shape, tag: u32, limits: Arc<Limits>, offer: Arc<Offer>) -> Self {
        Self {
            shape,
            phase: Phase::NotInitialized,
            revision: Revision::LATEST_LEGACY,
            tag,
            resumes: Bucket::new(now, limits.resumes_per_s),
            limits,
            offer,
            client: Arc::default(),
            log_level: Level::Info,
            opened_at: now,
            active_at: now,
            next_call: 0,
            next_question: 0,
            next_stream: 0,
            calls: Vec::new(),
            asks: Vec::new(),
            streams: Vec::new(),
            subscriptions: BTreeSet::new(),
            notices: notices::Notices::default(),
            answered: VecDeque::new(),
            life: Life::default(),
            values: Values::default(),
            unwritten: None,
        }
    }

    /// What may happen next, and what has to be done: in order, stopping at the first that fails.
    pub fn handle(&mut self, now: Timestamp, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        if self.phase == Phase::Disconnected {
            if let Input::Ask { ask, .. } = input {
                out.push(Output::Answered { ask, outcome: Err(AskError::Cancelled) });
            }
            return out;
        }
        match input {
            Input::Message { stream, message } => {
                self.active_at = now;
                self.message(now, stream, message, &mut out);
            }
            Input::Done { call, outcome } => self.done(now, call, outcome, &mut out),
            Input::Ask { call, ask, request, timeout, .. } => self.ask(now, call, ask, request, timeout, &mut out),
            Input::Abandon { ask } => self.abandon(now, ask, &mut out),
            Input::Progress { call, progress, total, message } => {
                self.progress(now, call, (progress, total, message.as_deref()), &mut out);
            }
            Input::Log { call, level, logger, data } => self.log(now, call, level, logger.as_deref(), &data, &mut out),
            Input::Extend { call, timeout } => self.extend(now, call, timeout),
            Input::CloseConnection { call, retry_ms } => self.close_connection(call, retry_ms, &mut out),
            Input::Changed(kind) => self.changed(now, kind, &mut out),
            Input::Updated(update) => self.updated(now, &update, &mut out),
            Input::Notify { method, params, level } => self.notify(now, method, &params, level, &mut out),
            Input::Detached { stream } => self.detached(now, stream),
            Input::Keep(life) => {
                self.life = life;
                self.mark(Dirty::Now);
            }
            Input::Tick => self.tick(now, &mut out),
            Input::End => self.end(&mut out),
            // Only a modern exchange parks, or listens.
            Input::Park | Input::Sealed { .. } | Input::TaskChanged { .. } => {}
        }
        out
    }

    /// When [`Input::Tick`] is due next, apart from expiry.
    pub fn deadline(&self) -> Option<Timestamp> {
        if self.phase == Phase::Disconnected {
            return None;
        }
        let calls = self.calls.iter().map(calls::InFlight::deadline);
        let asks = self.asks.iter().map(|ask| ask.deadline);
        calls.chain(asks).chain(self.notices.deadline(&self.limits)).min()
    }

    /// Whether anything runs or is connected. A busy session does not expire.
    pub fn is_busy(&self) -> bool {
        !self.calls.is_empty() || self.streams.iter().any(streams::Stream::is_attached)
    }

    /// Whether any request is in flight.
    pub fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Where what belongs to `call` goes, as long as it is in flight.
    pub fn stream_of(&self, call: CallId) -> Option<StreamId> {
        self.calls.iter().find(|known| known.call == call).map(|known| known.stream)
    }

    /// Whether time has taken this session: no handshake in time, idle for too long, or too old and idle.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at().is_some_and(|at| at <= now)
    }

    /// When time takes this session if nothing more happens in it; `None` is never, as long as it is busy for instance.
    pub fn expires_at(&self) -> Option<Timestamp> {
        let handshake_at = self.opened_at.after(self.limits.handshake_timeout);
        let idle_at = record::idle_timeout(self.life, &self.limits).map(|idle| self.active_at.after(idle));
        let old_at = self.opened_at.after(self.limits.session_ttl);
        let rests_until = idle_at.map(|at| if self.life == Life::Limited { at.min(old_at) } else { at });
        match self.phase {
            Phase::Disconnected => Some(Timestamp(0)),
            Phase::Initialized => rests_until.filter(|_| !self.is_busy()),
            // The connection of a pipe is all that it has: whoever is slow in saying that it is ready is waited for.
            Phase::Initializing if self.is_busy() && self.shape == Shape::Pipe => None,
            Phase::NotInitialized | Phase::Initializing => Some(handshake_at),
        }
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The revision that was agreed on; before the handshake, the newest legacy one.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The client as it described itself.
    pub fn client(&self) -> &Arc<ClientFacts> {
        &self.client
    }

    /// Puts `client` in the place of an equal description, so that many sessions share one.
    pub fn share_client(&mut self, client: Arc<ClientFacts>) {
        self.client = client;
    }

    /// Gives back memory that was needed while something ran.
    pub fn shrink(&mut self, now: Timestamp) {
        self.notices.shrink(now, &self.limits);
        self.calls.shrink_to_fit();
        self.asks.shrink_to_fit();
        self.streams.shrink_to_fit();
        self.answered.shrink_to_fit();
    }

    /// The canonical URIs that the client subscribed to.
    pub fn subscriptions(&self) -> impl Iterator<Item = &Arc<str>> {
        self.subscriptions.iter()
    }

    /// What a handler keeps under `name`.
    pub fn value(&self, name: &str) -> Option<&RawJson> {
        self.values.get(name)
    }

    /// Keeps `value` under `name` as long as the session lasts; without one, forgets it.
    ///
    /// # Errors
    /// [`TooLarge`], and nothing changes.
    pub fn set_value(&mut self, name: &str, value: Option<RawJson>) -> Result<(), TooLarge> {
        self.values.set(name, value, self.limits.values_bytes_max)?;
        self.mark(Dirty::Now);
        Ok(())
    }

    fn rules(&self) -> &'static Rules {
        self.revision.rules()
    }

    fn message(&mut self, now: Timestamp, stream: StreamId, message: Message, out: &mut Vec<Output>) {
        match message {
            Message::Request(request) => self.request(now, stream, request, out),
            Message::Notification(notification) => self.notification(now, &notification, out),
            Message::Response(response) => self.response(response, out),
        }
    }

    fn request(&mut self, now: Timestamp, stream: StreamId, request: Request, out: &mut Vec<Output>) {
        let refused = match Method::find(&request.method, self.revision) {
            Some(Method::Initialize) => return self.initialize(stream, &request, out),
            Some(Method::Ping) => return self.answer(stream, &request.id, "{}", out),
            found => self.refuse(&request, found),
        };
        match refused {
            Err(error) => self.answer_error(stream, &request.id, error, out),
            Ok(Method::SetLevel) => self.set_level(stream, &request, out),
            Ok(method) => self.begin(now, stream, method, request, out),
        }
    }

    /// The checks before a handler, most basic first.
    fn refuse(&self, request: &Request, found: Option<Method>) -> Result<Method, ErrorObject> {
        let racing = self.shape != Shape::Pipe && self.phase == Phase::Initializing;
        if self.phase != Phase::Initialized && !racing && found != Some(Method::SetLevel) {
            return Err(ErrorObject::invalid_request(match self.phase {
                Phase::NotInitialized => "the session is not initialized: send \"initialize\" first",
                _ => "the session is not initialized: send \"notifications/initialized\" first",
            }));
        }
        let method = found
            .filter(|method| self.offer.has(method.capability()))
            .ok_or_else(|| ErrorObject::method_not_found(&request.method))?;
        if self.calls.iter().any(|call| call.id() == &request.id) {
            return Err(ErrorObject::invalid_request("a request with this id is in flight already"));
        }
        if self.answered.contains(&calls::hash(&request.id)) {
            return Err(ErrorObject::invalid_request("a request with this id was answered already; ids are used once"));
        }
        if self.calls.len() >= self.limits.calls_max {
            let why = format!("{} requests are in flight in this session, which is the limit", self.calls.len());
            return Err(ErrorObject::unavailable(why));
        }
        Ok(method)
    }

    fn notification(&mut self, now: Timestamp, notification: &Notification, out: &mut Vec<Output>) {
        match &*notification.method {
            "notifications/initialized" if self.phase == Phase::Initializing => {
                self.phase = Phase::Initialized;
                self.mark(Dirty::Now);
                self.flush_notices(now, out);
            }
            // What was said first may be on its way to the store still.
            "notifications/initialized" => self.mark(Dirty::Now),
            "notifications/cancelled" => self.cancelled(notification.params.as_ref(), out),
            "notifications/roots/list_changed" if self.phase == Phase::Initialized => out.push(Output::RootsChanged),
            "notifications/roots/list_changed" | "notifications/progress" => {}
            _ => out.push(Output::Dropped("unknown notification")),
        }
    }

    fn tick(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        self.expire_calls(now, out);
        self.expire_asks(now, out);
        self.flush_progress(now, out);
        self.flush_notices(now, out);
        self.forget_streams(now);
    }

    fn end(&mut self, out: &mut Vec<Output>) {
        self.phase = Phase::Disconnected;
        for ask in std::mem::take(&mut self.asks) {
            out.push(Output::Answered { ask: ask.ask, outcome: Err(AskError::Cancelled) });
        }
        for call in std::mem::take(&mut self.calls) {
            out.push(Output::Cancel { call: call.call });
        }
        for stream in std::mem::take(&mut self.streams) {
            out.push(Output::Close { stream: stream.id });
        }
        for uri in std::mem::take(&mut self.subscriptions) {
            out.push(Output::Subscription { uri, present: false });
        }
    }

    /// Answers at once, without a call.
    fn answer(&mut self, stream: StreamId, id: &RequestId, body: &str, out: &mut Vec<Output>) {
        let text = encode_result(id, body);
        self.send(stream, text, 200, out);
        self.settle(stream, Answered::Yes, out);
    }

    /// Refuses a request.
    fn answer_error(&mut self, stream: StreamId, id: &RequestId, error: ErrorObject, out: &mut Vec<Output>) {
        let status = crate::violation::status(&error, self.rules());
        self.answer_with_error(stream, id, (error, status), out);
    }

    fn answer_with_error(
        &mut self,
        stream: StreamId,
        id: &RequestId,
        (mut error, status): (ErrorObject, u16),
        out: &mut Vec<Output>,
    ) {
        error.adapt(self.rules());
        let text = encode_error(Some(id), &error, self.rules());
        self.send(stream, text, status, out);
        self.settle(stream, Answered::Yes, out);
    }

    fn new_call(&mut self) -> CallId {
        self.next_call += 1;
        CallId(self.next_call)
    }
}

#[cfg(test)]
mod tests;
