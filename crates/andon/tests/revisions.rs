//! What each revision sees, against its dated schema: everything that is answered is valid there, and nothing in it is
//! of a later revision.

use andon::prelude::*;
use andon::server::testing::{Client, ClientOptions};
use andon::types::content::Resource;
use andon::types::meta::Icon;
use andon::types::revision::{Era, Revision};

/// One of everything, in the newest shape.
fn server() -> Server {
    let icon =
        || Icon { src: "https://example.com/i.png".into(), mime_type: None, sizes: vec!["48x48".into()], theme: None };
    let output = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    let any = || json!({"type": "object"});
    let annotations = andon::types::tools::ToolAnnotations { read_only_hint: Some(true), ..Default::default() };
    let everything = ToolEntry::from_fn("everything", any(), |_: Value, context: Context| async move {
        context.progress(1.0, Some(1.0), Some("message")).await?;
        let link =
            Resource { uri: "test://a".into(), name: "a".into(), title: Some("A".into()), ..Resource::default() };
        let mut result = CallToolResult::content(vec![
            Content::text("text"),
            Content::image("AA==", "image/png"),
            Content::audio("AA==", "audio/wav"),
            Content::link(link),
            Content::resource(ResourceContents::text("test://a", "text/plain", "a")),
        ]);
        result.structured_content = Some(json!({"n": 1}).into());
        Ok::<_, ToolError>(result)
    });
    let everything =
        everything.title("Everything").description("all").output_schema(output).annotations(annotations).icon(icon());
    Server::new("everything", "1")
        .title("Everything")
        .description("all of it")
        .website("https://example.com")
        .icons([icon()])
        .instructions("be kind")
        .with(everything)
        .with(ToolEntry::from_fn("strict", json!({"type": "object", "required": ["x"]}), |_: Value, _| async {
            "fine"
        }))
        .with(ResourceEntry::from_fn("test://a", "a", |_, _| async { "text" }).title("A").description("a").icon(icon()))
        .with(TemplateEntry::from_fn("test://{x}/t", "t", |_, _| async { "text" }).title("T").icon(icon()))
        .with(
            PromptEntry::from_fn("p", |_, _| async { "said" })
                .title("P")
                .required("a", "an argument")
                .icon(icon())
                .complete("a", |_, _| async { vec!["x".to_owned()] }),
        )
}

struct Schema {
    revision: Revision,
    root: Value,
    definitions: &'static str,
}

impl Schema {
    fn of(revision: Revision) -> Self {
        let text = match revision {
            Revision::V2024_11_05 => include_str!("schema/2024-11-05.json"),
            Revision::V2025_03_26 => include_str!("schema/2025-03-26.json"),
            Revision::V2025_06_18 => include_str!("schema/2025-06-18.json"),
            Revision::V2025_11_25 => include_str!("schema/2025-11-25.json"),
            Revision::V2026_07_28 => include_str!("schema/2026-07-28.json"),
        };
        let root: Value = serde_json::from_str(text).expect("a schema is JSON");
        let definitions = if root.get("$defs").is_some() { "$defs" } else { "definitions" };
        Self { revision, root, definitions }
    }

    fn check(&self, definition: &str, value: &Value) {
        let mut schema = self.root.clone();
        schema["$ref"] = json!(format!("#/{}/{definition}", self.definitions));
        assert!(schema[self.definitions].get(definition).is_some(), "{definition} is not in {}", self.revision);
        let validator = jsonschema::options().offline().build(&schema).expect("a schema");
        let wrong: Vec<String> =
            validator.iter_errors(value).map(|error| format!("{error} at {}", error.instance_path())).collect();
        assert!(wrong.is_empty(), "{} {definition}: {wrong:?}\n{value}", self.revision);
    }
}

/// Every name of a member in `value`, whatever its depth.
fn members(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| members(item, found)),
        Value::Object(known) => {
            found.extend(known.keys().cloned());
            known.values().for_each(|value| members(value, found));
        }
        _ => {}
    }
}

/// What a revision must not see, by the revision that brought it.
const LATER: [(Revision, &[&str]); 4] = [
    (Revision::V2025_03_26, &["completions", "annotations"]),
    (Revision::V2025_06_18, &["title", "outputSchema", "structuredContent"]),
    (Revision::V2025_11_25, &["icons", "websiteUrl"]),
    (Revision::V2026_07_28, &["resultType", "ttlMs", "cacheScope", "supportedVersions", "inputRequests", "extensions"]),
];

async fn connect(revision: Revision) -> Client {
    server().client_with(ClientOptions::default().revision(revision)).await
}

#[tokio::test]
async fn every_answer_is_valid_in_its_revision_and_has_nothing_of_a_later_one() {
    for revision in Revision::ALL {
        let schema = Schema::of(revision);
        let client = connect(revision).await;
        for (method, params, definition) in [
            ("tools/list", json!({}), "ListToolsResult"),
            ("tools/call", json!({"name": "everything", "arguments": {}}), "CallToolResult"),
            ("resources/list", json!({}), "ListResourcesResult"),
            ("resources/templates/list", json!({}), "ListResourceTemplatesResult"),
            ("resources/read", json!({"uri": "test://a"}), "ReadResourceResult"),
            ("prompts/list", json!({}), "ListPromptsResult"),
            ("prompts/get", json!({"name": "p", "arguments": {"a": "x"}}), "GetPromptResult"),
            (
                "completion/complete",
                json!({"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": ""}}),
                "CompleteResult",
            ),
        ] {
            let answer =
                client.request(method, params).await.unwrap_or_else(|error| panic!("{revision} {method}: {error:?}"));
            schema.check(definition, &answer);
            let mut found = Vec::new();
            members(&answer, &mut found);
            for (_, names) in LATER.iter().filter(|(since, _)| *since > revision) {
                let surplus = found.iter().find(|name| names.contains(&name.as_str()));
                assert_eq!(surplus, None, "{revision} {method}: {answer}");
            }
        }
    }
}

#[tokio::test]
async fn content_that_a_revision_does_not_know_is_said_in_text() {
    for (revision, kinds) in [
        (Revision::V2024_11_05, ["text", "image", "text", "text", "resource"]),
        (Revision::V2025_03_26, ["text", "image", "audio", "text", "resource"]),
        (Revision::V2025_06_18, ["text", "image", "audio", "resource_link", "resource"]),
    ] {
        let answer =
            connect(revision).await.request("tools/call", json!({"name": "everything", "arguments": {}})).await;
        let content = answer.expect("an answer")["content"].clone();
        let found: Vec<&str> =
            content.as_array().expect("a list").iter().filter_map(|block| block["type"].as_str()).collect();
        assert_eq!(found, kinds, "{revision}");
    }
}

#[tokio::test]
async fn bad_arguments_and_missing_resources_are_told_as_the_revision_does() {
    for revision in Revision::ALL {
        let client = connect(revision).await;
        let called = client.request("tools/call", json!({"name": "strict", "arguments": {}})).await;
        match (called, revision >= Revision::V2025_11_25) {
            (Ok(result), true) => assert_eq!(result["isError"], true, "{revision}"),
            (Err(error), false) => assert_eq!(error.code, -32602, "{revision}"),
            (other, _) => panic!("{revision}: {other:?}"),
        }
        let code = if revision.era() == Era::Modern { -32602 } else { -32002 };
        let missing = client.request("resources/read", json!({"uri": "test://none"})).await.expect_err("not there");
        assert_eq!((missing.code, missing.data), (code, Some(json!({"uri": "test://none"}))), "{revision}");
    }
}
