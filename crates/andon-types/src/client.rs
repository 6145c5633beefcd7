//! What a server may ask of a client: elicitation, sampling, roots.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::clip;

/// A question of a server to a client. Its parameters are kept as JSON, so that every field passes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", content = "params", try_from = "Asked")]
pub enum InputRequest {
    /// Asks the person, by form or by URL.
    #[serde(rename = "elicitation/create")]
    Elicitation(Map<String, Value>),
    /// Asks the model.
    #[serde(rename = "sampling/createMessage")]
    Sampling(Map<String, Value>),
    /// Asks for the roots.
    #[serde(rename = "roots/list")]
    Roots(Map<String, Value>),
}

/// A question as it comes: `roots/list` needs no parameters.
#[derive(Deserialize)]
struct Asked {
    method: String,
    params: Option<Map<String, Value>>,
}

impl TryFrom<Asked> for InputRequest {
    type Error = String;

    fn try_from(Asked { method, params }: Asked) -> Result<Self, String> {
        match (method.as_str(), params) {
            ("elicitation/create", Some(params)) => Ok(Self::Elicitation(params)),
            ("sampling/createMessage", Some(params)) => Ok(Self::Sampling(params)),
            ("roots/list", params) => Ok(Self::Roots(params.unwrap_or_default())),
            (method, Some(_)) => Err(format!("{} is no question to a client", clip(method))),
            (method, None) => Err(format!("{} has no parameters", clip(method))),
        }
    }
}

impl InputRequest {
    /// A form with a message and a schema of flat properties.
    pub fn form(message: impl Into<String>, requested_schema: Value) -> Self {
        let message: String = message.into();
        Self::Elicitation(object(json!({ "mode": "form", "message": message, "requestedSchema": requested_schema })))
    }

    /// A page that the person has to visit.
    pub fn url(message: impl Into<String>, url: impl Into<String>, elicitation_id: impl Into<String>) -> Self {
        let (message, url, id): (String, String, String) = (message.into(), url.into(), elicitation_id.into());
        Self::Elicitation(object(json!({ "mode": "url", "message": message, "url": url, "elicitationId": id })))
    }

    /// A message from the model, of at most `max_tokens`, to one text of the person.
    pub fn sample(prompt: impl Into<String>, max_tokens: u32) -> Self {
        let text: String = prompt.into();
        let message = json!({ "role": "user", "content": { "type": "text", "text": text } });
        Self::Sampling(object(json!({ "messages": [message], "maxTokens": max_tokens })))
    }

    /// The roots.
    pub fn roots() -> Self {
        Self::Roots(Map::new())
    }

    /// The method's name.
    pub fn method(&self) -> &'static str {
        match self {
            Self::Elicitation(_) => "elicitation/create",
            Self::Sampling(_) => "sampling/createMessage",
            Self::Roots(_) => "roots/list",
        }
    }

    /// The parameters.
    pub fn params(&self) -> &Map<String, Value> {
        match self {
            Self::Elicitation(params) | Self::Sampling(params) | Self::Roots(params) => params,
        }
    }

    /// The parameters, to be changed.
    pub fn params_mut(&mut self) -> &mut Map<String, Value> {
        match self {
            Self::Elicitation(params) | Self::Sampling(params) | Self::Roots(params) => params,
        }
    }

    /// Whether it is an elicitation by URL.
    pub fn is_url(&self) -> bool {
        matches!(self, Self::Elicitation(params) if params.get("mode").and_then(Value::as_str) == Some("url"))
    }
}

/// What the person did with an elicitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ElicitAction {
    /// Agreed, and filled the form.
    Accept,
    /// Said no.
    Decline,
    /// Closed it.
    Cancel,
}

/// The result of an elicitation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ElicitResult {
    /// What the person did.
    pub action: ElicitAction,
    /// The form's content, when accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Map<String, Value>>,
}

/// A folder or file that the client opens to the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// `file://...`.
    pub uri: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The result of `roots/list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListRootsResult {
    /// The roots.
    pub roots: Vec<Root>,
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => unreachable!("only called with object literals"),
    }
}
