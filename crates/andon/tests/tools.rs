//! Tools by macro: arguments, extractors, results, errors, limits.

use std::sync::Arc;
use std::time::Duration;

use andon::prelude::*;
use andon::server::testing::{CallError, Client, ClientOptions};
use andon::types::revision::Revision;
use tokio::sync::Notify;

/// Add two numbers.
///
/// They may be negative.
#[tool(read_only, idempotent, destructive = false, title = "Adder")]
async fn add(
    /// left operand
    a: i64,
    /// right operand
    b: i64,
) -> i64 {
    a + b
}

#[derive(Deserialize, JsonSchema)]
struct Find {
    query: String,
    #[serde(default)]
    limit: Option<u32>,
}

#[derive(Serialize, Deserialize, JsonSchema, Debug, PartialEq)]
struct Hits {
    rows: Vec<String>,
}

struct App {
    rows: Vec<&'static str>,
}

/// Search.
#[tool(name = "search.find", timeout = "2s", max_in_flight = 2)]
async fn find(query: Args<Find>, app: State<App>, user: Principal, ctx: Context) -> Result<Hits, ToolError> {
    assert!(user.is_anonymous());
    ctx.progress(1.0, None, None).await?;
    let limit = query.limit.unwrap_or(10) as usize;
    let rows = app.rows.iter().filter(|row| row.contains(&query.query)).take(limit);
    Ok(Hits { rows: rows.map(|row| (*row).to_owned()).collect() })
}

#[tool]
async fn greet(name: String, greeting: Option<String>, #[default(1)] times: usize) -> String {
    vec![format!("{}, {name}!", greeting.as_deref().unwrap_or("Hello")); times].join(" ")
}

#[tool]
async fn fail(how: String) -> Result<Hits, ToolError> {
    match how.as_str() {
        "visible" => Err(ToolError::new("try with a smaller number")),
        "io" => Err(std::io::Error::other("disk on fire").into()),
        "hidden" => Err(ToolError::hidden("the password is 1234")),
        "protocol" => Err(ProtocolError::invalid_params("no").into()),
        "arguments" => Err(ToolError::arguments("`how` is odd")),
        "panic" => panic!("with a secret"),
        _ => Ok(Hits { rows: Vec::new() }),
    }
}

#[tool]
async fn nothing() {}

#[tool]
async fn meta(meta: Meta) -> Result<String, ToolError> {
    Ok(meta["example.com/trace"].to_string())
}

struct Tenant(String);

impl FromContext for Tenant {
    fn from_context(context: &Context) -> Result<Self, ProtocolError> {
        let tenant = context.meta().and_then(|meta| meta.get("example.com/tenant")).and_then(Value::as_str);
        tenant.map(|tenant| Self(tenant.to_owned())).ok_or_else(|| ProtocolError::invalid_params("no tenant"))
    }
}

#[tool]
async fn tenant(#[extract] tenant: Tenant) -> String {
    tenant.0
}

#[tool]
async fn rows() -> Vec<Row> {
    vec![Row { n: 1 }, Row { n: 2 }]
}

#[derive(Serialize, JsonSchema)]
struct Row {
    n: u8,
}

fn server() -> Server {
    Server::new("tools", "1.0.0")
        .state(App { rows: vec!["apple", "apricot", "banana"] })
        .with((add, find, greet, fail, nothing, meta, tenant, rows))
}

async fn client() -> Client {
    server().client().await
}

async fn modern() -> Client {
    server().client_with(ClientOptions::default().revision(Revision::LATEST)).await
}

async fn listed(client: &Client, name: &str) -> Value {
    let tools = client.request("tools/list", json!({})).await.expect("tools are listed");
    let tools = tools["tools"].as_array().expect("a list");
    tools.iter().find(|tool| tool["name"] == name).expect("the tool is there").clone()
}

#[tokio::test]
async fn a_function_becomes_a_definition() {
    let client = client().await;
    assert_eq!(
        listed(&client, "add").await,
        json!({
            "name": "add",
            "title": "Adder",
            "description": "Add two numbers.\n\nThey may be negative.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "a": {"type": "integer", "description": "left operand"},
                    "b": {"type": "integer", "description": "right operand"},
                },
                "required": ["a", "b"],
            },
            "annotations": {"readOnlyHint": true, "idempotentHint": true, "destructiveHint": false},
        })
    );
    let greet = listed(&client, "greet").await;
    assert_eq!(greet["inputSchema"]["required"], json!(["name"]));
    assert_eq!(greet["inputSchema"]["properties"]["greeting"], json!({"type": "string"}));
    assert_eq!(greet["inputSchema"]["properties"]["times"]["default"], 1);
    let find = listed(&client, "search.find").await;
    assert_eq!(find["inputSchema"]["required"], json!(["query"]));
    assert_eq!(find["outputSchema"]["required"], json!(["rows"]));
}

