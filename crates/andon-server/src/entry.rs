//! Entries of the catalogue as plain data: what an item says of itself, and the handler behind it.
//!
//! The macros write these; so can anyone.

use std::sync::Arc;
use std::time::Duration;

use andon_types::content::{Annotations, Prompt, PromptArgument, Resource, ResourceTemplate};
use andon_types::meta::{CacheHint, Icon, Meta};
use andon_types::raw::RawJson;
use andon_types::task::TaskSupport;
use andon_types::tools::{Tool, ToolAnnotations};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::context::Context;
use crate::extract::Needed;
use crate::handler::{
    Closure, Completer, CompletionQuery, PromptArguments, PromptHandler, ReadRequest, ResourceHandler, ToolHandler,
};
use crate::output::{IntoCallToolResult, IntoPromptResult, IntoReadResult};
use crate::source::Source;

/// A tool and its handler.
#[derive(Clone)]
pub struct ToolEntry {
    pub(crate) tool: Tool,
    pub(crate) accepted: Option<Value>,
    pub(crate) handler: Arc<dyn ToolHandler>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) max_in_flight: Option<usize>,
    pub(crate) needs: Vec<Needed>,
    pub(crate) scopes: Vec<String>,
    pub(crate) task: TaskUse,
}

/// How a tool becomes a task.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TaskUse {
    pub(crate) support: TaskSupport,
    /// The handler says when (2026-07-28).
    pub(crate) is_late: bool,
}

impl ToolEntry {
    /// A tool with the JSON Schema of its arguments, which reaches clients as it is given here.
    pub fn new(name: impl Into<String>, input_schema: Value, handler: impl ToolHandler) -> Self {
        let tool = Tool {
            name: name.into(),
            title: None,
            description: None,
            input_schema: RawJson::from(input_schema),
            output_schema: None,
            annotations: None,
            execution: None,
            icons: Vec::new(),
            meta: None,
        };
        Self {
            tool,
            accepted: None,
            handler: Arc::new(handler),
            timeout: None,
            max_in_flight: None,
            needs: Vec::new(),
            scopes: Vec::new(),
            task: TaskUse::default(),
        }
    }

    /// The same with a closure.
    pub fn from_fn<A, F, U>(name: impl Into<String>, input_schema: Value, handler: F) -> Self
    where
        F: Fn(A, Context) -> U + Send + Sync + 'static,
        A: DeserializeOwned + Send + 'static,
        U: Future<Output: IntoCallToolResult> + Send + 'static,
    {
        let mut entry = Self::new(name, input_schema, Closure::<F, A>::new(handler));
        entry.tool.output_schema = U::Output::output_schema().map(RawJson::from);
        entry
    }

    /// What the tool does, for the model.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.tool.description = Some(description.into());
        self
    }

    /// Its name for people.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.tool.title = Some(title.into());
        self
    }

    /// JSON Schema that arguments are checked by instead of the one that clients are told, of which it takes all and may
    /// take more.
    #[must_use]
    pub fn accepted_schema(mut self, schema: Value) -> Self {
        self.accepted = Some(schema);
        self
    }

    /// JSON Schema of the structured content: from now on, results are checked against it.
    #[must_use]
    pub fn output_schema(mut self, schema: Value) -> Self {
        self.tool.output_schema = Some(RawJson::from(schema));
        self
    }

    /// Hints on what it does.
    #[must_use]
    pub fn annotations(mut self, annotations: ToolAnnotations) -> Self {
        self.tool.annotations = Some(annotations);
        self
    }

    /// Adds a picture.
    #[must_use]
    pub fn icon(mut self, icon: Icon) -> Self {
        self.tool.icons.push(icon);
        self
    }

    /// The item's `_meta`.
    #[must_use]
    pub fn meta(mut self, meta: Meta) -> Self {
        self.tool.meta = Some(meta);
        self
    }

    /// How long a call may take, instead of the server's default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How many calls may run at once; the rest is answered -32000.
    #[must_use]
    pub fn max_in_flight(mut self, calls: usize) -> Self {
        self.max_in_flight = Some(calls);
        self
    }

    /// Whether it runs as a task: a call that is answered before it is done, goes on without a connection, and is asked
    /// for later. In 2025-11-25 clients ask for it; from 2026-07-28 on each call by a client that takes tasks is one. The
    /// handler is the same either way, and is not run again for the answers to what it asks. It may take as long as the
    /// task is kept: [`ToolEntry::timeout`] is for other calls.
    #[must_use]
    pub fn task(mut self, support: TaskSupport) -> Self {
        self.task = TaskUse { support, is_late: false };
        self.tool.execution = (support != TaskSupport::Forbidden).then(|| json!({ "taskSupport": support }));
        self
    }

    /// The same, and from 2026-07-28 on a call becomes a task only when its handler says so
    /// ([`Context::become_task`]): what it needs to ask first is asked in rounds.
    #[must_use]
    pub fn late_task(mut self, support: TaskSupport) -> Self {
        self = self.task(support);
        self.task.is_late = true;
        self
    }

    /// Who does not hold this scope is not told of it, and is refused; said twice, both are needed. Without credentials
    /// nobody holds any, as on stdio.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scopes.push(scope.into());
        self
    }

    /// The handler needs this state; without it the server is not built.
    #[must_use]
    pub fn needs(mut self, needed: Option<Needed>) -> Self {
        self.needs.extend(needed);
        self
    }

    /// What clients are told.
    pub fn tool(&self) -> &Tool {
        &self.tool
    }
}

