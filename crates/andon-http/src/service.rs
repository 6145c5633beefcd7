//! The endpoint: one path, three verbs.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use andon_server::host::{Answer, Beginning, Host, Inbound, ResponseStream};
use andon_server::observe::{named_request_span, request_span};
use andon_server::principal::{Principal, TokenError};
use andon_types::error::ErrorObject;
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use tokio::time::{Instant, Sleep, sleep};
use tracing::Instrument as _;

use crate::body::ResponseBody;
use crate::budget::{Budget, Share};
use crate::connection::{Answers, RequestBody};
use crate::gate::{self, Refusal};
use crate::head::RequestHead;
use crate::headers::{Accepts, Field, Headers, SESSION_ID, check_body};
use crate::legacy_sse;
use crate::options::HttpOptions;
use crate::patience::Patience;
use crate::request_id::{REQUEST_ID, RequestId};

/// An MCP endpoint as a tower service. Cheap to clone; mount it in any HTTP server, or let [`Http`](crate::Http)
/// listen.
#[derive(Clone)]
pub struct HttpService(Arc<Inner>);

struct Inner {
    host: Arc<Host>,
    options: HttpOptions,
    bodies: Arc<Budget>,
    patience: Patience,
}

/// How long a body may come slower than [`BODY_RATE_MIN`].
const BODY_GRACE: Duration = Duration::from_secs(5);
/// Bytes per second.
const BODY_RATE_MIN: f64 = 1024.0;

impl HttpService {
    /// The endpoint of `host`.
    pub fn new(host: Arc<Host>, options: HttpOptions) -> Self {
        let bodies = Budget::new(options.bodies_bytes_max);
        let patience = Patience::new(options.sse_after);
        Self(Arc::new(Inner { host, options, bodies, patience }))
    }

    /// The settings.
    pub fn options(&self) -> &HttpOptions {
        &self.0.options
    }

    /// The host behind the endpoint.
    pub fn host(&self) -> &Arc<Host> {
        &self.0.host
    }

    /// Answers one request, whatever is wrong with it.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes>,
    {
        let (parts, body) = request.into_parts();
        self.take(&RequestHead::of(&parts), body).await
    }

