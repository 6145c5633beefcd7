use andon_types::error::ErrorObject;
use andon_types::message::Json;
use andon_types::revision::{Era, Revision};
use serde_json::{Value, json};

use super::{Attempt, Next, OpenFailure, Opening, Outcome, Road};

const NEW: Revision = Revision::LATEST;
const OLD: Revision = Revision::LATEST_LEGACY;

fn result(value: Value) -> Outcome {
    Outcome::Result(Json::from(value))
}

fn error(error: ErrorObject, status: u16) -> Outcome {
    Outcome::Error { error, status: Some(status) }
}

fn initialized(version: &str) -> Outcome {
    let info = json!({ "name": "s", "version": "1" });
    result(json!({ "protocolVersion": version, "capabilities": {}, "serverInfo": info }))
}

fn discovered(versions: &[&str]) -> Outcome {
    let info = json!({ "io.modelcontextprotocol/serverInfo": { "name": "s", "version": "1" } });
    result(json!({ "supportedVersions": versions, "capabilities": { "tools": {} }, "_meta": info }))
}

fn tried(next: Next) -> Attempt {
    match next {
        Next::Try(attempt) => attempt,
        other => panic!("no further attempt: {other:?}"),
    }
}

fn opened(next: Next) -> (Revision, bool) {
    match next {
        Next::Open(opened) => (opened.revision, opened.two_endpoints),
        other => panic!("not open: {other:?}"),
    }
}

fn failed(next: Next) -> OpenFailure {
    match next {
        Next::Fail(failure) => failure,
        other => panic!("no failure: {other:?}"),
    }
}

