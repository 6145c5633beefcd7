//! Odd numbers, odd names, odd parameters and floods, on real sockets.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use common::{call, modern, open, parse_events, post, routed, send, start, start_limited};
use serde_json::{Value, json};

const LATEST: &str = "2025-11-25";

#[tokio::test]
async fn j4_numbers_that_are_no_ids_are_refused_and_never_saturate() {
    let server = start().await;
    let session = open(server.address, LATEST, &[]).await;
    let headers = [("Mcp-Session-Id", session.as_str())];
    for id in ["1e400", "1180591620717411303424", "-0", "1.0", "9223372036854775808"] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
        let answer = send(server.address, "POST", &headers, &body).await;
        assert!(matches!(answer.code(), -32600 | -32700), "{id}: {}", answer.body);
    }
    let greatest = r#"{"jsonrpc":"2.0","id":9223372036854775807,"method":"ping"}"#;
    let answer = send(server.address, "POST", &headers, greatest).await;
    assert!(answer.body.contains("9223372036854775807"), "{}", answer.body);
}

#[tokio::test]
async fn j7_nul_is_data_and_no_part_of_names() {
    let server = start().await;
    let session = open(server.address, LATEST, &[]).await;
    let headers = [("Mcp-Session-Id", session.as_str())];
    let mut told = call(1, "echo");
    told["params"]["arguments"] = json!({ "message": "a\u{0}b" });
    assert!(post(server.address, &headers, &told).await.body.contains(r"a\\u0000b"), "data passes whole");
    let mut named = call(2, "echo\u{0}");
    named["params"]["arguments"] = json!({ "message": "x" });
    assert_ne!(post(server.address, &headers, &named).await.code(), 0, "echo is not echo with a NUL");
    let method = json!({ "jsonrpc": "2.0", "id": 3, "method": "ping\u{0}" });
    assert_eq!(post(server.address, &headers, &method).await.code(), -32601);
    let read = json!({ "jsonrpc": "2.0", "id": 4, "method": "resources/read", "params": { "uri": "test://a\u{0}" } });
    assert_ne!(post(server.address, &headers, &read).await.code(), 0);
}

#[tokio::test]
async fn r17_r18_unknown_methods_and_bad_parameters_have_their_codes() {
    let server = start().await;
    let session = open(server.address, LATEST, &[]).await;
    let headers = [("Mcp-Session-Id", session.as_str())];
    for (id, method) in (1..).zip(["__proto__", "rpc.discover", "constructor", "Ping", "tools/call/", ""]) {
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method });
        assert_eq!(post(server.address, &headers, &request).await.code(), -32601, "{method:?}");
    }
    for (id, params) in (100..).zip([json!([]), json!("text"), json!(7), json!(null), json!({}), json!({ "name": 7 })])
    {
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
        assert_eq!(post(server.address, &headers, &request).await.code(), -32602, "{params}");
    }
    let missing = json!({ "jsonrpc": "2.0", "id": 200, "method": "tools/call" });
    assert_eq!(post(server.address, &headers, &missing).await.code(), -32602);
}

#[tokio::test]
async fn r21_unknown_notifications_are_taken_and_forgotten() {
    let server = start().await;
    let session = open(server.address, LATEST, &[]).await;
    let headers = [("Mcp-Session-Id", session.as_str())];
    for number in 0..200 {
        let notification =
            json!({ "jsonrpc": "2.0", "method": format!("notifications/x{number}"), "params": { "n": number } });
        assert_eq!(post(server.address, &headers, &notification).await.status, 202);
    }
    assert_eq!(post(server.address, &headers, &call(1, "echo")).await.status, 200);
}

#[tokio::test]
async fn s14_a_session_id_in_the_target_opens_nothing() {
    let server = start().await;
    let session = open(server.address, LATEST, &[]).await;
    for name in ["session_id", "sessionId", "Mcp-Session-Id"] {
        let body = call(1, "echo").to_string();
        let bytes = common::request("POST", &[], &body).replacen("/mcp", &format!("/mcp?{name}={session}"), 1);
        let status = common::raw(server.address, bytes.as_bytes()).await.status;
        assert!(matches!(status, 400 | 404), "{name}: {status}");
    }
}

