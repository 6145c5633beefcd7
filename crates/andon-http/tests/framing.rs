//! Where one request ends and the next begins, slow peers and pipelines: on real sockets.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::time::Duration;

use common::{Open, initialize, modern, open, post, raw, request, routed, start, start_with};
use serde_json::json;
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
        ("H10", head(&format!("Content-Length : {length}\r\n")) + &body),
        ("H10", head(&format!("Content -Length: {length}\r\n")) + &body),
        ("H10", head(&format!("Content-Length\r\nContent-Length: {length}\r\n")) + &body),
        ("H12", head("Transfer-Encoding\t: chunked\r\n") + &chunk),
        ("H12", head("Transfer -Encoding: chunked\r\n") + &chunk),
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
        ("H18", head("Transfer-Encoding: chunked\r\n") + &format!("{length:x}\r\r\n{body}\r\n0\r\n\r\n")),
        ("H19", head("Transfer-Encoding: chunked\r\n") + &format!("{length:x}\r\n{body}\r\n0\r\n\r\r\n\r\n")),
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
async fn what_follows_a_refused_head_is_no_request() {
    let server = start().await;
    for (target, status) in [("/nowhere", 404), ("/mcp", 415)] {
        let length = SMUGGLED.len();
        let head = format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
        let mut connection = Open::with(server.address, &head).await;
        connection.until("connection: close").await;
        connection.send(SMUGGLED).await;
        let answer = connection.finish().await;
        assert_eq!((answer.status, answer.head.matches("HTTP/1.1").count()), (status, 1), "{}", answer.head);
        assert!(!answer.body.contains("HTTP/1.1"), "{}", answer.body);
    }
}

#[tokio::test]
async fn an_answer_to_head_has_no_body_and_the_next_one_is_where_it_belongs() {
    let server = start().await;
    let close = SMUGGLED.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let answer = raw(server.address, (SMUGGLED.replace("GET", "HEAD") + &close).as_bytes()).await;
    assert!(answer.status == 200 && answer.head.contains("content-length: 3"), "{}", answer.head);
    assert!(answer.body.starts_with("HTTP/1.1 200 OK\r\n") && answer.body.ends_with("\r\n\r\nok\n"), "{}", answer.body);
}

#[tokio::test(start_paused = true)]
async fn h25_the_first_head_has_its_time_once() {
    let server = start().await;
    for begun in ["P", "PRI * HT", "\r\n"] {
        let began_at = tokio::time::Instant::now();
        assert_eq!(raw(server.address, begun.as_bytes()).await.status, 408, "{begun:?}");
        let took = began_at.elapsed();
        assert!((Duration::from_secs(9)..Duration::from_secs(15)).contains(&took), "{begun:?}: {took:?}");
    }
}

