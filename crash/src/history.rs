//! What happened, one JSON object a line, on one monotonic clock. It is written by the clients and by what breaks the
//! server, and holds what they saw, never what the server thinks.

use std::fs::File;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Microseconds since the history began.
    pub at_us: u64,
    /// Which client; 0 is whoever breaks the server.
    pub by: u32,
    /// What.
    pub event: Event,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A request is about to be sent. `op` is its number in the whole history, and its JSON-RPC id.
    Invoke {
        /// The operation; it names its connection and its stream too.
        op: u64,
        /// In which session; none for `initialize`.
        session: Option<String>,
        /// What is asked for.
        action: Action,
    },
    /// It was done: a result or an answer without content. Of a GET: its stream begins. A call has its response alone.
    Ok {
        /// The operation.
        op: u64,
        /// What was opened by `initialize`.
        session: Option<String>,
    },
    /// It was refused, or never sent.
    Fail {
        /// The operation.
        op: u64,
        /// The HTTP status; 0 if there was no connection.
        status: u16,
        /// What was said.
        why: String,
    },
    /// Its connection is gone, and nobody knows; or for a stream: nothing more comes on this connection.
    Info {
        /// The operation.
        op: u64,
        /// What was seen.
        why: String,
    },
    /// A message of the server came.
    Recv {
        /// On the connection of which operation.
        conn: u64,
        /// By whose session.
        session: String,
        /// On which stream: the operation that opened it.
        stream: u64,
        /// Its event id; without one it was the whole body.
        event_id: Option<String>,
        /// A hash of its bytes.
        digest: u64,
        /// What it is.
        says: Says,
    },
    /// The client no longer listens to what belongs to no request.
    Left {
        /// In which session.
        session: String,
    },
    /// Something is about to be broken.
    FaultStart {
        /// Which.
        fault: u64,
        /// How.
        kind: FaultKind,
    },
    /// The process is gone.
    FaultDown {
        /// Which.
        fault: u64,
    },
    /// The process is being started again.
    FaultUp {
        /// Which.
        fault: u64,
    },
    /// It is whole again.
    FaultStop {
        /// Which.
        fault: u64,
    },
    /// The process ended though nobody ended it.
    Died {
        /// How.
        how: String,
    },
    /// A line of the ledger, read when all was over.
    Ledger {
        /// What was executed.
        token: String,
    },
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// `initialize`.
    Init {
        /// The protocol revision.
        revision: String,
    },
    /// `notifications/initialized`.
    Initialized,
    /// `notifications/cancelled`.
    Cancel {
        /// The operation that is no longer wanted.
        call: u64,
    },
    /// `tools/call` of the ledger.
    Call {
        /// What is to be executed once.
        token: String,
        /// How long before.
        delay_ms: u64,
        /// The resource that changes by it.
        changes: Option<String>,
        /// The idempotency key: the token may be sent again with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
    /// `tools/call` of a tool that asks back.
    Ask,
    /// The answer to a question of the server.
    Answer {
        /// The operation that it asked for.
        call: u64,
        /// Its JSON-RPC id.
        question: String,
    },
    /// `tools/call` of the ledger as a task.
    Create {
        /// What is to be executed once.
        token: String,
    },
    /// `tasks/get`.
    Poll {
        /// The task.
        task: String,
    },
    /// `tasks/result` of a task that is over.
    Result {
        /// The task.
        task: String,
    },
    /// `resources/subscribe`.
    Subscribe {
        /// To what.
        uri: String,
    },
    /// `logging/setLevel` to `debug`, at which the ledger logs its token.
    SetLevel,
    /// `ping`.
    Ping,
    /// A GET without `Last-Event-ID`.
    Listen,
    /// A GET with `Last-Event-ID`.
    Resume {
        /// The operation that opened the stream.
        stream: u64,
        /// The id.
        last_id: String,
    },
    /// DELETE.
    Delete,
}

