//! More than there is room for, all at once; and what clients say that could look like the server's own words.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use andon_http::Http;
use andon_server::context::Context;
use andon_server::entry::ToolEntry;
use andon_server::failure::ToolError;
use andon_server::principal::{Principal, TokenError, TokenVerifier};
use andon_server::server::Server;
use common::{Open, call, modern, open, parse_events, post, request, send, start, start_with};
use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use serde_json::{Value, json};

const LATEST: &str = "2025-11-25";

#[tokio::test]
async fn x9_large_bodies_share_their_memory_and_small_ones_are_served() {
    const LARGE: usize = 1 << 20;
    let server = start_with(|options| options.bodies_bytes_max = 4 * LARGE).await;
    let session = open(server.address, LATEST, &[]).await;
    let id = [("Mcp-Session-Id", session.as_str())];
    let mut large = call(7, "echo");
    large["params"]["arguments"]["message"] = "x".repeat(LARGE).into();
    let whole = request("POST", &id, &large.to_string());
    let most = &whole[..whole.len() - 10];
    let mut heads: FuturesUnordered<_> = (0..12)
        .map(|_| async {
            let mut connection = Open::with(server.address, most).await;
            let head = connection.until("\r\n\r\n").await.to_ascii_lowercase();
            (connection, head)
        })
        .collect();
    // Three have a little more than a quarter of what there is, and are still listened to.
    for _ in 0..9 {
        let (_, head) = heads.next().await.unwrap();
        assert!(head.starts_with("http/1.1 503"), "{head}");
        assert!(head.contains("retry-after:") && head.contains("connection: close"), "{head}");
    }
    assert!(heads.next().now_or_never().is_none());
    assert_eq!(post(server.address, &id, &call(8, "echo")).await.status, 200, "small ones are served");
    drop(heads);
    // What the vanished held is free again, once the server has seen that they are gone.
    let until = Instant::now() + Duration::from_secs(10);
    while post(server.address, &id, &large).await.status != 200 {
        assert!(Instant::now() < until, "the memory of those who are gone is not given back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn x11_everybody_comes_back_at_once() {
    const CLIENTS: usize = 1_000;
    let server = start().await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let session = open(server.address, LATEST, &[]).await;
        let id = [("Mcp-Session-Id", session.as_str())];
        let subscribe =
            json!({"jsonrpc": "2.0", "id": 5, "method": "resources/subscribe", "params": {"uri": "test://a"}});
        assert_eq!(post(server.address, &id, &subscribe).await.json()["result"], json!({}));
        let mut stream = Open::new(server.address, "GET", &id, "").await;
        let text = stream.until("data: ").await;
        let text = text.split_once("\r\n\r\n").unwrap().1;
        let event = text.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
        clients.push((session, event));
    }
    server.updated("test://a");
    let began_at = Instant::now();
    for _ in 0..5 {
        let returns = clients.iter().map(|(session, event)| async {
            let headers = [("Mcp-Session-Id", session.as_str()), ("Last-Event-ID", event.as_str())];
            let mut stream = Open::new(server.address, "GET", &headers, "").await;
            let text = stream.until("\r\n\r\n").await;
            if !text.starts_with("HTTP/1.1 200") {
                assert!(text.to_ascii_lowercase().contains("retry-after:"), "{text}");
                return 0;
            }
            // Nobody has said to have it, so that it is said each time.
            stream.until("resources/updated").await;
            1
        });
        let good: usize = join_all(returns).await.into_iter().sum();
        assert!(good * 10 >= CLIENTS * 8, "{good} of {CLIENTS}");
    }
    assert!(began_at.elapsed() < Duration::from_secs(30), "{:?}", began_at.elapsed());
}

#[test]
fn x11_who_is_refused_comes_back_when_others_do_not() {
    let times: BTreeSet<u32> = (0..200).map(|_| andon_server::host::retry_after_s()).collect();
    assert!(times.len() > 5 && times.iter().all(|seconds| (5..=15).contains(seconds)), "{times:?}");
}

/// One token, which is now this subject's and then another's.
struct Rotating(Mutex<&'static str>);

impl TokenVerifier for Rotating {
    fn verify<'a>(&'a self, _token: &'a str) -> BoxFuture<'a, Result<Principal, TokenError>> {
        Box::pin(async move { Ok(Principal::verified(*self.0.lock().unwrap(), [])) })
    }
}

#[tokio::test]
async fn s9_a_token_of_another_subject_opens_no_session_of_the_first() {
    let verifier = Arc::new(Rotating(Mutex::new("alice")));
    let given = verifier.clone();
    let server = start_with(|options| options.verifier = Some(given)).await;
    let token = ("Authorization", "Bearer t");
    let session = open(server.address, LATEST, &[token]).await;
    let headers = [token, ("Mcp-Session-Id", session.as_str())];
    let mut stream = Open::new(server.address, "GET", &headers, "").await;
    let event = stream.until("data: ").await;
    let event = event.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
    *verifier.0.lock().unwrap() = "mallory";
    assert_eq!(post(server.address, &headers, &call(1, "echo")).await.status, 404);
    assert_eq!(send(server.address, "DELETE", &headers, "").await.status, 404);
    let resume = [token, ("Mcp-Session-Id", session.as_str()), ("Last-Event-ID", event.as_str())];
    assert_eq!(send(server.address, "GET", &resume, "").await.status, 404);
    *verifier.0.lock().unwrap() = "alice";
    assert_eq!(post(server.address, &headers, &call(2, "echo")).await.status, 200, "the session is as it was");
    assert_eq!(send(server.address, "DELETE", &headers, "").await.status, 204);
    assert_eq!(parse_events(&stream.finish().await.body).len(), 1, "and nobody took its stream");
}

#[tokio::test]
async fn s14_no_cookie_and_no_other_transport_opens_a_session() {
    let server = start().await;
    let session = open(server.address, LATEST, &[]).await;
    let cookie = format!("Mcp-Session-Id={session}");
    assert_eq!(post(server.address, &[("Cookie", &cookie)], &call(1, "echo")).await.status, 400);
    // The id of a session of the endpoint is none of the transport of 2024-11-05.
    let target = format!("/messages?session_id={session}");
    let text = common::request_to(&target, "POST", &[], &call(1, "echo").to_string());
    assert_eq!(common::raw(server.address, text.as_bytes()).await.status, 404);
}

#[tokio::test]
async fn e9_nothing_that_somebody_says_is_an_event_of_its_own() {
    const HOSTILE: &str = "x\nid: 666\r\nevent: boo\rretry: 1\n\ndata: {}\n\n\u{2028}\u{0}\u{feff}";
    let any = json!({"type": "object"});
    let parrot = ToolEntry::from_fn("parrot", any, |arguments: Value, context: Context| async move {
        let said = arguments["message"].as_str().unwrap_or_default().to_owned();
        context.progress(1.0, None, Some(&said)).await?;
        context.log_as(&said, andon_types::meta::Level::Error, &said);
        Ok::<_, ToolError>(said)
    });
    let host = Server::new("test", "1").with(parrot).build().unwrap();
    let http = Http::bind("127.0.0.1:0").unwrap();
    let address = http.address();
    tokio::spawn(http.run(host, std::future::pending()));
    let params = json!({"name": "parrot", "arguments": {"message": HOSTILE}, "_meta": {"progressToken": HOSTILE}});
    let old = json!({"jsonrpc": "2.0", "id": HOSTILE, "method": "tools/call", "params": params});
    let mut new = modern("tools/call", params.clone());
    new["id"] = HOSTILE.into();
    new["params"]["_meta"]["progressToken"] = HOSTILE.into();
    let session = open(address, LATEST, &[]).await;
    let old_headers = vec![("Mcp-Session-Id", session.as_str())];
    for (headers, message, ids) in
        [(old_headers, old, true), (common::routed("tools/call", Some("parrot")), new, false)]
    {
        let answer = post(address, &headers, &message).await;
        assert!(answer.header("content-type").unwrap().starts_with("text/event-stream"), "{answer:?}");
        for line in answer.body.split(['\n', '\r']).filter(|line| !line.is_empty()) {
            let own_id = line.strip_prefix("id: ").is_some_and(|id| ids && is_event_id(id));
            assert!(own_id || line.starts_with("data: "), "{line:?}");
        }
        let answer = answer.json();
        assert_eq!((&answer["id"], &answer["result"]["content"][0]["text"]), (&json!(HOSTILE), &json!(HOSTILE)));
    }
}

/// Whether it looks like an event id of the server's own.
fn is_event_id(id: &str) -> bool {
    id.split('-').count() == 3 && id.split('-').all(|part| u32::from_str_radix(part, 16).is_ok())
}
