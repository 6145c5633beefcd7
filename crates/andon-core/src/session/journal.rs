//! What a session has to write down, on its way to the store: in order, one batch at a time, and again until it is there.
//!
//! Pure: [`Journal::next_step`] says what to do, and whoever does it says how that ended. Nothing that a turn says may leave
//! before [`Journal::standing`] says that its [`Mark`] is durable, and no handler starts before.

use std::sync::Arc;
use std::time::Duration;

use super::record::{Changes, LoggedEvent, SessionRecord};
use crate::io::StreamId;
use crate::limits::Limits;
use crate::port::{Batch, Event, Record, Replay, Rev, StoreError, Stored};

/// Names what was submitted up to a moment. What is durable up to a mark is so up to all marks before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(u64);

/// How far what a mark names has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is on its way.
    Waiting,
    /// The store cannot take it now; it is tried again.
    Stalled,
    /// It is as durable as the store promises.
    Durable,
    /// It never will be: the session is another node's now. Who asks again is served there.
    Lost,
    /// It never will be: the session was ended.
    Ended,
}

/// What is to be done next. Each but the last is answered by the method that it names, before the next is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Commit this; then [`Journal::committed`].
    Commit(Batch),
    /// Load the session's record; then [`Journal::loaded`].
    Load,
    /// Read what this stream has after this number, one event of it; then [`Journal::replayed`].
    Replay(StreamId, u32),
    /// Wait until the store can be written to, at least this long; then [`Journal::resumed`].
    Pause(Duration),
    /// Nothing, until [`Journal::is_due`] says so again.
    Rest,
}

/// Whose a session is, as stores know it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Owner {
    /// The subject; `None` without authentication.
    pub subject: Option<Arc<str>>,
    /// A hash of it, for lists.
    pub hash: u128,
}

/// One session's way to the store.
#[derive(Debug)]
pub struct Journal {
    owner: Owner,
    limits: Arc<Limits>,
    rev: Option<Rev>,
    submitted: u64,
    durable: u64,
    waiting: Changes,
    writing: Option<Box<Writing>>,
    stage: Stage,
    is_driven: bool,
    over: Option<Over>,
}

/// What is on its way.
#[derive(Debug)]
struct Writing {
    changes: Changes,
    batch: Batch,
    through: u64,
}

/// What is to be done with what is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Commit,
    /// Whether it was done is not known.
    Look,
    /// The record is as it should be, in this state; whether the events are there is not known.
    LookCloser(Rev),
    /// The store cannot say or do anything; `then` goes on.
    Pause {
        retry_after: Duration,
        then: Look,
    },
}

/// Whether it has to be seen first what became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    First,
    Needless,
}

/// Why nothing is written any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    /// It is all there, and nobody uses the session.
    Resting,
    /// The session was ended.
    Ended,
    /// Somebody else has the session.
    Lost,
}

impl Journal {
    /// The way of a session whose record is in the state `rev`; `None` if it has none yet.
    pub fn new(owner: Owner, limits: Arc<Limits>, rev: Option<Rev>) -> Self {
        Self {
            owner,
            limits,
            rev,
            submitted: 0,
            durable: 0,
            waiting: Changes::default(),
            writing: None,
            stage: Stage::Commit,
            is_driven: false,
            over: None,
        }
    }

    /// Takes what a turn changed. Gives what the turn has to wait for, if it has to. Of a session that is over, what has to
    /// be durable never is.
    pub fn submit(&mut self, changes: Changes) -> Option<Mark> {
        if changes.is_empty() {
            return None;
        }
        let gates = changes.gates;
        self.submitted += 1;
        if self.over.is_none() {
            self.waiting.merge(changes);
        }
        gates.then_some(Mark(self.submitted))
    }

    /// What everything that was submitted until now has to wait for.
    pub fn newest(&self) -> Mark {
        Mark(self.submitted)
    }

    /// How far what `mark` names has come.
    pub fn standing(&self, mark: Mark) -> Standing {
        match (self.over, self.stage) {
            _ if mark.0 <= self.durable => Standing::Durable,
            (Some(Over::Lost), _) => Standing::Lost,
            (Some(Over::Resting | Over::Ended), _) => Standing::Ended,
            (None, Stage::Pause { .. }) => Standing::Stalled,
            (None, _) => Standing::Waiting,
        }
    }

    /// Whether somebody has to begin to ask for the next step, because nobody does yet. Once for each beginning.
    pub fn is_due(&mut self) -> bool {
        let is_due = !self.is_driven && self.over.is_none() && !self.waiting.is_empty();
        self.is_driven |= is_due;
        is_due
    }

    /// What to do next.
    pub fn next_step(&mut self) -> Step {
        if self.over.is_some() || (self.writing.is_none() && self.waiting.is_empty()) {
            (self.is_driven, self.writing, self.waiting) = (false, None, Changes::default());
            return Step::Rest;
        }
        match (self.stage, &self.writing) {
            (Stage::Look, _) => Step::Load,
            (Stage::LookCloser(_), Some(writing)) => match writing.batch.events.last() {
                Some(event) => Step::Replay(event.stream, event.sequence - 1),
                None => Step::Load,
            },
            (Stage::Pause { retry_after, .. }, _) => Step::Pause(retry_after),
            (Stage::Commit | Stage::LookCloser(_), _) => Step::Commit(self.batch()),
        }
    }

