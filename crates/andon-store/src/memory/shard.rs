//! A part of what is kept: records and events whose ids begin alike.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use andon_core::io::{StreamId, Timestamp};
use andon_core::port::{Event, Key, Kind, Replay, Rev, StoreError, Stored};

use crate::unheard::Outcome;
use crate::uptime::Uptime;

/// How many keys that were dead for long enough are forgotten when another one dies.
const FORGOTTEN_PER_DEATH: usize = 2;

#[derive(Debug, Default)]
pub(super) struct Shard {
    records: [BTreeMap<u128, Stored>; Kind::ALL.len()],
    streams: BTreeMap<(u128, StreamId), Stream>,
    /// Streams that are over, in runs: from the session and the last one of a run to the first.
    over: BTreeMap<(u128, StreamId), StreamId>,
    /// Since when a key is dead, in milliseconds of the store's uptime.
    dead: HashMap<Key, u64>,
    /// The same in order. A key that died again has an older entry too.
    deaths: VecDeque<(u64, Key)>,
}

#[derive(Debug, Default)]
struct Stream {
    /// The largest number that it ever had, or that was forgotten.
    top: u32,
    events: VecDeque<(u32, Arc<[u8]>)>,
}

impl Shard {
    pub(super) fn load(&self, key: Key) -> Option<Stored> {
        self.of(key.kind).get(&key.id).cloned()
    }

    pub(super) fn rev(&self, key: Key) -> Option<Rev> {
        self.of(key.kind).get(&key.id).map(|stored| stored.rev)
    }

    pub(super) fn expiry(&self, key: Key) -> Option<Timestamp> {
        self.of(key.kind).get(&key.id).and_then(|stored| stored.record.expires_at)
    }

    pub(super) fn count(&self, kind: Kind) -> u64 {
        self.of(kind).len() as u64
    }

