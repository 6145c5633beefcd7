//! Tasks: calls that go on after they were answered, created in the store before anybody hears of them.
//!
//! A task that runs is a `Live` and a record; one that is over is a record. What a process left running when it ended
//! has failed, and the first who looks at its record writes that down. One process at a time runs the tasks of a store.
//!
//! A [`Server`](crate::server::Server) has them by itself. A [`Service`](crate::service::Service) of another kind is given
//! them by its host: it has calls become tasks ([`Tasks::run`], [`Tasks::run_late`]), leaves `tasks/*` to
//! [`Tasks::serve`], and tells when a session is over ([`Tasks::forget`]).

mod live;
mod serve;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use andon_core::io::{Reply, ReplyKind, Timestamp};
use andon_core::port::{Key, Kind, Record, SessionStore, StoreError, Stored};
use andon_core::task::{Beginning, Outcome, QuestionLimits, Task};
use andon_types::capability::ServerCapabilities;
use andon_types::error::{ErrorCode, ErrorObject};
use andon_types::meta::{Meta, RELATED_TASK};
use andon_types::task::TASKS_EXTENSION;
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tracing::Instrument as _;

use crate::call::Call;
use crate::change::Changes;
use crate::clock::Clock;
use crate::cursor::Cursors;
use crate::host::Running;
use crate::journal::owner;
use crate::options::{HostOptions, TaskOptions};
use crate::seal::{Seal, random};
use crate::sessions::Kept;
use crate::storage::hash;

pub use serve::wanted_ttl;

pub(crate) use live::Live;

/// The least time that a client may ask a task to be kept for.
const TTL_MIN: Duration = Duration::from_secs(1);
/// Longer texts are no ids of ours.
const ID_BYTES_MAX: usize = 64;
/// How often owners without tasks are looked for, while tasks are created.
const FORGET_INTERVAL: Duration = Duration::from_secs(10);
/// The owner of what belongs to nobody in particular.
const ANYBODY: u128 = 0;
/// How often a record that somebody else changes is read again.
const READS_MAX: usize = 3;

/// What a handler that ran as a task came to: the reply, and whether it is a tool's failure.
pub type Ran = Result<(Reply, bool), ErrorObject>;

/// The tasks of a server.
pub struct Tasks {
    store: Arc<dyn SessionStore>,
    options: TaskOptions,
    questions: QuestionLimits,
    progress_per_s: u32,
    changes: Changes,
    /// Names this process in records.
    runner: u128,
    clock: Clock,
    live: Mutex<HashMap<u128, Arc<Live>>>,
    owners: Mutex<Owners>,
    forgot_at: Mutex<Option<Timestamp>>,
    cursors: Cursors,
    page_size: usize,
}

/// The tasks of each owner that was looked up: key of the record, and when it expires.
type Owners = HashMap<u128, BTreeMap<u128, Timestamp>>;

/// A task that somebody asked for.
enum Found {
    /// It runs in this process.
    Live(Arc<Live>),
    /// It is over.
    Over(Box<Task>),
}

impl Tasks {
    /// The tasks of a host: where its sessions are, listed in pages of this size.
    pub(crate) fn of(
        kept: &Kept,
        options: &HostOptions,
        changes: &Changes,
        (seal, page_size): (&Seal, usize),
    ) -> Arc<Self> {
        let limits = &options.conversation;
        Arc::new(Self {
            store: kept.store.clone(),
            options: options.tasks.clone(),
            questions: QuestionLimits { open_max: limits.asks_max, all_max: limits.asks_per_call_max },
            progress_per_s: limits.progress_per_s,
            changes: changes.clone(),
            runner: u128::from_be_bytes(random()),
            clock: Clock::start(),
            live: Mutex::default(),
            owners: Mutex::default(),
            forgot_at: Mutex::default(),
            cursors: Cursors::new(seal.clone()),
            page_size,
        })
    }

    /// Declares them among what the server can do: in 2025-11-25 a part of the protocol, from 2026-07-28 on an extension.
    pub fn declare(capabilities: &mut ServerCapabilities) {
        let object = |value: Value| value.as_object().cloned().unwrap_or_default();
        let own = json!({ "list": {}, "cancel": {}, "requests": { "tools": { "call": {} } } });
        capabilities.tasks = Some(object(own));
        capabilities.extensions.get_or_insert_default().insert(TASKS_EXTENSION.to_owned(), json!({}));
    }

