//! Questions to the client: the same handler in both eras.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use andon::prelude::*;
use andon::server::sampling::{SamplingMessage, ToolChoice};
use andon::server::testing::{Client, ClientOptions};
use andon::types::client::InputRequest;
use andon::types::error::ErrorObject;
use andon::types::revision::{Era, Revision};

#[derive(Deserialize, JsonSchema)]
struct Booking {
    /// How many people
    seats: u32,
    #[serde(default = "noon")]
    time: String,
    #[serde(default)]
    #[allow(dead_code)]
    note: Option<String>,
}

fn noon() -> String {
    "12:00".to_owned()
}

/// Book a table.
#[tool]
async fn book(ctx: Context) -> Result<String, ToolError> {
    let booking: Booking = ctx.elicit("For how many?").await?;
    Ok(format!("{} at {}", booking.seats, booking.time))
}

#[tool]
async fn careful(ctx: Context) -> String {
    match ctx.elicit::<Booking>("For how many?").await {
        Ok(booking) => format!("booked {}", booking.seats),
        Err(ElicitError::Declined) => "declined".to_owned(),
        Err(ElicitError::Cancelled) => "cancelled".to_owned(),
        Err(ElicitError::Ask(error)) => format!("failed: {error}"),
    }
}

#[tool]
async fn three(ctx: Context) -> Result<String, ToolError> {
    let answer = ctx.sample(CreateMessage::new("Capital of France?", 100).key("capital")).await?;
    let roots = ctx.roots().await?;
    ctx.elicit_url("Pay here", "https://pay.example/1", "pay-1").await?;
    Ok(format!("{} {}", answer.text(), roots[0].uri))
}

#[prompt]
async fn briefing(ctx: Context) -> Result<String, ProtocolError> {
    let booking: Booking = ctx.elicit("For how many?").await?;
    Ok(format!("Brief {} people.", booking.seats))
}

fn everything() -> Value {
    json!({"elicitation": {"form": {}, "url": {}}, "sampling": {"tools": {}}, "roots": {}})
}

async fn client(revision: Revision, answer: impl Fn(&str, &Value) -> Value + Send + Sync + 'static) -> Client {
    let options = ClientOptions::default()
        .revision(revision)
        .capabilities(everything())
        .answering(move |method, params| Ok::<_, ErrorObject>(answer(method, params)));
    Server::new("ask", "1").with((book, careful, three, briefing)).client_with(options).await
}

const ASKING: [Revision; 2] = [Revision::LATEST_LEGACY, Revision::LATEST];

#[tokio::test]
async fn eli1_a_form_is_asked_for_and_read_in_both_eras() {
    for revision in ASKING {
        let client = client(revision, |method, params| {
            assert_eq!(method, "elicitation/create");
            assert_eq!(params["message"], "For how many?");
            let schema = &params["requestedSchema"];
            assert_eq!(schema["required"], json!(["seats"]));
            assert_eq!(schema["properties"]["seats"]["type"], "integer");
            assert_eq!(schema["properties"]["seats"]["description"], "How many people");
            assert_eq!(schema["properties"]["note"]["type"], "string");
            assert!(schema.get("$schema").is_none());
            json!({"action": "accept", "content": {"seats": 4}})
        })
        .await;
        assert_eq!(client.call::<String>("book", json!({})).await.unwrap(), "4 at 12:00", "{revision}");
        let brief = client.ask("prompts/get", json!({"name": "briefing"})).await.unwrap();
        assert_eq!(brief["messages"][0]["content"]["text"], "Brief 4 people.", "{revision}");
    }
}

#[tokio::test]
async fn mr9_decline_and_cancel_reach_the_handler() {
    for revision in ASKING {
        for (action, seen) in [("decline", "declined"), ("cancel", "cancelled")] {
            let client = client(revision, move |_, _| json!({"action": action})).await;
            assert_eq!(client.call::<String>("careful", json!({})).await.unwrap(), seen, "{revision}");
            let told = client.call::<String>("book", json!({})).await.unwrap_err().to_string();
            assert!(told.contains("the user"), "{revision}: {told}");
        }
    }
}

#[tokio::test]
async fn n5_content_that_breaks_the_form_is_no_answer() {
    for revision in ASKING {
        for content in [json!({"seats": "four"}), json!({"seats": -1}), json!({})] {
            let client = client(revision, move |_, _| json!({"action": "accept", "content": content})).await;
            let seen = client.call::<String>("careful", json!({})).await;
            let text = seen.unwrap_or_else(|error| error.to_string());
            assert!(!text.starts_with("booked"), "{revision}: {text}");
        }
    }
}

