//! `tasks/*`.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use andon_core::io::{AskError, Reply};
use andon_core::task::{Outcome, Task};
use andon_types::error::ErrorObject;
use andon_types::message::Json;
use andon_types::method::Method;
use andon_types::params::Params;
use andon_types::task::{TASKS_EXTENSION, declares_tasks};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Found, Live, Tasks, related};
use crate::call::Call;
use crate::router::read_params;

/// How long the end of a task may take to be stored before its canceller is told to look again.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
/// The most tasks that one listen request may name.
const LISTEN_TASKS_MAX: usize = 100;

#[derive(Deserialize)]
struct IdParams<'a> {
    #[serde(borrow, rename = "taskId")]
    id: Cow<'a, str>,
}

#[derive(Deserialize)]
struct UpdateParams<'a> {
    #[serde(borrow, rename = "taskId")]
    id: Cow<'a, str>,
    #[serde(rename = "inputResponses")]
    responses: BTreeMap<String, Value>,
}

#[derive(Deserialize, Default)]
struct CursorParams {
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct Augmentation {
    ttl: Option<f64>,
}

impl Tasks {
    /// Serves `tasks/get`, `tasks/list`, `tasks/result`, `tasks/update` and `tasks/cancel`.
    ///
    /// # Errors
    /// -32602 for a task that is not the caller's; -32000 if the store cannot say; what the task came to.
    pub async fn serve(&self, call: &Call, method: Method, params: Option<&Params>) -> Result<Reply, ErrorObject> {
        match method {
            Method::TasksGet => self.look(call, params).await,
            Method::TasksList => self.page(call, params).await,
            Method::TasksResult => self.result(call, params).await,
            Method::TasksUpdate => self.update(call, params).await,
            Method::TasksCancel => self.cancel(call, params).await,
            _ => Err(ErrorObject::method_not_found(method.as_str())),
        }
    }

    /// `tasks/get`.
    async fn look(&self, call: &Call, params: Option<&Params>) -> Result<Reply, ErrorObject> {
        let IdParams { id } = read_params(params)?;
        let detail = match self.find(&id, call).await? {
            Found::Live(live) => live.with(Task::detail),
            Found::Over(task) => task.detail(),
        };
        Ok(Reply { body: detail.into(), ..Reply::default() })
    }

    /// `tasks/list` (2025-11-25).
    async fn page(&self, call: &Call, params: Option<&Params>) -> Result<Reply, ErrorObject> {
        let CursorParams { cursor } = read_params(params)?;
        let after = match cursor {
            Some(cursor) => Some(self.cursors.open_key(Method::TasksList, call.principal(), &cursor)?),
            None => None,
        };
        let (tasks, next) = self.list(call, after, self.page_size).await?;
        let mut body = json!({ "tasks": tasks });
        if let Some(next) = next {
            body["nextCursor"] = self.cursors.seal_key(Method::TasksList, call.principal(), next).into();
        }
        Ok(Reply { body: body.to_string().into(), ..Reply::default() })
    }

    /// `tasks/result` (2025-11-25): waits until the task is over, and meanwhile puts its questions to the client.
    async fn result(&self, call: &Call, params: Option<&Params>) -> Result<Reply, ErrorObject> {
        let IdParams { id } = read_params(params)?;
        loop {
            match self.find(&id, call).await? {
                Found::Over(task) => return result_of(&task),
                Found::Live(live) => {
                    attend(call, &live).await;
                    if live.with(Task::is_over) {
                        return live.with(result_of);
                    }
                }
            }
        }
    }

    /// `tasks/update` (2026-07-28): answers to questions; those to others are ignored.
    async fn update(&self, call: &Call, params: Option<&Params>) -> Result<Reply, ErrorObject> {
        let UpdateParams { id, responses } = read_params(params)?;
        if let Found::Live(live) = self.find(&id, call).await? {
            for (key, answer) in responses {
                live.answer(&key, Json::from(answer));
            }
        }
        Ok(Reply::default())
    }