    /// Answers the request that begins with `head`.
    pub(crate) async fn take<B>(&self, head: &RequestHead<'_>, body: B) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes>,
    {
        let id = RequestId::of(&head.headers);
        let span = match &id {
            RequestId::Given(_) => named_request_span(&id),
            RequestId::Own(_) => request_span(&id),
        };
        // Pinned before it is wrapped: it is larger than what it serves.
        let answering = std::pin::pin!(self.named(head, body));
        let mut response = answering.instrument(span.clone()).await;
        // An id that nobody logs is said only to whoever gave it.
        if !span.is_disabled() || matches!(id, RequestId::Given(_)) {
            response.headers_mut().insert(REQUEST_ID, id.to_value());
        }
        response
    }

    /// Whether a request with this head may come in, as far as that is known before its body is read; otherwise what is answered.
    #[cfg(unix)]
    pub(crate) async fn admit(&self, head: &RequestHead<'_>) -> Result<(), Response<ResponseBody>> {
        let admitted = match gate::check(head, &self.0.options) {
            Ok(()) => self.principal(&head.headers).await.map(drop),
            Err(refusal) => Err(refusal),
        };
        admitted.map_err(|(status, why)| refused(status, &why, &self.0.options))
    }

    async fn named<B>(&self, head: &RequestHead<'_>, body: B) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes>,
    {
        let response = match self.route(head, body).await {
            Ok(response) => response,
            Err((status, why)) => refused(status, &why, &self.0.options),
        };
        tracing::debug!(verb = head.method.as_str(), status = response.status().as_u16(), "answered");
        response
    }

    async fn route<B>(&self, head: &RequestHead<'_>, body: B) -> Result<Response<ResponseBody>, Refusal>
    where
        B: Body<Data = Bytes>,
    {
        gate::check(head, &self.0.options)?;
        match head.target.path {
            path if path == self.0.options.path => self.serve(&self.0.host, head, body).await,
            legacy_sse::STREAM_PATH if self.0.options.legacy_sse => self.open_stream(head).await,
            legacy_sse::MESSAGES_PATH if self.0.options.legacy_sse => self.take_message(head, body).await,
            "/healthz" if is_read(&head.method) => Ok(plain(200, "ok\n")),
            "/readyz" if is_read(&head.method) => {
                let ready = !self.0.host.is_draining();
                Ok(if ready { plain(200, "ready\n") } else { plain(503, "shutting down\n") })
            }
            path => match self.0.options.mounts.as_ref().and_then(|mounts| mounts.host_at(path)) {
                Some(host) => self.serve(&host, head, body).await,
                None => {
                    let others = self.0.options.mounts.as_ref().map(|mounts| format!(", and {}", mounts.paths()));
                    let (own, others) = (&self.0.options.path, others.unwrap_or_default());
                    Err((404, format!("no such path: the endpoint is {own}{others}")))
                }
            },
        }
    }

    /// One of the three verbs at the endpoint of `host`.
    async fn serve<B>(
        &self,
        host: &Arc<Host>,
        head: &RequestHead<'_>,
        body: B,
    ) -> Result<Response<ResponseBody>, Refusal>
    where
        B: Body<Data = Bytes>,
    {
        let headers = &head.headers;
        match head.method {
            Method::POST => self.post(host, headers, body).await,
            // Legacy and modern clients alike: without sessions there is no stream to open, and nothing to end.
            _ if host.is_stateless() => {
                let mut response =
                    refused(405, "this server has no sessions: the endpoint takes POST", &self.0.options);
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
                Ok(response)
            }
            Method::GET => self.get(host, headers).await,
            Method::DELETE => {
                let principal = self.principal(headers).await?;
                let head = headers.head().map_err(|bad| (400, bad.0))?;
                Ok(self.ready(host.delete(&head, &principal).await))
            }
            _ => Err((405, "the endpoint takes POST, GET and DELETE".to_owned())),
        }
    }

    async fn post<B>(&self, host: &Arc<Host>, headers: &Headers<'_>, body: B) -> Result<Response<ResponseBody>, Refusal>
    where
        B: Body<Data = Bytes>,
    {
        check_body(headers).map_err(|why| (415, why.to_owned()))?;
        if headers.accepts() != (Accepts { json: true, events: true }) {
            return Err((406, "the header Accept lists application/json and text/event-stream".to_owned()));
        }
        let principal = self.principal(headers).await?;
        let head = match headers.head() {
            Ok(head) => head,
            Err(bad) => return Ok(self.ready(Answer::error(400, None, &ErrorObject::header_mismatch(bad.0)))),
        };
        let (body, share) = self.read(headers, body).await?;
        let mut response = match host.post(Inbound { head, body, principal }).await {
            Answer::Stream { stream, session_id } => self.when_known(stream, session_id).await,
            answer => self.ready(answer),
        };
        response.body_mut().hold(share);
        Ok(response)
    }

    async fn get(&self, host: &Arc<Host>, headers: &Headers<'_>) -> Result<Response<ResponseBody>, Refusal> {
        if !headers.accepts().events {
            return Err((406, "the header Accept lists text/event-stream".to_owned()));
        }
        let principal = self.principal(headers).await?;
        let head = headers.head().map_err(|bad| (400, bad.0))?;
        let last_event_id = headers.single(Field::LastEventId).map_err(|bad| (400, bad.0))?;
        match host.get(&head, &principal, last_event_id).await {
            Ok(stream) => Ok(self.events(stream, None)),
            Err(answer) => Ok(self.ready(answer)),
        }
    }

    /// JSON or events: whichever the first moments of the call make of it.
    async fn when_known(&self, mut stream: ResponseStream, session_id: Option<String>) -> Response<ResponseBody> {
        let beginning = tokio::select! {
            biased;
            beginning = stream.beginning() => beginning,
            // Whoever waited so long is told that it goes on.
            () = self.0.patience.is_over() => Beginning::Events,
        };
        match beginning {
            Beginning::Nothing => {
                self.ready(Answer::Ready { status: 202, body: None, session_id, retry_after_s: None })
            }
            Beginning::Elsewhere => {
                self.ready(Answer::Ready { status: 503, body: None, session_id, retry_after_s: Some(1) })
            }
            Beginning::Whole(frame) => {
                stream.delivered();
                self.ready(Answer::whole(frame.status, frame.text, session_id))
            }
            Beginning::Events => {
                stream.begin_events();
                self.events(stream, session_id)
            }
        }
    }

    /// The body of a request, and its share of what all may take.
    pub(crate) async fn read<B>(&self, headers: &Headers<'_>, body: B) -> Result<(Bytes, Share), Refusal>
    where
        B: Body<Data = Bytes>,
    {
        read(headers, body, self.0.options.body_bytes_max, &self.0.bodies).await
    }

    fn events(&self, stream: ResponseStream, session_id: Option<String>) -> Response<ResponseBody> {
        let body = ResponseBody::events(stream, self.0.options.keep_alive_interval);
        let mut response = event_stream(body);
        name_session(response.headers_mut(), session_id);
        response
    }

    pub(crate) fn ready(&self, answer: Answer) -> Response<ResponseBody> {
        match answer {
            Answer::Ready { status, body, session_id, retry_after_s } => {
                let mut response = match body {
                    Some(body) => json(status, body.into()),
                    None => plain(status, ""),
                };
                if let Some(seconds) = retry_after_s {
                    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
                }
                name_session(response.headers_mut(), session_id);
                response
            }
            Answer::InsufficientScope { body, scopes } => {
                let mut response = json(403, body.into());
                let challenge = challenge(Some(&scopes.join(" ")), &self.0.options);
                response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
                response
            }
            Answer::Stream { mut stream, session_id } => {
                stream.begin_events();
                self.events(stream, session_id)
            }
        }
    }

    /// Who sends this very request: a session id is no proof (security best practices).
    pub(crate) async fn principal(&self, headers: &Headers<'_>) -> Result<Principal, Refusal> {
        let Some(verifier) = &self.0.options.verifier else { return Ok(Principal::anonymous()) };
        let unauthorized = |why: &str| (401, why.to_owned());
        let value = headers.single(Field::Authorization).map_err(|bad| (400, bad.0))?;
        let value = value.ok_or_else(|| unauthorized("the header Authorization is missing"))?;
        let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
        if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.contains(' ') {
            return Err(unauthorized("the header Authorization is: Bearer <token>"));
        }
        verifier.verify(token).await.map_err(|error| match error {
            TokenError::Invalid => unauthorized("the token is not valid here"),
            TokenError::InsufficientScope(scopes) => (403, format!("the token lacks the scope {}", scopes.join(" "))),
            TokenError::Unavailable => (503, "tokens cannot be checked now: try again later".to_owned()),
        })
    }
}

impl<B> tower_service::Service<Request<B>> for HttpService
where
    B: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.handle(request).await) })
    }
}

