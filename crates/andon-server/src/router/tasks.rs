//! Calls that become tasks, and `tasks/*`.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use andon_core::io::AskError;
use andon_core::task::{Outcome, Task};
use andon_types::error::{ErrorCode, ErrorObject, clip};
use andon_types::message::Json;
use andon_types::method::Method;
use andon_types::task::{TASKS_EXTENSION, TaskSupport, declares_tasks};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Router, read_params};
use crate::call::Call;
use crate::item::ToolItem;
use crate::service::{Reply, Service as _};
use crate::tasks::{Found, Live, related};

/// How long the end of a task may take to be stored before its canceller is told to look again.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// How a tool is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// As any other request.
    Call,
    /// As a task, kept for as long as the client asks for.
    Task(Option<Duration>),
    /// As any other request, until the handler says that it is a task.
    Late,
}

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

impl Router {
    /// How `item` is called: as the client asks for (2025-11-25), or as it can be answered (2026-07-28).
    ///
    /// # Errors
    /// What to answer to who cannot call it, or not so.
    pub(super) fn way(&self, item: &ToolItem, call: &Call, task: Option<&RawValue>) -> Result<Way, ErrorObject> {
        let (rules, support) = (call.rules(), item.entry.task.support);
        let refuse = |why: &str| {
            Err(ErrorObject::new(ErrorCode::MethodNotFound, format!("`{}` {why}", clip(&item.entry.tool.name))))
        };
        if rules.tasks_extension {
            let declared = declares_tasks(call.client_capabilities().extensions.as_ref());
            return match support {
                TaskSupport::Required if !declared => {
                    Err(ErrorObject::missing_capability(&json!({ "extensions": { TASKS_EXTENSION: {} } })))
                }
                TaskSupport::Forbidden => Ok(Way::Call),
                _ if !declared => Ok(Way::Call),
                _ if item.entry.task.is_late => Ok(Way::Late),
                _ => Ok(Way::Task(None)),
            };
        }
        // Who does not declare tasks ignores what is said of them, and so do older revisions.
        let task = task.filter(|_| rules.execution && self.capabilities().tasks.is_some());
        match (task, support) {
            (Some(_), TaskSupport::Forbidden) => refuse("does not run as a task: leave \"task\" out"),
            (None, TaskSupport::Required) => refuse("runs only as a task: send \"task\" (2025-11-25 or later)"),
            (None, _) => Ok(Way::Call),
            (Some(task), _) => read_ttl(task).map(Way::Task),
        }
    }

    /// `tasks/get`.
    pub(super) async fn task(&self, call: &Call, params: Option<&Json>) -> Result<Reply, ErrorObject> {
        let IdParams { id } = read_params(params)?;
        let detail = match self.tasks.find(&id, call).await? {
            Found::Live(live) => live.with(Task::detail),
            Found::Over(task) => task.detail(),
        };
        Ok(Reply { body: detail.into(), ..Reply::default() })
    }

    /// `tasks/list` (2025-11-25).
    pub(super) async fn list_tasks(&self, call: &Call, params: Option<&Json>) -> Result<Reply, ErrorObject> {
        let CursorParams { cursor } = read_params(params)?;
        let after = match cursor {
            Some(cursor) => Some(self.cursors.open_key(Method::TasksList, call.principal(), &cursor)?),
            None => None,
        };
        let (tasks, next) = self.tasks.list(call, after, self.settings.page_size).await?;
        let mut body = json!({ "tasks": tasks });
        if let Some(next) = next {
            body["nextCursor"] = self.cursors.seal_key(Method::TasksList, call.principal(), next).into();
        }
        Ok(Reply { body: body.to_string().into(), ..Reply::default() })
    }

    /// `tasks/result` (2025-11-25): waits until the task is over, and meanwhile puts its questions to the client.
    pub(super) async fn task_result(&self, call: &Call, params: Option<&Json>) -> Result<Reply, ErrorObject> {
        let IdParams { id } = read_params(params)?;
        loop {
            match self.tasks.find(&id, call).await? {
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
    pub(super) async fn update_task(&self, call: &Call, params: Option<&Json>) -> Result<Reply, ErrorObject> {
        let UpdateParams { id, responses } = read_params(params)?;
        if let Found::Live(live) = self.tasks.find(&id, call).await? {
            for (key, answer) in responses {
                live.answer(&key, Json::from(answer));
            }
        }
        Ok(Reply::default())
    }

    /// `tasks/cancel`. In 2025-11-25 a task that is over cannot be, and the answer says what became of it.
    pub(super) async fn cancel_task(&self, call: &Call, params: Option<&Json>) -> Result<Reply, ErrorObject> {
        let IdParams { id } = read_params(params)?;
        let is_extension = call.rules().tasks_extension;
        let task = match self.tasks.find(&id, call).await? {
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

    /// Which of these tasks are the caller's, to be listened for (2026-07-28).
    pub(super) async fn own_tasks(&self, call: &Call, ids: &[String]) -> Vec<String> {
        let mut own = Vec::new();
        for id in ids {
            if !own.contains(id) && self.tasks.find(id, call).await.is_ok() {
                own.push(id.clone());
            }
        }
        own
    }
}

fn over_already(task: &Task) -> ErrorObject {
    ErrorObject::invalid_params(format!("the task cannot be cancelled: it is {} already", task.status().as_str()))
}

fn read_ttl(task: &RawValue) -> Result<Option<Duration>, ErrorObject> {
    let bad = || ErrorObject::invalid_params("\"task\" is an object, and its \"ttl\" a number of milliseconds");
    let Augmentation { ttl } = serde_json::from_str(task.get()).map_err(|_| bad())?;
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
