//! Tokens in the keyring of the system: the Secret Service of Linux desktops, the Keychain of macOS, the Credential
//! Manager of Windows.

#[cfg_attr(
    all(feature = "keyring", any(target_os = "linux", target_os = "freebsd")),
    path = "keyring/secret_service.rs"
)]
#[cfg_attr(all(feature = "keyring", any(target_os = "macos", windows)), path = "keyring/native.rs")]
#[cfg_attr(
    not(all(feature = "keyring", any(target_os = "linux", target_os = "freebsd", target_os = "macos", windows))),
    path = "keyring/none.rs"
)]
mod vault;

use std::collections::BTreeMap;
use std::path::PathBuf;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use super::lock::lock;
use super::{Held, Issuers, Stored, TokenStore, damaged};
use crate::error::AuthError;
use crate::jwt::{digest, random_text};
use vault::Vault;

/// Bytes of one entry, without its first line. Windows keeps at most 2,560 in one; elsewhere it is a guard.
const PART_BYTES_MAX: usize = if cfg!(windows) { 2 << 10 } else { 32 << 10 };
/// Entries for one server.
const PARTS_MAX: usize = 64;
/// Bytes of a server's URL in the name of an entry, for which Windows has 513.
const NAME_BYTES_MAX: usize = 400;

/// Keeps it in the keyring of the person who runs the program: one entry for each server, or several if it is too
/// large for one. The server's URL is the name of its entry, which is no secret to other programs of that person.
///
/// The keyring is only asked about a server for which something was saved: an empty file in a folder tells so, and its
/// lock makes processes take turns.
pub struct KeyringStore {
    vault: OnceCell<Vault>,
    folder: PathBuf,
}

impl KeyringStore {
    /// The keyring, which is not asked for anything yet. The folder for its empty files has to be the same each time,
    /// and is made if there is none.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { vault: OnceCell::new(), folder: folder.into() }
    }

    /// Makes sure that there is a keyring and that it answers. It may ask the person to unlock it.
    ///
    /// # Errors
    /// When there is none, it does not answer within 5 s, or it is locked and stays so for 2 min.
    pub async fn answers(&self) -> Result<(), AuthError> {
        self.vault().await.map(drop)
    }

    async fn vault(&self) -> Result<&Vault, AuthError> {
        self.vault.get_or_try_init(Vault::open).await
    }

    /// Under the lock: what is in several entries must not change while it is read.
    async fn read(&self, server: &str) -> Result<Issuers, AuthError> {
        let (vault, name) = (self.vault().await?, name(server));
        let Some(first) = vault.get(&name).await? else { return Ok(Issuers::new()) };
        let (head, piece) = Head::read(&first).ok_or_else(|| damaged(entry(server)))?;
        let mut text = Zeroizing::new(Vec::with_capacity(head.parts * PART_BYTES_MAX));
        text.extend_from_slice(piece);
        for number in 1..head.parts {
            let part = vault.get(&part_name(&name, number)).await?;
            match part.as_deref().and_then(|part| Head::read(part)) {
                Some((known, piece)) if known == head => text.extend_from_slice(piece),
                // Somebody was interrupted while saving: nothing of it can be believed.
                _ => return Ok(Issuers::new()),
            }
        }
        serde_json::from_slice(&text).map_err(|_| damaged(entry(server)))
    }

    async fn write(&self, server: &str, issuers: &Issuers) -> Result<(), AuthError> {
        let (vault, name) = (self.vault().await?, name(server));
        let parts_before = self.parts(&name).await?;
        let text = Zeroizing::new(serde_json::to_vec(issuers).expect("maps with string keys are JSON"));
        let pieces: Vec<&[u8]> = text.chunks(PART_BYTES_MAX).collect();
        if pieces.len() > PARTS_MAX {
            return Err(AuthError::Store(format!("{} bytes are too much for {}", text.len(), entry(server))));
        }
        let head = Head { generation: random_text()?, parts: pieces.len() };
        // The first one last: with it, the others count.
        for (number, piece) in pieces.iter().enumerate().rev() {
            vault.set(&part_name(&name, number), &head.before(piece)).await?;
        }
        self.delete(&name, pieces.len()..parts_before).await
    }

    /// How many entries there are for one server.
    async fn parts(&self, name: &str) -> Result<usize, AuthError> {
        let first = self.vault().await?.get(name).await?;
        Ok(first.map_or(0, |first| Head::read(&first).map_or(1, |(head, _)| head.parts)))
    }

    async fn delete(&self, name: &str, numbers: std::ops::Range<usize>) -> Result<(), AuthError> {
        for number in numbers {
            self.vault().await?.delete(&part_name(name, number)).await?;
        }
        Ok(())
    }

    async fn lock(&self, what: &str) -> Result<std::fs::File, AuthError> {
        lock(&self.lock_path(what)).await
    }

    fn lock_path(&self, what: &str) -> PathBuf {
        self.folder.join(format!("keyring.{}.lock", &digest(what)[..16]))
    }
}

