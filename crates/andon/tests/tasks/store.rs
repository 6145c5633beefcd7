//! K7: what becomes of tasks when the store fails, and when the process does.

use std::time::Duration;

use andon::prelude::*;
use andon::server::sessions::Sessions;
use andon_core::port::Store;
use andon_store::{FaultyStore, MemoryStore};
use tokio::runtime::Runtime;

use super::{Arc, Client, ClientOptions, ErrorCode, Host, Keeper, get, legacy, modern, server, start, until};

fn faulty() -> (Arc<FaultyStore>, Arc<Host>, Keeper) {
    let store = Arc::new(FaultyStore::new(Arc::new(MemoryStore::new())));
    let (server, keeper) = server();
    let host = server.sessions(Sessions::in_store(store.clone())).build().unwrap();
    (store, host, keeper)
}

#[tokio::test]
async fn k7_nobody_hears_of_a_task_before_the_store_has_it() {
    for options in [legacy, modern] {
        let (store, host, mut keeper) = faulty();
        let client = Client::connect(&host, options()).await;
        store.hold();
        let (_, mut created) = client.start("tools/call", json!({"name": "gated", "task": {}}));
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(created.try_recv().is_err() && keeper.gone.try_recv().is_err());
        store.release();
        let created = created.await.unwrap().unwrap();
        let id = created["taskId"].as_str().or(created["task"]["taskId"].as_str()).unwrap();
        assert_eq!(get(&client, id).await.unwrap()["status"], "working");
        client.request("tasks/cancel", json!({"taskId": id})).await.unwrap();
        keeper.gone().await;
    }
}

#[tokio::test]
async fn k7_a_task_that_cannot_be_kept_does_not_run() {
    for options in [legacy, modern] {
        let (store, host, mut keeper) = faulty();
        let client = Client::connect(&host, options()).await;
        store.outage(true);
        let refused = client.request("tools/call", json!({"name": "gated", "task": {}})).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::Unavailable as i32, "{refused}");
        assert_eq!(get(&client, "none").await.unwrap_err().code, ErrorCode::Unavailable as i32, "not unknown");
        store.outage(false);
        assert!(keeper.gone.try_recv().is_err());
        start(&client, "gated").await;
    }
}

#[tokio::test(start_paused = true)]
async fn k7_an_end_is_told_when_the_store_has_it() {
    let (store, host, keeper) = faulty();
    let client = Client::connect(&host, modern()).await;
    let id = start(&client, "gated").await;
    store.outage(true);
    keeper.open();
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(get(&client, &id).await.unwrap()["status"], "working");
    let refused = client.request("tasks/cancel", json!({"taskId": id})).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Unavailable as i32, "{refused}");
    store.outage(false);
    tokio::time::advance(Duration::from_secs(20)).await;
    let done = until(&client, &id, "completed").await;
    assert_eq!((&done["status"], &done["result"]["content"][0]["text"]), (&json!("completed"), &json!("through")));
}

#[tokio::test(start_paused = true)]
async fn k7_an_end_of_which_the_store_does_not_say_is_told_once_it_is_there() {
    use andon_store::Really;
    for really in [Really::Done, Really::NotDone] {
        let (store, host, keeper) = faulty();
        let client = Client::connect(&host, legacy()).await;
        let id = start(&client, "gated").await;
        store.leave_writes_unknown(1, really);
        keeper.open();
        let kept = client.request("tasks/result", json!({"taskId": id})).await.unwrap();
        assert_eq!(kept["content"][0]["text"], "through", "{really:?}");
        assert_eq!(get(&client, &id).await.unwrap()["status"], "completed", "{really:?}");
    }
}

/// Runs `first` on a server whose process then dies, and `second` on another one with the same store.
fn restart<T>(
    store: impl Fn() -> Sessions,
    first: impl AsyncFnOnce(Arc<Host>, Keeper) -> T,
    second: impl AsyncFnOnce(Arc<Host>, T),
) {
    let process = Runtime::new().unwrap();
    let known = process.block_on(async {
        let (server, keeper) = server();
        first(server.sessions(store()).build().unwrap(), keeper).await
    });
    // Everything that ran is dropped where it stands.
    process.shutdown_timeout(Duration::from_secs(10));
    Runtime::new().unwrap().block_on(async {
        let (server, _keeper) = server();
        second(server.sessions(store()).build().unwrap(), known).await;
    });
}

#[test]
fn k7_what_is_over_is_there_after_a_restart_and_what_ran_has_failed() {
    let directory = tempfile::tempdir().unwrap();
    for (options, is_legacy) in [(legacy as fn() -> ClientOptions, true), (modern, false)] {
        let store = || Sessions::disk(directory.path());
        let first = async |host: Arc<Host>, keeper: Keeper| {
            let client = Client::connect(&host, options()).await;
            let ids = [start(&client, "rich").await, start(&client, "fails").await, start(&client, "gated").await];
            let cancelled = start(&client, "gated").await;
            client.request("tasks/cancel", json!({"taskId": cancelled})).await.unwrap();
            let running = [start(&client, "gated").await, start(&client, "asks").await];
            keeper.open();
            let mut over = Vec::new();
            for id in ids.into_iter().chain([cancelled]) {
                let mut task = get(&client, &id).await.unwrap();
                while ["working", "input_required"].iter().any(|status| task["status"] == *status) {
                    tokio::task::yield_now().await;
                    task = get(&client, &id).await.unwrap();
                }
                over.push((id, task));
            }
            until(&client, &running[1], "input_required").await;
            (over, running)
        };
        restart(store, first, async |host, (over, running)| {
            let client = Client::connect(&host, options()).await;
            for (id, task) in &over {
                assert_eq!(get(&client, id).await.unwrap(), *task);
            }
            for id in &running {
                let failed = get(&client, id).await.unwrap();
                assert_eq!(failed["status"], "failed");
                let why = failed["statusMessage"].as_str().unwrap();
                assert!(why.contains("restarted") && why.contains("outcome is unknown"), "{why}");
                // That is final too.
                assert_eq!(get(&client, id).await.unwrap(), failed);
            }
            if is_legacy {
                let listed = client.request("tasks/list", json!({})).await.unwrap();
                assert_eq!(listed["tasks"].as_array().unwrap().len(), over.len() + running.len());
                let error = client.request("tasks/result", json!({"taskId": running[0]})).await.unwrap_err();
                assert!(error.message.contains("outcome is unknown"));
                assert!(client.request("tasks/cancel", json!({"taskId": running[0]})).await.is_err());
            }
        });
    }
}

#[test]
fn sec9_tasks_from_before_a_restart_count() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let sessions = || Sessions::in_store(store.clone());
    let first = async |host: Arc<Host>, _keeper: Keeper| {
        let client = Client::connect(&host, modern()).await;
        for _ in 0..100 {
            start(&client, "quick").await;
        }
    };
    restart(sessions, first, async |host, ()| {
        let client = Client::connect(&host, modern()).await;
        let refused = client.request("tools/call", json!({"name": "quick"})).await.unwrap_err();
        assert!(refused.message.contains("you have 100 tasks"), "{refused}");
    });
}
