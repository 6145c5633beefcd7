//! The calls over one conversation: which of them a question or a log of the server belongs to.
//!
//! Over HTTP a server says so. Over stdio servers of older revisions do not: then it belongs to the call that is open, if
//! all open calls are of one client, and to nobody else.

#[cfg(test)]
mod tests;

use std::collections::{HashSet, VecDeque};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use andon_client::{Client, Error, Listen, Listening, Options, Question, Task};
use andon_core::ascending::Ascending;
use andon_server::call::{Call, Voice};
use andon_types::capability::ClientCapabilities;
use andon_types::client::InputRequest;
use andon_types::error::ErrorObject;
use andon_types::message::Json;
use andon_types::meta::{LOG_LEVEL, Level, RELATED_TASK};
use andon_types::method::Method;
use andon_types::raw_object::RawObject;
use andon_types::revision::{Era, Revision};
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Instance, Key, Phase, Ready, bridged};
use crate::flight::{Asked, Flight, Held, Inbox, Line, lock};
use crate::upstream::Admission;

/// What is asked for of a server's log where sessions filter by themselves.
static EVERYTHING: LazyLock<Arc<RawObject>> = LazyLock::new(|| {
    let mut meta = RawObject::default();
    meta.put(LOG_LEVEL, json!(Level::Debug));
    Arc::new(meta)
});

/// How long a call that was given up may still be what a server speaks of, since the server has heard of that: it has
/// answered a ping that was sent after the cancellation.
const GHOST_FOR: Duration = Duration::from_secs(2);
/// How long a call that was given up may still be answered with a task. Its server hears of that only then.
const ANSWER_GRACE: Duration = Duration::from_secs(3);
/// How often it is looked whether the server can have heard of a call that was given up.
const GHOST_LOOK: Duration = Duration::from_millis(100);
/// How often a client is asked for its roots, by calls that end before it has answered.
const ROOTS_ATTEMPTS: usize = 4;
/// How long a server may take to cancel a task.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);
/// Elicitations by URL that may be completed later.
const VISITS_MAX: usize = 256;
/// Resources of one conversation that are watched.
const WATCHES_MAX: usize = 1_000;

/// One client of a conversation, as far as calls can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Caller {
    /// The endpoint, and the key of the session.
    Session(u64, u128),
    /// Calls of 2026-07-28 stand alone, except that a principal is the same person each time.
    Principal(String),
    /// One call of nobody in particular.
    Alone(u64),
    /// The conversation is this client's own.
    Owner,
}

#[derive(Default)]
pub(super) struct Traffic {
    last: u64,
    open: Ascending<u64, Open>,
    /// Calls that wait until they can be made.
    reserved: usize,
    /// What is no call and waits for it.
    awaited: usize,
    /// Calls that nobody waits for any more, and of which the server may not know yet: of each caller the last, and those
    /// that are still being sent.
    ghosts: Vec<Ghost>,
    /// They are being laid, by one task at most.
    is_laying: bool,
    used_at: Option<Instant>,
    /// A call ran out of time, or a ping, and nothing was answered since.
    is_silent: bool,
    /// Elicitations by URL, and who was asked.
    visits: VecDeque<(String, Voice)>,
}

/// A call that was given up.
struct Ghost {
    caller: Caller,
    number: u64,
    sending: Weak<Sending>,
}

/// Kept for as long as a call that was given up is not cancelled yet.
struct Sending;

impl Ghost {
    fn is_cancelled(&self) -> bool {
        self.sending.strong_count() == 0
    }
}

struct Open {
    caller: Caller,
    line: Arc<Line>,
    questions: Arc<Inbox>,
    /// What its server calls the task that it became.
    task: Option<String>,
    /// Questions of its server that wait for its client: meanwhile the server has nothing to do for it.
    asking: Arc<AtomicUsize>,
}

/// A question that waits for the client of a call, until it is dropped.
struct Asking(Arc<AtomicUsize>);

impl Asking {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Who hears of changes of one resource.
#[derive(Default)]
pub(super) struct Watch {
    /// None while it is being made again.
    listening: Option<Listening>,
    /// Endpoints, and what the resource is called there.
    names: HashSet<(u64, String)>,
}

impl Watch {
    fn is_wanted(&self) -> bool {
        !self.names.is_empty()
    }
}

/// A request on its way out.
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    /// Without `_meta`, and as the server knows them.
    pub(crate) params: Arc<RawObject>,
    pub(crate) task: TaskWish,
}

