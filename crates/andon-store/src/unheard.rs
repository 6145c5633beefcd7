//! Failures that their callers do not know of yet.
//!
//! A caller may make a second call for a key before the answer to its first is there. If the first fails, the second must
//! not succeed: an event would be missing before another one. So a key fails until its caller heard of the failure, or
//! gave up asking.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use andon_core::port::{Key, StoreError};
use tokio::sync::oneshot;

/// What a call becomes.
pub(crate) type Outcome<T> = Result<T, StoreError>;

/// How many failures of a key are unheard.
#[derive(Debug, Default)]
pub(crate) struct Unheard {
    keys: Mutex<HashMap<Key, usize>>,
}

impl Unheard {
    /// Whether a call for `key` has to fail as an earlier one did.
    pub(crate) fn has(&self, key: Key) -> bool {
        self.lock().contains_key(&key)
    }

    /// A call for `key` failed, and its caller is yet to hear of it.
    pub(crate) fn add(&self, key: Key) {
        *self.lock().entry(key).or_default() += 1;
    }

    /// The caller heard of one, or will never ask.
    pub(crate) fn remove(&self, key: Option<Key>) {
        let Some(key) = key else { return };
        let mut keys = self.lock();
        if let Some(count) = keys.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                keys.remove(&key);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, usize>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a failure makes later calls fail too. A refusal does not: those are judged by the state that they find.
pub(crate) fn spreads(error: &StoreError) -> bool {
    !matches!(error, StoreError::Conflict { .. })
}

/// Where the answer to a call goes.
#[derive(Debug)]
pub(crate) struct Asked<T> {
    key: Option<Key>,
    unheard: Arc<Unheard>,
    sender: oneshot::Sender<Outcome<T>>,
}

/// The answer to a call, which is on its way.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    key: Option<Key>,
    unheard: Arc<Unheard>,
    receiver: oneshot::Receiver<Outcome<T>>,
}

/// A call for `key`, or for many keys.
pub(crate) fn call<T>(key: Option<Key>, unheard: &Arc<Unheard>) -> (Asked<T>, Answer<T>) {
    let (sender, receiver) = oneshot::channel();
    (Asked { key, unheard: unheard.clone(), sender }, Answer { key, unheard: unheard.clone(), receiver })
}

impl<T> Asked<T> {
    /// Says how it ended. A failure that spreads must have been [noted](Asked::note_failure) before.
    pub(crate) fn tell(self, outcome: Outcome<T>) {
        let Err(Err(error)) = self.sender.send(outcome) else { return };
        if spreads(&error) {
            self.unheard.remove(self.key);
        }
    }

    /// From here on later calls for the key fail too, until the caller has heard.
    pub(crate) fn note_failure(&self) {
        if let Some(key) = self.key {
            self.unheard.add(key);
        }
    }
}

impl<T> Answer<T> {
    fn heard(&self, outcome: &Outcome<T>) {
        if let Err(error) = outcome
            && spreads(error)
        {
            self.unheard.remove(self.key);
        }
    }
}

impl<T> Future for Answer<T> {
    type Output = Outcome<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Nobody is left who could say: the store's thread is gone, and how far it came is not known.
        let Poll::Ready(answer) = Pin::new(&mut self.receiver).poll(context) else { return Poll::Pending };
        let Ok(outcome) = answer else { return Poll::Ready(Err(StoreError::Unknown)) };
        self.heard(&outcome);
        Poll::Ready(outcome)
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        self.receiver.close();
        if let Ok(outcome) = self.receiver.try_recv() {
            self.heard(&outcome);
        }
    }
}

#[cfg(test)]
mod tests;
