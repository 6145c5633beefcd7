//! A client with its session: what it does, what it was told, and what it therefore expects.

use std::collections::{BTreeMap, BTreeSet};

use andon_core::event::EventId;
use andon_core::io::StreamId;
use andon_types::message::{Body, Message};
use andon_types::revision::Revision;
use andon_types::scan::ScanLimits;
use serde_json::{Value, json};

use super::World;
use super::wire::{Reply, Request, Wire};

mod replies;

pub(super) const URIS: [&str; 4] = ["a:1", "a:2", "a:3", "a:4"];
/// A tool that has so much to do never does anything.
pub(super) const STEPS_OF_ONE_THAT_HANGS: u64 = 1_000;
/// Standing streams that one client wants.
const STANDING_MAX: usize = 2;

#[derive(Debug)]
pub(super) struct Client {
    revision: Revision,
    /// The session, once its id is known.
    pub(super) key: Option<u128>,
    is_initialized: bool,
    /// It says now and then that it is there, and nothing that has to be written down.
    is_quiet: bool,
    /// DELETE was sent.
    pub(super) is_ending: bool,
    /// When 204 arrived.
    pub(super) ended_at: Option<u64>,
    /// The node that said so.
    pub(super) ended_by: Option<usize>,
    /// Whoever asks for the session is told that there is none.
    is_gone: bool,
    /// When the session last did something for it.
    heard_at: u64,
    /// Once it did nothing for so long that the session would have expired before long. That it was used again is written
    /// down with the next sweep, if its node lives to see that.
    has_lapsed: bool,
    /// The session answered after all faults were over.
    is_well: bool,
    asked: BTreeMap<i64, Asked>,
    streams: BTreeMap<StreamId, View>,
    lines: BTreeMap<Wire, Line>,
    /// When the client was told that it is subscribed.
    subscribed: BTreeMap<&'static str, u64>,
    /// Changes that are yet to be announced.
    owed: BTreeMap<&'static str, u64>,
    /// What it unsubscribed from.
    left: BTreeSet<&'static str>,
    next_id: i64,
    /// Where it mostly goes.
    home: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Tool(u64),
    Ping,
    Subscribe(&'static str),
    Unsubscribe,
}

/// A request.
#[derive(Debug)]
struct Asked {
    what: What,
    stream: Option<StreamId>,
    is_cancelled: bool,
    /// Nobody promised anything: its connection broke too early.
    is_loose: bool,
    /// Whether it succeeded.
    outcome: Option<bool>,
    progress: f64,
}

/// A stream as the client knows it.
#[derive(Debug)]
struct View {
    /// The request that it answers; `None` for a standing one.
    asked: Option<i64>,
    seen: u32,
    /// What it said to have seen, at most.
    presented: u32,
    is_connected: bool,
    is_over: bool,
}

/// What an open connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Opening,
    Initialized,
    Cancelling,
    Asking(i64),
    Standing,
    Resuming(StreamId, u32),
    Ending,
}

#[derive(Debug)]
struct Line {
    what: Use,
    stream: Option<StreamId>,
    /// The number of the event that comes next.
    next: Option<u32>,
}

impl Client {
    pub(super) fn new(revision: Revision, home: usize, is_quiet: bool) -> Self {
        Self {
            revision,
            key: None,
            is_initialized: false,
            is_quiet,
            is_ending: false,
            ended_at: None,
            ended_by: None,
            is_gone: false,
            heard_at: 0,
            has_lapsed: false,
            is_well: false,
            asked: BTreeMap::new(),
            streams: BTreeMap::new(),
            lines: BTreeMap::new(),
            subscribed: BTreeMap::new(),
            owed: BTreeMap::new(),
            left: BTreeSet::new(),
            next_id: 0,
            home,
        }
    }

    /// The session did something for it.
    fn heard(&mut self, now: u64, idle_ms: u64) {
        self.has_lapsed |= self.heard_at > 0 && now - self.heard_at >= idle_ms / 2;
        self.heard_at = now;
    }

    /// A resource changed.
    pub(super) fn change(&mut self, now: u64, uri: &'static str) {
        if self.subscribed.contains_key(uri) && !self.is_ending {
            self.owed.insert(uri, now);
        }
    }

    /// Whether the answer on `wire` says that the handshake is over.
    pub(super) fn says_initialized(&self, wire: Wire) -> bool {
        self.lines.get(&wire).is_some_and(|line| line.what == Use::Initialized)
    }

    fn has(&self, what: Use) -> bool {
        self.lines.values().any(|line| line.what == what)
    }

    fn standing(&self) -> usize {
        let known = self.streams.values().filter(|view| view.asked.is_none() && view.is_connected).count();
        let new = self.lines.values().filter(|line| line.what == Use::Standing && line.stream.is_none()).count();
        known + new
    }

    /// Streams that it could come back for.
    fn lost(&self) -> Vec<StreamId> {
        let coming = |id: &StreamId| {
            self.lines.values().any(|line| matches!(line.what, Use::Resuming(stream, _) if stream == *id))
        };
        let lost = self.streams.iter().filter(|(id, view)| !view.is_connected && !view.is_over && !coming(id));
        lost.map(|(id, _)| *id).collect()
    }

