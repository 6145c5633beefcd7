//! Tells a handler, and what it started, that nobody waits any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

#[derive(Debug, Clone, Default)]
pub(crate) struct Cancel(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    is_cancelled: AtomicBool,
    /// Whoever runs the handler.
    runner: AtomicWaker,
    /// Whoever else waits for it.
    others: Notify,
}

impl Cancel {
    pub(crate) fn cancel(&self) {
        self.0.is_cancelled.store(true, Ordering::Release);
        self.0.runner.wake();
        self.0.others.notify_waiters();
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.is_cancelled.load(Ordering::Acquire)
    }

    /// The same for the one that runs the handler, which is woken then.
    pub(crate) fn poll_cancelled(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.runner.register(cx.waker());
        if self.is_cancelled() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The handler does not run any more: whoever ran it is not kept by those who keep its call.
    pub(crate) fn forget_runner(&self) {
        drop(self.0.runner.take());
    }

    pub(crate) async fn cancelled(&self) {
        let notified = self.0.others.notified();
        tokio::pin!(notified);
        // Registered before the flag is read, so that no cancellation falls between.
        notified.as_mut().enable();
        if !self.is_cancelled() {
            notified.await;
        }
    }
}
