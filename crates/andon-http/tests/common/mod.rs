//! A server on a real socket, and a client of raw bytes.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses its part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use andon_core::port::Store;
use andon_http::{Http, HttpOptions};
use andon_server::catalogue::Catalogue;
use andon_server::context::Context;
use andon_server::entry::{ResourceEntry, ToolEntry};
use andon_server::failure::ToolError;
use andon_server::handler::ReadRequest;
use andon_server::host::Host;
use andon_server::options::HostOptions;
use andon_server::principal::{Principal, TokenError, TokenVerifier};
use andon_server::server::Server;
use andon_server::sessions::Sessions;
use andon_types::client::InputRequest;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

pub const MODERN: &str = "2026-07-28";

/// Handlers that wait do so until the test lets them go on.
#[derive(Default)]
pub struct Gates {
    /// It waits, and its connection carries it: of `linger`.
    pub begun: Notify,
    pub go: Notify,
    /// It came to its own end: of `linger`.
    pub done: Notify,
    pub dropped: Notify,
}

pub struct Running {
    catalogue: Catalogue,
    pub address: SocketAddr,
    pub host: Arc<Host>,
    pub gates: Arc<Gates>,
    serving: AbortHandle,
}

impl Running {
    /// Stops at once, without a word to anybody.
    pub fn kill(self) {
        self.serving.abort();
    }

    /// Says that a resource changed.
    pub fn updated(&self, uri: &str) {
        self.catalogue.updated(uri);
    }
}

struct Dropped(Arc<Gates>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.dropped.notify_one();
    }
}

/// Waits until the gate opens, until it is a task of its own, or once before it panics, as `end` says. Where its connection
/// does not carry it when it waits, it fails.
async fn linger(gates: Arc<Gates>, end: &str) -> Result<&'static str, ToolError> {
    let _dropped = Dropped(gates.clone());
    let carrier = tokio::task::try_id();
    tokio::task::yield_now().await;
    if carrier.is_none() || tokio::task::try_id() != carrier {
        return Err(ToolError::new("nobody carries it"));
    }
    gates.begun.notify_one();
    match end {
        "go" => gates.go.notified().await,
        "alone" => {
            let is_carried = || tokio::task::try_id() == carrier;
            std::future::poll_fn(|_| if is_carried() { Poll::Pending } else { Poll::Ready(()) }).await;
            tokio::task::yield_now().await;
        }
        _ => panic!("on purpose, with a secret"),
    }
    gates.done.notify_one();
    Ok("lingered")
}

/// The test server: echo, wait (until the gate opens), linger (without a word), ask, panic, steps, close.
pub async fn start() -> Running {
    start_with(|_| ()).await
}

pub async fn start_with(change: impl FnOnce(&mut HttpOptions)) -> Running {
    start_limited(change, |_| ()).await
}

pub async fn start_limited(change: impl FnOnce(&mut HttpOptions), limit: impl FnOnce(&mut HostOptions)) -> Running {
    start_keeping(Sessions::memory(), change, limit).await
}

/// A process that keeps sessions in `store`.
pub async fn start_in(store: &Arc<dyn Store>) -> Running {
    start_keeping(Sessions::in_store(store.clone()), |_| (), |_| ()).await
}

