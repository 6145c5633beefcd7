use serde_json::{Value, json};

use super::{check_headers, header_params, mirror, unwrap, wrap};

fn schema(property: &Value) -> Value {
    json!({ "type": "object", "properties": { "p": property } })
}

#[test]
fn v10_hdr4_hdr8_bad_annotations_are_refused() {
    let bad = |header: &str| json!({ "type": "string", "x-mcp-header": header });
    for property in [
        bad(""),
        bad("a b"),
        bad("a:b"),
        bad("\u{e9}"),
        bad("a\r\nb"),
        json!({ "type": "number", "x-mcp-header": "A" }),
        json!({ "type": "object", "x-mcp-header": "A" }),
        json!({ "type": "array", "x-mcp-header": "A" }),
        json!({ "type": "null", "x-mcp-header": "A" }),
        json!({ "x-mcp-header": "A" }),
        json!({ "type": "array", "items": { "type": "string", "x-mcp-header": "A" } }),
        json!({ "oneOf": [{ "type": "string", "x-mcp-header": "A" }] }),
    ] {
        assert!(header_params(&schema(&property)).is_err(), "{property}");
    }
    let twice = json!({ "type": "object", "properties": {
        "a": { "type": "string", "x-mcp-header": "Name" }, "b": { "type": "string", "x-mcp-header": "NAME" } } });
    assert!(header_params(&twice).is_err());
    let nested =
        schema(&json!({ "type": "object", "properties": { "q": { "type": "integer", "x-mcp-header": "Q" } } }));
    assert_eq!(header_params(&nested).expect("fine")[0].path, ["p", "q"]);
    let named = json!({ "type": "object", "properties": { "x-mcp-header": { "type": "string" } } });
    assert_eq!(header_params(&named), Ok(vec![]), "a property may have that name");
}

#[test]
fn n3_hdr3_hdr5_headers_mirror_arguments() {
    let check = |kind: &str, argument: Value, header: Option<&str>| {
        let params = header_params(&schema(&json!({ "type": kind, "x-mcp-header": "P" }))).expect("fine");
        let headers: Vec<_> = header.map(|value| ("p", value)).into_iter().collect();
        check_headers(&params, &json!({ "p": argument }).to_string(), &headers).is_ok()
    };
    for (kind, argument, header, good) in [
        ("string", json!("Hello"), Some("Hello"), true),
        ("string", json!("Hello"), Some("=?base64?SGVsbG8=?="), true),
        ("string", json!("Hello"), Some("=?base64?SGVsbG8?="), false),
        ("string", json!("Hello"), Some("=?base64?SGVs!!!bG8=?="), false),
        ("string", json!("SGVsbG8="), Some("SGVsbG8="), true),
        ("string", json!("=?base64?SGVsbG8="), Some("=?base64?SGVsbG8="), true),
        ("string", json!("x"), None, false),
        ("string", json!(null), None, true),
        ("string", json!(null), Some("x"), false),
        ("string", json!(""), Some(""), true),
        ("integer", json!(42), Some("42.0"), true),
        ("integer", json!(42), Some("43"), false),
        ("integer", json!(42), Some("x"), false),
        ("boolean", json!(true), Some("true"), true),
        ("boolean", json!(true), Some("True"), false),
    ] {
        assert_eq!(check(kind, argument.clone(), header), good, "{kind} {argument} {header:?}");
    }
    assert_eq!(check_headers(&[], "{}", &[("x", "y")]), Ok(()), "hdr9: unknown ones are ignored");
}

#[test]
fn v10_annotations_are_found_wherever_they_stand() {
    let annotated = || json!({ "type": "string", "x-mcp-header": "A" });
    for schema in [
        json!({ "properties": { "p": { "$ref": "#/$defs/default" } }, "$defs": { "default": annotated() } }),
        json!({ "patternProperties": { "default": annotated() } }),
        json!({ "dependentSchemas": { "enum": { "properties": { "p": annotated() } } } }),
        json!({ "if": { "properties": { "p": annotated() } } }),
        json!({ "additionalProperties": annotated() }),
        json!({ "allOf": [{ "properties": { "p": annotated() } }] }),
        annotated(),
    ] {
        assert!(header_params(&schema).is_err(), "{schema}");
    }
    let data = json!({ "properties": { "p": { "type": "object", "default": { "x-mcp-header": "A" } } } });
    assert_eq!(header_params(&data), Ok(vec![]), "that is data");
    let named = json!({ "properties": { "default": annotated() } });
    assert_eq!(header_params(&named).expect("fine")[0].path, ["default"]);
}

