//! How servers are found and begun with: what was found out before, endpoints that lead elsewhere, programs and sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use andon_client::{Client, Command, Event};
use andon_types::revision::Revision;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::peer::{LEGACY, answer, read, result, well};

/// A server that answers each request with what `with` makes of it, each on a connection of its own.
pub(crate) async fn answering(with: impl Fn(&crate::peer::Asked) -> Vec<u8> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let with = Arc::new(with);
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let with = with.clone();
            tokio::spawn(async move {
                while let Some(asked) = read(&mut socket).await {
                    if socket.write_all(&with(&asked)).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn what_a_server_speaks_is_found_out_once_for_all_clients() {
    let probes = Arc::new(AtomicUsize::new(0));
    let counted = probes.clone();
    let url = answering(move |asked| match asked.method() {
        "server/discover" => {
            counted.fetch_add(1, Ordering::Relaxed);
            let error = json!({ "code": -32601, "message": "Method not found" });
            let body = json!({ "jsonrpc": "2.0", "id": asked.body["id"], "error": error }).to_string();
            answer("200 OK", "Content-Type: application/json\r\n", &body)
        }
        "ping" => result(asked, json!({})),
        _ => well(asked).expect("a known method"),
    })
    .await;
    for _ in 0..3 {
        let client = Client::connect(url.as_str()).await.unwrap();
        assert_eq!(client.revision(), Some(LEGACY));
        client.ping().await.unwrap();
    }
    assert_eq!(probes.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_endpoint_at_another_origin_is_not_used() {
    let visits = Arc::new(AtomicUsize::new(0));
    let counted = visits.clone();
    let other = answering(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        answer("202 Accepted", "", "")
    })
    .await;
    for endpoint in [other.clone(), other.replacen("http:", "", 1), "https://other.example/messages".to_owned()] {
        let url = answering(move |asked| match asked.verb.as_str() {
            "GET" => {
                let event = format!("event: endpoint\ndata: {endpoint}\n\n");
                answer("200 OK", "Content-Type: text/event-stream\r\n", &event)
            }
            _ => answer("404 Not Found", "", ""),
        })
        .await;
        let builder = Client::builder(url.as_str()).header("authorization", "Bearer secret");
        let error = builder.connect().await.map(drop).expect_err("it is not to be trusted").to_string();
        assert!(error.contains("another origin"), "{error}");
    }
    assert_eq!(visits.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_secret_is_not_told_where_what_a_server_says_is_cut_off() {
    let said = format!("{} Bearer by-the-thousands", "x".repeat(245));
    let url = answering(move |_| answer("500 Internal Server Error", "", &said)).await;
    let builder = Client::builder(url.as_str()).header("authorization", "Bearer by-the-thousands");
    let error = builder.connect().await.map(drop).expect_err("it is no server").to_string();
    assert!(error.contains("xxx") && !error.contains("by-"), "{error}");
}

/// A server of one line of shell: says the handshake, and what it was given.
#[cfg(unix)]
#[tokio::test]
async fn a_child_has_the_environment_that_it_is_given_and_its_errors_are_heard() {
    let opened = json!({ "jsonrpc": "2.0", "id": 1, "result": {
        "protocolVersion": LEGACY.as_str(), "capabilities": {}, "serverInfo": { "name": "shell", "version": "1" },
    } });
    let script = format!(
        "read line; echo '{opened}'; read line; read line; env | cut -d= -f1 >&2; echo \"$GIVEN\" >&2; cat > /dev/null"
    );
    // The process of the test has more than what a child may have.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let command = Command::new("sh").args(["-c", script.as_str()]).env("GIVEN", "by hand");
    let client = Client::builder(command).protocol(Revision::LATEST_LEGACY).connect().await.unwrap();
    let mut events = client.events();
    // Now that somebody listens, it is asked for something, and does not answer.
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.ping().await }
    });
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line| line != "by hand") {
        match events.next().await.expect("the client is there") {
            Event::Stderr(line) => lines.push(line),
            other => panic!("{other:?}"),
        }
    }
    assert!(lines.iter().any(|line| line == "PATH") && lines.iter().any(|line| line == "GIVEN"), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("CARGO")), "{lines:?}");
    asking.abort();
    client.close().await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_socket_of_this_machine_is_a_target() {
    let path = std::env::temp_dir().join(format!("andon-{}.sock", std::process::id()));
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let serving = async {
        let (socket, _) = listener.accept().await.unwrap();
        let (input, output) = socket.into_split();
        let host = andon::prelude::Server::new("lines", "1.0.0").build().unwrap();
        let principal = andon::prelude::Principal::anonymous();
        andon_server::transport::serve_lines(&host, principal, input, output, std::future::pending()).await.unwrap();
    };
    let visiting = async {
        let client = Client::connect(format!("unix:{}", path.display())).await.unwrap();
        assert_eq!(client.server_info().map(|info| info.name), Some("lines".to_owned()));
        client.ping().await.unwrap_or_default();
        client.close().await;
    };
    tokio::join!(serving, visiting);
    std::fs::remove_file(path).unwrap();
}
