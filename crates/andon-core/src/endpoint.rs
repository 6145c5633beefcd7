//! How did the client open? The only fork between the two eras, and the checks before a modern request is served.

use std::borrow::Cow;
use std::sync::Arc;

use andon_types::capability::ClientCapabilities;
use andon_types::error::ErrorObject;
use andon_types::message::{Message, Request};
use andon_types::meta::{CLIENT_CAPABILITIES, CLIENT_INFO, Implementation, LOG_LEVEL, Level, PROTOCOL_VERSION};
use andon_types::method::{Capability, Method};
use andon_types::object::{members, string};
use andon_types::revision::{Era, Revision};
use andon_types::task::{TASKS_EXTENSION, declares_tasks};
use serde::Deserialize;
use serde_json::json;

use crate::facts::{ClientFacts, Facts, Params, RequestMeta};
use crate::offer::{Offer, supported};

/// The headers that a modern request has over HTTP; stdio has none.
#[derive(Debug, Clone, Copy, Default)]
pub struct RoutingHeaders<'a> {
    /// `MCP-Protocol-Version`.
    pub protocol_version: Option<&'a str>,
    /// `Mcp-Method`.
    pub method: Option<&'a str>,
    /// `Mcp-Name`, decoded.
    pub name: Option<&'a str>,
}

/// A modern request that may be served.
#[derive(Debug)]
pub struct Admitted {
    /// What it calls.
    pub method: Method,
    /// The request itself.
    pub request: Request,
    /// What it says of itself and its client.
    pub facts: Facts,
}

/// Which machine a message is for. `initialize` without a modern `_meta` is legacy whatever its headers say.
pub fn era(message: &Message, version_header: Option<&str>) -> Era {
    let (method, params) = match message {
        Message::Request(request) => (&*request.method, request.params.as_ref()),
        Message::Notification(notification) => (&*notification.method, notification.params.as_ref()),
        // Only a legacy client has requests to answer.
        Message::Response(_) => return Era::Legacy,
    };
    // Dates order as text; a version that is no date of ours is for the modern ladder to refuse.
    if version_header.is_some_and(|date| date >= Revision::LATEST.as_str() && method != "initialize") {
        return Era::Modern;
    }
    let meta = params.and_then(|params| params.members().find(|(name, _)| name == "_meta")).map(|(_, meta)| meta);
    let names_version = |(name, value): (Cow<'_, str>, &str)| name == PROTOCOL_VERSION && value != "null";
    if meta.is_some_and(|meta| members(meta).any(names_version)) { Era::Modern } else { Era::Legacy }
}

/// The ladder of checks before a modern request is served; the first that fails decides.
///
/// `headers` is `None` where there are none by nature.
///
/// # Errors
/// The error to answer, in the order of the specification: header and body disagree, `_meta` incomplete, version not
/// served, routing headers, method.
pub fn admit(request: Request, headers: Option<RoutingHeaders<'_>>, offer: &Offer) -> Result<Admitted, Refused> {
    match check(&request, headers, offer) {
        Ok((method, facts)) => Ok(Admitted { method, request, facts }),
        Err(error) => Err(Refused { request, error }),
    }
}

/// A modern request that is answered by an error.
#[derive(Debug)]
pub struct Refused {
    /// The request.
    pub request: Request,
    /// The answer.
    pub error: ErrorObject,
}

fn check(
    request: &Request,
    headers: Option<RoutingHeaders<'_>>,
    offer: &Offer,
) -> Result<(Method, Facts), ErrorObject> {
    let params = Params::read(request.params.as_ref())?;
    let meta = params.meta()?;
    let version = meta.protocol_version.map(|raw| string(raw).unwrap_or_default());
    if let (Some(headers), Some(version)) = (headers, version.as_deref())
        && headers.protocol_version != Some(version)
    {
        let why = format!("the header MCP-Protocol-Version and _meta[\"{PROTOCOL_VERSION}\"] disagree");
        return Err(ErrorObject::header_mismatch(why));
    }
    let version = version.ok_or_else(|| missing(PROTOCOL_VERSION))?;
    let capabilities: ClientCapabilities =
        read(meta.client_capabilities, CLIENT_CAPABILITIES)?.ok_or_else(|| missing(CLIENT_CAPABILITIES))?;
    let revision = Revision::parse(&version)
        .filter(|revision| revision.era() == Era::Modern)
        .ok_or_else(|| ErrorObject::unsupported_version(&version, &supported()))?;
    let found = Method::find(&request.method, revision);
    if let Some(headers) = headers {
        routing(request, &params, found, headers)?;
    }
    let method = found
        .filter(|method| offer.has(method.capability()))
        .ok_or_else(|| ErrorObject::method_not_found(&request.method))?;
    // Each request says so itself, and before anything is looked up (tasks extension, "Capability Negotiation").
    if method.capability() == Capability::Tasks && !declares_tasks(capabilities.extensions.as_ref()) {
        return Err(ErrorObject::missing_capability(&json!({ "extensions": { TASKS_EXTENSION: {} } })));
    }
    let info: Option<Implementation> = read(meta.client_info, CLIENT_INFO)?;
    let log_level: Option<Level> = read(meta.log_level, LOG_LEVEL)?;
    let facts = Facts {
        revision,
        client: Arc::new(ClientFacts { info, capabilities }),
        progress_token: meta.progress_token()?,
        log_level,
        input_responses: params.input_responses()?,
        request_state: params.request_state()?,
        meta: RequestMeta::of(request),
    };
    Ok((method, facts))
}

/// `Mcp-Method` and `Mcp-Name` say what the body says (Streamable HTTP, "Standard Request Headers").
fn routing(
    request: &Request,
    params: &Params<'_>,
    found: Option<Method>,
    headers: RoutingHeaders<'_>,
) -> Result<(), ErrorObject> {
    if headers.method != Some(&*request.method) {
        return Err(ErrorObject::header_mismatch("the header Mcp-Method is missing or is not the body's \"method\""));
    }
    let Some(member) = found.and_then(Method::named_by) else { return Ok(()) };
    let raw = match member {
        "uri" => params.uri,
        "taskId" => params.task_id,
        _ => params.name,
    };
    match raw.and_then(string) {
        Some(name) if headers.name != Some(&name) => {
            let why = format!("the header Mcp-Name is missing or is not \"params.{member}\"");
            Err(ErrorObject::header_mismatch(why))
        }
        // Without a name in the body there is nothing to mirror; the handler refuses the parameters.
        _ => Ok(()),
    }
}

fn missing(key: &str) -> ErrorObject {
    ErrorObject::invalid_params(format!("a request of this revision has _meta[\"{key}\"]"))
}

fn read<'a, T: Deserialize<'a>>(member: Option<&'a str>, key: &str) -> Result<Option<T>, ErrorObject> {
    let read = member.map(serde_json::from_str).transpose();
    read.map_err(|error| ErrorObject::invalid_params(format!("bad _meta[\"{key}\"]: {error}")))
}
