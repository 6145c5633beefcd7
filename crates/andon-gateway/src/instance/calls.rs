//! Calls on their way to the server of one conversation.

use std::pin::pin;
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use andon_client::{Client, Error, Options, Task};
use andon_server::call::Call;
use andon_types::capability::ClientCapabilities;
use andon_types::message::Json;
use andon_types::meta::{LOG_LEVEL, Level};
use andon_types::method::Method;
use andon_types::raw_object::RawObject;
use andon_types::revision::{Era, Revision};
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::traffic::Sending;
use super::{Instance, Key, Ready, bridged};
use crate::flight::{Flight, Line, lock};
use crate::upstream::Admission;

/// What is asked for of a server's log where sessions filter by themselves.
static EVERYTHING: LazyLock<Arc<RawObject>> = LazyLock::new(|| {
    let mut meta = RawObject::default();
    meta.put(LOG_LEVEL, json!(Level::Debug));
    Arc::new(meta)
});
/// How long a call that was given up may still be answered with a task. Its server hears of that only then.
const ANSWER_GRACE: Duration = Duration::from_secs(3);
/// How long a server may take to cancel a task.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// A request on its way out.
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    /// Without `_meta`, and as the server knows them.
    pub(crate) params: Arc<RawObject>,
    pub(crate) task: TaskWish,
}

/// Whether a server is to make a task of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum TaskWish {
    #[default]
    No,
    /// Only if it would not serve it otherwise.
    IfRefused,
    /// If it can, to be kept for as long as this where it heeds that.
    Yes(Option<Duration>),
}

impl Instance {
    /// Makes a call for `call` of the endpoint with the number `endpoint`.
    pub(crate) fn fly(
        self: &Arc<Self>,
        ready: &Ready,
        (call, endpoint): (&Call, u64),
        outgoing: Outgoing,
        admission: Admission,
    ) -> Flight {
        let sending = matches!(outgoing.task, TaskWish::Yes(_)).then(|| Arc::new(Sending));
        let still_sending = sending.as_ref().map(Arc::downgrade).unwrap_or_default();
        let (line, questions) = (Arc::<Line>::default(), Arc::default());
        let aboard = self.board((call, endpoint), (&line, &questions), still_sending, admission);
        let id = aboard.id();
        if matches!(self.key, Key::Session(..)) {
            // A session that rested has another one.
            *lock(&self.owner) = Some(call.voice());
        }
        // Their server asks when it hears of it, and this call can be asked.
        self.tell_of_roots(call);
        let revision = ready.client.revision().unwrap_or(call.revision());
        let options = self.options(call, id, &line, revision);
        // A program may ask so that only this process of it can go on. And what may be answered with a task is waited for a
        // little, even when its client was asked.
        let ends_with_round = !self.upstream.place.is_child() && sending.is_none();
        let (client, me) = (ready.client.clone(), Arc::downgrade(self));
        let to_task = line.clone();
        // Two boxes: what few calls need is a large part of one.
        let outcome = match outgoing.task {
            TaskWish::Yes(ttl) => {
                let as_task = async move {
                    send_as_task(&client, (outgoing, sending), (options, ttl), (&me, id), &to_task).await
                };
                as_task.boxed()
            }
            _ => async move { send(&client, outgoing, options).await }.boxed(),
        };
        let outcome = match self.roots_settled() {
            Some(settled) => settled.then(|()| outcome).boxed(),
            None => outcome,
        };
        Flight::new(outcome, questions, line, (revision, ends_with_round), Box::new(aboard))
    }

    fn options(&self, call: &Call, id: u64, line: &Arc<Line>, revision: Revision) -> Options {
        let settings = self.upstream.settings();
        let (reports, logs) = (line.clone(), line.clone());
        let mut options = Options::default()
            .timeout(settings.timeout)
            .timeout_max(settings.timeout_max)
            .tag(id)
            .on_progress(move |report| {
                reports.with(|call| call.progress(report.progress, report.total, report.message.clone()));
            })
            .on_log(move |level, logger, data| logs.with(|call| call.log(level, logger.as_deref(), &data)));
        if revision.rules().log_level_per_request && call.session().is_some() {
            // A session filters by itself.
            options = options.all_meta(EVERYTHING.clone());
        }
        for (name, value) in call.meta_members() {
            let is_for_it = !is_ours(&name) || (name == LOG_LEVEL && revision.rules().log_level_per_request);
            // Most calls have nothing to say, so that nothing is read before.
            if is_for_it && let Ok(value) = serde_json::from_str::<Value>(value) {
                options = options.meta(name.into_owned(), value);
            }
        }
        if revision.era() == Era::Modern {
            // A server that asks only those who can be asked finds it out here.
            options = options.capabilities_text(self.declared(call.client_capabilities()));
        }
        options
    }

