use serde_json::{Value, json};

use super::Adapt;
use crate::capability::{ClientCapabilities, ServerCapabilities};
use crate::client::InputRequest;
use crate::content::{Annotations, Content, Resource, Role};
use crate::raw::RawJson;
use crate::revision::Revision;
use crate::tools::{CallToolResult, Tool};

/// `value` as peers of each revision see it, oldest first.
fn views<T: Adapt + Clone>(value: &T) -> [T; 5] {
    Revision::ALL.map(|revision| {
        let mut view = value.clone();
        view.adapt(revision.rules());
        view
    })
}

fn tool(input: Value, output: Value) -> Tool {
    serde_json::from_value(json!({ "name": "t", "inputSchema": input, "outputSchema": output })).expect("a tool")
}

fn structured(value: Value, content: Vec<Content>) -> CallToolResult {
    CallToolResult { structured_content: Some(value.into()), ..CallToolResult::content(content) }
}

#[test]
fn schemas_of_properties_are_objects_before_the_newest() {
    let input = json!({ "type": "object", "properties": { "any": true, "none": false, "n": { "minimum": 0 } } });
    for (revision, view) in Revision::ALL.iter().zip(views(&tool(input.clone(), input.clone()))) {
        let newest = *revision == Revision::LATEST;
        let expected = json!({ "any": {}, "none": { "not": {} }, "n": { "minimum": 0 } });
        let expected = if newest { input["properties"].clone() } else { expected };
        assert_eq!(view.input_schema.to_value().expect("a tree")["properties"], expected, "{revision}");
        if let Some(output) = view.output_schema {
            assert_eq!(output.to_value().expect("a tree")["properties"], expected, "{revision}");
        }
    }
}

#[test]
fn j5_schemas_pass_byte_for_byte() {
    let text = r#"{"type":"object" , "properties":{"n":{"maximum":123456789012345678901234567890,"x":1e400}}}"#;
    let raw: RawJson = serde_json::from_str(text).expect("JSON");
    let tool = Tool { input_schema: raw, ..tool(json!({}), json!({})) };
    for view in views(&tool) {
        assert_eq!(view.input_schema.as_str(), text);
    }
}

#[test]
fn j1_deep_json_is_no_tree_and_no_panic() {
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    let raw: RawJson = serde_json::from_str(&deep).expect("JSON");
    assert!(raw.to_value().is_err());
    let tool = Tool { output_schema: Some(raw.clone()), input_schema: raw, ..tool(json!({}), json!({})) };
    assert!(views(&tool)[..4].iter().all(|view| view.output_schema.is_none()));
}

#[test]
fn out1_structured_content_that_is_left_out_is_said_in_text() {
    let value = json!([1, 2]);
    let bare = structured(value.clone(), vec![Content::image("AA==", "image/png")]);
    let mirrored = structured(value.clone(), vec![Content::text("one and two")]);
    for (revision, view) in Revision::ALL.iter().zip(views(&bare)) {
        let newest = *revision == Revision::LATEST;
        assert_eq!(view.structured_content.is_some(), newest, "{revision}");
        assert_eq!(view.content.last() == Some(&Content::text("[1,2]")), !newest, "{revision}");
    }
    assert!(views(&mirrored).iter().all(|view| view.content == [Content::text("one and two")]));
    let object = views(&structured(json!({ "n": 1 }), Vec::new()));
    let seen = object.map(|view| (view.structured_content.is_some(), view.content.len()));
    assert_eq!(seen, [(false, 1), (false, 1), (true, 0), (true, 0), (true, 0)]);
}

