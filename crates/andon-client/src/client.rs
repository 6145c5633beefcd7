//! The client: typed calls and raw calls to one server.

mod options;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use andon_core::client::{CallError, Loss, Opened, Timing};
use andon_schema::Validator;
use andon_schema::headers::{HeaderParam, header_params, mirror};
use andon_types::capability::ServerCapabilities;
use andon_types::client::Root;
use andon_types::content::{Content, GetPromptResult, Prompt, ReadResourceResult, Resource, ResourceTemplate};
use andon_types::error::ErrorCode;
use andon_types::message::Json;
use andon_types::meta::{Implementation, Level};
use andon_types::method::Method;
use andon_types::raw_object::RawObject;
use andon_types::revision::Revision;
use andon_types::tools::{CallToolResult, Tool};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::builder::Builder;
use crate::driver::{Driver, Request};
use crate::error::Error;
use crate::event::Events;
use crate::link::http::Figures;
use crate::listen::{Listen, Listening};
use crate::target::Target;
use crate::task::{Called, Task, created};

pub use options::Options;

/// Pages of one list. A server with more is not believed.
const PAGES_MAX: usize = 1_000;
/// Items of one list.
const ITEMS_MAX: usize = 100_000;

/// A client of one server. Cheap to clone; the connection ends when the last one is dropped or [`Client::close`] is
/// called.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    driver: Arc<Driver>,
    figures: Arc<Figures>,
    /// What the last listing of the tools said about them.
    known: Mutex<HashMap<String, Arc<Known>>>,
}

struct Known {
    headers: Vec<HeaderParam>,
    output: Option<Validator>,
}

/// What can be completed.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type")]
pub enum Reference {
    /// An argument of the prompt with this name.
    #[serde(rename = "ref/prompt")]
    Prompt {
        /// Its name.
        name: String,
    },
    /// A variable of the resource template with this URI template.
    #[serde(rename = "ref/resource")]
    Resource {
        /// The URI template.
        uri: String,
    },
}

/// What could stand there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Completion {
    /// At most 100 values.
    pub values: Vec<String>,
    /// How many there are, if known.
    pub total: Option<u64>,
    /// Whether there are more than these.
    #[serde(default)]
    pub has_more: bool,
}

impl Client {
    /// Connects with the defaults: a URL, a command line, a [`Command`](crate::Command), or a server of this process.
    ///
    /// # Errors
    /// See [`Builder::connect`].
    pub async fn connect(target: impl Into<Target>) -> Result<Self, Error> {
        Self::builder(target).connect().await
    }

    /// A client that is told more before it connects.
    pub fn builder(target: impl Into<Target>) -> Builder {
        Builder::new(target.into())
    }

    pub(crate) fn new(driver: Arc<Driver>, figures: Arc<Figures>) -> Self {
        Self(Arc::new(Inner { driver, figures, known: Mutex::default() }))
    }

    /// The revision that both speak; `None` while there is no connection.
    pub fn revision(&self) -> Option<Revision> {
        self.opened().map(|opened| opened.revision)
    }

    /// The server's name and version, as it says.
    pub fn server_info(&self) -> Option<Implementation> {
        self.opened()?.server_info.clone()
    }

    /// What the server can do; `None` if it did not say, or there is no connection.
    pub fn capabilities(&self) -> Option<ServerCapabilities> {
        self.opened()?.capabilities.clone()
    }

    /// How to use the server, for the model.
    pub fn instructions(&self) -> Option<String> {
        self.opened()?.instructions.clone()
    }

    /// What the HTTP transport did so far.
    pub fn figures(&self) -> &Figures {
        &self.0.figures
    }

