use std::future::Future as _;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context as Turn, Wake, Waker};

use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::context::Context;
use crate::entry::ToolEntry;
use crate::host::{Answer, Head, Inbound};
use crate::principal::Principal;
use crate::server::Server;

/// The task of a connection.
struct Connection;

impl Wake for Connection {
    fn wake(self: Arc<Self>) {}
}

#[tokio::test]
async fn who_keeps_a_call_keeps_nothing_of_the_connection_that_carried_it() {
    let (go, kept) = (Arc::new(Notify::new()), Arc::new(Mutex::new(None)));
    let (gone, keeping) = (go.clone(), kept.clone());
    let keep = move |_: Value, context: Context| {
        let (go, kept) = (gone.clone(), keeping.clone());
        async move {
            *kept.lock().unwrap() = Some(context);
            go.notified().await;
            "kept"
        }
    };
    let host =
        Server::new("test", "1").with(ToolEntry::from_fn("keep", json!({"type": "object"}), keep)).build().unwrap();
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {}});
    let params = json!({"name": "keep", "arguments": {}, "_meta": meta});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
    let (method, name) = (Some("tools/call"), Some("keep".into()));
    let head = Head { protocol_version: Some("2026-07-28"), method, name, ..Head::default() };
    let posted = host.post(Inbound { head, body: body.into(), principal: Principal::anonymous() }).await;
    let Answer::Stream { mut stream, .. } = posted else { panic!("it waits: {posted:?}") };

    let connection = Arc::new(Connection);
    let waker = Waker::from(connection.clone());
    let mut turn = Turn::from_waker(&waker);
    {
        let mut beginning = pin!(stream.beginning());
        assert!(beginning.as_mut().poll(&mut turn).is_pending());
        assert!(Arc::strong_count(&connection) > 2, "who carries the handler is woken when it goes on");
        go.notify_one();
        assert!(beginning.poll(&mut turn).is_ready());
    }
    drop((stream, waker));
    assert!(kept.lock().unwrap().is_some());
    assert_eq!(Arc::strong_count(&connection), 1);
}
