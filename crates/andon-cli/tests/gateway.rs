//! `andon serve FILE` as its users start it: real processes, real files, real signals.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "common/process.rs"]
#[allow(dead_code, reason = "each test file uses some of it")]
mod process;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use andon::client::Client;
use andon::types::revision::Revision;
use process::Process;
use serde_json::{Value, json};
use tempfile::TempDir;

const ANDON: &str = env!("CARGO_BIN_EXE_andon");
/// Of the operators.
const TOKEN: &str = "a-token-that-is-long-enough-for-this-0123456789";
/// How long anything may take that is waited for.
const SOON: Duration = Duration::from_secs(20);

/// The demo server as a server of the file.
fn demo(andon: Value) -> Value {
    json!({ "command": ANDON, "args": ["serve", "--stdio"], "andon": andon })
}

fn write(folder: &TempDir, servers: Value) -> PathBuf {
    let file = folder.path().join("mcp.json");
    std::fs::write(&file, json!({ "mcpServers": servers }).to_string()).unwrap();
    file
}

fn run(words: &[&str]) -> Output {
    Command::new(ANDON).args(words).stdin(Stdio::null()).output().unwrap()
}

/// A gateway that is killed with the test.
struct Gateway {
    child: Process,
    url: String,
    admin: String,
}

impl Gateway {
    fn start(file: &Path, words: &[&str]) -> Self {
        let mut command = Command::new(ANDON);
        command.arg("serve").arg(file).args(["--admin", "127.0.0.1:0"]).args(words).env("ANDON_ADMIN_TOKEN", TOKEN);
        if !words.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = Process::start(&mut command);
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut said = |what: &str| {
            let line = lines.find(|line| line.contains(what)).unwrap_or_else(|| panic!("it says {what:?}"));
            line.split_once(what).unwrap().1.trim().to_owned()
        };
        let admin = said("operators ask at ").split(':').take(2).collect::<Vec<_>>().join(":");
        let url = said("listening on ");
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url, admin }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn upstreams(&self) -> Value {
        let mut command = Command::new(ANDON);
        command.args(["upstreams", "--admin", &self.admin, "--json"]).env("ANDON_ADMIN_TOKEN", TOKEN);
        let output = command.output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The servers that it started.
    fn servers(&self) -> Vec<String> {
        self.children().into_iter().filter(|pid| !is_guard(pid)).collect()
    }

    fn children(&self) -> Vec<String> {
        // Threads have children of their own.
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let lists =
            tasks.flatten().map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default());
        lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
    }
}

async fn names(client: &Client) -> Vec<String> {
    client.tools().await.unwrap().into_iter().map(|tool| tool.name).collect()
}

async fn until<F: Future<Output = bool>>(is_so: impl Fn() -> F) {
    let trying = async {
        let mut turns = tokio::time::interval(Duration::from_millis(50));
        while !is_so().await {
            turns.tick().await;
        }
    };
    tokio::time::timeout(SOON, trying).await.expect("it is so soon");
}

/// Whether a signal to end is heard, and does not just end the process: one that has only begun has no handlers yet.
fn catches_term(pid: &str) -> bool {
    const TERM: u64 = 1 << (15 - 1);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & TERM != 0)
}

fn is_guard(pid: &str) -> bool {
    let words = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    words.starts_with("andon\0guard\0")
}

