//! A disk that fails on command, under the real engine and the real file.

use std::fs::OpenOptions;
use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use redb::backends::FileBackend;
use redb::{BackendError, Builder, StorageBackend};

use super::super::engine::{Existence, Opener};

/// A number of operations that never comes.
const NEVER: u64 = u64::MAX;

#[derive(Debug, Clone, Default)]
pub(super) struct Disk(Arc<State>);

#[derive(Debug)]
struct State {
    fails: AtomicBool,
    /// How many operations succeed before one fails.
    until_failure: AtomicU64,
    syncs: AtomicU64,
    /// Taken by whoever lets no sync begin.
    hold: Mutex<()>,
    /// How many syncs wait, or waited.
    arrived: Mutex<u64>,
    arrival: Condvar,
}

impl Default for State {
    fn default() -> Self {
        Self {
            fails: AtomicBool::default(),
            until_failure: AtomicU64::new(NEVER),
            syncs: AtomicU64::default(),
            hold: Mutex::default(),
            arrived: Mutex::default(),
            arrival: Condvar::default(),
        }
    }
}

/// While it is there, no sync ends.
pub(super) struct Hold<'a> {
    disk: &'a Disk,
    arrived_before: u64,
    _guard: MutexGuard<'a, ()>,
}

impl Hold<'_> {
    /// Until a sync waits for the hold to end.
    pub(super) fn wait_for_sync(&self) {
        let arrived = self.disk.0.arrived.lock().expect("unpoisoned");
        let is_early = |arrived: &mut u64| *arrived == self.arrived_before;
        drop(self.disk.0.arrival.wait_while(arrived, is_early).expect("unpoisoned"));
    }
}

impl Disk {
    /// Opens files on this disk.
    pub(super) fn opener(&self) -> Opener {
        let disk = self.clone();
        Arc::new(move |path, existence| {
            disk.operate()?;
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(existence == Existence::Optional)
                .truncate(false)
                .open(path)?;
            Builder::new().create_with_backend(Failing { file: FileBackend::new(file)?, disk: disk.clone() })
        })
    }

    /// Everything fails, or nothing does.
    pub(super) fn fail_all(&self, is_on: bool) {
        self.0.until_failure.store(NEVER, Ordering::SeqCst);
        self.0.fails.store(is_on, Ordering::SeqCst);
    }

    /// One change of the file fails, after `count` that do not.
    pub(super) fn fail_once_after(&self, count: u64) {
        self.0.until_failure.store(count, Ordering::SeqCst);
    }

    /// Whether the failure that was ordered last has come.
    pub(super) fn has_failed(&self) -> bool {
        self.0.until_failure.load(Ordering::SeqCst) == NEVER
    }

    pub(super) fn hold(&self) -> Hold<'_> {
        let guard = self.0.hold.lock().expect("unpoisoned");
        let arrived_before = *self.0.arrived.lock().expect("unpoisoned");
        Hold { disk: self, arrived_before, _guard: guard }
    }

    /// How many syncs there are while `work` runs.
    pub(super) fn syncs_count<T>(&self, work: impl FnOnce() -> T) -> u64 {
        let before = self.0.syncs.load(Ordering::SeqCst);
        work();
        self.0.syncs.load(Ordering::SeqCst) - before
    }

    fn operate(&self) -> Result<(), io::Error> {
        if self.0.fails.load(Ordering::SeqCst) { Err(io::Error::other("the disk fails")) } else { Ok(()) }
    }

    fn change(&self) -> Result<(), io::Error> {
        self.operate()?;
        let count = |left: u64| if left == NEVER { None } else { Some(left.checked_sub(1).unwrap_or(NEVER)) };
        match self.0.until_failure.fetch_update(Ordering::SeqCst, Ordering::SeqCst, count) {
            Ok(0) => Err(io::Error::other("the disk fails once")),
            _ => Ok(()),
        }
    }
}

#[derive(Debug)]
struct Failing {
    file: FileBackend,
    disk: Disk,
}

impl StorageBackend for Failing {
    fn len(&self) -> Result<u64, io::Error> {
        self.disk.operate()?;
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.disk.operate()?;
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.disk.change()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.disk.0.syncs.fetch_add(1, Ordering::SeqCst);
        *self.disk.0.arrived.lock().expect("unpoisoned") += 1;
        self.disk.0.arrival.notify_all();
        drop(self.disk.0.hold.lock().expect("unpoisoned"));
        self.disk.change()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.disk.change()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> Result<(), io::Error> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
