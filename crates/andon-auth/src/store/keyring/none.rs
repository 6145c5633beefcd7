//! A system whose keyring, if it has one, this library does not know, or was built not to use.

use zeroize::Zeroizing;

use super::failed;
use crate::error::AuthError;

/// There is none.
pub(super) enum Vault {}

impl Vault {
    pub(super) async fn open() -> Result<Self, AuthError> {
        Err(failed(&"there is none on this system, or this program was built without the feature `keyring`"))
    }

    pub(super) async fn get(&self, _name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, AuthError> {
        match *self {}
    }

    pub(super) async fn set(&self, _name: &str, _secret: &[u8]) -> Result<(), AuthError> {
        match *self {}
    }

    pub(super) async fn delete(&self, _name: &str) -> Result<(), AuthError> {
        match *self {}
    }
}
