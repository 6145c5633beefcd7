//! Pairs messages with machines: the one object that all transports and all conversations share.

mod alone;
mod clients;
mod crowd;
pub mod durable;
mod events;
mod legacy;
mod listeners;
mod modern;
pub mod operators;
mod pipe;
mod stream;
mod table;
mod used;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError, RwLock, Weak};
use std::time::Duration;

use andon_core::descriptions::Descriptions;
use andon_core::endpoint;
use andon_core::exchange::is_task_subject;
use andon_core::io::{Input, ListKind, Timestamp};
use andon_core::offer::Offer;
use andon_core::port::{Store, StoreError};
use andon_core::update::Update;
use andon_types::encoded::Encoded;
use andon_types::error::ErrorObject;
use andon_types::message::{Body, Message, Request, RequestId, encode_error};
use andon_types::method::Method;
use andon_types::revision::{Era, Revision};
use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::alarm::Alarm;
use crate::change::{Audience, Changes, Listener};
use crate::clock::Clock;
use crate::conversation::Conversation;
use crate::error::Error;
use crate::once::{self, KeyedCalls};
use crate::options::HostOptions;
use crate::outlet::{Bounds, Ends, Outlet};
use crate::principal::Principal;
use crate::room::{Room, Share};
use crate::seal::Seal;
use crate::service::Service;
use crate::sessions::{Kept, Sessions};
use crate::storage::Storage;
use crate::tasks::Tasks;
use listeners::Listeners;

pub use andon_core::event::EventId;
pub use andon_core::io::Frame;
pub use pipe::Connection;
pub use stream::{Beginning, ResponseStream};

/// What a transport knows of a message beside its body. A header that may stand once and stands twice is refused
/// by the transport.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head<'a> {
    /// `MCP-Protocol-Version`.
    pub protocol_version: Option<&'a str>,
    /// `MCP-Session-Id`.
    pub session_id: Option<&'a str>,
    /// `Mcp-Method`.
    pub method: Option<&'a str>,
    /// `Mcp-Name`, decoded.
    pub name: Option<Cow<'a, str>>,
    /// `Idempotency-Key`, without its quotation marks.
    pub idempotency_key: Option<&'a str>,
    /// `Mcp-Param-*`: suffix as sent, value as sent.
    pub params: Vec<(&'a str, &'a str)>,
}

/// The body of a POST, and what came with it.
#[derive(Debug, Clone)]
pub struct Inbound<'a> {
    /// Headers.
    pub head: Head<'a>,
    /// Body.
    pub body: Bytes,
    /// Who sent it, checked for this very request.
    pub principal: Principal,
}

/// What to answer over HTTP.
#[derive(Debug)]
pub enum Answer {
    /// The whole answer.
    Ready {
        /// HTTP status.
        status: u16,
        /// JSON; `None` is an empty body.
        body: Option<Encoded>,
        /// `MCP-Session-Id` of a session that was just opened.
        session_id: Option<String>,
        /// `Retry-After` in seconds.
        retry_after_s: Option<u32>,
    },
    /// The sender's credentials lack a scope: 403.
    InsufficientScope {
        /// JSON.
        body: Encoded,
        /// All scopes that the request needs.
        scopes: Vec<String>,
    },
    /// The answer is on its way.
    Stream {
        /// Where it comes from.
        stream: ResponseStream,
        /// `MCP-Session-Id` of a session that was just opened.
        session_id: Option<String>,
    },
}

impl Answer {
    /// One message that is the whole answer, or none. The status says whether the sender should come back, and when.
    pub fn whole(status: u16, body: Option<Encoded>, session_id: Option<String>) -> Self {
        Self::Ready { status, body, session_id, retry_after_s: retry_after(status) }
    }

    fn empty(status: u16) -> Self {
        Self::Ready { status, body: None, session_id: None, retry_after_s: None }
    }

    /// An error that no conversation answers for. Its id is left out where it could not be read.
    pub fn error(status: u16, id: Option<&RequestId>, error: &ErrorObject) -> Self {
        let body = encode_error(id, error, Revision::LATEST.rules());
        Self::Ready { status, body: Some(body.into()), session_id: None, retry_after_s: None }
    }

    fn insufficient_scope(id: &RequestId, scopes: Vec<String>) -> Self {
        let body = encode_error(Some(id), &ErrorObject::insufficient_scope(&scopes), Revision::LATEST.rules());
        Self::InsufficientScope { body: body.into(), scopes }
    }

