//! Streams under stress: what is evicted, taken up a hundred times, never read, kept alive, or asked for in a loop.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::time::Duration;

use common::{Open, call, initialize, open, parse_events, post, send, start, start_limited, start_with};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

const LATEST: &str = "2025-11-25";

/// A session with a subscription and its standing stream, which has said its first event.
async fn subscribed(server: &common::Running) -> (String, Open, String) {
    let session = open(server.address, LATEST, &[]).await;
    let id = [("Mcp-Session-Id", session.as_str())];
    let mut stream = Open::new(server.address, "GET", &id, "").await;
    stream.until("data: ").await;
    let subscribe = json!({"jsonrpc": "2.0", "id": 5, "method": "resources/subscribe", "params": {"uri": "test://a"}});
    assert_eq!(post(server.address, &id, &subscribe).await.json()["result"], json!({}));
    server.updated("test://a");
    let text = stream.until("resources/updated").await.to_owned();
    let first = parse_events(text.split_once("\r\n\r\n").unwrap().1)[0].0.clone();
    (session, stream, first)
}

#[tokio::test]
async fn e4_what_is_no_longer_kept_is_an_error_and_never_a_gap() {
    let server = start_limited(
        |_| (),
        |limits| {
            limits.conversation.replay_events_max = 2;
            limits.conversation.change_interval = Duration::ZERO;
        },
    )
    .await;
    let (session, mut stream, first) = subscribed(&server).await;
    for _ in 0..4 {
        server.updated("test://a");
    }
    // The fifth of them: the priming event was the stream's first.
    let fifth = first.rsplit_once('-').map(|(stream, _)| format!("id: {stream}-5")).unwrap();
    stream.until(&fifth).await;
    drop(stream);
    let headers = [("Mcp-Session-Id", session.as_str()), ("Last-Event-ID", first.as_str())];
    let refused = send(server.address, "GET", &headers, "").await;
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert!(refused.body.contains("no longer kept"), "{}", refused.body);
}

#[tokio::test]
async fn e6_a_stream_that_is_taken_up_a_hundred_times_has_one_reader() {
    let server = start().await;
    let (session, stream, first) = subscribed(&server).await;
    let headers = [("Mcp-Session-Id", session.as_str()), ("Last-Event-ID", first.as_str())];
    let mut readers = Vec::new();
    for _ in 0..100 {
        readers.push(Open::new(server.address, "GET", &headers, "").await);
    }
    drop(stream);
    let finishing = readers.into_iter().map(Open::finish);
    let all = tokio::spawn(futures_util::future::join_all(finishing));
    // All but one are closed or told to wait; the last is closed by the end of the session.
    tokio::task::yield_now().await;
    server.updated("test://a");
    let id = [("Mcp-Session-Id", session.as_str())];
    assert_eq!(post(server.address, &id, &call(9, "echo")).await.status, 200);
    assert_eq!(send(server.address, "DELETE", &id, "").await.status, 204);
    let answers = all.await.unwrap();
    let told_to_wait = answers.iter().filter(|answer| answer.status == 429);
    assert!(told_to_wait.clone().all(|answer| answer.header("retry-after").is_some()));
    let (served, waited) = (answers.iter().filter(|answer| answer.status == 200).count(), told_to_wait.count());
    assert_eq!(served + waited, 100);
    let heard = answers.iter().map(|answer| answer.body.matches("resources/updated").count()).max();
    assert!(heard <= Some(2), "nobody hears a change twice: {heard:?}");
}

#[tokio::test]
async fn e10_a_reader_that_never_reads_is_cut_off_and_comes_back() {
    let server = start_limited(
        |_| (),
        |limits| {
            limits.conversation.change_interval = Duration::ZERO;
            limits.queue_frames_max = 16;
        },
    )
    .await;
    let (session, stream, first) = subscribed(&server).await;
    // Far more than the sockets hold, and it is not read.
    for _ in 0..200_000 {
        server.updated("test://a");
    }
    let id = [("Mcp-Session-Id", session.as_str())];
    assert_eq!(post(server.address, &id, &call(9, "echo")).await.status, 200, "the session lives");
    drop(stream);
    let headers = [("Mcp-Session-Id", session.as_str()), ("Last-Event-ID", first.as_str())];
    let again = send(server.address, "GET", &headers, "").await;
    assert_eq!(again.status, 400, "it is told that it missed something: {}", again.body);
    let mut fresh = Open::new(server.address, "GET", &id, "").await;
    fresh.until("data: ").await;
    server.updated("test://a");
    fresh.until("resources/updated").await;
}

