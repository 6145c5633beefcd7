//! A person logs in: a real authorization server, a real redirect, tokens that other processes use.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::process::{Command, Output, Stdio};

use common::{ANDON, Browser, Guarded};
use tempfile::TempDir;

/// A person with a folder for tokens and a browser.
struct Person {
    folder: TempDir,
    browser: Browser,
}

impl Person {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let browser = Browser::new(folder.path());
        Self { folder, browser }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(ANDON);
        command.args(words).env("ANDON_TOKENS", self.folder.path().join("tokens.json"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.browser.serve(&mut command);
        command
    }

    fn runs(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn logs_in(&self, words: &[&str]) -> Output {
        let child = self.command(words).spawn().unwrap();
        let page = self.browser.visit(&self.browser.opened());
        assert!(page.starts_with("HTTP/1.1 200") && page.contains("close this window"), "{page}");
        child.wait_with_output().unwrap()
    }
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

#[test]
fn a_login_is_kept_for_other_commands_until_it_is_forgotten() {
    let (server, person) = (Guarded::start(), Person::new());
    let url = server.url.as_str();
    assert_eq!(person.runs(&["ping", url]).status.code(), Some(5), "nobody is logged in");
    assert_eq!(server.seen().registrations, 0, "and nobody is there to do it");
    let login = person.logs_in(&["login", url]);
    let file = person.folder.path().join("tokens.json");
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
    let (server, person) = (Guarded::start(), Person::new());
    server.seen().expires_in_s = 1;
    person.logs_in(&["login", &server.url]);
    server.seen().expires_in_s = 3600;
    let commands: Vec<_> = (0..6).map(|_| person.command(&["ping", &server.url]).spawn().unwrap()).collect();
    for command in commands {
        let output = command.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(server.seen().grants, ["authorization_code", "refresh_token"]);
}

#[test]
fn a_store_that_is_demanded_and_not_there_is_an_error() {
    let (server, person) = (Guarded::start(), Person::new());
    // No bus, so no keyring.
    let mut login = person.command(&["login", &server.url, "--token-store", "keyring"]);
    login.env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent").env("XDG_DATA_HOME", person.folder.path());
    let output = login.output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the keyring: "));
    // Chosen by itself, the file stands in for it.
    let mut login = person.command(&["login", &server.url]);
    login.env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent").env("XDG_DATA_HOME", person.folder.path());
    let child = login.env_remove("ANDON_TOKENS").spawn().unwrap();
    person.browser.visit(&person.browser.opened());
    let file = person.folder.path().join("andon").join("tokens.json");
    assert!(out(&child.wait_with_output().unwrap()).ends_with(&format!("the token is in {}", file.display())));
}
