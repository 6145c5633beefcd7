//! Whatever a handler says, each revision sees it as its dated schema has it, and nothing that the schema does not have:
//! for this the schemas are closed, so that an unknown member is a mistake.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use andon_types::adapt::Adapt;
use andon_types::capability::{ClientCapabilities, ServerCapabilities};
use andon_types::client::InputRequest;
use andon_types::content::{
    Annotations, Content, GetPromptResult, Prompt, PromptArgument, PromptMessage, ReadResourceResult, Resource,
    ResourceContents, ResourceTemplate, Role,
};
use andon_types::meta::{Icon, Implementation, Meta};
use andon_types::revision::{Era, Revision};
use andon_types::tools::{CallToolResult, Tool, ToolAnnotations};
use jsonschema::Validator;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use serde::Serialize;
use serde_json::{Value, json};

type Validators = HashMap<(Revision, &'static str), &'static Validator>;

static VALIDATORS: LazyLock<Mutex<Validators>> = LazyLock::new(Mutex::default);

/// The validator of one definition. There are a few dozen, which live as long as the tests.
fn validator(revision: Revision, definition: &'static str) -> &'static Validator {
    let mut known = VALIDATORS.lock().expect("no test panics in here");
    known.entry((revision, definition)).or_insert_with(|| {
        let mut schema = closed(revision);
        let definitions = if schema.get("$defs").is_some() { "$defs" } else { "definitions" };
        schema["$ref"] = json!(format!("#/{definitions}/{definition}"));
        Box::leak(Box::new(jsonschema::options().offline().build(&schema).expect("a schema")))
    })
}

fn closed(revision: Revision) -> Value {
    let path = format!("{}/../andon/tests/schema/{revision}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut schema = serde_json::from_str(&text).expect("a schema is JSON");
    close(&mut schema);
    schema
}

/// Closes every object that lists its members, but for the schemas of tools, which are open.
fn close(node: &mut Value) {
    match node {
        Value::Array(items) => items.iter_mut().for_each(close),
        Value::Object(members) => {
            let listed = members.get("properties").and_then(Value::as_object).is_some_and(|known| !known.is_empty());
            if listed && members.contains_key("type") && !members.contains_key("additionalProperties") {
                members.insert("additionalProperties".into(), json!(false));
            }
            let open = ["inputSchema", "outputSchema", "_meta"];
            members.iter_mut().filter(|(key, _)| !open.contains(&key.as_str())).for_each(|(_, value)| close(value));
        }
        _ => {}
    }
}

fn check(revision: Revision, definition: &'static str, value: &Value) {
    let wrong: Vec<String> = validator(revision, definition)
        .iter_errors(value)
        .map(|error| format!("{error} at {}", error.instance_path()))
        .collect();
    assert!(wrong.is_empty(), "{revision} {definition}: {wrong:?}\n{value}");
}

/// `value` as the peers of `revision` see it. Adapting it again changes nothing.
fn seen<T: Adapt + Clone + PartialEq + std::fmt::Debug + Serialize>(value: &T, revision: Revision) -> Value {
    let mut once = value.clone();
    once.adapt(revision.rules());
    let mut twice = once.clone();
    twice.adapt(revision.rules());
    assert_eq!(once, twice, "{revision}");
    serde_json::to_value(once).expect("it is JSON")
}

/// A result with what the core adds in the modern era.
fn result(mut body: Value, revision: Revision, cacheable: bool) -> Value {
    if revision.era() == Era::Modern {
        body["resultType"] = json!("complete");
        if cacheable {
            body["ttlMs"] = json!(0);
            body["cacheScope"] = json!("private");
        }
    }
    body
}

fn list(member: &str, item: Value, revision: Revision) -> Value {
    result(json!({ member: [item] }), revision, true)
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,8}"
}

fn uri() -> impl Strategy<Value = String> {
    "[a-z]{1,5}://[a-z0-9]{1,5}/[a-z0-9]{0,5}"
}

fn meta() -> impl Strategy<Value = Option<Meta>> {
    option::of(text().prop_map(|value| Meta::from_iter([("example.com/k".to_owned(), Value::from(value))])))
}

fn icons() -> impl Strategy<Value = Vec<Icon>> {
    let theme = option::of(prop_oneof![Just("light".to_owned()), Just("dark".to_owned())]);
    let icon = (uri(), option::of(Just("image/png".to_owned())), vec(Just("48x48".to_owned()), 0..2), theme);
    vec(icon.prop_map(|(src, mime_type, sizes, theme)| Icon { src, mime_type, sizes, theme }), 0..2)
}

fn annotations() -> impl Strategy<Value = Option<Annotations>> {
    let audience = vec(prop_oneof![Just(Role::User), Just(Role::Assistant)], 0..3);
    let date = option::of(Just("2025-01-12T15:00:58Z".to_owned()));
    let annotations = (audience, option::of(-0.5..1.5), date);
    option::of(annotations.prop_map(|(audience, priority, last_modified)| Annotations {
        audience,
        priority,
        last_modified,
    }))
}

fn resource() -> impl Strategy<Value = Resource> {
    let named = (uri(), text(), option::of(text()), option::of(text()), option::of(text()));
    (named, annotations(), option::of(0..1_000_000_u64), icons(), meta()).prop_map(
        |((uri, name, title, description, mime_type), annotations, size, icons, meta)| Resource {
            uri,
            name,
            title,
            description,
            mime_type,
            annotations,
            size,
            icons,
            meta,
        },
    )
}

fn template() -> impl Strategy<Value = ResourceTemplate> {
    (resource(), Just("demo://{x}")).prop_map(|(like, template)| ResourceTemplate {
        uri_template: template.into(),
        name: like.name,
        title: like.title,
        description: like.description,
        mime_type: like.mime_type,
        annotations: like.annotations,
        icons: like.icons,
        meta: like.meta,
    })
}

fn contents() -> impl Strategy<Value = ResourceContents> {
    let held = prop_oneof![text().prop_map(|text| (Some(text), None)), Just((None, Some("AAAA".to_owned())))];
    (uri(), option::of(text()), held, meta()).prop_map(|(uri, mime_type, (text, blob), meta)| ResourceContents {
        uri,
        mime_type,
        text,
        blob,
        meta,
    })
}

fn content() -> impl Strategy<Value = Content> {
    let data = || (Just("AAAA".to_owned()), text(), annotations(), meta());
    prop_oneof![
        (text(), annotations(), meta()).prop_map(|(text, annotations, meta)| Content::Text { text, annotations, meta }),
        data().prop_map(|(data, mime_type, annotations, meta)| Content::Image { data, mime_type, annotations, meta }),
        data().prop_map(|(data, mime_type, annotations, meta)| Content::Audio { data, mime_type, annotations, meta }),
        resource().prop_map(Content::link),
        (contents(), annotations(), meta()).prop_map(|(resource, annotations, meta)| Content::Resource {
            resource,
            annotations,
            meta
        }),
    ]
}

fn structured() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text().prop_map(Value::from),
        vec(any::<i32>(), 0..3).prop_map(Value::from),
        text().prop_map(|value| json!({ "value": value })),
    ]
}

