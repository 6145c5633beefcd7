//! What calls change, within a transaction.

use std::collections::HashMap;

use andon_core::io::{StreamId, Timestamp};
use andon_core::port::{Batch, Event, Key, Kind, Record, Rev};
use redb::{ReadableTable as _, StorageError, Table, WriteTransaction};

use super::tables::{
    DEAD, DEATHS, EVENTS, EXPIRIES, FORGOTTEN, LEFTOVERS, Ledger, META, OVER, OWNERS, RECORDS, RecordRow, place,
};

/// How many events of a session are deleted with it; the others are deleted by and by.
const EVENTS_AT_ONCE: usize = 1_000;

/// Why a call did not do what was asked.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The record is not in the state that was expected, but in this one. Nothing was changed.
    Conflict(Option<Rev>),
    /// The engine failed, and with it the transaction.
    Engine(redb::Error),
}

impl From<StorageError> for Trouble {
    fn from(error: StorageError) -> Self {
        Self::Engine(error.into())
    }
}

/// A transaction that is under way.
pub(super) struct Writing<'t> {
    pub(super) records: Table<'t, (u8, u128), RecordRow>,
    pub(super) owners: Table<'t, (u8, u128, u128), ()>,
    pub(super) expiries: Table<'t, (u64, u8, u128), ()>,
    pub(super) dead: Table<'t, (u8, u128), u64>,
    pub(super) deaths: Table<'t, (u64, u8, u128), ()>,
    pub(super) events: Table<'t, (u128, u32, u32), &'static [u8]>,
    pub(super) forgotten: Table<'t, (u128, u32), u32>,
    pub(super) over: Table<'t, (u128, u32), u32>,
    pub(super) leftovers: Table<'t, u128, ()>,
    meta: Table<'t, &'static str, u64>,
    ledger: Ledger,
}

/// What is known of a record without its bytes.
struct Head {
    rev: Rev,
    owner: u128,
    expires_at: Option<u64>,
}

impl<'t> Writing<'t> {
    /// Begins to write. `ledger` is that of the transaction before, with the uptime of now.
    pub(super) fn begin(transaction: &'t WriteTransaction, ledger: Ledger) -> Result<Self, redb::Error> {
        Ok(Self {
            records: transaction.open_table(RECORDS)?,
            owners: transaction.open_table(OWNERS)?,
            expiries: transaction.open_table(EXPIRIES)?,
            dead: transaction.open_table(DEAD)?,
            deaths: transaction.open_table(DEATHS)?,
            events: transaction.open_table(EVENTS)?,
            forgotten: transaction.open_table(FORGOTTEN)?,
            over: transaction.open_table(OVER)?,
            leftovers: transaction.open_table(LEFTOVERS)?,
            meta: transaction.open_table(META)?,
            ledger: Ledger { transactions: ledger.transactions + 1, ..ledger },
        })
    }

    /// All is written; the transaction can be committed.
    pub(super) fn end(mut self) -> Result<Ledger, redb::Error> {
        for (name, value) in self.ledger.rows() {
            self.meta.insert(name, *value)?;
        }
        Ok(self.ledger)
    }

    /// See [`andon_core::port::SessionStore::write`].
    pub(super) fn write(&mut self, key: Key, record: &Record, expect: Option<Rev>) -> Result<Rev, Trouble> {
        let before = self.check(key, expect)?;
        self.put(key, record, before)
    }

    /// See [`andon_core::port::SessionStore::delete`].
    pub(super) fn delete(&mut self, key: Key, expect: Option<Rev>) -> Result<(), Trouble> {
        let before = self.head(key)?;
        if let (Some(expected), Some(head)) = (expect, &before)
            && expected != head.rev
        {
            return Err(Trouble::Conflict(Some(head.rev)));
        }
        self.bury(key, before)
    }

