//! A session that nobody uses leaves memory, and comes back to the server that it has to itself.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use andon_gateway::config::Mode;
use andon_gateway::{Clients, Gateway, Options};
use andon_http::Http;
use andon_server::host::Host;
use andon_server::options::HostOptions;
use andon_server::sessions::Sessions;
use common::{SOON, configure, is_alive, unruly, until};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// A client that has no stream open between its requests.
struct Visitor {
    address: String,
    session: String,
    last: AtomicU32,
}

impl Visitor {
    async fn open(address: &str) -> Self {
        let mut visitor = Self { address: address.to_owned(), session: String::new(), last: AtomicU32::new(1) };
        let params = json!({
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "visitor", "version": "1" },
        });
        let (head, _) = visitor.post(json!({ "id": 1, "method": "initialize", "params": params })).await;
        let id = head.lines().find(|line| line.to_ascii_lowercase().starts_with("mcp-session-id:"));
        visitor.session = format!("{}\r\nMCP-Protocol-Version: 2025-11-25\r\n", id.unwrap());
        visitor.post(json!({ "method": "notifications/initialized" })).await;
        visitor
    }

    /// The head of the answer and its body.
    async fn post(&self, mut message: Value) -> (String, String) {
        message["jsonrpc"] = "2.0".into();
        let (body, session) = (message.to_string(), &self.session);
        let request = format!(
            "POST /mcp HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\n{session}\
             Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    /// The stream of what is said to the session outside calls, from its head on.
    async fn listen(&self) -> TcpStream {
        let (address, session) = (&self.address, &self.session);
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET /mcp HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n{session}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = [0; 15];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK");
        stream
    }

    /// Has its server speak by itself, and waits until it has heard `words`, in whatever order.
    async fn hears(&self, words: &[&str]) {
        let mut stream = self.listen().await;
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let call = json!({ "id": id, "method": "tools/call", "params": { "name": "tell", "arguments": {} } });
        // A log may still come with the answer.
        let (_, mut heard) = self.post(call).await;
        while !words.iter().all(|word| heard.contains(word)) {
            let mut piece = [0; 1024];
            let read = tokio::time::timeout(SOON, stream.read(&mut piece)).await.expect("it is told").unwrap();
            assert!(read > 0, "{heard}");
            heard.push_str(std::str::from_utf8(&piece[..read]).unwrap());
        }
    }

    /// The text of a tool's result.
    async fn call(&self, tool: &str, arguments: Value) -> String {
        let params = json!({ "name": tool, "arguments": arguments });
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (_, body) = self.post(json!({ "id": id, "method": "tools/call", "params": params })).await;
        let start = body.find('{').unwrap();
        let answer = serde_json::Deserializer::from_str(&body[start..]).into_iter::<Value>().next().unwrap().unwrap();
        answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }
}

/// A gateway over one server that each session has to itself, on a real socket, whose sessions rest at once.
struct Scene {
    folder: TempDir,
    gateway: Arc<Gateway>,
    host: Arc<Host>,
    address: String,
    serving: tokio::task::JoinHandle<()>,
    closing: oneshot::Sender<()>,
}

impl Scene {
    /// With the sessions that are kept in `folder`.
    async fn on(folder: TempDir) -> Self {
        let data = folder.path().join("sessions");
        let config =
            configure(folder.path().join("mcp.json"), json!({ "own": unruly(&[], json!({ "mode": "session" })) }));
        let start = || {
            let data = data.clone();
            let options = Options {
                clients: Clients::Many,
                mode: Mode::Shared,
                data: None,
                host: Box::new(move |service, changes, _| {
                    let options = HostOptions { rest_after: Duration::ZERO, ..HostOptions::default() };
                    Host::open(service, changes, options, Sessions::disk(&data), None)
                }),
                prepare: Box::new(|builder, _| builder),
            };
            Gateway::start(&config, options).ok()
        };
        let started = OnceLock::new();
        // The one before may still be letting go of the folder.
        until(|| std::future::ready(start().is_some_and(|gateway| started.set(gateway).is_ok()))).await;
        let gateway = started.into_inner().expect("it was waited for");
        let host = gateway.host();
        host.recover().await.unwrap();
        let http = Http::bind("127.0.0.1:0").unwrap();
        let address = http.url().strip_prefix("http://").unwrap().strip_suffix("/mcp").unwrap().to_owned();
        let (closing, closed) = oneshot::channel::<()>();
        let run = http.run(host.clone(), async { drop(closed.await) });
        let serving = tokio::spawn(async { drop(run.await) });
        Self { folder, gateway, host, address, serving, closing }
    }

    async fn rest(&self) {
        until(|| async { self.host.sessions_in_memory() == 0 }).await;
    }

    async fn end(self) -> TempDir {
        drop(self.closing);
        self.serving.await.unwrap();
        self.gateway.stop().await;
        self.folder
    }
}

#[tokio::test]
async fn a_session_that_rests_keeps_the_server_that_it_has_to_itself() {
    let scene = Scene::on(tempfile::tempdir().unwrap()).await;
    let Scene { gateway, host, address, .. } = &scene;
    let (ann, bob) = (Visitor::open(address).await, Visitor::open(address).await);
    let (first, other) = (ann.call("pid", json!({})).await, bob.call("pid", json!({})).await);
    assert_ne!(first, other);
    assert_eq!(ann.call("count", json!({})).await, "1");
    scene.rest().await;
    assert_eq!(host.session_count(), 2);
    // It is there as it was, with what it knows of this client.
    assert!(is_alive(&first) && is_alive(&other));
    assert_eq!(ann.call("pid", json!({})).await, first);
    assert_eq!(ann.call("count", json!({})).await, "2");
    assert_eq!(bob.call("count", json!({})).await, "1");
    scene.rest().await;
    // One that ends meanwhile begins again, and is the session's own as before.
    std::process::Command::new("kill").args(["-KILL", &first]).status().unwrap();
    until(|| async { gateway.status()[0].restarts == 1 }).await;
    let second = ann.call("pid", json!({})).await;
    assert!(second != first && second != other);
    assert_eq!((bob.call("pid", json!({})).await, gateway.status()[0].instances), (other, 2));
    // What ends a session ends its server, whether the session rests or not.
    scene.rest().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("DELETE /mcp HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{}\r\n", ann.session);
    stream.write_all(request.as_bytes()).await.unwrap();
    until(|| async { gateway.status()[0].instances == 1 && !is_alive(&second) }).await;
    scene.end().await;
}

#[tokio::test]
async fn a_session_that_rested_hears_its_own_server() {
    let scene = Scene::on(tempfile::tempdir().unwrap()).await;
    let ann = Visitor::open(&scene.address).await;
    let subscription = json!({ "id": 1000, "method": "resources/subscribe", "params": { "uri": "unruly:clock" } });
    let (head, body) = ann.post(subscription).await;
    assert!(head.starts_with("HTTP/1.1 200") && body.contains("\"result\":{}"), "{head}\n{body}");
    scene.rest().await;
    ann.hears(&["by myself", "notifications/resources/updated"]).await;
    // After a restart it has another server, which has heard of the subscription again.
    let folder = scene.end().await;
    let scene = Scene::on(folder).await;
    let ann = Visitor { address: scene.address.clone(), ..ann };
    until(|| async { ann.call("watched", json!({})).await == "unruly:clock" }).await;
    ann.hears(&["by myself", "notifications/resources/updated"]).await;
    scene.end().await;
}
