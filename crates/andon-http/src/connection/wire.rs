//! The two directions of a connection, whoever reads and writes it at the moment.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::strict::Strict;

/// Bytes that are read at once while the library does not read: a request of the usual size.
const PIECE_BYTES: usize = 4 << 10;

/// How a connection of HTTP/2 begins (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection, and what was read of it and not used.
pub(super) struct Wire<T> {
    strict: Strict<T>,
    unread: Bytes,
}

impl<T> Wire<T> {
    pub(super) fn new(strict: Strict<T>) -> Self {
        Self { strict, unread: Bytes::new() }
    }

    /// What was read already and is read next.
    pub(super) fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// The library did not use these bytes, which it read before all others.
    pub(super) fn put_back(mut self, bytes: &[u8]) -> Self {
        if !bytes.is_empty() {
            // A copy, since they are part of a buffer that is much larger.
            self.unread = [bytes, &self.unread].concat().into();
        }
        self
    }

    /// Gives back memory that is not needed while nothing is read, and the time that it took from a head that has begun.
    pub(super) fn spare(&mut self) {
        self.strict.spare();
    }

    /// Whether HTTP/2 begins so.
    pub(super) fn is_http2(&self) -> bool {
        self.unread.starts_with(PREFACE)
    }

    /// Whether HTTP/2 may begin so, and more has to come until that is known.
    pub(super) fn may_become_http2(&self) -> bool {
        self.unread.len() < PREFACE.len() && PREFACE.starts_with(&self.unread)
    }
}

impl<T: AsyncRead + Unpin> Wire<T> {
    /// Reads some more bytes and keeps them; whether there were any, or else it was the end.
    pub(super) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut piece = [MaybeUninit::uninit(); PIECE_BYTES];
        let mut piece = ReadBuf::uninit(&mut piece);
        ready!(Pin::new(&mut self.strict).poll_read(cx, &mut piece))?;
        let more = piece.filled();
        self.unread =
            if self.unread.is_empty() { Bytes::copy_from_slice(more) } else { [&self.unread, more].concat().into() };
        Poll::Ready(Ok(!more.is_empty()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Wire<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            return Pin::new(&mut self.strict).poll_read(cx, buf);
        }
        let passed = self.unread.len().min(buf.remaining());
        let first = self.unread.split_to(passed);
        buf.put_slice(&first);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.strict).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.strict).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.strict).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.strict).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.strict.is_write_vectored()
    }
}
