//! Resources of two servers that have the same URIs: a client finds each by what it was told.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use andon_client::{Client, Event, Listen, Options, Reference};
use andon_http::Http;
use andon_server::catalogue::Catalogue;
use andon_server::entry::{PromptEntry, ResourceEntry, TemplateEntry, ToolEntry};
use andon_server::server::Server;
use andon_types::tools::CallToolResult;
use common::{Bench, event, until};
use serde_json::{Value, json};

const NOTE: &str = "note:same";
const DOC: &str = "doc://7";

/// What both servers say of the resource at `uri`.
fn blocks(name: &str) -> Vec<Value> {
    let resource = |uri: &str| json!({ "uri": uri, "mimeType": "text/plain", "text": format!("embedded by {name}") });
    vec![
        json!({ "type": "resource_link", "uri": NOTE, "name": "note" }),
        json!({ "type": "resource_link", "uri": DOC, "name": "doc" }),
        json!({ "type": "resource_link", "uri": "https://example.com/", "name": "elsewhere" }),
        json!({ "type": "resource", "resource": resource(NOTE) }),
    ]
}

fn server(name: &'static str) -> (String, Catalogue) {
    let any = json!({ "type": "object" });
    let content = serde_json::from_value(json!(blocks(name))).unwrap();
    let links = ToolEntry::from_fn("links", any, move |_: Value, _| {
        let result = CallToolResult::content(Vec::clone(&content));
        async move { result }
    });
    let message = serde_json::from_value(json!({ "role": "user", "content": blocks(name)[3] })).unwrap();
    let prompt = PromptEntry::from_fn("show", move |_, _| {
        let message: andon_types::content::PromptMessage = Clone::clone(&message);
        async move { vec![message] }
    });
    let note = ResourceEntry::from_fn(NOTE, "note", move |_, _| async move { format!("note of {name}") });
    let doc = TemplateEntry::from_fn("doc://{id}", "doc", move |_, _| async move { format!("doc of {name}") })
        .complete("id", move |_, _| async move { vec![format!("of-{name}")] });
    let own = Arc::<OnceLock<Catalogue>>::default();
    let made = own.clone();
    let make = ToolEntry::from_fn("make", json!({ "type": "object" }), move |given: Value, _| {
        let uri = given["uri"].as_str().unwrap().to_owned();
        let made = ResourceEntry::from_fn(&uri, "made", move |_, _| async move { format!("made by {name}") });
        own.get().unwrap().add(made).unwrap();
        let content = serde_json::from_value(json!([{ "type": "resource_link", "uri": uri, "name": "made" }])).unwrap();
        let result = CallToolResult::content(content);
        async move { result }
    });
    let server = Server::new(name, "1").with((links, make, prompt, note, doc));
    let catalogue = server.catalogue();
    drop(made.set(catalogue.clone()));
    let http = Http::bind("127.0.0.1:0").unwrap();
    let url = http.url();
    tokio::spawn(http.run(server.build().unwrap(), std::future::pending()));
    (url, catalogue)
}

fn uris(of: &Value, pointers: &[&str]) -> Vec<String> {
    pointers.iter().map(|pointer| of.pointer(pointer).unwrap().as_str().unwrap().to_owned()).collect()
}

/// What stands before the URIs of each that both have: nothing for the one that was there first.
async fn prefixes(client: &Client) -> [(&'static str, &'static str); 2] {
    let listed = client.resources().await.unwrap();
    match listed.iter().any(|resource| resource.uri.starts_with("two+")) {
        true => [("one", ""), ("two", "two+")],
        false => [("one", "one+"), ("two", "")],
    }
}

async fn ask(client: &Client, method: &str, params: Value) -> Value {
    let Value::Object(params) = params else { panic!("parameters are an object") };
    client.request(method, params, Options::default()).await.unwrap().parse_owned().unwrap()
}

