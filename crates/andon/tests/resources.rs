//! Resources and templates: reading, matching, subscribing.

use andon::prelude::*;
use andon::server::testing::{Client, ClientOptions};
use andon::types::meta::{CacheHint, CacheScope};
use andon::types::revision::{Era, Revision};

/// How to use it.
#[resource("notes://readme", mime = "text/markdown", title = "Read me")]
async fn readme() -> &'static str {
    "# Notes"
}

#[resource("notes://logo", mime = "image/png", name = "logo.png")]
async fn logo() -> Vec<u8> {
    vec![0x89, b'P', b'N', b'G']
}

#[derive(Serialize)]
struct Note {
    id: u32,
    owner: String,
}

struct Owners(Vec<&'static str>);

/// One note.
#[resource("notes://by-id/{id}{?owner}", mime = "application/json", complete(id = ids))]
async fn note(id: u32, owner: Option<String>, owners: State<Owners>) -> Result<Json<Note>, NotFound> {
    let owner = owner.unwrap_or_else(|| owners.0[0].to_owned());
    if id < 10 { Ok(Json(Note { id, owner })) } else { Err(NotFound) }
}

async fn ids(query: CompletionQuery, _: Context) -> Vec<String> {
    (0..500).map(|id| id.to_string()).filter(|id| id.starts_with(&query.value)).collect()
}

#[resource("files:///{+path}")]
async fn file(path: String, request: ReadRequest) -> Result<ResourceContents, ProtocolError> {
    match path.as_str() {
        "broken" => Err(std::io::Error::other("the password is 1234").into()),
        _ => Ok(ResourceContents::text(request.uri, "text/plain", path)),
    }
}

fn server() -> Server {
    Server::new("notes", "1").state(Owners(vec!["ann"])).with((readme, logo, note, file))
}

async fn client(revision: Revision) -> Client {
    server().client_with(ClientOptions::default().revision(revision)).await
}

async fn read(client: &Client, uri: &str) -> Result<Value, i32> {
    let result = client.request("resources/read", json!({ "uri": uri })).await;
    result.map(|result| result["contents"][0].clone()).map_err(|error| error.code)
}

#[tokio::test]
async fn resources_are_listed_as_written() {
    let client = client(Revision::LATEST_LEGACY).await;
    let listed = client.request("resources/list", json!({})).await.unwrap();
    assert_eq!(
        listed["resources"],
        json!([
            {
                "uri": "notes://readme", "name": "readme", "title": "Read me", "description": "How to use it.",
                "mimeType": "text/markdown",
            },
            {"uri": "notes://logo", "name": "logo.png", "mimeType": "image/png"},
        ])
    );
    let listed = client.request("resources/templates/list", json!({})).await.unwrap();
    assert_eq!(listed["resourceTemplates"][0]["uriTemplate"], "notes://by-id/{id}{?owner}");
    assert_eq!(listed["resourceTemplates"][0]["description"], "One note.");
}

#[tokio::test]
async fn text_bytes_and_json_are_read() {
    let client = client(Revision::LATEST_LEGACY).await;
    let text = json!({"uri": "notes://readme", "mimeType": "text/markdown", "text": "# Notes"});
    assert_eq!(read(&client, "notes://readme").await, Ok(text.clone()));
    assert_eq!(read(&client, "NOTES://ReadMe").await, Ok(text), "equivalent URIs are one resource");
    let bytes = json!({"uri": "notes://logo", "mimeType": "image/png", "blob": "iVBORw=="});
    assert_eq!(read(&client, "notes://logo").await, Ok(bytes));
    let note = read(&client, "notes://by-id/7").await.unwrap();
    assert_eq!(note["text"], r#"{"id":7,"owner":"ann"}"#);
    let note = read(&client, "notes://by-id/7?owner=b%C3%B6b").await.unwrap();
    assert_eq!(note["text"], r#"{"id":7,"owner":"böb"}"#);
    assert_eq!(read(&client, "files:///a/b").await.unwrap()["text"], "a/b");
}

#[tokio::test]
async fn what_is_not_there_is_answered_by_revision() {
    for revision in Revision::ALL {
        let client = client(revision).await;
        let not_found = if revision.rules().not_found_is_invalid_params { -32602 } else { -32002 };
        for uri in ["notes://by-id/99", "notes://by-id/x", "notes://by-id/1/2", "other://x", "notes://"] {
            assert_eq!(read(&client, uri).await, Err(not_found), "{revision} {uri}");
        }
        let error = client.request("resources/read", json!({"uri": "other://x"})).await.unwrap_err();
        assert_eq!(error.data.unwrap(), json!({"uri": "other://x"}));
        for uri in ["no uri", "notes://%zz", ""] {
            assert_eq!(read(&client, uri).await, Err(-32602), "{revision} {uri}");
        }
        let failed = client.request("resources/read", json!({"uri": "files:///broken"})).await.unwrap_err();
        assert_eq!(failed.code, -32603);
        assert!(!failed.message.contains("1234"));
    }
}

#[tokio::test]
async fn comp1_template_variables_are_completed() {
    let client = client(Revision::LATEST_LEGACY).await;
    let complete = |uri: &str, name: &str, value: &str| {
        let params = json!({"ref": {"type": "ref/resource", "uri": uri}, "argument": {"name": name, "value": value}});
        client.request("completion/complete", params)
    };
    let template = "notes://by-id/{id}{?owner}";
    let found = complete(template, "id", "49").await.unwrap();
    assert_eq!(found["completion"]["values"].as_array().unwrap().len(), 11);
    assert_eq!(found["completion"]["hasMore"], false);
    let many = complete(template, "id", "").await.unwrap();
    assert_eq!(many["completion"]["values"].as_array().unwrap().len(), 100);
    assert_eq!((&many["completion"]["total"], &many["completion"]["hasMore"]), (&json!(500), &json!(true)));
    assert_eq!(complete(template, "owner", "").await.unwrap()["completion"]["values"], json!([]));
    assert_eq!(complete("notes://readme", "x", "").await.unwrap()["completion"]["values"], json!([]));
    assert_eq!(complete(template, "unknown", "").await.unwrap_err().code, -32602);
    assert_eq!(complete("notes://{nothing}", "id", "").await.unwrap_err().code, -32602);
}

#[tokio::test]
async fn sub11_updates_come_only_to_subscribers() {
    let server = server();
    let catalogue = server.catalogue();
    let client = server.client().await;
    assert_eq!(
        client.request("resources/subscribe", json!({"uri": "notes://by-id/x/y"})).await.unwrap_err().code,
        -32002
    );
    catalogue.updated("notes://by-id/1");
    assert_eq!(client.request("resources/subscribe", json!({"uri": "notes://by-id/2"})).await.unwrap(), json!({}));
    catalogue.updated("notes://by-id/1");
    catalogue.updated("NOTES://by-id/2");
    let heard = client.expect("notifications/resources/updated").await;
    assert_eq!(heard, json!({"uri": "notes://by-id/2"}));
    assert_eq!(client.request("resources/unsubscribe", json!({"uri": "notes://by-id/2"})).await.unwrap(), json!({}));
    catalogue.updated("notes://by-id/2");
    catalogue.announce(false, false, true);
    let (next, _) = client.notification().await.unwrap();
    assert_eq!(next, "notifications/resources/list_changed", "nothing comes after unsubscribing");
}

#[tokio::test]
async fn sub2_listening_is_to_what_is_there() {
    let server = server();
    let catalogue = server.catalogue();
    let client = server.client_with(ClientOptions::default().revision(Revision::LATEST)).await;
    let wanted = json!({
        "toolsListChanged": true,
        "resourcesListChanged": true,
        "resourceSubscriptions": ["notes://by-id/1", "NOTES://by-id/1", "other://x"],
        "unknown": true,
    });
    let (id, _end) = client.start("subscriptions/listen", json!({ "notifications": wanted }));
    let acknowledged = client.expect("notifications/subscriptions/acknowledged").await;
    assert_eq!(
        acknowledged["notifications"],
        json!({"resourcesListChanged": true, "resourceSubscriptions": ["notes://by-id/1"]}),
        "there are no tools, and no other://x"
    );
    catalogue.updated("notes://by-id/2");
    catalogue.updated("notes://by-id/1");
    let heard = client.expect("notifications/resources/updated").await;
    assert_eq!(heard["uri"], "notes://by-id/1");
    assert_eq!(heard["_meta"]["io.modelcontextprotocol/subscriptionId"], id);

    let listen = |wanted: Value| client.request("subscriptions/listen", json!({ "notifications": wanted }));
    let tasks = listen(json!({"taskIds": ["t"]})).await.unwrap_err();
    assert_eq!(tasks.code, -32021);
    let many: Vec<String> = (0..1001).map(|id| format!("notes://by-id/{id}")).collect();
    assert_eq!(listen(json!({"resourceSubscriptions": many})).await.unwrap_err().code, -32602);
    assert_eq!(listen(json!({"resourceSubscriptions": ["no uri"]})).await.unwrap_err().code, -32602);
}

#[tokio::test]
async fn cache1_hints_travel_in_the_modern_era_only() {
    let hint = |ttl_ms, scope| CacheHint { ttl_ms, scope };
    let stable = ResourceEntry::from_fn("notes://stable", "stable", |_, _| async { "x" });
    let server = || {
        let stable = stable.clone().cache(hint(60_000, CacheScope::Public));
        server().cache(hint(5, CacheScope::Private)).with(stable)
    };
    for revision in Revision::ALL {
        let client = server().client_with(ClientOptions::default().revision(revision)).await;
        let read = client.request("resources/read", json!({"uri": "notes://stable"})).await.unwrap();
        let listed = client.request("resources/list", json!({})).await.unwrap();
        if revision.era() == Era::Modern {
            assert_eq!((&read["ttlMs"], &read["cacheScope"]), (&json!(60_000), &json!("public")));
            assert_eq!((&listed["ttlMs"], &listed["cacheScope"]), (&json!(5), &json!("private")));
        } else {
            assert!(read.get("ttlMs").is_none() && listed.get("cacheScope").is_none());
        }
    }
}

#[resource("notes://m%C3%BCnchen/%C3%A9", name = "city")]
async fn city() -> &'static str {
    "city"
}

#[tokio::test]
async fn u7_uris_are_compared_by_rfc_3986_and_nothing_else() {
    let client = Server::new("notes", "1").with(city).client().await;
    for same in ["notes://m%C3%BCnchen/%C3%A9", "NOTES://M%c3%bcnchen/%c3%A9", "notes://%6D%C3%BCnchen/x/../%C3%A9"] {
        assert_eq!(read(&client, same).await.unwrap()["text"], "city", "{same}");
    }
    for other in [
        // Punycode, the decomposed form, upper case beyond ASCII, a look-alike, a trailing dot, a port, a double escape.
        "notes://xn--mnchen-3ya/%C3%A9",
        "notes://mu%CC%88nchen/%C3%A9",
        "notes://m%C3%BCnchen/e%CC%81",
        "notes://M%C3%9CNCHEN/%C3%A9",
        "notes://m%C3%BCnchen/%C3%89",
        "notes://m%C3%BCnch%D0%B5n/%C3%A9",
        "notes://m%C3%BCnchen./%C3%A9",
        "notes://m%C3%BCnchen:1/%C3%A9",
        "notes://m%25C3%25BCnchen/%C3%A9",
        "notes://m\u{fc}nchen/\u{e9}",
    ] {
        assert!(read(&client, other).await.is_err(), "{other}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn u15_completion_reveals_nothing_outside_of_what_is_served() {
    let outer = tempfile::tempdir().unwrap();
    std::fs::create_dir(outer.path().join("served")).unwrap();
    std::fs::write(outer.path().join("served/hello.txt"), "hello").unwrap();
    std::fs::write(outer.path().join("secret.txt"), "secret").unwrap();
    let directory = Directory::open(outer.path().join("served")).unwrap();
    let server = Server::new("files", "1").with(note).with(directory).state(Owners(vec!["ann"]));
    let client = server.client().await;
    let absolute = outer.path().display().to_string();
    for (uri, argument) in [
        ("file:///{+path}", "path"),
        ("file:///hello.txt", "path"),
        ("file:///../{+path}", "path"),
        ("file:///../secret.txt", "path"),
        (absolute.as_str(), "path"),
    ] {
        for value in ["", ".", "..", "../", "../s", "/", &absolute, "%2e%2e%2f", "..%2f", "\0", "*"] {
            let params =
                json!({"ref": {"type": "ref/resource", "uri": uri}, "argument": {"name": argument, "value": value}});
            match client.request("completion/complete", params).await {
                Ok(result) => assert_eq!(result["completion"]["values"], json!([]), "{uri} {value:?}"),
                Err(error) => {
                    assert!(!error.to_string().contains("secret.txt") || uri.contains("secret.txt"), "{error}");
                }
            }
        }
    }
}

#[resource("catalog://{sku}")]
async fn sold(sku: String) -> String {
    sku
}

#[resource("catalog://Fixed", name = "fixed")]
async fn fixed() -> &'static str {
    "fixed"
}

#[resource("shop://item-{n}/{part}")]
async fn part(n: String, part: String) -> String {
    format!("{n}/{part}")
}

#[tokio::test]
async fn a_variable_that_is_the_host_keeps_its_case() {
    let server = Server::new("catalog", "1").with((sold, fixed, part));
    let catalogue = server.catalogue();
    let client = server.client().await;
    for (uri, text) in [
        ("catalog://ABC-1", "ABC-1"),
        ("CATALOG://ABC-1", "ABC-1"),
        ("catalog://abc-1", "abc-1"),
        ("catalog://%41bC", "AbC"),
        ("catalog://FIXED", "fixed"),
        ("shop://item-A/B", "A/B"),
        // What is not the variable's has no case.
        ("shop://ITEM-A/B", "a/B"),
    ] {
        let read = read(&client, uri).await.unwrap_or_else(|code| panic!("{uri}: {code}"));
        assert_eq!(read["text"], text, "{uri}");
    }
    assert_eq!(read(&client, "CATALOG://ABC-1").await.unwrap()["uri"], "catalog://ABC-1");
    client.request("resources/subscribe", json!({"uri": "catalog://ABC"})).await.unwrap();
    catalogue.updated("catalog://abc");
    catalogue.updated("Catalog://ABC");
    assert_eq!(client.expect("notifications/resources/updated").await, json!({"uri": "catalog://ABC"}));
    client.request("resources/unsubscribe", json!({"uri": "catalog://ABC"})).await.unwrap();
    catalogue.updated("catalog://ABC");
    catalogue.announce(false, false, true);
    assert_eq!(client.notification().await.unwrap().0, "notifications/resources/list_changed");
}
