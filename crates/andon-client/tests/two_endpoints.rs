//! The transport of 2024-11-05, from our client to our server.

mod common;

use andon_client::{Client, Filled};
use andon_types::revision::{Era, Revision};
use common::{serve, server, told};
use serde_json::{Map, Value, json};

#[tokio::test]
async fn a_client_falls_back_to_two_endpoints() {
    let url = serve(server(&told()).build().expect("a good server"));
    let stream = format!("{}/sse", url.trim_end_matches("/mcp"));
    let name: Map<String, Value> = [("name".to_owned(), json!("Ann"))].into_iter().collect();
    for revision in [None, Some(Revision::LATEST_LEGACY)] {
        let name = name.clone();
        let mut builder = Client::builder(stream.as_str()).on_form(move |_| {
            let name = name.clone();
            async move { Filled::Accept(name) }
        });
        if let Some(revision) = revision {
            builder = builder.protocol(revision);
        }
        let client = builder.connect().await.expect("connects");
        assert_eq!(client.revision().map(Revision::era), Some(Era::Legacy));
        assert_eq!(client.call::<i64>("add", json!({ "a": 1, "b": 2 })).await.expect("adds"), 3);
        assert_eq!(client.tools().await.expect("lists").len(), 5);
        if client.revision().is_some_and(|revision| revision.rules().elicitation) {
            assert_eq!(client.call::<String>("greet", json!({})).await.expect("greets"), "hello Ann");
        }
        client.ping().await.expect("answers");
        client.close().await;
    }
}
