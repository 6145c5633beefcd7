//! A node: what it does with requests, how it brings sessions back, and how it dies.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use andon_core::io::{Frame, Input, StreamId, Timestamp};
use andon_core::port::{Batch, Rev, StoreError};
use andon_core::session::journal::{Journal, Owner};
use andon_core::session::record::{LoggedEvent, SessionRecord};
use andon_core::session::{AttachError, Phase, Session, Shape, StreamKind};

use super::bug::Bug;
use super::cell::{Cell, Mode, Outlet};
use super::client::read;
use super::store::{Ask, Told};
use super::wire::{Reply, Request, Wire};
use super::{Event, Purpose, World};

/// Nothing answers to a notification.
const NO_STREAM: StreamId = StreamId(0);
const PAGE: usize = 1_000;
/// How often a session is tried to be taken over.
const TAKE_OVERS_MAX: u32 = 3;

#[derive(Default)]
pub(super) struct Node {
    pub(super) is_up: bool,
    /// Counts its processes.
    pub(super) incarnation: u32,
    /// It does nothing until then, and does not know it.
    pub(super) sleeps_until: u64,
    /// It dies after so many more outputs.
    pub(super) fuel: Option<u32>,
    /// Writing failed, and did not succeed since.
    pub(super) is_down: bool,
    /// Cells that wait for the store.
    pub(super) paused: Vec<(u128, u64)>,
    pub(super) cells: BTreeMap<u128, Cell>,
    coming: BTreeMap<u128, Coming>,
    /// Sessions that are being deleted from the store, and who comes for them meanwhile.
    ending: BTreeMap<u128, Vec<(Wire, Request)>>,
    next_cell: u64,
}

/// A session that is being brought back, and who waits for it.
#[derive(Default)]
struct Coming {
    waiting: Vec<(Wire, Request)>,
    tries: u32,
    record: Option<(SessionRecord, Rev)>,
    /// When it was asked for, by which it is judged whether it expired.
    read_at: Timestamp,
    taken_at: Timestamp,
    events: Vec<LoggedEvent>,
    /// Streams whose events are yet to be read.
    unread: VecDeque<StreamId>,
}

impl Node {
    pub(super) fn up() -> Self {
        Self { is_up: true, ..Self::default() }
    }
}

impl World {
    /// A request arrived.
    pub(super) fn receive(&mut self, node: usize, wire: Wire, request: Request) {
        let Some(link) = self.wires.get(&wire) else { return };
        let key = link.key;
        if let Request::Initialize(text) = &request {
            return self.initialize(node, wire, text);
        }
        let is_lost = self.cell(node, key).is_some_and(|cell| cell.journal.is_lost());
        if is_lost && self.bug != Some(Bug::LostIsDurable) {
            self.let_go(node, key);
        }
        if self.cell(node, key).is_some() {
            return self.serve(node, key, wire, request);
        }
        if let Some(waiting) = self.nodes[node].ending.get_mut(&key) {
            return waiting.push((wire, request));
        }
        let is_first = !self.nodes[node].coming.contains_key(&key);
        if let (Request::Delete, true) = (&request, is_first) {
            self.nodes[node].ending.entry(key).or_default();
            return self.ask(node, key, Ask::Load, Purpose::End(wire));
        }
        self.nodes[node].coming.entry(key).or_default().waiting.push((wire, request));
        if is_first {
            self.load(node, key);
        }
    }

    fn load(&mut self, node: usize, key: u128) {
        let now = self.now;
        if let Some(coming) = self.nodes[node].coming.get_mut(&key) {
            coming.read_at = now;
        }
        self.ask(node, key, Ask::Load, Purpose::Coming);
    }