impl TokenStore for KeyringStore {
    fn load<'a>(&'a self, server: &'a str) -> BoxFuture<'a, Result<BTreeMap<String, Stored>, AuthError>> {
        async move {
            if !self.lock_path(&changing(server)).exists() {
                return Ok(Issuers::new());
            }
            let _held = self.lock(&changing(server)).await?;
            self.read(server).await
        }
        .boxed()
    }

    fn save<'a>(
        &'a self,
        server: &'a str,
        issuer: &'a str,
        stored: &'a Stored,
    ) -> BoxFuture<'a, Result<(), AuthError>> {
        async move {
            self.answers().await?;
            let _held = self.lock(&changing(server)).await?;
            let mut issuers = self.read(server).await?;
            issuers.insert(issuer.to_owned(), stored.clone());
            self.write(server, &issuers).await
        }
        .boxed()
    }

    fn remove<'a>(&'a self, server: &'a str) -> BoxFuture<'a, Result<(), AuthError>> {
        async move {
            if !self.lock_path(&changing(server)).exists() {
                return Ok(());
            }
            let _held = self.lock(&changing(server)).await?;
            let name = name(server);
            self.delete(&name, 0..self.parts(&name).await?).await
        }
        .boxed()
    }

    fn hold<'a>(&'a self, server: &'a str) -> BoxFuture<'a, Result<Held, AuthError>> {
        async move { Ok(Box::new(self.lock(server).await?) as Held) }.boxed()
    }
}

/// The first line of each entry: what was saved together, in how many entries.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    generation: String,
    parts: usize,
}

impl Head {
    fn read(part: &[u8]) -> Option<(Self, &[u8])> {
        let end = part.iter().position(|byte| *byte == b'\n')?;
        let (generation, parts) = std::str::from_utf8(&part[..end]).ok()?.split_once(' ')?;
        let parts = parts.parse().ok().filter(|parts| (1..=PARTS_MAX).contains(parts))?;
        Some((Self { generation: generation.to_owned(), parts }, &part[end + 1..]))
    }

    fn before(&self, piece: &[u8]) -> Zeroizing<Vec<u8>> {
        let mut part = Zeroizing::new(Vec::with_capacity(piece.len() + 64));
        part.extend_from_slice(format!("{} {}\n", self.generation, self.parts).as_bytes());
        part.extend_from_slice(piece);
        part
    }
}

/// What is locked while the entries for `server` change.
fn changing(server: &str) -> String {
    format!("changing {server}")
}

fn name(server: &str) -> String {
    if server.len() <= NAME_BYTES_MAX { server.to_owned() } else { digest(server) }
}

fn part_name(name: &str, number: usize) -> String {
    if number == 0 { name.to_owned() } else { format!("{name} #{number}") }
}

fn entry(server: &str) -> String {
    format!("the keyring's entry {:?} of andon", name(server))
}

/// What the keyring says, without what it keeps.
fn failed(error: &dyn std::fmt::Display) -> AuthError {
    AuthError::Store(format!("the keyring: {error}"))
}
