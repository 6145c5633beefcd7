//! What the source of a server or a client usually needs: `use andon::prelude::*;`.

#[cfg(feature = "client")]
pub use andon_client::Client;
#[cfg(feature = "http")]
pub use andon_http::Http;
#[cfg(feature = "macros")]
pub use andon_macros::{prompt, resource, tool};
#[cfg(feature = "server")]
pub use andon_server::catalogue::Catalogue;
#[cfg(feature = "server")]
pub use andon_server::context::Context;
#[cfg(all(feature = "server", unix))]
pub use andon_server::directory::Directory;
#[cfg(feature = "server")]
pub use andon_server::entry::{PromptEntry, ResourceEntry, TemplateEntry, ToolEntry};
#[cfg(feature = "server")]
pub use andon_server::extract::{Args, FromContext, State};
#[cfg(feature = "server")]
pub use andon_server::failure::{ElicitError, NotFound, ProtocolError, ToolError};
#[cfg(feature = "server")]
pub use andon_server::handler::{CompletionQuery, PromptArguments, ReadRequest};
#[cfg(feature = "server")]
pub use andon_server::output::Json;
#[cfg(feature = "server")]
pub use andon_server::principal::Principal;
#[cfg(feature = "server")]
pub use andon_server::sampling::CreateMessage;
#[cfg(feature = "server")]
pub use andon_server::server::Server;
#[cfg(feature = "server")]
pub use andon_server::sessions::Sessions;
#[cfg(feature = "server")]
pub use andon_server::transport::Stdio;
pub use andon_types::content::{Content, GetPromptResult, PromptMessage, Resource, ResourceContents};
pub use andon_types::meta::{Level, Meta};
pub use andon_types::task::TaskSupport;
pub use andon_types::tools::CallToolResult;
#[cfg(feature = "server")]
pub use schemars::JsonSchema;
#[cfg(feature = "server")]
pub use serde::{Deserialize, Serialize};
#[cfg(feature = "server")]
pub use serde_json::{Value, json};
