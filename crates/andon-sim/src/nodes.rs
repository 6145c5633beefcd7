//! Sessions that survive: nodes that crash at any output, sleep and lose their sessions to others, one store that is slow,
//! away or unsure, and clients that come back anywhere.
//!
//! The rules are the real ones ([`Session`](andon_core::session::Session) and
//! [`Journal`](andon_core::session::journal::Journal)); the driver around them mirrors that of `andon-server`. What is
//! checked at each step and at the end: what leaves a node is durable; a session whose id is out answers until it is ended,
//! and never again; a stream that was begun ends with one answer; an event is the same wherever it is replayed, in order,
//! once; a tool runs at most once per call, and once if it succeeded; a change of what was subscribed to is announced; and
//! when the last fault is over, all that is outstanding comes to its end.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::num::NonZero;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use andon_core::io::{CallId, Input, Timestamp};
use andon_core::limits::Limits;
use andon_core::offer::Offer;
use andon_types::meta::Implementation;
use andon_types::revision::Revision;
use fastrand::Rng;

pub use bug::Bug;
use check::Check;
use client::Client;
use node::Node;
use store::{Ask, Flavour, Op, Store, Told};
pub use tally::{Broken, Tally};
use wire::{Link, Reply, Request, Wire};

mod bug;
mod cell;
mod check;
mod client;
mod faults;
mod node;
mod store;
mod tally;
mod wire;

/// When the world begins, in milliseconds.
const START: u64 = 1_000_000;
/// How long faults go on, in milliseconds.
const FAULTS_MS: u64 = 8_000;
/// After the last fault everything is resolved in this time, in milliseconds.
const SETTLE_MS: u64 = 60_000;
/// How much earlier than promised a session may expire: activity is written down now and then.
const SLACK_MS: u64 = 5_500;

/// Something that is going to happen.
enum Event {
    Act(usize),
    Arrive {
        wire: Wire,
        request: Request,
    },
    Hear {
        wire: Wire,
        reply: Reply,
    },
    /// The client sees that the connection is gone.
    HungUp(Wire),
    /// The node sees it.
    Detach(Wire),
    Effect(Op),
    Answer(Op),
    Begin {
        node: usize,
        key: u128,
        wire: Wire,
    },
    Work {
        node: usize,
        key: u128,
        number: u64,
        call: CallId,
    },
    Alarm {
        node: usize,
        key: u128,
        number: u64,
    },
    Sweep(usize),
    Probe {
        node: usize,
        incarnation: u32,
    },
    Change(usize, &'static str),
    Fault,
    StoreBack,
    Start(usize),
}

/// Why a node asked the store.
#[derive(Debug)]
enum Purpose {
    Journal(u64),
    Coming,
    Delete(Wire),
    /// Before a session is deleted that is not in memory.
    End(Wire),
    /// Before a stream is taken up after this event.
    Look(Wire, String),
    Forget,
}

struct World {
    now: Timestamp,
    rng: Rng,
    bug: Option<Bug>,
    limits: Arc<Limits>,
    offer: Arc<Offer>,
    idle_ms: u64,
    /// How long nobody uses a session before a node takes it out of memory.
    rest_ms: u64,
    store: Store,
    nodes: Vec<Node>,
    clients: Vec<Client>,
    wires: BTreeMap<Wire, Link>,
    asked: BTreeMap<Op, (usize, u32, u128, Purpose)>,
    /// When the last call of a node for a key takes effect.
    effects: BTreeMap<(usize, u128), u64>,
    agenda: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    next_event: u64,
    next_wire: Wire,
    next_token: u64,
    last_key: u128,
    is_settling: bool,
    check: Check,
    tally: Tally,
    watch: Watch,
    history: Option<Vec<String>>,
}

/// Runs the world of `seed`, with a bug if one is named.
///
/// # Errors
/// The first promise that was broken, with what had happened before.
pub fn run_nodes(seed: u64, bug: Option<Bug>) -> Result<Tally, Broken> {
    run_watched(seed, bug, Watch::Everything)
}

/// What is looked at to see whether promises are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watch {
    /// What leaves a node is compared with what is durable, too.
    Everything,
    /// Only what clients see, and how often tools run.
    Clients,
}

