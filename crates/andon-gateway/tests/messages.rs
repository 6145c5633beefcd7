//! What operators and clients are told of servers that fail.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::time::Duration;

use andon_client::Event;
use andon_http::Http;
use andon_server::entry::ToolEntry;
use andon_server::server::Server;
use common::{Bench, call, event, example, tools, unruly, until};
use serde_json::{Value, json};
use tokio::sync::oneshot;

#[tokio::test]
async fn a_call_that_did_not_reach_its_server_is_known_not_to_have_run() {
    let any = json!({ "type": "object" });
    let tool = ToolEntry::from_fn("hello", any, |_: Value, _| async { "hello".to_owned() });
    let server = Server::new("gone", "1").with(tool).build().unwrap();
    let http = Http::bind("127.0.0.1:0").unwrap();
    let url = http.url();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(http.run(server, async { drop(stopped.await) }));
    let bench = Bench::new(json!({ "a": { "url": url } }));
    let client = bench.client("2025-11-25").await;
    until(|| async { tools(&client).await.len() == 1 }).await;
    assert_eq!(call(&client, "hello", json!({})).await.unwrap(), "hello");
    drop(stop);
    serving.await.unwrap().unwrap();
    let error = call(&client, "hello", json!({})).await.unwrap_err().to_string();
    assert!(!error.contains("unknown"), "{error}");
    let status = bench.status("a");
    assert_ne!(status.state, "ready");
    assert!(status.last_error.unwrap().contains("reached"));
    bench.gateway.stop().await;
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named() {
    let server = json!({ "command": example("unruly"), "cwd": "/no/such/folder" });
    let bench = Bench::new(json!({ "a": server }));
    until(|| async { bench.status("a").last_error.is_some() }).await;
    let why = bench.status("a").last_error.unwrap();
    assert!(why.contains("no folder \"/no/such/folder\""), "{why}");
    bench.gateway.stop().await;
}

#[tokio::test]
async fn a_file_that_says_the_same_is_no_news() {
    let servers = json!({ "a": unruly(&[], json!({})) });
    let bench = Bench::new(servers.clone());
    let client = bench.client("2025-11-25").await;
    until(|| async { !tools(&client).await.is_empty() }).await;
    let mut events = client.events();
    bench.gateway.reload(&bench.configure(servers));
    let told = event(&mut events, |event| matches!(event, Event::ToolsChanged));
    assert!(tokio::time::timeout(Duration::from_millis(300), told).await.is_err());
    bench.gateway.reload(&bench.configure(json!({ "a": unruly(&[], json!({ "tools": { "deny": ["echo"] } })) })));
    event(&mut events, |event| matches!(event, Event::ToolsChanged)).await;
    until(|| async { !tools(&client).await.is_empty() }).await;
    assert_eq!(bench.status("a").tools, tools(&client).await.len(), "one is not shown");
    bench.gateway.stop().await;
}

#[tokio::test]
async fn a_call_of_a_server_that_rests_says_that_it_does() {
    let resting = unruly(&["--broken"], json!({ "restarts_max": 1, "park_s": 60 }));
    let bench = Bench::new(json!({ "a": unruly(&[], json!({})), "resting": resting }));
    until(|| async { bench.status("resting").state == "parked" }).await;
    let client = bench.client("2025-11-25").await;
    let error = call(&client, "resting__x", json!({})).await.unwrap_err().to_string();
    assert!(error.contains("\"resting\"") && error.contains("rests"), "{error}");
    bench.gateway.stop().await;
}
