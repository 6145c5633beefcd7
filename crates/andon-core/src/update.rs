//! A resource that changed, as it is told to all who subscribed to it.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::{Arc, OnceLock};

use andon_types::encoded::Encoded;
use andon_types::message::encode_notification;
use serde_json::json;

/// The notification for a resource that changed. Sessions say the same of it, word for word: it is written once, however many say
/// it and keep it. Cheap to clone. Equal are those of the same resource.
#[derive(Clone)]
pub struct Update(Arc<Inner>);

struct Inner {
    uri: Arc<str>,
    text: OnceLock<Encoded>,
}

/// What says that a resource changed.
pub(crate) const METHOD: &str = "notifications/resources/updated";

impl Update {
    /// The resource's canonical URI.
    pub fn uri(&self) -> &str {
        &self.0.uri
    }

    /// What sessions say.
    pub(crate) fn text(&self) -> Encoded {
        let write = || encode_notification(METHOD, Some(&json!({ "uri": self.uri() }).to_string())).into();
        self.0.text.get_or_init(write).clone()
    }
}

impl From<Arc<str>> for Update {
    fn from(uri: Arc<str>) -> Self {
        Self(Arc::new(Inner { uri, text: OnceLock::new() }))
    }
}

impl From<&str> for Update {
    fn from(uri: &str) -> Self {
        Arc::<str>::from(uri).into()
    }
}

impl Borrow<str> for Update {
    fn borrow(&self) -> &str {
        self.uri()
    }
}

impl PartialEq for Update {
    fn eq(&self, other: &Self) -> bool {
        self.uri() == other.uri()
    }
}

impl Eq for Update {}

impl PartialOrd for Update {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Update {
    fn cmp(&self, other: &Self) -> Ordering {
        self.uri().cmp(other.uri())
    }
}

impl fmt::Debug for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Update").field(&self.uri()).finish()
    }
}
