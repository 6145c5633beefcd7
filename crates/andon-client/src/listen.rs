//! Subscriptions that outlive connections: `subscriptions/listen` in the modern era, `resources/subscribe` before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use andon_core::client::{CallError, Loss, Timing};
use andon_types::capability::{Listed, ServerCapabilities};
use andon_types::revision::Era;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::driver::{Driver, Request};
use crate::error::Error;
use crate::event::{Event, Events};

/// The wait before a lost subscription is made again; it doubles.
const BACK_OFF: Duration = Duration::from_millis(250);
const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// What to listen to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listen {
    tools: bool,
    prompts: bool,
    resources: bool,
    uris: BTreeSet<String>,
}

impl Listen {
    /// Changes of all three lists.
    pub fn lists() -> Self {
        Self::default().tools().prompts().resources()
    }

    /// Changes of the list of tools.
    #[must_use]
    pub fn tools(mut self) -> Self {
        self.tools = true;
        self
    }

    /// Changes of the list of prompts.
    #[must_use]
    pub fn prompts(mut self) -> Self {
        self.prompts = true;
        self
    }

    /// Changes of the list of resources.
    #[must_use]
    pub fn resources(mut self) -> Self {
        self.resources = true;
        self
    }

    /// Changes of this resource.
    #[must_use]
    pub fn uri(mut self, uri: impl Into<String>) -> Self {
        self.uris.insert(uri.into());
        self
    }

    /// Whether a server with these capabilities tells of all that.
    pub(crate) fn is_offered(&self, capabilities: &ServerCapabilities) -> bool {
        let lists = |listed: Option<Listed>| listed.is_some_and(|listed| listed.list_changed);
        let resources = capabilities.resources.unwrap_or_default();
        (!self.tools || lists(capabilities.tools))
            && (!self.prompts || lists(capabilities.prompts))
            && (!self.resources || resources.list_changed)
            && (self.uris.is_empty() || resources.subscribe)
    }

    fn params(&self) -> Map<String, Value> {
        let mut filter = Map::new();
        for (wanted, name) in [
            (self.tools, "toolsListChanged"),
            (self.prompts, "promptsListChanged"),
            (self.resources, "resourcesListChanged"),
        ] {
            if wanted {
                filter.insert(name.to_owned(), true.into());
            }
        }
        if !self.uris.is_empty() {
            filter.insert("resourceSubscriptions".to_owned(), json!(self.uris));
        }
        Map::from_iter([("notifications".to_owned(), Value::Object(filter))])
    }
}

/// A subscription. It ends when this is dropped.
pub struct Listening {
    events: Events,
    number: u64,
    driver: Weak<Driver>,
}

impl Listening {
    /// The next event of the client, whichever subscription it is of; `None` when the client is gone.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.next().await
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.upgrade() {
            driver.listeners.end(&driver, self.number);
        }
    }
}

/// The subscriptions of a client.
#[derive(Default)]
pub(crate) struct Listeners(Mutex<Active>);

#[derive(Default)]
struct Active {
    last: u64,
    listeners: BTreeMap<u64, Listener>,
    is_reopening: bool,
}

struct Listener {
    wanted: Listen,
    /// Keeps the modern subscription.
    task: Option<AbortHandle>,
}

impl Listeners {
    /// Begins to listen, and returns when the server knows.
    pub(crate) async fn begin(&self, driver: &Arc<Driver>, wanted: Listen) -> Result<Listening, Error> {
        let opened = driver.open().await?;
        let events = Events(driver.events());
        let number = {
            let mut active = self.active();
            active.last += 1;
            let number = active.last;
            active.listeners.insert(number, Listener { wanted: wanted.clone(), task: None });
            number
        };
        // From here on, dropping it takes everything back.
        let listening = Listening { events, number, driver: Arc::downgrade(driver) };
        match opened.revision.era() {
            Era::Legacy => {
                for uri in &wanted.uris {
                    subscribe(driver, "resources/subscribe", uri).await?;
                }
            }
            Era::Modern => {
                let (ready, outcome) = oneshot::channel();
                let task = tokio::spawn(keep_listening(Arc::downgrade(driver), wanted, ready)).abort_handle();
                if let Some(listener) = self.active().listeners.get_mut(&number) {
                    listener.task = Some(task);
                }
                outcome.await.unwrap_or(Err(Error::Closed))?;
            }
        }
        Ok(listening)
    }

