//! A bounded queue of frames between a machine and one connection. Sending never waits; a reader that is too slow
//! is cut off, and what it missed is with the machine if the revision can resume.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use andon_core::io::Frame;

/// How much may wait for a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) frames: usize,
    pub(crate) bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Frame>,
    bytes: usize,
    closed: bool,
    overflowed: bool,
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
    pub(crate) fn new(bounds: Bounds, ends: Ends) -> Self {
        Self { state: Arc::default(), bounds, ends }
    }

    /// Queues `frame`, and closes after the last. A queue that is full is closed instead.
    pub(crate) fn send(&self, frame: Frame) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        let full = state.queue.len() >= self.bounds.frames || state.bytes > self.bounds.bytes;
        if full && !frame.last {
            state.closed = true;
            state.overflowed = true;
        } else {
            state.closed = frame.last && self.ends == Ends::WithStream;
            self.push(&mut state, frame);
        }
        wake(state);
    }

    /// Queues what is replayed, whatever the bounds: it is in memory anyway.
    pub(crate) fn preload(&self, frames: Vec<Frame>) {
        let mut state = self.lock();
        for frame in frames {
            state.closed |= frame.last;
            self.push(&mut state, frame);
        }
        wake(state);
    }

    /// The stream ends without another frame; what waits is still read.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed |= self.ends == Ends::WithStream;
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
        if let Some(frame) = state.queue.pop_front() {
            state.bytes -= frame.text.as_ref().map_or(0, |text| text.len());
            for writer in std::mem::take(&mut state.writers) {
                writer.wake();
            }
            return Poll::Ready(Some(frame));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Takes all frames if nothing more comes and all are `good`; otherwise leaves them.
    pub(crate) fn take_if_closed(&self, good: impl Fn(&Frame) -> bool) -> Option<VecDeque<Frame>> {
        let mut state = self.lock();
        let whole = state.closed && !state.overflowed && state.queue.iter().all(good);
        whole.then(|| std::mem::take(&mut state.queue))
    }

    /// Ready while less than half of the bounds waits.
    pub(crate) fn poll_roomy(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        let roomy = state.queue.len() * 2 < self.bounds.frames && state.bytes * 2 <= self.bounds.bytes;
        if roomy || state.closed {
            return Poll::Ready(());
        }
        state.writers.push(cx.waker().clone());
        Poll::Pending
    }

    pub(crate) fn is_same(&self, other: &Outlet) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    /// Whether a reader was cut off.
    pub(crate) fn is_overflowed(&self) -> bool {
        self.lock().overflowed
    }

    fn push(&self, state: &mut State, frame: Frame) {
        state.bytes += frame.text.as_ref().map_or(0, |text| text.len());
        state.queue.push_back(frame);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