fn schema(root: &'static str) -> impl Strategy<Value = Value> {
    let property = prop_oneof![any::<bool>().prop_map(Value::from), Just(json!({ "type": "string" }))];
    (option::of(property), any::<bool>()).prop_map(move |(property, is_dated)| {
        let mut schema = json!({ "type": root });
        if let Some(property) = property {
            schema["properties"] = json!({ "p": property });
            schema["required"] = json!(["p"]);
        }
        if is_dated {
            schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
        }
        schema
    })
}

fn tool() -> impl Strategy<Value = Tool> {
    let named = ("[a-z]{1,8}", option::of(text()), option::of(text()));
    let output = option::of(prop_oneof![schema("object"), schema("array"), Just(json!({})), Just(json!({"not": {}}))]);
    let hints = (option::of(text()), option::of(any::<bool>()), option::of(any::<bool>()));
    let hints = option::of(hints.prop_map(|(title, read_only_hint, destructive_hint)| ToolAnnotations {
        title,
        read_only_hint,
        destructive_hint,
        ..ToolAnnotations::default()
    }));
    let execution = option::of(Just(json!({ "taskSupport": "optional" })));
    (named, schema("object"), output, hints, execution, icons(), meta()).prop_map(
        |((name, title, description), input, output, annotations, execution, icons, meta)| Tool {
            name,
            title,
            description,
            input_schema: input.into(),
            output_schema: output.map(Into::into),
            annotations,
            execution,
            icons,
            meta,
        },
    )
}

