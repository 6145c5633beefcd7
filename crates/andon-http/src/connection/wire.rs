//! The socket of a connection, and what was read of it.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, timeout};

/// Bytes that are read at once while requests are served.
const READ_BYTES: usize = 8 << 10;
/// Bytes that are read at once otherwise: a request of the usual size.
const PIECE_BYTES: usize = 4 << 10;

/// How a connection of HTTP/2 begins (RFC 9113, 3.4), and the bytes of the head of the frame that has to follow.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD_BYTES: usize = 9;

/// How much of what was sent and not read is thrown away, so that the peer gets to read the answer: closing with bytes
/// unread would be a reset, which may overtake it (RFC 9112, 9.6).
const LINGER_BYTES_MAX: usize = 1 << 20;
/// How long that may take.
const LINGER: Duration = Duration::from_secs(1);

/// A connection, and what was read of it and not used.
pub(super) struct Wire<T> {
    pub(super) io: T,
    pub(super) unread: BytesMut,
    /// The peer may be sending what nobody will read.
    pub(super) is_refusing: bool,
    /// When the first head has to be complete, until it is.
    pub(super) first_by: Option<Instant>,
}

impl<T> Wire<T> {
    pub(super) fn new(io: T) -> Self {
        Self { io, unread: BytesMut::new(), is_refusing: false, first_by: None }
    }

    /// Gives back room that is not needed while nothing is read.
    pub(super) fn spare(&mut self) {
        // Also of what is there: it may be the last of a buffer that is much larger.
        self.unread = BytesMut::from(&self.unread[..]);
    }

    /// Whether HTTP/2 begins so.
    pub(super) fn is_http2(&self) -> bool {
        self.unread.starts_with(PREFACE)
    }

    /// Whether HTTP/2 may begin so, and more has to come until it has.
    pub(super) fn may_become_http2(&self) -> bool {
        let begins = self.unread.len().min(PREFACE.len());
        self.unread.len() < PREFACE.len() + FRAME_HEAD_BYTES && self.unread[..begins] == PREFACE[..begins]
    }
}

impl<T: AsyncRead + Unpin> Wire<T> {
    /// Reads some more bytes into a buffer that has room for many; how many, and none at the end.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.unread.capacity() - self.unread.len() < READ_BYTES / 4 {
            self.unread.reserve(READ_BYTES);
        }
        pin!(self.io.read_buf(&mut self.unread)).as_mut().poll(cx)
    }

    /// Reads some more bytes into a buffer that has room for no more than them; whether there were any, or else it was the end.
    pub(super) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut piece = [MaybeUninit::uninit(); PIECE_BYTES];
        let mut piece = ReadBuf::uninit(&mut piece);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut piece))?;
        self.unread.extend_from_slice(piece.filled());
        Poll::Ready(Ok(!piece.filled().is_empty()))
    }

    /// Waits for that.
    pub(super) async fn more(&mut self) -> io::Result<bool> {
        poll_fn(|cx| self.poll_more(cx)).await
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire<T> {
    /// Ends the connection, so that the peer gets to read what it was told.
    pub(super) async fn close(&mut self) -> io::Result<()> {
        self.io.shutdown().await?;
        if self.is_refusing {
            // Whatever becomes of it.
            drop(timeout(LINGER, self.linger()).await);
        }
        Ok(())
    }

    /// Reads what nobody wants.
    async fn linger(&mut self) -> io::Result<()> {
        let mut piece = vec![0; PIECE_BYTES];
        let mut bytes = 0;
        while bytes < LINGER_BYTES_MAX {
            match self.io.read(&mut piece).await? {
                0 => break,
                read => bytes += read,
            }
        }
        Ok(())
    }
}
