//! Places where messages go, and what is kept of them for a client that comes back.

use std::collections::VecDeque;

use andon_types::encoded::Encoded;
use serde::{Deserialize, Serialize};

use super::look::Buffered;
use super::record::{Dirty, LoggedEvent, StreamRecord};
use super::{Phase, Session, Shape};
use crate::event::EventId;
use crate::io::{Frame, Output, StreamId, Timestamp};

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamKind {
    /// Everything, both ways.
    Pipe,
    /// The answers to one POST, and what belongs to its requests.
    Request,
    /// What belongs to no request: the stream that a GET opens.
    Standing,
}

/// Why a GET gets no stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachError {
    /// The event id is none of ours.
    Malformed,
    /// The event id names no stream of this session, or one that is no longer kept.
    Unknown,
    /// The event id was not sent yet.
    Future,
    /// Events after this id are no longer kept.
    Evicted,
    /// The session has as many standing streams as it may have, or comes back too often.
    TooMany,
}

/// Whether a request that is over got an answer; a cancelled one gets none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    Yes,
    No,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    kind: StreamKind,
    attached: bool,
    /// Requests that came with it and are not answered yet.
    pub(super) owed: u32,
    /// The client knows an event id of it and may come back, after a restart as well.
    promised: bool,
    /// What it announced was announced again elsewhere, because its connection was lost.
    retold: bool,
    /// Everything was said; kept for resumption since then.
    finished: bool,
    /// When everything was said, it was said to a connection.
    heard: bool,
    /// When its connection was lost, or everything was said: the later of both.
    rests_since: Timestamp,
    sequence: u32,
    kept: VecDeque<(u32, Encoded)>,
    kept_bytes: usize,
    /// The sequence of the newest event that is no longer kept; 0 if none was dropped.
    evicted: u32,
}

impl Stream {
    fn new(now: Timestamp, id: StreamId, kind: StreamKind) -> Self {
        Self {
            id,
            kind,
            attached: true,
            owed: 0,
            promised: false,
            retold: false,
            finished: false,
            heard: false,
            rests_since: now,
            sequence: 0,
            kept: VecDeque::new(),
            kept_bytes: 0,
            evicted: 0,
        }
    }

    pub(super) fn is_attached(&self) -> bool {
        self.attached && !self.finished
    }

    pub(super) fn kind(&self) -> StreamKind {
        self.kind
    }

    pub(super) fn buffered(&self) -> Buffered {
        Buffered { events: self.kept.len(), bytes: self.kept_bytes }
    }

    fn forget_oldest(&mut self) {
        if let Some((sequence, text)) = self.kept.pop_front() {
            self.kept_bytes -= text.len();
            self.evicted = sequence;
        }
    }
}

impl Session {
    /// Opens a stream with a connection; in a session that is over, one that nothing is said on. Requests in the message that comes next on it are owed answers.
    pub fn open_stream(&mut self, now: Timestamp, kind: StreamKind) -> StreamId {
        self.next_stream += 1;
        let id = StreamId(self.next_stream);
        self.active_at = now;
        if self.phase == Phase::Disconnected {
            return id;
        }
        // Most sessions have one at a time, and there are many sessions.
        self.streams.reserve_exact(usize::from(self.streams.is_empty()));
        self.streams.push(Stream::new(now, id, kind));
        id
    }

    /// Says that `count` requests follow on `stream`: it ends when all of them are answered.
    pub fn owe(&mut self, stream: StreamId, count: u32) {
        if let Some(stream) = self.stream(stream) {
            stream.owed += count;
        }
    }

