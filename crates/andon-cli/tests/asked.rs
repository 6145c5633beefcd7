//! What a server asks of a person, pages to visit and folders, and gives: pictures.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::process::{Command, Stdio};

use andon::prelude::*;
use common::{ANDON, Browser, Seated};

const PAGE: &str = "https://pay.example/order?id=1&then=$(touch%20x)";

/// Wants a page visited.
#[tool]
async fn pay(ctx: Context) -> Result<&'static str, ToolError> {
    match ctx.elicit_url("Pay for it", PAGE, "order-1").await {
        Ok(()) => Ok("they went there"),
        Err(ElicitError::Declined) => Ok("they declined"),
        Err(ElicitError::Cancelled) => Ok("they closed the question"),
        Err(error) => Err(error.into()),
    }
}

/// Says which folders it may know of.
#[tool]
async fn folders(ctx: Context) -> Result<String, ToolError> {
    let roots = ctx.roots().await?;
    let name = |root: &andon::types::client::Root| format!("{} ({})", root.uri, root.name.as_deref().unwrap_or("-"));
    Ok(roots.iter().map(name).collect::<Vec<_>>().join(", "))
}

/// Shows a picture and plays a sound.
#[tool]
async fn show(_ctx: Context) -> CallToolResult {
    CallToolResult {
        content: vec![Content::image("cGl4ZWxz", "image/png"), Content::audio("bm9pc2U=", "audio/wav")],
        ..CallToolResult::default()
    }
}

/// The URL of a server with all of them, as long as the test runs.
fn serve() -> String {
    let http = Http::bind("127.0.0.1:0").unwrap();
    let url = http.url();
    let host = Server::new("asks", "1.0.0").with((pay, folders, show)).build().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(http.run(host, std::future::pending())).unwrap();
    });
    url
}

fn command(folder: &std::path::Path, words: &[&str]) -> Command {
    let mut command = Command::new(ANDON);
    command.args(words).env("ANDON_TOKENS", folder.join("tokens.json"));
    command
}

#[test]
fn a_page_is_opened_only_if_the_person_agrees() {
    let url = serve();
    for revision in ["2025-11-25", "2026-07-28"] {
        let folder = tempfile::tempdir().unwrap();
        let browser = Browser::new(folder.path());
        for (typed, said) in [
            ("n\n", "they declined"),
            ("\n", "they declined"),
            ("\u{4}", "they closed the question"),
            ("y\n", "they went there"),
        ] {
            let mut command = command(folder.path(), &["call", &url, "pay", "--protocol", revision]);
            browser.serve(&mut command);
            let mut person = Seated::start(command);
            person.sees("The server asks: Pay for it");
            person.sees(PAGE);
            person.sees("which is a page of pay.example");
            person.sees("Open it in your browser? [y/N] ");
            person.types(typed);
            // Nobody reads the pipe unless the page is opened, so a browser that starts all the same is caught below.
            if typed == "y\n" {
                assert_eq!(browser.opened(), PAGE);
            }
            assert_eq!(person.ends(), (said.to_owned(), Some(0)), "{revision} {typed:?}");
        }
        assert_eq!(browser.opened_so_far(), 1, "{revision}");
    }
}

#[test]
fn without_a_person_no_page_is_declared() {
    let folder = tempfile::tempdir().unwrap();
    let browser = Browser::new(folder.path());
    for revision in ["2025-11-25", "2026-07-28"] {
        let mut command = command(folder.path(), &["call", &serve(), "pay", "--protocol", revision]);
        browser.serve(&mut command);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(matches!(output.status.code(), Some(1 | 4)), "{output:?}");
    }
    assert_eq!(browser.opened_so_far(), 0);
}

#[test]
fn folders_are_told_to_a_server_that_asks() {
    let (url, folder) = (serve(), tempfile::tempdir().unwrap());
    let strange = folder.path().join("a b#ü");
    std::fs::create_dir(&strange).unwrap();
    let place = folder.path().canonicalize().unwrap().display().to_string();
    for revision in ["2025-06-18", "2025-11-25", "2026-07-28"] {
        let roots = ["--root", folder.path().to_str().unwrap(), "--root", strange.to_str().unwrap()];
        let words = [["call", &url, "folders", "--protocol", revision].as_slice(), &roots].concat();
        let output = command(folder.path(), &words).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let name = folder.path().file_name().unwrap().to_str().unwrap();
        let expected = format!("file://{place} ({name}), file://{place}/a%20b%23%C3%BC (a b#ü)\n");
        assert_eq!((said.as_str(), output.status.code()), (expected.as_str(), Some(0)), "{revision}");
        // A person who opens none is not asked.
        let output = command(folder.path(), &words[..5]).stdin(Stdio::null()).output().unwrap();
        assert!(matches!(output.status.code(), Some(1 | 4)), "{revision}: {output:?}");
    }
}

#[test]
fn pictures_and_sounds_are_saved_and_said_so() {
    let (url, folder) = (serve(), tempfile::tempdir().unwrap());
    let out = folder.path().to_str().unwrap();
    let output = command(folder.path(), &["call", &url, "show", "--out", out]).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    for (name, bytes) in [("show-1.png", "pixels"), ("show-1.wav", "noise")] {
        assert!(said.contains(name), "{said}");
        assert_eq!(std::fs::read_to_string(folder.path().join(name)).unwrap(), bytes);
    }
}