fn is_alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn check_says_what_is_wrong_and_where() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mcp.json");
    std::fs::write(&file, "{\n  \"mcpServers\": {\n    \"a\": {\"comand\": \"x\"}\n  }\n}").unwrap();
    let output = run(&["check", file.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("mcp.json:3:5: error: the server \"a\" has neither"), "{said}");
    assert!(said.contains("mcp.json:3:11: warning: the server \"a\" has \"comand\""), "{said}");
    let output = run(&["serve", file.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    assert!(!output.status.success(), "what is wrong is not served");
    let good = write(&folder, json!({ "a": demo(json!({})) }));
    let output = run(&["check", good.to_str().unwrap()]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 server: a"));
}

#[tokio::test]
async fn servers_are_one_endpoint_and_one_each() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(&folder, json!({ "one": demo(json!({})), "two": demo(json!({ "tools": { "allow": ["add"] } })) }));
    let gateway = Gateway::start(&file, &[]);
    let all = Client::connect(&gateway.url).await.unwrap();
    let listed = names(&all).await;
    assert!(listed.contains(&"one__echo".to_owned()) && listed.contains(&"two__add".to_owned()), "{listed:?}");
    assert!(!listed.contains(&"two__echo".to_owned()), "{listed:?}");
    let two = Client::connect(format!("{}/two", gateway.url)).await.unwrap();
    assert_eq!(names(&two).await, ["add"]);
    assert_eq!(two.call::<i64>("add", json!({ "a": 1, "b": 2 })).await.unwrap(), 3);
    assert!(Client::connect(format!("{}/three", gateway.url)).await.is_err());
    let upstreams = gateway.upstreams();
    assert_eq!(upstreams[1]["name"], "two");
    assert_eq!(upstreams[1]["calls"], 1);
    assert_eq!(upstreams[1]["state"], "ready");
}

#[tokio::test]
async fn p4_no_process_is_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let slow = json!({ "command": "sh", "args": ["-c", "sleep 30 & wait"] });
    let file = write(&folder, json!({ "a": demo(json!({})), "b": demo(json!({})), "starting": slow }));
    let mut gateway = Gateway::start(&file, &[]);
    until(|| async { gateway.upstreams()[1]["state"] == "ready" }).await;
    let (children, servers) = (gateway.children(), gateway.servers());
    assert_eq!((children.len(), servers.len()), (4, 3), "and their guard");
    gateway.signal("TERM");
    let began = std::time::Instant::now();
    assert!(gateway.child.wait().unwrap().success());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(servers.iter().all(|pid| !is_alive(pid)), "{servers:?}");
    until(|| async { children.iter().all(|pid| !is_alive(pid)) }).await;
}

#[tokio::test]
async fn a_server_of_one_session_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(&folder, json!({ "one": demo(json!({ "mode": "session" })) }));
    let gateway = Gateway::start(&file, &[]);
    let open = || async {
        let revision = andon::types::revision::Revision::LATEST_LEGACY;
        let client = Client::builder(gateway.url.as_str()).protocol(revision).without_cache().connect().await.unwrap();
        assert_eq!(client.call::<i64>("add", json!({ "a": 1, "b": 2 })).await.unwrap(), 3);
        client
    };
    let first = open().await;
    let of_first = gateway.servers();
    let second = open().await;
    assert_eq!(gateway.servers().len(), of_first.len() + 1);
    first.close().await;
    until(|| async { gateway.servers().len() == 1 && of_first.iter().all(|pid| !is_alive(pid)) }).await;
    assert_eq!(second.call::<i64>("add", json!({ "a": 1, "b": 2 })).await.unwrap(), 3);
}

#[tokio::test]
async fn a_file_that_changes_is_served_and_a_wrong_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(&folder, json!({ "one": demo(json!({})), "two": demo(json!({})) }));
    let gateway = Gateway::start(&file, &[]);
    let client = Client::builder(gateway.url.as_str()).without_cache().connect().await.unwrap();
    until(|| async { names(&client).await.contains(&"two__add".to_owned()) }).await;
    std::fs::write(&file, "{ \"mcpServers\": { oops").unwrap();
    gateway.signal("HUP");
    assert_eq!(client.call::<i64>("one__add", json!({ "a": 1, "b": 2 })).await.unwrap(), 3);
    write(&folder, json!({ "one": demo(json!({})), "three": demo(json!({})) }));
    gateway.signal("HUP");
    until(|| async { names(&client).await.contains(&"three__add".to_owned()) }).await;
    assert!(!names(&client).await.contains(&"two__add".to_owned()));
    // Without a signal as well.
    write(&folder, json!({ "one": demo(json!({})), "three": demo(json!({ "prefix": "iii_" })) }));
    until(|| async { names(&client).await.contains(&"iii_add".to_owned()) }).await;
}

#[test]
fn an_address_that_is_taken_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(&folder, json!({ "one": demo(json!({})) }));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&["serve", file.to_str().unwrap(), "--listen", &address]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("cannot listen at {address}")), "{said}");
}

