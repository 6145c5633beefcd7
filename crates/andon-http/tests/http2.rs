//! HTTP/2 with prior knowledge: what it serves, and what floods of frames get.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Running, call, initialize, modern, post, routed, start, start_with};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

type Sender = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

async fn http2(address: SocketAddr) -> Sender {
    let socket = TcpStream::connect(address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn http2_post(address: SocketAddr, headers: &[(&str, &str)], body: &Value) -> http::Request<Full<Bytes>> {
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
async fn http2_streams_events_and_hanging_up_ends_the_handler() {
    let server = start().await;
    let mut sender = http2(server.address).await;
    let mut body = modern("tools/call", json!({"name": "wait", "arguments": {}}));
    body["params"]["_meta"]["progressToken"] = json!(1);
    let request = http2_post(server.address, &routed("tools/call", Some("wait")), &body);
    for is_kept in [true, false] {
        let mut answer = sender.send_request(request.clone()).await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let event = answer.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(String::from_utf8_lossy(&event).contains("notifications/progress"));
        if is_kept {
            server.gates.go.notify_one();
            let rest = answer.into_body().collect().await.unwrap().to_bytes();
            assert!(String::from_utf8_lossy(&rest).contains("waited"));
        } else {
            drop(answer);
        }
        tokio::time::timeout(Duration::from_secs(10), server.gates.dropped.notified()).await.expect("it ended");
    }
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ENHANCE_YOUR_CALM: u8 = 11;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields without compression, each shorter than 127 bytes.
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

fn opening() -> Vec<u8> {
    fields(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", "/mcp"),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
    ])
}

/// A connection that has said its preface.
async fn connect(server: &Running, settings: &[u8]) -> (OwnedReadHalf, OwnedWriteHalf) {
    let (reader, mut writer) = TcpStream::connect(server.address).await.unwrap().into_split();
    writer.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    writer.write_all(&frame(SETTINGS, 0, 0, settings)).await.unwrap();
    (reader, writer)
}

/// Reads until the connection ends: the kinds and payloads of its frames.
async fn until_end(mut reader: OwnedReadHalf) -> Vec<(u8, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(60), reader.read_to_end(&mut bytes)).await;
    drop(end.expect("the connection ends"));
    let mut frames = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some((head, after)) = rest.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some((payload, after)) = after.split_at_checked(length) else { break };
        frames.push((head[3], payload.to_vec()));
        rest = after;
    }
    frames
}

fn is_calmed(frames: &[(u8, Vec<u8>)]) -> bool {
    frames.iter().any(|(kind, payload)| *kind == GOAWAY && payload[7] == ENHANCE_YOUR_CALM)
}

fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Sends what `flood` makes until the connection ends, while others are served and no memory is taken.
async fn floods(server: &Running, settings: &[u8], mut flood: impl FnMut(u32) -> Vec<u8>) -> Vec<(u8, Vec<u8>)> {
    const SENT_MAX: usize = 256 << 20;
    let before = resident_bytes();
    let (reader, mut writer) = connect(server, settings).await;
    let reading = tokio::spawn(until_end(reader));
    let flooding = async {
        let (mut turn, mut sent) = (0, 0);
        loop {
            let bytes = flood(turn);
            if bytes.is_empty() || writer.write_all(&bytes).await.is_err() {
                break;
            }
            turn += 1;
            sent += bytes.len();
            assert!(sent < SENT_MAX, "it may go on for ever");
        }
    };
    let others = async {
        for _ in 0..20 {
            let asked = Instant::now();
            assert_eq!(post(server.address, &[], &initialize("2025-11-25")).await.status, 200);
            assert!(asked.elapsed() < Duration::from_secs(5), "others wait for {:?}", asked.elapsed());
        }
    };
    tokio::join!(flooding, others);
    let frames = reading.await.unwrap();
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes were taken");
    frames
}

#[tokio::test]
async fn h29_rapid_resets_end_the_connection() {
    let server = start().await;
    let frames = floods(&server, &[], |turn| {
        let stream = 2 * turn + 1;
        [frame(HEADERS, END_HEADERS, stream, &opening()), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    })
    .await;
    assert!(is_calmed(&frames), "{frames:?}");
}

#[tokio::test]
async fn h29_endless_continuations_end_the_connection() {
    let server = start().await;
    let piece = fields(&[("x-more", &"x".repeat(100))]).repeat(100);
    let frames = floods(&server, &[], |turn| match turn {
        0 => frame(HEADERS, 0, 1, &opening()),
        _ => frame(CONTINUATION, 0, 1, &piece),
    })
    .await;
    assert!(frames.iter().any(|(kind, _)| *kind == GOAWAY), "{frames:?}");
}

#[tokio::test]
async fn h29_small_continuations_end_the_connection() {
    let server = start().await;
    let frames = floods(&server, &[], |turn| match turn {
        0 => frame(HEADERS, 0, 1, &opening()),
        _ => frame(CONTINUATION, 0, 1, b"").repeat(100),
    })
    .await;
    assert!(frames.iter().any(|(kind, _)| *kind == GOAWAY), "{frames:?}");
}

#[tokio::test]
async fn h29_empty_data_ends_the_connection() {
    let server = start().await;
    let frames = floods(&server, &[], |turn| match turn {
        0 => frame(HEADERS, END_HEADERS, 1, &opening()),
        _ => frame(DATA, 0, 1, b"").repeat(100),
    })
    .await;
    assert!(is_calmed(&frames), "{frames:?}");
}

#[tokio::test]
async fn h29_small_fields_that_grow_large_are_refused() {
    let server = start().await;
    // One field of 3,000 bytes into the table, and then a byte for each time that it stands again: 30 MB.
    let mut bomb = [opening(), vec![0x40, 1, b'x', 0x7f]].concat();
    bomb.extend([(3000 - 127) as u8 | 0x80, ((3000 - 127) >> 7) as u8]);
    bomb.extend([b'x'; 3000]);
    bomb.extend([0xbe; 10_000]);
    let frames = floods(&server, &[], |turn| match turn {
        0..100 => frame(HEADERS, END_HEADERS | END_STREAM, 2 * turn + 1, &bomb),
        100 => frame(GOAWAY, 0, 0, &[0; 8]),
        _ => Vec::new(),
    })
    .await;
    assert!(frames.iter().all(|(kind, _)| *kind != DATA), "none of them was served");
}

#[tokio::test]
async fn h29_settings_and_pings_of_a_peer_that_does_not_read_end_the_connection() {
    let server = start_with(|options| options.idle_timeout = Duration::from_millis(500)).await;
    for flood in [frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]), frame(PING, 0, 0, b"12345678")] {
        let flood = flood.repeat(1000);
        let (_reader, mut writer) = connect(&server, &[]).await;
        let mut sent = 0;
        let flooding = async {
            while writer.write_all(&flood).await.is_ok() {
                sent += flood.len();
                assert_eq!(sent >> 28, 0, "it may go on for ever");
            }
        };
        tokio::time::timeout(Duration::from_secs(60), flooding).await.expect("the connection ends");
        assert_eq!(post(server.address, &[], &initialize("2025-11-25")).await.status, 200);
    }
}

