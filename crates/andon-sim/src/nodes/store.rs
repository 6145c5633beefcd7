//! A store as its contract allows it to be: slow, away at times, forgetful of what it never called durable, and not always
//! sure what it did.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use andon_core::io::{StreamId, Timestamp};
use andon_core::port::{Batch, Event, Record, Replay, Rev, StoreError, Stored};
use fastrand::Rng;

/// Names one call to the store.
pub(super) type Op = u64;

/// Where the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavour {
    /// On the disk of the only node: what is not durable is lost with its process.
    Disk,
    /// In a cluster that outlives all nodes: what a node asked for may take effect after its end.
    Cluster,
}

#[derive(Debug, Clone)]
pub(super) enum Ask {
    Commit(Batch),
    Delete(Option<Rev>),
    Load,
    Replay(StreamId, u32, usize),
}

#[derive(Debug, Clone)]
pub(super) enum Told {
    Committed(Result<Rev, StoreError>),
    Deleted(Result<(), StoreError>),
    Loaded(Result<Option<Stored>, StoreError>),
    Replayed(Result<Replay, StoreError>),
}

/// A call that was not answered yet.
#[derive(Debug)]
struct Call {
    node: usize,
    key: u128,
    ask: Ask,
    told: Option<Told>,
}

/// All that is stored of one session.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) record: Option<(Record, Rev)>,
    /// It was there, and never will be again.
    pub(super) is_dead: bool,
    streams: BTreeMap<StreamId, Log>,
}

#[derive(Debug, Clone, Default)]
struct Log {
    events: BTreeMap<u32, Arc<[u8]>>,
    newest: u32,
    forgotten: u32,
}

impl State {
    /// The event, if it is still needed; `Ok(None)` if somebody said that it is not.
    pub(super) fn event(&self, stream: StreamId, sequence: u32) -> Result<Option<&Arc<[u8]>>, ()> {
        let log = self.streams.get(&stream).ok_or(())?;
        match log.events.get(&sequence) {
            None if sequence <= log.forgotten => Ok(None),
            found => found.map(Some).ok_or(()),
        }
    }

    fn commit(&mut self, batch: &Batch, rev: Rev) -> Result<Rev, StoreError> {
        let current = self.record.as_ref().map(|(_, rev)| *rev);
        if self.is_dead || batch.expect != current || (current.is_none() && batch.record.is_none()) {
            return Err(StoreError::Conflict { current });
        }
        let mut streams = self.streams.clone();
        for Event { stream, sequence, bytes } in &batch.events {
            let log = streams.entry(*stream).or_default();
            if *sequence <= log.newest || *sequence <= log.forgotten {
                return Err(StoreError::Conflict { current });
            }
            log.newest = *sequence;
            log.events.insert(*sequence, bytes.clone());
        }
        for (stream, through) in &batch.forget {
            let log = streams.entry(*stream).or_default();
            log.forgotten = log.forgotten.max(*through);
            log.events.retain(|sequence, _| *sequence > *through);
        }
        self.streams = streams;
        match &batch.record {
            Some(record) => {
                self.record = Some((record.clone(), rev));
                Ok(rev)
            }
            None => current.ok_or(StoreError::Conflict { current }),
        }
    }

