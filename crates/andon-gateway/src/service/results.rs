//! Results and errors of a server as its clients may have them.

use std::sync::Mutex;

use andon_client::{Error, Loss};
use andon_server::call::Call;
use andon_server::service::{Reply, Text};
use andon_types::adapt::Adapt;
use andon_types::content::{GetPromptResult, ReadResourceResult};
use andon_types::error::{ErrorCode, ErrorObject};
use andon_types::message::Json;
use andon_types::meta::{CacheHint, RELATED_TASK, SERVER_INFO};
use andon_types::method::Method;
use andon_types::object::members;
use andon_types::raw_object::ObjectText;
use andon_types::revision::Revision;
use andon_types::tools::CallToolResult;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::flight::lock;
use crate::instance::without_words;

/// Bytes of what is remembered to be dull.
const DULL_BYTES_MAX: usize = 1024;

/// The result of a server that speaks `revision`, in the shape that the client of `call` knows, where `other_name` gives
/// the URIs that resources of the server have there, if they are others.
///
/// # Errors
/// When it is no result.
pub(super) fn reply(
    call: &Call,
    method: Method,
    (result, revision): (&Json, Revision),
    dull: &Dull,
    other_name: impl Fn(&str) -> Option<String>,
) -> Result<Reply, ErrorObject> {
    let text = result.as_str();
    if !text.starts_with('{') {
        return Err(failure_of("the server's result is no object"));
    }
    // Nearly all that is passed on stays as it came; what says more than one line is written anew.
    let is_long = text.contains("\"uri\"") || memchr::memchr2(b'\n', b'\r', text.as_bytes()).is_some();
    let renamed = is_long.then(|| {
        let mut members: Map<String, Value> = result.parse_owned().unwrap_or_default();
        rename_resources(method, &mut members, &other_name);
        Json::from(members)
    });
    let result = renamed.as_ref().unwrap_or(result);
    let mut body = ObjectText::with_capacity(result.as_str().len());
    let (mut meta, mut ttl_ms, mut cache_scope, mut is_structured) = (None, None, None, false);
    for (name, value) in result.members() {
        match &*name {
            "_meta" => meta = dull.kept(value),
            "resultType" => {}
            "ttlMs" => ttl_ms = serde_json::from_str::<Value>(value).ok(),
            "cacheScope" => cache_scope = serde_json::from_str::<Value>(value).ok(),
            name => {
                is_structured |= name == "structuredContent";
                body.push(name, value);
            }
        }
    }
    let body = body.end();
    let cache = match (ttl_ms, cache_scope) {
        (Some(ttl), Some(scope)) => {
            serde_json::from_value::<CacheHint>(serde_json::json!({ "ttlMs": ttl, "cacheScope": scope })).ok()
        }
        _ => None,
    };
    let is_spelt_alike = revision == call.revision() || (!is_structured && revision.rules().spells_alike(call.rules()));
    let body = if is_spelt_alike { body } else { shaped(call, method, body) };
    Ok(Reply { body: Text::Owned(body), meta, cache, ..Reply::default() })
}

/// The last `_meta` of a result that has nothing for clients in it: most servers say the same with each.
#[derive(Default)]
pub(crate) struct Dull(Mutex<Box<str>>);

impl Dull {
    /// What a client is told of a result's `_meta`.
    fn kept(&self, meta: &str) -> Option<Map<String, Value>> {
        if **lock(&self.0) == *meta {
            return None;
        }
        let kept = kept_meta(meta);
        if kept.is_none() && meta.len() <= DULL_BYTES_MAX {
            *lock(&self.0) = meta.into();
        }
        kept
    }
}

/// The same: not who the server is, nor what it calls a task, which is between it and us.
fn kept_meta(meta: &str) -> Option<Map<String, Value>> {
    let is_kept = |name: &str| name != SERVER_INFO && name != RELATED_TASK;
    if !members(meta).any(|(name, _)| is_kept(&name)) {
        return None;
    }
    let mut meta: Map<String, Value> = serde_json::from_str(meta).ok()?;
    meta.retain(|name, _| is_kept(name));
    Some(meta)
}

/// Gives the resources in a result the names that clients know them by: links, embedded ones, and what was read.
fn rename_resources(method: Method, members: &mut Map<String, Value>, other_name: &impl Fn(&str) -> Option<String>) {
    let each = |value: Option<&mut Value>, act: &dyn Fn(&mut Value)| match value {
        Some(Value::Array(values)) => values.iter_mut().for_each(act),
        Some(value) => act(value),
        None => {}
    };
    let rename = |resource: &mut Value| {
        if let Some(Value::String(uri)) = resource.get_mut("uri")
            && let Some(other) = other_name(uri)
        {
            *uri = other;
        }
    };
    let in_content = |content: &mut Value| match content.get("type").and_then(Value::as_str) {
        Some("resource_link") => rename(content),
        Some("resource") => each(content.get_mut("resource"), &rename),
        _ => {}
    };
    match method {
        Method::ToolsCall => each(members.get_mut("content"), &in_content),
        Method::PromptsGet => {
            each(members.get_mut("messages"), &|message| each(message.get_mut("content"), &in_content));
        }
        Method::ResourcesRead => each(members.get_mut("contents"), &rename),
        _ => {}
    }
}

