//! Why there is no connection or no result.

use std::fmt;

use andon_core::client::{CallError, Loss, OpenFailure};
use andon_types::error::ErrorObject;

/// Why there is no connection or no result.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The target is none: a URL that cannot be read, a command line without a program.
    Target(String),
    /// The server was not understood.
    Open(OpenFailure),
    /// The server cannot be reached, or the connection ended.
    Transport(Loss),
    /// No credentials, or none that suffice.
    Unauthorized(String),
    /// The server answered with an error.
    Protocol(ErrorObject),
    /// The tool failed: what it tells the model.
    Tool(String),
    /// No answer in time; the server was told that none is wanted any more.
    TimedOut,
    /// The server's answer is not what the protocol or the tool's schema says.
    Invalid(String),
    /// A question of the server was not answered, so the call cannot go on.
    Unanswerable(ErrorObject),
    /// What was asked for is not what the server declares.
    NotOffered(String),
    /// The arguments are not what the tool's schema says, or cannot be JSON.
    Arguments(String),
    /// The task was cancelled before it came to anything.
    Cancelled,
    /// The client was closed.
    Closed,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target(why) => f.write_str(why),
            Self::Open(failure) => failure.fmt(f),
            Self::Transport(loss) => loss.fmt(f),
            Self::Unauthorized(why) => write!(f, "not authorized: {why}"),
            Self::Protocol(error) => write!(f, "the server answered with an error: {error}"),
            Self::Tool(text) => write!(f, "the tool failed: {text}"),
            Self::TimedOut => f.write_str("no answer in time; the call was cancelled"),
            Self::Invalid(why) => write!(f, "the server's answer is not valid: {why}"),
            Self::Unanswerable(error) => write!(f, "a question of the server has no answer: {}", error.message),
            Self::NotOffered(why) => f.write_str(why),
            Self::Arguments(why) => write!(f, "bad arguments: {why}"),
            Self::Cancelled => f.write_str("the task was cancelled"),
            Self::Closed => f.write_str("the client was closed"),
        }
    }
}

impl std::error::Error for Error {}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Protocol { error, .. } => Self::Protocol(error),
            CallError::TimedOut => Self::TimedOut,
            CallError::Lost(Loss::Unauthorized(why)) => Self::Unauthorized(why),
            CallError::Lost(loss) => Self::Transport(loss),
            CallError::TooManyRounds => Self::Invalid("the server never stops asking for input".to_owned()),
            CallError::Invalid(why) => Self::Invalid(why),
            CallError::Unanswerable(error) => Self::Unanswerable(error),
        }
    }
}

impl From<OpenFailure> for Error {
    fn from(failure: OpenFailure) -> Self {
        Self::Open(failure)
    }
}
