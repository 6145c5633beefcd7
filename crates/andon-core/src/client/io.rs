//! What can happen to a client's conversation, and what it can want done.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use andon_types::client::InputRequest;
use andon_types::error::ErrorObject;
use andon_types::message::{Json, Message, Notification};
use andon_types::raw_object::RawObject;
use serde_json::Value;

/// A request of the program, numbered within its dialogue and never reused. Its rounds on the wire have ids of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// A question of the server to this client, numbered within its dialogue and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuestionId(pub u64);

/// What a server said that asks in rounds (2026-07-28, "Multi Round-Trip Requests"). Whoever has the answers to all that it asked
/// can go on with the call, over any connection: the same parameters, with the answers in `inputResponses`.
#[derive(Debug, Clone)]
pub struct Round {
    /// What goes back beside the answers, as `requestState`.
    pub request_state: Option<Json>,
    /// How many questions it asked.
    pub questions: usize,
}

/// How long a call may take. Time that a question of the server to a person takes does not count, except towards `max`: for
/// the call that it belongs to, or where that is not said for all that there were when it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Since the call began or last reported progress.
    pub timeout: Duration,
    /// In all, whatever it reports.
    pub max: Duration,
}

impl Timing {
    /// For streams that stay open: no bounds.
    pub const UNBOUNDED: Timing = Timing { timeout: Duration::MAX, max: Duration::MAX };
}

/// A request that the program makes.
#[derive(Debug, Clone)]
pub struct Newcall {
    /// What it calls.
    pub method: Box<str>,
    /// Its parameters; what the revision wants in `_meta` is added.
    pub params: Arc<RawObject>,
    /// What else `_meta` says, in place of what the parameters have of the same names.
    pub meta: Option<Arc<RawObject>>,
    /// How long it may take.
    pub timing: Timing,
    /// Whether somebody listens to its progress.
    pub wants_progress: bool,
    /// Arguments mirrored in headers: suffix and value (2026-07-28).
    pub mirrored: Vec<(String, String)>,
    /// It may be answered with a task, and says so (2026-07-28, tasks extension).
    pub takes_tasks: bool,
    /// What the server is told that this client can do, if less than all (2026-07-28): an object.
    pub capabilities: Option<Json>,
}

/// All that can happen.
#[derive(Debug, Clone)]
pub enum Input {
    /// The peer said something.
    Message(Message),
    /// The peer said something on the stream that answers one round, so it belongs to that round's call (Streamable
    /// HTTP, "Sending Messages to the Server").
    Related {
        /// The id of the round, from [`Output::Send`].
        wire_id: i64,
        /// What it said.
        message: Message,
    },
    /// The server refused a round of `call` with an HTTP status and this error.
    Refused {
        /// From [`Output::Send`].
        call: CallId,
        /// The status, which is no success.
        status: u16,
        /// What the body says.
        error: ErrorObject,
    },
    /// The answer to a round of `call` will not come.
    Failed {
        /// From [`Output::Send`].
        call: CallId,
        /// Why.
        loss: Loss,
    },
    /// The server sent something that cannot be read, and that was going to be an answer as far as that can be told.
    Unreadable {
        /// The request that it answers, if that can be told.
        wire_id: Option<i64>,
        /// What was wrong with it.
        loss: Loss,
    },
    /// The program no longer waits for `call`.
    Abandon {
        /// The call.
        call: CallId,
    },
    /// A handler of the program answers a question.
    Reply {
        /// From [`Output::Asked`].
        question: QuestionId,
        /// Its result, an object, or why there is none.
        outcome: Result<Value, ErrorObject>,
    },
    /// The connection is gone, and with it all that was in flight.
    Closed {
        /// Why.
        loss: Loss,
    },
    /// Time has come to a deadline.
    Tick,
}

