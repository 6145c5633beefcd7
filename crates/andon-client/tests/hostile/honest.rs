//! What a client makes of what servers say of themselves: how long things may be kept, which arguments are mirrored, what
//! results look like, what there is at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use andon_client::{Client, Error};
use andon_types::revision::Revision;
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::peer::{answer, client, result, serve};

fn tool(name: &str, schema: Value) -> Value {
    json!({ "name": name, "inputSchema": schema })
}

#[tokio::test]
async fn what_may_be_kept_is_asked_for_once_until_it_changed() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let url = serve(move |asked, mut socket| {
        let bytes = match asked.method() {
            "tools/call" => {
                let notice = json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" });
                let done = json!({ "jsonrpc": "2.0", "id": asked.body["id"], "result": { "content": [] } });
                let body = format!("data: {notice}\n\ndata: {done}\n\n");
                answer("200 OK", "Content-Type: text/event-stream\r\n", &body)
            }
            "resources/read" => {
                counted.fetch_add(100, Ordering::Relaxed);
                let ttl = if asked.body["params"]["uri"] == "a:kept" { 60_000 } else { 0 };
                result(&asked, json!({ "contents": [], "ttlMs": ttl, "cacheScope": "private" }))
            }
            _ => {
                counted.fetch_add(1, Ordering::Relaxed);
                let tools = json!([tool("x", json!({ "type": "object" }))]);
                result(&asked, json!({ "tools": tools, "ttlMs": 60_000, "cacheScope": "public" }))
            }
        };
        async move { drop(socket.write_all(&bytes).await) }
    })
    .await;
    let first = client(&url, Revision::LATEST).await;
    for _ in 0..3 {
        assert_eq!(first.tools().await.unwrap().len(), 1);
        first.read("a:kept").await.unwrap();
    }
    assert_eq!(asked.load(Ordering::Relaxed), 101, "one list, one resource");
    first.read("a:fresh").await.unwrap();
    first.read("a:fresh").await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 301, "what may not be kept is not");
    first.call_tool("x", Map::new(), andon_client::Options::default()).await.unwrap();
    first.tools().await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 302, "it changed");
    // Another client may be another person.
    client(&url, Revision::LATEST).await.tools().await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 303);
    let careful = Client::builder(url.as_str()).protocol(Revision::LATEST).without_cache().connect().await.unwrap();
    careful.tools().await.unwrap();
    careful.tools().await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 305);
}

#[tokio::test]
async fn tools_with_bad_annotations_are_left_out_and_a_mismatch_is_mended_once() {
    let lists = Arc::new(AtomicUsize::new(0));
    let counted = lists.clone();
    let url = serve(move |asked, mut socket| {
        let bytes = match asked.method() {
            "tools/list" => {
                // The first list does not say that the region is mirrored.
                let number = counted.fetch_add(1, Ordering::Relaxed);
                let region = if number == 0 {
                    json!({ "type": "string" })
                } else {
                    json!({ "type": "string", "x-mcp-header": "Region" })
                };
                let good = tool("good", json!({ "type": "object", "properties": { "region": region } }));
                let annotated =
                    json!({ "type": "object", "properties": { "n": { "type": "number", "x-mcp-header": "N" } } });
                let tools = json!([good, tool("bad", annotated)]);
                result(&asked, json!({ "tools": tools, "ttlMs": 0, "cacheScope": "private" }))
            }
            _ if asked.header("mcp-param-region") == Some("eu") => result(&asked, json!({ "content": [] })),
            _ => {
                let error = json!({ "code": -32020, "message": "Mcp-Param-Region is missing" });
                let body = json!({ "jsonrpc": "2.0", "id": asked.body["id"], "error": error }).to_string();
                answer("400 Bad Request", "Content-Type: application/json\r\n", &body)
            }
        };
        async move { drop(socket.write_all(&bytes).await) }
    })
    .await;
    let client = client(&url, Revision::LATEST).await;
    let names: Vec<String> = client.tools().await.unwrap().into_iter().map(|tool| tool.name).collect();
    assert_eq!(names, ["good"]);
    client.call::<Value>("good", json!({ "region": "eu" })).await.expect("listed again, and mirrored");
    assert_eq!(lists.load(Ordering::Relaxed), 2);
    let refused = client.call::<Value>("good", json!({ "region": "us" })).await;
    assert!(matches!(&refused, Err(Error::Protocol(error)) if error.code == -32020), "once, and no more: {refused:?}");
}

#[tokio::test]
async fn structured_results_are_checked_and_strict_clients_ask_for_what_is_offered() {
    let url = serve(|asked, mut socket| {
        let bytes = match asked.method() {
            "tools/list" => {
                let mut tool = tool("sum", json!({ "type": "object" }));
                tool["outputSchema"] =
                    json!({ "type": "object", "required": ["sum"], "properties": { "sum": { "type": "integer" } } });
                result(&asked, json!({ "tools": [tool], "ttlMs": 0, "cacheScope": "private" }))
            }
            _ => {
                let structured = match asked.body["params"]["arguments"]["how"].as_str() {
                    Some("well") => json!({ "sum": 3 }),
                    Some("badly") => json!({ "sum": "three" }),
                    _ => {
                        return Box::pin(async move {
                            drop(socket.write_all(&result(&asked, json!({ "content": [] }))).await);
                        }) as std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
                    }
                };
                result(&asked, json!({ "content": [], "structuredContent": structured }))
            }
        };
        Box::pin(async move { drop(socket.write_all(&bytes).await) })
    })
    .await;
    let client = Client::builder(url.as_str()).protocol(Revision::LATEST).strict().connect().await.unwrap();
    client.tools().await.unwrap();
    let call = async |how: &str| client.call::<Value>("sum", json!({ "how": how })).await;
    assert_eq!(call("well").await.unwrap(), json!({ "sum": 3 }));
    let error = call("badly").await.expect_err("not an integer").to_string();
    assert!(error.contains("/sum"), "{error}");
    assert!(call("not").await.expect_err("nothing").to_string().contains("no structured content"));
    // It declares tools and nothing else.
    assert!(matches!(client.prompts().await, Err(Error::NotOffered(_))));
    assert!(matches!(client.request("ping", Map::new(), Default::default()).await, Err(Error::NotOffered(_))));
}

#[tokio::test]
async fn a_notification_of_megabytes_is_no_event_and_the_next_one_is() {
    let url = serve(|asked, mut socket| async move {
        let log = |text: &str| {
            let params = json!({ "level": "error", "data": text });
            format!("data: {}\n\n", json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": params }))
        };
        let done = json!({ "jsonrpc": "2.0", "id": asked.body["id"], "result": { "content": [] } });
        let body = format!("{}{}data: {done}\n\n", log(&"x".repeat(1 << 20)), log("small"));
        drop(socket.write_all(&answer("200 OK", "Content-Type: text/event-stream\r\n", &body)).await);
    })
    .await;
    let client = client(&url, Revision::LATEST).await;
    let mut events = client.events();
    client.call_tool("x", Map::new(), andon_client::Options::default()).await.unwrap();
    let Some(andon_client::Event::Log { data, .. }) = events.next().await else { panic!("the small one is heard") };
    assert_eq!(data, "small");
}
