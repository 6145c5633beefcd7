//! The parameters of a request: their text, and where in it those members stand that the protocol names. They are found once,
//! when the request's bytes are scanned, and then looked at by everybody who has to do with it.

use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::meta::{CLIENT_CAPABILITIES, CLIENT_INFO, IDEMPOTENCY_KEY, LOG_LEVEL, PROGRESS_TOKEN, PROTOCOL_VERSION};
use crate::named::named;
use crate::object::members;

/// Text that is known to be JSON; an object, unless the peer made a mistake. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Params(Arc<Inner>);

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    text: Box<str>,
    places: Places,
}

named! {
    /// A member of the parameters that is looked at by more than the handler.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[allow(missing_docs, reason = "they are called as they are spelt")]
    pub enum Member {
        Arguments = "arguments",
        InputResponses = "inputResponses",
        Meta = "_meta",
        Name = "name",
        RequestState = "requestState",
        Task = "task",
        TaskId = "taskId",
        Uri = "uri",
    }
}

named! {
    /// A member of `_meta` that means the same to all servers here.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[allow(missing_docs, reason = "they are called as they are spelt")]
    pub enum Mark {
        ClientCapabilities = CLIENT_CAPABILITIES,
        ClientInfo = CLIENT_INFO,
        IdempotencyKey = IDEMPOTENCY_KEY,
        LogLevel = LOG_LEVEL,
        ProgressToken = PROGRESS_TOKEN,
        ProtocolVersion = PROTOCOL_VERSION,
    }
}

impl Params {
    /// The text of JSON that was scanned, with what was found in it.
    pub(crate) fn scanned(text: &str, places: Places) -> Self {
        Self(Arc::new(Inner { text: text.into(), places }))
    }

    /// The text, byte for byte as it came.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Whether they are an object.
    pub fn is_object(&self) -> bool {
        self.as_str().starts_with('{')
    }

    /// The text of this member's value, if it is there and not `null`.
    pub fn member(&self, member: Member) -> Option<&str> {
        self.0.places.members[member as usize].of(self.as_str()).filter(|value| *value != "null")
    }

    /// The text of this member of `_meta`. An explicit `null` is a value of the wrong type, not an absent one.
    pub fn mark(&self, mark: Mark) -> Option<&str> {
        self.0.places.marks[mark as usize].of(self.as_str())
    }

    /// The text as a `T`.
    ///
    /// # Errors
    /// When the JSON has another shape.
    pub fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.as_str())
    }

    /// The text as an owned `T`.
    ///
    /// # Errors
    /// When the JSON has another shape.
    pub fn parse_owned<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.as_str())
    }
}

impl From<serde_json::Value> for Params {
    fn from(value: serde_json::Value) -> Self {
        let text = value.to_string();
        let mut places = Places::default();
        for (name, value) in members(&text) {
            places.note(&name, range_in(&text, value));
            if name == "_meta" {
                members(value).for_each(|(name, value)| places.note_meta(&name, range_in(&text, value)));
            }
        }
        Self::scanned(&text, places)
    }
}

/// Where the members stand, counted from the beginning of the parameters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Places {
    members: [Span; Member::COUNT],
    marks: [Span; Mark::COUNT],
}

impl Places {
    /// The value of the member `name` stands at `span`.
    pub(crate) fn note(&mut self, name: &str, span: Range<usize>) {
        if let Some(member) = Member::called(name) {
            self.members[member as usize] = Span::new(span);
        }
    }

    /// The value of the member `name` of `_meta` stands at `span`.
    pub(crate) fn note_meta(&mut self, name: &str, span: Range<usize>) {
        if let Some(mark) = Mark::called(name) {
            self.marks[mark as usize] = Span::new(span);
        }
    }
}

/// Where a value stands in a text of less than 4 GiB; by default it stands nowhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(crate) fn new(span: Range<usize>) -> Self {
        match (u32::try_from(span.start), u32::try_from(span.end)) {
            (Ok(start), Ok(end)) => Self { start, end },
            _ => Self::default(),
        }
    }

    /// The value in `text`.
    pub(crate) fn of(self, text: &str) -> Option<&str> {
        // No value is empty.
        if self.end == 0 { None } else { text.get(self.start as usize..self.end as usize) }
    }
}

/// Where `part` stands in `text`, of which it is a part.
fn range_in(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    start..start + part.len()
}

#[cfg(test)]
mod tests;
