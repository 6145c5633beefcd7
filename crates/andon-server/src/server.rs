//! The builder that people meet first: what the server is, what it has, where it is served.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use andon_types::meta::{CacheHint, Icon, Implementation};
use andon_types::method::Capability;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::catalogue::Catalogue;
use crate::change::Changes;
use crate::context::{Context, Shared};
use crate::cursor::Cursors;
#[cfg(unix)]
use crate::directory::Directory;
use crate::entry::{Entries, PromptEntry, Register, ResourceEntry, TemplateEntry, ToolEntry};
use crate::error::Error;
use crate::extract::States;
use crate::handler::{Closure, CompletionQuery, PromptArguments, ReadRequest};
use crate::host::Host;
use crate::options::HostOptions;
use crate::output::{IntoCallToolResult, IntoPromptResult, IntoReadResult};
use crate::router::{Declared, Router, Settings};
use crate::seal::{Seal, SealKey};
use crate::sessions::Sessions;
use crate::tasks::Tasks;

/// How many items a page of a list has, unless the server says otherwise.
pub const PAGE_SIZE: usize = 50;
/// The most items of a page.
pub const PAGE_SIZE_MAX: usize = 1000;

/// A server: its name, its tools, prompts and resources, and what their handlers share.
///
/// ```
/// use andon_server::server::Server;
/// use serde_json::json;
///
/// let server = Server::new("greeter", "1.0.0").tool(
///     "greet",
///     json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}),
///     |arguments: serde_json::Value, _context| async move { format!("Hello, {}!", arguments["name"]) },
/// );
/// assert!(server.build().is_ok());
/// ```
pub struct Server {
    info: Implementation,
    instructions: Option<String>,
    states: States,
    entries: Entries,
    completions: Vec<PendingCompletion>,
    catalogue: Catalogue,
    changes: Changes,
    settings: Settings,
    options: HostOptions,
    seal: Seal,
    has_own_keys: bool,
    sessions: Sessions,
}

/// A completion that was given beside its prompt or template.
struct PendingCompletion {
    reference: String,
    argument: String,
    completer: Arc<dyn crate::handler::Completer>,
}

