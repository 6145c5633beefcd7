//! An agent's loop: give the model the tools of a server, call what it chooses, give it the results, until it answers.
//! What fails goes back to the model as well, so that it can do better.
//!
//! `cargo run --bin agent -- http://127.0.0.1:8080/mcp "add 1 and 2"`. The model here is a stand-in that knows how to add;
//! put the API of yours behind the trait.

use andon::client::{Error, Options, Target};
use andon::prelude::*;
use andon::types::tools::Tool;

/// What the model decides.
enum Turn {
    /// Call this tool with these arguments.
    Call { name: String, arguments: Value },
    /// The answer to the person.
    Answer(String),
}

/// One thing that was said or done, oldest first.
enum Entry {
    Person(String),
    Called { name: String, result: String },
}

/// Your model: it sees the tools with their schemas, and what happened so far.
trait Model {
    fn next(&self, tools: &[Tool], story: &[Entry]) -> Turn;
}

/// Adds the numbers of a sentence.
struct StandIn;

impl Model for StandIn {
    fn next(&self, tools: &[Tool], story: &[Entry]) -> Turn {
        if let Some(Entry::Called { name, result }) = story.last() {
            return Turn::Answer(format!("{name} says: {result}"));
        }
        let numbers: Vec<i64> = match &story[0] {
            Entry::Person(text) => text.split_whitespace().filter_map(|word| word.parse().ok()).collect(),
            Entry::Called { .. } => Vec::new(),
        };
        match numbers[..] {
            [a, b] if tools.iter().any(|tool| tool.name == "add") => {
                Turn::Call { name: "add".to_owned(), arguments: json!({"a": a, "b": b}) }
            }
            _ => Turn::Answer("I can only add two numbers.".to_owned()),
        }
    }
}

/// Turns of one task: a model that never comes to an answer is stopped.
const TURNS_MAX: usize = 20;

async fn work(client: &Client, model: &impl Model, task: &str) -> Result<String, Error> {
    let mut story = vec![Entry::Person(task.to_owned())];
    for _ in 0..TURNS_MAX {
        // From the cache as long as the server allows; a change that it announces is seen at once.
        let tools = client.tools().await?;
        let (name, arguments) = match model.next(&tools, &story) {
            Turn::Answer(answer) => return Ok(answer),
            Turn::Call { name, arguments } => (name, arguments.as_object().cloned().unwrap_or_default()),
        };
        let result = match client.call_tool(&name, arguments, Options::default()).await {
            Ok(result) => result.content.iter().filter_map(Content::as_text).collect(),
            // The model hears what went wrong; only a server that is gone ends the task.
            Err(error @ (Error::Protocol(_) | Error::Invalid(_) | Error::TimedOut)) => error.to_string(),
            Err(error) => return Err(error),
        };
        story.push(Entry::Called { name, result });
    }
    Ok("This takes too many steps.".to_owned())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut words = std::env::args().skip(1);
    let target = Target::from(words.next().unwrap_or_else(|| "http://127.0.0.1:8080/mcp".to_owned()));
    let task = words.next().unwrap_or_else(|| "add 1 and 2".to_owned());
    let client = Client::connect(target).await?;
    println!("{}", work(&client, &StandIn, &task).await?);
    client.close().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use andon::prelude::*;

    use super::{StandIn, work};

    /// Add two numbers.
    #[tool]
    async fn add(a: i64, b: i64) -> i64 {
        a + b
    }

    #[tokio::test]
    async fn a_task_is_done_with_tools_or_answered_without() {
        let client = Client::connect(Server::new("adder", "1.0.0").with(add)).await.expect("a server");
        assert_eq!(work(&client, &StandIn, "add 20 and 22").await.expect("an answer"), "add says: 42");
        assert!(work(&client, &StandIn, "hello").await.expect("an answer").contains("only add"));
    }
}
