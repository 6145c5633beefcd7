//! What is in the file.

use andon_core::port::Kind;
use redb::TableDefinition;

/// The format that is written. A file of a newer one is refused.
pub(super) const FORMAT: u64 = 1;

/// By kind and id: the state's name, owner, expiry, bytes.
pub(super) const RECORDS: TableDefinition<'_, (u8, u128), RecordRow> = TableDefinition::new("records");
/// By kind, owner and id.
pub(super) const OWNERS: TableDefinition<'_, (u8, u128, u128), ()> = TableDefinition::new("owners");
/// By expiry, kind and id.
pub(super) const EXPIRIES: TableDefinition<'_, (u64, u8, u128), ()> = TableDefinition::new("expiries");
/// Since when a key is dead, in milliseconds of uptime.
pub(super) const DEAD: TableDefinition<'_, (u8, u128), u64> = TableDefinition::new("dead");
/// The same in order.
pub(super) const DEATHS: TableDefinition<'_, (u64, u8, u128), ()> = TableDefinition::new("deaths");
/// By session, stream and number.
pub(super) const EVENTS: TableDefinition<'_, (u128, u32, u32), &[u8]> = TableDefinition::new("events");
/// Up to which number the events of a stream were forgotten.
pub(super) const FORGOTTEN: TableDefinition<'_, (u128, u32), u32> = TableDefinition::new("forgotten");
/// Streams that are over, in runs: from the session and the last one of a run to the first.
pub(super) const OVER: TableDefinition<'_, (u128, u32), u32> = TableDefinition::new("over");
/// Dead sessions that had too many events to delete them all at once.
pub(super) const LEFTOVERS: TableDefinition<'_, u128, ()> = TableDefinition::new("leftovers");
/// The format and the [`Ledger`], by name.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

pub(super) type RecordRow = (u64, u128, Option<u64>, &'static [u8]);

/// The format's name in [`META`].
pub(super) const FORMAT_NAME: &str = "format";
/// Names in [`META`] of the number of records of each kind, in the order of [`Kind::ALL`].
const COUNT_NAMES: [&str; Kind::ALL.len()] = ["sessions", "states", "replies", "tasks"];

/// What a transaction knows of all before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    /// How many transactions there were.
    pub(super) transactions: u64,
    /// The name of the last state that was written.
    pub(super) rev: u64,
    /// How long the store has been open.
    pub(super) uptime_ms: u64,
    /// How many records there are of each kind.
    pub(super) counts: [u64; Kind::ALL.len()],
}

impl Ledger {
    /// Reads each of its numbers by name.
    pub(super) fn read<E>(mut number: impl FnMut(&'static str) -> Result<u64, E>) -> Result<Self, E> {
        let mut ledger = Self::default();
        for (name, value) in ledger.rows() {
            *value = number(name)?;
        }
        Ok(ledger)
    }

    /// Its numbers by name.
    pub(super) fn rows(&mut self) -> impl Iterator<Item = (&'static str, &mut u64)> {
        let Self { transactions, rev, uptime_ms, counts } = self;
        let rest = [("transactions", transactions), ("rev", rev), ("uptime_ms", uptime_ms)];
        rest.into_iter().chain(COUNT_NAMES.into_iter().zip(counts))
    }
}

/// The name in [`META`] of the number of records of `kind`.
pub(super) fn count_name(kind: Kind) -> &'static str {
    COUNT_NAMES[place(kind)]
}

/// Where `kind` is in [`Kind::ALL`].
pub(super) fn place(kind: Kind) -> usize {
    kind as usize - 1
}