#[tokio::test]
async fn h29_a_peer_that_takes_no_answers_is_let_go() {
    let server = start_with(|options| options.idle_timeout = Duration::from_millis(500)).await;
    // The window of each stream is empty.
    let (reader, mut writer) = connect(&server, &[0, 4, 0, 0, 0, 0]).await;
    let body = initialize("2025-11-25").to_string();
    for stream in [1, 3, 5] {
        writer.write_all(&frame(HEADERS, END_HEADERS, stream, &opening())).await.unwrap();
        writer.write_all(&frame(DATA, END_STREAM, stream, body.as_bytes())).await.unwrap();
    }
    let frames = until_end(reader).await;
    assert!(frames.iter().any(|(kind, _)| *kind == HEADERS), "it was answered: {frames:?}");
    assert!(frames.iter().all(|(kind, _)| *kind != DATA));
    assert!(frames.iter().any(|(kind, _)| *kind == GOAWAY), "{frames:?}");
}

#[tokio::test]
async fn h29_more_streams_than_allowed_are_refused() {
    const STREAMS: u32 = 200;
    let server = start().await;
    let (reader, mut writer) = connect(&server, &[]).await;
    // Their bodies never come.
    for turn in 0..STREAMS {
        writer.write_all(&frame(HEADERS, END_HEADERS, 2 * turn + 1, &opening())).await.unwrap();
    }
    writer.write_all(&frame(GOAWAY, 0, 0, &[0; 8])).await.unwrap();
    writer.shutdown().await.unwrap();
    let refused = until_end(reader).await.iter().filter(|(kind, _)| *kind == RST_STREAM).count();
    assert!(refused > 0, "none of {STREAMS} was refused");
}