#[tokio::test]
async fn questions_of_all_kinds_come_one_after_another() {
    for revision in ASKING {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let client = client(revision, move |method, params| {
            count.fetch_add(1, Ordering::Relaxed);
            match method {
                "sampling/createMessage" => {
                    assert_eq!(params["maxTokens"], 100);
                    json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": "Paris"}})
                }
                "roots/list" => json!({"roots": [{"uri": "file:///home"}]}),
                _ => {
                    assert_eq!(params["mode"], "url");
                    assert_eq!(params["elicitationId"] == "pay-1", revision.era() == Era::Legacy);
                    json!({"action": "accept"})
                }
            }
        })
        .await;
        assert_eq!(client.call::<String>("three", json!({})).await.unwrap(), "Paris file:///home", "{revision}");
        assert_eq!(asked.load(Ordering::Relaxed), 3, "{revision}: each question is put once");
    }
}

#[tokio::test]
async fn mr2_nothing_is_asked_that_was_not_declared() {
    for revision in ASKING {
        let options = ClientOptions::default().revision(revision).capabilities(json!({"sampling": {}}));
        let client = Server::new("ask", "1").with((book, careful)).client_with(options).await;
        let error = client.request("tools/call", json!({"name": "book"})).await.unwrap_err();
        assert!(error.message.contains("elicitation"), "{}", error.message);
        assert_eq!(error.data.unwrap()["requiredCapabilities"], json!({"elicitation": {}}));
        assert_eq!(error.code, if revision.rules().result_type { -32021 } else { -32600 });
        let told = client.call::<String>("careful", json!({})).await.unwrap();
        assert!(told.starts_with("failed: the client does not declare"), "{told}");
    }
}

#[tokio::test]
async fn a_handler_can_look_before_it_asks() {
    let polite = |_: Value, ctx: Context| async move {
        Ok::<_, ToolError>(match ctx.require(&InputRequest::form("", json!({}))) {
            Ok(()) => "can ask",
            Err(_) => "cannot ask",
        })
    };
    let client = Server::new("ask", "1").tool("polite", json!({"type": "object"}), polite).client().await;
    assert_eq!(client.call::<String>("polite", json!({})).await.unwrap(), "cannot ask");
}

#[tokio::test]
async fn mr3_state_is_bound_to_arguments_and_cannot_be_changed() {
    let options = || ClientOptions::default().revision(Revision::LATEST).capabilities(everything());
    let entry = |name: &str| {
        ToolEntry::from_fn(name, json!({"type": "object"}), |_: Value, ctx: Context| async move {
            let first: Value = ctx.elicit_with(Some("first"), "1?", form()).await?;
            let second: Value = ctx.elicit_with(Some("second"), "2?", form()).await?;
            Ok::<_, ToolError>(format!("{}{}", first["x"], second["x"]))
        })
    };
    let client = Server::new("ask", "1").with((entry("one"), entry("two"))).client_with(options()).await;
    let accept = |n: i64| json!({"action": "accept", "content": {"x": n}});

    let asked = client.request("tools/call", json!({"name": "one", "arguments": {"a": 1}})).await.unwrap();
    assert_eq!(asked["resultType"], "input_required");
    assert_eq!(asked["inputRequests"]["first"]["method"], "elicitation/create");
    let retry = json!({"name": "one", "arguments": {"a": 1}, "inputResponses": {"first": accept(1)}});
    let asked = client.request("tools/call", retry).await.unwrap();
    let state = asked["requestState"].as_str().expect("an answer is remembered").to_owned();
    assert!(asked["inputRequests"].get("second").is_some());

    let answer = |name: &str, arguments: Value, state: &str| {
        let responses = json!({"second": accept(2)});
        let params = json!({"name": name, "arguments": arguments, "inputResponses": responses, "requestState": state});
        client.request("tools/call", params)
    };
    for (name, arguments, state) in [
        ("two", json!({"a": 1}), state.clone()),
        ("one", json!({"a": 2}), state.clone()),
        ("one", json!({"a": 1}), format!("{state}-TAMPERED")),
    ] {
        assert_eq!(answer(name, arguments, &state).await.unwrap_err().code, -32602);
    }
    let done = answer("one", json!({"a": 1}), &state).await.unwrap();
    assert_eq!(done["content"][0]["text"], "12");
    let again = answer("one", json!({"a": 1}), &state).await.unwrap_err();
    assert!(again.code == -32602 && again.message.contains("used already"), "mr4: {again}");
}

