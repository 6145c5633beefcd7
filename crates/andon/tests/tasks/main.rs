//! Tasks in both shapes, through the whole server: core tasks of 2025-11-25 and the extension of 2026-07-28.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod core;
mod extension;
mod store;

use std::sync::Arc;

use andon::prelude::*;
use andon::server::host::Host;
use andon::server::testing::{Client, ClientOptions};
use andon::types::error::{ErrorCode, ErrorObject};
use andon::types::revision::Revision;
use tokio::sync::{Semaphore, mpsc};

/// The extension's name.
const TASKS: &str = "io.modelcontextprotocol/tasks";
/// The member of `_meta` that names a task in 2025-11-25.
const RELATED: &str = "io.modelcontextprotocol/related-task";

/// What handlers wait for, and who tells that one of them is gone.
struct Gate {
    open: Arc<Semaphore>,
    gone: mpsc::UnboundedSender<()>,
}

struct Gone(mpsc::UnboundedSender<()>);

impl Drop for Gone {
    fn drop(&mut self) {
        // The test may be over.
        let _ = self.0.send(());
    }
}

#[derive(Deserialize, JsonSchema)]
struct Person {
    name: String,
}

/// Answers at once.
#[tool(task)]
async fn quick(text: Option<String>) -> String {
    text.unwrap_or_else(|| "done".to_owned())
}

/// Answers when the gate is open.
#[tool(task = "optional")]
async fn gated(gate: State<Gate>) -> String {
    let _gone = Gone(gate.gone.clone());
    gate.open.acquire().await.map(tokio::sync::SemaphorePermit::forget).ok();
    "through".to_owned()
}

/// Cannot be called otherwise.
#[tool(task = "required")]
async fn required() -> &'static str {
    "required"
}

/// Never runs as a task.
#[tool]
async fn plain() -> &'static str {
    "plain"
}

#[tool(task)]
async fn fails() -> Result<String, ToolError> {
    Err(ToolError::new("no luck"))
}

#[tool(task)]
async fn breaks() -> Result<String, ToolError> {
    Err(ToolError::protocol(ErrorObject::new(ErrorCode::InvalidParams, "broken")))
}

#[tool(task)]
async fn panics() -> String {
    panic!("a handler that panics")
}

/// Asks for a name.
#[tool(task)]
async fn asks(ctx: Context) -> Result<String, ToolError> {
    let person: Person = ctx.elicit("Who?").await?;
    Ok(format!("Hello, {}!", person.name))
}

/// Asks twice at once, by keys, and then by one of them again.
#[tool(task)]
async fn asks_more(ctx: Context) -> Result<String, ToolError> {
    let schema = json!({"type": "object", "properties": {"name": {"type": "string"}}});
    let (one, two) = tokio::join!(
        ctx.elicit_with::<Person>(Some("one"), "First?", schema.clone()),
        ctx.elicit_with::<Person>(Some("two"), "Second?", schema.clone()),
    );
    let three: Person = ctx.elicit_with(Some("one"), "Third?", schema).await?;
    Ok(format!("{}, {}, {}", one?.name, two?.name, three.name))
}

/// Asks first, and is a task from then on.
#[tool(task = "late")]
async fn late(ctx: Context) -> Result<String, ToolError> {
    let person: Person = ctx.elicit("Who?").await?;
    let is_task = ctx.become_task().await?;
    assert_eq!(is_task, ctx.is_task());
    let other: Person = if is_task { ctx.elicit("Who else?").await? } else { Person { name: "nobody".into() } };
    Ok(format!("{} and {}, task: {is_task}", person.name, other.name))
}

/// Says how far it is.
#[tool(task)]
async fn speaks(ctx: Context, gate: State<Gate>) -> Result<String, ToolError> {
    ctx.progress(1.0, Some(2.0), Some("half")).await?;
    ctx.warning("careful");
    gate.open.acquire().await?.forget();
    Ok("said".to_owned())
}

/// A result with `_meta` and structured content.
#[tool(task)]
async fn rich() -> CallToolResult {
    let mut result = CallToolResult::structured(json!({"n": 1}).into());
    result.meta = Some([("example.com/x".to_owned(), json!(1))].into_iter().collect());
    result
}

/// The other side of the gate.
struct Keeper {
    open: Arc<Semaphore>,
    gone: mpsc::UnboundedReceiver<()>,
}

impl Keeper {
    /// Lets one handler through.
    fn open(&self) {
        self.open.add_permits(1);
    }

    /// Waits until one is gone.
    async fn gone(&mut self) {
        self.gone.recv().await.unwrap();
    }
}

fn server() -> (Server, Keeper) {
    let (gone, is_gone) = mpsc::unbounded_channel();
    let open = Arc::new(Semaphore::new(0));
    let gate = Gate { open: open.clone(), gone };
    let tools = (quick, gated, required, plain, fails, breaks, panics, asks, asks_more, late, speaks, rich);
    (Server::new("tasks", "1").state(gate).with(tools), Keeper { open, gone: is_gone })
}

fn host() -> (Arc<Host>, Keeper) {
    let (server, keeper) = server();
    (server.build().unwrap(), keeper)
}

fn ada() -> Principal {
    Principal::verified("ada", [])
}

fn bob() -> Principal {
    Principal::verified("bob", [])
}

fn legacy() -> ClientOptions {
    ClientOptions::default().capabilities(json!({"elicitation": {}})).principal(ada())
}

fn modern() -> ClientOptions {
    ClientOptions::default()
        .revision(Revision::LATEST)
        .capabilities(json!({"elicitation": {}, "extensions": {TASKS: {}}}))
        .principal(ada())
}

/// Calls `tool` as a task, and returns its id.
async fn start(client: &Client, tool: &str) -> String {
    let created = client.request("tools/call", json!({"name": tool, "task": {}})).await.unwrap();
    let id = created["taskId"].as_str().or(created["task"]["taskId"].as_str());
    id.unwrap_or_else(|| panic!("no task: {created}")).to_owned()
}

async fn get(client: &Client, id: &str) -> Result<Value, ErrorObject> {
    client.request("tasks/get", json!({"taskId": id})).await
}

/// Looks at a task until it has this status.
async fn until(client: &Client, id: &str, status: &str) -> Value {
    for _ in 0..10_000 {
        let task = get(client, id).await.unwrap();
        if task["status"] == status {
            return task;
        }
        tokio::task::yield_now().await;
    }
    panic!("the task never is {status}: {}", get(client, id).await.unwrap())
}
