//! Writes an answer, as it comes.

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use andon_h1::response::{self, CHUNK_END, Ending, LAST_CHUNK_END, NO_CHUNK};
use bytes::{Buf as _, Bytes};
use http::Response;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Sleep, sleep};

use super::AnswerBody;
use super::date;
use super::wire::Wire;

/// Written bytes that count as progress of a peer that is slow.
pub(super) const PROGRESS_BYTES: u64 = 1 << 10;
/// What is at most so large is written in one piece: the system takes one sooner than several.
const PIECE_BYTES_MAX: usize = 4 << 10;

/// An answer that is being written.
pub(super) struct Writer<B> {
    body: B,
    is_chunked: bool,
    /// The body was asked for more.
    has_begun: bool,
    /// Nothing follows what waits for the connection.
    is_over: bool,
    /// Whether the connection goes on afterwards.
    keeps_alive: bool,
    /// What waits for the connection, in this order: a head or what stands before a chunk, data, and what follows it.
    text: Vec<u8>,
    /// So many bytes of `text` were written.
    written: usize,
    data: Bytes,
    end: &'static [u8],
    stuck: Option<Stuck>,
}

/// Since when the client took hardly anything.
struct Stuck {
    over: Pin<Box<Sleep>>,
    bytes: u64,
}

/// What a request allows its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowed {
    /// Whether it has a body: not so if HEAD was asked.
    pub(super) body: bool,
    /// Whether that may come in chunks, which HTTP/1.0 does not have.
    pub(super) chunks: bool,
    /// Whether the connection goes on afterwards.
    pub(super) keeps_alive: bool,
}

impl<B: AnswerBody> Writer<B> {
    /// Begins with `answer`, of which nothing is written yet. `text` is room for its head.
    pub(super) fn new(answer: Response<B>, allowed: Allowed, mut text: Vec<u8>) -> Self {
        let (head, body) = answer.into_parts();
        let has_none = head.status.is_informational() || matches!(head.status.as_u16(), 204 | 304);
        let ending = match body.size_hint().exact() {
            _ if has_none => Ending::None,
            _ if body.is_end_stream() => Ending::Length(0),
            Some(bytes) => Ending::Length(bytes),
            None if allowed.chunks => Ending::Chunks,
            None => Ending::Close,
        };
        let keeps_alive = allowed.keeps_alive && ending != Ending::Close;
        text.clear();
        date::now(|now| response::write(&mut text, head.status, &head.headers, ending, keeps_alive, now.as_bytes()));
        let is_over = !allowed.body || matches!(ending, Ending::None | Ending::Length(0));
        let is_chunked = ending == Ending::Chunks;
        let data = Bytes::new();
        Self { body, is_chunked, has_begun: false, is_over, keeps_alive, text, written: 0, data, end: b"", stuck: None }
    }

    /// Whether the connection goes on afterwards, and the room that is not needed any more.
    pub(super) fn into_parts(self) -> (bool, Vec<u8>) {
        (self.keeps_alive, self.text)
    }

    /// Writes the rest while nobody else uses the connection; whether it goes on. A client that hangs up while there is nothing
    /// to say is gone; one that takes less than [`PROGRESS_BYTES`] of what waits for it in `timeout` is cut.
    pub(super) async fn finish<T>(mut self, wire: &mut Wire<T>, timeout: Duration) -> io::Result<bool>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        wire.spare();
        poll_fn(|cx| {
            if let Poll::Ready(written) = self.poll(wire, cx) {
                return Poll::Ready(written);
            }
            if self.waits() {
                return self.poll_patience(timeout, cx);
            }
            self.stuck = None;
            self.text = Vec::new();
            // One read, and no more: what else comes is held back by the system until it is this request's turn.
            if wire.unread.is_empty()
                && let Poll::Ready(false) = wire.poll_more(cx)?
            {
                return Poll::Ready(Err(ErrorKind::UnexpectedEof.into()));
            }
            Poll::Pending
        })
        .await?;
        Ok(self.keeps_alive)
    }

    /// Writes what there is. Ready when all is written; otherwise something waits for the connection, or there is nothing to say.
    pub(super) fn poll<T>(&mut self, wire: &mut Wire<T>, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        T: AsyncWrite + Unpin,
    {
        loop {
            // What there is at once leaves with the head; after that one piece at a time.
            let is_first = !std::mem::replace(&mut self.has_begun, true);
            let has_more = self.is_over || (self.waits() && !is_first) || self.poll_body(cx)?.is_ready();
            ready!(self.poll_write(wire, cx))?;
            if self.is_over {
                return Pin::new(&mut wire.io).poll_flush(cx);
            }
            if !has_more {
                return Poll::Pending;
            }
        }
    }

    /// Takes more of the body.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let frame = frame.transpose().map_err(io::Error::other)?;
        match frame.map(http_body::Frame::into_data) {
            None => {
                self.is_over = true;
                self.end = if self.is_chunked { NO_CHUNK } else { b"" };
            }
            Some(Ok(data)) if !data.is_empty() => {
                self.is_over = self.body.is_end_stream();
                if self.is_chunked {
                    response::write_chunk_size(&mut self.text, data.len());
                    self.end = if self.is_over { LAST_CHUNK_END } else { CHUNK_END };
                }
                self.data = data;
            }
            // Nothing to say, and trailers are not promised.
            Some(_) => {}
        }
        Poll::Ready(Ok(()))
    }

    /// Whether something waits for the connection.
    fn waits(&self) -> bool {
        self.written < self.text.len() || !self.data.is_empty() || !self.end.is_empty()
    }

    fn poll_write<T>(&mut self, wire: &mut Wire<T>, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        T: AsyncWrite + Unpin,
    {
        if self.data.len() <= PIECE_BYTES_MAX {
            self.text.extend_from_slice(&std::mem::take(&mut self.data));
            self.text.extend_from_slice(std::mem::take(&mut self.end));
        }
        while self.waits() {
            let io = Pin::new(&mut wire.io);
            let written = if self.data.is_empty() && self.end.is_empty() {
                ready!(io.poll_write(cx, &self.text[self.written..]))?
            } else {
                let text = IoSlice::new(&self.text[self.written..]);
                ready!(io.poll_write_vectored(cx, &[text, IoSlice::new(&self.data), IoSlice::new(self.end)]))?
            };
            if written == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            self.wrote(written);
        }
        self.text.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    fn wrote(&mut self, bytes: usize) {
        let of_text = bytes.min(self.text.len() - self.written);
        self.written += of_text;
        let of_data = (bytes - of_text).min(self.data.len());
        self.data.advance(of_data);
        self.end = &self.end[bytes - of_text - of_data..];
        if let Some(stuck) = &mut self.stuck {
            stuck.bytes += bytes as u64;
        }
        self.stuck.take_if(|stuck| stuck.bytes >= PROGRESS_BYTES);
    }

    /// Waits with the client, as long as that is reasonable.
    fn poll_patience(&mut self, timeout: Duration, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stuck = self.stuck.get_or_insert_with(|| Stuck { over: Box::pin(sleep(timeout)), bytes: 0 });
        ready!(stuck.over.as_mut().poll(cx));
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }
}
