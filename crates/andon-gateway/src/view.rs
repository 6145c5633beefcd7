//! What the clients of one endpoint see: the lists of several servers as one, and who serves which name.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use andon_schema::headers::HeaderParam;
use andon_types::adapt::Adapt;
use andon_types::content::{Prompt, Resource, ResourceTemplate};
use andon_types::revision::Revision;
use andon_types::task::{TaskSupport, declares_tasks};
use andon_types::template::UriTemplate;
use andon_types::tools::Tool;
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::catalogue::{Catalogue, Listed, headers_of};
use crate::config::Settings;
use crate::names;
use crate::pins::{Held, Vetted};
use crate::service::Tasking;
use crate::viewer::Viewer;

/// Items of one page.
pub(crate) const PAGE_SIZE: usize = 500;

/// Views that are kept, for as many who see different things.
const VIEWS_MAX: usize = 128;

/// One server's part of a view.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) server: Arc<str>,
    pub(crate) prefix: String,
    pub(crate) settings: Arc<Settings>,
    pub(crate) catalogue: Arc<Vetted>,
    /// Its tools that are held back.
    pub(crate) held: Held,
    /// Whether its endpoint serves others too, whether they are there or not.
    pub(crate) is_one_of_several: bool,
}

impl Part {
    /// Whether nothing changed since `other` was made.
    fn is_same(&self, other: &Part) -> bool {
        self.server == other.server
            && self.prefix == other.prefix
            && Arc::ptr_eq(&self.settings, &other.settings)
            && Arc::ptr_eq(&self.catalogue, &other.catalogue)
            && self.held == other.held
            && self.is_one_of_several == other.is_one_of_several
    }
}

pub(crate) struct View {
    parts: Vec<Part>,
    pub(crate) tools: Listing<Tool>,
    pub(crate) prompts: Listing<Prompt>,
    pub(crate) resources: Listing<Resource>,
    pub(crate) templates: Listing<ResourceTemplate>,
    patterns: Vec<(UriTemplate, usize)>,
    headers: HashMap<String, Vec<HeaderParam>>,
    /// Of tools that are held back and were shown before: who has their names meanwhile.
    withheld: HashMap<String, Owner>,
}

/// The last views of those who see different things: of each viewer, and of all who see the same.
#[derive(Default)]
pub(crate) struct Views {
    kept: HashMap<Option<Viewer>, Kept>,
    clock: u64,
}

struct Kept {
    view: Arc<View>,
    /// The last one that a list was given of: who has a name there keeps it.
    listed: Option<Arc<View>>,
    used_at: u64,
}

impl Kept {
    fn listed(&self) -> Option<Arc<View>> {
        if self.view.is_listed() { Some(self.view.clone()) } else { self.listed.clone() }
    }
}

/// One merged list.
pub(crate) struct Listing<T> {
    items: Vec<Shown<T>>,
    by_name: HashMap<String, usize>,
    /// Whether two servers have the same name for something.
    has_clashes: bool,
    /// By revision: the pages, encoded once.
    encoded: Mutex<HashMap<Revision, Arc<Vec<Arc<str>>>>>,
}

/// One item as clients see it.
pub(crate) struct Shown<T> {
    pub(crate) wire: T,
    pub(crate) server: Arc<str>,
    /// What its server calls it.
    pub(crate) own: Arc<str>,
}

/// Who has a name, and what it is there.
#[derive(Clone)]
struct Owner {
    server: Arc<str>,
    own: Arc<str>,
}

/// Who serves a URI, and what it is there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Home {
    pub(crate) server: Arc<str>,
    pub(crate) uri: String,
}

impl Views {
    /// What `viewer` saw last.
    pub(crate) fn of(&mut self, viewer: Option<&Viewer>) -> Option<Arc<View>> {
        self.clock += 1;
        let kept = self.kept.get_mut(&viewer.cloned())?;
        kept.used_at = self.clock;
        Some(kept.view.clone())
    }

