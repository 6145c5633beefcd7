//! What the server asks, answered by the person at the terminal, or by `--answer`.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;

use andon::auth::open_in_browser;
use andon::client::{Builder, Consent, Filled, Form, Visit};
use andon::serde_json::{Map, Value, json};
use andon::types::error::ErrorObject;

use super::arguments::convert;
use super::show::harmless;

/// Declares what can be answered here: forms by a person or by `answers`, the rest by a person alone.
pub(super) fn add(mut builder: Builder, answers: &[String]) -> Builder {
    let is_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if !answers.is_empty() {
        let answers: Arc<[String]> = answers.to_vec().into();
        builder = builder.on_form(move |form| {
            let answers = answers.clone();
            async move { prepared(&form, &answers) }
        });
    } else if is_terminal {
        builder = builder.on_form(|form| blocking(move || fill(&form)));
    }
    if is_terminal {
        builder = builder.on_visit(|visit| blocking(move || consent(&visit)));
        builder = builder.on_sample(|params| blocking(move || sample(&params)));
    }
    builder
}

/// A terminal is read by a thread that may wait.
async fn blocking<T: Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(ask).await {
        Ok(answer) => answer,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn prepared(form: &Form, answers: &[String]) -> Filled {
    let mut content = Map::new();
    for answer in answers {
        let Some((field, value)) = answer.split_once('=') else { continue };
        let property = &form.schema["properties"][field];
        if !property.is_null() {
            content.insert(field.to_owned(), convert(property, value.to_owned()));
        }
    }
    Filled::Accept(content)
}

fn fill(form: &Form) -> Filled {
    eprintln!("\nThe server asks: {}", harmless(&form.message));
    eprintln!("(an empty line takes the default; a dot alone declines)");
    let mut content = Map::new();
    let required = form.schema["required"].as_array().cloned().unwrap_or_default();
    for (name, property) in form.schema["properties"].as_object().into_iter().flatten() {
        let is_required = required.iter().any(|known| known == name);
        loop {
            let Some(line) = ask(&question(name, property, is_required)) else { return Filled::Cancel };
            match line.as_str() {
                "." => return Filled::Decline,
                "" if !property["default"].is_null() || !is_required => break,
                "" => eprintln!("  this one is needed"),
                _ => {
                    content.insert(name.clone(), convert(property, line));
                    break;
                }
            }
        }
    }
    if content.is_empty() && form.schema["properties"].as_object().is_none_or(Map::is_empty) {
        return match ask("Agree? [y/N] ").as_deref() {
            Some("y" | "Y" | "yes") => Filled::Accept(content),
            Some(_) => Filled::Decline,
            None => Filled::Cancel,
        };
    }
    Filled::Accept(content)
}

fn question(name: &str, property: &Value, is_required: bool) -> String {
    let title = property["title"].as_str().unwrap_or(name);
    let mut text = format!("  {}", harmless(title));
    if let Some(description) = property["description"].as_str() {
        text.push_str(&format!(" ({})", harmless(description)));
    }
    let options: Vec<String> = property["enum"].as_array().into_iter().flatten().map(shown).collect();
    if !options.is_empty() {
        text.push_str(&format!(" one of {}", options.join(", ")));
    } else if let Some(kind) = property["type"].as_str().filter(|kind| *kind != "string") {
        text.push_str(&format!(" <{}>", harmless(kind)));
    }
    match &property["default"] {
        Value::Null if is_required => {}
        Value::Null => text.push_str(" [none]"),
        default => text.push_str(&format!(" [{}]", shown(default))),
    }
    text + ": "
}

fn shown(value: &Value) -> String {
    harmless(&value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

fn consent(visit: &Visit) -> Consent {
    eprintln!("\nThe server asks: {}", harmless(&visit.message));
    eprintln!("It wants to open {}", harmless(&visit.url));
    match ask("Open it in your browser? [y/N] ").as_deref() {
        Some("y" | "Y" | "yes") => match open_in_browser(&visit.url) {
            Ok(()) => Consent::Accept,
            Err(error) => {
                eprintln!("{error}");
                Consent::Decline
            }
        },
        Some(_) => Consent::Decline,
        None => Consent::Cancel,
    }
}

fn sample(params: &Map<String, Value>) -> Result<Value, ErrorObject> {
    eprintln!("\nThe server wants a model to answer. You may be the model:");
    for message in params.get("messages").and_then(Value::as_array).into_iter().flatten() {
        let role = message["role"].as_str().unwrap_or_default();
        let text = message["content"]["text"].as_str().unwrap_or("(not text)");
        eprintln!("  {}: {}", harmless(role), harmless(text));
    }
    match ask("Your answer (empty: refuse): ") {
        Some(text) if !text.is_empty() => {
            let content = json!({ "type": "text", "text": text });
            Ok(json!({ "role": "assistant", "content": content, "model": "a person", "stopReason": "endTurn" }))
        }
        _ => Err(ErrorObject::invalid_request("the person refused to answer")),
    }
}

/// A line of the terminal; `None` at its end.
fn ask(question: &str) -> Option<String> {
    let mut terminal = std::io::stderr();
    // A terminal that is gone is found out by reading.
    drop(write!(terminal, "{question}").and_then(|()| terminal.flush()));
    let mut line = String::new();
    match std::io::stdin().read_line(&mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(line.trim_end_matches(['\r', '\n']).to_owned()),
    }
}
