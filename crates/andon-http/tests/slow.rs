//! Clients that read slowly, or never: who speaks is slowed, memory is bounded, and a session outlives its connection.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::time::{Duration, Instant};

use common::{Open, connect_small, initialize, open, parse_events, post, recite, send, start_limited};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const LATEST: &str = "2025-11-25";

async fn server(replay_bytes_max: usize) -> common::Running {
    let limit = move |limits: &mut andon_server::options::HostOptions| {
        limits.slow_reader_timeout = Duration::from_millis(500);
        limits.conversation.progress_per_s = 1_000_000;
        limits.conversation.replay_events_max = 100_000;
        limits.conversation.replay_bytes_max = replay_bytes_max;
    };
    start_limited(|_| (), limit).await
}

#[tokio::test]
async fn e10_a_reader_that_takes_nothing_is_cut_and_comes_back_for_the_rest() {
    const LINES: u32 = 2_000;
    let server = server(64 << 20).await;
    let session = open(server.address, LATEST, &[]).await;
    let id = [("Mcp-Session-Id", session.as_str())];
    let mut socket = connect_small(server.address).await;
    let began = Instant::now();
    socket.write_all(common::request("POST", &id, &recite(LINES, 4 << 10).to_string()).as_bytes()).await.unwrap();
    // The call ends although nobody reads.
    let mut watch = Open::new(server.address, "GET", &id, "").await;
    watch.until("data: ").await;
    while server.host.status().calls_running > 0 {
        tokio::task::yield_now().await;
    }
    assert!(began.elapsed() >= Duration::from_millis(500), "it waited for the reader");
    let mut text = Vec::new();
    socket.read_to_end(&mut text).await.unwrap();
    let heard = common::read(&text).events();
    assert!(heard.len() > 10 && heard.len() < LINES as usize, "{} events before it was cut", heard.len());
    let last = heard.last().unwrap().0.clone();
    let again = send(server.address, "GET", &[id[0], ("Last-Event-ID", &last)], "").await;
    let rest = parse_events(&again.body);
    // Its first event, each line, and the answer: nothing twice, and nothing missing.
    assert_eq!(heard.len() + rest.len(), LINES as usize + 2, "{} and {}", heard.len(), rest.len());
    assert!(rest.last().unwrap().1.contains("recited"));
}

#[tokio::test]
async fn e11_the_system_keeps_little_of_what_nobody_reads_yet() {
    let server = server(64 << 20).await;
    let session = open(server.address, LATEST, &[]).await;
    let headers = [("Mcp-Session-Id", session.as_str()), ("Connection", "keep-alive")];
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(16 << 10).unwrap();
    let mut socket = socket.connect(server.address).await.unwrap();
    // A buffer that may grow does so for a peer whose bytes are read fast.
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"_meta": {"long": "x".repeat(2 << 20)}}});
    for _ in 0..4 {
        socket.write_all(common::request("POST", &headers, &ping.to_string()).as_bytes()).await.unwrap();
        assert_ne!(socket.read(&mut [0; 16 << 10]).await.unwrap(), 0);
    }
    socket.write_all(common::request("POST", &headers, &recite(2_000, 4 << 10).to_string()).as_bytes()).await.unwrap();
    // While that is answered nothing more is read.
    let (mut taken, more) = (0, [b'x'; 16 << 10]);
    while let Ok(Ok(bytes)) = tokio::time::timeout(Duration::from_millis(300), socket.write(&more)).await {
        taken += bytes;
    }
    assert!(taken < 256 << 10, "{taken} bytes");
}

