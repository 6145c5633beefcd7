//! What keeps servers alive, finds out that they are not, and ends them: nothing that a server does not answer holds it up.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::time::{Duration, Instant};

use andon_client::Client;
use andon_server::principal::Principal;
use common::{Bench, call, example, is_alive, processes, silent, stop, unruly, until};
use serde_json::{Value, json};

const LEGACY: &str = "2025-11-25";

/// The server behind this prefix answers no list from now on, and one is waited for.
async fn hold_a_list_up(client: &Client, prefix: &str) {
    call(client, &format!("{prefix}hush"), json!({})).await.unwrap();
    call(client, &format!("{prefix}grow"), json!({})).await.unwrap();
    until(|| async { call(client, &format!("{prefix}hush"), json!({})).await.unwrap() != "0" }).await;
}

/// A call that its server asks about, and whose client says nothing.
fn ask(client: &Client) -> tokio::task::JoinHandle<()> {
    let client = client.clone();
    tokio::spawn(async move { drop(call(&client, "ask", json!({ "message": "Who?" })).await) })
}

#[tokio::test]
async fn a_server_that_answers_no_list_can_be_ended() {
    let bench = Bench::new(json!({ "a": unruly(&[], json!({})) }));
    let client = bench.client(LEGACY).await;
    let pid = call(&client, "pid", json!({})).await.unwrap();
    hold_a_list_up(&client, "").await;
    let begun = Instant::now();
    bench.gateway.stop().await;
    assert!(!is_alive(&pid));
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_server_that_answers_no_list_holds_no_reload_up() {
    let servers = |settings: Value| json!({ "a": unruly(&[], settings.clone()), "b": unruly(&[], settings) });
    let bench = Bench::new(servers(json!({})));
    let client = bench.client(LEGACY).await;
    let a = call(&client, "a__pid", json!({})).await.unwrap();
    let b = call(&client, "b__pid", json!({})).await.unwrap();
    hold_a_list_up(&client, "a__").await;
    assert_eq!(bench.gateway.reload(&bench.configure(servers(json!({ "in_flight_max": 77 })))), (2, 2));
    until(|| async { !is_alive(&a) && !is_alive(&b) }).await;
    bench.gateway.stop().await;
}

#[tokio::test]
async fn a_stopped_server_is_found_out_while_a_list_is_waited_for() {
    let bench = Bench::new(json!({ "a": unruly(&[], json!({ "ping_interval_s": 0.2 })) }));
    let client = bench.client(LEGACY).await;
    let pid = call(&client, "pid", json!({})).await.unwrap();
    hold_a_list_up(&client, "").await;
    stop(&pid);
    until(|| async { bench.status("a").restarts == 1 }).await;
    assert!(bench.status("a").last_error.unwrap().contains("did not answer 3 pings"));
    until(|| async { !is_alive(&pid) }).await;
    bench.gateway.stop().await;
}

#[tokio::test]
async fn a_stopped_server_is_found_out_while_a_person_is_asked() {
    let bench = Bench::new(json!({ "a": unruly(&[], json!({ "ping_interval_s": 0.2 })) }));
    let pid = call(&bench.client(LEGACY).await, "pid", json!({})).await.unwrap();
    let asking = ask(&silent(bench.gateway.host(), Principal::anonymous()).await);
    until(|| async { bench.gateway.parked() == 1 }).await;
    stop(&pid);
    until(|| async { bench.status("a").restarts == 1 }).await;
    asking.abort();
    bench.gateway.stop().await;
}

#[tokio::test]
async fn a_call_that_a_reload_interrupts_starts_no_server_that_nobody_ends() {
    let bench = Bench::new(json!({ "a": unruly(&[], json!({})) }));
    let [before, after] = ["before", "after"].map(|name| bench.folder.path().join(name).display().to_string());
    let server = |word: &str| json!({ "a": unruly(&[word], json!({ "retry": "idempotent" })) });
    bench.gateway.reload(&bench.configure(server(&before)));
    let client = bench.client(LEGACY).await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { call(&client, "wait", json!({ "ms": 3_000 })).await }
    });
    until(|| async { bench.status("a").in_flight == 1 }).await;
    bench.gateway.reload(&bench.configure(server(&after)));
    let why = waiting.await.unwrap().unwrap_err().to_string();
    assert!(why.contains("call it again"), "{why}");
    assert_eq!(call(&client, "echo", json!({ "message": "x" })).await.unwrap(), "x");
    assert_eq!((processes(&before).len(), processes(&after).len()), (0, 1));
    bench.gateway.stop().await;
    assert_eq!(processes(&after).len(), 0);
}

