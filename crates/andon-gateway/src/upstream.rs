//! One server: its conversations, its health, and how much of Andon it may take up.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use andon_client::{Builder, Error, Loss};
use andon_server::call::Call;
use andon_types::error::ErrorObject;
use andon_types::message::Json;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::breaker::{Breaker, Outcome, State, Ticket};
use crate::catalogue::{self, Catalogue};
use crate::config::{Mode, Place, Server, Settings};
use crate::flight::lock;
use crate::gateway::{Clients, Hub};
use crate::instance::{Instance, Key, Phase, Ready, Reserved, Sharing, without_words};
use crate::pins::{Held, Trust, Vetted, kept};
use crate::restarts::Intensity;
use crate::service::Dull;
use crate::viewer::Viewer;

/// How long a call waits for room.
const ROOM_WAIT: Duration = Duration::from_secs(1);

/// A conversation that was idle for so long makes room for one that is wanted for lists only.
const EVICT_AFTER: Duration = Duration::from_secs(10);
/// Conversations of which it is known what they listed; beyond that, only of those that are open.
const SHOWN_MAX: usize = 256;

/// What a conversation is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To see what the server has, which may be known without it.
    List,
    /// For what any conversation of its client will do.
    Any,
    /// For a call, which the server may ask about.
    Call,
}

impl Purpose {
    /// How long a conversation has to be idle to make room for one that is wanted for this.
    fn evict_after(self) -> Duration {
        if self == Self::List { EVICT_AFTER } else { Duration::ZERO }
    }
}

pub(crate) struct Upstream {
    pub(crate) name: Arc<str>,
    pub(crate) place: Place,
    pub(crate) settings: Arc<Settings>,
    pub(crate) mode: Mode,
    hub: Weak<Hub>,
    breaker: Mutex<Breaker>,
    slots: Arc<Semaphore>,
    instances: Mutex<HashMap<Key, Arc<Instance>>>,
    /// No conversation begins any more. Changes while the conversations are locked only.
    is_ended: AtomicBool,
    /// What it listed last, in whichever conversation: for operators.
    known: Mutex<Option<Arc<Vetted>>>,
    /// What each of those knows of it that share a conversation, by its key ([`Upstream::shelf`]). Clients see their own.
    shown: Mutex<HashMap<Key, Arc<Vetted>>>,
    trust: Arc<Trust>,
    /// What starts it, in a few digits.
    origin: String,
    /// Conversations that have listed have turns, so that what is known last is what is kept.
    turn: Arc<tokio::sync::Mutex<()>>,
    figures: Figures,
    last_error: Mutex<Option<Arc<str>>>,
    /// It was said how to let it ask.
    is_explained: AtomicBool,
    /// Of its results.
    pub(crate) dull: Dull,
}

/// What a conversation has read, and what was known before, with what was held back of that.
pub(crate) struct Listing {
    pub(crate) before: Option<(Arc<Vetted>, Held)>,
    pub(crate) after: Arc<Vetted>,
    /// Until clients may see it.
    _turn: tokio::sync::OwnedMutexGuard<()>,
}

#[derive(Default)]
struct Figures {
    calls: AtomicU64,
    failures: AtomicU64,
    restarts: AtomicU64,
    /// A moving average, in microseconds.
    latency_us: AtomicU64,
    /// Since when calls and pings do not reach it.
    unreachable_since: Mutex<Option<Instant>>,
}

/// What a server does and how it fares, for people and programs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// The program, or the URL without what may be secret.
    pub target: String,
    /// `shared`, `session` or `principal`.
    pub mode: String,
    /// `idle`, `starting`, `ready`, `unreachable`, `restarting`, `parked` or `ended`: of the conversation that fares worst.
    /// One that would be ready is unreachable if the last call or ping did not reach the server.
    pub state: String,
    /// Seconds in that state.
    pub state_s: u64,
    /// `closed`, `open` or `half-open`.
    pub breaker: String,
    /// Conversations.
    pub instances: usize,
    /// Calls in flight.
    pub in_flight: usize,
    /// Calls so far.
    pub calls: u64,
    /// Those of them that failed for want of the server.
    pub failures: u64,
    /// How often a conversation ended without being asked to.
    pub restarts: u64,
    /// A moving average of the time that calls take, in milliseconds.
    pub latency_ms: f64,
    /// Its tools that clients see.
    pub tools: usize,
    /// Tools whose changed definitions wait for approval.
    pub held: Vec<String>,
    /// Why it ended last, with its last words, or why a call was lost since.
    pub last_error: Option<String>,
}