    /// Makes a task of `call`, kept for `ttl` within bounds, for which the future of `work` runs on: what it says and asks by
    /// the call that it is given is the task's, and it is dropped when the task is cancelled. Gives the answer to the
    /// call.
    ///
    /// # Errors
    /// What to answer instead: too many tasks, or a store that cannot keep one. Then nothing ran.
    pub async fn run<W: Future<Output = Ran> + Send + 'static>(
        self: &Arc<Self>,
        call: &Call,
        ttl: Option<Duration>,
        work: impl FnOnce(Call) -> W,
    ) -> Result<Reply, ErrorObject> {
        let created = self.create(call, ttl).await?;
        created.take_over(call);
        Ok(created.run(work(call.clone())))
    }

    /// Answers `call` with what `running` comes to; or with a task for which it runs on, if it says so by
    /// [`Call::become_task`].
    ///
    /// # Errors
    /// What `running` comes to.
    pub async fn run_late(
        self: &Arc<Self>,
        call: &Call,
        running: impl Future<Output = Ran> + Send + 'static,
    ) -> Result<Reply, ErrorObject> {
        let mut running = Box::pin(running);
        let (door, wanted) = oneshot::channel();
        call.open_door(door);
        let done = tokio::select! {
            biased;
            ran = &mut running => return ran.map(|(reply, _)| reply),
            Ok(done) = wanted => done,
        };
        match self.create(call, None).await {
            Ok(created) => {
                created.take_over(call);
                // A handler that no longer waits for it runs on all the same.
                drop(done.send(Ok(())));
                Ok(created.run(running))
            }
            Err(error) => {
                drop(done.send(Err(error)));
                running.await.map(|(reply, _)| reply)
            }
        }
    }

    /// Creates a task of `call` that is kept for `ttl`, within bounds. When this returns the task is as durable as the
    /// store promises; it is gone again unless it is run.
    ///
    /// # Errors
    /// What to answer instead: too many tasks, or a store that cannot keep one.
    async fn create(self: &Arc<Self>, call: &Call, ttl: Option<Duration>) -> Result<Created, ErrorObject> {
        let now = self.now();
        let id = format!("{:032x}", u128::from_be_bytes(random()));
        let task = Task::new(Beginning {
            owner: owner_of(call),
            revision: call.revision(),
            runner: self.runner,
            now,
            ttl: ttl.unwrap_or(self.options.ttl).clamp(TTL_MIN, self.options.ttl_max),
            poll_interval: self.options.poll_interval,
            id,
        });
        let (tasks, call) = (Arc::clone(self), call.clone());
        // Not dropped with the call: what the store is told has to be taken back if nobody hears of it.
        let creating = async move {
            tasks.reserve(&task).await?;
            let key = key_of(task.id());
            let record = Record { bytes: task.encode(), owner: task.owner(), expires_at: Some(task.expires_at()) };
            match tasks.store.write(key, record, None).await {
                Ok(rev) => {
                    let live = Live::new(&tasks, task, rev, &call);
                    tasks.live().insert(key.id, live.clone());
                    Ok(Created { live: Some(live), tasks, running: call.running() })
                }
                Err(error) => {
                    tasks.give_back(&task);
                    // It may be there all the same; then it is one that nobody knows of.
                    drop(tasks.store.delete(key, None));
                    Err(refusal(&error))
                }
            }
        };
        let created = tokio::spawn(creating.in_current_span()).await;
        created.unwrap_or_else(|_| Err(ErrorObject::internal()))
    }

    /// The task `id`, if it is the caller's and of its revision. Another's is as unknown as none.
    ///
    /// # Errors
    /// -32602 if there is none, -32000 if the store cannot say.
    async fn find(&self, id: &str, call: &Call) -> Result<Found, ErrorObject> {
        let unknown = || ErrorObject::invalid_params("no such task, or its time is over");
        if id.len() > ID_BYTES_MAX {
            return Err(unknown());
        }
        let (key, owner) = (key_of(id), owner_of(call));
        let is_theirs =
            |task: &Task| task.owner() == owner && task.revision() == call.revision() && task.expires_at() > self.now();
        let live = self.live().get(&key.id).cloned();
        if let Some(live) = live {
            let is_there = !live.is_gone() && live.with(|task| is_theirs(task));
            return if is_there { Ok(Found::Live(live)) } else { Err(unknown()) };
        }
        for _ in 0..READS_MAX {
            let Some(stored) = self.store.load(key).await.map_err(|error| refusal(&error))? else {
                return Err(unknown());
            };
            let task = read(&stored)?;
            if !is_theirs(&task) {
                return Err(unknown());
            }
            match self.over(key, task, &stored).await? {
                Some(task) => return Ok(Found::Over(Box::new(task))),
                None => continue,
            }
        }
        Err(ErrorObject::unavailable("the task is being changed; try again"))
    }

    /// The caller's tasks after the record `after`, at most `max`, and whether others follow after which record.
    ///
    /// # Errors
    /// -32000 if the store cannot say.
    async fn list(
        &self,
        call: &Call,
        after: Option<u128>,
        max: usize,
    ) -> Result<(Vec<Value>, Option<u128>), ErrorObject> {
        let (owner, now) = (owner_of(call), self.now());
        let page = self.store.list(Kind::Task, Some(owner), after, max).await.map_err(|error| refusal(&error))?;
        let next = if page.len() == max { page.last().map(|stored| stored.id) } else { None };
        let mut members = Vec::new();
        for stored in page {
            let key = Key { kind: Kind::Task, id: stored.id };
            let live = self.live().get(&key.id).cloned();
            let task = match live {
                Some(live) => Some(live.with(Task::clone)),
                None => self.listed(key, &stored).await?,
            };
            let seen = task.filter(|task| task.revision() == call.revision() && task.expires_at() > now);
            members.extend(seen.map(|task| Value::Object(task.members())));
        }
        Ok((members, next))
    }

    /// The task of a record in a list; none if it is nobody's any more, or cannot be read.
    async fn listed(&self, key: Key, stored: &Stored) -> Result<Option<Task>, ErrorObject> {
        let Ok(mut task) = read(stored) else { return Ok(None) };
        let mut stored = stored.clone();
        if !task.is_over() && task.runner() == self.runner {
            // It ended since the page was read.
            let Some(newer) = self.store.load(key).await.map_err(|error| refusal(&error))? else { return Ok(None) };
            (task, stored) = (read(&newer)?, newer);
        }
        match self.over(key, task, &stored).await {
            Err(error) if error.code == ErrorCode::Unavailable as i32 => Err(error),
            seen => Ok(seen.unwrap_or_default()),
        }
    }

    /// The time that records are written in.
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The task of a record that nobody runs here. If it did not end, who ran it is gone, and that is written down.
    /// `None` if somebody else wrote something meanwhile.
    async fn over(&self, key: Key, mut task: Task, stored: &Stored) -> Result<Option<Task>, ErrorObject> {
        if task.is_over() {
            return Ok(Some(task));
        }
        if task.runner() == self.runner {
            // Not known to anybody any more, or not yet.
            return Err(ErrorObject::invalid_params("no such task, or its time is over"));
        }
        task.interrupt(self.now());
        let record = Record { bytes: task.encode(), ..stored.record.clone() };
        match self.store.write(key, record, Some(stored.rev)).await {
            Ok(_) => Ok(Some(task)),
            Err(StoreError::Conflict { .. } | StoreError::Unknown) => Ok(None),
            Err(error) => Err(refusal(&error)),
        }
    }

    /// Counts `task` among its owner's.
    async fn reserve(&self, task: &Task) -> Result<(), ErrorObject> {
        let (owner, now) = (task.owner(), self.now());
        let (all_max, each_max) = (self.options.tasks_max, self.options.tasks_per_principal_max);
        if owner != ANYBODY && !self.owners().contains_key(&owner) {
            let known = self.store.list(Kind::Task, Some(owner), None, each_max).await;
            let known = known.map_err(|error| refusal(&error))?;
            let known =
                known.into_iter().map(|stored| (stored.id, stored.record.expires_at.unwrap_or(Timestamp(u64::MAX))));
            self.owners().entry(owner).or_default().extend(known);
        }
        let count = self.store.count(Kind::Task).await.map_err(|error| refusal(&error))?;
        // Those whose time is over count until the host has swept them.
        if count >= all_max as u64 {
            return Err(ErrorObject::unavailable("the server has no room for a task; try again later"));
        }
        // Nobody in particular is not one principal.
        if owner == ANYBODY {
            return Ok(());
        }
        self.forget_owners(now);
        let mut owners = self.owners();
        let owned = owners.entry(owner).or_default();
        owned.retain(|_, expires_at| *expires_at > now);
        if owned.len() >= each_max {
            let why = format!("you have {each_max} tasks, which is the limit: a task counts until its time is over");
            return Err(ErrorObject::unavailable(why));
        }
        owned.insert(key_of(task.id()).id, task.expires_at());
        Ok(())
    }

    fn give_back(&self, task: &Task) {
        if let Some(owned) = self.owners().get_mut(&task.owner()) {
            owned.remove(&key_of(task.id()).id);
        }
    }

    /// Forgets, at times, the owners whose tasks are all over.
    fn forget_owners(&self, now: Timestamp) {
        let mut forgot_at = self.forgot_at.lock().unwrap_or_else(PoisonError::into_inner);
        if forgot_at.is_some_and(|at| now.since(at) < FORGET_INTERVAL) {
            return;
        }
        *forgot_at = Some(now);
        drop(forgot_at);
        self.owners().retain(|_, owned| {
            owned.retain(|_, expires_at| *expires_at > now);
            !owned.is_empty()
        });
    }

    /// Forgets the tasks of a session of nobody in particular that is over, by its [`Call::session_key`]: nobody can come for them any more. What runs
    /// is stopped.
    pub fn forget(&self, session: u128) {
        let owned = self.owners().remove(&owner_by_session(session)).unwrap_or_default();
        for id in owned.into_keys() {
            let live = self.live().get(&id).cloned();
            match live {
                Some(live) if live.abandon(self.now()) => self.discard(&live),
                _ => drop(self.store.delete(Key { kind: Kind::Task, id }, None)),
            }
        }
    }

    /// Forgets a task that nobody was told of, or whose time is over.
    fn discard(&self, live: &Live) {
        let (key, task) = live.with(|task| (key_of(task.id()), task.clone()));
        self.live().remove(&key.id);
        self.give_back(&task);
        drop(self.store.delete(key, None));
    }

    fn live(&self) -> MutexGuard<'_, HashMap<u128, Arc<Live>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn owners(&self) -> MutexGuard<'_, Owners> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a task that ran came to, within what may be kept.
    fn outcome(&self, ran: Ran) -> Outcome {
        let outcome = match ran {
            Ok((reply, is_error)) => {
                Outcome::reply(&reply, is_error).unwrap_or(Outcome::Error(ErrorObject::internal()))
            }
            Err(error) => Outcome::Error(error),
        };
        let most = self.options.result_bytes_max;
        if outcome.bytes() <= most {
            return outcome;
        }
        let why = format!("the task's result has more than the {most} bytes that are kept of one");
        Outcome::Error(ErrorObject::new(ErrorCode::InternalError, why))
    }
}

