//! One duplex conversation: stdio and an in-memory pipe, with both eras in one; HTTP with SSE of 2024-11-05.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use andon_core::endpoint;
use andon_core::io::{Frame, Input, StreamId};
use andon_core::session::{AttachError, Phase, Session, Shape, StreamKind};
use andon_types::encoded::Encoded;
use andon_types::error::ErrorObject;
use andon_types::message::{Body, Malformed, Message, Notification, Request, RequestId, encode_error};
use andon_types::revision::{Era, Revision};
use serde::Deserialize;

use super::modern::{ExchangeCell, refusal_text};
use super::stream::Source;
use super::table::SessionCell;
use super::{Host, ResponseStream};
use crate::conversation::{Cell, Conversation as _, Place};
use crate::outlet::{Bounds, Ends, Outlet};
use crate::principal::Principal;
use crate::room::Share;
use crate::seal::random;

/// How much may wait for a peer that does not read. Input pauses at half of it.
const PIPE_BOUNDS: Bounds = Bounds { frames: 4096, bytes: 64 << 20, patience: Duration::from_secs(5) };

/// The receiving half of a duplex conversation. Dropping it ends the conversation.
pub struct Connection {
    host: Arc<Host>,
    pub(super) principal: Principal,
    pub(super) outlet: Outlet,
    pub(super) session: Arc<SessionCell>,
    stream: StreamId,
    exchanges: Mutex<HashMap<RequestId, Arc<ExchangeCell>>>,
}

/// What a host knows of a conversation that has a connection of its own.
#[derive(Clone)]
pub(super) struct Pipe {
    session: Weak<SessionCell>,
    outlet: Outlet,
}

impl Pipe {
    /// Its session, as long as it is connected.
    pub(super) fn session(&self) -> Option<Arc<SessionCell>> {
        self.session.upgrade()
    }

    /// Ends the conversation from our side: what is in flight is cancelled, and its transport is told that nothing follows.
    pub(super) fn end(&self, session: &SessionCell) {
        session.input(Input::End);
        self.outlet.shut();
    }
}

impl Host {
    /// Opens a duplex conversation with `principal`. Must be called within a tokio runtime.
    pub fn connect(self: &Arc<Self>, principal: Principal) -> (Connection, ResponseStream) {
        let connection = self.open_connection(principal, Shape::Pipe, PIPE_BOUNDS);
        let reader = ResponseStream::new(connection.outlet.clone(), Source::Pipe);
        (connection, reader)
    }

    /// The same, with the stream of its answers still to be made of its outlet.
    pub(super) fn open_connection(self: &Arc<Self>, principal: Principal, shape: Shape, bounds: Bounds) -> Connection {
        self.start_clock();
        let outlet = Outlet::new(bounds, Ends::Later, Share::default());
        let tag = u32::from_be_bytes(random());
        let session = Session::new(self.now(), shape, tag, self.limits.clone(), self.offer());
        let session = Cell::new(self.number(), principal.clone(), self, session, None);
        let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        pipes.insert(session.number, Pipe { session: Arc::downgrade(&session), outlet: outlet.clone() });
        drop(pipes);
        let now = self.now();
        let opened = session
            .open(&outlet, |session| Ok::<_, AttachError>((session.open_stream(now, StreamKind::Pipe), Vec::new())));
        let stream = opened.unwrap_or(StreamId(0));
        let exchanges = Mutex::default();
        Connection { host: self.clone(), principal, outlet, session, stream, exchanges }
    }
}

impl Connection {
    /// Takes one message, or one batch of 2025-03-26.
    pub fn receive(&self, bytes: &[u8]) {
        match Body::parse(bytes, self.host.options.message) {
            Err(malformed) => self.refuse(&malformed),
            Ok(body) => self.take(body),
        }
    }

    /// Takes what was read already.
    pub(super) fn take(&self, body: Body) {
        match body {
            Body::Single(message) => self.route(message),
            Body::Batch(messages) => self.batch(messages),
        }
    }

    /// Answers bytes that are no message, such as a line that is too long.
    pub fn refuse_bytes(&self, why: &str) {
        self.refuse(&Malformed { id: None, error: ErrorObject::parse(why) });
    }

    /// Waits while the peer is too slow to be asked for more.
    pub async fn ready(&self) {
        std::future::poll_fn(|cx| self.outlet.poll_roomy(cx)).await;
    }

