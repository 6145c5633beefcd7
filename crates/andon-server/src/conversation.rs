//! A machine with what surrounds it: places, open questions, running handlers. Performs outputs in order.

mod machine;
mod places;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::task::{Context, Poll, Waker};

use andon_core::io::{AskError, AskId, Call as Begin, CallId, Frame, Input, Output, Reply, StreamId, Timestamp};
use andon_core::session::Session;
use andon_core::values::TooLarge;
use andon_types::error::ErrorObject;
use andon_types::message::{Json, Message};
use andon_types::method::Method;
use andon_types::raw::RawJson;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, CatchUnwind};
use tokio::sync::oneshot;
use tracing::{Instrument as _, Span};

use crate::alarm::Wake;
use crate::call::{Call, SessionRef};
use crate::cancel::Cancel;
use crate::change::Subscriber;
use crate::host::{Host, Running};
use crate::journal::{Commit, Journal, NotDurable};
use crate::observe;
use crate::once;
use crate::outlet::{Held, Outlet};
use crate::principal::Principal;
use crate::room::{SMALL_BYTES, Share};
use crate::values::ValuesError;
use crate::work::Work;
use machine::Machine;
use places::Places;

pub(crate) use places::{Early, Place};

pub(crate) type Answer = Result<Json, AskError>;
type Outcome = Result<Reply, ErrorObject>;

/// A machine that inputs can be given to from anywhere.
pub(crate) trait Conversation: Send + Sync {
    /// Hands `input` to the machine and performs what it wants.
    fn input(&self, input: Input);
    /// A new question; its answer comes through the receiver.
    fn expect_answer(&self) -> (AskId, oneshot::Receiver<Answer>);
    /// Nobody waits for this answer any more.
    fn forget_answer(&self, ask: AskId);
    /// Whose it is, with what the credentials grant that came last.
    fn principal(&self) -> Principal;
    /// What tells it from other conversations with nobody in particular: only who knows its secret can speak in it.
    fn binding(&self) -> Option<u128>;
    /// Who hears of changes here.
    fn subscriber(&self) -> Subscriber {
        Subscriber { session: None, subject: self.principal().shared_subject() }
    }
    /// Counts what runs on for it among the handlers of its host.
    fn running(&self) -> Option<Running>;
    /// What a handler keeps under `name` in the session.
    fn value(&self, _name: &str) -> Result<Option<RawJson>, ValuesError> {
        Err(ValuesError::NoSession)
    }
    /// Keeps a value in the session, or forgets it; says when that is durable.
    fn set_value(&self, _name: &str, _value: Option<RawJson>) -> Result<Option<Commit>, ValuesError> {
        Err(ValuesError::NoSession)
    }
    /// The canonical URIs that the session is subscribed to.
    fn subscriptions(&self) -> Vec<Arc<str>> {
        Vec::new()
    }
    /// Where what a call says waits for its client, if it has a connection.
    fn outlet_of(&self, _call: CallId) -> Option<Outlet> {
        None
    }
    /// The host, as long as there is one.
    fn host(&self) -> Option<Arc<Host>> {
        None
    }
}

/// A machine and its surroundings. Owned by the session table or by the connection of a modern request; dies with it.
pub(crate) struct Cell<M> {
    /// Unique within the host, and no secret.
    pub(crate) number: u64,
    principal: RwLock<Principal>,
    /// See [`Conversation::binding`].
    binding: OnceLock<u128>,
    host: Weak<Host>,
    me: Weak<Cell<M>>,
    core: Mutex<Core<M>>,
    /// Of a session that outlives the process.
    journal: Option<Arc<Journal>>,
    asks: Mutex<Asks>,
    /// The timestamp that an alarm is set for; `u64::MAX` if none.
    alarm: AtomicU64,
}

struct Core<M> {
    machine: M,
    /// Of what is kept for all clients that may come back.
    kept: Share,
    places: Places,
    running: Vec<(CallId, Cancel)>,
}

/// A handler to start, as soon as `until` is durable.
struct Start {
    begin: Begin,
    cancel: Cancel,
    until: Option<Commit>,
}

