//! What waiting costs, alone in its process: its memory is measured.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use common::{Open, modern, open, routed, start_limited};
use serde_json::json;

/// Both ends of each connection are in this process.
const STREAMS: usize = 1_000;
/// Of user memory, the session or the exchange and the client's end included.
const STREAM_BYTES_MAX: usize = 6 << 10;

#[tokio::test]
async fn a_stream_that_waits_takes_at_most_6_kib() {
    let server = start_limited(|_| (), |limits| limits.conversation.standing_streams_max = 10 * STREAMS).await;
    let session = open(server.address, "2025-11-25", &[]).await;
    let listen = modern("subscriptions/listen", json!({"notifications": {"toolsListChanged": true}})).to_string();
    let mut kept = Vec::with_capacity(10 * STREAMS);
    for of_a_session in [true, false] {
        let mut before = 0;
        // The first ones fill what is allocated in larger pieces.
        for number in 0..STREAMS + STREAMS / 4 {
            if number == STREAMS / 4 {
                before = common::rss_bytes();
            }
            let mut stream = if of_a_session {
                Open::new(server.address, "GET", &[("Mcp-Session-Id", &session)], "").await
            } else {
                Open::new(server.address, "POST", &routed("subscriptions/listen", None), &listen).await
            };
            stream.until("data: ").await;
            stream.forget();
            kept.push(stream);
        }
        let each = common::rss_bytes().saturating_sub(before) / STREAMS;
        println!("{each} bytes");
        assert!(each <= STREAM_BYTES_MAX, "{each} bytes each, of a session: {of_a_session}");
    }
}
