//! Lists, pages, changes at run time, and what is refused when an item is added.

use andon::prelude::*;
use andon::server::testing::{Client, ClientOptions};
use andon::types::meta::Icon;
use andon::types::method::Capability;
use andon::types::revision::Revision;

fn tool(name: impl Into<String>) -> ToolEntry {
    ToolEntry::from_fn(name, json!({"type": "object"}), |_: Value, _| async { "ok" })
}

fn many(count: usize) -> Server {
    Server::new("many", "1").with((0..count).map(|n| tool(format!("t{n}"))).collect::<Vec<_>>())
}

async fn page(client: &Client, cursor: Option<&str>) -> (Vec<String>, Option<String>) {
    let params = cursor.map_or(json!({}), |cursor| json!({ "cursor": cursor }));
    let page = client.request("tools/list", params).await.expect("a page");
    let tools = page["tools"].as_array().expect("a list").iter();
    let names = tools.map(|tool| tool["name"].as_str().unwrap_or_default().to_owned()).collect();
    (names, page.get("nextCursor").map(|cursor| cursor.as_str().expect("a text").to_owned()))
}

#[tokio::test]
async fn pag1_lists_come_in_pages_in_the_order_of_adding() {
    let client = many(120).client().await;
    let (mut all, mut cursor) = page(&client, None).await;
    assert_eq!(all.len(), 50);
    while let Some(next) = cursor {
        let (more, after) = page(&client, Some(&next)).await;
        all.extend(more);
        cursor = after;
    }
    assert_eq!(all, (0..120).map(|n| format!("t{n}")).collect::<Vec<_>>());
    let (exact, end) = page(&many(50).client().await, None).await;
    assert_eq!((exact.len(), end), (50, None), "no cursor leads to an empty page");
}

#[tokio::test]
async fn pag1_pages_are_stable_under_inserts_and_removals() {
    let server = many(6).page_size(2);
    let catalogue = server.catalogue();
    let client = server.client().await;
    let (first, cursor) = page(&client, None).await;
    assert_eq!(first, ["t0", "t1"]);
    assert!(catalogue.remove_tool("t0") && catalogue.remove_tool("t2"));
    catalogue.add(tool("late")).unwrap();
    let (second, cursor) = page(&client, cursor.as_deref()).await;
    assert_eq!(second, ["t3", "t4"], "nothing twice, nothing skipped");
    let (third, end) = page(&client, cursor.as_deref()).await;
    assert_eq!((third, end), (vec!["t5".to_owned(), "late".to_owned()], None));
}

#[tokio::test]
async fn x13_bad_cursors_are_refused() {
    let server = || many(4).page_size(1).seal_keys([[7; 32]]).with(PromptEntry::from_fn("p", |_, _| async { "x" }));
    let client = server().client().await;
    let (_, cursor) = page(&client, None).await;
    let cursor = cursor.unwrap();
    for bad in ["", "garbage", &cursor[..cursor.len() - 1], &format!("{cursor}A")] {
        let error = client.request("tools/list", json!({ "cursor": bad })).await.unwrap_err();
        assert_eq!(error.code, -32602, "{bad:?}");
    }
    assert_eq!(client.request("tools/list", json!({"cursor": 5})).await.unwrap_err().code, -32602);
    assert_eq!(client.request("prompts/list", json!({"cursor": cursor})).await.unwrap_err().code, -32602);
    let other = Principal::verified("bob", []);
    let bob = server().client_with(ClientOptions::default().principal(other)).await;
    assert_eq!(bob.request("tools/list", json!({"cursor": cursor})).await.unwrap_err().code, -32602);
    let same = server().client().await;
    assert_eq!(page(&same, Some(&cursor)).await.0, ["t1"], "a server with the same keys goes on");
}

#[tokio::test]
async fn changes_at_run_time_are_announced() {
    let server = many(1).declare(Capability::Prompts);
    let catalogue = server.catalogue();
    let client = server.client().await;
    catalogue.add(tool("late")).unwrap();
    client.expect("notifications/tools/list_changed").await;
    assert_eq!(page(&client, None).await.0, ["t0", "late"]);
    assert_eq!(client.call::<String>("late", json!({})).await.unwrap(), "ok");

    assert_eq!(client.request("prompts/list", json!({})).await.unwrap()["prompts"], json!([]));
    catalogue.add(PromptEntry::from_fn("p", |_, _| async { "x" })).unwrap();
    client.expect("notifications/prompts/list_changed").await;
    assert!(catalogue.remove_prompt("p") && !catalogue.remove_prompt("p"));

    assert!(catalogue.remove_tool("late") && !catalogue.remove_tool("late"));
    client.expect("notifications/tools/list_changed").await;
    assert_eq!(client.request("tools/call", json!({"name": "late"})).await.unwrap_err().code, -32602);
    assert!(catalogue.remove_tool("t0"));
    assert_eq!(page(&client, None).await, (Vec::new(), None), "an empty list is a list still");
}

#[tokio::test]
async fn a_handler_can_change_the_catalogue() {
    let grow = |_: Value, ctx: Context| async move {
        ctx.catalogue().add(tool("grown"))?;
        Ok::<_, ToolError>("grown")
    };
    let client = Server::new("t", "1").tool("grow", json!({"type": "object"}), grow).client().await;
    assert_eq!(client.call::<String>("grow", json!({})).await.unwrap(), "grown");
    assert_eq!(client.call::<String>("grown", json!({})).await.unwrap(), "ok");
    let again = client.call::<String>("grow", json!({})).await.unwrap_err().to_string();
    assert!(again.contains("stands twice"), "{again}");
}

