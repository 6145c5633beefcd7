//! How did the client open? The only fork between the two eras, and the checks before a modern request is served.

use std::sync::{Arc, LazyLock};

use andon_types::error::ErrorObject;
use andon_types::message::{Message, Request};
use andon_types::meta::{CLIENT_CAPABILITIES, CLIENT_INFO, LOG_LEVEL, Level, PROTOCOL_VERSION};
use andon_types::method::{Capability, Method};
use andon_types::object::{members, string};
use andon_types::params::{Mark, Member};
use andon_types::revision::{Era, Revision};
use andon_types::task::{TASKS_EXTENSION, declares_tasks};
use serde::Deserialize;
use serde_json::json;

use crate::descriptions::Descriptions;
use crate::facts::{
    ClientFacts, Facts, RequestMeta, check, input_responses, introduction, progress_token, request_state,
};
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

/// A request that may be served, and stands alone.
#[derive(Debug)]
pub struct Admitted {
    /// What it calls.
    pub method: Method,
    /// The request itself.
    pub request: Request,
    /// What it says of itself and its client.
    pub facts: Arc<Facts>,
}

/// Which machine a message is for. `initialize` without a modern `_meta` is legacy whatever its headers say.
pub fn era(message: &Message, version_header: Option<&str>) -> Era {
    let method = match message {
        Message::Request(request) => &*request.method,
        Message::Notification(notification) => &*notification.method,
        // Only a legacy client has requests to answer.
        Message::Response(_) => return Era::Legacy,
    };
    // Dates order as text; a version that is no date of ours is for the modern ladder to refuse.
    if version_header.is_some_and(|date| date >= Revision::LATEST.as_str() && method != "initialize") {
        return Era::Modern;
    }
    if named_version(message).is_some_and(|version| version != "null") { Era::Modern } else { Era::Legacy }
}

/// The text of the version that a message names in its `_meta`.
fn named_version(message: &Message) -> Option<&str> {
    match message {
        Message::Request(request) => request.params.as_ref()?.mark(Mark::ProtocolVersion),
        Message::Notification(notification) => {
            let (_, meta) = notification.params.as_ref()?.members().find(|(name, _)| name == "_meta")?;
            members(meta).find(|(name, _)| name == PROTOCOL_VERSION).map(|(_, version)| version)
        }
        Message::Response(_) => None,
    }
}

/// The ladder of checks before a modern request is served; the first that fails decides.
///
/// `headers` is `None` where there are none by nature. `known` are the clients of the same server so far.
///
/// # Errors
/// The error to answer, in the order of the specification: header and body disagree, `_meta` incomplete, version not
/// served, routing headers, method.
pub fn admit(
    request: Request,
    headers: Option<RoutingHeaders<'_>>,
    offer: &Offer,
    known: &Descriptions,
) -> Result<Admitted, Refused> {
    match climb(&request, headers, offer, known) {
        Ok((method, facts)) => Ok(Admitted { method, request, facts }),
        Err(error) => Err(Refused { request, error }),
    }
}

/// The checks before a legacy request is served that belongs to no session, as one of `revision`. It has no capabilities of its client
/// but in `initialize`, and gets what `offer` has for such clients.
///
/// # Errors
/// The error to answer.
pub fn admit_alone(request: Request, revision: Revision, offer: &Offer) -> Result<Admitted, Refused> {
    match check_alone(&request, revision, offer) {
        Ok((method, facts)) => Ok(Admitted { method, request, facts }),
        Err(error) => Err(Refused { request, error }),
    }
}

fn check_alone(request: &Request, revision: Revision, offer: &Offer) -> Result<(Method, Arc<Facts>), ErrorObject> {
    /// Most requests have it, so it is made once.
    static UNKNOWN: LazyLock<Arc<ClientFacts>> = LazyLock::new(Arc::default);
    let method = Method::find(&request.method, revision)
        .filter(|method| offer.has(method.capability()))
        .ok_or_else(|| ErrorObject::method_not_found(&request.method))?;
    let (revision, client) = match method {
        Method::Initialize => introduction(request).map(|(revision, client)| (revision, Arc::new(client)))?,
        _ => (revision, UNKNOWN.clone()),
    };
    Ok((method, Facts::of_legacy(request, revision, client)?))
}

