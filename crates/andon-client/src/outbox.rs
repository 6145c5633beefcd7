//! What is said without waiting for an answer. A server that asks without end and takes no answer costs a bounded number
//! of requests, for a bounded time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use crate::link::Link;

/// Messages that wait to be handed over; further ones are lost.
const KEPT_MAX: usize = 1024;
/// Messages that are handed over at once: over HTTP each is a request.
const AT_ONCE_MAX: usize = 16;
/// How long a server may take to accept a message.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Messages on their way to the server.
pub(crate) struct Outbox {
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

impl Default for Outbox {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(KEPT_MAX)), turns: Arc::new(Semaphore::new(AT_ONCE_MAX)) }
    }
}

impl Outbox {
    /// Hands `text` over, now or soon.
    pub(crate) fn say(&self, link: &Arc<dyn Link>, text: String) {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return tracing::debug!("the server does not take what is said to it: a message is lost");
        };
        // Where there is an order, this call is what decides it.
        let (saying, turns) = (link.say(text), self.turns.clone());
        tokio::spawn(async move {
            let _turn = turns.acquire().await;
            in_time(saying).await;
            drop(place);
        });
    }
}

/// Waits for `saying`, but not for ever.
pub(crate) async fn in_time(saying: BoxFuture<'static, ()>) {
    if tokio::time::timeout(TIMEOUT, saying).await.is_err() {
        tracing::debug!("the server did not take a message in time");
    }
}
