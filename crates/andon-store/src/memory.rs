//! A store in memory: everything that a store promises, as long as the process runs.

use std::collections::BTreeSet;
use std::future::ready;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use andon_core::io::{StreamId, Timestamp};
use andon_core::port::{Batch, EventLog, Key, Kind, Pending, Record, Replay, Rev, SessionStore, StoreError, Stored};

use self::shard::Shard;
use crate::unheard::Outcome;
use crate::uptime::Uptime;

mod shard;

/// One for each value of an id's first byte, so that the shards are in the order of the ids.
const SHARDS_COUNT: usize = 256;

/// Keeps what it is told in maps of this process. Its calls are done when they return, and it is never unavailable. It has
/// no limit of its own: whoever writes bounds what is written.
#[derive(Debug)]
pub struct MemoryStore {
    shards: Vec<RwLock<Shard>>,
    /// By owner, in shards as well. Changed under the lock of the record's shard, which is taken first.
    owners: Vec<Mutex<BTreeSet<(Kind, u128, u128)>>>,
    /// By expiry. Changed under the lock of the record's shard, which is taken first.
    expiries: Mutex<BTreeSet<(Timestamp, Key)>>,
    revs: AtomicU64,
    uptime: Uptime,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS_COUNT).map(|_| RwLock::default()).collect(),
            owners: (0..SHARDS_COUNT).map(|_| Mutex::default()).collect(),
            expiries: Mutex::default(),
            revs: AtomicU64::new(1),
            uptime: Uptime::from(0),
        }
    }
}

impl MemoryStore {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn shard(&self, id: u128) -> &RwLock<Shard> {
        &self.shards[first_byte(id)]
    }

    fn read(&self, id: u128) -> RwLockReadGuard<'_, Shard> {
        self.shard(id).read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, id: u128) -> RwLockWriteGuard<'_, Shard> {
        self.shard(id).write().unwrap_or_else(PoisonError::into_inner)
    }

    fn owned(&self, owner: u128) -> MutexGuard<'_, BTreeSet<(Kind, u128, u128)>> {
        self.owners[first_byte(owner)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expiring(&self) -> MutexGuard<'_, BTreeSet<(Timestamp, Key)>> {
        self.expiries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, shard: &mut Shard, key: Key, record: Record) -> Rev {
        let rev = Rev(self.revs.fetch_add(1, Ordering::Relaxed));
        let now = (record.owner, record.expires_at);
        let before = shard.put(key, Stored { id: key.id, record, rev });
        self.index(key, before.map(|stored| (stored.record.owner, stored.record.expires_at)), Some(now));
        rev
    }

    /// Deletes the record if it is there. Gives its owner.
    fn bury(&self, shard: &mut Shard, key: Key) -> Option<u128> {
        let stored = shard.bury(key, &self.uptime)?;
        self.index(key, Some((stored.record.owner, stored.record.expires_at)), None);
        Some(stored.record.owner)
    }

    /// What is known of a record by owner and by expiry changes.
    fn index(&self, key: Key, before: Option<(u128, Option<Timestamp>)>, now: Option<(u128, Option<Timestamp>)>) {
        let (owner_before, owner) = (before.map(|(owner, _)| owner), now.map(|(owner, _)| owner));
        if owner_before != owner {
            if let Some(owner) = owner_before {
                self.owned(owner).remove(&(key.kind, owner, key.id));
            }
            if let Some(owner) = owner {
                self.owned(owner).insert((key.kind, owner, key.id));
            }
        }
        let (expiry_before, expiry) = (before.and_then(|(_, at)| at), now.and_then(|(_, at)| at));
        if expiry_before != expiry {
            let mut expiring = self.expiring();
            if let Some(at) = expiry_before {
                expiring.remove(&(at, key));
            }
            if let Some(at) = expiry {
                expiring.insert((at, key));
            }
        }
    }

    fn write_now(&self, key: Key, record: Record, expect: Option<Rev>) -> Outcome<Rev> {
        let mut shard = self.change(key.id);
        shard.check(key, expect)?;
        Ok(self.put(&mut shard, key, record))
    }

    fn delete_now(&self, key: Key, expect: Option<Rev>) -> Outcome<()> {
        let mut shard = self.change(key.id);
        if let (Some(rev), Some(current)) = (expect, shard.rev(key))
            && rev != current
        {
            return Err(StoreError::Conflict { current: Some(current) });
        }
        self.bury(&mut shard, key);
        Ok(())
    }

    fn commit_now(&self, session: u128, batch: Batch) -> Outcome<Rev> {
        let key = Key { kind: Kind::Session, id: session };
        let mut shard = self.change(session);
        shard.check(key, batch.expect)?;
        let conflict = StoreError::Conflict { current: batch.expect };
        if batch.expect.is_none() && batch.record.is_none() {
            return Err(conflict);
        }
        shard.append(session, batch.events, &batch.forget).map_err(|()| conflict.clone())?;
        match batch.record {
            Some(record) => Ok(self.put(&mut shard, key, record)),
            None => batch.expect.ok_or(conflict),
        }
    }

    fn sweep_now(&self, now: Timestamp, max: usize) -> Vec<(Key, u128)> {
        let mut swept = Vec::new();
        while swept.len() < max {
            let due: Vec<(Timestamp, Key)> = {
                let expiring = self.expiring();
                expiring.iter().take_while(|(at, _)| *at <= now).take(max - swept.len()).copied().collect()
            };
            if due.is_empty() {
                break;
            }
            for (at, key) in due {
                let mut shard = self.change(key.id);
                // Somebody may have written it, or deleted it, since we looked.
                if shard.expiry(key) == Some(at)
                    && let Some(owner) = self.bury(&mut shard, key)
                {
                    swept.push((key, owner));
                }
            }
        }
        swept
    }

    fn list_owned(&self, kind: Kind, owner: u128, after: Option<u128>, max: usize) -> Vec<Stored> {
        let mut listed: Vec<Stored> = Vec::new();
        let mut from = after;
        while listed.len() < max {
            let first = from.map_or(Bound::Included((kind, owner, 0)), |id| Bound::Excluded((kind, owner, id)));
            let range = (first, Bound::Included((kind, owner, u128::MAX)));
            let ids: Vec<u128> = self.owned(owner).range(range).take(max - listed.len()).map(|(.., id)| *id).collect();
            let Some(last) = ids.last() else { break };
            from = Some(*last);
            let found = ids.into_iter().filter_map(|id| self.read(id).load(Key { kind, id }));
            listed.extend(found.filter(|stored| stored.record.owner == owner));
        }
        listed
    }

    fn list_all(&self, kind: Kind, after: Option<u128>, max: usize) -> Vec<Stored> {
        let mut listed = Vec::new();
        for shard in &self.shards[after.map_or(0, first_byte)..] {
            if listed.len() == max {
                break;
            }
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            shard.list(kind, after, max, &mut listed);
        }
        listed
    }
}

