//! Extractors: parameters of a handler that do not come from the caller's arguments.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use andon_types::meta::Meta;
use tracing::error;

use crate::context::Context;
use crate::failure::ProtocolError;
use crate::principal::Principal;

/// A parameter that is made from the call's [`Context`].
///
/// Implement it for a type of your own to use that type as a parameter; in a macro's function, mark the parameter
/// with `#[extract]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no extractor",
    label = "this parameter",
    note = "implement `FromContext` for it"
)]
pub trait FromContext: Sized {
    /// Makes the value. It is called once per call, before the handler runs.
    ///
    /// # Errors
    /// What it returns is the call's answer, and the handler does not run.
    fn from_context(context: &Context) -> Result<Self, ProtocolError>;

    /// The state that the server has to have for this to work, checked when the server is built.
    fn needs() -> Option<Needed> {
        None
    }
}

/// A type of state that a handler needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needed {
    id: TypeId,
    name: &'static str,
}

impl Needed {
    /// State of type `T`.
    pub fn state<T: Send + Sync + 'static>() -> Self {
        Self { id: TypeId::of::<T>(), name: type_name::<T>() }
    }

    /// The type's name.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

/// What `Server::state` was given, shared by all calls.
///
/// ```
/// # use andon_server::extract::State;
/// struct App { greeting: String }
///
/// async fn greet(app: State<App>) -> String {
///     app.greeting.clone()
/// }
/// ```
#[derive(Debug)]
pub struct State<T>(Arc<T>);

impl<T> State<T> {
    /// The shared value, to be kept beyond the call.
    pub fn into_inner(self) -> Arc<T> {
        self.0
    }
}

impl<T> Clone for State<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Send + Sync + 'static> FromContext for State<T> {
    fn from_context(context: &Context) -> Result<Self, ProtocolError> {
        context.states().find::<T>().map(Self).ok_or_else(|| {
            error!(state = type_name::<T>(), "a handler needs a state that the server was not given");
            ProtocolError::internal()
        })
    }

    fn needs() -> Option<Needed> {
        Some(Needed::state::<T>())
    }
}

/// All arguments of a tool as one `T`, which derives `Deserialize` and `JsonSchema`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Args<T>(pub T);

impl<T> Deref for Args<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl FromContext for Context {
    fn from_context(context: &Context) -> Result<Self, ProtocolError> {
        Ok(context.clone())
    }
}

impl FromContext for Principal {
    fn from_context(context: &Context) -> Result<Self, ProtocolError> {
        Ok(context.principal().clone())
    }
}

/// The request's `_meta`; empty if it has none.
impl FromContext for Meta {
    fn from_context(context: &Context) -> Result<Self, ProtocolError> {
        Ok(context.meta().cloned().unwrap_or_default())
    }
}

/// The server's states by type, at most one of each.
#[derive(Default, Clone)]
pub(crate) struct States(HashMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl States {
    pub(crate) fn insert<T: Send + Sync + 'static>(&mut self, state: T) {
        self.0.insert(TypeId::of::<T>(), Arc::new(state));
    }

    pub(crate) fn find<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.0.get(&TypeId::of::<T>()).cloned()?.downcast().ok()
    }

    pub(crate) fn has(&self, needed: &Needed) -> bool {
        self.0.contains_key(&needed.id)
    }
}