    /// What `viewer` sees of these parts. Whoever has a name in what was listed to it before keeps it.
    pub(crate) fn put(&mut self, viewer: Option<&Viewer>, parts: Vec<Part>) -> Arc<View> {
        let own = self.of(viewer);
        if let Some(view) = own.as_ref().filter(|view| view.is_of(parts.iter())) {
            return view.clone();
        }
        // Where tools are held back, who has their names depends on what was shown before.
        let is_held = parts.iter().any(|part| part.held.is_some());
        let alike = |view: &&Arc<View>| !is_held && !view.has_clashes() && view.is_of(parts.iter());
        let view = self.kept.values().map(|kept| &kept.view).find(alike).cloned();
        let listed = |viewer: &Option<Viewer>| self.kept.get(viewer).and_then(Kept::listed);
        let listed = listed(&viewer.cloned()).or_else(|| listed(&None));
        let view = view.unwrap_or_else(|| Arc::new(View::new(parts, listed.as_deref())));
        if self.kept.len() >= VIEWS_MAX && !self.kept.contains_key(&viewer.cloned()) {
            // Never that of all, which says to whoever comes who has a name.
            let own = self.kept.iter().filter(|(viewer, _)| viewer.is_some());
            let oldest = own.min_by_key(|(_, kept)| kept.used_at).map(|(viewer, _)| viewer.clone());
            oldest.and_then(|oldest| self.kept.remove(&oldest));
        }
        self.kept.insert(viewer.cloned(), Kept { view: view.clone(), listed, used_at: self.clock });
        view
    }

    /// The session with this key, at the endpoint with this number, is over.
    pub(crate) fn forget(&mut self, session: (u64, u128)) {
        self.kept.retain(|viewer, _| viewer.as_ref().is_none_or(|viewer| viewer.session != Some(session)));
    }
}