impl Upstream {
    /// `trust` is what is kept of it.
    pub(crate) fn new(server: Server, default_mode: Mode, trust: Arc<Trust>, hub: Weak<Hub>) -> Arc<Self> {
        let Server { name, place, settings } = server;
        let origin = origin(&place);
        Arc::new(Self {
            name: name.into(),
            place,
            mode: settings.mode.unwrap_or(default_mode),
            breaker: Mutex::new(Breaker::new(settings.breaker)),
            slots: Arc::new(Semaphore::new(settings.in_flight_max)),
            settings: Arc::new(settings),
            hub,
            instances: Mutex::default(),
            is_ended: AtomicBool::new(false),
            known: Mutex::default(),
            shown: Mutex::default(),
            trust,
            origin,
            turn: Arc::default(),
            figures: Figures::default(),
            last_error: Mutex::default(),
            is_explained: AtomicBool::new(false),
            dull: Dull::default(),
        })
    }

    /// Whether it is what the configuration says.
    pub(crate) fn is_of(&self, server: &Server, default_mode: Mode) -> bool {
        *self.name == *server.name
            && self.place == server.place
            && *self.settings == server.settings
            && self.mode == server.settings.mode.unwrap_or(default_mode)
    }

    /// Begins the conversation that all share, so that it is there when the first client comes.
    pub(crate) fn warm(self: &Arc<Self>) {
        if self.mode == Mode::Shared {
            drop(self.instance(Key::Shared, None, Purpose::List));
        }
    }

    /// The conversation that the calls of this client go over; it is begun if there is none.
    ///
    /// # Errors
    /// When there are too many, or its server is no longer served.
    pub(crate) fn instance_for(
        self: &Arc<Self>,
        call: &Call,
        endpoint: u64,
        purpose: Purpose,
    ) -> Result<Arc<Instance>, ErrorObject> {
        let key = match self.key_of(&Viewer::calling(endpoint, call)) {
            Key::Alone(subject, _) => self.one_that_is_free(subject, purpose),
            key => key,
        };
        self.instance(key, Some(call), purpose)
    }

    /// The conversation of `viewer`, or the first of several.
    fn key_of(&self, viewer: &Viewer) -> Key {
        match (self.mode, viewer.session) {
            (Mode::Shared, _) => Key::Shared,
            (Mode::Session, Some((endpoint, session))) => Key::Session(endpoint, session),
            (Mode::Session, None) => Key::Alone(viewer.subject.clone(), 0),
            (Mode::Principal, _) => Key::Principal(viewer.subject.clone()),
        }
    }

    /// The conversation of `viewer`, if there is one now.
    pub(crate) fn existing(&self, viewer: &Viewer) -> Option<Arc<Instance>> {
        lock(&self.instances).get(&self.key_of(viewer)).filter(|instance| !instance.is_ending()).cloned()
    }

    /// Takes over from the server that was configured under the same name: conversations of those who are subscribed to
    /// something there begin at once. Others begin when they are needed.
    pub(crate) fn succeed(self: &Arc<Self>, old: &Upstream) {
        let fits = |key: &Key| match self.mode {
            Mode::Shared => false,
            Mode::Session => matches!(key, Key::Session(..) | Key::Alone(..)),
            Mode::Principal => matches!(key, Key::Principal(_)),
        };
        for before in old.instances().iter().filter(|before| fits(&before.key) && before.is_watching()) {
            let mut instances = lock(&self.instances);
            let has_room = instances.len() < self.settings.instances_max && !self.is_ended.load(Ordering::Relaxed);
            if has_room && !instances.contains_key(&before.key) {
                instances.insert(before.key.clone(), Instance::follow(before, self.clone()));
            }
        }
    }