fn run_watched(seed: u64, bug: Option<Bug>, watch: Watch) -> Result<Tally, Broken> {
    let world = |history| {
        let mut world = World { history, watch, ..World::new(seed, bug) };
        world.run();
        world
    };
    let seen = world(None);
    if seen.check.broken.is_none() {
        return Ok(seen.tally);
    }
    // Once more, and this time it is written down.
    let world = world(Some(Vec::new()));
    let why = world.check.broken.unwrap_or_default();
    Err(Broken { seed, why, history: world.history.unwrap_or_default() })
}

/// Runs the worlds of many seeds, on all processors.
///
/// # Errors
/// A promise that was broken under one of them: the lowest of those that were seen.
pub fn run_all(seeds: Range<u64>, bug: Option<Bug>) -> Result<Tally, Broken> {
    run_all_watched(seeds, bug, Watch::Everything)
}

fn run_all_watched(seeds: Range<u64>, bug: Option<Bug>, watch: Watch) -> Result<Tally, Broken> {
    let (next, is_broken) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let some = || {
        let mut tally = Tally::default();
        while !is_broken.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            let outcome = run_watched(seed, bug, watch).inspect_err(|_| is_broken.store(true, Ordering::Relaxed));
            tally = tally.and(outcome?);
        }
        Ok(tally)
    };
    let count = std::thread::available_parallelism().map_or(1, NonZero::get);
    let outcomes: Vec<Result<Tally, Broken>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(some)).collect();
        threads.into_iter().map(|thread| thread.join().expect("the simulator does not panic")).collect()
    });
    let worst = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).min_by_key(|broken| broken.seed);
    match worst {
        Some(broken) => Err(broken.clone()),
        None => Ok(outcomes.into_iter().flatten().fold(Tally::default(), Tally::and)),
    }
}

