//! Where tokens and registrations outlive the program.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::error::AuthError;
use crate::registration::ClientCredentials;
use crate::token::Token;

/// What is kept for one server and one issuer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Who we are to the issuer, if we registered there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientCredentials>,
    /// The last token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
}

/// Keeps what was granted, by server and issuer: what one issuer granted is never shown to another.
pub trait TokenStore: Send + Sync {
    /// All that is kept for `server`, by issuer.
    fn load<'a>(&'a self, server: &'a str) -> BoxFuture<'a, Result<BTreeMap<String, Stored>, AuthError>>;
    /// Replaces what is kept for `server` and `issuer`.
    fn save<'a>(&'a self, server: &'a str, issuer: &'a str, stored: &'a Stored)
    -> BoxFuture<'a, Result<(), AuthError>>;
    /// Forgets all that is kept for `server`.
    fn remove<'a>(&'a self, server: &'a str) -> BoxFuture<'a, Result<(), AuthError>>;
}

type Kept = BTreeMap<String, BTreeMap<String, Stored>>;

/// Keeps it as long as the program runs.
#[derive(Default)]
pub struct MemoryStore(Mutex<Kept>);

impl TokenStore for MemoryStore {
    fn load<'a>(&'a self, server: &'a str) -> BoxFuture<'a, Result<BTreeMap<String, Stored>, AuthError>> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(server).cloned();
        async { Ok(found.unwrap_or_default()) }.boxed()
    }

    fn save<'a>(
        &'a self,
        server: &'a str,
        issuer: &'a str,
        stored: &'a Stored,
    ) -> BoxFuture<'a, Result<(), AuthError>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.entry(server.to_owned()).or_default().insert(issuer.to_owned(), stored.clone());
        async { Ok(()) }.boxed()
    }

    fn remove<'a>(&'a self, server: &'a str) -> BoxFuture<'a, Result<(), AuthError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(server);
        async { Ok(()) }.boxed()
    }
}

/// Keeps it in one file that only its owner can read, written anew each time and moved into place.
pub struct FileStore {
    path: PathBuf,
    writing: Mutex<()>,
}

impl FileStore {
    /// In this file, whose folder is made if there is none.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), writing: Mutex::default() }
    }

    fn read(&self) -> Result<Kept, AuthError> {
        match std::fs::read(&self.path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|_| {
                AuthError::Store(format!("{} is damaged: remove it and log in again", self.path.display()))
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Kept::new()),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Kept)) -> Result<(), AuthError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = self.read()?;
        change(&mut kept);
        let text = serde_json::to_vec_pretty(&kept).expect("maps with string keys are JSON");
        self.write(&text).map_err(|error| self.failed(&error))
    }

    fn write(&self, text: &[u8]) -> std::io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder {
            std::fs::create_dir_all(folder)?;
        }
        let draft = self.path.with_extension(format!("{}.new", std::process::id()));
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        // One that an earlier run left.
        drop(std::fs::remove_file(&draft));
        let mut file = options.open(&draft)?;
        file.write_all(text)?;
        file.sync_all()?;
        std::fs::rename(&draft, &self.path)
    }

    fn failed(&self, error: &std::io::Error) -> AuthError {
        AuthError::Store(format!("{}: {error}", self.path.display()))
    }
}

impl TokenStore for FileStore {
    fn load<'a>(&'a self, server: &'a str) -> BoxFuture<'a, Result<BTreeMap<String, Stored>, AuthError>> {
        let found = self.read().map(|mut kept| kept.remove(server).unwrap_or_default());
        async { found }.boxed()
    }

    fn save<'a>(
        &'a self,
        server: &'a str,
        issuer: &'a str,
        stored: &'a Stored,
    ) -> BoxFuture<'a, Result<(), AuthError>> {
        let changed = self.change(|kept| {
            kept.entry(server.to_owned()).or_default().insert(issuer.to_owned(), stored.clone());
        });
        async { changed }.boxed()
    }

    fn remove<'a>(&'a self, server: &'a str) -> BoxFuture<'a, Result<(), AuthError>> {
        let changed = self.change(|kept| drop(kept.remove(server)));
        async { changed }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::{FileStore, Stored, TokenStore as _};
    use crate::registration::ClientCredentials;

    #[tokio::test]
    async fn a_file_keeps_what_was_saved_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/tokens.json");
        let store = FileStore::new(&path);
        assert!(store.load("s").await.expect("an empty store").is_empty());
        let stored = Stored { client: Some(ClientCredentials::new("me", None)), token: None };
        store.save("s", "i", &stored).await.expect("saved");
        store.save("t", "j", &Stored::default()).await.expect("saved");
        assert_eq!(FileStore::new(&path).load("s").await.expect("read")["i"], stored);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
        }
        store.remove("s").await.expect("removed");
        assert!(store.load("s").await.expect("read").is_empty());
        assert_eq!(store.load("t").await.expect("read").len(), 1);
        std::fs::write(&path, "{").expect("damaged");
        assert!(store.load("t").await.expect_err("damaged").to_string().contains("log in again"));
    }
}
