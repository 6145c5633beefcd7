//! What is tried on each server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use andon::client::{Client, Error, Event, Filled, Listen, Options, Reference, Target};
use andon::types::client::Root;
use andon::types::content::Content;
use andon::types::meta::Level;
use andon::types::revision::Revision;
use andon::types::tools::CallToolResult;
use serde_json::{Map, Value, json};

type Checked = Result<(), String>;

/// Connects, tries everything that this server has, and says what was tried.
pub(crate) async fn run(whose: &str, target: Target, revision: Option<Revision>) -> Result<String, String> {
    let mut builder = Client::builder(target)
        .on_form(|form| async move { Filled::Accept(fill(&form.schema)) })
        .on_sample(|_| async {
            let content = json!({ "type": "text", "text": "a sample" });
            Ok(json!({ "role": "assistant", "content": content, "model": "none", "stopReason": "endTurn" }))
        })
        .roots([Root { uri: "file:///interop/root".to_owned(), name: Some("root".to_owned()) }]);
    if let Some(revision) = revision {
        builder = builder.protocol(revision);
    }
    let client = builder.connect().await.map_err(|error| format!("connect: {error}"))?;
    let trial = Trial { client, tried: Vec::new() };
    let limit = Duration::from_secs(60);
    let tried = tokio::time::timeout(limit, trial.all(whose)).await;
    tried.map_err(|_| "something hangs".to_owned())?
}

struct Trial {
    client: Client,
    tried: Vec<&'static str>,
}

/// A person who fills in whatever is asked for.
fn fill(schema: &Value) -> Map<String, Value> {
    let value = |property: &Value| match (&property["enum"][0], property["type"].as_str()) {
        (Value::Null, Some("boolean")) => json!(true),
        (Value::Null, Some("integer" | "number")) => property["minimum"].as_i64().unwrap_or(5).into(),
        (Value::Null, Some("array")) => json!([]),
        (Value::Null, _) => match property["format"].as_str() {
            Some("email") => json!("ann@example.com"),
            Some("uri") => json!("https://example.com/"),
            Some("date") => json!("2026-07-28"),
            Some("date-time") => json!("2026-07-28T00:00:00Z"),
            _ => property["oneOf"][0]["const"].as_str().map_or_else(|| json!("Ann"), |first| json!(first)),
        },
        (first, _) => first.clone(),
    };
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties
        .filter(|(name, _)| required.iter().any(|it| it == *name))
        .map(|(name, it)| (name.clone(), value(it)))
        .collect()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => unreachable!("only called with object literals"),
    }
}

fn text(result: &CallToolResult) -> String {
    result.content.iter().filter_map(Content::as_text).collect::<Vec<_>>().join("\n")
}

fn expect(what: &str, found: &str, wanted: &str) -> Checked {
    if found.contains(wanted) { Ok(()) } else { Err(format!("{what}: {found:?} does not hold {wanted:?}")) }
}

impl Trial {
    async fn all(mut self, whose: &str) -> Result<String, String> {
        let (add, fails) = match whose {
            "everything" => ("get-sum", None),
            "rmcp" => ("echo", None),
            _ => ("add", (whose == "python").then_some("fail")),
        };
        self.lists(add).await?;
        self.calls(whose, add, fails).await?;
        if whose == "rmcp" {
            return self.end().await;
        }
        self.reads(whose).await?;
        self.asks(whose).await?;
        self.reports(whose).await?;
        self.prompts(whose).await?;
        self.hears(whose).await?;
        self.end().await
    }

    fn ok(&mut self, what: &'static str) {
        self.tried.push(what);
    }

    async fn end(mut self) -> Result<String, String> {
        self.client.ping().await.map_err(|error| format!("ping: {error}"))?;
        self.ok("ping");
        let revision = self.client.revision().map_or("?", Revision::as_str);
        self.client.close().await;
        Ok(format!("{} over {revision}", self.tried.join(", ")))
    }

    async fn call(&self, name: &str, arguments: Value) -> Result<CallToolResult, String> {
        let calling = self.client.call_tool(name, object(arguments), Options::default());
        calling.await.map_err(|error| format!("{name}: {error}"))
    }

    async fn lists(&mut self, tool: &str) -> Checked {
        let tools = self.client.tools().await.map_err(|error| format!("list: {error}"))?;
        if !tools.iter().any(|known| known.name == tool) {
            return Err(format!("list: no {tool}"));
        }
        self.ok("list");
        Ok(())
    }

