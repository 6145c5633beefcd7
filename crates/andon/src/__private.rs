//! What the macros' code names. Not for people: it changes without notice.

pub use andon_server::arguments::{ArgumentNote, Arguments, ArgumentsSchema};
pub use andon_server::context::Context;
pub use andon_server::entry::{PromptEntry, ResourceEntry, TemplateEntry, ToolEntry};
pub use andon_server::extract::{Args, FromContext};
pub use andon_server::failure::{ProtocolError, ToolError};
pub use andon_server::handler::{BoxFuture, PromptArguments, PromptHandler, ReadRequest, ResourceHandler, ToolHandler};
pub use andon_server::normalise::{accepted_schema_of, schema_of};
pub use andon_server::output::{IntoPromptResult, IntoReadResult};
pub use andon_server::output_kind;
pub use andon_types::content::{GetPromptResult, PromptArgument, ReadResourceResult};
pub use andon_types::task::TaskSupport;
pub use andon_types::tools::{CallToolResult, ToolAnnotations};
use serde_json::Value;

pub mod schemars {
    //! The traits and types of the schema generator.

    pub use ::schemars::generate::SchemaGenerator;
    pub use ::schemars::{JsonSchema, Schema};
}

/// A picture at `src`.
pub fn icon(src: &str) -> andon_types::meta::Icon {
    andon_types::meta::Icon { src: src.to_owned(), mime_type: None, sizes: Vec::new(), theme: None }
}

/// The default of an argument, for its schema; one that is no JSON is not told.
pub fn default_of<T: serde::Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// The schema of all arguments, with the names of the headers that mirror some of them.
pub fn schema_with_headers<T: ::schemars::JsonSchema>(headers: &[(&str, &str)]) -> Value {
    let mut schema = schema_of::<T>();
    for (argument, header) in headers {
        // An argument that is not there is added without a type, and refused with its name when it is registered.
        schema["properties"][*argument]["x-mcp-header"] = (*header).into();
    }
    schema
}