    /// What was promised to it and is not there yet.
    pub(super) fn outstanding(&self) -> Option<String> {
        if self.key.is_none() || self.is_gone {
            return None;
        }
        if self.is_ending {
            return Some("the session does not end".to_owned());
        }
        if !self.is_well {
            return Some("the session does not answer".to_owned());
        }
        let open = |(_, asked): &(&i64, &Asked)| !asked.is_loose && !asked.is_cancelled && asked.outcome.is_none();
        if let Some((id, _)) = self.asked.iter().find(open) {
            return Some(format!("request {id} is not answered"));
        }
        let owed = self.owed.iter().next();
        owed.map(|(uri, at)| format!("the change of {uri} at {at} was never announced"))
    }
}

impl World {
    /// Something that clients do.
    pub(super) fn act(&mut self, who: usize) {
        let client = &mut self.clients[who];
        if client.key.is_none() {
            if !client.has(Use::Opening) {
                let params = json!({ "protocolVersion": client.revision.as_str(), "capabilities": {},
                    "clientInfo": { "name": "sim", "version": "1" } });
                let text = request(0, "initialize", params);
                self.send(who, Use::Opening, Request::Initialize(text));
            }
            return;
        }
        if client.is_gone {
            return;
        }
        if client.is_ending {
            if client.ended_at.is_some() {
                self.haunt(who);
            } else if !client.has(Use::Ending) {
                self.send(who, Use::Ending, Request::Delete);
            }
            return;
        }
        if !client.is_initialized && !client.has(Use::Initialized) {
            let text = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }).to_string();
            return self.send(who, Use::Initialized, Request::Notify(text));
        }
        if self.is_settling { self.finish(who) } else { self.wander(who) }
    }

    fn wander(&mut self, who: usize) {
        if self.clients[who].is_quiet {
            if self.rng.u32(..8) == 0 {
                self.ask_for(who, What::Ping, "ping", json!({}));
            }
            return;
        }
        match self.rng.u32(..40) {
            0..=8 => self.call(who, "write"),
            9..=13 => self.call(who, "read"),
            14 => drop(self.ask_for(who, What::Ping, "ping", json!({}))),
            15..=17 => {
                let uri = URIS[self.rng.usize(..URIS.len())];
                // A request to leave that was delayed may come after another to join.
                if !self.clients[who].left.contains(uri) {
                    self.ask_for(who, What::Subscribe(uri), "resources/subscribe", json!({ "uri": uri }));
                }
            }
            18 => {
                let uri = URIS[self.rng.usize(..URIS.len())];
                let client = &mut self.clients[who];
                client.subscribed.remove(uri);
                client.owed.remove(uri);
                client.left.insert(uri);
                self.ask_for(who, What::Unsubscribe, "resources/unsubscribe", json!({ "uri": uri }));
            }
            19 | 20 => self.cancel(who),
            21..=23 => self.stand(who),
            24..=29 => self.come_back(who),
            30 => self.come_back_again(who),
            31..=37 => self.hang_up(who),
            38 if self.rng.u32(..6) == 0 => {
                self.clients[who].is_ending = true;
                self.send(who, Use::Ending, Request::Delete);
            }
            _ => {}
        }
    }

    /// Everything that was begun is brought to its end.
    fn finish(&mut self, who: usize) {
        let lost = self.clients[who].lost();
        for stream in lost {
            let seen = self.clients[who].streams[&stream].seen;
            self.resume(who, stream, seen);
        }
        if self.clients[who].standing() == 0 {
            self.stand(who);
        }
        let client = &self.clients[who];
        if !client.is_well
            && !client
                .asked
                .values()
                .any(|asked| asked.what == What::Ping && asked.outcome.is_none() && !asked.is_loose)
        {
            self.ask_for(who, What::Ping, "ping", json!({}));
        }
    }

    /// Somebody comes for a session that was ended.
    fn haunt(&mut self, who: usize) {
        match self.rng.u32(..3) {
            0 => self.stand(who),
            _ => drop(self.ask_for(who, What::Ping, "ping", json!({}))),
        }
    }

    fn call(&mut self, who: usize, tool: &str) {
        self.next_token += 1;
        let (token, steps) = (self.next_token, [0, 0, 0, 1, 2, 3, STEPS_OF_ONE_THAT_HANGS][self.rng.usize(..7)]);
        let id = self.clients[who].next_id + 1;
        let arguments = json!({ "token": token, "steps": steps });
        let params = json!({ "name": tool, "arguments": arguments, "_meta": { "progressToken": id } });
        self.ask_for(who, What::Tool(token), "tools/call", params);
    }

    fn ask_for(&mut self, who: usize, what: What, method: &str, params: Value) -> i64 {
        let client = &mut self.clients[who];
        client.next_id += 1;
        let id = client.next_id;
        let asked = Asked { what, stream: None, is_cancelled: false, is_loose: false, outcome: None, progress: 0.0 };
        client.asked.insert(id, asked);
        self.send(who, Use::Asking(id), Request::Post(request(id, method, params)));
        id
    }

    fn cancel(&mut self, who: usize) {
        let client = &mut self.clients[who];
        let open = client.asked.iter_mut().filter(|(_, asked)| asked.outcome.is_none() && !asked.is_cancelled);
        let Some((id, asked)) = self.rng.choice(open.collect::<Vec<_>>()) else { return };
        asked.is_cancelled = true;
        let params = json!({ "requestId": id });
        let text = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params }).to_string();
        self.send(who, Use::Cancelling, Request::Notify(text));
    }

    fn stand(&mut self, who: usize) {
        if self.clients[who].standing() < STANDING_MAX {
            self.send(who, Use::Standing, Request::Get(None));
        }
    }

    fn come_back(&mut self, who: usize) {
        let lost = self.clients[who].lost();
        let Some(stream) = self.rng.choice(lost) else { return };
        let view = &self.clients[who].streams[&stream];
        let (presented, seen) = (view.presented, view.seen);
        // Some wrote down late how far they were.
        let last = if self.rng.u32(..4) == 0 { self.rng.u32(presented..=seen) } else { seen };
        self.resume(who, stream, last);
    }

    /// Somebody wants to see all of a stream again, even of one that it has, or that is over.
    fn come_back_again(&mut self, who: usize) {
        let known: Vec<StreamId> = self.clients[who].streams.keys().copied().collect();
        let Some(stream) = self.rng.choice(known) else { return };
        let presented = self.clients[who].streams[&stream].presented;
        self.resume(who, stream, presented);
    }

    fn resume(&mut self, who: usize, stream: StreamId, last: u32) {
        let client = &mut self.clients[who];
        let Some(view) = client.streams.get_mut(&stream) else { return };
        view.presented = view.presented.max(last);
        let Some(tag) = client.key.and_then(|key| self.check.tags.get(&key)) else { return };
        let id = EventId { tag: *tag, stream, sequence: last };
        self.send(who, Use::Resuming(stream, last), Request::Get(Some(id.to_string())));
    }

    fn hang_up(&mut self, who: usize) {
        let open: Vec<Wire> = self.clients[who].lines.keys().copied().collect();
        if let Some(wire) = self.rng.choice(open) {
            self.note(|| format!("  client {who} hangs up {wire}"));
            self.break_off(wire, true);
        }
    }

    fn send(&mut self, who: usize, what: Use, request: Request) {
        let client = &mut self.clients[who];
        if self.rng.u32(..6) == 0 {
            client.home = self.rng.usize(..self.nodes.len());
        }
        let (node, key) = (client.home, client.key.unwrap_or_default());
        let wire = self.connect(who, node, key, request);
        self.clients[who].lines.insert(wire, Line { what, stream: None, next: None });
    }

    /// The connection broke, or the answer is over.
    pub(super) fn hung_up(&mut self, who: usize, wire: Wire) {
        let now = self.now.0;
        let client = &mut self.clients[who];
        let Some(line) = client.lines.remove(&wire) else { return };
        if let Some(view) = line.stream.and_then(|stream| client.streams.get_mut(&stream)) {
            let is_taken_up = client.lines.values().any(|other| other.stream == line.stream);
            view.is_connected = is_taken_up;
            return;
        }
        match line.what {
            Use::Asking(id) => {
                if let Some(asked) = client.asked.get_mut(&id) {
                    asked.is_loose = true;
                }
            }
            // What was said on it went nowhere, and the client has nothing to come back with.
            Use::Standing => client.owed.retain(|_, at| *at > now),
            _ => {}
        }
    }

    /// The client hears something.
    pub(super) fn hear(&mut self, who: usize, wire: Wire, reply: Reply) {
        let Some(line) = self.clients[who].lines.get(&wire) else { return };
        let what = line.what;
        match reply {
            Reply::Refused(status) => {
                self.hung_up(who, wire);
                self.refused(who, what, status);
            }
            Reply::Accepted => {
                self.hung_up(who, wire);
                self.accepted(who, what);
            }
            Reply::Deleted => {
                self.hung_up(who, wire);
                let client = &mut self.clients[who];
                client.ended_at = Some(self.now.0);
                client.ended_by = self.wires.get(&wire).map(|link| link.node);
                self.tally.ends += 1;
            }
            Reply::Json { status, text, session } => {
                self.clients[who].lines.remove(&wire);
                self.heard_json(who, what, status, &text, session);
            }
            Reply::Opens => {}
            Reply::Frame(frame) => self.heard_event(who, wire, frame),
            Reply::End => self.hung_up(who, wire),
        }
    }
}

fn request(id: i64, method: &str, params: Value) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
}

pub(super) fn read(text: &str) -> Message {
    match Body::parse(text.as_bytes(), ScanLimits::default()) {
        Ok(Body::Single(message)) => message,
        other => panic!("the simulator speaks well: {other:?}"),
    }
}

pub(super) fn read_json(text: &str) -> Value {
    serde_json::from_str(text).expect("what is sent is JSON")
}
