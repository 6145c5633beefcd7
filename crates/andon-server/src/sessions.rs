//! Where sessions are kept, and for how long.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use andon_core::port::Store;
use andon_store::{DiskStore, Durability, MemoryStore};

use crate::error::Error;
use crate::options::HostOptions;
use crate::seal::{Seal, SealKey, random};

/// Where sessions are kept, and for how long. In memory they survive every lost connection; on disk a restart, a kill and
/// a loss of power too.
///
/// ```no_run
/// use std::time::Duration;
/// use andon_server::server::Server;
/// use andon_server::sessions::Sessions;
///
/// let server = Server::new("greeter", "1.0.0")
///     .sessions(Sessions::disk("data").idle_timeout(Duration::from_secs(3600)).max(200_000));
/// ```
#[derive(Clone)]
pub struct Sessions {
    place: Place,
    idle_timeout: Option<Duration>,
    ttl: Option<Duration>,
    max: Option<usize>,
    max_per_principal: Option<usize>,
    stateless: bool,
}

#[derive(Clone)]
enum Place {
    Memory,
    Disk { directory: PathBuf, durability: Durability },
    Store(Arc<dyn Store>),
}

/// A store that is open.
pub struct Kept {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) is_durable: bool,
}

impl Kept {
    /// In memory, and gone with the process.
    pub fn in_memory() -> Self {
        Self { store: Arc::new(MemoryStore::new()), is_durable: false }
    }
}

impl Sessions {
    /// In memory: they end with the process. The default.
    pub fn memory() -> Self {
        Self::at(Place::Memory)
    }

    /// None, and nothing is kept: [`Sessions::memory`] made [`Sessions::stateless`].
    pub fn none() -> Self {
        Self::memory().stateless()
    }

    /// In `directory`, which is made if it is not there, and which one process at a time can have. What was acknowledged is
    /// on disk before ([`Durability::Commit`]).
    pub fn disk(directory: impl Into<PathBuf>) -> Self {
        Self::at(Place::Disk { directory: directory.into(), durability: Durability::Commit })
    }

    /// In a store of your own, which passes `andon_store::suite`.
    pub fn in_store(store: Arc<dyn Store>) -> Self {
        Self::at(Place::Store(store))
    }

    fn at(place: Place) -> Self {
        Self { place, idle_timeout: None, ttl: None, max: None, max_per_principal: None, stateless: false }
    }

    /// Gives clients of 2025-11-25 and before no sessions: they send requests that stand alone, as later clients do. This leaves out what
    /// a session is for: subscriptions and changes of lists, log notifications and their level, tasks, questions to the
    /// client (elicitation, sampling, roots), streams that can be resumed; a call whose connection is lost is cancelled. Over stdio a
    /// connection is a session, and has all of it. What else is kept stays where it is: tasks of later clients, replies by
    /// idempotency key, values by handle, keys.
    #[must_use]
    pub fn stateless(mut self) -> Self {
        self.stateless = true;
        self
    }

    /// How durable what was acknowledged is; only on disk.
    #[must_use]
    pub fn durability(mut self, wanted: Durability) -> Self {
        if let Place::Disk { durability, .. } = &mut self.place {
            *durability = wanted;
        }
        self
    }

    /// How long a session without calls and connections is kept. Default 30 min.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = Some(timeout);
        self
    }

    /// How long any session is kept once it is idle. Default 24 h.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Sessions in all; beyond that, 503. Default 200,000.
    #[must_use]
    pub fn max(mut self, sessions: usize) -> Self {
        self.max = Some(sessions);
        self
    }

    /// Sessions of one authenticated principal; beyond that, 429. Default 100.
    #[must_use]
    pub fn max_per_principal(mut self, sessions: usize) -> Self {
        self.max_per_principal = Some(sessions);
        self
    }

    pub(crate) fn apply(&self, options: &mut HostOptions) {
        options.stateless |= self.stateless;
        let limits = &mut options.conversation;
        limits.idle_timeout = self.idle_timeout.unwrap_or(limits.idle_timeout);
        limits.session_ttl = self.ttl.unwrap_or(limits.session_ttl);
        options.sessions_max = self.max.unwrap_or(options.sessions_max);
        options.sessions_per_principal_max = self.max_per_principal.unwrap_or(options.sessions_per_principal_max);
    }

    /// Opens the store, and gives the keys that are kept beside it: what clients carry for the server outlives the process
    /// too then.
    pub(crate) fn open(self) -> Result<(Kept, Option<Seal>), Error> {
        match self.place {
            Place::Memory => Ok((Kept::in_memory(), None)),
            Place::Store(store) => Ok((Kept { store, is_durable: true }, None)),
            Place::Disk { directory, durability } => {
                let store = DiskStore::open(&directory, durability)
                    .map_err(|error| Error::misuse(format!("sessions cannot be kept: {error}")))?;
                let key = seal_key(&directory.join("seal.key"))
                    .map_err(|error| Error::io(format!("cannot keep keys in {}", directory.display()), error))?;
                Ok((Kept { store: Arc::new(store), is_durable: true }, Some(Seal::new(&[key]))))
            }
        }
    }
}

/// The key in the file at `path`, which is made if it is not there. Nobody else has the directory while it is open.
fn seal_key(path: &std::path::Path) -> std::io::Result<SealKey> {
    match std::fs::read(path) {
        Ok(bytes) => bytes.try_into().map_err(|_| std::io::Error::other("seal.key is not a key of 32 bytes")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key: SealKey = random();
            write_new(path, &key)?;
            Ok(key)
        }
        Err(error) => Err(error),
    }
}

fn write_new(path: &std::path::Path, key: &SealKey) -> std::io::Result<()> {
    use std::io::Write as _;
    let draft = path.with_extension("draft");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    file.write_all(key)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)
}
