//! What happens beside the requests of a connection: polled when it has something to say, and not whenever a request is
//! served. Looking at a timer and at whether the server closes, each behind a lock, would be a part of the cost of each call.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Polls something beside the work of a task.
pub(super) struct Aside {
    bell: Arc<Bell>,
    /// Rings it.
    waker: Waker,
    /// The task that the bell wakes.
    task: Waker,
}

/// Wakes the task, and remembers who wanted that.
struct Bell {
    has_rung: AtomicBool,
    task: Mutex<Waker>,
}

impl Default for Aside {
    fn default() -> Self {
        // Rung, so that the first poll is one.
        let bell = Arc::new(Bell { has_rung: AtomicBool::new(true), task: Mutex::new(Waker::noop().clone()) });
        Self { waker: Waker::from(bell.clone()), bell, task: Waker::noop().clone() }
    }
}

impl Aside {
    /// Polls `what` the first time, and then each time that it has woken the task or [`Aside::ring`] was called.
    pub(super) fn poll<T>(&mut self, cx: &mut Context<'_>, what: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        if !self.task.will_wake(cx.waker()) {
            self.task.clone_from(cx.waker());
            self.bell.task.lock().unwrap_or_else(PoisonError::into_inner).clone_from(cx.waker());
        }
        // Cleared before the poll: what rings during it is seen by the next one.
        if !self.bell.has_rung.load(Ordering::Acquire) || !self.bell.has_rung.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        what(&mut Context::from_waker(&self.waker))
    }

    /// Has the next poll be one, whenever that is: it wakes nobody.
    pub(super) fn ring(&self) {
        self.bell.ring();
    }
}

impl Bell {
    fn ring(&self) {
        self.has_rung.store(true, Ordering::Release);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        task.wake();
    }
}

#[cfg(test)]
mod tests;
