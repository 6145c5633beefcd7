use serde_json::{Value, json};

use super::Server;
use crate::directory::Directory;
use crate::failure::ToolError;

fn schema() -> Value {
    json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"]})
}

fn adder() -> Server {
    Server::new("adder", "1.0.0").tool("add", schema(), |arguments: Value, _| async move {
        let (a, b) = (arguments["a"].as_i64(), arguments["b"].as_i64());
        a.zip(b).and_then(|(a, b)| a.checked_add(b)).ok_or_else(|| ToolError::new("too large"))
    })
}

#[tokio::test]
async fn a_tool_by_hand_is_listed_and_called() {
    let client = adder().client().await;
    let listed = client.request("tools/list", json!({})).await.unwrap();
    assert_eq!(listed["tools"][0]["name"], "add");
    assert_eq!(listed["tools"][0]["inputSchema"], schema());
    assert_eq!(client.call::<i64>("add", json!({"a": 1, "b": 2})).await.unwrap(), 3);
    let failed = client.call::<i64>("add", json!({"a": i64::MAX, "b": 2})).await.unwrap_err();
    assert_eq!(failed.to_string(), "the tool failed: too large");
}

#[tokio::test]
async fn a_folder_is_served_whatever_its_files_are_called() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("d".repeat(200)).join("é".repeat(100));
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("a b.md"), "# deep").unwrap();
    let directory = Directory::open(folder.path()).unwrap().uri_base("docs://handbook").unwrap();
    let client = Server::new("docs", "1").directory(directory).client().await;
    let listed = client.request("resources/list", json!({})).await.unwrap();
    let uri = &listed["resources"][0]["uri"];
    let read = client.request("resources/read", json!({ "uri": uri })).await.unwrap();
    assert_eq!(read["contents"][0]["text"], "# deep");
    let outside = client.request("resources/read", json!({"uri": "docs://handbook/../x"})).await.unwrap_err();
    assert_eq!(outside.code, -32002);
}
