//! The [`Service`] that a `Server` builds: routes the methods of the protocol to the items of the catalogue.

use std::sync::Arc;
use std::time::Duration;

use andon_types::capability::{Listed, ResourcesCapability, ServerCapabilities};
use andon_types::error::ErrorObject;
use andon_types::meta::{CacheHint, Implementation};
use andon_types::method::Method;
use andon_types::params::Params;
use andon_types::revision::Revision;
use andon_types::task::TaskSupport;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::catalogue::{Section, Snapshot};
use crate::context::{Context, Shared};
use crate::cursor::Cursors;
use crate::item::Item;
use crate::listing::{page_of, with_cursor};
use crate::principal::Principal;
use crate::service::{Reply, Service, Text};
use crate::tasks::Tasks;
use scopes::{cache_for, permit};

mod completion;
mod prompts;
mod resources;
mod scopes;
mod tasks;
mod tools;

/// The most bytes of one result, encoded. What a handler returns beyond it is answered with an error.
pub(crate) const RESULT_BYTES_MAX: usize = 16 << 20;

/// Serves a catalogue.
pub(crate) struct Router {
    pub(crate) info: Implementation,
    pub(crate) instructions: Option<String>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) settings: Settings,
    pub(crate) cursors: Cursors,
    pub(crate) tasks: Arc<Tasks>,
}

/// What the router needs to know beside the catalogue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) page_size: usize,
    /// How long a call of a tool may take that says nothing itself; `None` is the host's default.
    pub(crate) tool_timeout: Option<Duration>,
    /// How long clients may keep lists, and reads that say nothing themselves.
    pub(crate) cache: CacheHint,
    /// Kinds that the server declares though it has no item of them yet.
    pub(crate) declared: Declared,
}

/// What a server declares even while it is empty.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Declared {
    pub(crate) tools: bool,
    pub(crate) prompts: bool,
    pub(crate) resources: bool,
}

impl Service for Router {
    fn identity(&self) -> (Implementation, Option<String>) {
        (self.info.clone(), self.instructions.clone())
    }

    fn capabilities(&self) -> ServerCapabilities {
        let snapshot = self.snapshot();
        let declared = self.settings.declared;
        let tools = declared.tools || snapshot.tools.is_declared();
        let prompts = declared.prompts || snapshot.prompts.is_declared();
        let resources = declared.resources || snapshot.resources.is_declared() || snapshot.templates.is_declared();
        let runs_tasks = snapshot.tools.items().iter().any(|item| item.entry.task.support != TaskSupport::Forbidden);
        let listed = Listed { list_changed: true };
        let mut capabilities = ServerCapabilities {
            tools: tools.then_some(listed),
            prompts: prompts.then_some(listed),
            resources: resources.then_some(ResourcesCapability { subscribe: true, list_changed: true }),
            logging: Some(serde_json::Map::new()),
            completions: snapshot.completes().then(serde_json::Map::new),
            tasks: None,
            extensions: None,
            other: serde_json::Map::new(),
        };
        if runs_tasks {
            Tasks::declare(&mut capabilities);
        }
        capabilities
    }

    fn needed_scopes(&self, method: Method, params: Option<&Params>) -> Vec<String> {
        self.scopes_of(method, params)
    }

    fn scopes_of_resource(&self, uri: &str) -> Vec<String> {
        Router::scopes_of_resource(self, uri)
    }

    fn is_repeatable(&self, method: Method, params: Option<&Params>) -> bool {
        method.is_repeatable() || self.is_repeatable_call(params)
    }

    fn session_ended(&self, session: u128) {
        self.tasks.forget(session);
    }

    fn check_param_headers(
        &self,
        _principal: &Principal,
        tool: &str,
        params: Option<&Params>,
        headers: &[(&str, &str)],
    ) -> Result<(), String> {
        self.check_headers(tool, params, headers)
    }

