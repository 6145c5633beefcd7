//! Calls that come again with the same idempotency key: run once, answered each time.
//!
//! `Idempotency-Key` over HTTP, and `andon.dev/idempotency-key` in `_meta` everywhere. What was written down before the
//! first run is found by the second, in this process and in the next.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use andon_core::io::ReplyKind;
use andon_core::port::{Key, Kind, Record, Rev, StoreError};
use andon_types::error::{ErrorCode, ErrorObject};
use andon_types::message::{Message, RequestId};
use andon_types::meta::IDEMPOTENCY_KEY;
use andon_types::method::Method;
use andon_types::object::string;
use andon_types::params::{Mark, Params};
use andon_types::raw::RawJson;
use andon_types::revision::Revision;
use andon_types::task::declares_tasks;
use futures_util::future::BoxFuture;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::call::Call;
use crate::host::Host;
use crate::journal::owner;
use crate::service::Reply;
use crate::storage::hash;

/// Bytes of a key.
const KEY_BYTES_MAX: usize = 255;

type Outcome = Result<Reply, ErrorObject>;

/// Calls with a key that run in this process.
#[derive(Default)]
pub(crate) struct KeyedCalls {
    running: Mutex<HashMap<u128, watch::Receiver<()>>>,
}

/// What is known of a key.
#[derive(Serialize, Deserialize)]
struct Known {
    format: u32,
    /// Of the tool, its arguments, and the revision that the reply is shaped by.
    digest: String,
    state: State,
}

const FORMAT: u32 = 1;

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// It was refused before it ran, or waits for answers of the client: it may run.
    Open,
    /// It runs, or the process that ran it is gone.
    Running,
    /// It ended.
    Done(Given),
    /// It ended, with more than is kept.
    TooLarge,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Given {
    Result {
        body: RawJson,
        meta: Option<andon_types::meta::Meta>,
        /// It is not the tool's result but the task that the call became.
        #[serde(default)]
        is_task: bool,
    },
    Error(ErrorObject),
}

/// The parameters of a call that count: not how it reports or what it was asked.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
    /// Asks for a task (2025-11-25).
    #[serde(default)]
    task: Option<IgnoredAny>,
}

/// A call and its key.
pub(crate) struct Keyed {
    id: u128,
    owner: u128,
    digest: String,
}

impl Keyed {
    /// The key in the `_meta` of a call.
    ///
    /// # Errors
    /// When it is no text of 1 to 255 bytes.
    pub(crate) fn of(method: Method, call: &Call, params: Option<&Params>) -> Result<Option<Self>, ErrorObject> {
        let Some(params) = params.filter(|_| method == Method::ToolsCall) else { return Ok(None) };
        let Some(key) = params.mark(Mark::IdempotencyKey) else { return Ok(None) };
        let (principal, revision) = (call.principal(), call.revision());
        let key = string(key).filter(|key| (1..=KEY_BYTES_MAX).contains(&key.len()));
        let why = || ErrorObject::invalid_params(format!("an idempotency key is text of 1 to {KEY_BYTES_MAX} bytes"));
        let key = key.ok_or_else(why)?;
        let owner = owner(principal.subject());
        let body: Option<Body<'_>> = params.parse().ok();
        let mut digest = Sha256::new();
        digest.update(revision.as_str());
        for part in body.iter().flat_map(|body| [body.name, body.arguments]) {
            let part = part.map_or("", RawValue::get);
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        // Who takes a task is answered otherwise than who does not.
        let asks_for_task = body.is_some_and(|body| body.task.is_some());
        let takes_tasks = declares_tasks(call.client_capabilities().extensions.as_ref());
        digest.update([u8::from(asks_for_task), u8::from(takes_tasks)]);
        let digest = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut named = owner.to_be_bytes().to_vec();
        named.extend_from_slice(key.as_bytes());
        Ok(Some(Self { id: hash("reply", &named), owner, digest }))
    }

    fn key(&self) -> Key {
        Key { kind: Kind::Reply, id: self.id }
    }
}

/// The way of a call with a key, as far as it is known.
enum Way {
    /// It is for this call to run; what it wrote down is in this state.
    Run(Rev, watch::Sender<()>),
    /// Another one runs: look again when it ended.
    Wait(watch::Receiver<()>),
    /// It ran.
    Over(Outcome),
}

/// The claim of a call that runs, where its driver can let go of it.
#[derive(Clone, Default)]
pub(crate) struct Slot(Arc<Mutex<Option<Running>>>);

impl Slot {
    /// The call ended without a reply because the client has to answer questions first: it may run again.
    pub(crate) fn release(&self) {
        let Some(running) = self.take() else { return };
        tokio::spawn(async move {
            if let Err(error) = running.host.write_state(&running.keyed, State::Open, Some(running.rev)).await {
                tracing::error!(%error, "a call with an idempotency key cannot go on");
            }
        });
    }

