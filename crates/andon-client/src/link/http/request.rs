//! One HTTP request: its headers, its credentials, and how often it is sent again.

use std::sync::atomic::Ordering;

use andon_core::client::Loss;
use andon_schema::headers::wrap;
use http::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use reqwest::Response;

use super::{SESSION_ID, Shared, disconnected, refused};
use crate::link::Round;

/// Answers to challenges, and redirects, of one request.
const RETRIES_MAX: usize = 3;
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What to send.
pub(super) struct Exchange<'a> {
    method: Method,
    text: Option<&'a str>,
    round: Option<&'a Round>,
    last_event_id: Option<&'a str>,
}

impl<'a> Exchange<'a> {
    /// A notification or a response.
    pub(super) fn post(text: &'a str) -> Self {
        Self { method: Method::POST, text: Some(text), round: None, last_event_id: None }
    }

    /// A round of a call.
    pub(super) fn round(round: &'a Round) -> Self {
        Self { method: Method::POST, text: Some(&round.text), round: Some(round), last_event_id: None }
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
}

impl Shared {
    /// Sends `exchange` with credentials, again when a challenge was answered or the same origin redirects.
    pub(super) async fn request(&self, exchange: Exchange<'_>) -> Result<Response, Loss> {
        let headers = self.headers(&exchange)?;
        let mut url = self.options.url.clone();
        let mut retries = 0;
        loop {
            let credentials = match &self.options.authorizer {
                Some(authorizer) => {
                    let made = authorizer.headers(&exchange.method, url.as_str()).await;
                    made.map_err(|error| Loss::Unauthorized(error.to_string()))?
                }
                None => HeaderMap::new(),
            };
            let mut request =
                self.options.client.request(exchange.method.clone(), url.clone()).headers(headers.clone());
            request = request.headers(credentials.clone());
            if let Some(text) = exchange.text {
                request = request.body(text.to_owned());
            }
            self.options.figures.requests.fetch_add(1, Ordering::Relaxed);
            let response = request.send().await.map_err(|error| disconnected(&error))?;
            let status = response.status();
            retries += 1;
            match status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    if retries > RETRIES_MAX {
                        let why = "the server refuses the credentials again and again".to_owned();
                        return Err(Loss::Unauthorized(why));
                    }
                    if !self.answers_challenge(&response, &credentials).await? {
                        return self.unanswered(response).await;
                    }
                    self.options.figures.challenges.fetch_add(1, Ordering::Relaxed);
                }
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT if retries <= RETRIES_MAX => {
                    url = self.redirected(&response, &url)?;
                }
                status if status.is_redirection() => {
                    return Err(refused(Some(status), "it redirects, and a message is not sent elsewhere"));
                }
                _ => return Ok(response),
            }
        }
    }

    /// Whether there are new credentials after this refusal.
    async fn answers_challenge(&self, response: &Response, used: &HeaderMap) -> Result<bool, Loss> {
        let Some(authorizer) = &self.options.authorizer else { return Ok(false) };
        let answered = authorizer.challenged(response.status(), response.headers(), used).await;
        answered.map_err(|error| Loss::Unauthorized(error.to_string()))
    }

    /// A 401 is about credentials whatever its body says; a 403 may be about something else.
    async fn unanswered(&self, response: Response) -> Result<Response, Loss> {
        if response.status() == StatusCode::FORBIDDEN {
            return Ok(response);
        }
        Err(Loss::Unauthorized(match self.options.authorizer {
            Some(_) => "the server does not accept the credentials".to_owned(),
            None => "the server wants credentials: log in, or give an Authorization header".to_owned(),
        }))
    }

    /// Where to send the request instead: to the same origin alone, since it carries credentials and a message.
    fn redirected(&self, response: &Response, from: &url::Url) -> Result<url::Url, Loss> {
        let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        let target = location.and_then(|location| from.join(location).ok());
        match target {
            Some(target) if target.origin() == self.options.url.origin() => Ok(target),
            Some(target) => {
                let host = target.host_str().unwrap_or("another place");
                let why = format!("it redirects to {host}: connect to that address if you trust it");
                Err(refused(Some(response.status()), why))
            }
            None => Err(refused(Some(response.status()), "it redirects without saying where")),
        }
    }

    fn headers(&self, exchange: &Exchange<'_>) -> Result<HeaderMap, Loss> {
        let state = self.state();
        let rules = state.revision.rules();
        let mut headers = self.options.headers.clone();
        if exchange.text.is_some() {
            headers.insert(CONTENT_TYPE, JSON);
            headers.insert(ACCEPT, BOTH);
        } else {
            headers.insert(ACCEPT, EVENTS);
        }
        if rules.routing_headers || (state.is_agreed && rules.version_header) {
            headers.insert("mcp-protocol-version", HeaderValue::from_static(state.revision.as_str()));
        }
        if let Some(session) = &state.session {
            headers.insert(SESSION_ID, session.clone());
        }
        if let Some(id) = exchange.last_event_id {
            let id = HeaderValue::from_str(id).map_err(|_| refused(None, "an event id that no header can carry"))?;
            headers.insert("last-event-id", id);
        }
        let Some(round) = exchange.round.filter(|_| rules.routing_headers) else { return Ok(headers) };
        let value =
            |text: &str| HeaderValue::from_str(text).map_err(|_| refused(None, "a value that no header can carry"));
        headers.insert("mcp-method", value(&round.method)?);
        if let Some(name) = &round.name {
            headers.insert("mcp-name", value(&wrap(name))?);
        }
        for (suffix, text) in &round.mirrored {
            let name = HeaderName::from_bytes(format!("mcp-param-{suffix}").as_bytes())
                .map_err(|_| refused(None, "an argument is mirrored in a header that cannot be named"))?;
            headers.insert(name, value(text)?);
        }
        Ok(headers)
    }
}