impl Action {
    /// Whether it is a request, which has a response.
    pub fn has_response(&self) -> bool {
        matches!(
            self,
            Self::Call { .. }
                | Self::Ask
                | Self::Create { .. }
                | Self::Poll { .. }
                | Self::Result { .. }
                | Self::Subscribe { .. }
                | Self::SetLevel
                | Self::Ping
        )
    }

    /// What it is to execute.
    pub fn token(&self) -> Option<&str> {
        match self {
            Self::Call { token, .. } | Self::Create { token } => Some(token),
            _ => None,
        }
    }
}

/// What a message of the server is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Says {
    /// Only an event id.
    Priming,
    /// The answer to a request.
    Response {
        /// The operation, by the JSON-RPC id.
        call: u64,
        /// How it went.
        outcome: Outcome,
    },
    /// `notifications/progress`.
    Progress {
        /// The operation, by the progress token.
        call: u64,
        /// How far.
        value: f64,
    },
    /// `notifications/message` with the token of a call.
    Log {
        /// The token.
        token: String,
    },
    /// A request of the server.
    Question {
        /// Its JSON-RPC id.
        question: String,
    },
    /// `notifications/resources/updated`.
    Updated {
        /// What changed.
        uri: String,
    },
    /// Anything else.
    Other {
        /// Its bytes.
        text: String,
    },
}

/// How a request went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Success {
        /// The token, as the tool gave it back; empty for other requests.
        token: String,
    },
    /// There is a task.
    Task {
        /// Its id.
        task: String,
        /// `working`, `completed` and so on.
        status: String,
    },
    /// An error that says "outcome unknown".
    Unknown,
    /// Any other error.
    Error {
        /// JSON-RPC code; 0 for a result that says it is an error.
        code: i64,
        /// Its words.
        message: String,
    },
}

/// How something is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// SIGKILL, and another process in its place.
    Kill,
    /// SIGTERM, SIGKILL after a while, and another process in its place.
    Terminate,
    /// All connections at once.
    Cut,
    /// The disk has no room; sometimes the process is killed before it has some again.
    Full,
}

impl FaultKind {
    /// Whether the process is another one afterwards.
    pub fn ends_process(self) -> bool {
        matches!(self, Self::Kill | Self::Terminate)
    }

    /// Whether requests may be refused meanwhile.
    pub fn stops_service(self) -> bool {
        self.ends_process() || self == Self::Full
    }
}

/// Writes a history as it happens. Shared by all who see something.
#[derive(Debug)]
pub struct Recorder {
    began_at: Instant,
    next_op: AtomicU64,
    file: Mutex<BufWriter<File>>,
}

impl Recorder {
    /// A new history in a file at `path`.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create(path: &Path) -> std::io::Result<Self> {
        let file = Mutex::new(BufWriter::new(File::create(path)?));
        Ok(Self { began_at: Instant::now(), next_op: AtomicU64::new(1), file })
    }

    /// A number for an operation, never given before.
    pub fn next_op(&self) -> u64 {
        self.next_op.fetch_add(1, Ordering::Relaxed)
    }

    /// Writes that `event` was seen now.
    ///
    /// # Panics
    /// When the file cannot be written: a history with a hole proves nothing.
    pub fn record(&self, by: u32, event: Event) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that the lines are in the order of their times.
        let at_us = u64::try_from(self.began_at.elapsed().as_micros()).unwrap_or(u64::MAX);
        let written = serde_json::to_writer(&mut *file, &Entry { at_us, by, event }).map_err(std::io::Error::from);
        written.and_then(|()| file.write_all(b"\n")).expect("the history can be written");
    }

    /// Writes what is still in memory.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn flush(&self) -> std::io::Result<()> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}

/// The entries of the history at `path`, in order.
///
/// # Errors
/// When the file cannot be opened; each entry when it cannot be read.
pub fn read(path: &Path) -> std::io::Result<impl Iterator<Item = std::io::Result<Entry>>> {
    let lines = BufReader::new(File::open(path)?).lines();
    Ok(lines.map(|line| serde_json::from_str(&line?).map_err(std::io::Error::from)))
}

/// What stands for the bytes of a message.
pub fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}
