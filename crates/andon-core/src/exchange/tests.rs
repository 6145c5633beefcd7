use std::sync::Arc;
use std::time::Duration;

use andon_types::capability::ServerCapabilities;
use andon_types::client::InputRequest;
use andon_types::error::ErrorObject;
use andon_types::message::{Body, Message, Request};
use andon_types::meta::Implementation;
use andon_types::revision::Revision;
use andon_types::scan::ScanLimits;
use serde_json::{Value, json};

use super::{CALL, Exchange, STREAM};
use crate::descriptions::Descriptions;
use crate::endpoint::{RoutingHeaders, admit, admit_alone};
use crate::io::{AskError, AskId, Input, ListKind, Output, Reply, Timestamp};
use crate::limits::Limits;
use crate::offer::Offer;

fn offer() -> Offer {
    let capabilities: ServerCapabilities = serde_json::from_value(json!({"tools": {}, "resources": {}})).expect("fine");
    Offer::new(&Implementation::new("test", "1"), Some("be kind"), &capabilities)
}

pub(crate) fn request(method: &str, params: &Value, meta: Option<Value>) -> Request {
    let mut params = params.clone();
    params["_meta"] = meta.unwrap_or_else(|| {
        json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "progressToken": 7,
            "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}, "roots": {}}})
    });
    let text = json!({"jsonrpc": "2.0", "id": 0, "method": method, "params": params}).to_string();
    match Body::parse(text.as_bytes(), ScanLimits::default()) {
        Ok(Body::Single(Message::Request(request))) => request,
        other => panic!("{other:?}"),
    }
}

fn open(method: &str, params: &Value) -> (Exchange, Vec<Output>) {
    let admitted =
        admit(request(method, params, None), None, &offer(), &Descriptions::default()).expect("a good request");
    Exchange::open(Timestamp(0), admitted, Arc::new(Limits::default()), Arc::new(offer()))
}

fn sent(out: &[Output]) -> Vec<Value> {
    let text = |output: &Output| match output {
        Output::Send { frame, .. } => frame.text.clone(),
        _ => None,
    };
    out.iter().filter_map(text).map(|text| serde_json::from_str(&text).expect("JSON")).collect()
}

fn done(body: &str) -> Input {
    Input::Done { call: CALL, outcome: Ok(Reply { body: body.to_owned().into(), ..Reply::default() }) }
}

fn ask(ask: u64, key: &str, request: InputRequest) -> Input {
    Input::Ask { call: CALL, ask: AskId(ask), key: key.into(), request, timeout: None }
}

#[test]
fn discovery_is_answered_at_once() {
    let (exchange, out) = open("server/discover", &json!({}));
    let result = &sent(&out)[0]["result"];
    assert!(exchange.is_over());
    assert_eq!(result["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(
        (&result["resultType"], &result["ttlMs"], &result["cacheScope"]),
        (&json!("complete"), &json!(0), &json!("private"))
    );
    assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "test");
    assert_eq!(result["instructions"], "be kind");
}