/// Whether a server is to make a task of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum TaskWish {
    #[default]
    No,
    /// Only if it would not serve it otherwise.
    IfRefused,
    /// If it can, to be kept for as long as this where it heeds that.
    Yes(Option<Duration>),
}

impl Instance {
    /// Makes a call for `call` of the endpoint with the number `endpoint`.
    pub(crate) fn fly(
        self: &Arc<Self>,
        ready: &Ready,
        (call, endpoint): (&Call, u64),
        outgoing: Outgoing,
        admission: Admission,
    ) -> Flight {
        let line = Arc::new(Line::default());
        let questions = Arc::<Inbox>::default();
        let id = {
            let mut traffic = lock(&self.traffic);
            traffic.last += 1;
            let id = traffic.last;
            let caller = match (&self.key, call.session_key()) {
                (Key::Session(..), _) => Caller::Owner,
                _ if self.upstream.has_one_client() => Caller::Owner,
                (_, Some(session)) => Caller::Session(endpoint, session),
                (_, None) => match call.principal().subject() {
                    Some(subject) => Caller::Principal(subject.to_owned()),
                    None => Caller::Alone(id),
                },
            };
            let open =
                Open { caller, line: line.clone(), questions: questions.clone(), task: None, asking: Arc::default() };
            traffic.open.push(id, open);
            id
        };
        if matches!(self.key, Key::Session(..)) {
            // A session that rested has another one.
            *lock(&self.owner) = Some(call.voice());
        }
        // Their server asks when it hears of it, and this call can be asked.
        self.tell_of_roots(call);
        let revision = ready.client.revision().unwrap_or(call.revision());
        let options = self.options(call, id, &line, revision);
        let sending = matches!(outgoing.task, TaskWish::Yes(_)).then(|| Arc::new(Sending));
        let still_sending = sending.as_ref().map(Arc::downgrade).unwrap_or_default();
        let held =
            Aboard { instance: self.clone(), id, has_arrived: false, was_silent: None, still_sending, admission };
        let (client, me) = (ready.client.clone(), Arc::downgrade(self));
        let to_task = line.clone();
        // Two boxes: what few calls need is a large part of one.
        let outcome = match outgoing.task {
            TaskWish::Yes(ttl) => {
                let as_task = async move {
                    send_as_task(&client, (outgoing, sending), (options, ttl), (&me, id), &to_task).await
                };
                as_task.boxed()
            }
            _ => async move { send(&client, outgoing, options).await }.boxed(),
        };
        Flight::new(outcome, questions, line, revision, Box::new(held))
    }

    fn options(&self, call: &Call, id: u64, line: &Arc<Line>, revision: Revision) -> Options {
        let settings = &self.upstream.settings;
        let (reports, logs) = (line.clone(), line.clone());
        let mut options = Options::default()
            .timeout(settings.timeout)
            .timeout_max(settings.timeout_max)
            .tag(id)
            .on_progress(move |report| {
                reports.with(|call| call.progress(report.progress, report.total, report.message.clone()));
            })
            .on_log(move |level, logger, data| logs.with(|call| call.log(level, logger.as_deref(), &data)));
        if revision.rules().log_level_per_request && call.session().is_some() {
            // A session filters by itself.
            options = options.all_meta(EVERYTHING.clone());
        }
        for (name, value) in call.meta_members() {
            let is_for_it = !is_ours(&name) || (name == LOG_LEVEL && revision.rules().log_level_per_request);
            // Most calls have nothing to say, so that nothing is read before.
            if let (true, Ok(value)) = (is_for_it, serde_json::from_str::<Value>(value)) {
                options = options.meta(name.into_owned(), value);
            }
        }
        if revision.era() == Era::Modern {
            // A server that asks only those who can be asked finds it out here.
            options = options.capabilities_text(self.declared(call.client_capabilities()));
        }
        options
    }

