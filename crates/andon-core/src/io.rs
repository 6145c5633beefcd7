//! Everything that can happen to a machine, and everything that it can want done.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use andon_types::client::InputRequest;
use andon_types::encoded::Encoded;
use andon_types::error::ErrorObject;
use andon_types::message::{Json, Message, Request};
use andon_types::meta::CacheHint;
use andon_types::meta::Level;
use andon_types::meta::Meta;
use andon_types::method::{Capability, Method};
use serde_json::Value;

use crate::event::EventId;
use crate::facts::Facts;
use crate::session::record::Life;
use crate::update::Update;

/// Milliseconds of a clock that never goes back; its origin is the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This moment and `duration` later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long it is since `earlier`; zero if it is later.
    #[must_use]
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A call in flight, numbered within its machine and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// A question of a handler to the client, numbered by the caller and unique within its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u64);

/// A place where messages to the client go, numbered within its machine and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

/// Which list of the server changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListKind {
    /// Tools.
    Tools,
    /// Prompts.
    Prompts,
    /// Resources and templates.
    Resources,
}

impl ListKind {
    /// All of them, in the order in which changes are announced.
    pub const ALL: [ListKind; 3] = [Self::Tools, Self::Prompts, Self::Resources];

    /// What a server has to offer for the list to be one.
    pub fn capability(self) -> Capability {
        match self {
            Self::Tools => Capability::Tools,
            Self::Prompts => Capability::Prompts,
            Self::Resources => Capability::Resources,
        }
    }

    /// The notification that announces a change.
    pub fn notification(self) -> &'static str {
        match self {
            Self::Tools => "notifications/tools/list_changed",
            Self::Prompts => "notifications/prompts/list_changed",
            Self::Resources => "notifications/resources/list_changed",
        }
    }
}

/// What a handler returns: the text of a result object in the shape of the call's revision, without `_meta`.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// The object's text; `{}` for an empty result.
    pub body: Text,
    /// The result's `_meta`.
    pub meta: Option<Meta>,
    /// For lists, reads and discovery: how long a client may keep it, if another than the default.
    pub cache: Option<CacheHint>,
    /// For `resources/subscribe` and `resources/unsubscribe`: the resource's canonical URI.
    pub subject: Option<Box<str>>,
    /// Which of the results it is that its request can have.
    pub kind: ReplyKind,
}

/// What `resultType` says of a reply (2026-07-28).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReplyKind {
    /// The request's own result.
    #[default]
    Complete,
    /// The task that the request became.
    Task,
}

impl ReplyKind {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Task => "task",
        }
    }
}

/// Text that is either this reply's own or shared by many replies.
#[derive(Debug, Clone)]
pub enum Text {
    /// Made for one reply.
    Owned(String),
    /// Encoded once, for instance a page of a list.
    Shared(Arc<str>),
    /// The same in all programs.
    Constant(&'static str),
}

impl Text {
    /// The text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Owned(text) => text,
            Self::Shared(text) => text,
            Self::Constant(text) => text,
        }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::Constant("{}")
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::Owned(text)
    }
}

impl From<Arc<str>> for Text {
    fn from(text: Arc<str>) -> Self {
        Self::Shared(text)
    }
}

/// All that can happen.
#[derive(Debug, Clone)]
pub enum Input {
    /// The peer sent a message; what answers it goes to `stream`.
    Message {
        /// An open stream of this machine.
        stream: StreamId,
        /// What was sent.
        message: Message,
    },
    /// The handler of `call` finished, or panicked. Ignored if the call is over already.
    Done {
        /// From [`Output::Call`].
        call: CallId,
        /// What it returned.
        outcome: Result<Reply, ErrorObject>,
    },
    /// The handler of `call` asks the client for something.
    Ask {
        /// From [`Output::Call`].
        call: CallId,
        /// New.
        ask: AskId,
        /// The question's name on the modern wire; unique within the call.
        key: Box<str>,
        /// The question.
        request: InputRequest,
        /// How long the answer may take; `None` is the limit's default.
        timeout: Option<Duration>,
    },
    /// The handler no longer waits for the answer.
    Abandon {
        /// From [`Input::Ask`].
        ask: AskId,
    },
    /// Modern only: the handler of the exchange waits for answers and for nothing else.
    Park,
    /// Modern only: the caller sealed what [`Output::Park`] asked for.
    Sealed {
        /// The opaque text that the client echoes; `None` if there is nothing to remember.
        request_state: Option<String>,
    },
    /// The handler reports progress.
    Progress {
        /// From [`Output::Call`].
        call: CallId,
        /// Has to increase.
        progress: f64,
        /// What `progress` will be at the end, if known.
        total: Option<f64>,
        /// For people.
        message: Option<String>,
    },
    /// The handler logs to the client.
    Log {
        /// From [`Output::Call`].
        call: CallId,
        /// How grave.
        level: Level,
        /// Which part of the server says so.
        logger: Option<Box<str>>,
        /// What it says.
        data: Json,
    },
    /// The handler needs more time, or less, from now.
    Extend {
        /// From [`Output::Call`].
        call: CallId,
        /// Bounded by the hard maximum since the call began.
        timeout: Duration,
    },
    /// The handler ends the connection of its stream, not the stream (2025-11-25, "Sending Messages to the Server").
    CloseConnection {
        /// From [`Output::Call`].
        call: CallId,
        /// How long the client should wait before it comes back, in milliseconds.
        retry_ms: u32,
    },
    /// A list of the server changed.
    Changed(ListKind),
    /// A resource changed.
    Updated(Update),
    /// The task `id` changed. Modern: said to who listens for it. Its creator's session hears by [`Input::Notify`].
    TaskChanged {
        /// Its id.
        id: Arc<str>,
        /// Its members, as `tasks/get` would tell them.
        members: Arc<str>,
    },
    /// Legacy only: a notification that belongs to no request in flight. Lost if nothing stands where it could be said.
    Notify {
        /// The notification's method.
        method: &'static str,
        /// The text of its parameters, an object.
        params: String,
        /// Of a log message: how grave it is. It is held against the session's threshold and rate.
        level: Option<Level>,
    },
    /// The connection behind `stream` is gone. Modern: cancels the request. Legacy: the request runs on.
    Detached {
        /// A stream of this machine.
        stream: StreamId,
    },
    /// How long the session is kept that nobody uses. Modern: nothing is kept.
    Keep(Life),
    /// Time has come to a deadline.
    Tick,
    /// The server ends this conversation: DELETE, expiry, shutdown.
    End,
}