impl World {
    fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let flavour = if rng.bool() { Flavour::Disk } else { Flavour::Cluster };
        // In some worlds sessions expire while others use them, in others nodes take them out of memory first.
        let (idle_ms, rest_ms) = if rng.u32(..6) == 0 { (6_000, 60_000) } else { (1_000_000, 2_000) };
        let limits = Limits {
            idle_timeout: Duration::from_millis(idle_ms),
            handshake_timeout: Duration::from_secs(1_000),
            call_timeout: Duration::from_secs(5),
            standing_streams_max: 10_000,
            resumes_per_s: 1_000_000,
            replay_timeout: Duration::from_secs(10_000),
            replay_streams_max: 10_000,
            ..Limits::default()
        };
        let declared = r#"{"tools":{},"resources":{"subscribe":true},"logging":{}}"#;
        let capabilities = serde_json::from_str(declared).expect("fine");
        let offer = Arc::new(Offer::new(&Implementation::new("sim", "1"), None, &capabilities));
        let count = if flavour == Flavour::Disk { 1 } else { rng.usize(2..4) };
        let nodes = (0..count).map(|_| Node::up()).collect();
        let client = |who: u32, rng: &mut Rng| {
            let is_quiet = who > 0 && rng.u32(..3) == 0;
            Client::new(Revision::ALL[rng.usize(1..4)], rng.usize(..count), is_quiet)
        };
        let clients = (0..2).map(|who| client(who, &mut rng)).collect();
        Self {
            now: Timestamp(START),
            rng,
            bug,
            limits: Arc::new(limits),
            offer,
            idle_ms,
            rest_ms,
            store: Store::new(flavour),
            nodes,
            clients,
            wires: BTreeMap::new(),
            asked: BTreeMap::new(),
            effects: BTreeMap::new(),
            agenda: BinaryHeap::new(),
            events: BTreeMap::new(),
            next_event: 0,
            next_wire: 0,
            next_token: 0,
            last_key: 0,
            is_settling: false,
            check: Check::default(),
            tally: Tally::default(),
            watch: Watch::Everything,
            history: None,
        }
    }

    fn run(&mut self) {
        for who in 0..self.clients.len() {
            self.later(START, Event::Act(who));
        }
        for node in 0..self.nodes.len() {
            self.later(START + 500, Event::Sweep(node));
        }
        self.later(START + 300, Event::Fault);
        let faults_end = START + if self.idle_ms < FAULTS_MS { 2 * FAULTS_MS } else { FAULTS_MS };
        self.until(faults_end);
        self.heal();
        // A last change of everything, when all listen again.
        self.until(faults_end + 3_000);
        for uri in client::URIS {
            self.change(uri);
        }
        while self.check.broken.is_none() && self.now.0 < faults_end + SETTLE_MS {
            let outstanding = self.clients.iter().find_map(Client::outstanding);
            if outstanding.is_none() && self.now.0 > faults_end + 3_500 {
                return;
            }
            self.until(self.now.0 + 1_000);
        }
        if let Some(why) = self.clients.iter().find_map(Client::outstanding) {
            self.broken(&format!("a minute after the last fault: {why}"));
        }
    }

    /// Lets everything happen that happens until `end`.
    fn until(&mut self, end: u64) {
        while self.check.broken.is_none() {
            let Some(Reverse((at, number))) = self.agenda.peek().copied().filter(|Reverse((at, _))| *at <= end) else {
                break;
            };
            self.agenda.pop();
            let Some(event) = self.events.remove(&number) else { continue };
            self.now = self.now.max(Timestamp(at));
            match self.asleep(&event) {
                Some(until) => self.later(until, event),
                None => self.happen(event),
            }
            for node in 0..self.nodes.len() {
                if self.nodes[node].fuel == Some(0) {
                    self.fall(node);
                }
            }
        }
        self.now = self.now.max(Timestamp(end));
    }

    /// Until when a node that the event is for sleeps.
    fn asleep(&self, event: &Event) -> Option<u64> {
        let node = match event {
            Event::Arrive { wire, .. } | Event::Detach(wire) => self.wires.get(wire)?.node,
            Event::Answer(op) => self.asked.get(op)?.0,
            Event::Begin { node, .. } | Event::Work { node, .. } | Event::Alarm { node, .. } => *node,
            Event::Sweep(node) | Event::Probe { node, .. } | Event::Change(node, _) => *node,
            _ => return None,
        };
        Some(self.nodes[node].sleeps_until).filter(|until| *until > self.now.0)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Act(who) => {
                self.act(who);
                let pause = if self.is_settling { 300 } else { 150 };
                let at = self.soon(pause);
                self.later(at, Event::Act(who));
            }
            Event::Arrive { wire, request } => self.arrived(wire, request),
            Event::Hear { wire, reply } => {
                if let Some(link) = self.wires.get(&wire).filter(|link| !link.is_cut) {
                    let who = link.client;
                    self.note(|| format!("  client {who} hears on {wire}: {}", brief(&reply)));
                    self.hear(who, wire, reply);
                }
            }
            Event::HungUp(wire) => {
                if let Some(link) = self.wires.get_mut(&wire) {
                    link.is_cut = true;
                    let who = link.client;
                    self.hung_up(who, wire);
                }
            }
            Event::Detach(wire) => {
                if let Some((node, key)) = self.living(wire) {
                    self.detach(node, key, wire);
                    self.advance(node, key);
                }
            }
            Event::Effect(op) => self.store.take_effect(op, &mut self.rng),
            Event::Answer(op) => self.answered_by_store(op),
            Event::Begin { node, key, wire } => {
                self.begin_events(node, key, wire);
                self.advance(node, key);
            }
            Event::Work { node, key, number, call } => {
                if self.cell(node, key).is_some_and(|cell| cell.number == number) {
                    self.work(node, key, call);
                    self.advance(node, key);
                }
            }
            Event::Alarm { node, key, number } => {
                if let Some(cell) = self.cell(node, key).filter(|cell| cell.number == number) {
                    cell.alarm = None;
                    self.turn(node, key, Input::Tick);
                    self.advance(node, key);
                }
            }
            Event::Sweep(node) => {
                if self.nodes[node].is_up {
                    self.sweep(node);
                }
                let at = self.soon(2_000);
                self.later(at, Event::Sweep(node));
            }
            Event::Probe { node, incarnation } => self.probe(node, incarnation),
            Event::Change(node, uri) => self.hears_of(node, uri),
            Event::Fault => self.fault(),
            Event::StoreBack => {
                self.note(|| "!!! the store is back".to_owned());
                self.store.is_away = false;
            }
            Event::Start(node) => {
                self.note(|| format!("!!! node {node} starts"));
                self.nodes[node].is_up = true;
            }
        }
    }

    fn hears_of(&mut self, node: usize, uri: &str) {
        let keys: Vec<u128> = self.nodes[node].cells.keys().copied().collect();
        for key in keys {
            self.turn(node, key, Input::Updated(uri.into()));
            self.advance(node, key);
        }
    }

    /// Counts an output of a node. Whether it lives on.
    fn burn(&mut self, node: usize) -> bool {
        let node = &mut self.nodes[node];
        if let Some(fuel) = &mut node.fuel {
            *fuel = fuel.saturating_sub(1);
            node.is_up &= *fuel > 0;
        }
        node.is_up
    }

    fn arrived(&mut self, wire: Wire, request: Request) {
        let Some(link) = self.wires.get_mut(&wire) else { return };
        let node = link.node;
        if !self.nodes[node].is_up {
            return self.break_off(wire, true);
        }
        link.incarnation = self.nodes[node].incarnation;
        self.note(|| format!("  node {node} gets on {wire}: {request:?}"));
        self.receive(node, wire, request);
    }

    /// The node and the session of a connection, if the process is still there.
    fn living(&self, wire: Wire) -> Option<(usize, u128)> {
        let link = self.wires.get(&wire)?;
        let node = &self.nodes[link.node];
        (node.is_up && node.incarnation == link.incarnation).then_some((link.node, link.key))
    }

    fn connect(&mut self, client: usize, node: usize, key: u128, request: Request) -> Wire {
        self.next_wire += 1;
        let wire = self.next_wire;
        let (now, incarnation) = (self.now.0, self.nodes[node].incarnation);
        self.wires.insert(wire, Link { client, node, incarnation, key, is_cut: false, last_at: now });
        let at = self.soon(4);
        self.later(at, Event::Arrive { wire, request });
        wire
    }

    /// A node sends something.
    fn reply(&mut self, node: usize, wire: Wire, reply: Reply) {
        if !self.burn(node) {
            return;
        }
        self.leaves(node, wire, &reply);
        let at = self.soon(4);
        let Some(link) = self.wires.get_mut(&wire) else { return };
        link.last_at = link.last_at.max(at);
        let (at, is_cut) = (link.last_at, link.is_cut);
        if is_cut {
            let late = self.soon(400);
            self.later(late, Event::Detach(wire));
        }
        self.note(|| format!("    node {node} says on {wire}: {}", brief(&reply)));
        self.later(at, Event::Hear { wire, reply });
    }

    /// A connection breaks: at once, or after what was sent arrived.
    fn break_off(&mut self, wire: Wire, is_sudden: bool) {
        let (now, late) = (self.now.0, self.soon(400));
        let Some(link) = self.wires.get_mut(&wire) else { return };
        link.is_cut |= is_sudden;
        let at = if is_sudden { now } else { link.last_at };
        self.later(at, Event::HungUp(wire));
        self.later(late, Event::Detach(wire));
    }

    fn ask(&mut self, node: usize, key: u128, ask: Ask, purpose: Purpose) {
        if !self.burn(node) {
            return;
        }
        self.note(|| format!("    node {node} asks of {key}: {}", store::brief(&ask)));
        let op = self.store.ask(node, key, ask);
        self.asked.insert(op, (node, self.nodes[node].incarnation, key, purpose));
        let now = self.now.0;
        let mut at = now;
        if self.store.flavour == Flavour::Disk {
            self.store.take_effect(op, &mut self.rng);
        } else {
            at = self.slowly().max(self.effects.get(&(node, key)).copied().unwrap_or_default());
            self.effects.insert((node, key), at);
            self.later(at, Event::Effect(op));
        }
        let answered_at = self.slowly() - now + at;
        self.later(answered_at, Event::Answer(op));
    }

    fn answered_by_store(&mut self, op: Op) {
        let Some((node, incarnation, key, purpose)) = self.asked.remove(&op) else { return };
        let Some((_, told)) = self.store.answer(op) else { return };
        self.note(|| format!("    node {node} is told of {key}: {}", store::told(&told)));
        self.tally.unsure += u64::from(is_unsure(&told));
        if !self.nodes[node].is_up || self.nodes[node].incarnation != incarnation {
            return;
        }
        match purpose {
            Purpose::Coming => self.came(node, key, told),
            Purpose::Forget => {}
            Purpose::End(wire) => self.end_stored(node, key, wire, &told),
            Purpose::Look(wire, last) => self.looked(node, key, wire, last, told),
            Purpose::Delete(wire) => match told {
                Told::Deleted(Ok(())) => self.ended(node, key, wire, Reply::Deleted),
                _ => self.ended(node, key, wire, Reply::Refused(503)),
            },
            Purpose::Journal(number) => {
                let Some(cell) = self.cell(node, key).filter(|cell| cell.number == number) else { return };
                let was_lost = cell.journal.is_lost();
                let is_again = is_unsure(&told);
                match told {
                    Told::Committed(outcome) => cell.journal.committed(outcome),
                    Told::Loaded(outcome) => cell.journal.loaded(outcome),
                    Told::Replayed(outcome) => cell.journal.replayed(outcome),
                    Told::Deleted(_) => {}
                }
                let is_fenced = !was_lost && cell.journal.is_lost();
                self.tally.fenced += u64::from(is_fenced);
                if is_again {
                    self.start_again(node, key);
                }
                self.write(node, key);
                self.advance(node, key);
            }
        }
    }

    /// Waits until the store can be written to.
    fn wait_out(&mut self, node: usize, time: Duration) {
        if !std::mem::replace(&mut self.nodes[node].is_down, true) {
            let at = self.now.after(time).0;
            let incarnation = self.nodes[node].incarnation;
            self.later(at, Event::Probe { node, incarnation });
        }
    }

    fn probe(&mut self, node: usize, incarnation: u32) {
        if !self.nodes[node].is_up || self.nodes[node].incarnation != incarnation {
            return;
        }
        if self.store.is_away {
            return self.later(self.now.0 + 100, Event::Probe { node, incarnation });
        }
        self.nodes[node].is_down = false;
        for (key, number) in std::mem::take(&mut self.nodes[node].paused) {
            let Some(cell) = self.cell(node, key).filter(|cell| cell.number == number) else { continue };
            cell.journal.resumed();
            self.write(node, key);
            self.advance(node, key);
        }
    }

    /// Some time within the next `within` milliseconds, mostly soon.
    fn soon(&mut self, within: u64) -> u64 {
        let most = if self.rng.bool() { within } else { within / 8 };
        self.now.0 + self.rng.u64(..=most)
    }

    /// When the store has done something: most often at once, sometimes much later.
    fn slowly(&mut self) -> u64 {
        let most = if self.rng.u32(..20) == 0 { 600 } else { 4 };
        self.now.0 + self.rng.u64(..=most)
    }

    fn later(&mut self, at: u64, event: Event) {
        self.next_event += 1;
        self.events.insert(self.next_event, event);
        self.agenda.push(Reverse((at, self.next_event)));
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        let at = self.now.0 - START;
        if let Some(history) = &mut self.history {
            history.push(format!("{at:>6} {}", line()));
        }
    }
}

fn is_unsure(told: &Told) -> bool {
    use andon_core::port::StoreError;
    matches!(told, Told::Committed(Err(StoreError::Unknown)) | Told::Deleted(Err(StoreError::Unknown)))
}

fn brief(reply: &Reply) -> String {
    match reply {
        Reply::Frame(frame) => {
            let id = frame.id.map(|id| format!("{}-{}", id.stream.0, id.sequence));
            format!("event {} {}", id.unwrap_or_default(), frame.text.as_deref().unwrap_or("(opens)"))
        }
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests;