fn prompt() -> impl Strategy<Value = Prompt> {
    let argument = (text(), option::of(text()), option::of(text()), any::<bool>())
        .prop_map(|(name, title, description, required)| PromptArgument { name, title, description, required });
    (text(), option::of(text()), option::of(text()), vec(argument, 0..3), icons(), meta()).prop_map(
        |(name, title, description, arguments, icons, meta)| Prompt {
            name,
            title,
            description,
            arguments,
            icons,
            meta,
        },
    )
}

fn form() -> impl Strategy<Value = InputRequest> {
    let named = |mut schema: Value, title: Option<String>| {
        if let Some(title) = title {
            schema["title"] = title.into();
        }
        schema
    };
    let property = prop_oneof![
        Just(json!({ "type": "string", "minLength": 1, "format": "email", "default": "a@b.c" })),
        Just(json!({ "type": "integer", "minimum": 0, "default": 1 })),
        Just(json!({ "type": "boolean", "default": true })),
        Just(json!({ "type": "string", "enum": ["a", "b"], "default": "a" })),
        Just(json!({ "type": "string", "enum": ["a", "b"], "enumNames": ["A", "B"] })),
        Just(json!({ "type": "string", "oneOf": [{ "const": "a", "title": "A" }], "default": "a" })),
    ];
    (text(), property, option::of(text())).prop_map(move |(message, property, title)| {
        let schema = json!({ "type": "object", "properties": { "p": named(property, title) }, "required": ["p"] });
        InputRequest::form(message, schema)
    })
}

fn sampling() -> impl Strategy<Value = InputRequest> {
    let block = content().prop_filter("samples hold no resources", |block| {
        matches!(block, Content::Text { .. } | Content::Image { .. } | Content::Audio { .. })
    });
    let said = prop_oneof![
        // What a handler writes as JSON has gone through no check of ours yet.
        block.prop_map(|block| vec![block]),
        vec(Just(Content::text("a")), 2..4),
    ];
    (vec((said, any::<bool>()), 1..3), any::<bool>()).prop_map(|(messages, has_tools)| {
        let messages: Vec<Value> = messages
            .into_iter()
            .map(|(mut blocks, is_user)| {
                let role = if is_user { Role::User } else { Role::Assistant };
                let content = if blocks.len() == 1 { json!(blocks.remove(0)) } else { json!(blocks) };
                json!({ "role": role, "content": content })
            })
            .collect();
        let mut request = InputRequest::sample("", 10);
        request.params_mut().insert("messages".into(), messages.into());
        if has_tools {
            request.params_mut().insert("tools".into(), json!([]));
            request.params_mut().insert("toolChoice".into(), json!({ "mode": "none" }));
        }
        request
    })
}

/// The request as it travels: with an envelope where the definition has one.
fn request(mut message: Value, revision: Revision) -> Value {
    if revision == Revision::V2025_11_25 {
        message["jsonrpc"] = json!("2.0");
        message["id"] = json!(1);
    }
    message
}

