//! Servers over HTTP that forget their sessions, and do not always open another.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::sync::{Arc, Mutex};

use andon_client::{Event, Listen};
use common::{Bench, call, event, until};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const LEGACY: &str = "2025-11-25";
const CLOCK: &str = "test://clock";

/// A server of 2025-11-25, as far as it takes, that can be told to misbehave.
struct Forgetful {
    /// The number of its session, of which there is one.
    session: u32,
    /// How many attempts to open a session are answered with this status.
    refused: u32,
    status: u16,
    /// How it answers in a session that it does not know.
    unknown: u16,
    /// The sessions that were told a log level.
    levels: Vec<u32>,
}

impl Default for Forgetful {
    fn default() -> Self {
        Self { session: 0, refused: 0, status: 503, unknown: 404, levels: Vec::new() }
    }
}

impl Forgetful {
    fn answer(&mut self, head: &str, message: &Value) -> String {
        let id = message["id"].clone();
        let result = |result: Value| json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string();
        let is_known = head.to_ascii_lowercase().contains(&format!("mcp-session-id: s{}\r\n", self.session));
        match message["method"].as_str().unwrap_or_default() {
            "initialize" if self.refused > 0 => {
                self.refused -= 1;
                response(self.status, "", "")
            }
            "initialize" => {
                self.session += 1;
                // Later it can do more.
                let prompts = if self.session > 1 { json!({}) } else { Value::Null };
                let mut capabilities =
                    json!({ "tools": {}, "logging": {}, "resources": { "subscribe": true }, "prompts": prompts });
                capabilities.as_object_mut().unwrap().retain(|_, value| !value.is_null());
                let info = json!({ "name": "forgetful", "version": "1" });
                let said = json!({ "protocolVersion": LEGACY, "capabilities": capabilities, "serverInfo": info });
                response(200, &format!("Mcp-Session-Id: s{}\r\n", self.session), &result(said))
            }
            _ if !is_known => response(self.unknown, "", ""),
            method if method.starts_with("notifications/") => response(202, "", ""),
            "logging/setLevel" => {
                self.levels.push(self.session);
                response(200, "", &result(json!({})))
            }
            "tools/list" => {
                let tool = json!({ "name": "session", "inputSchema": { "type": "object" } });
                response(200, "", &result(json!({ "tools": [tool] })))
            }
            "resources/list" => response(200, "", &result(json!({ "resources": [{ "uri": CLOCK, "name": "clock" }] }))),
            "resources/templates/list" => response(200, "", &result(json!({ "resourceTemplates": [] }))),
            "prompts/list" => response(200, "", &result(json!({ "prompts": [{ "name": "later" }] }))),
            "tools/call" => {
                let text = json!({ "type": "text", "text": self.session.to_string() });
                response(200, "", &result(json!({ "content": [text] })))
            }
            _ => response(200, "", &result(json!({}))),
        }
    }

    /// As if it had been started anew.
    fn forget(&mut self) {
        self.session += 1;
    }
}

fn response(status: u16, headers: &str, body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\nConnection: close\r\n{kind}{headers}Content-Length: {length}\r\n\r\n{body}")
}

async fn serve(mut stream: TcpStream, server: Arc<Mutex<Forgetful>>) {
    let mut read = Vec::new();
    let (head, mut body) = loop {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).await.unwrap_or_default();
        read.extend_from_slice(&piece[..count]);
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break (String::from_utf8(read[..end + 4].to_vec()).unwrap(), read[end + 4..].to_vec());
        }
        if count == 0 {
            return;
        }
    };
    let named = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut rest = vec![0; named.unwrap_or(0_usize).saturating_sub(body.len())];
    stream.read_exact(&mut rest).await.unwrap();
    body.extend(rest);
    let answer = match serde_json::from_slice(&body) {
        Ok(message) if head.starts_with("POST") => server.lock().unwrap().answer(&head, &message),
        _ => response(405, "", ""),
    };
    stream.write_all(answer.as_bytes()).await.unwrap();
}

/// Takes connections for the server, until it is told not to.
fn accept(listener: TcpListener, server: Arc<Mutex<Forgetful>>) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, server.clone()));
        }
    })
}