    /// A batch was committed, or not.
    pub fn committed(&mut self, outcome: Result<Rev, StoreError>) {
        match outcome {
            Ok(rev) => self.done(rev),
            Err(StoreError::Unavailable { retry_after }) => {
                self.stage = Stage::Pause { retry_after, then: Look::Needless };
            }
            Err(StoreError::Unknown) => self.stage = Stage::Look,
            Err(StoreError::Conflict { .. } | StoreError::Fatal(_)) => self.lose(),
        }
    }

    /// The record is this, or cannot be read.
    pub fn loaded(&mut self, outcome: Result<Option<Stored>, StoreError>) {
        let Some(batch) = self.writing.as_deref().map(|writing| &writing.batch) else { return };
        match outcome {
            Ok(Some(stored)) => {
                // Nobody else writes the same, because each who takes the session up has another epoch. But what we wrote
                // before may be the same, so that the record alone says nothing of events.
                let is_same = batch.record.as_ref().is_none_or(|record| stored.record == *record);
                // Events alone change no state, and the one that the record is in now may be another node's.
                let rev = if batch.record.is_some() { Some(stored.rev) } else { self.rev };
                match rev.filter(|_| is_same) {
                    Some(rev) if !batch.events.is_empty() => self.stage = Stage::LookCloser(rev),
                    // Forgetting less than was asked for does no harm.
                    Some(rev) => self.done(rev),
                    None => self.stage = Stage::Commit,
                }
            }
            // Whoever deleted it, trying once more says so.
            Ok(None) => self.stage = Stage::Commit,
            Err(error) => self.cannot_look(error),
        }
    }

    /// The stream has this, or cannot be read.
    pub fn replayed(&mut self, outcome: Result<Replay, StoreError>) {
        let Some(batch) = self.writing.as_deref().map(|writing| &writing.batch) else { return };
        match (outcome, self.stage) {
            (Ok(replay), Stage::LookCloser(rev)) if replay.events.first() == batch.events.last() => self.done(rev),
            (Ok(_), _) => self.stage = Stage::Commit,
            (Err(error), _) => self.cannot_look(error),
        }
    }

    /// The store can be written to again.
    pub fn resumed(&mut self) {
        let Stage::Pause { then, .. } = self.stage else { return };
        match (then, &mut self.writing) {
            (Look::First, _) => self.stage = Stage::Look,
            (Look::Needless, writing) => {
                // What came meanwhile waited for nothing else.
                if let Some(mut writing) = writing.take() {
                    writing.changes.merge(std::mem::take(&mut self.waiting));
                    self.waiting = writing.changes;
                }
                self.stage = Stage::Commit;
            }
        }
    }

    /// Nothing is written any more, because the session was ended.
    pub fn end(&mut self) {
        self.over.get_or_insert(Over::Ended);
    }

    /// Stops for good, if all is there. Gives the state that the record is in then.
    pub fn rest(&mut self) -> Option<Rev> {
        if self.over.is_some() || self.is_driven || !self.waiting.is_empty() {
            return None;
        }
        self.over = Some(Over::Resting);
        self.rev
    }

    /// Whether somebody else has the session now.
    pub fn is_lost(&self) -> bool {
        self.over == Some(Over::Lost)
    }

    fn done(&mut self, rev: Rev) {
        self.rev = Some(rev);
        self.stage = Stage::Commit;
        if let Some(writing) = self.writing.take()
            && self.over.is_none()
        {
            self.durable = writing.through;
        }
    }

    fn lose(&mut self) {
        self.over.get_or_insert(Over::Lost);
    }

    fn cannot_look(&mut self, error: StoreError) {
        match error {
            StoreError::Unavailable { retry_after } => {
                self.stage = Stage::Pause { retry_after, then: Look::First };
            }
            StoreError::Unknown => self.stage = Stage::Look,
            StoreError::Conflict { .. } | StoreError::Fatal(_) => self.lose(),
        }
    }

    /// What is on its way, or what waits.
    fn batch(&mut self) -> Batch {
        if let Some(writing) = &self.writing {
            return writing.batch.clone();
        }
        let changes = std::mem::take(&mut self.waiting);
        let stored =
            |event: &LoggedEvent| Event { stream: event.stream, sequence: event.sequence, bytes: event.encode() };
        let batch = Batch {
            expect: self.rev,
            record: changes.record.as_deref().map(|record| self.owner.record(record, &self.limits)),
            events: changes.events.iter().map(stored).collect(),
            forget: changes.forget.clone(),
        };
        self.writing = Some(Box::new(Writing { changes, batch: batch.clone(), through: self.submitted }));
        batch
    }
}

impl Owner {
    /// `record` as this owner's is stored.
    pub fn record(&self, record: &SessionRecord, limits: &Limits) -> Record {
        let mut record = record.clone();
        record.subject = self.subject.as_deref().map(Into::into);
        Record { bytes: record.encode(), owner: self.hash, expires_at: record.expires_at(limits) }
    }
}

#[cfg(test)]
mod tests;