/// Mirrored for routers.
#[tool(header(region = "Region"))]
async fn route(region: String) -> String {
    region
}

#[derive(Deserialize, JsonSchema)]
struct Place {
    zone: u8,
}

#[tool(header(zone = "Zone"))]
async fn place(place: Args<Place>) -> u8 {
    place.zone
}

#[tool(header(zoom = "Zone"))]
async fn misspelt(place: Args<Place>) -> u8 {
    place.zone
}

#[tokio::test]
async fn hdr4_annotations_reach_the_schema() {
    let client = Server::new("t", "1").with((route, place)).client().await;
    let annotation = async |tool: &str, name: &str| {
        listed(&client, tool).await["inputSchema"]["properties"][name]["x-mcp-header"].clone()
    };
    assert_eq!(annotation("route", "region").await, "Region");
    assert_eq!(annotation("place", "zone").await, "Zone");
    let refused = Server::new("t", "1").with(misspelt).build().err().expect("it has no such argument");
    assert!(refused.to_string().contains("bad header"), "{refused}");
}

#[tokio::test]
async fn a_function_can_be_tested_without_a_server() {
    assert_eq!(add::call(1, 2).await, 3);
}

#[tokio::test]
async fn arguments_are_read_and_optional_ones_may_be_left_out() {
    let client = client().await;
    assert_eq!(client.call::<i64>("add", json!({"a": 1, "b": 2})).await.unwrap(), 3);
    assert_eq!(client.call::<String>("greet", json!({"name": "Ann"})).await.unwrap(), "Hello, Ann!");
    let given = json!({"name": "Ann", "greeting": "Hi", "times": 2, "unknown": true});
    assert_eq!(client.call::<String>("greet", given).await.unwrap(), "Hi, Ann! Hi, Ann!");
    let nothing = client.request("tools/call", json!({"name": "nothing"})).await.unwrap();
    assert_eq!(nothing["content"], json!([]));
}

#[tokio::test]
async fn out1_structured_output_has_a_schema_and_a_mirror() {
    let client = client().await;
    let result = client.call_raw("search.find", json!({"query": "ap", "limit": 1})).await.unwrap();
    assert_eq!(result["structuredContent"], json!({"rows": ["apple"]}));
    assert_eq!(result["content"], json!([{"type": "text", "text": "{\"rows\":[\"apple\"]}"}]));
    let hits: Hits = client.call("search.find", json!({"query": "ap"})).await.unwrap();
    assert_eq!(hits.rows, ["apple", "apricot"]);
}

