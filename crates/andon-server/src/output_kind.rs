//! How `#[tool]` lets a function return its own type without [`Json`] around it.
//!
//! Rust has no specialisation, so the macro asks a [`Probe`] of the return type what it is. The traits below differ in
//! the number of references in front of the probe, and method resolution takes the first that applies: a result
//! that the SDK knows, a `Result` of the function's own type, that type itself. Only the macro uses this module.

use std::marker::PhantomData;

use andon_types::tools::CallToolResult;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::failure::ToolError;
use crate::output::{IntoCallToolResult, Json};

/// A type of one's own that a `#[tool]` function can return: structured content with an output schema.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the result of a tool",
    label = "this return type",
    note = "derive `Serialize` and `JsonSchema` for it, or return text, `Content` or `CallToolResult`"
)]
pub trait StructuredOutput: Serialize + JsonSchema {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + JsonSchema> StructuredOutput for T {}

/// Stands for the return type `R`.
#[derive(Debug)]
pub struct Probe<R>(PhantomData<fn() -> R>);

impl<R> Probe<R> {
    /// A probe of `R`.
    #[allow(clippy::new_without_default, reason = "only the macro makes one")]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

/// Returned as it is.
#[derive(Debug)]
pub struct Known;

/// A `Result` of a type of one's own.
#[derive(Debug)]
pub struct Fallible;

/// A type of one's own.
#[derive(Debug)]
pub struct Own;

/// First choice.
pub trait KnownKind {
    /// It is [`Known`].
    fn kind(&self) -> Known {
        Known
    }
}

/// Second choice.
pub trait FallibleKind {
    /// It is [`Fallible`].
    fn kind(&self) -> Fallible {
        Fallible
    }
}

/// What is left.
pub trait OwnKind {
    /// It is [`Own`].
    fn kind(&self) -> Own {
        Own
    }
}

impl<R: IntoCallToolResult> KnownKind for &&Probe<R> {}
impl<T, E> FallibleKind for &Probe<Result<T, E>> {}
impl<R> OwnKind for Probe<R> {}

impl Known {
    /// The result as it travels.
    ///
    /// # Errors
    /// The handler's own failure.
    pub fn convert<R: IntoCallToolResult>(self, value: R) -> Result<CallToolResult, ToolError> {
        value.into_call_tool_result()
    }

    /// The schema of the structured content, if there is any.
    pub fn schema<R: IntoCallToolResult>(self, _: &Probe<R>) -> Option<Value> {
        R::output_schema()
    }
}

impl Fallible {
    /// The result as it travels.
    ///
    /// # Errors
    /// The handler's own failure.
    pub fn convert<T: StructuredOutput, E: Into<ToolError>>(
        self,
        value: Result<T, E>,
    ) -> Result<CallToolResult, ToolError> {
        value.map(Json).into_call_tool_result()
    }

    /// The schema of the structured content.
    pub fn schema<T: StructuredOutput, E>(self, _: &Probe<Result<T, E>>) -> Option<Value> {
        Json::<T>::output_schema()
    }
}

impl Own {
    /// The result as it travels.
    ///
    /// # Errors
    /// When the value cannot be JSON.
    pub fn convert<R: StructuredOutput>(self, value: R) -> Result<CallToolResult, ToolError> {
        Json(value).into_call_tool_result()
    }

    /// The schema of the structured content.
    pub fn schema<R: StructuredOutput>(self, _: &Probe<R>) -> Option<Value> {
        Json::<R>::output_schema()
    }
}