    /// Opens a standing stream for a GET. A client that does not come back for those which it lost can open others:
    /// the oldest of them is forgotten.
    ///
    /// # Errors
    /// [`AttachError::TooMany`].
    pub fn attach(&mut self, now: Timestamp) -> Result<StreamId, AttachError> {
        self.forget_streams(now);
        let standing = self.streams.iter().filter(|stream| stream.kind == StreamKind::Standing);
        if standing.count() >= self.limits.standing_streams_max {
            let is_lost = |stream: &Stream| stream.kind == StreamKind::Standing && !stream.attached;
            let oldest = self.streams.iter().find(|stream| is_lost(stream)).map(|stream| stream.id);
            let oldest = oldest.ok_or(AttachError::TooMany)?;
            self.retell(oldest);
            self.keep_streams(|stream| stream.id != oldest);
        }
        let is_lost = |stream: &&Stream| stream.kind == StreamKind::Standing && !stream.attached;
        let lost: Vec<StreamId> = self.streams.iter().filter(is_lost).map(|stream| stream.id).collect();
        lost.into_iter().for_each(|stream| self.retell(stream));
        Ok(self.open_stream(now, StreamKind::Standing))
    }

    /// Connects a GET with `Last-Event-ID` to the stream of that event; what came after it is to be sent first,
    /// in order (transports, "Resumability and Redelivery"). A connection that the stream still has is replaced.
    ///
    /// # Errors
    /// [`AttachError`], and nothing of another session, or a gap, is ever replayed.
    pub fn resume(&mut self, now: Timestamp, last_event_id: &str) -> Result<(StreamId, Vec<Frame>), AttachError> {
        let last = EventId::parse(last_event_id).ok_or(AttachError::Malformed)?;
        // A client that comes back in a loop is made to wait (transports, "Resumability and Redelivery").
        if !self.resumes.take(now, self.limits.resumes_per_s) {
            return Err(AttachError::TooMany);
        }
        self.forget_streams(now);
        let (tag, survives) = (self.tag, self.unwritten.is_some());
        self.active_at = now;
        // Of a stream that was not promised nobody knows an event: the number is one that another node gave to another.
        let stream = match self.stream(last.stream) {
            Some(stream) if last.tag == tag && (stream.promised || !survives) => stream,
            _ => return Err(AttachError::Unknown),
        };
        if last.sequence > stream.sequence {
            return Err(AttachError::Future);
        }
        if last.sequence < stream.evicted {
            return Err(AttachError::Evicted);
        }
        // What the client has seen need not be kept: it said so.
        while stream.kept.front().is_some_and(|(sequence, _)| *sequence <= last.sequence) {
            stream.forget_oldest();
        }
        (stream.attached, stream.retold) = (true, false);
        stream.rests_since = now;
        let (id, finished, newest, evicted) = (stream.id, stream.finished, stream.sequence, stream.evicted);
        self.forget_events(id, evicted);
        let Some(stream) = self.stream(id) else { return Err(AttachError::Unknown) };
        let frames = stream.kept.iter().map(|(sequence, text)| Frame {
            id: Some(EventId { tag, stream: id, sequence: *sequence }),
            text: Some(text.clone()),
            retry_ms: None,
            last: finished && *sequence == newest,
            status: 200,
        });
        Ok((id, frames.collect()))
    }

    /// What is kept for resumption: finished streams, and the bytes of all messages.
    pub fn kept(&self) -> (usize, usize) {
        let finished = self.streams.iter().filter(|stream| stream.finished).count();
        (finished, self.streams.iter().map(|stream| stream.kept_bytes).sum())
    }

    /// Whether everything was said on `stream`.
    pub fn is_finished(&self, stream: StreamId) -> bool {
        self.streams.iter().find(|known| known.id == stream).is_none_or(|stream| stream.finished)
    }

    /// The event that opens `stream` and carries no message, for revisions that have it.
    pub fn priming(&self, stream: StreamId) -> Option<Frame> {
        let id = EventId { tag: self.tag, stream, sequence: 0 };
        (self.rules().priming_event && self.shape == Shape::Http).then_some(Frame {
            id: Some(id),
            text: None,
            retry_ms: None,
            last: false,
            status: 200,
        })
    }

