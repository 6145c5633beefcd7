//! Which calls become tasks.

use std::time::Duration;

use andon_types::error::{ErrorCode, ErrorObject, clip};
use andon_types::task::{TASKS_EXTENSION, TaskSupport, declares_tasks};
use serde_json::json;

use super::Router;
use crate::call::Call;
use crate::item::ToolItem;
use crate::service::Service as _;
use crate::tasks::wanted_ttl;

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

impl Router {
    /// How `item` is called: as the client asks for (2025-11-25), or as it can be answered (2026-07-28).
    ///
    /// # Errors
    /// What to answer to who cannot call it, or not so.
    pub(super) fn way(&self, item: &ToolItem, call: &Call, task: Option<&str>) -> Result<Way, ErrorObject> {
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
        // Who does not declare tasks ignores what is said of them, and so do older revisions. Without a session none are declared.
        let declares = || call.session().is_some() && self.capabilities().tasks.is_some();
        let task = task.filter(|_| rules.execution && declares());
        match (task, support) {
            (Some(_), TaskSupport::Forbidden) => refuse("does not run as a task: leave \"task\" out"),
            (None, TaskSupport::Required) => refuse("runs only as a task: send \"task\" (2025-11-25 or later)"),
            (None, _) => Ok(Way::Call),
            (Some(task), _) => wanted_ttl(task).map(Way::Task),
        }
    }
}
