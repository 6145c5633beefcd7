//! Connections that wait, for events or for the next request, and go on: on real sockets.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::time::Duration;

use common::{Open, call, modern, open, request, routed, send, start, start_with};
use serde_json::json;

const LATEST: &str = "2025-11-25";
const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A call that waits, on a connection that is kept.
async fn waiting(server: &common::Running, connection: &str) -> (String, Open) {
    let session = open(server.address, LATEST, &[]).await;
    let headers = [("Mcp-Session-Id", session.as_str()), ("Connection", connection)];
    let mut stream = Open::new(server.address, "POST", &headers, &call(1, "wait").to_string()).await;
    stream.until("notifications/progress").await;
    (session, stream)
}

#[tokio::test]
async fn a_connection_goes_on_after_its_stream() {
    let server = start().await;
    let (_, mut stream) = waiting(&server, "keep-alive").await;
    server.gates.go.notify_one();
    let text = stream.until("\r\n0\r\n\r\n").await.to_owned();
    let answer = common::read(text.as_bytes());
    assert!(answer.body.contains("waited"), "{text}");
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
    stream.send(HEALTH).await;
    stream.until("ok\n").await;
    // Another stream, and another request.
    stream
        .send(&request("POST", &routed("tools/call", Some("wait")), &modern_wait()).replace("close", "keep-alive"))
        .await;
    stream.until("\"notifications/progress\",\"params\":{\"progressToken\":7").await;
    server.gates.go.notify_one();
    stream.send(&HEALTH.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).await;
    stream.until_said("ok\n", 2).await;
    assert_eq!(stream.said("waited"), 2);
    stream.finish().await;
}

fn modern_wait() -> String {
    let mut request = modern("tools/call", json!({"name": "wait", "arguments": {}}));
    request["params"]["_meta"]["progressToken"] = json!(7);
    request.to_string()
}

#[tokio::test]
async fn requests_that_come_during_a_stream_are_answered_after_it_in_order() {
    let server = start().await;
    let (_, mut stream) = waiting(&server, "keep-alive").await;
    let (first, second) = HEALTH.split_at(20);
    stream.send(first).await;
    stream.send(second).await;
    stream.send(&HEALTH.repeat(2000)).await;
    server.gates.go.notify_one();
    let text = stream.until("\r\n0\r\n\r\n").await.to_owned();
    let (events, _) = text.split_once("\r\n0\r\n\r\n").unwrap();
    assert!(events.contains("waited") && !events.contains("ok\n"), "{events}");
    stream.send(&HEALTH.replace("/healthz HTTP/1.1\r\n", "/healthz HTTP/1.1\r\nConnection: close\r\n")).await;
    stream.until_said("ok\n", 2002).await;
    stream.finish().await;
}

#[tokio::test]
async fn a_stream_ends_its_connection_where_the_client_wants_that() {
    let server = start().await;
    let (_, stream) = waiting(&server, "close").await;
    server.gates.go.notify_one();
    let answer = stream.finish().await;
    assert_eq!((answer.header("connection"), answer.header("transfer-encoding")), (Some("close"), Some("chunked")));
    assert!(answer.body.contains("waited"));
    // HTTP/1.0 has no chunks: the end of the connection is the end of the answer.
    let session = open(server.address, LATEST, &[]).await;
    let request = request("POST", &[("Mcp-Session-Id", &session)], &call(1, "wait").to_string());
    let mut stream = Open::with(server.address, &request.replace("HTTP/1.1", "HTTP/1.0")).await;
    stream.until("notifications/progress").await;
    server.gates.go.notify_one();
    let answer = stream.finish().await;
    assert!(answer.header("transfer-encoding").is_none() && answer.body.contains("waited"), "{answer:?}");
}

#[tokio::test]
async fn a_client_that_hangs_up_during_a_stream_is_noticed_at_once() {
    let server = start().await;
    let mut stream = Open::new(server.address, "POST", &routed("tools/call", Some("wait")), &modern_wait()).await;
    stream.until("notifications/progress").await;
    drop(stream);
    tokio::time::timeout(Duration::from_secs(5), server.gates.dropped.notified())
        .await
        .expect("the handler is dropped");
}

#[tokio::test]
async fn h9_a_body_that_nobody_reads_is_never_the_next_request() {
    let server = start().await;
    let session = open(server.address, LATEST, &[]).await;
    let id = [("Mcp-Session-Id", session.as_str()), ("Connection", "keep-alive")];
    let get = request("GET", &id, HEALTH);
    let mut stream = Open::with(server.address, &get).await;
    stream.until("data: ").await;
    assert_eq!(send(server.address, "DELETE", &[("Mcp-Session-Id", &session)], "").await.status, 204);
    stream.until("0\r\n\r\n").await;
    stream.send(&HEALTH.replace("/healthz HTTP/1.1\r\n", "/readyz HTTP/1.1\r\nConnection: close\r\n")).await;
    let text = stream.finish().await.body;
    assert!(!text.contains("ok\n"), "{text}");
}

#[tokio::test]
async fn a_connection_goes_on_after_a_rest() {
    let rest = Duration::from_millis(400);
    let server = start_with(|options| options.idle_timeout = rest).await;
    let mut connection = Open::with(server.address, HEALTH).await;
    connection.until("ok\n").await;
    for (times, begun) in [(2, 1), (3, HEALTH.len() - 1), (4, HEALTH.len())] {
        // Longer than it keeps its buffers, and shorter than it may rest.
        assert!(tokio::time::timeout(rest / 2, connection.until("never")).await.is_err());
        connection.send(&HEALTH[..begun]).await;
        connection.send(&HEALTH[begun..]).await;
        connection.until_said("ok\n", times).await;
    }
    let began = std::time::Instant::now();
    connection.finish().await;
    assert!((rest..rest * 3).contains(&began.elapsed()), "{:?}", began.elapsed());
}