    fn call(
        self: Arc<Self>,
        call: Call,
        method: Method,
        params: Option<Params>,
    ) -> BoxFuture<'static, Result<Reply, ErrorObject>> {
        match method {
            Method::ToolsCall => Box::pin(async move { self.call_tool(call, params.as_ref()).await }),
            Method::TasksGet | Method::TasksList | Method::TasksResult | Method::TasksUpdate | Method::TasksCancel => {
                Box::pin(async move { self.tasks.serve(&call, method, params.as_ref()).await })
            }
            Method::Listen => Box::pin(async move { self.listen(&call, params.as_ref()).await }),
            Method::ResourcesRead => Box::pin(async move { self.read(call, params.as_ref()).await }),
            Method::PromptsGet => Box::pin(async move { self.prompt(call, params.as_ref()).await }),
            Method::Complete => Box::pin(async move { self.complete(call, params.as_ref()).await }),
            Method::ResourcesList if self.snapshot().sources.iter().any(|source| source.is_due()) => {
                Box::pin(async move {
                    self.refresh().await;
                    self.answer(&call, method, params.as_ref())
                })
            }
            _ => Box::pin(std::future::ready(self.answer(&call, method, params.as_ref()))),
        }
    }
}

impl Router {
    /// What needs no handler.
    fn answer(&self, call: &Call, method: Method, params: Option<&Params>) -> Result<Reply, ErrorObject> {
        let snapshot = self.snapshot();
        match method {
            Method::ToolsList => self.list(call, method, &snapshot.tools, params),
            Method::PromptsList => self.list(call, method, &snapshot.prompts, params),
            Method::ResourcesList => self.list(call, method, &snapshot.resources, params),
            Method::TemplatesList => self.list(call, method, &snapshot.templates, params),
            Method::Subscribe => self.subscribe(call, params),
            Method::Unsubscribe => self.unsubscribe(params),
            // The machines answer the rest themselves.
            _ => Err(ErrorObject::method_not_found(method.as_str())),
        }
    }

    fn list<T: Item>(
        &self,
        call: &Call,
        method: Method,
        section: &Section<T>,
        params: Option<&Params>,
    ) -> Result<Reply, ErrorObject> {
        let wanted: ListParams = read_params(params)?;
        let after = match wanted.cursor {
            Some(cursor) => self.cursors.open(method, call.principal(), &cursor)?,
            None => 0,
        };
        let revision: Revision = call.revision();
        let (page_size, principal) = (self.settings.page_size, call.principal());
        let page = if principal.has_scopes(section.scopes()) {
            section.pages(revision, page_size).page(section.items(), revision, after)
        } else {
            page_of(section.items(), revision, page_size, after, |item| principal.has_scopes(item.scopes()))
        };
        let body = match page.next_after {
            Some(last) => with_cursor(&page.body, &self.cursors.seal(method, call.principal(), last)),
            None => page.body,
        };
        Ok(Reply { body, cache: Some(cache_for(section.scopes(), self.settings.cache)), ..Reply::default() })
    }

    /// Brings up to date what changes by itself.
    async fn refresh(&self) {
        let (catalogue, snapshot) = (self.shared.catalogue.clone(), self.snapshot());
        let looking = move || snapshot.sources.iter().for_each(|source| source.refresh(&catalogue));
        if let Err(error) = tokio::task::spawn_blocking(looking).await {
            tracing::error!(%error, "resources could not be brought up to date");
        }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.catalogue.snapshot()
    }

    fn context(&self, call: Call) -> Context {
        Context::new(call, Arc::clone(&self.shared))
    }
}

#[derive(Deserialize, Default)]
struct ListParams {
    cursor: Option<String>,
}

/// The parameters as a `T`; absent ones are an empty object.
pub(crate) fn read_params<'a, T: Deserialize<'a>>(params: Option<&'a Params>) -> Result<T, ErrorObject> {
    let text = params.map_or("{}", Params::as_str);
    serde_json::from_str(text).map_err(|error| ErrorObject::invalid_params(format!("bad parameters: {error}")))
}

/// The text of `value`, unless it is longer than [`RESULT_BYTES_MAX`].
fn encode(value: &impl Serialize) -> Result<Text, TooLarge> {
    let mut text = Capped(Vec::with_capacity(128));
    serde_json::to_writer(&mut text, value).map_err(|_| TooLarge)?;
    String::from_utf8(text.0).map(Text::Owned).map_err(|_| TooLarge)
}

/// A result is too large, or cannot be JSON.
#[derive(Debug)]
struct TooLarge;

/// Text that refuses to grow beyond the limit, so that a huge result is not encoded in full.
struct Capped(Vec<u8>);

impl std::io::Write for Capped {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    // A serialiser writes a few bytes at a time, and the usual one would take each time for several.
    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.0.len() + bytes.len() > RESULT_BYTES_MAX {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