#[tokio::test]
async fn i34_ten_thousand_messages_at_once_wait_for_a_slow_reader() {
    const LINES: u32 = 10_000;
    let server = server(64 << 20).await;
    let session = open(server.address, LATEST, &[]).await;
    let id = [("Mcp-Session-Id", session.as_str())];
    let mut socket = connect_small(server.address).await;
    socket.write_all(common::request("POST", &id, &recite(LINES, 1 << 10).to_string()).as_bytes()).await.unwrap();
    let (mut text, mut piece, mut pace) = (Vec::new(), [0; 64 << 10], tokio::time::interval(Duration::from_millis(2)));
    loop {
        pace.tick().await;
        match socket.read(&mut piece).await.unwrap() {
            0 => break,
            read => text.extend_from_slice(&piece[..read]),
        }
    }
    let events = common::read(&text).events();
    assert_eq!(events.len(), LINES as usize + 2, "all of them, since it reads");
    assert!(events.last().unwrap().1.contains("recited"));
}

#[tokio::test]
async fn e11_readers_of_a_byte_now_and_then_cost_little_and_slow_nobody() {
    const READERS: usize = 100;
    let server = server(1 << 20).await;
    let mut readers = tokio::task::JoinSet::new();
    let before = common::rss_bytes();
    for _ in 0..READERS {
        let session = open(server.address, LATEST, &[]).await;
        let mut socket = connect_small(server.address).await;
        let id = [("Mcp-Session-Id", session.as_str())];
        socket.write_all(common::request("POST", &id, &recite(300, 8 << 10).to_string()).as_bytes()).await.unwrap();
        readers.spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_millis(100));
            let mut byte = [0; 1];
            loop {
                pace.tick().await;
                if !matches!(socket.read(&mut byte).await, Ok(1)) {
                    return;
                }
            }
        });
    }
    for _ in 0..20 {
        let asked = Instant::now();
        assert_eq!(post(server.address, &[], &initialize(LATEST)).await.status, 200);
        assert!(asked.elapsed() < Duration::from_secs(1), "others wait for {:?}", asked.elapsed());
    }
    let grown = common::rss_bytes().saturating_sub(before) / READERS;
    assert!(grown < 2 << 20, "{grown} bytes for each");
}

#[tokio::test]
async fn e10_a_standing_stream_that_nobody_reads_ends_and_is_taken_up_again() {
    const UPDATES: usize = 5_000;
    let server = start_limited(
        |options| options.idle_timeout = Duration::from_millis(400),
        |limits| {
            limits.conversation.change_interval = Duration::ZERO;
            limits.conversation.replay_events_max = 100_000;
            limits.conversation.replay_bytes_max = 64 << 20;
        },
    )
    .await;
    let session = open(server.address, LATEST, &[]).await;
    let id = [("Mcp-Session-Id", session.as_str())];
    let subscribe = json!({"jsonrpc": "2.0", "id": 5, "method": "resources/subscribe", "params": {"uri": "test://a"}});
    assert_eq!(post(server.address, &id, &subscribe).await.status, 200);
    let mut socket = connect_small(server.address).await;
    socket.write_all(common::request("GET", &id, "").as_bytes()).await.unwrap();
    socket.readable().await.unwrap();
    for _ in 0..UPDATES {
        server.updated("test://a");
        tokio::task::yield_now().await;
    }
    // Nobody reads for longer than that: twice the time after which a connection that rests ends.
    for _ in 0..2 {
        Open::with(server.address, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.finish().await;
    }
    let mut text = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut text)).await.expect("an end").unwrap();
    let heard = common::read(&text).events();
    let last = heard.last().unwrap().0.clone();
    let mut again = Open::new(server.address, "GET", &[id[0], ("Last-Event-ID", &last)], "").await;
    again.until("data: ").await;
    assert_eq!(send(server.address, "DELETE", &id, "").await.status, 204);
    let rest = again.finish().await.events();
    let sequence = |(id, _): &(String, String)| usize::from_str_radix(id.rsplit('-').next().unwrap(), 16).unwrap();
    let sequences: Vec<usize> = heard.iter().chain(&rest).map(sequence).collect();
    let first = sequences[0];
    assert!(sequences.iter().copied().eq(first..first + sequences.len()), "a gap, or something twice");
    // Some are merged, if the server gets around to none of the others.
    assert!(heard.len() < UPDATES / 2 && rest.len() > UPDATES / 2, "{} and {}", heard.len(), rest.len());
}