pub async fn start_keeping(
    sessions: Sessions,
    change: impl FnOnce(&mut HttpOptions),
    limit: impl FnOnce(&mut HostOptions),
) -> Running {
    let gates = Arc::new(Gates::default());
    let runs = Arc::new(AtomicU32::new(0));
    let any = || json!({"type": "object"});
    let waiting = gates.clone();
    let mut limits = HostOptions::default();
    limit(&mut limits);
    let server = Server::new("test", "1")
        .options(limits)
        .sessions(sessions)
        .with(ToolEntry::from_fn("echo", any(), |arguments: Value, _| async move { arguments["message"].to_string() }))
        .with(ToolEntry::from_fn("wait", any(), move |_: Value, context: Context| {
            let gates = waiting.clone();
            async move {
                let _dropped = Dropped(gates.clone());
                context.progress(1.0, None, None).await?;
                gates.go.notified().await;
                Ok::<_, ToolError>("waited")
            }
        }))
        .with(ToolEntry::from_fn("linger", any(), {
            let gates = gates.clone();
            move |arguments: Value, _: Context| {
                let gates = gates.clone();
                async move { linger(gates, arguments["end"].as_str().unwrap()).await }
            }
        }))
        .with(ToolEntry::from_fn("ask", any(), |_: Value, context: Context| async move {
            let answer = context
                .ask(Some("q"), InputRequest::form("Well?", json!({"type": "object", "properties": {}})))
                .await?;
            Ok::<_, ToolError>(answer["action"].to_string())
        }))
        .with(ToolEntry::from_fn("interrogate", any(), |_: Value, context: Context| async move {
            let mut asked = 0;
            loop {
                let form = InputRequest::form("Again?", json!({"type": "object", "properties": {}}));
                match context.ask(None, form).await {
                    Ok(_) => asked += 1,
                    Err(error) => return Err::<String, _>(ToolError::new(format!("after {asked}: {error}"))),
                }
            }
        }))
        .with(ToolEntry::from_fn("flood", any(), |_: Value, context: Context| async move {
            for step in 1..=100_000 {
                context.progress(f64::from(step), None, None).await?;
            }
            Ok::<_, ToolError>("flooded")
        }))
        .with(ToolEntry::from_fn("recite", any(), |arguments: Value, context: Context| async move {
            let (lines, bytes) = (arguments["lines"].as_u64().unwrap(), arguments["bytes"].as_u64().unwrap());
            let text = "x".repeat(usize::try_from(bytes).unwrap());
            for line in 1..=lines {
                context.progress(line as f64, None, Some(&text)).await?;
            }
            Ok::<_, ToolError>("recited")
        }))
        .with(ToolEntry::from_fn("count", any(), {
            let runs = runs.clone();
            move |_: Value, _: Context| {
                let runs = runs.clone();
                async move { runs.fetch_add(1, Ordering::Relaxed) + 1 }
            }
        }))
        .with(ToolEntry::from_fn("keep", any(), |arguments: Value, context: Context| async move {
            // The handle that the client gave back, or the session, or a new handle.
            let step = match (arguments["handle"].as_str(), context.session().get::<u32>("n")) {
                (None, Ok(n)) => {
                    let n = n.unwrap_or(0) + 1;
                    context.session().put("n", &n).await?;
                    (n, String::new())
                }
                (handle, _) => {
                    let values = context.values(handle).await?;
                    let n = values.get::<u32>("n").await?.unwrap_or(0) + 1;
                    values.put("n", &n).await?;
                    (n, values.handle().to_owned())
                }
            };
            Ok::<_, ToolError>(format!("{} {}", step.0, step.1))
        }))
        .with(ToolEntry::from_fn("panic", any(), |arguments: Value, _| async move {
            assert!(!arguments.is_object(), "on purpose, with a secret");
            "never"
        }))
        .with(ResourceEntry::from_fn("test://a", "a", |_: ReadRequest, _| async { "text" }));
    let catalogue = server.catalogue();
    let host = server.build().unwrap();
    let http = Http::bind("127.0.0.1:0").unwrap().with_options(change);
    let address = http.address();
    let serving = tokio::spawn(http.run(host.clone(), std::future::pending()));
    Running { catalogue, address, host, gates, serving: serving.abort_handle() }
}

/// Two people: tokens "alice" and "bob".
pub struct People;

impl TokenVerifier for People {
    fn verify<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Principal, TokenError>> {
        Box::pin(async move {
            match token {
                "alice" | "bob" => Ok(Principal::verified(token, [])),
                _ => Err(TokenError::Invalid),
            }
        })
    }
}

#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")));
        found.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
    }

    /// The body as JSON, or the last message of a stream.
    pub fn json(&self) -> Value {
        let text = self.body.lines().rev().find_map(|line| line.strip_prefix("data: ").filter(|data| !data.is_empty()));
        serde_json::from_str(text.unwrap_or(&self.body)).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub fn code(&self) -> i64 {
        self.json()["error"]["code"].as_i64().unwrap_or_else(|| panic!("no error: {self:?}"))
    }

    /// (id, data) of each event.
    pub fn events(&self) -> Vec<(String, String)> {
        parse_events(&self.body)
    }
}

pub fn parse_events(text: &str) -> Vec<(String, String)> {
    let field = |event: &str, name: &str| {
        event.lines().find_map(|line| line.strip_prefix(name).map(|rest| rest.trim().to_owned())).unwrap_or_default()
    };
    let events = text.split("\n\n").filter(|event| event.contains("data:"));
    events.map(|event| (field(event, "id:"), field(event, "data:"))).collect()
}

/// Sends bytes and reads until the other side closes.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> Response {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A server may close with what it did not read still unread.
    drop(tokio::time::timeout(Duration::from_secs(20), socket.read_to_end(&mut answer)).await.expect("an end"));
    read(&answer)
}

pub fn read(answer: &[u8]) -> Response {
    let text = String::from_utf8_lossy(answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunk(body) } else { body.to_owned() };
    Response { status, head: head.to_owned(), body }
}

/// What the process has in memory; nothing where the system does not say.
pub fn rss_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok()).map_or(0, |kb| kb * 1024)
}

