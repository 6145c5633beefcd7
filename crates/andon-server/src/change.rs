//! Changes of lists and resources on their way from the application to the clients that want to hear of them.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use andon_core::io::ListKind;

/// Who hears of a change, among those who want to hear of it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Audience {
    /// All of them.
    All,
    /// The session that its calls name by this [`Call::session_key`](crate::call::Call::session_key).
    Session(u128),
    /// The sessions and requests of this subject; `None` is nobody in particular.
    Principal(Option<Arc<str>>),
    /// The requests of this subject that stand alone, without a session.
    Alone(Option<Arc<str>>),
}

/// Somebody who may want to hear of changes: a session, or a request that listens.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Subscriber {
    /// What calls of the session name it by; `None` for a request that stands alone.
    pub session: Option<u128>,
    /// Whose it is; `None` is nobody in particular.
    pub subject: Option<Arc<str>>,
}

impl Audience {
    /// Whether `who` belongs to it.
    pub fn has(&self, who: &Subscriber) -> bool {
        match self {
            Self::All => true,
            Self::Session(key) => who.session == Some(*key),
            Self::Principal(subject) => who.subject == *subject,
            Self::Alone(subject) => who.session.is_none() && who.subject == *subject,
        }
    }
}

pub(crate) trait Listener: Send + Sync {
    fn list_changed(&self, kind: ListKind, audience: &Audience);
    fn resource_updated(&self, uri: &Arc<str>, audience: &Audience);
    /// `subject` is what listeners for the task are found by.
    fn task_changed(&self, subject: &Arc<str>, id: &Arc<str>, members: &Arc<str>);
}

/// Announces changes. Cheap to clone; announcing never waits and never fails.
#[derive(Clone)]
pub struct Changes {
    listeners: Arc<Mutex<Vec<Weak<dyn Listener>>>>,
    audience: Audience,
}

impl Default for Changes {
    fn default() -> Self {
        Self { listeners: Arc::default(), audience: Audience::All }
    }
}

impl Changes {
    /// The same, of which only `audience` hears.
    #[must_use]
    pub fn to(&self, audience: Audience) -> Self {
        Self { listeners: self.listeners.clone(), audience }
    }

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
            listener.resource_updated(&uri, &self.audience);
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
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(listener);
    }

    fn list(&self, kind: ListKind) {
        for listener in self.listeners() {
            listener.list_changed(kind, &self.audience);
        }
    }

    fn listeners(&self) -> Vec<Arc<dyn Listener>> {
        let mut known = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|listener| listener.strong_count() > 0);
        known.iter().filter_map(Weak::upgrade).collect()
    }
}
