//! Calls of clients of 2026-07-28 that wait for their clients to come back with answers: whose they are, how many there may
//! be, and what they keep from others.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::sync::Arc;

use andon_http::Http;
use andon_server::context::Context;
use andon_server::entry::ToolEntry;
use andon_server::failure::ToolError;
use andon_server::host::Host;
use andon_server::principal::Principal;
use andon_server::server::Server;
use andon_types::client::InputRequest;
use common::{Bench, SOON, call, silent, unruly, until};
use serde_json::{Value, json};

const MODERN: &str = "2026-07-28";

/// One round of a call of 2026-07-28, as it is on the wire: what it is answered.
async fn round(host: &Arc<Host>, subject: &str, mut params: Value) -> Value {
    let principal = match subject {
        "" => Principal::anonymous(),
        subject => Principal::verified(subject, []),
    };
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": { "name": "round", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": { "elicitation": {} },
    });
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let (connection, mut stream) = host.connect(principal);
    connection.ready().await;
    connection.receive(message.to_string().as_bytes());
    let answered = async {
        while let Some(frame) = stream.next().await {
            let Some(data) = frame.data else { continue };
            let answer: Value = serde_json::from_str(&data).unwrap();
            if answer["id"] == 1 {
                return answer;
            }
        }
        panic!("there is no answer");
    };
    tokio::time::timeout(SOON, answered).await.expect("it is answered soon")
}

/// Calls the tool `ask`, and gives what the answers to its question are to come with.
async fn ask(host: &Arc<Host>, subject: &str) -> Value {
    let answer = round(host, subject, json!({ "name": "ask", "arguments": {} })).await;
    assert_eq!(answer["result"]["resultType"], "input_required", "{answer}");
    answer["result"].clone()
}

/// Comes back with an answer to what was `asked`: the text, or the error.
async fn come_back(host: &Arc<Host>, subject: &str, asked: &Value) -> Result<String, String> {
    let key = asked["inputRequests"].as_object().unwrap().keys().next().unwrap();
    let given = json!({ key: { "action": "accept", "content": { "name": subject } } });
    let params =
        json!({ "name": "ask", "arguments": {}, "inputResponses": given, "requestState": asked["requestState"] });
    let answer = round(host, subject, params).await;
    match answer["result"]["content"][0]["text"].as_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(answer["error"]["message"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()),
    }
}

/// A gateway before a server of 2026-07-28 over HTTP, whose tool `ask` asks.
fn remote(settings: Value) -> Bench {
    let ask = ToolEntry::from_fn("ask", json!({ "type": "object" }), |_: Value, context: Context| async move {
        let schema = json!({ "type": "object", "properties": { "name": { "type": "string" } } });
        let answer = context.ask(Some("who"), InputRequest::form("Who is there?", schema)).await?;
        Ok::<_, ToolError>(format!("hello {}", answer["content"]["name"].as_str().unwrap_or("nobody")))
    });
    let http = Http::bind("127.0.0.1:0").unwrap();
    let url = http.url();
    tokio::spawn(http.run(Server::new("asker", "1").with((ask,)).build().unwrap(), std::future::pending()));
    Bench::new(json!({ "asker": { "url": url, "andon": settings } }))
}

async fn parked(bench: &Bench, count: usize) {
    until(|| async { bench.gateway.parked() == count }).await;
}

#[tokio::test]
async fn a_parked_call_goes_on_for_the_principal_whose_it_is() {
    let bench = Bench::new(json!({ "a": unruly(&[], json!({})) }));
    let host = bench.gateway.host();
    until(|| async { bench.status("a").state == "ready" }).await;
    let asked = ask(&host, "ada").await;
    parked(&bench, 1).await;
    for (subject, state) in [("bob", asked["requestState"].clone()), ("", asked["requestState"].clone())]
        .into_iter()
        .chain([("ada", json!("made up"))])
    {
        let mut stolen = asked.clone();
        stolen["requestState"] = state;
        let why = come_back(&host, subject, &stolen).await.unwrap_err();
        assert!(why.contains("requestState"), "{subject}: {why}");
    }
    assert_eq!(come_back(&host, "ada", &asked).await.unwrap(), r#"accept {"name":"ada"}"#);
    let why = come_back(&host, "ada", &asked).await.unwrap_err();
    assert!(why.contains("start over"), "{why}");
    assert_eq!((bench.gateway.parked(), bench.status("a").in_flight), (0, 0));
    bench.gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_ends_while_its_question_is_open_is_told_of() {
    let bench = Bench::new(json!({ "a": unruly(&[], json!({})) }));
    let host = bench.gateway.host();
    until(|| async { bench.status("a").state == "ready" }).await;
    let asked = ask(&host, "ada").await;
    parked(&bench, 1).await;
    call(&bench.client(MODERN).await, "crash", json!({})).await.unwrap_err();
    // Nothing of it is in flight any more, whether its client comes back or not.
    until(|| async { bench.status("a").restarts == 1 && bench.status("a").in_flight == 0 }).await;
    let why = come_back(&host, "ada", &asked).await.unwrap_err();
    assert!(why.contains("was lost during the call"), "{why}");
    assert_eq!(bench.gateway.parked(), 0);
    bench.gateway.stop().await;
}

#[tokio::test]
async fn calls_that_one_client_gave_up_take_nothing_from_others() {
    let bench = remote(json!({ "in_flight_max": 2 }));
    let host = bench.gateway.host();
    until(|| async { bench.status("asker").state == "ready" }).await;
    let mut asked = Vec::new();
    // More than one principal may have parked, more than the server takes, and more than a client of one person asks.
    for _ in 0..101 {
        asked.push(ask(&host, "ada").await);
        let count = asked.len().min(100);
        parked(&bench, count).await;
    }
    let of_bob = ask(&host, "bob").await;
    assert_eq!(come_back(&host, "bob", &of_bob).await.unwrap(), "hello bob");
    let why = come_back(&host, "ada", &asked[0]).await.unwrap_err();
    assert!(why.contains("start over"), "{why}");
    assert_eq!(come_back(&host, "ada", &asked[1]).await.unwrap(), "hello ada");
    bench.gateway.stop().await;
}

#[tokio::test]
async fn a_trial_that_waits_for_a_person_keeps_nobody_out() {
    let settings = json!({ "timeout_s": 0.2, "breaker_failures": 1, "breaker_rest_s": 1, "in_flight_max": 1 });
    let bench = Bench::new(json!({ "a": unruly(&[], settings) }));
    let client = bench.client(MODERN).await;
    call(&client, "never", json!({})).await.unwrap_err();
    assert_eq!(bench.status("a").breaker, "open");
    let trying = silent(bench.gateway.host(), Principal::anonymous()).await;
    let trial = tokio::spawn(async move {
        while call(&trying, "ask", json!({ "message": "Who?" })).await.is_err() {
            tokio::task::yield_now().await;
        }
    });
    parked(&bench, 1).await;
    assert_eq!(bench.status("a").breaker, "half-open");
    assert_eq!(call(&client, "echo", json!({ "message": "x" })).await.unwrap(), "x");
    assert_eq!(bench.status("a").breaker, "closed");
    trial.abort();
    bench.gateway.stop().await;
}
