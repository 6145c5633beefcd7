//! The sessions of a host: a row each, no task, found by the hash of a secret id and bound to a principal.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use andon_core::session::Session;

use crate::conversation::{Cell, Conversation as _};
use crate::journal::owner;
use crate::principal::Principal;
use crate::seal::random;
use crate::storage::hash;

pub(crate) type SessionCell = Cell<Session>;

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";
/// What each byte is as a digit; 255 if it is none.
const HEX_VALUES: [u8; 256] = {
    let (mut values, mut value) = ([255; 256], 0);
    while value < HEX_DIGITS.len() {
        values[HEX_DIGITS[value] as usize] = value as u8;
        value += 1;
    }
    values
};
/// As many as a byte has values.
const SHARDS: usize = 256;

/// A hash of the secret that opens a session, 128 random bits. The secret itself is nowhere but with its client: nobody who
/// reads the memory or the store of the server can open a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SessionKey(u128);

impl SessionKey {
    /// A new secret, as clients send it, and its key; and as many random bits more as mark event ids.
    pub(super) fn generate() -> (String, Self, u32) {
        let ([secret @ .., a, b, c, d], mut text): ([u8; 20], _) = (random(), String::with_capacity(32));
        for byte in secret {
            text.extend([byte >> 4, byte & 15].map(|digit| char::from(HEX_DIGITS[usize::from(digit)])));
        }
        (text, Self::of(secret), u32::from_be_bytes([a, b, c, d]))
    }

    /// Reads a secret that [`SessionKey::generate`] made, and nothing else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits: &[u8; 32] = text.as_bytes().try_into().ok()?;
        let (mut secret, mut all) = ([0; 16], 0);
        for (byte, pair) in secret.iter_mut().zip(digits.as_chunks::<2>().0) {
            let [high, low] = pair.map(|digit| HEX_VALUES[usize::from(digit)]);
            *byte = high << 4 | low;
            all |= high | low;
        }
        (all < 16).then(|| Self::of(secret))
    }

    /// What it is stored under.
    pub(super) fn stored_id(self) -> u128 {
        self.0
    }

    /// The key of what is stored under `id`.
    pub(super) fn stored(id: u128) -> Self {
        Self(id)
    }

    fn of(secret: [u8; 16]) -> Self {
        Self(hash("session", &secret))
    }

    /// The sessions of a shard come before those of the next.
    fn shard(self) -> usize {
        usize::from(self.0.to_be_bytes()[0])
    }
}

/// A session under the hash of its secret, which it knows itself: a row is a pointer.
struct Row(Arc<SessionCell>);

impl Row {
    fn key(&self) -> SessionKey {
        SessionKey(*self.borrow())
    }
}

impl Borrow<u128> for Row {
    fn borrow(&self) -> &u128 {
        self.0.bound().expect("invariant: a session is bound to its secret before it is in the table")
    }
}

impl Hash for Row {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let key: &u128 = self.borrow();
        key.hash(hasher);
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Row {}

/// Takes keys for what they are: a part of a hash of a secret that was drawn here. Nobody can choose where rows stand.
#[derive(Default)]
struct KeyIsHash(u64);

impl Hasher for KeyIsHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Of any other key than a number of 128 bits.
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    #[allow(clippy::cast_possible_truncation, reason = "half of it is enough")]
    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

type Shard = HashSet<Row, BuildHasherDefault<KeyIsHash>>;

pub(super) struct Table {
    shards: Vec<RwLock<Shard>>,
    /// Sessions that are not in memory are counted too.
    count: AtomicUsize,
    /// By the hash of the subject.
    owners: Mutex<HashMap<u128, usize>>,
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
        if principal.is_anonymous() {
            return Ok(());
        }
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let owned = owners.entry(owner(principal.subject())).or_default();
        if *owned >= each_max {
            self.count.fetch_sub(1, Ordering::AcqRel);
            return Err(Full::Principal);
        }
        *owned += 1;
        Ok(())
    }

    /// Counts a session that was there before this process.
    pub(super) fn count_in(&self, owner: u128) {
        self.count.fetch_add(1, Ordering::AcqRel);
        if owner != 0 {
            *self.owners.lock().unwrap_or_else(PoisonError::into_inner).entry(owner).or_default() += 1;
        }
    }

    pub(super) fn give_back(&self, principal: &Principal) {
        self.count_out(owner(principal.subject()));
    }

