//! One task: what may become of it, what its record says, what clients are told of it.
//!
//! It runs, or waits for answers; then it comes to a result or an error, or is cancelled, and that is final. Changes are
//! methods that say whether they were allowed. Only its beginning and its end are ever stored: a process that finds the
//! record of a task which did not end, and does not run it, knows that whoever ran it is gone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use andon_types::adapt::Adapt as _;
use andon_types::capability::ClientCapabilities;
use andon_types::client::InputRequest;
use andon_types::error::{ErrorCode, ErrorObject};
use andon_types::meta::Meta;
use andon_types::raw::RawJson;
use andon_types::revision::{Revision, Rules};
use andon_types::task::{TaskInfo, TaskStatus, iso8601};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::facts::undeclared;
use crate::io::{AskError, AskId, Reply, Timestamp};

/// The format of records that this release writes.
const FORMAT: u32 = 1;
/// The most bytes of a status message.
const MESSAGE_BYTES_MAX: usize = 1024;

/// What a task is given when it is created.
#[derive(Debug, Clone)]
pub struct Beginning {
    /// Its id, which nobody can guess.
    pub id: String,
    /// A hash of whose it is.
    pub owner: u128,
    /// Under which revision it was asked for; peers of another one do not see it.
    pub revision: Revision,
    /// Names the process that runs it.
    pub runner: u128,
    /// When it begins.
    pub now: Timestamp,
    /// How long it is kept from then on, whatever becomes of it.
    pub ttl: Duration,
    /// How long clients should wait between two looks.
    pub poll_interval: Duration,
}

/// What a task came to: what its request would have been answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A result.
    Result {
        /// The result object's text in the shape of the task's revision, without `_meta`.
        body: RawJson,
        /// Its `_meta`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        meta: Option<Meta>,
        /// It is a tool's failure.
        is_error: bool,
    },
    /// An error.
    Error(ErrorObject),
    /// It was ended before.
    Cancelled,
}

impl Outcome {
    /// The outcome that is `reply`.
    ///
    /// # Errors
    /// When its body is no JSON.
    pub fn reply(reply: &Reply, is_error: bool) -> Result<Self, serde_json::Error> {
        Ok(Self::Result { body: serde_json::from_str(reply.body.as_str())?, meta: reply.meta.clone(), is_error })
    }

    /// How much it takes, in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Result { body, meta, .. } => {
                body.as_str().len() + meta.as_ref().map_or(0, |meta| json!(meta).to_string().len())
            }
            Self::Error(error) => error.message.len() + error.data.as_ref().map_or(0, |data| data.to_string().len()),
            Self::Cancelled => 0,
        }
    }
}

/// A task.
#[derive(Debug, Clone)]
pub struct Task {
    beginning: Beginning,
    updated_at: Timestamp,
    message: Option<String>,
    outcome: Option<Outcome>,
    questions: Vec<Question>,
    /// Every key that a question of this task has had.
    keys: BTreeSet<Box<str>>,
}

/// A question to the client that is open.
#[derive(Debug, Clone)]
pub struct Question {
    /// Who waits for the answer.
    pub ask: AskId,
    /// Its name, which no other question of the task has or had.
    pub key: Box<str>,
    /// What is asked.
    pub request: InputRequest,
}

/// How many questions a task may ask.
#[derive(Debug, Clone, Copy)]
pub struct QuestionLimits {
    /// At once.
    pub open_max: usize,
    /// Altogether.
    pub all_max: u32,
}

/// A record, as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    id: String,
    revision: String,
    /// In hexadecimal, since JSON has no integers of this size.
    runner: String,
    created_at_ms: u64,
    updated_at_ms: u64,
    ttl_ms: u64,
    poll_interval_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
}

impl Task {
    /// A task that begins to work.
    pub fn new(beginning: Beginning) -> Self {
        let updated_at = beginning.now;
        Self { beginning, updated_at, message: None, outcome: None, questions: Vec::new(), keys: BTreeSet::new() }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.beginning.id
    }

    /// Whose it is.
    pub fn owner(&self) -> u128 {
        self.beginning.owner
    }

    /// The revision under which it was asked for.
    pub fn revision(&self) -> Revision {
        self.beginning.revision
    }

