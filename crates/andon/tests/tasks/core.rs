//! TASK-C: the core tasks of 2025-11-25.

use std::sync::Mutex;
use std::time::Duration;

use andon::prelude::*;
use andon::server::options::{HostOptions, TaskOptions};

use super::{
    Arc, Client, ErrorCode, ErrorObject, RELATED, Revision, bob, get, host, legacy, plain, server, start, until,
};

const NO_METHOD: i32 = ErrorCode::MethodNotFound as i32;
const BAD_PARAMS: i32 = ErrorCode::InvalidParams as i32;

async fn result(client: &Client, id: &str) -> Result<Value, ErrorObject> {
    client.request("tasks/result", json!({"taskId": id})).await
}

/// The value without the member that names the task, which has to be there.
fn unrelated(mut value: Value, id: &str) -> Value {
    let meta = value["_meta"].as_object_mut().unwrap();
    assert_eq!(meta.remove(RELATED), Some(json!({"taskId": id})));
    if meta.is_empty() {
        value.as_object_mut().unwrap().remove("_meta");
    }
    value
}

#[tokio::test]
async fn task_c_a_result_is_what_the_call_would_have_been_answered() {
    let (host, _keeper) = host();
    let client = Client::connect(&host, legacy()).await;
    for tool in ["quick", "fails", "breaks", "panics", "rich"] {
        let called = client.request("tools/call", json!({"name": tool})).await;
        let id = start(&client, tool).await;
        let kept = result(&client, &id).await.map(|kept| unrelated(kept, &id));
        assert_eq!(kept, called, "{tool}");
        assert_eq!(result(&client, &id).await.map(|kept| unrelated(kept, &id)), called, "{tool}: again");
        let status = if matches!(tool, "quick" | "rich") { "completed" } else { "failed" };
        assert_eq!(get(&client, &id).await.unwrap()["status"], status, "{tool}");
    }
}

#[tokio::test]
async fn task_c_a_task_that_fails_for_its_arguments_is_one_all_the_same() {
    let (host, _keeper) = host();
    let client = Client::connect(&host, legacy()).await;
    let arguments = json!({"name": "quick", "arguments": {"text": 1}, "task": {}});
    let created = client.request("tools/call", arguments).await.unwrap();
    let id = created["task"]["taskId"].as_str().unwrap();
    assert_eq!(result(&client, id).await.unwrap()["isError"], true);
}

#[tokio::test]
async fn task_c_creation_says_everything_and_only_in_its_own_words() {
    let (host, _keeper) = host();
    let client = Client::connect(&host, legacy()).await;
    let created = client.request("tools/call", json!({"name": "gated", "task": {"ttl": 60000}})).await.unwrap();
    let task = &created["task"];
    assert_eq!(
        (&task["status"], &task["ttl"], &task["pollInterval"]),
        (&json!("working"), &json!(60000), &json!(1000))
    );
    assert!(task["createdAt"].as_str().unwrap().ends_with('Z') && task["lastUpdatedAt"].is_string());
    assert!(task.get("ttlMs").is_none() && created.get("resultType").is_none());
    let id = task["taskId"].as_str().unwrap();
    assert_eq!(created["_meta"][RELATED], json!({"taskId": id}));
    let known = get(&client, id).await.unwrap();
    assert!(known.get("_meta").is_none(), "tasks/get names the task already");
    assert_eq!(known["taskId"], id);
}

#[tokio::test]
async fn task_c_a_result_waits_until_the_task_is_over() {
    let (host, keeper) = host();
    let client = Client::connect(&host, legacy()).await;
    let id = start(&client, "gated").await;
    let (_, mut waiting) = client.start("tasks/result", json!({"taskId": id}));
    assert_eq!(get(&client, &id).await.unwrap()["status"], "working");
    assert!(waiting.try_recv().is_err());
    keeper.open();
    assert_eq!(waiting.await.unwrap().unwrap()["content"][0]["text"], "through");
}

#[tokio::test(start_paused = true)]
async fn task_c_a_result_is_waited_for_longer_than_any_call_takes() {
    let (host, keeper) = host();
    let client = Client::connect(&host, legacy()).await;
    let id = start(&client, "gated").await;
    let (_, mut waiting) = client.start("tasks/result", json!({"taskId": id}));
    tokio::time::advance(Duration::from_secs(30 * 60)).await;
    assert_eq!(get(&client, &id).await.unwrap()["status"], "working");
    assert!(waiting.try_recv().is_err());
    keeper.open();
    assert_eq!(waiting.await.unwrap().unwrap()["content"][0]["text"], "through");
}