    fn overloaded(status: u16, id: Option<&RequestId>, why: &str) -> Self {
        let body = encode_error(id, &ErrorObject::unavailable(why), Revision::LATEST.rules());
        Self::Ready { status, body: Some(body.into()), session_id: None, retry_after_s: Some(retry_after_s()) }
    }
}

/// When somebody who was refused for want of room should come back, in seconds: 5 to 15, not the same for all, so that
/// they do not all come at once.
pub fn retry_after_s() -> u32 {
    let [random] = crate::seal::random();
    5 + u32::from(random) % 11
}

/// The same, by the status of an answer.
fn retry_after(status: u16) -> Option<u32> {
    match status {
        429 => Some(1),
        503 => Some(retry_after_s()),
        _ => None,
    }
}

/// Conversations by number.
type Subscribers = HashMap<u64, Weak<dyn Conversation>>;

/// Serves one application to all its clients.
pub struct Host {
    service: Arc<dyn Service>,
    options: HostOptions,
    limits: Arc<andon_core::limits::Limits>,
    offers: RwLock<Offers>,
    seal: Seal,
    used: Mutex<used::Used>,
    time: Clock,
    storage: Arc<Storage>,
    keyed_calls: KeyedCalls,
    /// Whether sessions are in the store.
    is_durable: bool,
    recovered: tokio::sync::OnceCell<durable::Found>,
    restoring: Vec<tokio::sync::Mutex<()>>,
    next_number: AtomicU64,
    sessions: table::Table,
    clients: clients::Clients,
    /// Of modern clients.
    descriptions: Descriptions,
    listeners: Listeners<modern::ExchangeCell>,
    /// Legacy sessions that are a connection of their own and so in no table; out when the connection ends.
    pipes: Mutex<HashMap<u64, pipe::Pipe>>,
    event_streams: events::EventStreams,
    /// Two-way with the machines: URI to the conversations that want to hear of it.
    subscriptions: Mutex<HashMap<Arc<str>, Subscribers>>,
    alarm: Alarm,
    clock: Once,
    is_draining: AtomicBool,
    running: AtomicUsize,
    /// How many wait for handlers to be done. In most of a host's life nobody does, and handlers need not say it.
    awaiting: AtomicUsize,
    waiting: Arc<Room>,
    quiet: Notify,
}

impl Host {
    /// A host of `service`, which announces its changes through `changes`. `seal` protects what clients carry
    /// for the server; hosts that share its keys can continue each other's requests. `kept` is where sessions are.
    pub fn new(
        service: Arc<dyn Service>,
        changes: &Changes,
        options: HostOptions,
        seal: Seal,
        kept: Kept,
    ) -> Arc<Self> {
        let offers = RwLock::new(Offers::of(&*service));
        let limits = Arc::new(options.conversation.clone());
        let host = Arc::new(Self {
            service,
            storage: Storage::new(kept.store, limits.clone()),
            keyed_calls: KeyedCalls::default(),
            is_durable: kept.is_durable,
            recovered: tokio::sync::OnceCell::new(),
            restoring: (0..RESTORING).map(|_| tokio::sync::Mutex::new(())).collect(),
            limits,
            waiting: Room::new(options.waiting_bytes_max),
            options,
            offers,
            seal,
            used: Mutex::default(),
            time: Clock::start(),
            next_number: AtomicU64::new(1),
            sessions: table::Table::default(),
            clients: clients::Clients::default(),
            descriptions: Descriptions::default(),
            listeners: Listeners::default(),
            pipes: Mutex::default(),
            event_streams: events::EventStreams::default(),
            subscriptions: Mutex::default(),
            alarm: Alarm::default(),
            clock: Once::new(),
            is_draining: AtomicBool::new(false),
            running: AtomicUsize::new(0),
            awaiting: AtomicUsize::new(0),
            quiet: Notify::new(),
        });
        let listener: Weak<Host> = Arc::downgrade(&host);
        changes.subscribe(listener as Weak<dyn Listener>);
        host
    }

    /// A host of `service` with its sessions where `sessions` says. What clients carry is protected by `seal`, or else by the keys
    /// that are kept beside the sessions.
    ///
    /// # Errors
    /// When they cannot be kept there.
    pub fn open(
        service: Arc<dyn Service>,
        changes: &Changes,
        mut options: HostOptions,
        sessions: Sessions,
        seal: Option<Seal>,
    ) -> Result<Arc<Self>, Error> {
        sessions.apply(&mut options);
        let (kept, own_seal) = sessions.open()?;
        let seal = seal.or(own_seal).unwrap_or_else(Seal::generate);
        service.opened(Tasks::of(&kept, &options, changes, (&seal, TASKS_PER_PAGE)), &seal);
        Ok(Self::new(service, changes, options, seal, kept))
    }

