//! Legacy sessions and their streams: the S, E and R rows, on real sockets.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::collections::HashSet;
use std::sync::Arc;

use common::{Open, People, call, initialize, open, post, send, start, start_with};
use serde_json::{Value, json};

const LATEST: &str = "2025-11-25";

#[tokio::test]
async fn ses1_a9_session_ids_are_random_and_visible() {
    let server = start().await;
    let mut seen = HashSet::new();
    for _ in 0..200 {
        let response = post(server.address, &[], &initialize(LATEST)).await;
        let id = response.header("mcp-session-id").unwrap().to_owned();
        assert!(id.len() >= 32 && id.bytes().all(|byte| (0x21..=0x7E).contains(&byte)));
        assert!(seen.insert(id));
    }
}

#[tokio::test]
async fn ses2_ses3_s4_s7_a21_missing_is_400_and_gone_is_404() {
    let server = start().await;
    let session = open(server.address, LATEST, &[]).await;
    for verb in ["POST", "GET", "DELETE"] {
        let body = if verb == "POST" { call(1, "echo").to_string() } else { String::new() };
        assert_eq!(send(server.address, verb, &[], &body).await.status, 400, "{verb} without an id");
        let unknown = [("Mcp-Session-Id", "0123456789abcdef0123456789abcdef")];
        assert_eq!(send(server.address, verb, &unknown, &body).await.status, 404, "{verb} with an unknown id");
    }
    let own = [("Mcp-Session-Id", session.as_str())];
    assert_eq!(send(server.address, "DELETE", &own, "").await.status, 204);
    for verb in ["POST", "GET", "DELETE"] {
        let body = if verb == "POST" { call(1, "echo").to_string() } else { String::new() };
        assert_eq!(send(server.address, verb, &own, &body).await.status, 404, "{verb} after the end");
    }
}

#[tokio::test]
async fn s1_s5_s6_ids_are_exact() {
    let server = start().await;
    let session = open(server.address, LATEST, &[]).await;
    let upper = session.to_ascii_uppercase();
    let longer = format!("{session}0");
    let huge = "a".repeat(9000);
    for (id, status) in [
        (&session[1..], 404),
        (longer.as_str(), 404),
        (upper.as_str(), 404),
        ("../etc", 404),
        ("' OR 1=1", 400),
        ("a b", 400),
        (huge.as_str(), 400),
    ] {
        let status_of = post(server.address, &[("Mcp-Session-Id", id)], &call(1, "echo")).await.status;
        let same = upper == session && id == upper;
        assert!(same || status_of == status, "{id:?}: {status_of}");
    }
    let twice = [("Mcp-Session-Id", session.as_str()), ("mcp-session-id", session.as_str())];
    assert_eq!(post(server.address, &twice, &call(1, "echo")).await.status, 400);
}

#[tokio::test]
async fn r8_r9_batches_are_of_one_revision() {
    let server = start().await;
    let old = open(server.address, "2025-03-26", &[]).await;
    let batch = json!([call(1, "echo"), {"jsonrpc": "2.0", "method": "notifications/x"}, call(2, "echo"), 7]);
    let response = post(server.address, &[("Mcp-Session-Id", &old)], &batch).await;
    assert_eq!(response.status, 200, "{response:?}");
    for id in ["\"id\":1", "\"id\":2", "-32600"] {
        assert!(response.body.contains(id), "{id} in {response:?}");
    }
    let quiet = json!([{"jsonrpc": "2.0", "method": "notifications/x"}]);
    assert_eq!(post(server.address, &[("Mcp-Session-Id", &old)], &quiet).await.status, 202);
    assert_eq!(post(server.address, &[("Mcp-Session-Id", &old)], &json!([])).await.code(), -32600);
    assert_eq!(post(server.address, &[], &json!([initialize("2025-03-26")])).await.code(), -32600);
    for revision in ["2025-06-18", LATEST] {
        let session = open(server.address, revision, &[]).await;
        let response = post(server.address, &[("Mcp-Session-Id", &session)], &batch).await;
        assert_eq!((response.status, response.code()), (400, -32600), "{revision}");
    }
}

