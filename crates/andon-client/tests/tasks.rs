//! Tools called as tasks, by the same client in both eras.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use andon::prelude::*;
use andon::server::options::{HostOptions, TaskOptions};
use andon_client::{Called, Client, Error, Filled, Options, Task};
use andon_types::error::ErrorCode;
use andon_types::revision::Revision;
use andon_types::task::TaskStatus;
use common::serve;
use serde_json::Map;
use tokio::sync::Semaphore;

const WITH_TASKS: [Revision; 2] = [Revision::LATEST_LEGACY, Revision::LATEST];

#[derive(Deserialize, JsonSchema)]
struct Who {
    name: String,
}

/// Waits, asks, and greets.
#[tool(task)]
async fn greet(ctx: Context, gate: State<Arc<Semaphore>>) -> Result<String, ToolError> {
    gate.acquire().await?.forget();
    let who: Who = ctx.elicit("Who is there?").await?;
    let other: Who = ctx.elicit("Who else?").await?;
    Ok(format!("hello {} and {}", who.name, other.name))
}

#[derive(Serialize, JsonSchema)]
struct Sum {
    sum: i64,
}

#[tool(task = "required")]
async fn add(a: i64, b: i64) -> andon::prelude::Json<Sum> {
    andon::prelude::Json(Sum { sum: a + b })
}

#[tool(task)]
async fn fails() -> Result<String, ToolError> {
    Err(ToolError::new("no luck"))
}

#[tool]
async fn plain() -> &'static str {
    "plain"
}

fn serving() -> (String, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let tasks = TaskOptions { poll_interval: Duration::from_millis(20), ..TaskOptions::default() };
    let server = Server::new("tasks", "1").state(gate.clone()).with((greet, add, fails, plain));
    let host = server.options(HostOptions { tasks, ..HostOptions::default() }).build().unwrap();
    (serve(host), gate)
}

async fn client(url: &str, revision: Revision) -> Client {
    let builder = Client::builder(url).protocol(revision).on_form(|form| async move {
        let name = if form.message == "Who else?" { "Bob" } else { "Ann" };
        Filled::Accept(Map::from_iter([("name".to_owned(), name.into())]))
    });
    builder.connect().await.unwrap()
}

async fn start(client: &Client, tool: &str, arguments: Value) -> Task {
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    match client.call_task(tool, arguments, Options::default().task_ttl(Duration::from_secs(60))).await.unwrap() {
        Called::Task(task) => task,
        Called::Result(result) => panic!("no task: {result:?}"),
    }
}

#[tokio::test]
async fn task_b_a_task_is_waited_for_and_answered() {
    for revision in WITH_TASKS {
        let (url, gate) = serving();
        let client = client(&url, revision).await;
        let task = start(&client, "greet", json!({})).await;
        assert_eq!(task.look().await.unwrap().status, TaskStatus::Working, "{revision}");
        gate.add_permits(1);
        let result = task.result().await.unwrap();
        assert_eq!(result.content[0].as_text(), Some("hello Ann and Bob"), "{revision}");
        assert_eq!(task.look().await.unwrap().status, TaskStatus::Completed, "{revision}");
        assert_eq!(task.result().await.unwrap().content, result.content, "{revision}: again");
    }
}

#[tokio::test]
async fn task_b_results_are_checked_and_failures_are_results() {
    for revision in WITH_TASKS {
        let (url, _gate) = serving();
        let client = client(&url, revision).await;
        client.tools().await.unwrap();
        let sum = start(&client, "add", json!({"a": 1, "b": 2})).await.result().await.unwrap();
        assert_eq!(sum.structured_content.unwrap().as_str(), "{\"sum\":3}", "{revision}");
        let failed = start(&client, "fails", json!({})).await.result().await.unwrap();
        assert!(failed.is_error, "{revision}");
        // An ordinary call declares nothing: the server makes no task of it, and cannot serve this one.
        assert!(matches!(client.call::<Value>("add", json!({"a": 1, "b": 2})).await, Err(Error::Protocol(_))));
    }
}

#[tokio::test]
async fn task_b_what_is_no_task_is_a_result() {
    let (url, _gate) = serving();
    for revision in Revision::ALL {
        if revision.rules().streamable_http {
            let client = client(&url, revision).await;
            let tool = if revision.rules().execution { "fails" } else { "plain" };
            let called = client.call_task(tool, Map::new(), Options::default()).await.unwrap();
            assert_eq!(matches!(called, Called::Task(_)), revision.rules().execution, "{revision}");
            assert!(called.result().await.is_ok(), "{revision}");
        }
    }
}

#[tokio::test]
async fn task_b_a_task_is_cancelled_and_says_so() {
    for revision in WITH_TASKS {
        let (url, _gate) = serving();
        let client = client(&url, revision).await;
        let task = start(&client, "greet", json!({})).await;
        let waiting = tokio::spawn({
            let task = task.clone();
            async move { task.result().await }
        });
        task.cancel().await.unwrap();
        assert!(matches!(waiting.await.unwrap(), Err(Error::Cancelled)), "{revision}");
        // Cancelling what is over is an error before 2026-07-28, and nothing from then on.
        assert_eq!(task.cancel().await.is_ok(), revision.rules().tasks_extension, "{revision}");
    }
}

#[tokio::test]
async fn task_b_a_task_is_taken_up_by_its_id() {
    let (url, gate) = serving();
    let id = start(&client(&url, Revision::LATEST).await, "greet", json!({})).await.id().to_owned();
    let client = client(&url, Revision::LATEST).await;
    gate.add_permits(1);
    assert_eq!(client.task(id).result().await.unwrap().content[0].as_text(), Some("hello Ann and Bob"));
    let unknown = client.task("unknown").result().await;
    assert!(matches!(unknown, Err(Error::Protocol(error)) if error.code == ErrorCode::InvalidParams as i32));
}

#[tokio::test]
async fn task_b_a_question_that_nobody_answers_ends_the_waiting() {
    let (url, gate) = serving();
    let able = client(&url, Revision::LATEST).await;
    let task = start(&able, "greet", json!({})).await;
    gate.add_permits(1);
    let unable = Client::builder(url.as_str()).protocol(Revision::LATEST).connect().await.unwrap();
    assert!(matches!(unable.task(task.id()).result().await, Err(Error::Unanswerable(_))));
    assert_eq!(task.result().await.unwrap().content[0].as_text(), Some("hello Ann and Bob"));
}

#[tokio::test]
async fn task_b_who_declares_tasks_for_all_it_does_has_results_all_the_same() {
    let (url, gate) = serving();
    let declared = json!({"io.modelcontextprotocol/tasks": {}});
    let builder = Client::builder(url.as_str()).protocol(Revision::LATEST).declare("extensions", declared);
    let client = builder.connect().await.unwrap();
    gate.add_permits(1);
    assert_eq!(client.call::<Value>("add", json!({"a": 1, "b": 2})).await.unwrap(), json!({"sum": 3}));
}
