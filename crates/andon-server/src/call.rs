//! The handle of one call in flight: what its handler knows, and what it may do.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use andon_core::facts::{Facts, undeclared};
use andon_core::io::{AskError, AskId, CallId, Input};
use andon_types::capability::ClientCapabilities;
use andon_types::client::InputRequest;
use andon_types::error::ErrorObject;
use andon_types::message::Json;
use andon_types::meta::{Implementation, Level, Meta};
use andon_types::revision::{Revision, Rules};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use crate::cancel::Cancel;
use crate::conversation::Conversation;
use crate::host::Running;
use crate::principal::Principal;

/// One call in flight. Cheap to clone; may be kept after the call is over, and then does nothing.
#[derive(Clone)]
pub struct Call(Arc<Inner>);

struct Inner {
    id: CallId,
    facts: Arc<Facts>,
    principal: Principal,
    session: Option<SessionRef>,
    conversation: Arc<dyn Conversation>,
    /// The task that the call became; from then on its conversation.
    task: OnceLock<Arc<dyn Conversation>>,
    /// By which the handler makes it a task, where it may.
    door: Mutex<Option<Door>>,
    cancel: Cancel,
    next_key: AtomicU64,
    known: Mutex<Known>,
}

/// What a call knows of its earlier runs (2026-07-28).
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// What the client has answered, by question. Part of it may have come with this request, as the client likes.
    pub(crate) answers: BTreeMap<String, Json>,
    /// What the handler kept. It comes from nowhere but the seal.
    pub(crate) kept: BTreeMap<String, Json>,
}

/// Through it a handler asks for its call to become a task; what comes back is whether it did.
pub(crate) type Door = oneshot::Sender<oneshot::Sender<Result<(), ErrorObject>>>;

/// Names a session to handlers and logs, without being the secret that opens it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionRef(pub(crate) u64);

impl std::fmt::Display for SessionRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "s{}", self.0)
    }
}

/// Speaks to a session outside of its calls, as long as it lasts. To a client of 2026-07-28, which has no session, it says
/// nothing. Cheap to clone.
#[derive(Clone)]
pub struct Voice(Weak<dyn Conversation>);

impl Voice {
    /// Logs to the client, if `level` is at least what it asked for and it listens.
    pub fn log<T: Serialize + ?Sized>(&self, level: Level, logger: Option<&str>, data: &T) {
        let mut params = Map::from_iter([("level".to_owned(), json!(level)), ("data".to_owned(), json!(data))]);
        if let Some(logger) = logger {
            params.insert("logger".to_owned(), logger.into());
        }
        self.say("notifications/message", params, Some(level));
    }

    /// The person has done what the elicitation by URL with this id asked for (2025-11-25, "Elicitation").
    pub fn elicitation_complete(&self, id: &str) {
        let params = Map::from_iter([("elicitationId".to_owned(), id.into())]);
        self.say("notifications/elicitation/complete", params, None);
    }

    fn say(&self, method: &'static str, params: Map<String, Value>, level: Option<Level>) {
        if let Some(conversation) = self.0.upgrade() {
            conversation.input(Input::Notify { method, params: Value::Object(params).to_string(), level });
        }
    }
}

impl Call {
    pub(crate) fn new(
        (id, facts): (CallId, Arc<Facts>),
        principal: Principal,
        session: Option<SessionRef>,
        conversation: Arc<dyn Conversation>,
        cancel: Cancel,
        known: Known,
    ) -> Self {
        let known = Mutex::new(known);
        let next_key = AtomicU64::new(0);
        let (task, door) = (OnceLock::new(), Mutex::default());
        Self(Arc::new(Inner { id, facts, principal, session, conversation, task, door, cancel, next_key, known }))
    }

    /// The revision that the answer is shaped by.
    pub fn revision(&self) -> Revision {
        self.0.facts.revision
    }