#[tokio::test]
async fn structured_output_that_is_no_object_is_for_the_newest_revision() {
    let result = modern().await.call_raw("rows", json!({})).await.unwrap();
    assert_eq!(result["structuredContent"], json!([{"n": 1}, {"n": 2}]));
    assert_eq!(listed(&modern().await, "rows").await["outputSchema"]["type"], "array");

    let client = client().await;
    let result = client.call_raw("rows", json!({})).await.unwrap();
    assert_eq!(result.get("structuredContent"), None);
    assert_eq!(result["content"][0]["text"], r#"[{"n":1},{"n":2}]"#);
    assert_eq!(listed(&client, "rows").await.get("outputSchema"), None);
}

#[tokio::test]
async fn a_tools_failure_is_for_the_model_and_a_protocol_error_for_the_program() {
    let client = client().await;
    let call = async |how: &str| client.call::<Hits>("fail", json!({ "how": how })).await.unwrap_err();
    assert!(matches!(call("visible").await, CallError::Tool(text) if text == "try with a smaller number"));
    assert!(matches!(call("io").await, CallError::Tool(text) if text == "disk on fire"));
    assert!(matches!(call("hidden").await, CallError::Tool(text) if !text.contains("1234")));
    assert!(matches!(call("protocol").await, CallError::Protocol(error) if error.code == -32602));
    let CallError::Protocol(panicked) = call("panic").await else { panic!("a panic is no tool result") };
    assert_eq!(panicked.code, -32603);
    assert!(!panicked.message.contains("secret"));
    assert!(client.call::<Hits>("fail", json!({"how": "not"})).await.is_ok(), "the server goes on");
}

#[tokio::test]
async fn tool1_bad_arguments_are_answered_by_revision() {
    for revision in Revision::ALL {
        let client = server().client_with(ClientOptions::default().revision(revision)).await;
        for arguments in [json!({"a": 1}), json!({"a": 1, "b": "two"}), json!({"a": 1, "b": 1.5})] {
            let answer = client.call::<i64>("add", arguments).await.unwrap_err();
            if revision.rules().argument_errors_are_results {
                assert!(matches!(answer, CallError::Tool(text) if text.contains("bad arguments")), "{revision}");
            } else {
                assert!(matches!(answer, CallError::Protocol(error) if error.code == -32602), "{revision}");
            }
        }
        let own = client.call::<Hits>("fail", json!({"how": "arguments"})).await.unwrap_err();
        assert_eq!(matches!(own, CallError::Tool(_)), revision.rules().argument_errors_are_results);
        for params in
            [json!({"name": "unknown"}), json!({}), json!({"name": 5}), json!({"name": "add", "arguments": []})]
        {
            let error = client.request("tools/call", params).await.unwrap_err();
            assert_eq!(error.code, -32602, "{revision}: {error}");
        }
    }
}

#[tokio::test]
async fn rpc6_meta_reaches_handlers_and_extractors() {
    let client = client().await;
    let call =
        |name: &str, meta: Value| client.request("tools/call", json!({"name": name, "arguments": {}, "_meta": meta}));
    let traced = call("meta", json!({"example.com/trace": {"a": [1, 2.50]}})).await.unwrap();
    assert_eq!(traced["content"][0]["text"], r#"{"a":[1,2.5]}"#);
    let known = call("tenant", json!({"example.com/tenant": "acme"})).await.unwrap();
    assert_eq!(known["content"][0]["text"], "acme");
    assert_eq!(call("tenant", json!({})).await.unwrap_err().message, "no tenant");
}

#[tokio::test]
async fn v9_output_that_breaks_its_schema_is_not_sent() {
    let entry = ToolEntry::from_fn("bad", json!({"type": "object"}), |_: Value, _| async {
        CallToolResult::structured(json!({"n": "five"}).into())
    });
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    let client = Server::new("t", "1").tool_entry(entry.output_schema(schema)).client().await;
    let result = client.call_raw("bad", json!({})).await.unwrap();
    assert_eq!(result["isError"], true);
    assert_eq!(result.get("structuredContent"), None);
    assert!(!result.to_string().contains("five"));
}

#[tokio::test]
async fn a_schema_by_hand_passes_untouched() {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"a": {"$anchor": "here", "type": ["string", "null"]}},
        "properties": {"a": {"$ref": "#/$defs/a"}},
        "if": {"properties": {"a": {"const": "x"}}}, "then": {"required": ["a"]},
        "additionalProperties": false,
    });
    let client = Server::new("t", "1").tool("raw", schema.clone(), |_: Value, _| async { "ok" }).client().await;
    assert_eq!(listed(&client, "raw").await["inputSchema"], schema);
    let refused = client.call::<String>("raw", json!({"b": 1})).await.unwrap_err();
    assert!(matches!(refused, CallError::Tool(_)));
}

#[tokio::test]
async fn r22_a_huge_result_hurts_only_its_caller() {
    let huge = |_: Value, _| async { "x".repeat(17 << 20) };
    let client = server().tool("huge", json!({"type": "object"}), huge).client().await;
    let answer = client.call::<String>("huge", json!({})).await.unwrap_err();
    assert!(matches!(answer, CallError::Tool(text) if text.contains("too large")));
    assert_eq!(client.call::<i64>("add", json!({"a": 1, "b": 2})).await.unwrap(), 3);
}