#[test]
fn out1_null_is_a_value_and_not_absent() {
    let read = |text: &str| serde_json::from_str::<CallToolResult>(text).expect("a result");
    let null = read(r#"{"content":[],"structuredContent":null}"#);
    assert_eq!(null.structured_content.as_ref().map(RawJson::as_str), Some("null"));
    assert_eq!(read(r#"{"content":[]}"#).structured_content, None);
    assert_eq!(serde_json::to_string(&null).expect("JSON"), r#"{"content":[],"structuredContent":null}"#);
}

#[test]
fn what_is_said_instead_is_for_the_same_audience() {
    let annotations = Some(Annotations {
        audience: vec![Role::User],
        priority: Some(0.5),
        last_modified: Some("2025-01-12T15:00:58Z".into()),
    });
    let link =
        Resource { uri: "x:a".into(), name: "a".into(), annotations: annotations.clone(), ..Resource::default() };
    let audio = Content::Audio { data: "AA==".into(), mime_type: "audio/wav".into(), annotations, meta: None };
    for block in [Content::link(link), audio] {
        let Content::Text { annotations: Some(annotations), .. } = &views(&block)[0] else { panic!("no text") };
        assert_eq!((annotations.audience.as_slice(), annotations.priority), ([Role::User].as_slice(), Some(0.5)));
        assert_eq!(annotations.last_modified, None);
    }
}

#[test]
fn priorities_that_no_revision_can_say_are_left_out() {
    for (priority, seen) in [(0.0, true), (1.0, true), (-0.1, false), (1.1, false), (f64::NAN, false)] {
        let annotations = Annotations { priority: Some(priority), ..Annotations::default() };
        assert_eq!(annotations.problem().is_none(), seen, "{priority}");
        assert!(views(&annotations).iter().all(|view| view.priority.is_some() == seen), "{priority}");
    }
    for (text, good) in [
        ("2025-01-12", true),
        ("2025-01-12T15:00:58Z", true),
        ("2025-01-12T15:00:58.123+02:00", true),
        ("", false),
        ("yesterday", false),
        ("2025-1-12", false),
        ("2025-01-12T", false),
        ("2025-01-12T\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}", false),
    ] {
        let annotations = Annotations { last_modified: Some(text.into()), ..Annotations::default() };
        assert_eq!(annotations.problem().is_none(), good, "{text}");
    }
}

#[test]
fn capabilities_keep_what_they_do_not_know() {
    let text = json!({ "tools": { "listChanged": true }, "tasks": { "list": {} }, "experimental": { "x": {} } });
    let server: ServerCapabilities = serde_json::from_value(text.clone()).expect("capabilities");
    assert_eq!(serde_json::to_value(&server).expect("JSON"), text);
    for (revision, view) in Revision::ALL.iter().zip(views(&server)) {
        assert_eq!(view.tasks.is_some(), *revision == Revision::V2025_11_25, "{revision}");
        assert!(view.other.contains_key("experimental"), "{revision}");
    }
    for bad in [json!({ "tools": 1 }), json!({ "tools": { "listChanged": "yes" } }), json!({ "logging": [] })] {
        assert!(serde_json::from_value::<ServerCapabilities>(bad.clone()).is_err(), "{bad}");
    }
    for bad in [json!({ "elicitation": true }), json!({ "sampling": "tools" }), json!({ "extensions": [] })] {
        assert!(serde_json::from_value::<ClientCapabilities>(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn capabilities_of_clients_are_said_as_the_revision_does() {
    let newest = json!({
        "roots": {},
        "sampling": { "tools": {}, "context": {} },
        "elicitation": { "form": {}, "url": {} },
        "extensions": { "x/y": {} },
    });
    let client: ClientCapabilities = serde_json::from_value(newest.clone()).expect("capabilities");
    let seen = views(&client).map(|view| serde_json::to_value(view).expect("JSON"));
    assert_eq!(seen[0], json!({ "roots": {}, "sampling": {} }));
    assert_eq!(seen[1], seen[0]);
    assert_eq!(seen[2], json!({ "roots": {}, "sampling": {}, "elicitation": {} }));
    assert_eq!(seen[3], json!({ "roots": {}, "sampling": newest["sampling"], "elicitation": newest["elicitation"] }));
    assert_eq!(seen[4], newest);
}

#[test]
fn eli1_titled_choices_are_named_for_older_clients() {
    let form = InputRequest::form(
        "?",
        json!({ "type": "object", "properties": {
            "one": { "type": "string", "oneOf": [{ "const": "r", "title": "Red" }, { "const": "g", "title": "Green" }] },
            "name": { "type": "string", "default": "x" },
            "flag": { "type": "boolean", "default": true },
        } }),
    );
    let [.., older, old, newest] = views(&form);
    assert_eq!((&old, &newest), (&form, &form));
    let properties = &older.params()["requestedSchema"]["properties"];
    let expected = json!({
        "one": { "type": "string", "enum": ["r", "g"], "enumNames": ["Red", "Green"] },
        "name": { "type": "string" },
        "flag": { "type": "boolean", "default": true },
    });
    assert_eq!((properties, older.params().get("mode")), (&expected, None));
}

#[test]
fn eli1_only_one_revision_names_elicitations_by_url() {
    let seen = views(&InputRequest::url("?", "https://example.com", "1"));
    let named = seen.map(|view| view.params().contains_key("elicitationId"));
    assert_eq!(named[3..], [true, false]);
}

#[test]
fn sam1_several_blocks_are_several_messages_before() {
    let audio = json!({ "type": "audio", "data": "AA==", "mimeType": "audio/wav" });
    let text = |text: &str| json!({ "type": "text", "text": text });
    let ask = json!({ "method": "sampling/createMessage", "params": { "maxTokens": 1, "tools": [], "messages": [
        { "role": "user", "content": [text("a"), audio], "_meta": {} },
        { "role": "assistant", "content": text("b") },
        "not a message",
    ] } });
    let ask: InputRequest = serde_json::from_value(ask).expect("a request");
    let seen = views(&ask);
    assert_eq!((&seen[3], &seen[4]), (&ask, &ask));
    let user = |block: Value| json!({ "role": "user", "content": block });
    let last = [json!({ "role": "assistant", "content": text("b") }), json!("not a message")];
    let expected = [[user(text("a")), user(audio)].as_slice(), &last].concat();
    assert_eq!(seen[2].params()["messages"], Value::Array(expected));
    assert!(!seen[2].params().contains_key("tools"));
    assert_eq!(seen[0].params()["messages"][1]["content"]["type"], "text");
}
