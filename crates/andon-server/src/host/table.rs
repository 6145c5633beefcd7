//! The sessions of a host: a row each, no task, found by a secret id and bound to a principal.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use andon_core::io::{Input, Timestamp};
use andon_core::session::Session;

use crate::conversation::{Cell, Conversation as _};
use crate::principal::Principal;
use crate::seal::random;

pub(crate) type SessionCell = Cell<Session>;

const SHARDS: usize = 256;
/// Shards that one sweep looks at: all of them within four seconds.
const SHARDS_PER_SWEEP: usize = 16;

/// The secret that opens a session: 128 random bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SessionKey(u128);

impl SessionKey {
    pub(super) fn generate() -> Self {
        Self(u128::from_be_bytes(random()))
    }

    /// Reads what [`SessionKey::to_text`] wrote, and nothing else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let canonical = text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        canonical.then(|| u128::from_str_radix(text, 16).ok().map(Self)).flatten()
    }

    pub(super) fn to_text(self) -> String {
        format!("{:032x}", self.0)
    }
}

pub(super) struct Table {
    shards: Vec<RwLock<HashMap<SessionKey, Arc<SessionCell>>>>,
    count: AtomicUsize,
    /// By subject.
    owners: Mutex<HashMap<Arc<str>, usize>>,
}

impl Default for Table {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        Self { shards, count: AtomicUsize::new(0), owners: Mutex::default() }
    }
}

/// Why there is no room for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// The host has as many as it may have.
    Host,
    /// The principal has.
    Principal,
}

impl Table {
    /// Takes a place for a session of `principal`; given back by [`Table::remove`] or [`Table::give_back`].
    pub(super) fn reserve(&self, principal: &Principal, all_max: usize, each_max: usize) -> Result<(), Full> {
        if self.count.fetch_add(1, Ordering::AcqRel) >= all_max {
            self.count.fetch_sub(1, Ordering::AcqRel);
            return Err(Full::Host);
        }
        let Some(owner) = principal.owner() else { return Ok(()) };
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let owned = owners.entry(owner).or_default();
        if *owned >= each_max {
            self.count.fetch_sub(1, Ordering::AcqRel);
            return Err(Full::Principal);
        }
        *owned += 1;
        Ok(())
    }

    pub(super) fn give_back(&self, principal: &Principal) {
        self.count.fetch_sub(1, Ordering::AcqRel);
        let Some(owner) = principal.owner() else { return };
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(owned) = owners.get_mut(&owner) {
            *owned -= 1;
            if *owned == 0 {
                owners.remove(&owner);
            }
        }
    }

    pub(super) fn insert(&self, key: SessionKey, cell: Arc<SessionCell>) {
        self.write(key).insert(key, cell);
    }

    /// The session, if it is this subject's, which from now on has the scopes that it came with. Another's session is
    /// as absent as none.
    pub(super) fn find(&self, key: SessionKey, principal: &Principal) -> Option<Arc<SessionCell>> {
        let shard = self.shard(key).read().unwrap_or_else(PoisonError::into_inner);
        let cell = shard.get(&key).filter(|cell| cell.principal().is_same_subject(principal))?;
        cell.present(principal);
        Some(cell.clone())
    }

    pub(super) fn remove(&self, key: SessionKey) -> Option<Arc<SessionCell>> {
        let cell = self.write(key).remove(&key)?;
        self.give_back(&cell.principal());
        Some(cell)
    }

    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    pub(super) fn all(&self) -> Vec<Arc<SessionCell>> {
        let read = |shard: &RwLock<HashMap<_, Arc<SessionCell>>>| {
            shard.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect::<Vec<_>>()
        };
        self.shards.iter().flat_map(read).collect()
    }

    pub(super) fn drain(&self) -> Vec<Arc<SessionCell>> {
        let mut drained = Vec::new();
        for shard in &self.shards {
            drained.extend(shard.write().unwrap_or_else(PoisonError::into_inner).drain().map(|(_, cell)| cell));
        }
        for cell in &drained {
            self.give_back(&cell.principal());
        }
        drained
    }

    /// Lets the expired sessions of one part of the table go, and wakes those that keep streams for nobody.
    pub(super) fn sweep(&self, part: usize, now: Timestamp) {
        let first = (part * SHARDS_PER_SWEEP) % SHARDS;
        for shard in &self.shards[first..first + SHARDS_PER_SWEEP] {
            let expired: Vec<SessionKey> = {
                let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
                let is_expired = |cell: &Arc<SessionCell>| {
                    cell.with(|session| {
                        session.forget_streams(now);
                        session.is_expired(now)
                    })
                };
                shard.iter().filter(|(_, cell)| is_expired(cell)).map(|(key, _)| *key).collect()
            };
            for cell in expired.into_iter().filter_map(|key| self.remove(key)) {
                tracing::debug!(session = cell.number, "session expired");
                cell.input(Input::End);
            }
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            if shard.capacity() > 64 && shard.len() * 4 < shard.capacity() {
                shard.shrink_to_fit();
            }
        }
    }

    fn shard(&self, key: SessionKey) -> &RwLock<HashMap<SessionKey, Arc<SessionCell>>> {
        &self.shards[(key.0 % SHARDS as u128) as usize]
    }

    fn write(&self, key: SessionKey) -> std::sync::RwLockWriteGuard<'_, HashMap<SessionKey, Arc<SessionCell>>> {
        self.shard(key).write().unwrap_or_else(PoisonError::into_inner)
    }
}
