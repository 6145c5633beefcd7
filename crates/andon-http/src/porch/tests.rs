use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use andon_server::entry::ToolEntry;
use andon_server::server::Server;
use serde_json::{Value, json};

use crate::listener::Http;

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends a request, and reads until the server closes.
fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(request.as_bytes()).expect("it is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// Asks until the answer has `status`.
fn until(address: SocketAddr, path: &str, status: &str) -> String {
    let begun_at = Instant::now();
    loop {
        // Without "Connection: close": the server closes.
        let answer = ask(address, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        if answer.starts_with(&format!("HTTP/1.1 {status}")) {
            return answer;
        }
        assert!(begun_at.elapsed() < PATIENCE, "{answer}");
    }
}

fn call(tool: &str) -> String {
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {}});
    let params = json!({"name": tool, "arguments": {}, "_meta": meta});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
    format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json, \
         text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: {tool}\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn health_is_answered_while_nothing_else_is_and_says_so_when_that_lasts() {
    let (entered, is_held) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let hold = ToolEntry::from_fn("hold", json!({"type": "object"}), move |_: Value, _| {
        // As no handler should: it keeps the only thread of the runtime.
        entered.send(()).expect("the test waits");
        released.lock().expect("no panic").recv().expect("the test goes on");
        async { "held" }
    });
    let host = Server::new("test", "1").with(hold).build().expect("a server");
    let http = Http::bind("127.0.0.1:0").expect("a port").take_on_thread();
    let address = http.address();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(http.run(host, async move { drop(stopped.await) }))
    });
    let calling = std::thread::spawn(move || ask(address, &call("hold")));
    is_held.recv_timeout(PATIENCE).expect("the call runs");
    let answer = until(address, "/healthz", "200").to_ascii_lowercase();
    assert!(answer.contains("connection: close") && answer.ends_with("ok\n"), "{answer}");
    assert!(until(address, "/readyz", "200").ends_with("ready\n"));
    until(address, "/healthz", "503");
    release.send(()).expect("the handler waits");
    assert!(calling.join().expect("no panic").contains("held"));
    until(address, "/healthz", "200");
    let other = ask(address, "GET /healthz HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n");
    assert!(other.starts_with("HTTP/1.1 4"), "the gate is the same: {other}");
    stop.send(()).expect("it runs");
    serving.join().expect("no panic").expect("it ended well");
}