    /// `tasks/cancel`. In 2025-11-25 a task that is over cannot be, and the answer says what became of it.
    async fn cancel(&self, call: &Call, params: Option<&Params>) -> Result<Reply, ErrorObject> {
        let IdParams { id } = read_params(params)?;
        let is_extension = call.rules().tasks_extension;
        let task = match self.find(&id, call).await? {
            Found::Over(_) if is_extension => return Ok(Reply::default()),
            Found::Over(task) => return Err(over_already(&task)),
            Found::Live(live) => {
                let is_ours = live.settle(Outcome::Cancelled);
                if tokio::time::timeout(SETTLE_TIMEOUT, live.ended()).await.is_err() {
                    let why = "the server cannot keep the task's end now: it stops, and says so later";
                    return Err(ErrorObject::unavailable(why));
                }
                let task = live.with(Task::clone);
                if !is_ours && !is_extension {
                    return Err(over_already(&task));
                }
                task
            }
        };
        if is_extension {
            // The acknowledgement says nothing of the task.
            return Ok(Reply::default());
        }
        Ok(Reply { body: Value::Object(task.members()).to_string().into(), ..Reply::default() })
    }

    /// Which of these tasks, that a listen request names as `taskIds`, are the caller's (2026-07-28).
    ///
    /// # Errors
    /// When the caller does not declare tasks, or names too many.
    pub async fn listened(&self, call: &Call, ids: Option<&[String]>) -> Result<Vec<String>, ErrorObject> {
        let Some(ids) = ids else { return Ok(Vec::new()) };
        if !declares_tasks(call.client_capabilities().extensions.as_ref()) {
            return Err(ErrorObject::missing_capability(&json!({ "extensions": { TASKS_EXTENSION: {} } })));
        }
        if ids.len() > LISTEN_TASKS_MAX {
            let why = format!("a listen request names at most {LISTEN_TASKS_MAX} tasks");
            return Err(ErrorObject::invalid_params(why));
        }
        let mut own = Vec::new();
        for id in ids {
            if !own.contains(id) && self.find(id, call).await.is_ok() {
                own.push(id.clone());
            }
        }
        Ok(own)
    }
}

fn over_already(task: &Task) -> ErrorObject {
    ErrorObject::invalid_params(format!("the task cannot be cancelled: it is {} already", task.status().as_str()))
}

/// How long a task is to be kept, as the member `task` of a request says: this text (2025-11-25, "Task Parameters").
///
/// # Errors
/// When it is no such object.
pub fn wanted_ttl(task: &str) -> Result<Option<Duration>, ErrorObject> {
    let bad = || ErrorObject::invalid_params("\"task\" is an object, and its \"ttl\" a number of milliseconds");
    let Augmentation { ttl } = serde_json::from_str(task).map_err(|_| bad())?;
    let duration = |ms: f64| Duration::try_from_secs_f64(ms / 1000.0).map_err(|_| bad());
    ttl.map(duration).transpose()
}

/// What the task's request would have been answered, and which task it is of.
fn result_of(task: &Task) -> Result<Reply, ErrorObject> {
    match task.outcome() {
        Some(Outcome::Result { body, meta, .. }) => {
            let mut meta = meta.clone().unwrap_or_default();
            meta.extend(related(task.id()));
            Ok(Reply { body: body.as_str().to_owned().into(), meta: Some(meta), ..Reply::default() })
        }
        Some(Outcome::Error(error)) => Err(error.clone()),
        Some(Outcome::Cancelled) | None => Err(ErrorObject::invalid_request("the task was cancelled")),
    }
}

/// Puts the task's questions to the client of `call` until the task has ended. What this client cannot answer waits for
/// another.
async fn attend(call: &Call, live: &Arc<Live>) {
    let mut changed = live.watch();
    let mut refused = HashSet::new();
    let mut put = FuturesUnordered::new();
    loop {
        for (question, request) in live.put(&refused) {
            put.push(async move {
                let outcome = tokio::select! {
                    outcome = call.ask(None, request, None) => Some(outcome),
                    () = live.closed(question.ask) => None,
                };
                (question, outcome)
            });
        }
        if live.has_ended() {
            return;
        }
        tokio::select! {
            seen = changed.changed() => if seen.is_err() { return },
            Some((question, outcome)) = put.next() => match outcome {
                Some(Err(AskError::NotDeclared(_) | AskError::TooMany | AskError::Cancelled)) => {
                    refused.insert(question.ask);
                }
                Some(outcome) => live.deliver(question.ask, outcome),
                None => {}
            },
        }
    }
}
