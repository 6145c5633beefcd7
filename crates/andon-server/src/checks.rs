//! What is checked when an item is added, so that a mistake shows when the server starts and not in a client.

use std::fmt;
use std::sync::Arc;

use andon_schema::Validator;
use andon_schema::headers::header_params;
use andon_types::content::{Annotations, Resource};
use andon_types::meta::Icon;
use andon_types::raw::RawJson;
use andon_types::template::{UriTemplate, Value as Captured};
use andon_types::uri::Uri;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::entry::{PromptEntry, ResourceEntry, TemplateEntry, ToolEntry};
use crate::handler::{Completer, Variables};
use crate::item::{Item, PromptItem, ResourceItem, TemplateItem, ToolItem};

/// The most bytes of the name of a prompt or an argument.
pub(crate) const NAME_BYTES_MAX: usize = 256;
/// The most bytes of the name of a resource, which may be a path; those of a URI.
pub(crate) const RESOURCE_NAME_BYTES_MAX: usize = 8 << 10;
/// The most characters of a tool's name (2025-11-25, server, tools, "Tool Names").
pub(crate) const TOOL_NAME_CHARS_MAX: usize = 128;
/// The most bytes of a title or description.
pub(crate) const TEXT_BYTES_MAX: usize = 64 << 10;
/// The most arguments of a prompt.
pub(crate) const PROMPT_ARGUMENTS_MAX: usize = 100;

/// What is wrong with one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    kind: &'static str,
    name: String,
    why: String,
}

