//! What waits to be written to a link, by whoever has something to say.
//!
//! There are two lanes, since one change may be said on many thousand streams at once, and a short answer is not to wait for
//! all of them. Frames of one lane stay in order, and what is in the first overtakes what is in the second.

use std::collections::VecDeque;
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
/// What is written of the second lane before the first is looked at again.
const PIECE_BYTES: usize = 8 << 10;
/// Room that is kept for what comes next.
const ROOM_BYTES: usize = 256 << 10;

/// Where a frame waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// What somebody waits for: requests, and the heads of answers with what there is of their bodies.
    First,
    /// The rest of answers: after what is in the first lane already.
    Second,
}

/// Frames on their way out.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pending: Mutex<Pending>,
    room: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    first: BytesMut,
    /// Pieces of whole frames.
    second: VecDeque<BytesMut>,
    second_bytes: usize,
    writer: Option<Waker>,
    is_closed: bool,
}

impl Outbox {
    /// Adds frames; nothing once it is closed.
    pub(super) fn push(&self, lane: Lane, write: impl FnOnce(&mut BytesMut)) {
        let mut pending = self.pending();
        if !pending.is_closed {
            pending.add(lane, write);
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
            // Not after each piece: all who wait are woken.
            if self.pending().bytes() < BYTES_MAX / 2 {
                self.room.notify_waiters();
            }
        }
        Ok(())
    }

    /// Takes nothing more, and lets nobody wait.
    pub(super) fn close(&self) {
        let mut pending = self.pending();
        let writer = pending.writer.take();
        *pending = Pending { is_closed: true, ..Pending::default() };
        if let Some(writer) = writer {
            writer.wake();
        }
        drop(pending);
        self.room.notify_waiters();
    }

    /// Exchanges `bytes`, which is empty, for what is written next; false when there will be nothing.
    async fn take(&self, bytes: &mut BytesMut) -> bool {
        poll_fn(|cx| {
            let mut pending = self.pending();
            if !pending.first.is_empty() {
                mem::swap(&mut pending.first, bytes);
            } else if let Some(piece) = pending.second.pop_front() {
                pending.second_bytes -= piece.len();
                *bytes = piece;
            } else if !pending.is_closed {
                pending.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
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
        self.pending().bytes() >= BYTES_MAX
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    fn bytes(&self) -> usize {
        self.first.len() + self.second_bytes
    }

    fn add(&mut self, lane: Lane, write: impl FnOnce(&mut BytesMut)) {
        if lane == Lane::First {
            return write(&mut self.first);
        }
        if self.second.back().is_none_or(|last| last.len() >= PIECE_BYTES) {
            self.second.push_back(BytesMut::new());
        }
        if let Some(last) = self.second.back_mut() {
            let before = last.len();
            write(last);
            self.second_bytes += last.len() - before;
        }
    }
}
