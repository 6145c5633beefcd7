//! Which era and revision does the server speak? Tries the newest first and falls back on evidence.

use andon_types::capability::ServerCapabilities;
use andon_types::error::{ErrorCode, ErrorObject, clip};
use andon_types::message::Json;
use andon_types::meta::{Implementation, SERVER_INFO};
use andon_types::revision::{Era, Revision};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::fmt;

/// How the server is reached, which decides what an error means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Road {
    /// Streamable HTTP, with the two endpoints of 2024-11-05 as a last resort.
    Http,
    /// One pipe: a child process, a socket, memory.
    Pipe,
}

/// What to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// `server/discover` at this revision.
    Discover(Revision),
    /// `initialize`, proposing this revision.
    Initialize(Revision),
    /// The same over the two endpoints of 2024-11-05.
    TwoEndpoints(Revision),
}

impl Attempt {
    /// The revision that it proposes.
    pub fn revision(self) -> Revision {
        match self {
            Self::Discover(revision) | Self::Initialize(revision) | Self::TwoEndpoints(revision) => revision,
        }
    }
}

/// What came of it.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// A result.
    Result(Json),
    /// A JSON-RPC error, with the HTTP status that it came with.
    Error {
        /// The error.
        error: ErrorObject,
        /// The status, over HTTP.
        status: Option<u16>,
    },
    /// An HTTP status without a JSON-RPC message.
    Status(u16, String),
    /// No answer in time.
    Silence,
    /// The peer hung up.
    Closed(String),
}

/// What to do now.
#[derive(Debug)]
pub enum Next {
    /// Try this.
    Try(Attempt),
    /// The server is understood.
    Open(Box<Opened>),
    /// There is no common ground.
    Fail(OpenFailure),
}

/// What the server says of itself.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The revision that both speak.
    pub revision: Revision,
    /// Whether the two endpoints of 2024-11-05 are used.
    pub two_endpoints: bool,
    /// What it can do; `None` if it did not say.
    pub capabilities: Option<ServerCapabilities>,
    /// Its name and version, as it says.
    pub server_info: Option<Implementation>,
    /// How to use it, for the model.
    pub instructions: Option<String>,
}

/// Why there is no conversation.
#[derive(Debug, Clone, PartialEq)]
pub enum OpenFailure {
    /// The server speaks none of our revisions.
    NoCommonRevision(String),
    /// The server refused.
    Refused(ErrorObject),
    /// The server answered with this status and no message.
    Status(u16, String),
    /// No answer in time.
    Silent,
    /// The server hung up.
    Closed(String),
    /// The server's answer is none.
    Invalid(String),
}

impl fmt::Display for OpenFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCommonRevision(theirs) => {
                let ours = Revision::ALL.map(Revision::as_str).join(", ");
                write!(f, "no common protocol revision: the server speaks {theirs}; this client speaks {ours}")
            }
            Self::Refused(error) => write!(f, "the server refused: {error}"),
            Self::Status(status, why) => write!(f, "the server answered with HTTP {status}: {why}"),
            Self::Silent => f.write_str("the server did not answer in time"),
            Self::Closed(why) => write!(f, "the server hung up: {why}"),
            Self::Invalid(why) => write!(f, "the server's answer is not valid: {why}"),
        }
    }
}

impl std::error::Error for OpenFailure {}

/// The search for common ground.
#[derive(Debug)]
pub struct Opening {
    road: Road,
    pinned: Option<Revision>,
    attempt: Attempt,
    /// Attempts so far, which are bounded whatever the server says.
    attempts: u8,
    /// The server answered `server/discover` with "method not found", as a modern one without it would.
    lacks_discover: bool,
    /// The server answered nothing to `server/discover`, as one that is slow to start would.
    was_silent: bool,
    has_discovered: bool,
    /// What the endpoint said, while the transport of 2024-11-05 is tried for want of a better one.
    refusal: Option<OpenFailure>,
}

