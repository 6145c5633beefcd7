//! `andon serve --data`: the server is killed under a client and started again, and the client's session is the same.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use andon::client::{Client, Error, Event, Filled, Options};
use andon::types::revision::Revision;
use common::Demo;
use serde_json::{Map, Value, json};

/// A server that keeps sessions in `data`, at `address`.
fn start(data: &Path, address: &str) -> Demo {
    Demo::serve(address, &["--data", data.to_str().unwrap()])
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn k3_a_killed_server_loses_no_session_and_says_what_became_of_calls() {
    let data = tempfile::tempdir().unwrap();
    let mut server = start(data.path(), "127.0.0.1:0");
    let place = server.address();
    let client = Client::builder(server.url.as_str()).protocol(Revision::LATEST_LEGACY).connect().await.unwrap();
    let mut events = client.events();
    for _ in 0..3 {
        let (began, begun) = tokio::sync::oneshot::channel();
        let (calling, began) = (client.clone(), Mutex::new(Some(began)));
        let call = tokio::spawn(async move {
            let options = Options::default().timeout(Duration::from_secs(60)).on_progress(move |_| {
                if let Some(began) = began.lock().unwrap().take() {
                    began.send(()).unwrap();
                }
            });
            let arguments = object(json!({"steps": 1_000, "interval_ms": 50, "message": "x"}));
            calling.call_tool("steps", arguments, options).await
        });
        tokio::time::timeout(Duration::from_secs(30), begun).await.expect("it begins").unwrap();
        drop(server);
        server = start(data.path(), &place);
        let outcome = tokio::time::timeout(Duration::from_secs(30), call).await.expect("no hang").unwrap();
        assert!(
            matches!(&outcome, Err(Error::Protocol(error)) if error.message.contains("outcome unknown")),
            "{outcome:?}"
        );
        assert_eq!(client.call::<i64>("add", json!({"a": 1, "b": 2})).await.expect("the same session"), 3);
    }
    // Lists may have changed meanwhile, and that is all that there was to notice: no session was opened anew.
    loop {
        match tokio::time::timeout(Duration::from_secs(30), events.next()).await.expect("it is announced") {
            Some(Event::ToolsChanged) => break,
            Some(Event::Reopened) => panic!("the session died"),
            _ => {}
        }
    }
}

/// 2026-07-28 has no sessions: what a call knows is with the client, and another process can go on with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_question_outlives_the_process_that_asked() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), "127.0.0.1:0");
    let (url, place) = (server.url.clone(), server.address());
    let (directory, killed) = (data.path().to_owned(), Arc::new(Mutex::new(Some(server))));
    let builder = Client::builder(url.as_str()).protocol(Revision::LATEST).on_form(move |_| {
        let (directory, killed, place) = (directory.clone(), killed.clone(), place.clone());
        async move {
            let restart = move || {
                let mut server = killed.lock().unwrap();
                drop(server.take());
                *server = Some(start(&directory, &place));
            };
            tokio::task::spawn_blocking(restart).await.unwrap();
            Filled::Accept(object(json!({"answer": "still here"})))
        }
    });
    let client = builder.connect().await.unwrap();
    let said: String = client.call("ask", json!({"prompt": "Are you there?"})).await.unwrap();
    assert_eq!(said, "They said: still here");
}
