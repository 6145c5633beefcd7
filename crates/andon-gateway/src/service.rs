//! What clients meet: an application whose tools, prompts and resources are those of the servers.

mod lists;
mod results;
mod tasks;

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use andon_client::{Error, Loss};
use andon_server::call::Call;
use andon_server::change::Subscriber;
use andon_server::cursor::Cursors;
use andon_server::principal::Principal;
use andon_server::seal::Seal;
use andon_server::service::{Reply, Service, Text};
use andon_server::tasks::{Ran, Tasks};
use andon_types::capability::{Listed, ResourcesCapability, ServerCapabilities};
use andon_types::error::{ErrorObject, clip};
use andon_types::message::Json;
use andon_types::meta::Implementation;
use andon_types::method::Method;
use andon_types::params::{Member, Params};
use andon_types::raw_object::RawObject;
use andon_types::revision::Era;
use andon_types::tools::Tool;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::config::Retry;
use crate::flight::{Brought, Flight, follow, lock, resume};
use crate::gateway::Hub;
use crate::instance::{Outgoing, Phase, Sharing, TaskWish};
use crate::upstream::{Purpose, Room, Upstream};
use crate::view::{View, Views};
use crate::viewer::Viewer;
use tasks::Way;

pub use lists::MISSING;
pub(crate) use results::Dull;
pub(crate) use tasks::Tasking;

/// Which servers an endpoint serves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    All,
    One(Arc<str>),
}

/// Resources that one listen request may name.
const LISTEN_RESOURCES_MAX: usize = 1_000;
/// How long somebody may take to subscribe again before a server is told that nobody listens.
const LINGER: Duration = Duration::from_secs(1);
/// What is looked at, or passed on, of the parameters of a call of a tool.
const OF_A_TOOL: [(&str, Member); 3] =
    [("name", Member::Name), ("arguments", Member::Arguments), ("task", Member::Task)];

pub(crate) struct Front {
    scope: Scope,
    number: u64,
    hub: Weak<Hub>,
    views: Mutex<Views>,
    opened: OnceLock<Opened>,
}

/// What its host has for it.
struct Opened {
    tasks: Arc<Tasks>,
    cursors: Cursors,
}

/// A request that was understood: who serves it, and what it is there.
struct Routed {
    upstream: Arc<Upstream>,
    /// As the server knows them.
    params: Arc<RawObject>,
    /// Whether it may be sent twice.
    is_repeatable: bool,
    way: Way,
    /// Whether the server is to make a task of it.
    wish: TaskWish,
    /// What the names are of.
    view: Arc<View>,
}

impl Routed {
    /// What the client calls the resource that its server calls `own`, if that is another name; what it `asked` for keeps
    /// the name that it asked by.
    fn name_of(&self, own: &str, asked: Option<&str>) -> Option<String> {
        match asked {
            Some(asked) if self.params.text("uri").as_deref() == Some(own) => (asked != own).then(|| asked.to_owned()),
            _ => self.view.other_name(&self.upstream.name, own),
        }
    }
}

impl Front {
    pub(crate) fn new(scope: Scope, number: u64, hub: Weak<Hub>) -> Self {
        Self { scope, number, hub, views: Mutex::default(), opened: OnceLock::new() }
    }

    fn hub(&self) -> Result<Arc<Hub>, ErrorObject> {
        self.hub.upgrade().ok_or_else(|| ErrorObject::unavailable("the gateway is ending"))
    }

    fn upstreams(&self) -> Vec<Arc<Upstream>> {
        let Some(hub) = self.hub.upgrade() else { return Vec::new() };
        let all = hub.upstreams();
        all.iter().filter(|upstream| self.shows(&upstream.name)).cloned().collect()
    }

    /// Whether it serves the server with this name.
    pub(crate) fn shows(&self, name: &str) -> bool {
        match &self.scope {
            Scope::All => true,
            Scope::One(only) => **only == *name,
        }
    }

