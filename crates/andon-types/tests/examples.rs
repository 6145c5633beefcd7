//! The specification's own example messages of 2026-07-28 pass through the types and come out as they went in.

use andon_types::capability::{ClientCapabilities, ServerCapabilities};
use andon_types::client::{ElicitResult, InputRequest, ListRootsResult, Root};
use andon_types::content::{
    Content, GetPromptResult, Prompt, ReadResourceResult, Resource, ResourceContents, ResourceTemplate,
};
use andon_types::error::ErrorObject;
use andon_types::message::{Body, Json, Message, encode_error, encode_notification, encode_request, encode_result};
use andon_types::params::Params;
use andon_types::revision::Revision;
use andon_types::scan::ScanLimits;
use andon_types::tools::{CallToolResult, Tool};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// Definitions that have no type of their own: their readers keep what they need, or keep all of it as JSON.
const AS_JSON: [&str; 25] = [
    "BooleanSchema",
    "CallToolRequestParams",
    "CancelledNotificationParams",
    "CompleteRequestParams",
    "CompleteResult",
    "CreateMessageResult",
    "DiscoverResult",
    "GetPromptRequestParams",
    "InputRequiredResult",
    "InputResponses",
    "LoggingMessageNotificationParams",
    "ModelPreferences",
    "NumberSchema",
    "PaginatedRequestParams",
    "ProgressNotificationParams",
    "ResourceUpdatedNotificationParams",
    "SamplingMessage",
    "StringSchema",
    "SubscriptionsListenResult",
    "TitledMultiSelectEnumSchema",
    "TitledSingleSelectEnumSchema",
    "ToolResultContent",
    "ToolUseContent",
    "UntitledMultiSelectEnumSchema",
    "UntitledSingleSelectEnumSchema",
];

fn examples() -> Map<String, Value> {
    serde_json::from_str(include_str!("schema/examples-2026-07-28.json")).expect("examples are JSON")
}

/// `value` read as a `T` and written again.
fn through<T: Serialize + DeserializeOwned>(value: &Value) -> Value {
    let read: T = serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}"));
    serde_json::to_value(read).expect("it was JSON")
}

/// The members of a result that its own type has: the rest travels beside it.
fn own(result: &Value, members: &[&str]) -> Value {
    let result = result.as_object().expect("a result is an object");
    result.iter().filter(|(key, _)| members.contains(&key.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// Without flags that are false, which may as well be absent.
fn normal(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(normal).collect(),
        Value::Object(members) => members
            .iter()
            .filter(|(key, value)| !(["isError", "required"].contains(&key.as_str()) && **value == json!(false)))
            .map(|(key, value)| (key.clone(), normal(value)))
            .collect(),
        other => other.clone(),
    }
}

/// The envelope read and encoded again.
fn envelope(value: &Value) -> Value {
    let body = Body::parse(value.to_string().as_bytes(), ScanLimits::default());
    let Ok(Body::Single(message)) = body else { panic!("{body:?}: {value}") };
    let text = match message {
        Message::Request(request) => {
            encode_request(&request.id, &request.method, request.params.as_ref().map(Params::as_str))
        }
        Message::Notification(notification) => {
            encode_notification(&notification.method, notification.params.as_ref().map(Json::as_str))
        }
        Message::Response(response) => match response.outcome {
            Ok(result) => encode_result(&response.id.expect("a result has an id"), result.as_str()),
            Err(error) => encode_error(response.id.as_ref(), &error, Revision::LATEST.rules()),
        },
    };
    serde_json::from_str(&text).expect("what is encoded is JSON")
}

/// What `value` becomes and what it should become; `None` if the definition has no type.
fn pass(definition: &str, value: &Value) -> Option<(Value, Value)> {
    let asked = |method: &str| json!({ "method": method, "params": value });
    let list = |result: Value| own(&result, &["tools", "prompts", "resources", "resourceTemplates"]);
    let items = |member: &str, pass: fn(&Value) -> Value| {
        let items = value[member].as_array().expect("a list").iter().map(pass).collect::<Vec<_>>();
        (json!({ member: items }), list(value.clone()))
    };
    let same = |passed: Value| (passed, value.clone());
    Some(match definition {
        "AudioContent" | "EmbeddedResource" | "ImageContent" | "ResourceLink" | "TextContent" => {
            same(through::<Content>(value))
        }
        "BlobResourceContents" | "TextResourceContents" => same(through::<ResourceContents>(value)),
        "CallToolResult" => {
            (through::<CallToolResult>(value), own(value, &["content", "structuredContent", "isError"]))
        }
        "ClientCapabilities" => same(through::<ClientCapabilities>(value)),
        "ServerCapabilities" => same(through::<ServerCapabilities>(value)),
        "CreateMessageRequest" | "ElicitRequest" => same(through::<InputRequest>(value)),
        "ListRootsRequest" => (through::<InputRequest>(value), json!({ "method": "roots/list", "params": {} })),
        "CreateMessageRequestParams" => {
            let asked = asked("sampling/createMessage");
            (through::<InputRequest>(&asked), asked)
        }
        "ElicitRequestFormParams" | "ElicitRequestURLParams" => {
            let asked = asked("elicitation/create");
            (through::<InputRequest>(&asked), asked)
        }
        "ElicitResult" => same(through::<ElicitResult>(value)),
        "InputRequests" => {
            let questions = value.as_object().expect("by key");
            same(questions.iter().map(|(key, asked)| (key.clone(), through::<InputRequest>(asked))).collect())
        }
        "GetPromptResult" => (through::<GetPromptResult>(value), own(value, &["description", "messages"])),
        "ReadResourceResult" => (through::<ReadResourceResult>(value), own(value, &["contents"])),
        "ListPromptsResult" => items("prompts", through::<Prompt>),
        "ListResourceTemplatesResult" => items("resourceTemplates", through::<ResourceTemplate>),
        "ListResourcesResult" => items("resources", through::<Resource>),
        "ListToolsResult" => items("tools", through::<Tool>),
        "ListRootsResult" => same(through::<ListRootsResult>(value)),
        "Resource" => same(through::<Resource>(value)),
        "Root" => same(through::<Root>(value)),
        "Tool" => same(through::<Tool>(value)),
        _ if value.get("jsonrpc").is_some() => same(envelope(value)),
        _ if definition.ends_with("Error") => same(through::<ErrorObject>(value)),
        _ => return None,
    })
}

#[test]
fn every_example_of_the_specification_passes_through_its_type() {
    let mut without_type = Vec::new();
    for (definition, named) in examples() {
        for (name, value) in named.as_object().expect("by name") {
            match pass(&definition, value) {
                Some((passed, expected)) => assert_eq!(normal(&passed), normal(&expected), "{definition} {name}"),
                None => without_type.push(definition.clone()),
            }
        }
    }
    without_type.dedup();
    assert_eq!(without_type, AS_JSON);
}

#[test]
fn a_question_needs_its_parameters_but_for_roots() {
    let read = |value: Value| serde_json::from_value::<InputRequest>(value);
    assert_eq!(read(json!({ "method": "roots/list" })).expect("a question"), InputRequest::roots());
    for bad in [
        json!({ "method": "sampling/createMessage" }),
        json!({ "method": "elicitation/create", "params": [] }),
        json!({ "method": "tools/call", "params": {} }),
        json!({ "params": {} }),
    ] {
        assert!(read(bad.clone()).is_err(), "{bad}");
    }
}
