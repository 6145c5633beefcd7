//! All servers behind one endpoint, and behind one each.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use andon_client::Builder;
use andon_http::Mounts;
use andon_server::change::Changes;
use andon_server::error::Error;
use andon_server::host::Host;
use andon_server::serve::DRAIN_TIMEOUT;
use andon_server::service::Service;
use futures_util::future::join_all;

use crate::catalogue::Catalogue;
use crate::config::{Config, Mode, Policy};
use crate::flight::{Parking, lock};
use crate::instance::{Instance, Key};
use crate::names;
use crate::pins::Pins;
use crate::service::{Front, Scope};
use crate::upstream::{Listing, Upstream};
use crate::view::Home;
use crate::viewer::Viewer;

pub use crate::upstream::Status;

/// How often calls whose clients did not come back are given up.
const SWEEP: Duration = Duration::from_secs(30);
/// How long processes may take to end, after they were asked to.
const LEAVE: Duration = Duration::from_secs(8);

/// Makes the host of a service, which announces its changes: that of everything, or of the server with this name.
pub type MakeHost = dyn Fn(Arc<dyn Service>, &Changes, Option<&str>) -> Result<Arc<Host>, Error> + Send + Sync;
/// Adds credentials to the client of a URL for which the configuration has none.
pub type Prepare = dyn Fn(Builder, &str) -> Builder + Send + Sync;

/// How many clients there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clients {
    /// The process that started this one, over stdio.
    One,
    /// Whoever comes.
    Many,
}

/// What the program decides for a gateway.
pub struct Options {
    /// Who is served.
    pub clients: Clients,
    /// Of servers whose configuration does not say.
    pub mode: Mode,
    /// Where lists and definitions are kept, so that they are there before the servers are.
    pub data: Option<PathBuf>,
    /// Makes the hosts.
    pub host: Box<MakeHost>,
    /// Adds credentials.
    pub prepare: Box<Prepare>,
}

/// Serves the servers of a configuration. Owns their processes: [`Gateway::stop`] ends them.
pub struct Gateway {
    hub: Arc<Hub>,
    main: Arc<Endpoint>,
}

/// What everything that belongs to a gateway shares.
pub(crate) struct Hub {
    options: Shared,
    pub(crate) prepare: Box<Prepare>,
    pub(crate) clients: Clients,
    pub(crate) pins: Pins,
    pub(crate) parking: Arc<Parking>,
    upstreams: RwLock<Arc<Vec<Arc<Upstream>>>>,
    /// How many servers the configuration names, with those that are left out; written with `upstreams`.
    named: AtomicUsize,
    endpoints: Mutex<HashMap<Scope, Arc<Endpoint>>>,
    next_endpoint: AtomicU64,
    me: Weak<Hub>,
}

struct Shared {
    mode: Mode,
    data: Option<PathBuf>,
    host: Box<MakeHost>,
}

/// What a configuration changed.
struct Applied {
    /// Servers that were started.
    started: usize,
    /// Servers to end.
    ended: Vec<Arc<Upstream>>,
    /// Servers that run on are treated otherwise.
    is_otherwise: bool,
}

struct Endpoint {
    number: u64,
    front: Arc<Front>,
    host: Arc<Host>,
    changes: Changes,
}

impl Gateway {
    /// Starts the servers of `config`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When there can be no host of everything, or what is trusted of the servers' definitions cannot be read.
    pub fn start(config: &Config, options: Options) -> Result<Arc<Self>, Error> {
        let Options { clients, mode, data, host, prepare } = options;
        let pins = Pins::open(data.as_deref()).map_err(|error| {
            let why = "the definitions of tools that are trusted cannot be read; mend that, or remove the file to trust what its \
                       server lists next";
            Error::io(why, error)
        })?;
        let hub = Arc::new_cyclic(|me| Hub {
            pins,
            options: Shared { mode, data, host },
            prepare,
            clients,
            parking: Arc::default(),
            upstreams: RwLock::default(),
            named: AtomicUsize::new(0),
            endpoints: Mutex::default(),
            next_endpoint: AtomicU64::new(0),
            me: me.clone(),
        });
        let main = hub.endpoint(Scope::All)?;
        drop(hub.apply(config));
        // What is kept of servers is known from here on, and to be told to who comes.
        hub.announce_all();
        tokio::spawn(sweep(Arc::downgrade(&hub.parking)));
        Ok(Arc::new(Self { hub, main }))
    }

    /// The host of the endpoint with everything.
    pub fn host(&self) -> Arc<Host> {
        self.main.host.clone()
    }