    fn take(&self) -> Option<Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, running: Running) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
    }
}

/// Held while a call with a key runs: whoever waits looks again when it is dropped, with its handler or without.
struct Running {
    host: Arc<Host>,
    keyed: Arc<Keyed>,
    /// Of what was written down when it began.
    rev: Rev,
    _ended: watch::Sender<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.host.running_calls().remove(&self.keyed.id);
    }
}

impl Host {
    /// Runs `handler`, unless the call ran under this key already: then its reply is given again.
    pub(crate) async fn once(
        self: Arc<Self>,
        keyed: Keyed,
        slot: Slot,
        handler: BoxFuture<'static, Outcome>,
    ) -> Outcome {
        let keyed = Arc::new(keyed);
        loop {
            match self.way(&keyed).await? {
                Way::Over(outcome) => return outcome,
                // Nothing is sent: it ends when the sender is dropped.
                Way::Wait(mut ended) => drop(ended.changed().await),
                Way::Run(rev, ended) => {
                    slot.put(Running { host: self.clone(), keyed: keyed.clone(), rev, _ended: ended });
                    let outcome = handler.await;
                    self.write_outcome(&keyed, rev, &outcome).await;
                    drop(slot.take());
                    return outcome;
                }
            }
        }
    }

    async fn way(&self, keyed: &Keyed) -> Result<Way, ErrorObject> {
        let (ended, ending) = watch::channel(());
        {
            let mut running = self.running_calls();
            if let Some(ending) = running.get(&keyed.id) {
                return Ok(Way::Wait(ending.clone()));
            }
            running.insert(keyed.id, ending);
        }
        let claimed = self.claim(keyed).await;
        if !matches!(claimed, Ok(Ok(_))) {
            self.running_calls().remove(&keyed.id);
        }
        match claimed {
            Ok(Ok(rev)) => Ok(Way::Run(rev, ended)),
            Ok(Err(outcome)) => Ok(Way::Over(outcome)),
            Err(StoreError::Conflict { .. }) => {
                Err(ErrorObject::unavailable("the same call runs elsewhere: try again"))
            }
            Err(_) => Err(ErrorObject::outage("calls with an idempotency key cannot be written down now")),
        }
    }

    /// Writes down that the call runs, unless it did.
    async fn claim(&self, keyed: &Keyed) -> Result<Result<Rev, Outcome>, StoreError> {
        let stored = self.store().load(keyed.key()).await?;
        let Some(stored) = stored else {
            if self.store().count(Kind::Reply).await? >= self.options().replies_max {
                let why = "as many idempotency keys as the server keeps are in use: try again later";
                return Ok(Err(Err(ErrorObject::unavailable(why))));
            }
            return match self.write_state(keyed, State::Running, None).await {
                // Nothing is made anew under a key that was swept: somebody may still come with it.
                Err(StoreError::Conflict { current: None }) => Ok(Err(Err(ErrorObject::invalid_params(
                    "this idempotency key was used before, and its reply is no longer kept: use a new one",
                )))),
                written => written.map(Ok),
            };
        };
        let known: Known = match serde_json::from_slice(&stored.record.bytes) {
            Ok(known) => known,
            Err(error) => return Err(StoreError::Fatal(error.to_string())),
        };
        if known.format != FORMAT {
            return Err(StoreError::Fatal(format!("a reply of format {}", known.format)));
        }
        if known.digest != keyed.digest {
            let why = "this idempotency key was used with other arguments: use a new one";
            return Ok(Err(Err(ErrorObject::invalid_params(why))));
        }
        match known.state {
            State::Open => self.write_state(keyed, State::Running, Some(stored.rev)).await.map(Ok),
            State::Done(Given::Result { body, meta, is_task }) => {
                let kind = if is_task { ReplyKind::Task } else { ReplyKind::Complete };
                Ok(Err(Ok(Reply { body: body.as_str().to_owned().into(), meta, kind, ..Reply::default() })))
            }
            State::Done(Given::Error(error)) => Ok(Err(Err(error))),
            State::Running => Ok(Err(Err(lost("it ended without a reply")))),
            State::TooLarge => Ok(Err(Err(lost("it was answered, with more than is kept")))),
        }
    }

