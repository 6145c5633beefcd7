//! `subscriptions/listen`: an acknowledgement first, then changes, each tagged with the request's id.

use std::collections::BTreeSet;
use std::sync::Arc;

use andon_types::message::{RequestId, encode_notification};
use andon_types::meta::SUBSCRIPTION_ID;
use serde::Deserialize;
use serde_json::json;

use super::Exchange;
use crate::io::{ListKind, Output, Reply, Timestamp};
use crate::limits::Limits;
use crate::session::{Due, Notices};
use crate::update::{self, Update};

/// What is listened to: the part of the client's wish that the server honours.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Filter {
    tools_list_changed: bool,
    prompts_list_changed: bool,
    resources_list_changed: bool,
    resource_subscriptions: BTreeSet<Arc<str>>,
    task_ids: BTreeSet<Arc<str>>,
}

impl Filter {
    /// What changes are found by: URIs, and tasks by what is none.
    fn subjects(&self) -> impl Iterator<Item = Arc<str>> {
        let tasks = self.task_ids.iter().map(|id| task_subject(id));
        self.resource_subscriptions.iter().cloned().chain(tasks)
    }
}

/// What no URI begins with.
const TASK: &str = "task ";

/// What a listener for the task `id` is found by, among those for resources. No URI has a space.
pub fn task_subject(id: &str) -> Arc<str> {
    format!("{TASK}{id}").into()
}

/// Whether `subject` is what listeners for a task are found by.
pub fn is_task_subject(subject: &str) -> bool {
    subject.starts_with(TASK)
}

#[derive(Debug)]
pub(super) struct Listening {
    filter: Filter,
    notices: Notices,
}

impl Listening {
    pub(super) fn deadline(&self, limits: &Limits) -> Option<Timestamp> {
        self.notices.deadline(limits)
    }
}

impl Exchange {
    /// The URIs that this exchange wants to hear of.
    pub fn subscriptions(&self) -> impl Iterator<Item = &Arc<str>> {
        self.listening.iter().flat_map(|listening| listening.filter.resource_subscriptions.iter())
    }

    /// Begins to listen with the filter that the application honours, and says so before anything else.
    pub(super) fn listen(&mut self, now: Timestamp, honoured: &Reply, out: &mut Vec<Output>) {
        let body = honoured.body.as_str();
        let filter: Filter = serde_json::from_str(body).unwrap_or_default();
        let mut notices = Notices::default();
        notices.set_heard(true);
        let params = format!(r#"{{"_meta":{},"notifications":{body}}}"#, tag(self.id()));
        // Before it is acknowledged, so that no change falls between.
        out.extend(filter.subjects().map(|uri| Output::Subscription { uri, present: true }));
        self.send(encode_notification("notifications/subscriptions/acknowledged", Some(&params)), 200, false, out);
        self.listening = Some(Box::new(Listening { filter, notices }));
        self.flush(now, out);
    }

    pub(super) fn changed(&mut self, now: Timestamp, kind: ListKind, out: &mut Vec<Output>) {
        let Some(listening) = &mut self.listening else { return };
        let wanted = match kind {
            ListKind::Tools => listening.filter.tools_list_changed,
            ListKind::Prompts => listening.filter.prompts_list_changed,
            ListKind::Resources => listening.filter.resources_list_changed,
        };
        if wanted {
            listening.notices.mark_list(kind);
            self.flush(now, out);
        }
    }

    pub(super) fn updated(&mut self, now: Timestamp, update: &Update, out: &mut Vec<Output>) {
        let Some(listening) = &mut self.listening else { return };
        if listening.filter.resource_subscriptions.contains(update.uri()) {
            listening.notices.mark_update(update);
            self.flush(now, out);
        }
    }

    pub(super) fn unsubscribe(&mut self, out: &mut Vec<Output>) {
        let subjects = self.listening.take().into_iter().flat_map(|listening| {
            let subjects: Vec<_> = listening.filter.subjects().collect();
            subjects
        });
        out.extend(subjects.map(|uri| Output::Subscription { uri, present: false }));
    }

    /// Says where a task stands, if it is one of those that are listened for (tasks extension, "Task Status
    /// Notifications").
    pub(super) fn task_changed(&mut self, id: &str, members: &str, out: &mut Vec<Output>) {
        if self.listening.as_ref().is_some_and(|listening| listening.filter.task_ids.contains(id)) {
            let params = format!(r#"{{"_meta":{},{}}}"#, tag(&self.id), &members[1..members.len() - 1]);
            self.send(encode_notification("notifications/tasks", Some(&params)), 200, false, out);
        }
    }

    pub(super) fn flush(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let interval = self.limits.change_interval;
        let Some(listening) = &mut self.listening else { return };
        for due in listening.notices.take_due(now, interval) {
            let (method, uri) = match due {
                Due::List(kind) => (kind.notification(), String::new()),
                Due::Update(update) => (update::METHOD, format!(r#","uri":{}"#, json!(update.uri()))),
            };
            let params = format!(r#"{{"_meta":{}{uri}}}"#, tag(&self.id));
            self.send(encode_notification(method, Some(&params)), 200, false, out);
        }
    }

    /// The server ends the conversation: a listener is told by a result, a caller by silence.
    pub(super) fn end(&mut self, out: &mut Vec<Output>) {
        if self.listening.is_none() {
            return self.cancel(out);
        }
        self.over = true;
        self.unsubscribe(out);
        let meta = [(SUBSCRIPTION_ID.to_owned(), json!(self.id))].into_iter().collect();
        let reply = Reply { meta: Some(meta), ..Reply::default() };
        self.send(self.offer.modern_response(&self.id, &reply, "complete", false), 200, true, out);
    }
}

fn tag(id: &RequestId) -> String {
    json!({ SUBSCRIPTION_ID: id }).to_string()
}
