//! What is read, as the last transaction left it.

use std::ops::Bound;
use std::sync::Arc;

use andon_core::io::{StreamId, Timestamp};
use andon_core::port::{Event, Key, Kind, Record, Replay, Rev, Stored};
use redb::{ReadTransaction, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _};

use super::tables::{DEATHS, EVENTS, FORMAT_NAME, LEFTOVERS, Ledger, META, OWNERS, RECORDS, count_name};

/// What a read becomes.
pub(super) type Read<T> = Result<T, redb::Error>;

/// A look at one state of everything.
pub(super) struct Reading(ReadTransaction);

impl Reading {
    /// Of the last transaction.
    pub(super) fn begin(database: &redb::Database) -> Read<Self> {
        Ok(Self(database.begin_read()?))
    }

    /// The file's format; `None` if nothing was ever written.
    pub(super) fn format(&self) -> Read<Option<u64>> {
        match self.0.open_table(META) {
            Ok(meta) => Ok(meta.get(FORMAT_NAME)?.map(|row| row.value())),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn ledger(&self) -> Read<Ledger> {
        let meta = self.0.open_table(META)?;
        Ledger::read(|name| Ok(meta.get(name)?.map_or(0, |row| row.value())))
    }

    /// Whether there is something to take away; see [`super::write::Writing::tidy`].
    pub(super) fn is_untidy(&self, forgettable_ms: Option<u64>) -> Read<bool> {
        let oldest = self.0.open_table(DEATHS)?.first()?.map(|row| row.0.value().0);
        let is_forgettable = oldest.is_some_and(|died_ms| forgettable_ms.is_some_and(|until_ms| died_ms <= until_ms));
        Ok(is_forgettable || !self.0.open_table(LEFTOVERS)?.is_empty()?)
    }

    /// See [`andon_core::port::SessionStore::load`].
    pub(super) fn load(&self, key: Key) -> Read<Option<Stored>> {
        let records = self.0.open_table(RECORDS)?;
        let row = records.get((key.kind as u8, key.id))?;
        Ok(row.map(|row| stored(key.id, row.value())))
    }

    /// See [`andon_core::port::SessionStore::list`].
    pub(super) fn list_all(&self, kind: Kind, after: Option<u128>, max: usize) -> Read<Vec<Stored>> {
        let records = self.0.open_table(RECORDS)?;
        let kind = kind as u8;
        let first = after.map_or(Bound::Included((kind, 0)), |id| Bound::Excluded((kind, id)));
        let rows = records.range::<(u8, u128)>((first, Bound::Included((kind, u128::MAX))))?;
        rows.take(max)
            .map(|row| row.map(|(key, value)| stored(key.value().1, value.value())).map_err(Into::into))
            .collect()
    }

    /// See [`andon_core::port::SessionStore::list`].
    pub(super) fn list_owned(&self, kind: Kind, owner: u128, after: Option<u128>, max: usize) -> Read<Vec<Stored>> {
        let (owners, records) = (self.0.open_table(OWNERS)?, self.0.open_table(RECORDS)?);
        let kind = kind as u8;
        let first = after.map_or(Bound::Included((kind, owner, 0)), |id| Bound::Excluded((kind, owner, id)));
        let mut listed = Vec::new();
        for row in owners.range::<(u8, u128, u128)>((first, Bound::Included((kind, owner, u128::MAX))))?.take(max) {
            let (_, _, id) = row?.0.value();
            listed.extend(records.get((kind, id))?.map(|row| stored(id, row.value())));
        }
        Ok(listed)
    }

    /// See [`andon_core::port::SessionStore::count`].
    pub(super) fn count(&self, kind: Kind) -> Read<u64> {
        let meta = self.0.open_table(META)?;
        Ok(meta.get(count_name(kind))?.map_or(0, |row| row.value()))
    }

    /// See [`andon_core::port::EventLog::replay`].
    pub(super) fn replay(&self, session: u128, stream: StreamId, after: u32, max: usize) -> Read<Replay> {
        let nothing = Replay { events: Vec::new(), complete: true };
        if self.0.open_table(LEFTOVERS)?.get(session)?.is_some() {
            return Ok(nothing);
        }
        let Some(first) = after.checked_add(1) else { return Ok(nothing) };
        let events = self.0.open_table(EVENTS)?;
        let mut rows = events.range((session, stream.0, first)..=(session, stream.0, u32::MAX))?;
        let mut replay = nothing;
        for row in rows.by_ref().take(max) {
            let (key, value) = row?;
            replay.events.push(Event { stream, sequence: key.value().2, bytes: Arc::from(value.value()) });
        }
        replay.complete = rows.next().transpose()?.is_none();
        Ok(replay)
    }
}

fn stored(id: u128, (rev, owner, expires_at, bytes): (u64, u128, Option<u64>, &[u8])) -> Stored {
    let record = Record { bytes: Arc::from(bytes), owner, expires_at: expires_at.map(Timestamp) };
    Stored { id, record, rev: Rev(rev) }
}
