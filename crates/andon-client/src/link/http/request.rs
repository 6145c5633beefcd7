//! One HTTP request of the transport: its headers.

use andon_core::client::Loss;
use andon_schema::headers::wrap;
use andon_types::method;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method};

use super::send::{Answer, Headers, send};
use super::{SESSION_ID, Shared, State, refused};
use crate::link::Round;

const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const MCP_METHOD: HeaderName = HeaderName::from_static("mcp-method");
const MCP_NAME: HeaderName = HeaderName::from_static("mcp-name");

/// What to send.
pub(super) struct Exchange<'a> {
    method: Method,
    text: Option<Bytes>,
    round: Option<&'a Round>,
    last_event_id: Option<&'a str>,
}

impl<'a> Exchange<'a> {
    /// A notification or a response.
    pub(super) fn post(text: String) -> Self {
        Self { method: Method::POST, text: Some(text.into()), round: None, last_event_id: None }
    }

    /// A round of a call, whose text is this.
    pub(super) fn round(round: &'a Round, text: String) -> Self {
        Self { method: Method::POST, text: Some(text.into()), round: Some(round), last_event_id: None }
    }

    /// GET or DELETE.
    pub(super) fn bare(method: Method) -> Self {
        Self { method, text: None, round: None, last_event_id: None }
    }

    /// GET of what came after an event.
    pub(super) fn resume(last_event_id: &'a str) -> Self {
        let last_event_id = (!last_event_id.is_empty()).then_some(last_event_id);
        Self { last_event_id, ..Self::bare(Method::GET) }
    }

    /// Whether sent twice it does no more than sent once. What a method of an extension does is not known.
    fn repeats(&self) -> bool {
        match self.round {
            Some(round) => method::Method::named(&round.method).is_some_and(method::Method::is_repeatable),
            None => self.text.is_none(),
        }
    }
}

impl Shared {
    /// Sends `exchange`, see [`send`].
    pub(super) async fn request(&self, exchange: &Exchange<'_>) -> Result<Answer, Loss> {
        let headers = || self.headers(exchange);
        let text = exchange.text.as_ref();
        send(&self.options, &exchange.method, &self.address, headers, text, exchange.repeats()).await
    }

    fn headers(&self, exchange: &Exchange<'_>) -> Result<Headers, Loss> {
        let mut state = self.state();
        let rules = state.revision.rules();
        let mut headers = if exchange.text.is_none() {
            self.common(&state, None)
        } else if let Some(known) = &state.posting {
            known.clone()
        } else {
            let headers = self.common(&state, Some(JSON));
            state.posting = Some(headers.clone());
            headers
        };
        drop(state);
        if let Some(id) = exchange.last_event_id {
            let id = HeaderValue::from_str(id).map_err(|_| refused(None, "an event id that no header can carry"))?;
            headers.put(LAST_EVENT_ID, id);
        }
        let Some(round) = exchange.round.filter(|_| rules.routing_headers) else { return Ok(headers) };
        let value =
            |text: &str| HeaderValue::from_str(text).map_err(|_| refused(None, "a value that no header can carry"));
        headers.add(MCP_METHOD, value(&round.method)?);
        if let Some(name) = &round.name {
            headers.add(MCP_NAME, value(&wrap(name))?);
        }
        for (suffix, text) in &round.mirrored {
            let name = HeaderName::from_bytes(format!("mcp-param-{suffix}").as_bytes())
                .map_err(|_| refused(None, "an argument is mirrored in a header that cannot be named"))?;
            headers.put(name, value(text)?);
        }
        Ok(headers)
    }

    /// What all requests have that bring something of `content_type`, or nothing.
    fn common(&self, state: &State, content_type: Option<HeaderValue>) -> Headers {
        let rules = state.revision.rules();
        let mut headers = self.options.headers.clone();
        // Those of a round are its own.
        for name in [MCP_METHOD, MCP_NAME].into_iter().filter(|_| rules.routing_headers) {
            headers.remove(name);
        }
        match content_type {
            Some(content_type) => {
                headers.insert(CONTENT_TYPE, content_type);
                headers.insert(ACCEPT, BOTH);
            }
            None => drop(headers.insert(ACCEPT, EVENTS)),
        }
        if rules.routing_headers || (state.is_agreed && rules.version_header) {
            headers.insert("mcp-protocol-version", HeaderValue::from_static(state.revision.as_str()));
        }
        if let Some(session) = &state.session {
            headers.insert(SESSION_ID, session.clone());
        }
        Headers::new(headers)
    }
}
