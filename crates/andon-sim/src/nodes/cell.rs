//! A session on a node, with what surrounds it: the driver's part that holds back what is not durable.

use std::collections::{BTreeMap, VecDeque};

use andon_core::io::{Call, CallId, Frame, Input, Output, Reply as Returned, StreamId, Timestamp};
use andon_core::session::Session;
use andon_core::session::journal::{Journal, Mark, Standing, Step};
use andon_types::error::ErrorObject;
use andon_types::method::Method;

use super::bug::Bug;
use super::store::Ask;
use super::wire::{Reply, Wire};
use super::{Event, Purpose, World};

/// A session in the memory of a node.
pub(super) struct Cell {
    pub(super) number: u64,
    /// When its node took it.
    pub(super) since: Timestamp,
    /// Its id is out.
    pub(super) is_open: bool,
    /// Another node has the session now.
    pub(super) is_elsewhere: bool,
    pub(super) session: Session,
    pub(super) journal: Journal,
    pub(super) places: Vec<(StreamId, Wire)>,
    pub(super) outlets: BTreeMap<Wire, Outlet>,
    starts: Vec<(Call, Option<Mark>)>,
    /// Accepted messages, which are answered when what they did is durable.
    pub(super) accepted: Vec<(Wire, Option<Mark>)>,
    pub(super) running: BTreeMap<CallId, Handler>,
    pub(super) alarm: Option<Timestamp>,
}

/// What a connection is yet to get.
pub(super) struct Outlet {
    pub(super) stream: StreamId,
    pub(super) queue: VecDeque<(Frame, Option<Mark>)>,
    pub(super) is_closed: bool,
    pub(super) mode: Mode,
}

/// How an answer is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nobody knows yet.
    Undecided,
    /// It was complete at once: JSON, or a refusal.
    Whole,
    /// Events.
    Events,
}

/// A handler that runs.
#[derive(Debug, Clone)]
pub(super) struct Handler {
    steps: u64,
    progress: f64,
    subject: Option<Box<str>>,
}

/// What became of a frame, an acceptance or a start that waits.
enum Held {
    Free,
    Waits,
    Never(Standing),
}

impl Cell {
    pub(super) fn new(number: u64, since: Timestamp, session: Session, journal: Journal, is_open: bool) -> Self {
        Self {
            number,
            since,
            is_open,
            is_elsewhere: false,
            session,
            journal,
            places: Vec::new(),
            outlets: BTreeMap::new(),
            starts: Vec::new(),
            accepted: Vec::new(),
            running: BTreeMap::new(),
            alarm: None,
        }
    }

    fn held(&self, mark: Option<Mark>, bug: Option<Bug>) -> Held {
        let Some(mark) = mark.filter(|_| bug != Some(Bug::SendBeforePersist)) else { return Held::Free };
        match self.journal.standing(mark) {
            Standing::Durable => Held::Free,
            Standing::Lost if bug == Some(Bug::LostIsDurable) => Held::Free,
            Standing::Waiting => Held::Waits,
            never => Held::Never(never),
        }
    }

    /// Performs one output: a frame goes to its place, a handler waits to be started.
    fn perform(&mut self, output: Output, until: Option<Mark>) {
        let place = |cell: &mut Self, stream: StreamId| cell.places.iter().position(|(known, _)| *known == stream);
        match output {
            Output::Send { stream, frame } => {
                let Some(index) = place(self, stream) else { return };
                let wire = self.places[index].1;
                if frame.last {
                    self.places.swap_remove(index);
                }
                if let Some(outlet) = self.outlets.get_mut(&wire) {
                    outlet.is_closed |= frame.last;
                    outlet.queue.push_back((frame, until));
                }
            }
            Output::Close { stream } => {
                let Some(index) = place(self, stream) else { return };
                let wire = self.places.swap_remove(index).1;
                if let Some(outlet) = self.outlets.get_mut(&wire) {
                    outlet.is_closed = true;
                }
            }
            Output::Call(call) => self.starts.push((call, until)),
            Output::Cancel { call } => {
                self.running.remove(&call);
                self.starts.retain(|(start, _)| start.id != call);
            }
            // Updates are given to all sessions here, and no handler asks.
            Output::Answered { .. }
            | Output::Park
            | Output::Subscription { .. }
            | Output::RootsChanged
            | Output::Dropped(_) => {}
        }
    }
}