    /// Puts `text` on `stream`, kept for resumption where the revision has it.
    pub(super) fn send(&mut self, stream: StreamId, text: impl Into<Encoded>, status: u16, out: &mut Vec<Output>) {
        let (tag, keeps) = (self.tag, self.rules().resumable && self.shape == Shape::Http);
        let events_max = self.limits.replay_events_max;
        let Some(known) = self.stream(stream) else { return };
        let text: Encoded = text.into();
        known.sequence += 1;
        let (sequence, promised) = (known.sequence, known.promised);
        if keeps {
            known.kept.push_back((sequence, text.clone()));
            known.kept_bytes += text.len();
            let full = known.kept.len() > events_max;
            if full {
                known.forget_oldest();
            }
            if promised {
                let evicted = known.evicted;
                self.log_event(LoggedEvent { stream, sequence, answers: None, last: false, text: text.clone() });
                if full {
                    self.forget_events(stream, evicted);
                }
            }
            self.make_room(self.limits.replay_bytes_max);
        }
        let id = keeps.then_some(EventId { tag, stream, sequence });
        out.push(Output::Send { stream, frame: Frame { id, text: Some(text), retry_ms: None, last: false, status } });
    }

    /// Counts a request on `stream` as over, and ends the stream with the last one. `answered`: the answer is
    /// the output before.
    pub(super) fn settle(&mut self, stream: StreamId, answered: Answered, out: &mut Vec<Output>) {
        // What ends a request is activity.
        let now = self.active_at;
        let Some(known) = self.stream(stream) else { return };
        known.owed = known.owed.saturating_sub(1);
        if known.kind != StreamKind::Request || known.owed > 0 || known.finished {
            return;
        }
        known.finished = true;
        known.heard = known.attached;
        known.rests_since = now;
        // A client that knows it may come back, and is told that it is over.
        let keeps_nothing = known.kept.is_empty() && !known.promised;
        if let (Answered::Yes, Some(Output::Send { frame, .. })) = (answered, out.last_mut()) {
            frame.last = true;
            if let Some(event) = self.logged_last(stream) {
                event.last = true;
            }
        }
        if keeps_nothing {
            self.keep_streams(|known| known.id != stream);
        }
        while self.kept().0 > self.limits.replay_streams_max {
            self.forget_finished();
        }
        if answered == Answered::No {
            out.push(Output::Close { stream });
        }
    }

    /// The stream for what belongs to no request: exactly one (transports, "Multiple Connections").
    pub(super) fn standing_stream(&self) -> Option<StreamId> {
        let stands = |stream: &&Stream| stream.attached && stream.kind != StreamKind::Request;
        self.streams.iter().find(stands).map(|stream| stream.id)
    }

    pub(super) fn detached(&mut self, now: Timestamp, stream: StreamId) {
        let keeps = self.rules().resumable && self.shape == Shape::Http;
        self.active_at = now;
        let Some(known) = self.stream(stream) else { return };
        known.attached = false;
        known.rests_since = now;
        if known.kind == StreamKind::Standing && self.standing_stream().is_some() {
            self.retell(stream);
        }
        let Some(known) = self.stream(stream) else { return };
        if !keeps && known.kind != StreamKind::Request {
            self.keep_streams(|known| known.id != stream);
        }
    }

    /// Announces again, once, what was announced on a standing stream that was lost, where the client stands now. It may not
    /// have got even the first event of it, and then has nothing to come back with.
    fn retell(&mut self, stream: StreamId) {
        let Some(known) = self.stream(stream).filter(|known| !known.retold) else { return };
        known.retold = true;
        let texts: Vec<Encoded> = known.kept.iter().map(|(_, text)| text.clone()).collect();
        texts.iter().for_each(|text| self.mark_again(text));
    }

    /// The whole of `stream` left in one piece; nothing of it need be kept.
    pub fn delivered(&mut self, stream: StreamId) {
        self.keep_streams(|known| known.id != stream);
    }

    /// Lets go of streams that nobody came back for.
    pub fn forget_streams(&mut self, now: Timestamp) {
        let timeout = self.limits.replay_timeout;
        self.keep_streams(|stream| {
            let rests = !stream.attached || stream.finished;
            !(rests && stream.owed == 0 && now.since(stream.rests_since) >= timeout)
        });
    }