    /// Takes the body of a POST: decides, starts the handler, lets it run until it waits. Waits for nothing but the store,
    /// where sessions outlive the process. Must be called within a tokio runtime.
    pub async fn post(self: &Arc<Self>, inbound: Inbound<'_>) -> Answer {
        self.start_clock();
        match Body::parse(&inbound.body, self.options.message) {
            Err(malformed) => Answer::error(400, malformed.id.as_ref(), &malformed.error),
            Ok(Body::Batch(messages)) if self.is_stateless() => self.post_batch_alone(&inbound, messages).await,
            Ok(Body::Batch(messages)) => self.post_batch(&inbound, messages).await,
            Ok(Body::Single(message)) => match once::name(message, inbound.head.idempotency_key) {
                Err((id, error)) => Answer::error(400, Some(&id), &error),
                Ok(message) => match endpoint::era(&message, inbound.head.protocol_version) {
                    Era::Modern => self.post_modern(&inbound, message),
                    Era::Legacy if self.is_stateless() => self.post_alone(&inbound, message),
                    Era::Legacy => self.post_legacy(&inbound, message).await,
                },
            },
        }
    }

    /// Stops taking new sessions and exchanges, tells listeners that this is the end, and waits for handlers: at
    /// most `deadline`. Returns whether all of them finished. Sessions that outlive the process are left as they are.
    pub async fn drain(&self, deadline: Duration) -> bool {
        self.is_draining.store(true, Ordering::Release);
        for listener in self.listeners.all() {
            listener.input(Input::End);
        }
        let finished = tokio::time::timeout(deadline, self.wait_until_quiet()).await.is_ok();
        if self.is_durable {
            self.leave_sessions(FLUSH_TIMEOUT).await;
        } else {
            for session in self.sessions.drain() {
                session.input(Input::End);
            }
        }
        self.end_event_streams(|_| true);
        finished
    }

    /// Whether [`Host::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    /// Whether legacy clients over Streamable HTTP have no sessions ([`Sessions::stateless`]).
    pub fn is_stateless(&self) -> bool {
        self.options.stateless
    }

    /// How many sessions there are.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// How many of them are in memory.
    pub fn sessions_in_memory(&self) -> usize {
        self.sessions.len_in_memory()
    }

    /// Whether sessions outlive the process.
    pub fn is_durable(&self) -> bool {
        self.is_durable
    }

    /// The bounds that this host enforces.
    pub fn options(&self) -> &HostOptions {
        &self.options
    }

