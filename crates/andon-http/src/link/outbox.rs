//! What waits to be written to a link, by whoever has something to say.

use std::future::poll_fn;
use std::io;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use bytes::BytesMut;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Notify;

/// Bytes that wait before those that can wait have to.
const BYTES_MAX: usize = 1 << 20;
/// Room that is kept for what comes next.
const ROOM_BYTES: usize = 256 << 10;

/// Frames on their way out.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pending: Mutex<Pending>,
    room: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    bytes: BytesMut,
    writer: Option<Waker>,
    is_closed: bool,
}

impl Outbox {
    /// Adds frames; nothing once it is closed.
    pub(super) fn push(&self, write: impl FnOnce(&mut BytesMut)) {
        let mut pending = self.pending();
        if !pending.is_closed {
            write(&mut pending.bytes);
            if let Some(writer) = pending.writer.take() {
                drop(pending);
                writer.wake();
            }
        }
    }

    /// Waits until less than [`BYTES_MAX`] wait.
    pub(super) async fn room(&self) {
        if self.is_full() {
            // It is rare, and need not make every task larger.
            Box::pin(self.wait_for_room()).await;
        }
    }

    /// Writes what comes, until it is closed.
    pub(super) async fn write_to(&self, mut io: impl AsyncWrite + Unpin) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        while self.take(&mut bytes).await {
            io.write_all(&bytes).await?;
            if bytes.capacity() > ROOM_BYTES {
                bytes = BytesMut::new();
            }
            bytes.clear();
            self.room.notify_waiters();
        }
        Ok(())
    }

    /// Takes nothing more, and lets nobody wait.
    pub(super) fn close(&self) {
        let mut pending = self.pending();
        pending.is_closed = true;
        pending.bytes = BytesMut::new();
        if let Some(writer) = pending.writer.take() {
            writer.wake();
        }
        drop(pending);
        self.room.notify_waiters();
    }

    /// Exchanges `bytes`, which is empty, for what waits; false when there will be nothing.
    async fn take(&self, bytes: &mut BytesMut) -> bool {
        poll_fn(|cx| {
            let mut pending = self.pending();
            if pending.bytes.is_empty() && !pending.is_closed {
                pending.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            mem::swap(&mut pending.bytes, bytes);
            Poll::Ready(!bytes.is_empty())
        })
        .await
    }

    async fn wait_for_room(&self) {
        loop {
            let mut notified = std::pin::pin!(self.room.notified());
            notified.as_mut().enable();
            if !self.is_full() {
                return;
            }
            notified.await;
        }
    }

    fn is_full(&self) -> bool {
        self.pending().bytes.len() >= BYTES_MAX
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
