//! One server: its conversations, its health, and how much of Andon it may take up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use andon_client::{Builder, Error};
use andon_server::call::Call;
use andon_types::error::ErrorObject;
use andon_types::message::Json;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::breaker::{Breaker, Outcome, State, Ticket};
use crate::catalogue::Catalogue;
use crate::config::{Mode, Place, Server, Settings};
use crate::flight::lock;
use crate::gateway::{Clients, Hub};
use crate::instance::{Instance, Key, Phase, Ready, Reserved, Sharing, Stale, without_words};
use crate::service::Dull;

/// How long a call waits for room.
const ROOM_WAIT: Duration = Duration::from_secs(1);

/// A conversation that was idle for so long makes room for another, where there is none left.
const EVICT_AFTER: Duration = Duration::from_secs(10);

/// What a conversation is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To see what the server has.
    List,
    /// For a call, which the server may ask about.
    Call,
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
    /// What it listed last, in whichever conversation.
    known: Mutex<Option<Arc<Catalogue>>>,
    held: Mutex<Arc<Vec<String>>>,
    figures: Figures,
    last_error: Mutex<Option<Arc<str>>>,
    /// Of its results.
    pub(crate) dull: Dull,
}

#[derive(Default)]
struct Figures {
    calls: AtomicU64,
    failures: AtomicU64,
    restarts: AtomicU64,
    /// A moving average, in microseconds.
    latency_us: AtomicU64,
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
    /// `idle`, `starting`, `ready`, `restarting`, `parked` or `ended`: of the conversation that fares worst.
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
    /// Its tools, as it lists them.
    pub tools: usize,
    /// Tools whose changed definitions wait for approval.
    pub held: Vec<String>,
    /// Why it ended last, with its last words.
    pub last_error: Option<String>,
}

impl Upstream {
    pub(crate) fn new(server: Server, default_mode: Mode, hub: Weak<Hub>) -> Arc<Self> {
        let Server { name, place, settings } = server;
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
            held: Mutex::default(),
            figures: Figures::default(),
            last_error: Mutex::default(),
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

    /// What is trusted may have changed.
    pub(crate) fn heed_again(&self) {
        if let (Some(hub), Some(known)) = (self.hub.upgrade(), self.known()) {
            *lock(&self.held) = Arc::new(hub.pins.heed(&self.name, self.settings.definitions, &known.tools));
        }
    }

    /// Begins the conversation that all share, so that it is there when the first client comes.
    pub(crate) fn warm(self: &Arc<Self>) {
        if self.mode == Mode::Shared {
            drop(self.instance(Key::Shared, None));
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
        let subject = call.principal().subject().map(str::to_owned);
        let key = match (self.mode, call.session_key()) {
            (Mode::Shared, _) => Key::Shared,
            (Mode::Session, Some(session)) => Key::Session(endpoint, session),
            (Mode::Session, None) => self.one_that_is_free(subject, purpose),
            (Mode::Principal, _) => Key::Principal(subject),
        };
        self.instance(key, Some(call))
    }

    /// The same for one call, which is about to be made.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn reserve(self: &Arc<Self>, call: &Call, endpoint: u64) -> Result<Reserved, ErrorObject> {
        const ATTEMPTS: usize = 16;
        let attempts = if self.has_one_client() { 0 } else { ATTEMPTS };
        for _ in 0..attempts {
            let instance = self.instance_for(call, endpoint, Purpose::Call)?;
            // Another call may have been faster; then there is another conversation.
            if let Some(reserved) = instance.reserve(Sharing::Refused) {
                return Ok(reserved);
            }
        }
        // Where there is no room calls share, and what the server asks may have to be refused.
        let instance = self.instance_for(call, endpoint, Purpose::Call)?;
        Ok(instance.reserve(Sharing::Accepted).expect("nothing stands against sharing"))
    }

    /// Calls that stand alone have a conversation to themselves while they last, so that what a server asks is theirs. Where
    /// there is but one client, it is always the same one.
    fn one_that_is_free(&self, subject: Option<String>, purpose: Purpose) -> Key {
        let is_shared = purpose == Purpose::List || self.has_one_client();
        let instances = lock(&self.instances);
        // A server that says which call it asks for needs no call to be alone.
        let is_free = |key: &Key| {
            instances.get(key).is_none_or(|known| (known.says_whose() || known.is_free()) && !known.is_ending())
        };
        let has_room = instances.len() < self.settings.instances_max || self.evictable(&instances).is_some();
        let mut keys = (0..self.settings.instances_max).map(|number| Key::Alone(subject.clone(), number));
        let fits = |key: &Key| has_room || instances.contains_key(key);
        keys.find(|key| is_shared || (fits(key) && is_free(key))).unwrap_or(Key::Alone(subject, 0))
    }

    fn instance(self: &Arc<Self>, key: Key, call: Option<&Call>) -> Result<Arc<Instance>, ErrorObject> {
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
            let evicted = self.evictable(&instances).ok_or_else(|| {
                let most = self.settings.instances_max;
                let why = format!("as many of the server {:?} as there may be, {most}, are running", self.name);
                ErrorObject::unavailable(why)
            })?;
            evicted.end_soon();
            instances.remove(&evicted.key);
        }
        let instance = Instance::start(key.clone(), self.clone(), call);
        instances.insert(key, instance.clone());
        Ok(instance)
    }