    /// Gives back the place of a session of `owner`.
    pub(super) fn count_out(&self, owner: u128) {
        // When a store does not say whether it deleted a session, that may be counted twice: never below none.
        let one_less = |count: usize| Some(count.saturating_sub(1));
        self.count.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less).expect("it always gives a count");
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(owned) = owners.get_mut(&owner) {
            *owned -= 1;
            if *owned == 0 {
                owners.remove(&owner);
            }
        }
    }

    /// Puts a session there that has its place already, and is bound to its secret.
    pub(super) fn insert(&self, cell: Arc<SessionCell>) {
        let row = Row(cell);
        self.write(row.key()).replace(row);
    }

    /// The session, if it is this subject's, which from now on has the scopes that it came with. Another's session is
    /// as absent as none.
    pub(super) fn find(&self, key: SessionKey, principal: &Principal) -> Option<Arc<SessionCell>> {
        let shard = self.shard(key).read().unwrap_or_else(PoisonError::into_inner);
        let Row(cell) = shard.get(&key.0).filter(|Row(cell)| cell.admit(principal))?;
        Some(cell.clone())
    }

    pub(super) fn remove(&self, key: SessionKey) -> Option<Arc<SessionCell>> {
        let Row(cell) = self.write(key).take(&key.0)?;
        self.give_back(&cell.principal());
        Some(cell)
    }

    /// Takes a session out of memory that keeps its place: `which` is asked with nobody else holding it.
    pub(super) fn set_aside(
        &self,
        key: SessionKey,
        which: impl FnOnce(&SessionCell) -> bool,
    ) -> Option<Arc<SessionCell>> {
        let mut shard = self.write(key);
        let _ = shard.get(&key.0).filter(|Row(cell)| Arc::strong_count(cell) == 1 && which(cell))?;
        shard.take(&key.0).map(|Row(cell)| cell)
    }

    /// Takes this very cell out of memory; the session keeps its place.
    pub(super) fn forget(&self, key: SessionKey, cell: &SessionCell) {
        let mut shard = self.write(key);
        if shard.get(&key.0).is_some_and(|Row(known)| std::ptr::eq(Arc::as_ptr(known), cell)) {
            shard.remove(&key.0);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// How many are in memory.
    pub(super) fn len_in_memory(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    /// The first `max` sessions after `after` that no other node has, in the order of their keys.
    pub(super) fn after(&self, after: Option<SessionKey>, max: usize) -> Vec<(SessionKey, Arc<SessionCell>)> {
        let mut found = Vec::new();
        for shard in &self.shards[after.map_or(0, SessionKey::shard)..] {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            let is_wanted = |row: &&Row| {
                after.is_none_or(|after| row.key() > after) && !row.0.journal().is_some_and(|journal| journal.is_lost())
            };
            let begins_at = found.len();
            found.extend(shard.iter().filter(is_wanted).map(|row| (row.key(), row.0.clone())));
            found[begins_at..].sort_unstable_by_key(|(key, _)| *key);
            if found.len() >= max {
                break;
            }
        }
        found.truncate(max);
        found
    }

    pub(super) fn all(&self) -> Vec<Arc<SessionCell>> {
        let read = |shard: &RwLock<Shard>| {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            shard.iter().map(|Row(cell)| cell.clone()).collect::<Vec<_>>()
        };
        self.shards.iter().flat_map(read).collect()
    }

    pub(super) fn drain(&self) -> Vec<Arc<SessionCell>> {
        (0..SHARDS).flat_map(|part| self.part(part)).filter_map(|(key, _)| self.remove(key)).collect()
    }

    /// The sessions of one part of the table.
    pub(super) fn part(&self, part: usize) -> Vec<(SessionKey, Arc<SessionCell>)> {
        let shard = self.shards[part % SHARDS].read().unwrap_or_else(PoisonError::into_inner);
        shard.iter().map(|row| (row.key(), row.0.clone())).collect()
    }

    /// Gives back what memory a part of the table no longer needs.
    pub(super) fn shrink(&self, part: usize) {
        let mut shard = self.shards[part % SHARDS].write().unwrap_or_else(PoisonError::into_inner);
        if shard.capacity() > 64 && shard.len() * 4 < shard.capacity() {
            shard.shrink_to_fit();
        }
    }

    fn shard(&self, key: SessionKey) -> &RwLock<Shard> {
        &self.shards[key.shard()]
    }

    fn write(&self, key: SessionKey) -> std::sync::RwLockWriteGuard<'_, Shard> {
        self.shard(key).write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
