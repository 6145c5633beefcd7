use serde_json::json;

use super::{Mark, Member, Params};
use crate::message::{Body, Message};
use crate::meta::{CLIENT_CAPABILITIES, CLIENT_INFO, IDEMPOTENCY_KEY, LOG_LEVEL, PROGRESS_TOKEN, PROTOCOL_VERSION};
use crate::scan::ScanLimits;

fn scanned(params: &str) -> Params {
    let body = format!(r#" {{ "params" :{params} ,"jsonrpc":"2.0","id":1,"method":"m"}}"#);
    match Body::parse(body.as_bytes(), ScanLimits::default()) {
        Ok(Body::Single(Message::Request(request))) => request.params.expect("they are there"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_name_has_a_place_of_its_own() {
    let members = ["arguments", "inputResponses", "_meta", "name", "requestState", "task", "taskId", "uri"];
    let places = members.map(|name| Member::called(name).expect("a member") as usize);
    assert_eq!(places, std::array::from_fn::<_, { Member::COUNT }, _>(|place| place));
    let marks = [CLIENT_CAPABILITIES, CLIENT_INFO, IDEMPOTENCY_KEY, LOG_LEVEL, PROGRESS_TOKEN, PROTOCOL_VERSION];
    let places = marks.map(|name| Mark::called(name).expect("a mark") as usize);
    assert_eq!(places, std::array::from_fn::<_, { Mark::COUNT }, _>(|place| place));
    assert_eq!((Member::called("Name"), Mark::called("_meta")), (None, None));
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
