//! Where tokens and registrations outlive the program.

mod file;
mod keyring;
mod lock;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

use crate::error::AuthError;
use crate::registration::ClientCredentials;
use crate::token::Token;

pub use file::FileStore;
pub use keyring::KeyringStore;

/// What is kept for one server and one issuer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Who we are to the issuer, if we registered there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientCredentials>,
    /// The last token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
    /// What the token is bound to, if it is: without it, the token is of no use (RFC 9449).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dpop_key: Option<DpopKey>,
}

impl Stored {
    /// Whether there is a token, and the key that it may be bound to.
    pub(crate) fn is_usable(&self) -> bool {
        self.token.as_ref().is_some_and(|token| !token.is_dpop() || self.dpop_key.is_some())
    }
}

/// The private key that tokens of one issuer are bound to: PKCS #8, in base64 for URLs. Its `Debug` does not show it,
/// and its memory is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DpopKey(pub(crate) String);

impl fmt::Debug for DpopKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DpopKey(…)")
    }
}

impl Drop for DpopKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// What nobody else has until it is dropped.
pub type Held = Box<dyn Send>;

/// Keeps what was granted, by server and issuer: what one issuer granted is never shown to another.
pub trait TokenStore: Send + Sync {
    /// All that is kept for `server`, by issuer.
    fn load<'a>(&'a self, server: &'a str) -> BoxFuture<'a, Result<BTreeMap<String, Stored>, AuthError>>;
    /// Replaces what is kept for `server` and `issuer`. What is kept for others stays, whoever else is saving.
    fn save<'a>(&'a self, server: &'a str, issuer: &'a str, stored: &'a Stored)
    -> BoxFuture<'a, Result<(), AuthError>>;
    /// Forgets all that is kept for `server`.
    fn remove<'a>(&'a self, server: &'a str) -> BoxFuture<'a, Result<(), AuthError>>;

    /// Held from the look at what is kept for `server` to the change of it, and so while a refresh token is used: of
    /// all processes that share the store, one at a time. Loading and saving do not wait for it. Only to be had by
    /// waiting, for a minute at most. Default: a store of this process alone needs nothing.
    fn hold<'a>(&'a self, _server: &'a str) -> BoxFuture<'a, Result<Held, AuthError>> {
        async { Ok(Box::new(()) as Held) }.boxed()
    }
}

impl<S: TokenStore + ?Sized> TokenStore for Arc<S> {
    fn load<'a>(&'a self, server: &'a str) -> BoxFuture<'a, Result<BTreeMap<String, Stored>, AuthError>> {
        (**self).load(server)
    }

    fn save<'a>(
        &'a self,
        server: &'a str,
        issuer: &'a str,
        stored: &'a Stored,
    ) -> BoxFuture<'a, Result<(), AuthError>> {
        (**self).save(server, issuer, stored)
    }

    fn remove<'a>(&'a self, server: &'a str) -> BoxFuture<'a, Result<(), AuthError>> {
        (**self).remove(server)
    }

    fn hold<'a>(&'a self, server: &'a str) -> BoxFuture<'a, Result<Held, AuthError>> {
        (**self).hold(server)
    }
}

type Issuers = BTreeMap<String, Stored>;
type Kept = BTreeMap<String, Issuers>;

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

/// What a store says when the text that it kept cannot be read.
fn damaged(place: impl fmt::Display) -> AuthError {
    AuthError::Store(format!("{place} is damaged: remove it and log in again"))
}
