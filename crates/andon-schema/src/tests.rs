use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Validator;

fn refused(schema: &Value) -> String {
    Validator::compile(schema).expect_err(&schema.to_string()).to_string()
}

#[test]
fn v1_references_never_leave_the_schema() {
    for target in ["http://127.0.0.1:9/x", "file:///etc/hostname", "other.json", "//host/x", "#/missing", "#anchor"] {
        refused(&json!({ "$ref": target }));
        refused(&json!({ "type": "object", "properties": { "a": { "items": { "$ref": target } } } }));
    }
    let local = json!({ "$defs": { "a": { "$anchor": "here", "type": "string" } },
        "properties": { "x": { "$ref": "#/$defs/a" }, "y": { "$ref": "#here" } } });
    assert!(Validator::compile(&local).expect("fine").check(&json!({ "x": 1 })).is_err());
}

#[test]
fn v2_cycles_are_bounded() {
    assert!(refused(&json!({ "$ref": "#" })).contains("without end"));
    assert!(
        refused(&json!({ "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "allOf": [{ "$ref": "#/$defs/a" }] } },
        "$ref": "#/$defs/a" }))
        .contains("without end")
    );
    let tree = json!({ "type": "object", "properties": { "left": { "$ref": "#" }, "right": { "$ref": "#" } } });
    let tree = Validator::compile(&tree).expect("a tree is fine");
    assert!(tree.check(&json!({ "left": { "right": {} } })).is_ok());
    assert!(tree.check(&json!({ "left": { "right": 1 } })).is_err());
}

#[test]
fn v3_doubling_is_refused_or_bounded() {
    let mut defs = serde_json::Map::new();
    defs.insert("d0".into(), json!({ "type": "string" }));
    for n in 1..=40 {
        let below = format!("#/$defs/d{}", n - 1);
        defs.insert(format!("d{n}"), json!({ "anyOf": [{ "$ref": below }, { "$ref": below }] }));
    }
    refused(&json!({ "$defs": defs, "$ref": "#/$defs/d40" }));

    let fork = json!({ "properties": { "a": { "anyOf": [{ "$ref": "#" }, { "$ref": "#" }] } }, "required": ["b"] });
    let fork = Validator::compile(&fork).expect("finite for each value");
    let deep = (0..60).fold(json!({}), |value, _| json!({ "a": value }));
    let began = Instant::now();
    assert!(fork.check(&deep).is_err());
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[test]
fn v4_patterns_are_linear() {
    let slow = Validator::compile(&json!({ "pattern": "^(a+)+$" })).expect("linear here");
    let began = Instant::now();
    assert!(slow.check(&json!(format!("{}!", "a".repeat(50_000)))).is_err());
    assert!(began.elapsed() < Duration::from_secs(1));
    for pattern in ["(?=a)", "(a)\\1", "(?<!x)a"] {
        refused(&json!({ "pattern": pattern }));
    }
}

#[test]
fn v5_large_values_are_refused() {
    let unique = Validator::compile(&json!({ "uniqueItems": true, "contains": { "const": -1 } })).expect("fine");
    let many: Vec<u32> = (0..5_000_000).collect();
    assert!(unique.check(&json!(many)).expect_err("too many").contains("too large"));
}

#[test]
fn v6_schemas_are_bounded() {
    assert!(refused(&json!({ "description": "x".repeat(300 << 10) })).contains("bytes"));
    let wide: serde_json::Map<String, Value> = (0..6_000).map(|n| (n.to_string(), json!({ "type": "null" }))).collect();
    assert!(refused(&json!({ "properties": wide })).contains("subschemas"));
    let deep = (0..40).fold(json!({}), |schema, _| json!({ "items": { "not": schema } }));
    assert!(refused(&deep).contains("nests"));
}

#[test]
fn v7_values_are_checked_as_the_schema_says() {
    let schema =
        json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "additionalProperties": false });
    let validator = Validator::compile(&schema).expect("fine");
    for (value, good) in [
        (json!({ "n": 1 }), true),
        (json!({ "n": 1.0 }), true),
        (json!({ "n": 1e2 }), true),
        (json!({ "n": 1.5 }), false),
        (json!({ "n": "1" }), false),
        (json!({ "__proto__": 1 }), false),
        (json!([]), false),
    ] {
        assert_eq!(validator.check(&value).is_ok(), good, "{value}");
    }
    let told = validator.check(&json!({ "n": "a secret value" })).expect_err("wrong");
    assert!(told.contains("/n") && !told.contains("secret"), "{told}");
}

#[test]
fn dialects_are_respected_and_unknown_ones_refused() {
    let seven = json!({ "$schema": "http://json-schema.org/draft-07/schema#", "items": [{ "type": "string" }] });
    assert!(Validator::compile(&seven).expect("draft 7").check(&json!([1])).is_err());
    assert!(refused(&json!({ "$schema": "https://example.com/mine" })).contains("dialect"));
}
