//! Sessions over Streamable HTTP (2025-03-26 to 2025-11-25, transports).

use std::sync::Arc;

use andon_core::io::{Frame, Input, StreamId};
use andon_core::session::{AttachError, Phase, Session, Shape, StreamKind};
use andon_types::error::ErrorObject;
use andon_types::message::{Malformed, Message, RequestId, encode_error};
use andon_types::method::Method;
use andon_types::revision::{Era, Revision};

use super::stream::Source;
use super::table::{Full, SessionCell, SessionKey};
use super::{Answer, Head, Host, Inbound, ResponseStream, is_initialize, request_id};
use crate::conversation::{Cell, Conversation as _, Early};
use crate::journal::{Commit, NotDurable};
use crate::outlet::Held;
use crate::principal::Principal;

/// A message that nothing answers: no stream is opened for it.
const NO_STREAM: StreamId = StreamId(0);

impl Host {
    pub(super) async fn post_legacy(self: &Arc<Self>, inbound: &Inbound<'_>, message: Message) -> Answer {
        if is_initialize(&message) {
            return self.initialize(inbound, message).await;
        }
        let id = request_id(&message).cloned();
        let Found { cell, revision, .. } = match self.session(&inbound.head, &inbound.principal).await {
            Ok(found) => found,
            Err(refused) => return refused.answer(id.as_ref()),
        };
        if self.storage.is_down() && self.is_remembered(&cell, &message) {
            return unavailable(id.as_ref());
        }
        let Message::Request(request) = &message else {
            let commit = cell.turn(Input::Message { stream: NO_STREAM, message });
            return when_durable(commit).await.map_or_else(|refused| refused.answer(None), |()| Answer::empty(202));
        };
        if let Some(method) = Method::find(&request.method, revision)
            && let Err(refused) = self.permit(&inbound.principal, method, request)
        {
            return refused;
        }
        self.answer(cell, message, Vec::new(), Vec::new()).await
    }

    /// Batches are of 2025-03-26 alone.
    pub(super) async fn post_batch(
        self: &Arc<Self>,
        inbound: &Inbound<'_>,
        messages: Vec<Result<Message, Malformed>>,
    ) -> Answer {
        let good = || messages.iter().filter_map(|message| message.as_ref().ok());
        if let Err(refused) = check_batch(&messages) {
            return refused;
        }
        let Found { cell, revision, .. } = match self.session(&inbound.head, &inbound.principal).await {
            Ok(found) => found,
            Err(refused) => return refused.answer(None),
        };
        let rules = revision.rules();
        if !rules.batch {
            return no_batches();
        }
        let responses = good().filter(|message| matches!(message, Message::Response(_))).count();
        if responses > 0 && responses < messages.len() {
            let error = ErrorObject::invalid_request("a batch has requests and notifications, or responses, not both");
            return Answer::error(400, None, &error);
        }
        if good().all(|message| request_id(message).is_none()) && messages.iter().all(Result::is_ok) {
            let turns = messages.into_iter().flatten().map(|message| Input::Message { stream: NO_STREAM, message });
            let commit = turns.filter_map(|input| cell.turn(input)).last();
            return when_durable(commit).await.map_or_else(|refused| refused.answer(None), |()| Answer::empty(202));
        }
        let malformed: Vec<String> = messages
            .iter()
            .filter_map(|message| message.as_ref().err())
            .map(|malformed| encode_error(malformed.id.as_ref(), &malformed.error, rules))
            .collect();
        if good().all(|message| request_id(message).is_none()) {
            let body = Some(format!("[{}]", malformed.join(",")).into());
            return Answer::Ready { status: 400, body, session_id: None, retry_after_s: None };
        }
        let mut messages = messages.into_iter().flatten();
        // Checked above: there is a request at least.
        let Some(first) = messages.next() else { return Answer::empty(202) };
        self.answer(cell, first, messages.collect(), malformed).await
    }

    /// Opens a standing stream, or resumes the stream of `last_event_id`.
    ///
    /// # Errors
    /// What to answer instead.
    pub async fn get(
        self: &Arc<Self>,
        head: &Head<'_>,
        principal: &Principal,
        last_event_id: Option<&str>,
    ) -> Result<ResponseStream, Answer> {
        self.start_clock();
        let Found { key, mut cell, .. } =
            self.session(head, principal).await.map_err(|refused| refused.answer(None))?;
        // On the node that has the session now there may be more of the stream.
        if last_event_id.is_some() && self.is_elsewhere(key, &cell).await.map_err(|_| unavailable(None))? {
            cell = self.session(head, principal).await.map_err(|refused| refused.answer(None))?.cell;
        }
        let (outlet, now) = (self.outlet(), self.now());
        let opened = cell.open(&outlet, |session| match last_event_id {
            Some(id) => session.resume(now, id),
            None => session.attach(now).map(|stream| (stream, Vec::new())),
        });
        let stream = opened.map_err(refuse_attach)?;
        if cell.with(|session| session.is_finished(stream)) {
            outlet.close();
        }
        let mut opened = ResponseStream::new(outlet, Source::Session(cell.clone(), stream));
        if last_event_id.is_none() {
            opened.begin_events();
        }
        // Changes that waited for a stream can be said now.
        cell.input(Input::Tick);
        Ok(opened)
    }

