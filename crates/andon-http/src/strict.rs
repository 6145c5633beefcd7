//! Strict framing of HTTP/1 before the HTTP library, which is lenient where attackers profit: where one request ends and
//! the next begins must not be open to interpretation (RFC 9112, 11.2, "Request Smuggling").
//!
//! The guard reads along. What is well framed passes byte for byte. At the first byte that is not, it passes [`BAD`]
//! instead, which no parser of HTTP takes: the library answers 400 in the order of the requests and closes.

mod framing;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

pub(crate) use framing::Framing;

/// A NUL, and the end of a head, which the library waits for before it looks.
const BAD: &[u8] = b"\0\r\n\r\n";

/// A connection whose requests are well framed, and whose heads come in time.
pub(crate) struct Strict<T> {
    inner: T,
    framing: Framing,
    /// What is left of [`BAD`] to pass.
    verdict: &'static [u8],
    head_timeout: Duration,
    /// Runs while a head has begun and is not complete, and before the first one.
    late: Option<Pin<Box<Sleep>>>,
}

impl<T> Strict<T> {
    pub(crate) fn new(inner: T, head_timeout: Duration) -> Self {
        let late = Some(Box::pin(tokio::time::sleep(head_timeout)));
        Self { inner, framing: Framing::default(), verdict: &[], head_timeout, late }
    }

    /// Sets the clock when a head has begun, and stops it when none is open.
    fn watch(&mut self) {
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

impl<T: AsyncWrite + Unpin> AsyncWrite for Strict<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
