//! A person logs in: a real authorization server, a real redirect, tokens that other processes use.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::process::Output;

use common::{Guarded, Person, Process};

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

#[test]
fn a_login_is_kept_for_other_commands_until_it_is_forgotten() {
    let (server, person) = (Guarded::start(), Person::with_file());
    let url = server.url.as_str();
    assert_eq!(person.runs(&["ping", url]).status.code(), Some(5), "nobody is logged in");
    assert_eq!(server.seen().registrations, 0, "and nobody is there to do it");
    let login = person.logs_in(&["login", url]);
    let file = person.path("tokens.json");
    assert_eq!(out(&login), format!("logged in to {url}; the token is in {}", file.display()));
    assert!(String::from_utf8_lossy(&login.stderr).contains("/authorize?response_type=code"));
    assert!(out(&person.runs(&["ping", url])).starts_with("andon-demo "));
    assert_eq!(out(&person.runs(&["call", url, "add", "a=1", "b=2"])), "3");
    assert_eq!(server.seen().logins, 1);
    assert_eq!(out(&person.runs(&["logout", url])), format!("forgot the token for {url}"));
    assert_eq!(person.runs(&["ping", url]).status.code(), Some(5));
    assert!(!std::fs::read_to_string(file).unwrap().contains("access-"));
}

#[test]
fn cl7_commands_at_once_use_a_refresh_token_once() {
    let (server, person) = (Guarded::start(), Person::with_file());
    server.seen().expires_in_s = 1;
    person.logs_in(&["login", &server.url]);
    server.seen().expires_in_s = 3600;
    let commands: Vec<_> = (0..6).map(|_| Process::start(&mut person.command(&["ping", &server.url]))).collect();
    for command in commands {
        let output = command.output();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(server.seen().grants, ["authorization_code", "refresh_token"]);
}

#[test]
fn a_store_that_is_demanded_and_not_there_is_an_error() {
    let (server, person) = (Guarded::start(), Person::with_file());
    // No bus, so no keyring.
    let mut login = person.command(&["login", &server.url, "--token-store", "keyring"]);
    login.env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent").env("XDG_DATA_HOME", person.path(""));
    let output = login.output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the keyring: "));
    // Chosen by itself, the file stands in for it.
    let mut login = person.command(&["login", &server.url]);
    login.env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent").env("XDG_DATA_HOME", person.path(""));
    let child = Process::start(login.env_remove("ANDON_TOKENS"));
    person.browser.visit(&person.browser.opened());
    let file = person.path("andon/tokens.json");
    assert!(out(&child.output()).ends_with(&format!("the token is in {}", file.display())));
}