#[tokio::test]
async fn cap1_what_is_declared_is_served_and_the_other_way_round() {
    for revision in Revision::ALL {
        let client = many(1).client_with(ClientOptions::default().revision(revision)).await;
        for (method, known) in [("tools/list", true), ("prompts/list", false), ("resources/list", false)] {
            let answer = client.request(method, json!({})).await;
            assert_eq!(answer.is_ok(), known, "{revision} {method}");
            assert!(known || answer.unwrap_err().code == -32601, "{revision} {method}");
        }
    }
}

fn refused(server: Server) -> String {
    server.build().err().map_or_else(|| "accepted".to_owned(), |error| error.to_string())
}

fn check(server: Server, says: &str) {
    let why = refused(server);
    assert!(why.contains(says), "{why}");
}

#[tokio::test]
async fn v8_names_are_checked_and_unique() {
    for name in ["", "a b", "a\r\nb", "tööl", "a/b", &"x".repeat(129), "аdd"] {
        check(Server::new("t", "1").with(tool(name)), "has a bad name");
    }
    assert_eq!(refused(Server::new("t", "1").with(tool("A-z_0.9"))), "accepted");
    check(Server::new("t", "1").with((tool("a"), tool("a"))), "tool `a` stands twice");
    let prompt = |name: &str| PromptEntry::from_fn(name, |_, _| async { "x" });
    check(Server::new("t", "1").with(prompt("a\nb")), "prompt `a\\nb` is not 1 to 256 bytes");
    check(Server::new("t", "1").with(prompt("a").required("x", "").optional("x", "")), "`x` twice");
    let resource = |uri: &str| ResourceEntry::from_fn(uri, "r", |_, _| async { "x" });
    check(Server::new("t", "1").with((resource("a://x"), resource("A://X"))), "stands twice");
    check(Server::new("t", "1").with(resource("no uri")), "has no valid URI");
    check(Server::new("t", "1").with(resource("a://x").mime_type("text")), "bad media type");
    check(Server::new("", "1"), "name is not empty");
    check(Server::new("t", "1\n"), "control characters");
}

#[tokio::test]
async fn u12_bad_templates_are_refused() {
    let template = |text: &str| TemplateEntry::from_fn(text, "r", |_, _| async { "x" });
    for text in ["a://{", "a://{}", "a://{x:0}", "a://{{x}}", "a://{x.}"] {
        check(Server::new("t", "1").with(template(text)), "is no URI template");
    }
}

#[tokio::test]
async fn v1_v6_bad_schemas_are_refused_with_the_tools_name() {
    let with = |schema: Value| Server::new("t", "1").with(ToolEntry::from_fn("x", schema, |_: Value, _| async {}));
    check(with(json!({"type": "string"})), "tool `x` takes an object");
    check(with(json!({})), "takes an object");
    check(with(json!(true)), "takes an object");
    check(with(json!({"type": "object", "$ref": "http://127.0.0.1:9/x"})), "bad input schema");
    check(with(json!({"type": "object", "description": "x".repeat(300 << 10)})), "bad input schema");
    let output = tool("x").output_schema(json!({"type": 5}));
    check(Server::new("t", "1").with(output), "bad output schema");
}

#[tokio::test]
async fn hdr8_bad_header_annotations_are_refused() {
    for (kind, header) in [("number", "A"), ("string", "A B"), ("string", ""), ("object", "A")] {
        let schema = json!({"type": "object", "properties": {"p": {"type": kind, "x-mcp-header": header}}});
        let entry = ToolEntry::from_fn("x", schema, |_: Value, _| async {});
        check(Server::new("t", "1").with(entry), "bad header");
    }
}

#[tokio::test]
async fn all_mistakes_are_told_at_once() {
    let icon = Icon { src: "http://x".to_owned(), mime_type: None, sizes: Vec::new(), theme: None };
    let why = refused(Server::new("t", "1").with((tool("a b"), tool("c").icon(icon), tool("d").max_in_flight(0))));
    for item in ["`a b`", "`c` has a bad icon", "`d` can never be called"] {
        assert!(why.contains(item), "{why}");
    }
    check(Server::new("t", "1").complete("p", "x", |_, _| async { Vec::new() }), "no prompt and no resource template");
}

struct Database;

#[tool]
async fn query(database: State<Database>) {
    drop(database);
}

#[tokio::test]
async fn a_state_that_nobody_gave_is_missed_when_the_server_is_built() {
    check(Server::new("t", "1").with(query), "tool `query` needs the state catalogue::Database");
    assert_eq!(refused(Server::new("t", "1").with(query).state(Database)), "accepted");
    let server = Server::new("t", "1");
    let catalogue = server.catalogue();
    server.build().unwrap();
    assert!(catalogue.add(query).is_err(), "and when it is added later");
}

#[tokio::test]
async fn a_refused_batch_adds_nothing() {
    let server = many(1);
    let catalogue = server.catalogue();
    let client = server.client().await;
    assert!(catalogue.add((tool("good"), tool("bad name"))).is_err());
    assert_eq!(page(&client, None).await.0, ["t0"]);
}
