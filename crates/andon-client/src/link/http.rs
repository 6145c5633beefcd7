//! Streamable HTTP, as a client: a POST for each message, one standing GET for a legacy session.

mod figures;
mod request;
pub(crate) mod send;
mod streams;
mod wire;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use andon_auth::net::first_cause;
use andon_core::client::Loss;
use andon_types::error::{ErrorCode, ErrorObject};
use andon_types::message::{Body, Message, RequestId};
use andon_types::revision::Revision;
use andon_types::scan::ScanLimits;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::{Ear, Heard, Link, Round};
use crate::authorize::Authorizer;
use crate::carriage::Carriage;
use crate::secrets::Secrets;
pub use figures::Figures;
use request::Exchange;
use send::{Address, Answer, Headers};

const SESSION_ID: &str = "mcp-session-id";
/// Bytes of an error's body that are looked at.
const ERROR_BYTES_MAX: usize = 64 << 10;
/// How long a server may take to say whether it knows a session.
const CHECK: Duration = Duration::from_secs(10);
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(3);
/// How long a server may take to open the standing stream before it is no longer waited for.
const STANDING: Duration = Duration::from_secs(1);
/// How long the rest of a stream is read after its answer, so that its connection can be used again.
const TAIL: Duration = Duration::from_secs(1);

/// How the transport behaves.
#[derive(Clone)]
pub(crate) struct HttpOptions {
    pub(crate) url: url::Url,
    /// Added to every request.
    pub(crate) headers: HeaderMap,
    /// What is not repeated of what the server says.
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) authorizer: Option<Arc<dyn Authorizer>>,
    /// Bytes of one message.
    pub(crate) message_bytes_max: usize,
    /// Without one plain HTTP goes over connections of our own.
    pub(crate) client: Option<reqwest::Client>,
    pub(crate) figures: Arc<Figures>,
}

/// A connection over Streamable HTTP.
pub(crate) struct HttpLink(Arc<Shared>);

pub(crate) struct Shared {
    options: HttpOptions,
    address: Address,
    ear: Ear,
    state: Mutex<State>,
}

struct State {
    revision: Revision,
    /// The revision is agreed on, and requests carry it.
    is_agreed: bool,
    session: Option<HeaderValue>,
    /// What all messages carry, once one was sent.
    posting: Option<Headers>,
    standing: Option<AbortHandle>,
}

impl State {
    fn set_session(&mut self, session: Option<HeaderValue>) {
        (self.session, self.posting) = (session, None);
    }
}

impl HttpLink {
    pub(crate) fn new(options: HttpOptions, ear: Ear) -> Self {
        let state =
            State { revision: Revision::LATEST, is_agreed: false, session: None, posting: None, standing: None };
        let address = Address::of(options.url.clone());
        Self(Arc::new(Shared { options, address, ear, state: Mutex::new(state) }))
    }
}

impl Drop for HttpLink {
    fn drop(&mut self) {
        if let Some(standing) = self.0.state().standing.take() {
            standing.abort();
        }
    }
}

impl Link for HttpLink {
    fn send(&self, mut round: Round) -> Option<Carriage> {
        let call = round.call;
        let shared = self.0.clone();
        let carriage = async move {
            let text = std::mem::take(&mut round.text);
            match shared.run(&round, text).await {
                Ok(()) => {}
                Err(Failure::Loss(loss)) => (shared.ear)(Heard::Failed { call, loss }),
                Err(Failure::Refused { status, error }) => (shared.ear)(Heard::Refused { call, status, error }),
            }
        };
        Some(carriage.boxed())
    }

    fn say(&self, text: String) -> BoxFuture<'static, ()> {
        let shared = self.0.clone();
        async move {
            match shared.request(&Exchange::post(text)).await {
                Ok(response) if response.status().is_success() => {}
                Ok(response) => tracing::debug!(status = response.status().as_u16(), "the server refused a message"),
                Err(loss) => tracing::debug!(%loss, "a message was not delivered"),
            }
        }
        .boxed()
    }

    fn hears_hang_up(&self) -> bool {
        self.0.state().revision.rules().disconnect_cancels
    }

    fn speak(&self, revision: Revision, is_agreed: bool) {
        let mut state = self.0.state();
        (state.revision, state.is_agreed, state.posting) = (revision, is_agreed, None);
    }

    fn settle(&self) -> BoxFuture<'_, ()> {
        let opened = {
            let mut state = self.0.state();
            if let Some(standing) = state.standing.take() {
                standing.abort();
            }
            state.revision.rules().server_requests.then(|| {
                let (opened, is_open) = oneshot::channel();
                let shared = self.0.clone();
                state.standing = Some(tokio::spawn(async move { shared.stand(opened).await }).abort_handle());
                is_open
            })
        };
        async {
            // What a server says before this stream is there, some servers lose.
            if let Some(opened) = opened {
                drop(tokio::time::timeout(STANDING, opened).await);
            }
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {
            let session = {
                let mut state = self.0.state();
                if let Some(standing) = state.standing.take() {
                    standing.abort();
                }
                state.session.is_some()
            };
            if session {
                let farewell = Exchange::bare(Method::DELETE);
                let ending = self.0.request(&farewell);
                drop(tokio::time::timeout(FAREWELL, ending).await);
                self.0.state().set_session(None);
            }
        }
        .boxed()
    }
}

