//! Calls with an idempotency key, and what handlers keep between calls: on every revision, over processes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::Arc;

use andon_core::port::Store;
use andon_server::sessions::Sessions;
use andon_store::{FaultyStore, MemoryStore};
use common::{Open, Response, Running, call, modern, open, post, routed, start, start_in, start_keeping};
use serde_json::{Value, json};

fn store() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

fn text(response: &Response) -> String {
    response.json()["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{response:?}")).to_owned()
}

/// A call in a session, with a key.
async fn keyed(server: &Running, session: &str, key: &str, message: &Value) -> Response {
    post(server.address, &[("Mcp-Session-Id", session), ("Idempotency-Key", key)], message).await
}

async fn call_modern(server: &Running, tool: &str, arguments: Value, more: &[(&str, &str)]) -> Response {
    let mut headers = routed("tools/call", Some(tool));
    headers.extend(more);
    post(server.address, &headers, &modern("tools/call", json!({"name": tool, "arguments": arguments}))).await
}

#[tokio::test]
async fn m522_a_call_with_a_key_runs_once_and_is_answered_each_time() {
    let store = store();
    let server = start_in(&store).await;
    let session = open(server.address, "2025-11-25", &[]).await;
    assert_eq!(text(&keyed(&server, &session, "\"a\"", &call(1, "count")).await), "1");
    assert_eq!(text(&keyed(&server, &session, "a", &call(2, "count")).await), "1");
    assert_eq!(text(&keyed(&server, &session, "b", &call(3, "count")).await), "2");
    // Its twin in the body is the same key, in another session too.
    let mut twin = call(4, "count");
    twin["params"]["_meta"]["andon.dev/idempotency-key"] = json!("a");
    let other = open(server.address, "2025-11-25", &[]).await;
    assert_eq!(text(&post(server.address, &[("Mcp-Session-Id", &other)], &twin).await), "1");
    let disagree = keyed(&server, &session, "c", &twin).await;
    assert_eq!((disagree.status, disagree.code()), (400, -32602));
    // Other arguments, or another tool, are another call.
    let mut changed = call(5, "count");
    changed["params"]["arguments"] = json!({"message": "other"});
    assert_eq!(keyed(&server, &session, "a", &changed).await.code(), -32602);
    assert_eq!(keyed(&server, &session, "a", &call(6, "echo")).await.code(), -32602);
    assert_eq!(keyed(&server, &session, &"x".repeat(256), &call(7, "count")).await.code(), -32602);
    server.kill();

    let next = start_in(&store).await;
    assert_eq!(text(&keyed(&next, &session, "b", &call(8, "count")).await), "2");
    assert_eq!(text(&keyed(&next, &session, "d", &call(9, "count")).await), "1");
}

#[tokio::test]
async fn m522_a_call_that_comes_again_while_it_runs_waits() {
    let server = start().await;
    let session = open(server.address, "2025-06-18", &[]).await;
    let headers = [("Mcp-Session-Id", session.as_str()), ("Idempotency-Key", "k")];
    let mut first = Open::new(server.address, "POST", &headers, &call(1, "wait").to_string()).await;
    first.until("notifications/progress").await;
    let repeated = call(2, "wait");
    let again = keyed(&server, &session, "k", &repeated);
    let (_, again) = tokio::join!(async { server.gates.go.notify_one() }, again);
    assert_eq!(text(&again), "waited");
    assert_eq!(text(&first.finish().await), "waited");
}

#[tokio::test]
async fn m522_what_ran_when_the_process_died_is_not_run_again() {
    let store = store();
    let server = start_in(&store).await;
    let session = open(server.address, "2025-11-25", &[]).await;
    let headers = [("Mcp-Session-Id", session.as_str()), ("Idempotency-Key", "k")];
    let mut first = Open::new(server.address, "POST", &headers, &call(1, "wait").to_string()).await;
    first.until("notifications/progress").await;
    server.kill();

    let next = start_in(&store).await;
    let again = keyed(&next, &session, "k", &call(2, "wait")).await;
    assert!(again.body.contains("outcome unknown"), "{again:?}");
}

#[tokio::test]
async fn x10_a_reply_that_cannot_be_kept_yet_is_the_same_when_it_can() {
    let store = Arc::new(FaultyStore::new(store()));
    let server = start_in(&(store.clone() as Arc<dyn Store>)).await;
    let session = open(server.address, "2025-11-25", &[]).await;
    let headers = [("Mcp-Session-Id", session.as_str()), ("Idempotency-Key", "k")];
    let mut first = Open::new(server.address, "POST", &headers, &call(1, "wait").to_string()).await;
    first.until("notifications/progress").await;
    // It ends while the disk is full, and is answered when that is over.
    store.outage(true);
    server.gates.go.notify_one();
    server.gates.dropped.notified().await;
    store.outage(false);
    first.until("waited").await;
    assert_eq!(text(&keyed(&server, &session, "k", &call(2, "wait")).await), "waited");
}