/// All that a dialogue can want.
#[derive(Debug, Clone)]
pub enum Output {
    /// Send one round of a call.
    Send {
        /// The call.
        call: CallId,
        /// The id on the wire, which the answer will carry.
        wire_id: i64,
        /// What it calls.
        method: Box<str>,
        /// The value of `Mcp-Name`, where there is one.
        name: Option<String>,
        /// Headers `Mcp-Param-*`: suffix and value.
        mirrored: Vec<(String, String)>,
        /// The message.
        text: String,
    },
    /// Send a notification or a response.
    Say {
        /// The message.
        text: String,
    },
    /// Nobody wants the answer of this round any more: where each request has a connection of its own, close it.
    Cancel {
        /// The call.
        call: CallId,
        /// The notification that tells the server, where closing the connection does not.
        text: Option<String>,
    },
    /// The outcome of a call, exactly once unless it was abandoned.
    Answered {
        /// The call.
        call: CallId,
        /// The result as it came, or why there is none.
        outcome: Result<Json, CallError>,
    },
    /// A call reports.
    Progress {
        /// The call.
        call: CallId,
        /// What it reports.
        report: Report,
    },
    /// The server has acknowledged `subscriptions/listen`.
    Acknowledged {
        /// The call.
        call: CallId,
    },
    /// The server asks for input.
    Asked {
        /// To be answered by [`Input::Reply`].
        question: QuestionId,
        /// What it asks.
        request: InputRequest,
        /// On behalf of which call, where the server says so.
        call: Option<CallId>,
        /// Its name within its call, and the round that it is of (2026-07-28).
        round: Option<(String, Round)>,
    },
    /// The server no longer wants the answer.
    Withdrawn {
        /// From [`Output::Asked`].
        question: QuestionId,
    },
    /// The server tells of something.
    Heard(Notification),
    /// The server logs on the stream of a call.
    Logged {
        /// The call.
        call: CallId,
        /// The notification.
        notification: Notification,
    },
    /// Something from the peer was dropped, for the log.
    Dropped(&'static str),
}

/// Progress of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Increases.
    pub progress: f64,
    /// What it will be at the end, if known.
    pub total: Option<f64>,
    /// For people.
    pub message: Option<String>,
}

/// Why the transport has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// The server does not know the session (any more); the request was not run.
    SessionGone,
    /// The server cannot be reached; the request was not run.
    Unreachable(String),
    /// The connection ended; whether the request was run is unknown.
    Disconnected(String),
    /// An answer that is none: a status, a content type, garbage.
    Refused {
        /// The HTTP status, if there is one.
        status: Option<u16>,
        /// What happened.
        why: String,
    },
    /// No credentials, or none that suffice.
    Unauthorized(String),
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SessionGone => f.write_str("the server does not know the session any more"),
            Self::Unreachable(why) => write!(f, "the server cannot be reached: {why}"),
            Self::Disconnected(why) => write!(f, "the connection ended: {why}"),
            Self::Refused { status: Some(status), why } => write!(f, "the server answered with HTTP {status}: {why}"),
            Self::Refused { status: None, why } => f.write_str(why),
            Self::Unauthorized(why) => write!(f, "not authorized: {why}"),
        }
    }
}

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq)]
pub enum CallError {
    /// The server answered with an error.
    Protocol {
        /// What it says.
        error: ErrorObject,
        /// The HTTP status, where it is no success.
        status: Option<u16>,
    },
    /// No answer in time; the server was told that none is wanted any more.
    TimedOut,
    /// The transport failed.
    Lost(Loss),
    /// The server asks without end.
    TooManyRounds,
    /// The server answered with something that this revision does not have.
    Invalid(String),
    /// The server asked for something that this client did not declare, or a handler of this client failed.
    Unanswerable(ErrorObject),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol { error, .. } => error.fmt(f),
            Self::TimedOut => f.write_str("no answer in time; the call was cancelled"),
            Self::Lost(loss) => loss.fmt(f),
            Self::TooManyRounds => f.write_str("the server never stops asking for input"),
            Self::Invalid(why) => write!(f, "the server's answer is not valid: {why}"),
            Self::Unanswerable(error) => write!(f, "a question of the server has no answer: {error}"),
        }
    }
}

impl std::error::Error for CallError {}
