//! A task that runs in this process: what its handler says and asks comes here, and answers go back.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use andon_core::exchange::task_subject;
use andon_core::facts::Facts;
use andon_core::io::{AskError, AskId, Input, Timestamp};
use andon_core::meter::Progress;
use andon_core::port::{Record, Rev, StoreError};
use andon_core::task::{Outcome, Task};
use andon_types::client::InputRequest;
use andon_types::message::Json;
use andon_types::meta::Level;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use tracing::Instrument as _;

use super::{Tasks, key_of, related};
use crate::call::Call;
use crate::cancel::Cancel;
use crate::conversation::{Answer, Conversation};
use crate::host::Running;
use crate::principal::Principal;

/// How long the first and the longest wait is before the end of a task is written again.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// A task that runs.
pub(crate) struct Live {
    me: Weak<Live>,
    /// Alive as long as a server or a task that runs is.
    tasks: Weak<Tasks>,
    facts: Arc<Facts>,
    principal: Principal,
    /// Where the task was asked for: told of it as long as it is there.
    creator: Weak<dyn Conversation>,
    cancel: Cancel,
    state: Mutex<State>,
    /// Counts changes.
    changed: watch::Sender<u64>,
}

struct State {
    /// As anybody may see it: its end is in it once it is stored.
    task: Task,
    rev: Rev,
    phase: Phase,
    asks: HashMap<AskId, Asker>,
    last_ask: u64,
    progress: Option<Progress>,
}

/// Who waits for an answer.
struct Asker {
    answer: oneshot::Sender<Answer>,
    /// The question was put to a client that waits for the task's result (2025-11-25).
    is_put: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// It came to an end, which is being stored.
    Settling,
    /// The end is stored.
    Over,
    /// It is nobody's any more.
    Gone,
}