#[tokio::test]
async fn m522_a_key_is_its_principals_own_and_outlasts_questions() {
    let server = common::start_with(|options| options.verifier = Some(Arc::new(common::People))).await;
    let of = |who: &'static str| [("Authorization", who), ("Idempotency-Key", "k")];
    let one = call_modern(&server, "count", json!({}), &of("Bearer alice")).await;
    assert_eq!(text(&one), "1", "{one:?}");
    assert_eq!(text(&call_modern(&server, "count", json!({}), &of("Bearer bob")).await), "2");
    assert_eq!(text(&call_modern(&server, "count", json!({}), &of("Bearer alice")).await), "1");
    // A call that asks first ends with questions, and runs to its end with their answers.
    let ask = [("Authorization", "Bearer alice"), ("Idempotency-Key", "q")];
    let asked = call_modern(&server, "ask", json!({}), &ask).await;
    assert_eq!(asked.json()["result"]["resultType"], "input_required", "{asked:?}");
    let mut again = modern("tools/call", json!({"name": "ask", "arguments": {}}));
    again["params"]["inputResponses"] = json!({"q": {"action": "decline"}});
    again["params"]["requestState"] = asked.json()["result"]["requestState"].clone();
    let mut headers = routed("tools/call", Some("ask"));
    headers.extend(ask);
    let answered = post(server.address, &headers, &again).await;
    assert!(text(&answered).contains("decline"), "{answered:?}");
    // And its reply is the one that is given again.
    assert!(text(&call_modern(&server, "ask", json!({}), &ask).await).contains("decline"));
}

#[tokio::test]
async fn values_last_as_long_as_the_session_in_the_next_process_too() {
    let store = store();
    let server = start_in(&store).await;
    let session = open(server.address, "2025-11-25", &[]).await;
    let of = [("Mcp-Session-Id", session.as_str())];
    let other = open(server.address, "2025-11-25", &[]).await;
    assert_eq!(text(&post(server.address, &of, &call(1, "keep")).await), "1 ");
    assert_eq!(text(&post(server.address, &of, &call(2, "keep")).await), "2 ");
    assert_eq!(text(&post(server.address, &[("Mcp-Session-Id", &other)], &call(3, "keep")).await), "1 ");
    server.kill();

    let next = start_in(&store).await;
    assert_eq!(text(&post(next.address, &of, &call(4, "keep")).await), "3 ");
}

#[tokio::test]
async fn values_under_a_handle_are_of_whoever_made_it_on_every_revision() {
    let store = store();
    let people = |options: &mut andon_http::HttpOptions| options.verifier = Some(Arc::new(common::People));
    let server = start_keeping(Sessions::in_store(store.clone()), people, |_| ()).await;
    let (alice, bob) = ([("Authorization", "Bearer alice")], [("Authorization", "Bearer bob")]);
    let made = text(&call_modern(&server, "keep", json!({}), &alice).await);
    let handle = made.strip_prefix("1 ").unwrap().to_owned();
    assert_eq!(handle.len(), 32);
    server.kill();

    let next = start_keeping(Sessions::in_store(store), people, |_| ()).await;
    let arguments = json!({"handle": handle});
    assert_eq!(text(&call_modern(&next, "keep", arguments.clone(), &alice).await), format!("2 {handle}"));
    assert!(text(&call_modern(&next, "keep", arguments, &bob).await).contains("unknown or expired"));
    let made_up = json!({"handle": "0".repeat(32)});
    assert!(text(&call_modern(&next, "keep", made_up, &alice).await).contains("unknown or expired"));
    // A legacy client of hers can go on with it.
    let session = open(next.address, "2025-06-18", &alice).await;
    let mut message = call(1, "keep");
    message["params"]["arguments"] = json!({"handle": handle});
    let headers = [alice[0], ("Mcp-Session-Id", session.as_str())];
    assert_eq!(text(&post(next.address, &headers, &message).await), format!("3 {handle}"));
}

#[tokio::test]
async fn x10_a_key_that_cannot_be_looked_up_is_503_and_nothing_runs() {
    let faulty = Arc::new(FaultyStore::new(store()));
    let outage: Arc<dyn Store> = faulty.clone();
    let server = start_in(&outage).await;
    let session = open(server.address, "2025-11-25", &[]).await;
    faulty.outage(true);
    let key = [("Idempotency-Key", "k")];
    let refused = call_modern(&server, "count", json!({}), &key).await;
    assert_eq!((refused.status, refused.code()), (503, -32000), "{refused:?}");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    // The first that has to be written down finds the outage; it is told so as well.
    let first = post(server.address, &[("Mcp-Session-Id", &session)], &call(1, "count")).await;
    assert_eq!(first.status, 503, "{first:?}");
    faulty.outage(false);
    let up = async {
        loop {
            let again = call_modern(&server, "count", json!({}), &key).await;
            if again.status == 200 {
                break text(&again);
            }
        }
    };
    let ran = tokio::time::timeout(std::time::Duration::from_secs(20), up).await.expect("the store is back");
    assert_eq!(ran, "1", "nothing ran while it was not written down");
}
