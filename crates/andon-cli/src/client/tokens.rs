//! Where tokens are: in the keyring of the system, or in a file that only its owner reads.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use andon::auth::{AuthError, FileStore, Held, KeyringStore, Stored, TokenStore};
use clap::ValueEnum;

use super::{Failure, usage};

/// Which store is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Choice {
    /// The keyring, if one answers, else the file; the file if ANDON_TOKENS names one.
    #[default]
    Auto,
    /// The keyring of the system.
    Keyring,
    /// A file that only you can read.
    File,
}

/// The stores, of which one server's token is in one.
pub(super) struct Tokens {
    keyring: KeyringStore,
    file: FileStore,
    path: PathBuf,
    place: Mutex<Option<Place>>,
    is_chosen: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Keyring,
    File,
}

impl Tokens {
    /// Nothing is asked for anything yet.
    pub(super) fn new(choice: Choice) -> Result<Self, Failure> {
        let place = match choice {
            Choice::Auto => variable("ANDON_TOKENS").map(|_| Place::File),
            Choice::Keyring => Some(Place::Keyring),
            Choice::File => Some(Place::File),
        };
        let path = file()?;
        let folder = folder().or_else(|| path.parent().map(PathBuf::from)).unwrap_or_default();
        Ok(Self {
            keyring: KeyringStore::new(folder),
            file: FileStore::new(&path),
            path,
            place: Mutex::new(place),
            is_chosen: place.is_some(),
        })
    }

    /// From here on, they are in the keyring if one answers, wherever they were before.
    pub(super) async fn prefer_keyring(&self) -> Result<(), AuthError> {
        let chosen = *self.place();
        match chosen {
            Some(Place::Keyring) if self.is_chosen => self.keyring.answers().await,
            Some(Place::File) if self.is_chosen => Ok(()),
            _ => {
                let place = self.best().await;
                *self.place() = Some(place);
                Ok(())
            }
        }
    }

    /// Forgets what an earlier login left where the token of `server` is not now.
    pub(super) async fn forget_others(&self, server: &str) -> Result<(), AuthError> {
        let place = *self.place();
        match place {
            _ if self.is_chosen => Ok(()),
            Some(Place::Keyring) => self.forget_in_file(server).await,
            Some(Place::File) | None => {
                // The file comes first from now on, whether or not the keyring answers.
                if let Err(error) = self.keyring.remove(server).await {
                    tracing::debug!(%error, "what it may have stays there");
                }
                Ok(())
            }
        }
    }

    async fn forget_in_file(&self, server: &str) -> Result<(), AuthError> {
        if self.file.load(server).await?.is_empty() { Ok(()) } else { self.file.remove(server).await }
    }

    async fn best(&self) -> Place {
        match self.keyring.answers().await {
            Ok(()) => Place::Keyring,
            Err(error) => {
                tracing::debug!(%error, "the file is used instead");
                Place::File
            }
        }
    }

    fn place(&self) -> std::sync::MutexGuard<'_, Option<Place>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self, place: Place) -> &dyn TokenStore {
        match place {
            Place::Keyring => &self.keyring,
            Place::File => &self.file,
        }
    }

    async fn find(&self, server: &str) -> Result<BTreeMap<String, Stored>, AuthError> {
        let known = *self.place();
        if let Some(place) = known {
            return self.store(place).load(server).await;
        }
        for place in [Place::File, Place::Keyring] {
            let found = self.store(place).load(server).await?;
            if found.values().any(|stored| stored.token.is_some()) {
                *self.place() = Some(place);
                return Ok(found);
            }
        }
        Ok(BTreeMap::new())
    }
}

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self.place() {
            Some(Place::Keyring) => f.write_str("the keyring"),
            Some(Place::File) | None => write!(f, "{}", self.path.display()),
        }
    }
}

/// What is answered later.
pub(super) type Promise<'a, T> = Pin<Box<dyn Future<Output = Result<T, AuthError>> + Send + 'a>>;

impl TokenStore for Tokens {
    fn load<'a>(&'a self, server: &'a str) -> Promise<'a, BTreeMap<String, Stored>> {
        Box::pin(self.find(server))
    }

    fn save<'a>(&'a self, server: &'a str, issuer: &'a str, stored: &'a Stored) -> Promise<'a, ()> {
        Box::pin(async move {
            let known = *self.place();
            let place = match known {
                Some(place) => place,
                None => self.best().await,
            };
            *self.place() = Some(place);
            self.store(place).save(server, issuer, stored).await
        })
    }

    fn remove<'a>(&'a self, server: &'a str) -> Promise<'a, ()> {
        Box::pin(async move {
            let known = *self.place();
            match known {
                Some(place) if self.is_chosen => self.store(place).remove(server).await,
                _ => {
                    self.forget_in_file(server).await?;
                    self.keyring.remove(server).await
                }
            }
        })
    }

    fn hold<'a>(&'a self, server: &'a str) -> Promise<'a, Held> {
        // One lock, wherever the token is going to be.
        self.file.hold(server)
    }
}

/// `ANDON_TOKENS`, or `tokens.json` in the folder for data of programs.
fn file() -> Result<PathBuf, Failure> {
    if let Some(file) = variable("ANDON_TOKENS") {
        return Ok(file);
    }
    let folder = folder().ok_or_else(|| usage("no folder for tokens: set ANDON_TOKENS to a file"))?;
    Ok(folder.join("tokens.json"))
}

fn folder() -> Option<PathBuf> {
    let folder = variable("XDG_DATA_HOME")
        .or_else(|| variable("LOCALAPPDATA"))
        .or_else(|| variable("HOME").map(|home| home.join(".local").join("share")));
    Some(folder?.join("andon"))
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
