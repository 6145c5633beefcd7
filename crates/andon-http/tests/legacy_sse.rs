//! HTTP with SSE of 2024-11-05: STR-16 and S13, on real sockets.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::{Open, People, Response, Running, call, initialize, raw, request_to, start, start_with};
use serde_json::{Value, json};

const FIRST: &str = "2024-11-05";

/// An open stream, and where it says to POST.
struct Session {
    stream: Open,
    endpoint: String,
}

impl Session {
    async fn open(address: SocketAddr, headers: &[(&str, &str)]) -> Self {
        let mut stream = Open::with(address, &request_to("/sse", "GET", headers, "")).await;
        let text = stream.until("\n\n").await;
        let (_, events) = text.split_once("\r\n\r\n").unwrap();
        let first = events[events.find("event:").unwrap()..].to_owned();
        let endpoint = first.strip_prefix("event: endpoint\ndata: ").unwrap().lines().next().unwrap().to_owned();
        Self { stream, endpoint }
    }

    async fn ready(address: SocketAddr, revision: &str) -> Self {
        let mut session = Self::open(address, &[]).await;
        assert_eq!(post(address, &session.endpoint, &[], &initialize(revision)).await.status, 202);
        session.stream.until(&format!("\"protocolVersion\":\"{revision}\"")).await;
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(post(address, &session.endpoint, &[], &initialized).await.status, 202);
        session
    }
}

async fn post(address: SocketAddr, endpoint: &str, headers: &[(&str, &str)], body: &Value) -> Response {
    raw(address, request_to(endpoint, "POST", headers, &body.to_string()).as_bytes()).await
}

/// Waits until the host has this many sessions.
async fn sessions(server: &Running, count: usize) {
    let end = tokio::time::Instant::now() + Duration::from_secs(10);
    while server.host.session_count() != count {
        assert!(tokio::time::Instant::now() < end, "{} sessions, not {count}", server.host.session_count());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn str16_the_first_event_names_the_endpoint_and_answers_are_messages() {
    let server = start().await;
    let mut session = Session::ready(server.address, FIRST).await;
    let (path, id) = session.endpoint.split_once("?session_id=").unwrap();
    assert!(path == "/messages" && id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let answer = post(server.address, &session.endpoint, &[], &call(7, "echo")).await;
    assert_eq!((answer.status, answer.body.as_str()), (202, ""));
    let text = session.stream.until("\"id\":7").await;
    assert!(text.contains("event: message\ndata: {"), "{text}");
    assert!(!text.contains("\nid: "), "nothing can be resumed");
}

#[tokio::test]
async fn str16_any_legacy_revision_is_agreed_on_and_questions_come_on_the_stream() {
    let server = start().await;
    for revision in [FIRST, "2025-03-26", "2025-06-18", "2025-11-25"] {
        let mut session = Session::ready(server.address, revision).await;
        let asked = post(server.address, &session.endpoint, &[], &call(1, "ask")).await;
        assert_eq!(asked.status, 202);
        let text = session.stream.until("elicitation/create").await.to_owned();
        let question = text.lines().find(|line| line.contains("elicitation/create")).unwrap();
        let question: Value = serde_json::from_str(question.strip_prefix("data: ").unwrap()).unwrap();
        let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}});
        assert_eq!(post(server.address, &session.endpoint, &[], &answer).await.status, 202);
        session.stream.until("decline").await;
    }
}

#[tokio::test]
async fn s13_unknown_sessions_and_those_of_others_are_absent() {
    let server = start_with(|options| options.verifier = Some(Arc::new(People))).await;
    let (alice, bob) = (("Authorization", "Bearer alice"), ("Authorization", "Bearer bob"));
    assert_eq!(raw(server.address, request_to("/sse", "GET", &[], "").as_bytes()).await.status, 401);
    let mut session = Session::open(server.address, &[alice]).await;
    let unknown = format!("/messages?session_id={}", "0".repeat(32));
    let body = initialize(FIRST);
    for (target, headers, status) in [
        (session.endpoint.as_str(), vec![bob], 404),
        (session.endpoint.as_str(), vec![], 401),
        (unknown.as_str(), vec![alice], 404),
        ("/messages?session_id=../x", vec![alice], 404),
        ("/messages", vec![alice], 400),
        ("/messages?session_id=", vec![alice], 400),
    ] {
        assert_eq!(post(server.address, target, &headers, &body).await.status, status, "{target}");
    }
    assert_eq!(post(server.address, &session.endpoint, &[alice], &body).await.status, 202);
    session.stream.until("protocolVersion").await;
}

