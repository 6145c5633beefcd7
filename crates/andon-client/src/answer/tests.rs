use andon_types::client::InputRequest;
use serde_json::{Map, Value, json};

use super::{Answers, Consent, Filled, Question, fill_defaults, handler};

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn form(schema: Value) -> InputRequest {
    InputRequest::form("Well?", schema)
}

fn filling(content: Value) -> Answers {
    let content = object(content);
    let form = handler(move |_| {
        let content = content.clone();
        async { Filled::Accept(content) }
    });
    Answers { form: Some(form), ..Answers::default() }
}

#[test]
fn defaults_of_every_type_are_filled_in_and_nothing_is_overwritten() {
    let schema = json!({ "properties": {
        "s": { "type": "string", "default": "a" }, "n": { "type": "number", "default": 1.5 },
        "b": { "type": "boolean", "default": false }, "e": { "enum": ["x", "y"], "default": "y" },
        "l": { "type": "array", "default": ["x"] }, "none": { "type": "string" },
    } });
    let mut content = object(json!({ "s": "mine" }));
    fill_defaults(&schema, &mut content);
    assert_eq!(Value::Object(content), json!({ "s": "mine", "n": 1.5, "b": false, "e": "y", "l": ["x"] }));
}

#[tokio::test]
async fn what_does_not_match_the_form_is_never_sent() {
    let schema = || json!({ "type": "object", "required": ["n"], "properties": { "n": { "type": "integer" } } });
    let good = filling(json!({ "n": 7 })).answer(asked(form(schema()))).await.expect("it matches");
    assert_eq!(good, json!({ "action": "accept", "content": { "n": 7 } }));
    for bad in [json!({}), json!({ "n": "seven" })] {
        let error = filling(bad).answer(asked(form(schema()))).await.expect_err("it does not match");
        assert!(error.message.contains("does not match the form"), "{error}");
    }
    let error = filling(json!({})).answer(asked(form(json!({ "type": 7 })))).await.expect_err("no schema");
    assert!(error.message.contains("requestedSchema"), "{error}");
}

#[tokio::test]
async fn only_web_pages_are_shown() {
    let visit = handler(|_| async { Consent::Accept });
    let answers = Answers { visit: Some(visit), ..Answers::default() };
    let shown = answers.answer(asked(InputRequest::url("m", "https://example.com/", "e"))).await;
    assert_eq!(shown.expect("a web page"), json!({ "action": "accept" }));
    for bad in ["file:///etc/passwd", "javascript:alert(1)", "ssh://host", "", "-x"] {
        assert!(answers.answer(asked(InputRequest::url("m", bad, "e"))).await.is_err(), "{bad}");
    }
}

#[tokio::test]
async fn only_what_has_an_answer_is_declared() {
    let none = Answers::default().capabilities();
    assert_eq!(json!(none), json!({}));
    assert!(Answers::default().answer(asked(InputRequest::roots())).await.is_err());
    let some = filling(json!({})).capabilities();
    assert_eq!(json!(some), json!({ "elicitation": { "form": {} } }));
}

fn asked(request: InputRequest) -> Question {
    Question { request, tag: None, key: None, round: None }
}
