use serde_json::json;

use super::{ObjectText, RawObject};
use crate::message::Json;

fn read(text: &str) -> RawObject {
    RawObject::from(&Json::of(&serde_json::from_str::<Box<serde_json::value::RawValue>>(text).unwrap()).unwrap())
}

#[test]
fn what_is_passed_on_is_what_came() {
    let text = r#"{"a":1.50,"b\"\n":{"x" : [1, "]}"]},"c":"\u00e9"}"#;
    let members = read(text);
    assert_eq!(members.encode(), text);
    assert_eq!(members.len(), 3);
    assert_eq!(members.get("a").map(Json::as_str), Some("1.50"));
    assert_eq!(members.text("c").as_deref(), Some("\u{e9}"));
    assert_eq!(members.text("a"), None);
    assert_eq!(members.read::<f64>("a"), Some(1.5));
}

#[test]
fn members_are_replaced_where_they_stand_and_added_at_the_end() {
    let mut members = read(r#"{"a":1,"b":2}"#);
    members.put("a", json!("x"));
    members.put("c", json!([]));
    assert_eq!(members.take("b").as_ref().map(Json::as_str), Some("2"));
    assert_eq!(members.take("b"), None);
    assert_eq!(members.encode(), r#"{"a":"x","c":[]}"#);
    assert_eq!(Json::from(members).as_str(), r#"{"a":"x","c":[]}"#);
}

#[test]
fn what_is_no_object_has_none() {
    assert!(read("[1]").is_empty());
    assert_eq!(RawObject::default().encode(), "{}");
}

#[test]
fn names_are_escaped() {
    let mut text = ObjectText::with_capacity(0);
    text.push("a\"\\\u{1}", "1");
    text.push("é", "2");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text.end()).unwrap(), json!({ "a\"\\\u{1}": 1, "é": 2 }));
}