impl World {
    pub(super) fn cell(&mut self, node: usize, key: u128) -> Option<&mut Cell> {
        self.nodes[node].cells.get_mut(&key)
    }

    /// Hands `input` to the session and performs what it wants. Gives what that has to wait for.
    pub(super) fn turn(&mut self, node: usize, key: u128, input: Input) -> Option<Mark> {
        let now = self.now;
        let outputs = self.cell(node, key)?.session.handle(now, input);
        self.carry_out(node, key, outputs)
    }

    pub(super) fn carry_out(&mut self, node: usize, key: u128, outputs: Vec<Output>) -> Option<Mark> {
        let cell = self.cell(node, key)?;
        for output in &outputs {
            if let Output::Call(call) = output
                && is_entered(call)
            {
                cell.session.enter(call.id);
            }
        }
        let mark = self.submit(node, key);
        let now = self.now;
        for output in outputs {
            if let Output::Send { frame, .. } = &output
                && let Some(id) = frame.id
            {
                self.check.created.insert((key, id.stream, id.sequence), now);
            }
            self.cell(node, key)?.perform(output, mark);
        }
        mark
    }

    /// Hands in what changed since the last turn.
    pub(super) fn submit(&mut self, node: usize, key: u128) -> Option<Mark> {
        let cell = self.cell(node, key)?;
        let changes = cell.session.take_changes();
        cell.journal.submit(changes)
    }

    /// Lets out and starts whatever may be now, and sees to what has to be written.
    pub(super) fn advance(&mut self, node: usize, key: u128) {
        while self.nodes[node].is_up {
            let Some(cell) = self.cell(node, key) else { return };
            if cell.journal.is_due() {
                self.write(node, key);
            }
            if !(self.start_one(node, key) || self.accept_one(node, key) || self.pump_one(node, key)) {
                break;
            }
        }
        self.set_alarm(node, key);
    }

    /// Does what the journal wants done next.
    pub(super) fn write(&mut self, node: usize, key: u128) {
        let Some(cell) = self.cell(node, key) else { return };
        let number = cell.number;
        let purpose = Purpose::Journal(number);
        match cell.journal.next_step() {
            Step::Commit(mut batch) => {
                if self.bug == Some(Bug::NoFence) {
                    batch.expect = self.store.rev(key);
                }
                self.ask(node, key, Ask::Commit(batch), purpose);
            }
            Step::Load => self.ask(node, key, Ask::Load, purpose),
            Step::Replay(stream, after) => self.ask(node, key, Ask::Replay(stream, after, 1), purpose),
            Step::Pause(time) => {
                self.nodes[node].paused.push((key, number));
                self.wait_out(node, time);
            }
            Step::Rest => {}
        }
    }

    /// Starts the handlers of an entry that had to be written again: a planted bug.
    pub(super) fn start_again(&mut self, node: usize, key: u128) {
        if self.bug != Some(Bug::DoubleExecution) {
            return;
        }
        let Some(cell) = self.cell(node, key) else { return };
        let again: Vec<Call> = cell.starts.iter().map(|(call, _)| call.clone()).collect();
        again.iter().for_each(|call| self.execute(call));
    }

    fn start_one(&mut self, node: usize, key: u128) -> bool {
        let bug = self.bug;
        let Some(cell) = self.cell(node, key) else { return false };
        let ready = cell.starts.iter().position(|(_, mark)| !matches!(cell.held(*mark, bug), Held::Waits));
        let Some(index) = ready else { return false };
        let (call, mark) = cell.starts.remove(index);
        match cell.held(mark, bug) {
            Held::Free => self.start(node, key, &call),
            Held::Never(Standing::Stalled) => {
                let outcome = Err(ErrorObject::unavailable("nothing was done"));
                self.turn(node, key, Input::Done { call: call.id, outcome });
            }
            Held::Never(_) | Held::Waits => {}
        }
        true
    }

