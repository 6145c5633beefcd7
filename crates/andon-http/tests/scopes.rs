//! Scopes: what an item needs, who is told of it, and what happens when they are lost. RS-2, RS-9, A-15, A-16, U14.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;

use andon_http::Http;
use andon_server::catalogue::Catalogue;
use andon_server::entry::{PromptEntry, ResourceEntry, TemplateEntry, ToolEntry};
use andon_server::handler::{PromptArguments, ReadRequest};
use andon_server::host::Host;
use andon_server::principal::{Principal, TokenError, TokenVerifier};
use andon_server::server::Server;
use andon_types::meta::{CacheHint, CacheScope};
use common::{Open, Response, modern, open, post, raw, request_to, routed, send};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

const LATEST: &str = "2025-11-25";
const READ: &str = "catalog:read";

/// Tokens are `subject` or `subject+scope`.
struct Scoped;

impl TokenVerifier for Scoped {
    fn verify<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Principal, TokenError>> {
        Box::pin(async move {
            let mut parts = token.split('+').map(str::to_owned);
            Ok(Principal::verified(parts.next().unwrap_or_default(), parts))
        })
    }
}

struct Running {
    address: SocketAddr,
    catalogue: Catalogue,
    _host: Arc<Host>,
}

async fn start() -> Running {
    let any = || json!({"type": "object"});
    let server = Server::new("test", "1")
        .page_size(2)
        .cache(CacheHint { ttl_ms: 1000, scope: CacheScope::Public })
        .with(ToolEntry::from_fn("first", any(), |_: Value, _| async { "open" }))
        .with(ToolEntry::from_fn("secret", any(), |_: Value, _| async { "secret" }).scope(READ))
        .with(ToolEntry::from_fn("other", any(), |_: Value, _| async { "other" }).scope(READ).scope("other"))
        .with(ToolEntry::from_fn("second", any(), |_: Value, _| async { "open" }))
        .with(ToolEntry::from_fn("third", any(), |_: Value, _| async { "open" }))
        .with(ResourceEntry::from_fn("test://open", "open", |_: ReadRequest, _| async { "open" }))
        .with(ResourceEntry::from_fn("test://secret", "secret", |_: ReadRequest, _| async { "secret" }).scope(READ))
        .with(
            TemplateEntry::from_fn("test://secrets/{id}", "secrets", |_: ReadRequest, _| async { "secret" })
                .complete("id", |_, _| async { vec!["known".to_owned()] })
                .scope(READ),
        )
        .with(PromptEntry::from_fn("ask", |_: PromptArguments, _| async { "secret" }).scope(READ));
    let catalogue = server.catalogue();
    let host = server.build().unwrap();
    let http = Http::bind("127.0.0.1:0").unwrap().with_options(|options| {
        options.verifier = Some(Arc::new(Scoped));
        options.resource_metadata = Some("https://a.example/meta".to_owned());
    });
    let address = http.address();
    tokio::spawn(http.run(host.clone(), std::future::pending()));
    Running { address, catalogue, _host: host }
}

fn request(id: u32, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

fn refused(answer: &Response, scope: &str) {
    assert_eq!(answer.status, 403, "{answer:?}");
    let challenge = answer.header("www-authenticate").unwrap();
    let wanted =
        format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\",resource_metadata=\"https://a.example/meta\"");
    assert_eq!(challenge, wanted);
    let scopes: Vec<&str> = scope.split(' ').collect();
    assert_eq!(answer.json()["error"]["data"]["requiredScopes"], json!(scopes));
    assert!(!answer.body.contains("known"));
}

/// Methods with their parameters that need the scope, and the header `Mcp-Name`.
fn guarded() -> Vec<(&'static str, Value, Option<&'static str>)> {
    let reference = json!({"type": "ref/resource", "uri": "test://secrets/{id}"});
    vec![
        ("tools/call", json!({"name": "secret", "arguments": {}}), Some("secret")),
        ("resources/read", json!({"uri": "test://secret"}), Some("test://secret")),
        ("resources/read", json!({"uri": "TEST://secrets/1"}), Some("TEST://secrets/1")),
        ("prompts/get", json!({"name": "ask"}), Some("ask")),
        ("completion/complete", json!({"ref": reference, "argument": {"name": "id", "value": ""}}), None),
    ]
}