    /// Brings what is kept for resumption below `bytes_max`: finished streams go first, then the oldest messages of
    /// whichever stream keeps most. The newest message of each stream that goes on stays.
    pub fn make_room(&mut self, bytes_max: usize) {
        while self.kept().1 > bytes_max {
            if self.forget_finished() {
                continue;
            }
            let several = self.streams.iter_mut().filter(|stream| stream.kept.len() > 1);
            let Some(largest) = several.max_by_key(|stream| stream.kept_bytes) else { return };
            largest.forget_oldest();
            let (id, evicted, promised) = (largest.id, largest.evicted, largest.promised);
            if promised {
                self.forget_events(id, evicted);
            }
        }
    }

    /// Forgets the oldest finished stream, a heard one before any that a client may come back for. Whether there was
    /// one.
    fn forget_finished(&mut self) -> bool {
        let heard = self.streams.iter().position(|stream| stream.finished && stream.heard);
        let oldest = heard.or_else(|| self.streams.iter().position(|stream| stream.finished));
        let Some(oldest) = oldest.map(|index| self.streams[index].id) else { return false };
        self.keep_streams(|stream| stream.id != oldest);
        true
    }

    /// Keeps those that `stay`; of the others nothing need outlive the process.
    fn keep_streams(&mut self, stay: impl Fn(&Stream) -> bool) {
        let gone: Vec<_> = self.streams.iter().filter(|stream| stream.promised && !stay(stream)).collect();
        let gone: Vec<_> = gone.into_iter().map(|stream| stream.id).collect();
        self.streams.retain(stay);
        for stream in gone {
            // It is over, and not only what was said so far.
            self.forget_events(stream, u32::MAX);
        }
    }

    /// Says that the client will know an event id of `stream`, and may come back for it after a restart as well. What is
    /// kept of the stream is written down now, and from now on all that is said on it.
    pub fn promise(&mut self, stream: StreamId) {
        if !self.rules().resumable {
            return;
        }
        let survives = self.unwritten.is_some();
        let Some(known) = self.stream(stream).filter(|known| !known.promised) else { return };
        known.promised = true;
        if !survives {
            return;
        }
        let (finished, newest) = (known.finished, known.sequence);
        let event = |(sequence, text): &(u32, Encoded)| {
            let last = finished && *sequence == newest;
            LoggedEvent { stream, sequence: *sequence, answers: None, last, text: text.clone() }
        };
        let events: Vec<_> = known.kept.iter().map(event).collect();
        events.into_iter().for_each(|event| self.log_event(event));
        self.enter_all(stream);
        self.mark(Dirty::Now);
    }

    pub(super) fn stream_records(&self) -> Vec<StreamRecord> {
        let promised = self.streams.iter().filter(|stream| stream.promised);
        promised.map(|stream| StreamRecord { id: stream.id.0, kind: stream.kind, sequence: stream.sequence }).collect()
    }

    /// Brings streams back as they were written down: nobody is connected to them, and nothing is owed yet.
    pub(super) fn restore_streams(&mut self, now: Timestamp, records: &[StreamRecord], events: Vec<LoggedEvent>) {
        for record in records {
            self.streams.push(Stream {
                promised: true,
                attached: false,
                sequence: record.sequence,
                evicted: record.sequence,
                ..Stream::new(now, StreamId(record.id), record.kind)
            });
        }
        for LoggedEvent { stream, sequence, last, text, .. } in events {
            let Some(known) = self.stream(stream) else { continue };
            if known.kept.is_empty() {
                known.evicted = sequence.saturating_sub(1);
            }
            known.sequence = known.sequence.max(sequence);
            known.finished |= last;
            known.kept_bytes += text.len();
            known.kept.push_back((sequence, text));
        }
    }

    /// Streams of requests on which nothing is owed and which have not ended.
    pub(super) fn owing_nothing(&self) -> Vec<StreamId> {
        let waits = |stream: &&Stream| stream.kind == StreamKind::Request && stream.owed == 0 && !stream.finished;
        self.streams.iter().filter(waits).map(|stream| stream.id).collect()
    }

    fn stream(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.id == id)
    }
}
