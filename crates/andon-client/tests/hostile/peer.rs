//! A server of a few lines on a real socket, good enough to be bad in one place.

use std::sync::Arc;
use std::time::Duration;

use andon_client::{Client, Options};
use andon_types::revision::Revision;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const LEGACY: Revision = Revision::LATEST_LEGACY;

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) verb: String,
    pub(crate) head: String,
    pub(crate) body: Value,
}

impl Asked {
    pub(crate) fn method(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let is = |line: &&str| line.split_once(':').is_some_and(|(known, _)| known.eq_ignore_ascii_case(name));
        self.head.lines().find(is).and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
    }
}

/// Reads one request; `None` when the client is gone.
pub(crate) async fn read(socket: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        let mut piece = [0; 4096];
        let read = socket.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&piece[..read]);
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut asked = Asked { verb: head.split(' ').next()?.to_owned(), head, body: Value::Null };
    let length: usize = asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while bytes.len() < end + 4 + length {
        let mut piece = [0; 4096];
        let read = socket.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&piece[..read]);
    }
    asked.body = serde_json::from_slice(&bytes[end + 4..]).unwrap_or_default();
    Some(asked)
}

pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

pub(crate) fn result(asked: &Asked, result: Value) -> Vec<u8> {
    let body = json!({ "jsonrpc": "2.0", "id": asked.body["id"], "result": result }).to_string();
    answer("200 OK", "Content-Type: application/json\r\n", &body)
}

/// What every server here answers well, so that the tests reach what it answers badly.
pub(crate) fn well(asked: &Asked) -> Option<Vec<u8>> {
    let info = json!({ "name": "hostile", "version": "1" });
    Some(match (asked.verb.as_str(), asked.method()) {
        ("POST", "initialize") => {
            let opened =
                json!({ "protocolVersion": LEGACY.as_str(), "capabilities": { "tools": {} }, "serverInfo": info });
            let body = json!({ "jsonrpc": "2.0", "id": asked.body["id"], "result": opened }).to_string();
            answer("200 OK", "Content-Type: application/json\r\nMcp-Session-Id: s1\r\n", &body)
        }
        ("POST", "server/discover") => {
            let meta = json!({ "io.modelcontextprotocol/serverInfo": info });
            result(
                asked,
                json!({ "resultType": "complete", "ttlMs": 0, "cacheScope": "private",
                "supportedVersions": ["2026-07-28"], "capabilities": { "tools": {} }, "_meta": meta }),
            )
        }
        ("POST", method) if method.starts_with("notifications/") => answer("202 Accepted", "", ""),
        ("GET" | "DELETE", _) => answer("405 Method Not Allowed", "", ""),
        _ => return None,
    })
}

/// A server whose other answers are `bad`; it may write in pieces and keep the socket.
pub(crate) async fn serve<F>(bad: impl Fn(Asked, TcpStream) -> F + Send + Sync + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let bad = Arc::new(bad);
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let bad = bad.clone();
            tokio::spawn(async move {
                while let Some(asked) = read(&mut socket).await {
                    match well(&asked) {
                        Some(bytes) => drop(socket.write_all(&bytes).await),
                        None => return bad(asked, socket).await,
                    }
                }
            });
        }
    });
    url
}

pub(crate) async fn client(url: &str, revision: Revision) -> Client {
    Client::builder(url).protocol(revision).connect().await.expect("it opens well")
}

pub(crate) async fn call(client: &Client) -> Result<String, String> {
    let options = Options::default().timeout(Duration::from_secs(5)).timeout_max(Duration::from_secs(8));
    let calling = client.call_tool("x", Map::new(), options);
    let outcome = tokio::time::timeout(Duration::from_secs(20), calling).await.expect("every call ends");
    outcome.map(|result| format!("{:?}", result.content)).map_err(|error| error.to_string())
}
