//! A bounded queue of frames between a machine and one connection. Sending never waits; a reader that is too slow
//! is cut off, and what it missed is with the machine if the revision can resume.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use andon_core::io::Frame;
use andon_types::encoded::Encoded;

use crate::journal::{Commit, NotDurable};
use crate::room::Share;

/// How much may wait for a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) frames: usize,
    pub(crate) bytes: usize,
    /// How long whoever speaks waits for a reader that takes nothing.
    pub(crate) patience: Duration,
}

/// A frame, and what has to be durable before it leaves.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) frame: Frame,
    pub(crate) until: Option<Commit>,
}

/// How the answer of a stream begins.
#[derive(Debug)]
pub(crate) enum First {
    /// With its only message.
    Whole(Frame),
    /// With one of several.
    Part,
    /// Not at all: it is over.
    Nothing,
    /// Not here: another node has the session.
    Elsewhere,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Held>,
    bytes: usize,
    /// Of what may wait for all connections.
    share: Share,
    /// How many frames were read.
    taken: u64,
    closed: bool,
    overflowed: bool,
    lost: bool,
    reader: Option<Waker>,
    writers: Vec<Waker>,
}

#[derive(Debug, Clone)]
pub(crate) struct Outlet {
    state: Arc<Mutex<State>>,
    bounds: Bounds,
    ends: Ends,
}

/// What the last frame of a stream does to the connection behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// It ends too: an HTTP response.
    WithStream,
    /// It goes on: a pipe that many requests share.
    Later,
}

