//! Legacy clients of a server without sessions, on real sockets.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use andon_server::sessions::Sessions;
use common::{Open, People, Running, call, initialize, modern, post, routed, send, start_keeping};
use serde_json::{Value, json};

const LEGACY: [&str; 3] = ["2025-03-26", "2025-06-18", "2025-11-25"];

async fn start() -> Running {
    start_keeping(Sessions::none(), |_| (), |_| ()).await
}

fn plain(id: u32, method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

#[tokio::test]
async fn each_request_stands_alone() {
    let server = start().await;
    for revision in LEGACY {
        let opened = post(server.address, &[], &initialize(revision)).await;
        assert_eq!((opened.status, opened.header("mcp-session-id")), (200, None), "{opened:?}");
        assert_eq!(opened.json()["result"]["protocolVersion"], revision);
        let named = [("MCP-Protocol-Version", revision)];
        let ready =
            post(server.address, &named, &json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
        assert_eq!((ready.status, ready.body.as_str()), (202, ""));
        // The same id again and again: nobody remembers it.
        for _ in 0..2 {
            let echo = plain(7, "tools/call", &json!({"name": "echo", "arguments": {"message": "hi"}}));
            let answer = post(server.address, &named, &echo).await;
            assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{answer:?}");
            assert_eq!(answer.json()["result"]["content"][0]["text"], "\"hi\"");
            assert_eq!(answer.json()["result"].get("resultType"), None, "nothing of a later revision");
        }
        assert_eq!(post(server.address, &named, &plain(8, "ping", &json!({}))).await.json()["result"], json!({}));
        let listed = post(server.address, &named, &plain(9, "tools/list", &json!({}))).await;
        assert!(listed.json()["result"]["tools"].as_array().unwrap().len() > 5, "{listed:?}");
    }
    // Without the header too, and a modern client beside.
    assert_eq!(post(server.address, &[], &plain(1, "tools/list", &json!({}))).await.status, 200);
    let echo = modern("tools/call", json!({"name": "echo", "arguments": {"message": "hi"}}));
    assert_eq!(post(server.address, &routed("tools/call", Some("echo")), &echo).await.status, 200);
    assert_eq!(server.host.session_count(), 0);
}

#[tokio::test]
async fn what_needs_a_session_is_not_offered() {
    let server = start().await;
    let opened = post(server.address, &[], &initialize("2025-11-25")).await;
    assert_eq!(opened.json()["result"]["capabilities"], json!({"tools": {}, "resources": {}}), "{opened:?}");
    for (method, params) in [
        ("resources/subscribe", json!({"uri": "test://a"})),
        ("logging/setLevel", json!({"level": "info"})),
        ("tasks/list", json!({})),
    ] {
        assert_eq!(post(server.address, &[], &plain(1, method, &params)).await.code(), -32601, "{method}");
    }
    let asked = post(server.address, &[], &call(1, "ask")).await;
    assert_eq!(asked.json()["result"]["isError"], true, "{asked:?}");
    for verb in ["GET", "DELETE", "PUT"] {
        let refused = send(server.address, verb, &[], "").await;
        assert_eq!((refused.status, refused.header("allow")), (405, Some("POST")), "{verb}");
    }
}

#[tokio::test]
async fn values_are_kept_by_handles() {
    let server = start().await;
    let keep = |handle: Value| plain(1, "tools/call", &json!({"name": "keep", "arguments": {"handle": handle}}));
    let first = post(server.address, &[], &keep(Value::Null)).await;
    let text = first.json()["result"]["content"][0]["text"].as_str().unwrap().to_owned();
    let handle = text.strip_prefix("1 ").unwrap_or_else(|| panic!("{first:?}"));
    let second = post(server.address, &[], &keep(handle.into())).await;
    assert_eq!(second.json()["result"]["content"][0]["text"], format!("2 {handle}"));
}

#[tokio::test]
async fn progress_comes_before_the_answer() {
    let server = start().await;
    let answer = post(
        server.address,
        &[],
        &plain(
            5,
            "tools/call",
            &json!({"name": "recite",
        "arguments": {"lines": 3, "bytes": 10}, "_meta": {"progressToken": "p"}}),
        ),
    )
    .await;
    let events = answer.events();
    assert!(events.len() > 1 && events.iter().all(|(id, _)| id.is_empty()), "nothing to come back to: {events:?}");
    assert!(events[0].1.contains("notifications/progress"), "{events:?}");
    assert_eq!(answer.json()["result"]["content"][0]["text"], "recited");
}

#[tokio::test]
async fn a_call_ends_with_its_connection() {
    let server = start().await;
    let mut connection = Open::new(server.address, "POST", &[], &call(1, "wait").to_string()).await;
    connection.until("notifications/progress").await;
    drop(connection);
    server.gates.dropped.notified().await;
}

#[tokio::test]
async fn bad_input_is_told_what_to_do() {
    let server = start().await;
    let echo = call(1, "echo");
    let of_before = post(server.address, &[("Mcp-Session-Id", "0123456789abcdef0123456789abcdef")], &echo).await;
    assert_eq!((of_before.status, of_before.code()), (404, -32600), "{of_before:?}");
    let stranger = post(server.address, &[("MCP-Protocol-Version", "2025-01-01")], &echo).await;
    assert_eq!((stranger.status, stranger.code()), (400, -32600), "{stranger:?}");
    let answer = json!({"jsonrpc": "2.0", "id": 1, "result": {}});
    assert_eq!(post(server.address, &[], &answer).await.status, 400);
    let bad = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}});
    assert_eq!(post(server.address, &[], &bad).await.code(), -32602);
    assert_eq!(post(server.address, &[], &plain(1, "tools/call", &json!([]))).await.code(), -32602);
}