#[tokio::test]
async fn a3_a5_the_gate_is_the_same() {
    let server = start().await;
    let session = Session::open(server.address, &[]).await;
    let body = initialize(FIRST).to_string();
    for (target, verb, header, status) in [
        ("/sse", "GET", ("Host", "evil.example"), 403),
        ("/sse", "GET", ("Origin", "https://evil.example"), 403),
        ("/sse", "GET", ("Accept", "application/json"), 406),
        ("/sse", "POST", ("Accept", "text/event-stream"), 405),
        (&session.endpoint, "POST", ("Host", "evil.example"), 403),
        (&session.endpoint, "POST", ("Origin", "null"), 403),
        (&session.endpoint, "POST", ("Content-Type", "text/plain"), 415),
        (&session.endpoint, "POST", ("Content-Encoding", "gzip"), 415),
        (&session.endpoint, "GET", ("X", "y"), 405),
        (&session.endpoint, "DELETE", ("X", "y"), 405),
    ] {
        let body = if verb == "POST" { body.as_str() } else { "" };
        let answer = raw(server.address, request_to(target, verb, &[header], body).as_bytes()).await;
        assert_eq!(answer.status, status, "{verb} {target} {header:?}");
    }
    let off = start_with(|options| options.legacy_sse = false).await;
    assert_eq!(raw(off.address, request_to("/sse", "GET", &[], "").as_bytes()).await.status, 404);
}

#[tokio::test]
async fn j8_j10_m6_n1_what_is_no_message_here_is_refused_by_the_post() {
    let server = start_with(|options| options.body_bytes_max = 1000).await;
    let session = Session::ready(server.address, FIRST).await;
    let raw_post = |body: String| {
        let text = request_to(&session.endpoint, "POST", &[], &body);
        async move { raw(server.address, text.as_bytes()).await.status }
    };
    for body in ["{", "null", "[]", "\"x\"", "{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\"}"] {
        assert_eq!(raw_post(body.to_owned()).await, 400, "{body}");
    }
    assert_eq!(raw_post(" ".repeat(1001)).await, 413);
    assert_eq!(raw_post("[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}]".to_owned()).await, 400, "r9");
    assert_eq!(raw_post(common::modern("tools/list", json!({})).to_string()).await, 400);
    let other = [("MCP-Protocol-Version", "2025-11-25")];
    assert_eq!(post(server.address, &session.endpoint, &other, &call(1, "echo")).await.status, 400);
}

#[tokio::test]
async fn s4_a_session_ends_with_its_stream() {
    let server = start().await;
    let mut session = Session::ready(server.address, FIRST).await;
    assert_eq!(server.host.session_count(), 1);
    assert_eq!(post(server.address, &session.endpoint, &[], &call(1, "wait")).await.status, 202);
    session.stream.until("notifications/progress").await;
    drop(session.stream);
    server.gates.dropped.notified().await;
    sessions(&server, 0).await;
    assert_eq!(post(server.address, &session.endpoint, &[], &call(2, "echo")).await.status, 404);
}

#[tokio::test]
async fn s10_sessions_of_one_principal_are_counted_whatever_their_transport() {
    let server = start_with(|options| options.verifier = Some(Arc::new(People))).await;
    let alice = ("Authorization", "Bearer alice");
    let mut open = Vec::new();
    for _ in 0..100 {
        open.push(Session::open(server.address, &[alice]).await);
    }
    let answer = raw(server.address, request_to("/sse", "GET", &[alice], "").as_bytes()).await;
    assert_eq!(answer.status, 429);
    assert!(answer.header("retry-after").is_some());
    assert_eq!(common::post(server.address, &[alice], &initialize(FIRST)).await.status, 429);
    open.pop();
    sessions(&server, 99).await;
    Session::open(server.address, &[alice]).await;
}

#[tokio::test]
async fn drain_ends_streams() {
    let server = start().await;
    let session = Session::ready(server.address, FIRST).await;
    assert!(server.host.drain(Duration::from_secs(5)).await);
    session.stream.finish().await;
    assert_eq!(server.host.session_count(), 0);
    assert_eq!(raw(server.address, request_to("/sse", "GET", &[], "").as_bytes()).await.status, 503);
}