#[tokio::test]
async fn r22_a_hanging_tool_is_answered_in_time() {
    tokio::time::pause();
    let hang = ToolEntry::from_fn("hang", json!({"type": "object"}), |_: Value, _| std::future::pending::<()>());
    let client = server().tool_entry(hang.timeout(Duration::from_secs(3))).client().await;
    let before = tokio::time::Instant::now();
    assert!(client.call::<String>("hang", json!({})).await.is_err());
    let took = before.elapsed();
    assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn x5_a_tool_runs_as_often_at_once_as_it_says() {
    let (started, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (began, waits) = (Arc::clone(&started), Arc::clone(&go));
    let slow = ToolEntry::from_fn("slow", json!({"type": "object"}), move |_: Value, _| {
        let (began, waits) = (Arc::clone(&began), Arc::clone(&waits));
        async move {
            began.notify_one();
            waits.notified().await;
        }
    });
    let client = Server::new("t", "1").tool_entry(slow.max_in_flight(1)).client().await;
    let (_, first) = client.start("tools/call", json!({"name": "slow"}));
    started.notified().await;
    let refused = client.request("tools/call", json!({"name": "slow"})).await.unwrap_err();
    assert_eq!(refused.code, -32000);
    go.notify_one();
    assert!(first.await.unwrap().is_ok());
    let (_, again) = client.start("tools/call", json!({"name": "slow"}));
    go.notify_one();
    assert!(again.await.unwrap().is_ok(), "the slot is free again");
}

#[tokio::test]
async fn progress_and_logs_belong_to_their_call() {
    let noisy = |_: Value, ctx: Context| async move {
        ctx.info(json!({"step": 1}));
        ctx.debug("not asked for");
        ctx.progress(1.0, Some(2.0), Some("half")).await?;
        Ok::<_, ToolError>("done")
    };
    let client = Server::new("t", "1").tool("noisy", json!({"type": "object"}), noisy).client().await;
    client.request("logging/setLevel", json!({"level": "info"})).await.unwrap();
    let params = json!({"name": "noisy", "_meta": {"progressToken": "t-1"}});
    client.request("tools/call", params).await.unwrap();
    let (method, log) = client.notification().await.unwrap();
    assert_eq!(
        (method.as_str(), &log["data"], &log["level"]),
        ("notifications/message", &json!({"step": 1}), &json!("info"))
    );
    let (method, progress) = client.notification().await.unwrap();
    assert_eq!(method, "notifications/progress");
    assert_eq!(progress, json!({"progressToken": "t-1", "progress": 1, "total": 2, "message": "half"}));
}

#[derive(Deserialize, JsonSchema)]
#[allow(dead_code, reason = "what is of interest is whether they are read")]
struct Lenient {
    must: String,
    count: Option<u32>,
    kind: Option<Answer>,
    nested: Option<Box<Lenient>>,
    #[serde(default)]
    plain: u32,
}

#[derive(Deserialize, JsonSchema)]
enum Answer {
    Yes,
    No,
}

#[tool]
async fn lenient(all: Args<Lenient>) -> String {
    let kind = all.kind.as_ref().map(|kind| matches!(kind, Answer::Yes));
    format!("{:?} {kind:?} {}", all.count, all.nested.is_some())
}

#[tool]
async fn optional(
    must: String,
    count: Option<u32>,
    kind: Option<Answer>,
    list: Option<Vec<i64>>,
    #[default(3)] plain: u32,
) -> String {
    format!("{must} {count:?} {} {list:?} {plain}", kind.is_some())
}

#[tokio::test]
async fn null_is_absent_where_the_type_is_an_option_and_nowhere_else() {
    let client = Server::new("t", "1").with((lenient, optional)).client().await;
    let tools = client.request("tools/list", json!({})).await.unwrap();
    assert!(!tools.to_string().contains("null"), "clients are not told of null: {tools}");
    for (tool, arguments, said) in [
        ("optional", json!({"must": "a", "count": null, "kind": null, "list": null}), "a None false None 3"),
        (
            "optional",
            json!({"must": "a", "count": 1, "kind": "Yes", "list": [1], "plain": 4}),
            "a Some(1) true Some([1]) 4",
        ),
        ("lenient", json!({"must": "a", "count": null, "kind": null, "nested": null}), "None None false"),
        ("lenient", json!({"must": "a", "nested": {"must": "b", "count": null}}), "None None true"),
        ("lenient", json!({"must": "a", "kind": "Yes"}), "None Some(true) false"),
    ] {
        let answered =
            client.call::<String>(tool, &arguments).await.unwrap_or_else(|error| panic!("{arguments}: {error}"));
        assert_eq!(answered, said);
    }
    for (tool, arguments) in [
        ("optional", json!({"must": null})),
        ("optional", json!({"must": "a", "plain": null})),
        ("optional", json!({"must": "a", "count": "1"})),
        ("optional", json!({"must": "a", "count": -1})),
        ("optional", json!({"must": "a", "list": [null]})),
        ("optional", json!({"must": "a", "kind": "Maybe"})),
        ("lenient", json!({"must": null})),
        ("lenient", json!({"must": "a", "plain": null})),
        ("lenient", json!({"must": "a", "nested": {"must": null}})),
    ] {
        let refused = client.call::<String>(tool, &arguments).await;
        assert!(matches!(refused, Err(CallError::Tool(_))), "{tool} {arguments}: {refused:?}");
    }
}
