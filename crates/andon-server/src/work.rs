//! Handlers that wait, and who carries them meanwhile.

use std::panic::AssertUnwindSafe;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::outlet::{First, Outlet};

/// A handler that waits. Whoever waits for its answer carries it in the first moments, so that a short wait costs neither a
/// task nor a wake-up; dropped, it goes on as a task of its own.
pub(crate) struct Work(Option<BoxFuture<'static, ()>>);

impl Work {
    pub(crate) fn new(handler: impl Future<Output = ()> + Send + 'static) -> Self {
        // What panics here is not the handler, whose panics are answered, but may be what it leaves behind. That is not the fault
        // of who carries it.
        let carried = AssertUnwindSafe(handler).catch_unwind().map(|ended| {
            if ended.is_err() {
                tracing::error!("a handler panicked when it was let go");
            }
        });
        Self(Some(carried.boxed()))
    }

    /// Lets it run until it waits, and says how the answer at `outlet` begins if that is known then.
    pub(crate) fn poll_whole(&mut self, outlet: &Outlet, cx: &mut Context<'_>) -> Poll<First> {
        // Who is here already need not be woken.
        outlet.forget_reader();
        // Taken while it runs: one that panics is not run again.
        if let Some(mut handler) = self.0.take()
            && handler.poll_unpin(cx).is_pending()
        {
            self.0 = Some(handler);
        }
        outlet.poll_whole(cx)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // Where the runtime ends, handlers do.
        if let (Some(handler), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(handler);
        }
    }
}

#[cfg(test)]
mod tests;
