//! What a program wants of the driver.

use std::sync::Arc;

use andon_core::client::{Report, Timing};
use andon_types::message::Json;
use andon_types::meta::Level;
use andon_types::raw_object::RawObject;
use serde_json::Value;
use tokio::sync::oneshot;

/// What is told of progress.
pub(crate) type OnProgress = Arc<dyn Fn(Report) + Send + Sync>;
/// What is told of logs.
pub(crate) type OnLog = Arc<dyn Fn(Level, Option<String>, Value) + Send + Sync>;
/// What is told of what a server's process writes to its standard error.
pub(crate) type OnStderr = Arc<dyn Fn(&str) + Send + Sync>;

/// One call, as the program wants it.
pub(crate) struct Request {
    pub(crate) method: Box<str>,
    pub(crate) params: Arc<RawObject>,
    /// What it says in `_meta` beside that.
    pub(crate) meta: Option<Arc<RawObject>>,
    pub(crate) timing: Timing,
    pub(crate) on_progress: Option<OnProgress>,
    /// For `subscriptions/listen`: told when the server has acknowledged it.
    pub(crate) on_ack: Option<oneshot::Sender<()>>,
    pub(crate) mirrored: Vec<(String, String)>,
    /// A task is an answer.
    pub(crate) takes_tasks: bool,
    /// Told what the server logs about this call, where it says so.
    pub(crate) on_log: Option<OnLog>,
    /// The program's own name for the call.
    pub(crate) tag: Option<u64>,
    /// What is declared for this call (2026-07-28).
    pub(crate) capabilities: Option<Json>,
}

impl Request {
    /// A call without bounds in time and without arguments in headers.
    pub(crate) fn new(method: &str, params: impl Into<RawObject>) -> Self {
        Self::again(method, Arc::new(params.into()))
    }

    /// The same, with parameters that are sent more than once.
    pub(crate) fn again(method: &str, params: Arc<RawObject>) -> Self {
        Self {
            method: method.into(),
            params,
            meta: None,
            timing: Timing::UNBOUNDED,
            on_progress: None,
            on_ack: None,
            mirrored: Vec::new(),
            takes_tasks: false,
            on_log: None,
            tag: None,
            capabilities: None,
        }
    }
}
