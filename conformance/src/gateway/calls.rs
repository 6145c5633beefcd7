//! What is called of the servers, by the names of their tools; and what of the results is never the same twice.

use serde_json::{Value, json};

/// Tools that run as tasks only.
pub(crate) const TASKS_ONLY: [&str; 1] = ["simulate-research-query"];

/// Tools that say nothing of their own: what they turn on and off is listened to.
pub(crate) const SWITCHES: [&str; 2] = ["toggle-simulated-logging", "toggle-subscriber-updates"];

/// Tools and arguments, bad ones among them; all tools of all servers. The servers share no names, except by chance.
pub(crate) fn table() -> Vec<(&'static str, Value)> {
    [everything(), memory(), filesystem(), others()].concat()
}

fn everything() -> Vec<(&'static str, Value)> {
    vec![
        ("echo", json!({ "message": "hello ☃" })),
        ("echo", json!({})),
        ("echo", json!({ "message": 7 })),
        ("get-annotated-message", json!({ "messageType": "error", "includeImage": true })),
        ("get-annotated-message", json!({ "messageType": "success" })),
        ("get-annotated-message", json!({ "messageType": "nope" })),
        ("get-env", json!({})),
        ("get-resource-links", json!({ "count": 4 })),
        ("get-resource-reference", json!({ "resourceType": "Text", "resourceId": 1 })),
        ("get-resource-reference", json!({ "resourceType": "Blob", "resourceId": 2 })),
        ("get-structured-content", json!({ "location": "New York" })),
        ("get-sum", json!({ "a": 2.5, "b": -1 })),
        ("get-sum", json!({ "a": "2" })),
        ("get-tiny-image", json!({})),
        ("gzip-file-as-resource", json!({ "name": "x", "data": "data:text/plain,hello", "outputType": "resource" })),
        (
            "gzip-file-as-resource",
            json!({ "name": "y", "data": "data:text/plain,hello", "outputType": "resourceLink" }),
        ),
        ("trigger-long-running-operation", json!({ "duration": 1, "steps": 4 })),
        ("trigger-elicitation-request", json!({})),
        ("trigger-url-elicitation", json!({ "url": "https://example.com/visit" })),
        ("trigger-sampling-request", json!({ "prompt": "Say something.", "maxTokens": 17 })),
        ("get-roots-list", json!({})),
        ("simulate-research-query", json!({ "topic": "x" })),
    ]
}

fn memory() -> Vec<(&'static str, Value)> {
    let entity = json!({ "name": "Ada", "entityType": "person", "observations": ["counts"] });
    let other = json!({ "name": "Babbage", "entityType": "person", "observations": [] });
    vec![
        ("create_entities", json!({ "entities": [entity, other] })),
        ("create_relations", json!({ "relations": [{ "from": "Ada", "to": "Babbage", "relationType": "knows" }] })),
        ("add_observations", json!({ "observations": [{ "entityName": "Ada", "contents": ["writes"] }] })),
        ("add_observations", json!({ "observations": [{ "entityName": "Nobody", "contents": ["x"] }] })),
        ("search_nodes", json!({ "query": "Ada" })),
        ("open_nodes", json!({ "names": ["Babbage"] })),
        ("read_graph", json!({})),
        ("delete_entities", json!({ "entityNames": ["Babbage"] })),
        ("read_graph", json!({})),
        ("delete_observations", json!({ "deletions": [{ "entityName": "Ada", "observations": ["writes"] }] })),
        ("delete_relations", json!({ "relations": [{ "from": "Ada", "to": "Babbage", "relationType": "knows" }] })),
        ("read_graph", json!({})),
    ]
}

fn filesystem() -> Vec<(&'static str, Value)> {
    vec![
        ("list_allowed_directories", json!({})),
        ("create_directory", json!({ "path": "folder" })),
        ("write_file", json!({ "path": "folder/other.txt", "content": "one\ntwo\n" })),
        (
            "edit_file",
            json!({ "path": "folder/other.txt", "edits": [{ "oldText": "two", "newText": "2" }], "dryRun": true }),
        ),
        ("move_file", json!({ "source": "missing.txt", "destination": "moved.txt" })),
        ("get_file_info", json!({ "path": "folder" })),
        ("list_directory_with_sizes", json!({ "path": "folder", "sortBy": "size" })),
        ("read_file", json!({ "path": "folder/other.txt" })),
        ("read_media_file", json!({ "path": "note.txt" })),
        ("read_text_file", json!({ "path": "note.txt" })),
        ("list_directory", json!({ "path": "." })),
        ("directory_tree", json!({ "path": "." })),
        ("search_files", json!({ "path": ".", "pattern": "*.txt" })),
        ("read_text_file", json!({ "path": "/etc/passwd" })),
        ("read_multiple_files", json!({ "paths": ["note.txt", "missing.txt"] })),
    ]
}

fn others() -> Vec<(&'static str, Value)> {
    vec![
        // sequential-thinking
        (
            "sequentialthinking",
            json!({ "thought": "one", "nextThoughtNeeded": true, "thoughtNumber": 1, "totalThoughts": 2 }),
        ),
        (
            "sequentialthinking",
            json!({ "thought": "two", "nextThoughtNeeded": false, "thoughtNumber": 2, "totalThoughts": 2 }),
        ),
        ("sequentialthinking", json!({ "thought": "bad" })),
        // time
        ("convert_time", json!({ "source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo" })),
        ("convert_time", json!({ "source_timezone": "Nowhere", "time": "12:00", "target_timezone": "UTC" })),
        ("get_current_time", json!({ "timezone": "UTC" })),
    ]
}

/// Replaces the times of day and the names of sessions and elicitations in every text.
pub(crate) fn still(value: &mut Value) {
    match value {
        Value::String(text) => *text = without_times(text),
        // 1 and 1.0 are the same number.
        Value::Number(number) => *value = number.as_f64().map_or(Value::Null, Value::from),
        Value::Array(values) => values.iter_mut().for_each(still),
        Value::Object(members) => members.values_mut().for_each(still),
        _ => {}
    }
}

/// Each `12:34:56` without its digits, each word that looks like a UUID as `UUID`, base64 that has times in it as nothing.
fn without_times(text: &str) -> String {
    let is_time = |word: &str| word.matches(':').count() >= 2 && word.chars().any(|c| c.is_ascii_digit());
    let is_uuid = |word: &str| word.len() == 36 && word.matches('-').count() == 4;
    let mut out = String::with_capacity(text.len());
    let mut word = String::new();
    for c in text.chars().chain(['\0']) {
        if c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '.' | '+') {
            word.push(c);
            continue;
        }
        match &*word {
            known if is_uuid(known) => out.push_str("UUID"),
            known if is_time(known) => out.push_str("TIME"),
            known => out.push_str(known),
        }
        word.clear();
        if c != '\0' {
            out.push(c);
        }
    }
    // A blob that was made at some time of day says so in base64: "created at".
    if out.contains("Y3JlYXRlZCBhd") || out.contains("NyZWF0ZWQgYX") || out.contains("jcmVhdGVkIGF0") {
        "BLOB".to_owned()
    } else {
        out
    }
}
