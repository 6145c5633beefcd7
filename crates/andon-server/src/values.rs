//! What a handler keeps between calls: in the session, or under a handle that the client gives back.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use andon_core::port::{Key, Kind, Record, Rev, StoreError};
use andon_core::session::record::Life;
use andon_core::values::{TooLarge, Values};
use andon_types::raw::RawJson;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::conversation::Conversation;
use crate::host::Host;
use crate::journal::owner;
use crate::principal::Principal;
use crate::seal::random;
use crate::storage::hash;

/// Bytes of the name of a value.
const NAME_BYTES_MAX: usize = 128;
/// How often a change is tried again when somebody else changed the same values.
const ATTEMPTS: usize = 16;

/// Why values cannot be read or kept.
#[derive(Debug)]
pub enum ValuesError {
    /// The client has no session: 2026-07-28 has none. Keep values under a handle.
    NoSession,
    /// There is nothing under this handle for whoever calls: it was never made, is somebody else's, or its time is over.
    UnknownHandle,
    /// All values of a session or handle together take at most 64 KiB, unless the limits say otherwise; a name at most 128 bytes.
    TooLarge,
    /// The value has another type than it is read as, or cannot be JSON.
    Type(serde_json::Error),
    /// The store cannot be read or written to now, or the session is no longer here.
    Unavailable,
}

impl fmt::Display for ValuesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSession => f.write_str("this protocol revision has no session to keep values in: use a handle"),
            Self::UnknownHandle => f.write_str("the handle is unknown or expired: start without one"),
            Self::TooLarge => f.write_str("the values that are kept would take more room than they may"),
            Self::Type(error) => write!(f, "a value that is kept has another type: {error}"),
            Self::Unavailable => f.write_str("values cannot be read or kept now: try again later"),
        }
    }
}

impl std::error::Error for ValuesError {}

impl From<StoreError> for ValuesError {
    fn from(_: StoreError) -> Self {
        Self::Unavailable
    }
}

/// What a handler keeps in the session of its client. It lasts as long as the session, and is as durable.
#[derive(Clone)]
pub struct SessionValues(pub(crate) Arc<dyn Conversation>);

impl SessionValues {
    /// The value under `name`.
    ///
    /// # Errors
    /// [`ValuesError::NoSession`], [`ValuesError::Type`].
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, ValuesError> {
        self.0.value(name)?.map(|value| read(&value)).transpose()
    }

    /// Keeps `value` under `name`; returns when it is durable, as far as sessions are.
    ///
    /// # Errors
    /// See [`ValuesError`].
    pub async fn put<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<(), ValuesError> {
        self.set(name, Some(written(name, value)?)).await
    }

    /// Forgets the value under `name`, if there is one.
    ///
    /// # Errors
    /// See [`ValuesError`].
    pub async fn remove(&self, name: &str) -> Result<(), ValuesError> {
        self.set(name, None).await
    }

    /// Keeps the session for `ttl` after it was last used, whatever the limits say; `None` keeps it until it is ended.
    pub fn set_ttl(&self, ttl: Option<Duration>) {
        let ms = ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        self.0.input(andon_core::io::Input::Keep(ms.map_or(Life::Forever, Life::IdleMs)));
    }

    async fn set(&self, name: &str, value: Option<RawJson>) -> Result<(), ValuesError> {
        match self.0.set_value(name, value)? {
            None => Ok(()),
            Some(commit) => commit.durable().await.map_err(|_| ValuesError::Unavailable),
        }
    }
}

/// What a handler keeps under a handle, on every revision: the handler gives the handle to the client in a result, and
/// the client gives it back as an argument. Only the principal for whom it was made can use it. It is forgotten when
/// nobody changed it for 24 h.
pub struct HandleValues {
    host: Arc<Host>,
    principal: Principal,
    handle: String,
}

/// How long values under a handle are kept after the last change.
const HANDLE_TTL: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Serialize, Deserialize)]
struct Kept {
    format: u32,
    values: Values,
}

const FORMAT: u32 = 1;