    fn accept_one(&mut self, node: usize, key: u128) -> bool {
        let bug = self.bug;
        let Some(cell) = self.cell(node, key) else { return false };
        let held = |mark: Option<Mark>| match bug {
            Some(Bug::AcceptBeforePersist) => Held::Free,
            _ => cell.held(mark, bug),
        };
        let Some(index) = cell.accepted.iter().position(|(_, mark)| !matches!(held(*mark), Held::Waits)) else {
            return false;
        };
        let held = held(cell.accepted[index].1);
        let (wire, _) = cell.accepted.swap_remove(index);
        self.reply(node, wire, refusal(&held).unwrap_or(Reply::Accepted));
        true
    }

    /// Lets one frame of one outlet out, or one outlet go. Whether there was something to do.
    fn pump_one(&mut self, node: usize, key: u128) -> bool {
        let wires: Vec<Wire> = self.cell(node, key).map_or(Vec::new(), |cell| cell.outlets.keys().copied().collect());
        wires.into_iter().any(|wire| self.pump(node, key, wire))
    }

    fn pump(&mut self, node: usize, key: u128, wire: Wire) -> bool {
        let bug = self.bug;
        let Some(cell) = self.cell(node, key) else { return false };
        let Some(outlet) = cell.outlets.get(&wire) else { return false };
        let mode = outlet.mode;
        let Some((frame, mark)) = outlet.queue.front() else {
            if !outlet.is_closed {
                return false;
            }
            let reply = match mode {
                Mode::Events => Reply::End,
                _ if cell.is_elsewhere => Reply::Refused(503),
                _ => Reply::Accepted,
            };
            cell.outlets.remove(&wire);
            self.reply(node, wire, reply);
            return true;
        };
        let held = cell.held(*mark, bug);
        match (&held, mode) {
            (Held::Waits, _) | (Held::Never(Standing::Stalled), Mode::Undecided | Mode::Events) => false,
            (Held::Never(_), mode) => {
                let refused = if mode == Mode::Events { Reply::End } else { refusal(&held).unwrap_or(Reply::End) };
                self.detach(node, key, wire);
                self.give_up_opening(node, key);
                self.reply(node, wire, refused);
                true
            }
            (Held::Free, Mode::Undecided) if !frame.last || frame.text.is_none() => {
                self.begin_events(node, key, wire);
                true
            }
            (Held::Free, Mode::Undecided | Mode::Whole) => {
                self.answer_whole(node, key, wire);
                true
            }
            (Held::Free, Mode::Events) => {
                let outlet = cell.outlets.get_mut(&wire).expect("it was there before");
                let (frame, _) = outlet.queue.pop_front().expect("it was there before");
                self.reply(node, wire, Reply::Frame(frame));
                true
            }
        }
    }

    /// The whole answer leaves in one piece.
    fn answer_whole(&mut self, node: usize, key: u128, wire: Wire) {
        let Some(cell) = self.cell(node, key) else { return };
        let Some(mut outlet) = cell.outlets.remove(&wire) else { return };
        let Some((frame, _)) = outlet.queue.pop_front() else { return };
        cell.places.retain(|(known, _)| *known != outlet.stream);
        let opens = !std::mem::replace(&mut cell.is_open, true);
        cell.session.delivered(outlet.stream);
        self.submit(node, key);
        let text = frame.text.unwrap_or_default();
        self.reply(node, wire, Reply::Json { status: frame.status, text, session: opens.then_some(key) });
    }

    /// The answer becomes a stream of events, which the client can come back for.
    pub(super) fn begin_events(&mut self, node: usize, key: u128, wire: Wire) {
        let Some(cell) = self.cell(node, key) else { return };
        let Some(outlet) = cell.outlets.get_mut(&wire).filter(|outlet| outlet.mode != Mode::Events) else { return };
        outlet.mode = Mode::Events;
        let stream = outlet.stream;
        cell.session.promise(stream);
        let priming = cell.session.priming(stream);
        let until = self.submit(node, key);
        let Some(outlet) = self.cell(node, key).and_then(|cell| cell.outlets.get_mut(&wire)) else { return };
        match (priming, outlet.queue.front_mut()) {
            (Some(frame), _) => outlet.queue.push_front((frame, until)),
            (None, Some((_, first))) if until.is_some() => *first = until,
            (None, _) => {}
        }
        self.reply(node, wire, Reply::Opens);
    }