#[tokio::test]
async fn a_server_that_cannot_be_is_left_out_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let bad = json!({ "command": "x", "args": ["${workspaceFolder}"] });
    let file = write(&folder, json!({ "one": demo(json!({})), "bad": bad, "two": demo(json!({})) }));
    let gateway = Gateway::start(&file, &[]);
    let client = Client::builder(gateway.url.as_str()).without_cache().connect().await.unwrap();
    until(|| async { names(&client).await.contains(&"two__add".to_owned()) }).await;
    assert_eq!(client.call::<i64>("one__add", json!({ "a": 1, "b": 2 })).await.unwrap(), 3);
    assert_eq!(gateway.upstreams().as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn tools_are_called_the_same_whether_a_server_is_left_out_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let bad = json!({ "command": "x", "args": ["${workspaceFolder}"] });
    let file = write(&folder, json!({ "one": demo(json!({})), "bad": bad }));
    let gateway = Gateway::start(&file, &[]);
    let client = Client::builder(gateway.url.as_str()).without_cache().connect().await.unwrap();
    assert_eq!(client.call::<i64>("one__add", json!({ "a": 1, "b": 2 })).await.unwrap(), 3);
    assert!(names(&client).await.contains(&"one__add".to_owned()));
    // It is the only one now.
    write(&folder, json!({ "one": demo(json!({})) }));
    until(|| async { names(&client).await.contains(&"add".to_owned()) }).await;
}

#[tokio::test]
async fn the_same_over_stdio() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(&folder, json!({ "one": demo(json!({})), "two": demo(json!({})) }));
    let command = andon::client::Command::new(ANDON).args(["serve", file.to_str().unwrap(), "--stdio"]);
    let client = Client::connect(command).await.unwrap();
    until(|| async { names(&client).await.contains(&"two__add".to_owned()) }).await;
    assert_eq!(client.call::<i64>("one__add", json!({ "a": 1, "b": 2 })).await.unwrap(), 3);
    client.close().await;
}

#[tokio::test]
async fn a_session_survives_a_restart_of_the_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(&folder, json!({ "one": demo(json!({})) }));
    let data = folder.path().join("data").display().to_string();
    let mut first = Gateway::start(&file, &["--data", &data]);
    let listen = first.url.trim_start_matches("http://").trim_end_matches("/mcp").to_owned();
    let revision = andon::types::revision::Revision::LATEST_LEGACY;
    let client = Client::builder(first.url.as_str()).protocol(revision).without_cache().connect().await.unwrap();
    let mut events = client.events();
    assert_eq!(client.call::<i64>("add", json!({ "a": 1, "b": 2 })).await.unwrap(), 3);
    first.signal("TERM");
    first.child.wait().unwrap();
    let _second = Gateway::start(&file, &["--data", &data, "--listen", &listen]);
    // A connection that ended with the first one may still have been thought to be there.
    until(|| async { client.call::<i64>("add", json!({ "a": 2, "b": 2 })).await.is_ok_and(|sum| sum == 4) }).await;
    let reopened = async { while !matches!(events.next().await, Some(andon::client::Event::Reopened)) {} };
    // A session that was lost would have been opened anew.
    assert!(tokio::time::timeout(Duration::from_millis(100), reopened).await.is_err());
}

#[tokio::test]
async fn without_sessions_clients_that_had_them_are_served_by_each_of_two() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(&folder, json!({ "one": demo(json!({})) }));
    let gateways = [Gateway::start(&file, &["--stateless"]), Gateway::start(&file, &["--stateless"])];
    for revision in [Revision::V2025_03_26, Revision::V2025_11_25, Revision::V2026_07_28] {
        for gateway in &gateways {
            let client = Client::builder(&gateway.url).protocol(revision).connect().await.unwrap();
            assert!(names(&client).await.contains(&"echo".to_owned()), "{revision}");
            assert_eq!(client.call::<i64>("add", json!({ "a": 1, "b": 2 })).await.unwrap(), 3, "{revision}");
            client.close().await;
        }
    }
}

