//! Definitions that change behind one's back, and what is kept on disk: real processes, real files.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use andon_client::Event;
use common::{Bench, call, event, start, tools, try_start, unruly, until};
use serde_json::{Value, json};

const LEGACY: &str = "2025-11-25";

#[tokio::test]
async fn changed_tools_are_held_back_until_they_are_approved() {
    let bench = Bench::with(json!({ "a": unruly(&[], json!({ "definitions": "hold" })) }), true);
    let client = bench.client(LEGACY).await;
    assert!(tools(&client).await.contains(&"echo".to_owned()));
    call(&client, "turn", json!({})).await.unwrap();
    until(|| async { !tools(&client).await.contains(&"echo".to_owned()) }).await;
    let why = call(&client, "echo", json!({})).await.unwrap_err().to_string();
    assert!(why.contains("held back"), "{why}");
    assert_eq!(bench.status("a").held, ["echo"]);
    assert_eq!(andon_gateway::approve(bench.folder.path(), Some("a"), Some("nosuch")).unwrap(), []);
    let held = || andon_gateway::held_back(bench.folder.path(), Some("a"), Some("echo")).unwrap();
    assert!(!held()[0].is_approved && held()[0].diff.contains("Version 1"), "{:?}", held());
    let approved = andon_gateway::approve(bench.folder.path(), Some("a"), None).unwrap();
    assert_eq!((&*approved[0].server, &*approved[0].tool, approved[0].is_approved), ("a", "echo", false));
    assert!(held()[0].is_approved);
    let config = bench.configure(json!({ "a": unruly(&[], json!({ "definitions": "hold" })) }));
    assert_eq!(bench.gateway.reload(&config), (0, 0));
    assert_eq!(call(&client, "echo", json!({ "message": "x" })).await.unwrap(), "x");
    bench.gateway.stop().await;
}

/// A gateway that holds changes back, whose server heeds the words in a file too, and what starts it again.
fn holding(file: &std::path::Path) -> (Value, Bench) {
    let also = file.display().to_string();
    let servers = json!({ "a": unruly(&["--also", &also], json!({ "definitions": "hold", "list_wait_s": 20 })) });
    (servers.clone(), Bench::with(servers, true))
}

#[tokio::test]
async fn what_is_held_back_stays_so_when_andon_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    let words = folder.path().join("words");
    let (servers, mut bench) = holding(&words);
    let client = bench.client(LEGACY).await;
    assert!(tools(&client).await.contains(&"echo".to_owned()));
    call(&client, "turn", json!({})).await.unwrap();
    until(|| async { bench.status("a").held == ["echo"] }).await;
    // Whether the server is there again or not, which has the lists of before shown for ever.
    for words_now in ["--broken", "--turned"] {
        bench.gateway.stop().await;
        std::fs::write(&words, words_now).unwrap();
        bench.gateway = start(&bench.configure(servers.clone()), Some(bench.folder.path().to_owned()));
        let client = bench.client(LEGACY).await;
        let shown = tools(&client).await;
        assert!(shown.contains(&"count".to_owned()), "{words_now}: what did not change is known");
        assert!(!shown.contains(&"echo".to_owned()), "{words_now}");
        assert!(call(&client, "echo", json!({})).await.is_err(), "{words_now}");
        assert_eq!(bench.status("a").held, ["echo"], "{words_now}");
    }
    let client = bench.client(LEGACY).await;
    assert_eq!(call(&client, "count", json!({})).await.unwrap(), "1");
    assert!(!tools(&client).await.contains(&"echo".to_owned()), "nor when it has listed");
    bench.gateway.stop().await;
}

