//! Where one request ends and the next begins, slow peers, pipelines and HTTP/2: on real sockets.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{call, initialize, modern, open, raw, request, routed, start, start_with};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A request that must never be answered, if what stands before it is refused.
const SMUGGLED: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn head(fields: &str) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\n{fields}\r\n"
    )
}

#[tokio::test]
async fn h9_h10_h12_h13_h14_h18_bad_framing_is_400_and_ends_the_connection() {
    let server = start().await;
    let body = initialize("2025-11-25").to_string();
    let length = body.len();
    let chunk = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    for (row, bytes) in [
        ("H9", head(&format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n")) + &chunk),
        ("H9", head(&format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n")) + &chunk),
        ("H10", head(&format!("Content-Length: {length}\r\nContent-Length: {length}\r\n")) + &body),
        ("H10", head(&format!("Content-Length: {length}, {length}\r\n")) + &body),
        ("H10", head(&format!("Content-Length: +{length}\r\n")) + &body),
        ("H10", head("Content-Length: 18446744073709551616\r\n") + &body),
        ("H12", head("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n") + &chunk),
        ("H12", head("Transfer-Encoding: chunked, chunked\r\n") + &chunk),
        ("H12", head("Transfer-Encoding: identity\r\n") + &chunk),
        ("H12", head("Transfer-Encoding : chunked\r\n") + &chunk),
        ("H13", head(&format!("Content-Length: {length}\r\n")).replace("\r\n", "\n") + &body),
        ("H13", format!("POST /mcp HTTP/1.1\r\nHost: localhost\nContent-Length: {length}\r\n\r\n{body}")),
        ("H14", head(&format!("X-Folded: a\r\n b\r\nContent-Length: {length}\r\n")) + &body),
        ("H14", head(&format!("X-Nul: a\0b\r\nContent-Length: {length}\r\n")) + &body),
        ("H14", head(&format!("X-Cr: a\rb\r\nContent-Length: {length}\r\n")) + &body),
        ("H18", head("Transfer-Encoding: chunked\r\n") + "fffffffffffffffff\r\n" + &body),
        ("H18", head("Transfer-Encoding: chunked\r\n") + "0x5\r\nabcde\r\n0\r\n\r\n"),
        ("H18", head("Transfer-Encoding: chunked\r\n") + "5\nabcde\n0\n\n"),
        ("H18", head("Transfer-Encoding: chunked\r\n") + &format!("{length:x};{}\r\n", "x".repeat(1 << 20)) + &body),
        (
            "H19",
            head("Transfer-Encoding: chunked\r\n")
                + &format!("{length:x}\r\n{body}\r\n0\r\n")
                + &"A: b\r\n".repeat(1000)
                + "\r\n",
        ),
    ] {
        let answer = raw(server.address, (bytes.clone() + SMUGGLED).as_bytes()).await;
        let what = &bytes[..bytes.len().min(200)];
        assert_eq!(answer.status, 400, "{row}: {what:?}: {}", answer.head);
        assert!(!answer.body.contains("HTTP/1.1 200"), "{row}: the request behind it was served");
    }
}

#[tokio::test]
async fn h19_trailers_are_ignored_and_never_merged() {
    let server = start().await;
    let body = modern("tools/list", json!({})).to_string();
    let routing: String =
        routed("tools/list", None).iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    // The last one would be refused as a header.
    let trailers = "Host: evil.example\r\nContent-Length: 3\r\nOrigin: http://evil.example\r\n";
    let bytes = head(&format!("{routing}Transfer-Encoding: chunked\r\nConnection: close\r\n"));
    let answer =
        raw(server.address, format!("{bytes}{:x}\r\n{body}\r\n0\r\n{trailers}\r\n", body.len()).as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[tokio::test]
async fn h25_slow_heads_are_cut_off_and_idle_connections_are_not() {
    let limit = Duration::from_millis(300);
    let server = start_with(|options| options.head_timeout = limit).await;
    let began = std::time::Instant::now();
    for begun in ["", "POST", "POST /mcp HTTP/1.1\r\nHost: local"] {
        let answer = raw(server.address, begun.as_bytes()).await;
        assert!(answer.status == 0 || answer.status >= 400, "{}", answer.head);
    }
    assert!(began.elapsed() >= limit);
    // Between requests the connection may rest much longer than a head may take.
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let ask = SMUGGLED.as_bytes();
    for _ in 0..2 {
        socket.write_all(ask).await.unwrap();
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        let mut rest = vec![0; 4096];
        let _ = socket.read(&mut rest).await.unwrap();
        let quiet = tokio::time::timeout(limit * 3, socket.read(&mut rest)).await;
        assert!(quiet.is_err(), "it was closed after {limit:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn h26_slow_bodies_are_408() {
    let server = start().await;
    // The clock is paused and goes on when nobody has anything to do: the wait for the rest takes no time.
    let answer = raw(server.address, (head("Content-Length: 1000\r\n") + "{").as_bytes()).await;
    assert_eq!(answer.status, 408);
}

#[tokio::test]
async fn h28_ten_thousand_pipelined_requests_are_answered_in_order() {
    const REQUESTS: u32 = 10_000;
    let server = start().await;
    let session = open(server.address, "2025-11-25", &[]).await;
    let socket = TcpStream::connect(server.address).await.unwrap();
    let (mut reader, mut writer) = socket.into_split();
    let writing = tokio::spawn(async move {
        for id in 0..REQUESTS {
            let body = json!({ "jsonrpc": "2.0", "id": id, "method": "ping" }).to_string();
            let connection = if id + 1 == REQUESTS { "close" } else { "keep-alive" };
            let headers = [("Mcp-Session-Id", session.as_str()), ("Connection", connection)];
            writer.write_all(request("POST", &headers, &body).as_bytes()).await.unwrap();
        }
        writer
    });
    let mut answers = String::new();
    reader.read_to_string(&mut answers).await.unwrap();
    drop(writing.await.unwrap());
    let ids: Vec<u32> = answers
        .match_indices(r#""id":"#)
        .map(|(at, mark)| {
            let rest = &answers[at + mark.len()..];
            rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap()].parse().unwrap()
        })
        .collect();
    assert!(ids.iter().copied().eq(0..REQUESTS), "{} answers", ids.len());
}

#[tokio::test]
async fn h30_tls_and_half_a_preface_on_the_plain_port_end_cleanly() {
    let server = start_with(|options| options.head_timeout = Duration::from_millis(300)).await;
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice();
    for bytes in [hello, b"PRI * HT", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"\0\0\0\0", &[0xff; 100]] {
        let answer = raw(server.address, bytes).await;
        assert!(answer.status == 0 || answer.status == 400, "{bytes:?}: {}", answer.head);
    }
    assert_eq!(
        raw(server.address, SMUGGLED.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").as_bytes()).await.status,
        200
    );
}

type Sender = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

async fn http2(address: std::net::SocketAddr) -> Sender {
    let socket = TcpStream::connect(address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn http2_post(address: std::net::SocketAddr, headers: &[(&str, &str)], body: &Value) -> http::Request<Full<Bytes>> {
    let mut request = http::Request::post(format!("http://{address}/mcp"))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(Bytes::from(body.to_string()))).unwrap()
}

#[tokio::test]
async fn http2_serves_both_eras_and_streams_on_one_connection() {
    let server = start().await;
    let mut sender = http2(server.address).await;
    let opened = sender.send_request(http2_post(server.address, &[], &initialize("2025-11-25"))).await.unwrap();
    assert_eq!(opened.status(), 200);
    let session = opened.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let headers = [("mcp-session-id", session.as_str())];
    let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    assert_eq!(sender.send_request(http2_post(server.address, &headers, &initialized)).await.unwrap().status(), 202);
    // Many at once, on one connection, each with its own answer.
    let calls = (0..50).map(|id| {
        let mut sender = sender.clone();
        let request = http2_post(server.address, &headers, &call(id, "echo"));
        async move { sender.send_request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes() }
    });
    for (id, body) in futures_util::future::join_all(calls).await.into_iter().enumerate() {
        let text = String::from_utf8_lossy(&body).into_owned();
        assert!(text.contains(&format!(r#""id":{id}"#)), "{text}");
    }
    let listed = http2_post(server.address, &routed("tools/list", None), &modern("tools/list", json!({})));
    let listed = sender.send_request(listed).await.unwrap();
    assert_eq!(listed.status(), 200);
    let foreign = [("origin", "http://evil.example")];
    let refused = sender.send_request(http2_post(server.address, &foreign, &initialize("2025-11-25"))).await.unwrap();
    assert_eq!(refused.status(), 403, "the same gates");
}

#[tokio::test]
async fn h29_streams_that_are_reset_at_once_end_the_connection_and_nobody_elses() {
    let server = start().await;
    let mut sender = http2(server.address).await;
    let mut resets = 0_u32;
    // More than any client resets by accident (CVE-2023-44487).
    for id in 0..20_000 {
        let sending = sender.send_request(http2_post(server.address, &[], &call(id, "echo")));
        let mut sending = Box::pin(sending);
        // Once polled it is on its way; dropped, it is reset.
        if futures_util::FutureExt::now_or_never(&mut sending).is_some_and(|outcome| outcome.is_err()) {
            break;
        }
        drop(sending);
        resets += 1;
        if id % 64 == 0 {
            tokio::task::yield_now().await;
        }
        if sender.is_closed() {
            break;
        }
    }
    assert!(resets > 0);
    let mut other = http2(server.address).await;
    let opened = other.send_request(http2_post(server.address, &[], &initialize("2025-11-25"))).await.unwrap();
    assert_eq!(opened.status(), 200);
}
