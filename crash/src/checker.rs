//! Says offline whether a history keeps every promise of a server whose store survives the death of the process.
//!
//! It knows nothing of the server but its answers. One pass over the entries, and sorting and searching by halves at the
//! end: O(n log n). An event id ends in `-` and a hexadecimal sequence, which is dense within its stream.

mod answers;
mod ends;
mod report;
mod rule;
mod streams;

use std::collections::{BTreeSet, HashMap};

pub use report::{Floor, Report, Violation};
pub use rule::Rule;

use crate::history::{Action, Entry, Event, FaultKind, Outcome};

/// What is too long, in microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// From a kill to the first answer of the process that follows.
    pub restart_us: u64,
    /// From the moment when all is whole to the last thing that was outstanding.
    pub resolve_us: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { restart_us: 10_000_000, resolve_us: 60_000_000 }
    }
}

/// Checks one history.
#[derive(Debug)]
pub struct Checker {
    bounds: Bounds,
    report: Report,
    sessions: HashMap<String, Session>,
    ops: HashMap<u64, Op>,
    streams: HashMap<u64, Stream>,
    /// The calls of each token; only one with an idempotency key has several.
    tokens: HashMap<String, Vec<u64>>,
    tasks: HashMap<String, Task>,
    /// Of a session, and by their ids: the stream on which each came.
    questions: HashMap<(String, String), u64>,
    faults: Vec<Fault>,
    ledger: HashMap<String, u64>,
    last_us: u64,
}

#[derive(Debug)]
struct Op {
    session: Option<String>,
    action: Action,
    invoked_us: u64,
    /// How many faults had begun by then.
    faults_before: usize,
    /// It was invoked when its session had been deleted for certain.
    is_after_delete: bool,
    /// The newest sequence on its connection.
    newest: Option<u32>,
    call: CallSeen,
}

/// What was seen of a call.
#[derive(Debug, Default)]
struct CallSeen {
    acked_us: Option<u64>,
    /// The HTTP status; 0 is a call that was never sent.
    refused: Option<u16>,
    responses: u32,
    answered_us: Option<u64>,
    outcome: Option<Outcome>,
    logged: bool,
    cancel: Option<Cancel>,
}

#[derive(Debug, Clone, Copy)]
struct Cancel {
    invoked_us: u64,
    acked_us: Option<u64>,
}

#[derive(Debug)]
struct Task {
    token: String,
    created_by: u64,
    session: String,
    acked_us: u64,
    /// How it is over.
    end: Option<String>,
}

#[derive(Debug, Default)]
struct Session {
    delete_invoked_us: Option<u64>,
    deleted_us: Option<u64>,
    /// Since when nobody listens any more.
    left_us: Option<u64>,
    level_us: Option<u64>,
    /// By URI: since when it is wanted, and since when that is acknowledged.
    subscriptions: HashMap<String, Subscription>,
}

#[derive(Debug, Default)]
struct Subscription {
    acked_us: Option<u64>,
    updates_us: Vec<u64>,
}

#[derive(Debug, Default)]
struct Stream {
    /// What its event ids have in common.
    name: String,
    /// The digest of each event that was seen.
    seen: HashMap<u32, u64>,
    /// The newest progress: its sequence and its value.
    progress: Option<(u32, f64)>,
}

#[derive(Debug)]
struct Fault {
    kind: FaultKind,
    start_us: u64,
    down_us: Option<u64>,
    up_us: Option<u64>,
    stop_us: Option<u64>,
    /// The first answer of the process that followed.
    served_us: Option<u64>,
}

