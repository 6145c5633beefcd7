//! One answer on its way, or one standing stream.

use std::sync::Arc;
use std::task::{Context, Poll};

use andon_core::io::{Frame, StreamId};
use andon_types::encoded::Encoded;

use super::events::EventStream;
use super::modern::ExchangeCell;
use super::table::SessionCell;
use crate::outlet::{First, Outlet};
use crate::work::Work;

/// How an answer begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beginning {
    /// With its only message: nothing else comes.
    Whole(Frame),
    /// With one of several messages, which is still to be read.
    Events,
    /// Not at all: it is over.
    Nothing,
    /// Not here: another node has the session, and answers who asks again.
    Elsewhere,
}

/// Messages for one connection. Dropping it says that the connection is gone: a modern request is cancelled, a
/// legacy one runs on and what it says is kept for a client that comes back.
///
/// A handler that waits may run within [`ResponseStream::beginning`], as long as that is polled: whoever was given the stream
/// uses it, or drops it.
pub struct ResponseStream {
    outlet: Outlet,
    /// The handler, until it is known how the answer begins.
    work: Option<Work>,
    source: Source,
}

pub(super) enum Source {
    Session(Arc<SessionCell>, StreamId),
    Exchange(Arc<ExchangeCell>),
    /// A pipe, whose connection object speaks for itself.
    Pipe,
    /// The stream of a session that ends with it.
    Events {
        _end: EventStream,
    },
}

impl ResponseStream {
    pub(super) fn new(outlet: Outlet, source: Source) -> Self {
        Self { outlet, work: None, source }
    }

    /// One whose reader carries `work`, as long as it waits for the beginning.
    pub(super) fn carrying(mut self, work: Option<Work>) -> Self {
        self.work = work;
        self
    }

    /// The next message, or `None` at the end.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        self.work = None;
        self.outlet.poll_next(cx)
    }

    /// The next message, or `None` at the end.
    pub async fn next(&mut self) -> Option<Frame> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Moves all messages that are ready to `texts`, which is empty, at most about `bytes_max` bytes of them; waits for the
    /// first. Whether there was one: otherwise it is the end.
    pub(crate) async fn texts(&mut self, texts: &mut Vec<Encoded>, bytes_max: usize) -> bool {
        self.work = None;
        std::future::poll_fn(|cx| self.outlet.poll_texts(cx, bytes_max, texts)).await
    }

    /// Waits until it is known how the answer begins. The handler runs meanwhile; when this returns, or is dropped, it goes on
    /// by itself.
    pub async fn beginning(&mut self) -> Beginning {
        let (mut work, outlet) = (self.work.take(), &self.outlet);
        let first = std::future::poll_fn(|cx| match &mut work {
            Some(work) => work.poll_whole(outlet, cx),
            None => outlet.poll_whole(cx),
        });
        match first.await {
            First::Whole(frame) => Beginning::Whole(frame),
            First::Part => Beginning::Events,
            First::Nothing => Beginning::Nothing,
            First::Elsewhere => Beginning::Elsewhere,
        }
    }

    /// Says that the answer becomes a stream of events, which opens as its revision has it (2025-11-25, "Sending
    /// Messages to the Server"): from now on the client can come back for it.
    pub fn begin_events(&mut self) {
        self.work = None;
        if let Source::Session(cell, stream) = &self.source {
            let (priming, until) = cell.promise(*stream);
            self.outlet.begin(priming, until);
        }
    }

    /// Says that the whole answer was one message and left in one piece: nothing need be kept.
    pub fn delivered(&mut self) {
        if let Source::Session(cell, stream) = std::mem::replace(&mut self.source, Source::Pipe) {
            cell.delivered(stream);
        }
    }

    /// Whether the connection was cut because it was too slow.
    pub fn is_overflowed(&self) -> bool {
        self.outlet.is_overflowed()
    }
}

impl Drop for ResponseStream {
    fn drop(&mut self) {
        match &self.source {
            Source::Session(cell, stream) => {
                cell.detach(*stream, &self.outlet);
                self.outlet.shut();
            }
            Source::Exchange(cell) => cell.hang_up(),
            Source::Pipe | Source::Events { .. } => {}
        }
    }
}

impl std::fmt::Debug for ResponseStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ResponseStream")
    }
}