impl Outlet {
    pub(crate) fn new(bounds: Bounds, ends: Ends, share: Share) -> Self {
        let state = State { share, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), bounds, ends }
    }

    /// Queues `frame`, which leaves when `until` is durable, and closes after the last. A queue that is full is closed
    /// instead.
    pub(crate) fn send(&self, frame: Frame, until: Option<Commit>) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        let bytes = state.bytes;
        let full =
            state.queue.len() >= self.bounds.frames || bytes > self.bounds.bytes || state.share.is_too_large(bytes);
        if full && !frame.last {
            state.closed = true;
            state.overflowed = true;
        } else {
            state.closed = frame.last && self.ends == Ends::WithStream;
            self.push(&mut state, Held { frame, until });
        }
        wake(state);
    }

    /// Queues what is replayed, whatever the bounds: it is in memory anyway. It leaves when `until` is durable.
    pub(crate) fn preload(&self, frames: Vec<Frame>, until: Option<Commit>) {
        let mut state = self.lock();
        for frame in frames {
            state.closed |= frame.last;
            self.push(&mut state, Held { frame, until: until.clone() });
        }
        wake(state);
    }

    /// Puts `frame`, if there is one, before all others, and lets none of them leave before `until` is durable.
    pub(crate) fn begin(&self, frame: Option<Frame>, until: Option<Commit>) {
        let mut state = self.lock();
        match (frame, state.queue.front_mut()) {
            (Some(frame), _) => state.queue.push_front(Held { frame, until }),
            // What was said before the stream was promised waits for nothing yet, or for something earlier.
            (None, Some(first)) if until.is_some() => first.until = until,
            (None, _) => {}
        }
        wake(state);
    }

    /// The stream ends without another frame; what waits is still read.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed |= self.ends == Ends::WithStream;
        wake(state);
    }

    /// The stream goes on, but not here: what waits is still read, and who was told nothing yet has to ask again.
    pub(crate) fn leave(&self) {
        let mut state = self.lock();
        (state.closed, state.lost) = (true, true);
        wake(state);
    }

    /// The connection is over, whatever its streams are.
    pub(crate) fn shut(&self) {
        let mut state = self.lock();
        state.closed = true;
        wake(state);
    }

    /// The next frame, or `None` when all was read and nothing more comes.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        let mut state = self.lock();
        match poll_first(&mut state, cx) {
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(_)) => Poll::Ready(pop(&mut state)),
            Poll::Pending => {
                if self.ends == Ends::WithStream {
                    // It may wait for long, and there may be many.
                    state.queue.shrink_to_fit();
                }
                Poll::Pending
            }
        }
    }

    /// Moves the messages that may leave now to `texts`, at most about `bytes_max` bytes of them: ready when there is one, or
    /// with `false` when all was read and nothing more comes.
    pub(crate) fn poll_texts(&self, cx: &mut Context<'_>, bytes_max: usize, texts: &mut Vec<Encoded>) -> Poll<bool> {
        let mut state = self.lock();
        let mut bytes = 0;
        while bytes < bytes_max {
            match poll_first(&mut state, cx) {
                Poll::Ready(Some(_)) => {}
                Poll::Ready(None) if texts.is_empty() => return Poll::Ready(false),
                Poll::Pending if texts.is_empty() => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => break,
            }
            let text = pop(&mut state).and_then(|frame| frame.text);
            bytes += text.as_ref().map_or(0, Encoded::len);
            texts.extend(text);
        }
        Poll::Ready(true)
    }

    /// Who reads is not to be woken: it looks again by itself.
    pub(crate) fn forget_reader(&self) {
        self.lock().reader = None;
    }

    /// How the answer begins, as soon as that is known. Only a message that is the whole answer is taken.
    pub(crate) fn poll_whole(&self, cx: &mut Context<'_>) -> Poll<First> {
        let mut state = self.lock();
        let Some(first) = std::task::ready!(poll_first(&mut state, cx)) else {
            return Poll::Ready(if state.lost { First::Elsewhere } else { First::Nothing });
        };
        if !(first.last && first.text.is_some()) {
            return Poll::Ready(First::Part);
        }
        Poll::Ready(pop(&mut state).map_or(First::Nothing, First::Whole))
    }

    /// Ready while less than half of the bounds waits.
    pub(crate) fn poll_roomy(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        let roomy = state.queue.len() * 2 < self.bounds.frames && state.bytes * 2 <= self.bounds.bytes;
        if roomy || state.closed {
            return Poll::Ready(());
        }
        if !state.writers.iter().any(|known| known.will_wake(cx.waker())) {
            state.writers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Waits while half of the bounds or more waits. A reader that takes nothing for long is cut off.
    pub(crate) async fn ready_or_cut(&self) {
        loop {
            let taken = self.lock().taken;
            let roomy = std::future::poll_fn(|cx| self.poll_roomy(cx));
            if tokio::time::timeout(self.bounds.patience, roomy).await.is_ok() {
                return;
            }
            let mut state = self.lock();
            if self.ends == Ends::Later {
                // Others use the connection too: they decide when it is full.
                return;
            }
            if state.taken == taken {
                (state.closed, state.overflowed) = (true, true);
                return wake(state);
            }
        }
    }

    pub(crate) fn is_same(&self, other: &Outlet) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    /// Whether nothing more comes.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Whether a reader was cut off.
    pub(crate) fn is_overflowed(&self) -> bool {
        self.lock().overflowed
    }

    fn push(&self, state: &mut State, held: Held) {
        state.bytes += size(&held.frame);
        state.queue.push_back(held);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size(frame: &Frame) -> usize {
    frame.text.as_ref().map_or(0, Encoded::len)
}

/// The first frame, if it may leave; `None` at the end. What will never be durable never leaves, and nothing after it.
fn poll_first<'a>(state: &'a mut State, cx: &mut Context<'_>) -> Poll<Option<&'a Frame>> {
    let waits = match state.queue.front().map(|first| &first.until) {
        Some(None) => Poll::Ready(Ok(())),
        Some(Some(until)) => until.poll_done(cx),
        None if state.closed => return Poll::Ready(None),
        None => Poll::Pending,
    };
    match waits {
        Poll::Ready(Ok(())) => Poll::Ready(state.queue.front().map(|first| &first.frame)),
        Poll::Ready(Err(why)) => {
            state.queue.clear();
            (state.bytes, state.closed, state.lost) = (0, true, why == NotDurable::Lost);
            state.share.shrink(0);
            Poll::Ready(None)
        }
        Poll::Pending => {
            state.reader = Some(cx.waker().clone());
            Poll::Pending
        }
    }
}

fn pop(state: &mut State) -> Option<Frame> {
    let held = state.queue.pop_front()?;
    state.bytes = state.bytes.saturating_sub(size(&held.frame));
    state.share.shrink(state.bytes);
    state.taken += 1;
    for writer in std::mem::take(&mut state.writers) {
        writer.wake();
    }
    Some(held.frame)
}

fn wake(mut state: MutexGuard<'_, State>) {
    let reader = state.reader.take();
    // Who waits for room in a queue that is closed waits for nothing.
    let writers = if state.closed { std::mem::take(&mut state.writers) } else { Vec::new() };
    drop(state);
    writers.into_iter().for_each(Waker::wake);
    if let Some(reader) = reader {
        reader.wake();
    }
}