impl View {
    /// The lists of `parts`. What two servers have the same name for belongs to who had it `before`, while that lists it,
    /// or to the first of them.
    pub(crate) fn new<'b>(parts: Vec<Part>, before: Option<&'b View>) -> Self {
        let (mut tools, mut prompts) = (Listing::default(), Listing::default());
        let (mut resources, mut templates) = (Listing::default(), Listing::default());
        let (mut patterns, mut headers) = (Vec::new(), HashMap::new());
        let before = before.map(|view| Before { view, parts: &parts });
        for part in &parts {
            for tool in part.catalogue.tools.iter().filter(|tool| shows_tool(part, tool)) {
                let mut wire = tool.clone();
                let given = part.settings.rename.get(&tool.name).unwrap_or(&tool.name);
                wire.name = names::prefixed(&part.prefix, given);
                let find = |view: &'b View| view.owner_of_tool(&wire.name);
                if tools.has(&wire.name) || kept(before, part, find, |other| &other.tools) {
                    tools.leave_out(&wire.name, part);
                    continue;
                }
                wire.execution = execution(part, tool);
                if let Some(description) = part.settings.describe.get(&tool.name) {
                    wire.description = Some(description.clone());
                }
                let mirrored = headers_of(tool);
                if !mirrored.is_empty() {
                    headers.insert(wire.name.clone(), mirrored);
                }
                tools.add(wire, part, &tool.name);
            }
            for prompt in part.catalogue.prompts.iter().filter(|prompt| part.settings.prompts.permit(&prompt.name)) {
                let wire = Prompt { name: names::prefixed(&part.prefix, &prompt.name), ..prompt.clone() };
                if kept(before, part, |view| view.prompts.owner(&wire.name), |other| &other.prompts) {
                    prompts.leave_out(&wire.name, part);
                } else {
                    prompts.add(wire, part, &prompt.name);
                }
            }
            for resource in part.catalogue.resources.iter().filter(|known| part.settings.resources.permit(&known.uri)) {
                let mut wire = resource.clone();
                let is_kept = kept(before, part, |view| view.resources.owner(&wire.uri), |other| &other.resources);
                if is_kept || resources.has(&wire.uri) {
                    wire.uri = format!("{}{}", scheme_prefix(&part.server), wire.uri);
                    resources.has_clashes = true;
                }
                resources.add(wire, part, &resource.uri);
            }
            for template in part.catalogue.templates.iter() {
                let mut wire = template.clone();
                if !part.settings.resources.permit(&wire.uri_template) {
                    continue;
                }
                let find = |view: &'b View| view.templates.owner(&wire.uri_template);
                let is_taken = kept(before, part, find, |other| &other.templates) || templates.has(&wire.uri_template);
                if is_taken {
                    wire.uri_template = format!("{}{}", scheme_prefix(&part.server), wire.uri_template);
                    templates.has_clashes = true;
                }
                let index = templates.items.len();
                templates.add(wire, part, &template.uri_template);
                // What fits one that is taken is of who has it.
                let is_there = !is_taken && templates.items.len() > index;
                if let (true, Ok(pattern)) = (is_there, UriTemplate::parse(&template.uri_template)) {
                    patterns.push((pattern, index));
                }
            }
        }
        let withheld = before.map(|before| before.withheld(&tools)).unwrap_or_default();
        Self { parts, tools, prompts, resources, templates, patterns, headers, withheld }
    }

    fn owner_of_tool(&self, name: &str) -> Option<(&str, &str)> {
        let withheld = || self.withheld.get(name).map(|owner| (&*owner.server, &*owner.own));
        self.tools.owner(name).or_else(withheld)
    }

    /// The server that has a tool of this name which is held back.
    pub(crate) fn holder(&self, tool: &str) -> Option<&str> {
        let is_named = |part: &Part, own: &String| {
            let given = part.settings.rename.get(own).unwrap_or(own);
            part.settings.tools.permit(own) && names::prefixed(&part.prefix, given) == tool
        };
        let holds = |part: &&Part| part.held.iter().any(|held| held.iter().any(|own| is_named(part, own)));
        self.parts.iter().find(holds).map(|part| &*part.server)
    }

    /// Whether it is made of these parts.
    pub(crate) fn is_of(&self, mut parts: impl Iterator<Item: Borrow<Part>>) -> bool {
        let own = self.parts.iter().all(|own| parts.next().is_some_and(|other| own.is_same(other.borrow())));
        own && parts.next().is_none()
    }

    /// Whether any client was given a list of it.
    fn is_listed(&self) -> bool {
        self.tools.is_listed() || self.prompts.is_listed() || self.resources.is_listed() || self.templates.is_listed()
    }

    fn has_clashes(&self) -> bool {
        self.tools.has_clashes || self.prompts.has_clashes || self.resources.has_clashes || self.templates.has_clashes
    }

    /// Whether a server has a part in it.
    pub(crate) fn has(&self, server: &str) -> bool {
        self.parts.iter().any(|part| &*part.server == server)
    }

    /// Who says whether calls of this tool become tasks.
    pub(crate) fn tasking(&self, tool: &Shown<Tool>) -> Tasking {
        let part = self.parts.iter().find(|part| part.server == tool.server);
        let Some(capabilities) = part.map(|part| &part.catalogue.capabilities) else { return Tasking::Never };
        if declares_tasks(capabilities.extensions.as_ref()) {
            return Tasking::Server;
        }
        let support = tool.wire.execution.as_ref().and_then(|execution| execution.get("taskSupport"));
        let support = support.and_then(|support| TaskSupport::deserialize(support).ok());
        support.map_or(Tasking::Never, Tasking::Client)
    }

    /// What the call of a tool mirrors in headers.
    pub(crate) fn headers(&self, tool: &str) -> Option<&[HeaderParam]> {
        self.headers.get(tool).map(Vec::as_slice)
    }

    /// Who serves `uri`: whoever lists it, else the first whose template it fits, else the only one who has resources.
    pub(crate) fn home(&self, uri: &str) -> Option<Home> {
        if let Some(shown) = self.resources.find(uri) {
            return Some(Home { server: shown.server.clone(), uri: shown.own.to_string() });
        }
        let named = self.parts.iter().find_map(|part| Some((part, uri.strip_prefix(&scheme_prefix(&part.server))?)));
        if let Some((part, own)) = named {
            return part
                .settings
                .resources
                .permit(own)
                .then(|| Home { server: part.server.clone(), uri: own.to_owned() });
        }
        let fitting = self.patterns.iter().find(|(pattern, _)| pattern.matches(uri).is_some());
        let server = match fitting {
            Some((_, index)) => self.templates.items[*index].server.clone(),
            None => {
                let mut having = self.parts.iter().filter(|part| part.catalogue.capabilities.resources.is_some());
                let only = having.next()?;
                if having.next().is_some() {
                    return None;
                }
                only.server.clone()
            }
        };
        let part = self.parts.iter().find(|part| part.server == server)?;
        part.settings.resources.permit(uri).then(|| Home { server, uri: uri.to_owned() })
    }
}