    /// What a load, a write or a read of a session that comes back brought.
    pub(super) fn came(&mut self, node: usize, key: u128, told: Told) {
        let (now, early) = (self.now, self.bug == Some(Bug::ReadBeforeFence));
        let Some(coming) = self.nodes[node].coming.get_mut(&key) else { return };
        match told {
            Told::Loaded(Ok(Some(stored))) => {
                let record = SessionRecord::decode(&stored.record.bytes).expect("only records are written");
                if record.expires_at(&self.limits).is_some_and(|at| at <= coming.read_at) {
                    return self.turn_away(node, key, 404);
                }
                coming.unread = record.streams.iter().map(|stream| StreamId(stream.id)).collect();
                coming.record = Some((record.taken_over(now), stored.rev));
                coming.events.clear();
                coming.taken_at = now;
                if early { self.read_next(node, key) } else { self.take_over(node, key) }
            }
            Told::Loaded(Ok(None)) => self.turn_away(node, key, 404),
            Told::Committed(Ok(rev)) => {
                if let Some((_, known)) = &mut coming.record {
                    *known = rev;
                }

                if early { self.arrive(node, key) } else { self.read_next(node, key) }
            }
            Told::Committed(Err(StoreError::Conflict { .. } | StoreError::Unknown))
                if coming.tries < TAKE_OVERS_MAX =>
            {
                coming.tries += 1;
                self.load(node, key);
            }
            Told::Replayed(Ok(replay)) => {
                let read = |event: &andon_core::port::Event| {
                    LoggedEvent::decode(event.stream, event.sequence, &event.bytes).expect("only events are written")
                };
                coming.events.extend(replay.events.iter().map(read));
                self.read_next(node, key);
            }
            Told::Loaded(Err(_)) | Told::Committed(Err(_)) | Told::Replayed(Err(_)) | Told::Deleted(_) => {
                let status = if self.bug == Some(Bug::OutageIsGone) { 404 } else { 503 };
                self.turn_away(node, key, status);
            }
        }
    }

    /// A node looked whether a session is its own still, because somebody comes back for a stream of it.
    pub(super) fn looked(&mut self, node: usize, key: u128, wire: Wire, last: String, told: Told) {
        let Told::Loaded(Ok(stored)) = told else { return self.reply(node, wire, Reply::Refused(503)) };
        let epoch = stored.map(|stored| decode(&stored.record.bytes).epoch);
        match self.cell(node, key) {
            Some(cell) if epoch == Some(cell.session.epoch()) => {
                self.get(node, key, wire, Some(&last));
                self.advance(node, key);
            }
            cell => {
                if cell.is_some() {
                    self.let_go(node, key);
                }
                self.receive(node, wire, Request::Get(Some(last)));
            }
        }
    }

    fn take_over(&mut self, node: usize, key: u128) {
        let Some((record, rev)) = self.nodes[node].coming.get(&key).and_then(|coming| coming.record.clone()) else {
            return;
        };
        let expect = if self.bug == Some(Bug::NoFence) { self.store.rev(key) } else { Some(rev) };
        let record = Owner::default().record(&record, &self.limits);
        self.ask(node, key, Ask::Commit(Batch { expect, record: Some(record), ..Batch::default() }), Purpose::Coming);
    }

    fn read_next(&mut self, node: usize, key: u128) {
        let early = self.bug == Some(Bug::ReadBeforeFence);
        let Some(coming) = self.nodes[node].coming.get_mut(&key) else { return };
        match coming.unread.pop_front() {
            Some(stream) => self.ask(node, key, Ask::Replay(stream, 0, PAGE), Purpose::Coming),
            None if early => self.take_over(node, key),
            None => self.arrive(node, key),
        }
    }

