//! Many calls at once over one byte stream.

use std::collections::BTreeSet;
use std::time::Duration;

use andon::prelude::*;
use andon::server::principal::Principal;
use andon::server::transport::serve_lines;
use tokio::io::{
    AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf, duplex, split,
};

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":"open","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
const LEGACY: &str = "";
const MODERN: &str = r#","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

/// Say it again.
#[tool]
async fn echo(message: String) -> String {
    message
}

/// Wait for the end of the call.
#[tool]
async fn wait() -> String {
    std::future::pending().await
}

/// A server, and both directions to it.
fn connect() -> (Lines<BufReader<ReadHalf<DuplexStream>>>, WriteHalf<DuplexStream>) {
    let host = Server::new("pipe", "1").with(echo).with(wait).build().expect("a host");
    let (near, far) = duplex(64 << 10);
    tokio::spawn(async move {
        let (input, output) = split(far);
        let served = serve_lines(&host, Principal::anonymous(), input, output, std::future::pending());
        served.await.expect("served");
    });
    let (input, output) = split(near);
    (BufReader::new(input).lines(), output)
}

fn call(id: usize, tool: &str, meta: &str) -> String {
    let arguments = if tool == "echo" { format!(r#"{{"message":"number {id}"}}"#) } else { "{}".to_owned() };
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}{meta}}}}}"#
    ) + "\n"
}

/// The id of a good answer.
fn answered(line: &str) -> usize {
    let answer: Value = serde_json::from_str(line).expect("JSON");
    let id = answer["id"].as_u64().expect("a number");
    assert_eq!(answer["result"]["content"][0]["text"], format!("number {id}"), "{line}");
    usize::try_from(id).expect("small")
}

#[tokio::test]
async fn h28_ten_thousand_pipelined_calls_are_each_answered_once() {
    const CALLS: usize = 10_000;
    for meta in [LEGACY, MODERN] {
        let (mut input, mut output) = connect();
        // Both directions at once: more than fits in the pipe is on its way.
        let write = async {
            let mut text = format!("{INITIALIZE}\n{INITIALIZED}\n");
            (0..CALLS).for_each(|id| text.push_str(&call(id, "echo", meta)));
            output.write_all(text.as_bytes()).await.expect("written");
        };
        let read = async {
            let first = input.next_line().await.expect("read").expect("a line");
            assert!(first.contains(r#""id":"open""#), "{first}");
            let mut ids = BTreeSet::new();
            while ids.len() < CALLS {
                let line = input.next_line().await.expect("read").expect("a line");
                assert!(ids.insert(answered(&line)), "answered twice: {line}");
            }
            assert_eq!(ids.last(), Some(&(CALLS - 1)));
        };
        tokio::join!(write, read);
        output.shutdown().await.expect("the end");
        assert_eq!(input.next_line().await.expect("read"), None);
    }
}

#[tokio::test]
async fn calls_that_wait_do_not_hold_back_those_that_follow() {
    for meta in [LEGACY, MODERN] {
        let (mut input, mut output) = connect();
        let mut text = format!("{INITIALIZE}\n{INITIALIZED}\n");
        (0..32).for_each(|id| text.push_str(&call(id, "wait", meta)));
        (32..1_000).for_each(|id| text.push_str(&call(id, "echo", meta)));
        output.write_all(text.as_bytes()).await.expect("written");
        input.next_line().await.expect("read");
        for id in 32..1_000 {
            let line = input.next_line().await.expect("read").expect("a line");
            assert_eq!(answered(&line), id, "answers that are ready come in order");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn e10_a_peer_that_never_reads_is_asked_for_no_more_and_loses_nothing() {
    let (mut input, mut output) = connect();
    output.write_all(format!("{INITIALIZE}\n{INITIALIZED}\n").as_bytes()).await.expect("written");
    let mut sent = 0;
    // Time passes when nothing else can happen: the server has stopped reading.
    while tokio::time::timeout(Duration::from_secs(1), output.write_all(call(sent, "echo", LEGACY).as_bytes()))
        .await
        .is_ok()
    {
        sent += 1;
        assert!(sent < 10_000, "what waits for a peer that does not read is bounded");
    }
    input.next_line().await.expect("read");
    for id in 0..sent {
        let line = input.next_line().await.expect("read").expect("a line");
        assert_eq!(answered(&line), id);
    }
}