    /// Ends a session (transports, "Session Management").
    pub async fn delete(self: &Arc<Self>, head: &Head<'_>, principal: &Principal) -> Answer {
        let key = match self.session(head, principal).await {
            Ok(found) => found.key,
            Err(refused) => return refused.answer(None),
        };
        // Of two that come at once, one ends it.
        match self.end(key).await {
            Ok(true) => Answer::empty(204),
            Ok(false) => Refused::Gone.answer(None),
            Err(_) => unavailable(None),
        }
    }

    async fn initialize(self: &Arc<Self>, inbound: &Inbound<'_>, message: Message) -> Answer {
        let id = request_id(&message).cloned();
        if inbound.head.session_id.is_some() {
            let error = ErrorObject::invalid_request("\"initialize\" opens a new session: send no MCP-Session-Id");
            return Answer::error(400, id.as_ref(), &error);
        }
        if self.is_draining() {
            return Answer::overloaded(503, id.as_ref(), "the server is shutting down");
        }
        if self.storage.is_down() {
            return unavailable(id.as_ref());
        }
        if let Err(full) = self.reserve_session(&inbound.principal, id.as_ref()) {
            return full;
        }
        let (secret, key, tag) = SessionKey::generate();
        let mut session = Session::new(self.now(), Shape::Http, tag, self.limits.clone(), self.offer());
        let journal = self.journal(key, &inbound.principal);
        if journal.is_some() {
            session = session.durable();
        }
        let cell = Cell::new(self.number(), inbound.principal.clone(), self, session, journal);
        let mut answer = self.answer(cell.clone(), message, Vec::new(), Vec::new()).await;
        if matches!(answer, Answer::Ready { status: 503, .. }) {
            // Nobody knows its id. It may get as far as the store, and keeps its place until it expires there.
            return answer;
        }
        if cell.with(|session| session.phase()) == Phase::NotInitialized {
            self.sessions.give_back(&inbound.principal);
            cell.input(Input::End);
            return answer;
        }
        cell.bind(key.stored_id());
        let now = self.now();
        cell.with(|session| {
            self.clients.share(session);
            session.shrink(now);
        });
        cell.shrink();
        self.sessions.insert(cell);
        if let Answer::Ready { session_id, .. } | Answer::Stream { session_id, .. } = &mut answer {
            *session_id = Some(secret);
        }
        answer
    }

    /// Takes a place for one more session of `principal`.
    ///
    /// # Errors
    /// What to answer when there is none.
    pub(super) fn reserve_session(&self, principal: &Principal, id: Option<&RequestId>) -> Result<(), Answer> {
        let (all_max, each_max) = (self.options.sessions_max, self.options.sessions_per_principal_max);
        self.sessions.reserve(principal, all_max, each_max).map_err(|full| match full {
            Full::Host => Answer::overloaded(503, id, "the server has no room for a session"),
            Full::Principal => {
                let why = format!("you have {each_max} sessions, which is the limit: end one with DELETE");
                Answer::overloaded(429, id, &why)
            }
        })
    }

    /// Gives `first` and the `rest` of its batch to the session on a new stream, and answers with `refusals` and what that
    /// stream says.
    async fn answer(
        self: &Arc<Self>,
        cell: Arc<SessionCell>,
        first: Message,
        rest: Vec<Message>,
        refusals: Vec<String>,
    ) -> Answer {
        let frame =
            |text: String| Frame { id: None, text: Some(text.into()), retry_ms: None, last: false, status: 200 };
        let ids = || std::iter::once(&first).chain(&rest).filter_map(request_id);
        let (requests, answered) = (ids().count(), ids().next().cloned());
        let opened = cell.open_with(self, first, |session, now| {
            if session.phase() == Phase::Disconnected {
                // It ended since it was found: nothing would ever be said on a stream of it.
                return Err(Refused::Gone);
            }
            let stream = session.open_stream(now, StreamKind::Request);
            session.owe(stream, u32::try_from(requests).unwrap_or(u32::MAX));
            Ok((stream, refusals.into_iter().map(frame).collect()))
        });
        let id = match opened {
            Ok(id) => id,
            Err(gone) => return gone.answer(answered.as_ref()),
        };
        for message in rest {
            cell.input(Input::Message { stream: id, message });
        }
        match cell.early(self, id) {
            Some((Early::Whole(Held { frame, until }), work)) => {
                // What it still does is not waited for.
                drop(work);
                if until.is_some() {
                    if let Err(refused) = when_durable(until).await {
                        return refused.answer(answered.as_ref());
                    }
                    cell.delivered(id);
                }
                Answer::whole(frame.status, frame.text, None)
            }
            Some((Early::More(outlet), work)) => {
                let stream = ResponseStream::new(outlet, Source::Session(cell, id)).carrying(work);
                Answer::Stream { stream, session_id: None }
            }
            None => Answer::empty(202),
        }
    }

