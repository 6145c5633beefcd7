//! What a session has to write down, on its way to the store: in order, one batch at a time, and again until it is there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use andon_core::port::{Batch, Event, Key, Kind, Record, Rev, StoreError};
use andon_core::session::record::{Changes, LoggedEvent};

use crate::storage::{Storage, Writing};

/// Says when what was handed in is durable. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Commit(Arc<Mutex<Progress>>);

#[derive(Debug, Default)]
struct Progress {
    standing: Standing,
    waiting: Vec<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Standing {
    /// On its way.
    #[default]
    Waiting,
    /// The store cannot take it now; it is tried again.
    Stalled,
    /// Durable.
    Done,
    /// It will never be: the session is another node's, or was ended.
    Lost,
}

/// Why something is not durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotDurable {
    /// The store cannot take it now.
    Stalled,
    /// The session is no longer ours.
    Lost,
}

impl Commit {
    /// Ready when it is durable, or never will be. An outage is waited out.
    pub(crate) fn poll_done(&self, cx: &mut Context<'_>) -> Poll<Result<(), NotDurable>> {
        let mut progress = self.lock();
        match progress.standing {
            Standing::Done => Poll::Ready(Ok(())),
            Standing::Lost => Poll::Ready(Err(NotDurable::Lost)),
            Standing::Waiting | Standing::Stalled => {
                if !progress.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                    progress.waiting.push(cx.waker().clone());
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
            Poll::Pending if self.lock().standing == Standing::Stalled => Poll::Ready(Err(NotDurable::Stalled)),
            known => known,
        })
        .await
    }

