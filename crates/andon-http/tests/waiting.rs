//! What waits for clients that take nothing is bounded for all of them together. In a process of its own, whose memory is
//! measured.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::time::Duration;

use common::{connect_small, open, recite, send, start_limited};
use tokio::io::AsyncWriteExt as _;

const LATEST: &str = "2025-11-25";

#[tokio::test]
async fn e10_many_that_take_nothing_share_what_may_wait() {
    const CLIENTS: usize = 40;
    const TOGETHER_BYTES: usize = 8 << 20;
    let limit = |limits: &mut andon_server::options::HostOptions| {
        limits.slow_reader_timeout = Duration::from_millis(100);
        limits.conversation.progress_per_s = 1_000_000;
        limits.conversation.replay_events_max = 100_000;
        limits.conversation.replay_bytes_max = 64 << 20;
        limits.waiting_bytes_max = TOGETHER_BYTES;
    };
    let server = start_limited(|_| (), limit).await;
    let before = common::rss_bytes();
    let mut sockets = Vec::new();
    for _ in 0..CLIENTS {
        let session = open(server.address, LATEST, &[]).await;
        let mut socket = connect_small(server.address).await;
        let id = [("Mcp-Session-Id", session.as_str())];
        // Four MiB for each, all of which its session could keep.
        socket.write_all(common::request("POST", &id, &recite(1_000, 4 << 10).to_string()).as_bytes()).await.unwrap();
        socket.readable().await.unwrap();
        sockets.push(socket);
    }
    while server.host.status().calls_running > 0 {
        tokio::task::yield_now().await;
    }
    let grown = common::rss_bytes().saturating_sub(before);
    assert!(grown < 5 * TOGETHER_BYTES, "{grown} bytes");
    // Who reads what is said at once still has it all.
    let session = open(server.address, LATEST, &[]).await;
    let id = [("Mcp-Session-Id", session.as_str())];
    let events = send(server.address, "POST", &id, &recite(100, 1 << 10).to_string()).await.events();
    assert_eq!(events.len(), 102);
}
