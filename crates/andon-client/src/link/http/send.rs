//! One HTTP request: its credentials, where it goes, and how often it is sent again.

use std::borrow::Cow;
use std::sync::Arc;

use andon_core::client::Loss;
use andon_h1::push_field;
use bytes::Bytes;
use http::header::{HOST, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use url::Url;

use super::wire::{self, Place};
use super::{HttpOptions, disconnected, refused};

const AGENT: HeaderValue = HeaderValue::from_static(concat!("andon/", env!("CARGO_PKG_VERSION")));

/// Answers to challenges, and redirects, of one request.
const RETRIES_MAX: usize = 3;

/// Where requests go, as each way of sending them wants it.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    url: Url,
    place: Option<Place>,
}

impl Address {
    /// Read once for all requests that go there.
    pub(crate) fn of(url: Url) -> Self {
        // One that no connection of our own can go to is told when a request wants it.
        let place = Place::of(&url).ok();
        Self { url, place }
    }

    fn place(&self) -> Result<&Place, Loss> {
        self.place.as_ref().ok_or_else(|| refused(None, "a URL that no request can carry"))
    }
}

/// The headers of a request. Most of them are those of all requests of their kind, which are written once.
#[derive(Debug, Clone)]
pub(crate) struct Headers {
    common: Arc<Common>,
    /// Names that are not among them.
    own: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Debug)]
struct Common {
    headers: HeaderMap,
    /// As a connection of our own has them.
    lines: Vec<u8>,
    names_a_host: bool,
    names_an_agent: bool,
}

impl Headers {
    /// These, and none of its own.
    pub(crate) fn new(headers: HeaderMap) -> Self {
        let mut lines = Vec::new();
        headers.iter().for_each(|(name, value)| push_field(&mut lines, name, value));
        let (names_a_host, names_an_agent) = (headers.contains_key(HOST), headers.contains_key(USER_AGENT));
        Self { common: Arc::new(Common { headers, lines, names_a_host, names_an_agent }), own: Vec::new() }
    }

    /// Adds one of which there is none.
    pub(super) fn add(&mut self, name: HeaderName, value: HeaderValue) {
        self.own.push((name, value));
    }

    /// Adds one, in place of those of the same name.
    pub(crate) fn put(&mut self, name: HeaderName, value: HeaderValue) {
        self.remove(&name);
        self.own.push((name, value));
    }

    /// Adds many, in place of those of the same names.
    fn extend(&mut self, headers: &HeaderMap) {
        headers.keys().for_each(|name| self.remove(name));
        self.own.extend(headers.iter().map(|(name, value)| (name.clone(), value.clone())));
    }

    fn remove(&mut self, name: &HeaderName) {
        self.own.retain(|(known, _)| known != name);
        if self.common.headers.contains_key(name) {
            let mut headers = self.common.headers.clone();
            headers.remove(name);
            self.common = Self::new(headers).common;
        }
    }

    /// Writes their lines, and `host` and the usual agent unless one of them says which.
    pub(super) fn push_to(&self, head: &mut Vec<u8>, host: &[u8]) {
        let own_names = |wanted: HeaderName| self.own.iter().any(|(name, _)| *name == wanted);
        if !self.common.names_a_host && !own_names(HOST) {
            head.extend_from_slice(host);
        }
        head.extend_from_slice(&self.common.lines);
        if !self.common.names_an_agent && !own_names(USER_AGENT) {
            push_field(head, &USER_AGENT, &AGENT);
        }
        self.own.iter().for_each(|(name, value)| push_field(head, name, value));
    }

    fn to_map(&self) -> HeaderMap {
        let mut headers = self.common.headers.clone();
        headers.extend(self.own.iter().map(|(name, value)| (name.clone(), value.clone())));
        headers
    }
}

/// An answer whose body is still to be read.
pub(crate) enum Answer {
    /// Of a client that was given, or that speaks TLS.
    Pooled(Box<reqwest::Response>),
    /// Over a connection of our own.
    Wire(Box<wire::Answer>),
}

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Pooled(response) => response.status(),
            Self::Wire(answer) => answer.status(),
        }
    }

    /// The value of the first header with this name.
    pub(crate) fn header(&self, name: &str) -> Option<&[u8]> {
        match self {
            Self::Pooled(response) => response.headers().get(name).map(HeaderValue::as_bytes),
            Self::Wire(answer) => answer.header(name),
        }
    }

    /// All headers.
    fn headers(&self) -> Cow<'_, HeaderMap> {
        match self {
            Self::Pooled(response) => Cow::Borrowed(response.headers()),
            Self::Wire(answer) => Cow::Owned(answer.headers()),
        }
    }

    /// Bytes of the body, where the server says so before.
    pub(super) fn content_length(&self) -> Option<u64> {
        match self {
            Self::Pooled(response) => response.content_length(),
            Self::Wire(answer) => answer.content_length(),
        }
    }

    /// The next piece of the body.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Loss> {
        match self {
            Self::Pooled(response) => Box::pin(response.chunk()).await.map_err(|error| disconnected(&error)),
            Self::Wire(answer) => answer.chunk().await,
        }
    }
}