    /// The same, kept for whoever is about to use it.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        call: &Call,
        endpoint: u64,
        purpose: Purpose,
    ) -> Result<Reserved, ErrorObject> {
        const ATTEMPTS: usize = 16;
        let shares_at = if self.has_one_client() { 0 } else { ATTEMPTS };
        for attempt in 0..=ATTEMPTS {
            let instance = self.instance_for(call, endpoint, purpose)?;
            let sharing = match purpose {
                Purpose::List | Purpose::Any => Sharing::NoCall,
                // Where there is no room calls share, and what the server asks may have to be refused.
                Purpose::Call if attempt < shares_at => Sharing::Refused,
                Purpose::Call => Sharing::Accepted,
            };
            // Another call may have been faster: then it has this conversation, or needed the room.
            if let Some(reserved) = instance.reserve(sharing) {
                return Ok(reserved);
            }
        }
        Err(self.is_full())
    }

    /// Calls that stand alone have a conversation to themselves while they last, so that what a server asks is theirs. Where
    /// there is but one client, it is always the same one.
    fn one_that_is_free(&self, subject: Option<Arc<str>>, purpose: Purpose) -> Key {
        let is_shared = purpose != Purpose::Call || self.has_one_client();
        let instances = lock(&self.instances);
        // A server that says which call it asks for needs no call to be alone.
        let is_free = |key: &Key| {
            instances.get(key).is_none_or(|known| (known.says_whose() || known.is_free()) && !known.is_ending())
        };
        let has_room = instances.len() < self.settings.instances_max || self.evictable(&instances, purpose).is_some();
        let mut keys = (0..self.settings.instances_max).map(|number| Key::Alone(subject.clone(), number));
        let fits = |key: &Key| has_room || instances.contains_key(key);
        keys.find(|key| is_shared || (fits(key) && is_free(key))).unwrap_or(Key::Alone(subject, 0))
    }

    fn instance(
        self: &Arc<Self>,
        key: Key,
        call: Option<&Call>,
        purpose: Purpose,
    ) -> Result<Arc<Instance>, ErrorObject> {
        let mut instances = lock(&self.instances);
        if self.is_ended.load(Ordering::Relaxed) {
            // A call that was routed before. What it began now nobody would end.
            let why = format!("the server {:?} was ended, or has other settings now: call it again", self.name);
            return Err(ErrorObject::unavailable(why));
        }
        if let Some(instance) = instances.get(&key).filter(|instance| !instance.is_ending()) {
            instance.touch();
            return Ok(instance.clone());
        }
        if instances.len() >= self.settings.instances_max && key != Key::Shared {
            let evicted = loop {
                let idlest = self.evictable(&instances, purpose).ok_or_else(|| self.is_full())?;
                // Somebody may begin to use it in between.
                if idlest.end_if_idle(purpose.evict_after()) {
                    break idlest;
                }
            };
            tracing::info!(server = &*self.name, "a conversation is idle, and ended to make room for another");
            instances.remove(&evicted.key);
        }
        let instance = Instance::start(key.clone(), self.clone(), call);
        instances.insert(key, instance.clone());
        Ok(instance)
    }

    /// The conversation that has been idle longest, which makes room for another.
    fn evictable(&self, instances: &HashMap<Key, Arc<Instance>>, purpose: Purpose) -> Option<Arc<Instance>> {
        let idle = instances.values().filter_map(|known| Some((known.idle()?, known)));
        let (longest, idlest) = idle.max_by_key(|(idle, _)| *idle)?;
        (longest >= purpose.evict_after()).then(|| idlest.clone())
    }

    fn is_full(&self) -> ErrorObject {
        let most = self.settings.instances_max;
        ErrorObject::unavailable(format!("as many of the server {:?} as there may be, {most}, are running", self.name))
    }

    /// Whether all calls are of one client.
    pub(crate) fn has_one_client(&self) -> bool {
        self.hub.upgrade().is_some_and(|hub| hub.clients == Clients::One)
    }

    pub(crate) fn instances(&self) -> Vec<Arc<Instance>> {
        lock(&self.instances).values().cloned().collect()
    }

    /// This conversation has ended for good.
    pub(crate) fn forget(&self, ended: &Arc<Instance>) {
        let mut instances = lock(&self.instances);
        if instances.get(&ended.key).is_some_and(|known| Arc::ptr_eq(known, ended)) {
            instances.remove(&ended.key);
        }
    }

    /// A session of the endpoint is over: what was its own ends.
    pub(crate) fn session_ended(&self, endpoint: u64, session: u128) {
        let key = Key::Session(endpoint, session);
        if let Some(instance) = lock(&self.instances).get(&key) {
            instance.end_soon();
        }
        lock(&self.shown).remove(&key);
    }

    /// Ends all conversations for good, and waits until their processes are gone.
    pub(crate) async fn end(&self) {
        let instances: Vec<_> = {
            let instances = lock(&self.instances);
            self.is_ended.store(true, Ordering::Relaxed);
            instances.values().cloned().collect()
        };
        futures_util::future::join_all(instances.iter().map(|instance| instance.end())).await;
        // What they have listed is on the disk then.
        drop(self.turn.lock().await);
    }

    /// What its catalogue is of.
    pub(crate) fn source(&self) -> catalogue::Server<'_> {
        catalogue::Server { name: &self.name, settings: &self.settings }
    }

    /// What it listed last, in whichever conversation.
    fn known(&self) -> Option<Arc<Vetted>> {
        lock(&self.known).clone()
    }

    /// What it listed last to `viewer`; of the time before it was restarted, while it is. What it lists to some is nobody
    /// else's business: where not all share it, nobody in particular knows nothing of it.
    pub(crate) fn known_to(&self, viewer: Option<&Viewer>) -> Option<Arc<Vetted>> {
        let shelf = match viewer {
            _ if self.is_for_all() => Key::Shared,
            Some(viewer) => self.key_of(viewer),
            None => return None,
        };
        lock(&self.shown).get(&shelf).cloned()
    }

    /// Whether all clients see the same of it.
    pub(crate) fn is_for_all(&self) -> bool {
        self.mode == Mode::Shared || self.has_one_client()
    }

    /// Under which key that is known which a conversation lists.
    fn shelf(&self, key: &Key) -> Key {
        match key {
            _ if self.is_for_all() => Key::Shared,
            Key::Alone(subject, _) => Key::Alone(subject.clone(), 0),
            key => key.clone(),
        }
    }

    /// The equal one that is known already, if there is one: what is made of it is made once.
    fn same(&self, vetted: Vetted) -> Arc<Vetted> {
        // Calls need the lock meanwhile.
        let mut known: Vec<_> = lock(&self.shown).values().cloned().collect();
        let equal = known.iter().position(|known| **known == vetted).map(|index| known.swap_remove(index));
        equal.unwrap_or_else(|| Arc::new(vetted))
    }

    fn show(&self, shelf: Key, vetted: &Arc<Vetted>) {
        let has_room = lock(&self.shown).len() < SHOWN_MAX;
        if !has_room {
            let used: HashSet<Key> = self.instances().iter().map(|instance| self.shelf(&instance.key)).collect();
            lock(&self.shown).retain(|key, _| used.contains(key));
        }
        lock(&self.shown).insert(shelf, vetted.clone());
        *lock(&self.known) = Some(vetted.clone());
    }

    /// The tools that are held back in any conversation.
    fn held(&self) -> Vec<String> {
        let elsewhere = self.held_elsewhere(None);
        let known = self.known().and_then(|known| known.held());
        let held: BTreeSet<&String> = elsewhere.iter().chain(&known).flat_map(|held| held.iter()).collect();
        held.into_iter().cloned().collect()
    }

    /// What is held back in conversations other than this.
    fn held_elsewhere(&self, but: Option<&Key>) -> Vec<Arc<HashSet<String>>> {
        let others = self.instances().into_iter().filter(|instance| but != Some(&instance.key));
        others.filter_map(|instance| instance.ready_now()?.catalogue.held()).collect()
    }

    /// What it listed in an earlier process, as far as that is trusted, is known at once.
    pub(crate) fn remember(&self) {
        if self.is_for_all()
            && let Some(kept) = self.trust.kept(&self.origin)
        {
            self.show(Key::Shared, &Arc::new(self.trust.vet(self.settings.definitions, kept)));
        }
    }

    /// The conversation `by` has read the lists: compares them with what is trusted, and keeps them. They may be shown when
    /// this returns, and not before.
    ///
    /// # Errors
    /// When the runtime is ending.
    pub(crate) async fn heed(self: &Arc<Self>, by: &Instance, catalogue: Catalogue) -> Result<Listing, Error> {
        let turn = self.turn.clone().lock_owned().await;
        let (upstream, key) = (self.clone(), by.key.clone());
        let heeding = move || {
            let before = lock(&upstream.shown).get(&upstream.shelf(&key)).cloned();
            let before = before.map(|before| {
                let held = before.held();
                (before, held)
            });
            let elsewhere = upstream.held_elsewhere(Some(&key));
            let after = upstream.same(upstream.trust.heed(upstream.settings.definitions, catalogue, &elsewhere));
            if upstream.is_for_all() && before.as_ref().is_none_or(|(before, _)| *before != after) {
                upstream.trust.keep(&upstream.origin, &after);
            }
            Listing { before, after, _turn: turn }
        };
        // It takes time in proportion to the lists, and writes files. What was begun is finished, even if nobody waits for it.
        tokio::task::spawn_blocking(heeding).await.map_err(|error| Error::Invalid(error.to_string()))
    }

    /// Clients may see now what the conversation `by` has read.
    pub(crate) fn listed(&self, by: &Instance, listing: &Listing) {
        self.show(self.shelf(&by.key), &listing.after);
        let Some(hub) = self.hub.upgrade() else { return };
        // Who has its own, and asked for nothing before it was there, has missed nothing.
        if listing.before.is_some() || self.is_for_all() || by.was_missed() {
            hub.listed((&self.name, &by.key), listing);
        }
    }

    /// What the clients of the conversation `of` are subscribed to here: its own URI, and its name at an endpoint.
    pub(crate) fn subscriptions(&self, of: &Instance) -> Vec<(String, (u64, String))> {
        let subscribed = self.hub.upgrade().map(|hub| hub.subscriptions(&of.key, of.viewer.as_ref()));
        let here = subscribed.into_iter().flatten().filter(|(home, _)| home.server == self.name);
        here.map(|(home, name)| (home.uri, name)).collect()
    }

    /// The clients of the conversation with this key know these resources by these names, and they changed.
    pub(crate) fn updated(&self, key: &Key, names: &[(u64, String)]) {
        if let Some(hub) = self.hub.upgrade() {
            hub.updated(key, names);
        }
    }

    /// A conversation ended without being asked to.
    pub(crate) fn ended(&self, why: &Arc<str>) {
        self.figures.restarts.fetch_add(1, Ordering::Relaxed);
        *lock(&self.last_error) = Some(why.clone());
    }

    /// The error of a server of 2026-07-28 that asks by requests, with what helps; that is logged once.
    pub(crate) fn explained(&self, mut error: ErrorObject) -> ErrorObject {
        const HINT: &str = "the server asks as servers did before 2026-07-28: \"andon\": {\"protocol\": \"2025-11-25\"} in its \
                            configuration lets it";
        if !self.is_explained.swap(true, Ordering::Relaxed) {
            tracing::warn!(server = &*self.name, %error, HINT);
        }
        error.message = format!("{} ({HINT})", error.message);
        error
    }

    /// How often conversations may be opened again. One that ends at once each time is no crash loop where there is no
    /// process: it is tried on, ever less often.
    pub(crate) fn intensity(&self) -> Intensity {
        let most = if self.place.is_child() { self.settings.restarts.most } else { usize::MAX };
        Intensity { most, ..self.settings.restarts }
    }

    /// A conversation that had ended is there again, or has another session.
    pub(crate) fn recovered(&self) {
        lock(&self.breaker).reset();
        self.reached(true);
    }

    /// A call or a ping has found out whether the server can be reached.
    pub(crate) fn reached(&self, is_reached: bool) {
        let mut since = lock(&self.figures.unreachable_since);
        *since = (!is_reached).then(|| since.unwrap_or_else(Instant::now));
    }

    /// Conversations that wait until they are tried again need not wait any longer.
    pub(crate) fn try_again(&self) {
        self.instances().iter().for_each(|instance| instance.try_again());
    }

    /// What the program adds to clients of this URL: credentials.
    pub(crate) fn prepare(&self, builder: Builder, url: &str) -> Builder {
        match self.hub.upgrade() {
            Some(hub) => (hub.prepare)(builder, url),
            None => builder,
        }
    }

    /// Room for one more call, if the server is in a state to take it.
    ///
    /// # Errors
    /// What to tell the client.
    pub(crate) async fn admit(self: &Arc<Self>) -> Result<Admission, ErrorObject> {
        let ticket = lock(&self.breaker).admit(Instant::now()).map_err(|rest| {
            let why = lock(&self.last_error).clone();
            let why = why.as_deref().map(|why| format!(": {}", without_words(why))).unwrap_or_default();
            let rest_s = rest.as_secs().max(1);
            ErrorObject::unavailable(format!("the server {:?} fails, and rests for {rest_s} s{why}", self.name))
        })?;
        let mut admission =
            Admission { upstream: self.clone(), begun_at: Instant::now(), slot: None, ticket, is_recorded: false };
        admission.slot = match self.slots.clone().try_acquire_owned() {
            Ok(slot) => Some(slot),
            Err(_) => match tokio::time::timeout(ROOM_WAIT, self.slots.clone().acquire_owned()).await {
                Ok(slot) => slot.ok(),
                Err(_) => {
                    let most = self.settings.in_flight_max;
                    let why = format!("as many calls as the server {:?} takes, {most}, are in flight", self.name);
                    return Err(ErrorObject::unavailable(why));
                }
            },
        };
        self.figures.calls.fetch_add(1, Ordering::Relaxed);
        Ok(admission)
    }

    /// A conversation over which calls can be made, kept for whoever asks.
    ///
    /// # Errors
    /// What to tell the client.
    pub(crate) async fn ready(self: &Arc<Self>, call: &Call, endpoint: u64) -> Result<(Reserved, Ready), ErrorObject> {
        let reserved = self.reserve(call, endpoint, Purpose::Any)?;
        let ready = reserved.instance.ready().await?;
        Ok((reserved, ready))
    }

    pub(crate) fn status(&self) -> Status {
        let instances = self.instances();
        let rank = |phase: &Phase| match phase {
            Phase::Ready(_) => (0, "ready"),
            Phase::Starting => (1, "starting"),
            Phase::Waiting(_) => (2, "restarting"),
            Phase::Parked(_) => (3, "parked"),
            Phase::Ended => (0, "ended"),
        };
        let worst =
            instances.iter().map(|known| (rank(&known.phase()), known.since())).max_by_key(|((rank, _), _)| *rank);
        let ((_, state), since) = worst.unwrap_or(((0, "idle"), Duration::ZERO));
        let unreachable_since = lock(&self.figures.unreachable_since).filter(|_| state == "ready");
        let (state, since) = unreachable_since.map_or((state, since), |since| ("unreachable", since.elapsed()));
        #[allow(clippy::cast_precision_loss, reason = "a latency is far below 2^52 microseconds")]
        let latency_ms = self.figures.latency_us.load(Ordering::Relaxed) as f64 / 1000.0;
        Status {
            name: self.name.to_string(),
            target: match &self.place {
                Place::Child { program, .. } => program.clone(),
                Place::Remote { url, .. } => url.split(['?', '#']).next().unwrap_or_default().to_owned(),
            },
            mode: match self.mode {
                Mode::Shared => "shared",
                Mode::Session => "session",
                Mode::Principal => "principal",
            }
            .to_owned(),
            state: state.to_owned(),
            state_s: since.as_secs(),
            breaker: match lock(&self.breaker).state() {
                State::Closed => "closed",
                State::Open { .. } => "open",
                State::HalfOpen { .. } => "half-open",
            }
            .to_owned(),
            in_flight: instances.iter().map(|instance| instance.in_flight()).sum(),
            instances: instances.len(),
            calls: self.figures.calls.load(Ordering::Relaxed),
            failures: self.figures.failures.load(Ordering::Relaxed),
            restarts: self.figures.restarts.load(Ordering::Relaxed),
            latency_ms,
            tools: self.known().map_or(0, |known| {
                let held = known.held();
                let is_shown = |name: &str| {
                    self.settings.tools.permit(name) && !held.as_ref().is_some_and(|held| held.contains(name))
                };
                known.tools.iter().filter(|tool| is_shown(&tool.name)).count()
            }),
            held: self.held(),
            last_error: lock(&self.last_error).as_deref().map(str::to_owned),
        }
    }
}

