//! Changes of lists and resources on their way from the application to the clients that want to hear of them.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use andon_core::io::ListKind;

pub(crate) trait Listener: Send + Sync {
    fn list_changed(&self, kind: ListKind);
    fn resource_updated(&self, uri: &Arc<str>);
    /// `subject` is what listeners for the task are found by.
    fn task_changed(&self, subject: &Arc<str>, id: &Arc<str>, members: &Arc<str>);
}

/// Announces changes. Cheap to clone; announcing never waits and never fails.
#[derive(Clone, Default)]
pub struct Changes(Arc<Mutex<Vec<Weak<dyn Listener>>>>);

impl Changes {
    /// The list of tools changed.
    pub fn tools(&self) {
        self.list(ListKind::Tools);
    }

    /// The list of prompts changed.
    pub fn prompts(&self) {
        self.list(ListKind::Prompts);
    }

    /// The list of resources or templates changed.
    pub fn resources(&self) {
        self.list(ListKind::Resources);
    }

    /// The resource with this canonical URI changed.
    pub fn updated(&self, uri: &str) {
        let uri: Arc<str> = uri.into();
        for listener in self.listeners() {
            listener.resource_updated(&uri);
        }
    }

    /// The task `id` stands as `members` say, the text of an object.
    pub(crate) fn task(&self, subject: &Arc<str>, id: &str, members: &str) {
        let (id, members): (Arc<str>, Arc<str>) = (id.into(), members.into());
        for listener in self.listeners() {
            listener.task_changed(subject, &id, &members);
        }
    }

    pub(crate) fn subscribe(&self, listener: Weak<dyn Listener>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(listener);
    }

    fn list(&self, kind: ListKind) {
        for listener in self.listeners() {
            listener.list_changed(kind);
        }
    }

    fn listeners(&self) -> Vec<Arc<dyn Listener>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|listener| listener.strong_count() > 0);
        known.iter().filter_map(Weak::upgrade).collect()
    }
}
