//! Servers that are slow, endless, huge, lying or greedy: every call ends, within bounds, with words that help.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod honest;
mod openings;
mod peer;
mod sessions;
mod storms;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use andon_client::{Bearer, Client, Error, Event, Filled, Options};
use andon_types::revision::Revision;
use peer::{LEGACY, answer, call, client, read, result, serve, well};
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

/// Answers that are sent whole, and what the caller is told.
#[tokio::test]
async fn answers_that_are_none_are_told_in_words() {
    let sse = "Content-Type: text/event-stream\r\n";
    let json = "Content-Type: application/json\r\n";
    for (bytes, told) in [
        (answer("200 OK", "Content-Type: text/html\r\n", "<html>"), "text/html"),
        (answer("200 OK", "", "{}"), "neither JSON nor an event stream"),
        (answer("200 OK", json, "garbage"), "no message"),
        (answer("200 OK", json, "{}"), "no message"),
        (answer("200 OK", json, r#"{"jsonrpc":"2.0","id":999,"result":{}}"#), "does not answer"),
        (answer("200 OK", json, r#"{"jsonrpc":"2.0","id":"2","result":{}}"#), "does not answer"),
        (answer("202 Accepted", "", ""), "wants an answer"),
        (answer("500 Internal Server Error", "", "boom"), "500: boom"),
        (answer("500 Internal Server Error", "Content-Type: text/plain\r\n", &"x".repeat(100_000)), "cannot be read"),
        (answer("401 Unauthorized", "WWW-Authenticate: Bearer\r\n", ""), "wants credentials"),
        (answer("302 Found", "Location: /elsewhere\r\n", ""), "redirects"),
        (answer("307 Temporary Redirect", "Location: http://evil.example/\r\n", ""), "evil.example"),
        (answer("307 Temporary Redirect", "", ""), "redirects"),
        (answer("200 OK", sse, "data: garbage\n\n"), "before the answer"),
        (answer("200 OK", sse, ": nothing\n\n"), "before the answer"),
        (answer("200 OK", sse, "event: other\ndata: {}\n\n"), "before the answer"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{".to_vec(),
            "connection ended",
        ),
        (b"garbage\r\n\r\n".to_vec(), "connection ended"),
        (Vec::new(), "connection ended"),
    ] {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        let url = serve(move |_, mut socket| {
            let bytes = bytes.clone();
            async move { drop(socket.write_all(&bytes).await) }
        })
        .await;
        let outcome = call(&client(&url, Revision::LATEST).await).await;
        let error = outcome.expect_err(&shown);
        assert!(error.contains(told), "{shown:?}: {error}");
        assert!(error.len() < 1_000, "a peer's text is clipped");
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused_unread_or_cut_off() {
    const HUGE: u64 = 3 << 30;
    for (head, told) in [
        (format!("Content-Type: application/json\r\nContent-Length: {HUGE}\r\n\r\n"), "larger than"),
        ("Content-Type: application/json\r\n\r\n".to_owned(), "larger than"),
        ("Content-Type: text/event-stream\r\n\r\ndata: ".to_owned(), "larger than"),
    ] {
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = sent.clone();
        let url = serve(move |_, mut socket| {
            let (head, sent) = (format!("HTTP/1.1 200 OK\r\n{head}"), counted.clone());
            async move {
                drop(socket.write_all(head.as_bytes()).await);
                let piece = vec![b'x'; 1 << 16];
                while socket.write_all(&piece).await.is_ok() {
                    sent.fetch_add(piece.len(), Ordering::Relaxed);
                }
            }
        })
        .await;
        let client = Client::builder(url.as_str())
            .protocol(Revision::LATEST)
            .message_bytes_max(1 << 20)
            .connect()
            .await
            .unwrap();
        let error = call(&client).await.expect_err("too large");
        assert!(error.contains(told), "{error}");
        assert!(sent.load(Ordering::Relaxed) < 64 << 20, "it was read on and on");
    }
}

#[tokio::test]
async fn endless_streams_end_with_the_time_of_the_call() {
    for piece in [": comment\n\n", "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n\n", "x"] {
        let url = serve(move |_, mut socket| async move {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
            drop(socket.write_all(head.as_bytes()).await);
            while socket.write_all(piece.as_bytes()).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let client = client(&url, Revision::LATEST).await;
        let options = Options::default().timeout(Duration::from_millis(300));
        let outcome = client.call_tool("x", Map::new(), options).await;
        assert!(matches!(outcome, Err(Error::TimedOut | Error::Transport(_))), "{outcome:?}");
    }
}

#[tokio::test]
async fn an_answer_that_comes_byte_by_byte_is_an_answer() {
    let url = serve(|asked, mut socket| async move {
        for byte in result(&asked, json!({ "resultType": "complete", "content": [{ "type": "text", "text": "slow" }] }))
        {
            socket.write_all(&[byte]).await.unwrap();
            socket.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(call(&client(&url, Revision::LATEST).await).await.unwrap().contains("slow"));
}

#[tokio::test]
async fn a17_credentials_never_follow_a_redirect_and_a_401_loop_ends() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("http://{}/mcp", elsewhere.local_addr().unwrap());
    let came = Arc::new(AtomicUsize::new(0));
    let counted = came.clone();
    tokio::spawn(async move {
        while elsewhere.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let asked = Arc::new(AtomicUsize::new(0));
    for status in
        ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect", "401 Unauthorized"]
    {
        let (target, asked) = (target.clone(), asked.clone());
        let url = serve(move |_, mut socket| {
            asked.fetch_add(1, Ordering::Relaxed);
            let bytes = answer(status, &format!("Location: {target}\r\nWWW-Authenticate: Bearer\r\n"), "");
            async move { drop(socket.write_all(&bytes).await) }
        })
        .await;
        let builder = Client::builder(url.as_str()).protocol(Revision::LATEST);
        let client = builder.authorizer(Bearer::new("secret").unwrap()).connect().await.unwrap();
        let error = call(&client).await.expect_err(status);
        assert!(!error.contains("secret"), "{error}");
    }
    assert_eq!(came.load(Ordering::Relaxed), 0, "it went elsewhere");
    assert!(asked.load(Ordering::Relaxed) <= 5 * 4, "it asked again and again");
}

#[tokio::test]
async fn one_answer_counts_and_what_came_twice_is_heard_once() {
    let url = serve(|asked, mut socket| async move {
        let id = &asked.body["id"];
        let event = |number: u32, text: &str| {
            let result = json!({ "content": [{ "type": "text", "text": text }] });
            format!("id: e{number}\ndata: {}\n\n", json!({ "jsonrpc": "2.0", "id": id, "result": result }))
        };
        let notice =
            format!("id: e1\ndata: {}\n\n", json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" }));
        let body = format!("{notice}{notice}{notice}{}{}", event(2, "first"), event(3, "second"));
        drop(socket.write_all(&answer("200 OK", "Content-Type: text/event-stream\r\n", &body)).await);
    })
    .await;
    let client = client(&url, LEGACY).await;
    let mut events = client.events();
    assert!(call(&client).await.unwrap().contains("first"));
    assert!(matches!(events.next().await, Some(Event::ToolsChanged)));
    assert_eq!(client.figures().duplicate_events(), 2);
}

#[tokio::test]
async fn an_answer_without_an_id_after_one_with_an_id_is_heard() {
    let url = serve(|asked, mut socket| async move {
        let done = json!({ "jsonrpc": "2.0", "id": asked.body["id"], "result": { "content": [] } });
        let body = format!("data: \nid: 0\nretry: 3000\n\ndata: {done}\n\n");
        drop(socket.write_all(&answer("200 OK", "Content-Type: text/event-stream\r\n", &body)).await);
    })
    .await;
    assert_eq!(call(&client(&url, LEGACY).await).await, Ok("[]".to_owned()));
}

#[tokio::test]
async fn a_stream_that_breaks_is_taken_up_where_it_was_and_given_up_in_the_end() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = heads.clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let last_id = Arc::new(Mutex::new(Value::Null));
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let (seen, last_id) = (seen.clone(), last_id.clone());
            tokio::spawn(async move {
                while let Some(asked) = read(&mut socket).await {
                    let sse = "Content-Type: text/event-stream\r\n";
                    let bytes = match (asked.method(), asked.header("last-event-id")) {
                        ("tools/call", _) => {
                            *last_id.lock().unwrap() = asked.body["id"].clone();
                            answer("200 OK", sse, "id: a\nretry: 10\ndata:\n\n")
                        }
                        (_, Some(from)) => {
                            seen.lock().unwrap().push(from.to_owned());
                            let id = last_id.lock().unwrap().clone();
                            let done = json!({ "jsonrpc": "2.0", "id": id, "result": { "content": [] } });
                            match from {
                                "a" => answer("200 OK", sse, "id: b\ndata:\n\n"),
                                "b" if seen.lock().unwrap().len() < 4 => answer("503 Busy", "", ""),
                                _ => answer("200 OK", sse, &format!("id: c\ndata: {done}\n\n")),
                            }
                        }
                        _ => well(&asked).unwrap_or_default(),
                    };
                    drop(socket.write_all(&bytes).await);
                }
            });
        }
    });
    let client = client(&url, LEGACY).await;
    assert_eq!(call(&client).await, Ok("[]".to_owned()));
    assert_eq!(*heads.lock().unwrap(), ["a", "b", "b", "b"]);
    assert!(client.figures().resumed_streams() >= 2);
    // One that is never there again is given up, however long the server wants us to wait.
    let url = serve(|_, mut socket| async move {
        let body = "id: a\nretry: 999999999999\ndata:\n\n";
        drop(socket.write_all(&answer("200 OK", "Content-Type: text/event-stream\r\n", body)).await);
    })
    .await;
    let client = Client::builder(url.as_str()).protocol(LEGACY).connect().await.unwrap();
    let options = Options::default().timeout(Duration::from_millis(200));
    assert!(matches!(client.call_tool("x", Map::new(), options).await, Err(Error::TimedOut)));
}

#[tokio::test]
async fn lists_that_never_end_are_left() {
    for endless in [true, false] {
        let pages = Arc::new(AtomicUsize::new(0));
        let url = serve(move |asked, mut socket| {
            let number = pages.fetch_add(1, Ordering::Relaxed);
            let cursor = if endless { format!("c{number}") } else { "same".to_owned() };
            let page = json!({ "resultType": "complete", "ttlMs": 0, "cacheScope": "private", "tools": [], "nextCursor": cursor });
            let bytes = result(&asked, page);
            async move { drop(socket.write_all(&bytes).await) }
        })
        .await;
        let error = client(&url, Revision::LATEST).await.tools().await.expect_err("no end").to_string();
        assert!(error.contains(if endless { "more than 1000 pages" } else { "repeats a cursor" }), "{error}");
    }
}

/// A request may meet the end of a connection that was used before, which tells nothing of what became of it.
#[tokio::test]
async fn what_meets_the_end_of_a_connection_is_sent_again_if_it_only_asks() {
    let (lists, calls) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (lists.clone(), calls.clone());
    let url = serve(move |asked, mut socket| {
        let is_list = asked.method() == "tools/list";
        let count = if is_list { &counts.0 } else { &counts.1 };
        let page = json!({ "resultType": "complete", "ttlMs": 0, "cacheScope": "private", "tools": [] });
        let answer = (count.fetch_add(1, Ordering::Relaxed) > 0).then(|| result(&asked, page));
        async move {
            if let Some(answer) = answer {
                drop(socket.write_all(&answer).await);
            }
        }
    })
    .await;
    assert_eq!(client(&url, Revision::LATEST).await.tools().await.unwrap(), []);
    assert_eq!(lists.load(Ordering::Relaxed), 2);
    let error = call(&client(&url, Revision::LATEST).await).await.expect_err("it may have done its work");
    assert!(error.contains("connection ended"), "{error}");
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn servers_that_ask_too_much_are_left() {
    // Rounds without end, and questions that were not declared.
    let url = serve(|asked, mut socket| async move {
        let params = json!({ "message": "?", "requestedSchema": { "type": "object", "properties": {} } });
        let request = json!({ "method": "elicitation/create", "params": params });
        let bytes = result(&asked, json!({ "resultType": "input_required", "inputRequests": { "k": request } }));
        drop(socket.write_all(&bytes).await);
    })
    .await;
    let builder = Client::builder(url.as_str()).protocol(Revision::LATEST);
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let patient = builder.on_form(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Filled::Accept(Map::new()) }
    });
    let error = call(&patient.connect().await.unwrap()).await.expect_err("without end");
    assert!(error.contains("never stops asking"), "{error}");
    assert!(asked.load(Ordering::Relaxed) <= 16);
    let error = call(&client(&url, Revision::LATEST).await).await.expect_err("not declared");
    assert!(error.contains("did not declare"), "{error}");
}

#[tokio::test]
async fn opening_ends_whatever_the_server_says() {
    for (bytes, told) in [
        (answer("200 OK", "Content-Type: application/json\r\n", "[]"), "no message"),
        (answer("404 Not Found", "", ""), "404"),
        (answer("400 Bad Request", "", "go away"), "400"),
        (answer("503 Service Unavailable", "", ""), "503"),
        (answer("200 OK", "Content-Type: text/html\r\n", "<html>"), "text/html"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let bytes = bytes.clone();
                tokio::spawn(async move {
                    while read(&mut socket).await.is_some() && socket.write_all(&bytes).await.is_ok() {}
                });
            }
        });
        let error = Client::connect(url.as_str()).await.expect_err("no server").to_string();
        assert!(error.contains(told), "{error}");
    }
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", silent.local_addr().unwrap());
    let builder = Client::builder(url.as_str()).probe_timeout(Duration::from_millis(100));
    let error = builder.open_timeout(Duration::from_millis(300)).connect().await.expect_err("silent").to_string();
    assert!(error.contains("in time"), "{error}");
    for bad in ["", "http://", "http://user:pw@localhost/", "\"unclosed"] {
        assert!(matches!(Client::connect(bad).await, Err(Error::Target(_))), "{bad:?}");
    }
}