proptest! {
    #[test]
    fn tools_are_seen_as_each_revision_has_them(tool in tool()) {
        for revision in Revision::ALL {
            check(revision, "ListToolsResult", &list("tools", seen(&tool, revision), revision));
        }
    }

    #[test]
    fn results_of_tools_are_seen_as_each_revision_has_them(
        content in vec(content(), 0..4),
        structured in option::of(structured()),
        is_error in any::<bool>(),
    ) {
        let structured_content = structured.map(Into::into);
        let called = CallToolResult { is_error, structured_content, ..CallToolResult::content(content) };
        for revision in Revision::ALL {
            let body = seen(&called, revision);
            check(revision, "CallToolResult", &result(body.clone(), revision, false));
            let is_left_out = called.structured_content.is_some() && body.get("structuredContent").is_none();
            assert!(!is_left_out || body["content"].to_string().contains(r#""type":"text""#), "{revision}: {body}");
        }
    }

    #[test]
    fn resources_are_seen_as_each_revision_has_them(
        resource in resource(),
        template in template(),
        contents in vec(contents(), 0..3),
    ) {
        let read = ReadResourceResult { contents };
        for revision in Revision::ALL {
            check(revision, "ListResourcesResult", &list("resources", seen(&resource, revision), revision));
            let templates = list("resourceTemplates", seen(&template, revision), revision);
            check(revision, "ListResourceTemplatesResult", &templates);
            check(revision, "ReadResourceResult", &result(seen(&read, revision), revision, true));
        }
    }

    #[test]
    fn prompts_are_seen_as_each_revision_has_them(prompt in prompt(), said in vec(content(), 0..4)) {
        let description = prompt.description.clone();
        let got = GetPromptResult { description, messages: said.into_iter().map(PromptMessage::user).collect() };
        for revision in Revision::ALL {
            check(revision, "ListPromptsResult", &list("prompts", seen(&prompt, revision), revision));
            check(revision, "GetPromptResult", &result(seen(&got, revision), revision, false));
        }
    }

    #[test]
    fn openings_are_seen_as_each_revision_has_them(title in option::of(text()), icons in icons(), known in any::<[bool; 6]>()) {
        let description = title.clone();
        let website_url = title.as_ref().map(|_| "https://example.com".to_owned());
        let info = Implementation { title, description, website_url, icons, ..Implementation::new("n", "1") };
        let all = json!({
            "tools": { "listChanged": true },
            "resources": { "subscribe": true },
            "logging": {},
            "completions": {},
            "extensions": { "x/y": {} },
            "tasks": { "list": {} },
        });
        let some = all.as_object().expect("an object").iter().zip(known).filter(|(_, known)| *known);
        let some: Value = some.map(|((name, value), _)| (name.clone(), value.clone())).collect();
        let server: ServerCapabilities = serde_json::from_value(some).expect("capabilities");
        let client = json!({ "roots": {}, "sampling": { "tools": {} }, "elicitation": { "url": {} }, "tasks": {} });
        let client: ClientCapabilities = serde_json::from_value(client).expect("capabilities");
        for revision in Revision::ALL {
            check(revision, "Implementation", &seen(&info, revision));
            check(revision, "ServerCapabilities", &seen(&server, revision));
            check(revision, "ClientCapabilities", &seen(&client, revision));
        }
    }

    #[test]
    fn questions_are_seen_as_each_revision_has_them(form in form(), sampling in sampling()) {
        let url = InputRequest::url("?", "https://example.com/", "1");
        for revision in Revision::ALL {
            check(revision, "CreateMessageRequest", &request(seen(&sampling, revision), revision));
            if revision.rules().elicitation {
                check(revision, "ElicitRequest", &request(seen(&form, revision), revision));
            }
            if revision.rules().elicitation_url {
                check(revision, "ElicitRequest", &request(seen(&url, revision), revision));
            }
        }
    }
}

#[test]
fn closed_schemas_refuse_what_a_revision_must_not_see() {
    for (revision, definition, value) in [
        (Revision::V2024_11_05, "Tool", json!({ "name": "t", "inputSchema": { "type": "object" }, "title": "T" })),
        (
            Revision::V2024_11_05,
            "TextContent",
            json!({ "type": "text", "text": "", "annotations": { "lastModified": "" } }),
        ),
        (Revision::V2025_06_18, "Implementation", json!({ "name": "n", "version": "1", "icons": [] })),
        (Revision::V2025_11_25, "CallToolResult", json!({ "content": [{ "type": "text", "text": "", "more": 1 }] })),
        (
            Revision::V2026_07_28,
            "ElicitRequestURLParams",
            json!({ "mode": "url", "message": "", "url": "a:b", "elicitationId": "1" }),
        ),
    ] {
        assert!(!validator(revision, definition).is_valid(&value), "{revision} {definition}");
    }
}