#[tokio::test]
async fn a_call_that_waits_for_a_server_does_not_reach_a_tool_that_has_changed_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let words = folder.path().join("words");
    let (servers, mut bench) = holding(&words);
    assert!(tools(&bench.client(LEGACY).await).await.contains(&"echo".to_owned()));
    bench.gateway.stop().await;
    std::fs::write(&words, "--slow 500 --turned").unwrap();
    bench.gateway = start(&bench.configure(servers), Some(bench.folder.path().to_owned()));
    let client = bench.client(LEGACY).await;
    assert!(tools(&client).await.contains(&"echo".to_owned()), "as it was it is trusted");
    let mut events = client.events();
    let why = call(&client, "echo", json!({})).await.unwrap_err().to_string();
    assert!(why.contains("held back"), "{why}");
    event(&mut events, |event| matches!(event, Event::ToolsChanged)).await;
    assert!(!tools(&client).await.contains(&"echo".to_owned()));
    bench.gateway.stop().await;
}

#[tokio::test]
async fn a_tool_that_changes_in_one_session_is_held_back_there() {
    let servers = json!({ "a": unruly(&[], json!({ "definitions": "hold", "mode": "session" })) });
    let bench = Bench::with(servers.clone(), true);
    let one = bench.client(LEGACY).await;
    assert!(tools(&one).await.contains(&"echo".to_owned()));
    call(&one, "turn", json!({})).await.unwrap();
    until(|| async { !tools(&one).await.contains(&"echo".to_owned()) }).await;
    // Another session begins with what is trusted, which does not let the first one's through.
    let other = bench.client(LEGACY).await;
    assert!(tools(&other).await.contains(&"echo".to_owned()));
    assert_eq!(call(&other, "echo", json!({ "message": "x" })).await.unwrap(), "x");
    assert!(!tools(&one).await.contains(&"echo".to_owned()));
    assert!(call(&one, "echo", json!({})).await.is_err());
    assert_eq!(bench.status("a").held, ["echo"]);
    assert_eq!(andon_gateway::approve(bench.folder.path(), None, None).unwrap().len(), 1);
    bench.gateway.reload(&bench.configure(servers));
    assert_eq!(call(&one, "echo", json!({ "message": "x" })).await.unwrap(), "x");
    assert!(!tools(&other).await.contains(&"echo".to_owned()), "there it is another one than is trusted now");
    bench.gateway.stop().await;
}

#[tokio::test]
async fn pins_that_cannot_be_read_keep_the_gateway_from_starting_and_not_from_running() {
    let servers = json!({ "a": unruly(&[], json!({ "definitions": "hold" })) });
    let bench = Bench::with(servers.clone(), true);
    let client = bench.client(LEGACY).await;
    assert!(tools(&client).await.contains(&"echo".to_owned()));
    call(&client, "turn", json!({})).await.unwrap();
    until(|| async { bench.status("a").held == ["echo"] }).await;
    let kept = bench.folder.path().join("definitions");
    for file in std::fs::read_dir(&kept).unwrap() {
        std::fs::write(file.unwrap().path(), "{").unwrap();
    }
    bench.gateway.reload(&bench.configure(servers.clone()));
    assert_eq!(bench.status("a").held, ["echo"]);
    assert!(!tools(&client).await.contains(&"echo".to_owned()));
    bench.gateway.stop().await;
    let config = bench.configure(servers);
    let why = try_start(&config, Some(bench.folder.path().to_owned())).map(drop).unwrap_err().to_string();
    assert!(why.contains("cannot be read") && why.contains("definitions/a-") && why.contains("remove"), "{why}");
}

#[tokio::test]
async fn another_program_by_the_same_name_is_not_taken_for_the_one_before() {
    let mut bench = Bench::with(json!({ "a": unruly(&[], json!({})) }), true);
    assert!(!tools(&bench.client(LEGACY).await).await.is_empty());
    bench.gateway.stop().await;
    let config = bench.configure(json!({ "a": unruly(&["--broken"], json!({})) }));
    bench.gateway = start(&config, Some(bench.folder.path().to_owned()));
    assert_eq!(tools(&bench.client(LEGACY).await).await, Vec::<String>::new());
    bench.gateway.stop().await;
}
