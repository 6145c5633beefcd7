//! How handlers fail: so that the model sees it, or so that the caller's program does.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;

use andon_core::io::AskError;
use andon_types::content::Content;
use andon_types::error::ErrorObject;
use andon_types::tools::CallToolResult;
use tracing::error;

/// The failure of a tool.
///
/// It usually reaches the model as a result with `isError`, so that the model can correct itself
/// (2025-11-25, server, tools, "Error Handling"). `?` turns any [`std::error::Error`] into one, whose text the
/// model then sees; say [`ToolError::hidden`] for errors with secrets in them. A [`ProtocolError`] passes through
/// as a JSON-RPC error.
pub struct ToolError(Box<ToolFailure>);

enum ToolFailure {
    /// The model sees this result.
    Visible(CallToolResult),
    /// The arguments are not what the tool takes: a result or a protocol error, as the revision has it.
    Arguments(String),
    /// The caller's program sees this.
    Protocol(ProtocolError),
}

/// How a failure goes out.
pub(crate) enum Shown {
    Result(CallToolResult),
    Arguments(String),
    Error(ErrorObject),
}

impl ToolError {
    /// The model sees `message`.
    pub fn new(message: impl Into<String>) -> Self {
        Self::visible(CallToolResult::error(message))
    }

    /// The model sees these blocks.
    pub fn content(content: Vec<Content>) -> Self {
        Self::visible(CallToolResult::content(content))
    }

    /// The model learns only that the tool failed; `source` goes to the server's log.
    pub fn hidden(source: impl fmt::Display) -> Self {
        error!(%source, "a tool failed");
        Self::new("the tool failed; the server's log has the details")
    }

    /// The arguments are wrong in a way that the schema cannot say. From 2025-11-25 on the model sees `why`;
    /// before, it is a protocol error -32602.
    pub fn arguments(why: impl Into<String>) -> Self {
        Self(Box::new(ToolFailure::Arguments(why.into())))
    }

    /// A JSON-RPC error instead of a result.
    pub fn protocol(error: ErrorObject) -> Self {
        Self(Box::new(ToolFailure::Protocol(ProtocolError::from_object(error))))
    }

    fn visible(mut result: CallToolResult) -> Self {
        result.is_error = true;
        Self(Box::new(ToolFailure::Visible(result)))
    }

    pub(crate) fn shown(self) -> Shown {
        match *self.0 {
            ToolFailure::Visible(result) => Shown::Result(result),
            ToolFailure::Arguments(why) => Shown::Arguments(why),
            ToolFailure::Protocol(error) => Shown::Error(error.into_object("")),
        }
    }
}

impl fmt::Debug for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            ToolFailure::Visible(result) => f.debug_tuple("ToolError").field(&result.content).finish(),
            ToolFailure::Arguments(why) => f.debug_tuple("ToolError::arguments").field(why).finish(),
            ToolFailure::Protocol(error) => f.debug_tuple("ToolError::protocol").field(error).finish(),
        }
    }
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            ToolFailure::Visible(result) => match result.content.first() {
                Some(Content::Text { text, .. }) => f.write_str(text),
                _ => f.write_str("the tool failed"),
            },
            ToolFailure::Arguments(why) => f.write_str(why),
            ToolFailure::Protocol(error) => error.fmt(f),
        }
    }
}

/// Any error becomes one that the model sees, except those which say that the protocol has to answer:
/// a client that lacks a capability, a call that was cancelled.
impl<E: StdError + Send + Sync + 'static> From<E> for ToolError {
    fn from(error: E) -> Self {
        match protocol_error(&error) {
            Some(error) => Self::protocol(error),
            None => Self::new(error.to_string()),
        }
    }
}

impl From<ProtocolError> for ToolError {
    fn from(error: ProtocolError) -> Self {
        Self(Box::new(ToolFailure::Protocol(error)))
    }
}