    /// Adds records to `listed` until it has `max`.
    pub(super) fn list(&self, kind: Kind, after: Option<u128>, max: usize, listed: &mut Vec<Stored>) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let room = max - listed.len();
        listed.extend(self.of(kind).range((from, Bound::Unbounded)).take(room).map(|(_, stored)| stored.clone()));
    }

    /// Whether the record is in the state that is expected, and may be written.
    pub(super) fn check(&self, key: Key, expect: Option<Rev>) -> Outcome<()> {
        let current = self.rev(key);
        let is_dead = current.is_none() && self.dead.contains_key(&key);
        if current == expect && !is_dead { Ok(()) } else { Err(StoreError::Conflict { current }) }
    }

    /// Gives what was there before.
    pub(super) fn put(&mut self, key: Key, stored: Stored) -> Option<Stored> {
        self.of_mut(key.kind).insert(key.id, stored)
    }

    /// The key is dead from now on. Gives what was there.
    pub(super) fn bury(&mut self, key: Key, uptime: &Uptime) -> Option<Stored> {
        self.forget_deaths(uptime);
        let now_ms = uptime.now_ms();
        self.dead.insert(key, now_ms);
        self.deaths.push_back((now_ms, key));
        if key.kind == Kind::Session {
            let streams: Vec<_> = self.streams.range(streams_of(key.id)).map(|(name, _)| *name).collect();
            for name in streams {
                self.streams.remove(&name);
            }
            let runs: Vec<_> = self.over.range(streams_of(key.id)).map(|(name, _)| *name).collect();
            for name in runs {
                self.over.remove(&name);
            }
        }
        self.of_mut(key.kind).remove(&key.id)
    }

    /// Puts events on their streams and forgets others, or does nothing at all if a number was there already.
    pub(super) fn append(&mut self, session: u128, events: Vec<Event>, forget: &[(StreamId, u32)]) -> Result<(), ()> {
        let mut tops: HashMap<StreamId, u32> = HashMap::new();
        for event in &events {
            let top = tops.entry(event.stream).or_insert_with(|| self.top(session, event.stream));
            if event.sequence <= *top {
                return Err(());
            }
            *top = event.sequence;
        }
        for event in events {
            let stream = self.streams.entry((session, event.stream)).or_default();
            stream.top = event.sequence;
            stream.events.push_back((event.sequence, event.bytes));
        }
        for (stream, through) in forget {
            self.forget(session, *stream, *through);
        }
        Ok(())
    }

    pub(super) fn replay(&self, session: u128, stream: StreamId, after: u32, max: usize) -> Replay {
        let Some(kept) = self.streams.get(&(session, stream)) else {
            return Replay { events: Vec::new(), complete: true };
        };
        let from = kept.events.partition_point(|(sequence, _)| *sequence <= after);
        let event = |(sequence, bytes): &(u32, Arc<[u8]>)| Event { stream, sequence: *sequence, bytes: bytes.clone() };
        let events: Vec<Event> = kept.events.range(from..).take(max).map(event).collect();
        Replay { complete: from + events.len() == kept.events.len(), events }
    }

    /// How many rows there are beside those of dead keys: records, streams, and runs of streams that are over.
    #[cfg(test)]
    pub(super) fn rows(&self) -> [usize; 3] {
        [self.records.iter().map(BTreeMap::len).sum(), self.streams.len(), self.over.len()]
    }

    /// The largest number that a stream had, or that was forgotten.
    fn top(&self, session: u128, stream: StreamId) -> u32 {
        if self.is_over(session, stream) {
            return u32::MAX;
        }
        self.streams.get(&(session, stream)).map_or(0, |stream| stream.top)
    }

    fn is_over(&self, session: u128, stream: StreamId) -> bool {
        let run = self.over.range((session, stream)..=(session, StreamId(u32::MAX))).next();
        run.is_some_and(|(_, first)| *first <= stream)
    }

    fn forget(&mut self, session: u128, stream: StreamId, through: u32) {
        if through == u32::MAX {
            self.streams.remove(&(session, stream));
            self.end(session, stream);
            return;
        }
        if self.is_over(session, stream) {
            return;
        }
        let stream = self.streams.entry((session, stream)).or_default();
        stream.top = stream.top.max(through);
        while stream.events.front().is_some_and(|(sequence, _)| *sequence <= through) {
            stream.events.pop_front();
        }
        if stream.events.is_empty() {
            stream.events = VecDeque::new();
        }
    }

    /// The stream is over, and joins the runs beside it.
    fn end(&mut self, session: u128, stream: StreamId) {
        if self.is_over(session, stream) {
            return;
        }
        let before = stream.0.checked_sub(1).and_then(|last| self.over.remove(&(session, StreamId(last))));
        let after = self.over.range((session, stream)..=(session, StreamId(u32::MAX))).next();
        let after = after.filter(|(_, first)| stream.0.checked_add(1) == Some(first.0)).map(|((_, last), _)| *last);
        self.over.insert((session, after.unwrap_or(stream)), before.unwrap_or(stream));
    }

    fn forget_deaths(&mut self, uptime: &Uptime) {
        let Some(forgettable_ms) = uptime.forgettable_ms() else { return };
        for _ in 0..FORGOTTEN_PER_DEATH {
            let Some((died_ms, key)) = self.deaths.front().copied() else { return };
            if died_ms > forgettable_ms {
                return;
            }
            self.deaths.pop_front();
            // Unless it died again.
            if self.dead.get(&key) == Some(&died_ms) {
                self.dead.remove(&key);
            }
        }
    }

    fn of(&self, kind: Kind) -> &BTreeMap<u128, Stored> {
        &self.records[kind as usize - 1]
    }

    fn of_mut(&mut self, kind: Kind) -> &mut BTreeMap<u128, Stored> {
        &mut self.records[kind as usize - 1]
    }
}

fn streams_of(session: u128) -> std::ops::RangeInclusive<(u128, StreamId)> {
    (session, StreamId(0))..=(session, StreamId(u32::MAX))
}
