use serde_json::json;

use super::{MARKS, MEMBERS, Mark, Member, Params};
use crate::message::{Body, Message};
use crate::scan::ScanLimits;

fn scanned(params: &str) -> Params {
    let body = format!(r#" {{ "params" :{params} ,"jsonrpc":"2.0","id":1,"method":"m"}}"#);
    match Body::parse(body.as_bytes(), ScanLimits::default()) {
        Ok(Body::Single(Message::Request(request))) => request.params.expect("they are there"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_stand_in_the_order_of_the_enums() {
    for (member, name) in [
        (Member::Arguments, "arguments"),
        (Member::InputResponses, "inputResponses"),
        (Member::Meta, "_meta"),
        (Member::Name, "name"),
        (Member::RequestState, "requestState"),
        (Member::Task, "task"),
        (Member::TaskId, "taskId"),
        (Member::Uri, "uri"),
    ] {
        assert_eq!(MEMBERS[member as usize], name);
    }
    for (mark, end) in [
        (Mark::ClientCapabilities, "/clientCapabilities"),
        (Mark::ClientInfo, "/clientInfo"),
        (Mark::IdempotencyKey, "/idempotency-key"),
        (Mark::LogLevel, "/logLevel"),
        (Mark::ProgressToken, "progressToken"),
        (Mark::ProtocolVersion, "/protocolVersion"),
    ] {
        assert!(MARKS[mark as usize].ends_with(end), "{end}");
    }
}

#[test]
fn members_and_marks_are_found_where_they_belong_and_nowhere_else() {
    let params = scanned(
        r#"{ "n\u0061me" : "t\"ool", "task":null, "arguments": {"uri":"x","_meta":{"progressToken":1}}, "_meta" : {"name":"no",
        "progressToken" : [ 7 ],"io.modelcontextprotocol/logLevel":null}}"#,
    );
    assert_eq!(params.member(Member::Name), Some(r#""t\"ool""#));
    assert_eq!(params.member(Member::Arguments), Some(r#"{"uri":"x","_meta":{"progressToken":1}}"#));
    assert_eq!(params.member(Member::Task), None, "null is absent");
    assert_eq!(params.member(Member::Uri), None);
    assert_eq!(params.mark(Mark::ProgressToken), Some("[ 7 ]"));
    assert_eq!(params.mark(Mark::LogLevel), Some("null"), "in _meta, null is there");
    assert_eq!(params.mark(Mark::ClientInfo), None);
}

#[test]
fn what_is_made_of_a_tree_is_what_would_have_been_scanned() {
    let tree =
        json!({"uri": "a:b", "_meta": {"progressToken": "p", "x": {}}, "other": [{"name": 1}], "requestState": "s"});
    assert_eq!(Params::from(tree.clone()), scanned(&tree.to_string()));
}

#[test]
fn what_is_no_object_has_no_members() {
    for text in ["[]", "[{\"name\":1}]", "\"name\"", "1", "null"] {
        let params = scanned(text);
        assert!(!params.is_object() && params.member(Member::Name).is_none() && params.as_str() == text, "{text}");
    }
    assert_eq!(scanned(r#"{"_meta":[1]}"#).member(Member::Meta), Some("[1]"));
}
