//! What of a session outlives the process, and how it comes back.
//!
//! A durable session says after each turn what of it changed ([`Session::take_changes`]). The driver commits that as one,
//! and lets nothing of the turn out before: so what was said is always in the record, and the record is never behind.

use std::sync::Arc;
use std::time::Duration;

use andon_types::capability::ClientCapabilities;
use andon_types::encoded::Encoded;
use andon_types::error::{ErrorCode, ErrorObject};
use andon_types::message::RequestId;
use andon_types::meta::{Implementation, Level};
use andon_types::revision::Revision;
use serde::{Deserialize, Serialize};

use super::streams::{Answered, StreamKind};
use super::{Phase, Session, Shape};
use crate::facts::ClientFacts;
use crate::io::{CallId, ListKind, Output, StreamId, Timestamp};
use crate::limits::Limits;
use crate::offer::Offer;
use crate::values::Values;

/// A session, as it is written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionRecord {
    /// Which shape the rest has: [`SessionRecord::FORMAT`] when it is written.
    pub format: u32,
    /// Whose it is; `None` without authentication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Box<str>>,
    /// Marks its event ids.
    pub tag: u32,
    /// How often somebody took it up, from 1. What was numbered before names nothing of what is numbered after.
    pub epoch: u32,
    /// Where it stands.
    pub phase: Phase,
    /// The revision that was agreed on.
    pub revision: Box<str>,
    /// The client's name and version, as it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_info: Option<Implementation>,
    /// What the client can do.
    pub client_capabilities: ClientCapabilities,
    /// The threshold of log notifications.
    pub log_level: Level,
    /// Canonical URIs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subscriptions: Vec<Arc<str>>,
    /// When it was opened, in milliseconds since 1970.
    pub opened_at: u64,
    /// When something was last said in it.
    pub active_at: u64,
    /// How long it is kept.
    #[serde(default)]
    pub life: Life,
    /// What handlers keep.
    #[serde(default, skip_serializing_if = "Values::is_empty")]
    pub values: Values,
    /// Streams so far.
    pub next_stream: u32,
    /// Streams that a client can come back to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<StreamRecord>,
    /// Requests of the client in flight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<RequestRecord>,
    /// Questions to the client that are open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<QuestionRecord>,
}

/// A stream that a client can come back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRecord {
    /// Which.
    pub id: u32,
    /// What it is for.
    pub kind: StreamKind,
    /// Events so far.
    pub sequence: u32,
}

/// A request in flight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestRecord {
    /// Its number in the session.
    pub call: u64,
    /// Its id.
    pub id: RequestId,
    /// What was called.
    pub method: Box<str>,
    /// The tool or prompt that it is about, at most 128 characters of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Box<str>>,
    /// Where its answer goes.
    pub stream: u32,
    /// When it began, in milliseconds since 1970.
    pub begun_at: u64,
}

/// A question to the client that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuestionRecord {
    /// Its id.
    pub id: RequestId,
    /// What is asked.
    pub method: Box<str>,
    /// The call that asks.
    pub call: u64,
    /// When it was asked, in milliseconds since 1970.
    pub asked_at: u64,
}

/// How long a session is kept that nobody uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Life {
    /// As the limits say.
    #[default]
    Limited,
    /// This many milliseconds, however old it is.
    IdleMs(u64),
    /// Until it is ended.
    Forever,
}

/// What a turn changed of what outlives the process.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Changes {
    /// The whole record, if it changed.
    pub record: Option<Box<SessionRecord>>,
    /// New events, in order.
    pub events: Vec<LoggedEvent>,
    /// Streams whose events up to a number are no longer needed. The record is there too then.
    pub forget: Vec<(StreamId, u32)>,
    /// Whether what this turn says has to wait until the changes are durable.
    pub gates: bool,
}

impl Changes {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.record.is_none() && self.events.is_empty() && self.forget.is_empty()
    }

    /// Takes in what a later turn changed, so that both are committed as one.
    pub fn merge(&mut self, later: Changes) {
        self.record = later.record.or(self.record.take());
        self.events.extend(later.events);
        for (stream, through) in later.forget {
            match self.forget.iter_mut().find(|(known, _)| *known == stream) {
                Some((_, known)) => *known = (*known).max(through),
                None => self.forget.push((stream, through)),
            }
            // What nobody needs any more need not be written first.
            self.events.retain(|event| event.stream != stream || event.sequence > through);
        }
        self.gates |= later.gates;
    }
}

