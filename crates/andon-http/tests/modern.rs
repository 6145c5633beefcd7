//! Requests that stand alone: the N rows and mcp.md E.6 to E.8, on real sockets.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::time::Duration;

use common::{Open, modern, post, routed, send, start};
use serde_json::{Value, json};

fn echo() -> Value {
    modern("tools/call", json!({"name": "echo", "arguments": {"message": "hi"}}))
}

#[tokio::test]
async fn n1_n2_hdr6_headers_and_body_say_the_same() {
    let server = start().await;
    let version = ("MCP-Protocol-Version", common::MODERN);
    let method = ("Mcp-Method", "tools/call");
    let name = ("Mcp-Name", "echo");
    assert_eq!(post(server.address, &[version, method, name], &echo()).await.status, 200);
    for headers in [
        vec![method, name],
        vec![("MCP-Protocol-Version", "2025-11-25"), method, name],
        vec![version, name],
        vec![version, ("Mcp-Method", "TOOLS/CALL"), name],
        vec![version, ("Mcp-Method", "tools/list"), name],
        vec![version, method],
        vec![version, method, ("Mcp-Name", "other")],
        vec![version, method, name, ("mcp-name", "echo")],
        vec![version, method, ("Mcp-Name", "=?base64?!!?=")],
    ] {
        let response = post(server.address, &headers, &echo()).await;
        assert_eq!((response.status, response.code()), (400, -32020), "{headers:?}");
    }
    let wrapped = [version, method, ("Mcp-Name", "=?base64?ZWNobw==?=")];
    assert_eq!(post(server.address, &wrapped, &echo()).await.status, 200, "hdr1: unwrapped before it is compared");
}

#[tokio::test]
async fn n6_ses13_sessions_are_ignored_and_never_issued() {
    let server = start().await;
    let mut headers = routed("tools/call", Some("echo"));
    headers.extend([("Mcp-Session-Id", "whatever"), ("Last-Event-ID", "1-1-1")]);
    let response = post(server.address, &headers, &echo()).await;
    assert_eq!((response.status, response.header("mcp-session-id")), (200, None));
    assert_eq!(server.host.session_count(), 0);
}

#[tokio::test]
async fn n11_what_a_request_has_to_say_of_itself() {
    let server = start().await;
    let meta = "_meta";
    for key in ["io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientCapabilities"] {
        let mut request = echo();
        request["params"][meta].as_object_mut().unwrap().remove(key);
        let response = post(server.address, &routed("tools/call", Some("echo")), &request).await;
        assert_eq!((response.status, response.code()), (400, -32602), "{key}");
    }
    let mut request = echo();
    request["params"][meta]["io.modelcontextprotocol/protocolVersion"] = json!("2099-01-01");
    let headers = [("MCP-Protocol-Version", "2099-01-01"), ("Mcp-Method", "tools/call"), ("Mcp-Name", "echo")];
    let response = post(server.address, &headers, &request).await;
    assert_eq!((response.status, response.code()), (400, -32022));
    assert_eq!(response.json()["error"]["data"]["requested"], "2099-01-01");
}

#[tokio::test]
async fn methods_of_the_other_era_are_unknown() {
    let server = start().await;
    for method in ["initialize", "ping", "logging/setLevel", "resources/subscribe", "unknown/method", "__proto__"] {
        let response = post(server.address, &routed(method, None), &modern(method, json!({}))).await;
        assert_eq!((response.status, response.code()), (404, -32601), "{method}");
    }
}

#[tokio::test]
async fn n8_str13_can7_hanging_up_cancels() {
    let server = start().await;
    let mut request = modern("tools/call", json!({"name": "wait", "arguments": {}}));
    request["params"]["_meta"]["progressToken"] = json!(1);
    let headers = routed("tools/call", Some("wait"));
    let mut stream = Open::new(server.address, "POST", &headers, &request.to_string()).await;
    let text = stream.until("notifications/progress").await;
    assert!(!text.contains("\nid:") && !text.contains("retry:"), "nothing to resume: {text}");
    drop(stream);
    tokio::time::timeout(Duration::from_secs(10), server.gates.dropped.notified())
        .await
        .expect("the handler was stopped");
}