impl Live {
    pub(super) fn new(tasks: &Arc<Tasks>, task: Task, rev: Rev, call: &Call) -> Arc<Self> {
        let facts = call.facts().clone();
        let progress =
            facts.progress_token.clone().map(|token| Progress::new(token, tasks.now(), tasks.progress_per_s));
        let asks = HashMap::new();
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            tasks: Arc::downgrade(tasks),
            facts,
            principal: call.principal().clone(),
            creator: Arc::downgrade(call.conversation()),
            cancel: call.cancel_token().clone(),
            state: Mutex::new(State { task, rev, phase: Phase::Running, asks, last_ask: 0, progress }),
            changed: watch::Sender::new(0),
        })
    }

    /// Looks at the task.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&Task) -> T) -> T {
        look(&self.state().task)
    }

    /// Changes from now on.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Whether it is over and stored, or nobody's any more.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state().phase, Phase::Over | Phase::Gone)
    }

    /// Whether it is nobody's any more.
    pub(super) fn is_gone(&self) -> bool {
        self.state().phase == Phase::Gone
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&self) {
        let mut changed = self.watch();
        while !self.has_ended() && changed.changed().await.is_ok() {}
    }

    pub(super) async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    /// It came to `outcome`, unless it came to something before. That is said when it is stored.
    pub(crate) fn settle(&self, outcome: Outcome) -> bool {
        let (Some(tasks), Some(me)) = (self.tasks.upgrade(), self.me.upgrade()) else { return false };
        let mut state = self.state();
        if state.phase != Phase::Running {
            return false;
        }
        state.phase = Phase::Settling;
        if let Some(params) = state.progress.as_mut().and_then(Progress::finish) {
            self.tell_progress(&state.task, &params);
        }
        let now = tasks.now();
        let mut next = state.task.clone();
        next.finish(now, outcome);
        close_questions(&mut state, now);
        drop(state);
        self.note_change();
        self.cancel.cancel();
        tokio::spawn(async move { me.store(&tasks, next).await }.in_current_span());
        true
    }

    /// Nobody is to hear of it any more. Whether it was still running.
    pub(super) fn abandon(&self, now: Timestamp) -> bool {
        let mut state = self.state();
        if state.phase != Phase::Running {
            return false;
        }
        state.phase = Phase::Gone;
        close_questions(&mut state, now);
        drop(state);
        self.note_change();
        self.cancel.cancel();
        true
    }

    /// Stores the end, however often that takes, and then shows it.
    async fn store(&self, tasks: &Tasks, end: Task) {
        let key = key_of(end.id());
        let record = Record { bytes: end.encode(), owner: end.owner(), expires_at: Some(end.expires_at()) };
        let rev = self.state().rev;
        let mut wait = RETRY_MIN;
        let stored = loop {
            match tasks.store.write(key, record.clone(), Some(rev)).await {
                Ok(_) => break true,
                Err(StoreError::Conflict { .. }) => {
                    // An earlier attempt, of which it was not known, may have been this very one.
                    let there = tasks.store.load(key).await.ok().flatten();
                    break there.is_some_and(|there| there.record.bytes == record.bytes);
                }
                Err(error) => {
                    tracing::error!(%error, "the end of a task could not be stored yet");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(RETRY_MAX);
                }
            }
            if tasks.now() >= end.expires_at() {
                break false;
            }
        };
        let mut state = self.state();
        if stored {
            state.task = end;
            state.phase = Phase::Over;
            self.publish(tasks, &state.task);
        } else {
            state.phase = Phase::Gone;
        }
        drop(state);
        // From now on it is read from the store.
        tasks.live().remove(&key.id);
        self.note_change();
    }

    /// The client's answer to the question `key`; one that is not open has no answer.
    pub(crate) fn answer(&self, key: &str, answer: Json) {
        let Some(tasks) = self.tasks.upgrade() else { return };
        let mut state = self.state();
        let Some(ask) = state.task.answer(tasks.now(), key) else { return };
        self.pass_on(&tasks, state, ask, Ok(answer));
    }

    /// The outcome of a question that [`Live::put`] gave out.
    pub(crate) fn deliver(&self, ask: AskId, outcome: Answer) {
        let Some(tasks) = self.tasks.upgrade() else { return };
        let mut state = self.state();
        if state.task.withdraw(tasks.now(), ask) {
            self.pass_on(&tasks, state, ask, outcome);
        }
    }

    /// Takes the questions that no client has been asked yet, to be put to one that has not refused them: each is put
    /// to one client at a time.
    pub(crate) fn put(&self, refused: &HashSet<AskId>) -> Vec<(Put, InputRequest)> {
        let mut state = self.state();
        let State { task, asks, .. } = &mut *state;
        let mut taken = Vec::new();
        for question in task.questions().iter().filter(|question| !refused.contains(&question.ask)) {
            let Some(asker) = asks.get_mut(&question.ask).filter(|asker| !asker.is_put) else { continue };
            asker.is_put = true;
            let mut request = question.request.clone();
            let meta = request.params_mut().entry("_meta").or_insert_with(|| json!({}));
            if let Value::Object(meta) = meta {
                meta.extend(related(task.id()));
            }
            taken.extend(self.me.upgrade().map(|live| (Put { live, ask: question.ask }, request)));
        }
        taken
    }

    /// Waits until the question is open no more.
    pub(crate) async fn closed(&self, ask: AskId) {
        let mut changed = self.watch();
        while self.state().asks.contains_key(&ask) && changed.changed().await.is_ok() {}
    }

    fn pass_on(&self, tasks: &Tasks, mut state: MutexGuard<'_, State>, ask: AskId, outcome: Answer) {
        if let Some(asker) = state.asks.remove(&ask) {
            // A handler that is gone needs no answer.
            drop(asker.answer.send(outcome));
        }
        self.publish(tasks, &state.task);
        drop(state);
        self.note_change();
    }

    fn ask(&self, ask: AskId, key: Box<str>, request: InputRequest, timeout: Option<Duration>) {
        // Without its server it is nobody's: who asked learns it by the loss of the sender.
        let Some(tasks) = self.tasks.upgrade() else { return self.forget_answer(ask) };
        let mut state = self.state();
        let (now, limits) = (tasks.now(), tasks.questions);
        let asked = match state.phase {
            Phase::Running => state.task.ask(now, (ask, key, request), &self.facts.client.capabilities, limits),
            _ => Err(AskError::Cancelled),
        };
        match asked {
            Ok(()) => {
                self.publish(&tasks, &state.task);
                drop(state);
                self.note_change();
                if let Some(timeout) = timeout {
                    let me = self.me.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(timeout).await;
                        if let Some(live) = me.upgrade() {
                            live.deliver(ask, Err(AskError::TimedOut));
                        }
                    });
                }
            }
            Err(error) => {
                if let Some(asker) = state.asks.remove(&ask) {
                    drop(asker.answer.send(Err(error)));
                }
            }
        }
    }

    fn report(&self, progress: f64, total: Option<f64>, message: Option<&str>) {
        let Some(tasks) = self.tasks.upgrade() else { return };
        let mut state = self.state();
        if state.phase != Phase::Running {
            return;
        }
        let now = tasks.now();
        let text = match (message, total) {
            (Some(message), _) => message.to_owned(),
            (None, Some(total)) => format!("{progress} of {total}"),
            (None, None) => progress.to_string(),
        };
        state.task.say(now, &text);
        let (rules, per_s) = (self.facts.revision.rules(), tasks.progress_per_s);
        let params =
            state.progress.as_mut().and_then(|known| known.report(now, per_s, (progress, total, message), rules));
        if let Some(params) = params {
            self.tell_progress(&state.task, &params);
        }
    }

    fn log(&self, level: Level, logger: Option<&str>, data: &Json) {
        let id = self.with(|task| task.id().to_owned());
        let logger = logger.map_or(String::new(), |logger| format!(r#""logger":{},"#, json!(logger)));
        let meta = Value::Object(related(&id));
        let params = format!(r#"{{"level":{},{logger}"_meta":{meta},"data":{}}}"#, json!(level), data.as_str());
        self.notify("notifications/message", params, Some(level));
    }

    fn tell_progress(&self, task: &Task, params: &str) {
        let meta = Value::Object(related(task.id()));
        self.notify("notifications/progress", format!(r#"{{"_meta":{meta},{}"#, &params[1..]), None);
    }

    /// Says where the task stands to who listens for it. Under the lock, so that nothing is said out of order.
    fn publish(&self, tasks: &Tasks, task: &Task) {
        if task.revision().rules().tasks_extension {
            tasks.changes.task(&task_subject(task.id()), task.id(), &task.detail());
        } else {
            self.notify("notifications/tasks/status", Value::Object(task.members()).to_string(), None);
        }
    }

    /// To the session that asked for the task. A modern request is over, and has nowhere for it.
    fn notify(&self, method: &'static str, params: String, level: Option<Level>) {
        if let Some(creator) = self.creator.upgrade() {
            creator.input(Input::Notify { method, params, level });
        }
    }

    fn note_change(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nobody answers any more: who waits learns it by the loss of the sender.
fn close_questions(state: &mut State, now: Timestamp) {
    let open: Vec<AskId> = state.task.questions().iter().map(|question| question.ask).collect();
    for ask in open {
        state.task.withdraw(now, ask);
    }
    state.asks.clear();
}

impl Conversation for Live {
    fn input(&self, input: Input) {
        match input {
            Input::Ask { ask, key, request, timeout, .. } => self.ask(ask, key, request, timeout),
            Input::Abandon { ask } => self.deliver(ask, Err(AskError::Cancelled)),
            Input::Progress { progress, total, message, .. } => self.report(progress, total, message.as_deref()),
            Input::Log { level, logger, data, .. } => self.log(level, logger.as_deref(), &data),
            // A task has a time of its own, and no connection.
            _ => {}
        }
    }

    fn expect_answer(&self) -> (AskId, oneshot::Receiver<Answer>) {
        let (answer, receiver) = oneshot::channel();
        let mut state = self.state();
        state.last_ask += 1;
        let ask = AskId(state.last_ask);
        state.asks.insert(ask, Asker { answer, is_put: false });
        (ask, receiver)
    }

    fn forget_answer(&self, ask: AskId) {
        self.state().asks.remove(&ask);
    }

    fn principal(&self) -> Principal {
        self.principal.clone()
    }

    fn binding(&self) -> Option<u128> {
        None
    }

    fn running(&self) -> Option<Running> {
        None
    }
}

/// A question on its way to a client. Dropped, it can be put to another.
pub(crate) struct Put {
    live: Arc<Live>,
    pub(crate) ask: AskId,
}

impl Drop for Put {
    fn drop(&mut self) {
        let mut state = self.live.state();
        if let Some(asker) = state.asks.get_mut(&self.ask) {
            asker.is_put = false;
            drop(state);
            self.live.note_change();
        }
    }
}
