//! Handlers: what runs when a tool is called, a resource is read, a prompt is got, an argument is completed.
//!
//! Closures are handlers, and so is whatever implements these traits. A handler that panics is answered with -32603
//! without details, by the host, and hurts no other call.

use std::collections::BTreeMap;
use std::future::Future;
use std::marker::PhantomData;
use std::str::FromStr;
use std::sync::Arc;

use andon_types::content::{GetPromptResult, ReadResourceResult};
use andon_types::tools::CallToolResult;
pub use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;

use crate::arguments::Arguments;
use crate::context::Context;
use crate::failure::{ProtocolError, ToolError};
use crate::output::{IntoCallToolResult, IntoPromptResult, IntoReadResult};

/// Serves `tools/call`.
pub trait ToolHandler: Send + Sync + 'static {
    /// Runs the tool. The arguments satisfy the tool's input schema.
    ///
    /// In the modern era it is called again when the client brings answers to questions of the first call. The future
    /// is dropped when the call is cancelled or its time is up.
    fn call(&self, arguments: Arguments, context: Context) -> BoxFuture<'static, Result<CallToolResult, ToolError>>;
}

/// Serves `resources/read`.
pub trait ResourceHandler: Send + Sync + 'static {
    /// Reads the resource. Dropped when the call is cancelled.
    fn read(
        &self,
        request: ReadRequest,
        context: Context,
    ) -> BoxFuture<'static, Result<ReadResourceResult, ProtocolError>>;
}

/// Serves `prompts/get`.
pub trait PromptHandler: Send + Sync + 'static {
    /// Makes the prompt's messages. Arguments that the prompt requires are there.
    fn get(
        &self,
        arguments: PromptArguments,
        context: Context,
    ) -> BoxFuture<'static, Result<GetPromptResult, ProtocolError>>;
}

/// Serves `completion/complete` for one argument.
pub trait Completer: Send + Sync + 'static {
    /// Values that the argument may have, best first. At most 100 of them go out.
    fn complete(
        &self,
        query: CompletionQuery,
        context: Context,
    ) -> BoxFuture<'static, Result<Vec<String>, ProtocolError>>;
}

/// Which resource is read.
#[derive(Debug, Clone)]
pub struct ReadRequest {
    /// Its canonical URI (RFC 3986, section 6.2.2).
    pub uri: String,
    /// The template's variables, decoded; none for a fixed resource.
    pub variables: Variables,
    /// The registered type.
    pub mime_type: Option<Arc<str>>,
}

/// Variables of a URI template by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables(pub(crate) Vec<(String, String)>);

impl Variables {
    /// The value of `name`. Check what you use it for: it is the caller's.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of `name` as a `T`.
    ///
    /// # Errors
    /// "Not found" when it is absent or no `T`: no resource has such a URI.
    pub fn required<T: TextArgument>(&self, name: &str) -> Result<T, ProtocolError> {
        self.optional(name)?.ok_or_else(ProtocolError::not_found)
    }

    /// The value of `name` as a `T`, if the URI has one.
    ///
    /// # Errors
    /// "Not found" when it is no `T`.
    pub fn optional<T: TextArgument>(&self, name: &str) -> Result<Option<T>, ProtocolError> {
        self.find(name).map(|text| text.parse().map_err(|_| ProtocolError::not_found())).transpose()
    }
}

/// The arguments of a prompt: texts by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PromptArguments(pub(crate) BTreeMap<String, String>);

impl PromptArguments {
    /// The argument `name`, if it was given.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The argument `name` as a `T`.
    ///
    /// # Errors
    /// -32602 when it is absent or no `T`.
    pub fn required<T: TextArgument>(&self, name: &str) -> Result<T, ProtocolError> {
        self.optional(name)?.ok_or_else(|| ProtocolError::invalid_params(format!("missing argument `{name}`")))
    }

    /// The argument `name` as a `T`, if it was given.
    ///
    /// # Errors
    /// -32602 when it is no `T`.
    pub fn optional<T: TextArgument>(&self, name: &str) -> Result<Option<T>, ProtocolError> {
        let bad = |_| ProtocolError::invalid_params(format!("bad argument `{name}`"));
        self.find(name).map(|text| text.parse().map_err(bad)).transpose()
    }
}

/// What a parameter of a `#[prompt]` or `#[resource]` function can be: whatever is parsed from text.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can be neither a text argument nor an extractor",
    label = "this parameter",
    note = "arguments of prompts and variables of URI templates are texts: implement `FromStr` for `{Self}`",
    note = "for an extractor of your own, implement `FromContext` and mark the parameter with `#[extract]`"
)]
pub trait TextArgument: FromStr {}

#[diagnostic::do_not_recommend]
impl<T: FromStr> TextArgument for T {}

/// What is to be completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletionQuery {
    /// What the person typed so far.
    pub value: String,
    /// Arguments that were filled in before, by name.
    pub context: BTreeMap<String, String>,
}

/// A closure as a handler. `M` tells closures of different shapes apart.
pub(crate) struct Closure<F, M> {
    function: F,
    shape: PhantomData<fn(M)>,
}

impl<F, M> Closure<F, M> {
    pub(crate) fn new(function: F) -> Self {
        Self { function, shape: PhantomData }
    }
}

impl<F, A, U> ToolHandler for Closure<F, A>
where
    F: Fn(A, Context) -> U + Send + Sync + 'static,
    A: DeserializeOwned + Send + 'static,
    U: Future<Output: IntoCallToolResult> + Send + 'static,
{
    fn call(&self, arguments: Arguments, context: Context) -> BoxFuture<'static, Result<CallToolResult, ToolError>> {
        match arguments.parse::<A>() {
            Ok(parsed) => {
                let running = (self.function)(parsed, context);
                Box::pin(async move { running.await.into_call_tool_result() })
            }
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

impl<F, U> ResourceHandler for Closure<F, ReadRequest>
where
    F: Fn(ReadRequest, Context) -> U + Send + Sync + 'static,
    U: Future<Output: IntoReadResult> + Send + 'static,
{
    fn read(
        &self,
        request: ReadRequest,
        context: Context,
    ) -> BoxFuture<'static, Result<ReadResourceResult, ProtocolError>> {
        let (uri, mime_type) = (request.uri.clone(), request.mime_type.clone());
        let running = (self.function)(request, context);
        Box::pin(async move { running.await.into_read_result(&uri, mime_type.as_deref()) })
    }
}

impl<F, U> PromptHandler for Closure<F, PromptArguments>
where
    F: Fn(PromptArguments, Context) -> U + Send + Sync + 'static,
    U: Future<Output: IntoPromptResult> + Send + 'static,
{
    fn get(
        &self,
        arguments: PromptArguments,
        context: Context,
    ) -> BoxFuture<'static, Result<GetPromptResult, ProtocolError>> {
        let running = (self.function)(arguments, context);
        Box::pin(async move { running.await.into_prompt_result() })
    }
}

impl<F, U> Completer for Closure<F, CompletionQuery>
where
    F: Fn(CompletionQuery, Context) -> U + Send + Sync + 'static,
    U: Future<Output = Vec<String>> + Send + 'static,
{
    fn complete(
        &self,
        query: CompletionQuery,
        context: Context,
    ) -> BoxFuture<'static, Result<Vec<String>, ProtocolError>> {
        let running = (self.function)(query, context);
        Box::pin(async move { Ok(running.await) })
    }
}