/// Why a round has no answer.
enum Failure {
    Loss(Loss),
    Refused { status: u16, error: ErrorObject },
}

impl From<Loss> for Failure {
    fn from(loss: Loss) -> Self {
        Self::Loss(loss)
    }
}

/// What a status that is no success says.
enum Refusal {
    /// An error of JSON-RPC, which answers the request with this id.
    Error {
        status: u16,
        id: Option<RequestId>,
        error: ErrorObject,
    },
    Other(Loss),
}

impl Refusal {
    /// Whether it says nothing else that is wrong.
    fn may_mean_the_session(&self) -> bool {
        const OTHERS: [ErrorCode; 4] =
            [ErrorCode::ParseError, ErrorCode::MethodNotFound, ErrorCode::InvalidParams, ErrorCode::InternalError];
        match self {
            Self::Error { error, .. } => !OTHERS.iter().any(|code| error.code == *code as i32),
            Self::Other(_) => true,
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Error { status, error, .. } => Self::Refused { status, error },
            Refusal::Other(loss) => Self::Loss(loss),
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a round and hears what comes back until its answer was there.
    async fn run(&self, round: &Round, text: String) -> Result<(), Failure> {
        let is_opening = &*round.method == "initialize";
        if is_opening {
            self.state().set_session(None);
        }
        let session = self.state().session.clone();
        let response = self.request(&Exchange::round(round, text)).await?;
        let status = response.status();
        if !status.is_success() {
            return Err(match session {
                Some(session) => Box::pin(self.refusal_within(session, response, round.wire_id)).await,
                None => Box::pin(self.refusal(response)).await.into(),
            });
        }
        if is_opening && let Some(session) = response.header(SESSION_ID) {
            let is_one = session.iter().all(|byte| (0x21..=0x7e).contains(byte)) && (1..=1024).contains(&session.len());
            let known = HeaderValue::from_bytes(session).ok().filter(|_| is_one);
            if known.is_none() {
                return Err(refused(Some(status), "its session id is not visible ASCII of at most 1,024 bytes").into());
            }
            self.state().set_session(known);
        }
        match media_type(&response) {
            Some(kind) if kind.eq_ignore_ascii_case("application/json") => {
                let body = self.read(response, self.options.message_bytes_max).await?;
                if self.hear(&body, Some(round.wire_id))? {
                    return Ok(());
                }
                Err(refused(Some(status), "its body does not answer the request").into())
            }
            Some(kind) if kind.eq_ignore_ascii_case("text/event-stream") => {
                Box::pin(self.follow(response, round)).await
            }
            _ if status == StatusCode::ACCEPTED || status == StatusCode::NO_CONTENT => {
                Err(refused(Some(status), "a request wants an answer, and this is none").into())
            }
            other => {
                let mut found = other.unwrap_or("nothing").to_owned();
                self.options.secrets.mask(&mut found);
                let why =
                    format!("its body is neither JSON nor an event stream but {}", andon_types::error::clip(&found));
                Err(refused(Some(status), why).into())
            }
        }
    }

    /// Hears the messages of `bytes`. Whether one of them answers `wire_id`.
    fn hear(&self, bytes: &[u8], wire_id: Option<i64>) -> Result<bool, Loss> {
        let body = Body::parse(bytes, ScanLimits::default())
            .map_err(|malformed| refused(None, format!("the server sent no message: {}", malformed.error.message)))?;
        let hear = |message: Message| {
            let answers = matches!((&message, wire_id),
                (Message::Response(response), Some(id)) if response.id == Some(RequestId::Number(id)));
            (self.ear)(match wire_id {
                Some(wire_id) => Heard::Related { wire_id, message },
                None => Heard::Message(message),
            });
            answers
        };
        let messages = match body {
            Body::Single(message) => return Ok(hear(message)),
            Body::Batch(messages) => messages,
        };
        let mut answered = false;
        for message in messages {
            match message {
                Ok(message) => answered |= hear(message),
                Err(malformed) => (self.ear)(Heard::Noise(malformed.error.message)),
            }
        }
        Ok(answered)
    }

    /// The same about a round in a session, which it may say to be gone: by 404, as it should ("Session Management"), or
    /// by a 400 that means the request or the session. Then a ping in that session is refused as well.
    async fn refusal_within(&self, session: HeaderValue, response: Answer, wire_id: i64) -> Failure {
        let status = response.status();
        if status == StatusCode::NOT_FOUND {
            return Loss::SessionGone.into();
        }
        let refusal = self.refusal(response).await;
        if status == StatusCode::BAD_REQUEST && refusal.may_mean_the_session() && self.is_gone(&session).await {
            return Loss::SessionGone.into();
        }
        match refusal {
            // What does not answer this request was said by what stands before the server.
            Refusal::Error { id, error, .. } if id != Some(RequestId::Number(wire_id)) => {
                refused(Some(status), error.message).into()
            }
            refusal => refusal.into(),
        }
    }

    /// Whether the server does not know this session any more, or it was replaced meanwhile.
    pub(super) async fn is_gone(&self, session: &HeaderValue) -> bool {
        const PING: &str = r#"{"jsonrpc":"2.0","id":"still-there","method":"ping"}"#;
        if self.state().session.as_ref() != Some(session) {
            return true;
        }
        match tokio::time::timeout(CHECK, self.request(&Exchange::post(PING.to_owned()))).await {
            Ok(Ok(response)) => matches!(response.status(), StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND),
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// What a status that is no success says.
    async fn refusal(&self, response: Answer) -> Refusal {
        let status = response.status();
        let body = match self.read(response, ERROR_BYTES_MAX).await {
            Ok(body) => body,
            Err(_) => return Refusal::Other(refused(Some(status), "and its body cannot be read")),
        };
        if let Ok(Body::Single(Message::Response(response))) = Body::parse(&body, ScanLimits::default())
            && let Err(error) = response.outcome
        {
            return Refusal::Error { status: status.as_u16(), id: response.id, error };
        }
        let mut text = String::from_utf8_lossy(&body).into_owned();
        // Half of a secret would not be known for one.
        self.options.secrets.mask(&mut text);
        let text = andon_types::error::clip(text.trim());
        let reason = status.canonical_reason().unwrap_or("no reason given");
        Refusal::Other(refused(Some(status), if text.is_empty() { reason.to_owned() } else { text.to_owned() }))
    }

    /// A body of at most `bytes_max`.
    async fn read(&self, mut response: Answer, bytes_max: usize) -> Result<Bytes, Loss> {
        let too_large = || refused(None, format!("the server's answer is larger than {bytes_max} bytes"));
        if response.content_length().is_some_and(|length| length > bytes_max as u64) {
            return Err(too_large());
        }
        let Some(first) = response.chunk().await? else { return Ok(Bytes::new()) };
        let mut more = Vec::new();
        loop {
            if more.len().max(first.len()) > bytes_max {
                return Err(too_large());
            }
            match response.chunk().await? {
                Some(piece) if more.is_empty() => more = [&*first, &*piece].concat(),
                Some(piece) => more.extend_from_slice(&piece),
                // Nearly all come in one piece.
                None if more.is_empty() => return Ok(first),
                None => return Ok(more.into()),
            }
        }
    }
}

fn media_type(response: &Answer) -> Option<&str> {
    const JSON: &str = "application/json";
    let value = response.header(CONTENT_TYPE.as_str())?;
    if value == JSON.as_bytes() {
        return Some(JSON);
    }
    let value = str::from_utf8(value).ok()?;
    Some(value.split_once(';').map_or(value, |(kind, _)| kind).trim_ascii())
}

fn refused(status: Option<StatusCode>, why: impl Into<String>) -> Loss {
    Loss::Refused { status: status.map(|status| status.as_u16()), why: why.into() }
}

/// The last of the chain of causes says what happened.
pub(super) fn disconnected(error: &reqwest::Error) -> Loss {
    let why = first_cause(error).unwrap_or_else(|| error.to_string());
    if error.is_connect() { Loss::Unreachable(why) } else { Loss::Disconnected(why) }
}