/// A call that was let through; what became of it is recorded once.
pub(crate) struct Admission {
    upstream: Arc<Upstream>,
    begun_at: Instant,
    /// Its place among those that the server works on at once.
    slot: Option<OwnedSemaphorePermit>,
    ticket: Ticket,
    is_recorded: bool,
}

impl Admission {
    pub(crate) fn record(&mut self, outcome: &Result<Json, Error>) {
        let figures = &self.upstream.figures;
        let took_us = u64::try_from(self.begun_at.elapsed().as_micros()).unwrap_or(u64::MAX);
        let known = figures.latency_us.load(Ordering::Relaxed);
        let latency = if known == 0 { took_us } else { known - known / 8 + took_us / 8 };
        figures.latency_us.store(latency, Ordering::Relaxed);
        if !matches!(outcome, Err(Error::Closed)) {
            self.upstream.reached(!matches!(outcome, Err(Error::Transport(Loss::Unreachable(_)))));
        }
        if let Err(Error::Transport(loss)) = outcome {
            *lock(&self.upstream.last_error) = Some(loss.to_string().into());
        }
        match outcome {
            // What it cancels it has heard of.
            Ok(_)
            | Err(
                Error::Protocol(_)
                | Error::Cancelled
                | Error::Unanswerable(_)
                | Error::Arguments(_)
                | Error::NotOffered(_),
            ) => self.conclude(Outcome::Success),
            Err(Error::Closed) => self.conclude(Outcome::Neither),
            // However many calls one end of the process takes along: it is started again, or parked.
            Err(Error::Transport(Loss::Disconnected(_))) if self.upstream.place.is_child() => {
                self.count_failure();
                self.conclude(Outcome::Neither);
            }
            Err(_) => self.failed(),
        }
    }

