//! Servers that a session or a principal has to itself: nobody else sees or hears what they say.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use andon_client::{Client, Event, Events, Listen, Listening};
use common::{Bench, SOON, call, event, tools, unruly, until};
use serde_json::{Value, json};

const LEGACY: &str = "2025-11-25";
const MODERN: &str = "2026-07-28";
const CLOCK: &str = "unruly:clock";

/// Listens for changes of the tools and of the clock.
async fn listen(client: &Client) -> (Events, Listening) {
    let events = client.events();
    (events, client.listen(Listen::default().tools().uri(CLOCK)).await.unwrap())
}

/// Waits for an event, and gives what came before it.
async fn before(events: &mut Events, is_it: impl Fn(&Event) -> bool) -> Vec<Event> {
    let mut came = Vec::new();
    let waiting = async {
        loop {
            match events.next().await.expect("the client is there") {
                event if is_it(&event) => return,
                event => came.push(event),
            }
        }
    };
    tokio::time::timeout(SOON, waiting).await.expect("it comes soon");
    came
}

fn is_update(event: &Event) -> bool {
    matches!(event, Event::ResourceUpdated(uri) if uri == CLOCK)
}

fn is_tools(event: &Event) -> bool {
    matches!(event, Event::ToolsChanged)
}

async fn pid(client: &Client) -> String {
    call(client, "pid", json!({})).await.unwrap()
}

/// What the server of `one` says reaches `one` and those that share it, and not `other`.
async fn is_kept_apart(one: &Client, with: &[&Client], other: &Client) {
    let (mut of_one, _one) = listen(one).await;
    let mut listening = Vec::new();
    for client in with {
        listening.push(listen(client).await);
    }
    let (mut of_other, _other) = listen(other).await;
    let count = tools(other).await.len();
    call(one, "tell", json!({})).await.unwrap();
    call(one, "grow", json!({})).await.unwrap();
    event(&mut of_one, is_update).await;
    for (events, _) in &mut listening {
        event(events, is_update).await;
    }
    until(|| async { tools(one).await.contains(&"grown0".to_owned()) }).await;
    // What is for the other comes after what would have come before.
    assert_eq!(tools(other).await.len(), count);
    let why = call(other, "grown0", json!({})).await.unwrap_err().to_string();
    assert!(why.contains("unknown tool"), "{why}");
    call(other, "tell", json!({})).await.unwrap();
    let came = before(&mut of_other, is_update).await;
    assert!(!came.iter().any(is_tools), "{came:?}");
    call(other, "grow", json!({})).await.unwrap();
    let came = before(&mut of_other, is_tools).await;
    assert!(!came.iter().any(is_update), "{came:?}");
}

#[tokio::test]
async fn what_the_server_of_a_session_says_is_for_no_other_session() {
    let bench = Bench::new(json!({ "own": unruly(&[], json!({ "mode": "session" })) }));
    let (ann, bob) = (bench.client(LEGACY).await, bench.client(LEGACY).await);
    assert_ne!(pid(&ann).await, pid(&bob).await);
    is_kept_apart(&ann, &[], &bob).await;
    // Requests that stand alone have another one.
    let alone = bench.client(MODERN).await;
    let cid = bench.client(LEGACY).await;
    is_kept_apart(&cid, &[], &alone).await;
    bench.gateway.stop().await;
}

#[tokio::test]
async fn what_the_server_of_a_principal_says_is_for_all_its_clients_and_no_other() {
    let bench = Bench::new(json!({ "mine": unruly(&[], json!({ "mode": "principal" })) }));
    let (ann, also_ann) = (bench.of("ann", LEGACY).await, bench.of("ann", MODERN).await);
    let (bob, cid) = (bench.of("bob", LEGACY).await, bench.of("cid", MODERN).await);
    assert_eq!(pid(&ann).await, pid(&also_ann).await);
    assert_ne!(pid(&ann).await, pid(&bob).await);
    is_kept_apart(&ann, &[&also_ann], &bob).await;
    assert_eq!(bench.status("mine").instances, 2);
    is_kept_apart(&bob, &[], &cid).await;
    bench.gateway.stop().await;
}

#[tokio::test]
async fn what_a_server_lists_to_one_is_not_shown_to_others_while_theirs_starts() {
    for mode in ["session", "principal"] {
        let bench =
            Bench::new(json!({ "own": unruly(&["--slow", "1500"], json!({ "mode": mode, "list_wait_s": 0.1 })) }));
        let (ann, bob) = (bench.of("ann", LEGACY).await, bench.of("bob", LEGACY).await);
        assert!(call(&ann, "echo", json!({ "message": "x" })).await.is_ok(), "who calls waits for it");
        assert!(tools(&ann).await.contains(&"echo".to_owned()));
        let mut events = bob.events();
        let _listening = bob.listen(Listen::default().tools()).await.unwrap();
        assert_eq!(tools(&bob).await, [""; 0], "{mode}: bob's own is not there yet");
        event(&mut events, is_tools).await;
        assert!(tools(&bob).await.contains(&"echo".to_owned()), "{mode}");
        // What clients are told before they are known is the same for all.
        let host = bench.gateway.host();
        let (cid, _) = common::person(host, LEGACY, "Cid").await;
        assert_eq!(cid.instructions(), None, "{mode}");
        bench.gateway.stop().await;
    }
}