    /// Serves `config` from now on. Servers that are the same run on, with everybody who uses them; those of them that
    /// rest are tried again. Returns how many were started and how many are ended.
    pub fn reload(&self, config: &Config) -> (usize, usize) {
        let is_approved = self.hub.pins.heed_approvals();
        let (before, named) = (self.hub.upstreams(), self.hub.named());
        let Applied { started, ended, is_otherwise } = self.hub.apply(config);
        let count = ended.len();
        tokio::spawn(async move { join_all(ended.iter().map(|upstream| upstream.end())).await });
        for upstream in self.hub.upstreams().iter() {
            upstream.try_again();
        }
        let after = self.hub.upstreams();
        let is_same = before.len() == after.len() && before.iter().zip(after.iter()).all(|(a, b)| Arc::ptr_eq(a, b));
        if is_approved || is_otherwise || !is_same || named != config.named {
            self.hub.announce_all();
        }
        (started, count)
    }

    /// Trusts what `andon approve` was told to trust, which [`Gateway::reload`] does as well, and whether it was told anything.
    pub fn heed_approvals(&self) -> bool {
        let is_approved = self.hub.pins.heed_approvals();
        if is_approved {
            self.hub.announce_all();
        }
        is_approved
    }

    /// How each server fares, in the order of the file.
    pub fn status(&self) -> Vec<Status> {
        self.hub.upstreams().iter().map(|upstream| upstream.status()).collect()
    }

    /// How many calls wait for their clients to come back with answers.
    pub fn parked(&self) -> usize {
        self.hub.parking.len()
    }

    /// Lets the calls at the endpoints of single servers finish, and takes no more there. That of everything is drained by
    /// whoever serves it.
    pub async fn drain(&self) {
        let hosts: Vec<_> = lock(&self.hub.endpoints)
            .iter()
            .filter(|(scope, _)| **scope != Scope::All)
            .map(|(_, endpoint)| endpoint.host.clone())
            .collect();
        join_all(hosts.iter().map(|host| host.drain(DRAIN_TIMEOUT))).await;
    }

    /// Ends all servers, and waits until no process is left, a few seconds at most.
    pub async fn stop(&self) {
        let upstreams = self.hub.upstreams();
        let ending = async {
            join_all(upstreams.iter().map(|upstream| upstream.end())).await;
            andon_client::children_ended().await;
        };
        if tokio::time::timeout(LEAVE, ending).await.is_err() {
            tracing::error!("some servers did not end in time");
        }
    }
}

impl Mounts for Gateway {
    fn paths(&self) -> String {
        // Their names are for those who may come in.
        "/mcp/NAME is that of the server NAME of the configuration, with _ for what is none of A-Z a-z 0-9 _ - ."
            .to_owned()
    }

    /// `/mcp/<server>`.
    fn host_at(&self, path: &str) -> Option<Arc<Host>> {
        let name = path.strip_prefix("/mcp/")?;
        let upstreams = self.hub.upstreams();
        let upstream = upstreams.iter().find(|upstream| names::plain(&upstream.name) == name)?;
        match self.hub.endpoint(Scope::One(upstream.name.clone())) {
            Ok(endpoint) => Some(endpoint.host.clone()),
            Err(error) => {
                tracing::error!(server = &*upstream.name, %error, "no endpoint");
                None
            }
        }
    }
}