impl Answers for HttpService {
    type Body = ResponseBody;

    async fn answer(&self, head: &RequestHead<'_>, body: RequestBody) -> Response<ResponseBody> {
        self.take(head, body).await
    }

    fn refuse(&self, status: u16, why: &str) -> Response<ResponseBody> {
        refused(status, why, &self.0.options)
    }
}

/// Reads a body of at most `bytes_max`, that comes fast enough, and for which there is room in `bodies`: with its share of that.
pub(crate) async fn read<B>(
    headers: &Headers<'_>,
    body: B,
    bytes_max: usize,
    bodies: &Arc<Budget>,
) -> Result<(Bytes, Share), Refusal>
where
    B: Body<Data = Bytes>,
{
    let too_large = || (413, format!("a body of at most {bytes_max} bytes"));
    // Who has read the header knows it already.
    let header = || std::str::from_utf8(headers.only(Field::ContentLength)?).ok()?.parse().ok();
    let declared: Option<u64> = body.size_hint().exact().or_else(header);
    if declared.is_some_and(|length| length > bytes_max as u64) {
        return Err(too_large());
    }
    let slow = || (408, "the body comes too slowly".to_owned());
    let (mut body, mut share) = (std::pin::pin!(body), Share::default());
    // Most bodies are there already, and cost no look at the clock.
    let mut waits_since: Option<Instant> = None;
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    loop {
        let mut grace: Option<Pin<Box<Sleep>>> = None;
        let frame = poll_fn(|cx| match body.as_mut().poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Ok(frame)),
            Poll::Pending => {
                waits_since.get_or_insert_with(Instant::now);
                let grace = grace.get_or_insert_with(|| Box::pin(sleep(BODY_GRACE)));
                grace.as_mut().poll(cx).map(|()| Err(slow()))
            }
        });
        let frame = frame.await?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| (400, "the body ended before its end".to_owned()))?;
        // Trailers mean nothing here.
        let Ok(data) = frame.into_data() else { continue };
        let length = first.as_ref().map_or(0, Bytes::len) + rest.len() + data.len();
        if length > bytes_max {
            return Err(too_large());
        }
        bodies
            .grow(&mut share, length)
            .map_err(|_| (503, "no room for large bodies now: try again later".to_owned()))?;
        let elapsed = waits_since.map_or(Duration::ZERO, |since| since.elapsed());
        #[allow(clippy::cast_precision_loss, reason = "a body is far below 2^52 bytes")]
        let is_slow = elapsed > BODY_GRACE && (length as f64) < BODY_RATE_MIN * elapsed.as_secs_f64();
        if is_slow {
            return Err(slow());
        }
        match &first {
            None => first = Some(data),
            Some(_) => rest.extend_from_slice(&data),
        }
        // Asking once more would be for nothing.
        if body.is_end_stream() {
            break;
        }
    }
    let first = first.unwrap_or_default();
    if rest.is_empty() {
        return Ok((first, share));
    }
    let mut whole = BytesMut::with_capacity(first.len() + rest.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&rest);
    Ok((whole.freeze(), share))
}