    /// All tools, page by page. Over HTTP from 2026-07-28 on, those whose `x-mcp-header` annotations are not valid are
    /// left out.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn tools(&self) -> Result<Vec<Tool>, Error> {
        let tools: Vec<Tool> = self.list("tools/list", "tools").await?;
        Ok(self.learn_tools(tools))
    }

    /// Remembers what `tools`, which the server has listed, say about how they are called, and gives back those that
    /// can be called: for programs that read lists themselves. [`Client::tools`] does both.
    pub fn learn_tools(&self, mut tools: Vec<Tool>) -> Vec<Tool> {
        let mirrors = self.opened().is_some_and(|opened| opened.revision.rules().routing_headers);
        let mut known = HashMap::new();
        tools.retain(|tool| {
            let headers = match tool.input_schema.to_value().map_err(|error| error.to_string()) {
                Ok(schema) => header_params(&schema),
                Err(why) => Err(why),
            };
            let headers = match headers {
                Ok(headers) => headers,
                Err(why) if mirrors => {
                    tracing::warn!(tool = tool.name, why, "a tool is left out");
                    return false;
                }
                Err(_) => Vec::new(),
            };
            let output = tool.output_schema.as_ref().and_then(|schema| schema.to_value().ok());
            let output = output.and_then(|schema| match Validator::compile(&schema) {
                Ok(validator) => Some(validator),
                Err(error) => {
                    tracing::warn!(tool = tool.name, %error, "an output schema cannot be used: results are not checked");
                    None
                }
            });
            known.insert(tool.name.clone(), Arc::new(Known { headers, output }));
            true
        });
        *self.known() = known;
        tools
    }

    /// All prompts.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn prompts(&self) -> Result<Vec<Prompt>, Error> {
        self.list("prompts/list", "prompts").await
    }

    /// All resources.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn resources(&self) -> Result<Vec<Resource>, Error> {
        self.list("resources/list", "resources").await
    }

    /// All resource templates.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn templates(&self) -> Result<Vec<ResourceTemplate>, Error> {
        self.list("resources/templates/list", "resourceTemplates").await
    }

    /// Calls a tool, and reads its structured content, or else its text, as a `T`.
    ///
    /// # Errors
    /// [`Error::Tool`] if the tool failed; else see [`Error`].
    pub async fn call<T: DeserializeOwned>(&self, name: &str, arguments: impl Serialize) -> Result<T, Error> {
        let arguments = match serde_json::to_value(arguments) {
            Ok(Value::Object(arguments)) => arguments,
            Ok(Value::Null) => Map::new(),
            Ok(_) => return Err(Error::Arguments("arguments are an object".to_owned())),
            Err(error) => return Err(Error::Arguments(error.to_string())),
        };
        let result = self.call_tool(name, arguments, Options::default()).await?;
        let text: String = result.content.iter().filter_map(Content::as_text).collect();
        if result.is_error {
            return Err(Error::Tool(text));
        }
        let structured = result.structured_content.as_ref().map(|content| serde_json::from_str(content.as_str()));
        structured
            .unwrap_or_else(|| serde_json::from_str(&text))
            .or_else(|_| serde_json::from_value(Value::String(text)))
            .map_err(|error| Error::Invalid(format!("the result has another shape: {error}")))
    }

    /// Calls a tool. What it asks is answered on the way. Structured content is checked against the tool's output
    /// schema if the tools were listed before.
    ///
    /// # Errors
    /// See [`Error`]. A tool that fails is a result.
    pub async fn call_tool(
        &self,
        name: &str,
        arguments: Map<String, Value>,
        options: Options,
    ) -> Result<CallToolResult, Error> {
        match self.called(name, arguments, options).await? {
            Called::Result(result) => Ok(result),
            // Of a client that declares tasks for all it does.
            Called::Task(task) => task.result().await,
        }
    }

    /// Calls a tool, and gives what it is answered with: a task, or at once a result.
    pub(crate) async fn called(
        &self,
        name: &str,
        arguments: Map<String, Value>,
        options: Options,
    ) -> Result<Called, Error> {
        let result = self.call_tool_raw(name, arguments, options).await?;
        match created(&result)? {
            Some(info) => Ok(Called::Task(Task::new(self.clone(), Some(name), info, Options::default()))),
            None => self.checked(name, read(&result)?).map(Called::Result),
        }
    }

    /// The result of the tool `name`, if it is what its output schema says.
    pub(crate) fn checked(&self, name: &str, result: CallToolResult) -> Result<CallToolResult, Error> {
        let known = self.known().get(name).cloned();
        if let Some(output) = known.as_ref().and_then(|known| known.output.as_ref())
            && !result.is_error
        {
            let Some(content) = &result.structured_content else {
                return Err(Error::Invalid(format!(
                    "the tool {name} has an output schema and gave no structured content"
                )));
            };
            let content = content.to_value().map_err(|error| Error::Invalid(error.to_string()))?;
            output.check(&content).map_err(|why| {
                Error::Invalid(format!("the result of the tool {name} does not match its output schema: {why}"))
            })?;
        }
        Ok(result)
    }

    /// Calls a tool, and gives its result as it came and unchecked: for programs that pass it on. The arguments are an object.
    ///
    /// # Errors
    /// See [`Error`]. A tool that fails is a result.
    pub async fn call_tool_raw(&self, name: &str, arguments: impl Into<Json>, options: Options) -> Result<Json, Error> {
        let mut params = RawObject::default();
        params.put("name", Json::string(name));
        params.put("arguments", arguments);
        self.call_tool_with(Arc::new(params), options).await
    }

    /// The same with parameters that came as they are: `name`, and `arguments` that are an object. If there are no
    /// `arguments`, none are sent.
    ///
    /// # Errors
    /// See [`Error`]. A tool that fails is a result.
    pub async fn call_tool_with(&self, params: Arc<RawObject>, options: Options) -> Result<Json, Error> {
        let mut result = self.try_tool(&params, &options).await;
        // The server mirrors other arguments than we know of: look again, once (Streamable HTTP, "Custom Headers").
        if matches!(&result, Err(Error::Protocol(error)) if error.code == ErrorCode::HeaderMismatch as i32) {
            self.0.driver.cache.clear();
            Box::pin(self.tools()).await?;
            result = Box::pin(self.try_tool(&params, &options)).await;
        }
        result
    }

    /// Reads a resource.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn read(&self, uri: &str) -> Result<ReadResourceResult, Error> {
        const METHOD: &str = "resources/read";
        let cache = &self.0.driver.cache;
        if let Some(kept) = cache.get(METHOD, uri).and_then(|pages| pages.into_iter().next()) {
            return read(&kept);
        }
        let epoch = cache.epoch();
        let result = self.request(METHOD, object(json!({ "uri": uri })), Options::default()).await?;
        if self.0.driver.settings.caches {
            cache.put(epoch, METHOD, uri, std::slice::from_ref(&result));
        }
        read(&result)
    }

    /// Gets a prompt.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn prompt(&self, name: &str, arguments: impl Serialize) -> Result<GetPromptResult, Error> {
        let arguments = serde_json::to_value(arguments).map_err(|error| Error::Arguments(error.to_string()))?;
        let params = match arguments {
            Value::Null => json!({ "name": name }),
            arguments => json!({ "name": name, "arguments": arguments }),
        };
        read(&self.request("prompts/get", object(params), Options::default()).await?)
    }

    /// Completes the argument `name` of which `value` is typed so far; `others` are the arguments known already.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn complete(
        &self,
        reference: &Reference,
        (name, value): (&str, &str),
        others: &HashMap<String, String>,
    ) -> Result<Completion, Error> {
        #[derive(Deserialize)]
        struct Completed {
            completion: Completion,
        }
        let mut params = json!({ "ref": reference, "argument": { "name": name, "value": value } });
        let has_context = self.opened().is_some_and(|opened| opened.revision.rules().completion_context);
        if has_context && !others.is_empty() {
            params["context"] = json!({ "arguments": others });
        }
        let result = self.request("completion/complete", object(params), Options::default()).await?;
        read::<Completed>(&result).map(|completed| completed.completion)
    }

    /// Whether the server answers, and how fast: by `ping`, or by `server/discover` from 2026-07-28 on.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn ping(&self) -> Result<Duration, Error> {
        let opened = self.0.driver.open().await?;
        let has_ping = Method::Ping.is_in(opened.revision);
        let begun = tokio::time::Instant::now();
        let method = if has_ping { "ping" } else { "server/discover" };
        self.request(method, Map::new(), Options::default()).await?;
        Ok(begun.elapsed())
    }

    /// Log notifications of at least this level, please. Up to 2025-11-25; later [`Options::log_level`] asks per call.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn set_log_level(&self, level: Level) -> Result<(), Error> {
        self.request("logging/setLevel", object(json!({ "level": level })), Options::default()).await.map(drop)
    }

    /// Listens to changes. Subscriptions outlive the connection: they are made again, and [`Event::Reopened`] tells
    /// that changes may have been missed.
    ///
    /// [`Event::Reopened`]: crate::Event::Reopened
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn listen(&self, wanted: Listen) -> Result<Listening, Error> {
        let driver = &self.0.driver;
        if !wanted_is_offered(driver, &wanted) {
            return Err(Error::NotOffered("the server does not offer what is to be listened to".to_owned()));
        }
        driver.listeners.begin(driver, wanted).await
    }

    /// What the server tells unasked from here on. Before 2026-07-28 it tells without a subscription, except about
    /// single resources.
    pub fn events(&self) -> Events {
        Events(self.0.driver.events())
    }

    /// Replaces the roots, and tells the server where the revision has a notification for it.
    ///
    /// # Errors
    /// [`Error::NotOffered`] when the client was built without roots.
    pub async fn set_roots(&self, roots: impl IntoIterator<Item = Root>) -> Result<(), Error> {
        let Some(known) = &self.0.driver.settings.answers.roots else {
            return Err(Error::NotOffered("this client was built without roots".to_owned()));
        };
        *known.lock().unwrap_or_else(PoisonError::into_inner) = roots.into_iter().collect();
        if self.opened().is_some_and(|opened| opened.revision.rules().server_requests) {
            self.0.driver.notify("notifications/roots/list_changed", Map::new()).await;
        }
        Ok(())
    }

    /// Any request, as it is. What the revision wants in `_meta` is added, and what the server asks is answered.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn request(&self, method: &str, params: impl Into<RawObject>, options: Options) -> Result<Json, Error> {
        self.request_with(method, Arc::new(params.into()), options).await
    }

    /// The same with parameters that others hold too.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn request_with(&self, method: &str, params: Arc<RawObject>, options: Options) -> Result<Json, Error> {
        self.request_mirroring(method, params, &options, |_| Vec::new()).await
    }

    /// Any notification, as it is.
    ///
    /// # Errors
    /// When there is no connection and none can be made.
    pub async fn notify(&self, method: &str, params: Map<String, Value>) -> Result<(), Error> {
        self.0.driver.open().await?;
        self.0.driver.notify(method, params).await;
        Ok(())
    }

    /// Ends the conversation: the session is closed, a child process is ended. Calls in flight fail.
    pub async fn close(&self) {
        self.0.driver.close().await;
    }

    async fn try_tool(&self, params: &Arc<RawObject>, options: &Options) -> Result<Json, Error> {
        let mut params = params.clone();
        if options.takes_tasks && self.0.driver.open().await?.revision.rules().execution {
            let ttl_ms = options.task_ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
            let task = ttl_ms.map_or_else(|| json!({}), |ttl| json!({ "ttl": ttl }));
            Arc::make_mut(&mut params).put("task", task);
        }
        let known = params.text("name").and_then(|name| self.known().get(&*name).cloned());
        let arguments = params.get("arguments").cloned();
        self.request_mirroring("tools/call", params, options, |opened| match &known {
            Some(known) if opened.revision.rules().routing_headers && !known.headers.is_empty() => {
                let arguments = arguments.as_ref().and_then(|arguments| arguments.parse_owned().ok());
                mirror(&known.headers, &arguments.unwrap_or_default())
            }
            _ => Vec::new(),
        })
        .await
    }

    async fn request_mirroring(
        &self,
        method: &str,
        params: Arc<RawObject>,
        options: &Options,
        mirrored: impl Fn(&Opened) -> Vec<(String, String)>,
    ) -> Result<Json, Error> {
        let driver = &self.0.driver;
        let settings = &driver.settings;
        let max = options.timeout_max.unwrap_or(settings.timeout_max);
        let timing = Timing { timeout: options.timeout.unwrap_or(settings.timeout).min(max), max };
        let mut is_second = false;
        loop {
            let opened = driver.open().await?;
            if settings.is_strict {
                offered(&opened, method)?;
            }
            let request = Request {
                timing,
                on_progress: options.on_progress.clone(),
                on_log: options.on_log.clone(),
                tag: options.tag,
                meta: options.meta.clone(),
                capabilities: options.capabilities.clone(),
                mirrored: mirrored(&opened),
                takes_tasks: options.takes_tasks,
                ..Request::again(method, params.clone())
            };
            match driver.call(request).await {
                // The server did not run it: a new session, and once more.
                Err(CallError::Lost(Loss::SessionGone)) if !is_second => {
                    driver.reopen_after(&opened);
                    is_second = true;
                }
                outcome => return outcome.map_err(Error::from),
            }
        }
    }

    /// All pages of a list. A server that repeats a cursor would never end.
    async fn list<T: DeserializeOwned>(&self, method: &'static str, member: &str) -> Result<Vec<T>, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Page {
            next_cursor: Option<String>,
            #[serde(flatten)]
            members: HashMap<String, Value>,
        }
        let cache = &self.0.driver.cache;
        let kept = cache.get(method, "");
        let (epoch, is_kept) = (cache.epoch(), kept.is_some());
        let mut pages = kept.unwrap_or_default();
        let mut items = Vec::new();
        let mut cursors = HashSet::new();
        let mut cursor: Option<String> = None;
        for number in 0..PAGES_MAX {
            if pages.len() <= number {
                let params = cursor.take().map(|cursor| Map::from_iter([("cursor".to_owned(), cursor.into())]));
                pages.push(self.request(method, params.unwrap_or_default(), Options::default()).await?);
            }
            let mut page: Page = read(&pages[number])?;
            let listed = page.members.remove(member).unwrap_or_else(|| json!([]));
            let listed: Vec<T> = serde_json::from_value(listed)
                .map_err(|error| Error::Invalid(format!("bad {member:?} in the result of {method}: {error}")))?;
            items.extend(listed);
            if items.len() > ITEMS_MAX {
                return Err(Error::Invalid(format!("{method} lists more than {ITEMS_MAX} items")));
            }
            match page.next_cursor {
                None => {
                    if !is_kept && self.0.driver.settings.caches {
                        cache.put(epoch, method, "", &pages);
                    }
                    return Ok(items);
                }
                Some(next) => {
                    if !cursors.insert(next.clone()) {
                        return Err(Error::Invalid(format!("{method} repeats a cursor, and would never end")));
                    }
                    cursor = Some(next);
                }
            }
        }
        Err(Error::Invalid(format!("{method} has more than {PAGES_MAX} pages")))
    }

    pub(crate) fn driver(&self) -> &Arc<Driver> {
        &self.0.driver
    }

    fn opened(&self) -> Option<Arc<Opened>> {
        self.0.driver.opened()
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Arc<Known>>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("revision", &self.revision()).field("server", &self.server_info()).finish()
    }
}

fn wanted_is_offered(driver: &Driver, wanted: &Listen) -> bool {
    let Some(opened) = driver.opened().filter(|_| driver.settings.is_strict) else { return true };
    opened.capabilities.as_ref().is_none_or(|capabilities| wanted.is_offered(capabilities))
}

/// Strict mode: what the server does not declare is not asked for.
fn offered(opened: &Opened, method: &str) -> Result<(), Error> {
    let Some(capabilities) = &opened.capabilities else { return Ok(()) };
    let refuse = |why: String| Err(Error::NotOffered(why));
    let Some(known) = Method::find(method, opened.revision) else {
        return refuse(format!("{method} is no method of the revision {}", opened.revision));
    };
    // Before 2025-03-26 there was no way to declare completion.
    let cannot_be_declared = known == Method::Complete && !opened.revision.rules().completions_capability;
    if !cannot_be_declared && !known.capability().is_in(capabilities) {
        return refuse(format!("the server does not declare what {method} needs"));
    }
    Ok(())
}

pub(crate) fn read<T: DeserializeOwned>(result: &Json) -> Result<T, Error> {
    result.parse_owned().map_err(|error| Error::Invalid(error.to_string()))
}

pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => unreachable!("only called with object literals"),
    }
}