impl Hub {
    pub(crate) fn upstreams(&self) -> Arc<Vec<Arc<Upstream>>> {
        self.upstreams.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many servers the configuration names.
    pub(crate) fn named(&self) -> usize {
        self.named.load(Ordering::Relaxed)
    }

    pub(crate) fn upstream(&self, name: &str) -> Option<Arc<Upstream>> {
        self.upstreams().iter().find(|upstream| &*upstream.name == name).cloned()
    }

    /// The conversations in which a resource is watched under this name, an endpoint and what it is called there, of whose
    /// clients nobody is subscribed to it.
    pub(crate) fn watching_for_nobody(&self, name: &(u64, String)) -> Vec<Arc<Instance>> {
        let endpoint = lock(&self.endpoints).values().find(|known| known.number == name.0).cloned();
        let Some(Endpoint { host, .. }) = endpoint.as_deref() else { return Vec::new() };
        let is_watched = host.is_watched(&name.1);
        let upstreams = self.upstreams();
        let concerned = upstreams.iter().filter(|upstream| !is_watched || !upstream.is_for_all());
        let instances = concerned.flat_map(|upstream| upstream.instances());
        let is_for_nobody = |key: &Key| !is_watched || !host.is_watched_by(&name.1, &key.audience());
        instances.filter(|instance| instance.watches_as(name) && is_for_nobody(&instance.key)).collect()
    }

    /// What those are subscribed to who share the conversations with this key, and see what `viewer` does: who serves it,
    /// and under which name at which endpoint.
    pub(crate) fn subscriptions(&self, key: &Key, viewer: Option<&Viewer>) -> Vec<(Home, (u64, String))> {
        let mut found = Vec::new();
        for endpoint in self.endpoints_of(key) {
            let view = endpoint.front.known_view(viewer);
            for uri in endpoint.host.subscriptions_of(&key.audience()) {
                found.extend(view.home(&uri).map(|home| (home, (endpoint.number, uri.to_string()))));
            }
        }
        found
    }

    fn endpoints_of(&self, key: &Key) -> Vec<Arc<Endpoint>> {
        lock(&self.endpoints).values().filter(|endpoint| key.is_at(endpoint.number)).cloned().collect()
    }

    /// Replaces the servers by these; those that are the same stay.
    fn apply(&self, Config { servers, named, .. }: &Config) -> Applied {
        let known = self.upstreams();
        let (mut started, mut is_otherwise) = (Vec::new(), false);
        let next: Vec<Arc<Upstream>> = servers
            .iter()
            .map(|server| {
                let same = known.iter().find(|upstream| upstream.is_of(server, self.options.mode));
                if let Some(same) = same {
                    is_otherwise |= same.heed_settings(&server.settings);
                }
                same.cloned().unwrap_or_else(|| {
                    let trust = self.pins.of(&server.name);
                    let upstream = Upstream::new(server.clone(), self.options.mode, trust, self.me.clone());
                    upstream.remember();
                    if upstream.settings().definitions == Policy::Hold && self.options.data.is_none() {
                        tracing::warn!(
                            server = server.name,
                            "changed definitions are held back and cannot be approved, and after a restart all are \
                             trusted: say with --data DIR where to keep what is trusted"
                        );
                    }
                    started.push(upstream.clone());
                    upstream
                })
            })
            .collect();
        let ended: Vec<_> = known.iter().filter(|old| !next.iter().any(|new| Arc::ptr_eq(old, new))).cloned().collect();
        {
            let mut upstreams = self.upstreams.write().unwrap_or_else(PoisonError::into_inner);
            *upstreams = Arc::new(next);
            self.named.store(*named, Ordering::Relaxed);
        }
        for upstream in &started {
            upstream.warm();
            if let Some(old) = known.iter().find(|old| old.name == upstream.name) {
                upstream.succeed(old);
            }
        }
        Applied { started: started.len(), ended, is_otherwise }
    }

    fn endpoint(&self, scope: Scope) -> Result<Arc<Endpoint>, Error> {
        let mut endpoints = lock(&self.endpoints);
        if let Some(endpoint) = endpoints.get(&scope) {
            return Ok(endpoint.clone());
        }
        let number = self.next_endpoint.fetch_add(1, Ordering::Relaxed);
        let changes = Changes::default();
        let front = Arc::new(Front::new(scope.clone(), number, self.me.clone()));
        let name = match &scope {
            Scope::All => None,
            Scope::One(name) => Some(names::plain(name)),
        };
        let host = (self.options.host)(front.clone(), &changes, name.as_deref())?;
        let endpoint = Arc::new(Endpoint { number, front, host, changes });
        endpoints.insert(scope, endpoint.clone());
        Ok(endpoint)
    }

    /// The server `name` has listed what it has, in the conversation with this key; tells those clients whose lists have
    /// changed. What a server says to have changed, and did not, is no news.
    pub(crate) fn listed(&self, (name, key): (&Arc<str>, &Key), listing: &Listing) {
        let Listing { before, after, .. } = listing;
        let is_other = |differs: fn(&Catalogue, &Catalogue) -> bool| {
            before.as_ref().is_none_or(|(before, _)| differs(before, after))
        };
        let is_held_otherwise = before.as_ref().is_some_and(|(_, held)| *held != after.held());
        // What it says of itself is told with the list that all have.
        let says_otherwise = is_other(|a, b| a.instructions != b.instructions || a.info != b.info);
        let tools = is_held_otherwise || says_otherwise || is_other(|a, b| a.tools != b.tools);
        let prompts = is_other(|a, b| a.prompts != b.prompts);
        let resources = is_other(|a, b| a.resources != b.resources || a.templates != b.templates);
        for endpoint in self.endpoints_of(key).iter().filter(|endpoint| endpoint.front.shows(name)) {
            let changes = endpoint.changes.to(key.audience());
            if tools {
                changes.tools();
            }
            if prompts {
                changes.prompts();
            }
            if resources {
                changes.resources();
            }
        }
    }

    fn announce_all(&self) {
        let endpoints: Vec<_> = lock(&self.endpoints).values().cloned().collect();
        for endpoint in endpoints {
            endpoint.changes.tools();
            endpoint.changes.prompts();
            endpoint.changes.resources();
        }
    }

    /// These resources changed for those who share the conversation with this key: endpoint, and name there.
    pub(crate) fn updated(&self, key: &Key, names: &[(u64, String)]) {
        let endpoints = self.endpoints_of(key);
        for (number, uri) in names {
            if let Some(endpoint) = endpoints.iter().find(|endpoint| endpoint.number == *number) {
                endpoint.changes.to(key.audience()).updated(uri);
            }
        }
    }
}

async fn sweep(parking: Weak<Parking>) {
    let mut ticks = tokio::time::interval(SWEEP);
    loop {
        ticks.tick().await;
        let Some(parking) = parking.upgrade() else { return };
        parking.sweep();
    }
}