impl View {
    /// What clients call the resource that `server` calls `own`, if that is another name: if they would reach another
    /// server by it, or none. What nobody lists and what is on the web is left alone: a client reaches that by itself.
    pub(crate) fn other_name(&self, server: &str, own: &str) -> Option<String> {
        let part = self.parts.iter().find(|part| *part.server == *server)?;
        part.catalogue.capabilities.resources.as_ref()?;
        let reached = match self.resources.find(own) {
            Some(shown) => Some(&shown.server),
            None => {
                let fitting = self.patterns.iter().find(|(pattern, _)| pattern.matches(own).is_some());
                fitting.map(|(_, index)| &self.templates.items[*index].server)
            }
        };
        let is_reached = match reached {
            Some(reached) => **reached == *server,
            None => !part.is_one_of_several || is_of_the_web(own),
        };
        (!is_reached).then(|| format!("{}{own}", scheme_prefix(server)))
    }
}

fn is_of_the_web(uri: &str) -> bool {
    uri.split_once(':').is_some_and(|(scheme, _)| ["http", "https"].iter().any(|web| scheme.eq_ignore_ascii_case(web)))
}

/// What stands before the URIs of `server` that another server has too.
fn scheme_prefix(server: &str) -> String {
    let scheme: String = names::plain(server).chars().map(|c| if c == '_' { '-' } else { c }).collect();
    format!("{scheme}+")
}

/// Whether clients of 2025-11-25 can call a tool as a task: if its server has tasks, and as that says; where the server
/// decides it, as the client likes.
fn execution(part: &Part, tool: &Tool) -> Option<Value> {
    let capabilities = &part.catalogue.capabilities;
    if declares_tasks(capabilities.extensions.as_ref()) {
        return Some(json!({ "taskSupport": TaskSupport::Optional }));
    }
    let has_tasks = capabilities.tasks.as_ref().is_some_and(|tasks| {
        let calls = tasks.get("requests").and_then(|requests| requests.get("tools")?.get("call"));
        calls.is_some()
    });
    tool.execution.clone().filter(|_| has_tasks)
}

/// A view of before, and the parts of the one that is made.
#[derive(Clone, Copy)]
struct Before<'b, 'p> {
    view: &'b View,
    parts: &'p [Part],
}

impl<'b, 'p> Before<'b, 'p> {
    /// The part that `server` has now, if it gives its names as before.
    fn part_of(&self, server: &str) -> Option<&'p Part> {
        let was = self.view.parts.iter().find(|part| *part.server == *server)?;
        let is = self.parts.iter().find(|part| *part.server == *server)?;
        (was.prefix == is.prefix && Arc::ptr_eq(&was.settings, &is.settings)).then_some(is)
    }

    /// Who had the names of tools that are held back now, and so are not among these.
    fn withheld(&self, tools: &Listing<Tool>) -> HashMap<String, Owner> {
        let shown = self.view.tools.items.iter();
        let shown = shown.map(|tool| (&tool.wire.name, Owner { server: tool.server.clone(), own: tool.own.clone() }));
        let withheld = self.view.withheld.iter().map(|(name, owner)| (name, owner.clone()));
        let is_held = |owner: &Owner| {
            let held = self.part_of(&owner.server).and_then(|part| part.held.as_ref());
            held.is_some_and(|held| held.contains(&*owner.own))
        };
        let all = shown.chain(withheld).filter(|(name, owner)| !tools.has(name) && is_held(owner));
        all.map(|(name, owner)| (name.clone(), owner)).collect()
    }
}