#[tokio::test]
async fn r13_initialize_never_adopts_an_id() {
    let server = start().await;
    let fixed = [("Mcp-Session-Id", "0123456789abcdef0123456789abcdef")];
    assert_eq!(post(server.address, &fixed, &initialize(LATEST)).await.status, 400);
    assert_eq!(server.host.session_count(), 0);
}

#[tokio::test]
async fn ses8_the_version_is_the_one_that_was_agreed() {
    let server = start().await;
    let session = open(server.address, "2025-06-18", &[]).await;
    for (version, status) in [("2025-06-18", 200), ("2025-11-25", 400), ("1999-01-01", 400)] {
        let headers = [("Mcp-Session-Id", session.as_str()), ("MCP-Protocol-Version", version)];
        assert_eq!(post(server.address, &headers, &call(status.into(), "echo")).await.status, status, "{version}");
    }
    assert_eq!(post(server.address, &[("Mcp-Session-Id", &session)], &call(7, "echo")).await.status, 200);
}

#[tokio::test]
async fn ses6_s2_s3_s8_sessions_belong_to_their_principal() {
    let server = start_with(|options| options.verifier = Some(Arc::new(People))).await;
    let alice = ("Authorization", "Bearer alice");
    let session = open(server.address, LATEST, &[alice]).await;
    let id = ("Mcp-Session-Id", session.as_str());
    for verb in ["POST", "GET", "DELETE"] {
        let body = if verb == "POST" { call(1, "echo").to_string() } else { String::new() };
        let bob = [("Authorization", "Bearer bob"), id];
        assert_eq!(send(server.address, verb, &bob, &body).await.status, 404, "{verb}: as absent as none");
        for nobody in [vec![id], vec![("Authorization", "Bearer eve"), id], vec![("Authorization", "Basic x"), id]] {
            let response = send(server.address, verb, &nobody, &body).await;
            assert_eq!(response.status, 401, "{verb} {nobody:?}");
            assert!(response.header("www-authenticate").is_some());
        }
    }
    assert_eq!(post(server.address, &[alice, id], &call(2, "echo")).await.status, 200, "the victim is untouched");
}

#[tokio::test]
async fn s10_sessions_per_principal_are_bounded() {
    let server = start_with(|options| options.verifier = Some(Arc::new(People))).await;
    let alice = [("Authorization", "Bearer alice")];
    for _ in 0..100 {
        assert_eq!(post(server.address, &alice, &initialize(LATEST)).await.status, 200);
    }
    let refused = post(server.address, &alice, &initialize(LATEST)).await;
    assert_eq!(refused.status, 429);
    assert!(refused.header("retry-after").is_some());
    assert_eq!(post(server.address, &[("Authorization", "Bearer bob")], &initialize(LATEST)).await.status, 200);
}

#[tokio::test]
async fn a14_clients_that_vanish_leave_nothing() {
    let server = start().await;
    let session = open(server.address, LATEST, &[]).await;
    let mut stream = Open::new(server.address, "GET", &[("Mcp-Session-Id", &session)], "").await;
    stream.until("text/event-stream").await;
    drop(stream);
    assert_eq!(send(server.address, "DELETE", &[("Mcp-Session-Id", &session)], "").await.status, 204);
    assert_eq!(server.host.session_count(), 0);
}

/// Calls `wait` and reads its stream up to the first progress.
async fn waiting(server: &common::Running, session: &str, id: u32) -> Open {
    let headers = [("Mcp-Session-Id", session)];
    let mut stream = Open::new(server.address, "POST", &headers, &call(id, "wait").to_string()).await;
    stream.until("notifications/progress").await;
    stream
}

