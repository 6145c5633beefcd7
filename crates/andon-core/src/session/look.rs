//! A session as operators see it: what it is, what it keeps and what it waits for, and nothing of what was said in it.

use std::sync::Arc;

use super::record::{QuestionRecord, RequestRecord, SessionRecord};
use super::streams::{Stream, StreamKind};
use super::{Phase, Session, Shape};
use crate::io::{StreamId, Timestamp};
use crate::limits::Limits;
use andon_types::meta::{Implementation, Level};
use serde::{Deserialize, Serialize};

/// Where a session stands, more finely than its [`Phase`]: a session that was opened rests as soon as it has nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The handshake is not complete.
    Negotiation,
    /// Something runs, or the client is connected. It does not expire.
    Active,
    /// Neither: the client may come back until it expires.
    Suspended,
    /// Over.
    Closed,
}

impl State {
    /// The state of a session in `phase`.
    pub fn of(phase: Phase, is_busy: bool) -> Self {
        match (phase, is_busy) {
            (Phase::NotInitialized | Phase::Initializing, _) => Self::Negotiation,
            (Phase::Initialized, true) => Self::Active,
            (Phase::Initialized, false) => Self::Suspended,
            (Phase::Disconnected, _) => Self::Closed,
        }
    }
}

/// What there is to see of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// Where it stands, as clients know it.
    pub phase: Phase,
    /// Where it stands, more finely.
    pub state: State,
    /// How it is connected.
    pub shape: Shape,
    /// The revision that was agreed on; before the handshake, none.
    pub revision: Option<Box<str>>,
    /// The client's name and version, as it says.
    pub client_info: Option<Implementation>,
    /// The threshold of log notifications.
    pub log_level: Level,
    /// How often it came back, from 1.
    pub epoch: u32,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When something last happened in it.
    pub active_at: Timestamp,
    /// When time takes it if nothing more happens; `None` is never.
    pub expires_at: Option<Timestamp>,
    /// Connected ones, and those that a client can come back to.
    pub streams: Vec<StreamLook>,
    /// Requests of the client in flight.
    pub requests: Vec<RequestRecord>,
    /// Questions to the client that are open.
    pub questions: Vec<QuestionRecord>,
    /// Canonical URIs.
    pub subscriptions: Vec<Arc<str>>,
}

/// What there is to see of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLook {
    /// Which.
    pub id: StreamId,
    /// What it is for.
    pub kind: StreamKind,
    /// Whether somebody is connected to it and more is to come.
    pub is_open: bool,
    /// What is kept for a client that comes back; `None` if that is somewhere else.
    pub buffered: Option<Buffered>,
}

/// Events that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Buffered {
    /// How many.
    pub events: usize,
    /// The bytes of their messages.
    pub bytes: usize,
}

impl StreamLook {
    pub(super) fn of(stream: &Stream) -> Self {
        let (id, kind, is_open, buffered) = (stream.id, stream.kind(), stream.is_attached(), Some(stream.buffered()));
        Self { id, kind, is_open, buffered }
    }
}

impl Session {
    /// What there is to see of it.
    pub fn look(&self) -> Look {
        Look {
            phase: self.phase,
            state: State::of(self.phase, self.is_busy()),
            shape: self.shape,
            revision: (self.phase != Phase::NotInitialized).then(|| self.revision.as_str().into()),
            client_info: self.client.info.clone(),
            log_level: self.log_level,
            epoch: self.epoch(),
            opened_at: self.opened_at,
            active_at: self.active_at,
            expires_at: self.expires_at(),
            streams: self.streams.iter().map(StreamLook::of).collect(),
            requests: self.calls.iter().map(super::calls::InFlight::record).collect(),
            questions: self.asks.iter().map(super::asks::Pending::record).collect(),
            subscriptions: self.subscriptions.iter().cloned().collect(),
        }
    }
}

impl SessionRecord {
    /// What there is to see of a session that nobody has in memory. Its requests are those that ran when it was written down.
    pub fn look(self, limits: &Limits) -> Look {
        let expires_at = self.expires_at(limits);
        let streams = self.streams.iter();
        let streams = streams.map(|stream| StreamLook {
            id: StreamId(stream.id),
            kind: stream.kind,
            is_open: false,
            buffered: None,
        });
        Look {
            phase: self.phase,
            state: State::of(self.phase, false),
            shape: Shape::Http,
            streams: streams.collect(),
            revision: Some(self.revision),
            client_info: self.client_info,
            log_level: self.log_level,
            epoch: self.epoch,
            opened_at: Timestamp(self.opened_at),
            active_at: Timestamp(self.active_at),
            expires_at,
            requests: self.requests,
            questions: self.questions,
            subscriptions: self.subscriptions,
        }
    }
}

#[cfg(test)]
mod tests;
