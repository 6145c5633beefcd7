//! What HTTP and JSON cost: reads each request into a typed struct and writes the answer from one.
//!
//! No protocol and no checks: three tools, sessions that are ids in a map, and streams that are channels. A server on the same HTTP
//! library that does its duty cannot be faster than this.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::mpsc::{self, Receiver, Sender, error::TrySendError};

use crate::wire::Era;

/// Parts of the map of sessions, each with a lock of its own.
const SHARDS: usize = 64;
/// Events that may wait for one stream.
const QUEUE_EVENTS: usize = 64;

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    arguments: Option<Arguments<'a>>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<RequestMeta<'a>>,
}

#[derive(Deserialize)]
struct Arguments<'a> {
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
    steps: Option<u32>,
    #[serde(borrow)]
    uri: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestMeta<'a> {
    #[serde(borrow)]
    progress_token: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct CallResponse<'a> {
    jsonrpc: &'static str,
    id: Option<&'a RawValue>,
    result: CallToolResult<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CallToolResult<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    result_type: Option<&'static str>,
    content: [TextContent<'a>; 1],
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    meta: Option<&'static Meta>,
}

#[derive(Serialize)]
struct Meta {
    #[serde(rename = "io.modelcontextprotocol/serverInfo")]
    server_info: ServerInfo,
}

#[derive(Serialize)]
struct ServerInfo {
    name: &'static str,
    version: &'static str,
    title: &'static str,
}

/// What a modern answer carries besides: the same as the demo server's.
static META: Meta =
    Meta { server_info: ServerInfo { name: "andon-demo", version: env!("CARGO_PKG_VERSION"), title: "Andon demo" } };

#[derive(Serialize)]
struct TextContent<'a> {
    r#type: &'static str,
    text: &'a str,
}

/// As long as what the demo server says of itself.
const INITIALIZED: &str = concat!(
    r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25","capabilities":{"completions":{},"logging":{},"#,
    r#""prompts":{"listChanged":true},"resources":{"listChanged":true,"subscribe":true},"tools":{"listChanged":true}},"#,
    r#""serverInfo":{"name":"andon-demo","version":"0.1.0","title":"Andon demo"},"#,
    r#""instructions":"A demo server: try its tools, read demo://item/1, subscribe to demo://clock."}}"#
);
const SUBSCRIBED: &[u8] = br#"{"jsonrpc":"2.0","id":100000000,"result":{}}"#;
const ACKNOWLEDGED: &[u8] = concat!(
    "event: message\ndata: ",
    r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{},"_meta":{"#,
    r#""io.modelcontextprotocol/subscriptionId":100000000}}}"#,
    "\n\n"
)
.as_bytes();

/// The bare server: its sessions and its streams.
pub struct Floor {
    sessions: [Mutex<HashSet<u128>>; SHARDS],
    streams: Mutex<Vec<Sender<Bytes>>>,
}

impl Default for Floor {
    fn default() -> Self {
        Self { sessions: std::array::from_fn(|_| Mutex::default()), streams: Mutex::default() }
    }
}

impl Floor {
    /// Answers one request.
    pub async fn answer<B>(self: Arc<Self>, request: Request<B>) -> Response<Answer>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let (parts, body) = request.into_parts();
        if parts.method == Method::GET {
            return events(self.open(None));
        }
        let revision = parts.headers.get("mcp-protocol-version");
        let is_modern = revision.is_some_and(|value| value.as_bytes() == Era::Modern.revision().as_bytes());
        let Ok(body) = super::read(body).await else { return empty(StatusCode::BAD_REQUEST) };
        let Ok(message) = serde_json::from_slice::<Message<'_>>(&body) else { return empty(StatusCode::BAD_REQUEST) };
        match (message.id, &*message.method, message.params) {
            (Some(id), "tools/call", Some(params)) => self.call(is_modern, id, &params),
            (Some(_), "initialize", _) => self.initialize(),
            (Some(_), "resources/subscribe", _) => json(Bytes::from_static(SUBSCRIBED)),
            (Some(_), "subscriptions/listen", _) => events(self.open(Some(Bytes::from_static(ACKNOWLEDGED)))),
            (None, _, _) => empty(StatusCode::ACCEPTED),
            _ => empty(StatusCode::BAD_REQUEST),
        }
    }

    fn call(&self, is_modern: bool, id: &RawValue, params: &Params<'_>) -> Response<Answer> {
        let Some(arguments) = &params.arguments else { return empty(StatusCode::BAD_REQUEST) };
        let answer = |text: &str| answered(is_modern, id, text);
        match (arguments, params.name.as_deref()) {
            (Arguments { message: Some(message), .. }, _) => json(answer(message).into()),
            (Arguments { uri: Some(uri), .. }, Some("touch")) => {
                self.tell(&event(&format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":"{uri}"}}}}"#
                )));
                json(answer("touched").into())
            }
            (Arguments { steps: Some(steps), .. }, Some("steps")) => {
                let token = params.meta.as_ref().and_then(|meta| meta.progress_token).map_or("null", RawValue::get);
                let mut pieces: Vec<Bytes> = (1..=*steps).map(|step| progress(token, step, *steps)).collect();
                let text = answer(&format!("took {steps} steps"));
                pieces.push(event(&String::from_utf8_lossy(&text)));
                pieces.reverse();
                events(Answer::Burst(pieces))
            }
            _ => empty(StatusCode::BAD_REQUEST),
        }
    }

    /// Mints an id that nobody can guess, and keeps it.
    fn initialize(&self) -> Response<Answer> {
        let mut bytes = [0; 16];
        if getrandom::fill(&mut bytes).is_err() {
            return empty(StatusCode::INTERNAL_SERVER_ERROR);
        }
        let id = u128::from_ne_bytes(bytes);
        self.sessions[usize::from(bytes[0]) % SHARDS].lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        let mut response = json(Bytes::from_static(INITIALIZED.as_bytes()));
        let id = HeaderValue::try_from(format!("{id:032x}")).expect("invariant: hexadecimal digits are visible");
        response.headers_mut().insert("mcp-session-id", id);
        response
    }

    fn open(&self, first: Option<Bytes>) -> Answer {
        let (sender, receiver) = mpsc::channel(QUEUE_EVENTS);
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        Answer::Stream(first, receiver)
    }

    /// Tells all streams; those that are closed or too slow are forgotten.
    fn tell(&self, event: &Bytes) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|stream| {
            let sent = stream.try_send(event.clone());
            !matches!(sent, Err(TrySendError::Closed(_) | TrySendError::Full(_)))
        });
    }
}