/// An event that a client may come back for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedEvent {
    /// Its stream.
    pub stream: StreamId,
    /// Its number there, from 1.
    pub sequence: u32,
    /// The call that it answers.
    pub answers: Option<CallId>,
    /// Nothing follows on the stream.
    pub last: bool,
    /// The message.
    pub text: Encoded,
}

const LAST: u8 = 1;
const ANSWERS: u8 = 2;

impl LoggedEvent {
    /// The event as it is stored, without stream and number.
    pub fn encode(&self) -> Arc<[u8]> {
        let flags = if self.last { LAST } else { 0 } | if self.answers.is_some() { ANSWERS } else { 0 };
        let mut bytes = Vec::with_capacity(9 + self.text.len());
        bytes.push(flags);
        if let Some(call) = self.answers {
            bytes.extend_from_slice(&call.0.to_be_bytes());
        }
        bytes.extend_from_slice(self.text.as_bytes());
        bytes.into()
    }

    /// Reads what [`LoggedEvent::encode`] wrote; `None` if it is something else.
    pub fn decode(stream: StreamId, sequence: u32, bytes: &[u8]) -> Option<Self> {
        let (&flags, mut rest) = bytes.split_first()?;
        let mut answers = None;
        if flags & ANSWERS != 0 {
            let (call, text) = rest.split_first_chunk::<8>()?;
            answers = Some(CallId(u64::from_be_bytes(*call)));
            rest = text;
        }
        if flags & !(LAST | ANSWERS) != 0 {
            return None;
        }
        let text = std::str::from_utf8(rest).ok()?.into();
        Some(Self { stream, sequence, answers, last: flags & LAST != 0, text })
    }
}

/// Why a record cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordError {
    /// A later release wrote it, in this format.
    Newer(u32),
    /// It is none.
    Malformed(String),
}

impl std::fmt::Display for RecordError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Newer(format) => write!(f, "a record of format {format}, which only a later release reads"),
            Self::Malformed(why) => write!(f, "not the record of a session: {why}"),
        }
    }
}

impl std::error::Error for RecordError {}

impl SessionRecord {
    /// The format that this release writes. It reads all that came before.
    pub const FORMAT: u32 = 1;

    /// The record as it is stored.
    pub fn encode(&self) -> Arc<[u8]> {
        serde_json::to_vec(self).expect("a record has no maps with keys that are not strings").into()
    }

    /// Reads what this release or an earlier one wrote.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        #[derive(Deserialize)]
        struct Tagged {
            format: u32,
        }
        let malformed = |error: serde_json::Error| RecordError::Malformed(error.to_string());
        match serde_json::from_slice::<Tagged>(bytes).map_err(malformed)?.format {
            Self::FORMAT => serde_json::from_slice(bytes).map_err(malformed),
            newer if newer > Self::FORMAT => Err(RecordError::Newer(newer)),
            other => Err(RecordError::Malformed(format!("there is no format {other}"))),
        }
    }

    /// The record as its next owner writes it, before anything else: whoever had the session until then can add nothing to
    /// it any more, and what the new owner reads of its events after that is all there is. Somebody came for it, so that it
    /// is not idle.
    #[must_use]
    pub fn taken_over(mut self, now: Timestamp) -> Self {
        self.epoch = self.epoch.saturating_add(1);
        self.active_at = self.active_at.max(now.0);
        self
    }

    /// When the record may be swept if nobody writes it again, by `limits`; `None` is never. Later than the session
    /// expires in memory, because not every message is written down.
    pub fn expires_at(&self, limits: &Limits) -> Option<Timestamp> {
        let (opened_at, active_at) = (Timestamp(self.opened_at), Timestamp(self.active_at));
        if self.phase != Phase::Initialized {
            return Some(opened_at.after(limits.handshake_timeout * 2));
        }
        let idle = idle_timeout(self.life, limits)?;
        let idle_at = active_at.after(idle);
        let at = if self.life == Life::Limited { idle_at.min(opened_at.after(limits.session_ttl)) } else { idle_at };
        Some(at.max(active_at).after(idle / TOUCHES))
    }
}

/// An active session is written down this often in the time in which an idle one expires.
const TOUCHES: u32 = 3;