    async fn serve(self: Arc<Self>, call: Call, method: Method, given: Option<Params>) -> Result<Reply, ErrorObject> {
        if method == Method::ToolsCall {
            let params = given.as_ref().map(|given| RawObject::some_of(given, &OF_A_TOOL)).unwrap_or_default();
            return self.pass_on(&call, method, params).await;
        }
        let params = given.as_ref().map(RawObject::from).unwrap_or_default();
        // Boxed, so that the many calls of tools do not carry what the others need.
        match method {
            Method::ToolsList | Method::PromptsList | Method::ResourcesList | Method::TemplatesList => {
                Box::pin(self.list(&call, method, &params)).await
            }
            Method::PromptsGet | Method::ResourcesRead | Method::Complete => {
                Box::pin(self.pass_on(&call, method, params)).await
            }
            Method::Subscribe => Box::pin(self.subscribe(&call, &params)).await,
            Method::Unsubscribe => Ok(Reply { subject: Some(text_of(&params, "uri")?.into()), ..Reply::default() }),
            Method::Listen => Box::pin(self.listen(&call, &params)).await,
            Method::TasksGet | Method::TasksList | Method::TasksResult | Method::TasksUpdate | Method::TasksCancel => {
                Box::pin(self.tasks()?.serve(&call, method, given.as_ref())).await
            }
            // The machines answer the rest themselves.
            _ => Err(ErrorObject::method_not_found(method.as_str())),
        }
    }

    /// Has the server answer that the request is for.
    async fn pass_on(self: &Arc<Self>, call: &Call, method: Method, params: RawObject) -> Result<Reply, ErrorObject> {
        let asked = params.text("uri").map(Cow::into_owned);
        let routed = self.route(call, method, params).await?;
        let settings = routed.upstream.settings();
        // The server's own time runs out first, and says what happened.
        call.set_timeout(settings.start_timeout + settings.timeout + Duration::from_secs(5));
        match routed.way {
            Way::Call => Ok(self.carry(call, method, &routed, asked.as_deref()).await?.0),
            // Boxed, so that calls which are no tasks do not carry what those need.
            Way::Task(ttl) => Box::pin(self.run_task(call, method, (routed, ttl), asked)).await,
            Way::Late => Box::pin(self.run_late(call, method, routed, asked)).await,
        }
    }

    async fn run_task(
        self: &Arc<Self>,
        call: &Call,
        method: Method,
        (routed, ttl): (Routed, Option<Duration>),
        asked: Option<String>,
    ) -> Result<Reply, ErrorObject> {
        let front = self.clone();
        let work = |call: Call| async move { front.carry(&call, method, &routed, asked.as_deref()).await };
        self.tasks()?.run(call, ttl, work).await
    }

    async fn run_late(
        self: &Arc<Self>,
        call: &Call,
        method: Method,
        routed: Routed,
        asked: Option<String>,
    ) -> Result<Reply, ErrorObject> {
        let (front, own) = (self.clone(), call.clone());
        let running = async move { front.carry(&own, method, &routed, asked.as_deref()).await };
        self.tasks()?.run_late(call, running).await
    }

    fn means(&self) -> Result<&Opened, ErrorObject> {
        self.opened.get().ok_or_else(|| ErrorObject::unavailable("the gateway is only beginning"))
    }

    fn tasks(&self) -> Result<&Arc<Tasks>, ErrorObject> {
        self.means().map(|means| &means.tasks)
    }

    /// Makes the call, and gives what it comes to. `asked` is the URI that it named.
    async fn carry(&self, call: &Call, method: Method, routed: &Routed, asked: Option<&str>) -> Ran {
        let mut wish = routed.wish;
        let hub = self.hub()?;
        let mut params = routed.params.clone();
        let mut flight = None;
        let origin = &routed.upstream.origin;
        let mut room = Room::Needed;
        match resume(call, &hub.parking, origin)? {
            Brought::Nothing => {}
            Brought::Answers(answers) => {
                params = Arc::new(answers.beside(&params));
                room = Room::Returning;
            }
            Brought::Parked(parked) => flight = Some(parked),
        }
        let mut is_repeatable = routed.is_repeatable;
        loop {
            let next = match flight.take() {
                Some(flight) => flight,
                None => {
                    let outgoing = Outgoing { method, params: params.clone(), task: wish };
                    self.depart(routed, call, outgoing, room).await?
                }
            };
            let (outcome, revision) = follow(next, call, origin, &hub.parking).await;
            match outcome {
                Ok(result) => {
                    let is_failure = call.is_task() && results::is_failure(&result);
                    let other_name = |own: &str| routed.name_of(own, asked);
                    return Ok((
                        results::reply(call, method, (&result, revision), &routed.upstream.dull, other_name)?,
                        is_failure,
                    ));
                }
                Err(error) if results::is_lost(&error) && routed.upstream.is_ended() => {
                    return Err(results::ended(&routed.upstream.name));
                }
                Err(error) if wish == TaskWish::IfRefused && tasks::wants_a_task(&error) => {
                    wish = TaskWish::Yes(None);
                }
                // Answers may be good once, if they were heard.
                Err(error)
                    if is_repeatable
                        && results::is_lost(&error)
                        && (room == Room::Needed || matches!(error, Error::Transport(Loss::Unreachable(_)))) =>
                {
                    tracing::info!(server = &*routed.upstream.name, %error, "a call is made again");
                    is_repeatable = false;
                }
                Err(Error::Protocol(error)) if revision.era() == Era::Modern && results::asks_in_vain(&error) => {
                    return Err(routed.upstream.explained(error));
                }
                Err(error) => {
                    return Err(results::failure(&routed.upstream.name, error, asked));
                }
            }
        }
    }

