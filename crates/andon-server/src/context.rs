//! What a handler may do while its call runs: report progress, log, ask the client, see who calls.

use std::sync::Arc;
use std::time::Duration;

use andon_core::io::AskError;
use andon_types::capability::ClientCapabilities;
use andon_types::client::{ElicitAction, ElicitResult, InputRequest, ListRootsResult, Root};
use andon_types::meta::{Implementation, Level, Meta};
use andon_types::revision::Revision;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::call::Call;
use crate::catalogue::Catalogue;
use crate::elicit;
use crate::extract::States;
use crate::failure::{Cancelled, ElicitError, ProtocolError};
use crate::principal::Principal;
use crate::sampling::{CreateMessage, CreateMessageResult};
use crate::values::{HandleValues, SessionValues, ValuesError};

/// The call that a handler serves. Cheap to clone.
///
/// The same code works on every protocol revision. In the legacy era a question to the client
/// ([`elicit`](Self::elicit), [`sample`](Self::sample), [`roots`](Self::roots)) is a request on the call's stream. In
/// the modern era the call ends with `input_required`, the client calls again with the answers, and **the handler
/// runs again from its start**: what it does before a question it does once per round, so ask first and act
/// afterwards. Questions are told apart by their order, or by a key where the order may differ between rounds. A call
/// that is a task waits for its answers in both eras.
#[derive(Clone)]
pub struct Context {
    call: Call,
    shared: Arc<Shared>,
}

/// What all calls of a server share.
pub(crate) struct Shared {
    pub(crate) states: States,
    pub(crate) catalogue: Catalogue,
}

impl Context {
    pub(crate) fn new(call: Call, shared: Arc<Shared>) -> Self {
        Self { call, shared }
    }

    /// Reports that the call got as far as `progress`, which only grows, of `total`, if that is known.
    /// Without effect if the client gave no progress token; reports in quick succession are merged.
    /// It lets other work run before it returns, and waits for a client that reads more slowly than it is told
    /// ([`HostOptions::slow_reader_timeout`](crate::options::HostOptions::slow_reader_timeout)).
    ///
    /// # Errors
    /// When the call was cancelled, so that a handler stops by `?`.
    pub async fn progress(&self, progress: f64, total: Option<f64>, message: Option<&str>) -> Result<(), Cancelled> {
        self.call.progress(progress, total, message.map(str::to_owned));
        tokio::task::yield_now().await;
        self.call.ready().await;
        if self.call.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// Sends a log message to the client if it asked for messages of this level; `data` is any JSON.
    /// Never put secrets in it.
    pub fn log(&self, level: Level, data: impl Serialize) {
        self.call.log(level, None, &data);
    }

    /// The same, in the name of a `logger`.
    pub fn log_as(&self, logger: &str, level: Level, data: impl Serialize) {
        self.call.log(level, Some(logger), &data);
    }

    /// Logs at `debug`.
    pub fn debug(&self, data: impl Serialize) {
        self.log(Level::Debug, data);
    }

    /// Logs at `info`.
    pub fn info(&self, data: impl Serialize) {
        self.log(Level::Info, data);
    }

    /// Logs at `warning`.
    pub fn warning(&self, data: impl Serialize) {
        self.log(Level::Warning, data);
    }

    /// Logs at `error`.
    pub fn error(&self, data: impl Serialize) {
        self.log(Level::Error, data);
    }

    /// Asks the person for a `T` by a form, made from the schema of `T`: a struct of texts, numbers, booleans and
    /// enums without nesting (client, elicitation, "Requested Schema").
    ///
    /// # Errors
    /// [`ElicitError::Declined`] and [`ElicitError::Cancelled`] when the person did not fill it; see [`AskError`] for
    /// the rest, such as a client that has no forms or an answer that is no `T`.
    pub async fn elicit<T: JsonSchema + DeserializeOwned>(&self, message: &str) -> Result<T, ElicitError> {
        self.elicit_with(None, message, elicit::form_of::<T>()).await
    }

    /// The same as [`elicit`](Self::elicit) with a key that names the question, and with a schema given by hand.
    ///
    /// # Errors
    /// As [`elicit`](Self::elicit).
    pub async fn elicit_with<T: DeserializeOwned>(
        &self,
        key: Option<&str>,
        message: &str,
        schema: Value,
    ) -> Result<T, ElicitError> {
        let form = elicit::Form::new(schema)?;
        let answer = self.call.ask(key, InputRequest::form(message, form.schema().clone()), None).await?;
        let answer: ElicitResult = answer.parse().map_err(|error| AskError::Invalid(error.to_string()))?;
        match answer.action {
            ElicitAction::Accept => Ok(form.read(answer.content.unwrap_or_default())?),
            ElicitAction::Decline => Err(ElicitError::Declined),
            ElicitAction::Cancel => Err(ElicitError::Cancelled),
        }
    }

    /// Asks the person to visit `url`, for what must not pass through the client: passwords, payments, consent.
    /// Returns when the person agreed to, not when the visit is over. `id` names the visit (2025-11-25, "URL mode").
    ///
    /// # Errors
    /// As [`elicit`](Self::elicit).
    pub async fn elicit_url(&self, message: &str, url: &str, id: &str) -> Result<(), ElicitError> {
        let answer = self.call.ask(None, InputRequest::url(message, url, id), None).await?;
        let answer: ElicitResult = answer.parse().map_err(|error| AskError::Invalid(error.to_string()))?;
        match answer.action {
            ElicitAction::Accept => Ok(()),
            ElicitAction::Decline => Err(ElicitError::Declined),
            ElicitAction::Cancel => Err(ElicitError::Cancelled),
        }
    }

    /// Asks the client's model for a message.
    ///
    /// # Errors
    /// See [`AskError`]: the client has no sampling, the person refused, the time is up, the messages break a rule.
    pub async fn sample(&self, message: CreateMessage) -> Result<CreateMessageResult, AskError> {
        let (key, request) = message.into_request()?;
        let answer = self.call.ask(key.as_deref(), request, None).await?;
        answer.parse().map_err(|error| AskError::Invalid(error.to_string()))
    }

    /// Asks the client for its roots.
    ///
    /// # Errors
    /// See [`AskError`]. Roots that are no `file://` URIs are [`AskError::Invalid`].
    pub async fn roots(&self) -> Result<Vec<Root>, AskError> {
        let answer = self.call.ask(None, InputRequest::roots(), None).await?;
        let answer: ListRootsResult = answer.parse().map_err(|error| AskError::Invalid(error.to_string()))?;
        if answer.roots.iter().any(|root| !root.uri.starts_with("file://")) {
            return Err(AskError::Invalid("a root is a file:// URI".to_owned()));
        }
        Ok(answer.roots)
    }

    /// Puts any question, and returns the result as it came. `key` names the question in the modern era.
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn ask(&self, key: Option<&str>, request: InputRequest) -> Result<Value, AskError> {
        let answer = self.call.ask(key, request, None).await?;
        answer.parse().map_err(|error| AskError::Invalid(error.to_string()))
    }

    /// Whether the client declared what `request` needs; to be asked before work that would be in vain.
    ///
    /// # Errors
    /// [`AskError::NotDeclared`], which a handler passes on by `?`: a modern client learns by -32021 what to declare.
    pub fn require(&self, request: &InputRequest) -> Result<(), AskError> {
        self.call.require(request)
    }

    /// From here on the call is a task, if its tool leaves that to its handler ([`ToolEntry::late_task`]) and the client
    /// takes tasks: the client is answered with the task, and the handler runs on by itself. What was asked before is
    /// asked as in any call, and what is asked afterwards as the task's. Whether the call is a task now.
    ///
    /// # Errors
    /// -32000 when there is no room for another task; the call can go on as it is.
    ///
    /// [`ToolEntry::late_task`]: crate::entry::ToolEntry::late_task
    pub async fn become_task(&self) -> Result<bool, ProtocolError> {
        self.call.become_task().await.map_err(ProtocolError::from_object)
    }

    /// Whether the call runs as a task, so that nobody waits on a connection for it.
    pub fn is_task(&self) -> bool {
        self.call.is_task()
    }

    /// Returns when the call is cancelled; to be raced against work that cannot be dropped.
    /// A handler that only awaits needs nothing: it is dropped at its next await.
    pub async fn cancelled(&self) {
        self.call.cancelled().await;
    }

    /// Whether the call is cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.call.is_cancelled()
    }