    /// The conversation that has been idle longest, if that is long enough for it to make room.
    fn evictable(&self, instances: &HashMap<Key, Arc<Instance>>) -> Option<Arc<Instance>> {
        let idlest = instances.values().filter(|known| known.is_free()).max_by_key(|known| known.idle())?;
        (idlest.idle() >= EVICT_AFTER).then(|| idlest.clone())
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
        if let Some(instance) = lock(&self.instances).get(&Key::Session(endpoint, session)) {
            instance.end_soon();
        }
    }

    /// Ends all conversations for good, and waits until their processes are gone.
    pub(crate) async fn end(&self) {
        let instances: Vec<_> = {
            let instances = lock(&self.instances);
            self.is_ended.store(true, Ordering::Relaxed);
            instances.values().cloned().collect()
        };
        futures_util::future::join_all(instances.iter().map(|instance| instance.end())).await;
    }

    /// What it listed last; of the time before it was restarted, while it is.
    pub(crate) fn known(&self) -> Option<Arc<Catalogue>> {
        lock(&self.known).clone()
    }

    pub(crate) fn held(&self) -> Arc<Vec<String>> {
        lock(&self.held).clone()
    }

    /// What it listed when it ran before.
    pub(crate) fn remember(&self, catalogue: Catalogue) {
        *lock(&self.known) = Some(Arc::new(catalogue));
    }

    /// A conversation has read the lists; these its server said to have changed.
    pub(crate) fn listed(&self, catalogue: &Arc<Catalogue>, said: Stale) {
        let before = lock(&self.known).replace(catalogue.clone());
        if let Some(hub) = self.hub.upgrade() {
            *lock(&self.held) = Arc::new(hub.pins.heed(&self.name, self.settings.definitions, &catalogue.tools));
            hub.keep(&self.name, catalogue, before.as_deref());
            hub.listed(self, before.as_deref(), catalogue, said);
        }
    }

    /// Its own URI for what the endpoint with this number calls `uri`, if that is a resource of this server.
    pub(crate) fn own_uri(&self, endpoint: u64, uri: &str) -> Option<String> {
        let home = self.hub.upgrade()?.home(endpoint, uri)?;
        (home.server == self.name).then_some(home.uri)
    }

    /// Its clients know these resources by these names, and they changed.
    pub(crate) fn updated(&self, names: &[(u64, String)]) {
        if let Some(hub) = self.hub.upgrade() {
            hub.updated(names);
        }
    }

    /// A conversation ended without being asked to.
    pub(crate) fn ended(&self, why: &Arc<str>) {
        self.figures.restarts.fetch_add(1, Ordering::Relaxed);
        *lock(&self.last_error) = Some(why.clone());
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

    /// A conversation over which calls can be made.
    ///
    /// # Errors
    /// What to tell the client.
    pub(crate) async fn ready(
        self: &Arc<Self>,
        call: &Call,
        endpoint: u64,
    ) -> Result<(Arc<Instance>, Ready), ErrorObject> {
        let instance = self.instance_for(call, endpoint, Purpose::List)?;
        let ready = instance.ready().await?;
        Ok((instance, ready))
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
            tools: self.known().map_or(0, |known| known.tools.len()),
            held: self.held().to_vec(),
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
        match outcome {
            Ok(_) | Err(Error::Protocol(_) | Error::Unanswerable(_) | Error::Arguments(_) | Error::NotOffered(_)) => {
                self.conclude(Outcome::Success);
            }
            Err(Error::Closed) => self.conclude(Outcome::Neither),
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
        self.upstream.figures.failures.fetch_add(1, Ordering::Relaxed);
        self.conclude(Outcome::Failure);
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
