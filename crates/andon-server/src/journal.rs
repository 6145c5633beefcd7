//! Drives the journals of sessions: hands to the store what a session has to write down, and wakes who waits for it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use andon_core::port::{Key, Kind, Rev, StoreError};
use andon_core::session::journal::{self, Mark, Owner, Standing, Step};
use andon_core::session::record::Changes;

use crate::storage::{Storage, Writing};

/// Says when what was handed in is durable. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Commit {
    journal: Arc<Journal>,
    mark: Mark,
}

/// Why something is not durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotDurable {
    /// The store cannot take it now.
    Stalled,
    /// Another node has the session now.
    Lost,
    /// The session was ended.
    Ended,
}

impl Commit {
    /// Ready when it is durable, or never will be. An outage is waited out.
    pub(crate) fn poll_done(&self, cx: &mut Context<'_>) -> Poll<Result<(), NotDurable>> {
        let mut state = self.journal.lock();
        match state.journal.standing(self.mark) {
            Standing::Durable => Poll::Ready(Ok(())),
            Standing::Lost => Poll::Ready(Err(NotDurable::Lost)),
            Standing::Ended => Poll::Ready(Err(NotDurable::Ended)),
            Standing::Waiting | Standing::Stalled => {
                if !state.readers.iter().any(|waker| waker.will_wake(cx.waker())) {
                    state.readers.push(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    /// Waits until it is durable, but no outage out.
    ///
    /// # Errors
    /// See [`NotDurable`].
    pub(crate) async fn durable(&self) -> Result<(), NotDurable> {
        std::future::poll_fn(|cx| match self.poll_done(cx) {
            Poll::Pending if self.journal.lock().journal.standing(self.mark) == Standing::Stalled => {
                Poll::Ready(Err(NotDurable::Stalled))
            }
            known => known,
        })
        .await
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mark.fmt(f)
    }
}

/// One session's way to the store.
pub(crate) struct Journal {
    storage: Arc<Storage>,
    id: u128,
    state: Mutex<State>,
}

struct State {
    journal: journal::Journal,
    /// Who waits for what is not durable yet.
    readers: Vec<Waker>,
}

impl Journal {
    /// The way of the session whose id has the hash `id`, and whose record is in the state `rev`.
    pub(crate) fn new(storage: Arc<Storage>, id: u128, subject: Option<Arc<str>>, rev: Option<Rev>) -> Arc<Self> {
        let journal = journal::Journal::new(known_owner(subject), storage.limits().clone(), rev);
        Arc::new(Self { storage, id, state: Mutex::new(State { journal, readers: Vec::new() }) })
    }

    /// Takes what a turn changed. Says when it is durable, if the turn has to wait for that.
    pub(crate) fn submit(self: &Arc<Self>, changes: Changes) -> Option<Commit> {
        let mut state = self.lock();
        let mark = state.journal.submit(changes);
        if state.journal.is_due() {
            tokio::spawn(write(self.clone(), self.storage.writing()));
        }
        mark.map(|mark| Commit { journal: self.clone(), mark })
    }

    /// What everything that was handed in until now has to wait for.
    pub(crate) fn newest(self: &Arc<Self>) -> Commit {
        Commit { journal: self.clone(), mark: self.lock().journal.newest() }
    }

    /// Deletes the session from the store, after all that is on its way there.
    ///
    /// # Errors
    /// When the store cannot, and the session may be there again.
    pub(crate) async fn delete(&self) -> Result<(), StoreError> {
        let deleted = {
            let mut state = self.lock();
            state.journal.end();
            let deleted = self.storage.store().delete(self.key(), None);
            wake(state);
            deleted
        };
        deleted.await
    }

    /// Deletes from the store a session that rests there in the state `rev`, unless another node has it now.
    ///
    /// # Errors
    /// When another node has it, or the store cannot.
    pub(crate) async fn sweep(&self, rev: Rev) -> Result<(), StoreError> {
        self.storage.store().delete(self.key(), Some(rev)).await
    }

    /// Whether somebody else has the session now.
    pub(crate) fn is_lost(&self) -> bool {
        self.lock().journal.is_lost()
    }

    /// Stops for good, if nothing is on its way. The state that the record is in, if it did.
    pub(crate) fn rest(&self) -> Option<Rev> {
        self.lock().journal.rest()
    }

    fn key(&self) -> Key {
        Key { kind: Kind::Session, id: self.id }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A hash of whose a record is; 0 without authentication.
pub(crate) fn owner(subject: Option<&str>) -> u128 {
    subject.map_or(0, |subject| crate::storage::hash("owner", subject.as_bytes()))
}

/// Whose a session is, as stores know it.
pub(crate) fn known_owner(subject: Option<Arc<str>>) -> Owner {
    Owner { hash: owner(subject.as_deref()), subject }
}

/// Does what the journal wants done, until nothing waits.
async fn write(driven: Arc<Journal>, _writing: Writing) {
    let store = driven.storage.store();
    loop {
        let (step, committed) = {
            let mut state = driven.lock();
            let step = state.journal.next_step();
            // Under the lock, so that a deletion comes after it.
            let committed = match &step {
                Step::Commit(batch) => Some(store.commit(driven.id, batch.clone())),
                _ => None,
            };
            (step, committed)
        };
        match (step, committed) {
            (Step::Commit(_), Some(committed)) => {
                let outcome = committed.await;
                if let Err(error @ (StoreError::Conflict { .. } | StoreError::Fatal(_))) = &outcome {
                    tracing::error!(%error, "a session was given up: its record is not as this server left it");
                }
                driven.lock().journal.committed(outcome);
            }
            (Step::Load, _) => {
                let outcome = store.load(driven.key()).await;
                driven.lock().journal.loaded(outcome);
            }
            (Step::Replay(stream, after), _) => {
                let outcome = store.replay(driven.id, stream, after, 1).await;
                driven.lock().journal.replayed(outcome);
            }
            (Step::Pause(retry_after), _) => {
                wake(driven.lock());
                driven.storage.wait_out(&StoreError::Unavailable { retry_after }).await;
                driven.lock().journal.resumed();
            }
            (Step::Rest | Step::Commit(_), _) => return wake(driven.lock()),
        }
        wake(driven.lock());
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let readers = std::mem::take(&mut state.readers);
    drop(state);
    readers.into_iter().for_each(Waker::wake);
}
