//! The bodies of requests.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// The body of a request. Read by the very task that polls its connection, since nobody else is woken when some of it comes.
pub(crate) struct RequestBody(Source);

enum Source {
    Whole(Option<Bytes>),
    Coming { hatch: Arc<Hatch>, hint: SizeHint },
    Http2(Incoming),
}

/// Where a connection hands in what it reads of a body, when it is wanted.
#[derive(Debug, Default)]
pub(super) struct Hatch(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    is_wanted: bool,
    piece: Option<Bytes>,
    is_over: bool,
    is_broken: bool,
}

impl RequestBody {
    /// One that is there.
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self(Source::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }

    /// One that comes through `hatch`; its length if it is known.
    pub(super) fn coming(hatch: Arc<Hatch>, bytes: Option<u64>) -> Self {
        Self(Source::Coming { hatch, hint: bytes.map(SizeHint::with_exact).unwrap_or_default() })
    }

    /// One that comes by HTTP/2.
    pub(super) fn http2(body: Incoming) -> Self {
        Self(Source::Http2(body))
    }
}

impl Hatch {
    /// Whether somebody waits for more.
    pub(super) fn is_wanted(&self) -> bool {
        self.state().is_wanted
    }

    pub(super) fn give(&self, piece: Bytes, is_last: bool) {
        let mut state = self.state();
        *state = State { piece: Some(piece), is_over: is_last, ..State::default() };
    }

    /// There is no more, which is an error unless that `is_over` all of it.
    pub(super) fn end(&self, is_over: bool) {
        let mut state = self.state();
        *state = State { is_over, is_broken: !is_over, ..State::default() };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll(&self) -> Poll<Option<io::Result<Bytes>>> {
        let mut state = self.state();
        if let Some(piece) = state.piece.take() {
            return Poll::Ready(Some(Ok(piece)));
        }
        if state.is_broken {
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        }
        if state.is_over {
            return Poll::Ready(None);
        }
        state.is_wanted = true;
        Poll::Pending
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.0 {
            Source::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Coming { hatch, .. } => hatch.poll().map(|piece| piece.map(|piece| piece.map(Frame::data))),
            Source::Http2(body) => Pin::new(body).poll_frame(cx).map_err(io::Error::other),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Whole(bytes) => bytes.is_none(),
            Source::Coming { hatch, .. } => {
                let state = hatch.state();
                state.is_over && state.piece.is_none()
            }
            Source::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Source::Coming { hint, .. } => *hint,
            Source::Http2(body) => body.size_hint(),
        }
    }
}