/// A resource with a fixed URI, and its handler.
#[derive(Clone)]
pub struct ResourceEntry {
    pub(crate) resource: Resource,
    pub(crate) handler: Arc<dyn ResourceHandler>,
    pub(crate) cache: Option<CacheHint>,
    pub(crate) needs: Vec<Needed>,
    pub(crate) scopes: Vec<String>,
}

impl ResourceEntry {
    /// A resource at `uri`, with a name for programs.
    pub fn new(uri: impl Into<String>, name: impl Into<String>, handler: impl ResourceHandler) -> Self {
        let resource = Resource { uri: uri.into(), name: name.into(), ..Resource::default() };
        Self { resource, handler: Arc::new(handler), cache: None, needs: Vec::new(), scopes: Vec::new() }
    }

    /// The same with a closure.
    pub fn from_fn<F, U>(uri: impl Into<String>, name: impl Into<String>, handler: F) -> Self
    where
        F: Fn(ReadRequest, Context) -> U + Send + Sync + 'static,
        U: Future<Output: IntoReadResult> + Send + 'static,
    {
        Self::new(uri, name, Closure::<F, ReadRequest>::new(handler))
    }

    /// Its type.
    #[must_use]
    pub fn mime_type(mut self, mime_type: impl Into<String>) -> Self {
        self.resource.mime_type = Some(mime_type.into());
        self
    }

    /// What it is.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.resource.description = Some(description.into());
        self
    }

    /// Its name for people.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.resource.title = Some(title.into());
        self
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(mut self, bytes: u64) -> Self {
        self.resource.size = Some(bytes);
        self
    }

    /// For whom it is.
    #[must_use]
    pub fn annotations(mut self, annotations: Annotations) -> Self {
        self.resource.annotations = Some(annotations);
        self
    }

    /// Adds a picture.
    #[must_use]
    pub fn icon(mut self, icon: Icon) -> Self {
        self.resource.icons.push(icon);
        self
    }

    /// The item's `_meta`.
    #[must_use]
    pub fn meta(mut self, meta: Meta) -> Self {
        self.resource.meta = Some(meta);
        self
    }

    /// How long clients may keep its contents.
    #[must_use]
    pub fn cache(mut self, hint: CacheHint) -> Self {
        self.cache = Some(hint);
        self
    }

    /// Who does not hold this scope is not told of it, and is refused; said twice, both are needed. Without credentials
    /// nobody holds any, as on stdio.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scopes.push(scope.into());
        self
    }

    /// The handler needs this state; without it the server is not built.
    #[must_use]
    pub fn needs(mut self, needed: Option<Needed>) -> Self {
        self.needs.extend(needed);
        self
    }
}

/// A family of resources by a URI template (RFC 6570), and its handler.
#[derive(Clone)]
pub struct TemplateEntry {
    pub(crate) template: ResourceTemplate,
    pub(crate) handler: Arc<dyn ResourceHandler>,
    pub(crate) cache: Option<CacheHint>,
    pub(crate) needs: Vec<Needed>,
    pub(crate) scopes: Vec<String>,
    pub(crate) completers: Vec<(String, Arc<dyn Completer>)>,
}