    async fn depart(
        &self,
        routed: &Routed,
        call: &Call,
        outgoing: Outgoing,
        room: Room,
    ) -> Result<Flight, ErrorObject> {
        let mut admission = routed.upstream.admit(room).await?;
        let reserved = routed.upstream.reserve(call, self.number, Purpose::Call)?;
        let instance = &reserved.instance;
        let ready = instance.ready().await.inspect_err(|_| {
            // One that was ended is none that fails, nor is one that takes longer to start than a call waits.
            if !instance.is_ending() && !matches!(instance.phase(), Phase::Starting) {
                admission.failed();
            }
        })?;
        // What was found out before may be of another conversation, or of the time before this one began.
        if outgoing.method == Method::ToolsCall
            && let Some(held) = ready.catalogue.held()
            && let Some(tool) = routed.params.text("name").filter(|tool| held.contains(&**tool))
        {
            return Err(held_back(&routed.upstream.name, &tool));
        }
        Ok(instance.fly(&ready, (call, self.number), outgoing, admission))
    }

    /// Finds out who serves a request, by the names that this client sees.
    async fn route(
        self: &Arc<Self>,
        call: &Call,
        method: Method,
        mut params: RawObject,
    ) -> Result<Routed, ErrorObject> {
        // It is for the round with this client.
        params.take("inputResponses");
        params.take("requestState");
        // What is known costs no waiting for servers that are just starting.
        let mut view = match uri_in(method, &params) {
            Some(uri) => self.view_of_resource(call, &uri).await,
            None => self.known_view(self.viewer(call).as_ref()),
        };
        let located = match locate(&view, method, &params) {
            Err(_) if uri_in(method, &params).is_none() => {
                view = self.view_for(call, &name_in(&params)).await?;
                locate(&view, method, &params)?
            }
            located => located?,
        };
        let Located { server: name, own, is_repeatable, tasking } = located;
        let (way, wish) = match method {
            Method::ToolsCall => tasks::way(call, tasking, &mut params)?,
            _ => (Way::Call, TaskWish::No),
        };
        match method {
            Method::Complete => {
                if let Some(mut reference) = params.get("ref").map(RawObject::from) {
                    let member = if reference.get("name").is_some() { "name" } else { "uri" };
                    reference.put(member, Json::string(&own));
                    params.put("ref", reference);
                }
            }
            Method::ResourcesRead => put_name(&mut params, "uri", &own),
            _ => put_name(&mut params, "name", &own),
        }
        params.take("_meta");
        if method == Method::ToolsCall
            && !params.get("arguments").is_some_and(|arguments| arguments.as_str().starts_with('{'))
        {
            params.put("arguments", Map::new());
        }
        let upstream = self.hub()?.upstream(&name);
        let upstream = upstream.ok_or_else(|| ErrorObject::unavailable(format!("the server {name:?} is gone")))?;
        let is_repeatable = is_repeatable && upstream.settings().retry == Retry::Idempotent;
        Ok(Routed { upstream, params: Arc::new(params), is_repeatable, way, wish, view })
    }

    async fn subscribe(self: &Arc<Self>, call: &Call, params: &RawObject) -> Result<Reply, ErrorObject> {
        let uri = text_of(params, "uri")?;
        let view = self.view_of_resource(call, &uri).await;
        self.watch(call, &view, &uri).await?;
        Ok(Reply { subject: Some(uri.into()), ..Reply::default() })
    }

