//! The store of a server that was given none: its tasks end with the process.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::{Mutex, MutexGuard, PoisonError};

use andon_core::io::Timestamp;
use andon_core::port::{Key, Kind, Pending, Record, Rev, SessionStore, StoreError, Stored};

/// Records in memory. Keys are random and used once, so no dead ones are remembered.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    records: BTreeMap<Key, (Record, Rev)>,
    last: u64,
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn done<T: Send + 'static>(outcome: Result<T, StoreError>) -> Pending<T> {
    Box::pin(ready(outcome))
}

impl SessionStore for Memory {
    fn write(&self, key: Key, record: Record, expect: Option<Rev>) -> Pending<Rev> {
        let mut state = self.state();
        let current = state.records.get(&key).map(|(_, rev)| *rev);
        if current != expect {
            return done(Err(StoreError::Conflict { current }));
        }
        state.last += 1;
        let rev = Rev(state.last);
        state.records.insert(key, (record, rev));
        done(Ok(rev))
    }

    fn load(&self, key: Key) -> Pending<Option<Stored>> {
        let state = self.state();
        let found = state.records.get(&key);
        done(Ok(found.map(|(record, rev)| Stored { id: key.id, record: record.clone(), rev: *rev })))
    }

    fn delete(&self, key: Key, expect: Option<Rev>) -> Pending<()> {
        let mut state = self.state();
        let current = state.records.get(&key).map(|(_, rev)| *rev);
        if expect.is_some() && current.is_some() && current != expect {
            return done(Err(StoreError::Conflict { current }));
        }
        state.records.remove(&key);
        done(Ok(()))
    }

    fn list(&self, kind: Kind, owner: Option<u128>, after: Option<u128>, max: usize) -> Pending<Vec<Stored>> {
        let state = self.state();
        let all = state.records.range(Key { kind, id: 0 }..=Key { kind, id: u128::MAX });
        let theirs = all.filter(|(key, (record, _))| {
            after.is_none_or(|after| key.id > after) && owner.is_none_or(|owner| record.owner == owner)
        });
        let page =
            theirs.take(max).map(|(key, (record, rev))| Stored { id: key.id, record: record.clone(), rev: *rev });
        done(Ok(page.collect()))
    }

    fn count(&self, kind: Kind) -> Pending<u64> {
        let count = self.state().records.range(Key { kind, id: 0 }..=Key { kind, id: u128::MAX }).count();
        done(Ok(count as u64))
    }

    fn sweep(&self, now: Timestamp, max: usize) -> Pending<Vec<(Key, u128)>> {
        let mut state = self.state();
        let mut expired: Vec<_> = state
            .records
            .iter()
            .filter_map(|(key, (record, _))| Some((record.expires_at.filter(|at| *at <= now)?, *key, record.owner)))
            .collect();
        expired.sort_unstable_by_key(|(at, ..)| *at);
        expired.truncate(max);
        for (_, key, _) in &expired {
            state.records.remove(key);
        }
        done(Ok(expired.into_iter().map(|(_, key, owner)| (key, owner)).collect()))
    }
}
