//! Names requests in logs: every line that a request causes is in a span with the same `request`. Costs nothing, and no
//! allocation, while no subscriber is interested.

use std::fmt;

use andon_core::io::CallId;
use tracing::level_filters::LevelFilter;
use tracing::{Span, debug_span, info_span};

use crate::seal::random;

/// The target of these spans: filters that name other targets have to let it through.
pub const REQUEST_TARGET: &str = "andon::request";
const NAME: &str = "request";

/// The span of a request that its transport calls `id`, which must be safe to log. Messages that the host is given within
/// it are named by it. At level debug, since a span for every request costs more than most handlers do.
pub fn request_span(id: impl fmt::Display) -> Span {
    debug_span!(target: REQUEST_TARGET, NAME, request = %id)
}

/// The span of a request whose sender has named it, and so wants to find it again: at level info.
pub fn named_request_span(id: impl fmt::Display) -> Span {
    info_span!(target: REQUEST_TARGET, NAME, request = %id)
}

/// A number that differs between processes, to count ids of requests from.
pub fn random_origin() -> u64 {
    u64::from_be_bytes(random())
}

/// The span of a call: that of the transport if there is one, and otherwise one named by the conversation's number and
/// the call's. None if nobody wants the latter: then whatever is current stays so.
pub(crate) fn call_span(conversation: u64, call: CallId) -> Span {
    if LevelFilter::current() < LevelFilter::DEBUG {
        return Span::none();
    }
    let current = Span::current();
    let is_ours = current.metadata().is_some_and(|known| known.name() == NAME && known.target() == REQUEST_TARGET);
    if is_ours { current } else { request_span(format_args!("{conversation}-{}", call.0)) }
}