/// A JSON-RPC error: the caller's program sees it, the model need not.
///
/// What resources, prompts and completions fail with. `?` turns any [`std::error::Error`] into -32603 without
/// details, and the error's text goes to the server's log.
pub struct ProtocolError(Box<ProtocolFailure>);

enum ProtocolFailure {
    NotFound,
    Object(ErrorObject),
}

impl ProtocolError {
    /// -32602: a parameter is wrong.
    pub fn invalid_params(why: impl Into<String>) -> Self {
        Self::from_object(ErrorObject::invalid_params(why))
    }

    /// No resource with the URI that is being read.
    pub fn not_found() -> Self {
        Self(Box::new(ProtocolFailure::NotFound))
    }

    /// -32603 without details.
    pub fn internal() -> Self {
        Self::from_object(ErrorObject::internal())
    }

    /// -32000: over a limit, try again later.
    pub fn unavailable(why: impl Into<String>) -> Self {
        Self::from_object(ErrorObject::unavailable(why))
    }

    /// This very error.
    pub fn from_object(error: ErrorObject) -> Self {
        Self(Box::new(ProtocolFailure::Object(error)))
    }

    /// The error as it travels; `uri` is what was asked for.
    pub(crate) fn into_object(self, uri: &str) -> ErrorObject {
        match *self.0 {
            ProtocolFailure::NotFound => ErrorObject::resource_not_found(uri),
            ProtocolFailure::Object(error) => error,
        }
    }
}

impl fmt::Debug for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            ProtocolFailure::NotFound => f.write_str("ProtocolError::NotFound"),
            ProtocolFailure::Object(error) => f.debug_tuple("ProtocolError").field(error).finish(),
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            ProtocolFailure::NotFound => f.write_str("resource not found"),
            ProtocolFailure::Object(error) => error.fmt(f),
        }
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for ProtocolError {
    fn from(error: E) -> Self {
        if (&error as &dyn Any).is::<NotFound>() {
            return Self::not_found();
        }
        match protocol_error(&error) {
            Some(error) => Self::from_object(error),
            None => {
                error!(%error, "a handler failed");
                Self::internal()
            }
        }
    }
}

/// Errors of the SDK that have an answer of their own on the wire.
fn protocol_error(error: &(dyn Any + 'static)) -> Option<ErrorObject> {
    if let Some(error) = error.downcast_ref::<ErrorObject>() {
        return Some(error.clone());
    }
    let asked = match error.downcast_ref::<ElicitError>() {
        Some(ElicitError::Ask(asked)) => Some(asked),
        _ => error.downcast_ref::<AskError>(),
    };
    match asked? {
        // The client is told what to declare, or is gone: neither is for the model.
        asked @ (AskError::NotDeclared(_) | AskError::Cancelled) => Some(ErrorObject::from(asked.clone())),
        _ => None,
    }
}

/// There is no such resource: the handler of a template returns it for URIs that match but lead nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotFound;

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("resource not found")
    }
}

impl StdError for NotFound {}

/// Why an elicitation brought no answer.
#[derive(Debug, Clone)]
pub enum ElicitError {
    /// The person said no.
    Declined,
    /// The person closed the question without an answer.
    Cancelled,
    /// The question could not be put, or what came back is no answer to it.
    Ask(AskError),
}

impl fmt::Display for ElicitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Declined => f.write_str("the user declined to answer"),
            Self::Cancelled => f.write_str("the user closed the question without an answer"),
            Self::Ask(error) => error.fmt(f),
        }
    }
}

impl StdError for ElicitError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Ask(error) => Some(error),
            Self::Declined | Self::Cancelled => None,
        }
    }
}

impl From<AskError> for ElicitError {
    fn from(error: AskError) -> Self {
        Self::Ask(error)
    }
}

/// The call was cancelled: nobody waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cancelled;

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the call was cancelled")
    }
}

impl StdError for Cancelled {}
