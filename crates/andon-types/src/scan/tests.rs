use super::{Part, ScanError, ScanLimits, Shape, scan};

fn check(text: &str) -> Result<Shape, ScanError> {
    scan(text, ScanLimits::default())
}

#[test]
fn accepts_what_json_is_and_nothing_else() {
    for good in ["{}", " [1, -0.5e+3, \"a\\u00e9\\n\", true, false, null] ", "0", "\"\"", "\"\\ud83d\\ude00\""] {
        assert!(check(good).is_ok(), "{good}");
        assert!(serde_json::from_str::<serde_json::Value>(good).is_ok());
    }
    for bad in [
        "",
        "{",
        "}",
        "[1,]",
        "{\"a\":1,}",
        "{a:1}",
        "01",
        "1.",
        ".5",
        "+1",
        "1e",
        "NaN",
        "'a'",
        "\"\t\"",
        "\"\\x\"",
        "tru",
        "{} {}",
        "[] x",
        "\u{feff}{}",
        "{\"a\" 1}",
        "\"\\u12\"",
        "--1",
        "nul",
    ] {
        assert!(matches!(check(bad), Err(ScanError::Syntax(_))), "{bad}");
    }
}

#[test]
fn j1_nesting_is_bounded() {
    assert_eq!(check(&"[".repeat(100_000)), Err(ScanError::TooDeep));
    assert!(check(&format!("{}{}", "[".repeat(64), "]".repeat(64))).is_ok());
    assert_eq!(check(&format!("{}{}", "[".repeat(65), "]".repeat(65))), Err(ScanError::TooDeep));
}

#[test]
fn j2_duplicate_names_are_refused_at_any_depth() {
    for bad in [
        r#"{"method":1,"method":2}"#,
        r#"{"params":{"name":1,"x":{},"name":2}}"#,
        r#"[{"a":1},{"b":{"a":1,"a":1}}]"#,
        r#"{"method":1,"m\u0065thod":2}"#,
    ] {
        assert!(matches!(check(bad), Err(ScanError::DuplicateName(_))), "{bad}");
    }
    assert!(check(r#"{"a":{"a":{"a":1}},"b":{"a":1}}"#).is_ok());
}

#[test]
fn j2_duplicate_names_are_found_among_many() {
    let mut members: Vec<String> = (0..1000).map(|n| format!("\"k{n}\":0")).collect();
    assert!(check(&format!("{{{}}}", members.join(","))).is_ok());
    for twin in [0, 15, 16, 17, 999] {
        members.push(format!("\"k{twin}\":0"));
        assert!(matches!(check(&format!("{{{}}}", members.join(","))), Err(ScanError::DuplicateName(_))), "{twin}");
        members.pop();
    }
}

#[test]
fn j6_lone_surrogates_are_no_text() {
    for bad in [r#""\ud800""#, r#""\udc00""#, r#""\ud800\ud800""#, r#""\ud800x""#, r#""\ud800\n""#] {
        assert!(matches!(check(bad), Err(ScanError::Syntax(_))), "{bad}");
    }
}

#[test]
fn j9_cheap_bytes_that_make_dear_trees_are_refused() {
    for unit in ["{\"\":0},", "[[0]],", "0,"] {
        let body = format!("[{}0]", unit.repeat((4 << 20) / unit.len()));
        assert_eq!(check(&body), Err(ScanError::TooExpensive), "{unit}");
    }
    let long = format!("\"{}\"", "x".repeat(4 << 20));
    assert!(check(&long).is_ok());
}

#[test]
fn j12_many_names_take_linear_time() {
    let members: Vec<String> = (0..200_000).map(|n| format!("\"{n}\":0")).collect();
    assert!(check(&format!("{{{}}}", members.join(","))).is_ok());
}

#[test]
fn members_of_the_message_are_found_and_of_nothing_else() {
    let text = r#" {"m\u0065thod": "x", "params" : {"id": 7, "params": {"error": 1}}} "#;
    let Ok(Shape::Object(envelope)) = check(text) else { panic!() };
    assert_eq!(envelope.part(text, Part::Method), Some("\"x\""));
    assert_eq!(envelope.part(text, Part::Params), Some(r#"{"id": 7, "params": {"error": 1}}"#));
    for none in [Part::JsonRpc, Part::Id, Part::Result, Part::Error] {
        assert_eq!(envelope.part(text, none), None, "{none:?}");
    }
}
