//! A store in one file of a directory, by the engine redb: a queue of calls, one thread that commits, and readers.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use andon_core::io::{StreamId, Timestamp};
use andon_core::port::{Batch, EventLog, Key, Kind, Pending, Record, Replay, Rev, SessionStore, Stored};

use self::committer::Committer;
use self::engine::{Engine, Opener};
use self::queue::{Cost, Queue};

mod committer;
mod engine;
mod queue;
mod read;
mod tables;
mod tidy;
mod write;

/// How many records one sweep deletes at most, so that it holds up nobody for long.
const SWEEP_MAX: usize = 1_000;

/// When the disk has what was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Before it is acknowledged. Nothing is lost when the process is killed or the power fails.
    Commit,
    /// This much later at most. When the process is killed, the power or the disk fails, what was acknowledged in that time
    /// is lost, all of it from some moment on; what is left is consistent.
    Interval(Duration),
    /// When the store is closed. A process that is killed loses all that was acknowledged since the store was opened.
    Memory,
}

/// Keeps what it is told in one file of a directory. [`Durability`] says when what it acknowledged is there for good.
///
/// Calls wait in a queue in the order in which they are made. One thread takes all that wait, does them in one transaction
/// and makes it durable; so a hundred writers share the disk's time of one. Reads look at the last transaction and wait
/// for nothing.
///
/// Files are open to their owner only. When the disk fails or is full, calls are answered with
/// [`Unavailable`](andon_core::port::StoreError::Unavailable), and the store goes on by itself when the disk is back. Dropping the store waits until all
/// that was called is on disk.
pub struct DiskStore {
    engine: Arc<Engine>,
    queue: Arc<Queue>,
    durability: Durability,
    thread: Option<JoinHandle<()>>,
}

/// Why a store on disk cannot be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it open.
    InUse {
        /// Where it is.
        directory: PathBuf,
    },
    /// A newer version of this software wrote it.
    NewerFormat {
        /// Where it is.
        directory: PathBuf,
        /// Its format.
        found: u64,
        /// The newest format that is understood.
        known: u64,
    },
    /// What is there is no store, or is broken.
    Damaged {
        /// Where it is.
        directory: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The directory or the file cannot be made, read or written.
    Io {
        /// Where it is.
        directory: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { directory } => {
                write!(f, "{}: another process has this store open", directory.display())
            }
            Self::NewerFormat { directory, found, known } => write!(
                f,
                "{}: written by a newer version (format {found}; this one knows formats up to {known})",
                directory.display()
            ),
            Self::Damaged { directory, why } => {
                write!(f, "{}: not a store, or a broken one: {why}", directory.display())
            }
            Self::Io { directory, source } => write!(f, "{}: {source}", directory.display()),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::InUse { .. } | Self::NewerFormat { .. } | Self::Damaged { .. } => None,
        }
    }
}

impl fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskStore").field("directory", &self.engine.directory()).finish_non_exhaustive()
    }
}

impl DiskStore {
    /// Opens the store in `directory`, which is made if it is not there. Blocks for as long as that takes: after a kill
    /// some milliseconds, whatever the size.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(directory: impl AsRef<Path>, durability: Durability) -> Result<Self, OpenError> {
        Self::open_with(directory.as_ref(), durability, engine::open_file())
    }

    fn open_with(directory: &Path, durability: Durability, opener: Opener) -> Result<Self, OpenError> {
        let (engine, ledger) = Engine::open(directory, opener)?;
        let (engine, queue) = (Arc::new(engine), Arc::new(Queue::default()));
        let committer = Committer::new(engine.clone(), queue.clone(), durability, ledger);
        let thread = std::thread::Builder::new()
            .name("andon-store".to_owned())
            .spawn(move || committer.run())
            .map_err(|source| OpenError::Io { directory: directory.to_owned(), source })?;
        Ok(Self { engine, queue, durability, thread: Some(thread) })
    }

    /// Reads at once: what is asked for is small, and most often in memory.
    fn read<T: Send + 'static>(&self, what: impl FnOnce(&read::Reading) -> read::Read<T>) -> Pending<T> {
        Box::pin(std::future::ready(self.engine.read(&self.queue, what)))
    }

    /// Reads in a thread that may block, if there is a runtime to ask for one.
    fn read_much<T: Send + 'static>(
        &self,
        what: impl FnOnce(&read::Reading) -> read::Read<T> + Send + 'static,
    ) -> Pending<T> {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return self.read(what) };
        let (engine, queue) = (self.engine.clone(), self.queue.clone());
        let reading = runtime.spawn_blocking(move || engine.read(&queue, what));
        Box::pin(async move { reading.await.unwrap_or(Err(queue::unavailable())) })
    }
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            // It says itself why it failed, if it did.
            let _ = thread.join();
        }
    }
}

impl SessionStore for DiskStore {
    fn write(&self, key: Key, record: Record, expect: Option<Rev>) -> Pending<Rev> {
        let cost = Cost::of_bytes(record.bytes.len());
        self.queue.submit(Some(key), cost, move |writing| writing.write(key, &record, expect))
    }

    fn keeps_all(&self) -> bool {
        self.durability == Durability::Commit
    }

    fn load(&self, key: Key) -> Pending<Option<Stored>> {
        self.read(move |reading| reading.load(key))
    }

    fn delete(&self, key: Key, expect: Option<Rev>) -> Pending<()> {
        self.queue.submit(Some(key), Cost::of_bytes(0), move |writing| writing.delete(key, expect))
    }

    fn list(&self, kind: Kind, owner: Option<u128>, after: Option<u128>, max: usize) -> Pending<Vec<Stored>> {
        self.read_much(move |reading| match owner {
            Some(owner) => reading.list_owned(kind, owner, after, max),
            None => reading.list_all(kind, after, max),
        })
    }

    fn count(&self, kind: Kind) -> Pending<u64> {
        self.read(move |reading| reading.count(kind))
    }

    fn sweep(&self, now: Timestamp, max: usize) -> Pending<Vec<(Key, u128)>> {
        let max = max.min(SWEEP_MAX);
        self.queue.submit(None, Cost::of_calls(max), move |writing| writing.sweep(now, max))
    }
}

impl EventLog for DiskStore {
    fn commit(&self, session: u128, batch: Batch) -> Pending<Rev> {
        let key = Key { kind: Kind::Session, id: session };
        let record_bytes = batch.record.as_ref().map_or(0, |record| record.bytes.len());
        let event_bytes: usize = batch.events.iter().map(|event| event.bytes.len()).sum();
        let cost = Cost { calls: 1 + batch.events.len() + batch.forget.len(), bytes: record_bytes + event_bytes };
        self.queue.submit(Some(key), cost, move |writing| writing.commit(session, &batch))
    }

    fn replay(&self, session: u128, stream: StreamId, after: u32, max: usize) -> Pending<Replay> {
        self.read_much(move |reading| reading.replay(session, stream, after, max))
    }
}

#[cfg(test)]
mod tests;
