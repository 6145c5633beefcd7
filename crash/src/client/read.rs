//! What a message of the server says.

use serde_json::Value;

use crate::history::{Outcome, Says};

/// Reads the data of an event, or a body.
pub(super) fn says(data: &str) -> Says {
    if data.is_empty() {
        return Says::Priming;
    }
    let message: Value = serde_json::from_str(data).unwrap_or_default();
    let params = &message["params"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match message["method"].as_str() {
        Some("notifications/progress") => Says::Progress {
            call: params["progressToken"].as_u64().unwrap_or_default(),
            value: params["progress"].as_f64().unwrap_or_default(),
        },
        Some("notifications/message") if params["data"]["token"].is_string() => {
            Says::Log { token: text(&params["data"]["token"]) }
        }
        Some("notifications/resources/updated") => Says::Updated { uri: text(&params["uri"]) },
        Some("elicitation/create") => Says::Question { question: text(&message["id"]) },
        None if message["id"].is_u64() => {
            Says::Response { call: message["id"].as_u64().unwrap_or_default(), outcome: outcome(&message) }
        }
        _ => Says::Other { text: data.to_owned() },
    }
}

fn outcome(message: &Value) -> Outcome {
    if let Some(error) = message.get("error") {
        let words = error["message"].as_str().unwrap_or_default();
        return if words.to_ascii_lowercase().contains("outcome unknown") {
            Outcome::Unknown
        } else {
            Outcome::Error { code: error["code"].as_i64().unwrap_or_default(), message: words.to_owned() }
        };
    }
    let result = &message["result"];
    let task = if result["task"].is_object() { &result["task"] } else { result };
    if let (Some(task), Some(status)) = (task["taskId"].as_str(), task["status"].as_str()) {
        return Outcome::Task { task: task.to_owned(), status: status.to_owned() };
    }
    let text = result["content"][0]["text"].as_str().unwrap_or_default().to_owned();
    if result["isError"] == true { Outcome::Error { code: 0, message: text } } else { Outcome::Success { token: text } }
}

#[cfg(test)]
mod tests {
    use super::says;
    use crate::history::{Outcome, Says};

    #[test]
    fn each_kind_of_message_is_read() {
        let response = |outcome| Says::Response { call: 7, outcome };
        let cases = [
            ("", Says::Priming),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":50.0}}"#,
                Says::Progress { call: 7, value: 50.0 },
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"debug","data":{"token":"1-7"}}}"#,
                Says::Log { token: "1-7".to_owned() },
            ),
            (
                r#"{"jsonrpc":"2.0","id":"andon-1","method":"elicitation/create","params":{}}"#,
                Says::Question { question: "andon-1".to_owned() },
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"test://ledger/a"}}"#,
                Says::Updated { uri: "test://ledger/a".to_owned() },
            ),
            (
                r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"1-7"}]}}"#,
                response(Outcome::Success { token: "1-7".to_owned() }),
            ),
            (
                r#"{"jsonrpc":"2.0","id":7,"result":{"task":{"taskId":"t","status":"working"}}}"#,
                response(Outcome::Task { task: "t".to_owned(), status: "working".to_owned() }),
            ),
            (
                r#"{"jsonrpc":"2.0","id":7,"result":{"taskId":"t","status":"failed"}}"#,
                response(Outcome::Task { task: "t".to_owned(), status: "failed".to_owned() }),
            ),
            (r#"{"jsonrpc":"2.0","id":7,"result":{}}"#, response(Outcome::Success { token: String::new() })),
            (
                r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32603,"message":"the server was restarted: outcome unknown"}}"#,
                response(Outcome::Unknown),
            ),
            (
                r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32603,"message":"no"}}"#,
                response(Outcome::Error { code: -32603, message: "no".to_owned() }),
            ),
            ("nonsense", Says::Other { text: "nonsense".to_owned() }),
        ];
        for (data, expect) in cases {
            assert_eq!(says(data), expect);
        }
    }
}