fn unchunk(mut text: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        if size == 0 || rest.len() < size {
            break;
        }
        whole.push_str(&rest[..size]);
        text = rest[size..].trim_start_matches("\r\n");
    }
    whole
}

pub fn request(verb: &str, headers: &[(&str, &str)], body: &str) -> String {
    request_to("/mcp", verb, headers, body)
}

pub fn request_to(target: &str, verb: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut text = format!("{verb} {target} HTTP/1.1\r\n");
    let defaults = [
        ("Host", "localhost"),
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
        ("Connection", "close"),
    ];
    for (name, value) in defaults {
        if !headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    for (name, value) in headers.iter().filter(|(_, value)| *value != "-") {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    format!("{text}\r\n{body}")
}

pub async fn send(address: SocketAddr, verb: &str, headers: &[(&str, &str)], body: &str) -> Response {
    raw(address, request(verb, headers, body).as_bytes()).await
}

pub async fn post(address: SocketAddr, headers: &[(&str, &str)], body: &Value) -> Response {
    send(address, "POST", headers, &body.to_string()).await
}

pub fn initialize(revision: &str) -> Value {
    let params = json!({"protocolVersion": revision, "capabilities": {"elicitation": {}},
        "clientInfo": {"name": "test", "version": "1"}});
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
}

pub fn call(id: u32, tool: &str) -> Value {
    let params = json!({"name": tool, "arguments": {"message": "hi"}, "_meta": {"progressToken": id}});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
}

/// Opens a session and returns its id.
pub async fn open(address: SocketAddr, revision: &str, headers: &[(&str, &str)]) -> String {
    let response = post(address, headers, &initialize(revision)).await;
    assert_eq!(response.status, 200, "{response:?}");
    let id = response.header("mcp-session-id").expect("a session").to_owned();
    let mut all = headers.to_vec();
    all.push(("Mcp-Session-Id", &id));
    let response = post(address, &all, &json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    assert_eq!((response.status, response.body.as_str()), (202, ""));
    id
}

/// A modern request and its headers.
pub fn modern(method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}});
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

pub fn routed<'a>(method: &'a str, name: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    let mut headers = vec![("MCP-Protocol-Version", MODERN), ("Mcp-Method", method)];
    headers.extend(name.map(|name| ("Mcp-Name", name)));
    headers
}

/// A connection whose answer is read piece by piece.
pub struct Open {
    socket: TcpStream,
    text: String,
}

impl Open {
    pub async fn new(address: SocketAddr, verb: &str, headers: &[(&str, &str)], body: &str) -> Self {
        Self::with(address, &request(verb, headers, body)).await
    }

    pub async fn with(address: SocketAddr, request: &str) -> Self {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        Self { socket, text: String::new() }
    }

    /// Sends more.
    pub async fn send(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).await.unwrap();
    }

    /// Lets go of what was said.
    pub fn forget(&mut self) {
        self.text = String::new();
    }

    /// How often `mark` was said.
    pub fn said(&self, mark: &str) -> usize {
        self.text.matches(mark).count()
    }

    /// Reads until `mark` was said so many times.
    pub async fn until_said(&mut self, mark: &str, times: usize) {
        while self.said(mark) < times {
            self.more().await;
        }
    }

    /// Reads some more.
    pub async fn more(&mut self) {
        let mut piece = [0; 4096];
        let read = tokio::time::timeout(Duration::from_secs(10), self.socket.read(&mut piece)).await;
        let read = read.unwrap_or_else(|_| panic!("waited after {:?}", self.text)).unwrap();
        assert_ne!(read, 0, "ended after {:?}", self.text);
        self.text.push_str(&String::from_utf8_lossy(&piece[..read]));
    }

    /// Reads until `mark` was said.
    pub async fn until(&mut self, mark: &str) -> &str {
        while !self.text.contains(mark) {
            self.more().await;
        }
        &self.text
    }

    pub async fn finish(mut self) -> Response {
        let mut rest = Vec::new();
        drop(tokio::time::timeout(Duration::from_secs(10), self.socket.read_to_end(&mut rest)).await.expect("an end"));
        self.text.push_str(&String::from_utf8_lossy(&rest));
        read(self.text.as_bytes())
    }
}

/// Says `lines` of so many `bytes`, as fast as they are taken.
pub(crate) fn recite(lines: u32, bytes: usize) -> Value {
    let params =
        json!({"name": "recite", "arguments": {"lines": lines, "bytes": bytes}, "_meta": {"progressToken": 1}});
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
}

/// A connection whose client has little room itself.
pub(crate) async fn connect_small(address: SocketAddr) -> tokio::net::TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    socket.connect(address).await.unwrap()
}
