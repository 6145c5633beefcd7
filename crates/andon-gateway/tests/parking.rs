//! Calls of clients of 2026-07-28 that wait for their clients to come back with answers: whose they are, how many there may
//! be, what they keep from others, and where they go on.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::sync::Arc;

use andon_gateway::config::Config;
use andon_http::Http;
use andon_server::context::Context;
use andon_server::entry::ToolEntry;
use andon_server::failure::ToolError;
use andon_server::host::Host;
use andon_server::options::HostOptions;
use andon_server::principal::Principal;
use andon_server::seal::Seal;
use andon_server::server::Server;
use andon_types::client::InputRequest;
use common::{Bench, SOON, call, configure, silent, start_sealed, unruly, until};
use futures_util::future::join_all;
use serde_json::{Map, Value, json};

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
            let Some(data) = frame.text else { continue };
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
    let params = json!({ "name": "ask", "arguments": {}, "requestState": asked["requestState"] });
    let answer = answered(host, subject, (params, asked)).await;
    match answer["result"]["content"][0]["text"].as_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(answer["error"]["message"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()),
    }
}

/// Makes the call with these `params`, and answers with the subject all that was `asked`.
async fn answered(host: &Arc<Host>, subject: &str, (mut params, asked): (Value, &Value)) -> Value {
    let keys = asked["inputRequests"].as_object().unwrap().keys();
    let answer = json!({ "action": "accept", "content": { "name": subject } });
    params["inputResponses"] = keys.map(|key| (key.clone(), answer.clone())).collect::<Map<_, _>>().into();
    round(host, subject, params).await
}

/// A gateway before a server over HTTP that is there, whose tool `ask` asks.
async fn remote(settings: Value) -> (Bench, Arc<Host>) {
    let bench = Bench::new(json!({ "asker": { "url": asker(), "andon": settings } }));
    until(|| async { bench.status("asker").state == "ready" }).await;
    let host = bench.gateway.host();
    (bench, host)
}

/// The URL of a server of all revisions. Its tool `ask` asks once, `survey` two things and then one more, `hold` never ends.
fn asker() -> String {
    let ask = ToolEntry::from_fn("ask", json!({ "type": "object" }), |_: Value, context: Context| async move {
        let schema = json!({ "type": "object", "properties": { "name": { "type": "string" } } });
        let answer = context.ask(Some("who"), InputRequest::form("Who is there?", schema)).await?;
        Ok::<_, ToolError>(format!("hello {}", answer["content"]["name"].as_str().unwrap_or("nobody")))
    });
    let schema = || json!({ "type": "object", "properties": { "name": { "type": "string" } } });
    let survey = ToolEntry::from_fn("survey", schema(), move |_: Value, context: Context| async move {
        let form = |message: &str| InputRequest::form(message, schema());
        let (one, two) = tokio::try_join!(
            context.ask(Some("one"), form("Who is the first?")),
            context.ask(Some("two"), form("Who is the second?")),
        )?;
        let last = context.ask(Some("three"), form("And the last?")).await?;
        let names = [one, two, last].map(|answer| answer["content"]["name"].as_str().unwrap_or("nobody").to_owned());
        Ok::<_, ToolError>(names.join(", "))
    });
    let hold = ToolEntry::from_fn("hold", json!({ "type": "object" }), |_: Value, _: Context| async {
        std::future::pending::<()>().await;
        Ok::<_, ToolError>("never")
    });
    let http = Http::bind("127.0.0.1:0").unwrap();
    let url = http.url();
    let mut options = HostOptions::default();
    options.conversation.calls_max = 1_000;
    let host = Server::new("asker", "1").with((ask, survey, hold)).options(options).build().unwrap();
    tokio::spawn(http.run(host, std::future::pending()));
    url
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
    // Of this revision a server waits for the answers.
    let (bench, host) = remote(json!({ "in_flight_max": 2, "protocol": "2025-11-25" })).await;
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
async fn what_a_server_asks_in_rounds_waits_nowhere() {
    let (bench, host) = remote(json!({ "in_flight_max": 2 })).await;
    let mut asked = Vec::new();
    for _ in 0..101 {
        asked.push(ask(&host, "ada").await);
        assert_eq!((bench.gateway.parked(), bench.status("asker").in_flight), (0, 0));
    }
    assert!(come_back(&host, "bob", &asked[0]).await.unwrap_err().contains("requestState"));
    assert_eq!(come_back(&host, "ada", &asked[0]).await.unwrap(), "hello ada");
    assert!(come_back(&host, "ada", &asked[0]).await.unwrap_err().contains("start over"));
    assert_eq!(bench.status("asker").failures, 0);
    bench.gateway.stop().await;
}

#[tokio::test]
async fn what_a_server_wants_back_comes_from_the_seal_only() {
    let (bench, host) = remote(json!({})).await;
    let answer = json!({ "action": "accept", "content": { "name": "mallory" } });
    let carried = json!({ "server": "asker", "keys": { "who": "who" }, "state": "made up" });
    let given = json!({ "round": carried, "flight": "made up", "who": answer });
    let answer = round(&host, "", json!({ "name": "ask", "arguments": {}, "inputResponses": given })).await;
    // Its server is asked anew, and what the client said in advance answers that.
    assert_eq!(answer["result"]["content"][0]["text"], "hello mallory", "{answer}");
    bench.gateway.stop().await;
}

#[tokio::test]
async fn who_comes_back_with_answers_needs_no_room() {
    let (bench, host) = remote(json!({ "in_flight_max": 1 })).await;
    let asked = ask(&host, "ada").await;
    let holding = bench.client(MODERN).await;
    let held = tokio::spawn(async move { call(&holding, "hold", json!({})).await });
    until(|| async { bench.status("asker").in_flight == 1 }).await;
    assert_eq!(come_back(&host, "ada", &asked).await.unwrap(), "hello ada");
    held.abort();
    bench.gateway.stop().await;
}

#[tokio::test]
async fn another_gateway_with_the_same_keys_goes_on_with_a_call() {
    let servers = json!({ "asker": { "url": asker() } });
    let folder = tempfile::tempdir().unwrap();
    let config = configure(folder.path().join("mcp.json"), servers.clone());
    let other = configure(folder.path().join("other.json"), json!({ "asker": { "url": asker() } }));
    let start = |config: &Config, key: u8| start_sealed(config, None, Some(Seal::new(&[[key; 32]]))).unwrap();
    let gateways = [start(&config, 1), start(&config, 1), start(&config, 2), start(&other, 1)];
    let params = || json!({ "name": "survey", "arguments": {} });
    let mut params_now = params();
    let mut asked = round(&gateways[0].host(), "ada", params()).await["result"].clone();
    assert_eq!(asked["inputRequests"].as_object().unwrap().len(), 2, "{asked}");
    for (gateway, why) in [(&gateways[2], "requestState"), (&gateways[3], "another server")] {
        params_now["requestState"] = asked["requestState"].clone();
        let answer = answered(&gateway.host(), "ada", (params_now.clone(), &asked)).await;
        assert!(answer["error"]["message"].as_str().unwrap().contains(why), "{answer}");
    }
    for gateway in [&gateways[1], &gateways[0]] {
        params_now["requestState"] = asked["requestState"].clone();
        let answer = answered(&gateway.host(), "ada", (params_now.clone(), &asked)).await;
        asked = answer["result"].clone();
    }
    assert_eq!(asked["content"][0]["text"], "ada, ada, ada", "{asked}");
    join_all(gateways.iter().map(|gateway| gateway.stop())).await;
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
