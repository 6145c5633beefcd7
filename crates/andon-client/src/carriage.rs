//! Rounds that somebody has to carry: the task that waits for the answer, or one of their own.

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
pub(crate) async fn carried<T>(carriage: Option<Carriage>, mut outcome: oneshot::Receiver<T>) -> Result<T, RecvError> {
    if let Some(mut carriage) = carriage {
        tokio::select! {
            biased;
            // First, since a server that never stops speaks on and on meanwhile.
            outcome = &mut outcome => return outcome,
            () = &mut carriage => {}
        }
    }
    outcome.await
}
