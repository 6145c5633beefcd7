//! What handlers may return, and what becomes of it on the wire.

use andon_types::content::{Content, GetPromptResult, PromptMessage, ReadResourceResult, ResourceContents};
use andon_types::raw::RawJson;
use andon_types::tools::CallToolResult;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::failure::{ProtocolError, ToolError};
use crate::normalise::output_schema_of;

/// A result for programs.
///
/// A tool that returns it has an output schema, structured content, and the same JSON as text for clients that
/// read only text. A resource that returns it has its JSON as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json<T>(pub T);

/// What a tool can return.
///
/// Text, numbers and booleans become one block of text; [`Json`] becomes structured content.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the result of a tool",
    note = "wrap it in `Json` and derive `Serialize` and `JsonSchema` for it, or return `CallToolResult`"
)]
pub trait IntoCallToolResult {
    /// The result as it travels.
    ///
    /// # Errors
    /// The handler's own failure.
    fn into_call_tool_result(self) -> Result<CallToolResult, ToolError>;

    /// The schema of the structured content, if there is any.
    fn output_schema() -> Option<Value> {
        None
    }
}

impl IntoCallToolResult for CallToolResult {
    fn into_call_tool_result(self) -> Result<CallToolResult, ToolError> {
        Ok(self)
    }
}

impl IntoCallToolResult for () {
    fn into_call_tool_result(self) -> Result<CallToolResult, ToolError> {
        Ok(CallToolResult::default())
    }
}

impl IntoCallToolResult for Content {
    fn into_call_tool_result(self) -> Result<CallToolResult, ToolError> {
        Ok(CallToolResult::content(vec![self]))
    }
}

impl IntoCallToolResult for Vec<Content> {
    fn into_call_tool_result(self) -> Result<CallToolResult, ToolError> {
        Ok(CallToolResult::content(self))
    }
}

macro_rules! as_text {
    ($($kind:ty),+) => {
        $(impl IntoCallToolResult for $kind {
            fn into_call_tool_result(self) -> Result<CallToolResult, ToolError> {
                Ok(CallToolResult::text(self.to_string()))
            }
        })+
    };
}

as_text!(&str, bool, char, i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, u128, usize, f32, f64);

impl IntoCallToolResult for String {
    fn into_call_tool_result(self) -> Result<CallToolResult, ToolError> {
        Ok(CallToolResult::text(self))
    }
}

impl<T: Serialize + JsonSchema> IntoCallToolResult for Json<T> {
    fn into_call_tool_result(self) -> Result<CallToolResult, ToolError> {
        RawJson::of(&self.0).map(CallToolResult::structured).map_err(ToolError::hidden)
    }

    fn output_schema() -> Option<Value> {
        Some(output_schema_of::<T>())
    }
}

impl<T: IntoCallToolResult, E: Into<ToolError>> IntoCallToolResult for Result<T, E> {
    fn into_call_tool_result(self) -> Result<CallToolResult, ToolError> {
        self.map_err(Into::into)?.into_call_tool_result()
    }

    fn output_schema() -> Option<Value> {
        T::output_schema()
    }
}

/// What reading a resource can return: text, bytes, JSON, or whole contents.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the contents of a resource",
    note = "return text, `Vec<u8>`, `Json`, `ResourceContents`, or a `Result` of one of them"
)]
pub trait IntoReadResult {
    /// The contents of the resource at `uri`, whose registered type is `mime_type`.
    ///
    /// # Errors
    /// The handler's own failure.
    fn into_read_result(self, uri: &str, mime_type: Option<&str>) -> Result<ReadResourceResult, ProtocolError>;
}

fn one(contents: ResourceContents) -> ReadResourceResult {
    ReadResourceResult { contents: vec![contents] }
}

impl IntoReadResult for ReadResourceResult {
    fn into_read_result(self, _: &str, _: Option<&str>) -> Result<ReadResourceResult, ProtocolError> {
        Ok(self)
    }
}

impl IntoReadResult for ResourceContents {
    fn into_read_result(self, _: &str, _: Option<&str>) -> Result<ReadResourceResult, ProtocolError> {
        Ok(one(self))
    }
}

impl IntoReadResult for Vec<ResourceContents> {
    fn into_read_result(self, _: &str, _: Option<&str>) -> Result<ReadResourceResult, ProtocolError> {
        Ok(ReadResourceResult { contents: self })
    }
}

impl IntoReadResult for String {
    fn into_read_result(self, uri: &str, mime_type: Option<&str>) -> Result<ReadResourceResult, ProtocolError> {
        Ok(one(ResourceContents::text(uri, mime_type.unwrap_or("text/plain"), self)))
    }
}

impl IntoReadResult for &str {
    fn into_read_result(self, uri: &str, mime_type: Option<&str>) -> Result<ReadResourceResult, ProtocolError> {
        self.to_owned().into_read_result(uri, mime_type)
    }
}

impl IntoReadResult for Vec<u8> {
    fn into_read_result(self, uri: &str, mime_type: Option<&str>) -> Result<ReadResourceResult, ProtocolError> {
        let mime_type = mime_type.unwrap_or("application/octet-stream");
        Ok(one(ResourceContents::blob(uri, mime_type, STANDARD.encode(self))))
    }
}

impl<T: Serialize> IntoReadResult for Json<T> {
    fn into_read_result(self, uri: &str, mime_type: Option<&str>) -> Result<ReadResourceResult, ProtocolError> {
        let text = serde_json::to_string(&self.0)?;
        Ok(one(ResourceContents::text(uri, mime_type.unwrap_or("application/json"), text)))
    }
}

impl<T: IntoReadResult, E: Into<ProtocolError>> IntoReadResult for Result<T, E> {
    fn into_read_result(self, uri: &str, mime_type: Option<&str>) -> Result<ReadResourceResult, ProtocolError> {
        self.map_err(Into::into)?.into_read_result(uri, mime_type)
    }
}

/// What a prompt can return: text that the user says, or messages.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the result of a prompt",
    note = "return text, `PromptMessage`, `Vec<PromptMessage>`, `GetPromptResult`, or a `Result` of one of them"
)]
pub trait IntoPromptResult {
    /// The result as it travels.
    ///
    /// # Errors
    /// The handler's own failure.
    fn into_prompt_result(self) -> Result<GetPromptResult, ProtocolError>;
}

impl IntoPromptResult for GetPromptResult {
    fn into_prompt_result(self) -> Result<GetPromptResult, ProtocolError> {
        Ok(self)
    }
}

impl IntoPromptResult for Vec<PromptMessage> {
    fn into_prompt_result(self) -> Result<GetPromptResult, ProtocolError> {
        Ok(GetPromptResult { description: None, messages: self })
    }
}

impl IntoPromptResult for PromptMessage {
    fn into_prompt_result(self) -> Result<GetPromptResult, ProtocolError> {
        vec![self].into_prompt_result()
    }
}

impl IntoPromptResult for String {
    fn into_prompt_result(self) -> Result<GetPromptResult, ProtocolError> {
        PromptMessage::user(self).into_prompt_result()
    }
}

impl IntoPromptResult for &str {
    fn into_prompt_result(self) -> Result<GetPromptResult, ProtocolError> {
        PromptMessage::user(self).into_prompt_result()
    }
}

impl<T: IntoPromptResult, E: Into<ProtocolError>> IntoPromptResult for Result<T, E> {
    fn into_prompt_result(self) -> Result<GetPromptResult, ProtocolError> {
        self.map_err(Into::into)?.into_prompt_result()
    }
}