impl Checker {
    /// A checker that has seen nothing.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            report: Report::default(),
            sessions: HashMap::new(),
            ops: HashMap::new(),
            streams: HashMap::new(),
            tokens: HashMap::new(),
            tasks: HashMap::new(),
            questions: HashMap::new(),
            faults: Vec::new(),
            ledger: HashMap::new(),
            last_us: 0,
        }
    }

    /// Takes the next entry; they come in the order of the file.
    pub fn take(&mut self, entry: Entry) {
        let at = entry.at_us;
        self.last_us = self.last_us.max(at);
        self.report.entries += 1;
        match entry.event {
            Event::Invoke { op, session, action } => self.invoke(at, op, session, action),
            Event::Ok { op, session } => self.ok(at, op, session),
            Event::Fail { op, status, why } => self.fail(at, op, status, &why),
            Event::Info { .. } => {}
            Event::Recv { conn, session, stream, event_id, digest, says } => {
                self.recv(at, streams::Received { conn, session, stream, event_id, digest, says });
            }
            Event::Left { session } => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.left_us = Some(at);
                }
            }
            Event::FaultStart { kind, .. } => {
                *self.report.faults.entry(kind).or_default() += 1;
                let (down_us, up_us, stop_us, served_us) = (None, None, None, None);
                // One that was killed while it started was never whole.
                self.with_fault(|before| {
                    before.stop_us.get_or_insert(at);
                });
                self.faults.push(Fault { kind, start_us: at, down_us, up_us, stop_us, served_us });
            }
            Event::FaultDown { .. } => self.with_fault(|fault| fault.down_us = Some(at)),
            Event::FaultUp { .. } => self.with_fault(|fault| fault.up_us = Some(at)),
            Event::FaultStop { .. } => self.with_fault(|fault| fault.stop_us = Some(at)),
            Event::Died { how } => self.tell(Rule::Outage, at, 0, format!("the process ended by itself: {how}")),
            Event::Ledger { token } => *self.ledger.entry(token).or_default() += 1,
        }
    }

    /// Says what it found.
    pub fn finish(mut self, floor: Floor) -> Report {
        self.check_ends();
        self.report.check_floor(floor, self.last_us);
        self.report.violations.sort_by_key(|violation| violation.at_us);
        self.report
    }

    fn with_fault(&mut self, change: impl FnOnce(&mut Fault)) {
        // Faults come one after the other.
        if let Some(fault) = self.faults.last_mut() {
            change(fault);
        }
    }

    fn tell(&mut self, rule: Rule, at_us: u64, op: u64, why: impl Into<String>) {
        self.report.violations.push(Violation { rule, at_us, op, why: why.into() });
    }

    fn invoke(&mut self, at: u64, op: u64, session: Option<String>, action: Action) {
        let known = session.as_ref().and_then(|id| self.sessions.get_mut(id));
        let is_after_delete = known.as_ref().is_some_and(|session| session.deleted_us.is_some());
        if let Some(known) = known {
            match &action {
                Action::Delete => {
                    known.delete_invoked_us.get_or_insert(at);
                }
                Action::Subscribe { uri } => {
                    known.subscriptions.entry(uri.clone()).or_default();
                }
                _ => {}
            }
        }
        if let Some(token) = action.token() {
            self.tokens.entry(token.to_owned()).or_default().push(op);
        }
        if let Action::Cancel { call } = &action
            && let Some(call) = self.ops.get_mut(call)
        {
            call.call.cancel.get_or_insert(Cancel { invoked_us: at, acked_us: None });
        }
        let (faults_before, newest, call) = (self.faults.len(), None, CallSeen::default());
        self.ops.insert(op, Op { session, action, invoked_us: at, faults_before, is_after_delete, newest, call });
    }

    fn ok(&mut self, at: u64, op: u64, opened: Option<String>) {
        self.served(at, op);
        let Some(known) = self.ops.get(&op) else { return };
        let (action, session) = (known.action.clone(), known.session.clone());
        let session = session.and_then(|id| self.sessions.get_mut(&id));
        let acks = &mut self.report.acks;
        match (action, session) {
            (Action::Init { .. }, _) => {
                acks[1] += 1;
                self.sessions.extend(opened.map(|id| (id, Session::default())));
            }
            (Action::Initialized | Action::Answer { .. }, _) => acks[2] += 1,
            (Action::Cancel { call }, _) => {
                acks[2] += 1;
                if let Some(cancel) = self.ops.get_mut(&call).and_then(|call| call.call.cancel.as_mut()) {
                    cancel.acked_us.get_or_insert(at);
                }
            }
            (Action::Resume { .. }, _) => acks[5] += 1,
            (Action::Subscribe { uri }, Some(session)) => {
                acks[6] += 1;
                session.subscriptions.entry(uri).or_default().acked_us.get_or_insert(at);
            }
            (Action::Delete, Some(session)) => {
                acks[8] += 1;
                session.deleted_us.get_or_insert(at);
            }
            (Action::SetLevel, Some(session)) => {
                session.level_us.get_or_insert(at);
            }
            _ => {}
        }
    }

    fn fail(&mut self, at: u64, op: u64, status: u16, why: &str) {
        let is_near_fault = self.is_near_fault(at);
        let Some(known) = self.ops.get_mut(&op) else { return };
        if known.action.token().is_some() {
            known.call.refused = Some(status);
        }
        let (action, after_delete) = (known.action.clone(), known.is_after_delete);
        let session = known.session.as_ref().and_then(|id| self.sessions.get_mut(id));
        let is_deleting = session.as_ref().is_some_and(|session| session.delete_invoked_us.is_some());
        let said = format!("{action:?} was answered with {status}: {why}");
        if status == 503 {
            self.report.unavailable += 1;
        }
        match status {
            0 | 503 if is_near_fault => {}
            0 | 503 => self.tell(Rule::Outage, at, op, format!("without a fault, {said}")),
            404 if is_deleting => {
                // Of a stream it may mean that alone.
                if let Some(session) = session.filter(|_| !matches!(action, Action::Resume { .. })) {
                    session.deleted_us.get_or_insert(at);
                }
            }
            _ if after_delete => self.tell(Rule::Resurrected, at, op, format!("after its end, {said}")),
            429 => {}
            _ => match action {
                Action::Resume { stream, .. } if !self.is_cancelled(stream) => {
                    self.tell(Rule::StreamLost, at, op, said);
                }
                Action::Resume { .. } => {}
                _ if status == 404 => self.tell(Rule::SessionLost, at, op, said),
                _ => self.tell(Rule::Unexplained, at, op, said),
            },
        }
    }

    fn is_cancelled(&self, call: u64) -> bool {
        self.ops.get(&call).is_some_and(|op| op.call.cancel.is_some())
    }

    /// Whether a process is dead, or young, or its disk is full.
    fn is_near_fault(&self, at: u64) -> bool {
        let last = self.faults.iter().rev().find(|fault| fault.kind.stops_service());
        last.is_some_and(|fault| fault.stop_us.is_none_or(|stop| at <= stop + self.bounds.restart_us))
    }

    /// The server said something on the connection of `op`.
    fn served(&mut self, at: u64, op: u64) {
        let Some(known) = self.ops.get(&op) else { return };
        let (invoked, after_delete) = (known.invoked_us, known.is_after_delete);
        if after_delete {
            self.tell(Rule::Resurrected, at, op, "its session was deleted before it was asked for");
        }
        let Some(fault) = self.faults.iter_mut().rev().find(|fault| fault.kind.ends_process()) else { return };
        let is_down = fault.down_us.is_some_and(|down| invoked > down) && fault.up_us.is_none();
        if fault.up_us.is_some_and(|up| invoked > up) {
            fault.served_us.get_or_insert(at);
        }
        if is_down {
            self.tell(Rule::ServedWhileDown, at, op, "the process was dead when it was asked and when it answered");
        }
    }

    /// The entries of a history that a violation is about: those of its operation, of whatever goes on with the same
    /// stream, and the faults meanwhile.
    pub fn concerned<'a>(entries: &'a [Entry], violation: &Violation) -> Vec<&'a Entry> {
        let mut ops = BTreeSet::from([violation.op]);
        for entry in entries {
            if let Event::Invoke { op, action: Action::Resume { stream, .. } | Action::Cancel { call: stream }, .. } =
                &entry.event
                && (ops.contains(op) || ops.contains(stream))
            {
                ops.extend([*op, *stream]);
            }
        }
        let names = |entry: &Entry| match &entry.event {
            Event::Invoke { op, .. } | Event::Ok { op, .. } | Event::Fail { op, .. } | Event::Info { op, .. } => {
                ops.contains(op)
            }
            Event::Recv { conn, stream, .. } => ops.contains(conn) || ops.contains(stream),
            _ => false,
        };
        let is_fault = |entry: &Entry| {
            matches!(entry.event, Event::FaultStart { .. } | Event::FaultUp { .. } | Event::FaultStop { .. })
        };
        let (from, to) = (entries.iter().position(names), entries.iter().rposition(names));
        let (Some(from), Some(to)) = (from, to) else { return Vec::new() };
        entries[from..=to].iter().filter(|entry| names(entry) || is_fault(entry)).collect()
    }
}

#[cfg(test)]
mod tests;
