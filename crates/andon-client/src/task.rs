//! Calls that the server goes on with after it answered: tasks of 2025-11-25 and of the extension of 2026-07-28.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use andon_core::client::Report;
use andon_types::client::InputRequest;
use andon_types::error::{ErrorCode, ErrorObject};
use andon_types::message::Json;
use andon_types::raw::RawJson;
use andon_types::task::{TaskInfo, TaskStatus};
use andon_types::tools::CallToolResult;
use futures_util::future::try_join_all;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::answer::Question;
use crate::client::{Client, Options, object, read};
use crate::error::Error;

/// How long to wait between two looks at a task whose server does not say.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The least and the most of it, whatever the server says.
const POLL_INTERVAL_MIN: Duration = Duration::from_millis(20);
const POLL_INTERVAL_MAX: Duration = Duration::from_secs(60);
/// How many looks in a row may find nobody: the task goes on without a connection.
const LOST_MAX: u32 = 5;

/// What a call was answered with.
#[derive(Debug)]
pub enum Called {
    /// Its result: the server made no task of it.
    Result(CallToolResult),
    /// The task that it became.
    Task(Task),
}

impl Called {
    /// The result, waited for if it is that of a task.
    ///
    /// # Errors
    /// As [`Task::result`].
    pub async fn result(self) -> Result<CallToolResult, Error> {
        match self {
            Self::Result(result) => Ok(result),
            Self::Task(task) => task.result().await,
        }
    }
}

/// A task of the server. It goes on when this is dropped; [`Client::task`] takes it up again by its id.
#[derive(Clone)]
pub struct Task {
    client: Client,
    /// The tool's name, if it is known here.
    tool: Option<String>,
    id: String,
    /// Of the call that became it.
    options: Arc<Options>,
}

impl Client {
    /// Calls a tool as a task, if the server makes one of it: it is answered before it is done, and goes on without a
    /// connection. With 2025-11-25 the tool has to allow it; before, there are no tasks, and this is an ordinary call.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn call_task(
        &self,
        name: &str,
        arguments: Map<String, Value>,
        options: Options,
    ) -> Result<Called, Error> {
        self.called(name, arguments, options.taking_tasks()).await
    }

    /// The task with this id, of an earlier call; whether there is one shows when it is looked at.
    pub fn task(&self, id: impl Into<String>) -> Task {
        Task { client: self.clone(), tool: None, id: id.into(), options: Arc::default() }
    }

    /// The task that `result` is, which a call by [`Client::call_tool_raw`] with these options, [`Options::taking_tasks`]
    /// among them, was answered with; if it is one. Its questions have the tag of the call.
    ///
    /// # Errors
    /// When it is neither a task nor a result.
    pub fn task_in(&self, result: &Json, options: Options) -> Result<Option<Task>, Error> {
        Ok(created(result)?.map(|info| Task::new(self.clone(), None, info, options)))
    }
}

impl Task {
    pub(crate) fn new(client: Client, tool: Option<&str>, info: TaskInfo, options: Options) -> Self {
        Self { client, tool: tool.map(str::to_owned), id: info.task_id, options: Arc::new(options) }
    }

    /// Names it. Worth keeping: whoever has it can come back for the result.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where it stands.
    ///
    /// # Errors
    /// [`Error::Protocol`] with -32602 if the server does not know it, or no longer; else see [`Error`].
    pub async fn look(&self) -> Result<TaskInfo, Error> {
        read(&self.ask("tasks/get", Map::new()).await?)
    }

    /// Ends it. It may have come to a result before the server heard of that.
    ///
    /// # Errors
    /// [`Error::Protocol`] with -32602 if it is over already (2025-11-25); else see [`Error`].
    pub async fn cancel(&self) -> Result<(), Error> {
        self.ask("tasks/cancel", Map::new()).await.map(drop)
    }

    /// Waits for its result, and answers on the way what it asks, as the client answers what a call asks.
    ///
    /// # Errors
    /// The error that its call would have been answered with; [`Error::Cancelled`]; [`Error::Unanswerable`] if nobody
    /// answers its question, which stays open; else see [`Error`]. A tool that fails is a result.
    pub async fn result(&self) -> Result<CallToolResult, Error> {
        self.checked(read(&self.result_raw().await?)?)
    }

    /// The same, as it came and unchecked: for programs that pass it on.
    ///
    /// # Errors
    /// As [`Task::result`].
    pub async fn result_raw(&self) -> Result<Json, Error> {
        let mut seen = Seen::default();
        let mut lost = 0;
        loop {
            let interval = match self.step(&mut seen).await {
                Ok(Step::Over(result)) => return Ok(result),
                Ok(Step::Wait(interval)) => {
                    lost = 0;
                    interval
                }
                Err(error) if is_passing(&error) && lost < LOST_MAX => {
                    lost += 1;
                    POLL_INTERVAL * lost
                }
                Err(error) => return Err(error),
            };
            tokio::time::sleep(interval).await;
        }
    }