    /// See [`andon_core::port::SessionStore::sweep`].
    pub(super) fn sweep(&mut self, now: Timestamp, max: usize) -> Result<Vec<(Key, u128)>, Trouble> {
        let mut due = Vec::new();
        for row in self.expiries.range(..=(now.0, u8::MAX, u128::MAX))?.take(max) {
            let (_, kind, id) = row?.0.value();
            due.push(Key { kind: known(kind)?, id });
        }
        let mut swept = Vec::with_capacity(due.len());
        for key in due {
            let head = self.head(key)?;
            swept.extend(head.as_ref().map(|head| (key, head.owner)));
            self.bury(key, head)?;
        }
        Ok(swept)
    }

    /// See [`andon_core::port::EventLog::commit`].
    pub(super) fn commit(&mut self, session: u128, batch: &Batch) -> Result<Rev, Trouble> {
        let key = Key { kind: Kind::Session, id: session };
        let before = self.check(key, batch.expect)?;
        if before.is_none() && batch.record.is_none() {
            return Err(Trouble::Conflict(None));
        }
        self.check_numbers(session, batch)?;
        for Event { stream, sequence, bytes } in &batch.events {
            self.events.insert((session, stream.0, *sequence), &**bytes)?;
        }
        for (stream, through) in &batch.forget {
            self.forget(session, *stream, *through)?;
        }
        match (&batch.record, before) {
            (Some(record), before) => self.put(key, record, before),
            (None, before) => before.map(|head| head.rev).ok_or(Trouble::Conflict(None)),
        }
    }

    /// Deletes what the session's streams have, but at most `max` rows. Gives how many that were.
    pub(super) fn delete_events(&mut self, session: u128, max: usize) -> Result<usize, StorageError> {
        let mut events = Vec::new();
        for row in self.events.range((session, 0, 0)..=(session, u32::MAX, u32::MAX))?.take(max) {
            events.push(row?.0.value());
        }
        for row in &events {
            self.events.remove(row)?;
        }
        let mut deleted = events.len();
        for table in [&mut self.forgotten, &mut self.over] {
            let mut streams = Vec::new();
            for row in table.range((session, 0)..=(session, u32::MAX))?.take(max - deleted) {
                streams.push(row?.0.value());
            }
            for row in &streams {
                table.remove(row)?;
            }
            deleted += streams.len();
        }
        Ok(deleted)
    }

    fn head(&self, key: Key) -> Result<Option<Head>, StorageError> {
        let row = self.records.get((key.kind as u8, key.id))?;
        Ok(row.map(|row| {
            let (rev, owner, expires_at, _) = row.value();
            Head { rev: Rev(rev), owner, expires_at }
        }))
    }

    /// Whether the record is in the state that is expected, and may be written.
    fn check(&self, key: Key, expect: Option<Rev>) -> Result<Option<Head>, Trouble> {
        let head = self.head(key)?;
        let current = head.as_ref().map(|head| head.rev);
        let is_dead = || self.dead.get((key.kind as u8, key.id)).map(|row| row.is_some());
        if current != expect || (current.is_none() && is_dead()?) {
            return Err(Trouble::Conflict(current));
        }
        Ok(head)
    }

    /// Whether all numbers are new, and in order.
    fn check_numbers(&self, session: u128, batch: &Batch) -> Result<(), Trouble> {
        let mut tops: HashMap<StreamId, u32> = HashMap::new();
        for event in &batch.events {
            let top = match tops.get(&event.stream) {
                Some(top) => *top,
                None => self.top(session, event.stream)?,
            };
            if event.sequence <= top {
                return Err(Trouble::Conflict(batch.expect));
            }
            tops.insert(event.stream, event.sequence);
        }
        Ok(())
    }

    /// The largest number that a stream has, or had.
    fn top(&self, session: u128, stream: StreamId) -> Result<u32, StorageError> {
        if self.run_from(session, stream)?.is_some_and(|(first, _)| first <= stream.0) {
            return Ok(u32::MAX);
        }
        let mut events = self.events.range((session, stream.0, 0)..=(session, stream.0, u32::MAX))?;
        let last = events.next_back().transpose()?.map_or(0, |row| row.0.value().2);
        let forgotten = self.forgotten.get((session, stream.0))?.map_or(0, |row| row.value());
        Ok(last.max(forgotten))
    }