#[derive(Default)]
struct Asks {
    last: u64,
    /// Few at a time, and none in most conversations.
    open: Vec<(AskId, oneshot::Sender<Answer>)>,
}

impl Asks {
    fn take(&mut self, ask: AskId) -> Option<oneshot::Sender<Answer>> {
        let index = self.open.iter().position(|(known, _)| *known == ask)?;
        let (_, asker) = self.open.swap_remove(index);
        if self.open.is_empty() {
            self.open = Vec::new();
        }
        Some(asker)
    }
}

impl<M: Machine> Cell<M>
where
    Cell<M>: Owned,
{
    pub(crate) fn new(
        number: u64,
        principal: Principal,
        host: &Arc<Host>,
        machine: M,
        journal: Option<Arc<Journal>>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            number,
            principal: RwLock::new(principal),
            binding: OnceLock::new(),
            host: Arc::downgrade(host),
            me: me.clone(),
            core: Mutex::new(Core { machine, kept: Self::share(host), places: Places::default(), running: Vec::new() }),
            journal,
            asks: Mutex::default(),
            alarm: AtomicU64::new(u64::MAX),
        })
    }

    /// Whether it is this subject's. Then the credentials that it came with count from now on.
    pub(crate) fn admit(&self, principal: &Principal) -> bool {
        let known = self.principal.read().unwrap_or_else(PoisonError::into_inner);
        if *known == *principal {
            return true;
        }
        let is_same = known.is_same_subject(principal);
        drop(known);
        if is_same {
            *self.principal.write().unwrap_or_else(PoisonError::into_inner) = principal.clone();
        }
        is_same
    }

    /// It is opened by a secret that hashes to `binding`.
    pub(crate) fn bind(&self, binding: u128) {
        self.binding.get_or_init(|| binding);
    }

    /// The hash of the secret that opens it, if there is one.
    pub(crate) fn bound(&self) -> Option<&u128> {
        self.binding.get()
    }

    /// What services call the session by.
    pub(crate) fn key(&self) -> u128 {
        self.binding.get().copied().unwrap_or(u128::from(self.number))
    }

    /// Looks at the machine, or uses it in ways that have no outputs.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut M) -> T) -> T {
        look(&mut self.core().machine)
    }

    /// Opens a place while the machine is held, so that nothing is said before it is there.
    pub(crate) fn open<E>(
        &self,
        outlet: &Outlet,
        open: impl FnOnce(&mut M) -> Result<(StreamId, Vec<Frame>), E>,
    ) -> Result<StreamId, E> {
        let mut core = self.core();
        let (stream, frames) = open(&mut core.machine)?;
        if !frames.is_empty() {
            // What is replayed may still be on its way to the store.
            outlet.preload(frames, self.journal.as_ref().map(Journal::newest));
        }
        core.places.put(stream, Place::Outlet(outlet.clone()));
        self.submit(&mut core);
        Ok(stream)
    }

    /// Opens a stream for whoever stands by, and hands in the message that comes with it. [`Cell::early`] says what came of it.
    pub(crate) fn open_with<E>(
        &self,
        host: &Arc<Host>,
        message: Message,
        open: impl FnOnce(&mut M, Timestamp) -> Result<(StreamId, Vec<Frame>), E>,
    ) -> Result<StreamId, E> {
        let (mut core, now) = (self.core(), host.now());
        let (stream, frames) = open(&mut core.machine, now)?;
        core.places.put(stream, Place::stand_by());
        for frame in frames {
            core.places.send(host, stream, Held { frame, until: None });
        }
        self.submit(&mut core);
        self.take_turn(host, core, now, Input::Message { stream, message });
        Ok(stream)
    }

    /// What was said to whoever stands by on `stream`; `None` if another connection has its place now. A whole answer that
    /// waits for nothing is delivered with that.
    pub(crate) fn early(&self, host: &Host, stream: StreamId) -> Option<(Early, Option<Work>)> {
        let mut core = self.core();
        let early = core.places.early(host, stream);
        if let Some((Early::Whole(Held { until: None, .. }), _)) = &early {
            core.machine.delivered(stream);
            self.submit(&mut core);
        }
        early
    }

    /// The connection behind `outlet` is gone; says so to the machine unless another one took its place.
    pub(crate) fn detach(&self, stream: StreamId, outlet: &Outlet) {
        let may_be_said = {
            let mut core = self.core();
            // A place that was closed by the machine is gone already; the connection still is news.
            core.places.remove_same(stream, outlet) || !core.places.has(stream)
        };
        if may_be_said {
            self.input(Input::Detached { stream });
        }
    }

    /// Hands `input` to the machine, performs what it wants, and says when that is durable.
    pub(crate) fn turn(&self, input: Input) -> Option<Commit> {
        let host = self.host.upgrade()?;
        self.take_turn(&host, self.core(), host.now(), input)
    }

    /// The same, with the machine held already; it is free again when a handler starts.
    fn take_turn(
        &self,
        host: &Arc<Host>,
        mut core: MutexGuard<'_, Core<M>>,
        now: Timestamp,
        input: Input,
    ) -> Option<Commit> {
        let outputs = core.machine.handle(now, input);
        let (start, commit) = self.perform_all(&mut core, host, outputs);
        if let Some(start) = start {
            drop(core);
            self.begin(host, start);
        } else {
            let deadline = core.machine.deadline();
            drop(core);
            self.set_alarm(host, deadline);
        }
        commit
    }

    /// Performs what opening the machine, or bringing it back, wants: at `place`, if it has one already.
    pub(crate) fn carry_out(&self, host: &Arc<Host>, place: Option<(StreamId, Place)>, outputs: Vec<Output>) {
        let mut core = self.core();
        if let Some((stream, place)) = place {
            core.places.put(stream, place);
        }
        let (start, _) = self.perform_all(&mut core, host, outputs);
        drop(core);
        if let Some(start) = start {
            self.begin(host, start);
        }
    }

    /// Hands in what changed since the last turn.
    pub(crate) fn write_down(&self) -> Option<Commit> {
        self.submit(&mut self.core())
    }

    /// Where its record goes, if it outlives the process.
    pub(crate) fn journal(&self) -> Option<&Arc<Journal>> {
        self.journal.as_ref()
    }

    /// Gives back memory that was needed while something ran.
    pub(crate) fn shrink(&self) {
        let mut core = self.core();
        core.places.shrink();
        core.running.shrink_to_fit();
    }

    /// Lets go of all connections; the machine goes on.
    pub(crate) fn let_go(&self, host: &Host) {
        self.core().places.leave(host);
    }

    fn submit(&self, core: &mut Core<M>) -> Option<Commit> {
        self.journal.as_ref()?.submit(core.machine.take_changes())
    }

    /// Performs the outputs of one turn: first of all, what has to outlive the process is on its way. No turn starts more
    /// than one handler.
    fn perform_all(&self, core: &mut Core<M>, host: &Host, outputs: Vec<Output>) -> (Option<Start>, Option<Commit>) {
        if self.journal.is_some() {
            for output in &outputs {
                if let Output::Call(begin) = output
                    && !host.service().is_repeatable(begin.method, begin.request.params.as_ref())
                {
                    core.machine.enter(begin.id);
                }
            }
        }
        if let Some(session) = core.machine.session()
            && core.kept.is_too_large(session.kept().1)
        {
            session.make_room(SMALL_BYTES);
            core.kept.shrink(session.kept().1);
        }
        let commit = self.submit(core);
        let mut start = None;
        for output in outputs {
            match output {
                // Started by whoever holds the machine: it runs code that is not ours.
                Output::Call(begin) => {
                    debug_assert!(start.is_none(), "a turn starts one handler");
                    let cancel = Cancel::default();
                    // Most conversations have one at a time.
                    core.running.reserve_exact(usize::from(core.running.is_empty()));
                    core.running.push((begin.id, cancel.clone()));
                    start = Some(Start { begin, cancel, until: commit.clone() });
                }
                output => self.perform(core, host, output, commit.as_ref()),
            }
        }
        (start, commit)
    }

    /// Starts a handler with the machine free again, and sets the alarm if it did not finish at once.
    fn begin(&self, host: &Arc<Host>, Start { begin, cancel, until }: Start) {
        let runs = match until {
            None => self.start(host, begin, cancel),
            Some(until) => {
                tokio::spawn(start_when_durable(self.me.clone(), until, begin, cancel, host.running()));
                true
            }
        };
        if runs {
            let deadline = self.core().machine.deadline();
            self.set_alarm(host, deadline);
        }
    }

    fn core(&self) -> MutexGuard<'_, Core<M>> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asks(&self) -> MutexGuard<'_, Asks> {
        self.asks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Performs one output under the lock of the machine, so that no two turns interleave.
    fn perform(&self, core: &mut Core<M>, host: &Host, output: Output, until: Option<&Commit>) {
        match output {
            Output::Send { stream, frame } => core.places.send(host, stream, Held { frame, until: until.cloned() }),
            Output::Close { stream } => core.places.close(host, stream),
            Output::Cancel { call } => {
                if let Some(index) = core.running.iter().position(|(known, _)| *known == call) {
                    core.running.swap_remove(index).1.cancel();
                }
            }
            Output::Answered { ask, outcome } => {
                if let Some(asker) = self.asks().take(ask) {
                    // A handler that is gone needs no answer.
                    drop(asker.send(outcome));
                }
            }
            Output::Subscription { uri, present } => {
                let me: Weak<Cell<M>> = self.me.clone();
                host.index_subscription(&uri, self.number, present.then_some(me as Weak<dyn Conversation>));
            }
            // Those who hand in what leads to these take them themselves.
            Output::Call(_) | Output::Park => {}
            Output::RootsChanged => host.service().roots_changed(self.key()),
            Output::Dropped(what) => tracing::debug!(conversation = self.number, what, "dropped"),
        }
    }

    fn set_alarm(&self, host: &Host, deadline: Option<Timestamp>) {
        if let Some(deadline) = deadline
            && deadline.0 < self.alarm.load(Ordering::Acquire)
        {
            self.alarm.store(deadline.0, Ordering::Release);
            let me: Weak<Cell<M>> = self.me.clone();
            host.alarm().set(deadline, me as Weak<dyn Wake>);
        }
    }

    /// Starts a handler and lets it run until it waits. Whether it does: its end has set the alarm otherwise.
    fn start(&self, host: &Arc<Host>, begin: Begin, cancel: Cancel) -> bool {
        let Some(me) = self.me.upgrade() else { return false };
        let span = observe::call_span(self.number, begin.id);
        let _entered = span.enter();
        let principal = self.principal();
        let known = match host.open_request_state(&begin, &principal) {
            Ok(known) => known,
            Err(error) => {
                self.input(Input::Done { call: begin.id, outcome: Err(error) });
                return false;
            }
        };
        let session = Self::session_ref(self.number);
        let call = Call::new((begin.id, begin.facts), principal, session, me, cancel, known);
        let (method, params) = (begin.method, begin.request.params);
        let (service, started) = (host.service().clone(), call.clone());
        let (handler, once): (BoxFuture<'static, Outcome>, _) = match once::Keyed::of(method, &call, params.as_ref()) {
            Ok(None) => {
                let called = catch_unwind(AssertUnwindSafe(|| service.call(started, method, params)));
                // Whatever panics does so when it is polled.
                (called.unwrap_or_else(|panic| Box::pin(async { resume_unwind(panic) })), None)
            }
            Ok(Some(keyed)) => {
                // Not called before it is known whether it runs.
                let handler = Box::pin(async move { service.call(started, method, params).await });
                let slot = once::Slot::default();
                (Box::pin(host.clone().once(keyed, slot.clone(), handler)), Some(slot))
            }
            Err(error) => {
                self.input(Input::Done { call: call.id(), outcome: Err(error) });
                return false;
            }
        };
        let handler = AssertUnwindSafe(handler).catch_unwind();
        let runs = host.runs();
        let mut handling = Handling { handler, call, method, once };
        // Most handlers are done at once: they cost no task and no wake-up.
        if !host.service().waits(method) {
            match self.run(&mut handling, &mut Context::from_waker(Waker::noop())) {
                Poll::Ready(outcome) => {
                    self.finish(host, &handling, outcome);
                    return false;
                }
                Poll::Pending if handling.call.is_cancelled() => return false,
                Poll::Pending => {}
            }
        }
        let call = handling.call.id();
        let work = Work::new(drive(self.me.clone(), runs.on(), handling).instrument(Span::current()));
        // What nobody carries is a task now.
        drop(self.carry(call, work));
        true
    }

    /// Leaves `work` to whoever stands by for the answer of `call`; it is given back if nobody does.
    fn carry(&self, call: CallId, work: Work) -> Option<Work> {
        let mut core = self.core();
        match core.machine.stream_of(call) {
            Some(stream) => core.places.carry(stream, work),
            None => Some(work),
        }
    }

    /// Lets the handler run until it waits. If it waits for answers that only a new request can bring, the call
    /// ends here (2026-07-28, multi round-trip requests).
    fn run(&self, handling: &mut Handling, cx: &mut Context<'_>) -> Poll<Outcome> {
        match handling.handler.poll_unpin(cx) {
            Poll::Ready(Ok(outcome)) => Poll::Ready(outcome),
            Poll::Ready(Err(panic)) => {
                let why = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
                tracing::error!(
                    conversation = self.number,
                    call = handling.call.id().0,
                    method = handling.method.as_str(),
                    why,
                    "a handler panicked"
                );
                Poll::Ready(Err(ErrorObject::internal()))
            }
            Poll::Pending => {
                self.park(handling);
                Poll::Pending
            }
        }
    }

    fn park(&self, handling: &mut Handling) {
        let Some(host) = self.host.upgrade() else { return };
        let mut core = self.core();
        let parks = core.machine.handle(host.now(), Input::Park);
        if !parks.iter().any(|output| matches!(output, Output::Park)) {
            return;
        }
        let (method, params) = (handling.method, handling.call.facts().meta.params());
        if let Some(once) = &handling.once {
            once.release();
        }
        let request_state = host.seal_request_state(&handling.call, method, params, handling.call.principal());
        let outputs = core.machine.handle(host.now(), Input::Sealed { request_state: Some(request_state) });
        // The machine is over and says nothing else meanwhile. What the handler leaves behind for the next request is there
        // before its client is told to make that.
        drop(core);
        handling.handler = AssertUnwindSafe(std::future::pending().boxed()).catch_unwind();
        let (start, _) = self.perform_all(&mut self.core(), &host, outputs);
        debug_assert!(start.is_none(), "a call that ends starts no other");
    }

    fn finish(&self, host: &Arc<Host>, handling: &Handling, outcome: Outcome) {
        let (call, failed) = (handling.call.id(), outcome.as_ref().err().map(|error| error.code));
        tracing::debug!(method = handling.method.as_str(), failed, "answered");
        let (mut core, now) = (self.core(), host.now());
        core.running.retain(|(known, _)| *known != call);
        self.take_turn(host, core, now, Input::Done { call, outcome });
    }
}

