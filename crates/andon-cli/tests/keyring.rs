//! Tokens in a real keyring, which `cargo xtask test --only keyring` starts: kept by one process, used and forgotten by
//! others.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::process::{Command, Output};

use andon::auth::{KeyringStore, Stored, TokenStore as _};
use common::{Guarded, Person, Process};

fn has_file(person: &Person) -> bool {
    person.path("andon/tokens.json").exists()
}

fn said(output: &Output) -> (String, Option<i32>) {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    (String::from_utf8_lossy(&text).trim_end().to_owned(), output.status.code())
}

/// What another program finds in the keyring for `server`.
fn found(server: &str) -> String {
    let words = ["lookup", "application", "andon", "server", server];
    let output = Command::new("secret-tool").args(words).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_login_goes_to_the_keyring_and_logging_out_forgets_it() {
    let (server, person) = (Guarded::start(), Person::with_keyring());
    let url = server.url.as_str();
    let (text, code) = said(&person.logs_in(&["login", url]));
    assert!(code == Some(0) && text.contains("; the token is in the keyring"), "{text}");
    assert!(found(url).contains("access-1-") && !has_file(&person));
    assert_eq!(said(&person.runs(&["ping", url])).1, Some(0));
    assert_eq!(said(&person.runs(&["ping", url, "--token-store", "file"])).1, Some(5));
    assert_eq!(said(&person.runs(&["logout", url])), (format!("forgot the token for {url}"), Some(0)));
    assert_eq!((found(url).as_str(), said(&person.runs(&["ping", url])).1), ("", Some(5)));
}

#[test]
fn a_login_moves_from_the_file_to_the_keyring_and_back() {
    let (server, person) = (Guarded::start(), Person::with_keyring());
    let url = server.url.as_str();
    person.logs_in(&["login", url, "--token-store", "file"]);
    assert!(has_file(&person) && found(url).is_empty());
    assert_eq!(said(&person.runs(&["ping", url])).1, Some(0));
    person.logs_in(&["login", url]);
    assert!(found(url).contains("access-"));
    let file = std::fs::read_to_string(person.path("andon/tokens.json")).unwrap();
    assert!(!file.contains("access-"));
}

#[test]
fn cl7_commands_at_once_use_a_refresh_token_of_the_keyring_once() {
    let (server, person) = (Guarded::start(), Person::with_keyring());
    server.seen().expires_in_s = 1;
    // Several entries for one server.
    server.seen().padding = 50_000;
    person.logs_in(&["login", &server.url]);
    server.seen().expires_in_s = 3600;
    server.seen().padding = 10;
    let commands: Vec<_> = (0..6).map(|_| Process::start(&mut person.command(&["ping", &server.url]))).collect();
    for command in commands {
        let (text, code) = said(&command.output());
        assert_eq!(code, Some(0), "{text}");
    }
    assert_eq!(server.seen().grants, ["authorization_code", "refresh_token"]);
    let rest = found(&format!("{} #1", server.url));
    assert!(rest.is_empty(), "what is not needed any more is gone: {} bytes", rest.len());
}

#[test]
fn what_is_too_large_for_one_entry_is_in_several() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = KeyringStore::new(folder.path());
        let server = format!("http://large.example/{}", "x".repeat(600));
        let stored = |size: usize| -> Stored {
            let token = serde_json::json!({ "access_token": "a".repeat(size), "token_type": "Bearer" });
            serde_json::from_value(serde_json::json!({ "token": token })).unwrap()
        };
        for size in [10, 100_000, 40_000, 10] {
            store.save(&server, "https://as.example", &stored(size)).await.unwrap();
            store.save(&server, "https://other.example", &stored(5)).await.unwrap();
            // Another process has nothing of it in memory.
            let kept = KeyringStore::new(folder.path()).load(&server).await.unwrap();
            assert_eq!((kept.len(), &kept["https://as.example"]), (2, &stored(size)), "{size}");
        }
        assert!(store.save(&server, "https://as.example", &stored(4 << 20)).await.is_err(), "there is a bound");
        store.remove(&server).await.unwrap();
        assert!(store.load(&server).await.unwrap().is_empty());
    });
}
