//! How one call is to be made.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use andon_core::client::Report;
use andon_types::capability::ClientCapabilities;
use andon_types::message::Json;
use andon_types::meta::{LOG_LEVEL, Level};
use andon_types::raw_object::RawObject;
use serde_json::{Value, json};

use crate::driver::{OnLog, OnProgress};

/// How one call is made.
#[derive(Clone, Default)]
pub struct Options {
    pub(super) timeout: Option<Duration>,
    pub(super) timeout_max: Option<Duration>,
    pub(super) on_progress: Option<OnProgress>,
    pub(super) on_log: Option<OnLog>,
    pub(super) tag: Option<u64>,
    pub(super) capabilities: Option<Json>,
    pub(super) meta: Option<Arc<RawObject>>,
    pub(super) task_ttl: Option<Duration>,
    pub(super) takes_tasks: bool,
}

impl Options {
    /// Those of the requests about the task that a call of these became.
    pub(crate) fn of_its_task(mut self) -> Self {
        self.on_progress = None;
        if let Some(meta) = &mut self.meta {
            Arc::make_mut(meta).take(LOG_LEVEL);
        }
        self.taking_tasks()
    }

    pub(crate) fn listener(&self) -> Option<&OnProgress> {
        self.on_progress.as_ref()
    }

    pub(crate) fn call_tag(&self) -> Option<u64> {
        self.tag
    }

    /// How long it may take since its beginning or its last progress.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How long it may take in all, whatever it reports.
    #[must_use]
    pub fn timeout_max(mut self, max: Duration) -> Self {
        self.timeout_max = Some(max);
        self
    }

    /// Told what the call reports, and the messages of the task that it became. Must not block.
    #[must_use]
    pub fn on_progress(mut self, listen: impl Fn(Report) + Send + Sync + 'static) -> Self {
        self.on_progress = Some(Arc::new(listen));
        self
    }

    /// How long the server is asked to keep a task, of [`Client::call_task`](crate::Client::call_task) (2025-11-25; later it is the server's choice).
    #[must_use]
    pub fn task_ttl(mut self, ttl: Duration) -> Self {
        self.task_ttl = Some(ttl);
        self
    }

    /// A task is an answer, or is asked for one: for programs that make calls by [`Client::call_tool_raw`](crate::Client::call_tool_raw).
    #[must_use]
    pub fn taking_tasks(mut self) -> Self {
        self.takes_tasks = true;
        self
    }

    /// Told what the server logs about this call, where it says that it is about this call: on the call's own stream.
    /// What it logs otherwise goes to [`Builder::on_log`](crate::Builder::on_log), or is an [`Event`](crate::Event). Must neither block nor make
    /// calls.
    #[must_use]
    pub fn on_log(mut self, listen: impl Fn(Level, Option<String>, Value) + Send + Sync + 'static) -> Self {
        self.on_log = Some(Arc::new(listen));
        self
    }

    /// The program's own name for the call, which comes back with the questions of the server about it.
    #[must_use]
    pub fn tag(mut self, tag: u64) -> Self {
        self.tag = Some(tag);
        self
    }

    /// What the server is told, for this call, that the client can do, if it is less than all (2026-07-28): for programs
    /// that make calls for others.
    #[must_use]
    pub fn capabilities(self, capabilities: &ClientCapabilities) -> Self {
        self.capabilities_text(Json::of(capabilities).expect("capabilities have string keys only"))
    }

    /// The same as a text, for programs that say the same of many calls. It is sent as it is, unchecked: it has to be that of
    /// a [`ClientCapabilities`].
    #[must_use]
    pub fn capabilities_text(mut self, capabilities: Json) -> Self {
        self.capabilities = Some(capabilities);
        self
    }

    /// Asks the server to log about this call from `level` on (2026-07-28).
    #[must_use]
    pub fn log_level(self, level: Level) -> Self {
        self.meta(LOG_LEVEL, json!(level))
    }

    /// A member of the request's `_meta`.
    #[must_use]
    pub fn meta(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Json>) -> Self {
        Arc::make_mut(self.meta.get_or_insert_default()).put(name, value);
        self
    }

    /// The members of the request's `_meta`, in place of those that were given before: for programs that say the same of
    /// many calls.
    #[must_use]
    pub fn all_meta(mut self, meta: Arc<RawObject>) -> Self {
        self.meta = Some(meta);
        self
    }
}