    /// What of the capabilities of a client its server is told, which most clients have in common.
    fn declared(&self, capabilities: &ClientCapabilities) -> Json {
        let mut known = lock(&self.declared);
        if let Some((of, declared)) = &*known
            && of == capabilities
        {
            return declared.clone();
        }
        let declared = Json::of(&bridged(capabilities)).expect("capabilities have string keys only");
        *known = Some((capabilities.clone(), declared.clone()));
        declared
    }

    /// Puts a question of the server to the client that it is for.
    pub(super) async fn question(&self, question: Question) -> Result<Value, ErrorObject> {
        if matches!(question.request, InputRequest::Roots(_)) {
            return Ok(self.roots(question).await);
        }
        let method = question.request.method();
        self.put(question).await.inspect_err(|error| {
            tracing::warn!(server = &*self.upstream.name, method, %error, "a question of a server has no answer");
        })
    }

    /// Servers ask for roots when they like: any call of their client will do, and what was said before is better than nothing.
    async fn roots(&self, question: Question) -> Value {
        for _ in 0..ROOTS_ATTEMPTS {
            // A call may be over before it is answered. Another one may be open.
            if let Ok(roots) = self.put(question.clone()).await {
                return roots;
            }
        }
        self.known_roots().await
    }

    async fn put(&self, mut question: Question) -> Result<Value, ErrorObject> {
        let task = related_task(&mut question.request);
        let which = if matches!(question.request, InputRequest::Roots(_)) { Which::Oldest } else { Which::Newest };
        let whose = lock(&self.traffic)
            .whose(question.tag, task.as_deref(), which)
            .map(|open| (open.questions.clone(), open.line.clone(), Asking::new(&open.asking)));
        let (questions, line, _asking) = whose.map_err(ErrorObject::invalid_request)?;
        self.note_elicitation(&question.request, &line);
        let (answer, answered) = oneshot::channel();
        let asked = Asked { request: question.request, key: question.key, round: question.round, answer };
        if questions.put(asked).is_err() {
            return Err(ErrorObject::unavailable("too many questions of one call at once, or the call is over"));
        }
        answered.await.unwrap_or_else(|_| Err(ErrorObject::invalid_request("the call that this belongs to is over")))
    }

    /// An elicitation by URL may be completed when its call is over.
    fn note_elicitation(&self, request: &InputRequest, line: &Line) {
        let id = request.params().get("elicitationId").and_then(Value::as_str).filter(|_| request.is_url());
        if let Some(id) = id {
            line.with(|call| {
                let mut traffic = lock(&self.traffic);
                if traffic.visits.len() >= VISITS_MAX {
                    traffic.visits.pop_front();
                }
                traffic.visits.push_back((id.to_owned(), call.voice()));
            });
        }
    }

    /// Tells whoever was asked to visit a page that it is done.
    pub(super) fn elicitation_complete(&self, id: &str) {
        let voice = {
            let mut traffic = lock(&self.traffic);
            let index = traffic.visits.iter().position(|(known, _)| known == id);
            index.and_then(|index| traffic.visits.remove(index))
        };
        if let Some((_, voice)) = voice {
            voice.elicitation_complete(id);
        }
    }

    /// The roots of the client changed whose session has this key, at the endpoint with this number: if it uses this
    /// conversation, its server hears of it, as soon as a call is open that can be asked for them.
    pub(crate) fn roots_changed(self: &Arc<Self>, endpoint: u64, session: u128) {
        let caller = match self.key {
            Key::Session(..) if self.key == Key::Session(endpoint, session) => Caller::Owner,
            Key::Session(..) | Key::Alone(..) => return,
            _ if self.upstream.has_one_client() => Caller::Owner,
            _ => Caller::Session(endpoint, session),
        };
        let open =
            lock(&self.traffic).open.iter().find(|(_, open)| open.caller == caller).map(|(_, open)| open.line.clone());
        // Of those who share it, only who uses it now can be asked.
        if open.is_some() || caller == Caller::Owner {
            self.roots_stale.store(true, Ordering::SeqCst);
        }
        if let Some(line) = open {
            line.with(|call| self.tell_of_roots(call));
        }
    }

