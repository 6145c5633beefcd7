//! The file, open or not.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use andon_core::port::StoreError;
use redb::{Builder, Database, DatabaseError, StorageError};

use super::OpenError;
use super::queue::{Queue, unavailable};
use super::read::{Read, Reading};
use super::tables::{FORMAT, FORMAT_NAME, Ledger, META};
use super::write::Writing;
use crate::unheard::Outcome;

/// The file's name.
const FILE: &str = "andon.redb";
/// How much of the file is kept in memory, besides what the operating system keeps.
const CACHE_BYTES: usize = 64 << 20;

/// Whether a file has to be there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existence {
    Optional,
    Required,
}

/// How the file is opened, again after each failure of the disk.
pub(super) type Opener = Arc<dyn Fn(&Path, Existence) -> Result<Database, DatabaseError> + Send + Sync>;

/// Opens files.
pub(super) fn open_file() -> Opener {
    Arc::new(|path, existence| Builder::new().set_cache_size(CACHE_BYTES).create_file(private_file(path, existence)?))
}

/// The engine, which is closed while the disk fails.
pub(super) struct Engine {
    directory: PathBuf,
    opener: Opener,
    /// Readers hold the lock for as long as they read, and never wait for it.
    database: RwLock<Option<Database>>,
}

impl Engine {
    pub(super) fn open(directory: &Path, opener: Opener) -> Result<(Self, Ledger), OpenError> {
        private_directory(directory).map_err(|source| OpenError::Io { directory: directory.to_owned(), source })?;
        let engine = Self { directory: directory.to_owned(), opener, database: RwLock::default() };
        let ledger = engine.load(Existence::Optional)?;
        keep_names(directory).map_err(|source| OpenError::Io { directory: directory.to_owned(), source })?;
        Ok((engine, ledger))
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Closes the file, and opens it as it is now. It has to be the one that had so many transactions: if the disk is gone,
    /// there is an empty directory in its place, and what was in the file is not known to be absent.
    pub(super) fn reopen(&self, transactions: u64) -> Result<Ledger, OpenError> {
        // An engine that failed keeps its lock on the file until it is gone.
        self.close();
        let ledger = self.load(Existence::Required)?;
        if ledger.transactions >= transactions {
            return Ok(ledger);
        }
        self.close();
        let (directory, found) = (self.directory.clone(), ledger.transactions);
        Err(OpenError::Damaged { directory, why: format!("it had {transactions} transactions and now has {found}") })
    }

    fn load(&self, existence: Existence) -> Result<Ledger, OpenError> {
        let opened = (self.opener)(&self.directory.join(FILE), existence);
        let opened = opened.map_err(|error| self.explain(error.into()))?;
        let ledger = self.prepare(&opened)?;
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = Some(opened);
        Ok(ledger)
    }

    /// Nothing is left open.
    pub(super) fn close(&self) {
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The engine, if it works.
    pub(super) fn database(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads from the last transaction. If the engine turns out to be broken, `queue` is told.
    pub(super) fn read<T>(&self, queue: &Queue, what: impl FnOnce(&Reading) -> Read<T>) -> Outcome<T> {
        // Only a reopening writer holds it for itself, and then there is nothing to read.
        let Ok(database) = self.database.try_read() else { return Err(unavailable()) };
        let Some(database) = &*database else {
            queue.suspect();
            return Err(unavailable());
        };
        Reading::begin(database).and_then(|reading| what(&reading)).map_err(|error| {
            queue.suspect();
            refusal(&error)
        })
    }

    fn prepare(&self, database: &Database) -> Result<Ledger, OpenError> {
        let reading = Reading::begin(database).map_err(|error| self.explain(error))?;
        match reading.format().map_err(|error| self.explain(error))? {
            None => found(database).map_err(|error| self.explain(error)),
            Some(FORMAT) => reading.ledger().map_err(|error| self.explain(error)),
            Some(format) => {
                Err(OpenError::NewerFormat { directory: self.directory.clone(), found: format, known: FORMAT })
            }
        }
    }

    fn explain(&self, error: redb::Error) -> OpenError {
        let directory = self.directory.clone();
        match error {
            redb::Error::DatabaseAlreadyOpen => OpenError::InUse { directory },
            redb::Error::Io(source) if source.kind() == io::ErrorKind::InvalidData => {
                OpenError::Damaged { directory, why: source.to_string() }
            }
            redb::Error::Io(source) => OpenError::Io { directory, source },
            redb::Error::PreviousIo => OpenError::Io { directory, source: io::Error::other(error) },
            error => OpenError::Damaged { directory, why: error.to_string() },
        }
    }
}

/// What a failure of the engine means to a caller, if nothing was done.
pub(super) fn refusal(error: &redb::Error) -> StoreError {
    match error {
        redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::DatabaseClosed => unavailable(),
        error => StoreError::Fatal(error.to_string()),
    }
}

/// Makes the tables of a new file.
fn found(database: &Database) -> Result<Ledger, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    transaction.open_table(META)?.insert(FORMAT_NAME, FORMAT)?;
    let ledger = Writing::begin(&transaction, Ledger::default())?.end()?;
    transaction.commit()?;
    Ok(ledger)
}

/// A file for its owner only, whoever made it.
fn private_file(path: &Path, existence: Existence) -> Result<File, StorageError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(existence == Existence::Optional).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
        }
    }
    Ok(file)
}

/// Makes the directory for its owner only. One that is there already is the operator's, and stays as it is.
fn private_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// The names of files have to last as long as what is in them.
#[cfg(unix)]
fn keep_names(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// There is nothing to be done for names here.
#[cfg(not(unix))]
fn keep_names(_directory: &Path) -> io::Result<()> {
    Ok(())
}