#[tokio::test]
async fn nothing_is_left_of_a_gateway_that_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    // It outlives the end of its input, does not heed a signal to end, and has a process of its own.
    let deaf = r#"trap '' TERM; "$0" serve --stdio; while :; do sleep 60; done"#;
    let deaf = json!({ "command": "sh", "args": ["-c", deaf, ANDON] });
    let file = write(&folder, json!({ "deaf": deaf, "heeds": demo(json!({})) }));
    let gateway = Gateway::start(&file, &[]);
    let client = Client::builder(gateway.url.as_str()).without_cache().connect().await.unwrap();
    until(|| async { names(&client).await.iter().filter(|name| name.ends_with("add")).count() == 2 }).await;
    let guards = || gateway.children().into_iter().filter(|pid| is_guard(pid)).collect::<Vec<_>>();
    // One that is gone is replaced.
    let first = guards();
    assert!(Command::new("kill").args(["-KILL", &first[0]]).status().unwrap().success());
    until(|| async { guards().iter().any(|guard| *guard != first[0] && is_alive(guard) && catches_term(guard)) }).await;
    let all = gateway.children();
    let left = || all.iter().filter(|pid| is_alive(pid)).count();
    assert_eq!(left(), 3, "two servers and a guard");
    let second = guards().pop().unwrap();
    gateway.signal("KILL");
    // What tells all of a unit to end is not for it.
    assert!(Command::new("kill").args(["-TERM", &second]).status().unwrap().success());
    until(|| async { left() == 0 }).await;
}

#[test]
fn approve_writes_nothing_that_a_terminal_obeys() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("definitions");
    std::fs::create_dir(&kept).unwrap();
    let definition = |digest: &str, text: &str| json!({ "sha256": digest, "text": { "description": text } });
    let pin = json!({ "trusted": definition("1", "Adds."), "held": definition("2", "\u{9b}2J\u{202e}keys") });
    let tools = json!({ "t\u{1b}[2J\u{202e}": pin });
    std::fs::write(kept.join("a.json"), json!({ "server": "a\u{1b}[31m", "tools": tools }).to_string()).unwrap();
    let output = run(&["approve", "--data", folder.path().to_str().unwrap()]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("+   \"description\": "), "{said}");
    assert!(!said.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{said:?}");
    let output = run(&["approve", "--data", folder.path().to_str().unwrap()]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("approved already, not heeded yet\n"), "{said}");
    assert!(said.contains("SIGHUP") && !said.contains("description"), "{said}");
    assert!(!said.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{said:?}");
}

#[tokio::test]
async fn what_was_approved_is_heeded_while_the_file_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir_all(data.join("definitions")).unwrap();
    // Andon has seen another tool by this name.
    let trusted = json!({ "sha256": "1", "text": { "description": "Subtracts." } });
    let pins = json!({ "server": "one", "tools": { "add": { "trusted": trusted } } });
    std::fs::write(data.join("definitions/one.json"), pins.to_string()).unwrap();
    let file = write(&folder, json!({ "one": demo(json!({ "definitions": "hold" })) }));
    let data = data.to_str().unwrap();
    let gateway = Gateway::start(&file, &["--data", data]);
    let client = Client::builder(gateway.url.as_str()).without_cache().connect().await.unwrap();
    until(|| async { names(&client).await.contains(&"echo".to_owned()) }).await;
    assert!(!names(&client).await.contains(&"add".to_owned()));
    let shown = String::from_utf8(run(&["upstreams", "--data", data]).stdout).unwrap();
    assert!(shown.contains("held back: trust it with: andon approve one add --data DIR"), "{shown}");
    std::fs::write(&file, "{ \"mcpServers\": { oops").unwrap();
    let output = run(&["approve", "--data", data]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    gateway.signal("HUP");
    until(|| async { names(&client).await.contains(&"add".to_owned()) }).await;
}

#[test]
fn definitions_that_cannot_be_kept_or_read_are_said_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(&folder, json!({ "one": demo(json!({ "definitions": "hold" })) }));
    let file = file.to_str().unwrap();
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let output = run(&["serve", file, "--stdio"]);
    assert!(said(&output).contains("--data DIR"), "{}", said(&output));
    let data = folder.path().join("data");
    std::fs::create_dir_all(data.join("definitions")).unwrap();
    let words = ["serve", file, "--stdio", "--data", data.to_str().unwrap()];
    let output = run(&words);
    assert!(output.status.success() && !said(&output).contains("--data DIR"), "{}", said(&output));
    std::fs::write(data.join("definitions/one.json"), "{").unwrap();
    let output = run(&words);
    let said = said(&output);
    assert!(!output.status.success() && said.contains("definitions/one.json") && said.contains("remove"), "{said}");
}