#[tokio::test]
async fn rs2_a15_a16_modern_requests_need_the_exact_scope() {
    let server = start().await;
    for (method, params, name) in guarded() {
        for token in ["Bearer ann", "Bearer ann+catalog", "Bearer ann+catalog:read:all", "Bearer ann+catalog:write"] {
            let mut headers = routed(method, name);
            headers.push(("Authorization", token));
            refused(&post(server.address, &headers, &modern(method, params.clone())).await, READ);
        }
        let mut headers = routed(method, name);
        headers.push(("Authorization", "Bearer ann+x+catalog:read"));
        let answer = post(server.address, &headers, &modern(method, params)).await;
        assert_eq!(answer.status, 200, "{method}: {answer:?}");
    }
    let mut headers = routed("tools/call", Some("other"));
    headers.push(("Authorization", "Bearer ann+catalog:read"));
    let call = modern("tools/call", json!({"name": "other", "arguments": {}}));
    refused(&post(server.address, &headers, &call).await, "catalog:read other");
}

#[tokio::test]
async fn rs2_a15_sessions_are_refused_the_same_and_step_up() {
    let server = start().await;
    let session = open(server.address, LATEST, &[("Authorization", "Bearer ann")]).await;
    let (low, high) = (("Authorization", "Bearer ann"), ("Authorization", "Bearer ann+catalog:read"));
    let own = ("Mcp-Session-Id", session.as_str());
    let mut methods = guarded();
    methods.push(("resources/subscribe", json!({"uri": "test://secret"}), None));
    for (index, (method, params, _)) in (1..).zip(methods) {
        let body = request(index, method, params);
        refused(&post(server.address, &[own, low], &body).await, READ);
        // The same id again: the request that was refused never was one of the session.
        let answer = post(server.address, &[own, high], &body).await;
        assert_eq!(answer.status, 200, "{method}: {answer:?}");
        assert!(answer.json()["result"].is_object(), "{answer:?}");
    }
    // Messages of a batch are answered one by one.
    let batch = open(server.address, "2025-03-26", &[low]).await;
    let body = json!([request(1, "tools/call", json!({"name": "secret"})), request(2, "ping", json!({}))]);
    let answer = post(server.address, &[("Mcp-Session-Id", &batch), low], &body).await;
    assert!(answer.status == 200 && answer.body.contains("requiredScopes") && !answer.body.contains("\"secret\"}"));
}

