//! Futures that wake themselves, such as HTTP connections: polled again at once instead.
//!
//! A task that wakes itself while it runs goes to the end of a queue, and other threads are woken to help with it. Where
//! there is nothing to help with that takes longer than what it had to do.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Turns in one go, before other tasks have theirs.
const TURNS_MAX: usize = 8;

/// Polls something, in one task at a time.
#[derive(Debug)]
pub(crate) struct Turns {
    bell: Arc<Bell>,
    /// Rings it.
    waker: Waker,
}

impl Default for Turns {
    fn default() -> Self {
        let bell = Arc::<Bell>::default();
        Self { waker: Waker::from(bell.clone()), bell }
    }
}

impl Turns {
    /// Polls `what` until it is ready or waits for somebody else, eight times at most.
    pub(crate) fn poll<T>(&self, cx: &mut Context<'_>, mut what: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        match &mut *self.bell.waiting() {
            Some(waiting) => waiting.clone_from(cx.waker()),
            waiting => *waiting = Some(cx.waker().clone()),
        }
        for _ in 0..TURNS_MAX {
            self.bell.begin();
            let polled = what(&mut Context::from_waker(&self.waker));
            let has_rung = self.bell.end();
            if polled.is_ready() || !has_rung {
                return polled;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Wakes the task that waits, but not while that is at work: what it wakes itself for is seen there.
#[derive(Debug, Default)]
struct Bell {
    waiting: Mutex<Option<Waker>>,
    /// [`RESTS`], [`AT_WORK`] or [`HAS_RUNG`].
    state: AtomicU8,
}

/// Nobody is at work: who rings wakes the task.
const RESTS: u8 = 0;
const AT_WORK: u8 = 1;
/// At work, and it has rung since that began.
const HAS_RUNG: u8 = 2;

impl Bell {
    fn begin(&self) {
        // Who rings and does not see it yet wakes the task, which is one poll too many and no harm.
        self.state.store(AT_WORK, Ordering::Relaxed);
    }

    /// Whether it has rung since.
    fn end(&self) -> bool {
        self.state.swap(RESTS, Ordering::AcqRel) == HAS_RUNG
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let rung = |state| (state != RESTS).then_some(HAS_RUNG);
        if self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, rung).is_err() {
            let waiting = self.waiting().clone();
            waiting.iter().for_each(Waker::wake_by_ref);
        }
    }
}

#[cfg(test)]
mod tests;