#[tokio::test]
async fn a_batch_is_answered_in_one_piece() {
    let server = start().await;
    let quiet = json!({"jsonrpc": "2.0", "method": "notifications/x"});
    let recite = plain(
        2,
        "tools/call",
        &json!({"name": "recite", "arguments": {"lines": 2, "bytes": 1},
        "_meta": {"progressToken": 2}}),
    );
    let batch = json!([call(1, "echo"), quiet, recite, 7, plain(3, "unheard/of", &json!({}))]);
    let answer = post(server.address, &[], &batch).await;
    let messages = answer.json();
    let of = |id: u32| messages.as_array().unwrap().iter().find(|message| message["id"] == id).unwrap().clone();
    assert_eq!((answer.status, messages.as_array().unwrap().len()), (200, 4), "{answer:?}");
    assert_eq!(of(1)["result"]["content"][0]["text"], "\"hi\"");
    assert_eq!(of(2)["result"]["content"][0]["text"], "recited");
    assert_eq!(of(3)["error"]["code"], -32601);
    assert_eq!(post(server.address, &[], &json!([quiet])).await.status, 202);
    assert_eq!(post(server.address, &[], &json!([7])).await.status, 400);
    assert_eq!(post(server.address, &[], &json!([initialize("2025-03-26")])).await.status, 400);
    assert_eq!(post(server.address, &[], &json!([{"jsonrpc": "2.0", "id": 1, "result": {}}])).await.status, 400);
    assert_eq!(post(server.address, &[("MCP-Protocol-Version", "2025-06-18")], &batch).await.status, 400);
}

#[tokio::test]
async fn who_calls_is_proved_each_time() {
    let server =
        start_keeping(Sessions::none(), |options| options.verifier = Some(std::sync::Arc::new(People)), |_| ()).await;
    assert_eq!(post(server.address, &[], &call(1, "echo")).await.status, 401);
    assert_eq!(post(server.address, &[("Authorization", "Bearer alice")], &call(1, "echo")).await.status, 200);
}

#[tokio::test]
async fn calls_of_a_batch_run_at_once() {
    let server = start().await;
    let linger = |id: u32| plain(id, "tools/call", &json!({"name": "linger", "arguments": {"end": "go"}}));
    let (address, gates) = (server.address, server.gates.clone());
    let mut begun = std::pin::pin!(gates.begun.notified());
    begun.as_mut().enable();
    let answer = tokio::spawn(async move { post(address, &[], &json!([linger(1), call(2, "echo"), linger(3)])).await });
    begun.await;
    gates.begun.notified().await;
    gates.go.notify_one();
    gates.go.notify_one();
    let answer = answer.await.unwrap().json();
    let texts: Vec<_> =
        answer.as_array().unwrap().iter().map(|one| one["result"]["content"][0]["text"].clone()).collect();
    assert_eq!(texts, ["lingered", "\"hi\"", "lingered"]);
}

#[tokio::test]
async fn who_falls_back_may_name_a_later_revision_in_its_header() {
    let server = start().await;
    let opened = post(server.address, &[("MCP-Protocol-Version", common::MODERN)], &initialize("2025-11-25")).await;
    assert_eq!(opened.status, 200, "{opened:?}");
}
