use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::{Patience, attend};
use crate::options::HttpOptions;
use crate::service::HttpService;
use crate::testing;

#[tokio::test]
async fn a_connection_that_waits_is_small() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let socket = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("a connection");
    let patience = Patience { head_timeout: Duration::from_secs(10), idle_timeout: Duration::from_secs(60) };
    let (_closing, watcher) = watch::channel(false);
    let service = HttpService::new(testing::host(), HttpOptions::default());
    let attended = attend(socket, service, patience, watcher);
    // All that a task is while its stream waits for events, but the body.
    let bytes = std::mem::size_of_val(&attended);
    assert!(bytes <= 1280, "{bytes} bytes");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_comes_in_pieces_is_no_rest_and_the_connection_rests_after_it() {
    let service = HttpService::new(testing::host(), HttpOptions::default());
    let patience = Patience { head_timeout: Duration::from_secs(10), idle_timeout: Duration::from_secs(60) };
    let (_closing, watcher) = watch::channel(false);
    let (mut client, server) = duplex(1 << 10);
    tokio::spawn(attend(server, service, patience, watcher));
    let pieces = ["GET /healthz", " HTTP/1.1\r\n", "Host: localhost\r\n\r\n"];
    let begun = Instant::now();
    for request in 0..2 {
        for (index, piece) in pieces.into_iter().enumerate() {
            if index > 0 {
                // Longer than a moment, of the clock that the test has: in it a connection would come to rest.
                sleep(Duration::from_secs(2)).await;
            }
            client.write_all(piece.as_bytes()).await.expect("it is taken");
        }
        let mut answer = [0; 1 << 10];
        let bytes = client.read(&mut answer).await.expect("an answer");
        assert!(answer[..bytes].ends_with(b"\r\n\r\nok\n"), "request {request}");
    }
    // It rests, and is closed when it has for too long.
    let ended = timeout(Duration::from_secs(120), client.read(&mut [0])).await.expect("it does not rest for ever");
    assert_eq!(ended.expect("an end"), 0);
    let rested = begun.elapsed().saturating_sub(Duration::from_secs(8));
    assert!((Duration::from_secs(60)..Duration::from_secs(62)).contains(&rested), "{rested:?}");
}

fn modern(tool: &str, message: &str) -> (String, String) {
    let body = testing::call(1, tool, message);
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\n\
         Mcp-Method: tools/call\r\nMcp-Name: {tool}\r\n"
    );
    (head, body)
}

#[tokio::test]
async fn a_connection_that_takes_and_gives_one_byte_at_a_time_says_all_in_order() {
    let service = HttpService::new(testing::host(), HttpOptions::default());
    let patience = Patience { head_timeout: Duration::from_secs(10), idle_timeout: Duration::from_secs(60) };
    let (_closing, watcher) = watch::channel(false);
    let (client, server) = duplex(1);
    tokio::spawn(attend(server, service, patience, watcher));
    let long = "y".repeat(20 << 10);
    let (head, body) = modern("echo", &long);
    let (first, second) = body.split_at(1000);
    let mut requests = format!(
        "{head}Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x};a=b\r\n{second}\r\n0\r\nT: x\r\n\r\n",
        first.len(),
        second.len()
    );
    let (head, body) = modern("steps", "");
    requests += &format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    requests += "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let (mut reader, mut writer) = split(client);
    let sent = tokio::spawn(async move { writer.write_all(requests.as_bytes()).await });
    let mut said = String::new();
    reader.read_to_string(&mut said).await.expect("text");
    sent.await.expect("no panic").expect("it is taken");
    assert_eq!(said.matches("HTTP/1.1 200 OK").count(), 3, "{said}");
    let marks = [&*long, "text/event-stream", "\"progress\":1", "\"progress\":10", "walked", "\r\n0\r\n\r\n", "ok\n"];
    let places: Vec<_> = marks.iter().map(|mark| said.find(mark).unwrap_or_else(|| panic!("no {mark}"))).collect();
    assert!(places.is_sorted() && said.ends_with("\r\n\r\nok\n"), "{places:?}");
}