    /// Without this the key would stay one that runs, and the same call would have another answer the next time. An outage
    /// is waited out; what cannot be written down at all is logged, and its outcome unknown.
    async fn write_outcome(&self, keyed: &Keyed, rev: Rev, outcome: &Outcome) {
        let bytes_max = self.options().reply_bytes_max;
        let state = match outcome {
            Ok(reply) if reply.body.as_str().len() > bytes_max => State::TooLarge,
            Ok(reply) => match serde_json::from_str(reply.body.as_str()) {
                Ok(body) => {
                    let is_task = reply.kind == ReplyKind::Task;
                    State::Done(Given::Result { body, meta: reply.meta.clone(), is_task })
                }
                Err(_) => State::TooLarge,
            },
            Err(error) if error.code == ErrorCode::InternalError as i32 => State::Done(Given::Error(error.clone())),
            // It was refused, and did nothing.
            Err(_) => State::Open,
        };
        loop {
            match self.write_state(keyed, state.clone(), Some(rev)).await {
                Ok(_) => return,
                Err(error @ StoreError::Unavailable { .. }) => self.wait_out(&error).await,
                Err(error) => {
                    return tracing::error!(%error, "the reply to a call with an idempotency key is not kept");
                }
            }
        }
    }

    async fn write_state(&self, keyed: &Keyed, state: State, expect: Option<Rev>) -> Result<Rev, StoreError> {
        let known = Known { format: FORMAT, digest: keyed.digest.clone(), state };
        let bytes = serde_json::to_vec(&known).map_err(|error| StoreError::Fatal(error.to_string()))?;
        let expires_at = Some(self.now().after(self.options().reply_ttl));
        let record = Record { bytes: bytes.into(), owner: keyed.owner, expires_at };
        self.store().write(keyed.key(), record, expect).await
    }

    fn running_calls(&self) -> std::sync::MutexGuard<'_, HashMap<u128, watch::Receiver<()>>> {
        self.keyed_calls().running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts the key of the header `Idempotency-Key` into the `_meta` of a call, where all of them are looked for. Other
/// messages have no use for one.
///
/// # Errors
/// What the sender is told, when it says two different things.
pub(crate) fn name(message: Message, key: Option<&str>) -> Result<Message, (RequestId, ErrorObject)> {
    let (Some(key), Message::Request(request)) = (key, &message) else { return Ok(message) };
    let mut request = request.clone();
    if Method::find(&request.method, Revision::LATEST) != Some(Method::ToolsCall) {
        return Ok(message);
    }
    let refuse = |why: &str| Err((request.id.clone(), ErrorObject::invalid_params(why)));
    let mut params: Map<String, Value> = match request.params.as_ref().map(Params::parse) {
        None => Map::new(),
        Some(Ok(params)) => params,
        // The call is answered with what is wrong with it.
        Some(Err(_)) => return Ok(message),
    };
    let Value::Object(meta) = params.entry("_meta").or_insert_with(|| Value::Object(Map::new())) else {
        return Ok(message);
    };
    match meta.insert(IDEMPOTENCY_KEY.to_owned(), Value::from(key)) {
        Some(known) if known != key => refuse("the header Idempotency-Key and its twin in \"_meta\" disagree"),
        _ => {
            request.params = Some(Params::from(Value::Object(params)));
            Ok(Message::Request(request))
        }
    }
}

fn lost(why: &str) -> ErrorObject {
    let why =
        format!("outcome unknown: a call with this idempotency key was made before; {why}, and it was not run again");
    ErrorObject::new(ErrorCode::InternalError, why)
}