#[test]
fn a_modern_server_is_understood_at_once() {
    let (mut opening, first) = Opening::new(Road::Http, None, None);
    assert_eq!(first, Attempt::Discover(NEW));
    match opening.handle(discovered(&["2026-07-28", "2031-01-01"])) {
        Next::Open(opened) => {
            assert_eq!(opened.revision, NEW);
            assert_eq!(opened.server_info.expect("a name").name, "s");
            assert!(opened.capabilities.expect("some").tools.is_some());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn anything_but_a_modern_error_leads_to_the_handshake() {
    for outcome in [
        Outcome::Status(400, "no session".into()),
        Outcome::Status(404, String::new()),
        Outcome::Status(405, String::new()),
        error(ErrorObject::method_not_found("server/discover"), 200),
        error(ErrorObject::invalid_request("not initialized"), 400),
        Outcome::Silence,
        Outcome::Closed("it crashed".into()),
    ] {
        for road in [Road::Http, Road::Pipe] {
            let (mut opening, _) = Opening::new(road, None, None);
            assert_eq!(tried(opening.handle(outcome.clone())), Attempt::Initialize(OLD), "{outcome:?}");
            assert_eq!(opened(opening.handle(initialized("2025-06-18"))), (Revision::V2025_06_18, false));
        }
    }
}

#[test]
fn a_child_without_a_handshake_is_understood_whatever_it_says_of_it() {
    for refusal in [
        ErrorObject::method_not_found("initialize"),
        ErrorObject::unsupported_version("2025-11-25", &["2026-07-28"]),
        ErrorObject::invalid_params("no version in _meta"),
    ] {
        let (mut opening, first) = Opening::new(Road::Pipe, None, Some(Era::Legacy));
        assert_eq!(first, Attempt::Initialize(OLD));
        let refused = Outcome::Error { error: refusal, status: None };
        assert_eq!(tried(opening.handle(refused)), Attempt::Discover(NEW));
        assert_eq!(opened(opening.handle(discovered(&["2026-07-28"]))), (NEW, false));
    }
    // One that refuses everything is not asked for ever.
    let (mut opening, _) = Opening::new(Road::Pipe, None, Some(Era::Legacy));
    let refused = || Outcome::Error { error: ErrorObject::invalid_request("no"), status: None };
    assert_eq!(tried(opening.handle(refused())), Attempt::Discover(NEW));
    assert_eq!(tried(opening.handle(refused())), Attempt::Initialize(OLD));
    assert!(matches!(failed(opening.handle(refused())), OpenFailure::Refused(_)));
}

#[test]
fn modern_errors_keep_the_era() {
    let (mut opening, _) = Opening::new(Road::Http, None, None);
    let refused = ErrorObject::unsupported_version("2026-07-28", &["2026-07-28"]);
    assert_eq!(tried(opening.handle(error(refused.clone(), 400))), Attempt::Discover(NEW), "once more");
    let (mut opening, _) = Opening::new(Road::Http, None, None);
    let older = ErrorObject::unsupported_version("2026-07-28", &["2025-03-26", "2024-11-05"]);
    assert_eq!(tried(opening.handle(error(older, 400))), Attempt::Initialize(Revision::V2025_03_26));
    let (mut opening, _) = Opening::new(Road::Http, None, None);
    let none = ErrorObject::unsupported_version("2026-07-28", &["2031-01-01"]);
    assert!(matches!(failed(opening.handle(error(none, 400))), OpenFailure::NoCommonRevision(_)));
    let (mut opening, _) = Opening::new(Road::Http, None, None);
    assert!(matches!(
        failed(opening.handle(error(ErrorObject::missing_capability(&json!({})), 400))),
        OpenFailure::Refused(_)
    ));
    // A server that contradicts itself is given up.
    let (mut opening, _) = Opening::new(Road::Http, None, None);
    let mut next = opening.handle(error(refused.clone(), 400));
    for _ in 0..10 {
        if let Next::Fail(failure) = next {
            return assert!(matches!(failure, OpenFailure::Invalid(_)));
        }
        next = opening.handle(error(refused.clone(), 400));
    }
    panic!("it goes on for ever");
}

#[test]
fn servers_that_fail_are_not_taken_for_old_ones() {
    let (mut opening, _) = Opening::new(Road::Http, None, None);
    assert_eq!(failed(opening.handle(Outcome::Status(503, "busy".into()))), OpenFailure::Status(503, "busy".into()));
}

#[test]
fn the_two_endpoints_of_the_first_revision_are_the_last_resort_over_http() {
    for status in [400, 404, 405] {
        let (mut opening, _) = Opening::new(Road::Http, None, None);
        tried(opening.handle(Outcome::Status(status, String::new())));
        assert_eq!(tried(opening.handle(Outcome::Status(status, String::new()))), Attempt::TwoEndpoints(OLD));
        assert_eq!(opened(opening.handle(initialized("2024-11-05"))), (Revision::V2024_11_05, true));
    }
    // If there is none either, what the endpoint said is why.
    for refusal in
        [Outcome::Status(404, "no such path".into()), error(ErrorObject::invalid_request("no such path"), 404)]
    {
        let (mut opening, _) = Opening::new(Road::Http, None, None);
        tried(opening.handle(refusal.clone()));
        tried(opening.handle(refusal));
        let failure = failed(opening.handle(Outcome::Status(405, "no event stream".into())));
        assert!(failure.to_string().contains("no such path"), "{failure}");
    }
    let (mut opening, _) = Opening::new(Road::Pipe, None, None);
    tried(opening.handle(Outcome::Silence));
    assert_eq!(failed(opening.handle(Outcome::Silence)), OpenFailure::Silent);
}

#[test]
fn a_pinned_revision_is_spoken_or_nothing() {
    let (mut opening, first) = Opening::new(Road::Http, Some(Revision::V2025_03_26), None);
    assert_eq!(first, Attempt::Initialize(Revision::V2025_03_26));
    assert!(matches!(failed(opening.handle(initialized("2025-11-25"))), OpenFailure::NoCommonRevision(_)));
    let (mut opening, first) = Opening::new(Road::Http, Some(NEW), Some(Era::Legacy));
    assert_eq!(first, Attempt::Discover(NEW));
    assert!(matches!(failed(opening.handle(Outcome::Status(400, String::new()))), OpenFailure::Status(400, _)));
}

#[test]
fn what_was_found_out_is_tried_first_and_doubted_when_it_fails() {
    let (mut opening, first) = Opening::new(Road::Http, None, Some(Era::Legacy));
    assert_eq!(first, Attempt::Initialize(OLD));
    let unknown = error(ErrorObject::method_not_found("initialize"), 404);
    assert_eq!(tried(opening.handle(unknown)), Attempt::Discover(NEW), "it was upgraded in the meantime");
}

#[test]
fn a_modern_server_that_is_slow_to_start_or_has_no_discovery_is_found() {
    let (mut opening, _) = Opening::new(Road::Pipe, None, None);
    assert_eq!(tried(opening.handle(Outcome::Silence)), Attempt::Initialize(OLD));
    let unknown = || Outcome::Error { error: ErrorObject::method_not_found("x"), status: None };
    assert_eq!(tried(opening.handle(unknown())), Attempt::Discover(NEW));
    let (mut opening, _) = Opening::new(Road::Pipe, None, None);
    tried(opening.handle(unknown()));
    assert_eq!(opened(opening.handle(unknown())), (NEW, false));
}

#[test]
fn answers_that_are_none_are_told() {
    for bad in [json!({}), json!([]), json!({ "supportedVersions": "all" })] {
        let (mut opening, _) = Opening::new(Road::Pipe, None, None);
        assert!(matches!(failed(opening.handle(result(bad))), OpenFailure::Invalid(_)));
    }
    for version in ["2026-07-28", "2031-01-01", "x", ""] {
        let (mut opening, _) = Opening::new(Road::Pipe, None, Some(Era::Legacy));
        assert!(matches!(failed(opening.handle(initialized(version))), OpenFailure::NoCommonRevision(_)), "{version}");
    }
}
