//! Tools, resources and prompts that answer at once.

use std::time::Duration;

use andon::prelude::{
    CallToolResult, Content, Context, GetPromptResult, Level, PromptArguments, PromptEntry, PromptMessage,
    ProtocolError, ReadRequest, ResourceContents, ResourceEntry, Server, TemplateEntry, ToolEntry, Value, json,
};

/// A red pixel.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
/// No samples.
const WAV: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=";

/// A tool and a prompt that come and go.
const FLEETING: &str = "test_fleeting";

/// A tool without arguments.
pub(crate) fn tool<F, U, R>(name: &str, description: &str, handler: F) -> ToolEntry
where
    F: Fn(Value, Context) -> U + Send + Sync + 'static,
    U: Future<Output = R> + Send + 'static,
    R: andon::server::output::IntoCallToolResult + 'static,
{
    ToolEntry::from_fn(name, json!({"type": "object"}), handler).description(description)
}

pub(crate) fn register(server: Server) -> Server {
    let catalogue = server.catalogue();
    let (tools, prompts) = (catalogue.clone(), catalogue);
    server
        .with(tools_of_content())
        .with(schemas())
        .with(tool("test_trigger_tool_change", "Changes the list of tools", move |_, _| {
            let changed = tools.remove_tool(FLEETING)
                || tools.add(tool(FLEETING, "Comes and goes", |_, _| async { "here" })).is_ok();
            async move { changed }
        }))
        .with(tool("test_trigger_prompt_change", "Changes the list of prompts", move |_, _| {
            let changed = prompts.remove_prompt(FLEETING) || prompts.add(fleeting_prompt()).is_ok();
            async move { changed }
        }))
        .with(resources())
        .with(TemplateEntry::from_fn("test://template/{id}/data", "template", |request: ReadRequest, _| async move {
            let id: String = request.variables.required("id")?;
            let data = json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")});
            Ok::<_, ProtocolError>(ResourceContents::text(request.uri, "application/json", data.to_string()))
        }))
        .with(prompts_of_content())
}

fn tools_of_content() -> Vec<ToolEntry> {
    vec![
        tool("test_simple_text", "Text", |_, _| async { "This is a simple text response for testing." }),
        tool("test_image_content", "A picture", |_, _| async { Content::image(PNG, "image/png") }),
        tool("test_audio_content", "A sound", |_, _| async { Content::audio(WAV, "audio/wav") }),
        tool("test_embedded_resource", "A resource", |_, _| async {
            let text = "This is an embedded resource content.";
            Content::resource(ResourceContents::text("test://embedded-resource", "text/plain", text))
        }),
        tool("test_multiple_content_types", "Text, a picture and a resource", |_, _| async {
            let data = json!({"test": "data", "value": 123}).to_string();
            vec![
                Content::text("Multiple content types test:"),
                Content::image(PNG, "image/png"),
                Content::resource(ResourceContents::text("test://mixed-content-resource", "application/json", data)),
            ]
        }),
        tool("test_error_handling", "Fails", |_, _| async {
            CallToolResult::error("This tool intentionally returns an error for testing")
        }),
        tool("test_tool_with_progress", "Reports progress", |_, context| async move {
            for progress in [0.0, 50.0, 100.0] {
                context.progress(progress, Some(100.0), None).await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok::<_, andon::prelude::ToolError>("done")
        }),
        tool("test_tool_with_logging", "Logs", |_, context| async move {
            for message in ["Tool execution started", "Tool processing data", "Tool execution completed"] {
                context.log(Level::Info, message);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            "done"
        }),
        tool("test_logging_tool", "Logs, if asked to", |_, context| async move {
            context.log(Level::Info, "a message");
            "done"
        }),
        tool("test_reconnection", "Ends its connection and answers later", |_, context| async move {
            context.close_stream(500);
            tokio::time::sleep(Duration::from_millis(200)).await;
            "Reconnection test completed"
        }),
    ]
}

fn schemas() -> Vec<ToolEntry> {
    let preserved = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
        "$defs": {"address": {"$anchor": "addressDef", "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}},
        "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"}, "email": {"type": "string"}},
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]}, "else": {"required": ["email"]},
        "additionalProperties": false
    });
    let mirrored = json!({"type": "object", "properties": {"value": {"type": "string", "x-mcp-header": "Value"}},
        "required": ["value"]});
    vec![
        ToolEntry::from_fn("json_schema_2020_12_tool", preserved, |_: Value, _| async { "fine" })
            .description("Has a schema with many keywords"),
        ToolEntry::from_fn("test_custom_header", mirrored, |arguments: Value, _| async move {
            arguments["value"].as_str().unwrap_or_default().to_owned()
        })
        .description("Has an argument that is mirrored in a header"),
    ]
}

fn resources() -> Vec<ResourceEntry> {
    vec![
        ResourceEntry::from_fn("test://static-text", "static-text", |request, _| async move {
            let text = "This is the content of the static text resource.";
            ResourceContents::text(request.uri, "text/plain", text)
        })
        .mime_type("text/plain"),
        ResourceEntry::from_fn("test://static-binary", "static-binary", |request, _| async move {
            ResourceContents::blob(request.uri, "image/png", PNG)
        })
        .mime_type("image/png"),
        ResourceEntry::from_fn("test://watched-resource", "watched-resource", |request, _| async move {
            ResourceContents::text(request.uri, "text/plain", "watched")
        })
        .mime_type("text/plain"),
    ]
}

fn fleeting_prompt() -> PromptEntry {
    PromptEntry::from_fn(FLEETING, |_, _| async { "Here." }).description("Comes and goes")
}

fn prompts_of_content() -> Vec<PromptEntry> {
    vec![
        PromptEntry::from_fn("test_simple_prompt", |_, _| async { "This is a simple prompt for testing." })
            .description("A simple prompt"),
        PromptEntry::from_fn("test_prompt_with_arguments", |arguments: PromptArguments, _| async move {
            let (one, two): (String, String) = (arguments.required("arg1")?, arguments.required("arg2")?);
            Ok::<_, ProtocolError>(format!("Prompt with arguments: arg1='{one}', arg2='{two}'"))
        })
        .description("A prompt with arguments")
        .required("arg1", "The first argument")
        .required("arg2", "The second argument")
        .complete("arg1", |query, _| async move {
            ["test-1", "test-2", "other"]
                .into_iter()
                .filter(|value| value.starts_with(&query.value))
                .map(str::to_owned)
                .collect()
        }),
        PromptEntry::from_fn("test_prompt_with_embedded_resource", |arguments: PromptArguments, _| async move {
            let uri: String = arguments.required("resourceUri")?;
            let text = "Embedded resource content for testing.";
            Ok::<_, ProtocolError>(vec![
                PromptMessage::user(Content::resource(ResourceContents::text(uri, "text/plain", text))),
                PromptMessage::user("Please process the embedded resource above."),
            ])
        })
        .description("A prompt with a resource in it")
        .required("resourceUri", "The resource"),
        PromptEntry::from_fn("test_prompt_with_image", |_, _| async {
            let messages = vec![
                PromptMessage::user(Content::image(PNG, "image/png")),
                PromptMessage::user("Please analyze the image above."),
            ];
            GetPromptResult { description: None, messages }
        })
        .description("A prompt with a picture in it"),
    ]
}
