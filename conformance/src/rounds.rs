//! Tools and a prompt that take several rounds (2026-07-28, multi round-trip requests).

use andon::prelude::{
    Context, CreateMessage, PromptArguments, PromptEntry, PromptMessage, ProtocolError, Server, ToolError, json,
};
use andon::types::client::InputRequest;
use andon::types::error::ErrorObject;

use crate::content::tool;

const PREFIX: &str = "test_input_required_result";

pub(crate) fn register(server: Server) -> Server {
    let named = |name: &str| format!("{PREFIX}_{name}");
    server
        .with(tool(&named("elicitation"), "Asks for a name", |_, context| async move {
            let name = text(&context, "user_name", "What is your name?", "name").await?;
            Ok::<_, ToolError>(format!("Hello, {name}!"))
        }))
        .with(tool(&named("sampling"), "Asks the model", |_, context| async move {
            let answer = context.sample(capital()).await?;
            Ok::<_, ToolError>(answer.text())
        }))
        .with(tool(&named("list_roots"), "Asks for roots", |_, context| async move {
            let answer = context.ask(Some("client_roots"), InputRequest::roots()).await?;
            Ok::<_, ToolError>(format!("Roots: {}", answer["roots"]))
        }))
        .with(tool(&named("request_state"), "Remembers", |_, context| async move {
            confirm(&context).await?;
            Ok::<_, ToolError>("state-ok")
        }))
        .with(tool(&named("tampered_state"), "Remembers, and cannot be fooled", |_, context| async move {
            confirm(&context).await?;
            Ok::<_, ToolError>("state-ok")
        }))
        .with(tool(&named("multiple_inputs"), "Asks three things at once", |_, context| async move {
            let roots = context.ask(Some("client_roots"), InputRequest::roots());
            let name = text(&context, "user_name", "What is your name?", "name");
            let (name, answer, roots) = tokio::join!(name, context.sample(capital()), roots);
            Ok::<_, ToolError>(format!("{} {} {}", name?, answer?.text(), roots?["roots"]))
        }))
        .with(tool(&named("multi_round"), "Asks one thing after another", |_, context| async move {
            let name = text(&context, "step1", "What is your name?", "name").await?;
            let color = text(&context, "step2", "Which color do you like?", "color").await?;
            Ok::<_, ToolError>(format!("{name} likes {color}"))
        }))
        .with(tool(&named("capabilities"), "Asks what the client can do", |_, context| async move {
            let has_elicitation = context.require(&InputRequest::form("", json!({}))).is_ok();
            let answer = context.sample(capital()).await?;
            if has_elicitation {
                text(&context, "user_name", "What is your name?", "name").await?;
            }
            Ok::<_, ToolError>(answer.text())
        }))
        .with(
            PromptEntry::from_fn(format!("{PREFIX}_prompt"), |_: PromptArguments, context: Context| async move {
                let asked = ask_text(&context, "user_context", "What is it about?", "context").await;
                let about = asked.map_err(ProtocolError::from_object)?;
                Ok::<_, ProtocolError>(vec![PromptMessage::user(format!("It is about {about}"))])
            })
            .description("Asks before it answers"),
        )
}

fn capital() -> CreateMessage {
    CreateMessage::new("What is the capital of France?", 100).key("capital_question")
}

async fn confirm(context: &Context) -> Result<(), ToolError> {
    let schema = json!({"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]});
    crate::ask::form(context, "confirm", "Go on?", schema).await.map(drop)
}

/// A text that the person gives. What is no text is refused.
async fn text(context: &Context, key: &str, message: &str, member: &str) -> Result<String, ToolError> {
    ask_text(context, key, message, member).await.map_err(ToolError::protocol)
}

async fn ask_text(context: &Context, key: &str, message: &str, member: &str) -> Result<String, ErrorObject> {
    let schema = json!({"type": "object", "properties": {member: {"type": "string"}}, "required": [member]});
    let answer = context.ask(Some(key), InputRequest::form(message, schema)).await?;
    let given = answer["content"][member].as_str().map(str::to_owned);
    given.ok_or_else(|| ErrorObject::invalid_params(format!("the answer to {key:?} is not what the form asks for")))
}
