//! Tools that run as tasks.

use std::time::Duration;

use andon::prelude::{Context, Server, TaskSupport, ToolEntry, ToolError, Value, json};
use andon::types::client::InputRequest;
use andon::types::error::{ErrorCode, ErrorObject};

use crate::ask::form;
use crate::content::tool;

pub(crate) fn register(server: Server) -> Server {
    let text = |member: &str| json!({"type": "object", "properties": {member: {"type": "string"}}});
    server
        .with(
            ToolEntry::from_fn("greet", text("name"), |arguments: Value, _| async move {
                format!("Hello, {}!", arguments["name"].as_str().unwrap_or_default())
            })
            .description("Greets, and never as a task"),
        )
        .with(slow_compute())
        .with(
            tool("failing_job", "Fails after a second", |_, _| async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Err::<String, _>(ToolError::new("the job failed, as it always does"))
            })
            .task(TaskSupport::Required),
        )
        .with(
            tool("protocol_error_job", "Comes to an error of the protocol", |_, _| async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let error = ErrorObject::new(ErrorCode::InternalError, "the job broke, as it always does");
                Err::<String, _>(ToolError::protocol(error))
            })
            .task(TaskSupport::Optional),
        )
        .with(
            ToolEntry::from_fn("confirm_delete", text("filename"), |arguments: Value, context: Context| async move {
                let file = arguments["filename"].as_str().unwrap_or_default().to_owned();
                let schema = json!({"type": "object", "properties": {"confirm": {"type": "boolean"}}});
                let answer = form(&context, "confirm", &format!("Delete {file}?"), schema).await?;
                let is_deleted = answer["action"] == "accept";
                Ok::<_, ToolError>(format!("{file}: {}", if is_deleted { "deleted" } else { "kept" }))
            })
            .description("Asks before it deletes")
            .task(TaskSupport::Optional),
        )
        .with(
            tool("multi_input", "Asks two things at once", |_, context: Context| async move {
                let schema = json!({"type": "object", "properties": {"name": {"type": "string"}}});
                let ask = |key: &'static str| context.ask(Some(key), InputRequest::form("Which name?", schema.clone()));
                let (first, second) = tokio::join!(ask("first"), ask("second"));
                let name = |answer: Value| answer["content"]["name"].as_str().unwrap_or("nobody").to_owned();
                Ok::<_, ToolError>(format!("{} and {}", name(first?), name(second?)))
            })
            .task(TaskSupport::Optional),
        )
        .with(
            tool(
                "test_tool_with_task",
                "Asks for a name, and then goes on as a task",
                |_, context: Context| async move {
                    let schema = json!({"type": "object", "properties": {"name": {"type": "string"}}});
                    let answer = form(&context, "user_name", "What is your name?", schema).await?;
                    context.become_task().await?;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    Ok::<_, ToolError>(format!("Hello, {}!", answer["content"]["name"].as_str().unwrap_or("nobody")))
                },
            )
            .late_task(TaskSupport::Required),
        )
}

fn slow_compute() -> ToolEntry {
    let schema = json!({"type": "object", "properties": {
        "seconds": {"type": "number", "minimum": 0, "maximum": 3600}, "label": {"type": "string"}}});
    ToolEntry::from_fn("slow_compute", schema, |arguments: Value, _| async move {
        let seconds = arguments["seconds"].as_f64().unwrap_or_default();
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        format!("{} took {seconds} s", arguments["label"].as_str().unwrap_or("it"))
    })
    .description("Takes its time")
    .task(TaskSupport::Optional)
}