/// A message on its way to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Names the frame within its session, on streams that can be resumed.
    pub id: Option<EventId>,
    /// The message's text; `None` in an event that only carries an id.
    pub text: Option<Encoded>,
    /// How long the client should wait before it comes back, in milliseconds.
    pub retry_ms: Option<u32>,
    /// Nothing follows on this stream.
    pub last: bool,
    /// The HTTP status if this frame is the whole answer.
    pub status: u16,
}

/// A handler to start.
#[derive(Debug, Clone)]
pub struct Call {
    /// Names the call in later inputs and outputs.
    pub id: CallId,
    /// What is called.
    pub method: Method,
    /// The request itself.
    pub request: Request,
    /// What the request and its session say about the client.
    pub facts: Arc<Facts>,
}

/// All that a machine can want.
#[derive(Debug, Clone)]
pub enum Output {
    /// Put `frame` at the place of `stream`; if there is none now, it is not lost (it was kept) or not promised.
    Send {
        /// An open stream.
        stream: StreamId,
        /// What to send.
        frame: Frame,
    },
    /// Nothing more comes on `stream`: let its connection go.
    Close {
        /// The stream.
        stream: StreamId,
    },
    /// Start the handler.
    Call(Call),
    /// Stop the handler; its outcome no longer matters.
    Cancel {
        /// From [`Output::Call`].
        call: CallId,
    },
    /// The answer to a question, exactly once per [`Input::Ask`] that was not abandoned.
    Answered {
        /// From [`Input::Ask`].
        ask: AskId,
        /// The result as the client gave it, unchecked.
        outcome: Result<Json, AskError>,
    },
    /// Modern only: seal what the handler knows and come back with [`Input::Sealed`].
    Park,
    /// This URI is now among the subscriptions, or no longer.
    Subscription {
        /// Canonical.
        uri: Arc<str>,
        /// Whether it is there.
        present: bool,
    },
    /// Session only: the client says that its roots changed.
    RootsChanged,
    /// Something from the peer was dropped, for the metrics: a late response, an unknown notification.
    Dropped(&'static str),
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq)]
pub enum AskError {
    /// The client did not declare the capability; this is what it would have to declare.
    NotDeclared(Value),
    /// No answer in time; the client was told that none is wanted any more.
    TimedOut,
    /// The call or the conversation ended.
    Cancelled,
    /// The client answered with an error.
    Refused(ErrorObject),
    /// The client answered with something that is no answer to this question.
    Invalid(String),
    /// Too many questions at once.
    TooMany,
}

impl From<AskError> for ErrorObject {
    fn from(error: AskError) -> Self {
        match error {
            AskError::NotDeclared(required) => ErrorObject::missing_capability(&required),
            AskError::TimedOut => ErrorObject::invalid_request("the client did not answer a question in time"),
            AskError::Cancelled => ErrorObject::invalid_request("the call was cancelled"),
            AskError::Refused(error) => {
                ErrorObject::invalid_request(format!("the client refused a question: {}", error.message))
            }
            AskError::Invalid(why) => ErrorObject::invalid_params(why),
            AskError::TooMany => ErrorObject::unavailable("too many questions to the client at once"),
        }
    }
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDeclared(required) => write!(f, "the client does not declare what the question needs: {required}"),
            Self::TimedOut => f.write_str("the client did not answer a question in time"),
            Self::Cancelled => f.write_str("the call was cancelled"),
            Self::Refused(error) => write!(f, "the client refused a question: {}", error.message),
            Self::Invalid(why) => write!(f, "no valid answer to a question: {why}"),
            Self::TooMany => f.write_str("too many questions to the client at once"),
        }
    }
}

impl std::error::Error for AskError {}