fn first_byte(id: u128) -> usize {
    usize::from(id.to_be_bytes()[0])
}

impl SessionStore for MemoryStore {
    fn write(&self, key: Key, record: Record, expect: Option<Rev>) -> Pending<Rev> {
        Box::pin(ready(self.write_now(key, record, expect)))
    }

    fn load(&self, key: Key) -> Pending<Option<Stored>> {
        Box::pin(ready(Ok(self.read(key.id).load(key))))
    }

    fn delete(&self, key: Key, expect: Option<Rev>) -> Pending<()> {
        Box::pin(ready(self.delete_now(key, expect)))
    }

    fn list(&self, kind: Kind, owner: Option<u128>, after: Option<u128>, max: usize) -> Pending<Vec<Stored>> {
        let listed = match owner {
            Some(owner) => self.list_owned(kind, owner, after, max),
            None => self.list_all(kind, after, max),
        };
        Box::pin(ready(Ok(listed)))
    }

    fn count(&self, kind: Kind) -> Pending<u64> {
        let count =
            self.shards.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).count(kind)).sum();
        Box::pin(ready(Ok(count)))
    }

    fn sweep(&self, now: Timestamp, max: usize) -> Pending<Vec<(Key, u128)>> {
        Box::pin(ready(Ok(self.sweep_now(now, max))))
    }
}

impl EventLog for MemoryStore {
    fn commit(&self, session: u128, batch: Batch) -> Pending<Rev> {
        Box::pin(ready(self.commit_now(session, batch)))
    }

    fn replay(&self, session: u128, stream: StreamId, after: u32, max: usize) -> Pending<Replay> {
        Box::pin(ready(Ok(self.read(session).replay(session, stream, after, max))))
    }
}

#[cfg(test)]
mod tests;
