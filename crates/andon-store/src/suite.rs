//! The contract of a store as checks that any store must pass: see [`andon_core::port`] for what it says.
//!
//! [`suite`] checks what holds for every store; [`restart_suite`] what holds for one that outlives its process; and
//! [`outage_suite`] what a store says while it cannot answer. Each check gets an empty store. The checks spawn tasks, so
//! they need a tokio runtime, best one with several threads.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use andon_core::io::{StreamId, Timestamp};
use andon_core::port::{Event, Key, Kind, Record, Rev, Store, StoreError};

mod events;
mod order;
mod outage;
mod records;
mod restart;
mod sweeps;

/// A check that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its name, which says what holds.
    pub check: &'static str,
    /// What was seen instead.
    pub why: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.why)
    }
}

/// Opens the store at one place; each time what was put there before is there again. It is only called when the store that
/// it gave before is gone.
pub type Open = Arc<dyn Fn() -> Arc<dyn Store> + Send + Sync>;

/// Turns an outage on or off.
pub type Outage = Arc<dyn Fn(bool) + Send + Sync>;

/// Checks what holds for every store. `make` makes an empty one for each check. Says how many checks there were.
///
/// # Errors
/// The checks that failed.
pub async fn suite(make: impl Fn() -> Arc<dyn Store>) -> Result<usize, Vec<Failure>> {
    let checks = [records::CHECKS, sweeps::CHECKS, events::CHECKS, order::CHECKS].concat();
    run(&checks, make).await
}

/// Checks what holds for a store that outlives its process. `make` makes a new place for each check. Says how many checks
/// there were.
///
/// # Errors
/// The checks that failed.
pub async fn restart_suite(make: impl Fn() -> Open) -> Result<usize, Vec<Failure>> {
    run(restart::CHECKS, make).await
}

/// Checks what a store says while it cannot answer. `make` makes an empty store for each check, and what turns its outage
/// on and off. Says how many checks there were.
///
/// # Errors
/// The checks that failed.
pub async fn outage_suite(make: impl Fn() -> (Arc<dyn Store>, Outage)) -> Result<usize, Vec<Failure>> {
    run(outage::CHECKS, make).await
}

/// What a check found.
type Checked = Result<(), Wrong>;
type Checking = Pin<Box<dyn Future<Output = Checked> + Send>>;
/// A check's name, and the check.
type Check<S> = (&'static str, fn(S) -> Checking);

async fn run<S>(checks: &[Check<S>], make: impl Fn() -> S) -> Result<usize, Vec<Failure>> {
    let mut failures = Vec::new();
    for (name, check) in checks {
        if let Err(Wrong(why)) = check(make()).await {
            failures.push(Failure { check: name, why });
        }
    }
    if failures.is_empty() { Ok(checks.len()) } else { Err(failures) }
}

/// What was seen that must not be.
#[derive(Debug)]
struct Wrong(String);

impl From<StoreError> for Wrong {
    fn from(error: StoreError) -> Self {
        Self(format!("failed with {error:?}"))
    }
}

impl From<tokio::task::JoinError> for Wrong {
    fn from(error: tokio::task::JoinError) -> Self {
        Self(format!("panicked: {error}"))
    }
}

/// Fails the check unless the two are equal.
fn same<T: PartialEq + fmt::Debug>(what: &str, seen: &T, expected: &T) -> Checked {
    if seen == expected { Ok(()) } else { Err(Wrong(format!("{what}: {seen:?} instead of {expected:?}"))) }
}

/// Fails the check unless it holds.
fn holds(what: &str, it_does: bool) -> Checked {
    if it_does { Ok(()) } else { Err(Wrong(what.to_owned())) }
}

/// Names checks after their functions.
macro_rules! checks {
    ($of:ty: $($name:ident),+ $(,)?) => {
        pub(super) const CHECKS: &[super::Check<$of>] = &[$((stringify!($name), |given| Box::pin($name(given)))),+];
    };
}
use checks;

fn session(id: u128) -> Key {
    Key { kind: Kind::Session, id }
}

fn record(text: &str) -> Record {
    Record { bytes: Arc::from(text.as_bytes()), owner: 7, expires_at: None }
}

fn expiring(text: &str, at: u64) -> Record {
    Record { expires_at: Some(Timestamp(at)), ..record(text) }
}

fn event(stream: u32, sequence: u32, text: &str) -> Event {
    Event { stream: StreamId(stream), sequence, bytes: Arc::from(text.as_bytes()) }
}

fn conflict<T>(current: Option<Rev>) -> Result<T, StoreError> {
    Err(StoreError::Conflict { current })
}

/// What the record says; `None` if there is none.
async fn text(store: &dyn Store, key: Key) -> Result<Option<String>, Wrong> {
    Ok(store.load(key).await?.map(|stored| String::from_utf8_lossy(&stored.record.bytes).into_owned()))
}

/// The numbers and texts of a stream's events after a number, however many calls that takes.
async fn replayed(store: &dyn Store, session: u128, stream: u32, after: u32) -> Result<Vec<(u32, String)>, Wrong> {
    let (mut all, mut after) = (Vec::new(), after);
    loop {
        let replay = store.replay(session, StreamId(stream), after, 100).await?;
        for event in &replay.events {
            same("the stream of a replayed event", &event.stream, &StreamId(stream))?;
            all.push((event.sequence, String::from_utf8_lossy(&event.bytes).into_owned()));
        }
        match replay.events.last() {
            Some(last) if !replay.complete => after = last.sequence,
            None if !replay.complete => return Err(Wrong("a replay is empty and incomplete".to_owned())),
            _ => return Ok(all),
        }
    }
}
