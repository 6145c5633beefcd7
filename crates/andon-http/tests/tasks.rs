//! Tasks over HTTP: whose they are where nobody says who he is, what a lost connection does to them, what routes them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use andon_core::port::{Kind, Store};
use andon_http::Http;
use andon_server::context::Context;
use andon_server::entry::ToolEntry;
use andon_server::server::Server;
use andon_server::sessions::Sessions;
use andon_store::MemoryStore;
use andon_types::task::TaskSupport;
use common::{Open, open, post, routed, send};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

const TASKS: &str = "io.modelcontextprotocol/tasks";

struct Running {
    address: SocketAddr,
    gate: Arc<Semaphore>,
    /// Handlers that wait at it.
    waiting: Arc<AtomicUsize>,
    serving: AbortHandle,
}

struct Waits(Arc<AtomicUsize>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A server with one tool, `work`, that waits until the gate is open.
async fn start(store: &Arc<dyn Store>) -> Running {
    let gate = Arc::new(Semaphore::new(0));
    let waiting = Arc::new(AtomicUsize::new(0));
    let (closed, count) = (gate.clone(), waiting.clone());
    let work = ToolEntry::from_fn("work", json!({"type": "object"}), move |_: Value, _: Context| {
        let (gate, count) = (closed.clone(), count.clone());
        async move {
            count.fetch_add(1, Ordering::AcqRel);
            let _waits = Waits(count);
            gate.acquire().await.unwrap().forget();
            "worked"
        }
    });
    let server = Server::new("test", "1").sessions(Sessions::in_store(store.clone()));
    let host = server.with(work.task(TaskSupport::Optional)).build().unwrap();
    let http = Http::bind("127.0.0.1:0").unwrap();
    let address = http.address();
    let serving = tokio::spawn(http.run(host, std::future::pending())).abort_handle();
    Running { address, gate, waiting, serving }
}

fn store() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

fn request(id: u32, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

async fn ask(address: SocketAddr, session: &str, id: u32, method: &str, params: Value) -> Value {
    post(address, &[("Mcp-Session-Id", session)], &request(id, method, params)).await.json()
}

/// Creates a task in `session`, and gives its id.
async fn create(address: SocketAddr, session: &str, number: u32) -> String {
    let created = ask(address, session, number, "tools/call", json!({"name": "work", "task": {}})).await;
    created["result"]["task"]["taskId"].as_str().unwrap_or_else(|| panic!("{created}")).to_owned()
}

fn modern(method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": common::MODERN,
        "io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}}}});
    request(1, method, params)
}

async fn ask_modern(address: SocketAddr, method: &str, id: &str) -> common::Response {
    let params = json!({"taskId": id, "inputResponses": {}});
    post(address, &routed(method, Some(id)), &modern(method, params)).await
}

async fn create_modern(address: SocketAddr) -> String {
    let called =
        post(address, &routed("tools/call", Some("work")), &modern("tools/call", json!({"name": "work"}))).await;
    called.json()["result"]["taskId"].as_str().unwrap_or_else(|| panic!("{called:?}")).to_owned()
}

#[tokio::test]
async fn a7_another_session_of_nobody_has_no_such_task() {
    let server = start(&store()).await;
    let (one, other) = (open(server.address, "2025-11-25", &[]).await, open(server.address, "2025-11-25", &[]).await);
    let id = create(server.address, &one, 1).await;
    for (number, method) in [(2, "tasks/get"), (3, "tasks/result"), (4, "tasks/cancel")] {
        let refused = ask(server.address, &other, number, method, json!({"taskId": id})).await;
        assert_eq!(refused["error"]["code"], -32602, "{method}: {refused}");
    }
    let listed = ask(server.address, &other, 5, "tasks/list", json!({})).await;
    assert_eq!(listed["result"]["tasks"], json!([]));
    let listed = ask(server.address, &one, 2, "tasks/list", json!({})).await;
    assert_eq!(listed["result"]["tasks"][0]["taskId"], id);
}

#[tokio::test]
async fn k8_a_session_that_is_ended_leaves_no_task_of_nobodys() {
    let store = store();
    let server = start(&store).await;
    let session = open(server.address, "2025-11-25", &[]).await;
    let (running, over) = (create(server.address, &session, 1).await, create(server.address, &session, 2).await);
    ask(server.address, &session, 3, "tasks/cancel", json!({"taskId": over})).await;
    let other = create_modern(server.address).await;
    let ended = send(server.address, "DELETE", &[("Mcp-Session-Id", &session)], "").await;
    assert_eq!(ended.status, 204);
    assert_eq!(store.count(Kind::Task).await.unwrap(), 1, "{running} and {over} are gone");
    assert_eq!(ask_modern(server.address, "tasks/get", &other).await.status, 200);
    // Nothing waits for the gate but the other one.
    while server.waiting.load(Ordering::Acquire) > 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn k7_a_session_that_comes_back_has_its_tasks() {
    let store = store();
    let first = start(&store).await;
    let session = open(first.address, "2025-11-25", &[]).await;
    let (over, running) = (create(first.address, &session, 1).await, create(first.address, &session, 6).await);
    let cancelled = ask(first.address, &session, 2, "tasks/cancel", json!({"taskId": over})).await;
    first.serving.abort();

    let second = start(&store).await;
    let known = ask(second.address, &session, 3, "tasks/get", json!({"taskId": over})).await;
    assert_eq!(known["result"], cancelled["result"]);
    let failed = ask(second.address, &session, 4, "tasks/get", json!({"taskId": running})).await;
    assert_eq!(failed["result"]["status"], "failed", "{failed}");
    let why = ask(second.address, &session, 5, "tasks/result", json!({"taskId": running})).await;
    assert!(why["error"]["message"].as_str().unwrap().contains("outcome is unknown"), "{why}");
}

#[tokio::test]
async fn can7_a_lost_connection_cancels_no_task() {
    let server = start(&store()).await;
    let session = open(server.address, "2025-11-25", &[]).await;
    let id = create(server.address, &session, 1).await;
    let wait = request(2, "tasks/result", json!({"taskId": id})).to_string();
    let mut waiting = Open::new(server.address, "POST", &[("Mcp-Session-Id", &session)], &wait).await;
    waiting.until("id: ").await;
    drop(waiting);
    let later = create_modern(server.address).await;
    server.gate.add_permits(2);
    let kept = ask(server.address, &session, 3, "tasks/result", json!({"taskId": id})).await;
    assert_eq!(kept["result"]["content"][0]["text"], "worked", "{kept}");
    let look = async || ask_modern(server.address, "tasks/get", &later).await.json()["result"].clone();
    let mut task = look().await;
    while task["status"] == "working" {
        task = look().await;
    }
    assert_eq!(task["result"]["content"][0]["text"], "worked", "{task}");
}

#[tokio::test]
async fn task_e_requests_are_routed_by_the_tasks_id() {
    let server = start(&store()).await;
    let id = create_modern(server.address).await;
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        for name in [Some("another"), None] {
            let params = json!({"taskId": id, "inputResponses": {}});
            let refused = post(server.address, &routed(method, name), &modern(method, params)).await;
            assert_eq!((refused.status, refused.code()), (400, -32020), "{method} {name:?}");
        }
        assert_eq!(ask_modern(server.address, method, &id).await.status, 200, "{method}");
        let unknown = ask_modern(server.address, method, "unknown").await;
        assert_eq!((unknown.status, unknown.code()), (400, -32602), "{method}");
    }
    let gone = post(server.address, &routed("tasks/list", None), &modern("tasks/list", json!({}))).await;
    assert_eq!((gone.status, gone.code()), (404, -32601));
}
