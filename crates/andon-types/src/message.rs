//! Envelopes: what kind of message it is, its id and its method. Parameters and results stay raw text.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{ErrorObject, clip};
use crate::method::Method;
use crate::object::{self, MemberScan};
use crate::params::Params;
use crate::revision::Rules;
use crate::scan::{Envelope, Part, ScanError, ScanLimits, Shape, scan};

/// The most bytes in a string id.
pub const ID_BYTES_MAX: usize = 256;
/// The most messages in one batch.
pub const BATCH_MAX: usize = 50;

/// The id of a request. `1` and `"1"` are different ids, and each is echoed as it came.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RequestId {
    /// An integer.
    Number(i64),
    /// A string of at most [`ID_BYTES_MAX`] bytes.
    String(Box<str>),
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::String(text) => text.fmt(f),
        }
    }
}

impl From<i64> for RequestId {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for RequestId {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

/// Text that is known to be JSON: only a scan of a peer's bytes or a serialiser makes one. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Json(Arc<str>);

impl Json {
    /// The JSON of `value`.
    ///
    /// # Errors
    /// When `value` cannot be JSON: a map with keys that are no strings, or a `Serialize` that fails.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(|text| Self(text.into()))
    }

    /// The string `text`.
    pub fn string(text: &str) -> Self {
        if object::is_plain(text) {
            Self(["\"", text, "\""].concat().into())
        } else {
            serde_json::Value::from(text).into()
        }
    }

    /// The integer `number`.
    pub fn number(number: i64) -> Self {
        Self(number.to_string().into())
    }

    /// A value within another one, which is known to be JSON.
    pub(crate) fn part(text: &str) -> Self {
        Self(text.into())
    }

    /// The text, byte for byte as it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The members, if it is an object.
    pub fn members(&self) -> MemberScan<'_> {
        object::members(&self.0)
    }

    /// The text as a `T`.
    ///
    /// # Errors
    /// When the JSON has another shape.
    pub fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    /// The text as an owned `T`.
    ///
    /// # Errors
    /// When the JSON has another shape.
    pub fn parse_owned<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }
}

impl From<serde_json::Value> for Json {
    fn from(value: serde_json::Value) -> Self {
        Self(value.to_string().into())
    }
}

impl From<serde_json::Map<String, serde_json::Value>> for Json {
    fn from(object: serde_json::Map<String, serde_json::Value>) -> Self {
        serde_json::Value::Object(object).into()
    }
}

/// A request: it gets exactly one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What the answer has to carry.
    pub id: RequestId,
    /// The method's name, known or not.
    pub method: Cow<'static, str>,
    /// An object, if there are any.
    pub params: Option<Params>,
}

/// A notification: it gets no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// The method's name, known or not.
    pub method: Cow<'static, str>,
    /// An object, if there are any.
    pub params: Option<Json>,
}

/// An answer to a request of ours.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// The request's id; absent when the peer could not read it.
    pub id: Option<RequestId>,
    /// What it says.
    pub outcome: Result<Json, ErrorObject>,
}

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// See [`Request`].
    Request(Request),
    /// See [`Notification`].
    Notification(Notification),
    /// See [`Response`].
    Response(Response),
}

/// A message that is none, and what to answer: the id if it could be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Malformed {
    /// The id that the answer carries.
    pub id: Option<RequestId>,
    /// -32700 or -32600.
    pub error: ErrorObject,
}

/// What one body, line or frame held.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// One message.
    Single(Message),
    /// An array; which revisions take one is the machine's decision. Never empty, never above [`BATCH_MAX`].
    Batch(Vec<Result<Message, Malformed>>),
}

impl Body {
    /// Reads a body.
    ///
    /// # Errors
    /// [`Malformed`] with -32700 when it is not JSON in UTF-8, and -32600 when it is JSON but no message, too deep,
    /// too expensive, or has a member name twice.
    pub fn parse(bytes: &[u8], limits: ScanLimits) -> Result<Body, Malformed> {
        let text = std::str::from_utf8(bytes).map_err(|error| refuse(None, syntax(error.valid_up_to())))?;
        match scan(text, limits).map_err(|error| refuse(None, scan_error(error)))? {
            Shape::Object(envelope) => message(text, &envelope).map(Body::Single),
            Shape::Array(elements) => batch(text, &elements, limits),
            Shape::Scalar => Err(refuse(None, ErrorObject::invalid_request("a message is a JSON object"))),
        }
    }
}

fn batch(text: &str, elements: &[Range<usize>], limits: ScanLimits) -> Result<Body, Malformed> {
    if elements.is_empty() || elements.len() > BATCH_MAX {
        let why = format!("a batch has 1 to {BATCH_MAX} messages, this one has {}", elements.len());
        return Err(refuse(None, ErrorObject::invalid_request(why)));
    }
    let messages = elements.iter().map(|span| {
        let text = &text[span.clone()];
        match scan(text, limits).map_err(|error| refuse(None, scan_error(error)))? {
            Shape::Object(envelope) => message(text, &envelope),
            _ => Err(refuse(None, ErrorObject::invalid_request("a message is a JSON object"))),
        }
    });
    Ok(Body::Batch(messages.collect()))
}

