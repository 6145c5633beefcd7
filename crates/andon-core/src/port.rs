//! What outlives the process: the two traits that every store implements, and the contract that holds for all of them.
//!
//! Both are object safe and know nothing of the protocol: a record is bytes under a key, an event is bytes on a stream.
//! `andon_store::suite` checks all that is said here, and any store has to pass it.
//!
//! **Order.** A call takes effect where it is made, not where its future is polled: calls for one key take effect in the
//! order in which they are made, and a dropped future changes nothing about that. When a call fails with
//! [`StoreError::Unavailable`] or [`StoreError::Unknown`], those for the same key that were made after it and before its
//! failure was known fail too; it is known when its future is done or dropped. A read sees all whose futures were done when
//! it was made, and may see what is under way.
//!
//! **Durability.** A future that is done with `Ok` says that the effect is as durable as the store promises. Nothing that
//! was promised to a client may leave before that.
//!
//! **Time** is milliseconds since 1970, by the caller's clock: a store has none of its own.
//!
//! **Outage.** A store that cannot answer says so. It never says that a record is absent when it does not know: a client
//! would take its session for dead.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::io::{StreamId, Timestamp};

/// An answer of a store that is on its way.
pub type Pending<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A session.
    Session = 1,
    /// What handlers keep: of a session, or under a handle of the modern era.
    State = 2,
    /// The reply to a call that came with an idempotency key.
    Reply = 3,
    /// A task.
    Task = 4,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Self::Session, Self::State, Self::Reply, Self::Task];
}

/// Names a record. The id is a hash of what the client holds, never the secret itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// What it is.
    pub kind: Kind,
    /// Which one.
    pub id: u128,
}

/// Names one state of a record. Opaque: only equality means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rev(pub u64);

/// A record to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What it says; the caller's format.
    pub bytes: Arc<[u8]>,
    /// A hash of whose it is; records can be listed by it.
    pub owner: u128,
    /// When it may be swept; `None` is never.
    pub expires_at: Option<Timestamp>,
}

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Which one.
    pub id: u128,
    /// What was written.
    pub record: Record,
    /// What to expect when it is written again.
    pub rev: Rev,
}

/// An event that was put on a stream of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Which stream.
    pub stream: StreamId,
    /// From 1; a stream has each number once.
    pub sequence: u32,
    /// What it says; the caller's format.
    pub bytes: Arc<[u8]>,
}

/// What one turn of a session changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The state that the session's record is in; `None` if there is none yet, and then `record` creates it. It is looked
    /// at even if there are only events: who lost a session to another node can add nothing to it.
    pub expect: Option<Rev>,
    /// What the record becomes, if it changes.
    pub record: Option<Record>,
    /// Events for the ends of their streams, in this order. A stream begins with its first event.
    pub events: Vec<Event>,
    /// Streams whose events up to a number are forgotten. After the events above were put there. With `u32::MAX` the stream
    /// is over: a session may have any number of those, and a store keeps next to nothing of them.
    pub forget: Vec<(StreamId, u32)>,
}

/// What a stream still has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// In order.
    pub events: Vec<Event>,
    /// Whether that is all; otherwise ask again after the last of them.
    pub complete: bool,
}

/// Records by key, changed by compare-and-swap.
///
/// A record whose time is over is still there until it is swept. A key that was deleted or swept stays dead for at least
/// a day: nothing is created under it, so that a writer who comes too late brings nothing back.
pub trait SessionStore: Send + Sync {
    /// Creates the record if `expect` is `None`, otherwise replaces the state that `expect` names. The new state's
    /// name is none that the record had before.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the record is in another state, is there already, or is not there; and if the key is dead.
    /// Nothing is changed then.
    fn write(&self, key: Key, record: Record, expect: Option<Rev>) -> Pending<Rev>;

    /// Whether what was done is there after the death of the process, all of it. Of a store that says no, only what was done
    /// up to some earlier moment may be there.
    fn keeps_all(&self) -> bool {
        true
    }

    /// Reads what was written last, by anybody.
    fn load(&self, key: Key) -> Pending<Option<Stored>>;

    /// Deletes the record, and with a session all its events; without `expect`, whatever its state is. Of a record that
    /// is not there: done already, and the key is dead all the same.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if another state than `expect` is there.
    fn delete(&self, key: Key, expect: Option<Rev>) -> Pending<()>;

    /// The records of `kind`, of `owner` if one is named, by id, after the id `after`: at most `max`. What is written
    /// meanwhile may or may not be among them.
    fn list(&self, kind: Kind, owner: Option<u128>, after: Option<u128>, max: usize) -> Pending<Vec<Stored>>;

    /// How many records of `kind` there are, expired ones included.
    fn count(&self, kind: Kind) -> Pending<u64>;

    /// Deletes at most `max` records that expired by `now`, as [`SessionStore::delete`] does: those that did so first. Says
    /// which, with their owners. A store may stop earlier, so as not to hold up others: only none means that none is left.
    fn sweep(&self, now: Timestamp, max: usize) -> Pending<Vec<(Key, u128)>>;
}

/// Events by session and stream, in order, put there together with the record of their session.
pub trait EventLog: Send + Sync {
    /// Does all that `batch` says, or nothing. Gives the name of the state that the session's record is in then: a new one
    /// if it was written, the expected one if not.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] as [`SessionStore::write`], and if an event's number is taken or was forgotten already: a
    /// stream has each number once, and numbers only grow.
    fn commit(&self, session: u128, batch: Batch) -> Pending<Rev>;

    /// The events of a stream after number `after`, at most `max`. Of a stream or a session that is not known: none.
    fn replay(&self, session: u128, stream: StreamId, after: u32, max: usize) -> Pending<Replay>;
}

/// Both, by one engine.
pub trait Store: SessionStore + EventLog + 'static {}

impl<T: SessionStore + EventLog + 'static> Store for T {}

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreError {
    /// The record is not in the state that was expected. The state that it is in, if it is there.
    Conflict {
        /// `None` if there is no record.
        current: Option<Rev>,
    },
    /// Nothing was done: the disk is full or failing, the engine cannot be reached. Answered with 503.
    Unavailable {
        /// When to try again.
        retry_after: Duration,
    },
    /// It may have been done, or not: load to see.
    Unknown,
    /// The store cannot be used any more, or what is in it cannot be read.
    Fatal(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict { .. } => f.write_str("somebody else changed the record"),
            Self::Unavailable { .. } => f.write_str("the store cannot be written to or read now"),
            Self::Unknown => f.write_str("the store did not say whether it was done"),
            Self::Fatal(why) => write!(f, "the store cannot be used: {why}"),
        }
    }
}

impl std::error::Error for StoreError {}