#[tokio::test]
async fn e13_quiet_streams_are_kept_alive_by_comments() {
    let keep_alive = andon_http::HttpOptions::default().keep_alive_interval;
    assert!(keep_alive <= Duration::from_secs(25), "proxies cut off what is idle for longer");
    let server = start_with(|options| options.keep_alive_interval = Duration::from_millis(20)).await;
    let session = open(server.address, LATEST, &[]).await;
    let mut stream = Open::new(server.address, "GET", &[("Mcp-Session-Id", &session)], "").await;
    let text = stream.until("\n:").await.to_owned();
    let events = parse_events(text.split_once("\r\n\r\n").unwrap().1);
    assert_eq!(events.iter().filter(|(_, data)| !data.is_empty()).count(), 0, "a comment is no event");
}

#[tokio::test]
async fn e14_a_client_that_comes_back_in_a_loop_is_made_to_wait() {
    let server = start().await;
    let (session, _stream, first) = subscribed(&server).await;
    let headers = [("Mcp-Session-Id", session.as_str()), ("Last-Event-ID", first.as_str())];
    let mut refused = 0;
    for _ in 0..60 {
        let mut again = Open::new(server.address, "GET", &headers, "").await;
        let text = again.until("\r\n\r\n").await;
        if text.starts_with("HTTP/1.1 429") {
            assert!(text.to_ascii_lowercase().contains("retry-after:"), "{text}");
            refused += 1;
        }
    }
    assert!(refused >= 20, "{refused} of 60");
    let id = [("Mcp-Session-Id", session.as_str())];
    assert_eq!(post(server.address, &id, &call(9, "echo")).await.status, 200, "calls are served all the while");
}

#[tokio::test]
async fn x6_a_tool_that_never_stops_asking_is_stopped() {
    let server = start_limited(|_| (), |limits| limits.conversation.asks_per_call_max = 5).await;
    let mut opening = initialize(LATEST);
    opening["params"]["capabilities"] = json!({ "elicitation": {} });
    let opened = post(server.address, &[], &opening).await;
    let session = opened.header("mcp-session-id").unwrap().to_owned();
    let id = [("Mcp-Session-Id", session.as_str())];
    post(server.address, &id, &json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    let mut stream = Open::new(server.address, "POST", &id, &call(1, "interrogate").to_string()).await;
    for question in 1..=5 {
        stream.until(&format!("andon-{question}\"")).await;
        let answer = json!({ "jsonrpc": "2.0", "id": format!("andon-{question}"), "result": { "action": "accept", "content": {} } });
        assert_eq!(post(server.address, &id, &answer).await.status, 202);
    }
    let answer = stream.finish().await;
    assert!(answer.body.contains("after 5: too many questions"), "{}", answer.body);
}

#[tokio::test]
async fn x7_a_storm_of_updates_is_coalesced_for_each_of_many_subscribers() {
    const SUBSCRIBERS: usize = 100;
    let server = start_limited(|_| (), |limits| limits.sessions_per_principal_max = 10_000).await;
    let mut subscribers = Vec::new();
    for _ in 0..SUBSCRIBERS {
        let (session, stream, _) = subscribed(&server).await;
        subscribers.push((session, stream));
    }
    let began = std::time::Instant::now();
    for _ in 0..10_000 {
        server.updated("test://a");
    }
    let storm = began.elapsed();
    let mut heard = 0;
    for (session, stream) in subscribers {
        let id = [("Mcp-Session-Id", session.as_str())];
        assert_eq!(send(server.address, "DELETE", &id, "").await.status, 204);
        heard += stream.finish().await.body.matches("resources/updated").count();
    }
    // One for each interval of 100 ms that has begun, at either end too, and the one that each began with.
    let intervals = usize::try_from(began.elapsed().as_millis() / 100).unwrap() + 4;
    assert!(
        heard <= SUBSCRIBERS * intervals,
        "{heard} notifications in {intervals} intervals; the storm took {storm:?}"
    );
}

#[tokio::test]
async fn e11_many_slow_readers_leave_memory_bounded() {
    const READERS: usize = 300;
    let server = start_limited(|_| (), |limits| limits.conversation.change_interval = Duration::ZERO).await;
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let (_, stream, _) = subscribed(&server).await;
        readers.push(stream);
    }
    let before = common::rss_bytes();
    // About 60 KB for each, of which at most 1,000 events are kept.
    for _ in 0..1_000 {
        server.updated("test://a");
        tokio::task::yield_now().await;
    }
    let grown = common::rss_bytes().saturating_sub(before) / READERS;
    assert!(grown < 1 << 20, "{grown} bytes for each reader");
    let mut other = tokio::net::TcpStream::connect(server.address).await.unwrap();
    other.write_all(b"x").await.unwrap();
    assert_eq!(post(server.address, &[], &initialize(LATEST)).await.status, 200, "others are served");
}
