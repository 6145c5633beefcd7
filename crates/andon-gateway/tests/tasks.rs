//! Tasks of servers behind the gateway, by clients of each era over servers of each era.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use andon_client::{Called, Client, Error, Options, Task};
use andon_http::Http;
use andon_server::context::Context;
use andon_server::entry::ToolEntry;
use andon_server::failure::ToolError;
use andon_server::options::{HostOptions, TaskOptions};
use andon_server::server::Server;
use andon_types::client::InputRequest;
use andon_types::error::ErrorCode;
use andon_types::revision::Revision;
use andon_types::task::{TaskStatus, TaskSupport};
use common::{Bench, SOON, call, until};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

const LEGACY: &str = "2025-11-25";
const MODERN: &str = "2026-07-28";
const ERAS: [&str; 2] = [LEGACY, MODERN];

/// A server with tools that are tasks, and one of each revision of it behind a gateway.
struct Scene {
    bench: Bench,
    /// The server itself.
    url: String,
    begun: Arc<Semaphore>,
    dropped: Arc<Semaphore>,
}

/// Tells when it is dropped.
struct Told(Arc<Semaphore>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

fn scene() -> Scene {
    let (begun, dropped) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (starts, ends) = (begun.clone(), dropped.clone());
    let any = json!({ "type": "object" });
    let plain = ToolEntry::from_fn("plain", any.clone(), |_: Value, _| async { "plain" });
    let only = ToolEntry::from_fn("only", any.clone(), |_: Value, _| async { "only as a task" });
    let fails =
        ToolEntry::from_fn("fails", any.clone(), |_: Value, _| async { Err::<String, _>(ToolError::new("no luck")) });
    let breaks = ToolEntry::from_fn("breaks", any.clone(), |_: Value, _| async {
        let error = andon_types::error::ErrorObject::invalid_params("broken");
        Err::<String, _>(ToolError::protocol(error))
    });
    let greet = ToolEntry::from_fn("greet", any.clone(), |_: Value, context: Context| async move {
        let schema = json!({ "type": "object", "properties": { "name": { "type": "string" } } });
        let answer = context.ask(Some("who"), InputRequest::form("Who is there?", schema)).await?;
        context.progress(1.0, Some(2.0), Some("half of it")).await?;
        Ok::<_, ToolError>(format!("hello {}", answer["content"]["name"].as_str().unwrap_or("nobody")))
    });
    let hang = ToolEntry::from_fn("hang", any, move |_: Value, _| {
        let (begun, told) = (starts.clone(), Told(ends.clone()));
        async move {
            let _told = told;
            begun.add_permits(1);
            std::future::pending::<String>().await
        }
    });
    let entries = (
        plain,
        only.task(TaskSupport::Required),
        fails.task(TaskSupport::Optional),
        breaks.task(TaskSupport::Optional),
        greet.task(TaskSupport::Optional),
        hang.task(TaskSupport::Optional),
    );
    let tasks = TaskOptions { poll_interval: Duration::from_millis(20), ..TaskOptions::default() };
    let options = HostOptions { tasks, ..HostOptions::default() };
    let host = Server::new("tasks", "1").options(options).with(entries).build().unwrap();
    let http = Http::bind("127.0.0.1:0").unwrap();
    let url = http.url();
    tokio::spawn(http.run(host, std::future::pending()));
    let at = |revision: &str| json!({ "url": url, "andon": { "protocol": revision } });
    let bench = Bench::new(json!({ LEGACY: at(LEGACY), MODERN: at(MODERN) }));
    Scene { bench, url, begun, dropped }
}

impl Scene {
    /// A client through the gateway that knows what there is.
    async fn client(&self, revision: &str) -> Client {
        let client = self.bench.client(revision).await;
        until(|| async { client.tools().await.unwrap().len() == 12 }).await;
        client
    }
}

async fn start(client: &Client, tool: &str) -> Task {
    match client.call_task(tool, serde_json::Map::new(), Options::default().timeout(SOON)).await.unwrap() {
        Called::Task(task) => task,
        Called::Result(result) => panic!("{tool} is no task: {result:?}"),
    }
}

#[tokio::test]
async fn tasks_pass_between_all_eras() {
    let scene = scene();
    for revision in ERAS {
        let client = scene.client(revision).await;
        for server in ERAS {
            let task = start(&client, &format!("{server}__greet")).await;
            let result = tokio::time::timeout(SOON, task.result_raw()).await.unwrap().unwrap();
            let result: Value = result.parse_owned().unwrap();
            assert_eq!(result["content"][0]["text"], "hello Ada", "{revision} over {server}");
            let named = result.pointer("/_meta/io.modelcontextprotocol~1related-task/taskId");
            let own = (revision == LEGACY).then(|| json!(task.id()));
            assert_eq!(named, own.as_ref(), "what the server calls it is not the client's to know");
            assert_eq!(task.look().await.unwrap().status, TaskStatus::Completed, "{revision} over {server}");
            // It is a task of Andon and not the server's.
            let directly = Client::builder(scene.url.as_str()).protocol(client.revision().unwrap()).connect();
            let unknown = directly.await.unwrap().task(task.id()).look().await.unwrap_err();
            assert!(is(&unknown, ErrorCode::InvalidParams), "{unknown}");
        }
    }
    scene.bench.gateway.stop().await;
}

fn is(error: &Error, code: ErrorCode) -> bool {
    matches!(error, Error::Protocol(error) if error.code == code as i32)
}

#[tokio::test]
async fn failures_are_spelt_as_the_revision_of_the_client_does() {
    let scene = scene();
    for revision in ERAS {
        let client = scene.client(revision).await;
        for server in ERAS {
            let failed = start(&client, &format!("{server}__fails")).await;
            assert!(failed.result().await.unwrap().is_error, "{revision} over {server}");
            let status = if revision == LEGACY { TaskStatus::Failed } else { TaskStatus::Completed };
            assert_eq!(failed.look().await.unwrap().status, status, "{revision} over {server}");
            let broken = start(&client, &format!("{server}__breaks")).await;
            let error = broken.result().await.unwrap_err();
            assert!(is(&error, ErrorCode::InvalidParams), "{revision} over {server}: {error}");
            assert_eq!(broken.look().await.unwrap().status, TaskStatus::Failed);
        }
    }
    scene.bench.gateway.stop().await;
}

#[tokio::test]
async fn who_takes_no_tasks_waits_where_it_could_not_know_of_them() {
    let scene = scene();
    for (revision, server, refusal) in [
        ("2025-06-18", LEGACY, Some(ErrorCode::MethodNotFound)),
        ("2025-06-18", MODERN, None),
        (LEGACY, LEGACY, Some(ErrorCode::MethodNotFound)),
        (LEGACY, MODERN, None),
        (MODERN, LEGACY, Some(ErrorCode::MissingCapability)),
        (MODERN, MODERN, Some(ErrorCode::MissingCapability)),
    ] {
        let client = scene.client(revision).await;
        match (call(&client, &format!("{server}__only"), json!({})).await, refusal) {
            (Ok(text), None) => assert_eq!(text, "only as a task", "{revision} over {server}"),
            (Err(error), Some(code)) => assert!(is(&error, code), "{revision} over {server}: {error}"),
            (outcome, _) => panic!("{revision} over {server}: {outcome:?}"),
        }
        // What needs no task is as fast as ever.
        assert_eq!(call(&client, &format!("{server}__plain"), json!({})).await.unwrap(), "plain");
        assert_eq!(call(&client, &format!("{server}__greet"), json!({})).await.unwrap(), "hello Ada");
    }
    scene.bench.gateway.stop().await;
}

#[tokio::test]
async fn a_task_that_is_cancelled_is_cancelled_at_its_server() {
    let scene = scene();
    for revision in ERAS {
        let client = scene.client(revision).await;
        for server in ERAS {
            let task = start(&client, &format!("{server}__hang")).await;
            tokio::time::timeout(SOON, scene.begun.acquire()).await.unwrap().unwrap().forget();
            task.cancel().await.unwrap();
            assert_eq!(task.look().await.unwrap().status, TaskStatus::Cancelled, "{revision} over {server}");
            let dropped = tokio::time::timeout(SOON, scene.dropped.acquire()).await;
            dropped.unwrap_or_else(|_| panic!("{revision} over {server}")).unwrap().forget();
        }
    }
    let at_rest = || async { scene.bench.gateway.status().iter().all(|status| status.in_flight == 0) };
    until(at_rest).await;
    scene.bench.gateway.stop().await;
}

#[tokio::test]
async fn nobody_else_has_a_clients_task() {
    let scene = scene();
    let http = Http::bind("127.0.0.1:0").unwrap();
    let url = http.url();
    tokio::spawn(http.run(scene.bench.gateway.host(), std::future::pending()));
    // What is known before is known to them as well.
    drop(scene.client(LEGACY).await);
    let connect = || Client::builder(url.as_str()).protocol(Revision::LATEST_LEGACY).connect();
    let (ann, bob) = (connect().await.unwrap(), connect().await.unwrap());
    let task = start(&ann, &format!("{LEGACY}__hang")).await;
    let unknown = bob.task(task.id()).look().await.unwrap_err();
    assert!(is(&unknown, ErrorCode::InvalidParams), "{unknown}");
    assert!(bob.task(task.id()).cancel().await.is_err());
    let list = |client: Client| async move {
        let listed = client.request("tasks/list", serde_json::Map::new(), Options::default()).await.unwrap();
        listed.parse_owned::<Value>().unwrap()["tasks"].as_array().unwrap().len()
    };
    assert_eq!((list(ann.clone()).await, list(bob).await), (1, 0));
    // A client that ends takes what runs for it along, to its server too.
    tokio::time::timeout(SOON, scene.begun.acquire()).await.unwrap().unwrap().forget();
    ann.close().await;
    tokio::time::timeout(SOON, scene.dropped.acquire()).await.unwrap().unwrap().forget();
    scene.bench.gateway.stop().await;
}

#[tokio::test]
async fn tools_say_whether_they_can_be_tasks_as_far_as_their_server_does() {
    let scene = scene();
    let tools = scene.client(LEGACY).await.tools().await.unwrap();
    let support = |name: String| {
        let tool = tools.iter().find(|tool| tool.name == name).unwrap();
        tool.execution.as_ref().and_then(|execution| execution["taskSupport"].as_str().map(str::to_owned))
    };
    assert_eq!(support(format!("{LEGACY}__plain")), None);
    assert_eq!(support(format!("{LEGACY}__greet")).as_deref(), Some("optional"));
    assert_eq!(support(format!("{LEGACY}__only")).as_deref(), Some("required"));
    // There the server decides, while the call runs.
    assert_eq!(support(format!("{MODERN}__only")).as_deref(), Some("optional"));
    let modern = scene.client(MODERN).await.tools().await.unwrap();
    assert!(modern.iter().all(|tool| tool.execution.is_none()));
    scene.bench.gateway.stop().await;
}