#[tokio::test]
async fn a_server_that_does_not_begin_in_time_is_ended_and_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let word = folder.path().display().to_string();
    let settings = json!({ "start_timeout_s": 0.5, "restarts_max": 1 });
    let bench = Bench::new(json!({ "a": unruly(&["--slow", "600000", &word], settings.clone()) }));
    let client = bench.client(LEGACY).await;
    until(|| async { bench.status("a").state == "parked" }).await;
    assert_eq!(bench.status("a").last_error.unwrap(), "it did not start in time");
    until(|| async { processes(&word).is_empty() }).await;
    // One that says why it waits is quoted, to the operator only.
    let words = format!("echo one >&2; echo wants a key >&2; exec sleep 600 # {word}");
    let server = json!({ "command": "sh", "args": ["-c", words], "andon": settings });
    assert_eq!(bench.gateway.reload(&bench.configure(json!({ "a": server }))), (1, 1));
    until(|| async { bench.status("a").state == "parked" }).await;
    let why = bench.status("a").last_error.unwrap();
    assert_eq!(why, "it did not start in time; its last words: one | wants a key");
    let why = call(&client, "x", json!({})).await.unwrap_err().to_string();
    assert!(!why.contains("wants a key"), "{why}");
    until(|| async { processes(&word).is_empty() }).await;
    assert_eq!(common::tools(&client).await, [""; 0]);
    bench.gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_did_not_begin_holds_no_list_up_when_it_is_tried_again() {
    let bench = Bench::new(json!({
        "a": unruly(&[], json!({})),
        "b": unruly(&["--slow", "60000"], json!({ "start_timeout_s": 5, "list_wait_s": 30, "restarts_max": 1000 })),
    }));
    let client = bench.client("2025-11-25").await;
    until(|| async { bench.status("b").last_error.is_some() }).await;
    until(|| async { bench.status("b").state == "starting" }).await;
    let begun = Instant::now();
    assert!(!client.tools().await.unwrap().is_empty());
    assert!(begun.elapsed() < Duration::from_millis(2500), "{:?}", begun.elapsed());
    bench.gateway.stop().await;
}

/// The output of a server is open for as long as anybody has it who was started by it.
#[tokio::test]
async fn a_server_has_ended_though_another_process_has_its_output() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = format!("setsid sh -c 'echo $$ > {}; exec sleep 60' & exec {}", file.display(), example("unruly"));
    let bench = Bench::new(json!({ "a": { "command": "sh", "args": ["-c", script] } }));
    until(|| async { std::fs::read_to_string(&file).is_ok_and(|pid| pid.ends_with('\n')) }).await;
    let other = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    let client = bench.client("2025-11-25").await;
    let begun = Instant::now();
    let error = call(&client, "crash", json!({})).await.unwrap_err().to_string();
    assert!(error.contains("exit status: 3"), "{error}");
    assert_eq!(call(&client, "echo", json!({ "message": "again" })).await.unwrap(), "again");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(is_alive(&other), "it has left the group of its server");
    bench.gateway.stop().await;
    for pid in [other, std::fs::read_to_string(&file).unwrap().trim().to_owned()] {
        assert!(std::process::Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
    }
}

#[tokio::test]
async fn a_server_that_never_begins_is_given_up_when_nobody_uses_it() {
    let settings = json!({ "mode": "session", "restarts_max": 1, "idle_timeout_s": 0.1 });
    let folder = tempfile::tempdir().unwrap();
    let words = folder.path().join("words");
    let mut server = unruly(&["--also", &words.display().to_string()], settings);
    let bench = Bench::with(json!({ "a": server }), true);
    call(&bench.client(LEGACY).await, "echo", json!({})).await.unwrap();
    std::fs::write(&words, "--broken").unwrap();
    server["andon"]["timeout_s"] = json!(200);
    bench.gateway.reload(&bench.configure(json!({ "a": server })));
    // What it has is known from before, so that it can be called.
    let client = bench.client(LEGACY).await;
    until(|| async { call(&client, "echo", json!({})).await.unwrap_err().to_string().contains("rests") }).await;
    until(|| async { bench.status("a").instances == 0 }).await;
    bench.gateway.stop().await;
}
