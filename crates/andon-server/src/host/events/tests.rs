use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::host::{Answer, Head, Host, Inbound};
use crate::principal::Principal;
use crate::server::Server;

fn host() -> Arc<Host> {
    let any = json!({"type": "object"});
    let big = || "x".repeat(300_000);
    let server = Server::new("test", "1").tool("big", any.clone(), move |_: Value, _| async move { big() });
    let server = server.tool("big-later", any, move |_: Value, _| async move {
        tokio::task::yield_now().await;
        big()
    });
    server.build().expect("a good server")
}

fn inbound(body: &Value) -> Inbound<'static> {
    Inbound { head: Head::default(), body: body.to_string().into(), principal: Principal::anonymous() }
}

async fn post(host: &Host, id: &str, body: &Value) -> u16 {
    match host.post_to_event_stream(id, inbound(body)).await {
        Answer::Ready { status, .. } => status,
        Answer::Stream { .. } => 200,
        Answer::InsufficientScope { .. } => 403,
    }
}

async fn initialize(host: &Host, id: &str) {
    let params =
        json!({"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let opening = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    assert_eq!(post(host, id, &opening).await, 202);
    assert_eq!(post(host, id, &json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await, 202);
}

fn call(id: u32) -> Value {
    call_of("big", id)
}

fn call_of(tool: &str, id: u32) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool}})
}

#[tokio::test(start_paused = true)]
async fn e10_a_slow_reader_is_not_asked_for_more() {
    let host = host();
    let Ok((id, mut stream)) = host.open_event_stream(&Principal::anonymous()) else { panic!("no stream") };
    initialize(&host, &id).await;
    stream.next().await.expect("an answer");
    assert_eq!(post(&host, &id, &call(1)).await, 202);
    assert_eq!(post(&host, &id, &call(2)).await, 202);
    for other in 3..20 {
        assert_eq!(post(&host, &id, &call(other)).await, 429, "{other}");
    }
    for _ in 0..2 {
        stream.next().await.expect("an answer");
    }
    assert_eq!(post(&host, &id, &call(20)).await, 202, "what was read makes room");
}

#[tokio::test(start_paused = true)]
async fn e10_a_reader_that_is_cut_off_loses_its_session() {
    let host = host();
    let Ok((id, mut stream)) = host.open_event_stream(&Principal::anonymous()) else { panic!("no stream") };
    initialize(&host, &id).await;
    stream.next().await.expect("an answer");
    // The requests find room, and their answers do not.
    for number in 1..=10 {
        assert_eq!(post(&host, &id, &call_of("big-later", number)).await, 202);
    }
    while host.session_count() > 0 {
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    assert_eq!((host.session_count(), post(&host, &id, &call(11)).await), (0, 404));
    let mut said = 0;
    while stream.next().await.is_some() {
        said += 1;
    }
    assert_eq!(said, 4, "frames of 300 KB that waited");
}

#[tokio::test(start_paused = true)]
async fn r20_a_stream_that_nobody_initializes_ends() {
    let host = host();
    let Ok((id, mut stream)) = host.open_event_stream(&Principal::anonymous()) else { panic!("no stream") };
    assert_eq!(host.session_count(), 1);
    assert!(stream.next().await.is_none());
    assert_eq!((host.session_count(), post(&host, &id, &call(1)).await), (0, 404));

    let Ok((id, mut stream)) = host.open_event_stream(&Principal::anonymous()) else { panic!("no stream") };
    initialize(&host, &id).await;
    stream.next().await.expect("an answer");
    for _ in 0..48 {
        tokio::time::advance(Duration::from_secs(3600)).await;
    }
    assert_eq!(host.session_count(), 1, "a stream that is read does not expire");
}