    /// After a new session: what the old one was subscribed to.
    pub(crate) async fn restore(&self, driver: &Driver) {
        let is_legacy = driver.opened().is_some_and(|opened| opened.revision.era() == Era::Legacy);
        if !is_legacy {
            return;
        }
        let uris: BTreeSet<String> =
            self.active().listeners.values().flat_map(|listener| listener.wanted.uris.iter().cloned()).collect();
        for uri in uris {
            if let Err(error) = subscribe(driver, "resources/subscribe", &uri).await {
                tracing::warn!(uri, %error, "a subscription could not be restored");
            }
        }
    }

    /// The connection is gone: whoever listens needs another without making a call.
    pub(crate) fn connection_lost(&self, driver: &Weak<Driver>) {
        let mut active = self.active();
        if active.listeners.is_empty() || std::mem::replace(&mut active.is_reopening, true) {
            return;
        }
        let driver = driver.clone();
        tokio::spawn(async move {
            while let Some(driver) = driver.upgrade() {
                match driver.open().await {
                    // Opening waits longer each time, and gives up when its attempts are used up.
                    Err(Error::Transport(Loss::Unreachable(_))) => {}
                    Ok(_) | Err(_) => break,
                }
            }
            if let Some(driver) = driver.upgrade() {
                driver.listeners.active().is_reopening = false;
            }
        });
    }

    fn end(&self, driver: &Arc<Driver>, number: u64) {
        let mut active = self.active();
        let Some(listener) = active.listeners.remove(&number) else { return };
        if let Some(task) = listener.task {
            return task.abort();
        }
        drop(active);
        let is_legacy = driver.opened().is_some_and(|opened| opened.revision.era() == Era::Legacy);
        if let (true, Ok(runtime)) = (is_legacy, tokio::runtime::Handle::try_current()) {
            let driver = driver.clone();
            runtime.spawn(async move {
                for uri in listener.wanted.uris {
                    driver.listeners.unsubscribe(&driver, &uri).await;
                }
            });
        }
    }

    /// Tells the server that nobody listens to `uri` any more, if so. Somebody may begin to meanwhile, and be overtaken.
    async fn unsubscribe(&self, driver: &Driver, uri: &String) {
        let is_wanted = || self.active().listeners.values().any(|other| other.wanted.uris.contains(uri));
        if is_wanted() {
            return;
        }
        if let Err(error) = subscribe(driver, "resources/unsubscribe", uri).await {
            tracing::debug!(uri, %error, "a subscription could not be ended");
        }
        if is_wanted()
            && let Err(error) = subscribe(driver, "resources/subscribe", uri).await
        {
            tracing::warn!(uri, %error, "a subscription could not be restored");
        }
    }

    fn active(&self) -> MutexGuard<'_, Active> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn subscribe(driver: &Driver, method: &str, uri: &str) -> Result<(), CallError> {
    let params = Map::from_iter([("uri".to_owned(), uri.into())]);
    let timing = Timing { timeout: driver.settings.timeout, max: driver.settings.timeout };
    driver.call(Request { timing, ..Request::new(method, params) }).await.map(drop)
}

/// Keeps a modern subscription: makes it again when its stream breaks or ends.
async fn keep_listening(driver: Weak<Driver>, wanted: Listen, ready: oneshot::Sender<Result<(), Error>>) {
    let mut ready = Some(ready);
    let mut failed = 0_u32;
    loop {
        let Some(strong) = driver.upgrade() else { return };
        let (acknowledge, mut acknowledged) = oneshot::channel();
        let request = Request { on_ack: Some(acknowledge), ..Request::new("subscriptions/listen", wanted.params()) };
        let ended = {
            let opened = strong.open().await;
            let mut calling = std::pin::pin!(async {
                opened?;
                strong.call(request).await.map_err(Error::from)
            });
            tokio::select! {
                ended = &mut calling => ended,
                told = &mut acknowledged => match told {
                    Ok(()) => {
                        match ready.take() {
                            // Whoever listens may have gone.
                            Some(ready) => drop(ready.send(Ok(()))),
                            None => strong.tell(Event::Reopened),
                        }
                        failed = 0;
                        calling.await
                    }
                    Err(_) => calling.await,
                },
            }
        };
        match (ended, ready.take()) {
            (Err(error), Some(ready)) => return drop(ready.send(Err(error))),
            (Ok(_), Some(ready)) => {
                let why = "the server ended a subscription that it had not acknowledged".to_owned();
                return drop(ready.send(Err(Error::Invalid(why))));
            }
            (Err(Error::Closed), None) => return,
            (ended, None) => tracing::debug!(?ended, "a subscription ended"),
        }
        // What changed in between was not told.
        strong.cache.clear();
        drop(strong);
        tokio::time::sleep((BACK_OFF * 2_u32.saturating_pow(failed.min(8))).min(BACK_OFF_MAX)).await;
        failed += 1;
    }
}
