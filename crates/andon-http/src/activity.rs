//! What happens on a connection, as seen from outside of the HTTP library: one that rests too long ends, and one whose peer
//! takes nothing; an answer that waits is taken from the library.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep};

/// Written bytes that count as progress. What HTTP/2 sends to find out whether the peer lives is far less.
pub(crate) const PROGRESS_BYTES: u64 = 1 << 10;

/// After so long without anything to do, or up to twice that, a connection gives back what it needs for requests.
const MOMENT: Duration = Duration::from_millis(500);

/// What happens on one connection. Counters only, so that a request costs no look at the clock.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Requests that came.
    begun: AtomicUsize,
    /// Requests that were answered to the end.
    ended: AtomicUsize,
    /// Requests that do not wait for the server any more: neither for its answer, nor for more of a body that can be sent at
    /// once.
    passed: AtomicUsize,
    /// Pieces of bodies that the connection took.
    pieces: AtomicUsize,
    written_bytes: AtomicU64,
    /// All that was to be written is.
    is_flushed: AtomicBool,
    /// What came ends within a request.
    is_within_request: AtomicBool,
    /// The library still has something of a request's body.
    has_unread_body: AtomicBool,
}

/// Why a connection does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    /// There is nothing to do.
    Spare,
    /// The peer does not take its answer, or does not send what it began to.
    Stuck,
}

impl Activity {
    /// So many bytes can be written; or, with none, they cannot now.
    pub(crate) fn wrote(&self, bytes: usize) {
        self.is_flushed.store(false, Ordering::Relaxed);
        // Only the connection's own task writes.
        let written_bytes = self.written_bytes.load(Ordering::Relaxed) + bytes as u64;
        self.written_bytes.store(written_bytes, Ordering::Relaxed);
    }

    pub(crate) fn flushed(&self) {
        self.is_flushed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_flushed(&self) -> bool {
        self.is_flushed.load(Ordering::Relaxed)
    }

    pub(crate) fn read(&self, is_within_request: bool) {
        self.is_within_request.store(is_within_request, Ordering::Relaxed);
    }

    /// Waits until nothing happened for `timeout`, or up to a quarter longer.
    pub(crate) async fn rest(&self, timeout: Duration) {
        let mut quiet = Quiet::new(self);
        loop {
            sleep((timeout / 4).max(Duration::from_millis(1))).await;
            if quiet.lasts(self) >= timeout {
                return;
            }
        }
    }

    /// The same, and in HTTP/1 also until there was nothing to do for a moment.
    pub(crate) async fn pause(&self, timeout: Duration) -> Pause {
        let mut quiet = Quiet::new(self);
        loop {
            sleep(MOMENT.min(timeout / 4).max(Duration::from_millis(1))).await;
            let lasts = quiet.lasts(self);
            if !lasts.is_zero() && self.is_spare() {
                return Pause::Spare;
            }
            if lasts >= timeout {
                return Pause::Stuck;
            }
        }
    }

    fn is_spare(&self) -> bool {
        let is_set = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        let is_busy = is_set(&self.is_within_request) || is_set(&self.has_unread_body) || !is_set(&self.is_flushed);
        !is_busy && self.ended.load(Ordering::Relaxed) == self.begun.load(Ordering::Relaxed)
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
pub(crate) struct Turn {
    activity: Arc<Activity>,
    is_ours: bool,
}

impl Turn {
    /// A request came: it waits for the server.
    pub(crate) fn begin(activity: Arc<Activity>) -> Self {
        activity.begun.fetch_add(1, Ordering::Relaxed);
        Self { activity, is_ours: true }
    }

    /// The answer is there: it waits for the connection. If it has to wait for the server again, it goes to `place`.
    pub(crate) fn answer<B>(mut self, body: B, place: Option<Place<B>>) -> FollowedBody<B> {
        self.pass();
        FollowedBody { body: Some(body), turn: self, place }
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
        self.activity.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// A body that says when it is asked for more and when it gives some.
pub(crate) struct FollowedBody<B> {
    /// `None` when it was handed over.
    body: Option<B>,
    turn: Turn,
    place: Option<Place<B>>,
}

impl<B: Body<Data = Bytes> + Unpin> Body for FollowedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Pending };
        let frame = Pin::new(body).poll_frame(cx);
        if frame.is_ready() {
            this.turn.pass();
            this.turn.activity.pieces.fetch_add(1, Ordering::Relaxed);
            return frame;
        }
        this.turn.take();
        if let Some(place) = this.place.take_if(|_| !this.turn.activity.has_unread_body.load(Ordering::Relaxed)) {
            this.turn.pass();
            this.turn.activity.is_flushed.store(false, Ordering::Relaxed);
            place.fill(this.body.take());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_some_and(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

/// Where a connection finds the answer that it writes without the library from here on.
pub(crate) struct Handover<B> {
    is_filled: AtomicBool,
    answer: Mutex<Option<Followed<B>>>,
}

/// The rest of an answer.
pub(crate) struct Followed<B> {
    pub(crate) body: B,
    /// Whether the connection goes on afterwards.
    pub(crate) keeps_alive: bool,
}

/// The right to hand over one answer.
pub(crate) struct Place<B> {
    handover: Arc<Handover<B>>,
    keeps_alive: bool,
}

impl<B> Handover<B> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { is_filled: AtomicBool::new(false), answer: Mutex::default() })
    }

    pub(crate) fn place(self: &Arc<Self>, keeps_alive: bool) -> Place<B> {
        Place { handover: self.clone(), keeps_alive }
    }

    pub(crate) fn is_filled(&self) -> bool {
        self.is_filled.load(Ordering::Acquire)
    }

    pub(crate) fn take(&self) -> Option<Followed<B>> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<B> Place<B> {
    fn fill(self, body: Option<B>) {
        let answer = body.map(|body| Followed { body, keeps_alive: self.keeps_alive });
        *self.handover.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
        self.handover.is_filled.store(true, Ordering::Release);
    }
}

/// The body of a request. Only when it was read to its end is it certain that what comes next is another request.
pub(crate) struct RequestBody {
    body: Incoming,
    activity: Arc<Activity>,
}

impl RequestBody {
    pub(crate) fn new(body: Incoming, activity: Arc<Activity>) -> Self {
        activity.has_unread_body.store(!body.is_end_stream(), Ordering::Relaxed);
        Self { body, activity }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.activity.has_unread_body.store(false, Ordering::Relaxed);
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