    /// The connection is gone, as far as the node knows.
    pub(super) fn detach(&mut self, node: usize, key: u128, wire: Wire) {
        let Some(cell) = self.cell(node, key) else { return };
        let Some(outlet) = cell.outlets.remove(&wire) else { return };
        let is_mine = cell.places.contains(&(outlet.stream, wire));
        cell.places.retain(|(_, known)| *known != wire);
        if is_mine || !cell.places.iter().any(|(stream, _)| *stream == outlet.stream) {
            self.turn(node, key, Input::Detached { stream: outlet.stream });
        }
    }

    fn start(&mut self, node: usize, key: u128, call: &Call) {
        if call.method == Method::ToolsCall {
            self.execute(call);
            if !self.burn(node) {
                return;
            }
        }
        let params = call.request.params.as_ref().map(|params| super::client::read_json(params.as_str()));
        let params = params.unwrap_or_default();
        let subject = params["uri"].as_str().map(Into::into);
        let steps = params["arguments"]["steps"].as_u64().unwrap_or_default();
        let handler = Handler { steps, progress: 0.0, subject };
        let Some(cell) = self.cell(node, key) else { return };
        cell.running.insert(call.id, handler);
        let number = cell.number;
        if steps == 0 {
            self.work(node, key, call.id);
        } else if steps < super::client::STEPS_OF_ONE_THAT_HANGS {
            let at = self.soon(60);
            self.later(at, Event::Work { node, key, number, call: call.id });
        }
    }

    /// What a tool does is done, and can be seen from outside.
    fn execute(&mut self, call: &Call) {
        let params = call.request.params.as_ref().map(|params| super::client::read_json(params.as_str()));
        let token = params.unwrap_or_default()["arguments"]["token"].as_u64().unwrap_or_default();
        self.note(|| format!("    tool runs with token {token}"));
        self.executed(token);
    }

    /// A handler goes on.
    pub(super) fn work(&mut self, node: usize, key: u128, call: CallId) {
        let Some(handler) = self.cell(node, key).and_then(|cell| cell.running.get_mut(&call)) else { return };
        if handler.steps == 0 {
            let body = if handler.subject.is_some() { "{}" } else { r#"{"content":[]}"# };
            let reply =
                Returned { body: body.to_owned().into(), subject: handler.subject.take(), ..Returned::default() };
            self.cell(node, key).map(|cell| cell.running.remove(&call));
            self.turn(node, key, Input::Done { call, outcome: Ok(reply) });
            return;
        }
        handler.steps -= 1;
        handler.progress += 1.0;
        let progress = handler.progress;
        self.turn(node, key, Input::Progress { call, progress, total: None, message: None });
        let Some(number) = self.cell(node, key).map(|cell| cell.number) else { return };
        let at = self.soon(150);
        self.later(at, Event::Work { node, key, number, call });
    }

    fn set_alarm(&mut self, node: usize, key: u128) {
        let Some(cell) = self.cell(node, key) else { return };
        let deadline = cell.session.deadline();
        if let Some(at) = deadline.filter(|at| cell.alarm.is_none_or(|alarm| *at < alarm)) {
            cell.alarm = Some(at);
            let number = cell.number;
            self.later(at.0, Event::Alarm { node, key, number });
        }
    }
}

/// Whether a call has to be entered before it runs.
fn is_entered(call: &Call) -> bool {
    let params = call.request.params.as_ref();
    call.method == Method::ToolsCall && params.is_some_and(|params| params.as_str().contains(r#""write""#))
}

fn refusal(held: &Held) -> Option<Reply> {
    match held {
        Held::Never(Standing::Ended) => Some(Reply::Refused(404)),
        Held::Never(_) => Some(Reply::Refused(503)),
        Held::Free | Held::Waits => None,
    }
}