/// A task that was created and waits to be run. Dropped instead, it is taken back.
struct Created {
    live: Option<Arc<Live>>,
    tasks: Arc<Tasks>,
    running: Option<Running>,
}

impl Created {
    /// Puts the task in the place of its call's conversation, so that what the handler says and asks is the task's.
    fn take_over(&self, call: &Call) {
        if let Some(live) = &self.live {
            call.detach(live.clone());
        }
    }

    /// Runs `handler` detached, and gives what its request is answered with.
    fn run(mut self, handler: impl Future<Output = Ran> + Send + 'static) -> Reply {
        let live = self.live.take().expect("it is taken here only, and this takes all of it");
        let (tasks, running) = (self.tasks.clone(), self.running.take());
        let reply = live.with(created);
        let ends_at = tasks.clock.instant(live.with(Task::expires_at));
        let work = async move {
            let _running = running;
            tokio::select! {
                biased;
                // Either it came to an end, or nobody heard of it.
                () = live.cancelled() => if live.abandon(tasks.now()) { tasks.discard(&live) },
                () = tokio::time::sleep_until(ends_at) => if live.abandon(tasks.now()) { tasks.discard(&live) },
                ran = AssertUnwindSafe(handler).catch_unwind() => {
                    let ran = ran.unwrap_or_else(|panic| {
                        let why = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
                        tracing::error!(why, "a handler panicked");
                        Err(ErrorObject::internal())
                    });
                    live.settle(tasks.outcome(ran));
                }
            }
        };
        tokio::spawn(work.in_current_span());
        reply
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        if let Some(live) = self.live.take()
            && live.abandon(self.tasks.now())
        {
            self.tasks.discard(&live);
        }
    }
}

