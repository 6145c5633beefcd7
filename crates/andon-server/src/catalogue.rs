//! The catalogue: all tools, prompts, resources and templates of a server, shared by every session and revision.
//!
//! Readers take an immutable snapshot; a change makes a new one and is announced. A list is encoded once per
//! revision and snapshot. Every item keeps the ordinal that it got when it was added, which lists are ordered by
//! and cursors point at, so that a client that pages through a list sees each item once whatever is added meanwhile.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use andon_types::revision::Revision;
use arc_swap::{ArcSwap, Guard};

use crate::change::Changes;
use crate::checks::{self, Problem};
use crate::entry::{Entries, Register, ResourceEntry};
use crate::extract::{Needed, States};
use crate::item::{Item, PromptItem, ResourceItem, TemplateItem, ToolItem};
use crate::listing::Pages;
use crate::source::Source;

/// The most items of one kind.
pub const ITEMS_MAX: usize = 100_000;
/// The most bytes that the definitions of one kind have together.
pub const DEFINITIONS_BYTES_MAX: usize = 64 << 20;

/// A handle on a server's catalogue, to change it while the server runs. Cheap to clone.
///
/// Clients hear of changes by `list_changed` notifications.
#[derive(Clone)]
pub struct Catalogue(Arc<Inner>);

struct Inner {
    snapshot: ArcSwap<Snapshot>,
    /// Held while a snapshot is replaced, so that no change is lost. Readers never take it.
    write: Mutex<Write>,
    changes: Changes,
    /// Set when the server is built; entries that come later are checked against it.
    states: OnceLock<States>,
}

#[derive(Default)]
struct Write {
    last_ordinal: u64,
}

/// What is wrong with entries: none of them was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationError {
    problems: Vec<Problem>,
}

impl RegistrationError {
    /// One sentence per problem, naming the item.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        self.problems.iter().map(ToString::to_string)
    }
}