pub(super) fn idle_timeout(life: Life, limits: &Limits) -> Option<Duration> {
    match life {
        Life::Limited => Some(limits.idle_timeout),
        Life::IdleMs(ms) => Some(Duration::from_millis(ms)),
        Life::Forever => None,
    }
}

/// How soon a change has to be durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Dirty {
    /// Nothing changed.
    #[default]
    No,
    /// Nothing that was promised depends on it.
    Later,
    /// Before anything that this turn says.
    Now,
}

/// What is still to be written down. Only durable sessions have it.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    epoch: u32,
    dirty: Dirty,
    events: Vec<LoggedEvent>,
    forget: Vec<(StreamId, u32)>,
    /// The activity that was written down last: what the record expires by.
    active_at: Timestamp,
}

impl Session {
    /// The same session, but one that says what of it has to outlive the process. Only over Streamable HTTP can a client
    /// come back, so that other shapes stay as they are.
    #[must_use]
    pub fn durable(mut self) -> Self {
        if self.shape == Shape::Http {
            self.unwritten = Some(Box::new(Unwritten { epoch: 1, ..Unwritten::default() }));
        }
        self
    }

    /// What changed since the last time, to be committed as one.
    pub fn take_changes(&mut self) -> Changes {
        let Some(unwritten) = self.unwritten.as_deref_mut() else { return Changes::default() };
        // Before `initialize` is answered there is nothing to come back to, and after the end nothing again.
        if matches!(self.phase, Phase::NotInitialized | Phase::Disconnected) {
            (unwritten.dirty, unwritten.events, unwritten.forget) = (Dirty::No, Vec::new(), Vec::new());
            return Changes::default();
        }
        let (events, forget) = (std::mem::take(&mut unwritten.events), std::mem::take(&mut unwritten.forget));
        let dirty = std::mem::take(&mut unwritten.dirty);
        let gates = dirty == Dirty::Now || !events.is_empty();
        let is_due = dirty != Dirty::No || !forget.is_empty();
        if is_due {
            unwritten.active_at = self.active_at;
        }
        let record = is_due.then(|| Box::new(self.record()));
        Changes { record, events, forget, gates }
    }

    /// Writes the record again if it would expire although the session is used.
    pub fn touch(&mut self, now: Timestamp) {
        let idle = idle_timeout(self.life, &self.limits).map(|idle| idle / TOUCHES);
        let is_busy = self.is_busy();
        let Some(unwritten) = self.unwritten.as_deref() else { return };
        if is_busy {
            self.active_at = now;
        }
        let is_due = idle.is_some_and(|idle| now.since(unwritten.active_at) >= idle);
        if is_due && self.active_at > unwritten.active_at {
            self.mark(Dirty::Later);
        }
    }

    /// Whether nothing happened, and nothing can, for at least `time`.
    pub fn is_quiet_since(&self, now: Timestamp, time: Duration) -> bool {
        self.phase == Phase::Initialized && !self.is_busy() && now.since(self.active_at) >= time
    }

    /// Takes the session out of use as it is: the record goes on, this does not. Gives what it subscribed to.
    pub fn retire(&mut self) -> Vec<Arc<str>> {
        self.phase = Phase::Disconnected;
        std::mem::take(&mut self.subscriptions).into_iter().collect()
    }