    fn forget(&mut self, session: u128, stream: StreamId, through: u32) -> Result<(), StorageError> {
        self.events.retain_in((session, stream.0, 0)..=(session, stream.0, through), |_, _| false)?;
        if through == u32::MAX {
            self.forgotten.remove((session, stream.0))?;
            return self.end_stream(session, stream);
        }
        let before = self.forgotten.get((session, stream.0))?.map_or(0, |row| row.value());
        let is_over = self.run_from(session, stream)?.is_some_and(|(first, _)| first <= stream.0);
        if through > before && !is_over {
            self.forgotten.insert((session, stream.0), through)?;
        }
        Ok(())
    }

    /// The run of streams that are over in which `stream` is, or else the next one: its first and its last.
    fn run_from(&self, session: u128, stream: StreamId) -> Result<Option<(u32, u32)>, StorageError> {
        let mut runs = self.over.range((session, stream.0)..=(session, u32::MAX))?;
        Ok(runs.next().transpose()?.map(|(key, first)| (first.value(), key.value().1)))
    }

    /// The stream is over, and joins the runs beside it.
    fn end_stream(&mut self, session: u128, stream: StreamId) -> Result<(), StorageError> {
        let from = self.run_from(session, stream)?;
        if from.is_some_and(|(first, _)| first <= stream.0) {
            return Ok(());
        }
        let before = match stream.0.checked_sub(1) {
            Some(last) => self.over.remove((session, last))?.map(|row| row.value()),
            None => None,
        };
        let after = from.filter(|(first, _)| stream.0.checked_add(1) == Some(*first)).map(|(_, last)| last);
        self.over.insert((session, after.unwrap_or(stream.0)), before.unwrap_or(stream.0))?;
        Ok(())
    }

    fn put(&mut self, key: Key, record: &Record, before: Option<Head>) -> Result<Rev, Trouble> {
        let (kind, id) = (key.kind as u8, key.id);
        let expires_at = record.expires_at.map(|at| at.0);
        self.ledger.rev += 1;
        let rev = Rev(self.ledger.rev);
        self.records.insert((kind, id), (rev.0, record.owner, expires_at, &*record.bytes))?;
        if before.is_none() {
            self.ledger.counts[place(key.kind)] += 1;
        }
        let (owner_before, expiry_before) = before.map_or((None, None), |head| (Some(head.owner), head.expires_at));
        if owner_before != Some(record.owner) {
            if let Some(owner) = owner_before {
                self.owners.remove((kind, owner, id))?;
            }
            self.owners.insert((kind, record.owner, id), ())?;
        }
        if expiry_before != expires_at {
            if let Some(at) = expiry_before {
                self.expiries.remove((at, kind, id))?;
            }
            if let Some(at) = expires_at {
                self.expiries.insert((at, kind, id), ())?;
            }
        }
        Ok(rev)
    }

    /// The key is dead from now on, whether there was a record or not.
    fn bury(&mut self, key: Key, before: Option<Head>) -> Result<(), Trouble> {
        let (kind, id) = (key.kind as u8, key.id);
        let now_ms = self.ledger.uptime_ms;
        let died_before = self.dead.insert((kind, id), now_ms)?.map(|row| row.value());
        if let Some(died_ms) = died_before {
            self.deaths.remove((died_ms, kind, id))?;
        }
        self.deaths.insert((now_ms, kind, id), ())?;
        let Some(head) = before else { return Ok(()) };
        self.records.remove((kind, id))?;
        self.owners.remove((kind, head.owner, id))?;
        if let Some(at) = head.expires_at {
            self.expiries.remove((at, kind, id))?;
        }
        let count = &mut self.ledger.counts[place(key.kind)];
        *count = count.saturating_sub(1);
        if key.kind == Kind::Session && self.delete_events(id, EVENTS_AT_ONCE)? == EVENTS_AT_ONCE {
            self.leftovers.insert(id, ())?;
        }
        Ok(())
    }
}

/// The kind of that number.
pub(super) fn known(number: u8) -> Result<Kind, StorageError> {
    let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == number);
    kind.ok_or_else(|| StorageError::Corrupted(format!("there is no kind {number} of records")))
}
