//! What one server has, as it lists it: read page by page, within bounds, each item checked by itself.

use std::collections::HashSet;
use std::sync::Arc;

use andon_client::{Client, Error, Options};
use andon_schema::headers::{HeaderParam, header_params};
use andon_types::capability::ServerCapabilities;
use andon_types::content::{Prompt, Resource, ResourceTemplate};
use andon_types::error::ErrorCode;
use andon_types::message::Json;
use andon_types::meta::Implementation;
use andon_types::template::UriTemplate;
use andon_types::tools::Tool;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::Settings;
use crate::names;

/// Pages of one list.
const PAGES_MAX: usize = 200;
/// Items of one list.
const ITEMS_MAX: usize = 5_000;
/// Bytes of one list.
const LIST_BYTES_MAX: usize = 16 << 20;

/// What a server says of itself, and everything that it lists.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Catalogue {
    pub(crate) info: Option<Implementation>,
    pub(crate) instructions: Option<String>,
    pub(crate) capabilities: ServerCapabilities,
    pub(crate) tools: Arc<Vec<Tool>>,
    pub(crate) prompts: Arc<Vec<Prompt>>,
    pub(crate) resources: Arc<Vec<Resource>>,
    pub(crate) templates: Arc<Vec<ResourceTemplate>>,
}

/// Whose catalogue it is.
#[derive(Clone, Copy)]
pub(crate) struct Server<'a> {
    pub(crate) name: &'a str,
    pub(crate) settings: &'a Settings,
}

/// Something that a server lists.
pub(crate) trait Listed: DeserializeOwned + Serialize + Clone + PartialEq + Send + Sync + 'static {
    const METHOD: &'static str;
    /// The member of the result.
    const MEMBER: &'static str;

    /// What tells it apart from others of its kind.
    fn key(&self) -> &str;

    /// Why it cannot be offered to clients, where `settings` may give it another name.
    fn problem(&self, settings: &Settings) -> Option<String>;
}

impl Listed for Tool {
    const METHOD: &'static str = "tools/list";
    const MEMBER: &'static str = "tools";

    fn key(&self) -> &str {
        &self.name
    }

    fn problem(&self, settings: &Settings) -> Option<String> {
        let is_of_objects = || {
            self.input_schema.to_value().is_ok_and(|schema| schema.get("type").is_some_and(|known| known == "object"))
        };
        let problem = if settings.rename.contains_key(&self.name) { None } else { names::problem(&self.name) };
        problem.or_else(|| (!is_of_objects()).then(|| "its \"inputSchema\" is not of \"type\": \"object\"".to_owned()))
    }
}

impl Listed for Prompt {
    const METHOD: &'static str = "prompts/list";
    const MEMBER: &'static str = "prompts";

    fn key(&self) -> &str {
        &self.name
    }

    fn problem(&self, _settings: &Settings) -> Option<String> {
        unreadable(&self.name)
    }
}

impl Listed for Resource {
    const METHOD: &'static str = "resources/list";
    const MEMBER: &'static str = "resources";

    fn key(&self) -> &str {
        &self.uri
    }

    fn problem(&self, _settings: &Settings) -> Option<String> {
        unreadable(&self.uri)
    }
}

impl Listed for ResourceTemplate {
    const METHOD: &'static str = "resources/templates/list";
    const MEMBER: &'static str = "resourceTemplates";

    fn key(&self) -> &str {
        &self.uri_template
    }

    fn problem(&self, _settings: &Settings) -> Option<String> {
        let parsed = UriTemplate::parse(&self.uri_template);
        unreadable(&self.uri_template).or_else(|| parsed.err().map(|error| error.to_string()))
    }
}

/// Why nobody could type this, or see what it is.
fn unreadable(name: &str) -> Option<String> {
    let is_bad = name.is_empty() || name.chars().any(char::is_control);
    is_bad.then(|| "it has no name, or control characters in it".to_owned())
}

/// Some of the lists of a server.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lists {
    pub(crate) tools: bool,
    pub(crate) prompts: bool,
    pub(crate) resources: bool,
    pub(crate) templates: bool,
}

impl Lists {
    pub(crate) const ALL: Self = Self { tools: true, prompts: true, resources: true, templates: true };

    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            tools: self.tools || other.tools,
            prompts: self.prompts || other.prompts,
            resources: self.resources || other.resources,
            templates: self.templates || other.templates,
        }
    }

    pub(crate) fn without(self, other: Self) -> Self {
        Self {
            tools: self.tools && !other.tools,
            prompts: self.prompts && !other.prompts,
            resources: self.resources && !other.resources,
            templates: self.templates && !other.templates,
        }
    }

    pub(crate) fn is_any(self) -> bool {
        self != Self::default()
    }
}

impl Catalogue {
    /// What the server says of itself in this session, and everything that it lists: see [`Catalogue::read`].
    ///
    /// # Errors
    /// When there is no connection any more.
    pub(crate) async fn load(self, client: &Client, server: Server<'_>) -> Result<(Self, Lists), Error> {
        let mut catalogue = Self {
            info: client.server_info(),
            instructions: client.instructions(),
            capabilities: client.capabilities().unwrap_or_default(),
            ..self
        };
        let unread = catalogue.read(client, server, Lists::ALL).await?;
        Ok((catalogue, unread))
    }