impl HandleValues {
    /// Makes a handle of 128 random bits.
    pub(crate) async fn create(host: Arc<Host>, principal: Principal) -> Result<Self, ValuesError> {
        if host.store().count(Kind::State).await? >= host.options().handles_max {
            return Err(ValuesError::Unavailable);
        }
        let made = Self { host, principal, handle: format!("{:032x}", u128::from_be_bytes(random())) };
        made.write(&Values::default(), None).await?;
        Ok(made)
    }

    pub(crate) async fn open(host: Arc<Host>, principal: Principal, handle: &str) -> Result<Self, ValuesError> {
        let opened = Self { host, principal, handle: handle.to_owned() };
        opened.load().await.map(|_| opened)
    }

    /// What the client has to give back.
    pub fn handle(&self) -> &str {
        &self.handle
    }

    /// The value under `name`.
    ///
    /// # Errors
    /// See [`ValuesError`].
    pub async fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, ValuesError> {
        self.load().await?.0.get(name).map(read).transpose()
    }

    /// Keeps `value` under `name`; returns when it is durable, as far as the store is.
    ///
    /// # Errors
    /// See [`ValuesError`].
    pub async fn put<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<(), ValuesError> {
        self.set(name, Some(written(name, value)?)).await
    }

    /// Forgets the value under `name`, if there is one.
    ///
    /// # Errors
    /// See [`ValuesError`].
    pub async fn remove(&self, name: &str) -> Result<(), ValuesError> {
        self.set(name, None).await
    }

    async fn set(&self, name: &str, value: Option<RawJson>) -> Result<(), ValuesError> {
        let bytes_max = self.host.options().conversation.values_bytes_max;
        for _ in 0..ATTEMPTS {
            let (mut values, rev) = self.load().await?;
            values.set(name, value.clone(), bytes_max).map_err(|TooLarge| ValuesError::TooLarge)?;
            match self.write(&values, Some(rev)).await {
                // Somebody else changed another value meanwhile, or this one did and was not told.
                Err(StoreError::Conflict { .. } | StoreError::Unknown) => {}
                known => return known.map_err(ValuesError::from),
            }
        }
        Err(ValuesError::Unavailable)
    }

    async fn load(&self) -> Result<(Values, Rev), ValuesError> {
        let stored = self.host.store().load(self.key()).await?.ok_or(ValuesError::UnknownHandle)?;
        let is_over = stored.record.expires_at.is_some_and(|at| at <= self.host.now());
        if is_over || stored.record.owner != owner(self.principal.subject()) {
            return Err(ValuesError::UnknownHandle);
        }
        let kept: Kept = serde_json::from_slice(&stored.record.bytes).map_err(ValuesError::Type)?;
        if kept.format == FORMAT { Ok((kept.values, stored.rev)) } else { Err(ValuesError::Unavailable) }
    }

    async fn write(&self, values: &Values, expect: Option<Rev>) -> Result<(), StoreError> {
        let kept = Kept { format: FORMAT, values: values.clone() };
        let bytes = serde_json::to_vec(&kept).map_err(|error| StoreError::Fatal(error.to_string()))?;
        let expires_at = Some(self.host.now().after(HANDLE_TTL));
        let record = Record { bytes: bytes.into(), owner: owner(self.principal.subject()), expires_at };
        self.host.store().write(self.key(), record, expect).await.map(|_| ())
    }

    fn key(&self) -> Key {
        Key { kind: Kind::State, id: hash("handle", self.handle.as_bytes()) }
    }
}

fn read<T: DeserializeOwned>(value: &RawJson) -> Result<T, ValuesError> {
    serde_json::from_str(value.as_str()).map_err(ValuesError::Type)
}

fn written<T: Serialize + ?Sized>(name: &str, value: &T) -> Result<RawJson, ValuesError> {
    if name.len() > NAME_BYTES_MAX {
        return Err(ValuesError::TooLarge);
    }
    RawJson::of(value).map_err(ValuesError::Type)
}