/// Starts a handler when it is written down that it ran; without that, it does not run.
async fn start_when_durable<M: Machine>(
    cell: Weak<Cell<M>>,
    until: Commit,
    begin: Begin,
    cancel: Cancel,
    _running: Running,
) where
    Cell<M>: Owned,
{
    let durable = until.durable().await;
    let Some(cell) = cell.upgrade().filter(|_| !cancel.is_cancelled()) else { return };
    let Some(host) = cell.host.upgrade() else { return };
    match durable {
        Ok(()) => cell.begin(&host, Start { begin, cancel, until: None }),
        Err(NotDurable::Stalled) => {
            let error = ErrorObject::outage("what this does cannot be written down now: nothing was done");
            cell.input(Input::Done { call: begin.id, outcome: Err(error) });
        }
        Err(NotDurable::Lost | NotDurable::Ended) => {}
    }
}

/// A handler that runs.
struct Handling {
    handler: CatchUnwind<AssertUnwindSafe<BoxFuture<'static, Outcome>>>,
    call: Call,
    method: Method,
    once: Option<once::Slot>,
}

/// Runs a handler to its end, or until nobody waits for it.
async fn drive<M: Machine>(cell: Weak<Cell<M>>, running: Running, mut handling: Handling)
where
    Cell<M>: Owned,
{
    let cancel = handling.call.cancel_token().clone();
    let turns = std::future::poll_fn(|cx| match cell.upgrade() {
        Some(cell) if cancel.poll_cancelled(cx).is_pending() => cell.run(&mut handling, cx).map(Some),
        _ => Poll::Ready(None),
    });
    let outcome = turns.await;
    cancel.forget_runner();
    if let (Some(outcome), Some(cell)) = (outcome, cell.upgrade()) {
        cell.finish(running.host(), &handling, outcome);
    }
}