impl Problem {
    pub(crate) fn new(kind: &'static str, name: &str, why: impl Into<String>) -> Self {
        Self { kind, name: name.chars().take(100).collect(), why: why.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}` {}", self.kind, self.name.escape_debug(), self.why)
    }
}

pub(crate) fn tool(entry: ToolEntry, ordinal: u64) -> Result<ToolItem, Problem> {
    let problem = |why: String| Problem::new(ToolItem::KIND, &entry.tool.name, why);
    scopes(&entry.scopes).map_err(problem)?;
    tool_name(&entry.tool.name).map_err(problem)?;
    texts(entry.tool.title.as_deref(), entry.tool.description.as_deref()).map_err(problem)?;
    icons(&entry.tool.icons).map_err(problem)?;
    if entry.max_in_flight == Some(0) {
        return Err(problem("can never be called: its `max_in_flight` is 0".to_owned()));
    }
    let schema = tree(&entry.tool.input_schema).map_err(|why| problem(format!("has a bad input schema: {why}")))?;
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        return Err(problem("takes an object: its input schema says \"type\": \"object\"".to_owned()));
    }
    let compile = |schema: &Value| {
        Validator::compile(schema).map_err(|error| problem(format!("has a bad input schema: {error}")))
    };
    let input = match &entry.accepted {
        Some(accepted) if *accepted != schema => compile(&schema).and_then(|_| compile(accepted))?,
        _ => compile(&schema)?,
    };
    let headers = header_params(&schema).map_err(|error| problem(format!("has a bad header: {error}")))?;
    let output = match &entry.tool.output_schema {
        Some(schema) => Some(
            tree(schema)
                .and_then(|schema| Validator::compile(&schema).map_err(|error| error.to_string()))
                .map_err(|why| problem(format!("has a bad output schema: {why}")))?,
        ),
        None => None,
    };
    let slots = entry.max_in_flight.map(|calls| Arc::new(Semaphore::new(calls.min(Semaphore::MAX_PERMITS))));
    let headers = (!headers.is_empty()).then(|| headers.into());
    Ok(ToolItem { ordinal, bytes: size(&entry.tool), input, output, headers, slots, entry })
}

pub(crate) fn prompt(entry: PromptEntry, ordinal: u64) -> Result<PromptItem, Problem> {
    let problem = |why: String| Problem::new(PromptItem::KIND, &entry.prompt.name, why);
    scopes(&entry.scopes).map_err(problem)?;
    name(&entry.prompt.name).map_err(problem)?;
    texts(entry.prompt.title.as_deref(), entry.prompt.description.as_deref()).map_err(problem)?;
    icons(&entry.prompt.icons).map_err(problem)?;
    let arguments = &entry.prompt.arguments;
    if arguments.len() > PROMPT_ARGUMENTS_MAX {
        return Err(problem(format!("has more than {PROMPT_ARGUMENTS_MAX} arguments")));
    }
    for (index, argument) in arguments.iter().enumerate() {
        name(&argument.name).map_err(|why| problem(format!("has an argument that {why}")))?;
        texts(argument.title.as_deref(), argument.description.as_deref()).map_err(problem)?;
        if arguments[..index].iter().any(|earlier| earlier.name == argument.name) {
            return Err(problem(format!("has the argument `{}` twice", argument.name)));
        }
    }
    let known = |name: &str| arguments.iter().any(|argument| argument.name == name);
    completers(&entry.completers, known).map_err(problem)?;
    Ok(PromptItem { ordinal, bytes: size(&entry.prompt), entry })
}

pub(crate) fn resource(entry: ResourceEntry, ordinal: u64) -> Result<ResourceItem, Problem> {
    let Resource { uri, name: called, title, description, mime_type, icons: pictures, .. } = &entry.resource;
    let problem = |why: String| Problem::new(ResourceItem::KIND, uri, why);
    scopes(&entry.scopes).map_err(problem)?;
    let uri = canonical(uri).map_err(|why| problem(format!("has no valid URI: {why}")))?;
    name_within(called, RESOURCE_NAME_BYTES_MAX).map_err(|why| problem(format!("has a name that {why}")))?;
    texts(title.as_deref(), description.as_deref()).map_err(problem)?;
    icons(pictures).map_err(problem)?;
    annotations(entry.resource.annotations.as_ref()).map_err(problem)?;
    let mime_type = media_type(mime_type.as_deref()).map_err(problem)?;
    Ok(ResourceItem { ordinal, bytes: size(&entry.resource), uri, mime_type, entry })
}

pub(crate) fn template(entry: TemplateEntry, ordinal: u64) -> Result<TemplateItem, Problem> {
    let text = &entry.template.uri_template;
    let problem = |why: String| Problem::new(TemplateItem::KIND, text, why);
    scopes(&entry.scopes).map_err(problem)?;
    let template = UriTemplate::parse(text).map_err(|error| problem(format!("is no URI template: {error}")))?;
    name_within(&entry.template.name, RESOURCE_NAME_BYTES_MAX)
        .map_err(|why| problem(format!("has a name that {why}")))?;
    texts(entry.template.title.as_deref(), entry.template.description.as_deref()).map_err(problem)?;
    icons(&entry.template.icons).map_err(problem)?;
    annotations(entry.template.annotations.as_ref()).map_err(problem)?;
    completers(&entry.completers, |name| has_variable(&template, name)).map_err(problem)?;
    let mime_type = media_type(entry.template.mime_type.as_deref()).map_err(problem)?;
    let names_hosts = has_variable_host(text);
    Ok(TemplateItem { ordinal, bytes: size(&entry.template), template, names_hosts, mime_type, entry })
}

/// The canonical form of `uri`, in which equivalent URIs are equal (RFC 3986, section 6.2.2).
///
/// # Errors
/// Why it is no URI.
pub(crate) fn canonical(uri: &str) -> Result<String, String> {
    Uri::parse(uri).map(|uri| uri.as_str().to_owned()).map_err(|error| error.to_string())
}

/// The same with the host's case as it is written.
///
/// # Errors
/// Why it is no URI.
pub(crate) fn with_host_as_written(uri: &str) -> Result<String, String> {
    Uri::parse_with_host_as_written(uri).map(|uri| uri.as_str().to_owned()).map_err(|error| error.to_string())
}

/// Whether a variable of the template is, or is part of, the host.
fn has_variable_host(template: &str) -> bool {
    let Some((_, authority)) = template.split_once("://") else { return false };
    let end = authority.find(['/', '?', '#', '{']).unwrap_or(authority.len());
    // These operators begin a path, a query or a fragment.
    authority[end..].strip_prefix('{').is_some_and(|expression| !expression.starts_with(['/', '?', '&', '#']))
}

/// The variables of `template` in the canonical `uri`, if it matches.
pub(crate) fn variables(template: &UriTemplate, uri: &str) -> Option<Variables> {
    // Matching captures texts only; lists and maps are for expansion.
    let text = |(name, captured)| match captured {
        Captured::Text(text) => Some((name, text)),
        Captured::List(_) | Captured::Map(_) => None,
    };
    template.matches(uri).map(|found| Variables(found.into_iter().filter_map(text).collect()))
}

/// Whether `template` has a variable of this name.
pub(crate) fn has_variable(template: &UriTemplate, name: &str) -> bool {
    template.variables().any(|known| known == name)
}

fn tool_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if (1..=TOOL_NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(allowed) {
        Ok(())
    } else {
        Err(format!("has a bad name: it is 1 to {TOOL_NAME_CHARS_MAX} of A-Z, a-z, 0-9, `_`, `-` and `.`"))
    }
}

fn name(name: &str) -> Result<(), String> {
    name_within(name, NAME_BYTES_MAX)
}

fn name_within(name: &str, bytes_max: usize) -> Result<(), String> {
    if name.is_empty() || name.len() > bytes_max || name.chars().any(char::is_control) {
        return Err(format!("is not 1 to {bytes_max} bytes without control characters"));
    }
    Ok(())
}

fn texts(title: Option<&str>, description: Option<&str>) -> Result<(), String> {
    if title.is_some_and(|title| title.len() > NAME_BYTES_MAX || title.chars().any(char::is_control)) {
        return Err(format!("has a title that is longer than {NAME_BYTES_MAX} bytes or has control characters"));
    }
    if description.is_some_and(|description| description.len() > TEXT_BYTES_MAX) {
        return Err(format!("has a description of more than {TEXT_BYTES_MAX} bytes"));
    }
    Ok(())
}

/// RFC 6749, section 3.3.
fn scopes(scopes: &[String]) -> Result<(), String> {
    let allowed = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E);
    match scopes.iter().find(|scope| !(1..=NAME_BYTES_MAX).contains(&scope.len()) || !scope.bytes().all(allowed)) {
        Some(_) => Err(format!("has a bad scope: 1 to {NAME_BYTES_MAX} of visible ASCII without `\"` and `\\`")),
        None => Ok(()),
    }
}

