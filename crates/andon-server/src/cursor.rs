//! Cursors: where a client is in a list, sealed so that it cannot be read, made up, or used for another list or by
//! somebody else (server, utilities, pagination).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use andon_types::error::ErrorObject;
use andon_types::method::Method;

use crate::principal::Principal;
use crate::seal::Seal;

/// How long a cursor is good for.
pub const CURSOR_TTL: Duration = Duration::from_secs(24 * 60 * 60);
const CURSOR_BYTES_MAX: usize = 256;
const PURPOSE: &str = "cursor";

/// Makes and reads cursors, which hold the ordinal of the last item that the client saw.
pub struct Cursors(Seal);

impl Cursors {
    /// Cursors under the keys of `seal`.
    pub fn new(seal: Seal) -> Self {
        Self(seal)
    }

    /// The cursor that stands after the item with the ordinal `after`.
    pub fn seal(&self, method: Method, principal: &Principal, after: u64) -> String {
        self.seal_bytes(method, principal, &after.to_be_bytes())
    }

    /// The ordinal of the last item that the client saw.
    ///
    /// # Errors
    /// -32602 for whatever is no cursor of this list and principal, or too old.
    pub fn open(&self, method: Method, principal: &Principal, cursor: &str) -> Result<u64, ErrorObject> {
        self.open_bytes(method, principal, cursor).map(u64::from_be_bytes)
    }

    /// The same for a list of records, in the order of their keys.
    pub(crate) fn seal_key(&self, method: Method, principal: &Principal, after: u128) -> String {
        self.seal_bytes(method, principal, &after.to_be_bytes())
    }

    /// # Errors
    /// As [`Cursors::open`].
    pub(crate) fn open_key(&self, method: Method, principal: &Principal, cursor: &str) -> Result<u128, ErrorObject> {
        self.open_bytes(method, principal, cursor).map(u128::from_be_bytes)
    }

    fn seal_bytes(&self, method: Method, principal: &Principal, plain: &[u8]) -> String {
        let expires = now_ms().saturating_add(u64::try_from(CURSOR_TTL.as_millis()).unwrap_or(u64::MAX));
        self.0.seal(PURPOSE, &binding(method, principal), expires, plain)
    }

    fn open_bytes<const N: usize>(
        &self,
        method: Method,
        principal: &Principal,
        cursor: &str,
    ) -> Result<[u8; N], ErrorObject> {
        let opened = self.0.open(PURPOSE, &binding(method, principal), now_ms(), CURSOR_BYTES_MAX, cursor).ok();
        let plain = opened.and_then(|opened| opened.plain.try_into().ok());
        plain.ok_or_else(|| ErrorObject::invalid_params("bad or expired cursor: list again from the start"))
    }
}

/// Nobody in particular is told apart from a subject with an empty name.
fn binding(method: Method, principal: &Principal) -> [&[u8]; 3] {
    let (kind, subject) = match principal.subject() {
        Some(subject) => ("verified", subject),
        None => ("anonymous", ""),
    };
    [method.as_str().as_bytes(), kind.as_bytes(), subject.as_bytes()]
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