impl Cell<Session> {
    /// The whole answer left in one piece: nothing of it need be kept.
    pub(crate) fn delivered(&self, stream: StreamId) {
        let mut core = self.core();
        core.machine.delivered(stream);
        self.submit(&mut core);
    }

    /// Says that the client will know an event id of `stream`: what opens the stream, and when it may leave.
    pub(crate) fn promise(&self, stream: StreamId) -> (Option<Frame>, Option<Commit>) {
        let mut core = self.core();
        core.machine.promise(stream);
        (core.machine.priming(stream), self.submit(&mut core))
    }
}

/// What differs between the machines' surroundings.
pub(crate) trait Owned {
    /// How handlers name the session, if there is one.
    fn session_ref(number: u64) -> Option<SessionRef>;

    /// Its share in what is kept for all clients that may come back.
    fn share(host: &Host) -> Share;
}

impl Owned for Cell<Session> {
    fn session_ref(number: u64) -> Option<SessionRef> {
        Some(SessionRef(number))
    }

    fn share(host: &Host) -> Share {
        host.waiting()
    }
}

impl Owned for Cell<andon_core::exchange::Exchange> {
    fn session_ref(_number: u64) -> Option<SessionRef> {
        None
    }

    fn share(_host: &Host) -> Share {
        Share::default()
    }
}