#[tokio::test]
async fn mr3_n4_rounds_are_bound_to_their_request() {
    let server = start().await;
    let headers = routed("tools/call", Some("ask"));
    let ask = |arguments: Value| modern("tools/call", json!({"name": "ask", "arguments": arguments}));
    let first = post(server.address, &headers, &ask(json!({"a": 1, "b": 2}))).await.json();
    assert_eq!(first["result"]["resultType"], "input_required");
    assert_eq!(first["result"]["inputRequests"]["q"]["method"], "elicitation/create");
    let state = first["result"]["requestState"].as_str().unwrap().to_owned();
    let retry = |arguments: Value, state: &str, answers: Value| {
        let mut request = ask(arguments);
        request["params"]["requestState"] = json!(state);
        request["params"]["inputResponses"] = answers;
        request
    };
    let answers = json!({"q": {"action": "accept", "content": {}}});
    let good = retry(json!({"b": 2, "a": 1}), &state, answers.clone());
    assert_eq!(post(server.address, &headers, &good).await.json()["result"]["resultType"], "complete");
    for (arguments, state) in [
        (json!({"a": 2, "b": 2}), state.clone()),
        (json!({"a": 1, "b": 2}), format!("{state}-TAMPERED")),
        (json!({"a": 1, "b": 2}), state[..state.len() - 4].to_owned()),
        (json!({"a": 1, "b": 2}), String::new()),
    ] {
        let response = post(server.address, &headers, &retry(arguments, &state, answers.clone())).await;
        assert_eq!((response.status, response.code()), (400, -32602), "{state:?}");
    }
    // mr4: what was answered is not answered again.
    let response = post(server.address, &headers, &good).await;
    assert_eq!((response.status, response.code()), (400, -32602));
    // n5: extra keys are ignored, missing ones asked for again, other shapes refused.
    let first = post(server.address, &headers, &ask(json!({"a": 1, "b": 2}))).await.json();
    let state = first["result"]["requestState"].as_str().unwrap();
    let other = retry(json!({"a": 1, "b": 2}), state, json!({"other": {}}));
    let again = post(server.address, &headers, &other).await.json();
    assert_eq!(again["result"]["resultType"], "input_required");
    let state = again["result"]["requestState"].as_str().unwrap();
    let bad = retry(json!({"a": 1, "b": 2}), state, json!([1]));
    assert_eq!(post(server.address, &headers, &bad).await.code(), -32602);
}

#[tokio::test]
async fn sub1_sub3_sub4_n9_listening_is_acknowledged_first_tagged_and_filtered() {
    let server = start().await;
    let filter = json!({"notifications": {"promptsListChanged": true, "resourceSubscriptions": ["TEST://a"]}});
    let mut request = modern("subscriptions/listen", filter);
    request["id"] = json!("my id");
    let headers = routed("subscriptions/listen", None);
    let mut stream = Open::new(server.address, "POST", &headers, &request.to_string()).await;
    stream.until("notifications/subscriptions/acknowledged").await;
    server.updated("test://other");
    server.updated("test://a");
    stream.until("notifications/resources/updated").await;
    server.host.drain(Duration::from_secs(1)).await;
    let events = stream.finish().await.events();
    assert!(events[0].1.contains("acknowledged"));
    for (_, data) in &events {
        let message: Value = serde_json::from_str(data).unwrap();
        let meta = message.pointer("/params/_meta").or(message.pointer("/result/_meta")).unwrap();
        assert_eq!(meta["io.modelcontextprotocol/subscriptionId"], "my id", "{data}");
        assert!(!data.contains("test://other"));
    }
    assert!(events.last().unwrap().1.contains("\"result\""), "sub7: the end is said");
}

#[tokio::test]
async fn n7_get_and_delete_without_a_session_are_refused() {
    let server = start().await;
    let version = [("MCP-Protocol-Version", common::MODERN)];
    for verb in ["GET", "DELETE"] {
        let status = send(server.address, verb, &version, "").await.status;
        assert!(status == 400 || status == 405, "{verb}: {status}");
    }
}

#[tokio::test]
async fn n12_equal_ids_on_two_connections_are_two_requests() {
    let server = start().await;
    let headers = routed("tools/call", Some("echo"));
    let (first, second) = (echo(), echo());
    let (one, two) = tokio::join!(post(server.address, &headers, &first), post(server.address, &headers, &second));
    assert_eq!((one.status, two.status), (200, 200));
}