#[test]
fn a_result_says_what_it_is_and_lists_how_long_they_last() {
    let (mut exchange, _) = open("tools/call", &json!({"name": "x"}));
    let result = sent(&exchange.handle(Timestamp(1), done(r#"{"content":[]}"#)))[0]["result"].clone();
    assert_eq!((&result["resultType"], result.get("ttlMs")), (&json!("complete"), None));
    let (mut exchange, _) = open("tools/list", &json!({}));
    assert_eq!(sent(&exchange.handle(Timestamp(1), done("{\"tools\":[]}")))[0]["result"]["ttlMs"], 0);
    assert!(exchange.handle(Timestamp(2), done("{}")).is_empty(), "one answer");
}

#[test]
fn mr1_mr5_questions_end_the_call_with_their_keys() {
    let (mut exchange, _) = open("tools/call", &json!({"name": "x"}));
    assert!(exchange.handle(Timestamp(1), ask(1, "a", InputRequest::roots())).is_empty());
    assert!(exchange.handle(Timestamp(1), ask(2, "b", InputRequest::form("?", json!({})))).is_empty());
    let twin = exchange.handle(Timestamp(1), ask(3, "a", InputRequest::roots()));
    assert!(matches!(twin.as_slice(), [Output::Answered { outcome: Err(AskError::Invalid(_)), .. }]));
    assert!(matches!(exchange.handle(Timestamp(1), Input::Park).as_slice(), [Output::Park]));
    let out = exchange.handle(Timestamp(1), Input::Sealed { request_state: Some("s".into()) });
    assert!(matches!(out[0], Output::Cancel { .. }));
    let result = &sent(&out)[0]["result"];
    assert_eq!(result["resultType"], "input_required");
    assert_eq!(result["requestState"], "s");
    assert_eq!(result["inputRequests"]["a"], json!({"method": "roots/list", "params": {}}));
    assert!(result.get("ttlMs").is_none(), "mr7: never cached");
}

#[test]
fn mr2_only_what_is_declared_is_asked() {
    let (mut exchange, _) = open("tools/call", &json!({"name": "x"}));
    for request in [InputRequest::sample("x", 1), InputRequest::url("x", "https://x", "1")] {
        let out = exchange.handle(Timestamp(1), ask(1, "k", request));
        assert!(matches!(out.as_slice(), [Output::Answered { outcome: Err(AskError::NotDeclared(_)), .. }]));
    }
    assert!(exchange.handle(Timestamp(1), Input::Park).is_empty(), "nothing to wait for");
}

#[test]
fn str13_after_hanging_up_nothing_is_sent() {
    let (mut exchange, _) = open("tools/call", &json!({"name": "x"}));
    let out = exchange.handle(Timestamp(1), Input::Detached { stream: STREAM });
    assert!(matches!(out.as_slice(), [Output::Cancel { .. }, Output::Close { .. }]));
    assert!(exchange.handle(Timestamp(2), done("{}")).is_empty());
    assert_eq!(exchange.deadline(), None);
}

#[test]
fn tmo_a_call_ends_by_its_deadline_and_progress_extends_it_to_a_maximum() {
    let (mut exchange, _) = open("tools/call", &json!({"name": "x"}));
    let mut now = Timestamp(0);
    for step in 1..=15_u32 {
        now = now.after(Duration::from_secs(20));
        let progress = Input::Progress { call: CALL, progress: f64::from(step), total: None, message: None };
        exchange.handle(now, progress);
    }
    assert!(!exchange.is_over() && exchange.deadline() == Some(Timestamp(300_000)));
    let out = exchange.handle(Timestamp(300_000), Input::Tick);
    assert!(exchange.is_over());
    assert_eq!(sent(&out).last().expect("an answer")["error"]["code"], -32603);
}

#[test]
fn log1_logs_only_when_asked_for() {
    let (mut exchange, _) = open("tools/call", &json!({"name": "x"}));
    let log =
        || Input::Log { call: CALL, level: andon_types::meta::Level::Error, logger: None, data: json!("x").into() };
    assert!(exchange.handle(Timestamp(1), log()).is_empty());
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/logLevel": "error",
        "io.modelcontextprotocol/clientCapabilities": {}});
    let admitted =
        admit(request("tools/call", &json!({"name": "x"}), Some(meta)), None, &offer(), &Descriptions::default())
            .expect("good");
    let (mut exchange, _) = Exchange::open(Timestamp(0), admitted, Arc::new(Limits::default()), Arc::new(offer()));
    assert_eq!(sent(&exchange.handle(Timestamp(1), log()))[0]["method"], "notifications/message");
}

#[test]
fn sub1_sub3_sub4_sub7_a_listener_hears_what_it_asked_for() {
    let (mut exchange, _) = open("subscriptions/listen", &json!({"notifications": {}}));
    let tag = |message: &Value| message.pointer("/params/_meta/io.modelcontextprotocol~1subscriptionId").cloned();
    let filter = r#"{"toolsListChanged":true,"resourceSubscriptions":["a:1"]}"#;
    let acknowledged = sent(&exchange.handle(Timestamp(1), done(filter)));
    assert_eq!(acknowledged[0]["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(tag(&acknowledged[0]), Some(json!(0)), "an id of 0 stays 0");
    assert!(exchange.handle(Timestamp(2), Input::Changed(ListKind::Prompts)).is_empty());
    assert!(exchange.handle(Timestamp(2), Input::Updated("a:2".into())).is_empty());
    for input in [Input::Changed(ListKind::Tools), Input::Updated("a:1".into())] {
        let said = sent(&exchange.handle(Timestamp(2), input.clone()));
        assert_eq!((said.len(), tag(&said[0])), (1, Some(json!(0))));
        assert!(exchange.handle(Timestamp(3), input).is_empty(), "coalesced");
    }
    assert_eq!(exchange.deadline(), Some(Timestamp(102)));
    assert_eq!(sent(&exchange.handle(Timestamp(102), Input::Tick)).len(), 2, "and the last change is not lost");
    let out = exchange.handle(Timestamp(200), Input::End);
    assert!(out.iter().any(|output| matches!(output, Output::Subscription { present: false, .. })));
    assert_eq!(sent(&out)[0]["result"]["resultType"], "complete");
}

#[test]
fn the_ladder_is_climbed_in_order() {
    let good = || request("tools/call", &json!({"name": "x"}), None);
    let headers = |protocol_version, method, name| Some(RoutingHeaders { protocol_version, method, name });
    let code = |request: Request, headers| {
        admit(request, headers, &offer(), &Descriptions::default()).map_or_else(|refused| refused.error.code, |_| 0)
    };
    let (version, method, name) = (Some("2026-07-28"), Some("tools/call"), Some("x"));
    assert_eq!(code(good(), headers(version, method, name)), 0);
    assert_eq!(code(good(), headers(Some("2025-11-25"), None, None)), -32020, "disagreement before all");
    let other = |version: &str| json!({"io.modelcontextprotocol/protocolVersion": version});
    assert_eq!(
        code(request("x", &json!({}), Some(other("v9"))), headers(Some("v9"), None, None)),
        -32602,
        "then what is missing"
    );
    let mut whole = other("v9");
    whole["io.modelcontextprotocol/clientCapabilities"] = json!({});
    assert_eq!(
        code(request("x", &json!({}), Some(whole)), headers(Some("v9"), None, None)),
        -32022,
        "then the version"
    );
    assert_eq!(code(good(), headers(version, None, name)), -32020, "then the routing headers");
    assert_eq!(code(request("x", &json!({}), None), headers(version, Some("x"), None)), -32601, "then the method");
    assert_eq!(code(request("prompts/list", &json!({}), None), headers(version, Some("prompts/list"), None)), -32601);
}

/// A legacy request that belongs to no session, of a client that once said what it can do.
fn open_alone(method: &str, params: &Value) -> Result<(Exchange, Vec<Output>), i32> {
    let capabilities: ServerCapabilities =
        serde_json::from_value(json!({"tools": {"listChanged": true}, "logging": {}, "tasks": {},
            "resources": {"subscribe": true, "listChanged": true}, "completions": {},
            "extensions": {"io.modelcontextprotocol/tasks": {}, "x": {}}}))
        .expect("fine");
    let offer = Arc::new(Offer::alone(&Implementation::new("test", "1"), None, &capabilities));
    let request = request(method, params, Some(json!({"progressToken": 7})));
    let admitted = admit_alone(request, Revision::V2025_06_18, &offer).map_err(|refused| refused.error.code)?;
    Ok(Exchange::open(Timestamp(0), admitted, Arc::new(Limits::default()), offer))
}

#[test]
fn without_a_session_a_legacy_request_gets_the_answer_of_its_revision() {
    let (mut exchange, out) = open_alone("tools/call", &json!({"name": "x"})).expect("a good request");
    assert!(matches!(&out[..], [Output::Call(_)]), "{out:?}");
    let progress = Input::Progress { call: CALL, progress: 1.0, total: None, message: None };
    assert_eq!(sent(&exchange.handle(Timestamp(1), progress))[0]["params"]["progressToken"], 7);
    let answer = sent(&exchange.handle(Timestamp(2), done(r#"{"content":[]}"#)));
    assert_eq!(answer, [json!({"jsonrpc": "2.0", "id": 0, "result": {"content": []}})]);
    assert!(exchange.is_over());
    for (method, answered) in [("ping", json!({})), ("tools/list", Value::Null)] {
        let (exchange, out) = open_alone(method, &json!({})).expect("a good request");
        assert_eq!(exchange.is_over(), !answered.is_null(), "{method}");
        assert_eq!(sent(&out).first().map_or(Value::Null, |answer| answer["result"].clone()), answered);
    }
}

#[test]
fn without_a_session_nothing_is_offered_that_needs_one() {
    let client = json!({"protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}},
        "clientInfo": {"name": "test", "version": "1"}});
    let (exchange, out) = open_alone("initialize", &client).expect("a good request");
    let result = sent(&out)[0]["result"].clone();
    assert!(exchange.is_over());
    assert_eq!(result["protocolVersion"], "2025-11-25");
    let offered = json!({"tools": {}, "resources": {}, "completions": {}});
    assert_eq!(result["capabilities"], offered, "{result}");
    for method in ["resources/subscribe", "logging/setLevel", "tasks/list", "tasks/get", "server/discover"] {
        assert_eq!(open_alone(method, &json!({"uri": "x"})).err(), Some(-32601), "{method}");
    }
    assert_eq!(open_alone("initialize", &json!({})).err(), Some(-32602));
    let (mut exchange, _) = open_alone("tools/call", &json!({"name": "x"})).expect("a good request");
    let out = exchange.handle(Timestamp(1), ask(1, "q", InputRequest::form("?", json!({}))));
    assert!(matches!(&out[..], [Output::Answered { outcome: Err(AskError::Invalid(_)), .. }]), "{out:?}");
}

#[test]
fn of_what_a_handler_ends_with_only_what_the_client_can_mend_is_400() {
    for (code, status) in [(-32602, 400), (-32600, 200), (-32000, 200), (-32601, 200)] {
        let (mut exchange, _) = open("tools/call", &json!({"name": "x"}));
        let outcome = Err(ErrorObject { code, message: "of another server".to_owned(), data: None });
        let out = exchange.handle(Timestamp(1), Input::Done { call: CALL, outcome });
        assert!(matches!(&out[..], [Output::Send { frame, .. }] if frame.status == status), "{code}: {out:?}");
    }
}