    /// The session is back.
    fn arrive(&mut self, node: usize, key: u128) {
        let Some(mut coming) = self.nodes[node].coming.remove(&key) else { return };
        let Some((mut record, rev)) = coming.record.take() else { return };
        match self.bug {
            Some(Bug::SilentCalls) => record.requests.clear(),
            Some(Bug::ForgottenSubscriptions) => record.subscriptions.clear(),
            _ => {}
        }
        let (limits, offer) = (self.limits.clone(), self.offer.clone());
        let events = std::mem::take(&mut coming.events);
        let restored = Session::restore(self.now, record, events, limits.clone(), offer);
        let (session, outputs) = restored.expect("only good records are written");
        self.note(|| format!("    node {node} takes up session {key}, epoch {}", session.epoch()));
        self.put(node, key, session, Journal::new(Owner::default(), limits, Some(rev)), true);
        if let Some(cell) = self.cell(node, key) {
            cell.since = coming.taken_at;
        }
        self.tally.takeovers += 1;
        self.carry_out(node, key, outputs);
        for (wire, request) in coming.waiting {
            self.serve(node, key, wire, request);
        }
        self.advance(node, key);
    }

    fn turn_away(&mut self, node: usize, key: u128, status: u16) {
        let Some(coming) = self.nodes[node].coming.remove(&key) else { return };
        for (wire, _) in coming.waiting {
            self.reply(node, wire, Reply::Refused(status));
        }
    }

    fn put(&mut self, node: usize, key: u128, session: Session, journal: Journal, is_open: bool) {
        let now = self.now;
        let known = &mut self.nodes[node];
        known.next_cell += 1;
        let number = (u64::from(known.incarnation) << 32) | known.next_cell;
        known.cells.insert(key, Cell::new(number, now, session, journal, is_open));
    }

    fn initialize(&mut self, node: usize, wire: Wire, text: &str) {
        if self.nodes[node].is_down {
            return self.reply(node, wire, Reply::Refused(503));
        }
        self.last_key += 1;
        let key = self.last_key;
        if let Some(link) = self.wires.get_mut(&wire) {
            link.key = key;
        }
        let tag = self.rng.u32(..);
        let session = Session::new(self.now, Shape::Http, tag, self.limits.clone(), self.offer.clone()).durable();
        self.put(node, key, session, Journal::new(Owner::default(), self.limits.clone(), None), false);
        self.post(node, key, wire, text);
    }

    fn serve(&mut self, node: usize, key: u128, wire: Wire, request: Request) {
        let is_down = self.nodes[node].is_down;
        match request {
            Request::Initialize(_) => {}
            Request::Notify(_) if is_down => self.reply(node, wire, Reply::Refused(503)),
            Request::Notify(text) => {
                let mark = self.turn(node, key, Input::Message { stream: NO_STREAM, message: read(&text) });
                if let Some(cell) = self.cell(node, key) {
                    cell.accepted.push((wire, mark));
                }
            }
            Request::Post(text) if is_down && is_remembered(&text) => self.reply(node, wire, Reply::Refused(503)),
            Request::Post(text) => self.post(node, key, wire, &text),
            Request::Get(Some(last)) => self.ask(node, key, Ask::Load, Purpose::Look(wire, last)),
            Request::Get(None) => self.get(node, key, wire, None),
            Request::Delete => self.delete(node, key, wire),
        }
        self.advance(node, key);
    }

    fn post(&mut self, node: usize, key: u128, wire: Wire, text: &str) {
        let now = self.now;
        let Some(cell) = self.cell(node, key) else { return };
        let stream = cell.session.open_stream(now, StreamKind::Request);
        cell.session.owe(stream, 1);
        self.open(node, key, wire, stream, Vec::new());
        self.turn(node, key, Input::Message { stream, message: read(text) });
        let Some(outlet) = self.cell(node, key).and_then(|cell| cell.outlets.get_mut(&wire)) else { return };
        if outlet.is_closed && outlet.queue.len() == 1 {
            outlet.mode = Mode::Whole;
        } else {
            let at = self.soon(80);
            self.later(at, Event::Begin { node, key, wire });
        }
        self.advance(node, key);
    }