    /// Passes on what the server logs without saying for whom.
    pub(super) fn log(&self, level: Level, logger: Option<&str>, data: &Value) {
        let line = lock(&self.traffic).whose(None, None, Which::Newest).ok().map(|open| open.line.clone());
        match (line, &*lock(&self.owner)) {
            (Some(line), _) => line.with(|call| call.log(level, logger, data)),
            (None, Some(owner)) => owner.log(level, logger, data),
            (None, None) => tracing::debug!(server = &*self.upstream.name, ?level, logger, %data, "a server logs"),
        }
    }

    /// Whether no call is open, and none that was given up may still be spoken of.
    pub(crate) fn is_free(&self) -> bool {
        lock(&self.traffic).is_free()
    }

    /// Reserves the conversation, which does not end for want of use then. `None` if it is ending, or a call wants it to
    /// itself and another was faster.
    pub(crate) fn reserve(self: &Arc<Self>, sharing: Sharing) -> Option<Reserved> {
        let is_shared = sharing != Sharing::Refused || !matches!(self.key, Key::Alone(..)) || self.says_whose();
        let mut traffic = lock(&self.traffic);
        if self.is_ending() || !(is_shared || traffic.is_free()) {
            return None;
        }
        let is_call = sharing != Sharing::NoCall;
        *traffic.users(is_call) += 1;
        Some(Reserved { instance: self.clone(), is_call })
    }

    /// Ends the conversation without waiting if nobody has used it for `least`. Whether it ends.
    pub(crate) fn end_if_idle(&self, least: Duration) -> bool {
        // Whoever reserves it meanwhile waits, and finds it ending.
        let traffic = lock(&self.traffic);
        let is_idle = self.idle_in(&traffic).is_some_and(|idle| idle >= least);
        if is_idle {
            self.end_soon();
        }
        is_idle
    }

    /// Waits until the server knows which calls were given up, and forgets them.
    fn lay_ghosts(self: &Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if std::mem::replace(&mut lock(&self.traffic).is_laying, true) {
            return;
        }
        let instance = Arc::downgrade(self);
        runtime.spawn(async move {
            while let Some((cancelled, client)) = instance.upgrade().and_then(|instance| instance.haunted()) {
                if cancelled.is_empty() {
                    tokio::time::sleep(GHOST_LOOK).await;
                    continue;
                }
                if let Some(client) = client {
                    // Any outcome will do: a server that answers none is ended.
                    drop(client.ping().await);
                }
                tokio::time::sleep(GHOST_FOR).await;
                let Some(instance) = instance.upgrade() else { return };
                lock(&instance.traffic).ghosts.retain(|ghost| !cancelled.contains(&ghost.number));
            }
        });
    }

    /// The calls that were given up and cancelled, and who asks its server whether it has heard. `None` if none was given
    /// up.
    fn haunted(&self) -> Option<(Vec<u64>, Option<Client>)> {
        let mut traffic = lock(&self.traffic);
        traffic.is_laying = !traffic.ghosts.is_empty();
        let cancelled = traffic.cancelled()?;
        let client = match &*self.phase.borrow() {
            Phase::Ready(ready) => Some(ready.client.clone()),
            // Another process knows nothing of them.
            _ => None,
        };
        Some((cancelled, client))
    }

    pub(crate) fn in_flight(&self) -> usize {
        lock(&self.traffic).open.len()
    }

    /// Whether its server has something to do: a call is open that does not wait for its client.
    pub(super) fn is_at_work(&self) -> bool {
        lock(&self.traffic).open.iter().any(|(_, open)| open.asking.load(Ordering::Relaxed) == 0)
    }

    /// Whether its server has answered nothing since a call ran out of time.
    pub(super) fn is_silent(&self) -> bool {
        lock(&self.traffic).is_silent
    }

    pub(super) fn set_silent(&self, is_silent: bool) {
        lock(&self.traffic).is_silent = is_silent;
    }

    /// How long nobody has used it; `None` while somebody does, or may be asked about a call that was given up.
    pub(crate) fn idle(&self) -> Option<Duration> {
        self.idle_in(&lock(&self.traffic))
    }

    fn idle_in(&self, traffic: &Traffic) -> Option<Duration> {
        let is_used = !traffic.is_free() || traffic.awaited > 0 || self.is_watching();
        if is_used { None } else { traffic.used_at.map(|at| at.elapsed()) }
    }

