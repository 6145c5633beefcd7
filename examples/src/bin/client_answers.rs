//! A client that servers can ask: it fills forms, samples from a model, and has roots. One way for both eras: whether
//! the server sends requests or ends its calls with questions, the same closures answer.
//!
//! `cargo run --bin client_answers -- http://127.0.0.1:8080/mcp` with the demo server of `andon serve`.

use andon::client::{Builder, Consent, Error, Filled, Options, Target};
use andon::prelude::*;
use andon::types::client::Root;
use andon::types::error::ErrorObject;

/// Who answers what. Only what has an answer is declared to the server.
fn with_answers(target: impl Into<Target>) -> Builder {
    Client::builder(target)
        // A real client shows the form. Fields that are left out get their defaults, and what does not match the form
        // is never sent.
        .on_form(|form| async move {
            println!("asked: {}", form.message);
            let fields = form.schema["properties"].as_object().cloned().unwrap_or_default();
            Filled::Accept(fields.keys().map(|field| (field.clone(), json!("blue"))).collect())
        })
        // A real client shows the address and opens it only if the person agrees.
        .on_visit(|visit| async move {
            println!("not opened: {}", visit.url);
            Consent::Decline
        })
        // A real client asks its model.
        .on_sample(|params| async move {
            let prompt = params["messages"][0]["content"]["text"].as_str().unwrap_or_default().to_owned();
            if prompt.is_empty() {
                return Err(ErrorObject::invalid_params("there is nothing to answer"));
            }
            let content = json!({"type": "text", "text": format!("an answer to {prompt:?}")});
            Ok(json!({"role": "assistant", "content": content, "model": "none", "stopReason": "endTurn"}))
        })
        .roots([Root { uri: "file:///srv/project".to_owned(), name: Some("project".to_owned()) }])
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let target = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:8080/mcp".to_owned());
    let client = with_answers(target).connect().await?;
    println!("{}", client.call::<String>("ask", json!({"prompt": "Which colour?"})).await?);
    println!("{}", client.call::<String>("sample", json!({"prompt": "Why blue?"})).await?);
    let options = Options::default().on_progress(|report| println!("{} of {:?}", report.progress, report.total));
    let arguments = json!({"steps": 3, "interval_ms": 100});
    client.call_tool("steps", arguments.as_object().cloned().unwrap_or_default(), options).await?;
    client.close().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use andon::prelude::*;
    use andon::types::revision::Revision;

    #[derive(Deserialize, JsonSchema)]
    struct Colour {
        colour: String,
    }

    /// Asks.
    #[tool]
    async fn ask(ctx: Context) -> Result<String, ToolError> {
        let answer: Colour = ctx.elicit("Which colour?").await?;
        Ok(answer.colour)
    }

    #[tokio::test]
    async fn forms_are_filled_in_both_eras() {
        for revision in [Revision::LATEST_LEGACY, Revision::LATEST] {
            let server = Server::new("asker", "1.0.0").with(ask);
            let client = super::with_answers(server).protocol(revision).connect().await.expect("a server");
            assert_eq!(client.call::<String>("ask", json!({})).await.expect("an answer"), "blue");
        }
    }
}
