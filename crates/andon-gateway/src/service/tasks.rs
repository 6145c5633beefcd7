//! Which calls become tasks. A task of a client is Andon's own, in its store, and its work is the call of the server: so
//! it has an id that nobody guesses, belongs to who asked for it, and is of the client's era, whatever the server's is.

use std::time::Duration;

use andon_client::Error;
use andon_server::call::Call;
use andon_server::tasks::wanted_ttl;
use andon_types::error::{ErrorCode, ErrorObject, clip};
use andon_types::raw_object::RawObject;
use andon_types::task::{TASKS_EXTENSION, TaskSupport, declares_tasks};
use serde_json::{Value, json};

use crate::instance::TaskWish;

/// Who says at a server whether the call of a tool becomes a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Tasking {
    /// It has none.
    #[default]
    Never,
    /// Its client, where the tool allows it (2025-11-25).
    Client(TaskSupport),
    /// The server, while the call runs (2026-07-28, extension).
    Server,
}

/// How a call is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// With its result.
    Call,
    /// With a task, kept for as long as the client asks for.
    Task(Option<Duration>),
    /// With a task, if its server answers with one.
    Late,
}

/// How the call of a tool is answered to the client, and whether its server is to make a task of it.
///
/// # Errors
/// What to answer to who cannot call it, or not so.
pub(super) fn way(call: &Call, tasking: Tasking, params: &mut RawObject) -> Result<(Way, TaskWish), ErrorObject> {
    let asked = params.take("task").and_then(|task| task.parse_owned::<Value>().ok());
    let name = || clip(&params.text("name").unwrap_or_default()).to_owned();
    let ttl = asked.as_ref().and_then(|task| task.get("ttl")?.as_u64()).map(Duration::from_millis);
    let rules = call.rules();
    if rules.tasks_extension {
        let declared = declares_tasks(call.client_capabilities().extensions.as_ref());
        return match tasking {
            Tasking::Client(TaskSupport::Required) if !declared => {
                Err(ErrorObject::missing_capability(&json!({ "extensions": { TASKS_EXTENSION: {} } })))
            }
            Tasking::Client(TaskSupport::Optional | TaskSupport::Required) if declared => {
                Ok((Way::Task(None), TaskWish::Yes(None)))
            }
            Tasking::Server if declared => Ok((Way::Late, TaskWish::Yes(None))),
            _ => Ok((Way::Call, TaskWish::No)),
        };
    }
    match (asked.filter(|_| rules.execution && call.session().is_some()), tasking) {
        (Some(_), Tasking::Never | Tasking::Client(TaskSupport::Forbidden)) => {
            let why = format!("`{}` does not run as a task: leave \"task\" out", name());
            Err(ErrorObject::new(ErrorCode::MethodNotFound, why))
        }
        (Some(task), _) => Ok((Way::Task(wanted_ttl(&task.to_string())?), TaskWish::Yes(ttl))),
        // Who could not know that it is a task waits for it.
        (None, Tasking::Server) => Ok((Way::Call, TaskWish::IfRefused)),
        // Where the client should have asked for a task, the server says so.
        (None, _) => Ok((Way::Call, TaskWish::No)),
    }
}

/// Whether a server refuses a call because it would become a task.
pub(super) fn wants_a_task(error: &Error) -> bool {
    let Error::Protocol(error) = error else { return false };
    let required = error.data.as_ref().and_then(|data| data.pointer("/requiredCapabilities/extensions"));
    error.code == ErrorCode::MissingCapability as i32
        && required.is_some_and(|known| known.get(TASKS_EXTENSION).is_some())
}
