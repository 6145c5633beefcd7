//! Tools that ask the client, in the legacy era by requests of the server.

use andon::prelude::{Context, CreateMessage, Server, ToolEntry, ToolError, Value, json};
use andon::types::client::InputRequest;

use crate::content::tool;

pub(crate) fn register(server: Server) -> Server {
    let prompted =
        |member: &str| json!({"type": "object", "properties": {member: {"type": "string"}}, "required": [member]});
    server
        .with(
            ToolEntry::from_fn("test_sampling", prompted("prompt"), |arguments: Value, context: Context| async move {
                let prompt = arguments["prompt"].as_str().unwrap_or_default();
                let message = context.sample(CreateMessage::new(prompt, 100)).await?;
                Ok::<_, ToolError>(format!("LLM response: {}", message.text()))
            })
            .description("Asks the model"),
        )
        .with(
            ToolEntry::from_fn("test_elicitation", prompted("message"), |arguments: Value, context| async move {
                let message = arguments["message"].as_str().unwrap_or_default().to_owned();
                let schema = json!({"type": "object", "properties": {
                    "username": {"type": "string", "description": "Your name"},
                    "email": {"type": "string", "description": "Your address"}}, "required": ["username", "email"]});
                let answer = form(&context, "answer", &message, schema).await?;
                Ok::<_, ToolError>(format!("User response: {answer}"))
            })
            .description("Asks the person"),
        )
        .with(tool("test_elicitation_sep1034_defaults", "Asks with defaults", |_, context| async move {
            completed(&context, "Please confirm", defaults()).await
        }))
        .with(tool("test_elicitation_sep1330_enums", "Asks with choices", |_, context| async move {
            completed(&context, "Please choose", choices()).await
        }))
        .with(tool("test_streaming_elicitation", "Asks the person", |_, context| async move {
            let schema = json!({"type": "object", "properties": {"ok": {"type": "boolean"}}});
            completed(&context, "Is it fine?", schema).await
        }))
        .with(tool("test_missing_capability", "Needs sampling", |_, context| async move {
            context.require(&InputRequest::sample("", 1))?;
            Ok::<_, ToolError>("sampling is there")
        }))
}

/// The answer to a form, whatever it is.
pub(crate) async fn form(context: &Context, key: &str, message: &str, schema: Value) -> Result<Value, ToolError> {
    Ok(context.ask(Some(key), InputRequest::form(message, schema)).await?)
}

async fn completed(context: &Context, message: &str, schema: Value) -> Result<String, ToolError> {
    let answer = form(context, "answer", message, schema).await?;
    Ok(format!(
        "Elicitation completed: action={}, content={}",
        answer["action"].as_str().unwrap_or_default(),
        answer["content"]
    ))
}

fn defaults() -> Value {
    json!({"type": "object", "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": true}}})
}

fn choices() -> Value {
    let titled = |name: &str| {
        let options = (1..=3).map(|n| json!({"const": format!("value{n}"), "title": format!("{name} {n}")}));
        Value::Array(options.collect())
    };
    let options = json!(["option1", "option2", "option3"]);
    json!({"type": "object", "properties": {
        "untitledSingle": {"type": "string", "enum": options},
        "titledSingle": {"type": "string", "oneOf": titled("Option")},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": ["One", "Two", "Three"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled("Choice")}}}})
}