    async fn watch(&self, call: &Call, view: &View, uri: &str) -> Result<(), ErrorObject> {
        let home = view.home(uri).ok_or_else(|| ErrorObject::resource_not_found(uri))?;
        let unknown = || ErrorObject::resource_not_found(uri);
        let upstream = self.hub()?.upstream(&home.server).ok_or_else(unknown)?;
        let (reserved, ready) = upstream.ready(call, self.number).await?;
        let watched = reserved.instance.watch(&ready, &home.uri, (self.number, uri.to_owned())).await;
        watched.map_err(|error| results::failure(&home.server, error, Some(uri)))
    }

    async fn listen(self: &Arc<Self>, call: &Call, params: &RawObject) -> Result<Reply, ErrorObject> {
        #[derive(Deserialize, Default)]
        #[serde(default, rename_all = "camelCase")]
        struct Wanted {
            tools_list_changed: bool,
            prompts_list_changed: bool,
            resources_list_changed: bool,
            resource_subscriptions: Vec<String>,
            task_ids: Option<Vec<String>>,
        }
        let wanted = params.get("notifications").map_or(Ok(Wanted::default()), Json::parse_owned);
        let wanted = wanted.map_err(|error| ErrorObject::invalid_params(format!("bad \"notifications\": {error}")))?;
        if wanted.resource_subscriptions.len() > LISTEN_RESOURCES_MAX {
            let why = format!("a listen request names at most {LISTEN_RESOURCES_MAX} resources");
            return Err(ErrorObject::invalid_params(why));
        }
        let tasks = self.tasks()?.listened(call, wanted.task_ids.as_deref()).await?;
        let mut honoured = Map::new();
        for (name, is_wanted) in [
            ("toolsListChanged", wanted.tools_list_changed),
            ("promptsListChanged", wanted.prompts_list_changed),
            ("resourcesListChanged", wanted.resources_list_changed),
        ] {
            if is_wanted {
                honoured.insert(name.to_owned(), true.into());
            }
        }
        let mut uris: Vec<Value> = Vec::new();
        let mut seen = HashSet::new();
        for uri in wanted.resource_subscriptions.into_iter().filter(|uri| seen.insert(uri.clone())) {
            let view = self.view_of_resource(call, &uri).await;
            match self.watch(call, &view, &uri).await {
                Ok(()) => uris.push(uri.into()),
                Err(error) => tracing::debug!(uri = clip(&uri), %error, "not listened to"),
            }
        }
        if !tasks.is_empty() {
            honoured.insert("taskIds".to_owned(), tasks.into());
        }
        if !uris.is_empty() {
            honoured.insert("resourceSubscriptions".to_owned(), uris.into());
        }
        Ok(Reply { body: Text::Owned(Value::Object(honoured).to_string()), ..Reply::default() })
    }
}

/// Whether a tool says that it may be called twice.
fn twice_is_as_good(tool: &Tool) -> bool {
    let hints = tool.annotations.as_ref();
    hints.is_some_and(|hints| hints.read_only_hint == Some(true) || hints.idempotent_hint == Some(true))
}

/// Who serves a request, and what is named there.
struct Located {
    server: Arc<str>,
    /// What its server calls it.
    own: Arc<str>,
    /// Whether it may be sent twice.
    is_repeatable: bool,
    tasking: Tasking,
}

/// Finds out who serves a request, by the names that clients see in `view`.
fn locate(view: &View, method: Method, params: &RawObject) -> Result<Located, ErrorObject> {
    match method {
        Method::ToolsCall => {
            let asked = known_text(params, "name")?;
            let shown = view.tools.find(&asked).ok_or_else(|| match view.holder(&asked) {
                Some(server) => held_back(server, &asked),
                None => unknown("tool", &asked),
            })?;
            let (is_repeatable, tasking) = (twice_is_as_good(&shown.wire), view.tasking(shown));
            Ok(Located { server: shown.server.clone(), own: shown.own.clone(), is_repeatable, tasking })
        }
        Method::PromptsGet => {
            let asked = known_text(params, "name")?;
            let shown = view.prompts.find(&asked).ok_or_else(|| unknown("prompt", &asked))?;
            Ok(plain(shown.server.clone(), shown.own.clone()))
        }
        Method::ResourcesRead => {
            let asked = known_text(params, "uri")?;
            let home = view.home(&asked).ok_or_else(|| ErrorObject::resource_not_found(&asked))?;
            Ok(plain(home.server, home.uri.into()))
        }
        _ => reference(view, params),
    }
}

