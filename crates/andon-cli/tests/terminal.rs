//! The client commands with a person at a terminal, who answers questions and presses Ctrl-C.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use common::{ANDON, Process, Seated};

fn command(words: &[&str]) -> Command {
    let tokens = std::env::temp_dir().join(format!("andon-no-tokens-{}", std::process::id()));
    let mut command = Command::new(ANDON);
    command.args(words).env("ANDON_TOKENS", tokens);
    command
}

fn call<'a>(revision: &'a str, words: &[&'a str]) -> Vec<&'a str> {
    let server = ["--protocol", revision, "--", ANDON, "serve", "--stdio"];
    [&["call"], words, server.as_slice()].concat()
}

#[test]
fn a_person_fills_forms_in_both_eras() {
    for revision in ["2025-06-18", "2026-07-28"] {
        for (typed, said) in
            [("blue\n", "They said: blue"), (".\n", "They declined."), ("\u{4}", "They closed the question.")]
        {
            let mut person = Seated::start(command(&call(revision, &["ask", "prompt=Colour?"])));
            person.sees("The server asks: Colour?");
            person.sees("(Your answer): ");
            person.types(typed);
            assert_eq!(person.ends(), (said.to_owned(), Some(0)), "{revision}");
        }
    }
}

#[test]
fn a_needed_field_is_asked_for_again() {
    let mut person = Seated::start(command(&call("2025-11-25", &["ask", "prompt=Colour?"])));
    person.sees("(Your answer): ");
    person.types("\n");
    person.sees("this one is needed");
    person.sees("(Your answer): ");
    person.types("red\n");
    assert_eq!(person.ends(), ("They said: red".to_owned(), Some(0)));
}

#[test]
fn a_person_may_be_the_model_or_refuse() {
    for revision in ["2025-06-18", "2026-07-28"] {
        let mut person = Seated::start(command(&call(revision, &["sample", "prompt=Sky?"])));
        person.sees("user: Sky?");
        person.sees("(empty: refuse): ");
        person.types("Grey\n");
        assert_eq!(person.ends(), ("The model said: Grey".to_owned(), Some(0)), "{revision}");
        let mut person = Seated::start(command(&call(revision, &["sample", "prompt=Sky?"])));
        person.sees("(empty: refuse): ");
        person.types("\n");
        let (_, code) = person.ends();
        assert!(matches!(code, Some(1 | 4)), "{revision}: {code:?}");
    }
}

#[test]
fn a_terminal_shows_progress() {
    let mut person =
        Seated::start(command(&call("2026-07-28", &["steps", "steps=4", "interval_ms=1", "message=\u{1b}[31m"])));
    person.sees("%");
    assert_eq!(person.ends(), ("took 4 steps".to_owned(), Some(0)));
}

/// The server is told that nobody waits any more, before the command ends.
#[test]
fn ctrl_c_cancels_the_call_at_the_server() {
    let folder = tempfile::tempdir().unwrap();
    for revision in ["2025-06-18", "2026-07-28"] {
        let pipe = folder.path().join(revision);
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let script = format!("tee '{}' | '{ANDON}' serve --stdio", pipe.display());
        let words = ["call", "slow", "ms=60000", "--protocol", revision, "--", "sh", "-c", &script];
        let mut child = Process::start(command(&words).stdin(Stdio::null()).stderr(Stdio::null()));
        let mut sent = BufReader::new(File::open(&pipe).unwrap()).lines().map_while(Result::ok);
        assert!(sent.any(|line| line.contains("tools/call")));
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        assert!(sent.any(|line| line.contains("notifications/cancelled")), "{revision}");
        assert_eq!(child.wait().unwrap().code(), Some(130));
    }
}

#[test]
fn a_refusal_of_credentials_has_its_own_exit_code() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            let mut line = String::new();
            let mut length = 0;
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                let lower = line.to_ascii_lowercase();
                length = lower.strip_prefix("content-length:").map_or(length, |text| text.trim().parse().unwrap());
                line.clear();
            }
            std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).unwrap();
            let answer = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            drop(reader.get_mut().write_all(answer.as_bytes()));
        }
    });
    for words in [vec!["ping", &url], vec!["ping", &url, "-H", "Authorization: Bearer wrong"], vec!["login", &url]] {
        let output = command(&words).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(5), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
