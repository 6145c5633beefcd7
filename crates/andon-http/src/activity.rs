//! Whether anything still happens on a connection: one that rests too long ends, and one whose peer takes nothing.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, sleep};

use crate::body::ResponseBody;

/// Written bytes that count as progress. What HTTP/2 sends to find out whether the peer lives is far less.
const PROGRESS_BYTES: u64 = 1 << 10;

/// What happens on one connection. Counters only, so that a request costs no look at the clock.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Requests that wait for the server: for its answer, or for more of a body that can be sent at once.
    waiting: AtomicUsize,
    /// Requests that came, and pieces of bodies that the connection took.
    steps: AtomicUsize,
    written_bytes: AtomicU64,
}

impl Activity {
    pub(crate) fn wrote(&self, bytes: usize) {
        self.written_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Waits until nothing happened for `timeout`, or up to a quarter longer.
    pub(crate) async fn rest(&self, timeout: Duration) {
        let look = || (self.steps.load(Ordering::Relaxed), self.written_bytes.load(Ordering::Relaxed));
        let mut seen = look();
        let mut seen_at = Instant::now();
        loop {
            sleep((timeout / 4).max(Duration::from_millis(1))).await;
            let (steps, written) = look();
            let is_moving = steps != seen.0 || written - seen.1 >= PROGRESS_BYTES;
            if is_moving || self.waiting.load(Ordering::Relaxed) > 0 {
                seen = (steps, written);
                seen_at = Instant::now();
            } else if seen_at.elapsed() >= timeout {
                return;
            }
        }
    }
}

/// Whose turn it is with one request: the server's, or else the connection's.
pub(crate) struct Turn {
    activity: Arc<Activity>,
    is_ours: bool,
}

impl Turn {
    /// A request came: it waits for the server.
    pub(crate) fn begin(activity: Arc<Activity>) -> Self {
        activity.steps.fetch_add(1, Ordering::Relaxed);
        activity.waiting.fetch_add(1, Ordering::Relaxed);
        Self { activity, is_ours: true }
    }

    /// The answer is there: it waits for the connection.
    pub(crate) fn answer(mut self, body: ResponseBody) -> FollowedBody {
        self.pass();
        FollowedBody { body, turn: self }
    }

    fn pass(&mut self) {
        if std::mem::take(&mut self.is_ours) {
            self.activity.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn take(&mut self) {
        if !std::mem::replace(&mut self.is_ours, true) {
            self.activity.waiting.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.pass();
    }
}

/// A body that says when it is asked for more and when it gives some.
pub(crate) struct FollowedBody {
    body: ResponseBody,
    turn: Turn,
}

impl Body for FollowedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.turn.take();
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.turn.pass();
        self.turn.activity.steps.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(frame)
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