impl<M: Machine> Wake for Cell<M>
where
    Cell<M>: Owned,
{
    fn wake(&self) {
        self.alarm.store(u64::MAX, Ordering::Release);
        self.input(Input::Tick);
    }
}

impl<M: Machine> Conversation for Cell<M>
where
    Cell<M>: Owned,
{
    fn input(&self, input: Input) {
        self.turn(input);
    }

    fn expect_answer(&self) -> (AskId, oneshot::Receiver<Answer>) {
        let (sender, receiver) = oneshot::channel();
        let mut asks = self.asks();
        asks.last += 1;
        let ask = AskId(asks.last);
        asks.open.push((ask, sender));
        (ask, receiver)
    }

    fn forget_answer(&self, ask: AskId) {
        drop(self.asks().take(ask));
    }

    fn principal(&self) -> Principal {
        self.principal.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn binding(&self) -> Option<u128> {
        self.binding.get().copied()
    }

    fn subscriber(&self) -> Subscriber {
        let session = Self::session_ref(self.number).map(|_| self.key());
        Subscriber { session, subject: self.principal().shared_subject() }
    }

    fn running(&self) -> Option<Running> {
        self.host.upgrade().map(|host| host.running())
    }

    fn value(&self, name: &str) -> Result<Option<RawJson>, ValuesError> {
        Ok(self.core().machine.session().ok_or(ValuesError::NoSession)?.value(name).cloned())
    }

    fn set_value(&self, name: &str, value: Option<RawJson>) -> Result<Option<Commit>, ValuesError> {
        let mut core = self.core();
        let session = core.machine.session().ok_or(ValuesError::NoSession)?;
        session.set_value(name, value).map_err(|TooLarge| ValuesError::TooLarge)?;
        Ok(self.submit(&mut core))
    }

    fn subscriptions(&self) -> Vec<Arc<str>> {
        self.core().machine.session().map(|session| session.subscriptions().cloned().collect()).unwrap_or_default()
    }

    fn outlet_of(&self, call: CallId) -> Option<Outlet> {
        let core = self.core();
        let stream = core.machine.stream_of(call)?;
        core.places.outlet(stream).cloned()
    }

    fn host(&self) -> Option<Arc<Host>> {
        self.host.upgrade()
    }
}

#[cfg(test)]
mod tests;