#[tokio::test]
async fn str5_str6_a_stream_opens_with_an_id_and_ends_with_the_answer() {
    for (revision, primed) in [("2025-03-26", false), ("2025-06-18", false), (LATEST, true)] {
        let server = start().await;
        let session = open(server.address, revision, &[]).await;
        let stream = waiting(&server, &session, 1).await;
        server.gates.go.notify_one();
        let events = stream.finish().await.events();
        assert_eq!(events[0].1.is_empty(), primed, "{revision}");
        assert!(events.iter().all(|(id, _)| !id.is_empty()));
        assert!(events.last().unwrap().1.contains("waited"), "{events:?}");
    }
}

#[tokio::test]
async fn str12_k3_a_lost_connection_loses_nothing() {
    let server = start().await;
    let session = open(server.address, LATEST, &[]).await;
    let mut stream = waiting(&server, &session, 1).await;
    let text = stream.until("notifications/progress").await.to_owned();
    let first = common::parse_events(text.split_once("\r\n\r\n").unwrap().1)[0].0.clone();
    drop(stream);
    server.gates.go.notify_one();
    let headers = [("Mcp-Session-Id", session.as_str()), ("Last-Event-ID", first.as_str())];
    let events = send(server.address, "GET", &headers, "").await.events();
    assert!(events[0].1.contains("notifications/progress"), "{events:?}");
    assert!(events[1].1.contains("waited"), "{events:?}");
    assert_eq!(events.len(), 2);
    // e7: what was acknowledged is not said again.
    let headers = [("Mcp-Session-Id", session.as_str()), ("Last-Event-ID", events[1].0.as_str())];
    assert!(send(server.address, "GET", &headers, "").await.events().is_empty());
}

#[tokio::test]
async fn e5_a_resumed_stream_leaves_its_old_connection() {
    let server = start().await;
    let session = open(server.address, LATEST, &[]).await;
    let mut old = waiting(&server, &session, 1).await;
    let text = old.until("notifications/progress").await.to_owned();
    let first = common::parse_events(text.split_once("\r\n\r\n").unwrap().1)[0].0.clone();
    let headers = [("Mcp-Session-Id", session.as_str()), ("Last-Event-ID", first.as_str())];
    let mut new = Open::new(server.address, "GET", &headers, "").await;
    new.until("notifications/progress").await;
    assert!(!old.finish().await.body.contains("waited"));
    server.gates.go.notify_one();
    assert!(new.finish().await.body.contains("waited"));
}

#[tokio::test]
async fn e1_e2_e3_str4_bad_event_ids_replay_nothing() {
    let server = start().await;
    let victim = open(server.address, LATEST, &[]).await;
    let mut stream = waiting(&server, &victim, 1).await;
    let text = stream.until("notifications/progress").await.to_owned();
    let foreign = common::parse_events(text.split_once("\r\n\r\n").unwrap().1)[0].0.clone();
    let session = open(server.address, LATEST, &[]).await;
    let huge = "9".repeat(7000);
    for (id, status) in [(foreign.as_str(), 400), ("garbage", 400), ("-1", 400), (huge.as_str(), 400)] {
        let headers = [("Mcp-Session-Id", session.as_str()), ("Last-Event-ID", id)];
        let response = send(server.address, "GET", &headers, "").await;
        assert_eq!(response.status, status, "{id:?}");
        assert!(!response.body.contains("progress"));
    }
    let future = format!("{}ff", foreign);
    let headers = [("Mcp-Session-Id", victim.as_str()), ("Last-Event-ID", future.as_str())];
    assert_eq!(send(server.address, "GET", &headers, "").await.status, 400);
}