    pub(crate) fn touch(&self) {
        lock(&self.traffic).used_at = Some(Instant::now());
    }

    /// Hears of changes of the resource that its server calls `own`, and tells them under the name that it has at an
    /// endpoint.
    ///
    /// # Errors
    /// What the server answers.
    pub(crate) async fn watch(&self, ready: &Ready, own: &str, name: (u64, String)) -> Result<(), Error> {
        {
            let mut watches = lock(&self.watches);
            if let Some(watch) = watches.get_mut(own).filter(|watch| watch.listening.is_some()) {
                watch.names.insert(name);
                return Ok(());
            }
            if watches.len() >= WATCHES_MAX {
                watches.retain(|_, watch| watch.is_wanted());
            }
            if watches.len() >= WATCHES_MAX {
                return Err(Error::Protocol(ErrorObject::unavailable("too many resources of this server are watched")));
            }
        }
        let listening = ready.client.listen(Listen::default().uri(own)).await?;
        let mut watches = lock(&self.watches);
        let watch = watches.entry(own.to_owned()).or_default();
        watch.listening = Some(listening);
        watch.names.insert(name);
        Ok(())
    }

    /// None of its clients listens for this any more, now.
    pub(crate) fn unwatch(&self, name: &(u64, String)) {
        for watch in lock(&self.watches).values_mut() {
            watch.names.remove(name);
            if !watch.is_wanted() {
                watch.listening = None;
            }
        }
    }

    /// Whether the resource that its server calls `own` is watched under this name.
    pub(crate) fn watches(&self, own: &str, name: &(u64, String)) -> bool {
        lock(&self.watches).get(own).is_some_and(|watch| watch.listening.is_some() && watch.names.contains(name))
    }

    /// Whether any resource is watched under this name.
    pub(crate) fn watches_as(&self, name: &(u64, String)) -> bool {
        lock(&self.watches).values().any(|watch| watch.names.contains(name))
    }

    /// Whether any resource is watched.
    pub(crate) fn is_watching(&self) -> bool {
        lock(&self.watches).values().any(Watch::is_wanted)
    }

    /// The names under which a resource is watched.
    pub(super) fn watched_as(&self, own: &str) -> Vec<(u64, String)> {
        lock(&self.watches).get(own).map(|watch| watch.names.iter().cloned().collect()).unwrap_or_default()
    }

    /// Tells whoever is subscribed to something that it may have changed.
    pub(super) fn may_have_changed(&self) {
        let watched: Vec<Vec<_>> =
            lock(&self.watches).values().map(|watch| watch.names.iter().cloned().collect()).collect();
        watched.iter().for_each(|names| self.upstream.updated(&self.key, names));
    }

    /// Watches over a new connection what its clients are subscribed to, some of it since before the conversation began;
    /// what changed in between is not known, so all of it may have.
    pub(super) async fn renew_watches(&self, client: &Client) {
        let subscriptions = self.upstream.subscriptions(self);
        let watched: Vec<String> = {
            let mut watches = lock(&self.watches);
            for (own, name) in subscriptions {
                if watches.len() < WATCHES_MAX || watches.contains_key(&own) {
                    watches.entry(own).or_default().names.insert(name);
                }
            }
            watches.values_mut().for_each(|watch| watch.listening = None);
            watches.iter().filter(|(_, watch)| watch.is_wanted()).map(|(own, _)| own.clone()).collect()
        };
        for own in watched {
            match client.listen(Listen::default().uri(own.as_str())).await {
                Ok(listening) => {
                    // Its clients may have gone meanwhile.
                    if let Some(watch) = lock(&self.watches).get_mut(&own).filter(|watch| watch.is_wanted()) {
                        watch.listening = Some(listening);
                    }
                }
                Err(error) => {
                    tracing::warn!(server = &*self.upstream.name, uri = own, %error, "a subscription is lost");
                }
            }
            self.upstream.updated(&self.key, &self.watched_as(&own));
        }
    }
}

/// What Andon says for itself in the `_meta` of requests, and what names this round with the client.
fn is_ours(name: &str) -> bool {
    name == "progressToken" || name.starts_with("io.modelcontextprotocol/")
}

