//! The pool of connections. One test alone: it is shared by all clients of a process.

mod common;

use andon_client::Client;
use common::{server, told};
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};

/// Hands bytes on to the server at `behind`, and tells of each connection when it ends.
async fn relay(behind: String, ended: tokio::sync::mpsc::UnboundedSender<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.expect("a client");
            let (behind, ended) = (behind.clone(), ended.clone());
            tokio::spawn(async move {
                let mut server = TcpStream::connect(behind).await.expect("a server");
                let (mut input, mut output) = client.into_split();
                let (mut answers, mut requests) = server.split();
                tokio::select! {
                    _ = tokio::io::copy(&mut input, &mut requests) => {}
                    _ = tokio::io::copy(&mut answers, &mut output) => drop(input.read(&mut [0]).await),
                }
                // The test may be over.
                let _ = ended.send(());
            });
        }
    });
    format!("http://{address}/mcp")
}

#[tokio::test]
async fn connections_are_used_again_and_closed_when_they_are_idle() {
    let url = common::serve(server(&told()).build().expect("a good server"));
    let behind = url.trim_start_matches("http://").trim_end_matches("/mcp").to_owned();
    let (ended, mut endings) = tokio::sync::mpsc::unbounded_channel();
    let url = relay(behind, ended).await;
    let client = Client::connect(url.as_str()).await.expect("connects");
    for _ in 0..10 {
        client.call::<i64>("add", json!({ "a": 1, "b": 2 })).await.expect("adds");
    }
    let figures = client.figures();
    let (requests, connections) = (figures.requests(), figures.connections());
    assert_eq!((connections, figures.reused_connections()), (1, requests - 1));
    assert!(requests >= 11);

    // Another client uses what this one has opened.
    let other = Client::connect(url.as_str()).await.expect("connects");
    other.call::<i64>("add", json!({ "a": 1, "b": 2 })).await.expect("adds");
    assert_eq!((other.figures().connections(), other.figures().reused_connections()), (0, other.figures().requests()));
    assert!(endings.try_recv().is_err(), "nothing was closed so far");

    tokio::time::pause();
    let began = tokio::time::Instant::now();
    endings.recv().await.expect("it is closed");
    assert!((60..=130).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    tokio::time::resume();
    client.call::<i64>("add", json!({ "a": 1, "b": 2 })).await.expect("adds");
    assert_eq!(client.figures().connections(), 2);
    assert_eq!(client.figures().duplicate_events(), 0);
}
