//! What each side says that it can do.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An object of settings, often empty.
pub type Settings = Map<String, Value>;

/// What a client can do.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ClientCapabilities {
    /// It has roots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roots: Option<Settings>,
    /// It can sample from a model; `tools` and `context` inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Settings>,
    /// It can ask its user; `form` and `url` inside, and an empty object means form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elicitation: Option<Settings>,
    /// Extensions by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Map<String, Value>>,
    /// Whatever else it says; kept.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Whether a list may change while the server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// Changes are announced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub list_changed: bool,
}

/// What the resources of a server can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourcesCapability {
    /// Clients may subscribe.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub subscribe: bool,
    /// Changes of the list are announced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub list_changed: bool,
}

/// What a server can do.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ServerCapabilities {
    /// It has tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<Listed>,
    /// It has prompts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompts: Option<Listed>,
    /// It has resources.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourcesCapability>,
    /// It sends log notifications.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logging: Option<Settings>,
    /// It completes arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completions: Option<Settings>,
    /// It runs requests as tasks (2025-11-25); `list`, `cancel` and `requests` inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Settings>,
    /// Extensions by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Map<String, Value>>,
    /// Whatever else it says; kept.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}