impl fmt::Display for RegistrationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            write!(f, "{}{problem}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for RegistrationError {}

impl Catalogue {
    pub(crate) fn new(changes: Changes) -> Self {
        Self(Arc::new(Inner {
            snapshot: ArcSwap::from_pointee(Snapshot::default()),
            write: Mutex::default(),
            changes,
            states: OnceLock::new(),
        }))
    }

    /// Adds items, all or none, and announces the lists that changed.
    ///
    /// # Errors
    /// [`RegistrationError`] names each item that is wrong: see `Server::build` for what is checked.
    pub fn add(&self, items: impl Register) -> Result<(), RegistrationError> {
        let mut entries = Entries::default();
        items.register(&mut entries);
        self.insert(entries)
    }

    pub(crate) fn insert(&self, entries: Entries) -> Result<(), RegistrationError> {
        let (tools, prompts) = (!entries.tools.is_empty(), !entries.prompts.is_empty());
        let resources = !entries.resources.is_empty() || !entries.templates.is_empty();
        {
            let mut write = self.0.write.lock().unwrap_or_else(PoisonError::into_inner);
            let mut next = Snapshot::clone(&self.0.snapshot.load());
            let mut problems = Vec::new();
            let mut ordinals = Ordinals(&mut write.last_ordinal);
            add_all(&mut next.tools, entries.tools, &mut ordinals, &mut problems, checks::tool);
            add_all(&mut next.prompts, entries.prompts, &mut ordinals, &mut problems, checks::prompt);
            add_all(&mut next.resources, entries.resources, &mut ordinals, &mut problems, checks::resource);
            add_all(&mut next.templates, entries.templates, &mut ordinals, &mut problems, checks::template);
            next.sources.extend(entries.sources);
            if let Some(states) = self.0.states.get() {
                problems.extend(next.missing_states(states));
            }
            if !problems.is_empty() {
                return Err(RegistrationError { problems });
            }
            self.0.snapshot.store(Arc::new(next));
        }
        self.announce(tools, prompts, resources);
        Ok(())
    }

    /// Fixes the states that handlers find, and checks that those which are there find theirs.
    pub(crate) fn seal(&self, states: &States) -> Result<(), RegistrationError> {
        let _write = self.0.write.lock().unwrap_or_else(PoisonError::into_inner);
        let problems = self.0.snapshot.load().missing_states(states);
        if !problems.is_empty() {
            return Err(RegistrationError { problems });
        }
        self.0.states.get_or_init(|| states.clone());
        Ok(())
    }

    /// Removes the tool `name`; whether it was there. Calls in flight go on.
    pub fn remove_tool(&self, name: &str) -> bool {
        let removed = self.remove(|next| next.tools.remove(name));
        self.announce(removed, false, false);
        removed
    }

    /// Removes the prompt `name`; whether it was there.
    pub fn remove_prompt(&self, name: &str) -> bool {
        let removed = self.remove(|next| next.prompts.remove(name));
        self.announce(false, removed, false);
        removed
    }

    /// Removes the resource at `uri`, or the template with that text; whether it was there.
    pub fn remove_resource(&self, uri: &str) -> bool {
        let key = checks::canonical(uri).unwrap_or_else(|_| uri.to_owned());
        let removed = self.remove(|next| next.resources.remove(&key) || next.templates.remove(uri));
        self.announce(false, false, removed);
        removed
    }

    /// Removes the resources at the canonical URIs `gone` and adds `new`, in one change that is announced. An item that
    /// cannot be added is left out, and logged.
    pub(crate) fn exchange(&self, gone: &HashSet<String>, new: Vec<ResourceEntry>) {
        let mut problems = Vec::new();
        {
            let mut write = self.0.write.lock().unwrap_or_else(PoisonError::into_inner);
            let mut next = Snapshot::clone(&self.0.snapshot.load());
            next.resources.remove_all(gone);
            let mut ordinals = Ordinals(&mut write.last_ordinal);
            add_all(&mut next.resources, new, &mut ordinals, &mut problems, checks::resource);
            self.0.snapshot.store(Arc::new(next));
        }
        for problem in problems {
            tracing::warn!(%problem, "a resource is not listed");
        }
        self.announce(false, false, true);
    }

    /// Announces that the resource at `uri` changed, to whoever subscribed to it.
    /// A URI that is none is nobody's, and ignored.
    pub fn updated(&self, uri: &str) {
        if let Ok(uri) = self.snapshot().canonical(uri) {
            self.0.changes.updated(&uri);
        }
    }

    /// Announces changes of lists that the catalogue cannot see, for instance files in a directory.
    pub fn announce(&self, tools: bool, prompts: bool, resources: bool) {
        if tools {
            self.0.changes.tools();
        }
        if prompts {
            self.0.changes.prompts();
        }
        if resources {
            self.0.changes.resources();
        }
    }

    /// Names of the tools, in the order of the list.
    pub fn tool_names(&self) -> Vec<String> {
        self.snapshot().tools.items().iter().map(|item| item.key().to_owned()).collect()
    }

    fn remove(&self, from: impl FnOnce(&mut Snapshot) -> bool) -> bool {
        let _write = self.0.write.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Snapshot::clone(&self.0.snapshot.load());
        let removed = from(&mut next);
        if removed {
            self.0.snapshot.store(Arc::new(next));
        }
        removed
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot.load_full()
    }

    /// The same for a look in passing: the snapshot has no counter that all calls would write to.
    pub(crate) fn look(&self) -> Guard<Arc<Snapshot>> {
        self.0.snapshot.load()
    }
}

impl fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalogue").field("tools", &self.tool_names()).finish_non_exhaustive()
    }
}

/// Hands out ordinals, never the same twice.
struct Ordinals<'a>(&'a mut u64);

impl Ordinals<'_> {
    fn next(&mut self) -> u64 {
        *self.0 += 1;
        *self.0
    }
}

/// Checks `entries` and adds them to `section`; what is wrong goes to `problems`.
fn add_all<E, T: Item>(
    section: &mut Section<T>,
    entries: Vec<E>,
    ordinals: &mut Ordinals<'_>,
    problems: &mut Vec<Problem>,
    check: fn(E, u64) -> Result<T, Problem>,
) {
    for entry in entries {
        match check(entry, ordinals.next()) {
            Ok(item) if section.find(item.key()).is_some() => {
                problems.push(Problem::new(T::KIND, item.key(), "stands twice; names are unique"));
            }
            Ok(item) if section.bytes + item.bytes() > DEFINITIONS_BYTES_MAX || section.items.len() >= ITEMS_MAX => {
                let why = format!("is one too many: a server has at most {ITEMS_MAX}, of 64 MiB together");
                problems.push(Problem::new(T::KIND, item.key(), why));
            }
            Ok(item) => section.push(item),
            Err(problem) => problems.push(problem),
        }
    }
}

/// The catalogue at one moment.
#[derive(Clone, Default)]
pub(crate) struct Snapshot {
    pub(crate) tools: Section<ToolItem>,
    pub(crate) prompts: Section<PromptItem>,
    pub(crate) resources: Section<ResourceItem>,
    pub(crate) templates: Section<TemplateItem>,
    /// Who knows resources that change by themselves.
    pub(crate) sources: Vec<Arc<dyn Source>>,
}

