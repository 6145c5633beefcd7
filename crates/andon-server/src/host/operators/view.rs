//! What operators get to see, as it is told to programs: members in camel case, times in milliseconds.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use andon_core::io::Timestamp;
use andon_core::session::look::{Buffered, Look, StreamLook};
use andon_core::session::{Phase, Shape, StreamKind};
use andon_types::message::RequestId;
use andon_types::meta::Level;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ms_between;

pub use andon_core::session::look::State;

/// Names a session to operators, in 16 hexadecimal digits. It is a part of the hash of the session's secret id: it
/// stays the same as long as the session lives, and opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionName(u64);

impl SessionName {
    pub(super) fn of(id: u128) -> Self {
        Self(u64::try_from(id >> 64).unwrap_or(u64::MAX))
    }

    /// The first id that would have this name.
    pub(super) fn first_id(self) -> u128 {
        u128::from(self.0) << 64
    }

    /// The last one.
    pub(super) fn last_id(self) -> u128 {
        self.first_id() | u128::from(u64::MAX)
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// It is not 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoSessionName;

impl fmt::Display for NoSessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a session has 16 digits, 0 to 9 and a to f")
    }
}

impl std::error::Error for NoSessionName {}

impl FromStr for SessionName {
    type Err = NoSessionName;

    fn from_str(text: &str) -> Result<Self, NoSessionName> {
        let is_plain = text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        is_plain.then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten().ok_or(NoSessionName)
    }
}

impl Serialize for SessionName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SessionName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Which sessions to list.
#[derive(Debug, Clone)]
pub struct SessionQuery {
    /// Only those after this one.
    pub after: Option<SessionName>,
    /// At most this many, from 1 to [`SessionQuery::MAX`].
    pub max: usize,
    /// Only those of this subject; an empty one stands for clients without authentication.
    pub principal: Option<String>,
    /// Only those in this phase.
    pub phase: Option<Phase>,
    /// Only those in this state.
    pub state: Option<State>,
}

impl Default for SessionQuery {
    fn default() -> Self {
        Self { after: None, max: 100, principal: None, phase: None, state: None }
    }
}

impl SessionQuery {
    /// Sessions on one page.
    pub const MAX: usize = 1_000;

    pub(super) fn takes(&self, view: &SessionView) -> bool {
        self.principal.as_deref().is_none_or(|subject| subject == view.principal.as_deref().unwrap_or_default())
            && self.phase.is_none_or(|phase| phase == view.phase)
            && self.state.is_none_or(|state| state == view.state)
    }
}

/// Sessions by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionPage {
    /// In order.
    pub sessions: Vec<SessionView>,
    /// There may be more after this name: ask again. A page can be short, or even empty, and not the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<SessionName>,
    /// The store did not answer: these are only the sessions in memory.
    #[serde(default)]
    pub is_store_down: bool,
}

/// How a session is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Streamable HTTP.
    Http,
    /// HTTP with SSE of 2024-11-05: the session ends with its stream.
    HttpSse,
    /// A pipe, such as stdio: the session ends with it.
    Pipe,
}

/// A session, in one row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionView {
    /// What operators call it.
    pub name: SessionName,
    /// Where it stands, as clients know it.
    pub phase: Phase,
    /// Where it stands, more finely.
    pub state: State,
    /// The revision that was agreed on; none before the handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Whose it is; none without authentication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// The client, as it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientView>,
    /// How it is connected.
    pub transport: Transport,
    /// Whether it is in memory, or only in the store.
    pub is_in_memory: bool,
    /// How often it came back, from 1.
    pub epoch: u32,
    /// Streams that somebody is connected to.
    pub streams_open: usize,
    /// Streams that are kept for a client that comes back.
    pub streams_kept: usize,
    /// Requests of the client in flight.
    pub requests: usize,
    /// Questions to the client that are open.
    pub questions: usize,
    /// Resources that it subscribed to.
    pub subscriptions: usize,
    /// Events that are kept for a client that comes back. In a list unknown, if the session is only in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_buffered: Option<usize>,
    /// Their bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_buffered: Option<usize>,
    /// Since 1970.
    pub opened_at_ms: u64,
    /// Since it was opened.
    pub age_ms: u64,
    /// Since something last happened in it.
    pub idle_ms: u64,
    /// Until it ends by itself if nothing more happens; none if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_ms: Option<u64>,
    /// The rest, when it was asked for by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<SessionDetail>,
}

/// A client, as it says; never proof of anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientView {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// What is too much for a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionDetail {
    /// The threshold of log notifications.
    pub log_level: Level,
    /// Open and kept ones.
    pub streams: Vec<StreamView>,
    /// Requests of the client in flight. Of a session that is only in the store: when it was last written down.
    pub requests: Vec<RequestView>,
    /// Questions to the client that are open.
    pub questions: Vec<QuestionView>,
    /// Canonical URIs that it subscribed to.
    pub subscriptions: Vec<Arc<str>>,
}