impl TemplateEntry {
    /// The resources that `uri_template` matches, with a name for programs.
    pub fn new(uri_template: impl Into<String>, name: impl Into<String>, handler: impl ResourceHandler) -> Self {
        let template =
            ResourceTemplate { uri_template: uri_template.into(), name: name.into(), ..ResourceTemplate::default() };
        let handler = Arc::new(handler);
        Self { template, handler, cache: None, needs: Vec::new(), scopes: Vec::new(), completers: Vec::new() }
    }

    /// The same with a closure.
    pub fn from_fn<F, U>(uri_template: impl Into<String>, name: impl Into<String>, handler: F) -> Self
    where
        F: Fn(ReadRequest, Context) -> U + Send + Sync + 'static,
        U: Future<Output: IntoReadResult> + Send + 'static,
    {
        Self::new(uri_template, name, Closure::<F, ReadRequest>::new(handler))
    }

    /// The type of all of them.
    #[must_use]
    pub fn mime_type(mut self, mime_type: impl Into<String>) -> Self {
        self.template.mime_type = Some(mime_type.into());
        self
    }

    /// What they are.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.template.description = Some(description.into());
        self
    }

    /// Their name for people.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.template.title = Some(title.into());
        self
    }

    /// For whom they are.
    #[must_use]
    pub fn annotations(mut self, annotations: Annotations) -> Self {
        self.template.annotations = Some(annotations);
        self
    }

    /// Adds a picture.
    #[must_use]
    pub fn icon(mut self, icon: Icon) -> Self {
        self.template.icons.push(icon);
        self
    }

    /// The item's `_meta`.
    #[must_use]
    pub fn meta(mut self, meta: Meta) -> Self {
        self.template.meta = Some(meta);
        self
    }

    /// How long clients may keep their contents.
    #[must_use]
    pub fn cache(mut self, hint: CacheHint) -> Self {
        self.cache = Some(hint);
        self
    }

    /// Completes the variable `name`.
    #[must_use]
    pub fn complete<F, U>(mut self, name: impl Into<String>, completer: F) -> Self
    where
        F: Fn(CompletionQuery, Context) -> U + Send + Sync + 'static,
        U: Future<Output = Vec<String>> + Send + 'static,
    {
        self.completers.push((name.into(), Arc::new(Closure::<F, CompletionQuery>::new(completer))));
        self
    }

    /// Who does not hold this scope is not told of it, and is refused; said twice, both are needed. Without credentials
    /// nobody holds any, as on stdio.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scopes.push(scope.into());
        self
    }

    /// The handler needs this state; without it the server is not built.
    #[must_use]
    pub fn needs(mut self, needed: Option<Needed>) -> Self {
        self.needs.extend(needed);
        self
    }
}

/// A prompt and its handler.
#[derive(Clone)]
pub struct PromptEntry {
    pub(crate) prompt: Prompt,
    pub(crate) handler: Arc<dyn PromptHandler>,
    pub(crate) needs: Vec<Needed>,
    pub(crate) scopes: Vec<String>,
    pub(crate) completers: Vec<(String, Arc<dyn Completer>)>,
}

impl PromptEntry {
    /// A prompt without arguments so far.
    pub fn new(name: impl Into<String>, handler: impl PromptHandler) -> Self {
        let prompt = Prompt { name: name.into(), ..Prompt::default() };
        Self { prompt, handler: Arc::new(handler), needs: Vec::new(), scopes: Vec::new(), completers: Vec::new() }
    }

    /// The same with a closure.
    pub fn from_fn<F, U>(name: impl Into<String>, handler: F) -> Self
    where
        F: Fn(PromptArguments, Context) -> U + Send + Sync + 'static,
        U: Future<Output: IntoPromptResult> + Send + 'static,
    {
        Self::new(name, Closure::<F, PromptArguments>::new(handler))
    }

    /// Adds an argument that has to be given.
    #[must_use]
    pub fn required(self, name: impl Into<String>, description: impl Into<String>) -> Self {
        self.argument(PromptArgument {
            name: name.into(),
            description: Some(description.into()),
            required: true,
            ..PromptArgument::default()
        })
    }