    async fn calls(&mut self, whose: &str, add: &str, fails: Option<&str>) -> Checked {
        if whose == "rmcp" {
            expect("echo", &text(&self.call(add, json!({ "message": "hi" })).await?), "hi")?;
        } else {
            expect("add", &text(&self.call(add, json!({ "a": 2, "b": 3 })).await?), "5")?;
        }
        self.ok("call");
        if whose == "python" {
            let result = self.call(add, json!({ "a": 2, "b": 3 })).await?;
            let structured = result.structured_content.map(|it| it.as_str().to_owned()).unwrap_or_default();
            expect("structured", &structured.replace(' ', ""), r#""sum":5"#)?;
            self.ok("structured result");
        }
        if whose == "everything" {
            let result = self.call("get-structured-content", json!({ "location": "New York" })).await?;
            let structured = result.structured_content.map(|it| it.as_str().to_owned()).unwrap_or_default();
            expect("structured", &structured, "temperature")?;
            let image = self.call("get-tiny-image", json!({})).await?;
            if !image.content.iter().any(|block| matches!(block, Content::Image { .. })) {
                return Err("get-tiny-image: no image".to_owned());
            }
            self.ok("structured result, image");
        }
        if let Some(fails) = fails {
            if !self.call(fails, json!({})).await?.is_error {
                return Err(format!("{fails}: it should fail"));
            }
            self.ok("tool error");
        }
        let unknown = self.client.call_tool("no-such-tool", Map::new(), Options::default()).await;
        if matches!(&unknown, Ok(result) if !result.is_error) {
            return Err("a tool that is not there answers".to_owned());
        }
        self.ok("unknown tool");
        Ok(())
    }

    async fn reads(&mut self, whose: &str) -> Checked {
        let (plain, from_template, holds) = match whose {
            "everything" => (None, "demo://resource/dynamic/text/7", "7"),
            "python" => (Some("fixture://greeting"), "fixture://item/7", "item 7"),
            _ => (None, "demo://item/7", "49"),
        };
        let error = |error: Error| format!("resources: {error}");
        self.client.resources().await.map_err(error)?;
        let templates = self.client.templates().await.map_err(error)?;
        if templates.is_empty() {
            return Err("resources: no templates".to_owned());
        }
        for (uri, holds) in plain.map(|uri| (uri, "hello")).into_iter().chain([(from_template, holds)]) {
            let read = self.client.read(uri).await.map_err(error)?;
            let found = read.contents.first().and_then(|contents| contents.text.clone()).unwrap_or_default();
            expect(uri, &found, holds)?;
        }
        self.ok("read, template");
        Ok(())
    }

    /// Elicitation, sampling and roots, where the server and the revision have them.
    async fn asks(&mut self, whose: &str) -> Checked {
        let rules = self.client.revision().map(Revision::rules).ok_or("no connection")?;
        if rules.elicitation {
            match whose {
                "everything" => {
                    let asked = self.call("trigger-elicitation-request", json!({})).await?;
                    expect("elicitation", &text(&asked), "accept")?;
                    self.ok("elicitation");
                }
                // Its own way of asking needs server requests.
                "python" if !rules.server_requests => {}
                "python" => {
                    expect("elicitation", &text(&self.call("greet", json!({})).await?), "hello Ann")?;
                    self.ok("elicitation");
                }
                _ => {
                    let asked = self.call("ask", json!({ "prompt": "Who?" })).await?;
                    expect("elicitation", &text(&asked), "They said: Ann")?;
                    self.ok("elicitation");
                }
            }
        }
        match whose {
            "everything" => {
                let asked = self.call("trigger-sampling-request", json!({ "prompt": "x", "maxTokens": 5 })).await?;
                expect("sampling", &text(&asked), "a sample")?;
                expect("roots", &text(&self.call("get-roots-list", json!({})).await?), "file:///interop/root")?;
                self.ok("sampling, roots");
            }
            // As with elicitation.
            "python" if rules.server_requests => {
                expect("sampling", &text(&self.call("sample", json!({})).await?), "a sample")?;
                expect("roots", &text(&self.call("roots", json!({})).await?), "file:///interop/root")?;
                self.ok("sampling, roots");
            }
            "demo" => {
                expect("sampling", &text(&self.call("sample", json!({ "prompt": "x" })).await?), "a sample")?;
                self.ok("sampling");
            }
            _ => {}
        }
        Ok(())
    }

    async fn reports(&mut self, whose: &str) -> Checked {
        let (tool, arguments) = match whose {
            "everything" => ("trigger-long-running-operation", json!({ "duration": 0.3, "steps": 3 })),
            "python" => ("steps", json!({ "count": 3 })),
            _ => ("steps", json!({ "steps": 3, "interval_ms": 1 })),
        };
        let seen = Arc::new(Mutex::new(Vec::new()));
        let heard = seen.clone();
        let options = Options::default().on_progress(move |report| {
            if let Ok(mut heard) = heard.lock() {
                heard.push(report.progress);
            }
        });
        let result = self.client.call_tool(tool, object(arguments), options).await;
        result.map_err(|error| format!("{tool}: {error}"))?;
        let seen = seen.lock().map(|seen| seen.clone()).unwrap_or_default();
        if seen.is_empty() || !seen.is_sorted() {
            return Err(format!("progress: {seen:?}"));
        }
        self.ok("progress");
        // A call that runs out of time or is dropped is cancelled, and the server goes on.
        let (tool, arguments) = match whose {
            "everything" => ("trigger-long-running-operation", json!({ "duration": 20, "steps": 2 })),
            "python" => ("slow", json!({})),
            _ => ("slow", json!({ "ms": 20_000, "message": "x" })),
        };
        let (soon, arguments) = (Duration::from_millis(100), object(arguments));
        match self.client.call_tool(tool, arguments.clone(), Options::default().timeout(soon)).await {
            Err(Error::TimedOut) => {}
            other => return Err(format!("cancellation: {other:?}")),
        }
        let calling = self.client.call_tool(tool, arguments, Options::default());
        if let Ok(early) = tokio::time::timeout(soon, calling).await {
            return Err(format!("cancellation: {early:?}"));
        }
        self.client.ping().await.map_err(|error| format!("after a cancellation: {error}"))?;
        self.ok("cancellation");
        Ok(())
    }

    async fn prompts(&mut self, whose: &str) -> Checked {
        let (name, arguments, holds) = match whose {
            "everything" => ("args-prompt", json!({ "city": "Bern" }), "Bern"),
            "python" => ("introduce", json!({ "name": "Ann" }), "Ann"),
            _ => ("greet", json!({ "name": "Ann" }), "Ann"),
        };
        let error = |error: Error| format!("prompts: {error}");
        let prompts = self.client.prompts().await.map_err(error)?;
        if !prompts.iter().any(|prompt| prompt.name == name) {
            return Err(format!("prompts: no {name}"));
        }
        let prompt = self.client.prompt(name, arguments).await.map_err(error)?;
        let said = prompt.messages.first().and_then(|message| message.content.as_text()).unwrap_or_default();
        expect("prompt", said, holds)?;
        self.ok("prompt");
        let completed = match whose {
            "everything" => {
                let prompt = Reference::Prompt { name: "completable-prompt".to_owned() };
                self.client.complete(&prompt, ("department", "E"), &HashMap::new()).await.map_err(error)?
            }
            "python" => {
                let prompt = Reference::Prompt { name: name.to_owned() };
                self.client.complete(&prompt, ("name", "A"), &HashMap::new()).await.map_err(error)?
            }
            _ => {
                let template = Reference::Resource { uri: "demo://item/{n}".to_owned() };
                self.client.complete(&template, ("n", "1"), &HashMap::new()).await.map_err(error)?
            }
        };
        if completed.values.is_empty() {
            return Err("completion: nothing".to_owned());
        }
        self.ok("completion");
        Ok(())
    }

    /// Subscriptions and logs.
    async fn hears(&mut self, whose: &str) -> Checked {
        let rules = self.client.revision().map(Revision::rules).ok_or("no connection")?;
        let (uri, trigger) = match whose {
            "everything" => ("demo://resource/dynamic/text/1", "toggle-subscriber-updates"),
            "python" => ("fixture://item/1", "touch"),
            _ => ("demo://item/1", "touch"),
        };
        // That SDK has subscriptions in the modern era alone, and logs in the other.
        if whose != "python" || !rules.server_requests {
            let listening = self.client.listen(Listen::default().uri(uri)).await;
            let mut listening = listening.map_err(|error| format!("subscribe: {error}"))?;
            let arguments = if whose == "everything" { json!({}) } else { json!({ "uri": uri }) };
            self.call(trigger, arguments).await?;
            loop {
                match listening.next().await {
                    Some(Event::ResourceUpdated(updated)) if updated == uri => break,
                    Some(_) => {}
                    None => return Err("subscribe: the client is gone".to_owned()),
                }
            }
            self.ok("subscribe, update");
        }
        if whose != "everything" && !rules.log_level_per_request {
            let mut events = self.client.events();
            let arguments = if whose == "python" {
                json!({})
            } else {
                self.client.set_log_level(Level::Debug).await.map_err(|error| format!("logging: {error}"))?;
                json!({ "count": 1, "message": "noise" })
            };
            self.call("log", arguments).await?;
            while !matches!(events.next().await, Some(Event::Log { .. }) | None) {}
            self.ok("logging");
        }
        Ok(())
    }
}