    /// Looks once, and does what is to be done.
    async fn step(&self, seen: &mut Seen) -> Result<Step, Error> {
        let looked = self.ask("tasks/get", Map::new()).await?;
        let info: TaskInfo = read(&looked)?;
        self.report(&info, seen);
        if self.client.driver().open().await?.revision.rules().execution {
            return match info.status {
                TaskStatus::Working => Ok(Step::Wait(interval(&info))),
                TaskStatus::Cancelled => Err(Error::Cancelled),
                // Whoever waits for the result is asked.
                TaskStatus::InputRequired | TaskStatus::Completed | TaskStatus::Failed => {
                    match self.ask("tasks/result", Map::new()).await {
                        Ok(result) => Ok(Step::Over(result)),
                        Err(Error::TimedOut) => Ok(Step::Wait(interval(&info))),
                        Err(error) => Err(error),
                    }
                }
            };
        }
        let detail: Detail = read(&looked)?;
        match info.status {
            TaskStatus::Working => Ok(Step::Wait(interval(&info))),
            TaskStatus::InputRequired => {
                self.answer(detail.input_requests, &mut seen.answered).await?;
                Ok(Step::Wait(POLL_INTERVAL_MIN))
            }
            TaskStatus::Completed => {
                let result = detail.result.ok_or_else(|| without("result"))?;
                Json::of(&result).map(Step::Over).map_err(|error| Error::Invalid(error.to_string()))
            }
            TaskStatus::Failed => Err(detail.error.map_or_else(|| without("error"), Error::Protocol)),
            TaskStatus::Cancelled => Err(Error::Cancelled),
        }
    }

    /// Its message is all that a task says of how far it is.
    fn report(&self, info: &TaskInfo, seen: &mut Seen) {
        if info.status.is_terminal() || info.status_message == seen.message {
            return;
        }
        seen.message.clone_from(&info.status_message);
        if let (Some(listener), Some(message)) = (self.options.listener(), &info.status_message) {
            seen.reports += 1;
            listener(Report { progress: f64::from(seen.reports), total: None, message: Some(message.clone()) });
        }
    }

    /// Answers the questions that were not answered yet (tasks extension, "Task Update Requests").
    async fn answer(&self, asked: Map<String, Value>, answered: &mut HashSet<String>) -> Result<(), Error> {
        let mut questions = Vec::new();
        for (key, request) in asked.into_iter().filter(|(key, _)| !answered.contains(key)) {
            let request: InputRequest =
                serde_json::from_value(request).map_err(|error| Error::Invalid(format!("a bad question: {error}")))?;
            questions.push((key, request));
        }
        let answers = &self.client.driver().settings.answers;
        // What is asked at once is put at once.
        let responses = try_join_all(questions.into_iter().map(|(key, request)| async {
            let tag = self.options.call_tag();
            let question = Question { request, tag, key: Some(key.clone()), round: None };
            answers.answer(question).await.map(|answer| (key, answer)).map_err(Error::Unanswerable)
        }));
        let responses: Map<String, Value> = responses.await?.into_iter().collect();
        if responses.is_empty() {
            return Ok(());
        }
        let keys: Vec<String> = responses.keys().cloned().collect();
        let params = object(json!({ "inputResponses": responses }));
        self.ask("tasks/update", params).await?;
        answered.extend(keys);
        Ok(())
    }

    async fn ask(&self, method: &str, mut params: Map<String, Value>) -> Result<Json, Error> {
        params.insert("taskId".into(), self.id.clone().into());
        self.client.request(method, params, Options::clone(&self.options).of_its_task()).await
    }

    fn checked(&self, result: CallToolResult) -> Result<CallToolResult, Error> {
        match &self.tool {
            Some(tool) => self.client.checked(tool, result),
            None => Ok(result),
        }
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Who has the id may have the task.
        f.debug_struct("Task").field("tool", &self.tool).finish_non_exhaustive()
    }
}

enum Step {
    Over(Json),
    Wait(Duration),
}

/// What was seen of a task so far.
#[derive(Default)]
struct Seen {
    answered: HashSet<String>,
    message: Option<String>,
    reports: u32,
}

/// What `tasks/get` tells beside where the task stands (2026-07-28).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    result: Option<RawJson>,
    error: Option<ErrorObject>,
    #[serde(default)]
    input_requests: Map<String, Value>,
}

/// The task that a call was answered with, if it was: flat where a result says its type, and nested before.
pub(crate) fn created(result: &Json) -> Result<Option<TaskInfo>, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Peek {
        result_type: Option<String>,
        content: Option<serde::de::IgnoredAny>,
        task: Option<Value>,
    }
    let peek: Peek = read(result)?;
    match (peek.result_type.as_deref(), peek.content, peek.task) {
        (Some("task"), ..) => read(result).map(Some),
        (None, None, Some(task)) => {
            serde_json::from_value(task).map(Some).map_err(|error| Error::Invalid(format!("a bad task: {error}")))
        }
        _ => Ok(None),
    }
}

fn interval(info: &TaskInfo) -> Duration {
    let said = info.poll_interval_ms.map_or(POLL_INTERVAL, Duration::from_millis);
    said.clamp(POLL_INTERVAL_MIN, POLL_INTERVAL_MAX)
}

/// Whether looking again may help: the task goes on meanwhile.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::Transport(_) | Error::TimedOut => true,
        Error::Protocol(error) => error.code == ErrorCode::Unavailable as i32,
        _ => false,
    }
}

fn without(member: &str) -> Error {
    Error::Invalid(format!("a task that is over comes without {member:?}"))
}