    /// Opens the place of a stream, with what is replayed.
    fn open(&mut self, node: usize, key: u128, wire: Wire, stream: StreamId, frames: Vec<Frame>) {
        let bug = self.bug;
        let Some(cell) = self.cell(node, key) else { return };
        let newest = (bug != Some(Bug::ReplayBeforePersist)).then(|| cell.journal.newest());
        let is_closed = frames.last().is_some_and(|frame| frame.last);
        let queue = frames.into_iter().map(|frame| (frame, newest)).collect();
        if let Some(index) = cell.places.iter().position(|(known, _)| *known == stream) {
            let (_, before) = cell.places.swap_remove(index);
            if let Some(outlet) = cell.outlets.get_mut(&before) {
                outlet.is_closed = true;
            }
        }
        cell.places.push((stream, wire));
        cell.outlets.insert(wire, Outlet { stream, queue, is_closed, mode: Mode::Undecided });
        self.submit(node, key);
    }

    fn get(&mut self, node: usize, key: u128, wire: Wire, last: Option<&str>) {
        let (now, bug) = (self.now, self.bug);
        let Some(cell) = self.cell(node, key) else { return };
        let opened = match last {
            Some(id) => cell.session.resume(now, id),
            None => cell.session.attach(now).map(|stream| (stream, Vec::new())),
        };
        let (stream, mut frames) = match opened {
            Ok(opened) => opened,
            Err(AttachError::TooMany) => return self.reply(node, wire, Reply::Refused(429)),
            Err(_) => return self.reply(node, wire, Reply::Refused(400)),
        };
        match bug {
            Some(Bug::ReplayOffByOne) if !frames.is_empty() => drop(frames.remove(0)),
            Some(Bug::ReplayOneTwice) if !frames.is_empty() => frames.insert(0, frames[0].clone()),
            _ => {}
        }
        self.open(node, key, wire, stream, frames);
        let Some(cell) = self.cell(node, key) else { return };
        let is_finished = cell.session.is_finished(stream);
        if let Some(outlet) = cell.outlets.get_mut(&wire) {
            outlet.is_closed |= is_finished;
            if last.is_some() {
                outlet.mode = Mode::Events;
            }
        }
        match last {
            Some(_) => self.reply(node, wire, Reply::Opens),
            None => self.begin_events(node, key, wire),
        }
        self.turn(node, key, Input::Tick);
    }

    fn delete(&mut self, node: usize, key: u128, wire: Wire) {
        self.end(node, key);
        self.nodes[node].ending.entry(key).or_default();
        if self.bug == Some(Bug::DeleteBeforePersist) {
            self.reply(node, wire, Reply::Deleted);
        }
        self.ask(node, key, Ask::Delete(None), Purpose::Delete(wire));
    }

    /// A session that is not in memory is to be ended, and this is what the store has of it.
    pub(super) fn end_stored(&mut self, node: usize, key: u128, wire: Wire, told: &Told) {
        match told {
            Told::Loaded(Ok(Some(_))) => self.ask(node, key, Ask::Delete(None), Purpose::Delete(wire)),
            Told::Loaded(Ok(None)) => self.ended(node, key, wire, Reply::Refused(404)),
            _ => self.ended(node, key, wire, Reply::Refused(503)),
        }
    }

    /// A session is no longer being deleted: who came for it meanwhile is served.
    pub(super) fn ended(&mut self, node: usize, key: u128, wire: Wire, reply: Reply) {
        self.reply(node, wire, reply);
        for (wire, request) in self.nodes[node].ending.remove(&key).unwrap_or_default() {
            self.receive(node, wire, request);
        }
    }

    /// Takes a session out of memory for good.
    fn end(&mut self, node: usize, key: u128) {
        self.turn(node, key, Input::End);
        if let Some(cell) = self.cell(node, key) {
            cell.journal.end();
        }
        self.advance(node, key);
        self.drop_cell(node, key);
    }

    /// Takes a session out of memory that another node has now.
    pub(super) fn let_go(&mut self, node: usize, key: u128) {
        if let Some(cell) = self.cell(node, key) {
            cell.is_elsewhere = true;
        }
        self.turn(node, key, Input::End);
        self.advance(node, key);
        self.drop_cell(node, key);
    }

