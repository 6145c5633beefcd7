//! The end of a link where the clients are.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::{Body, Frame as BodyFrame, SizeHint};
use tokio::net::UnixStream;

use super::CREDIT_BYTES;
use super::frame::{self, Frame, Frames, Kind, put_bare, put_number, put_request};
use super::outbox::{Lane, Outbox};
use crate::head::RequestHead;

/// Frames that are taken before their clients have their turn.
const AT_ONCE: usize = 64;
/// Requests at once.
const STREAMS_MAX: usize = 1 << 17;

/// The link to the process that answers. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Relay(Arc<Shared>);

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// Too many requests wait.
    Full,
    /// The link is gone, or the answer broke off before it began.
    Gone,
}

#[derive(Debug, Default)]
struct Shared {
    out: Outbox,
    streams: Mutex<Streams>,
}

#[derive(Debug, Default)]
struct Streams {
    by_number: HashMap<u32, Arc<Stream>>,
    next: u32,
    is_closed: bool,
}

/// What came for one client and waits for it.
#[derive(Debug, Default)]
struct Stream(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    head: Option<Box<Response<()>>>,
    pieces: VecDeque<Bytes>,
    end: Option<End>,
    waker: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    Broken,
}

impl Relay {
    /// Carries what is said, until the other end is gone. Then no request has an answer any more.
    pub(crate) async fn run(&self, socket: UnixStream) -> io::Result<()> {
        let (reader, writer) = socket.into_split();
        let ended = tokio::select! {
            ended = self.read(Frames::new(reader)) => ended,
            ended = self.0.out.write_to(writer) => ended,
        };
        self.0.out.close();
        let mut streams = self.0.streams();
        streams.is_closed = true;
        let waiting = std::mem::take(&mut streams.by_number);
        drop(streams);
        waiting.values().for_each(|stream| stream.change(|state| state.end = state.end.or(Some(End::Broken))));
        ended
    }

    /// Passes a request on and waits for the head of its answer. Whoever drops the answer hangs up.
    pub(crate) async fn send(&self, head: &RequestHead<'_>, body: &[u8]) -> Result<Response<RelayedBody>, Unanswered> {
        self.pass_on(Kind::Request, head, body).await
    }

    /// Asks whether a request with this head may come in, before its body is read: `None` if so, or what is answered.
    pub(crate) async fn ask(&self, head: &RequestHead<'_>) -> Result<Option<Response<RelayedBody>>, Unanswered> {
        let answer = self.pass_on(Kind::Question, head, &[]).await?;
        Ok(Some(answer).filter(|answer| answer.status() != StatusCode::CONTINUE))
    }

