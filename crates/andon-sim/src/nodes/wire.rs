//! What goes over the network: one request and its answer per connection, in order, as far as the connection lasts.

use andon_core::io::Frame;
use andon_types::encoded::Encoded;

/// Names a connection.
pub(super) type Wire = u64;

/// What a client sends.
#[derive(Debug, Clone)]
pub(super) enum Request {
    /// `initialize`, without a session.
    Initialize(String),
    /// A message that is answered with 202.
    Notify(String),
    /// A request.
    Post(String),
    /// A standing stream, or what came after an event.
    Get(Option<String>),
    /// The end of the session.
    Delete,
}

/// What a node answers with.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reply {
    /// An HTTP status that promises nothing.
    Refused(u16),
    /// 202.
    Accepted,
    /// 204.
    Deleted,
    /// The whole answer.
    Json {
        status: u16,
        text: Encoded,
        /// The session that was opened.
        session: Option<u128>,
    },
    /// 200, and events follow.
    Opens,
    /// An event.
    Frame(Frame),
    /// The answer is over.
    End,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: usize,
    pub(super) node: usize,
    pub(super) incarnation: u32,
    /// The session that the request named.
    pub(super) key: u128,
    pub(super) is_cut: bool,
    /// When the last of what was sent arrives.
    pub(super) last_at: u64,
}
