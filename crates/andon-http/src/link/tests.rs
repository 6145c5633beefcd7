use std::time::Duration;

use andon_server::context::Context;
use andon_server::entry::ToolEntry;
use andon_server::failure::ToolError;
use andon_server::options::HostOptions;
use andon_server::server::Server;
use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use super::{CREDIT_BYTES, Link, Relay, RelayedBody, Unanswered};
use crate::head::RequestHead;
use crate::options::HttpOptions;
use crate::service::HttpService;

fn service() -> HttpService {
    let any = || json!({"type": "object"});
    let flood = ToolEntry::from_fn("flood", any(), |_: Value, context: Context| async move {
        for step in 1..=1000 {
            context.progress(f64::from(step), None, Some(&"x".repeat(200))).await?;
        }
        Ok::<_, ToolError>("flooded")
    });
    let echo = ToolEntry::from_fn("echo", any(), |arguments: Value, _: Context| async move {
        arguments["message"].as_str().unwrap_or_default().to_owned()
    });
    let wait = ToolEntry::from_fn("wait", any(), |_: Value, context: Context| async move {
        context.progress(1.0, None, None).await?;
        std::future::pending::<Result<&str, ToolError>>().await
    });
    let mut options = HostOptions::default();
    options.conversation.progress_per_s = u32::MAX;
    let host = Server::new("test", "1").options(options).with((flood, echo, wait)).build().expect("a server");
    HttpService::new(host, HttpOptions::default())
}

/// Both ends of a link.
fn linked() -> (Link, Relay) {
    let (link, relay) = (Link::default(), Relay::default());
    let (engine, worker) = UnixStream::pair().expect("a pair");
    let (served, carried) = (link.clone(), relay.clone());
    tokio::spawn(async move { served.serve(service(), engine).await });
    tokio::spawn(async move { carried.run(worker).await });
    (link, relay)
}

async fn call(relay: &Relay, tool: &str, message: &str) -> Result<Response<RelayedBody>, Unanswered> {
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "progressToken": 1,
        "io.modelcontextprotocol/clientCapabilities": {}});
    let params = json!({"name": tool, "arguments": {"message": message}, "_meta": meta});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
    let headers = [
        ("host", "localhost"),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", tool),
    ];
    let request = headers.into_iter().fold(Request::post("/mcp"), |request, (name, value)| request.header(name, value));
    let (head, ()) = request.body(()).expect("a request").into_parts();
    relay.send(&RequestHead::of(&head), body.as_bytes()).await
}

async fn until(ready: impl Fn() -> bool) {
    let asked = async {
        while !ready() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asked).await.expect("it comes");
}

#[tokio::test]
async fn e10_a_client_that_takes_nothing_holds_up_its_own_stream_only() {
    let (link, relay) = linked();
    let slow = call(&relay, "flood", "").await.expect("a head");
    let waits = || slow.body().waiting_bytes();
    until(|| waits() >= CREDIT_BYTES as usize).await;
    let long = "y".repeat(256 << 10);
    for _ in 0..3 {
        let answer = call(&relay, "echo", &long).await.expect("an answer");
        let body = answer.into_body().collect().await.expect("all of it").to_bytes();
        assert!(body.len() > long.len());
    }
    assert!(waits() < 3 * CREDIT_BYTES as usize, "{} bytes wait", waits());
    assert_eq!(link.streams(), 1);
    let read = slow.into_body().collect().await.expect("all of it").to_bytes();
    assert!(String::from_utf8_lossy(&read).contains("flooded"), "it goes on when it is read: {} bytes", read.len());
    until(|| link.streams() == 0).await;
}

#[tokio::test]
async fn thousands_of_clients_that_hang_up_at_once_do_not_break_the_link() {
    let (link, relay) = linked();
    let mut open = Vec::new();
    for _ in 0..2_000 {
        open.push(call(&relay, "wait", "").await.expect("a head"));
    }
    assert_eq!(link.streams(), 2_000);
    drop(open);
    until(|| link.streams() == 0).await;
    assert!(call(&relay, "echo", "hi").await.is_ok());
}

#[tokio::test]
async fn nobody_waits_for_a_link_that_is_gone() {
    let relay = Relay::default();
    let (engine, worker) = UnixStream::pair().expect("a pair");
    let carried = relay.clone();
    let carrying = tokio::spawn(async move { carried.run(worker).await });
    let asking = relay.clone();
    let asked = tokio::spawn(async move { call(&asking, "echo", "hi").await.map(drop) });
    engine.readable().await.expect("the request");
    drop(engine);
    assert_eq!(asked.await.expect("no panic"), Err(Unanswered::Gone));
    drop(carrying.await.expect("no panic"));
    assert_eq!(call(&relay, "echo", "hi").await.map(drop), Err(Unanswered::Gone));
}

#[tokio::test]
async fn what_is_no_frame_ends_the_link() {
    let request = [&7_u32.to_be_bytes()[..], &[1], &1_u32.to_be_bytes(), b"no head"].concat();
    let answer = [&0_u32.to_be_bytes()[..], &[5], &1_u32.to_be_bytes()].concat();
    for bad in [vec![0xFF; 9], request, answer, vec![0; 5]] {
        let (engine, mut worker) = UnixStream::pair().expect("a pair");
        let link = Link::default();
        worker.write_all(&bad).await.expect("it is taken");
        drop(worker);
        assert!(link.serve(service(), engine).await.is_err(), "{bad:?}");
    }
}

#[test]
fn heads_pass_as_they_are() {
    let (mut out, given) = (bytes::BytesMut::new(), Request::get("http://localhost:1/mcp?a=b"));
    let given = given.header("x", "1").header("y", "\u{e9}").header("x", "2").body(()).expect("a request");
    super::frame::put_request(
        &mut out,
        super::frame::Kind::Request,
        7,
        &RequestHead::of(&given.into_parts().0),
        b"body",
    );
    let passed = super::frame::request(out.freeze().slice(9..)).expect("it is well formed");
    assert_eq!(
        (passed.uri().to_string().as_str(), passed.body()),
        ("http://localhost:1/mcp?a=b", &Bytes::from("body"))
    );
    let values: Vec<_> = passed.headers().get_all("x").iter().map(HeaderValue::as_bytes).collect();
    assert_eq!((values, passed.headers()["y"].as_bytes()), (vec![&b"1"[..], b"2"], "\u{e9}".as_bytes()));
}