#[tokio::test]
async fn task_c_support_is_declared_and_enforced() {
    let (host, _keeper) = host();
    let client = Client::connect(&host, legacy()).await;
    let tools = client.request("tools/list", json!({})).await.unwrap();
    let support = |name: &str| {
        let found = tools["tools"].as_array().unwrap().iter().find(|tool| tool["name"] == name).unwrap();
        found["execution"]["taskSupport"].clone()
    };
    assert_eq!(["quick", "required", "plain"].map(support), [json!("optional"), json!("required"), Value::Null]);
    let forbidden = client.request("tools/call", json!({"name": "plain", "task": {}})).await.unwrap_err();
    assert_eq!(forbidden.code, NO_METHOD, "{forbidden}");
    let missing = client.request("tools/call", json!({"name": "required"})).await.unwrap_err();
    assert_eq!(missing.code, NO_METHOD, "{missing}");
    let id = start(&client, "required").await;
    assert_eq!(result(&client, &id).await.unwrap()["content"][0]["text"], "required");
    for bad in [json!(1), json!({"ttl": "long"}), json!({"ttl": -1})] {
        let refused = client.request("tools/call", json!({"name": "quick", "task": bad})).await.unwrap_err();
        assert_eq!(refused.code, BAD_PARAMS, "{bad}: {refused}");
    }
}

#[tokio::test]
async fn task_c_who_has_no_tasks_ignores_what_is_said_of_them() {
    let client = Server::new("none", "1").with(plain).client_with(legacy()).await;
    let called = client.request("tools/call", json!({"name": "plain", "task": {"ttl": 1}})).await.unwrap();
    assert_eq!(called["content"][0]["text"], "plain");
    for method in ["tasks/get", "tasks/result", "tasks/list", "tasks/cancel"] {
        let refused = client.request(method, json!({"taskId": "x"})).await.unwrap_err();
        assert_eq!(refused.code, NO_METHOD, "{method}");
    }
}

#[tokio::test]
async fn task_c_older_revisions_have_none_of_it() {
    for revision in &Revision::ALL[..3] {
        let (host, _keeper) = host();
        let client = Client::connect(&host, legacy().revision(*revision)).await;
        let called = client.request("tools/call", json!({"name": "quick", "task": {}})).await.unwrap();
        assert_eq!(called["content"][0]["text"], "done", "{revision}");
        assert_eq!(get(&client, "x").await.unwrap_err().code, NO_METHOD, "{revision}");
        let required = client.request("tools/call", json!({"name": "required", "task": {}})).await.unwrap_err();
        assert_eq!(required.code, NO_METHOD, "{revision}");
        let tools = client.request("tools/list", json!({})).await.unwrap();
        assert!(!tools.to_string().contains("taskSupport"), "{revision}");
    }
}

#[tokio::test]
async fn task_c_cancelled_is_final() {
    let (host, mut keeper) = host();
    let client = Client::connect(&host, legacy()).await;
    let id = start(&client, "gated").await;
    let (_, waiting) = client.start("tasks/result", json!({"taskId": id}));
    let cancelled = client.request("tasks/cancel", json!({"taskId": id})).await.unwrap();
    assert_eq!((&cancelled["status"], &cancelled["taskId"]), (&json!("cancelled"), &json!(id)));
    assert!(cancelled.get("_meta").is_none());
    keeper.gone().await;
    keeper.open();
    assert!(waiting.await.unwrap().unwrap_err().message.contains("cancelled"));
    assert_eq!(get(&client, &id).await.unwrap(), cancelled);
    let again = client.request("tasks/cancel", json!({"taskId": id})).await.unwrap_err();
    assert_eq!(again.code, BAD_PARAMS);
    assert!(again.message.contains("cancelled"), "{again}");
    let done = start(&client, "quick").await;
    result(&client, &done).await.unwrap();
    let late = client.request("tasks/cancel", json!({"taskId": done})).await.unwrap_err();
    assert!(late.code == BAD_PARAMS && late.message.contains("completed"), "{late}");
}

#[tokio::test]
async fn can6_a_cancelled_notification_is_not_for_tasks() {
    let (host, keeper) = host();
    let client = Client::connect(&host, legacy()).await;
    let (request, created) = client.start("tools/call", json!({"name": "gated", "task": {}}));
    let id = created.await.unwrap().unwrap()["task"]["taskId"].as_str().unwrap().to_owned();
    client.notify("notifications/cancelled", json!({"requestId": request}));
    keeper.open();
    assert_eq!(result(&client, &id).await.unwrap()["content"][0]["text"], "through");
}

