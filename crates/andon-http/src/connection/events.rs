//! A stream of events that waits for them, written to the bare connection from where the library stopped, in chunks (RFC
//! 9112, 7.1).

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::buf::Chain;
use bytes::{Buf, Bytes};
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Sleep, sleep};

use super::AnswerBody;
use super::wire::Wire;
use crate::activity::{Followed, PROGRESS_BYTES};

/// How a stream left its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// With room for the next request.
    Open,
    /// Well, and its client wants no other answer.
    Finished,
    /// In the middle: the client is gone, takes nothing, or was not told all.
    Broken,
}

/// What follows the data of a chunk, and of the last one with data.
const END: &[u8] = b"\r\n";
const LAST_END: &[u8] = b"\r\n0\r\n\r\n";
/// What ends a body without another chunk.
const LAST: &[u8] = b"0\r\n\r\n";

/// Writes the rest of an answer. A client that closes its side is gone, as with the library; one that takes less than
/// [`PROGRESS_BYTES`] of what waits for it in `timeout` is cut.
pub(super) async fn write<T, B>(wire: &mut Wire<T>, answer: Followed<B>, timeout: Duration) -> Left
where
    T: AsyncRead + AsyncWrite + Unpin,
    B: AnswerBody,
{
    wire.spare();
    let keeps_alive = answer.keeps_alive;
    let mut writer = Writer { body: answer.body, chunk: None, is_over: false, stuck: None, timeout };
    match poll_fn(|cx| writer.poll(wire, cx)).await {
        Ok(()) if keeps_alive => Left::Open,
        Ok(()) => Left::Finished,
        Err(error) => {
            tracing::debug!(%error, "a stream of events ended early");
            Left::Broken
        }
    }
}

struct Writer<B> {
    body: B,
    /// What waits for the connection.
    chunk: Option<Chunk>,
    /// `chunk` is the last one.
    is_over: bool,
    stuck: Option<Stuck>,
    timeout: Duration,
}

/// Its size in a line, its data, and what follows.
type Chunk = Chain<Chain<Bytes, Bytes>, &'static [u8]>;

/// Since when the client took hardly anything.
struct Stuck {
    over: Pin<Box<Sleep>>,
    bytes: u64,
}

impl<B: AnswerBody> Writer<B> {
    fn poll<T>(&mut self, wire: &mut Wire<T>, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        // One read, and no more: what else comes is held back by the system until it is this request's turn.
        if wire.unread().is_empty()
            && let Poll::Ready(false) = wire.poll_more(cx)?
        {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        loop {
            if self.chunk.is_some() {
                if self.poll_write(wire, cx)?.is_pending() {
                    return self.poll_patience(cx);
                }
                self.chunk = None;
            }
            if self.is_over {
                return Poll::Ready(Ok(()));
            }
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                self.stuck = None;
                return Poll::Pending;
            };
            self.chunk = match frame.transpose().map_err(io::Error::other)?.map(Frame::into_data) {
                None => {
                    self.is_over = true;
                    Some(Bytes::new().chain(Bytes::new()).chain(LAST))
                }
                Some(Ok(data)) if !data.is_empty() => {
                    self.is_over = self.body.is_end_stream();
                    let size = Bytes::from(format!("{:x}\r\n", data.len()));
                    Some(size.chain(data).chain(if self.is_over { LAST_END } else { END }))
                }
                // Nothing to say, and trailers are not promised.
                Some(_) => None,
            };
        }
    }

    fn poll_write<T>(&mut self, wire: &mut Wire<T>, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let mut wire = Pin::new(wire);
        while let Some(chunk) = self.chunk.as_mut().filter(|chunk| Buf::has_remaining(*chunk)) {
            let mut slices = [IoSlice::new(&[]); 3];
            let filled = chunk.chunks_vectored(&mut slices);
            let written = ready!(wire.as_mut().poll_write_vectored(cx, &slices[..filled]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            chunk.advance(written);
            if let Some(stuck) = &mut self.stuck {
                stuck.bytes += written as u64;
            }
            self.stuck.take_if(|stuck| stuck.bytes >= PROGRESS_BYTES);
        }
        wire.poll_flush(cx)
    }

    /// Waits with the client, as long as that is reasonable.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let timeout = self.timeout;
        let stuck = self.stuck.get_or_insert_with(|| Stuck { over: Box::pin(sleep(timeout)), bytes: 0 });
        ready!(stuck.over.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}