    /// Whether anybody is subscribed to the resource with this canonical URI.
    pub fn is_watched(&self, uri: &str) -> bool {
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner).contains_key(uri)
    }

    /// Whether anybody of `audience` is subscribed to it.
    pub fn is_watched_by(&self, uri: &str, audience: &Audience) -> bool {
        let subscribers = {
            let index = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
            index.get(uri).into_iter().flat_map(HashMap::values).cloned().collect::<Vec<_>>()
        };
        subscribers.iter().filter_map(Weak::upgrade).any(|who| hears(audience, &*who))
    }

    /// The canonical URIs of all resources that somebody of `audience` is subscribed to.
    pub fn subscriptions_of(&self, audience: &Audience) -> Vec<Arc<str>> {
        let index: Vec<(Arc<str>, Vec<_>)> = {
            let index = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
            let all = index.iter().filter(|(subject, _)| !is_task_subject(subject));
            all.map(|(uri, who)| (uri.clone(), who.values().cloned().collect())).collect()
        };
        let is_theirs = |who: &Weak<dyn Conversation>| who.upgrade().is_some_and(|who| hears(audience, &*who));
        index.into_iter().filter(|(_, who)| who.iter().any(is_theirs)).map(|(uri, _)| uri).collect()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.time.now()
    }

    /// What outlives calls, and the process if sessions do.
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        self.storage.store()
    }

    /// Waits until the store can be written to again after `error`.
    pub(crate) async fn wait_out(&self, error: &StoreError) {
        self.storage.wait_out(error).await;
    }

    pub(crate) fn keyed_calls(&self) -> &KeyedCalls {
        &self.keyed_calls
    }

    pub(crate) fn service(&self) -> &Arc<dyn Service> {
        &self.service
    }

    pub(crate) fn alarm(&self) -> &Alarm {
        &self.alarm
    }

    pub(crate) fn running(self: &Arc<Self>) -> Running {
        self.runs().on()
    }

    /// The same, as long as the host is held anyway.
    pub(crate) fn runs(self: &Arc<Self>) -> Runs<'_> {
        self.running.fetch_add(1, Ordering::AcqRel);
        Runs(self)
    }

    pub(crate) fn index_subscription(&self, uri: &Arc<str>, number: u64, who: Option<Weak<dyn Conversation>>) {
        let mut index = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        match who {
            Some(who) => {
                let subscriber = who.upgrade().map(|who| who.subscriber());
                index.entry(uri.clone()).or_default().insert(number, who);
                drop(index);
                if let Some(subscriber) = subscriber.filter(|_| !is_task_subject(uri)) {
                    self.service.watched(uri, &subscriber);
                }
            }
            None => {
                let Some(known) = index.get_mut(uri) else { return };
                let was_there = known.remove(&number).is_some();
                if known.is_empty() {
                    index.remove(uri);
                }
                drop(index);
                if was_there && !is_task_subject(uri) {
                    self.service.unwatched(uri);
                }
            }
        }
    }

    /// Whether `principal` may send this request at all.
    ///
    /// # Errors
    /// What to answer.
    fn permit(&self, principal: &Principal, method: Method, request: &Request) -> Result<(), Answer> {
        let needed = self.service.needed_scopes(method, request.params.as_ref());
        if principal.has_scopes(&needed) { Ok(()) } else { Err(Answer::insufficient_scope(&request.id, needed)) }
    }

    fn offer(&self) -> Arc<Offer> {
        self.offers.read().unwrap_or_else(PoisonError::into_inner).whole.clone()
    }

    fn offer_alone(&self) -> Arc<Offer> {
        self.offers.read().unwrap_or_else(PoisonError::into_inner).alone.clone()
    }

    fn number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn outlet(&self) -> Outlet {
        Outlet::new(self.bounds(), Ends::WithStream, self.waiting.share())
    }

    /// The share of one conversation in what all clients may have waiting.
    pub(crate) fn waiting(&self) -> Share {
        self.waiting.share()
    }

    /// What may wait for one connection over HTTP.
    fn bounds(&self) -> Bounds {
        let HostOptions { queue_frames_max, queue_bytes_max, slow_reader_timeout, .. } = self.options;
        Bounds { frames: queue_frames_max, bytes: queue_bytes_max, patience: slow_reader_timeout }
    }

    /// Who wants to hear of `subject`.
    fn subscribers(&self, subject: &Arc<str>) -> Vec<Weak<dyn Conversation>> {
        let index = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        index.get(subject).into_iter().flat_map(HashMap::values).cloned().collect()
    }

    /// Waits until a handler is done. A moment may be missed between looking and waiting: the wait is short.
    async fn one_less_runs(&self) {
        let _awaited = self.await_quiet();
        drop(tokio::time::timeout(Duration::from_millis(20), self.quiet.notified()).await);
    }

    fn await_quiet(&self) -> Awaited<'_> {
        self.awaiting.fetch_add(1, Ordering::SeqCst);
        Awaited(&self.awaiting)
    }

    /// A handler is done. Whoever began to wait before either sees that or is told.
    fn ran(&self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
        if self.awaiting.load(Ordering::SeqCst) > 0 {
            self.quiet.notify_waiters();
        }
    }

    async fn wait_until_quiet(&self) {
        let _awaited = self.await_quiet();
        loop {
            let quiet = self.quiet.notified();
            if self.running.load(Ordering::SeqCst) == 0 {
                return;
            }
            quiet.await;
        }
    }

    /// Starts the task that wakes conversations and lets expired sessions go. It ends with the host.
    fn start_clock(self: &Arc<Self>) {
        self.clock.call_once(|| {
            tokio::spawn(keep_time(Arc::downgrade(self)));
            tokio::spawn(keep_store(Arc::downgrade(self)));
        });
    }
}

/// Held while a handler runs.
pub(crate) struct Running(Arc<Host>);

impl Running {
    pub(crate) fn host(&self) -> &Arc<Host> {
        &self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.ran();
    }
}

/// Held while a handler runs that has not waited yet.
pub(crate) struct Runs<'a>(&'a Arc<Host>);

impl Runs<'_> {
    /// The handler runs on by itself.
    pub(crate) fn on(self) -> Running {
        let running = Running(self.0.clone());
        std::mem::forget(self);
        running
    }
}

impl Drop for Runs<'_> {
    fn drop(&mut self) {
        self.0.ran();
    }
}

