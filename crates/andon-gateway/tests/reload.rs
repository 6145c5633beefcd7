//! A configuration that changes while clients use its servers.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use common::{Bench, call, is_alive, tools, unruly, until};
use serde_json::json;

const LEGACY: &str = "2025-11-25";

#[tokio::test]
async fn a_reload_touches_only_what_changed() {
    let bench = Bench::new(json!({ "a": unruly(&[], json!({})), "b": unruly(&[], json!({})) }));
    let client = bench.client(LEGACY).await;
    let a = call(&client, "a__pid", json!({})).await.unwrap();
    let b = call(&client, "b__pid", json!({})).await.unwrap();
    let running = tokio::spawn({
        let client = client.clone();
        async move { call(&client, "a__wait", json!({ "ms": 1500 })).await }
    });
    until(|| async { bench.status("a").in_flight == 1 }).await;
    let config = bench.configure(json!({
        "a": unruly(&[], json!({})),
        "b": unruly(&[], json!({ "tools": { "deny": ["echo"] }, "in_flight_max": 3 })),
        "c": unruly(&[], json!({ "rename": { "echo": "say" } })),
    }));
    assert_eq!(bench.gateway.reload(&config), (2, 1));
    until(|| async { tools(&client).await.contains(&"c__say".to_owned()) }).await;
    assert_eq!(running.await.unwrap().unwrap(), "waited", "what did not change runs on");
    assert_eq!(call(&client, "a__pid", json!({})).await.unwrap(), a);
    assert_ne!(call(&client, "b__pid", json!({})).await.unwrap(), b);
    until(|| async { !is_alive(&b) }).await;
    assert!(!tools(&client).await.contains(&"b__echo".to_owned()));
    assert!(call(&client, "b__echo", json!({})).await.is_err(), "denied on call too");
    bench.gateway.stop().await;
}

#[tokio::test]
async fn a_server_runs_on_when_only_what_clients_see_of_it_changes() {
    let bench = Bench::new(json!({ "a": unruly(&[], json!({})) }));
    let client = bench.client(LEGACY).await;
    let pid = call(&client, "pid", json!({})).await.unwrap();
    let running = tokio::spawn({
        let client = client.clone();
        async move { call(&client, "wait", json!({ "ms": 500 })).await }
    });
    until(|| async { bench.status("a").in_flight == 1 }).await;
    let settings = json!({
        "tools": { "deny": ["echo"] }, "rename": { "pid": "number" }, "describe": { "count": "Counts." },
        "timeout_s": 7, "retry": "idempotent", "idle_timeout_s": 9,
    });
    assert_eq!(bench.gateway.reload(&bench.configure(json!({ "a": unruly(&[], settings) }))), (0, 0));
    let listed = client.tools().await.unwrap();
    assert!(listed.iter().all(|tool| tool.name != "echo" && tool.name != "pid"));
    assert!(listed.iter().any(|tool| tool.description.as_deref() == Some("Counts.")));
    assert!(call(&client, "echo", json!({})).await.is_err());
    assert_eq!(call(&client, "number", json!({})).await.unwrap(), pid);
    assert_eq!(running.await.unwrap().unwrap(), "waited");
    bench.gateway.stop().await;
}

#[tokio::test]
async fn a_call_whose_server_a_reload_ends_is_told_why() {
    let bench = Bench::new(json!({ "a": unruly(&[], json!({})) }));
    let client = bench.client(LEGACY).await;
    let running = tokio::spawn({
        let client = client.clone();
        async move { call(&client, "never", json!({})).await }
    });
    until(|| async { bench.status("a").in_flight == 1 }).await;
    assert_eq!(bench.gateway.reload(&bench.configure(json!({ "a": unruly(&["--turned"], json!({})) }))), (1, 1));
    let error = running.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("its configuration changed") && error.contains("call it again"), "{error}");
    bench.gateway.stop().await;
}