    /// Who calls.
    pub fn principal(&self) -> &Principal {
        self.call.principal()
    }

    /// The session, in the legacy era. Never proof of who calls.
    pub fn session_id(&self) -> Option<String> {
        self.call.session().map(|session| session.to_string())
    }

    /// What handlers keep in the session between calls.
    ///
    /// ```
    /// # use andon_server::context::Context;
    /// # use andon_server::failure::ToolError;
    /// async fn count(context: Context) -> Result<u32, ToolError> {
    ///     let count = context.session().get("count")?.unwrap_or(0) + 1;
    ///     context.session().put("count", &count).await?;
    ///     Ok(count)
    /// }
    /// ```
    ///
    /// 2026-07-28 has no sessions, and there each use is [`ValuesError::NoSession`]; [`values`](Self::values) works on
    /// every revision.
    pub fn session(&self) -> SessionValues {
        SessionValues(self.call.conversation().clone())
    }

    /// What handlers keep under `handle`, which an earlier call made and gave to the client; without one, a new handle.
    ///
    /// # Errors
    /// [`ValuesError::UnknownHandle`], and [`ValuesError::Unavailable`] when the store does not answer.
    pub async fn values(&self, handle: Option<&str>) -> Result<HandleValues, ValuesError> {
        let host = self.call.conversation().host().ok_or(ValuesError::Unavailable)?;
        let principal = self.principal().clone();
        match handle {
            Some(handle) => HandleValues::open(host, principal, handle).await,
            None => HandleValues::create(host, principal).await,
        }
    }

    /// The request's `_meta`.
    pub fn meta(&self) -> Option<&Meta> {
        self.call.meta()
    }

    /// The protocol revision that the client speaks. Handlers rarely need it.
    pub fn revision(&self) -> Revision {
        self.call.revision()
    }

    /// What the client says it can do.
    pub fn client_capabilities(&self) -> &ClientCapabilities {
        self.call.client_capabilities()
    }

    /// Name and version of the client, as it says.
    pub fn client_info(&self) -> Option<&Implementation> {
        self.call.client_info()
    }

    /// Ends the connection that waits for this call's answer, so that the client comes back for it after
    /// `retry_ms` milliseconds (2025-11-25, transports, polling). Without effect elsewhere; the call goes on.
    pub fn close_stream(&self, retry_ms: u32) {
        self.call.close_stream(retry_ms);
    }

    /// Gives the call `timeout` from now on; the host's hard maximum holds.
    pub fn set_timeout(&self, timeout: Duration) {
        self.call.set_timeout(timeout);
    }

    /// The server's tools, prompts and resources, to be changed while it runs.
    pub fn catalogue(&self) -> &Catalogue {
        &self.shared.catalogue
    }

    pub(crate) fn states(&self) -> &States {
        &self.shared.states
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("revision", &self.revision()).finish_non_exhaustive()
    }
}
