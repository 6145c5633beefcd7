//! Handlers that wait while their connection carries them, on real sockets: what ends them, and what does not.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::time::Duration;

use common::{Open, Running, call, modern, open, post, request, routed, start_with};
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tokio::sync::Notify;

const LATEST: &str = "2025-11-25";

/// A server whose connections carry a handler for as long as a test takes.
async fn patient() -> Running {
    start_with(|options| options.sse_after = Duration::from_secs(60)).await
}

/// Calls `linger` in a session.
fn linger(end: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "linger", "arguments": {"end": end}}})
}

/// Calls `linger` without a session.
fn modern_linger(end: &str) -> Value {
    modern("tools/call", json!({"name": "linger", "arguments": {"end": end}}))
}

async fn opens(gate: &Notify, what: &str) {
    tokio::time::timeout(Duration::from_secs(10), gate.notified()).await.expect(what);
}

#[tokio::test]
async fn a_legacy_call_is_cancelled_by_word_of_another_connection() {
    let server = patient().await;
    let session = open(server.address, LATEST, &[]).await;
    let id = [("Mcp-Session-Id", session.as_str())];
    let calling = Open::new(server.address, "POST", &id, &linger("go").to_string()).await;
    opens(&server.gates.begun, "the handler is carried").await;
    let cancelled = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    assert_eq!(post(server.address, &id, &cancelled).await.status, 202);
    opens(&server.gates.dropped, "the handler was stopped").await;
    assert!(server.gates.done.notified().now_or_never().is_none(), "not by itself");
    let answer = calling.finish().await;
    assert_eq!((answer.status, answer.body.as_str()), (202, ""), "nothing is said to what was cancelled");
}

#[tokio::test]
async fn a_legacy_call_goes_on_when_its_client_hangs_up() {
    let server = patient().await;
    let session = open(server.address, LATEST, &[]).await;
    let id = [("Mcp-Session-Id", session.as_str())];
    let calling = Open::new(server.address, "POST", &id, &linger("alone").to_string()).await;
    opens(&server.gates.begun, "the handler is carried").await;
    drop(calling);
    opens(&server.gates.done, "the handler came to its end as a task").await;
    assert_eq!(post(server.address, &id, &call(2, "echo")).await.status, 200, "the session lives");
}

#[tokio::test]
async fn a_modern_call_is_cancelled_when_its_client_hangs_up() {
    let server = patient().await;
    let headers = routed("tools/call", Some("linger"));
    let calling = Open::new(server.address, "POST", &headers, &modern_linger("go").to_string()).await;
    opens(&server.gates.begun, "the handler is carried").await;
    drop(calling);
    opens(&server.gates.dropped, "the handler was stopped").await;
    assert!(server.gates.done.notified().now_or_never().is_none(), "not by itself");
}

#[tokio::test]
async fn a_panic_after_a_wait_hurts_neither_its_connection_nor_the_next_request() {
    let server = patient().await;
    let session = open(server.address, LATEST, &[]).await;
    let own = ("Mcp-Session-Id", session.as_str());
    let echo = modern("tools/call", json!({"name": "echo", "arguments": {"message": "hi"}}));
    for (lingering, linger_headers, echo, echo_headers) in [
        (linger("panic"), vec![own], call(2, "echo"), vec![own]),
        (modern_linger("panic"), routed("tools/call", Some("linger")), echo, routed("tools/call", Some("echo"))),
    ] {
        let mut headers = linger_headers;
        headers.push(("Connection", "keep-alive"));
        let mut connection = Open::new(server.address, "POST", &headers, &lingering.to_string()).await;
        opens(&server.gates.begun, "the handler is carried").await;
        let answer = connection.until("-32603").await;
        assert!(answer.contains("\"id\":1") && !answer.contains("secret"), "{answer}");
        connection.forget();
        connection.send(&request("POST", &echo_headers, &echo.to_string())).await;
        let answer = connection.finish().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.body.contains("hi"), "{answer:?}");
    }
}