#[tokio::test]
async fn e7_a_stream_that_said_everything_is_empty_or_gone() {
    let server = start().await;
    let session = open(server.address, LATEST, &[]).await;
    let headers = [("Mcp-Session-Id", session.as_str())];
    server.gates.go.notify_one();
    let answered = post(server.address, &headers, &call(1, "wait")).await;
    let last = parse_events(&answered.body).last().unwrap().0.clone();
    let again = [("Mcp-Session-Id", session.as_str()), ("Last-Event-ID", last.as_str())];
    let resumed = send(server.address, "GET", &again, "").await;
    assert!(matches!(resumed.status, 200 | 404), "{}", resumed.head);
    assert!(!resumed.body.contains("waited"), "the answer is not said twice");
}

#[tokio::test]
async fn n10_errors_have_codes_of_the_specification() {
    let server = start().await;
    for (method, params) in [
        ("tools/call", json!({})),
        ("tools/call", json!({ "name": "nope", "arguments": {} })),
        ("tools/call", json!({ "name": "panic", "arguments": {} })),
        ("resources/read", json!({ "uri": "test://nope" })),
        ("resources/read", json!({ "uri": 7 })),
        ("prompts/get", json!({ "name": "x" })),
        ("nonsense", json!({})),
        ("tools/list", json!({ "cursor": "garbage" })),
        ("subscriptions/listen", json!({ "notifications": 7 })),
    ] {
        let name = params["name"].as_str().or(params["uri"].as_str()).map(str::to_owned);
        let answer = post(server.address, &routed(method, name.as_deref()), &modern(method, params.clone())).await;
        let known = [-32700, -32600, -32601, -32602, -32603, -32000, -32020, -32021, -32022];
        let is_result = answer.json()["result"].is_object();
        assert!(is_result || known.contains(&answer.code()), "{method} {params}: {}", answer.body);
    }
}

#[tokio::test]
async fn u8_x1_subscriptions_and_uris_are_bounded() {
    let server = start_limited(|_| (), |limits| limits.conversation.subscriptions_max = 1).await;
    let session = open(server.address, LATEST, &[]).await;
    let headers = [("Mcp-Session-Id", session.as_str())];
    let ask = |id: u32, method: &str, uri: &str| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": { "uri": uri } });
    for (id, uri) in (1..).zip(["test://a", "TEST://a", "test://a"]) {
        let subscribed = post(server.address, &headers, &ask(id, "resources/subscribe", uri)).await;
        // A variant of what is subscribed to takes no room.
        assert_eq!(subscribed.json()["result"], json!({}), "{}", subscribed.body);
    }
    let long = format!("test://{}", "a".repeat(1 << 20));
    let started = std::time::Instant::now();
    let refused = post(server.address, &headers, &ask(9, "resources/read", &long)).await;
    assert_ne!(refused.code(), 0);
    assert!(refused.body.len() < 4096 && started.elapsed().as_secs() < 5, "it is not echoed");
}

#[tokio::test]
async fn x2_a_flood_of_progress_is_coalesced_and_its_last_value_kept() {
    let server = start().await;
    let session = open(server.address, LATEST, &[]).await;
    let headers = [("Mcp-Session-Id", session.as_str())];
    let mut request = call(1, "flood");
    request["params"]["_meta"] = json!({ "progressToken": "t" });
    let began = std::time::Instant::now();
    let answer = post(server.address, &headers, &request).await;
    let said: Vec<Value> =
        parse_events(&answer.body).iter().filter_map(|(_, data)| serde_json::from_str(data).ok()).collect();
    let progress: Vec<f64> = said.iter().filter_map(|message| message["params"]["progress"].as_f64()).collect();
    let most = 12 + usize::try_from(began.elapsed().as_millis() / 100).unwrap();
    assert!(progress.len() <= most, "{} of at most {most}", progress.len());
    assert_eq!(progress.last().copied(), Some(100_000.0), "the last one is kept");
    assert!(progress.is_sorted() && answer.body.contains("flooded"));
}
