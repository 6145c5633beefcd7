//! What operators see of sessions, and may do to them: list them, look at one, end one. Those that are only in the store are
//! no different from those in memory.
//!
//! Nothing here is a secret: a session is named by a part of the hash that it is kept under, and what is said in it is not
//! shown.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use andon_core::io::Timestamp;
use andon_core::port::{Kind, StoreError, Stored};
use andon_core::session::look::{Buffered, Look};
use andon_core::session::record::SessionRecord;
use andon_core::session::{Phase, Shape};

use super::Host;
use super::pipe::Pipe;
use super::table::{SessionCell, SessionKey};
use crate::conversation::Conversation as _;
use crate::journal::owner;
use crate::principal::Principal;
use crate::storage::hash;

pub use view::{
    HostStatus, QuestionView, RequestView, SessionDetail, SessionName, SessionPage, SessionQuery, SessionView, State,
    StoreStatus, StreamView, Transport,
};

mod view;

/// Sessions that are read from one place at once.
const READ: usize = 256;
/// Sessions that one query looks at. One that finds fewer than it wants among them is to be put again.
const LOOKED_AT_MAX: usize = 16 * READ;

/// A session, where it was found.
enum Seen {
    Memory(Arc<SessionCell>),
    Pipe(Pipe, Arc<SessionCell>),
    Store(Box<Stored>),
}

/// Sessions in the order of their ids, all that there are up to the last of them.
#[derive(Default)]
struct Stretch {
    seen: BTreeMap<u128, Seen>,
    /// Whether there may be some after it.
    is_more: bool,
    is_store_down: bool,
}

impl Host {
    /// The sessions that `query` asks for, in the order of their names.
    pub async fn sessions(&self, query: &SessionQuery) -> SessionPage {
        let max = query.max.clamp(1, SessionQuery::MAX);
        let mut page = SessionPage::default();
        let (mut after, mut looked_at) = (query.after.map(SessionName::last_id), 0);
        loop {
            let stretch = self.stretch(after, query.principal.as_deref()).await;
            page.is_store_down |= stretch.is_store_down;
            looked_at += stretch.seen.len();
            for (id, seen) in stretch.seen {
                after = Some(id);
                let view = self.view(id, &seen).map(|(view, _)| view).filter(|view| query.takes(view));
                page.sessions.extend(view);
                if page.sessions.len() > max {
                    page.sessions.truncate(max);
                    page.next = page.sessions.last().map(|view| view.name);
                    return page;
                }
            }
            if !stretch.is_more {
                return page;
            }
            if looked_at >= LOOKED_AT_MAX {
                page.next = after.map(SessionName::of);
                return page;
            }
        }
    }

    /// One session, with all that there is to see of it; `None` if no session has this name.
    ///
    /// # Errors
    /// When it is not in memory and the store cannot say.
    pub async fn session_view(&self, name: SessionName) -> Result<Option<SessionView>, StoreError> {
        let Some((id, seen)) = self.find_named(name).await? else { return Ok(None) };
        let Some((mut view, mut look)) = self.view(id, &seen) else { return Ok(None) };
        if matches!(seen, Seen::Store(_)) {
            for stream in &mut look.streams {
                let mut events = Vec::new();
                self.read_events(id, stream.id, &mut events).await?;
                let bytes = events.iter().map(|event| event.text.len()).sum();
                stream.buffered = Some(Buffered { events: events.len(), bytes });
            }
        }
        view.set_buffered(&look);
        view.detail = Some(SessionDetail::of(self.now(), &look));
        Ok(Some(view))
    }

    /// Ends a session, as its client does with DELETE: what runs in it is cancelled, its streams end, and its id is never
    /// good again. Whether there was one.
    ///
    /// # Errors
    /// When the store cannot say, or cannot write down that it ended; then it may be there again, and can be ended again.
    pub async fn end_session(self: &Arc<Self>, name: SessionName) -> Result<bool, StoreError> {
        let ended = match self.find_named(name).await? {
            None => false,
            Some((_, Seen::Pipe(pipe, session))) => {
                pipe.end(&session);
                self.sweep_event_streams();
                true
            }
            Some((id, _)) => self.end(SessionKey::stored(id)).await?,
        };
        if ended {
            tracing::info!(%name, "session ended by an operator");
        }
        Ok(ended)
    }

    /// How the host is.
    pub fn status(&self) -> HostStatus {
        let store = match (self.is_durable, self.storage.is_down()) {
            (false, _) => StoreStatus::Memory,
            (true, false) => StoreStatus::Up,
            (true, true) => StoreStatus::Down,
        };
        HostStatus {
            uptime_ms: u64::try_from(self.time.uptime().as_millis()).unwrap_or(u64::MAX),
            sessions: self.session_count(),
            sessions_in_memory: self.sessions_in_memory(),
            store,
            calls_running: self.running.load(Ordering::Acquire),
            listeners: self.listeners.all().len(),
            is_draining: self.is_draining(),
        }
    }