    /// The process that runs it, or did.
    pub fn runner(&self) -> u128 {
        self.beginning.runner
    }

    /// When its time is over.
    pub fn expires_at(&self) -> Timestamp {
        self.beginning.now.after(self.beginning.ttl)
    }

    /// What it came to; `None` while it goes on.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// Whether it came to anything, which is final.
    pub fn is_over(&self) -> bool {
        self.outcome.is_some()
    }

    /// The questions that are open, oldest first.
    pub fn questions(&self) -> &[Question] {
        &self.questions
    }

    /// Where it stands. A tool's failure is a failure of the task in 2025-11-25, and a result from then on.
    pub fn status(&self) -> TaskStatus {
        let rules = self.rules();
        match &self.outcome {
            None if self.questions.is_empty() => TaskStatus::Working,
            None => TaskStatus::InputRequired,
            Some(Outcome::Result { is_error: true, .. }) if !rules.tasks_extension => TaskStatus::Failed,
            Some(Outcome::Result { .. }) => TaskStatus::Completed,
            Some(Outcome::Error(_)) => TaskStatus::Failed,
            Some(Outcome::Cancelled) => TaskStatus::Cancelled,
        }
    }

    /// It comes to `outcome`. Whether it does: it may have come to something before.
    pub fn finish(&mut self, now: Timestamp, outcome: Outcome) -> bool {
        if self.is_over() {
            return false;
        }
        self.message = match &outcome {
            Outcome::Error(error) => Some(shortened(&error.message)),
            Outcome::Cancelled => Some("the task was cancelled by request".to_owned()),
            Outcome::Result { is_error: true, .. } => Some("the tool failed, and its result says why".to_owned()),
            Outcome::Result { .. } => None,
        };
        self.questions.clear();
        self.outcome = Some(outcome);
        self.updated_at = self.updated_at.max(now);
        true
    }

    /// The process that ran it is gone.
    pub fn interrupt(&mut self, now: Timestamp) -> bool {
        let why = "the server restarted while this task ran: its outcome is unknown";
        self.finish(now, Outcome::Error(ErrorObject::new(ErrorCode::InternalError, why)))
    }

    /// Says how far it is, for people.
    pub fn say(&mut self, now: Timestamp, message: &str) {
        if !self.is_over() {
            self.message = Some(shortened(message));
            self.updated_at = self.updated_at.max(now);
        }
    }

    /// Puts a question to the client, by `key` or, if that was used already, by one that is made of it.
    ///
    /// # Errors
    /// [`AskError`] if nothing may be asked, or not this.
    pub fn ask(
        &mut self,
        now: Timestamp,
        (ask, key, mut request): (AskId, Box<str>, InputRequest),
        client: &ClientCapabilities,
        limits: QuestionLimits,
    ) -> Result<(), AskError> {
        if self.is_over() {
            return Err(AskError::Cancelled);
        }
        if let Some(required) = undeclared(client, &request) {
            return Err(AskError::NotDeclared(required));
        }
        if self.questions.len() >= limits.open_max || self.keys.len() >= limits.all_max as usize {
            return Err(AskError::TooMany);
        }
        let numbered = (2u64..).map(|number| format!("{key}-{number}").into());
        let key = std::iter::once(key.clone()).chain(numbered).find(|key| !self.keys.contains(key));
        let key = key.expect("there are more numbers than keys");
        request.adapt(self.rules());
        self.keys.insert(key.clone());
        self.questions.push(Question { ask, key, request });
        self.updated_at = self.updated_at.max(now);
        Ok(())
    }

    /// The client answers the question `key`. Who waits for it, if it is open.
    pub fn answer(&mut self, now: Timestamp, key: &str) -> Option<AskId> {
        let index = self.questions.iter().position(|question| &*question.key == key)?;
        self.updated_at = self.updated_at.max(now);
        Some(self.questions.remove(index).ask)
    }

    /// Nobody waits for this answer any more.
    pub fn withdraw(&mut self, now: Timestamp, ask: AskId) -> bool {
        let Some(index) = self.questions.iter().position(|question| question.ask == ask) else { return false };
        self.questions.remove(index);
        self.updated_at = self.updated_at.max(now);
        true
    }