#[test]
fn n1_n3_hdr1_hdr10_sentinels_are_taken_as_they_are_written() {
    let params = header_params(&schema(&json!({ "type": "string", "x-mcp-header": "P" }))).expect("fine");
    let check = |argument: &str, header: &str| {
        check_headers(&params, &json!({ "p": argument }).to_string(), &[("p", header)]).is_ok()
    };
    for (argument, header, good) in [
        ("Hello", "=?BASE64?SGVsbG8=?=", false),
        ("Hello", "=?Base64?SGVsbG8=?=", false),
        ("Hello", "=?base64?SGVsbG8?=", false),
        ("Hello", "hello", false),
        ("=?base64?x?=", "=?base64?x?=", false),
        ("=?base64?x?=", "=?base64?PT9iYXNlNjQ/eD89?=", true),
        ("", "=?base64??=", true),
        ("a\r\nX: b", "=?base64?YQ0KWDogYg==?=", true),
        ("a\r\nX: b", "a", false),
        ("\u{e4}", "=?base64?w6Q=?=", true),
        ("\u{e4}", "=?base64?5A==?=", false),
    ] {
        assert_eq!(check(argument, header), good, "{argument:?} {header}");
    }
}

#[test]
fn hdr3_integers_are_compared_as_numbers() {
    let params = header_params(&schema(&json!({ "type": "integer", "x-mcp-header": "P" }))).expect("fine");
    let check = |argument: Value, header: &str| {
        check_headers(&params, &json!({ "p": argument }).to_string(), &[("P", header)]).is_ok()
    };
    for (argument, header, good) in [
        (json!(42.0), "42", true),
        (json!(-7), "-7", true),
        (json!(9_007_199_254_740_991_i64), "9007199254740991", true),
        (json!(9_007_199_254_740_993_i64), "9007199254740993", false),
        (json!(42), "NaN", false),
        (json!(42), "inf", false),
        (json!(42), "", false),
        (json!(42), "0x2a", false),
        (json!(42), "42 ", false),
        (json!("42"), "43", false),
    ] {
        assert_eq!(check(argument.clone(), header), good, "{argument} {header:?}");
    }
}

#[test]
fn hdr2_whatever_is_mirrored_is_read_back_and_stands_in_one_line() {
    for text in
        ["", "plain", "two words", " led", "trailed ", "tab\there", "line\r\nX-Evil: 1", "größe", "=?base64?eA==?="]
    {
        let header = wrap(text);
        assert!(header.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{header}");
        assert_eq!(header.trim(), header, "spaces at the ends do not survive HTTP");
        assert_eq!(unwrap(&header).as_deref(), Some(text));
    }
    assert_eq!(wrap("two words"), "two words");
}

#[test]
fn hdr5_what_is_absent_or_null_has_no_header() {
    let schema = json!({ "type": "object", "properties": {
        "region": { "type": "string", "x-mcp-header": "Region" },
        "inner": { "type": "object", "properties": { "n": { "type": "integer", "x-mcp-header": "N" } } },
        "flag": { "type": "boolean", "x-mcp-header": "Flag" },
    } });
    let expected = header_params(&schema).expect("good annotations");
    let pairs = |arguments: Value| mirror(&expected, &arguments);
    assert_eq!(pairs(json!({ "region": null })), []);
    let all = pairs(json!({ "region": "eu", "inner": { "n": 42 }, "flag": false, "other": 1 }));
    let named = |name: &str| all.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str());
    assert_eq!((named("Region"), named("N"), named("Flag"), all.len()), (Some("eu"), Some("42"), Some("false"), 3));
}