    /// Reads these `lists`. Those that the server cannot give now stay what they are, and are returned: it may have said its only
    /// word about their change.
    ///
    /// # Errors
    /// When there is no connection any more.
    pub(crate) async fn read(&mut self, client: &Client, server: Server<'_>, lists: Lists) -> Result<Lists, Error> {
        let Self { capabilities, tools, prompts, resources, templates, .. } = self;
        let mut unread = Lists::default();
        if lists.tools {
            unread.tools = !renew(client, server, capabilities.tools.is_some(), tools).await?;
            // Of those that stay, this client may know nothing yet.
            *tools = Arc::new(client.learn_tools(Arc::unwrap_or_clone(std::mem::take(tools))));
        }
        if lists.prompts {
            unread.prompts = !renew(client, server, capabilities.prompts.is_some(), prompts).await?;
        }
        if lists.resources {
            unread.resources = !renew(client, server, capabilities.resources.is_some(), resources).await?;
        }
        if lists.templates {
            unread.templates = !renew(client, server, capabilities.resources.is_some(), templates).await?;
        }
        Ok(unread)
    }
}

/// The arguments that clients mirror in headers (2026-07-28).
pub(crate) fn headers_of(tool: &Tool) -> Vec<HeaderParam> {
    tool.input_schema.to_value().ok().and_then(|schema| header_params(&schema).ok()).unwrap_or_default()
}

/// Puts all items of one list that can be offered into `items`, none if the server has no such list. Whether it could give
/// it: if not, `items` stay, and others are not held up by that.
async fn renew<T: Listed>(
    client: &Client,
    server: Server<'_>,
    has_any: bool,
    items: &mut Arc<Vec<T>>,
) -> Result<bool, Error> {
    let listed = if has_any { pages::<T>(client).await } else { Ok(Vec::new()) };
    *items = match listed {
        Ok(values) => Arc::new(sift(values, server)),
        Err(error @ (Error::Transport(_) | Error::Closed | Error::TimedOut | Error::Unauthorized(_))) => {
            return Err(error);
        }
        // It says that it can, and cannot.
        Err(Error::Protocol(error)) if error.code == ErrorCode::MethodNotFound as i32 => {
            tracing::debug!(server = server.name, list = T::METHOD, %error, "a server does not have this list");
            Arc::default()
        }
        Err(error) => {
            tracing::warn!(server = server.name, list = T::METHOD, %error, "a server cannot list what it has");
            return Ok(false);
        }
    };
    Ok(true)
}

async fn pages<T: Listed>(client: &Client) -> Result<Vec<Value>, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Page {
        next_cursor: Option<String>,
        #[serde(flatten)]
        members: Map<String, Value>,
    }
    let invalid = |why: &str| Error::Invalid(format!("{}: {why}", T::METHOD));
    let (mut values, mut cursors, mut bytes) = (Vec::new(), HashSet::new(), 0);
    let mut params = Map::new();
    for _ in 0..PAGES_MAX {
        let result: Json = client.request(T::METHOD, params, Options::default()).await?;
        bytes += result.as_str().len();
        if bytes > LIST_BYTES_MAX {
            return Err(invalid("the list is too large"));
        }
        let mut page: Page = result.parse_owned().map_err(|error| invalid(&error.to_string()))?;
        match page.members.remove(T::MEMBER) {
            Some(Value::Array(listed)) => values.extend(listed),
            _ => return Err(invalid("the result has no list")),
        }
        match page.next_cursor {
            None => return Ok(values),
            Some(cursor) if !cursors.insert(cursor.clone()) => return Err(invalid("a cursor is repeated")),
            Some(cursor) => params = Map::from_iter([("cursor".to_owned(), cursor.into())]),
        }
    }
    Err(invalid("there are too many pages"))
}

/// Those that are what they should be, each once.
fn sift<T: Listed>(values: Vec<Value>, server: Server<'_>) -> Vec<T> {
    let mut known = HashSet::new();
    let mut items: Vec<T> = Vec::new();
    for value in values {
        if items.len() == ITEMS_MAX {
            tracing::warn!(
                server = server.name,
                list = T::METHOD,
                "a list has more than {ITEMS_MAX} items: the others are left out"
            );
            break;
        }
        let read: Result<T, _> = serde_json::from_value(value);
        let why = match &read {
            Ok(item) => item.problem(server.settings).or_else(|| {
                let is_new = known.insert(item.key().to_owned());
                (!is_new).then(|| "there is another one of that name".to_owned())
            }),
            Err(error) => Some(error.to_string()),
        };
        let name = read.as_ref().map(|item| andon_types::error::clip(item.key()).to_owned()).unwrap_or_default();
        match (read, why) {
            (Ok(item), None) => items.push(item),
            (_, why) => tracing::warn!(server = server.name, list = T::METHOD, name, why, "an item is left out"),
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use andon_types::tools::Tool;
    use serde_json::json;

    use super::{Server, sift};
    use crate::config::Settings;

    #[test]
    fn a_bad_item_costs_no_other() {
        let schema = json!({ "type": "object" });
        let settings = Settings { rename: [("a/b".to_owned(), "a_b".to_owned())].into(), ..Settings::default() };
        let tools: Vec<Tool> = sift(
            vec![
                json!({ "name": "a", "inputSchema": schema }),
                json!({ "name": "no schema" }),
                json!({ "name": "b", "inputSchema": "none" }),
                json!({ "name": "a", "description": "again", "inputSchema": schema }),
                json!(7),
                json!({ "name": "c", "inputSchema": schema, "unknown": true }),
                json!({ "name": "text", "inputSchema": { "type": "string" } }),
                json!({ "name": "anything", "inputSchema": {} }),
                json!({ "name": "", "inputSchema": schema }),
                json!({ "name": "\u{1b}[2J", "inputSchema": schema }),
                json!({ "name": "bad name/é", "inputSchema": schema }),
                json!({ "name": "a/b", "inputSchema": schema }),
            ],
            Server { name: "test", settings: &settings },
        );
        // What is given another name may have any.
        assert_eq!(tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["a", "c", "a/b"]);
        assert!(tools[0].description.is_none());
    }
}
