//! Strict framing of HTTP/1 before the HTTP library, which is lenient where attackers profit: where one request ends and
//! the next begins must not be open to interpretation (RFC 9112, 11.2, "Request Smuggling").
//!
//! The guard reads along. What is well framed passes byte for byte. At the first byte that is not, it passes [`BAD`]
//! instead, which no parser of HTTP takes: the library answers 400 in the order of the requests and closes.

mod framing;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use self::framing::Framing;
use crate::activity::Activity;

/// A NUL, and the end of a head, which the library waits for before it looks.
const BAD: &[u8] = b"\0\r\n\r\n";

/// How much of a request that was not read is thrown away, so that the peer gets to read the answer: closing with bytes
/// unread would be a reset, which may overtake it (RFC 9112, 9.6).
const LINGER_BYTES_MAX: usize = 1 << 20;
/// How long that may take.
const LINGER: Duration = Duration::from_secs(1);

/// What is at most so large is written in one piece: the system takes one sooner than several.
const PIECE_BYTES_MAX: usize = 1 << 10;

/// A connection whose requests are well framed, and whose heads come in time.
pub(crate) struct Strict<T> {
    inner: T,
    framing: Framing,
    /// What is left of [`BAD`] to pass.
    verdict: &'static [u8],
    head_timeout: Duration,
    /// Runs while a head has begun and is not complete, and before the first one.
    late: Option<Pin<Box<Sleep>>>,
    /// A head took too long.
    is_late: bool,
    /// Runs after the last byte was written, as long as something may be left to read.
    linger: Option<Linger>,
    activity: Arc<Activity>,
}

struct Linger {
    over: Pin<Box<Sleep>>,
    bytes: usize,
}

impl<T> Strict<T> {
    pub(crate) fn new(inner: T, head_timeout: Duration, activity: Arc<Activity>) -> Self {
        let late = Some(Box::pin(tokio::time::sleep(head_timeout)));
        let framing = Framing::default();
        Self { inner, framing, verdict: &[], head_timeout, late, is_late: false, linger: None, activity }
    }

    /// Gives back memory that is not needed while nothing is read. A head that has begun gets its time anew.
    pub(crate) fn spare(&mut self) {
        self.framing.spare();
        if let Some(late) = &mut self.late {
            late.as_mut().reset(Instant::now() + self.head_timeout);
        }
    }

    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let bytes = if let Poll::Ready(Ok(bytes)) = &written { *bytes } else { 0 };
        self.activity.wrote(bytes);
        written
    }

    /// Sets the clock when a head has begun, and stops it when none is open.
    fn watch(&mut self) {
        self.activity.read(self.framing.is_within_request());
        match (self.framing.is_within_head(), &self.late) {
            (true, None) => self.late = Some(Box::pin(tokio::time::sleep_until(Instant::now() + self.head_timeout))),
            (false, Some(_)) => self.late = None,
            _ => {}
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Strict<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.framing.is_refused() {
            // Then the end of the input: the library closes after its answer, and what else comes is not looked at.
            let (passed, rest) = this.verdict.split_at(this.verdict.len().min(buf.remaining()));
            buf.put_slice(passed);
            this.verdict = rest;
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut this.inner).poll_read(cx, buf) {
            Poll::Ready(read) => read?,
            Poll::Pending => {
                if let Some(late) = &mut this.late {
                    ready!(late.as_mut().poll(cx));
                    // The end of the input: the library closes the connection.
                    this.is_late = true;
                    this.framing.refuse();
                    return Poll::Ready(Ok(()));
                }
                return Poll::Pending;
            }
        }
        if let Err(passed) = this.framing.read(&buf.filled()[before..]) {
            buf.set_filled(before + passed);
            // At least one byte was not passed, so there is room for one: nothing at all would be the end of the input.
            let (first, rest) = BAD.split_at(1);
            buf.put_slice(first);
            this.verdict = rest;
        }
        this.watch();
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> Strict<T> {
    /// Reads what nobody wants, until the end of the input or of patience.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(linger) = &mut self.linger else { return Poll::Ready(()) };
        let mut piece = [0; 4096];
        while linger.bytes < LINGER_BYTES_MAX {
            let mut piece = ReadBuf::new(&mut piece);
            match Pin::new(&mut self.inner).poll_read(cx, &mut piece) {
                Poll::Ready(Ok(())) if !piece.filled().is_empty() => linger.bytes += piece.filled().len(),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return linger.over.as_mut().poll(cx),
            }
        }
        Poll::Ready(())
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Strict<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.wrote(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.activity.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
            if self.is_late || !self.framing.is_within_request() {
                return Poll::Ready(Ok(()));
            }
            self.linger = Some(Linger { over: Box::pin(tokio::time::sleep(LINGER)), bytes: 0 });
        }
        self.poll_linger(cx).map(Ok)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let inner = Pin::new(&mut self.inner);
        let bytes = bufs.iter().map(|buf| buf.len()).sum();
        let mut piece = [0; PIECE_BYTES_MAX];
        let written = match piece.get_mut(..bytes) {
            Some(piece) => {
                let mut at = 0;
                for buf in bufs {
                    piece[at..at + buf.len()].copy_from_slice(buf);
                    at += buf.len();
                }
                inner.poll_write(cx, piece)
            }
            None => inner.poll_write_vectored(cx, bufs),
        };
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