/// The servers of one gateway, and who shares them.
fn servers(mode: &str, in_flight_max: u32) -> Value {
    json!({ "own": unruly(&[], json!({ "mode": mode, "in_flight_max": in_flight_max })) })
}

#[tokio::test]
async fn what_nobody_of_its_clients_listens_for_is_not_watched() {
    for mode in ["session", "principal"] {
        let bench = Bench::new(servers(mode, 60));
        let (ann, bob) = (bench.of("ann", LEGACY).await, bench.of("bob", LEGACY).await);
        let (of_ann, mut of_bob) = (listen(&ann).await, listen(&bob).await);
        drop(of_ann);
        until(|| async { call(&ann, "watched", json!({})).await.unwrap().is_empty() }).await;
        assert_eq!(call(&bob, "watched", json!({})).await.unwrap(), CLOCK, "{mode}");
        call(&bob, "tell", json!({})).await.unwrap();
        event(&mut of_bob.0, is_update).await;
        bench.gateway.stop().await;
    }
}

#[tokio::test]
async fn subscriptions_outlive_a_reload() {
    for mode in ["shared", "session", "principal"] {
        for revision in [LEGACY, MODERN] {
            let bench = Bench::new(servers(mode, 60));
            let (ann, bob) = (bench.of("ann", revision).await, bench.of("bob", revision).await);
            let ((mut events, _ann), (mut of_bob, _bob)) = (listen(&ann).await, listen(&bob).await);
            let old = pid(&ann).await;
            assert_eq!(bench.gateway.reload(&bench.configure(servers(mode, 50))), (1, 1));
            // It is there without a call, and knows who wants to hear of what.
            let count = if mode == "shared" { 1 } else { 2 };
            until(|| async { bench.status("own").instances == count && bench.status("own").state == "ready" }).await;
            until(|| async { call(&ann, "watched", json!({})).await.unwrap() == CLOCK }).await;
            assert_ne!(pid(&ann).await, old, "{mode} {revision}");
            event(&mut events, is_update).await;
            event(&mut of_bob, is_update).await;
            call(&ann, "tell", json!({})).await.unwrap();
            event(&mut events, is_update).await;
            bench.gateway.stop().await;
        }
    }
}

#[tokio::test]
async fn subscriptions_outlive_a_crash() {
    for mode in ["shared", "session", "principal"] {
        for revision in [LEGACY, MODERN] {
            let bench = Bench::new(servers(mode, 60));
            let ann = bench.of("ann", revision).await;
            let (mut events, _listening) = listen(&ann).await;
            assert!(call(&ann, "crash", json!({})).await.is_err());
            // What changed meanwhile is not known.
            event(&mut events, is_update).await;
            assert_eq!(call(&ann, "watched", json!({})).await.unwrap(), CLOCK, "{mode} {revision}");
            call(&ann, "tell", json!({})).await.unwrap();
            event(&mut events, is_update).await;
            bench.gateway.stop().await;
        }
    }
}

#[tokio::test]
async fn what_a_server_only_says_to_have_changed_is_no_news() {
    let bench = Bench::new(json!({ "a": unruly(&[], json!({})) }));
    let client = bench.client(LEGACY).await;
    until(|| async { bench.status("a").state == "ready" }).await;
    let mut events = client.events();
    let listening = client.listen(Listen::default().tools().uri(CLOCK)).await.unwrap();
    call(&client, "cry", json!({})).await.unwrap();
    // It has been read again.
    until(|| async { call(&client, "read", json!({})).await.unwrap() == "2" }).await;
    call(&client, "tell", json!({})).await.unwrap();
    let came = before(&mut events, is_update).await;
    assert!(!came.iter().any(is_tools), "{came:?}");
    call(&client, "grow", json!({})).await.unwrap();
    event(&mut events, is_tools).await;
    drop(listening);
    bench.gateway.stop().await;
}

#[tokio::test]
async fn tools_have_the_names_and_descriptions_that_the_file_gives_them() {
    let settings = json!({ "rename": { "echo": "say" }, "describe": { "echo": "Says it again.", "pid": "" } });
    let bench = Bench::new(json!({ "a": unruly(&[], settings), "b": unruly(&[], json!({})) }));
    let client = bench.client(LEGACY).await;
    until(|| async { tools(&client).await.contains(&"b__echo".to_owned()) }).await;
    until(|| async { tools(&client).await.contains(&"a__say".to_owned()) }).await;
    let listed = client.tools().await.unwrap();
    let of = |name: &str| listed.iter().find(|tool| tool.name == name).unwrap().description.as_deref();
    assert_eq!((of("a__say"), of("a__pid")), (Some("Says it again."), Some("")));
    assert_eq!((of("b__echo"), of("b__pid")), (Some("echo"), Some("pid")));
    assert_eq!(call(&client, "a__say", json!({ "message": "x" })).await.unwrap(), "x");
    assert!(call(&client, "a__echo", json!({})).await.is_err());
    bench.gateway.stop().await;
}