    /// What that revision has.
    pub fn rules(&self) -> &'static Rules {
        self.revision().rules()
    }

    /// Who calls.
    pub fn principal(&self) -> &Principal {
        &self.0.principal
    }

    /// The session; `None` in the modern era, which has none.
    pub fn session(&self) -> Option<SessionRef> {
        self.0.session
    }

    /// What [`Service::session_ended`](crate::service::Service::session_ended) calls the session by: the hash of its id,
    /// which is the same in the process that comes next, or a number where sessions have no ids, as over stdio. `None` in
    /// the modern era, which has no sessions.
    pub fn session_key(&self) -> Option<u128> {
        let SessionRef(number) = self.0.session?;
        Some(self.binding().unwrap_or(u128::from(number)))
    }

    /// The canonical URIs of the resources that the session is subscribed to, from before a restart too. None in the
    /// modern era, where a subscription is a request of its own.
    pub fn subscriptions(&self) -> Vec<Arc<str>> {
        self.0.conversation.subscriptions()
    }

    /// What speaks to the session when the call is over.
    pub fn voice(&self) -> Voice {
        Voice(Arc::downgrade(&self.0.conversation))
    }

    /// What the client declares.
    pub fn client_capabilities(&self) -> &ClientCapabilities {
        &self.0.facts.client.capabilities
    }

    /// The client's name and version, as it says.
    pub fn client_info(&self) -> Option<&Implementation> {
        self.0.facts.client.info.as_ref()
    }

    /// The request's `_meta`.
    pub fn meta(&self) -> Option<&Meta> {
        self.0.facts.meta.get()
    }

    /// The names of the members of the request's `_meta` and the text of their values, as they came.
    pub fn meta_members(&self) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
        self.0.facts.meta.members()
    }

    /// Reports progress, if the request asked for it. Has to increase; at most 10 a second are sent, and always the
    /// last. Extends the call's time up to its hard maximum.
    pub fn progress(&self, progress: f64, total: Option<f64>, message: Option<String>) {
        self.input(Input::Progress { call: self.0.id, progress, total, message });
    }

    /// Waits while half of what may wait for the client does. A client that takes nothing of it for
    /// [`slow_reader_timeout`](crate::options::HostOptions::slow_reader_timeout) loses its connection, and the call goes on
    /// as its era has it: in a session, and what it says is kept.
    pub async fn ready(&self) {
        if let Some(outlet) = self.place().outlet_of(self.0.id) {
            outlet.ready_or_cut().await;
        }
    }

    /// Logs to the client, if `level` is at least what it asked for. At most 50 a second are sent.
    pub fn log<T: Serialize + ?Sized>(&self, level: Level, logger: Option<&str>, data: &T) {
        if let Ok(data) = Json::of(data) {
            self.input(Input::Log { call: self.0.id, level, logger: logger.map(Into::into), data });
        }
    }

    /// Whether the client declares what `request` needs.
    ///
    /// # Errors
    /// [`AskError::NotDeclared`] with what it would have to declare.
    pub fn require(&self, request: &InputRequest) -> Result<(), AskError> {
        undeclared(self.client_capabilities(), request).map_or(Ok(()), |required| Err(AskError::NotDeclared(required)))
    }

    /// Asks the client. In the legacy era the handler waits here; in the modern era the call ends with
    /// `input_required`, and the handler runs again from its beginning with the answers: what it does before a
    /// question must bear repetition. `key` names the question across runs; without, its ordinal does.
    ///
    /// # Errors
    /// See [`AskError`].
    pub fn ask(
        &self,
        key: Option<&str>,
        request: InputRequest,
        timeout: Option<Duration>,
    ) -> impl Future<Output = Result<Json, AskError>> + Send + use<> {
        let ordinal = self.0.next_key.fetch_add(1, Ordering::Relaxed) + 1;
        let key: Box<str> = key.map_or_else(|| format!("ask-{ordinal}").into(), Into::into);
        let call = self.clone();
        async move {
            if let Some(answer) = call.answer(&key) {
                return Ok(answer);
            }
            let (ask, answer) = call.place().expect_answer();
            let abandon = Abandon { call: &call, ask };
            call.input(Input::Ask { call: call.0.id, ask, key, request, timeout });
            let outcome = answer.await.unwrap_or(Err(AskError::Cancelled));
            std::mem::forget(abandon);
            outcome
        }
    }

    /// What the client has answered to the question with this key, in this run of the call or an earlier one (2026-07-28).
    pub fn answer(&self, key: &str) -> Option<Json> {
        self.known().answers.get(key).cloned()
    }

    /// Forgets the answer to `key`, so that asking again puts the question again.
    pub fn forget_answer(&self, key: &str) {
        self.known().answers.remove(key);
    }

    /// Keeps `value` under `key` for the runs of this call that bring answers (2026-07-28); with the client, sealed.
    pub fn remember(&self, key: impl Into<String>, value: Json) {
        self.known().kept.insert(key.into(), value);
    }

    /// What an earlier run of this call kept under `key`, or this one.
    pub fn recall(&self, key: &str) -> Option<Json> {
        self.known().kept.get(key).cloned()
    }

    /// Keeps nothing under `key` any more.
    pub fn forget(&self, key: &str) {
        self.known().kept.remove(key);
    }

    /// Waits until nobody waits for the answer any more.
    pub async fn cancelled(&self) {
        self.0.cancel.cancelled().await;
    }

    /// Whether nobody waits for the answer any more.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancel.is_cancelled()
    }

    /// Ends the connection, not the stream: the client comes back after `retry_ms` and gets the answer then
    /// (2025-11-25). Elsewhere nothing happens.
    pub fn close_stream(&self, retry_ms: u32) {
        self.input(Input::CloseConnection { call: self.0.id, retry_ms });
    }

    /// Gives the call `timeout` from now, within its hard maximum.
    pub fn set_timeout(&self, timeout: Duration) {
        self.input(Input::Extend { call: self.0.id, timeout });
    }

    /// Makes a task of the call, if its tool leaves that to the handler and the client takes tasks: it is answered
    /// with the task, and the handler runs on. Whether the call is a task now.
    ///
    /// # Errors
    /// When there is no room for a task; the call goes on as it is.
    pub async fn become_task(&self) -> Result<bool, ErrorObject> {
        let door = self.0.door.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(door) = door else { return Ok(self.is_task()) };
        let (done, is_done) = oneshot::channel();
        if door.send(done).is_err() {
            return Ok(false);
        }
        is_done.await.unwrap_or(Ok(())).map(|()| self.is_task())
    }

    /// Whether it runs as a task.
    pub fn is_task(&self) -> bool {
        self.0.task.get().is_some()
    }

    /// Where it was sent.
    pub(crate) fn conversation(&self) -> &Arc<dyn Conversation> {
        &self.0.conversation
    }

    pub(crate) fn id(&self) -> CallId {
        self.0.id
    }

    pub(crate) fn facts(&self) -> &Arc<Facts> {
        &self.0.facts
    }

    pub(crate) fn binding(&self) -> Option<u128> {
        self.0.conversation.binding()
    }

    pub(crate) fn running(&self) -> Option<Running> {
        self.0.conversation.running()
    }

    /// Leaves it to the handler to make a task of the call, through the other end of `door`.
    pub(crate) fn open_door(&self, door: Door) {
        *self.0.door.lock().unwrap_or_else(PoisonError::into_inner) = Some(door);
    }

    /// From now on what the handler says and asks is for `task`.
    pub(crate) fn detach(&self, task: Arc<dyn Conversation>) {
        self.0.task.get_or_init(|| task);
    }

    fn place(&self) -> &Arc<dyn Conversation> {
        self.0.task.get().unwrap_or(&self.0.conversation)
    }

    pub(crate) fn cancel_token(&self) -> &Cancel {
        &self.0.cancel
    }

    pub(crate) fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn input(&self, input: Input) {
        self.place().input(input);
    }
}

/// A handler that drops its question withdraws it.
struct Abandon<'a> {
    call: &'a Call,
    ask: AskId,
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        self.call.place().forget_answer(self.ask);
        self.call.input(Input::Abandon { ask: self.ask });
    }
}