    async fn pass_on(
        &self,
        kind: Kind,
        head: &RequestHead<'_>,
        body: &[u8],
    ) -> Result<Response<RelayedBody>, Unanswered> {
        self.0.out.room().await;
        let mut answer = self.begin()?;
        let number = answer.number;
        self.0.out.push(Lane::First, |out| put_request(out, kind, number, head, body));
        let head = poll_fn(|cx| {
            let mut state = answer.stream.state();
            match (state.head.take(), state.end) {
                (Some(head), _) => Poll::Ready(Some(head)),
                (None, Some(_)) => Poll::Ready(None),
                (None, None) => {
                    state.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        });
        match head.await {
            Some(head) => Ok(head.map(|()| answer)),
            None => {
                answer.is_over = true;
                Err(Unanswered::Gone)
            }
        }
    }

    /// Says how many connections there are.
    pub(crate) fn say_connections(&self, count: u32) {
        self.0.out.push(Lane::First, |out| put_number(out, Kind::Connections, 0, count));
    }

    fn begin(&self) -> Result<RelayedBody, Unanswered> {
        let mut streams = self.0.streams();
        if streams.is_closed {
            return Err(Unanswered::Gone);
        }
        if streams.by_number.len() >= STREAMS_MAX {
            return Err(Unanswered::Full);
        }
        // A stream may last until the numbers come round.
        while streams.by_number.contains_key(&streams.next) {
            streams.next = streams.next.wrapping_add(1);
        }
        let number = streams.next;
        streams.next = number.wrapping_add(1);
        let stream = Arc::<Stream>::default();
        streams.by_number.insert(number, stream.clone());
        drop(streams);
        Ok(RelayedBody { shared: self.0.clone(), stream, number, taken_bytes: 0, is_over: false })
    }

    async fn read<T>(&self, mut frames: Frames<T>) -> io::Result<()>
    where
        T: tokio::io::AsyncRead + Unpin,
    {
        let mut taken = 0;
        while let Some(frame) = frames.next().await? {
            self.take(frame)?;
            taken += 1;
            if taken % AT_ONCE == 0 {
                // What has come is passed on to its clients before more is taken.
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    fn take(&self, frame: Frame) -> io::Result<()> {
        let is_end = frame.is_last || frame.kind == Kind::Broken;
        let stream = match is_end {
            true => self.0.streams().by_number.remove(&frame.stream),
            false => self.0.streams().by_number.get(&frame.stream).cloned(),
        };
        // Its client hung up meanwhile.
        let Some(stream) = stream else { return Ok(()) };
        let (head, piece, end) = match frame.kind {
            Kind::Response => {
                let (head, body) = frame::response(frame.payload)?.into_parts();
                (Some(Box::new(Response::from_parts(head, ()))), body, End::Whole)
            }
            Kind::Data => (None, frame.payload, End::Whole),
            Kind::Broken => (None, Bytes::new(), End::Broken),
            Kind::Request | Kind::Question | Kind::Cancel | Kind::Credit | Kind::Connections => {
                return Err(frame::malformed());
            }
        };
        stream.change(|state| {
            state.head = head.or(state.head.take());
            if !piece.is_empty() {
                state.pieces.push_back(piece);
            }
            state.end = is_end.then_some(end);
        });
        Ok(())
    }
}

impl Shared {
    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        if let Some(waker) = state.waker.take() {
            drop(state);
            waker.wake();
        }
    }
}

/// The body of an answer, as it comes.
#[derive(Debug)]
pub(crate) struct RelayedBody {
    shared: Arc<Shared>,
    stream: Arc<Stream>,
    number: u32,
    /// Bytes that the client took since the other end was told.
    taken_bytes: u32,
    is_over: bool,
}

#[cfg(test)]
impl RelayedBody {
    /// Bytes that came and were not taken.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.stream.state().pieces.iter().map(Bytes::len).sum()
    }
}

impl Body for RelayedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<BodyFrame<Bytes>>>> {
        let mut state = self.stream.state();
        let Some(piece) = state.pieces.pop_front() else {
            let Some(end) = state.end else {
                if state.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
                    state.waker = Some(cx.waker().clone());
                }
                return Poll::Pending;
            };
            drop(state);
            self.is_over = true;
            let broken = || io::Error::new(io::ErrorKind::UnexpectedEof, "the answer broke off");
            return Poll::Ready((end == End::Broken).then(|| Err(broken())));
        };
        let is_open = state.end.is_none();
        if state.pieces.is_empty() {
            state.pieces = VecDeque::new();
        }
        drop(state);
        self.taken_bytes = self.taken_bytes.saturating_add(u32::try_from(piece.len()).unwrap_or(u32::MAX));
        if is_open && self.taken_bytes >= CREDIT_BYTES / 2 {
            let (number, bytes) = (self.number, std::mem::take(&mut self.taken_bytes));
            self.shared.out.push(Lane::First, |out| put_number(out, Kind::Credit, number, bytes));
        }
        Poll::Ready(Some(Ok(BodyFrame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        let state = self.stream.state();
        state.pieces.is_empty() && state.end == Some(End::Whole)
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.stream.state();
        match state.end {
            Some(End::Whole) => SizeHint::with_exact(state.pieces.iter().map(|piece| piece.len() as u64).sum()),
            _ => SizeHint::default(),
        }
    }
}

impl Drop for RelayedBody {
    fn drop(&mut self) {
        if self.is_over || self.stream.state().end.is_some() {
            return;
        }
        let mut streams = self.shared.streams();
        streams.by_number.remove(&self.number);
        if streams.by_number.is_empty() {
            streams.by_number.shrink_to(64);
        }
        drop(streams);
        self.shared.out.push(Lane::First, |out| put_bare(out, Kind::Cancel, self.number));
    }
}