fn held_back(server: &str, tool: &str) -> ErrorObject {
    let tool = clip(tool);
    let why =
        format!("the tool {tool} of the server {server:?} is held back: its definition is not the one that is trusted");
    ErrorObject::invalid_params(why)
}

fn unknown(what: &str, asked: &str) -> ErrorObject {
    ErrorObject::invalid_params(format!("unknown {what}: {}", clip(asked)))
}

/// What is no call of a tool.
fn plain(server: Arc<str>, own: Arc<str>) -> Located {
    Located { server, own, is_repeatable: true, tasking: Tasking::Never }
}

/// The server of the prompt or template that is completed.
fn reference(view: &View, params: &RawObject) -> Result<Located, ErrorObject> {
    let wrong = || ErrorObject::invalid_params("\"ref\" is a prompt with a name, or a resource with a URI");
    let reference = RawObject::from(params.get("ref").ok_or_else(wrong)?);
    let text = |member: &str| reference.text(member);
    let unknown = |asked: &str| ErrorObject::invalid_params(format!("unknown reference: {}", clip(asked)));
    match (text("type").as_deref(), text("name").as_deref(), text("uri").as_deref()) {
        (Some("ref/prompt"), Some(name), None) => {
            let shown = view.prompts.find(name).ok_or_else(|| unknown(name))?;
            Ok(plain(shown.server.clone(), shown.own.clone()))
        }
        (Some("ref/resource"), None, Some(uri)) => match view.templates.find(uri) {
            Some(shown) => Ok(plain(shown.server.clone(), shown.own.clone())),
            None => {
                let home = view.home(uri).ok_or_else(|| unknown(uri))?;
                Ok(plain(home.server, home.uri.into()))
            }
        },
        _ => Err(wrong()),
    }
}

/// The URI that a request names something by.
fn uri_in(method: Method, params: &RawObject) -> Option<String> {
    match method {
        Method::ResourcesRead => params.text("uri").map(Cow::into_owned),
        Method::Complete => RawObject::from(params.get("ref")?).text("uri").map(Cow::into_owned),
        _ => None,
    }
}

/// The name that a request names something by, as far as it tells whose it is.
fn name_in(params: &RawObject) -> String {
    let named = match params.get("ref") {
        Some(reference) if params.get("name").is_none() => RawObject::from(reference).text("name").map(Cow::into_owned),
        _ => params.text("name").map(Cow::into_owned),
    };
    named.unwrap_or_default()
}

fn text_of(params: &RawObject, name: &str) -> Result<String, ErrorObject> {
    known_text(params, name).map(Cow::into_owned)
}

fn known_text<'a>(params: &'a RawObject, name: &str) -> Result<Cow<'a, str>, ErrorObject> {
    params.text(name).ok_or_else(|| ErrorObject::invalid_params(format!("\"{name}\" is a text")))
}

/// Has `member` say `own`, which it does already where a server's names are not changed.
fn put_name(params: &mut RawObject, member: &'static str, own: &str) {
    if params.text(member).as_deref() != Some(own) {
        params.put(member, Json::string(own));
    }
}

impl Service for Front {
    fn identity(&self) -> (Implementation, Option<String>) {
        // It is the same for all clients: what only some of them may see is not in it.
        let known: Vec<_> =
            self.upstreams().iter().map(|upstream| (upstream.name.clone(), upstream.known_to(None))).collect();
        if let (Scope::One(_), [(name, catalogue)]) = (&self.scope, known.as_slice()) {
            let info = catalogue.as_ref().and_then(|known| known.info.clone());
            let instructions = catalogue.as_ref().and_then(|known| known.instructions.clone());
            return (info.unwrap_or_else(|| Implementation::new(&**name, "0")), instructions);
        }
        let told = known.iter().filter_map(|(name, catalogue)| {
            let instructions = catalogue.as_ref()?.instructions.as_deref()?;
            Some(format!("# {name}\n\n{instructions}"))
        });
        let told: Vec<String> = told.collect();
        let info = Implementation::new("andon", env!("CARGO_PKG_VERSION"));
        (info, (!told.is_empty()).then(|| told.join("\n\n")))
    }