impl Snapshot {
    /// The canonical form of `uri`, in which equivalent URIs are equal. Where the host is a variable of a template that
    /// matches, its case stays: `catalog://{sku}` has a meaning for hosts that RFC 3986 does not know of.
    ///
    /// # Errors
    /// Why it is no URI.
    pub(crate) fn canonical(&self, uri: &str) -> Result<String, String> {
        let canonical = checks::canonical(uri)?;
        let mut naming = self.templates.items().iter().filter(|item| item.names_hosts).peekable();
        if naming.peek().is_none() || self.resources.find(&canonical).is_some() {
            return Ok(canonical);
        }
        let written = checks::with_host_as_written(uri)?;
        let is_named = written != canonical && naming.any(|item| checks::variables(&item.template, &written).is_some());
        Ok(if is_named { written } else { canonical })
    }

    /// Whether any argument is completed.
    pub(crate) fn completes(&self) -> bool {
        self.prompts.items().iter().any(|item| !item.entry.completers.is_empty())
            || self.templates.items().iter().any(|item| !item.entry.completers.is_empty())
    }

    fn missing_states(&self, states: &States) -> Vec<Problem> {
        fn of<T: Item>(section: &Section<T>, states: &States, problems: &mut Vec<Problem>) {
            for item in section.items() {
                let missing = |needed: &&Needed| !states.has(needed);
                problems.extend(item.needs().iter().filter(missing).map(|needed| {
                    let why = format!("needs the state {}; give it by `Server::state`", needed.name());
                    Problem::new(T::KIND, item.key(), why)
                }));
            }
        }
        let mut problems = Vec::new();
        of(&self.tools, states, &mut problems);
        of(&self.prompts, states, &mut problems);
        of(&self.resources, states, &mut problems);
        of(&self.templates, states, &mut problems);
        problems
    }
}

/// All items of one kind, in the order of their ordinals.
pub(crate) struct Section<T> {
    by_key: HashMap<Box<str>, Arc<T>>,
    items: Vec<Arc<T>>,
    bytes: usize,
    /// It had an item once: a client may have been told so, and the methods stay.
    is_declared: bool,
    /// All scopes that any item needs, or needed.
    scopes: Vec<String>,
    /// One per revision, encoded when first asked for.
    pages: [OnceLock<Pages>; Revision::ALL.len()],
}

impl<T> Default for Section<T> {
    fn default() -> Self {
        Self {
            by_key: HashMap::new(),
            items: Vec::new(),
            bytes: 0,
            is_declared: false,
            scopes: Vec::new(),
            pages: Default::default(),
        }
    }
}

/// The copy has the same items, and no encoded pages: it is made to be changed.
impl<T> Clone for Section<T> {
    fn clone(&self) -> Self {
        let (by_key, items, scopes) = (self.by_key.clone(), self.items.clone(), self.scopes.clone());
        Self { by_key, items, bytes: self.bytes, is_declared: self.is_declared, scopes, pages: Default::default() }
    }
}

impl<T: Item> Section<T> {
    pub(crate) fn find(&self, key: &str) -> Option<&Arc<T>> {
        self.by_key.get(key)
    }

    pub(crate) fn items(&self) -> &[Arc<T>] {
        &self.items
    }

    /// Whether there is an item, or was one.
    pub(crate) fn is_declared(&self) -> bool {
        self.is_declared
    }

    /// All scopes that any item needs: who holds them sees the whole list.
    pub(crate) fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// The list as a peer of `revision` who holds all scopes sees it, in pages of `page_size`.
    pub(crate) fn pages(&self, revision: Revision, page_size: usize) -> &Pages {
        self.pages[revision as usize].get_or_init(|| Pages::encode(&self.items, revision, page_size))
    }

    fn push(&mut self, item: T) {
        let item = Arc::new(item);
        self.bytes += item.bytes();
        self.is_declared = true;
        for scope in item.scopes() {
            if !self.scopes.contains(scope) {
                self.scopes.push(scope.clone());
            }
        }
        self.by_key.insert(item.key().into(), Arc::clone(&item));
        self.items.push(item);
    }

    fn remove(&mut self, key: &str) -> bool {
        let Some(removed) = self.by_key.remove(key) else { return false };
        self.bytes -= removed.bytes();
        self.items.retain(|item| item.ordinal() != removed.ordinal());
        true
    }

    fn remove_all(&mut self, keys: &HashSet<String>) {
        let (gone, rest): (Vec<_>, Vec<_>) = self.items.drain(..).partition(|item| keys.contains(item.key()));
        self.items = rest;
        for item in gone {
            self.by_key.remove(item.key());
            self.bytes -= item.bytes();
        }
    }
}
