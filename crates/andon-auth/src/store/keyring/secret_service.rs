//! The Secret Service (freedesktop.org), spoken over D-Bus. What is kept travels encrypted.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use secret_service::{EncryptionType, Error, Item, SecretService};
use zeroize::Zeroizing;

use super::failed;
use crate::error::AuthError;

/// How long the service may take to answer. Without a desktop, starting it may hang.
const ANSWER: Duration = Duration::from_secs(5);
/// How long the person may take to unlock the keyring.
const UNLOCK: Duration = Duration::from_secs(120);

/// The person's default collection.
pub(super) struct Vault(SecretService<'static>);

impl Vault {
    pub(super) async fn open() -> Result<Self, AuthError> {
        let service = in_time(ANSWER, SecretService::connect(EncryptionType::Dh)).await?;
        {
            let collection = in_time(ANSWER, service.get_default_collection()).await?;
            if in_time(ANSWER, collection.is_locked()).await? {
                in_time(UNLOCK, collection.unlock()).await?;
            }
        }
        Ok(Self(service))
    }

    pub(super) async fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, AuthError> {
        let Some(item) = self.find(name).await? else { return Ok(None) };
        if in_time(ANSWER, item.is_locked()).await? {
            in_time(UNLOCK, item.unlock()).await?;
        }
        Ok(Some(Zeroizing::new(in_time(ANSWER, item.get_secret()).await?)))
    }

    pub(super) async fn set(&self, name: &str, secret: &[u8]) -> Result<(), AuthError> {
        let collection = in_time(ANSWER, self.0.get_default_collection()).await?;
        let label = format!("andon: {name}");
        let creating = collection.create_item(&label, attributes(name), secret, true, "application/octet-stream");
        // It asks the person itself if the keyring was locked in the meantime.
        in_time(UNLOCK, creating).await.map(drop)
    }

    pub(super) async fn delete(&self, name: &str) -> Result<(), AuthError> {
        match self.find(name).await? {
            Some(item) => in_time(UNLOCK, item.delete()).await,
            None => Ok(()),
        }
    }

    async fn find(&self, name: &str) -> Result<Option<Item<'_>>, AuthError> {
        let found = in_time(ANSWER, self.0.search_items(attributes(name))).await?;
        Ok(found.unlocked.into_iter().chain(found.locked).next())
    }
}

fn attributes(name: &str) -> HashMap<&str, &str> {
    HashMap::from([("application", "andon"), ("server", name)])
}

async fn in_time<T>(time: Duration, asking: impl Future<Output = Result<T, Error>>) -> Result<T, AuthError> {
    match tokio::time::timeout(time, asking).await {
        Ok(answer) => answer.map_err(|error| failed(&error)),
        Err(_) => Err(failed(&format!("no answer within {} s", time.as_secs()))),
    }
}