fn message(text: &str, envelope: &Envelope) -> Result<Message, Malformed> {
    let member = |part| envelope.part(text, part);
    let id = member(Part::Id).map(read_id).transpose();
    let known_id = id.as_ref().ok().cloned().flatten();
    let invalid = |why: &str| refuse(known_id.clone(), ErrorObject::invalid_request(why));

    if member(Part::JsonRpc).and_then(object::string).as_deref() != Some("2.0") {
        return Err(invalid("a message has \"jsonrpc\": \"2.0\""));
    }
    let answer = (member(Part::Result), member(Part::Error));
    let Some(method) = member(Part::Method) else {
        return match answer {
            (Some(result), None) => {
                Ok(Message::Response(Response { id: id.map_err(invalid)?, outcome: Ok(Json(result.into())) }))
            }
            (None, Some(error)) => Ok(Message::Response(Response {
                id: if member(Part::Id) == Some("null") { None } else { id.map_err(invalid)? },
                outcome: Err(serde_json::from_str(error)
                    .map_err(|_| invalid("\"error\" has an integer \"code\" and a string \"message\""))?),
            })),
            (Some(_), Some(_)) => Err(invalid("a response has \"result\" or \"error\", not both")),
            (None, None) => Err(invalid("a message has a \"method\", a \"result\" or an \"error\"")),
        };
    };
    if answer != (None, None) {
        return Err(invalid("a request has neither \"result\" nor \"error\""));
    }
    let method = object::string(method).ok_or_else(|| invalid("\"method\" is a string"))?;
    let method = Method::spelling(&method).map_or_else(|| Cow::Owned(method.into_owned()), Cow::Borrowed);
    let params = member(Part::Params);
    Ok(match id.map_err(invalid)? {
        Some(id) => {
            let params = params.map(|raw| Params::scanned(raw, envelope.places));
            Message::Request(Request { id, method, params })
        }
        None => Message::Notification(Notification { method, params: params.map(|raw| Json(raw.into())) }),
    })
}

/// `null`, fractions and numbers that only look like integers are no ids.
fn read_id(raw: &str) -> Result<RequestId, &'static str> {
    const WHAT: &str = "\"id\" is a string of at most 256 bytes or an integer of 64 bits, and never null";
    if let Some(text) = object::string(raw) {
        return if text.len() <= ID_BYTES_MAX { Ok(RequestId::String(text.into())) } else { Err(WHAT) };
    }
    match raw.parse::<i64>() {
        Ok(number) if raw != "-0" => Ok(RequestId::Number(number)),
        _ => Err(WHAT),
    }
}

fn refuse(id: Option<RequestId>, error: ErrorObject) -> Malformed {
    Malformed { id, error }
}

fn syntax(at: usize) -> ErrorObject {
    ErrorObject::parse(format!("not JSON in UTF-8 at byte {at}"))
}

fn scan_error(error: ScanError) -> ErrorObject {
    match error {
        ScanError::Syntax(at) => syntax(at),
        ScanError::TooDeep => ErrorObject::parse("nested too deeply; the limit is 64 levels"),
        ScanError::TooExpensive => ErrorObject::invalid_request("too many values for one message"),
        ScanError::DuplicateName(at) => {
            ErrorObject::invalid_request(format!("a member name stands twice in one object, at byte {at}"))
        }
    }
}

/// The text of a successful response; `result` is a JSON object's text.
pub fn encode_result(id: &RequestId, result: &str) -> String {
    encode_result_with(id, result.len(), |text| text.push_str(result))
}

/// The text of a successful response, whose result object of about `bytes` is put there by `push`. If there are exactly so many,
/// the text has no room left over, and is shared without another allocation.
pub fn encode_result_with(id: &RequestId, bytes: usize, push: impl FnOnce(&mut String)) -> String {
    const BEFORE: &str = r#"{"jsonrpc":"2.0","id":"#;
    const BETWEEN: &str = r#","result":"#;
    let id_bytes = match id {
        RequestId::String(id) => id.len() + "\"\"".len(),
        RequestId::Number(number) => itoa::Buffer::new().format(*number).len(),
    };
    let mut text = String::with_capacity(BEFORE.len() + id_bytes + BETWEEN.len() + bytes + "}".len());
    text.push_str(BEFORE);
    push_id(&mut text, id);
    text.push_str(BETWEEN);
    push(&mut text);
    text.push('}');
    text
}

/// The text of a failed response. Where the id could not be read it is left out, or null for revisions whose
/// schema demands one.
pub fn encode_error(id: Option<&RequestId>, error: &ErrorObject, rules: &Rules) -> String {
    let mut text = String::with_capacity(128);
    text.push_str(r#"{"jsonrpc":"2.0""#);
    if let Some(id) = id {
        text.push_str(r#","id":"#);
        push_id(&mut text, id);
    } else if !rules.error_id_optional {
        text.push_str(r#","id":null"#);
    }
    text.push_str(r#","error":"#);
    push(&mut text, error);
    text.push('}');
    text
}

/// The text of a notification; `params` is a JSON object's text.
pub fn encode_notification(method: &str, params: Option<&str>) -> String {
    encode_call(None, method, params)
}

/// The text of a request; `params` is a JSON object's text.
pub fn encode_request(id: &RequestId, method: &str, params: Option<&str>) -> String {
    encode_call(Some(id), method, params)
}

fn encode_call(id: Option<&RequestId>, method: &str, params: Option<&str>) -> String {
    let mut text = String::with_capacity(params.map_or(0, str::len) + 96);
    text.push_str(r#"{"jsonrpc":"2.0""#);
    if let Some(id) = id {
        text.push_str(r#","id":"#);
        push_id(&mut text, id);
    }
    text.push_str(r#","method":"#);
    push(&mut text, clip(method));
    if let Some(params) = params {
        text.push_str(r#","params":"#);
        text.push_str(params);
    }
    text.push('}');
    text
}

fn push_id(text: &mut String, id: &RequestId) {
    match id {
        RequestId::Number(number) => text.push_str(itoa::Buffer::new().format(*number)),
        RequestId::String(id) => push(text, id),
    }
}

fn push<T: Serialize + ?Sized>(text: &mut String, value: &T) {
    text.push_str(&serde_json::to_string(value).expect("ids, names and error objects have string keys only"));
}

#[cfg(test)]
mod tests;