    /// Whether any request is in flight.
    pub fn is_busy(&self) -> bool {
        let modern = self.exchanges.lock().unwrap_or_else(PoisonError::into_inner);
        self.session.with(|session| session.has_calls())
            || modern.values().any(|cell| cell.with(|exchange| !exchange.is_over() && !exchange.is_listening()))
    }

    /// Waits until no request is in flight.
    pub async fn wait_until_quiet(&self) {
        while self.is_busy() {
            self.host.one_less_runs().await;
        }
    }

    /// Whether the session opened, for transports that give up on clients which never do.
    pub fn is_initialized(&self) -> bool {
        self.session.with(|session| session.phase()) != Phase::NotInitialized
    }

    /// Whether the client agreed on a revision that has batches.
    pub(super) fn takes_batches(&self) -> bool {
        self.session.with(|session| session.phase() != Phase::NotInitialized && session.revision().rules().batch)
    }

    /// Ends the conversation: what is in flight is cancelled, and nothing more is said.
    pub(super) fn end(&self) {
        let known = self.host.pipes.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.session.number);
        self.session.input(Input::End);
        let exchanges = std::mem::take(&mut *self.exchanges.lock().unwrap_or_else(PoisonError::into_inner));
        for cell in exchanges.values() {
            cell.hang_up();
        }
        self.outlet.shut();
        if known.is_some() {
            self.host.service().session_ended(self.session.key());
        }
    }

    fn route(&self, message: Message) {
        match (endpoint::era(&message, None), message) {
            (Era::Modern, Message::Request(request)) => self.exchange(request),
            (_, Message::Notification(notification)) => self.notify(notification),
            (_, message) => self.session.input(Input::Message { stream: self.stream, message }),
        }
    }

    fn batch(&self, messages: Vec<Result<Message, Malformed>>) {
        if !self.takes_batches() {
            let error = ErrorObject::invalid_request("this protocol revision has no batches: send one message");
            return self.refuse(&Malformed { id: None, error });
        }
        for message in messages {
            match message {
                Ok(message) => self.session.input(Input::Message { stream: self.stream, message }),
                Err(malformed) => self.refuse(&malformed),
            }
        }
    }

    fn exchange(&self, request: Request) {
        let id = request.id.clone();
        let mut exchanges = self.exchanges.lock().unwrap_or_else(PoisonError::into_inner);
        exchanges.retain(|_, cell| !cell.with(|exchange| exchange.is_over()));
        let why = if exchanges.contains_key(&id) {
            Some(ErrorObject::invalid_request("a request with this id is in flight already"))
        } else if exchanges.len() >= self.host.limits.calls_max {
            Some(ErrorObject::unavailable("too many requests are in flight on this connection"))
        } else {
            None
        };
        if let Some(error) = why {
            return self.refuse(&Malformed { id: Some(id), error });
        }
        drop(exchanges);
        match self.host.open_exchange(request, None, &self.principal, Place::Outlet(self.outlet.clone())) {
            Ok(cell) => {
                if !cell.with(|exchange| exchange.is_over()) {
                    let mut exchanges = self.exchanges.lock().unwrap_or_else(PoisonError::into_inner);
                    exchanges.insert(id, cell);
                }
            }
            Err(refused) => self.say(refusal_text(&refused, &id)),
        }
    }

    /// `notifications/cancelled` may name a request of either era.
    fn notify(&self, notification: Notification) {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Cancelled {
            request_id: RequestId,
        }
        if &*notification.method == "notifications/cancelled" {
            let params = notification.params.as_ref().and_then(|params| params.parse::<Cancelled>().ok());
            let mut exchanges = self.exchanges.lock().unwrap_or_else(PoisonError::into_inner);
            let named = params.and_then(|params| exchanges.remove(&params.request_id));
            drop(exchanges);
            if let Some(cell) = named {
                return cell.hang_up();
            }
        }
        let message = Message::Notification(notification);
        self.session.input(Input::Message { stream: self.stream, message });
    }

    fn refuse(&self, malformed: &Malformed) {
        let revision = match self.session.with(|session| (session.phase(), session.revision())) {
            (Phase::NotInitialized, _) => Revision::LATEST,
            (_, revision) => revision,
        };
        self.say(encode_error(malformed.id.as_ref(), &malformed.error, revision.rules()).into());
    }

    fn say(&self, text: Encoded) {
        self.outlet.send(Frame { id: None, text: Some(text), retry_ms: None, last: false, status: 200 }, None);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.end();
    }
}