fn icons(icons: &[Icon]) -> Result<(), String> {
    match icons.iter().find_map(Icon::problem) {
        Some(why) => Err(format!("has a bad icon: {why}")),
        None => Ok(()),
    }
}

fn annotations(annotations: Option<&Annotations>) -> Result<(), String> {
    match annotations.and_then(Annotations::problem) {
        Some(why) => Err(format!("has bad annotations: {why}")),
        None => Ok(()),
    }
}

fn media_type(mime_type: Option<&str>) -> Result<Option<Arc<str>>, String> {
    let good = |text: &str| text.contains('/') && text.is_ascii() && !text.chars().any(char::is_control);
    match mime_type {
        Some(text) if !good(text) => Err("has a bad media type: it is like `text/plain`".to_owned()),
        _ => Ok(mime_type.map(Into::into)),
    }
}

fn completers(completers: &[(String, Arc<dyn Completer>)], known: impl Fn(&str) -> bool) -> Result<(), String> {
    match completers.iter().find(|(name, _)| !known(name)) {
        Some((name, _)) => Err(format!("completes `{name}`, which it does not have")),
        None => Ok(()),
    }
}

fn tree(schema: &RawJson) -> Result<Value, String> {
    schema.to_value().map_err(|error| error.to_string())
}

fn size(definition: &impl Serialize) -> usize {
    serde_json::to_string(definition).map_or(0, |text| text.len())
}
