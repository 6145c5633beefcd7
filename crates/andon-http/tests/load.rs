//! More than is allowed.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use andon_server::entry::ToolEntry;
use andon_server::host::{Answer, Head, Inbound};
use andon_server::options::HostOptions;
use andon_server::principal::Principal;
use andon_server::server::Server;
use serde_json::{Value, json};

fn inbound(body: &Value) -> Inbound<'static> {
    let head = Head::default();
    Inbound { head, body: body.to_string().into(), principal: Principal::anonymous() }
}

#[tokio::test]
async fn r22_a_huge_result_hurts_its_caller_only() {
    let huge = ToolEntry::from_fn("huge", json!({"type": "object"}), |_: Value, _| async { "\n".repeat(1 << 30) });
    let small = ToolEntry::from_fn("small", json!({"type": "object"}), |_: Value, _| async { "fine" });
    let host = Server::new("test", "1").with((huge, small)).build().unwrap();
    let call = |name: &'static str| {
        let mut inbound = inbound(&common::modern("tools/call", json!({"name": name, "arguments": {}})));
        inbound.head.protocol_version = Some(common::MODERN);
        inbound.head.method = Some("tools/call");
        inbound.head.name = Some(name.into());
        inbound
    };
    let Answer::Ready { body: Some(body), .. } = host.post(call("huge")).await else { panic!() };
    assert!(
        body.len() < 4096 && (body.contains("isError") || body.contains("\"error\"")),
        "{}",
        &body[..body.len().min(400)]
    );
    let Answer::Ready { body: Some(body), .. } = host.post(call("small")).await else { panic!() };
    assert!(body.contains("fine"));
}

#[tokio::test]
async fn s10_the_host_has_a_bound_for_all() {
    let options = HostOptions { sessions_max: 3, ..HostOptions::default() };
    let host = Server::new("test", "1").options(options).build().unwrap();
    for expected in [200, 200, 200, 503] {
        let Answer::Ready { status, .. } = host.post(inbound(&common::initialize("2025-11-25"))).await else {
            panic!()
        };
        assert_eq!(status, expected);
    }
}
