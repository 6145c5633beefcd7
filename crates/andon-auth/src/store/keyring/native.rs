//! The Keychain of macOS and the Credential Manager of Windows: calls that may block, on threads that may.

use std::sync::Arc;

use keyring_core::{CredentialStore, Entry, Error};
use zeroize::Zeroizing;

use super::failed;
use crate::error::AuthError;

const SERVICE: &str = "andon";

/// The keyring of the person who runs the program.
pub(super) struct Vault(Arc<CredentialStore>);

impl Vault {
    pub(super) async fn open() -> Result<Self, AuthError> {
        #[cfg(target_os = "macos")]
        let store = apple_native_keyring_store::keychain::Store::new();
        #[cfg(windows)]
        let store = windows_native_keyring_store::Store::new();
        let vault = Self(store.map_err(|error| failed(&error))?);
        // Whether it answers: a session without a person has none.
        vault.get("andon").await?;
        Ok(vault)
    }

    pub(super) async fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, AuthError> {
        self.with(name, |entry| match entry.get_secret() {
            Ok(secret) => Ok(Some(Zeroizing::new(secret))),
            Err(Error::NoEntry) => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    pub(super) async fn set(&self, name: &str, secret: &[u8]) -> Result<(), AuthError> {
        let secret = Zeroizing::new(secret.to_vec());
        self.with(name, move |entry| entry.set_secret(&secret)).await
    }

    pub(super) async fn delete(&self, name: &str) -> Result<(), AuthError> {
        self.with(name, |entry| match entry.delete_credential() {
            Err(Error::NoEntry) => Ok(()),
            outcome => outcome,
        })
        .await
    }

    async fn with<T: Send + 'static>(
        &self,
        name: &str,
        act: impl FnOnce(&Entry) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, AuthError> {
        let (store, name) = (self.0.clone(), name.to_owned());
        let acting = tokio::task::spawn_blocking(move || act(&store.build(SERVICE, &name, None)?));
        let outcome = acting.await.map_err(|_| failed(&"it broke off"))?;
        outcome.map_err(|error| failed(&error))
    }
}
