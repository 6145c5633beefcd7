//! `scope` in the macros, and what a conversation without HTTP says of it.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use andon::prelude::*;
use andon::server::testing::{Client, ClientOptions};
use andon::types::revision::Revision;

#[tool]
async fn open() -> &'static str {
    "open"
}

/// Find something.
#[tool(scope = "catalog:read", read_only)]
async fn find(user: Principal) -> String {
    user.subject().unwrap_or("nobody").to_owned()
}

#[tool(scope = "catalog:read catalog:write")]
async fn change() -> &'static str {
    "changed"
}

#[resource("catalog://all", scope = "catalog:read")]
async fn all() -> &'static str {
    "all"
}

#[resource("catalog://by-sku/{sku}", scope = "catalog:read", complete(sku = skus))]
async fn item(sku: String) -> String {
    sku
}

async fn skus(_: CompletionQuery, _: Context) -> Vec<String> {
    vec!["secret".to_owned()]
}

#[prompt(scope = "catalog:read")]
async fn ask() -> &'static str {
    "ask"
}

async fn client(revision: Revision, principal: Principal) -> Client {
    let server = Server::new("catalog", "1").with((open, find, change, all, item, ask));
    server.client_with(ClientOptions::default().revision(revision).principal(principal)).await
}

fn granted(scopes: &[&str]) -> Principal {
    Principal::verified("ann", scopes.iter().map(|scope| (*scope).to_owned()))
}

async fn tools(client: &Client) -> Vec<String> {
    let listed = client.request("tools/list", json!({})).await.unwrap();
    let names = listed["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned());
    names.collect()
}

#[tokio::test]
async fn what_needs_a_scope_is_for_those_who_hold_it() {
    for revision in Revision::ALL {
        let nobody = client(revision, Principal::anonymous()).await;
        assert_eq!(tools(&nobody).await, ["open"], "{revision}");
        let reader = client(revision, granted(&["catalog:read"])).await;
        assert_eq!(tools(&reader).await, ["open", "find"]);
        assert_eq!(reader.call::<String>("find", json!({})).await.unwrap(), "ann");
        let writer = client(revision, granted(&["catalog:write", "catalog:read"])).await;
        assert_eq!(tools(&writer).await, ["open", "find", "change"]);
        assert_eq!(writer.call::<String>("change", json!({})).await.unwrap(), "changed");

        let reference = json!({"type": "ref/resource", "uri": "catalog://by-sku/{sku}"});
        for (method, params, scopes) in [
            ("tools/call", json!({"name": "find"}), json!(["catalog:read"])),
            ("tools/call", json!({"name": "change"}), json!(["catalog:read", "catalog:write"])),
            ("resources/read", json!({"uri": "catalog://all"}), json!(["catalog:read"])),
            ("resources/read", json!({"uri": "catalog://by-sku/1"}), json!(["catalog:read"])),
            ("prompts/get", json!({"name": "ask"}), json!(["catalog:read"])),
            (
                "completion/complete",
                json!({"ref": reference, "argument": {"name": "sku", "value": ""}}),
                json!(["catalog:read"]),
            ),
        ] {
            let error = nobody.request(method, params).await.unwrap_err();
            assert_eq!((error.code, &error.data.unwrap()["requiredScopes"]), (-32600, &scopes), "{revision} {method}");
        }
        let error = reader.request("tools/call", json!({"name": "change"})).await.unwrap_err();
        assert!(error.message.contains("catalog:write"), "{error}");
    }
}

#[tokio::test]
async fn u14_a_subscription_needs_the_scope_of_the_resource() {
    for uri in ["catalog://all", "catalog://by-sku/1"] {
        let nobody = client(Revision::LATEST_LEGACY, Principal::anonymous()).await;
        assert!(nobody.request("resources/subscribe", json!({ "uri": uri })).await.is_err());
        let reader = client(Revision::LATEST_LEGACY, granted(&["catalog:read"])).await;
        assert!(reader.request("resources/subscribe", json!({ "uri": uri })).await.is_ok());
    }
}

#[test]
fn a_scope_is_what_oauth_can_say() {
    for bad in ["", "two words", "quo\"te", "back\\slash", "caf\u{e9}", "line\n"] {
        let entry =
            andon::server::entry::ToolEntry::from_fn("t", json!({"type": "object"}), |_: Value, _| async { "" });
        let error = Server::new("s", "1").with(entry.scope(bad)).build().err().unwrap();
        assert!(error.to_string().contains("scope"), "{bad:?}: {error}");
    }
}
