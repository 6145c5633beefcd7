//! What happens on a connection, as seen from outside of the HTTP library: one that rests too long ends, and one whose peer
//! takes nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, sleep};

use crate::connection::writer::PROGRESS_BYTES;

/// What happens on one connection. Counters only, so that a request costs no look at the clock.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Requests that came.
    begun: AtomicUsize,
    /// Requests that do not wait for the server any more: neither for its answer, nor for more of a body that can be sent at
    /// once.
    passed: AtomicUsize,
    /// Pieces of bodies that the connection took.
    pieces: AtomicUsize,
    written_bytes: AtomicU64,
}

impl Activity {
    /// So many bytes were written. What HTTP/2 sends to find out whether the peer lives is far less than what counts.
    pub(super) fn wrote(&self, bytes: usize) {
        // Only the connection's own task writes.
        let written_bytes = self.written_bytes.load(Ordering::Relaxed) + bytes as u64;
        self.written_bytes.store(written_bytes, Ordering::Relaxed);
    }

    /// Waits until nothing happened for `timeout`, or up to a quarter longer.
    pub(super) async fn rest(&self, timeout: Duration) {
        let mut quiet = Quiet::new(self);
        loop {
            sleep((timeout / 4).max(Duration::from_millis(1))).await;
            if quiet.lasts(self) >= timeout {
                return;
            }
        }
    }

    fn awaits_server(&self) -> bool {
        self.passed.load(Ordering::Relaxed) != self.begun.load(Ordering::Relaxed)
    }
}

/// Since when nothing happens.
struct Quiet {
    seen: (usize, u64),
    since: Instant,
}

impl Quiet {
    fn new(activity: &Activity) -> Self {
        Self { seen: Self::look(activity), since: Instant::now() }
    }

    fn look(activity: &Activity) -> (usize, u64) {
        let steps = activity.begun.load(Ordering::Relaxed).wrapping_add(activity.pieces.load(Ordering::Relaxed));
        (steps, activity.written_bytes.load(Ordering::Relaxed))
    }

    fn lasts(&mut self, activity: &Activity) -> Duration {
        let (steps, written) = Self::look(activity);
        let is_moving = steps != self.seen.0 || written - self.seen.1 >= PROGRESS_BYTES;
        if is_moving || activity.awaits_server() {
            *self = Self { seen: (steps, written), since: Instant::now() };
            return Duration::ZERO;
        }
        self.since.elapsed()
    }
}

/// Whose turn it is with one request: the server's, or else the connection's.
pub(super) struct Turn {
    activity: Arc<Activity>,
    is_ours: bool,
}

impl Turn {
    /// A request came: it waits for the server.
    pub(super) fn begin(activity: Arc<Activity>) -> Self {
        activity.begun.fetch_add(1, Ordering::Relaxed);
        Self { activity, is_ours: true }
    }

    /// The answer is there: it waits for the connection.
    pub(super) fn answer<B>(mut self, body: B) -> FollowedBody<B> {
        self.pass();
        FollowedBody { body, turn: self }
    }

    fn pass(&mut self) {
        if std::mem::take(&mut self.is_ours) {
            self.activity.passed.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn take(&mut self) {
        if !std::mem::replace(&mut self.is_ours, true) {
            self.activity.passed.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.pass();
    }
}

/// A body that says when it is asked for more and when it gives some.
pub(super) struct FollowedBody<B> {
    body: B,
    turn: Turn,
}

impl<B: Body<Data = Bytes> + Unpin> Body for FollowedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if frame.is_ready() {
            self.turn.pass();
            self.turn.activity.pieces.fetch_add(1, Ordering::Relaxed);
        } else {
            self.turn.take();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