#[tokio::test]
async fn uris_in_results_lead_to_the_server_that_said_them() {
    let ((first, _), (second, _)) = (server("one"), server("two"));
    let bench = Bench::new(json!({ "one": { "url": first }, "two": { "url": second } }));
    for revision in ["2025-06-18", "2025-11-25", "2026-07-28"] {
        let client = bench.client(revision).await;
        until(|| async { client.resources().await.unwrap().len() == 2 }).await;
        for (name, before) in prefixes(&client).await {
            let (note, doc) = (format!("{before}{NOTE}"), format!("{before}{DOC}"));
            let called = ask(&client, "tools/call", json!({ "name": format!("{name}__links") })).await;
            let said =
                uris(&called, &["/content/0/uri", "/content/1/uri", "/content/2/uri", "/content/3/resource/uri"]);
            assert_eq!(said, [&note, &doc, "https://example.com/", &note], "{revision}: {name}");
            let shown = ask(&client, "prompts/get", json!({ "name": format!("{name}__show") })).await;
            assert_eq!(uris(&shown, &["/messages/0/content/resource/uri"]), [note.as_str()], "{revision}: {name}");
            for (uri, text) in [(&note, "note"), (&doc, "doc")] {
                let read = ask(&client, "resources/read", json!({ "uri": uri })).await;
                assert_eq!(uris(&read, &["/contents/0/uri"]), [uri.as_str()], "{revision}: {name}");
                assert_eq!(read["contents"][0]["text"], format!("{text} of {name}"));
            }
            let reference = Reference::Resource { uri: format!("{before}doc://{{id}}") };
            let completed = client.complete(&reference, ("id", ""), &HashMap::new()).await.unwrap();
            assert_eq!(completed.values, [format!("of-{name}")], "{revision}");
        }
    }
    bench.gateway.stop().await;
}

/// Before its server has said that its list changed, and after.
#[tokio::test]
async fn a_resource_is_read_by_its_link_as_soon_as_it_is_made() {
    let ((first, _), (second, _)) = (server("one"), server("two"));
    let bench = Bench::new(json!({ "one": { "url": first }, "two": { "url": second } }));
    for revision in ["2025-11-25", "2026-07-28"] {
        let client = bench.client(revision).await;
        until(|| async { client.resources().await.unwrap().len() >= 2 }).await;
        let (uri, before) = (format!("made:{revision}"), client.resources().await.unwrap().len());
        let mut links = Vec::new();
        for name in ["one", "two"] {
            let params = json!({ "name": format!("{name}__make"), "arguments": { "uri": uri } });
            let link = uris(&ask(&client, "tools/call", params).await, &["/content/0/uri"]).remove(0);
            assert_eq!(link, format!("{name}+{uri}"));
            links.push((name, link));
        }
        for is_listed in [false, true] {
            for (name, link) in &links {
                let read = ask(&client, "resources/read", json!({ "uri": link })).await;
                assert_eq!(read["contents"][0]["text"], format!("made by {name}"), "{revision}: {is_listed}");
                assert_eq!(uris(&read, &["/contents/0/uri"]), [link.as_str()], "{revision}: {is_listed}");
            }
            until(|| async { client.resources().await.unwrap().len() == before + 2 }).await;
        }
    }
    bench.gateway.stop().await;
}

#[tokio::test]
async fn changes_are_told_by_the_name_that_was_subscribed_to() {
    let ((first, one), (second, two)) = (server("one"), server("two"));
    let bench = Bench::new(json!({ "one": { "url": first }, "two": { "url": second } }));
    for revision in ["2025-11-25", "2026-07-28"] {
        let client = bench.client(revision).await;
        until(|| async { client.resources().await.unwrap().len() == 2 }).await;
        let mut events = client.events();
        let names = prefixes(&client).await.map(|(_, before)| format!("{before}{NOTE}"));
        let wanted = Listen::default().uri(names[0].as_str()).uri(names[1].as_str());
        let listening = client.listen(wanted).await.unwrap();
        for (catalogue, name) in [(&two, &names[1]), (&one, &names[0])] {
            catalogue.updated(NOTE);
            event(&mut events, |event| {
                let Event::ResourceUpdated(uri) = event else { return false };
                assert_eq!(uri, name, "{revision}");
                true
            })
            .await;
        }
        drop(listening);
    }
    bench.gateway.stop().await;
}
