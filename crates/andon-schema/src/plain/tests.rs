use serde_json::{Value, json};

use super::Plain;
use crate::Validator;

fn schema(properties: Value) -> Value {
    json!({ "type": "object", "properties": properties, "required": ["text"], "description": "What it takes" })
}

#[test]
fn what_is_accepted_is_valid() {
    let open = schema(json!({
        "text": { "type": "string", "description": "A text" },
        "count": { "type": ["integer", "null"], "default": 1 },
        "size": { "type": "number" },
        "flag": { "type": "boolean" },
    }));
    let mut closed = open.clone();
    closed["additionalProperties"] = json!(false);
    let values = [
        json!({ "text": "a" }),
        json!({ "text": "", "count": 3, "size": -4, "flag": true }),
        json!({ "text": "a", "count": null, "other": [1, { "a": 2 }] }),
        json!({ "text": "a\\\"}", "size": 1.5 }),
        json!({ "text": null }),
        json!({ "text": 1 }),
        json!({ "text": "a", "flag": 0 }),
        json!({ "text": "a", "count": "1" }),
        json!({ "text": "a", "count": 1.5 }),
        json!({ "text": "a", "size": null }),
        json!({ "count": 1 }),
        json!({}),
        json!([]),
        json!("text"),
    ];
    for (schema, accepted) in [(&open, 3), (&closed, 2)] {
        let (plain, validator) = (Plain::of(schema).expect("plain"), Validator::compile(schema).expect("good"));
        let told: Vec<_> = values.iter().filter(|value| plain.accepts(&value.to_string())).collect();
        assert!(told.iter().all(|value| validator.check(value).is_ok()), "{told:?}");
        assert_eq!(told.len(), accepted, "{told:?}");
    }
}

#[test]
fn other_schemas_are_left_to_the_validator() {
    for other in [
        json!(true),
        json!({}),
        json!({ "type": "array" }),
        json!({ "type": ["object", "null"] }),
        json!({ "type": "object", "minProperties": 1 }),
        json!({ "type": "object", "required": ["unnamed"] }),
        json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        json!({ "type": "object", "properties": { "a": true } }),
        json!({ "type": "object", "properties": { "a": {} } }),
        json!({ "type": "object", "properties": { "a": { "type": "string", "maxLength": 3 } } }),
        json!({ "type": "object", "properties": { "a": { "type": "object" } } }),
        json!({ "type": "object", "properties": { "a": { "type": "string", "enum": ["b"] } } }),
        json!({ "type": "object", "x-unknown": 1 }),
    ] {
        assert!(Plain::of(&other).is_none(), "{other}");
    }
    assert!(Plain::of(&json!({ "type": "object" })).is_some_and(|plain| plain.accepts("{\"a\":1}")));
}