/// Whether what is found `before` belongs to another server than that of `part`, which still lists it under that name.
fn kept<'b, 'p, T: Listed>(
    before: Option<Before<'b, 'p>>,
    part: &Part,
    find: impl Fn(&'b View) -> Option<(&'b str, &'b str)>,
    list: impl Fn(&'p Catalogue) -> &'p [T],
) -> bool {
    before.is_some_and(|before| {
        let Some((server, own)) = find(before.view).filter(|(server, _)| **server != *part.server) else {
            return false;
        };
        let is = before.part_of(server);
        is.is_some_and(|is| list(&is.catalogue).iter().any(|item| *item.key() == *own))
    })
}

fn shows_tool(part: &Part, tool: &Tool) -> bool {
    part.settings.tools.permit(&tool.name) && !part.held.as_ref().is_some_and(|held| held.contains(&tool.name))
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self { items: Vec::new(), by_name: HashMap::new(), has_clashes: false, encoded: Mutex::default() }
    }
}

impl<T: Listed + Adapt> Listing<T> {
    /// Adds an item, unless its name is taken already.
    fn add(&mut self, wire: T, part: &Part, own: &str) {
        let name = wire.key().to_owned();
        if self.has(&name) {
            return self.leave_out(&name, part);
        }
        self.by_name.insert(name, self.items.len());
        self.items.push(Shown { wire, server: part.server.clone(), own: own.into() });
    }

    fn leave_out(&mut self, name: &str, part: &Part) {
        self.has_clashes = true;
        tracing::warn!(server = &*part.server, name, list = T::METHOD, "its name is that of another: left out");
    }

    fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// The item that clients know by `name`.
    pub(crate) fn find(&self, name: &str) -> Option<&Shown<T>> {
        self.by_name.get(name).map(|index| &self.items[*index])
    }

    /// The server of what clients know by `name`, and what that calls it.
    fn owner(&self, name: &str) -> Option<(&str, &str)> {
        self.find(name).map(|shown| (&*shown.server, &*shown.own))
    }

    /// The page after `after` items, and how many items there are up to its end if others follow.
    pub(crate) fn page(&self, revision: Revision, after: usize) -> (Arc<str>, Option<usize>) {
        let pages = {
            let mut encoded = self.encoded.lock().unwrap_or_else(PoisonError::into_inner);
            encoded.entry(revision).or_insert_with(|| Arc::new(self.encode(revision))).clone()
        };
        let number = after / PAGE_SIZE;
        let next = (number + 1 < pages.len()).then_some((number + 1) * PAGE_SIZE);
        // A list that became shorter meanwhile has nothing there.
        (pages.get(number).cloned().unwrap_or_else(|| Self::encode_page(&[], revision)), next)
    }

    /// Whether a page of it was given to anybody.
    fn is_listed(&self) -> bool {
        !self.encoded.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn encode(&self, revision: Revision) -> Vec<Arc<str>> {
        self.items.chunks(PAGE_SIZE).map(|items| Self::encode_page(items, revision)).collect()
    }

    fn encode_page(items: &[Shown<T>], revision: Revision) -> Arc<str> {
        let adapted: Vec<T> = items
            .iter()
            .map(|shown| {
                let mut wire = shown.wire.clone();
                wire.adapt(revision.rules());
                wire
            })
            .collect();
        let listed = serde_json::to_string(&adapted).expect("what was read from JSON can be written as JSON");
        format!("{{\"{}\":{listed}}}", T::MEMBER).into()
    }
}

#[cfg(test)]
mod tests;