    /// Adds an argument that may be left out.
    #[must_use]
    pub fn optional(self, name: impl Into<String>, description: impl Into<String>) -> Self {
        self.argument(PromptArgument {
            name: name.into(),
            description: Some(description.into()),
            ..PromptArgument::default()
        })
    }

    /// Adds an argument.
    #[must_use]
    pub fn argument(mut self, argument: PromptArgument) -> Self {
        self.prompt.arguments.push(argument);
        self
    }

    /// What the prompt is for.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.prompt.description = Some(description.into());
        self
    }

    /// Its name for people.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.prompt.title = Some(title.into());
        self
    }

    /// Adds a picture.
    #[must_use]
    pub fn icon(mut self, icon: Icon) -> Self {
        self.prompt.icons.push(icon);
        self
    }

    /// The item's `_meta`.
    #[must_use]
    pub fn meta(mut self, meta: Meta) -> Self {
        self.prompt.meta = Some(meta);
        self
    }

    /// Completes the argument `name`.
    #[must_use]
    pub fn complete<F, U>(mut self, name: impl Into<String>, completer: F) -> Self
    where
        F: Fn(CompletionQuery, Context) -> U + Send + Sync + 'static,
        U: Future<Output = Vec<String>> + Send + 'static,
    {
        self.completers.push((name.into(), Arc::new(Closure::<F, CompletionQuery>::new(completer))));
        self
    }

    /// Who does not hold this scope is not told of it, and is refused; said twice, both are needed. Without credentials
    /// nobody holds any, as on stdio.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scopes.push(scope.into());
        self
    }

    /// The handler needs this state; without it the server is not built.
    #[must_use]
    pub fn needs(mut self, needed: Option<Needed>) -> Self {
        self.needs.extend(needed);
        self
    }
}

/// Something that `Server::with` and `Catalogue::add` take: an entry, a function that makes one (which is what a
/// macro leaves in its function's place), a tuple or list of them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no tool, resource or prompt",
    label = "this item",
    note = "mark the function with `#[tool]`, `#[resource(..)]` or `#[prompt]`"
)]
pub trait Register {
    /// Puts everything into `entries`.
    fn register(self, entries: &mut Entries);
}

/// Entries on their way into the catalogue.
#[derive(Default)]
pub struct Entries {
    pub(crate) tools: Vec<ToolEntry>,
    pub(crate) resources: Vec<ResourceEntry>,
    pub(crate) templates: Vec<TemplateEntry>,
    pub(crate) prompts: Vec<PromptEntry>,
    pub(crate) sources: Vec<Arc<dyn Source>>,
}

macro_rules! register_entry {
    ($($entry:ty => $list:ident),+) => {
        $(impl Register for $entry {
            fn register(self, entries: &mut Entries) {
                entries.$list.push(self);
            }
        })+
    };
}

register_entry!(ToolEntry => tools, ResourceEntry => resources, TemplateEntry => templates, PromptEntry => prompts);

/// What a macro leaves in a function's place makes the entry.
#[diagnostic::do_not_recommend]
impl<F: FnOnce() -> T, T: Register> Register for F {
    fn register(self, entries: &mut Entries) {
        self().register(entries);
    }
}

impl<T: Register> Register for Vec<T> {
    fn register(self, entries: &mut Entries) {
        self.into_iter().for_each(|item| item.register(entries));
    }
}

impl<T: Register> Register for Option<T> {
    fn register(self, entries: &mut Entries) {
        self.into_iter().for_each(|item| item.register(entries));
    }
}

macro_rules! register_tuple {
    ($($item:ident),+) => {
        impl<$($item: Register),+> Register for ($($item,)+) {
            #[allow(non_snake_case, reason = "the variables are named like their types")]
            fn register(self, entries: &mut Entries) {
                let ($($item,)+) = self;
                $($item.register(entries);)+
            }
        }
    };
}

macro_rules! register_tuples {
    ($first:ident) => { register_tuple!($first); };
    ($first:ident, $($rest:ident),+) => {
        register_tuple!($first, $($rest),+);
        register_tuples!($($rest),+);
    };
}

register_tuples!(A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P);