/// Answers one message a line, until there are no more; many at once where they are there.
///
/// # Errors
/// The streams are closed.
pub(super) fn serve_lines(mut input: BufReader<impl Read>, mut output: impl Write) -> std::io::Result<()> {
    let (mut line, mut text) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if let Ok(Message { id: Some(id), method, params }) = serde_json::from_slice::<Message<'_>>(&line) {
            let is_modern = params.as_ref().is_some_and(|params| params.meta.is_some());
            match params.and_then(|params| params.arguments?.message) {
                Some(message) => text.extend(answered(is_modern, id, &message)),
                None if method == "initialize" => text.extend(INITIALIZED.as_bytes()),
                None => text.extend(br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32601,"message":"unknown"}}"#),
            }
            text.push(b'\n');
        }
        if !text.is_empty() && !input.buffer().contains(&b'\n') {
            output.write_all(&text)?;
            output.flush()?;
            text.clear();
        }
    }
}

fn answered(is_modern: bool, id: &RawValue, text: &str) -> Vec<u8> {
    let response = CallResponse {
        jsonrpc: "2.0",
        id: Some(id),
        result: CallToolResult {
            result_type: is_modern.then_some("complete"),
            content: [TextContent { r#type: "text", text }],
            meta: is_modern.then_some(&META),
        },
    };
    let mut bytes = Vec::with_capacity(256 + text.len());
    serde_json::to_writer(&mut bytes, &response).expect("invariant: the answer is plain data");
    bytes
}

/// The body of an answer.
pub enum Answer {
    /// In one piece.
    Whole(Option<Bytes>),
    /// Events that are there already, the last one first.
    Burst(Vec<Bytes>),
    /// Events as they come, and one that is there already.
    Stream(Option<Bytes>, Receiver<Bytes>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let next = match &mut *self {
            Self::Whole(piece) => Poll::Ready(piece.take()),
            Self::Burst(pieces) => Poll::Ready(pieces.pop()),
            Self::Stream(first, later) => match first.take() {
                Some(first) => Poll::Ready(Some(first)),
                None => later.poll_recv(context),
            },
        };
        next.map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(piece) => piece.is_none(),
            Self::Burst(pieces) => pieces.is_empty(),
            Self::Stream(..) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(piece) => SizeHint::with_exact(piece.as_ref().map_or(0, Bytes::len) as u64),
            Self::Burst(_) | Self::Stream(..) => SizeHint::default(),
        }
    }
}

fn progress(token: &str, step: u32, steps: u32) -> Bytes {
    event(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{step}.0,"total":{steps}.0,"message":"step {step}"}}}}"#
    ))
}

fn event(data: &str) -> Bytes {
    format!("event: message\ndata: {data}\n\n").into()
}

fn json(body: Bytes) -> Response<Answer> {
    with(StatusCode::OK, "application/json", Answer::Whole(Some(body)))
}

fn events(body: Answer) -> Response<Answer> {
    with(StatusCode::OK, "text/event-stream", body)
}

fn empty(status: StatusCode) -> Response<Answer> {
    with(status, "application/json", Answer::Whole(None))
}

fn with(status: StatusCode, media: &'static str, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

#[cfg(test)]
mod tests;