/// Leaves out or replaces what the client's revision does not know.
fn shaped(call: &Call, method: Method, body: String) -> String {
    match method {
        Method::ToolsCall if is_spelt_alike(&body) => body,
        Method::ToolsCall => adapted::<CallToolResult>(call, body),
        Method::PromptsGet => adapted::<GetPromptResult>(call, body),
        Method::ResourcesRead => adapted::<ReadResourceResult>(call, body),
        _ => body,
    }
}

/// Whether all revisions spell this result of a tool alike: nothing but texts.
fn is_spelt_alike(body: &str) -> bool {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    struct Plain {
        #[serde(rename = "content")]
        _content: Vec<Block>,
        #[serde(rename = "isError")]
        _is_error: Option<bool>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Block {
        #[serde(rename = "type")]
        _kind: Kind,
        #[serde(rename = "text")]
        _text: IgnoredAny,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    enum Kind {
        Text,
    }
    serde_json::from_str::<Plain>(body).is_ok()
}

fn adapted<T: Adapt + Serialize + DeserializeOwned>(call: &Call, body: String) -> String {
    match serde_json::from_str::<T>(&body) {
        Ok(mut result) => {
            result.adapt(call.rules());
            serde_json::to_string(&result).unwrap_or(body)
        }
        // What is unknown here may be known to the client.
        Err(_) => body,
    }
}

/// Whether the result of a tool says that it failed.
pub(super) fn is_failure(result: &Json) -> bool {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Peek {
        #[serde(default)]
        is_error: bool,
    }
    result.parse::<Peek>().is_ok_and(|peek| peek.is_error)
}

/// Whether the server was lost in the middle.
pub(super) fn is_lost(error: &Error) -> bool {
    matches!(error, Error::Transport(Loss::Disconnected(_) | Loss::Unreachable(_) | Loss::SessionGone))
}

/// Whether a server of 2026-07-28 failed because it wanted to ask by a request, as servers did before.
pub(super) fn asks_in_vain(error: &ErrorObject) -> bool {
    const REQUESTS: [&str; 3] = ["elicitation/create", "sampling/createMessage", "roots/list"];
    error.code == ErrorCode::InvalidRequest as i32 && REQUESTS.iter().any(|method| error.message.contains(method))
}

/// What the client is told of a call whose server Andon ended.
pub(super) fn ended(server: &str) -> ErrorObject {
    ErrorObject::unavailable(format!(
        "the server {server:?} was ended during the call, because its configuration changed or Andon ends; whether the call was \
         run is unknown: call it again if that does no harm"
    ))
}

/// What the client is told of a call that failed; `asked` is the URI that it named.
pub(super) fn failure(server: &str, error: Error, asked: Option<&str>) -> ErrorObject {
    match error {
        Error::Protocol(error) => translated(error, asked),
        Error::Unanswerable(error) => error,
        Error::TimedOut => failure_of(&format!("the server {server:?} did not answer in time; the call was cancelled")),
        Error::Transport(loss @ (Loss::Unreachable(_) | Loss::SessionGone)) => {
            ErrorObject::unavailable(format!("the server {server:?} was not called, and may be called again: {loss}"))
        }
        Error::Transport(loss) => {
            let why = loss.to_string();
            ErrorObject::unavailable(format!(
                "the server {server:?} was lost during the call, and whether it was run is unknown: {}",
                without_words(&why)
            ))
        }
        Error::Unauthorized(_) => {
            ErrorObject::unavailable(format!("the server {server:?} wants other credentials than Andon has"))
        }
        error => {
            let why = error.to_string();
            failure_of(&format!("the server {server:?} failed: {}", without_words(&why)))
        }
    }
}

/// A resource that is not there is spelt as the client's revision does, and named as the client does.
fn translated(error: ErrorObject, asked: Option<&str>) -> ErrorObject {
    let Some(asked) = asked else { return error };
    let is_old = error.code == ErrorCode::ResourceNotFound as i32;
    let names_uri = error.data.as_ref().is_some_and(|data| data.get("uri").is_some());
    let is_new = error.code == ErrorCode::InvalidParams as i32 && names_uri;
    if is_old || is_new { ErrorObject::resource_not_found(asked) } else { error }
}

fn failure_of(why: &str) -> ErrorObject {
    ErrorObject::new(ErrorCode::InternalError, why)
}