/// Sends a request with credentials, again when a challenge was answered or the same origin redirects, and if it `repeats`
/// also when it met the end of a connection that had been used before.
pub(crate) async fn send(
    options: &HttpOptions,
    method: &Method,
    address: &Address,
    headers: impl Fn() -> Result<Headers, Loss>,
    body: Option<&Bytes>,
    repeats: bool,
) -> Result<Answer, Loss> {
    let mut retries = 0;
    let mut redirect = None;
    loop {
        let address = redirect.as_deref().unwrap_or(address);
        let credentials = match &options.authorizer {
            Some(authorizer) => match authorizer.known_headers(address.url.as_str()) {
                Some(known) => known,
                None => {
                    let made = authorizer.headers(method, address.url.as_str()).await;
                    made.map_err(|error| Loss::Unauthorized(error.to_string()))?
                }
            },
            None => HeaderMap::new(),
        };
        let mut headers = headers()?;
        if !credentials.is_empty() {
            headers.extend(&credentials);
        }
        options.figures.add_request();
        let response = match &options.client {
            None => Answer::Wire(Box::new({
                let body = body.map_or(&[][..], |body| body);
                wire::send(method, address.place()?, &headers, body, repeats).await?
            })),
            Some(client) => {
                let mut request = client.request(method.clone(), address.url.clone()).headers(headers.to_map());
                if let Some(body) = body {
                    request = request.body(body.clone());
                }
                // Boxed, so that what goes over connections of our own does not carry it.
                Answer::Pooled(Box::new(Box::pin(request.send()).await.map_err(|error| disconnected(&error))?))
            }
        };
        options.figures.add_answer(&response);
        if let Some(authorizer) = &options.authorizer {
            authorizer.answered(&|name| response.header(name).and_then(|value| str::from_utf8(value).ok()));
        }
        retries += 1;
        match response.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                if retries > RETRIES_MAX {
                    let why = "the server refuses the credentials again and again".to_owned();
                    return Err(Loss::Unauthorized(why));
                }
                if !Box::pin(answers_challenge(options, &response, &credentials)).await? {
                    return unanswered(options, response);
                }
                options.figures.add_challenge();
            }
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT if retries <= RETRIES_MAX => {
                redirect = Some(Box::new(Address::of(redirected(options, &response, &address.url)?)));
            }
            status if status.is_redirection() => {
                return Err(refused(Some(status), "it redirects, and a message is not sent elsewhere"));
            }
            _ => return Ok(response),
        }
    }
}

/// Whether there are new credentials after this refusal.
async fn answers_challenge(options: &HttpOptions, response: &Answer, used: &HeaderMap) -> Result<bool, Loss> {
    let Some(authorizer) = &options.authorizer else { return Ok(false) };
    let answered = authorizer.challenged(response.status(), &response.headers(), used).await;
    answered.map_err(|error| Loss::Unauthorized(error.to_string()))
}

/// A 401 is about credentials whatever its body says; a 403 may be about something else.
fn unanswered(options: &HttpOptions, response: Answer) -> Result<Answer, Loss> {
    if response.status() == StatusCode::FORBIDDEN {
        return Ok(response);
    }
    Err(Loss::Unauthorized(match options.authorizer {
        Some(_) => "the server does not accept the credentials".to_owned(),
        None => "the server wants credentials: log in, or give an Authorization header".to_owned(),
    }))
}

/// Where to send the request instead: to the same origin alone, since it carries credentials and a message.
fn redirected(options: &HttpOptions, response: &Answer, from: &Url) -> Result<Url, Loss> {
    let location = response.header(LOCATION.as_str()).and_then(|location| str::from_utf8(location).ok());
    let target = location.and_then(|location| from.join(location).ok());
    match target {
        Some(target) if target.origin() == options.url.origin() => Ok(target),
        Some(target) => {
            let host = target.host_str().unwrap_or("another place");
            let why = format!("it redirects to {host}: connect to that address if you trust it");
            Err(refused(Some(response.status()), why))
        }
        None => Err(refused(Some(response.status()), "it redirects without saying where")),
    }
}

#[cfg(test)]
mod tests;
