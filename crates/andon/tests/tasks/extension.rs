//! TASK-E: the tasks extension of 2026-07-28.

use andon::prelude::*;

use super::{Client, ErrorCode, ErrorObject, RELATED, TASKS, bob, get, host, legacy, modern, start, until};

const BAD_PARAMS: i32 = ErrorCode::InvalidParams as i32;
const UNDECLARED: i32 = ErrorCode::MissingCapability as i32;

fn missing() -> Value {
    json!({"requiredCapabilities": {"extensions": {TASKS: {}}}})
}

async fn update(client: &Client, id: &str, responses: Value) -> Result<Value, ErrorObject> {
    client.request("tasks/update", json!({"taskId": id, "inputResponses": responses})).await
}

fn named(name: &str) -> Value {
    json!({"action": "accept", "content": {"name": name}})
}

/// An acknowledgement says nothing but that.
fn is_bare(ack: &Value) -> bool {
    ack["resultType"] == "complete" && ack.as_object().unwrap().keys().all(|key| key == "resultType" || key == "_meta")
}

#[tokio::test]
async fn task_e_the_server_makes_tasks_for_those_who_declare_them() {
    let (host, keeper) = host();
    let client = Client::connect(&host, modern()).await;
    let discovered = client.request("server/discover", json!({})).await.unwrap();
    assert_eq!(discovered["capabilities"]["extensions"][TASKS], json!({}));
    assert!(discovered["capabilities"].get("tasks").is_none());
    let created = client.request("tools/call", json!({"name": "gated"})).await.unwrap();
    assert_eq!((&created["resultType"], &created["status"]), (&json!("task"), &json!("working")));
    assert!(created["ttlMs"].as_u64().unwrap() > 0 && created["pollIntervalMs"].as_u64().unwrap() > 0);
    for no in ["task", "ttl", "pollInterval", "result", "error", "inputRequests", "requestState"] {
        assert!(created.get(no).is_none(), "{no}");
    }
    let id = created["taskId"].as_str().unwrap();
    assert_eq!(get(&client, id).await.unwrap()["status"], "working");
    keeper.open();
    let done = until(&client, id, "completed").await;
    assert_eq!((&done["resultType"], &done["result"]["resultType"]), (&json!("complete"), &json!("complete")));
    assert_eq!(done["result"]["content"][0]["text"], "through");
    assert!(!done.to_string().contains(RELATED));
    let plain = client.request("tools/call", json!({"name": "plain", "task": {"ttl": 1}})).await.unwrap();
    assert_eq!((&plain["resultType"], &plain["content"][0]["text"]), (&json!("complete"), &json!("plain")));
}

#[tokio::test]
async fn task_e_who_does_not_declare_them_gets_none() {
    let (host, _keeper) = host();
    // What 2025-11-25 calls a capability is nothing here.
    for capabilities in [json!({}), json!({"tasks": {"requests": {}}}), json!({"extensions": {}})] {
        let client = Client::connect(&host, modern().capabilities(capabilities.clone())).await;
        let called = client.request("tools/call", json!({"name": "quick"})).await.unwrap();
        assert_eq!(called["content"][0]["text"], "done", "{capabilities}");
        let refused = client.request("tools/call", json!({"name": "required"})).await.unwrap_err();
        assert_eq!((refused.code, refused.data), (UNDECLARED, Some(missing())), "{capabilities}");
        for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
            // Before anything else of the request is looked at.
            for params in [json!({"taskId": "none"}), json!({})] {
                let refused = client.request(method, params).await.unwrap_err();
                assert_eq!((refused.code, refused.data), (UNDECLARED, Some(missing())), "{method}");
            }
        }
    }
}

#[tokio::test]
async fn task_e_methods_of_the_core_are_gone() {
    let (host, _keeper) = host();
    let client = Client::connect(&host, modern()).await;
    for method in ["tasks/result", "tasks/list"] {
        let refused = client.request(method, json!({"taskId": "x"})).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::MethodNotFound as i32, "{method}");
    }
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        for params in [
            json!({"taskId": "none", "inputResponses": {}}),
            json!({"taskId": "n".repeat(100_000), "inputResponses": {}}),
            json!({}),
            json!({"taskId": 1}),
        ] {
            assert_eq!(client.request(method, params).await.unwrap_err().code, BAD_PARAMS, "{method}");
        }
    }
}