    /// Everything: what a server has is known when it is there, and clients do not ask again.
    fn capabilities(&self) -> ServerCapabilities {
        let listed = Some(Listed { list_changed: true });
        let mut capabilities = ServerCapabilities {
            tools: listed,
            prompts: listed,
            resources: Some(ResourcesCapability { subscribe: true, list_changed: true }),
            logging: Some(Map::new()),
            completions: Some(Map::new()),
            tasks: None,
            extensions: None,
            other: Map::new(),
        };
        Tasks::declare(&mut capabilities);
        capabilities
    }

    fn opened(&self, tasks: Arc<Tasks>, seal: &Seal) {
        // A host tells it once.
        drop(self.opened.set(Opened { tasks, cursors: Cursors::new(seal.clone()) }));
    }

    fn is_repeatable(&self, method: Method, params: Option<&Params>) -> bool {
        if method.is_repeatable() {
            return true;
        }
        let Some(params) = params.map(RawObject::from) else { return false };
        let name = text_of(&params, "name").unwrap_or_default();
        // A tool of which not all see the same is none of those.
        let view = self.known_view(None);
        view.tools.find(&name).is_some_and(|shown| twice_is_as_good(&shown.wire))
    }

    fn waits(&self, method: Method) -> bool {
        matches!(method, Method::ToolsCall | Method::PromptsGet | Method::ResourcesRead | Method::Complete)
    }

    fn session_ended(&self, session: u128) {
        if let Ok(tasks) = self.tasks() {
            tasks.forget(session);
        }
        lock(&self.views).forget((self.number, session));
        self.upstreams().iter().for_each(|upstream| upstream.session_ended(self.number, session));
    }

    fn roots_changed(&self, session: u128) {
        for upstream in self.upstreams() {
            upstream.instances().iter().for_each(|instance| instance.roots_changed(self.number, session));
        }
    }

    fn watched(&self, uri: &str, who: &Subscriber) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (viewer, name) = (Viewer::subscribed(self.number, who), (self.number, uri.to_owned()));
        let Some(home) = self.known_view(self.has_private().then_some(&viewer)).home(uri) else { return };
        let upstream = self.hub.upgrade().and_then(|hub| hub.upstream(&home.server));
        // A conversation that begins later finds out by itself what its clients are subscribed to.
        let Some(instance) = upstream.and_then(|upstream| upstream.existing(&viewer)) else { return };
        // The request that subscribed has told its server. A session that comes back has not.
        if instance.watches(&home.uri, &name) {
            return;
        }
        let Some(reserved) = instance.reserve(Sharing::NoCall) else { return };
        runtime.spawn(async move {
            let Ok(ready) = reserved.instance.ready().await else { return };
            if let Err(error) = reserved.instance.watch(&ready, &home.uri, name).await {
                tracing::warn!(server = &*home.server, %error, "a subscription could not be made again");
            }
        });
    }

    fn unwatched(&self, uri: &str) {
        let (name, hub) = ((self.number, uri.to_owned()), self.hub.clone());
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if hub.upgrade().is_none_or(|hub| hub.watching_for_nobody(&name).is_empty()) {
            return;
        }
        runtime.spawn(async move {
            tokio::time::sleep(LINGER).await;
            let Some(hub) = hub.upgrade() else { return };
            hub.watching_for_nobody(&name).iter().for_each(|instance| instance.unwatch(&name));
        });
    }

    fn check_param_headers(
        &self,
        principal: &Principal,
        tool: &str,
        params: Option<&Params>,
        headers: &[(&str, &str)],
    ) -> Result<(), String> {
        let viewer = self.has_private().then(|| Viewer::alone(principal.subject()));
        let view = self.known_view(viewer.as_ref());
        let Some(expected) = view.headers(tool) else { return Ok(()) };
        let arguments = params.and_then(|params| params.member(Member::Arguments)).unwrap_or("{}");
        andon_schema::headers::check_headers(expected, arguments, headers)
    }

    fn call(
        self: Arc<Self>,
        call: Call,
        method: Method,
        params: Option<Params>,
    ) -> BoxFuture<'static, Result<Reply, ErrorObject>> {
        Box::pin(self.serve(call, method, params))
    }
}
