use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{Semaphore, watch};

use super::{Desk, Inner};
use crate::budget::Budget;
use crate::connection::Patience;
use crate::link::{Link, Relay};
use crate::listener::attend_all;
use crate::options::HttpOptions;
use crate::service::HttpService;
use crate::testing;

/// Where a worker's desk serves connections, with the end where requests are answered.
async fn serve() -> SocketAddr {
    let (engine, worker) = UnixStream::pair().expect("a pair");
    let (relay, options) = (Relay::default(), HttpOptions::default());
    let carried = relay.clone();
    tokio::spawn(async move {
        Link::default().serve(HttpService::new(testing::host(), HttpOptions::default()), engine).await
    });
    tokio::spawn(async move { carried.run(worker).await });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let patience = Patience { head_timeout: options.head_timeout, idle_timeout: options.idle_timeout };
    let desk = Desk(Arc::new(Inner { relay, bodies: Budget::new(options.bodies_bytes_max), options }));
    tokio::spawn(async move {
        let (_closing, watcher) = watch::channel(false);
        attend_all(&listener, &Arc::new(Semaphore::new(10)), desk, patience, watcher).await;
    });
    address
}

/// A client of HTTP/2.
async fn client(address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let socket = TcpStream::connect(address).await.expect("a connection");
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(socket)).await.expect("it speaks HTTP/2");
    tokio::spawn(connection);
    sender
}

async fn call(mut sender: SendRequest<Full<Bytes>>, id: u32, tool: &str, message: &str) -> String {
    let body = testing::call(id, tool, message);
    let request = Request::post("http://localhost/mcp")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", tool)
        .body(Full::new(Bytes::from(body)))
        .expect("a request");
    let answer = sender.send_request(request).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let body = answer.into_body().collect().await.expect("all of it").to_bytes();
    String::from_utf8_lossy(&body).into_owned()
}

#[tokio::test]
async fn a_client_of_http2_is_served_through_a_worker() {
    let sender = client(serve().await).await;
    let calls = (0..50).map(|id| call(sender.clone(), id, "echo", "hi"));
    for (id, answer) in (0..50).zip(join_all(calls).await) {
        assert!(answer.contains(&format!(r#""id":{id}"#)) && answer.contains("hi"), "{answer}");
    }
    let long = "y".repeat(1 << 20);
    let (events, answer) = tokio::join!(call(sender.clone(), 50, "steps", ""), call(sender.clone(), 51, "echo", &long));
    assert_eq!(events.matches("notifications/progress").count(), 10, "{events}");
    assert!(events.contains("walked") && answer.contains(&long));
}

#[tokio::test]
async fn what_is_no_request_ends_its_own_connection_and_not_the_link() {
    let address = serve().await;
    let sender = client(address).await;
    let targets = ["GET /<", "GET /`", "GET /a>b", "GET http://[::1/", "CONNECT a/b", "GET /#", "G\u{e9}T /"];
    for (id, target) in (0..).zip(targets) {
        let mut socket = TcpStream::connect(address).await.expect("a connection");
        let request = format!("{target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        socket.write_all(request.as_bytes()).await.expect("it is taken");
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.expect("an answer");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 400"), "{target}: {answer}");
        assert!(call(sender.clone(), id, "echo", "hi").await.contains("hi"), "{target}");
    }
}