#[tokio::test]
async fn e12_str1_a_message_goes_to_one_stream() {
    let server = start().await;
    let session = open(server.address, LATEST, &[]).await;
    let id = [("Mcp-Session-Id", session.as_str())];
    let mut one = Open::new(server.address, "GET", &id, "").await;
    one.until("data: ").await;
    let mut two = Open::new(server.address, "GET", &id, "").await;
    two.until("data: ").await;
    let subscribe = json!({"jsonrpc": "2.0", "id": 5, "method": "resources/subscribe", "params": {"uri": "test://a"}});
    assert_eq!(post(server.address, &id, &subscribe).await.json()["result"], json!({}));
    server.updated("test://a");
    one.until("notifications/resources/updated").await;
    assert_eq!(send(server.address, "DELETE", &id, "").await.status, 204);
    assert!(!two.finish().await.body.contains("updated"));
}

#[tokio::test]
async fn a8_streams_are_bounded_and_never_stolen() {
    let server = start().await;
    let session = open(server.address, LATEST, &[]).await;
    let id = [("Mcp-Session-Id", session.as_str())];
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut stream = Open::new(server.address, "GET", &id, "").await;
        stream.until("data: ").await;
        streams.push(stream);
    }
    assert_eq!(send(server.address, "GET", &id, "").await.status, 429);
}

#[tokio::test]
async fn ses7_r6_answers_go_to_their_own_session_only() {
    let server = start().await;
    let victim = open(server.address, LATEST, &[]).await;
    let thief = open(server.address, LATEST, &[]).await;
    let own = [("Mcp-Session-Id", victim.as_str())];
    let mut asking = Open::new(server.address, "POST", &own, &call(1, "ask").to_string()).await;
    let text = asking.until("elicitation/create").await.to_owned();
    let question: Value = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .find_map(|data| serde_json::from_str(data).ok())
        .unwrap();
    let answer = |action: &str| json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": action}});
    let stolen = post(server.address, &[("Mcp-Session-Id", &thief)], &answer("accept")).await;
    assert_eq!(stolen.status, 202, "dropped without a word");
    assert_eq!(post(server.address, &own, &answer("decline")).await.status, 202);
    assert!(asking.finish().await.body.contains("decline"));
}

#[tokio::test]
async fn str11_slow_calls_delay_nobody() {
    let server = start().await;
    let session = open(server.address, LATEST, &[]).await;
    let _slow = waiting(&server, &session, 1).await;
    let ping = json!({"jsonrpc": "2.0", "id": 2, "method": "ping"});
    assert_eq!(post(server.address, &[("Mcp-Session-Id", &session)], &ping).await.json()["result"], json!({}));
    assert_eq!(post(server.address, &[("Mcp-Session-Id", &session)], &call(3, "echo")).await.status, 200);
}

#[tokio::test]
async fn a6_equal_ids_of_many_clients_never_cross() {
    let server = start().await;
    let clients = (0..200).map(|n| async move {
        let session = open(server.address, LATEST, &[]).await;
        let params = json!({"name": "echo", "arguments": {"message": n}});
        let body = json!({"jsonrpc": "2.0", "id": 0x5EED, "method": "tools/call", "params": params});
        let response = post(server.address, &[("Mcp-Session-Id", &session)], &body).await;
        assert_eq!(response.json()["result"]["content"][0]["text"], n.to_string());
    });
    futures_util::future::join_all(clients).await;
}

#[tokio::test]
async fn who_comes_back_for_a_cancelled_call_is_told_that_it_is_over() {
    let server = start().await;
    let session = open(server.address, LATEST, &[]).await;
    let id = [("Mcp-Session-Id", session.as_str())];
    let silent = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "linger", "arguments": {"end": "go"}}});
    let mut stream = Open::new(server.address, "POST", &id, &silent.to_string()).await;
    stream.until("id: ").await;
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    assert_eq!(post(server.address, &id, &cancel).await.status, 202);
    let body = stream.finish().await.body;
    let opened = body.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().trim().to_owned();
    let again = send(server.address, "GET", &[id[0], ("Last-Event-ID", &opened)], "").await;
    assert_eq!((again.status, again.body.contains("jsonrpc")), (200, false), "{again:?}");
}