pub(crate) fn refused(status: u16, why: &str, options: &HttpOptions) -> Response<ResponseBody> {
    let error = ErrorObject::invalid_request(why);
    let body = andon_types::message::encode_error(None, &error, andon_types::revision::Revision::LATEST.rules());
    let mut response = json(status, body.into());
    let headers = response.headers_mut();
    if status == 405 {
        headers.insert(ALLOW, HeaderValue::from_static("POST, GET, DELETE"));
    }
    let scope = (status == 403 && options.verifier.is_some()).then(|| why.split_once("scope ")).flatten();
    if status == 401 || scope.is_some() {
        headers.insert(WWW_AUTHENTICATE, challenge(scope.map(|(_, scope)| scope), options));
    }
    if status == 503 {
        headers.insert(RETRY_AFTER, HeaderValue::from(andon_server::host::retry_after_s()));
    }
    // What of the body was not read must not be taken for the next request.
    if matches!(status, 408 | 413 | 503) {
        headers.insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// RFC 6750, section 3; with `scope`, of a token that is good but lacks it.
fn challenge(scope: Option<&str>, options: &HttpOptions) -> HeaderValue {
    let mut text = "Bearer".to_owned();
    let mut separator = ' ';
    if let Some(scope) = scope {
        text.push_str(&format!(" error=\"insufficient_scope\", scope=\"{scope}\""));
        separator = ',';
    }
    if let Some(url) = &options.resource_metadata {
        text.push_str(&format!("{separator}resource_metadata=\"{url}\""));
    }
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("Bearer"))
}

/// Of HEAD all is said but the body.
fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// An answer that is a stream of events.
pub(crate) fn event_stream(body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

fn json(status: u16, body: Bytes) -> Response<ResponseBody> {
    let mut response = plain(status, body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

pub(crate) fn plain(status: u16, body: impl Into<Bytes>) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::text(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

fn name_session(headers: &mut http::HeaderMap, session_id: Option<String>) {
    if let Some(value) = session_id.and_then(|id| HeaderValue::from_str(&id).ok()) {
        headers.insert(SESSION_ID, value);
    }
}