    /// The sessions after the id `after`: from memory all, from the store those of `principal`.
    async fn stretch(&self, after: Option<u128>, principal: Option<&str>) -> Stretch {
        let mut stretch = Stretch::default();
        let mut through = u128::MAX;
        if self.is_durable {
            let owner = principal.map(|subject| owner(Some(subject).filter(|subject| !subject.is_empty())));
            match self.storage.store().list(Kind::Session, owner, after, READ).await {
                Ok(stored) => {
                    let last = stored.last().filter(|_| stored.len() == READ).map(|last| last.id);
                    through = through.min(last.unwrap_or(u128::MAX));
                    stretch.seen.extend(stored.into_iter().map(|stored| (stored.id, Seen::Store(Box::new(stored)))));
                }
                Err(error) => {
                    tracing::warn!(%error, "an operator sees only the sessions in memory");
                    stretch.is_store_down = true;
                }
            }
        }
        for found in [self.in_table_after(after), self.pipes_after(after)] {
            let last = found.last().filter(|_| found.len() == READ).map(|(id, _)| *id);
            through = through.min(last.unwrap_or(u128::MAX));
            // What is in memory is newer than what the store says of it.
            stretch.seen.extend(found);
        }
        stretch.is_more = through < u128::MAX;
        stretch.seen.retain(|id, _| *id <= through);
        stretch
    }

    /// At most [`READ`], by id.
    fn in_table_after(&self, after: Option<u128>) -> Vec<(u128, Seen)> {
        let found = self.sessions.after(after.map(SessionKey::stored), READ);
        found.into_iter().map(|(key, cell)| (key.stored_id(), Seen::Memory(cell))).collect()
    }

    /// At most [`READ`], by id.
    fn pipes_after(&self, after: Option<u128>) -> Vec<(u128, Seen)> {
        let pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        let of_process = self.time.origin().0.to_be_bytes();
        let mut found: Vec<_> = pipes
            .iter()
            .filter_map(|(number, pipe)| {
                let id = hash("pipe", &[of_process, number.to_be_bytes()].concat());
                Some((id, Seen::Pipe(pipe.clone(), pipe.session()?)))
            })
            .filter(|(id, _)| after.is_none_or(|after| *id > after))
            .collect();
        drop(pipes);
        found.sort_unstable_by_key(|(id, _)| *id);
        found.truncate(READ);
        found
    }

    async fn find_named(&self, name: SessionName) -> Result<Option<(u128, Seen)>, StoreError> {
        let before = name.first_id().checked_sub(1);
        let is_named = |(id, _): &(u128, Seen)| SessionName::of(*id) == name;
        let in_memory = [self.in_table_after(before), self.pipes_after(before)];
        let found = in_memory.into_iter().filter_map(|found| found.into_iter().next()).find(is_named);
        if found.is_some() || !self.is_durable {
            return Ok(found);
        }
        let stored = self.storage.store().list(Kind::Session, None, before, 1).await?;
        Ok(stored.into_iter().next().map(|stored| (stored.id, Seen::Store(Box::new(stored)))).filter(is_named))
    }

    /// What there is to see; nothing of a session that is over, or not one yet.
    fn view(&self, id: u128, seen: &Seen) -> Option<(SessionView, Look)> {
        let now = self.now();
        let (look, principal) = match seen {
            Seen::Memory(cell) | Seen::Pipe(_, cell) => {
                (cell.with(|session| session.look()), subject(&cell.principal()))
            }
            Seen::Store(stored) => {
                let record = SessionRecord::decode(&stored.record.bytes);
                let mut record =
                    record.inspect_err(|error| tracing::warn!(%error, "a session that cannot be read")).ok()?;
                let principal = record.subject.take().map(String::from);
                (record.look(&self.limits), principal)
            }
        };
        // Of a pipe whose client speaks 2026-07-28 there is no session.
        let is_none_yet = look.shape == Shape::Pipe && look.phase == Phase::NotInitialized;
        let is_over = look.phase == Phase::Disconnected || look.expires_at.is_some_and(|at| at <= now);
        let in_memory = !matches!(seen, Seen::Store(_));
        let view = || SessionView::of(SessionName::of(id), now, &look, principal, in_memory);
        (!is_none_yet && !is_over).then(view).map(|view| (view, look))
    }
}

fn subject(principal: &Principal) -> Option<String> {
    principal.subject().map(str::to_owned)
}

/// How long it is from `earlier` to `later`, in milliseconds.
fn ms_between(earlier: Timestamp, later: Timestamp) -> u64 {
    u64::try_from(later.since(earlier).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
