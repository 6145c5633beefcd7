//! Many clients that vanish, and what is left of them. Alone in its process: it measures that.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use andon_server::entry::ToolEntry;
use andon_server::host::{Answer, Head, Inbound};
use andon_server::principal::Principal;
use andon_server::server::Server;
use serde_json::{Value, json};

fn inbound<'a>(body: &Value, session_id: Option<&'a str>) -> Inbound<'a> {
    let head = Head { session_id, ..Head::default() };
    Inbound { head, body: body.to_string().into(), principal: Principal::anonymous() }
}

/// Bytes of this process that are in memory.
fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test(start_paused = true)]
async fn ses10_r20_ten_thousand_clients_that_vanish_leave_nothing() {
    let host = Server::new("test", "1")
        .with(ToolEntry::from_fn("x", json!({"type": "object"}), |_: Value, _| async { "x" }))
        .build()
        .unwrap();
    let round = |host: Arc<andon_server::host::Host>, finish: bool| async move {
        for _ in 0..10_000 {
            let Answer::Ready { session_id, .. } = host.post(inbound(&common::initialize("2025-11-25"), None)).await
            else {
                panic!()
            };
            if finish {
                host.post(inbound(
                    &json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
                    session_id.as_deref(),
                ))
                .await;
            }
        }
        assert_eq!(host.session_count(), 10_000);
        // Time is the test's: half an hour is over at once.
        tokio::time::sleep(Duration::from_secs(if finish { 31 * 60 } else { 20 })).await;
        assert_eq!(host.session_count(), 0);
    };
    round(host.clone(), true).await;
    let before = resident_bytes();
    round(host.clone(), false).await;
    round(host.clone(), true).await;
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes are left of 20,000 clients");
}