#[tokio::test]
async fn mr3_keys_are_rotated_with_an_overlap() {
    let entry = ToolEntry::from_fn("one", json!({"type": "object"}), |_: Value, ctx: Context| async move {
        let first: Value = ctx.elicit_with(Some("first"), "1?", form()).await?;
        Ok::<_, ToolError>(first["x"].to_string())
    });
    let server = Server::new("ask", "1").seal_keys([[1; 32]]).with(entry);
    let seal = server.seal();
    let options = ClientOptions::default().revision(Revision::LATEST).capabilities(everything());
    let client = server.client_with(options).await;
    for (key, overlap, is_good) in [(2, 1, true), (3, 0, false)] {
        let asked = client.request("tools/call", json!({"name": "one"})).await.unwrap();
        seal.rotate(&[key; 32], overlap);
        let responses = json!({"first": {"action": "accept", "content": {"x": 1}}});
        let params = json!({"name": "one", "inputResponses": responses, "requestState": asked["requestState"]});
        assert_eq!(client.request("tools/call", params).await.is_ok(), is_good, "{key}");
    }
}

fn form() -> Value {
    json!({"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]})
}

#[tokio::test]
async fn eli1_forms_do_not_nest() {
    let nested = |_: Value, ctx: Context| async move {
        let schema = json!({"type": "object", "properties": {"x": {"type": "object"}}});
        let outcome = ctx.elicit_with::<Value>(None, "?", schema).await;
        outcome.map_or_else(|error| error.to_string(), |_| "asked".to_owned())
    };
    let options = ClientOptions::default().capabilities(everything());
    let server = Server::new("ask", "1").tool("nested", json!({"type": "object"}), nested);
    let told = server.client_with(options).await.call::<String>("nested", json!({})).await.unwrap();
    assert!(told.contains("forms do not nest"), "{told}");
}

#[tokio::test]
async fn sam1_tool_messages_are_paired() {
    let sample = |_: Value, ctx: Context| async move {
        let uses = json!([{"type": "tool_use", "id": "u1", "name": "w", "input": {}}]);
        let asks = SamplingMessage { content: uses, ..SamplingMessage::assistant("") };
        let results = |id: &str| {
            SamplingMessage::tool_results(vec![json!({"type": "tool_result", "toolUseId": id, "content": []})])
        };
        let tools = vec![json!({"name": "w", "inputSchema": {"type": "object"}})];
        let ask = |messages| CreateMessage::with_messages(messages, 10).tools(tools.clone(), ToolChoice::Auto);
        let user = SamplingMessage::user("weather?");
        let mut told = Vec::new();
        for messages in [
            vec![user.clone(), asks.clone(), results("u1")],
            vec![user.clone(), asks.clone(), results("u2")],
            vec![user.clone(), asks.clone()],
            vec![user.clone(), asks.clone(), SamplingMessage::user("never mind")],
        ] {
            told.push(ctx.sample(ask(messages)).await.is_ok());
        }
        Ok::<_, ToolError>(format!("{told:?}"))
    };
    let options = ClientOptions::default().capabilities(everything()).answering(|_, params| {
        assert_eq!(params["toolChoice"]["mode"], "auto");
        Ok(json!({"role": "assistant", "model": "m", "content": [{"type": "text", "text": "sunny"}]}))
    });
    let server = Server::new("ask", "1").tool("sample", json!({"type": "object"}), sample);
    let told = server.client_with(options).await.call::<String>("sample", json!({})).await.unwrap();
    assert_eq!(told, "[true, false, false, false]");
}

#[tokio::test]
async fn root1_roots_are_files() {
    let roots = |_: Value, ctx: Context| async move { ctx.roots().await.is_ok().to_string() };
    let options = ClientOptions::default()
        .capabilities(everything())
        .answering(|_, _| Ok(json!({"roots": [{"uri": "https://example.com"}]})));
    let server = Server::new("ask", "1").tool("roots", json!({"type": "object"}), roots);
    assert_eq!(server.client_with(options).await.call::<String>("roots", json!({})).await.unwrap(), "false");
}