/// The server, and a gateway before it.
async fn begin(server: Forgetful, settings: Value) -> (Arc<Mutex<Forgetful>>, Bench) {
    let server = Arc::new(Mutex::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp?key=secret", listener.local_addr().unwrap());
    accept(listener, server.clone());
    (server, Bench::new(json!({ "a": { "url": url, "andon": settings } })))
}

/// The same, once it is there.
async fn scene() -> (Arc<Mutex<Forgetful>>, Bench) {
    let (server, bench) = begin(Forgetful::default(), json!({ "protocol": LEGACY })).await;
    until(|| async { bench.status("a").state == "ready" }).await;
    (server, bench)
}

#[tokio::test]
async fn a_session_that_was_lost_is_met_as_the_first_was() {
    let (server, bench) = scene().await;
    let client = bench.client(LEGACY).await;
    let first = call(&client, "session", json!({})).await.unwrap();
    let mut events = client.events();
    let uri = client.resources().await.unwrap().remove(0).uri;
    let _listening = client.listen(Listen::default().uri(uri)).await.unwrap();
    server.lock().unwrap().forget();
    let second = call(&client, "session", json!({})).await.unwrap();
    assert_ne!(first, second);
    // It wants what the first one wanted, and has what it says to have.
    until(|| async { server.lock().unwrap().levels.iter().any(|session| session.to_string() == second) }).await;
    until(|| async { client.prompts().await.unwrap().iter().any(|prompt| prompt.name == "later") }).await;
    // What changed in between nobody has said.
    event(&mut events, |event| matches!(event, Event::ResourceUpdated(_))).await;
    assert_eq!(bench.status("a").restarts, 0);
    bench.gateway.stop().await;
}

#[tokio::test]
async fn a_session_that_cannot_be_opened_at_once_is_opened_soon() {
    let (server, bench) = scene().await;
    let client = bench.client(LEGACY).await;
    {
        let mut server = server.lock().unwrap();
        server.forget();
        (server.refused, server.status) = (2, 503);
    }
    call(&client, "session", json!({})).await.unwrap_err();
    until(|| async { bench.status("a").restarts > 0 }).await;
    // Whoever calls meanwhile waits for it, and is not told that nothing more is tried.
    assert!(call(&client, "session", json!({})).await.is_ok());
    let status = bench.status("a");
    assert_eq!((status.breaker.as_str(), status.restarts), ("closed", 2));
    bench.gateway.stop().await;
}

#[tokio::test]
async fn a_session_that_is_refused_by_400_is_found_out_by_a_ping() {
    let settings = json!({ "protocol": LEGACY, "ping_interval_s": 0.1 });
    let (server, bench) = begin(Forgetful { unknown: 400, ..Forgetful::default() }, settings).await;
    until(|| async { bench.status("a").state == "ready" }).await;
    server.lock().unwrap().forget();
    // Nobody calls.
    until(|| async { server.lock().unwrap().levels.len() == 2 }).await;
    assert_eq!(bench.status("a").restarts, 0);
    bench.gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_is_back_is_found_by_a_ping() {
    let server = Arc::new(Mutex::new(Forgetful::default()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepting = accept(listener, server.clone());
    let settings = json!({ "protocol": LEGACY, "ping_interval_s": 0.5 });
    let bench = Bench::new(json!({ "a": { "url": format!("http://{address}/mcp"), "andon": settings } }));
    until(|| async { bench.status("a").state == "ready" && bench.status("a").state_s > 0 }).await;
    let client = bench.client(LEGACY).await;
    accepting.abort();
    accepting.await.unwrap_err();
    call(&client, "session", json!({})).await.unwrap_err();
    let status = bench.status("a");
    assert_eq!((status.state.as_str(), status.state_s), ("unreachable", 0));
    accept(TcpListener::bind(address).await.unwrap(), server);
    // Nobody calls.
    until(|| async { bench.status("a").state == "ready" }).await;
    bench.gateway.stop().await;
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_is_no_crash_loop() {
    let settings = json!({ "protocol": LEGACY, "restarts_max": 1, "park_s": 600 });
    let (server, bench) = begin(Forgetful { refused: 3, ..Forgetful::default() }, settings).await;
    until(|| async { bench.status("a").state == "ready" }).await;
    assert_eq!((server.lock().unwrap().refused, bench.status("a").restarts), (0, 3));
    bench.gateway.stop().await;
}

#[tokio::test]
async fn who_is_not_logged_in_is_told_how_and_tried_again() {
    let settings = json!({ "protocol": LEGACY, "restarts_max": 1, "park_s": 600 });
    let (server, bench) = begin(Forgetful { refused: u32::MAX, status: 401, ..Forgetful::default() }, settings).await;
    let client = bench.client(LEGACY).await;
    until(|| async { bench.status("a").restarts >= 3 }).await;
    let why = bench.status("a").last_error.unwrap();
    assert!(why.contains("not authorized") && why.contains(": log in first: andon login http://127.0.0.1:"), "{why}");
    assert!(why.ends_with("/mcp"), "what follows may be secret: {why}");
    let list = client.request("tools/list", serde_json::Map::new(), andon_client::Options::default()).await.unwrap();
    let missing = list.parse::<Value>().unwrap()["_meta"]["andon.dev/missing"][0]["why"].to_string();
    assert!(missing.contains("not authorized") && !missing.contains("127.0.0.1"), "{missing}");
    // Somebody has, and says so.
    server.lock().unwrap().refused = 0;
    let servers = std::fs::read_to_string(bench.folder.path().join("mcp.json")).unwrap();
    let servers = serde_json::from_str::<Value>(&servers).unwrap()["mcpServers"].clone();
    assert_eq!(bench.gateway.reload(&bench.configure(servers)), (0, 0));
    until(|| async { bench.status("a").state == "ready" }).await;
    bench.gateway.stop().await;
}
