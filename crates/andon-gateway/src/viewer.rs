//! Who looks at what the servers have. What a process of one's own lists is for nobody else.

use std::sync::Arc;

use andon_server::call::Call;
use andon_server::change::Subscriber;

/// A client of an endpoint, as far as it matters for which conversations are its own.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Viewer {
    /// The endpoint, and the key of the session; `None` for requests that stand alone.
    pub(crate) session: Option<(u64, u128)>,
    /// Whose it is; `None` is nobody in particular.
    pub(crate) subject: Option<Arc<str>>,
}

impl Viewer {
    /// Who calls at the endpoint with this number.
    pub(crate) fn calling(endpoint: u64, call: &Call) -> Self {
        let session = call.session_key().map(|key| (endpoint, key));
        Self { session, ..Self::alone(call.principal().subject()) }
    }

    /// Who is subscribed to something there.
    pub(crate) fn subscribed(endpoint: u64, who: &Subscriber) -> Self {
        Self { session: who.session.map(|key| (endpoint, key)), subject: who.subject.clone() }
    }

    /// A request of this subject that stands alone.
    pub(crate) fn alone(subject: Option<&str>) -> Self {
        Self { session: None, subject: subject.map(Arc::from) }
    }
}
