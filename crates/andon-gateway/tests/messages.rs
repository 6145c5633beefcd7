//! What operators and clients are told of servers that fail.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use andon_http::Http;
use andon_server::entry::ToolEntry;
use andon_server::server::Server;
use common::{Bench, call, example, tools, until};
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