    /// What of the capabilities of a client its server is told, which most clients have in common.
    fn declared(&self, capabilities: &ClientCapabilities) -> Json {
        let mut known = lock(&self.declared);
        if let Some((of, declared)) = &*known
            && of == capabilities
        {
            return declared.clone();
        }
        let declared = Json::of(&bridged(capabilities)).expect("capabilities have string keys only");
        *known = Some((capabilities.clone(), declared.clone()));
        declared
    }
}

/// What Andon says for itself in the `_meta` of requests, and what names this round with the client.
fn is_ours(name: &str) -> bool {
    name == "progressToken" || name.starts_with("io.modelcontextprotocol/")
}

/// Makes a call of which the server may make a task: then it is waited for, by the call that it is for as well if that
/// wants a task of its own.
async fn send_as_task(
    client: &Client,
    (outgoing, sending): (Outgoing, Option<Arc<Sending>>),
    (mut options, ttl): (Options, Option<Duration>),
    (instance, id): (&Weak<Instance>, u64),
    line: &Line,
) -> Result<Json, Error> {
    options = options.taking_tasks();
    if let Some(ttl) = ttl {
        options = options.task_ttl(ttl);
    }
    let (result, watched) = created(client.clone(), (outgoing, sending), options).await?;
    let Some((task, mut watched)) = watched else { return Ok(result) };
    if let Some(instance) = instance.upgrade() {
        instance.became_task(id, task.id());
    }
    line.become_task().await;
    let outcome = task.result_raw().await;
    if matches!(outcome, Ok(_) | Err(Error::Protocol(_) | Error::Cancelled)) {
        // It is over.
        watched.0 = None;
    }
    outcome
}

/// Makes a call that may be answered with a task. Only who has that answer can cancel the task, and it may be on its way
/// when this is dropped: so it is waited for a little longer. And it may be here and not taken: then the task is dropped.
async fn created(
    client: Client,
    (outgoing, until_cancelled): (Outgoing, Option<Arc<Sending>>),
    options: Options,
) -> Result<(Json, Option<(Task, Watched)>), Error> {
    let (mut answer, answered) = oneshot::channel();
    tokio::spawn(async move {
        // Dropped last: dropping what is sent cancels it.
        let _until_cancelled = until_cancelled;
        let mut sending = pin!(send(&client, outgoing, options.clone()));
        let outcome = tokio::select! {
            outcome = &mut sending => outcome,
            () = answer.closed() => match tokio::time::timeout(ANSWER_GRACE, sending).await {
                Ok(outcome) => outcome,
                Err(_) => return,
            },
        };
        let created = outcome.and_then(|result| {
            let task = client.task_in(&result, options)?;
            Ok((result, task.map(|task| (task.clone(), Watched(Some(task))))))
        });
        // Whoever gave up leaves the task to be cancelled.
        drop(answer.send(created));
    });
    answered.await.unwrap_or(Err(Error::Closed))
}

/// A task of a server. Dropped, it is cancelled: nobody comes for it any more.
struct Watched(Option<Task>);

impl Drop for Watched {
    fn drop(&mut self) {
        let (Some(task), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) else { return };
        runtime.spawn(async move {
            if let Ok(Err(error)) = tokio::time::timeout(CANCEL_TIMEOUT, task.cancel()).await {
                tracing::debug!(%error, "a task of a server could not be cancelled");
            }
        });
    }
}

async fn send(client: &Client, outgoing: Outgoing, options: Options) -> Result<Json, Error> {
    let Outgoing { method, params, .. } = outgoing;
    if method == Method::ToolsCall {
        return client.call_tool_with(params, options).await;
    }
    client.request_with(method.as_str(), params, options).await
}
