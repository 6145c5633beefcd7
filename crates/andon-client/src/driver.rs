//! The dialogue with what surrounds it: a link, open calls, questions, time. Performs outputs in order.

mod request;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use andon_core::ascending::Ascending;
use andon_core::client::{
    Attempt, CallError, CallId, Dialogue, Input, Loss, Newcall, Next, Opened, Opening, Outcome, Output, QuestionId,
    Road, Timing,
};
use andon_core::io::Timestamp;
use andon_types::message::Json;
use andon_types::raw_object::RawObject;
use andon_types::revision::Era;
use serde_json::{Map, Value};
use tokio::sync::{Notify, broadcast, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::answer::Question;
use crate::builder::{Reach, Restart, Settings, VERDICTS};
use crate::cache::Cache;
use crate::carriage::{Carriage, Carrier, carried};
use crate::error::Error;
use crate::event::Event;
use crate::link::http::HttpLink;
use crate::link::two_endpoints::TwoEndpoints;
use crate::link::{Ear, Heard, Link, Round, pipe};
use crate::listen::Listeners;
use crate::outbox::{Outbox, in_time};
use crate::secrets::Secrets;
use crate::target::Kind;
use crate::throttle::Throttle;

pub(crate) use request::{OnLog, OnProgress, OnStderr, Request};

/// Events that a slow reader may be behind.
const EVENTS_KEPT: usize = 1024;
/// Bytes of a notification that becomes an event: a reader that does not read holds many of them.
const EVENT_BYTES_MAX: usize = 64 << 10;
/// What the server sends that is no message, and is told in a second.
const NOISE_MAX: u32 = 10;
/// The first wait before a lost connection is made again; it doubles.
const BACK_OFF: Duration = Duration::from_millis(250);
const BACK_OFF_MAX: Duration = Duration::from_secs(30);
/// A connection that held for so long was a good one.
const GOOD: Duration = Duration::from_secs(30);

/// Something to be told, in order with the answers of calls.
type Tell = Box<dyn FnOnce() + Send>;

pub(crate) struct Driver {
    pub(crate) settings: Settings,
    reach: Reach,
    secrets: Arc<Secrets>,
    origin: Instant,
    /// Of whoever made it: in what is logged it says which server that is about.
    span: tracing::Span,
    state: Mutex<State>,
    /// Held by whoever opens the connection.
    opening: tokio::sync::Mutex<Attempts>,
    events: broadcast::Sender<Event>,
    /// A deadline may have changed.
    wake: Arc<Notify>,
    pub(crate) listeners: Listeners,
    pub(crate) cache: Cache,
    outbox: Outbox,
    me: Weak<Driver>,
}

struct State {
    dialogue: Dialogue,
    link: Option<Arc<dyn Link>>,
    /// Counts links, so that what an old one still says is not heard.
    generation: u64,
    /// The present link ended, perhaps before it was put to use.
    lost: Option<Loss>,
    opened: Option<Arc<Opened>>,
    waiting: Ascending<CallId, Waiter>,
    questions: HashMap<QuestionId, AbortHandle>,
    /// When the dialogue is woken next.
    wakes_at: Option<Timestamp>,
    is_closed: bool,
    /// Of what is no message, this is told.
    noise: Throttle,
}

struct Waiter {
    answer: oneshot::Sender<Result<Json, CallError>>,
    on_progress: Option<OnProgress>,
    on_ack: Option<oneshot::Sender<()>>,
    on_log: Option<OnLog>,
    tag: Option<u64>,
    /// Carries a later round, which begins when somebody else is at work.
    carrier: Option<Carrier>,
}

/// What is left to do after outputs were performed.
#[derive(Default)]
struct Left {
    /// To be told in order, without our lock.
    told: Vec<Tell>,
    /// Rounds that were sent, and want to be carried.
    carriages: Vec<(CallId, Carriage)>,
}

/// Attempts to make a connection again.
#[derive(Default)]
struct Attempts {
    /// In a row; a connection that breaks at once is no end of the row.
    failed: u32,
    /// Of the connection that the last attempt made, if it made one.
    opened_at: Option<Instant>,
    /// Of the last connection; none before the first one.
    era: Option<Era>,
}

impl Driver {
    pub(crate) fn new(settings: Settings, reach: Reach, secrets: Arc<Secrets>) -> Arc<Self> {
        let dialogue = Dialogue::new(settings.info.clone(), settings.answers.capabilities());
        let dialogue = dialogue.questions_max(settings.questions_max);
        let state = State {
            dialogue,
            link: None,
            generation: 0,
            lost: None,
            opened: None,
            waiting: Ascending::default(),
            questions: HashMap::new(),
            wakes_at: None,
            is_closed: false,
            noise: Throttle::new(NOISE_MAX),
        };
        let driver = Arc::new_cyclic(|me| Self {
            settings,
            reach,
            secrets,
            origin: Instant::now(),
            span: tracing::Span::current(),
            state: Mutex::new(state),
            opening: tokio::sync::Mutex::default(),
            events: broadcast::Sender::new(EVENTS_KEPT),
            wake: Arc::default(),
            listeners: Listeners::default(),
            cache: Cache::default(),
            outbox: Outbox::default(),
            me: me.clone(),
        });
        tokio::spawn(keep_time(Arc::downgrade(&driver)));
        driver
    }

    pub(crate) fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    pub(crate) fn tell(&self, event: Event) {
        // Nobody has to listen.
        drop(self.events.send(event));
    }

    /// What the server said of itself, if there is a connection.
    pub(crate) fn opened(&self) -> Option<Arc<Opened>> {
        self.state().opened.clone()
    }

    /// Makes sure that there is a connection. One opens it while the others wait.
    pub(crate) async fn open(&self) -> Result<Arc<Opened>, Error> {
        match self.usable()? {
            Some(opened) => Ok(opened),
            // Boxed, since nearly every call finds one.
            None => Box::pin(self.open_again()).await,
        }
    }

    async fn open_again(&self) -> Result<Arc<Opened>, Error> {
        let mut attempts = self.opening.lock().await;
        if let Some(opened) = self.usable()? {
            return Ok(opened);
        }
        let is_first = attempts.era.is_none();
        self.back_off(&mut attempts).await?;
        let had_link = self.state().link.is_some();
        match self.try_open(attempts.era).await {
            Ok(opened) => {
                attempts.opened_at = Some(Instant::now());
                attempts.era = Some(opened.revision.era());
                drop(attempts);
                if !is_first {
                    self.listeners.restore(self).await;
                    self.tell(Event::Reopened);
                }
                Ok(opened)
            }
            Err(error) => {
                attempts.failed += 1;
                attempts.opened_at = None;
                let link = self.state().link.take();
                if let Some(link) = link {
                    if had_link {
                        // Only its session was gone. Now the connection is given up, and nobody else says so.
                        self.tell(Event::Disconnected(match &error {
                            Error::Transport(loss) => loss.clone(),
                            other => Loss::Disconnected(other.to_string()),
                        }));
                    }
                    link.close().await;
                }
                Err(error)
            }
        }
    }

    /// The session is gone: the next call opens another. Nothing happens if that was done already.
    pub(crate) fn reopen_after(&self, lost: &Arc<Opened>) {
        let mut state = self.state();
        if state.opened.as_ref().is_some_and(|opened| Arc::ptr_eq(opened, lost)) {
            state.opened = None;
        }
    }

    /// Makes a call over the present connection and waits for its outcome. Dropping the future cancels the call.
    pub(crate) async fn call(&self, request: Request) -> Result<Json, CallError> {
        let (answer, outcome) = oneshot::channel();
        let (call, carriage) = {
            let mut state = self.state();
            if state.is_closed {
                return Err(CallError::Lost(Loss::Disconnected("the client was closed".to_owned())));
            }
            let new = Newcall {
                method: request.method,
                params: request.params,
                meta: request.meta,
                timing: request.timing,
                wants_progress: request.on_progress.is_some(),
                mirrored: request.mirrored,
                takes_tasks: request.takes_tasks,
                capabilities: request.capabilities,
            };
            let (call, outputs) = state.dialogue.request(self.now(), new);
            let Request { on_progress, on_ack, on_log, tag, .. } = request;
            state.waiting.push(call, Waiter { answer, on_progress, on_ack, on_log, tag, carrier: None });
            let left = self.perform(&mut state, outputs);
            self.set_alarm(&mut state);
            (call, left.carriages.into_iter().next().map(|(_, carriage)| carriage))
        };
        let abandon = Abandon { driver: self, call };
        let outcome = carried(carriage, outcome).await;
        std::mem::forget(abandon);
        outcome.unwrap_or_else(|_| Err(CallError::Lost(Loss::Disconnected("the client was closed".to_owned()))))
    }

    /// Sends a notification; resolves when it was handed to the server, or could not be.
    pub(crate) async fn notify(&self, method: &str, params: Map<String, Value>) {
        let saying = {
            let state = self.state();
            let text = state.dialogue.notification(method, params);
            state.link.as_ref().map(|link| link.say(text))
        };
        if let Some(saying) = saying {
            in_time(saying).await;
        }
    }

    /// Ends the conversation.
    pub(crate) async fn close(&self) {
        let link = {
            let mut state = self.state();
            state.is_closed = true;
            state.opened = None;
            let loss = Loss::Disconnected("the client was closed".to_owned());
            let outputs = state.dialogue.handle(self.now(), Input::Closed { loss });
            self.perform(&mut state, outputs);
            state.generation += 1;
            state.link.take()
        };
        if let Some(link) = link {
            link.close().await;
        }
    }

    fn usable(&self) -> Result<Option<Arc<Opened>>, Error> {
        let state = self.state();
        if state.is_closed { Err(Error::Closed) } else { Ok(state.opened.clone()) }
    }

    /// Waits before a connection is made again, the longer the more often that failed.
    async fn back_off(&self, attempts: &mut Attempts) -> Result<(), Error> {
        if attempts.era.is_none() || self.state().link.is_some() {
            // The first one, or only its session is to be opened again.
            return Ok(());
        }
        let has_held = attempts.opened_at.is_some_and(|at| at.elapsed() >= GOOD);
        if has_held {
            attempts.failed = 0;
        }
        let most = match self.settings.restart {
            Restart::Never => 0,
            Restart::UpTo(most) => most,
        };
        if attempts.failed >= most {
            let why = "the connection is gone, and no further attempt is made".to_owned();
            return Err(Error::Transport(Loss::Disconnected(why)));
        }
        // A server that ends as soon as it has begun is not to do so without pause.
        if !has_held {
            let wait = BACK_OFF * 2_u32.saturating_pow(attempts.failed.min(8));
            tokio::time::sleep(wait.min(BACK_OFF_MAX)).await;
        }
        Ok(())
    }

    async fn try_open(&self, known: Option<Era>) -> Result<Arc<Opened>, Error> {
        let (road, known) = match &self.reach {
            Reach::Http(options) => (Road::Http, known.or_else(|| VERDICTS.get(options.url.as_str()))),
            Reach::Pipe(_) => (Road::Pipe, known),
        };
        let known = known.or(self.settings.first);
        let (mut opening, mut attempt) = Opening::new(road, self.settings.pinned, known);
        let opened = loop {
            let outcome = self.attempt(attempt).await?;
            match opening.handle(outcome) {
                Next::Try(next) => attempt = next,
                Next::Fail(failure) => return Err(failure.into()),
                Next::Open(opened) => break Arc::new(*opened),
            }
        };
        let link = {
            let mut state = self.state();
            state.dialogue.speak(opened.revision);
            let link = state.link.clone();
            link.ok_or_else(|| Error::Transport(Loss::Disconnected("it ended at once".to_owned())))?
        };
        link.speak(opened.revision, true);
        if opened.revision.era() == Era::Legacy {
            self.notify("notifications/initialized", Map::new()).await;
        }
        link.settle().await;
        // What somebody pinned is not what others would find.
        if let (Reach::Http(options), None) = (&self.reach, self.settings.pinned) {
            VERDICTS.set(options.url.as_str(), opened.revision.era());
        }
        self.state().opened = Some(opened.clone());
        Ok(opened)
    }

    /// Carries out one attempt to open.
    async fn attempt(&self, attempt: Attempt) -> Result<Outcome, Error> {
        let revision = attempt.revision();
        match self.link_for(attempt).await.map_err(|loss| self.secrets.masked(loss)) {
            Ok(()) => {}
            Err(Loss::Unauthorized(why)) => return Err(Error::Unauthorized(why)),
            Err(Loss::Refused { status: Some(status), why }) => return Ok(Outcome::Status(status, why)),
            Err(Loss::Disconnected(why)) => return Ok(Outcome::Closed(why)),
            Err(loss) => return Err(Error::Transport(loss)),
        }
        let (method, params, timeout) = {
            let mut state = self.state();
            state.dialogue.speak(revision);
            if let Some(link) = &state.link {
                link.speak(revision, false);
            }
            match attempt {
                Attempt::Discover(_) => ("server/discover", RawObject::default(), self.settings.probe_timeout),
                _ => ("initialize", state.dialogue.initialize_params(revision), self.settings.open_timeout),
            }
        };
        let timeout = timeout.min(self.settings.open_timeout);
        let timing = Timing { timeout, max: timeout };
        let request = Request { timing, ..Request::new(method, params) };
        Ok(match self.call(request).await {
            Ok(result) => Outcome::Result(result),
            Err(CallError::Protocol { error, status }) => Outcome::Error { error, status },
            Err(CallError::TimedOut) => Outcome::Silence,
            Err(CallError::Lost(Loss::SessionGone)) => Outcome::Status(404, "no session was opened".to_owned()),
            Err(CallError::Lost(Loss::Refused { status: Some(status), why })) => Outcome::Status(status, why),
            Err(CallError::Lost(Loss::Disconnected(why))) => Outcome::Closed(why),
            Err(other) => return Err(other.into()),
        })
    }

    /// A link that `attempt` can use: the one that is there, if it is of the right kind and alive.
    async fn link_for(&self, attempt: Attempt) -> Result<(), Loss> {
        let is_there = self.state().link.is_some();
        if is_there && !matches!(attempt, Attempt::TwoEndpoints(_)) {
            return Ok(());
        }
        let ear = self.ear();
        let link: Arc<dyn Link> = match (&self.reach, attempt) {
            (Reach::Http(options), Attempt::TwoEndpoints(_)) => {
                let opening = TwoEndpoints::open((**options).clone(), ear);
                let opened = tokio::time::timeout(self.settings.open_timeout, opening).await;
                Arc::new(opened.map_err(|_| Loss::Disconnected("no endpoint in time".to_owned()))??)
            }
            (Reach::Http(options), _) => Arc::new(HttpLink::new((**options).clone(), ear)),
            (Reach::Pipe(kind), _) => self.pipe(kind, ear).await?,
        };
        let mut state = self.state();
        match state.lost.take() {
            // It has said so already, and will not say it again: nothing that is sent would ever fail.
            Some(loss) => Err(loss),
            None => {
                state.link = Some(link);
                Ok(())
            }
        }
    }

    /// Starts or connects what can be started or connected again and again, and uses streams once.
    async fn pipe(&self, kind: &Mutex<Option<Kind>>, ear: Ear) -> Result<Arc<dyn Link>, Loss> {
        let most = self.settings.message_bytes_max;
        let taken = kind.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut taken) = taken else { return Err(Loss::Disconnected("streams can be used once".to_owned())) };
        if let Kind::Streams(input, output) = taken {
            return Ok(pipe::streams(input, output, most, ear));
        }
        let opened = pipe::open(&mut taken, most, ear).await;
        *kind.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken);
        opened
    }

    /// Where a new link says what it hears. What an older link still says is not heard.
    fn ear(&self) -> Ear {
        let generation = {
            let mut state = self.state();
            state.generation += 1;
            state.lost = None;
            state.generation
        };
        let me = self.me.clone();
        Arc::new(move |heard| {
            if let Some(driver) = me.upgrade() {
                driver.hear(generation, heard);
            }
        })
    }

    fn hear(&self, generation: u64, mut heard: Heard) {
        self.secrets.mask_heard(&mut heard);
        let mut state = self.state();
        if state.generation != generation {
            return;
        }
        let input = match heard {
            Heard::Message(message) => Input::Message(message),
            Heard::Related { wire_id, message } => Input::Related { wire_id, message },
            Heard::Refused { call, status, error } => Input::Refused { call, status, error },
            Heard::Failed { call, loss } => Input::Failed { call, loss },
            Heard::Stderr(line) => {
                self.span.in_scope(|| tracing::debug!(line, "the server's standard error"));
                self.settings.on_stderr.iter().for_each(|on_stderr| on_stderr(&line));
                return self.tell(Event::Stderr(line));
            }
            Heard::Unreadable { wire_id, why } => {
                self.span.in_scope(|| tracing::warn!(why, "an answer cannot be read"));
                Input::Unreadable { wire_id, loss: Loss::Refused { status: None, why } }
            }
            Heard::Noise(why) => {
                if let Some(left_out) = state.noise.pass() {
                    let warn = || tracing::warn!(why, left_out, "the server sent something that is no message");
                    self.span.in_scope(warn);
                }
                return;
            }
            Heard::SessionGone => {
                state.opened = None;
                drop(state);
                return self.listeners.connection_lost(&self.me);
            }
            Heard::Closed(loss) => {
                state.link = None;
                state.opened = None;
                state.lost = Some(loss.clone());
                self.cache.clear();
                self.tell(Event::Disconnected(loss.clone()));
                Input::Closed { loss }
            }
        };
        let was_closed = matches!(input, Input::Closed { .. });
        let told = self.turn(state, input);
        told.into_iter().for_each(|tell| tell());
        if was_closed {
            self.listeners.connection_lost(&self.me);
        }
    }

    /// Gives `input` to the dialogue and performs what it wants.
    fn input(&self, input: Input) {
        self.turn(self.state(), input);
    }

    /// The same. What is told to listeners is given back, in order: they run without our lock.
    fn turn(&self, mut state: MutexGuard<'_, State>, input: Input) -> Vec<Tell> {
        let outputs = state.dialogue.handle(self.now(), input);
        let Left { told, carriages } = self.perform(&mut state, outputs);
        for (call, carriage) in carriages {
            if let Some(waiter) = state.waiting.get_mut(call) {
                waiter.carrier = Some(Carrier::start(carriage));
            }
        }
        self.set_alarm(&mut state);
        told
    }

    /// Has the dialogue woken earlier, if it wants to be: not for every call, of which most are over long before.
    fn set_alarm(&self, state: &mut State) {
        let Some(deadline) = state.dialogue.deadline() else { return };
        if state.wakes_at.is_none_or(|at| deadline < at) {
            state.wakes_at = Some(deadline);
            self.wake.notify_one();
        }
    }

    /// Performs outputs in order.
    fn perform(&self, state: &mut State, outputs: Vec<Output>) -> Left {
        let mut left = Left::default();
        let told = &mut left.told;
        for output in outputs {
            match output {
                Output::Send { call, wire_id, method, name, mirrored, text } => match &state.link {
                    Some(link) => {
                        let carriage = link.send(Round { call, wire_id, method, name, mirrored, text });
                        left.carriages.extend(carriage.map(|carriage| (call, carriage)));
                    }
                    None => left.carriages.push((call, self.fail(call))),
                },
                Output::Say { text } => self.say(state.link.as_ref(), text),
                Output::Cancel { call, text } => {
                    if let Some(waiter) = state.waiting.get_mut(call) {
                        waiter.carrier = None;
                    }
                    let is_told = state.link.as_ref().is_some_and(|link| link.hears_hang_up());
                    if let Some(text) = text.filter(|_| !is_told) {
                        self.say(state.link.as_ref(), text);
                    }
                }
                Output::Answered { call, outcome } => {
                    if let Some(waiter) = state.waiting.remove(call) {
                        // Whoever gave up waiting needs no answer.
                        drop(waiter.answer.send(outcome));
                    }
                }
                Output::Progress { call, report } => {
                    if let Some(on_progress) = state.waiting.get(call).and_then(|waiter| waiter.on_progress.clone()) {
                        told.push(Box::new(move || on_progress(report)));
                    }
                }
                Output::Asked { question, request, call, round } => {
                    let tag = call.and_then(|call| state.waiting.get(call)?.tag);
                    let (key, round) = round.unzip();
                    let task = self.ask(question, Question { request, tag, key, round });
                    state.questions.insert(question, task);
                }
                Output::Withdrawn { question } => {
                    if let Some(task) = state.questions.remove(&question) {
                        task.abort();
                    }
                }
                Output::Acknowledged { call } => {
                    if let Some(acknowledged) = state.waiting.get_mut(call).and_then(|waiter| waiter.on_ack.take()) {
                        // Whoever listens may have gone.
                        let _ = acknowledged.send(());
                    }
                }
                Output::Heard(notification) | Output::Logged { notification, .. }
                    if notification.params.as_ref().is_some_and(is_too_large) =>
                {
                    tracing::warn!(method = &*notification.method, "a notification was too large and is lost");
                }
                Output::Logged { call, notification } => {
                    let on_log = state.waiting.get(call).and_then(|waiter| waiter.on_log.clone());
                    told.extend(self.log_or_tell(on_log.as_ref(), Event::from(notification)));
                }
                Output::Heard(notification) => {
                    let event = Event::from(notification);
                    self.cache.heed(&event);
                    told.extend(self.log_or_tell(None, event));
                }
                Output::Dropped(what) => tracing::debug!(what, "dropped"),
            }
        }
        left
    }

    /// Has the program answer a question.
    fn ask(&self, id: QuestionId, question: Question) -> AbortHandle {
        let (answers, me) = (self.settings.answers.clone(), self.me.clone());
        let task = tokio::spawn(async move {
            let outcome = answers.answer(question).await;
            if let Some(driver) = me.upgrade() {
                driver.state().questions.remove(&id);
                driver.input(Input::Reply { question: id, outcome });
            }
        });
        task.abort_handle()
    }

    /// Logs go to whoever listens to those of the call, or to all; then they are no events.
    fn log_or_tell(&self, of_call: Option<&OnLog>, event: Event) -> Option<Tell> {
        match (of_call.or(self.settings.on_log.as_ref()).cloned(), event) {
            (Some(on_log), Event::Log { level, logger, data }) => Some(Box::new(move || on_log(level, logger, data))),
            (_, event) => {
                self.tell(event);
                None
            }
        }
    }

    fn say(&self, link: Option<&Arc<dyn Link>>, text: String) {
        if let Some(link) = link {
            self.outbox.say(link, text);
        }
    }

    /// There is no connection for this round: it fails, but not while the dialogue is at work.
    fn fail(&self, call: CallId) -> Carriage {
        let me = self.me.clone();
        Box::pin(async move {
            if let Some(driver) = me.upgrade() {
                let none = || Loss::Disconnected("there is no connection".to_owned());
                let loss = driver.state().lost.clone().unwrap_or_else(none);
                driver.input(Input::Failed { call, loss });
            }
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        Timestamp(u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.wake.notify_one();
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.questions.drain().for_each(|(_, task)| task.abort());
        // A client that is dropped says farewell as well, if there is still somebody to carry it out.
        if let (Some(link), Ok(runtime)) = (state.link.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move { link.close().await });
        }
    }
}

fn is_too_large(params: &Json) -> bool {
    params.as_str().len() > EVENT_BYTES_MAX
}

/// A call that nobody waits for any more is cancelled.
struct Abandon<'a> {
    driver: &'a Driver,
    call: CallId,
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        self.driver.state().waiting.remove(self.call);
        self.driver.input(Input::Abandon { call: self.call });
    }
}

/// Wakes the dialogue at its deadlines, as long as there is a client.
async fn keep_time(driver: Weak<Driver>) {
    loop {
        let (deadline, woken) = {
            let Some(driver) = driver.upgrade() else { return };
            let deadline = {
                let mut state = driver.state();
                state.wakes_at = state.dialogue.deadline();
                state.wakes_at
            };
            let due = deadline.map(|at| driver.origin + Duration::from_millis(at.0.min(u64::from(u32::MAX) * 1000)));
            (due, driver.wake.clone())
        };
        match deadline {
            Some(due) => {
                tokio::select! {
                    () = tokio::time::sleep_until(due) => {
                        if let Some(driver) = driver.upgrade() {
                            driver.input(Input::Tick);
                        }
                    }
                    () = woken.notified() => {}
                }
            }
            None => woken.notified().await,
        }
    }
}