    fn set(&self, standing: Standing) {
        let mut progress = self.lock();
        progress.standing = standing;
        let waiting = std::mem::take(&mut progress.waiting);
        drop(progress);
        waiting.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One session's way to the store.
pub(crate) struct Journal {
    storage: Arc<Storage>,
    id: u128,
    subject: Option<Arc<str>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rev: Option<Rev>,
    waiting: Changes,
    /// Of what waits.
    commit: Commit,
    /// Of what was handed in last.
    newest: Option<Commit>,
    is_writing: bool,
    /// Nothing is written any more.
    is_over: bool,
    /// Somebody else has the session.
    is_lost: bool,
}

impl Journal {
    /// The way of the session whose id has the hash `id`, and whose record is in the state `rev`.
    pub(crate) fn new(storage: Arc<Storage>, id: u128, subject: Option<Arc<str>>, rev: Option<Rev>) -> Arc<Self> {
        Arc::new(Self { storage, id, subject, state: Mutex::new(State { rev, ..State::default() }) })
    }

    /// Takes what a turn changed. Says when it is durable, if the turn has to wait for that.
    pub(crate) fn submit(self: &Arc<Self>, changes: Changes) -> Option<Commit> {
        if changes.is_empty() {
            return None;
        }
        let mut state = self.lock();
        if state.is_over {
            return None;
        }
        let gates = changes.gates;
        state.waiting.merge(changes);
        let commit = state.commit.clone();
        state.newest = Some(commit.clone());
        if !state.is_writing {
            state.is_writing = true;
            tokio::spawn(write(self.clone(), self.storage.writing()));
        }
        gates.then_some(commit)
    }

    /// Says when all that was handed in so far is durable; nothing if there was nothing.
    pub(crate) fn newest(&self) -> Option<Commit> {
        self.lock().newest.clone()
    }

    /// Deletes the session from the store, after all that is on its way there.
    ///
    /// # Errors
    /// When the store cannot, and the session may be there again.
    pub(crate) async fn delete(&self) -> Result<(), StoreError> {
        let deleted = {
            let mut state = self.lock();
            state.is_over = true;
            state.commit.set(Standing::Lost);
            self.storage.store().delete(Key { kind: Kind::Session, id: self.id }, None)
        };
        deleted.await
    }

    /// Whether somebody else has the session now.
    pub(crate) fn is_lost(&self) -> bool {
        self.lock().is_lost
    }

    /// Stops for good, if nothing is on its way. Whether it did.
    pub(crate) fn rest(&self) -> bool {
        let mut state = self.lock();
        let rests = !state.is_writing && state.waiting.is_empty();
        state.is_over |= rests;
        rests
    }

    /// What waits, as one batch.
    fn take(&self) -> Option<(Changes, Commit)> {
        let mut state = self.lock();
        if state.waiting.is_empty() || state.is_over {
            state.is_writing = false;
            return None;
        }
        Some((std::mem::take(&mut state.waiting), std::mem::take(&mut state.commit)))
    }

    fn batch(&self, changes: &Changes, expect: Option<Rev>) -> Batch {
        let stored =
            |event: &LoggedEvent| Event { stream: event.stream, sequence: event.sequence, bytes: event.encode() };
        let record = changes.record.as_deref().map(|record| {
            let mut record = record.clone();
            record.subject = self.subject.as_deref().map(Into::into);
            Record {
                bytes: record.encode(),
                owner: owner(self.subject.as_deref()),
                expires_at: record.expires_at(self.storage.limits()),
            }
        });
        Batch { expect, record, events: changes.events.iter().map(stored).collect(), forget: changes.forget.clone() }
    }

    /// After an outcome that is not known: whether `batch` is in the store, with the state that the record is in then.
    async fn look(&self, batch: &Batch) -> Result<Option<Rev>, StoreError> {
        let store = self.storage.store();
        let stored = store.load(Key { kind: Kind::Session, id: self.id }).await?;
        let Some(stored) = stored else { return Ok(None) };
        let is_there = match (&batch.record, batch.events.last()) {
            (Some(record), _) => stored.record == *record,
            (None, Some(event)) => {
                let found = store.replay(self.id, event.stream, event.sequence - 1, 1).await?;
                found.events.first() == Some(event)
            }
            // Forgetting twice does no harm.
            (None, None) => false,
        };
        Ok(is_there.then_some(stored.rev))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A hash of whose a record is; 0 without authentication.
pub(crate) fn owner(subject: Option<&str>) -> u128 {
    subject.map_or(0, |subject| crate::storage::hash("owner", subject.as_bytes()))
}

/// Writes until nothing waits.
async fn write(journal: Arc<Journal>, _writing: Writing) {
    while let Some((mut changes, mut commits)) = journal.take().map(|(changes, commit)| (changes, vec![commit])) {
        loop {
            let (batch, written) = {
                let state = journal.lock();
                if state.is_over {
                    break commits.iter().for_each(|commit| commit.set(Standing::Lost));
                }
                let batch = journal.batch(&changes, state.rev);
                // Under the lock, so that a deletion comes after it.
                let written = journal.storage.store().commit(journal.id, batch.clone());
                (batch, written)
            };
            let outcome = match written.await {
                Err(StoreError::Unknown) => match journal.look(&batch).await {
                    Ok(Some(rev)) => Ok(rev),
                    // It was not done: once more.
                    Ok(None) | Err(StoreError::Unknown) => continue,
                    Err(error) => Err(error),
                },
                known => known,
            };
            match outcome {
                Ok(rev) => {
                    journal.lock().rev = Some(rev);
                    break commits.iter().for_each(|commit| commit.set(Standing::Done));
                }
                Err(error @ StoreError::Unavailable { .. }) => {
                    commits.iter().for_each(|commit| commit.set(Standing::Stalled));
                    journal.storage.wait_out(&error).await;
                    // What came meanwhile waited for nothing else.
                    let mut state = journal.lock();
                    changes.merge(std::mem::take(&mut state.waiting));
                    commits.push(std::mem::take(&mut state.commit));
                }
                Err(error) => {
                    tracing::error!(%error, "a session was given up: its record is not as this server left it");
                    let mut state = journal.lock();
                    (state.is_over, state.is_lost, state.is_writing) = (true, true, false);
                    drop(state);
                    commits.iter().for_each(|commit| commit.set(Standing::Lost));
                    break;
                }
            }
        }
    }
}