    /// Whether what a message does has to be written down.
    fn is_remembered(&self, cell: &SessionCell, message: &Message) -> bool {
        match message {
            Message::Response(_) => false,
            Message::Notification(_) => true,
            Message::Request(request) => match Method::find(&request.method, cell.with(|session| session.revision())) {
                Some(Method::Subscribe | Method::Unsubscribe | Method::SetLevel) => true,
                Some(method) => !self.service.is_repeatable(method, request.params.as_ref()),
                None => false,
            },
        }
    }

    async fn session(self: &Arc<Self>, head: &Head<'_>, principal: &Principal) -> Result<Found, Refused> {
        let id = head.session_id.ok_or(Refused::NoId)?;
        let Some(key) = SessionKey::parse(id) else {
            let may_be_one = (1..=128).contains(&id.len()) && id.bytes().all(|byte| (0x21..=0x7E).contains(&byte));
            return Err(if may_be_one { Refused::Gone } else { Refused::BadId });
        };
        let found = self.find_session(key, principal).await.map_err(|_| Refused::Unavailable)?;
        let cell = found.ok_or(Refused::Gone)?;
        // The negotiated version stands in for a missing header.
        let revision = cell.with(|session| session.revision());
        match head.protocol_version.map(Revision::parse) {
            Some(named) if named != Some(revision) => Err(Refused::OtherVersion(revision)),
            _ => Ok(Found { key, cell, revision }),
        }
    }
}

/// Refuses a batch with something that is never part of one.
pub(super) fn check_batch(messages: &[Result<Message, Malformed>]) -> Result<(), Answer> {
    let refuse = |why: &str| Err(Answer::error(400, None, &ErrorObject::invalid_request(why)));
    let good = || messages.iter().filter_map(|message| message.as_ref().ok());
    if good().any(is_initialize) {
        return refuse("\"initialize\" is never part of a batch");
    }
    if good().any(|message| andon_core::endpoint::era(message, None) == Era::Modern) {
        return refuse("a request with its own protocol version is never part of a batch");
    }
    Ok(())
}

pub(super) fn no_batches() -> Answer {
    let error = ErrorObject::invalid_request("this protocol revision has no batches: send one message");
    Answer::error(400, None, &error)
}

/// The session that a request belongs to.
struct Found {
    key: SessionKey,
    cell: Arc<SessionCell>,
    /// Agreed on.
    revision: Revision,
}

/// Why a request belongs to no session.
enum Refused {
    NoId,
    BadId,
    Gone,
    OtherVersion(Revision),
    /// Nobody can say.
    Unavailable,
}

impl Refused {
    fn answer(&self, id: Option<&RequestId>) -> Answer {
        let (status, why) = match self {
            Self::NoId => (400, "the header MCP-Session-Id is missing: send \"initialize\" first".to_owned()),
            Self::BadId => (400, "the header MCP-Session-Id is not an id of this server".to_owned()),
            // The same for ended, expired, unknown and somebody else's: no difference to learn from.
            Self::Gone => (404, "no such session: send \"initialize\" to open a new one".to_owned()),
            Self::OtherVersion(agreed) => {
                (400, format!("the header MCP-Protocol-Version is not what this session agreed on, {agreed}"))
            }
            Self::Unavailable => return unavailable(id),
        };
        Answer::error(status, id, &ErrorObject::invalid_request(why))
    }
}

/// Waits until what a turn did is durable.
async fn when_durable(commit: Option<Commit>) -> Result<(), Refused> {
    let Some(commit) = commit else { return Ok(()) };
    commit.durable().await.map_err(|error| match error {
        // Another node has it, or the store says so in a moment.
        NotDurable::Stalled | NotDurable::Lost => Refused::Unavailable,
        NotDurable::Ended => Refused::Gone,
    })
}

/// The store does not answer: never a reason to say that a session is gone.
fn unavailable(id: Option<&RequestId>) -> Answer {
    Answer::overloaded(503, id, "sessions cannot be read or written down now: try again later")
}

fn refuse_attach(error: AttachError) -> Answer {
    // Never 404: that says that the session is gone.
    let why = match error {
        AttachError::Malformed => "Last-Event-ID is not an event id of this server",
        AttachError::Future => "Last-Event-ID was not sent yet",
        AttachError::Unknown => "Last-Event-ID names no stream that this session still keeps: send GET without it",
        AttachError::Evicted => {
            "events after Last-Event-ID are no longer kept, what they said is lost: send GET without it"
        }
        AttachError::TooMany => {
            return Answer::overloaded(
                429,
                None,
                "this session has as many streams as it may have, or comes back too often",
            );
        }
    };
    Answer::error(400, None, &ErrorObject::invalid_request(why))
}
