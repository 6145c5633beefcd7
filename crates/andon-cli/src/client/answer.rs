//! What the server asks, answered by the person at the terminal, or by `--answer`.

mod form;

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use andon::auth::open_in_browser;
use andon::client::{Builder, Consent, Filled, Form, Visit};
use andon::serde_json::{Map, Value, json};
use andon::types::error::ErrorObject;

use super::show::harmless;
use super::{Failure, usage};

/// Held while the person is asked, so that two questions are asked one after the other.
static ASKING: Mutex<()> = Mutex::new(());

/// Whether the terminal waits for an answer, which nothing else may write into.
pub(super) fn is_asking() -> bool {
    matches!(ASKING.try_lock(), Err(TryLockError::WouldBlock))
}

/// Declares what can be answered here: forms by a person or by `answers`, the rest by a person alone.
pub(super) fn add(mut builder: Builder, answers: &[String]) -> Result<Builder, Failure> {
    let is_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if !answers.is_empty() {
        let pair = |answer: &String| answer.split_once('=').map(|(field, value)| (field.to_owned(), value.to_owned()));
        let pairs: Option<Vec<_>> = answers.iter().map(pair).collect();
        let pairs: Arc<[_]> = pairs.ok_or_else(|| usage("an answer is written --answer FIELD=VALUE"))?.into();
        builder = builder.on_form(move |form| {
            let pairs = pairs.clone();
            async move { prepared(&form, &pairs) }
        });
    } else if is_terminal {
        builder = builder.on_form(|form| blocking(move || fill(&form)));
    }
    if is_terminal {
        builder = builder.on_visit(|visit| blocking(move || consent(&visit)));
        builder = builder.on_sample(|params| blocking(move || sample(&params)));
    }
    Ok(builder)
}

/// A terminal is read by a thread that may wait.
async fn blocking<T: Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> T {
    let asking = tokio::task::spawn_blocking(|| {
        let _turn = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
        ask()
    });
    match asking.await {
        Ok(answer) => answer,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn prepared(form: &Form, answers: &[(String, String)]) -> Filled {
    let mut content = Map::new();
    for (field, text) in answers {
        let property = &form.schema["properties"][field];
        if !property.is_null() {
            // What does not fit stays as it is; the client says so by field.
            let value = form::value(property, text).unwrap_or_else(|_| text.as_str().into());
            content.insert(field.clone(), value);
        }
    }
    Filled::Accept(content)
}

fn fill(form: &Form) -> Filled {
    eprintln!("\nThe server asks: {}", harmless(&form.message));
    let properties = form.schema["properties"].as_object();
    let mut content = Map::new();
    let Some(properties) = properties.filter(|properties| !properties.is_empty()) else {
        return match ask("Agree? [y/N] ").as_deref() {
            Some("y" | "Y" | "yes") => Filled::Accept(content),
            Some(_) => Filled::Decline,
            None => Filled::Cancel,
        };
    };
    eprintln!("(an empty line takes the default, a dot alone declines, the end of input cancels)");
    let required = form.schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (name, property) in properties {
        let is_required = required.iter().any(|known| known == name);
        let question = form::question(name, property, is_required);
        loop {
            let Some(line) = ask(&question) else { return Filled::Cancel };
            match line.as_str() {
                "." => return Filled::Decline,
                // The client puts the default there.
                "" if !property["default"].is_null() || !is_required => break,
                "" => eprintln!("  this one is needed"),
                _ => match form::value(property, &line) {
                    Ok(value) => {
                        content.insert(name.clone(), value);
                        break;
                    }
                    Err(why) => eprintln!("  {}", harmless(&why)),
                },
            }
        }
    }
    Filled::Accept(content)
}

fn consent(visit: &Visit) -> Consent {
    eprintln!("\nThe server asks: {}", harmless(&visit.message));
    eprintln!("It wants to open {}", plain_url(&visit.url));
    eprintln!("which is a page of {}", plain_url(host(&visit.url)));
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

/// Who is visited: what stands before an `@` only looks like it.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}

/// Letters that look like others are seen to be what they are.
fn plain_url(url: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic();
    url.chars().map(|c| if plain(c) { c.to_string() } else { c.escape_unicode().to_string() }).collect()
}

fn sample(params: &Map<String, Value>) -> Result<Value, ErrorObject> {
    eprintln!("\nThe server wants a model to answer. You may be the model:");
    if let Some(system) = params.get("systemPrompt").and_then(Value::as_str) {
        eprintln!("  system: {}", harmless(system));
    }
    for message in params.get("messages").and_then(Value::as_array).into_iter().flatten() {
        let role = message["role"].as_str().unwrap_or_default();
        let content = &message["content"];
        let blocks = content.as_array().map_or(std::slice::from_ref(content), Vec::as_slice);
        for block in blocks {
            eprintln!("  {}: {}", harmless(role), harmless(block["text"].as_str().unwrap_or("(not text)")));
        }
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

#[cfg(test)]
mod tests {
    use super::{host, plain_url};

    #[test]
    fn a_url_cannot_pretend_to_be_another() {
        for (url, expected) in [
            ("https://bank.example/pay?to=a@b", "bank.example"),
            ("https://bank.example@evil.example/", "evil.example"),
            ("https://evil.example\\@bank.example/", "evil.example"),
            ("https://evil.example?@bank.example", "evil.example"),
            ("https://b\u{430}nk.example:8443#x", "b\\u{430}nk.example:8443"),
        ] {
            assert_eq!(plain_url(host(url)), expected);
        }
        assert_eq!(plain_url("https://a/\u{202e}\u{1b}["), "https://a/\\u{202e}\\u{1b}[");
    }
}
