//! Sessions that outlive the process: brought back when somebody comes for them, set aside when nobody does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use andon_core::io::{Input, StreamId};
use andon_core::port::{Batch, Key, Kind, Rev, StoreError, Stored};
use andon_core::session::Session;
use andon_core::session::record::{LoggedEvent, SessionRecord};

use super::Host;
use super::table::{SessionCell, SessionKey};
use crate::conversation::{Cell, Conversation as _};
use crate::journal::{Journal, known_owner, owner};
use crate::principal::Principal;
use crate::seal::random;

/// What was there when the host started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Sessions.
    pub sessions: usize,
    /// How long it took to find them.
    pub took: Duration,
}

/// Records that are read or swept at once.
const PAGE: usize = 1_000;
/// How often a session is tried to be taken over that others take over too.
const TAKE_OVERS_MAX: usize = 3;
/// How often records are looked at that expired where nobody came for them.
pub(super) const STORE_SWEEP_INTERVAL: Duration = Duration::from_secs(5);

impl Host {
    /// Counts the sessions that were there before, once. A server does so before it listens.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn recover(&self) -> Result<Found, StoreError> {
        self.recovered.get_or_try_init(|| self.count_stored()).await.copied()
    }

    async fn count_stored(&self) -> Result<Found, StoreError> {
        let (began_at, mut sessions, mut after) = (Instant::now(), 0, None);
        // In memory nothing is from before.
        let mut is_more = self.is_durable;
        while is_more {
            let page = self.storage.store().list(Kind::Session, None, after, PAGE).await?;
            for stored in &page {
                self.sessions.count_in(stored.record.owner);
            }
            sessions += page.len();
            after = page.last().map(|stored| stored.id);
            is_more = page.len() == PAGE;
        }
        Ok(Found { sessions, took: began_at.elapsed() })
    }

    /// The way to the store of a session that is opened.
    pub(super) fn journal(&self, key: SessionKey, principal: &Principal) -> Option<Arc<Journal>> {
        let new = || Journal::new(self.storage.clone(), key.stored_id(), principal.shared_subject(), None);
        self.is_durable.then(new)
    }

    /// The session, if it is this subject's: from memory, or from the store.
    ///
    /// # Errors
    /// When the store cannot say whether there is one.
    pub(super) async fn find_session(
        self: &Arc<Self>,
        key: SessionKey,
        principal: &Principal,
    ) -> Result<Option<Arc<SessionCell>>, StoreError> {
        if let Some(cell) = self.session_in_memory(key, principal) {
            return Ok(Some(cell));
        }
        if !self.is_durable {
            return Ok(None);
        }
        // In a box: few requests come here, and without it half of the room that each request takes would be for this.
        Box::pin(self.bring_back(key, principal)).await
    }

    async fn bring_back(
        self: &Arc<Self>,
        key: SessionKey,
        principal: &Principal,
    ) -> Result<Option<Arc<SessionCell>>, StoreError> {
        let id = key.stored_id();
        // Of several requests that come at once, one brings it back.
        let _turn = self.turn_of(id).await;
        if let Some(cell) = self.session_in_memory(key, principal) {
            return Ok(Some(cell));
        }
        for _ in 0..TAKE_OVERS_MAX {
            // By this time what is read is judged: however long the answer took, it was not over when it was read.
            let now = self.now();
            let stored = self.storage.store().load(Key { kind: Kind::Session, id }).await?;
            let Some(stored) = stored else { return Ok(None) };
            let record = SessionRecord::decode(&stored.record.bytes).map_err(unreadable)?;
            // Another's session is as absent as none, and so is one whose time is over and that was not swept yet.
            let is_over = record.expires_at(&self.limits).is_some_and(|at| at <= now);
            if record.subject.as_deref() != principal.subject() || is_over {
                return Ok(None);
            }
            let record = record.taken_over(self.now());
            if let Some(rev) = self.take_over(&stored, &record, principal).await? {
                return self.restore(key, principal, rev, record).await.map(Some);
            }
        }
        Err(StoreError::Unknown)
    }

    /// Writes down that the session is ours, before anything is read of its events: until then another node may add to
    /// them. The state that its record is in then, or `None` if somebody was faster, or nobody knows.
    async fn take_over(
        &self,
        stored: &Stored,
        record: &SessionRecord,
        principal: &Principal,
    ) -> Result<Option<Rev>, StoreError> {
        let record = known_owner(principal.shared_subject()).record(record, &self.limits);
        let batch = Batch { expect: Some(stored.rev), record: Some(record), ..Batch::default() };
        match self.storage.store().commit(stored.id, batch).await {
            Ok(rev) => Ok(Some(rev)),
            Err(StoreError::Conflict { .. } | StoreError::Unknown) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// While this is held, nobody brings the session back from the store whose id has this hash.
    pub(super) async fn turn_of(&self, id: u128) -> tokio::sync::MutexGuard<'_, ()> {
        self.restoring[(id % self.restoring.len() as u128) as usize].lock().await
    }

    fn session_in_memory(&self, key: SessionKey, principal: &Principal) -> Option<Arc<SessionCell>> {
        let cell = self.sessions.find(key, principal)?;
        if cell.journal().is_some_and(|journal| journal.is_lost()) {
            self.let_go(key, &cell);
            return None;
        }
        Some(cell)
    }

    /// Whether another node took up a session since we did, or ended it. Then it is no longer in memory.
    ///
    /// # Errors
    /// When the store cannot say.
    pub(super) async fn is_elsewhere(&self, key: SessionKey, cell: &SessionCell) -> Result<bool, StoreError> {
        if cell.journal().is_none() {
            return Ok(false);
        }
        let stored = self.storage.store().load(Key { kind: Kind::Session, id: key.stored_id() }).await?;
        let record =
            stored.map(|stored| SessionRecord::decode(&stored.record.bytes)).transpose().map_err(unreadable)?;
        let is_ours = record.is_some_and(|record| record.epoch == cell.with(|session| session.epoch()));
        if !is_ours {
            self.let_go(key, cell);
        }
        Ok(!is_ours)
    }

    /// Takes a session out of memory that another node has now. What runs in it is stopped: nobody would hear of it.
    fn let_go(&self, key: SessionKey, cell: &SessionCell) {
        self.sessions.forget(key, cell);
        cell.let_go(self);
        cell.input(Input::End);
    }

    async fn restore(
        self: &Arc<Self>,
        key: SessionKey,
        principal: &Principal,
        rev: Rev,
        mut record: SessionRecord,
    ) -> Result<Arc<SessionCell>, StoreError> {
        let (id, mut events) = (key.stored_id(), Vec::new());
        if !self.store().keeps_all() {
            // What was sent last may be missing. Its numbers must not be used again, and a gap is never silent: a client
            // that comes back for a stream of before is told that it is not kept.
            record.tag = u32::from_be_bytes(random());
            record.streams.clear();
            record.requests.clear();
        }
        for stream in &record.streams {
            self.read_events(id, StreamId(stream.id), &mut events).await?;
        }
        let was_running = record.requests.len();
        let restored = Session::restore(self.now(), record, events, self.limits.clone(), self.offer());
        let (mut session, outputs) = restored.map_err(unreadable)?;
        self.clients.share(&mut session);
        let subject = principal.shared_subject();
        let journal = Journal::new(self.storage.clone(), id, subject, Some(rev));
        let cell = Cell::new(self.number(), principal.clone(), self, session, Some(journal));
        cell.bind(id);
        tracing::debug!(session = cell.number, was_running, "session brought back");
        self.sessions.insert(cell.clone());
        cell.carry_out(self, None, outputs);
        Ok(cell)
    }

    pub(super) async fn read_events(
        &self,
        id: u128,
        stream: StreamId,
        events: &mut Vec<LoggedEvent>,
    ) -> Result<(), StoreError> {
        let mut after = 0;
        loop {
            let replay = self.storage.store().replay(id, stream, after, PAGE).await?;
            for event in &replay.events {
                let read = LoggedEvent::decode(stream, event.sequence, &event.bytes);
                events.push(read.ok_or_else(|| unreadable("an event is not of this release"))?);
                after = event.sequence;
            }
            if replay.complete || replay.events.is_empty() {
                return Ok(());
            }
        }
    }

    /// Ends a session, in memory or not: from now on it is as absent as one that never was. Whether there was one.
    ///
    /// # Errors
    /// When the store cannot say, or cannot delete it: then it may be there again.
    pub(super) async fn end(&self, key: SessionKey) -> Result<bool, StoreError> {
        let id = key.stored_id();
        // Until the store has forgotten it too, nobody may find it there.
        let _turn = self.turn_of(id).await;
        if let Some(cell) = self.sessions.remove(key) {
            self.end_cell(&cell).await?;
            self.service.session_ended(id);
            return Ok(true);
        }
        if !self.is_durable {
            return Ok(false);
        }
        let stored_key = Key { kind: Kind::Session, id };
        let Some(stored) = self.storage.store().load(stored_key).await? else { return Ok(false) };
        // The sweep gives its place back.
        if stored.record.expires_at.is_some_and(|at| at <= self.now()) {
            return Ok(false);
        }
        self.storage.store().delete(stored_key, None).await?;
        self.sessions.count_out(stored.record.owner);
        self.service.session_ended(id);
        Ok(true)
    }

    /// Ends a session that is in the table no more.
    async fn end_cell(&self, cell: &SessionCell) -> Result<(), StoreError> {
        cell.input(Input::End);
        let Some(journal) = cell.journal() else { return Ok(()) };
        let deleted = journal.delete().await;
        if deleted.is_err() {
            // Its record still is there, or may be: it is counted until somebody comes for it or the sweep does.
            self.sessions.count_in(owner(cell.principal().subject()));
        }
        deleted
    }

    /// Lets the expired sessions of one part of the table go, writes down that others are alive, and sets those aside
    /// that nobody uses and that the store has.
    pub(super) fn sweep_sessions(self: &Arc<Self>, part: usize) {
        let now = self.now();
        for (key, cell) in self.sessions.part(part) {
            let is_expired = cell.with(|session| {
                session.forget_streams(now);
                session.touch(now);
                session.shrink(now);
                session.is_expired(now)
            });
            cell.shrink();
            if is_expired {
                self.expire(key, &cell);
                continue;
            }
            cell.write_down();
            drop(cell);
            if self.is_durable {
                self.set_aside(key);
            }
        }
        self.sessions.shrink(part);
    }

    fn expire(self: &Arc<Self>, key: SessionKey, cell: &Arc<SessionCell>) {
        let rests_in = match cell.journal() {
            Some(journal) if journal.is_lost() => return self.let_go(key, cell),
            Some(journal) => match journal.rest() {
                Some(rev) => Some((journal.clone(), rev)),
                // Something is on its way: at the next look.
                None => return,
            },
            None => None,
        };
        self.sessions.remove(key);
        tracing::debug!(session = cell.number, "session expired");
        cell.input(Input::End);
        self.service.session_ended(key.stored_id());
        if let Some((journal, rev)) = rests_in {
            let (host, owner) = (self.clone(), owner(cell.principal().subject()));
            tokio::spawn(async move {
                match journal.sweep(rev).await {
                    Ok(()) | Err(StoreError::Conflict { .. }) => {}
                    // Its record still is there: it is counted until the store's own sweep finds it.
                    Err(_) => host.sessions.count_in(owner),
                }
            });
        }
    }

    fn set_aside(&self, key: SessionKey) {
        let (now, rest_after) = (self.now(), self.options.rest_after);
        let rests = |cell: &SessionCell| {
            let is_quiet = cell.with(|session| session.is_quiet_since(now, rest_after));
            is_quiet && cell.journal().is_some_and(|journal| journal.rest().is_some())
        };
        let Some(cell) = self.sessions.set_aside(key, rests) else { return };
        for uri in cell.with(Session::retire) {
            self.index_subscription(&uri, cell.number, None);
        }
    }

    /// Deletes what expired in the store while nobody came for it.
    pub(super) async fn sweep_store(&self) {
        loop {
            match self.storage.store().sweep(self.now(), PAGE).await {
                Ok(swept) => {
                    let sessions = swept.iter().filter(|(key, _)| key.kind == Kind::Session);
                    sessions.for_each(|(key, owner)| {
                        self.sessions.count_out(*owner);
                        self.service.session_ended(key.id);
                    });
                    if swept.is_empty() {
                        return;
                    }
                }
                Err(error) => return tracing::warn!(%error, "expired records stay until the next look"),
            }
        }
    }

    /// Leaves sessions as they are for the process that comes next: their connections end, they do not.
    pub(super) async fn leave_sessions(&self, patience: Duration) {
        for cell in self.sessions.all() {
            cell.let_go(self);
        }
        if !self.storage.flushed(patience).await {
            tracing::error!("not all of the sessions is written down: what was not acknowledged may be lost");
        }
    }
}

fn unreadable(why: impl std::fmt::Display) -> StoreError {
    tracing::error!(%why, "a session cannot be brought back");
    StoreError::Fatal(why.to_string())
}