#[tokio::test]
async fn task_c_questions_come_to_who_waits_for_the_result() {
    let (host, _keeper) = host();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    let options = legacy().answering(move |method, params| {
        seen.lock().unwrap().push((method.to_owned(), params.clone()));
        Ok(json!({"action": "accept", "content": {"name": "Ada"}}))
    });
    let client = Client::connect(&host, options).await;
    let id = start(&client, "asks").await;
    let task = until(&client, &id, "input_required").await;
    assert!(task.get("inputRequests").is_none(), "that is the extension's");
    assert!(asked.lock().unwrap().is_empty());
    assert_eq!(result(&client, &id).await.unwrap()["content"][0]["text"], "Hello, Ada!");
    let asked = asked.lock().unwrap();
    let [(method, params)] = asked.as_slice() else { panic!("asked {} times", asked.len()) };
    assert_eq!((method.as_str(), &params["_meta"][RELATED]), ("elicitation/create", &json!({"taskId": id})));
}

#[tokio::test]
async fn task_c_a_question_that_one_client_cannot_answer_waits_for_another() {
    let (host, _keeper) = host();
    let answering =
        |name: &'static str| legacy().answering(move |_, _| Ok(json!({"action": "accept", "content": {"name": name}})));
    let able = Client::connect(&host, answering("Able")).await;
    let unable = Client::connect(&host, legacy().capabilities(json!({}))).await;
    let id = start(&able, "asks").await;
    until(&able, &id, "input_required").await;
    let (_, waiting) = unable.start("tasks/result", json!({"taskId": id}));
    assert_eq!(get(&unable, &id).await.unwrap()["status"], "input_required");
    assert_eq!(result(&able, &id).await.unwrap()["content"][0]["text"], "Hello, Able!");
    assert_eq!(waiting.await.unwrap().unwrap()["content"][0]["text"], "Hello, Able!");
}

#[tokio::test]
async fn task_c_status_and_progress_are_told_to_the_creator() {
    let (host, keeper) = host();
    let client = Client::connect(&host, legacy()).await;
    let call = json!({"name": "speaks", "task": {}, "_meta": {"progressToken": "p"}});
    let created = client.request("tools/call", call).await.unwrap();
    let id = created["task"]["taskId"].as_str().unwrap();
    let progress = client.expect("notifications/progress").await;
    assert_eq!((&progress["progressToken"], &progress["progress"]), (&json!("p"), &json!(1)));
    assert_eq!(progress["_meta"][RELATED], json!({"taskId": id}));
    let log = client.expect("notifications/message").await;
    assert_eq!((&log["data"], &log["_meta"][RELATED]["taskId"]), (&json!("careful"), &json!(id)));
    assert_eq!(get(&client, id).await.unwrap()["statusMessage"], "half");
    keeper.open();
    let status = client.expect("notifications/tasks/status").await;
    assert_eq!((&status["taskId"], &status["status"]), (&json!(id), &json!("completed")));
    assert!(status.get("_meta").is_none(), "the task is named already");
}

#[tokio::test]
async fn a7_another_principal_has_no_such_task() {
    let (host, keeper) = host();
    let ada = Client::connect(&host, legacy()).await;
    let bob = Client::connect(&host, legacy().principal(bob())).await;
    let id = start(&ada, "gated").await;
    let unknown = get(&bob, "00000000000000000000000000000000").await.unwrap_err();
    for is_over in [false, true] {
        for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
            assert_eq!(bob.request(method, json!({"taskId": id})).await.unwrap_err(), unknown, "{method}");
        }
        assert_eq!(bob.request("tasks/list", json!({})).await.unwrap()["tasks"], json!([]));
        if !is_over {
            keeper.open();
            result(&ada, &id).await.unwrap();
        }
    }
    assert_eq!(unknown.code, BAD_PARAMS);
    // The same subject from elsewhere has it.
    let elsewhere = Client::connect(&host, legacy()).await;
    assert_eq!(get(&elsewhere, &id).await.unwrap()["status"], "completed");
}

#[tokio::test]
async fn pag1_tasks_are_listed_in_pages_of_their_owner() {
    let (server, _keeper) = server();
    let host = server.page_size(3).build().unwrap();
    let ada = Client::connect(&host, legacy()).await;
    let bob = Client::connect(&host, legacy().principal(bob())).await;
    start(&bob, "quick").await;
    let mut started = Vec::new();
    for tool in ["quick", "gated", "fails", "gated", "quick", "asks", "quick"] {
        started.push(start(&ada, tool).await);
    }
    let (mut listed, mut cursor, mut pages) = (Vec::new(), None, 0);
    loop {
        let params = cursor.as_ref().map_or(json!({}), |cursor| json!({"cursor": cursor}));
        let page = ada.request("tasks/list", params).await.unwrap();
        assert!(page.get("_meta").is_none());
        for task in page["tasks"].as_array().unwrap() {
            let id = task["taskId"].as_str().unwrap().to_owned();
            assert_eq!(get(&ada, &id).await.unwrap()["status"], task["status"]);
            listed.push(id);
        }
        pages += 1;
        let Some(next) = page.get("nextCursor") else { break };
        cursor = Some(next.clone());
    }
    started.sort();
    listed.sort();
    assert_eq!((listed, pages), (started, 3));
    // Another's cursor is none, and neither is that of another list.
    for (client, cursor) in [(&bob, cursor.unwrap()), (&ada, json!("nonsense"))] {
        let refused = client.request("tasks/list", json!({"cursor": cursor})).await.unwrap_err();
        assert_eq!(refused.code, BAD_PARAMS);
    }
}