    /// What clients are told of it in lists, and where nothing else is said.
    pub fn members(&self) -> Map<String, Value> {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let info = TaskInfo {
            task_id: self.beginning.id.clone(),
            status: self.status(),
            status_message: self.message.clone(),
            created_at: iso8601(self.beginning.now.0),
            last_updated_at: iso8601(self.updated_at.0),
            ttl_ms: Some(ms(self.beginning.ttl)),
            poll_interval_ms: Some(ms(self.beginning.poll_interval)),
        };
        info.members(self.rules())
    }

    /// The text of the object that says all of it: from 2026-07-28 on with its result, its error or its questions.
    pub fn detail(&self) -> String {
        let members = Value::Object(self.members()).to_string();
        let rules = self.rules();
        if !rules.tasks_extension {
            return members;
        }
        let inlined = match &self.outcome {
            None if self.questions.is_empty() => return members,
            None => {
                let requests = self.questions.iter().map(|open| (open.key.to_string(), json!(open.request)));
                ("inputRequests", Value::Object(requests.collect()).to_string())
            }
            Some(Outcome::Result { body, meta, .. }) => ("result", whole(body, meta.as_ref(), rules)),
            Some(Outcome::Error(error)) => {
                let mut error = error.clone();
                error.adapt(rules);
                ("error", json!(error).to_string())
            }
            Some(Outcome::Cancelled) => return members,
        };
        format!("{},\"{}\":{}}}", &members[..members.len() - 1], inlined.0, inlined.1)
    }

    /// What is stored of it.
    pub fn encode(&self) -> Arc<[u8]> {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let stored = Stored {
            format: FORMAT,
            id: self.beginning.id.clone(),
            revision: self.beginning.revision.as_str().to_owned(),
            runner: format!("{:x}", self.beginning.runner),
            created_at_ms: self.beginning.now.0,
            updated_at_ms: self.updated_at.0,
            ttl_ms: ms(self.beginning.ttl),
            poll_interval_ms: ms(self.beginning.poll_interval),
            message: self.message.clone(),
            outcome: self.outcome.clone(),
        };
        serde_json::to_vec(&stored).expect("a record has string keys only").into()
    }

    /// The task of a record that belongs to `owner`.
    ///
    /// # Errors
    /// What is wrong with the record, in words.
    pub fn decode(bytes: &[u8], owner: u128) -> Result<Self, String> {
        let stored: Stored = serde_json::from_slice(bytes).map_err(|error| format!("no record of a task: {error}"))?;
        if stored.format != FORMAT {
            return Err(format!("the record of a task has format {}, and this release reads {FORMAT}", stored.format));
        }
        let revision = Revision::parse(&stored.revision).ok_or("the record of a task names no revision")?;
        if let Some(Outcome::Result { body, .. }) = &stored.outcome
            && !body.is_object()
        {
            return Err("the record of a task has a result that is no object".to_owned());
        }
        let runner = u128::from_str_radix(&stored.runner, 16).map_err(|_| "the record of a task names no process")?;
        Ok(Self {
            beginning: Beginning {
                id: stored.id,
                owner,
                revision,
                runner,
                now: Timestamp(stored.created_at_ms),
                ttl: Duration::from_millis(stored.ttl_ms),
                poll_interval: Duration::from_millis(stored.poll_interval_ms),
            },
            updated_at: Timestamp(stored.updated_at_ms),
            message: stored.message,
            outcome: stored.outcome,
            questions: Vec::new(),
            keys: BTreeSet::new(),
        })
    }

    fn rules(&self) -> &'static Rules {
        self.beginning.revision.rules()
    }
}

/// The result object as its request would have been answered.
fn whole(body: &RawJson, meta: Option<&Meta>, rules: &Rules) -> String {
    let members = body.as_str().trim();
    let members = members[1..members.len() - 1].trim();
    let mut parts = Vec::new();
    if rules.result_type {
        parts.push(r#""resultType":"complete""#.to_owned());
    }
    if !members.is_empty() {
        parts.push(members.to_owned());
    }
    if let Some(meta) = meta.filter(|meta| !meta.is_empty()) {
        parts.push(format!(r#""_meta":{}"#, json!(meta)));
    }
    format!("{{{}}}", parts.join(","))
}

fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(MESSAGE_BYTES_MAX.min(text.len()))].to_owned()
}

#[cfg(test)]
mod tests;