    /// The server asks the client, and has nothing to do for the call until it hears: it is at work, and others take the
    /// place of this one.
    pub(crate) fn waits(&mut self) {
        self.slot = None;
        self.note(Outcome::Success);
    }

    /// The server goes on with the call. It has it in any case: if there is no place left it does so without one.
    pub(crate) fn goes_on(&mut self) {
        if self.slot.is_none() {
            self.slot = self.upstream.slots.clone().try_acquire_owned().ok();
        }
    }

    /// The call could not even be made.
    pub(crate) fn failed(&mut self) {
        self.count_failure();
        self.conclude(Outcome::Failure);
    }

    fn count_failure(&self) {
        self.upstream.figures.failures.fetch_add(1, Ordering::Relaxed);
    }

    fn conclude(&mut self, outcome: Outcome) {
        self.is_recorded = true;
        self.note(outcome);
    }

    fn note(&mut self, outcome: Outcome) {
        if lock(&self.upstream.breaker).record(Instant::now(), &mut self.ticket, outcome) {
            tracing::error!(
                server = &*self.upstream.name,
                "a server fails again and again: calls are refused for a while"
            );
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if !self.is_recorded {
            self.note(Outcome::Neither);
        }
    }
}

/// A digest of what starts a server: with another program or at another URL it is another one. Variables and headers, which
/// are secrets most often, are not in it.
fn origin(place: &Place) -> String {
    match place {
        Place::Child { program, args, folder, .. } => {
            let folder = folder.as_deref().map(Path::to_string_lossy).unwrap_or_default();
            let words = [program, &*folder].into_iter().chain(args.iter().map(String::as_str));
            kept::digest(&words.collect::<Vec<_>>())
        }
        Place::Remote { url, .. } => kept::digest(&[url]),
    }
}