    fn delete(&mut self, expect: Option<Rev>) -> Result<(), StoreError> {
        let current = self.record.as_ref().map(|(_, rev)| *rev);
        if expect.is_some() && current.is_some() && expect != current {
            return Err(StoreError::Conflict { current });
        }
        *self = Self { is_dead: true, ..Self::default() };
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Slot {
    now: State,
    /// What was before each call whose effect is not durable, the oldest first.
    before: Vec<(Op, State)>,
}

#[derive(Debug)]
pub(super) struct Store {
    pub(super) flavour: Flavour,
    /// Nothing can be written; reading works at times.
    pub(super) is_away: bool,
    slots: BTreeMap<u128, Slot>,
    calls: BTreeMap<Op, Call>,
    /// Failures that nobody heard of yet: what comes after them fails too.
    unheard: BTreeMap<Op, (usize, u128, StoreError)>,
    next_op: Op,
    next_rev: u64,
}

const AWAY: StoreError = StoreError::Unavailable { retry_after: Duration::from_millis(100) };

impl Store {
    pub(super) fn new(flavour: Flavour) -> Self {
        let (slots, calls, unheard) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { flavour, is_away: false, slots, calls, unheard, next_op: 0, next_rev: 0 }
    }

    /// A node asks for something. On a disk that takes effect at once, elsewhere when [`Store::take_effect`] is called: for
    /// the calls of a node and a key, in their order.
    pub(super) fn ask(&mut self, node: usize, key: u128, ask: Ask) -> Op {
        self.next_op += 1;
        self.calls.insert(self.next_op, Call { node, key, ask, told: None });
        self.next_op
    }

    pub(super) fn take_effect(&mut self, op: Op, rng: &mut Rng) {
        let Some(Call { node, key, ask, told: None }) = self.calls.get(&op) else { return };
        let (node, key, ask) = (*node, *key, ask.clone());
        let told = match ask {
            Ask::Load | Ask::Replay(..) if self.is_away && rng.bool() => fail(&ask, AWAY),
            Ask::Load => Told::Loaded(Ok(self.load(key))),
            Ask::Replay(stream, after, max) => Told::Replayed(Ok(self.replay(key, stream, after, max))),
            Ask::Commit(_) | Ask::Delete(_) => self.write(op, node, key, &ask, rng),
        };
        if let Some(call) = self.calls.get_mut(&op) {
            call.told = Some(told);
        }
    }

    fn write(&mut self, op: Op, node: usize, key: u128, ask: &Ask, rng: &mut Rng) -> Told {
        let earlier = self.unheard.values().find(|(known, of, _)| (*known, *of) == (node, key));
        let failure = match earlier {
            Some((.., error)) => Some((error.clone(), false)),
            None if self.is_away => Some((AWAY, false)),
            // Once in a while it loses the answer: to something that it did, or did not do.
            None if rng.u32(..40) == 0 => Some((StoreError::Unknown, rng.bool())),
            None => None,
        };
        if let Some((error, false)) = &failure {
            self.unheard.insert(op, (node, key, error.clone()));
            return fail(ask, error.clone());
        }
        self.next_rev += 1;
        let rev = Rev(self.next_rev);
        let slot = self.slots.entry(key).or_default();
        let before = slot.now.clone();
        let told = match ask {
            Ask::Commit(batch) => Told::Committed(slot.now.commit(batch, rev)),
            Ask::Delete(expect) => Told::Deleted(slot.now.delete(*expect)),
            Ask::Load | Ask::Replay(..) => return fail(ask, StoreError::Unknown),
        };
        if self.flavour == Flavour::Disk {
            slot.before.push((op, before));
        }
        match failure {
            Some((error, _)) => {
                self.unheard.insert(op, (node, key, error.clone()));
                fail(ask, error)
            }
            None => told,
        }
    }

    /// The answer to a call, which is durable from now on, and so is what was asked for before it. `None` if the asker is
    /// gone.
    pub(super) fn answer(&mut self, op: Op) -> Option<(u128, Told)> {
        let call = self.calls.remove(&op)?;
        self.unheard.remove(&op);
        if let Some(slot) = self.slots.get_mut(&call.key) {
            slot.before.retain(|(earlier, _)| *earlier > op);
        }
        Some((call.key, call.told?))
    }

    /// A node is gone. Of what it asked for and never heard of, a beginning happened.
    pub(super) fn crash(&mut self, node: usize, rng: &mut Rng) {
        self.unheard.retain(|_, (known, ..)| *known != node);
        match self.flavour {
            Flavour::Disk => {
                for slot in self.slots.values_mut() {
                    let kept = rng.usize(..=slot.before.len());
                    if let Some((_, state)) = slot.before.get(kept) {
                        slot.now = state.clone();
                    }
                    slot.before.clear();
                }
                self.calls.clear();
            }
            Flavour::Cluster => {
                let mut stopped = BTreeSet::new();
                let waiting = self.calls.iter().filter(|(_, call)| call.node == node && call.told.is_none());
                let dropped: Vec<Op> = waiting
                    .filter(|(_, call)| stopped.contains(&call.key) || (rng.bool() && stopped.insert(call.key)))
                    .map(|(op, _)| *op)
                    .collect();
                dropped.iter().for_each(|op| drop(self.calls.remove(op)));
            }
        }
    }

    /// What of a session would survive now.
    pub(super) fn durable(&self, key: u128) -> Option<&State> {
        let slot = self.slots.get(&key)?;
        Some(slot.before.first().map_or(&slot.now, |(_, state)| state))
    }

    /// The state that the record of a session is in: for those who write without looking.
    pub(super) fn rev(&self, key: u128) -> Option<Rev> {
        self.slots.get(&key)?.now.record.as_ref().map(|(_, rev)| *rev)
    }

    /// The sessions that expired by `now`.
    pub(super) fn expired(&self, now: Timestamp) -> Vec<(u128, Rev)> {
        let record = |(key, slot): (&u128, &Slot)| {
            let (record, rev) = slot.now.record.as_ref()?;
            (record.expires_at? <= now).then_some((*key, *rev))
        };
        self.slots.iter().filter_map(record).collect()
    }

    fn load(&self, key: u128) -> Option<Stored> {
        let (record, rev) = self.slots.get(&key)?.now.record.clone()?;
        Some(Stored { id: key, record, rev })
    }

    fn replay(&self, key: u128, stream: StreamId, after: u32, max: usize) -> Replay {
        let log = self.slots.get(&key).and_then(|slot| slot.now.streams.get(&stream));
        let events = log.into_iter().flat_map(|log| log.events.range(after.saturating_add(1)..));
        let event = |(sequence, bytes): (&u32, &Arc<[u8]>)| Event { stream, sequence: *sequence, bytes: bytes.clone() };
        let mut events: Vec<Event> = events.take(max.saturating_add(1)).map(event).collect();
        let complete = events.len() <= max;
        events.truncate(max);
        Replay { events, complete }
    }
}

fn fail(ask: &Ask, error: StoreError) -> Told {
    match ask {
        Ask::Commit(_) => Told::Committed(Err(error)),
        Ask::Delete(_) => Told::Deleted(Err(error)),
        Ask::Load => Told::Loaded(Err(error)),
        Ask::Replay(..) => Told::Replayed(Err(error)),
    }
}

/// A question in a few words.
pub(super) fn brief(ask: &Ask) -> String {
    match ask {
        Ask::Commit(Batch { expect, record, events, forget }) => {
            let events: Vec<String> =
                events.iter().map(|event| format!("{}-{}", event.stream.0, event.sequence)).collect();
            let record = record
                .as_ref()
                .map_or("the record as it is", |record| std::str::from_utf8(&record.bytes).unwrap_or_default());
            format!("commit after {expect:?} events {events:?}, forget {forget:?}, {record}")
        }
        other => format!("{other:?}"),
    }
}

/// An answer in a few words.
pub(super) fn told(told: &Told) -> String {
    match told {
        Told::Loaded(Ok(Some(stored))) => {
            format!("{:?}, {}", stored.rev, String::from_utf8_lossy(&stored.record.bytes))
        }
        Told::Replayed(Ok(replay)) => {
            let ids: Vec<String> =
                replay.events.iter().map(|event| format!("{}-{}", event.stream.0, event.sequence)).collect();
            format!("events {ids:?}")
        }
        other => format!("{other:?}"),
    }
}
