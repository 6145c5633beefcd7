//! One conversation with a server: kept alive by a task of its own, used by the calls of those who share it.

mod attend;
mod calls;
mod questions;
mod traffic;
mod watches;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use andon_client::Client;
use andon_server::call::{Call, Voice};
use andon_server::change::Audience;
use andon_types::capability::{ClientCapabilities, Settings as Capabilities};
use andon_types::error::ErrorObject;
use andon_types::message::Json;
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::flight::lock;
use crate::pins::Vetted;
use crate::upstream::Upstream;
use crate::viewer::Viewer;
use traffic::Traffic;
use watches::Watch;

pub(crate) use calls::{Outgoing, TaskWish};
pub(crate) use traffic::{Reserved, Sharing};

/// How long a call waits for a server that is starting, if that may take so long: many clients give up after 60 s.
const START_WAIT: Duration = Duration::from_secs(45);
/// How long a call waits for a server that is being restarted.
const RESTART_WAIT: Duration = Duration::from_secs(5);

/// Who shares a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// Everybody.
    Shared,
    /// One session of the endpoint with this number, by its key.
    Session(u64, u128),
    /// One principal; `None` is nobody in particular.
    Principal(Option<Arc<str>>),
    /// Calls that stand alone (2026-07-28), one at a time; the number tells those of a principal apart.
    Alone(Option<Arc<str>>, usize),
}

impl Key {
    /// Who hears what is said in the conversation.
    pub(crate) fn audience(&self) -> Audience {
        match self {
            Self::Shared => Audience::All,
            Self::Session(_, key) => Audience::Session(*key),
            Self::Principal(subject) => Audience::Principal(subject.clone()),
            Self::Alone(subject, _) => Audience::Alone(subject.clone()),
        }
    }

    /// Whether somebody at the endpoint with this number may be among them.
    pub(crate) fn is_at(&self, endpoint: u64) -> bool {
        !matches!(self, Self::Session(own, _) if *own != endpoint)
    }
}

/// Where a conversation is.
#[derive(Clone)]
pub(crate) enum Phase {
    /// It is being opened.
    Starting,
    /// Calls can be made.
    Ready(Ready),
    /// It ended, and is opened again soon.
    Waiting(Arc<str>),
    /// It ends again and again, and rests.
    Parked(Arc<str>),
    /// Nobody needs it any more.
    Ended,
}

/// What calls need.
#[derive(Clone)]
pub(crate) struct Ready {
    pub(crate) client: Client,
    pub(crate) catalogue: Arc<Vetted>,
}

/// What the server has heard of changes of roots.
#[derive(Default)]
struct News {
    /// There was one that it is not being told of.
    is_stale: bool,
    /// It is being told, by one task. That of one session also until what it asks then is answered.
    is_being_told: bool,
}

pub(crate) struct Instance {
    pub(crate) key: Key,
    pub(crate) upstream: Arc<Upstream>,
    /// Whose it is, if it is not everybody's.
    pub(crate) viewer: Option<Viewer>,
    /// What the server is told that its client can do.
    capabilities: ClientCapabilities,
    phase: watch::Sender<Phase>,
    since: Mutex<Instant>,
    ending: watch::Sender<bool>,
    /// It is to be opened again without waiting.
    wanted_now: Notify,
    task: Mutex<Option<JoinHandle<()>>>,
    traffic: Mutex<Traffic>,
    /// What the server was told last that the client of a call can do, and what of it.
    declared: Mutex<Option<(ClientCapabilities, Json)>>,
    watches: Mutex<HashMap<String, Watch>>,
    /// Of the session that has the conversation to itself.
    owner: Mutex<Option<Voice>>,
    /// What that session has opened to its servers; false while it is being asked.
    roots: watch::Sender<(bool, Option<Value>)>,
    roots_news: watch::Sender<News>,
    /// Questions of the server for roots that are not answered yet.
    roots_asked: watch::Sender<usize>,
    /// A list was given without it, before it was there.
    was_missed: AtomicBool,
    /// It did not start when it was tried last.
    has_failed: AtomicBool,
}