    /// Nobody learnt the id of a session that could not be written down.
    pub(super) fn give_up_opening(&mut self, node: usize, key: u128) {
        if self.cell(node, key).is_some_and(|cell| !cell.is_open) {
            self.end(node, key);
            self.ask(node, key, Ask::Delete(None), Purpose::Forget);
        }
    }

    fn drop_cell(&mut self, node: usize, key: u128) {
        let Some(cell) = self.nodes[node].cells.remove(&key) else { return };
        for wire in cell.outlets.into_keys().chain(cell.accepted.into_iter().map(|(wire, _)| wire)) {
            self.reply(node, wire, Reply::End);
        }
    }

    /// What a host does now and then with all of its sessions, and with what expired in the store.
    pub(super) fn sweep(&mut self, node: usize) {
        let (now, bug) = (self.now, self.bug);
        let keys: Vec<u128> = self.nodes[node].cells.keys().copied().collect();
        for key in keys {
            let Some(cell) = self.cell(node, key).filter(|cell| cell.is_open) else { continue };
            if cell.journal.is_lost() {
                self.let_go(node, key);
                continue;
            }
            cell.session.forget_streams(now);
            if bug != Some(Bug::ForgottenUse) {
                cell.session.touch(now);
            }
            if cell.session.is_expired(now) {
                self.expire(node, key);
                continue;
            }
            self.submit(node, key);
            self.advance(node, key);
            self.set_aside(node, key);
        }
        for (key, rev) in self.store.expired(now) {
            self.ask(node, key, Ask::Delete(Some(rev)), Purpose::Forget);
        }
    }

    fn expire(&mut self, node: usize, key: u128) {
        let Some(rev) = self.cell(node, key).and_then(|cell| cell.journal.rest()) else { return };
        self.note(|| format!("    node {node} takes session {key} for expired"));
        self.end(node, key);
        self.ask(node, key, Ask::Delete(Some(rev)), Purpose::Forget);
    }

    fn set_aside(&mut self, node: usize, key: u128) {
        let (now, rest) = (self.now, Duration::from_millis(self.rest_ms));
        let Some(cell) = self.cell(node, key) else { return };
        let is_held = !cell.outlets.is_empty() || !cell.accepted.is_empty() || !cell.running.is_empty();
        if !is_held && cell.session.is_quiet_since(now, rest) && cell.journal.rest().is_some() {
            cell.session.retire();
            self.nodes[node].cells.remove(&key);
        }
    }

    /// Whether the session stands in the store as one whose handshake is over.
    pub(super) fn is_initialized(&self, key: u128) -> bool {
        let record = self.store.durable(key).and_then(|state| state.record.as_ref());
        record.is_some_and(|(record, _)| decode(&record.bytes).phase == Phase::Initialized)
    }

    /// The process is gone, and all that it knew.
    pub(super) fn crash(&mut self, node: usize) {
        self.note(|| format!("!!! node {node} dies"));
        let incarnation = self.nodes[node].incarnation + 1;
        self.nodes[node] = Node { incarnation, ..Node::default() };
        self.store.crash(node, &mut self.rng);
        let wires: Vec<Wire> =
            self.wires.iter().filter(|(_, link)| link.node == node && !link.is_cut).map(|(wire, _)| *wire).collect();
        for wire in wires {
            // What it had sent may arrive, or not.
            let is_sudden = self.rng.bool();
            self.break_off(wire, is_sudden);
        }
    }
}

pub(super) fn decode(bytes: &Arc<[u8]>) -> SessionRecord {
    SessionRecord::decode(bytes).expect("only records are written")
}

/// Whether what a request does has to be written down.
fn is_remembered(text: &str) -> bool {
    text.contains(r#""write""#) || text.contains("subscribe")
}