/// The task of a server that a question says to belong to (2025-11-25). Its id is between the server and us.
fn related_task(request: &mut InputRequest) -> Option<String> {
    let Some(Value::Object(meta)) = request.params_mut().get_mut("_meta") else { return None };
    let related = meta.shift_remove(RELATED_TASK)?;
    related.get("taskId")?.as_str().map(str::to_owned)
}

/// Makes a call of which the server may make a task: then it is waited for, by the call that it is for as well if that
/// wants a task of its own.
async fn send_as_task(
    client: &Client,
    (outgoing, sending): (Outgoing, Option<Arc<Sending>>),
    (mut options, ttl): (Options, Option<Duration>),
    (instance, id): (&Weak<Instance>, u64),
    line: &Line,
) -> Result<Json, Error> {
    options = options.taking_tasks();
    if let Some(ttl) = ttl {
        options = options.task_ttl(ttl);
    }
    let (result, watched) = created(client.clone(), (outgoing, sending), options).await?;
    let Some((task, mut watched)) = watched else { return Ok(result) };
    if let Some(instance) = instance.upgrade()
        && let Some(open) = lock(&instance.traffic).open.get_mut(id)
    {
        open.task = Some(task.id().to_owned());
    }
    line.become_task().await;
    let outcome = task.result_raw().await;
    if matches!(outcome, Ok(_) | Err(Error::Protocol(_) | Error::Cancelled)) {
        // It is over.
        watched.0 = None;
    }
    outcome
}

/// Makes a call that may be answered with a task. Only who has that answer can cancel the task, and it may be on its way
/// when this is dropped: so it is waited for a little longer. And it may be here and not taken: then the task is dropped.
async fn created(
    client: Client,
    (outgoing, until_cancelled): (Outgoing, Option<Arc<Sending>>),
    options: Options,
) -> Result<(Json, Option<(Task, Watched)>), Error> {
    let (mut answer, answered) = oneshot::channel();
    tokio::spawn(async move {
        // Dropped last: dropping what is sent cancels it.
        let _until_cancelled = until_cancelled;
        let mut sending = pin!(send(&client, outgoing, options.clone()));
        let outcome = tokio::select! {
            outcome = &mut sending => outcome,
            () = answer.closed() => match tokio::time::timeout(ANSWER_GRACE, sending).await {
                Ok(outcome) => outcome,
                Err(_) => return,
            },
        };
        let created = outcome.and_then(|result| {
            let task = client.task_in(&result, options)?;
            Ok((result, task.map(|task| (task.clone(), Watched(Some(task))))))
        });
        // Whoever gave up leaves the task to be cancelled.
        drop(answer.send(created));
    });
    answered.await.unwrap_or(Err(Error::Closed))
}

/// A task of a server. Dropped, it is cancelled: nobody comes for it any more.
struct Watched(Option<Task>);

impl Drop for Watched {
    fn drop(&mut self) {
        let (Some(task), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) else { return };
        runtime.spawn(async move {
            if let Ok(Err(error)) = tokio::time::timeout(CANCEL_TIMEOUT, task.cancel()).await {
                tracing::debug!(%error, "a task of a server could not be cancelled");
            }
        });
    }
}

async fn send(client: &Client, outgoing: Outgoing, options: Options) -> Result<Json, Error> {
    let Outgoing { method, params, .. } = outgoing;
    if method == Method::ToolsCall {
        return client.call_tool_with(params, options).await;
    }
    client.request_with(method.as_str(), params, options).await
}

impl Traffic {
    fn is_free(&self) -> bool {
        self.reserved == 0 && self.open.is_empty() && self.ghosts.is_empty()
    }

    /// How many have reserved it: calls, or others.
    fn users(&mut self, are_calls: bool) -> &mut usize {
        if are_calls { &mut self.reserved } else { &mut self.awaited }
    }

    /// The numbers of the calls that were given up and cancelled. `None` if none was given up.
    fn cancelled(&self) -> Option<Vec<u64>> {
        let cancelled = self.ghosts.iter().filter(|ghost| ghost.is_cancelled()).map(|ghost| ghost.number);
        (!self.ghosts.is_empty()).then(|| cancelled.collect())
    }

