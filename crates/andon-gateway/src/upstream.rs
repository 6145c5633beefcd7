//! One server: its conversations, its health, and how much of Andon it may take up.

mod choice;
mod health;
mod shown;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use andon_client::Builder;
use andon_server::call::Call;
use andon_types::error::ErrorObject;
use tokio::sync::Semaphore;

use crate::breaker::Breaker;
use crate::catalogue;
use crate::config::{Mode, Place, Server, Settings};
use crate::flight::lock;
use crate::gateway::{Clients, Hub};
use crate::instance::{Instance, Key, Ready, Reserved};
use crate::pins::{Trust, Vetted, kept};
use crate::restarts::Intensity;
use crate::service::Dull;
use health::Figures;

pub(crate) use choice::Purpose;
pub use health::Status;
pub(crate) use health::{Admission, Room};
pub(crate) use shown::Listing;

pub(crate) struct Upstream {
    pub(crate) name: Arc<str>,
    pub(crate) place: Place,
    /// What differs between them while it runs is looked at each time.
    settings: RwLock<Arc<Settings>>,
    pub(crate) mode: Mode,
    hub: Weak<Hub>,
    breaker: Mutex<Breaker>,
    slots: Arc<Semaphore>,
    /// For calls whose clients come back with answers, beside those.
    returning: Arc<Semaphore>,
    instances: Mutex<HashMap<Key, Arc<Instance>>>,
    /// No conversation begins any more. Changes while the conversations are locked only.
    is_ended: AtomicBool,
    /// What it listed last, in whichever conversation: for operators.
    known: Mutex<Option<Arc<Vetted>>>,
    /// What each of those knows of it that share a conversation, by its key ([`Upstream::shelf`]). Clients see their own.
    shown: Mutex<HashMap<Key, Arc<Vetted>>>,
    trust: Arc<Trust>,
    /// What starts it, in a few digits.
    pub(crate) origin: String,
    /// Conversations that have listed have turns, so that what is known last is what is kept.
    turn: Arc<tokio::sync::Mutex<()>>,
    figures: Figures,
    /// It was said how to let it ask.
    is_explained: AtomicBool,
    /// What was said of names in the configuration that are none of its own.
    idle_words: Mutex<Vec<String>>,
    /// Of its results.
    pub(crate) dull: Dull,
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
            returning: Arc::new(Semaphore::new(settings.in_flight_max)),
            settings: RwLock::new(Arc::new(settings)),
            hub,
            instances: Mutex::default(),
            is_ended: AtomicBool::new(false),
            known: Mutex::default(),
            shown: Mutex::default(),
            trust,
            origin,
            turn: Arc::default(),
            figures: Figures::default(),
            is_explained: AtomicBool::new(false),
            idle_words: Mutex::default(),
            dull: Dull::default(),
        })
    }

    /// How it is treated now.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it can be what the configuration says without being started anew.
    pub(crate) fn is_of(&self, server: &Server, default_mode: Mode) -> bool {
        *self.name == *server.name
            && self.place == server.place
            && self.settings().runs_on_as(&server.settings)
            && self.mode == server.settings.mode.unwrap_or(default_mode)
    }

    /// Is treated so from now on, and whether that is otherwise than before.
    pub(crate) fn heed_settings(&self, settings: &Settings) -> bool {
        if *self.settings() == *settings {
            return false;
        }
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings.clone());
        self.find_idle_words();
        true
    }

    /// Begins the conversation that all share, so that it is there when the first client comes.
    pub(crate) fn warm(self: &Arc<Self>) {
        if self.mode == Mode::Shared {
            drop(self.instance(Key::Shared, None, Purpose::List));
        }
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
            let has_room = instances.len() < self.settings().instances_max && !self.is_ended.load(Ordering::Relaxed);
            if has_room && !instances.contains_key(&before.key) {
                instances.insert(before.key.clone(), Instance::follow(before, self.clone()));
            }
        }
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

    /// Whether it was ended for good: it is configured otherwise or not any more, or Andon ends.
    pub(crate) fn is_ended(&self) -> bool {
        self.is_ended.load(Ordering::Relaxed)
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
    pub(crate) fn source<'a>(&'a self, settings: &'a Settings) -> catalogue::Server<'a> {
        catalogue::Server { name: &self.name, settings }
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

    /// Says which names in the configuration are none of its own, once.
    fn find_idle_words(&self) {
        let Some(known) = self.known() else { return };
        let settings = self.settings();
        let found = settings.idle_words(&settings.prefix_of(&self.name), &known);
        let mut said = lock(&self.idle_words);
        for what in found {
            if !said.contains(&what) {
                tracing::warn!(server = &*self.name, what, "the configuration names what there is not");
                said.push(what);
            }
        }
    }

    /// How often conversations may be opened again. One that ends at once each time is no crash loop where there is no
    /// process: it is tried on, ever less often.
    pub(crate) fn intensity(&self) -> Intensity {
        let restarts = self.settings().restarts;
        let most = if self.place.is_child() { restarts.most } else { usize::MAX };
        Intensity { most, ..restarts }
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

    /// A conversation over which calls can be made, kept for whoever asks.
    ///
    /// # Errors
    /// What to tell the client.
    pub(crate) async fn ready(self: &Arc<Self>, call: &Call, endpoint: u64) -> Result<(Reserved, Ready), ErrorObject> {
        let reserved = self.reserve(call, endpoint, Purpose::Any)?;
        let ready = reserved.instance.ready().await?;
        Ok((reserved, ready))
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