/// Held while somebody waits for handlers to be done.
struct Awaited<'a>(&'a AtomicUsize);

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Listener for Host {
    fn list_changed(&self, kind: ListKind, audience: &Audience) {
        *self.offers.write().unwrap_or_else(PoisonError::into_inner) = Offers::of(&*self.service);
        let pipes: Vec<_> = self.pipes.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let sessions = self.sessions.all().into_iter().chain(pipes.iter().filter_map(pipe::Pipe::session));
        let mut crowd: Vec<Weak<dyn Conversation>> = sessions.map(|session| Arc::downgrade(&session) as _).collect();
        crowd.extend(self.listeners.all().iter().map(|listener| Arc::downgrade(listener) as Weak<dyn Conversation>));
        let audience = audience.clone();
        crowd::tell(crowd, move |listener| {
            if hears(&audience, &*listener) {
                listener.input(Input::Changed(kind));
            }
        });
    }

    fn resource_updated(&self, uri: &Arc<str>, audience: &Audience) {
        let subscribers = self.subscribers(uri);
        // Who may no longer read it hears no more of it.
        let needed = if subscribers.is_empty() { Vec::new() } else { self.service.scopes_of_resource(uri) };
        let (update, audience) = (Update::from(uri.clone()), audience.clone());
        crowd::tell(subscribers, move |listener| {
            let may_read = needed.is_empty() || listener.principal().has_scopes(&needed);
            if may_read && hears(&audience, &*listener) {
                listener.input(Input::Updated(update.clone()));
            }
        });
    }

    fn task_changed(&self, subject: &Arc<str>, id: &Arc<str>, members: &Arc<str>) {
        let (id, members) = (id.clone(), members.clone());
        crowd::tell(self.subscribers(subject), move |listener| {
            listener.input(Input::TaskChanged { id: id.clone(), members: members.clone() });
        });
    }
}

/// Whether `who` belongs to `audience`.
fn hears(audience: &Audience, who: &dyn Conversation) -> bool {
    // All is nearly always said, and to many.
    *audience == Audience::All || audience.has(&who.subscriber())
}

/// What the server says of itself.
struct Offers {
    whole: Arc<Offer>,
    /// To legacy clients without a session.
    alone: Arc<Offer>,
}

impl Offers {
    fn of(service: &dyn Service) -> Self {
        let ((info, instructions), capabilities) = (service.identity(), service.capabilities());
        let instructions = instructions.as_deref();
        Self {
            whole: Arc::new(Offer::new(&info, instructions, &capabilities)),
            alone: Arc::new(Offer::alone(&info, instructions, &capabilities)),
        }
    }
}

/// Sessions with different hashes are brought back at the same time, this many at most.
const RESTORING: usize = 64;
/// How many tasks one page lists, of a service that was not built here.
const TASKS_PER_PAGE: usize = 100;
/// How long a shutdown waits for what is on its way to the store.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// Parts of the table that are looked at each time: all 256 within three seconds.
const PARTS_PER_SWEEP: usize = 24;
/// How often some parts of the sessions are looked at for expiry.
const SWEEP_INTERVAL: Duration = Duration::from_millis(250);

async fn keep_time(host: Weak<Host>) {
    let mut part = 0;
    let mut next_sweep = Instant::now() + SWEEP_INTERVAL;
    loop {
        let Some(alive) = host.upgrade() else { return };
        if Instant::now() >= next_sweep {
            for _ in 0..PARTS_PER_SWEEP {
                alive.sweep_sessions(part);
                part += 1;
                // However many sessions there are, nobody waits for more of them than a part has.
                alive.alarm.ring(alive.now());
                tokio::task::yield_now().await;
            }
            alive.sweep_event_streams();
            next_sweep = Instant::now() + SWEEP_INTERVAL;
        }
        let ring_at = alive.alarm.ring(alive.now()).map(|at| alive.time.instant(at));
        let wake_at = ring_at.map_or(next_sweep, |at| at.min(next_sweep));
        tokio::select! {
            () = tokio::time::sleep_until(wake_at) => {}
            () = alive.alarm.sooner() => {}
        }
    }
}

/// Looks after the records that nobody comes for. It ends with the host.
async fn keep_store(host: Weak<Host>) {
    loop {
        match host.upgrade() {
            None => return,
            Some(alive) => match alive.recover().await {
                Ok(_) => alive.sweep_store().await,
                Err(error) => tracing::warn!(%error, "sessions cannot be counted now"),
            },
        }
        tokio::time::sleep(durable::STORE_SWEEP_INTERVAL).await;
    }
}

/// The message's id, if it is a request.
fn is_initialize(message: &Message) -> bool {
    matches!(message, Message::Request(request) if &*request.method == "initialize")
}

fn request_id(message: &Message) -> Option<&RequestId> {
    match message {
        Message::Request(request) => Some(&request.id),
        Message::Notification(_) | Message::Response(_) => None,
    }
}