#[tokio::test(start_paused = true)]
async fn task_c_a_task_is_gone_when_its_time_is_over() {
    let (host, mut keeper) = host();
    let client = Client::connect(&host, legacy()).await;
    let create = |tool: &'static str| client.request("tools/call", json!({"name": tool, "task": {"ttl": 5000}}));
    let done = create("quick").await.unwrap()["task"]["taskId"].as_str().unwrap().to_owned();
    let running = create("gated").await.unwrap()["task"]["taskId"].as_str().unwrap().to_owned();
    result(&client, &done).await.unwrap();
    let (_, waiting) = client.start("tasks/result", json!({"taskId": running}));
    tokio::time::advance(Duration::from_millis(4900)).await;
    assert_eq!(get(&client, &done).await.unwrap()["status"], "completed");
    assert_eq!(get(&client, &running).await.unwrap()["status"], "working");
    tokio::time::advance(Duration::from_millis(200)).await;
    keeper.gone().await;
    assert_eq!(waiting.await.unwrap().unwrap_err().code, BAD_PARAMS);
    for id in [done, running] {
        assert_eq!(get(&client, &id).await.unwrap_err().code, BAD_PARAMS);
    }
    assert_eq!(client.request("tasks/list", json!({})).await.unwrap()["tasks"], json!([]));
}

#[tokio::test]
async fn task_c_times_and_results_are_bounded() {
    let tasks = TaskOptions { ttl_max: Duration::from_secs(60), result_bytes_max: 1_000, ..TaskOptions::default() };
    let (server, _keeper) = server();
    let host = server.options(HostOptions { tasks, ..HostOptions::default() }).build().unwrap();
    let client = Client::connect(&host, legacy()).await;
    for (asked, given) in [(json!({"ttl": 1e12}), 60_000), (json!({"ttl": 0}), 1_000), (json!({}), 60_000)] {
        let created = client.request("tools/call", json!({"name": "gated", "task": asked})).await.unwrap();
        assert_eq!(created["task"]["ttl"], given, "{asked}");
    }
    let large = json!({"name": "quick", "arguments": {"text": "x".repeat(2_000)}, "task": {}});
    let created = client.request("tools/call", large).await.unwrap();
    let failed = result(&client, created["task"]["taskId"].as_str().unwrap()).await.unwrap_err();
    assert!(failed.message.contains("1000 bytes"), "{failed}");
}

#[tokio::test]
async fn sec9_tasks_of_one_principal_and_of_all_are_bounded() {
    let tasks = TaskOptions { tasks_max: 5, tasks_per_principal_max: 3, ..TaskOptions::default() };
    let (server, _keeper) = server();
    let host = server.options(HostOptions { tasks, ..HostOptions::default() }).build().unwrap();
    let refused = |client: Client| async move {
        let refused = client.request("tools/call", json!({"name": "quick", "task": {}})).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::Unavailable as i32, "{refused}");
        (refused.message, client)
    };
    let ada = Client::connect(&host, legacy()).await;
    for tool in ["quick", "gated", "asks"] {
        start(&ada, tool).await;
    }
    let (why, ada) = refused(ada).await;
    assert!(why.contains("you have 3 tasks"), "{why}");
    assert!(ada.request("tools/call", json!({"name": "quick"})).await.is_ok(), "calls are no tasks");
    let bob = Client::connect(&host, legacy().principal(bob())).await;
    for _ in 0..2 {
        start(&bob, "quick").await;
    }
    let (why, _) = refused(bob).await;
    assert!(why.contains("no room"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn sec9_a_task_whose_time_is_over_makes_room() {
    let tasks = TaskOptions { tasks_max: 1, ttl: Duration::from_secs(5), ..TaskOptions::default() };
    let (server, _keeper) = server();
    let host = server.options(HostOptions { tasks, ..HostOptions::default() }).build().unwrap();
    let client = Client::connect(&host, legacy()).await;
    let create = || client.request("tools/call", json!({"name": "quick", "task": {}}));
    create().await.unwrap();
    assert!(create().await.is_err());
    let mut waited = 0;
    while create().await.is_err() {
        tokio::time::advance(Duration::from_secs(1)).await;
        waited += 1;
        assert!(waited < 30, "what is over was never swept");
    }
    assert!(waited >= 5);
}
