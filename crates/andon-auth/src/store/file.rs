//! Tokens in one file.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use zeroize::Zeroizing;

use super::lock::lock;
use super::{Held, Kept, Stored, TokenStore, damaged};
use crate::error::AuthError;
use crate::jwt::digest;

/// Keeps it in one file that only its owner can read, written anew each time and moved into place. Processes that
/// share it take turns, by the lock of an empty file beside it.
pub struct FileStore {
    path: PathBuf,
}

impl FileStore {
    /// In this file, whose folder is made if there is none.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    fn read(&self) -> Result<Kept, AuthError> {
        match std::fs::read(&self.path).map(Zeroizing::new) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|_| damaged(self.path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Kept::new()),
            Err(error) => Err(self.failed(&error)),
        }
    }

    async fn change(&self, change: impl FnOnce(&mut Kept)) -> Result<(), AuthError> {
        let _held = lock(&self.path.with_extension("lock")).await?;
        let mut kept = self.read()?;
        change(&mut kept);
        let text = serde_json::to_vec_pretty(&kept).expect("maps with string keys are JSON");
        self.write(&Zeroizing::new(text)).map_err(|error| self.failed(&error))
    }

    /// Under the lock, which has made the folder.
    fn write(&self, text: &[u8]) -> std::io::Result<()> {
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
        let change = |kept: &mut Kept| {
            kept.entry(server.to_owned()).or_default().insert(issuer.to_owned(), stored.clone());
        };
        self.change(change).boxed()
    }

    fn remove<'a>(&'a self, server: &'a str) -> BoxFuture<'a, Result<(), AuthError>> {
        self.change(|kept: &mut Kept| drop(kept.remove(server))).boxed()
    }

    fn hold<'a>(&'a self, server: &'a str) -> BoxFuture<'a, Result<Held, AuthError>> {
        // One for each server: who waits for one authorization server does not hold up another.
        let path = self.path.with_extension(format!("{}.lock", &digest(server)[..16]));
        async move { Ok(Box::new(lock(&path).await?) as Held) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;
    use futures_util::future::join_all;

    use super::{FileStore, Stored, TokenStore as _};
    use crate::registration::ClientCredentials;

    #[tokio::test]
    async fn a_file_keeps_what_was_saved_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/tokens.json");
        let store = FileStore::new(&path);
        assert!(store.load("s").await.expect("an empty store").is_empty());
        let stored = Stored { client: Some(ClientCredentials::new("me", None)), ..Stored::default() };
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

    /// Each store has a lock of its own, as processes have.
    #[tokio::test(flavor = "multi_thread")]
    async fn many_who_save_at_once_lose_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens.json");
        let saving = (0..20).map(|number| {
            let store = FileStore::new(&path);
            tokio::spawn(async move { store.save("s", &format!("i{number}"), &Stored::default()).await })
        });
        for saved in join_all(saving).await {
            saved.expect("no panic").expect("saved");
        }
        assert_eq!(FileStore::new(&path).load("s").await.expect("read").len(), 20);
    }

    #[tokio::test]
    async fn what_is_held_for_one_server_is_free_for_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let stores = [(); 2].map(|()| Arc::new(FileStore::new(folder.path().join("tokens.json"))));
        let held = stores[0].hold("s").await.expect("free");
        assert!(stores[1].hold("s").now_or_never().is_none(), "it is held");
        stores[1].hold("t").await.expect("free");
        stores[1].save("s", "i", &Stored::default()).await.expect("saving does not wait for it");
        drop(held);
        stores[1].hold("s").await.expect("free again");
    }
}
