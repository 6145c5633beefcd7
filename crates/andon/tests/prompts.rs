//! Prompts: arguments, messages, completion.

use andon::prelude::*;
use andon::server::testing::{Client, ClientOptions};
use andon::types::revision::Revision;

/// Review code.
#[prompt(title = "Review", complete(language = languages))]
async fn review(
    /// what to review
    code: String,
    /// its language
    language: Option<String>,
    #[default(3)] depth: u8,
) -> Vec<PromptMessage> {
    let language = language.unwrap_or_else(|| "code".to_owned());
    vec![
        PromptMessage::user(format!("Review this {language}, to depth {depth}: {code}")),
        PromptMessage::assistant("Gladly."),
    ]
}

async fn languages(query: CompletionQuery, _: Context) -> Vec<String> {
    let all = if query.context.contains_key("code") { vec!["rust", "ruby", "go"] } else { vec!["cobol"] };
    all.into_iter().filter(|name| name.starts_with(&query.value)).map(str::to_owned).collect()
}

#[prompt]
async fn plain(ctx: Context) -> Result<&'static str, ProtocolError> {
    if ctx.principal().is_anonymous() { Ok("Hello") } else { Err(ProtocolError::internal()) }
}

fn server() -> Server {
    Server::new("prompts", "1").with((review, plain))
}

async fn client() -> Client {
    server().client().await
}

#[tokio::test]
async fn prompts_are_listed_as_written() {
    let listed = client().await.request("prompts/list", json!({})).await.unwrap();
    assert_eq!(
        listed["prompts"],
        json!([
            {
                "name": "review", "title": "Review", "description": "Review code.",
                "arguments": [
                    {"name": "code", "description": "what to review", "required": true},
                    {"name": "language", "description": "its language", "required": false},
                    {"name": "depth", "required": false},
                ],
            },
            {"name": "plain"},
        ])
    );
}

#[tokio::test]
async fn prompts_are_got_with_their_arguments() {
    let client = client().await;
    let got = client.request("prompts/get", json!({"name": "review", "arguments": {"code": "x", "depth": "5"}})).await;
    assert_eq!(
        got.unwrap(),
        json!({
            "description": "Review code.",
            "messages": [
                {"role": "user", "content": {"type": "text", "text": "Review this code, to depth 5: x"}},
                {"role": "assistant", "content": {"type": "text", "text": "Gladly."}},
            ],
        })
    );
    let plain = client.request("prompts/get", json!({"name": "plain"})).await.unwrap();
    assert_eq!(plain["messages"][0]["content"]["text"], "Hello");
}

#[tokio::test]
async fn bad_arguments_of_a_prompt_are_a_protocol_error() {
    let client = client().await;
    for params in [
        json!({"name": "unknown"}),
        json!({"name": "review"}),
        json!({"name": "review", "arguments": {"code": 5}}),
        json!({"name": "review", "arguments": {"code": "x", "depth": "deep"}}),
        json!({"name": "review", "arguments": ["x"]}),
        json!({}),
    ] {
        assert_eq!(client.request("prompts/get", params.clone()).await.unwrap_err().code, -32602, "{params}");
    }
}

#[tokio::test]
async fn comp1_the_context_is_delivered_where_the_revision_has_it() {
    for revision in Revision::ALL {
        let client = server().client_with(ClientOptions::default().revision(revision)).await;
        let complete = |name: &str, argument: &str| {
            client.request(
                "completion/complete",
                json!({
                    "ref": {"type": "ref/prompt", "name": name},
                    "argument": {"name": argument, "value": ""},
                    "context": {"arguments": {"code": "x"}},
                }),
            )
        };
        let found = complete("review", "language").await.unwrap();
        let seen = if revision.rules().completion_context { json!(["rust", "ruby", "go"]) } else { json!(["cobol"]) };
        assert_eq!(found["completion"]["values"], seen, "{revision}");
        assert_eq!(complete("review", "code").await.unwrap()["completion"]["values"], json!([]));
        assert_eq!(complete("unknown", "language").await.unwrap_err().code, -32602);
        assert_eq!(complete("review", "unknown").await.unwrap_err().code, -32602);
    }
}
