//! HTTP with SSE (2024-11-05, transports): a session is one event stream for all that the server says, and ends with it.
//! What the client says comes by POST, with the session's secret id in the URI.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use andon_core::endpoint;
use andon_core::session::{Phase, Shape};
use andon_types::error::ErrorObject;
use andon_types::message::{Body, Message};
use andon_types::method::Method;
use andon_types::revision::{Era, Revision};

use super::stream::Source;
use super::table::SessionKey;
use super::{Answer, Connection, Host, Inbound, ResponseStream, request_id};
use crate::principal::Principal;

/// The sessions of this transport; out when their streams end.
#[derive(Default)]
pub(super) struct EventStreams(Mutex<HashMap<SessionKey, Weak<Connection>>>);

impl EventStreams {
    fn lock(&self) -> MutexGuard<'_, HashMap<SessionKey, Weak<Connection>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a session as long as its stream is read.
pub(super) struct EventStream {
    host: Arc<Host>,
    key: SessionKey,
    connection: Arc<Connection>,
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.host.end_event_stream(self.key, &self.connection);
    }
}

impl Host {
    /// Opens a session of the transport of 2024-11-05: the secret id that its POSTs bring, and its stream. The session
    /// counts among the host's and the principal's, and ends with the stream. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// What to answer when there is no room.
    pub fn open_event_stream(self: &Arc<Self>, principal: &Principal) -> Result<(String, ResponseStream), Answer> {
        if self.is_draining() {
            return Err(Answer::overloaded(503, None, "the server is shutting down"));
        }
        self.reserve_session(principal, None)?;
        let connection = Arc::new(self.open_connection(principal.clone(), Shape::Posts, self.bounds()));
        let (secret, key, _) = SessionKey::generate();
        self.event_streams.lock().insert(key, Arc::downgrade(&connection));
        let outlet = connection.outlet.clone();
        let end = EventStream { host: self.clone(), key, connection };
        Ok((secret, ResponseStream::new(outlet, Source::Events { _end: end })))
    }

    /// Takes a message for the session `id`; what answers it goes to the session's stream. Waits a moment while that
    /// stream is not read.
    pub async fn post_to_event_stream(&self, id: &str, inbound: Inbound<'_>) -> Answer {
        let gone = || Answer::error(404, None, &ErrorObject::invalid_request("no such session: open a new stream"));
        let Some(connection) = self.event_stream(id, &inbound.principal) else { return gone() };
        let body = match Body::parse(&inbound.body, self.options.message) {
            Ok(body) => body,
            Err(malformed) => return Answer::error(400, malformed.id.as_ref(), &malformed.error),
        };
        if let Err(refused) =
            accept(&connection, &inbound, &body).and_then(|()| self.permit_in(&connection, &inbound, &body))
        {
            return refused;
        }
        if tokio::time::timeout(self.options.slow_reader_timeout, connection.ready()).await.is_err() {
            return Answer::overloaded(429, None, "what was said already is not read: read the event stream");
        }
        if !self.event_streams.is_open(id) {
            return gone();
        }
        connection.take(body);
        Answer::empty(202)
    }

    /// Ends those that nobody opened in time, and those whose readers were too slow.
    pub(super) fn sweep_event_streams(&self) {
        let now = self.now();
        self.end_event_streams(|connection| {
            connection.outlet.is_overflowed() || connection.session.with(|session| session.is_expired(now))
        });
    }

    pub(super) fn end_event_streams(&self, which: impl Fn(&Connection) -> bool) {
        let open: Vec<_> =
            self.event_streams.lock().iter().filter_map(|(key, known)| Some((*key, known.upgrade()?))).collect();
        for (key, connection) in open {
            if which(&connection) {
                self.end_event_stream(key, &connection);
            }
        }
    }

    fn end_event_stream(&self, key: SessionKey, connection: &Connection) {
        if self.event_streams.lock().remove(&key).is_some() {
            self.sessions.give_back(&connection.principal);
        }
        connection.end();
    }

    /// A single request whose sender lacks a scope is refused by the POST, where the client looks for it.
    fn permit_in(&self, connection: &Connection, inbound: &Inbound<'_>, body: &Body) -> Result<(), Answer> {
        let Body::Single(Message::Request(request)) = body else { return Ok(()) };
        let method = Method::find(&request.method, connection.session.with(|session| session.revision()));
        method.map_or(Ok(()), |method| self.permit(&inbound.principal, method, request))
    }

    /// The session, if it is this subject's. Another's is as absent as none.
    fn event_stream(&self, id: &str, principal: &Principal) -> Option<Arc<Connection>> {
        let connection = self.event_streams.lock().get(&SessionKey::parse(id)?)?.upgrade()?;
        connection.session.admit(principal).then_some(connection)
    }
}

impl EventStreams {
    fn is_open(&self, id: &str) -> bool {
        SessionKey::parse(id).is_some_and(|key| self.lock().contains_key(&key))
    }
}

/// Whether this transport has such messages.
fn accept(connection: &Connection, inbound: &Inbound<'_>, body: &Body) -> Result<(), Answer> {
    let refuse = |message: Option<&Message>, why: String| {
        Err(Answer::error(400, message.and_then(request_id), &ErrorObject::invalid_request(why)))
    };
    let (phase, agreed) = connection.session.with(|session| (session.phase(), session.revision()));
    let version = inbound.head.protocol_version;
    if phase != Phase::NotInitialized && version.is_some_and(|version| Revision::parse(version) != Some(agreed)) {
        let why = format!("the header MCP-Protocol-Version is not what this session agreed on, {agreed}");
        return refuse(None, why);
    }
    match body {
        Body::Single(message) if endpoint::era(message, None) == Era::Modern => {
            refuse(Some(message), "this transport is of 2024-11-05: send requests of this revision to /mcp".to_owned())
        }
        Body::Batch(_) if !connection.takes_batches() => {
            refuse(None, "this protocol revision has no batches: send one message".to_owned())
        }
        Body::Single(_) | Body::Batch(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
