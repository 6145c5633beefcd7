use super::{Body, Malformed, Message, RequestId, ScanLimits, encode_error, encode_result};
use crate::error::ErrorObject;
use crate::revision::Revision;

fn parse(text: &str) -> Result<Body, Malformed> {
    Body::parse(text.as_bytes(), ScanLimits::default())
}

fn code(text: &str) -> i32 {
    parse(text).expect_err(text).error.code
}

fn request_id(raw: &str) -> Result<RequestId, i32> {
    match parse(&format!(r#"{{"jsonrpc":"2.0","id":{raw},"method":"m"}}"#)) {
        Ok(Body::Single(Message::Request(request))) => Ok(request.id),
        Ok(other) => panic!("{raw}: {other:?}"),
        Err(malformed) => Err(malformed.error.code),
    }
}

#[test]
fn r1_null_fractions_and_containers_are_no_ids() {
    for raw in ["null", "true", "1.5", "1.0", "[]", "{}", "1e3", "1e400", "-0"] {
        assert_eq!(request_id(raw), Err(-32600), "{raw}");
    }
}

#[test]
fn r2_ids_at_their_bounds() {
    assert_eq!(request_id("\"\""), Ok("".into()));
    assert_eq!(request_id("9223372036854775807"), Ok(i64::MAX.into()));
    assert_eq!(request_id("-9223372036854775808"), Ok(i64::MIN.into()));
    assert_eq!(request_id("18446744073709551616"), Err(-32600));
    assert_eq!(request_id(&format!("\"{}\"", "x".repeat(256))), Ok("x".repeat(256).as_str().into()));
    assert_eq!(request_id(&format!("\"{}\"", "x".repeat(257))), Err(-32600));
    assert_ne!(request_id("1"), request_id("\"1\""));
}

#[test]
fn j3_names_are_exact() {
    assert_eq!(code(r#"{"jsonrpc":"2.0","id":1,"Method":"m"}"#), -32600);
    assert_eq!(code(r#"{"jsonrpc":"2.0","id":1,"metKod":"m"}"#), -32600);
    let Ok(Body::Single(Message::Request(request))) =
        parse(r#"{"jsonrpc":"2.0","id":1,"met\u0068od":"m","paramſ":{}}"#)
    else {
        panic!()
    };
    assert_eq!((&*request.method, request.params), ("m", None));
}

#[test]
fn j5_parameters_pass_byte_for_byte() {
    let params = r#"{ "n" : 9007199254740993, "m":123456789012345678901234567890, "e":1E5,"u":"\u00e9" }"#;
    let Ok(Body::Single(Message::Request(request))) =
        parse(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{params}}}"#))
    else {
        panic!()
    };
    assert_eq!(request.params.expect("there").as_str(), params);
}

#[test]
fn j6_bytes_that_are_not_utf8_are_a_parse_error() {
    let cases: [&[u8]; 5] = [b"\xff\xfe", b"{\"a\":\"\xc0\xaf\"}", b"\xef\xbb\xbf{}", b"{\0}\0", b"\"\xed\xa0\x80\""];
    for bytes in cases {
        let malformed = Body::parse(bytes, ScanLimits::default()).expect_err("not JSON");
        assert_eq!((malformed.error.code, malformed.id), (-32700, None));
    }
}

#[test]
fn j10_j11_what_is_no_message() {
    for text in ["null", "42", "\"x\"", "[]", "{}", r#"{"jsonrpc":"2.0"}"#] {
        assert_eq!(code(text), -32600, "{text}");
    }
    for text in ["", "  ", "{}{}", "{}\n{}", "{} x"] {
        assert_eq!(code(text), -32700, "{text}");
    }
}

#[test]
fn r7_a_response_is_a_result_or_an_error() {
    assert_eq!(code(r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}"#), -32600);
    assert_eq!(code(r#"{"jsonrpc":"2.0","id":1,"error":{"code":1.5,"message":""}}"#), -32600);
    assert_eq!(code(r#"{"jsonrpc":"2.0","id":1,"method":"m","result":{}}"#), -32600);
    assert!(parse(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).is_ok());
    assert!(parse(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-1,"message":"x"}}"#).is_ok());
}

#[test]
fn r16_the_version_of_json_rpc_is_a_string() {
    for version in ["\"1.0\"", "2.0", "null", "\"2\""] {
        assert_eq!(code(&format!(r#"{{"jsonrpc":{version},"id":7,"method":"m"}}"#)), -32600);
    }
    let malformed = parse(r#"{"id":7,"method":"m"}"#).expect_err("no version");
    assert_eq!(malformed.id, Some(7.into()), "the id is echoed when it can be read");
}

#[test]
fn r8_batches_are_bounded() {
    let batch = |n: usize| format!("[{}]", vec![r#"{"jsonrpc":"2.0","method":"m"}"#; n].join(","));
    assert!(matches!(parse(&batch(50)), Ok(Body::Batch(messages)) if messages.len() == 50));
    assert_eq!(code(&batch(51)), -32600);
    let Ok(Body::Batch(mixed)) = parse(r#"[{"jsonrpc":"2.0","method":"m"}, 1]"#) else { panic!() };
    assert!(mixed[0].is_ok() && mixed[1].is_err());
}

#[test]
fn an_unreadable_id_is_left_out_where_the_schema_allows() {
    let error = ErrorObject::parse("x");
    let newest = encode_error(None, &error, Revision::LATEST.rules());
    assert_eq!(newest, r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"x"}}"#);
    assert!(encode_error(None, &error, Revision::V2024_11_05.rules()).contains(r#""id":null"#));
    assert_eq!(encode_result(&"a\"b".into(), "{}"), r#"{"jsonrpc":"2.0","id":"a\"b","result":{}}"#);
}