impl Server {
    /// A server without anything yet.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        let changes = Changes::default();
        Self {
            info: Implementation::new(name, version),
            instructions: None,
            states: States::default(),
            entries: Entries::default(),
            completions: Vec::new(),
            catalogue: Catalogue::new(changes.clone()),
            changes,
            settings: Settings {
                page_size: PAGE_SIZE,
                tool_timeout: None,
                cache: CacheHint::default(),
                declared: Declared::default(),
            },
            options: HostOptions::default(),
            seal: Seal::generate(),
            has_own_keys: false,
            sessions: Sessions::memory(),
        }
    }

    /// Its name for people.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.info.title = Some(title.into());
        self
    }

    /// What it is for, for people.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.info.description = Some(description.into());
        self
    }

    /// Where to read about it.
    #[must_use]
    pub fn website(mut self, url: impl Into<String>) -> Self {
        self.info.website_url = Some(url.into());
        self
    }

    /// Pictures of it.
    #[must_use]
    pub fn icons(mut self, icons: impl IntoIterator<Item = Icon>) -> Self {
        self.info.icons.extend(icons);
        self
    }

    /// What a model should know to use it.
    #[must_use]
    pub fn instructions(mut self, instructions: impl Into<String>) -> Self {
        self.instructions = Some(instructions.into());
        self
    }

    /// What handlers find as `State<T>`; one of each type, and a second one replaces the first.
    #[must_use]
    pub fn state<T: Send + Sync + 'static>(mut self, state: T) -> Self {
        self.states.insert(state);
        self
    }

    /// Adds what the macros made, or entries; one, a tuple or a list of them. Lists have the order of adding.
    #[must_use]
    pub fn with(mut self, items: impl Register) -> Self {
        items.register(&mut self.entries);
        self
    }

    /// Adds a tool by hand. `schema` is the JSON Schema of its arguments and reaches clients as it is.
    #[must_use]
    pub fn tool<A, F, U>(self, name: impl Into<String>, schema: Value, handler: F) -> Self
    where
        F: Fn(A, Context) -> U + Send + Sync + 'static,
        A: DeserializeOwned + Send + 'static,
        U: Future<Output: IntoCallToolResult> + Send + 'static,
    {
        self.with(ToolEntry::from_fn(name, schema, handler))
    }

    /// Adds a tool with everything that can be said of one.
    #[must_use]
    pub fn tool_entry(self, entry: ToolEntry) -> Self {
        self.with(entry)
    }

    /// Adds a resource by hand.
    #[must_use]
    pub fn resource<F, U>(self, uri: impl Into<String>, name: impl Into<String>, handler: F) -> Self
    where
        F: Fn(ReadRequest, Context) -> U + Send + Sync + 'static,
        U: Future<Output: IntoReadResult> + Send + 'static,
    {
        self.with(ResourceEntry::from_fn(uri, name, handler))
    }

    /// Adds a resource template by hand.
    #[must_use]
    pub fn template<F, U>(self, uri_template: impl Into<String>, name: impl Into<String>, handler: F) -> Self
    where
        F: Fn(ReadRequest, Context) -> U + Send + Sync + 'static,
        U: Future<Output: IntoReadResult> + Send + 'static,
    {
        self.with(TemplateEntry::from_fn(uri_template, name, handler))
    }

    /// Serves a folder as resources: any file of it can be read, and those that are there when somebody asks are listed.
    #[cfg(unix)]
    #[must_use]
    pub fn directory(self, directory: Directory) -> Self {
        self.with(directory)
    }

    /// Adds a prompt without declared arguments by hand; [`PromptEntry`] has the rest.
    #[must_use]
    pub fn prompt<F, U>(self, name: impl Into<String>, handler: F) -> Self
    where
        F: Fn(PromptArguments, Context) -> U + Send + Sync + 'static,
        U: Future<Output: IntoPromptResult> + Send + 'static,
    {
        self.with(PromptEntry::from_fn(name, handler))
    }

    /// Completes `argument` of a prompt, or of a resource template: `reference` is the prompt's name or the
    /// template's text.
    #[must_use]
    pub fn complete<F, U>(mut self, reference: impl Into<String>, argument: impl Into<String>, completer: F) -> Self
    where
        F: Fn(CompletionQuery, Context) -> U + Send + Sync + 'static,
        U: Future<Output = Vec<String>> + Send + 'static,
    {
        self.completions.push(PendingCompletion {
            reference: reference.into(),
            argument: argument.into(),
            completer: Arc::new(Closure::<F, CompletionQuery>::new(completer)),
        });
        self
    }

    /// Declares `capability` though nothing of that kind is there yet; for servers that add items later.
    /// Tools, prompts and resources can be empty; the rest follows from what is there.
    #[must_use]
    pub fn declare(mut self, capability: Capability) -> Self {
        let declared = &mut self.settings.declared;
        match capability {
            Capability::Tools => declared.tools = true,
            Capability::Prompts => declared.prompts = true,
            Capability::Resources => declared.resources = true,
            Capability::Base
            | Capability::Subscriptions
            | Capability::Logging
            | Capability::Completions
            | Capability::Tasks => {}
        }
        self
    }

    /// Items in a page of a list; 1 to [`PAGE_SIZE_MAX`], by default [`PAGE_SIZE`].
    #[must_use]
    pub fn page_size(mut self, items: usize) -> Self {
        self.settings.page_size = items.clamp(1, PAGE_SIZE_MAX);
        self
    }

    /// How long a call of a tool may take that says nothing itself. Progress extends it; the host's maximum holds.
    #[must_use]
    pub fn tool_timeout(mut self, timeout: Duration) -> Self {
        self.settings.tool_timeout = Some(timeout);
        self
    }

    /// How long clients may keep lists and resources, and who may share them (2026-07-28). By default they ask again
    /// each time.
    #[must_use]
    pub fn cache(mut self, hint: CacheHint) -> Self {
        self.settings.cache = hint;
        self
    }

    /// Bounds of the host.
    #[must_use]
    pub fn options(mut self, options: HostOptions) -> Self {
        self.options = options;
        self
    }

    /// Where sessions and tasks are kept, and for how long. By default in memory. What it says of bounds counts, whatever
    /// [`Server::options`] says.
    #[must_use]
    pub fn sessions(mut self, sessions: Sessions) -> Self {
        self.sessions = sessions;
        self
    }

    /// Keys that protect what clients carry for the server (`requestState`, cursors), newest first. Servers with the
    /// same keys continue each other's requests. By default there is one, which is kept with the sessions.
    #[must_use]
    pub fn seal_keys(mut self, keys: impl IntoIterator<Item = SealKey>) -> Self {
        self.seal = Seal::new(&keys.into_iter().collect::<Vec<_>>());
        self.has_own_keys = true;
        self
    }

    /// A handle on the keys, to rotate them while the server runs; take it after [`Server::seal_keys`], which it needs.
    ///
    /// ```
    /// # use andon_server::server::Server;
    /// let server = Server::new("greeter", "1.0.0").seal_keys([[1; 32]]);
    /// let seal = server.seal();
    /// // Later: the new key seals, and what clients still carry under the one before can be opened.
    /// seal.rotate(&[2; 32], 1);
    /// ```
    pub fn seal(&self) -> Seal {
        self.seal.clone()
    }

    /// A handle on the catalogue, to change it while the server runs.
    pub fn catalogue(&self) -> Catalogue {
        self.catalogue.clone()
    }

    /// Checks everything, and makes the host that transports are given.
    ///
    /// # Errors
    /// Names every item that is wrong: names that are not unique or have other characters than they may, schemas
    /// that are no JSON Schema or refer to the network, header annotations that 2026-07-28 does not allow, bad URIs,
    /// URI templates and icons, completions of what is not there, states that handlers need and nobody gave.
    pub fn build(self) -> Result<Arc<Host>, Error> {
        let Self { info, instructions, states, mut entries, completions, catalogue, changes, settings, .. } = self;
        let (mut options, mut seal) = (self.options, self.seal);
        if let Some(why) = info.icons.iter().find_map(Icon::problem) {
            return Err(Error::misuse(format!("the server has a bad icon: {why}")));
        }
        if info.name.is_empty() || info.name.chars().chain(info.version.chars()).any(char::is_control) {
            return Err(Error::misuse(
                "a server's name is not empty, and neither it nor its version has control characters",
            ));
        }
        for pending in completions {
            attach(&mut entries, pending)?;
        }
        catalogue.insert(entries)?;
        catalogue.seal(&states)?;
        self.sessions.apply(&mut options);
        let (kept, own_seal) = self.sessions.open()?;
        if let Some(own_seal) = own_seal.filter(|_| !self.has_own_keys) {
            seal = own_seal;
        }
        let shared = Arc::new(Shared { states, catalogue });
        let tasks = Tasks::of(&kept, &options, &changes, (&seal, settings.page_size));
        let router = Router { info, instructions, shared, settings, cursors: Cursors::new(seal.clone()), tasks };
        Ok(Host::new(Arc::new(router), &changes, options, seal, kept))
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("info", &self.info).finish_non_exhaustive()
    }
}

fn attach(entries: &mut Entries, pending: PendingCompletion) -> Result<(), Error> {
    let PendingCompletion { reference, argument, completer } = pending;
    let prompt = entries.prompts.iter_mut().find(|entry| entry.prompt.name == reference);
    let template = entries.templates.iter_mut().find(|entry| entry.template.uri_template == reference);
    match (prompt, template) {
        (Some(entry), _) => entry.completers.push((argument, completer)),
        (None, Some(entry)) => entry.completers.push((argument, completer)),
        (None, None) => {
            let why = format!("there is no prompt and no resource template `{reference}` to complete");
            return Err(Error::misuse(why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
