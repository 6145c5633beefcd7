//! A server that is killed and started again under a client, in the middle of calls: each call ends in a result or in
//! clear words, the next one works, and nothing hangs.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::process::{Command, Stdio};
use std::time::Duration;

use andon::client::{Client, Command as Program, Error, Event, Listen, Options, Restart};
use andon::types::revision::Revision;
use common::{ANDON, Demo};
use serde_json::{Map, Value, json};

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

async fn slow(client: Client, ms: u64) -> Result<(), Error> {
    let options = Options::default().timeout(Duration::from_secs(20));
    client.call_tool("slow", object(json!({ "ms": ms, "message": "x" })), options).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_calls_in_flight_end_and_the_next_one_works_in_both_eras() {
    for revision in [Revision::LATEST, Revision::LATEST_LEGACY] {
        let server = Demo::start();
        let address = server.address();
        let client = Client::builder(server.url.as_str()).protocol(revision).connect().await.unwrap();
        let mut listening = client.listen(Listen::default().uri("demo://item/1")).await.unwrap();
        let calls: Vec<_> = (0..8).map(|_| tokio::spawn(slow(client.clone(), 60_000))).collect();
        // Answered after those were sent, on a connection of its own.
        client.call::<i64>("add", json!({ "a": 1, "b": 2 })).await.unwrap();
        drop(server);
        for call in calls {
            let outcome = tokio::time::timeout(Duration::from_secs(30), call).await.expect("no hang").unwrap();
            assert!(matches!(&outcome, Err(Error::Transport(_))), "{outcome:?}");
        }
        let gone = client.call::<i64>("add", json!({ "a": 1, "b": 2 })).await.expect_err("nobody is there");
        assert!(gone.to_string().contains("cannot be reached"), "{gone}");
        let server = Demo::serve(&address, &[]);
        assert_eq!(client.call::<i64>("add", json!({ "a": 1, "b": 2 })).await.expect("a new session"), 3);
        // What was subscribed to is subscribed to again.
        let heard = tokio::time::timeout(Duration::from_secs(30), async {
            loop {
                if matches!(listening.next().await, Some(Event::Reopened)) {
                    break;
                }
            }
            client.call::<String>("touch", json!({ "uri": "demo://item/1" })).await.unwrap();
            loop {
                if let Some(Event::ResourceUpdated(uri)) = listening.next().await {
                    break uri;
                }
            }
        });
        assert_eq!(heard.await.expect("in time"), "demo://item/1");
        drop(server);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_dies_fails_its_calls_with_its_last_words_and_is_started_again() {
    // It dies when it is told to, and says why.
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let script = format!("echo $$ > {}; echo about to serve >&2; exec {ANDON} serve --stdio", pid.display());
    for revision in [Revision::LATEST, Revision::LATEST_LEGACY] {
        let program = Program::new("sh").args(["-c", &script]);
        let client = Client::builder(program).protocol(revision).connect().await.unwrap();
        let mut events = client.events();
        let calls: Vec<_> = (0..4).map(|_| tokio::spawn(slow(client.clone(), 60_000))).collect();
        client.call::<i64>("add", json!({ "a": 1, "b": 2 })).await.unwrap();
        let id = std::fs::read_to_string(&pid).unwrap();
        Command::new("kill").args(["-KILL", id.trim()]).status().unwrap();
        for call in calls {
            let outcome = tokio::time::timeout(Duration::from_secs(30), call).await.expect("no hang").unwrap();
            let error = outcome.expect_err("it died").to_string();
            assert!(error.contains("process ended (signal: 9"), "{error}");
            assert!(error.contains("about to serve"), "{error}");
        }
        assert_eq!(client.call::<i64>("add", json!({ "a": 1, "b": 2 })).await.expect("started again"), 3);
        let told = tokio::time::timeout(Duration::from_secs(30), async {
            let mut seen = (false, false);
            while seen != (true, true) {
                match events.next().await {
                    Some(Event::Disconnected(_)) => seen.0 = true,
                    Some(Event::Reopened) => seen.1 = true,
                    _ => {}
                }
            }
        });
        told.await.expect("both are told");
        client.close().await;
        let last = std::fs::read_to_string(&pid).unwrap();
        let alive = Command::new("kill").args(["-0", last.trim()]).stderr(Stdio::null()).status().unwrap();
        assert!(!alive.success(), "the child outlives its client");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_child_that_ignores_everything_is_killed_with_its_group() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("alive");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Neither the end of its input nor a signal ends it, and it has a child of its own, which holds a pipe.
    let script = format!(
        "trap '' TERM; (trap '' TERM; exec 9> '{}'; while :; do read -t 1 x; done) & {ANDON} serve --stdio; wait",
        pipe.display()
    );
    let alive = tokio::task::spawn_blocking(move || std::fs::read(pipe));
    let client = Client::connect(Program::new("bash").args(["-c", &script])).await.unwrap();
    client.ping().await.unwrap();
    let began = std::time::Instant::now();
    client.close().await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    // The pipe ends with whoever holds it.
    let ended = tokio::time::timeout(Duration::from_secs(10), alive).await.expect("the grandchild lives on");
    ended.expect("no panic").expect("it was there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_never_comes_up_is_not_started_for_ever() {
    let builder = Client::builder(Program::new("sh").args(["-c", "echo broken >&2; exit 7"]));
    let error = builder.restart(Restart::UpTo(2)).connect().await.expect_err("it never answers").to_string();
    assert!(error.contains("exit status: 7") && error.contains("broken"), "{error}");
    let script =
        format!("read x; echo '{}'; exit 0", r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}"#);
    let error = Client::connect(Program::new("sh").args(["-c", &script])).await.expect_err("it ends").to_string();
    assert!(error.contains("process ended"), "{error}");
}