#[tokio::test]
async fn rs9_who_lacks_the_scope_is_not_told_and_nobody_else_keeps_the_list() {
    let server = start().await;
    for (token, pages) in [
        ("Bearer ann", vec![vec!["first", "second"], vec!["third"]]),
        ("Bearer ann+catalog:read", vec![vec!["first", "secret"], vec!["second", "third"]]),
        ("Bearer ann+catalog:read+other", vec![vec!["first", "secret"], vec!["other", "second"], vec!["third"]]),
    ] {
        let mut cursor = Value::Null;
        for page in pages {
            let params = if cursor.is_null() { json!({}) } else { json!({ "cursor": cursor }) };
            let mut headers = routed("tools/list", None);
            headers.push(("Authorization", token));
            let answer = post(server.address, &headers, &modern("tools/list", params)).await.json();
            let names = answer["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].clone());
            assert_eq!(names.collect::<Vec<_>>(), page, "{token}");
            assert_eq!(answer["result"]["cacheScope"], "private");
            cursor = answer["result"]["nextCursor"].clone();
        }
        assert!(cursor.is_null());
    }
    for (method, member) in [
        ("resources/list", "resources"),
        ("resources/templates/list", "resourceTemplates"),
        ("prompts/list", "prompts"),
    ] {
        let mut headers = routed(method, None);
        headers.push(("Authorization", "Bearer ann"));
        let answer = post(server.address, &headers, &modern(method, json!({}))).await;
        assert!(!answer.body.contains("secret") && !answer.body.contains("\"ask\""), "{method}: {answer:?}");
        assert!(answer.json()["result"][member].is_array());
    }
}

#[tokio::test]
async fn u14_without_permission_there_are_no_updates_and_they_stop_when_it_is_lost() {
    let server = start().await;
    let (low, high) = (("Authorization", "Bearer ann"), ("Authorization", "Bearer ann+catalog:read"));
    let session = open(server.address, LATEST, &[high]).await;
    let own = ("Mcp-Session-Id", session.as_str());
    let mut stream = Open::new(server.address, "GET", &[own, high], "").await;
    stream.until("\r\n\r\n").await;
    for (id, uri) in [(1, "test://secret"), (2, "test://open")] {
        let answer =
            post(server.address, &[own, high], &request(id, "resources/subscribe", json!({ "uri": uri }))).await;
        assert_eq!(answer.status, 200);
    }
    server.catalogue.updated("test://secret");
    stream.until("\"test://secret\"").await;

    // The next token of the same subject grants less.
    assert_eq!(post(server.address, &[own, low], &request(3, "ping", json!({}))).await.status, 200);
    server.catalogue.updated("test://secret");
    server.catalogue.updated("test://open");
    let heard = stream.until("\"test://open\"").await;
    assert_eq!(heard.matches("\"test://secret\"").count(), 1, "{heard}");

    // Another subject has no part in the session, whatever it holds.
    let other = ("Authorization", "Bearer bob+catalog:read");
    assert_eq!(post(server.address, &[own, other], &request(4, "ping", json!({}))).await.status, 404);
}

#[tokio::test]
async fn u14_who_listens_hears_only_of_what_may_be_read() {
    let server = start().await;
    let params = json!({"notifications": {"resourceSubscriptions": ["test://secret", "test://open"]}});
    let mut headers = routed("subscriptions/listen", None);
    headers.push(("Authorization", "Bearer ann"));
    let body = modern("subscriptions/listen", params).to_string();
    let mut stream = Open::new(server.address, "POST", &headers, &body).await;
    let acknowledged = stream.until("subscriptions/acknowledged").await;
    assert!(!acknowledged.contains("test://secret"), "{acknowledged}");
    server.catalogue.updated("test://secret");
    server.catalogue.updated("test://open");
    let heard = stream.until("resources/updated").await;
    assert!(!heard.contains("test://secret"), "{heard}");
}

#[tokio::test]
async fn u14_a_resource_that_needs_a_scope_from_now_on_is_silent() {
    let server = start().await;
    let low = ("Authorization", "Bearer ann");
    let session = open(server.address, LATEST, &[low]).await;
    let own = ("Mcp-Session-Id", session.as_str());
    let mut stream = Open::new(server.address, "GET", &[own, low], "").await;
    stream.until("\r\n\r\n").await;
    server.catalogue.add(ResourceEntry::from_fn("test://later", "l", |_: ReadRequest, _| async { "x" })).unwrap();
    for (id, uri) in [(1, "test://later"), (2, "test://open")] {
        let answer =
            post(server.address, &[own, low], &request(id, "resources/subscribe", json!({ "uri": uri }))).await;
        assert_eq!(answer.status, 200);
    }
    assert!(server.catalogue.remove_resource("test://later"));
    let entry = ResourceEntry::from_fn("test://later", "l", |_: ReadRequest, _| async { "x" }).scope(READ);
    server.catalogue.add(entry).unwrap();
    server.catalogue.updated("test://later");
    server.catalogue.updated("test://open");
    let heard = stream.until("\"test://open\"").await;
    assert!(!heard.contains("test://later"), "{heard}");
}

#[tokio::test]
async fn rs2_event_streams_of_2024_refuse_by_the_post() {
    let server = start().await;
    let (low, high) = (("Authorization", "Bearer ann"), ("Authorization", "Bearer ann+catalog:read"));
    let mut stream = Open::with(server.address, &request_to("/sse", "GET", &[low], "")).await;
    let text = stream.until("\n\n").await;
    let endpoint = text.split("data: ").nth(1).unwrap().lines().next().unwrap().to_owned();
    let say = async |token, body: Value| {
        raw(server.address, request_to(&endpoint, "POST", &[token], &body.to_string()).as_bytes()).await
    };
    assert_eq!(say(low, common::initialize("2024-11-05")).await.status, 202);
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(say(low, initialized).await.status, 202);
    let call = request(1, "tools/call", json!({"name": "secret", "arguments": {}}));
    refused(&say(low, call.clone()).await, READ);
    assert_eq!(say(high, call).await.status, 202);
    stream.until("\"text\":\"secret\"").await;
}

#[tokio::test]
async fn s10_sessions_count_by_subject_whatever_the_scopes() {
    let server = start().await;
    for index in 0..100 {
        let token = format!("Bearer ann+s{index}");
        open(server.address, LATEST, &[("Authorization", &token)]).await;
    }
    let answer = post(server.address, &[("Authorization", "Bearer ann+new")], &common::initialize(LATEST)).await;
    assert_eq!(answer.status, 429);
    let session = send(server.address, "DELETE", &[("Authorization", "Bearer ann")], "").await;
    assert_eq!(session.status, 400);
}