/// The answer to a request that became a task.
fn created(task: &Task) -> Reply {
    let members = Value::Object(task.members());
    if task.revision().rules().tasks_extension {
        return Reply { body: members.to_string().into(), kind: ReplyKind::Task, ..Reply::default() };
    }
    let body = json!({ "task": members }).to_string().into();
    Reply { body, meta: Some(related(task.id())), ..Reply::default() }
}

/// The `_meta` that says which task a message belongs to (2025-11-25).
fn related(id: &str) -> Meta {
    [(RELATED_TASK.to_owned(), json!({ "taskId": id }))].into_iter().collect()
}

fn key_of(id: &str) -> Key {
    Key { kind: Kind::Task, id: hash("task", id.as_bytes()) }
}

/// Whose the tasks of `call` are: the subject's, or, where there is none, the session's.
fn owner_of(call: &Call) -> u128 {
    match (call.principal().subject(), call.binding()) {
        (subject @ Some(_), _) => owner(subject),
        (None, Some(session)) => owner_by_session(session),
        (None, None) => ANYBODY,
    }
}

fn owner_by_session(session: u128) -> u128 {
    hash("owner by session", &session.to_be_bytes())
}

fn read(stored: &Stored) -> Result<Task, ErrorObject> {
    Task::decode(&stored.record.bytes, stored.record.owner).map_err(|why| {
        tracing::error!(why, "the record of a task cannot be read");
        ErrorObject::internal()
    })
}

/// What a client is told of a store that failed.
fn refusal(error: &StoreError) -> ErrorObject {
    tracing::error!(%error, "the store of tasks failed");
    ErrorObject::outage("the server cannot read or keep tasks now; try again later")
}