impl Instance {
    /// Begins the conversation. `opener` is the call that needs it, if one does.
    pub(crate) fn start(key: Key, upstream: Arc<Upstream>, opener: Option<&Call>) -> Arc<Self> {
        let (capabilities, owner) = match (&key, opener) {
            (Key::Session(..), Some(call)) => (bridged(call.client_capabilities()), Some(call.voice())),
            _ => (everything(), None),
        };
        let viewer = match (&key, opener) {
            (Key::Session(endpoint, _), Some(call)) => Some(Viewer::calling(*endpoint, call)),
            (Key::Principal(subject) | Key::Alone(subject, _), _) => Some(Viewer::alone(subject.as_deref())),
            _ => None,
        };
        let instance = Self::new((key, viewer), upstream, capabilities, owner);
        if let (Key::Session(..), Some(call)) = (&instance.key, opener) {
            instance.ask_for_roots(call);
        }
        instance.supervised()
    }

    /// Begins a conversation with `upstream` for those whose conversation with the server before it was `before`.
    pub(crate) fn follow(before: &Self, upstream: Arc<Upstream>) -> Arc<Self> {
        let (whose, owner) = ((before.key.clone(), before.viewer.clone()), lock(&before.owner).clone());
        let instance = Self::new(whose, upstream, before.capabilities.clone(), owner);
        let roots = before.roots.borrow().1.clone();
        instance.roots.send_replace((true, roots));
        instance.supervised()
    }

    fn new(
        (key, viewer): (Key, Option<Viewer>),
        upstream: Arc<Upstream>,
        capabilities: ClientCapabilities,
        owner: Option<Voice>,
    ) -> Arc<Self> {
        Arc::new(Self {
            key,
            upstream,
            viewer,
            capabilities,
            phase: watch::Sender::new(Phase::Starting),
            since: Mutex::new(Instant::now()),
            ending: watch::Sender::new(false),
            wanted_now: Notify::new(),
            task: Mutex::default(),
            traffic: Mutex::default(),
            declared: Mutex::default(),
            watches: Mutex::default(),
            owner: Mutex::new(owner),
            roots: watch::Sender::new((true, None)),
            roots_news: watch::Sender::default(),
            roots_asked: watch::Sender::new(0),
            was_missed: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
        })
    }

