//! Errors as they travel: code, message, data. [`ErrorObject`] has one constructor per meaning, so that a
//! code is never picked by hand elsewhere.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A JSON-RPC error code that this protocol defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum ErrorCode {
    /// The message is not JSON.
    ParseError = -32700,
    /// The message is not a valid request in this state.
    InvalidRequest = -32600,
    /// No such method, or not in this revision, or its capability is not there.
    MethodNotFound = -32601,
    /// The parameters are not what the method takes.
    InvalidParams = -32602,
    /// The server failed.
    InternalError = -32603,
    /// The server is over a limit or shutting down; try again later.
    Unavailable = -32000,
    /// No resource with this URI (up to 2025-11-25).
    ResourceNotFound = -32002,
    /// A routing header and the body disagree (2026-07-28).
    HeaderMismatch = -32020,
    /// The request needs a capability that the client did not declare (2026-07-28).
    MissingCapability = -32021,
    /// The protocol version is not served (2026-07-28).
    UnsupportedVersion = -32022,
    /// The client has to visit a URL first (2025-11-25).
    UrlElicitationRequired = -32042,
}

/// The `error` member of a response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorObject {
    /// What kind of error; see [`ErrorCode`] for those that the protocol defines.
    pub code: i32,
    /// One sentence for a person, which says what to do.
    pub message: String,
    /// Facts for a program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

impl ErrorObject {
    /// An error of `code` that says `message`.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code: code as i32, message: message.into(), data: None }
    }

    /// The same error with `data`.
    #[must_use]
    pub fn with_data(mut self, data: Value) -> Self {
        self.data = Some(data);
        self
    }

    /// -32700: not JSON.
    pub fn parse(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::ParseError, message)
    }

    /// -32600: JSON, but not a valid request here and now.
    pub fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }

    /// -32601 for `method`.
    pub fn method_not_found(method: &str) -> Self {
        Self::new(ErrorCode::MethodNotFound, format!("method not found: {}", clip(method)))
    }

    /// -32602: the parameters are wrong.
    pub fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidParams, message)
    }

    /// -32603 without details: what failed is in the server's log.
    pub fn internal() -> Self {
        Self::new(ErrorCode::InternalError, "internal error; the server's log has the details")
    }

    /// -32000: over a limit, or shutting down.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unavailable, message)
    }

    /// -32000 because what the server needs does not answer, such as its store. Nobody's limit: others fare no better.
    pub fn outage(message: impl Into<String>) -> Self {
        Self::unavailable(message).with_data(json!({ "kind": "outage" }))
    }

    /// Whether it is one of [`ErrorObject::outage`].
    pub fn is_outage(&self) -> bool {
        self.code == ErrorCode::Unavailable as i32
            && self.data.as_ref().is_some_and(|data| data.get("kind").is_some_and(|kind| kind == "outage"))
    }

    /// No resource at `uri`. The canonical form is the newest (-32602); see [`ErrorObject::adapt`].
    pub fn resource_not_found(uri: &str) -> Self {
        Self::new(ErrorCode::InvalidParams, "resource not found").with_data(json!({ "uri": clip(uri) }))
    }

    /// -32020: a header and the body disagree.
    pub fn header_mismatch(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::HeaderMismatch, message)
    }

    /// -32021: the client has to declare `required`, an object of capability objects.
    pub fn missing_capability(required: &Value) -> Self {
        let message = format!("the request needs a client capability that it does not declare: {required}");
        Self::new(ErrorCode::MissingCapability, message).with_data(json!({ "requiredCapabilities": required }))
    }

    /// -32022: `requested` is not served; `supported` are.
    pub fn unsupported_version(requested: &str, supported: &[&str]) -> Self {
        Self::new(ErrorCode::UnsupportedVersion, "unsupported protocol version")
            .with_data(json!({ "supported": supported, "requested": clip(requested) }))
    }

    /// -32600: the caller's credentials lack one of `scopes` (authorization, "Scope Challenge Handling").
    pub fn insufficient_scope(scopes: &[String]) -> Self {
        let needed = scopes.join(" ");
        Self::invalid_request(format!("insufficient scope: this needs {needed}"))
            .with_data(json!({ "requiredScopes": scopes }))
    }

    /// Whether this is the canonical "resource not found".
    pub fn is_resource_not_found(&self) -> bool {
        self.code == ErrorCode::InvalidParams as i32 && self.message == "resource not found"
    }

    /// Spells the error as a peer under `rules` expects it.
    pub fn adapt(&mut self, rules: &crate::revision::Rules) {
        if self.is_resource_not_found() && !rules.not_found_is_invalid_params {
            self.code = ErrorCode::ResourceNotFound as i32;
        }
        let modern_only = [ErrorCode::HeaderMismatch, ErrorCode::MissingCapability, ErrorCode::UnsupportedVersion];
        if !rules.result_type && modern_only.iter().any(|code| *code as i32 == self.code) {
            self.code = ErrorCode::InvalidRequest as i32;
        }
    }
}

impl fmt::Display for ErrorObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for ErrorObject {}

/// At most 256 bytes of a peer's text, so that an error never echoes a megabyte.
pub fn clip(text: &str) -> &str {
    const MOST: usize = 256;
    if text.len() <= MOST { text } else { &text[..text.floor_char_boundary(MOST)] }
}