    /// A call of `caller` was given up. It is not cancelled yet while there is `sending`.
    fn haunt(&mut self, caller: Caller, sending: Weak<Sending>) {
        const GHOSTS_MAX: usize = 64;
        self.ghosts.retain(|known| known.caller != caller || !known.is_cancelled());
        if self.ghosts.len() >= GHOSTS_MAX {
            // So many others stand against whoever is asked as long as this one would.
            self.ghosts.remove(0);
        }
        self.last += 1;
        self.ghosts.push(Ghost { caller, number: self.last, sending });
    }

    /// The call that something belongs to which the server says of the call `tag`, or of `task`, or of none: `which` of those that
    /// are open.
    ///
    /// # Errors
    /// In words that go to the server.
    fn whose(&self, tag: Option<u64>, task: Option<&str>, which: Which) -> Result<&Open, &'static str> {
        if let Some(task) = task {
            let open = self.open.iter().find(|(_, open)| open.task.as_deref() == Some(task));
            return open.map(|(_, open)| open).ok_or("the task that this belongs to is over");
        }
        if let Some(tag) = tag {
            return self.open.get(tag).ok_or("the call that this belongs to is over");
        }
        // What belongs to a task says so (2025-11-25, "Associating Task-Related Messages").
        let calls = || self.open.iter().map(|(_, open)| open).filter(|open| open.task.is_none());
        let chosen = match which {
            Which::Newest => calls().next_back(),
            Which::Oldest => calls().next(),
        };
        let Some(chosen) = chosen else {
            return Err("no call is open that this could belong to, and there is nobody to ask");
        };
        let others = calls().map(|open| &open.caller).chain(self.ghosts.iter().map(|ghost| &ghost.caller));
        if others.into_iter().any(|caller| *caller != chosen.caller) {
            return Err("several clients have calls open, and this does not say which it belongs to: \
                        give each session its own server (\"mode\": \"session\")");
        }
        Ok(chosen)
    }
}

/// Which of several calls of one client.
#[derive(Debug, Clone, Copy)]
enum Which {
    /// What comes now is most likely about it.
    Newest,
    /// It has lasted, and those that last are there to be answered.
    Oldest,
}

/// Whether a call may share a conversation with others that stand alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    Accepted,
    Refused,
    /// It is no call, and no call need mind it.
    NoCall,
}

/// A conversation that somebody is about to use.
pub(crate) struct Reserved {
    pub(crate) instance: Arc<Instance>,
    is_call: bool,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut traffic = lock(&self.instance.traffic);
        // Idle from now on.
        traffic.used_at = Some(Instant::now());
        *traffic.users(self.is_call) -= 1;
    }
}

/// A call that is open, until it is dropped.
struct Aboard {
    instance: Arc<Instance>,
    id: u64,
    has_arrived: bool,
    /// Whether the server answered, if that is known.
    was_silent: Option<bool>,
    still_sending: Weak<Sending>,
    admission: Admission,
}

impl Held for Aboard {
    fn waits(&mut self) {
        self.admission.waits();
    }

    fn goes_on(&mut self) {
        self.admission.goes_on();
    }

    fn arrived(&mut self, outcome: &Result<Json, Error>) {
        self.has_arrived = true;
        self.was_silent = match outcome {
            Ok(_) | Err(Error::Protocol(_) | Error::Cancelled) => Some(false),
            Err(Error::TimedOut) => Some(true),
            Err(_) => None,
        };
        self.admission.record(outcome);
    }
}

impl Drop for Aboard {
    fn drop(&mut self) {
        let mut traffic = lock(&self.instance.traffic);
        let Some(open) = traffic.open.remove(self.id) else { return };
        traffic.is_silent = self.was_silent.unwrap_or(traffic.is_silent);
        traffic.used_at = Some(Instant::now());
        if !self.has_arrived {
            traffic.haunt(open.caller, std::mem::take(&mut self.still_sending));
            drop(traffic);
            self.instance.lay_ghosts();
        }
    }
}

/// Answers questions for as long as there is somebody who could.
pub(super) async fn answer(instance: Weak<Instance>, question: Question) -> Result<Value, ErrorObject> {
    match instance.upgrade() {
        Some(instance) => instance.question(question).await,
        None => Err(ErrorObject::unavailable("nobody is there to be asked")),
    }
}