    fn supervised(self: Arc<Self>) -> Arc<Self> {
        self.touch();
        let task = tokio::spawn(attend::supervise(self.clone()));
        *lock(&self.task) = Some(task);
        self
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    /// What calls need, if they can be made now.
    pub(crate) fn ready_now(&self) -> Option<Ready> {
        match &*self.phase.borrow() {
            Phase::Ready(ready) => Some(ready.clone()),
            _ => None,
        }
    }

    /// How long it has been in its phase.
    pub(crate) fn since(&self) -> Duration {
        lock(&self.since).elapsed()
    }

    /// Waits until calls can be made: as long as the server may take to start and clients wait, or a moment for one that is
    /// restarted.
    ///
    /// # Errors
    /// What to tell the client.
    pub(crate) async fn ready(&self) -> Result<Ready, ErrorObject> {
        if let Some(ready) = self.ready_now() {
            return Ok(ready);
        }
        let name = &self.upstream.name;
        let starting = Instant::now() + self.upstream.settings().start_timeout.min(START_WAIT);
        let restarting = Instant::now() + RESTART_WAIT;
        let mut phases = self.phase.subscribe();
        loop {
            let phase = phases.borrow_and_update().clone();
            let (deadline, why) = match phase {
                Phase::Ready(ready) => return Ok(ready),
                Phase::Starting => (starting, format!("the server {name:?} is still starting")),
                Phase::Waiting(why) if self.upstream.place.is_child() => {
                    (restarting, format!("the server {name:?} ended and is being restarted: {}", without_words(&why)))
                }
                Phase::Waiting(why) => {
                    (restarting, format!("the server {name:?} is tried again soon: {}", without_words(&why)))
                }
                Phase::Parked(why) => {
                    let why = format!("the server {name:?} ends again and again, and rests: {}", without_words(&why));
                    return Err(ErrorObject::unavailable(why));
                }
                Phase::Ended => {
                    return Err(ErrorObject::unavailable(format!("the server {name:?} was ended: call it again")));
                }
            };
            match tokio::time::timeout_at(deadline, phases.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(ErrorObject::unavailable(why)),
            }
        }
    }

    /// The catalogue, once there is one; waits only for a server that is starting for the first time or was there before, and no
    /// longer than until it has been starting for `most`.
    pub(crate) async fn listed(&self, most: Duration) -> Option<Arc<Vetted>> {
        if let Some(ready) = self.ready_now() {
            return Some(ready.catalogue);
        }
        // It would hold up every list of everybody each time that it is tried again.
        let most = if self.has_failed.load(Ordering::SeqCst) { Duration::ZERO } else { most };
        let mut phases = self.phase.subscribe();
        let started = phases.wait_for(|phase| !matches!(phase, Phase::Starting));
        drop(tokio::time::timeout(most.saturating_sub(self.since()), started).await);
        // Before the last look: one that is there from then on says so.
        self.was_missed.store(true, Ordering::SeqCst);
        self.ready_now().map(|ready| ready.catalogue)
    }

    /// Whether somebody was given a list without it.
    pub(crate) fn was_missed(&self) -> bool {
        self.was_missed.load(Ordering::SeqCst)
    }

    /// Whether what the server asks always says for which call.
    pub(crate) fn says_whose(&self) -> bool {
        match &*self.phase.borrow() {
            Phase::Ready(ready) => ready.client.revision().is_some_and(|revision| !revision.rules().server_requests),
            _ => false,
        }
    }

    /// Ends the conversation, and waits until its process is gone.
    pub(crate) async fn end(&self) {
        self.ending.send_replace(true);
        let task = lock(&self.task).take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(server = &*self.upstream.name, %error, "a supervisor failed");
        }
    }

    /// If it waits until it is opened again, it need not wait any longer.
    pub(crate) fn try_again(&self) {
        self.wanted_now.notify_waiters();
    }

    /// Ends the conversation without waiting.
    pub(crate) fn end_soon(&self) {
        self.ending.send_replace(true);
    }

    pub(crate) fn is_ending(&self) -> bool {
        *self.ending.borrow()
    }

    /// Returns when the conversation is to end.
    async fn is_to_end(&self) {
        let mut ending = self.ending.subscribe();
        // The sender lives as long as the instance.
        drop(ending.wait_for(|ending| *ending).await);
    }

    fn set(&self, phase: Phase) {
        *lock(&self.since) = Instant::now();
        self.phase.send_replace(phase);
    }
}

/// What is for the operator only, of why a server ended: what it wrote to its standard error, and what to do about it.
const FOR_THE_OPERATOR: [&str; 2] = [attend::LAST_WORDS, attend::LOG_IN];

/// Why a server ended, as clients may know it.
pub(crate) fn without_words(why: &str) -> &str {
    FOR_THE_OPERATOR.iter().fold(why, |why, mark| why.split(mark).next().unwrap_or(why))
}

/// Of what a client can do, that which is passed on: tasks and extensions are not.
fn bridged(capabilities: &ClientCapabilities) -> ClientCapabilities {
    ClientCapabilities { extensions: None, other: Map::new(), ..capabilities.clone() }
}

/// A server that many share is told that its client can do everything; whether the client of a call can is found out
/// when it is asked.
fn everything() -> ClientCapabilities {
    let settings = |value: Value| -> Option<Capabilities> { value.as_object().cloned() };
    ClientCapabilities {
        roots: settings(json!({ "listChanged": true })),
        sampling: settings(json!({ "tools": {}, "context": {} })),
        elicitation: settings(json!({ "form": {}, "url": {} })),
        extensions: None,
        other: Map::new(),
    }
}