/// A request that is answered by an error.
#[derive(Debug)]
pub struct Refused {
    /// The request.
    pub request: Request,
    /// The answer.
    pub error: ErrorObject,
}

fn climb(
    request: &Request,
    headers: Option<RoutingHeaders<'_>>,
    offer: &Offer,
    known: &Descriptions,
) -> Result<(Method, Arc<Facts>), ErrorObject> {
    let params = request.params.as_ref();
    check(params)?;
    let mark = |mark| params.and_then(|params| params.mark(mark));
    let version = mark(Mark::ProtocolVersion).map(|raw| string(raw).unwrap_or_default());
    if let (Some(headers), Some(version)) = (headers, version.as_deref())
        && headers.protocol_version != Some(version)
    {
        let why = format!("the header MCP-Protocol-Version and _meta[\"{PROTOCOL_VERSION}\"] disagree");
        return Err(ErrorObject::header_mismatch(why));
    }
    let version = version.ok_or_else(|| missing(PROTOCOL_VERSION))?;
    let (said, info) = (mark(Mark::ClientCapabilities), mark(Mark::ClientInfo));
    let said = said.ok_or_else(|| missing(CLIENT_CAPABILITIES))?;
    let found = known.find(info, said);
    let is_known = found.is_some();
    let mut client = match found {
        Some(client) => client,
        None => Arc::new(ClientFacts { info: None, capabilities: read(said, CLIENT_CAPABILITIES)? }),
    };
    let revision = Revision::parse(&version)
        .filter(|revision| revision.era() == Era::Modern)
        .ok_or_else(|| ErrorObject::unsupported_version(&version, &supported()))?;
    let found = Method::find(&request.method, revision);
    if let Some(headers) = headers {
        routing(request, found, headers)?;
    }
    let method = found
        .filter(|method| offer.has(method.capability()))
        .ok_or_else(|| ErrorObject::method_not_found(&request.method))?;
    // Each request says so itself, and before anything is looked up (tasks extension, "Capability Negotiation").
    if method.capability() == Capability::Tasks && !declares_tasks(client.capabilities.extensions.as_ref()) {
        return Err(ErrorObject::missing_capability(&json!({ "extensions": { TASKS_EXTENSION: {} } })));
    }
    if !is_known {
        Arc::make_mut(&mut client).info = info.map(|raw| read(raw, CLIENT_INFO)).transpose()?;
        known.keep(info, said, &client);
    }
    let log_level: Option<Level> = mark(Mark::LogLevel).map(|raw| read(raw, LOG_LEVEL)).transpose()?;
    let facts = Arc::new(Facts {
        revision,
        client,
        progress_token: progress_token(params)?,
        log_level,
        input_responses: input_responses(params)?,
        request_state: request_state(params)?,
        meta: RequestMeta::of(request),
    });
    Ok((method, facts))
}

/// `Mcp-Method` and `Mcp-Name` say what the body says (Streamable HTTP, "Standard Request Headers").
fn routing(request: &Request, found: Option<Method>, headers: RoutingHeaders<'_>) -> Result<(), ErrorObject> {
    if headers.method != Some(&*request.method) {
        return Err(ErrorObject::header_mismatch("the header Mcp-Method is missing or is not the body's \"method\""));
    }
    let Some(member) = found.and_then(Method::named_by) else { return Ok(()) };
    let mirrored = match member {
        "uri" => Member::Uri,
        "taskId" => Member::TaskId,
        _ => Member::Name,
    };
    match request.params.as_ref().and_then(|params| params.member(mirrored)).and_then(string) {
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

fn read<'a, T: Deserialize<'a>>(raw: &'a str, key: &str) -> Result<T, ErrorObject> {
    serde_json::from_str(raw).map_err(|error| ErrorObject::invalid_params(format!("bad _meta[\"{key}\"]: {error}")))
}