#[tokio::test]
async fn h25_slow_heads_are_cut_off_and_idle_connections_are_not() {
    let limit = Duration::from_millis(300);
    let server = start_with(|options| options.head_timeout = limit).await;
    let began = std::time::Instant::now();
    for (begun, status) in [("", 0), ("POST", 408), ("POST /mcp HTTP/1.1\r\nHost: local", 408), ("PRI * HT", 408)] {
        let answer = raw(server.address, begun.as_bytes()).await;
        assert_eq!(answer.status, status, "{begun:?}: {}", answer.head);
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

#[tokio::test]
async fn h25_hundreds_of_slow_heads_end_in_time_and_slow_nobody_down() {
    const SLOW: usize = 400;
    let limit = Duration::from_secs(1);
    let server = start_with(|options| options.head_timeout = limit).await;
    let mut slow = tokio::task::JoinSet::new();
    for begun in 0..SLOW {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(&b"POST /mcp HTTP/1.1\r\nHost: localhost\r\n"[..1 + begun % 30]).await.unwrap();
        slow.spawn(async move {
            // One byte now and then is no sign of a good will.
            let mut pace = tokio::time::interval(Duration::from_millis(200));
            let mut answer = [0; 1];
            loop {
                tokio::select! {
                    _ = socket.read(&mut answer) => return,
                    _ = pace.tick() => drop(socket.write_all(b"x").await),
                }
            }
        });
    }
    let began = std::time::Instant::now();
    for _ in 0..50 {
        let asked = std::time::Instant::now();
        assert_eq!(post(server.address, &[], &initialize("2025-11-25")).await.status, 200);
        assert!(asked.elapsed() < limit, "others wait for {:?}", asked.elapsed());
    }
    tokio::time::timeout(limit * 10, slow.join_all()).await.expect("all of them end");
    assert!(began.elapsed() < limit * 10);
}

#[tokio::test]
async fn connections_that_rest_end_and_calls_that_run_do_not() {
    let limit = Duration::from_millis(400);
    let server = start_with(|options| options.idle_timeout = limit).await;
    let session = open(server.address, "2025-11-25", &[]).await;
    let headers = [("Mcp-Session-Id", session.as_str()), ("Connection", "keep-alive")];
    let mut call = Open::new(server.address, "POST", &headers, &common::call(1, "wait").to_string()).await;
    call.until("notifications/progress").await;
    // Another one rests meanwhile, until it is ended.
    let began = std::time::Instant::now();
    assert_eq!(raw(server.address, SMUGGLED.as_bytes()).await.status, 200);
    assert!(began.elapsed() >= limit);
    assert_eq!(raw(server.address, SMUGGLED.as_bytes()).await.status, 200);
    server.gates.go.notify_one();
    call.until("waited").await;
}

#[tokio::test]
async fn whoever_still_sends_is_not_reset_before_it_reads_why_it_is_refused() {
    let server = start().await;
    let junk = vec![b'x'; 512 << 10];
    for head in [head("Content-Length: 3\r\nContent-Length: 3\r\n"), head("Content-Length: 90000000\r\n")] {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(head.as_bytes()).await.unwrap();
        // The answer is there, and yet all is taken that is on its way.
        socket.readable().await.unwrap();
        for piece in junk.chunks(64 << 10) {
            socket.write_all(piece).await.expect("no reset");
        }
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.expect("an end, and no reset");
        assert!([400, 413].contains(&common::read(&answer).status));
    }
}

#[tokio::test(start_paused = true)]
async fn h26_slow_bodies_are_408() {
    let server = start().await;
    // The clock is paused and goes on when nobody has anything to do: the wait for the rest takes no time.
    let answer = raw(server.address, (head("Content-Length: 1000\r\n") + "{").as_bytes()).await;
    assert_eq!(answer.status, 408);
    // A byte now and then does not help.
    let (mut reader, mut writer) = TcpStream::connect(server.address).await.unwrap().into_split();
    writer.write_all(head("Content-Length: 1000\r\n").as_bytes()).await.unwrap();
    let dripping = tokio::spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_secs(2));
        while writer.write_all(b" ").await.is_ok() {
            pace.tick().await;
        }
    });
    let mut answer = Vec::new();
    drop(tokio::time::timeout(Duration::from_secs(60), reader.read_to_end(&mut answer)).await.expect("an end"));
    dripping.abort();
    assert_eq!(common::read(&answer).status, 408);
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
async fn h28_who_sends_and_never_reads_is_held_back_and_then_let_go() {
    let server = start_with(|options| options.idle_timeout = Duration::from_millis(500)).await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let pipeline = SMUGGLED.repeat(1000);
    let mut sent = 0;
    let flood = async {
        while socket.write_all(pipeline.as_bytes()).await.is_ok() {
            sent += pipeline.len();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), flood).await.expect("the connection ends");
    // What the system's buffers take on both sides, and no more.
    assert!(sent < 64 << 20, "{sent} bytes were taken");
    assert_eq!(post(server.address, &[], &initialize("2025-11-25")).await.status, 200);
}

#[tokio::test]
async fn h30_tls_and_half_a_preface_on_the_plain_port_end_cleanly() {
    let server = start_with(|options| options.head_timeout = Duration::from_millis(300)).await;
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice();
    for (bytes, status) in [
        (hello, 400),
        (b"PRI * HT", 408),
        (b"PRI * HTTP/2.0\r\n", 408),
        (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", 400),
        (b"\0\0\0\0", 400),
        (&[0xff; 100], 400),
    ] {
        let answer = raw(server.address, bytes).await;
        assert_eq!(answer.status, status, "{bytes:?}: {}", answer.head);
    }
    // A whole preface after which nothing comes.
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    let end = socket.read_to_end(&mut said);
    drop(tokio::time::timeout(Duration::from_secs(10), end).await.expect("an end"));
    assert_eq!(
        raw(server.address, SMUGGLED.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").as_bytes()).await.status,
        200
    );
}