#[tokio::test]
async fn task_e_failures_of_tools_are_results_and_those_of_the_protocol_are_not() {
    let (host, _keeper) = host();
    let client = Client::connect(&host, modern()).await;
    let failed = start(&client, "fails").await;
    let failed = until(&client, &failed, "completed").await;
    assert_eq!(failed["result"]["isError"], true);
    for (tool, code) in [("breaks", BAD_PARAMS), ("panics", ErrorCode::InternalError as i32)] {
        let id = start(&client, tool).await;
        let broken = until(&client, &id, "failed").await;
        assert_eq!(broken["error"]["code"], code, "{tool}");
        assert!(broken["error"]["message"].is_string() && broken.get("result").is_none());
        assert!(!broken.to_string().contains("a handler that panics"));
    }
}

#[tokio::test]
async fn task_e_answers_come_by_key_and_keys_are_used_once() {
    let (host, _keeper) = host();
    let client = Client::connect(&host, modern()).await;
    let id = start(&client, "asks_more").await;
    let keys = |task: &Value| task["inputRequests"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let mut task = until(&client, &id, "input_required").await;
    while keys(&task).len() < 2 {
        task = until(&client, &id, "input_required").await;
    }
    assert_eq!(keys(&task), ["one", "two"]);
    assert_eq!(task["inputRequests"]["one"]["params"]["message"], "First?");
    assert!(is_bare(&update(&client, &id, json!({"unknown": 1, "one": named("A")})).await.unwrap()));
    let task = get(&client, &id).await.unwrap();
    assert_eq!((&task["status"], keys(&task)), (&json!("input_required"), vec!["two".to_owned()]));
    assert!(is_bare(&update(&client, &id, json!({"one": named("late"), "two": named("B")})).await.unwrap()));
    let task = until(&client, &id, "input_required").await;
    assert_eq!(keys(&task), ["one-2"], "the same question again has a key of its own");
    update(&client, &id, json!({"one": named("old"), "one-2": named("C")})).await.unwrap();
    let done = until(&client, &id, "completed").await;
    assert_eq!(done["result"]["content"][0]["text"], "A, B, C");
    assert!(is_bare(&update(&client, &id, json!({"one": named("too late")})).await.unwrap()));
    assert_eq!(get(&client, &id).await.unwrap(), done);
    for bad in [json!({"taskId": id}), json!({"taskId": id, "inputResponses": []})] {
        assert_eq!(client.request("tasks/update", bad).await.unwrap_err().code, BAD_PARAMS);
    }
}

#[tokio::test]
async fn task_e_nothing_is_asked_that_was_not_declared() {
    let (host, _keeper) = host();
    let client = Client::connect(&host, modern().capabilities(json!({"extensions": {TASKS: {}}}))).await;
    let id = start(&client, "asks").await;
    let failed = until(&client, &id, "failed").await;
    assert_eq!(failed["error"]["code"], UNDECLARED);
    assert_eq!(failed["error"]["data"]["requiredCapabilities"], json!({"elicitation": {}}));
}

#[tokio::test]
async fn task_e_cancelling_is_acknowledged_whatever_became_of_it() {
    let (host, mut keeper) = host();
    let client = Client::connect(&host, modern()).await;
    let id = start(&client, "gated").await;
    for _ in 0..2 {
        let ack = client.request("tasks/cancel", json!({"taskId": id})).await.unwrap();
        assert!(is_bare(&ack), "{ack}");
    }
    keeper.gone().await;
    assert_eq!(get(&client, &id).await.unwrap()["status"], "cancelled");
    let asking = start(&client, "asks").await;
    until(&client, &asking, "input_required").await;
    client.request("tasks/cancel", json!({"taskId": asking})).await.unwrap();
    let cancelled = get(&client, &asking).await.unwrap();
    assert!(cancelled["status"] == "cancelled" && cancelled.get("inputRequests").is_none());
}

#[tokio::test]
async fn task_e_rounds_come_before_the_task() {
    let (host, _keeper) = host();
    let client = Client::connect(&host, modern()).await;
    let first = client.request("tools/call", json!({"name": "late"})).await.unwrap();
    assert_eq!(first["resultType"], "input_required");
    assert!(first.get("taskId").is_none());
    let key = first["inputRequests"].as_object().unwrap().keys().next().unwrap();
    let mut again = json!({"name": "late", "inputResponses": {}, "requestState": first["requestState"]});
    again["inputResponses"][key] = named("Ada");
    let created = client.request("tools/call", again).await.unwrap();
    assert_eq!(created["resultType"], "task");
    assert!(created.get("requestState").is_none() && created.get("inputRequests").is_none());
    let id = created["taskId"].as_str().unwrap();
    let asked = until(&client, id, "input_required").await;
    let key = asked["inputRequests"].as_object().unwrap().keys().next().unwrap();
    update(&client, id, json!({key: named("Bob")})).await.unwrap();
    let done = until(&client, id, "completed").await;
    assert_eq!(done["result"]["content"][0]["text"], "Ada and Bob, task: true");
}

#[tokio::test]
async fn task_e_a_late_task_is_a_call_for_who_takes_none() {
    let (host, _keeper) = host();
    let options = modern().capabilities(json!({"elicitation": {}})).answering(|_, _| Ok(named("Ada")));
    let client = Client::connect(&host, options).await;
    let called: String = client.call("late", json!({})).await.unwrap();
    assert_eq!(called, "Ada and nobody, task: false");
}

#[tokio::test]
async fn a7_another_principal_or_revision_has_no_such_task() {
    let (host, keeper) = host();
    let ada = Client::connect(&host, modern()).await;
    let others = [
        Client::connect(&host, modern().principal(bob())).await,
        Client::connect(&host, modern().principal(Principal::anonymous())).await,
        Client::connect(&host, legacy()).await,
    ];
    let id = start(&ada, "gated").await;
    for is_over in [false, true] {
        for other in &others {
            let unknown = get(other, "00000000000000000000000000000000").await.unwrap_err();
            for method in ["tasks/get", "tasks/cancel"] {
                assert_eq!(other.request(method, json!({"taskId": id})).await.unwrap_err(), unknown, "{method}");
            }
        }
        assert_eq!(update(&others[0], &id, json!({})).await.unwrap_err().code, BAD_PARAMS);
        if !is_over {
            keeper.open();
            until(&ada, &id, "completed").await;
        }
    }
}

#[tokio::test]
async fn sub9_changes_of_own_tasks_are_listened_for() {
    let (host, keeper) = host();
    let client = Client::connect(&host, modern()).await;
    let bob = Client::connect(&host, modern().principal(bob())).await;
    let (own, other, asking) =
        (start(&client, "gated").await, start(&bob, "gated").await, start(&client, "asks").await);
    let wanted = json!({"notifications": {"taskIds": [own, other, "none", asking, own]}});
    let (listen, _answer) = client.start("subscriptions/listen", wanted);
    let honoured = client.expect("notifications/subscriptions/acknowledged").await;
    assert_eq!(honoured["notifications"]["taskIds"], json!([own, asking]));
    keeper.open();
    keeper.open();
    until(&bob, &other, "completed").await;
    let heard = client.expect("notifications/tasks").await;
    assert_eq!((&heard["taskId"], &heard["status"]), (&json!(own), &json!("completed")));
    assert_eq!(heard["result"]["content"][0]["text"], "through");
    assert_eq!(heard["_meta"]["io.modelcontextprotocol/subscriptionId"], listen);
    let task = until(&client, &asking, "input_required").await;
    let key = task["inputRequests"].as_object().unwrap().keys().next().unwrap();
    update(&client, &asking, json!({key: named("Ada")})).await.unwrap();
    let statuses = [client.expect("notifications/tasks").await, client.expect("notifications/tasks").await];
    assert_eq!(statuses.map(|task| task["status"].clone()), [json!("working"), json!("completed")]);
}

#[tokio::test]
async fn sub9_who_does_not_declare_tasks_cannot_listen_for_them() {
    let (host, _keeper) = host();
    let client = Client::connect(&host, modern().capabilities(json!({}))).await;
    let refused = client.request("subscriptions/listen", json!({"notifications": {"taskIds": []}})).await.unwrap_err();
    assert_eq!((refused.code, refused.data), (UNDECLARED, Some(missing())));
    let client = Client::connect(&host, modern()).await;
    let many: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
    let refused =
        client.request("subscriptions/listen", json!({"notifications": {"taskIds": many}})).await.unwrap_err();
    assert_eq!(refused.code, BAD_PARAMS);
}

#[tokio::test]
async fn task_e_ids_cannot_be_guessed() {
    let (host, _keeper) = host();
    let client = Client::connect(&host, modern()).await;
    let mut seen = std::collections::HashSet::new();
    for _ in 0..50 {
        let id = start(&client, "quick").await;
        assert!(id.len() == 32 && seen.insert(id));
    }
}

#[tokio::test]
async fn k7_a_call_that_comes_again_with_its_key_is_the_same_task() {
    for options in [legacy, modern] {
        let (host, _keeper) = host();
        let client = Client::connect(&host, options()).await;
        let meta = json!({"andon.dev/idempotency-key": "k"});
        let call = json!({"name": "gated", "task": {}, "_meta": meta});
        let created = client.request("tools/call", call.clone()).await.unwrap();
        assert_eq!(client.request("tools/call", call).await.unwrap(), created);
        let otherwise = Client::connect(&host, options().capabilities(json!({}))).await;
        let call = json!({"name": "gated", "_meta": meta});
        let refused = otherwise.request("tools/call", call).await.unwrap_err();
        assert_eq!(refused.code, BAD_PARAMS, "{refused}");
    }
}
