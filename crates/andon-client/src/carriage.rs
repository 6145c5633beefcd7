//! Rounds that somebody has to carry: the task that waits for the answer, or one of their own.

use std::future::poll_fn;
use std::task::{Context, Waker};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::RecvError;
use tokio::task::AbortHandle;

/// What is left to do for a round, by the task that waits for its answer: so an answer over HTTP costs no other task
/// and no wake-up. Dropping it ends it, with its connection.
pub(crate) type Carriage = BoxFuture<'static, ()>;

/// A task that carries a round as long as somebody waits for its answer.
pub(crate) struct Carrier(AbortHandle);

impl Carrier {
    pub(crate) fn start(carriage: Carriage) -> Self {
        Self(tokio::spawn(carriage).abort_handle())
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Waits for an outcome, and does meanwhile what it takes to get it.
pub(crate) async fn carried<T>(
    mut carriage: Option<Carriage>,
    mut outcome: oneshot::Receiver<T>,
) -> Result<T, RecvError> {
    poll_fn(|cx| {
        if let Some(carrying) = &mut carriage {
            // First, since a server that never stops speaks on and on meanwhile; and who is here already need not be woken by what
            // is done here, which would have the task run once more, and another thread woken for that.
            let looked = outcome.poll_unpin(&mut Context::from_waker(Waker::noop()));
            if looked.is_ready() {
                return looked;
            }
            if carrying.poll_unpin(cx).is_ready() {
                carriage = None;
            }
        }
        outcome.poll_unpin(cx)
    })
    .await
}