    /// Brings a session back: from its record, which was [taken over](SessionRecord::taken_over) and written, and the events
    /// of its streams, which were read after that. What ran is over, and nobody knows how it
    /// ended: its streams say so. What may have changed while it was away is announced: all lists, and what it subscribed to.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] if the record names a revision that has no sessions.
    pub fn restore(
        now: Timestamp,
        record: SessionRecord,
        events: Vec<LoggedEvent>,
        limits: Arc<Limits>,
        offer: Arc<Offer>,
    ) -> Result<(Self, Vec<Output>), RecordError> {
        let revision = Revision::parse(&record.revision)
            .ok_or_else(|| RecordError::Malformed(format!("there is no revision {}", record.revision)))?;
        let mut session = Self::new(now, Shape::Http, record.tag, limits, offer).durable();
        session.revision = revision;
        session.phase = record.phase;
        session.client = Arc::new(ClientFacts { info: record.client_info, capabilities: record.client_capabilities });
        session.log_level = record.log_level;
        session.life = record.life;
        session.values = record.values;
        session.opened_at = Timestamp(record.opened_at);
        session.active_at = Timestamp(record.active_at).max(session.opened_at).min(now);
        session.next_stream = record.next_stream;
        session.next_call = u64::from(record.epoch) << 32;
        if let Some(unwritten) = session.unwritten.as_deref_mut() {
            (unwritten.epoch, unwritten.active_at) = (record.epoch, Timestamp(record.active_at));
        }
        let mut out = Vec::new();
        for uri in record.subscriptions {
            session.notices.mark_update(&uri.clone().into());
            session.subscriptions.insert(uri.clone());
            out.push(Output::Subscription { uri, present: true });
        }
        if session.phase == Phase::Initialized {
            let offered = ListKind::ALL.into_iter().filter(|kind| session.offer.has(kind.capability()));
            offered.for_each(|kind| session.notices.mark_list(kind));
        }
        let answered: Vec<u64> = events.iter().filter_map(|event| Some(event.answers?.0)).collect();
        session.restore_streams(now, &record.streams, events);
        for request in record.requests.iter().filter(|request| !answered.contains(&request.call)) {
            session.give_up(request, &mut out);
        }
        session.close_streams_without_requests();
        if !record.requests.is_empty() {
            session.mark(Dirty::Now);
        }
        Ok((session, out))
    }

    /// How often the session came back, from 1.
    pub fn epoch(&self) -> u32 {
        self.unwritten.as_deref().map_or(1, |unwritten| unwritten.epoch)
    }

    /// The session as it would be written down now.
    pub fn record(&self) -> SessionRecord {
        SessionRecord {
            format: SessionRecord::FORMAT,
            subject: None,
            tag: self.tag,
            epoch: self.epoch(),
            phase: self.phase,
            revision: self.revision.as_str().into(),
            client_info: self.client.info.clone(),
            client_capabilities: self.client.capabilities.clone(),
            log_level: self.log_level,
            subscriptions: self.subscriptions.iter().cloned().collect(),
            opened_at: self.opened_at.0,
            active_at: self.active_at.0,
            life: self.life,
            values: self.values.clone(),
            next_stream: self.next_stream,
            streams: self.stream_records(),
            requests: self.calls.iter().map(super::calls::InFlight::record).collect(),
            questions: self.asks.iter().map(super::asks::Pending::record).collect(),
        }
    }

    /// Says that the record is no longer as the session is.
    pub(super) fn mark(&mut self, dirty: Dirty) {
        if let Some(unwritten) = self.unwritten.as_deref_mut() {
            unwritten.dirty = unwritten.dirty.max(dirty);
        }
    }

    pub(super) fn log_event(&mut self, event: LoggedEvent) {
        if let Some(unwritten) = self.unwritten.as_deref_mut() {
            unwritten.events.push(event);
        }
    }

    /// The event that was logged last, to say more of it.
    pub(super) fn logged_last(&mut self, stream: StreamId) -> Option<&mut LoggedEvent> {
        self.unwritten.as_deref_mut()?.events.last_mut().filter(|event| event.stream == stream)
    }

    /// Says that the events of a stream up to a number are no longer needed.
    pub(super) fn forget_events(&mut self, stream: StreamId, through: u32) {
        let Some(unwritten) = self.unwritten.as_deref_mut().filter(|_| through > 0) else { return };
        match unwritten.forget.iter_mut().find(|(known, _)| *known == stream) {
            Some((_, known)) => *known = (*known).max(through),
            None => unwritten.forget.push((stream, through)),
        }
    }

    /// Answers a request whose handler is gone.
    fn give_up(&mut self, request: &RequestRecord, out: &mut Vec<Output>) {
        let stream = StreamId(request.stream);
        self.owe(stream, 1);
        let why = "outcome unknown: the server stopped while it worked on this request, which may or may not have taken \
                   effect; it was not run again";
        let error = ErrorObject::new(ErrorCode::InternalError, why);
        self.answer_error(stream, &request.id, error, out);
    }

    /// A cancelled request has no answer; its stream ends when nothing else is owed on it.
    fn close_streams_without_requests(&mut self) {
        for stream in self.owing_nothing() {
            self.settle(stream, Answered::No, &mut Vec::new());
        }
    }
}

#[cfg(test)]
mod tests;