/// Whatever a server says, the search ends.
const ATTEMPTS_MAX: u8 = 6;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Initialized {
    protocol_version: String,
    #[serde(default)]
    capabilities: ServerCapabilities,
    server_info: Option<Implementation>,
    instructions: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Discovered {
    supported_versions: Vec<String>,
    #[serde(default)]
    capabilities: ServerCapabilities,
    instructions: Option<String>,
    #[serde(rename = "_meta", default)]
    meta: Map<String, Value>,
}

impl Opening {
    /// The first attempt. `pinned` allows no other revision; `known` is what an earlier search found, or what is to be
    /// tried first.
    pub fn new(road: Road, pinned: Option<Revision>, known: Option<Era>) -> (Self, Attempt) {
        let attempt = match (pinned, known) {
            (Some(revision), _) if revision.era() == Era::Modern => Attempt::Discover(revision),
            (Some(revision), _) => Attempt::Initialize(revision),
            (None, Some(Era::Legacy)) => Attempt::Initialize(Revision::LATEST_LEGACY),
            (None, _) => Attempt::Discover(Revision::LATEST),
        };
        (
            Self {
                road,
                pinned,
                attempt,
                attempts: 1,
                lacks_discover: false,
                was_silent: false,
                has_discovered: false,
                refusal: None,
            },
            attempt,
        )
    }

    /// What to do after the attempt came to `outcome`.
    pub fn handle(&mut self, outcome: Outcome) -> Next {
        match self.attempt {
            Attempt::Discover(revision) => self.discovered(revision, outcome),
            Attempt::Initialize(_) => self.initialized(outcome, false),
            Attempt::TwoEndpoints(_) => self.initialized(outcome, true),
        }
    }

    fn discovered(&mut self, revision: Revision, outcome: Outcome) -> Next {
        self.was_silent = matches!(outcome, Outcome::Silence) && !self.has_discovered;
        self.has_discovered = true;
        match outcome {
            Outcome::Result(result) => match result.parse_owned::<Discovered>() {
                Ok(discovered) => self.choose(discovered),
                Err(error) => Next::Fail(OpenFailure::Invalid(format!("bad result of server/discover: {error}"))),
            },
            Outcome::Error { error, .. } if error.code == ErrorCode::UnsupportedVersion as i32 => self.pick(&error),
            // An error that only a modern server knows: it is one, and the error is about something else.
            Outcome::Error { error, .. } if is_modern(&error) => Next::Fail(OpenFailure::Refused(error)),
            Outcome::Error { error, .. } if error.code == ErrorCode::MethodNotFound as i32 => {
                self.lacks_discover = true;
                if self.pinned.is_some() { Next::Open(Box::new(Opened::silent(revision))) } else { self.fall_back() }
            }
            Outcome::Status(status, why) if status >= 500 => Next::Fail(OpenFailure::Status(status, why)),
            other if self.pinned.is_some() => Next::Fail(other.failure()),
            _ => self.fall_back(),
        }
    }

    fn choose(&mut self, discovered: Discovered) -> Next {
        let known = discovered.supported_versions.iter().filter_map(|date| Revision::parse(date));
        let allowed = known.filter(|revision| self.pinned.is_none_or(|pinned| pinned == *revision));
        match allowed.max() {
            Some(revision) if revision.era() == Era::Modern => Next::Open(Box::new(Opened {
                revision,
                two_endpoints: false,
                capabilities: Some(discovered.capabilities),
                server_info: discovered.meta.get(SERVER_INFO).and_then(|info| Implementation::deserialize(info).ok()),
                instructions: discovered.instructions,
            })),
            _ => self.best_of(&discovered.supported_versions),
        }
    }

    /// The error lists what the server speaks.
    fn pick(&mut self, error: &ErrorObject) -> Next {
        let listed = error.data.as_ref().and_then(|data| data.get("supported")).and_then(Value::as_array);
        let listed: Vec<String> = listed.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        self.best_of(&listed)
    }

    /// The best of what the server lists; the same revision once more, if it lists that.
    fn best_of(&mut self, listed: &[String]) -> Next {
        let known = listed.iter().filter_map(|date| Revision::parse(date));
        let allowed = known.filter(|revision| self.pinned.is_none_or(|pinned| pinned == *revision));
        match allowed.max() {
            Some(revision) if revision.era() == Era::Modern => self.attempt(Attempt::Discover(revision)),
            Some(revision) => self.attempt(Attempt::Initialize(revision)),
            None => Next::Fail(OpenFailure::NoCommonRevision(clip(&listed.join(", ")).to_owned())),
        }
    }

    fn fall_back(&mut self) -> Next {
        self.attempt(Attempt::Initialize(Revision::LATEST_LEGACY))
    }

    fn attempt(&mut self, attempt: Attempt) -> Next {
        self.attempts += 1;
        if self.attempts > ATTEMPTS_MAX {
            let why = "the server contradicts itself about the revisions that it speaks";
            return Next::Fail(OpenFailure::Invalid(why.to_owned()));
        }
        self.attempt = attempt;
        Next::Try(attempt)
    }

    fn initialized(&mut self, outcome: Outcome, two_endpoints: bool) -> Next {
        match outcome {
            Outcome::Result(result) => self.agreed(&result, two_endpoints),
            Outcome::Error { error, .. } if error.code == ErrorCode::UnsupportedVersion as i32 => self.pick(&error),
            Outcome::Error { error, status } => {
                let unknown = error.code == ErrorCode::MethodNotFound as i32;
                if unknown && self.lacks_discover && self.pinned.is_none() {
                    return Next::Open(Box::new(Opened::silent(Revision::LATEST)));
                }
                // A server that has no handshake may say so in any words, where there is no status to say it.
                let is_first = !self.has_discovered && (unknown || self.road == Road::Pipe);
                if ((unknown && self.was_silent) || is_first) && self.pinned.is_none() {
                    return self.attempt(Attempt::Discover(Revision::LATEST));
                }
                let refusal = OpenFailure::Refused(error);
                match status {
                    Some(400 | 404 | 405) if self.may_use_two_endpoints(two_endpoints) => self.last_resort(refusal),
                    _ => Next::Fail(refusal),
                }
            }
            Outcome::Status(400 | 404 | 405, _) if self.may_use_two_endpoints(two_endpoints) => {
                self.last_resort(outcome.failure())
            }
            // That there is no such stream says nothing about why the endpoint refused.
            Outcome::Status(..) if two_endpoints => {
                Next::Fail(self.refusal.take().unwrap_or_else(|| outcome.failure()))
            }
            other => Next::Fail(other.failure()),
        }
    }

    fn may_use_two_endpoints(&self, two_endpoints: bool) -> bool {
        self.road == Road::Http && !two_endpoints
    }

    fn last_resort(&mut self, refusal: OpenFailure) -> Next {
        self.refusal = Some(refusal);
        self.attempt(Attempt::TwoEndpoints(self.attempt.revision()))
    }

    fn agreed(&self, result: &Json, two_endpoints: bool) -> Next {
        let initialized: Initialized = match result.parse_owned() {
            Ok(initialized) => initialized,
            Err(error) => {
                return Next::Fail(OpenFailure::Invalid(format!("bad result of initialize: {error}")));
            }
        };
        let revision = Revision::parse(&initialized.protocol_version)
            .filter(|revision| revision.era() == Era::Legacy)
            .filter(|revision| self.pinned.is_none_or(|pinned| pinned == *revision));
        let Some(revision) = revision else {
            return Next::Fail(OpenFailure::NoCommonRevision(clip(&initialized.protocol_version).to_owned()));
        };
        Next::Open(Box::new(Opened {
            revision,
            two_endpoints,
            capabilities: Some(initialized.capabilities),
            server_info: initialized.server_info,
            instructions: initialized.instructions,
        }))
    }
}

impl Opened {
    /// A modern server that does not tell what it is.
    fn silent(revision: Revision) -> Self {
        Self { revision, two_endpoints: false, capabilities: None, server_info: None, instructions: None }
    }
}

impl Outcome {
    fn failure(self) -> OpenFailure {
        match self {
            Self::Result(_) => OpenFailure::Invalid("a result where none was expected".to_owned()),
            Self::Error { error, .. } => OpenFailure::Refused(error),
            Self::Status(status, why) => OpenFailure::Status(status, why),
            Self::Silence => OpenFailure::Silent,
            Self::Closed(why) => OpenFailure::Closed(why),
        }
    }
}

fn is_modern(error: &ErrorObject) -> bool {
    [ErrorCode::HeaderMismatch, ErrorCode::MissingCapability].iter().any(|code| *code as i32 == error.code)
}

#[cfg(test)]
mod tests;