/// A stream of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamView {
    /// Its number in the session.
    pub id: u32,
    /// What it is for.
    pub kind: StreamKind,
    /// Whether somebody is connected to it and more is to come.
    pub is_open: bool,
    /// Events that are kept for a client that comes back.
    pub events_buffered: usize,
    /// Their bytes.
    pub bytes_buffered: usize,
}

/// A request in flight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestView {
    /// Its id, as the client chose it.
    pub id: RequestId,
    /// Such as `tools/call`.
    pub method: String,
    /// The tool or prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Since it came.
    pub age_ms: u64,
}

/// A question to the client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuestionView {
    /// Such as `elicitation/create`.
    pub method: String,
    /// Since it was asked.
    pub age_ms: u64,
}

/// How a host is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostStatus {
    /// Since it started.
    pub uptime_ms: u64,
    /// Sessions in all.
    pub sessions: usize,
    /// Those of them that are in memory.
    pub sessions_in_memory: usize,
    /// Where they are kept, and whether that works.
    pub store: StoreStatus,
    /// Handlers that run, over all clients.
    pub calls_running: usize,
    /// Clients of 2026-07-28 that listen for changes.
    pub listeners: usize,
    /// Whether it is shutting down.
    pub is_draining: bool,
}

/// Where sessions are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreStatus {
    /// Nowhere else: they end with the process.
    Memory,
    /// In a store that takes what is written down.
    Up,
    /// In a store that does not, at the moment.
    Down,
}

impl SessionView {
    pub(super) fn of(
        name: SessionName,
        now: Timestamp,
        look: &Look,
        principal: Option<String>,
        is_in_memory: bool,
    ) -> Self {
        let client = |info: &andon_types::meta::Implementation| ClientView {
            name: short(&info.name),
            version: short(&info.version),
        };
        let streams_open = look.streams.iter().filter(|stream| stream.is_open).count();
        let mut view = Self {
            name,
            phase: look.phase,
            state: look.state,
            revision: look.revision.as_deref().map(str::to_owned),
            principal,
            client: look.client_info.as_ref().map(client),
            transport: match look.shape {
                Shape::Http => Transport::Http,
                Shape::Posts => Transport::HttpSse,
                Shape::Pipe => Transport::Pipe,
            },
            is_in_memory,
            epoch: look.epoch,
            streams_open,
            streams_kept: look.streams.len() - streams_open,
            requests: look.requests.len(),
            questions: look.questions.len(),
            subscriptions: look.subscriptions.len(),
            events_buffered: None,
            bytes_buffered: None,
            opened_at_ms: look.opened_at.0,
            age_ms: ms_between(look.opened_at, now),
            idle_ms: ms_between(look.active_at, now),
            expires_in_ms: look.expires_at.map(|at| ms_between(now, at)),
            detail: None,
        };
        view.set_buffered(look);
        view
    }

    /// Adds up what is kept on all streams, if that is known.
    pub(super) fn set_buffered(&mut self, look: &Look) {
        let all: Option<Vec<Buffered>> = look.streams.iter().map(|stream| stream.buffered).collect();
        self.events_buffered = all.as_ref().map(|all| all.iter().map(|buffered| buffered.events).sum());
        self.bytes_buffered = all.as_ref().map(|all| all.iter().map(|buffered| buffered.bytes).sum());
    }
}

impl SessionDetail {
    pub(super) fn of(now: Timestamp, look: &Look) -> Self {
        let since = |at_ms: u64| ms_between(Timestamp(at_ms), now);
        let requests = look.requests.iter().map(|request| RequestView {
            id: request.id.clone(),
            method: request.method.as_ref().to_owned(),
            name: request.name.as_deref().map(str::to_owned),
            age_ms: since(request.begun_at),
        });
        let questions = look.questions.iter().map(|question| QuestionView {
            method: question.method.as_ref().to_owned(),
            age_ms: since(question.asked_at),
        });
        Self {
            log_level: look.log_level,
            streams: look.streams.iter().map(StreamView::of).collect(),
            requests: requests.collect(),
            questions: questions.collect(),
            subscriptions: look.subscriptions.clone(),
        }
    }
}

impl StreamView {
    fn of(stream: &StreamLook) -> Self {
        let Buffered { events, bytes } = stream.buffered.unwrap_or_default();
        Self {
            id: stream.id.0,
            kind: stream.kind,
            is_open: stream.is_open,
            events_buffered: events,
            bytes_buffered: bytes,
        }
    }
}

/// What a client says of itself may be long.
fn short(text: &str) -> String {
    const CHARS_MAX: usize = 128;
    text.chars().take(CHARS_MAX).collect()
}
