//! The client commands as people type them, against the demo server over HTTP and as a child process.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

use common::{ANDON, Demo, Process};
use serde_json::{Value, json};

impl Demo {
    fn run(&self, deed: &str, words: &[&str]) -> Output {
        andon(&[&[deed, self.url.as_str()], words].concat())
    }
}

fn andon(words: &[&str]) -> Output {
    let tokens = std::env::temp_dir().join(format!("andon-no-tokens-{}", std::process::id()));
    Command::new(ANDON).args(words).env("ANDON_TOKENS", tokens).stdin(Stdio::null()).output().unwrap()
}

fn said(output: &Output) -> (String, String, Option<i32>) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

#[test]
fn everything_a_server_offers_is_listed_called_and_read() {
    let demo = Demo::start();
    let (tools, _, code) = said(&demo.run("tools", &[]));
    assert!(tools.lines().any(|line| line.starts_with("add ") && line.ends_with("Add two integers.")), "{tools}");
    assert_eq!(code, Some(0));
    assert_eq!(said(&demo.run("call", &["add", "a=1", "b:=2"])), ("3".into(), String::new(), Some(0)));
    let steps = said(&demo.run("call", &["steps", "steps=3", "interval_ms=1"]));
    assert_eq!((steps.1.as_str(), steps.2), ("", Some(0)), "no bar where no terminal is");
    assert_eq!(said(&demo.run("read", &["demo://item/7"])).0, r#"{"n":7,"square":49}"#);
    assert!(said(&demo.run("resources", &[])).0.contains("demo://item/{n}"));
    assert!(said(&demo.run("prompts", &[])).0.starts_with("greet"));
    assert!(said(&demo.run("prompt", &["greet", "name=Ann"])).0.contains("Ann"));
    let completed = said(&demo.run("complete", &["demo://item/{n}", "n", "18"])).0;
    assert!(completed.lines().all(|line| line.starts_with("18")) && completed.contains("18"), "{completed}");
    assert!(said(&demo.run("ping", &[])).0.contains("2026-07-28"));
}

#[test]
fn questions_are_answered_from_the_command_line_in_both_eras() {
    let demo = Demo::start();
    for revision in ["2025-06-18", "2025-11-25", "2026-07-28"] {
        let words = ["ask", "prompt=Colour?", "--answer", "answer=blue", "--protocol", revision, "--json"];
        let (out, error, code) = said(&demo.run("call", &words));
        let result: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{error}"));
        assert_eq!((&result["content"][0]["text"], code), (&json!("They said: blue"), Some(0)), "{revision}");
    }
}

#[test]
fn every_revision_can_be_forced() {
    let demo = Demo::start();
    for revision in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"] {
        let words = ["add", "a=1", "b=2", "--protocol", revision];
        assert_eq!(said(&demo.run("call", &words)).0, "3", "{revision}");
        let child = ["ping", "--json", "--protocol", revision, "--", ANDON, "serve", "--stdio"];
        let ping: Value = serde_json::from_str(&said(&andon(&child)).0).unwrap();
        assert_eq!(ping["protocolVersion"], revision);
    }
}

#[test]
fn mistakes_have_words_and_exit_codes() {
    let demo = Demo::start();
    for (output, code, told) in [
        (demo.run("call", &["add", "a=one", "b=2"]), 2, "/a"),
        (demo.run("call", &["add", "a=1"]), 2, "\"b\""),
        (demo.run("call", &["nope"]), 2, "there are: echo"),
        (demo.run("call", &["ad"]), 2, "did you mean add?"),
        (demo.run("call", &["add", "a"]), 2, "key=value"),
        (demo.run("ping", &["--protocol", "1999-01-01"]), 2, "2026-07-28"),
        (demo.run("ping", &["--header", "nonsense"]), 2, "Name: value"),
        (demo.run("read", &["demo://nope/1"]), 4, "not found"),
        (andon(&["ping"]), 2, "which server"),
        (andon(&["ping", "localhost:1"]), 2, "is no URL"),
        (andon(&["ping", "http://127.0.0.1:9/mcp"]), 3, "cannot be reached"),
        (andon(&["ping", "--", "/no/such/program"]), 3, "cannot be started"),
        (andon(&["ping", "--", "sh", "-c", "echo the reason >&2; exit 3"]), 3, "the reason"),
        (andon(&["login", "--", "x"]), 2, "no login"),
        (demo.run("ping", &["--env", "A=b"]), 2, "--env"),
        (andon(&["ping", "-H", "A: b", "--", "x"]), 2, "--header"),
        (demo.run("ping", &["--answer", "x"]), 2, "FIELD=VALUE"),
        (demo.run("call", &["slow", "ms=60000", "--timeout", "1"]), 3, "in time"),
        (demo.run("call", &["ask", "prompt=Who?"]), 4, "capability"),
    ] {
        let (out, error, found) = said(&output);
        assert_eq!((found, error.contains(told)), (Some(code), true), "{told}: {out} {error}");
    }
}

#[test]
fn changes_are_printed_as_they_happen() {
    let demo = Demo::start();
    let mut command = Command::new(ANDON);
    command
        .args(["listen", demo.url.as_str(), "demo://item/1", "--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = Process::start(&mut command);
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(told.next().unwrap().starts_with("listening"));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    demo.run("call", &["touch", "uri=demo://item/1"]);
    let event: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
    assert_eq!(event, json!({ "event": "resource updated", "detail": "demo://item/1" }));
    demo.run("call", &["changed"]);
    let event: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
    assert_eq!(event["event"], "tools changed");
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
