//! Sessions that a server forgets, and how it says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::openings::answering;
use crate::peer::{Asked, LEGACY, answer, call, client, result, well};

const JSON: &str = "Content-Type: application/json\r\n";

/// A server that can be started again, and then knows none of its sessions. Each is named after how often it was started
/// and opened before.
#[derive(Default)]
struct Forgetful {
    restarts: AtomicUsize,
    opened: AtomicUsize,
    /// Calls that were run.
    runs: AtomicUsize,
    pings: AtomicUsize,
}

impl Forgetful {
    /// What it answers, where `refuse` is what it says about a session that it does not know.
    fn answer(&self, asked: &Asked, refuse: impl Fn(&Asked) -> Vec<u8>) -> Vec<u8> {
        let restarts = self.restarts.load(Ordering::SeqCst);
        let is_known = asked.header("mcp-session-id").is_some_and(|id| id.starts_with(&format!("{restarts}-")));
        match asked.method() {
            "initialize" => {
                let number = self.opened.fetch_add(1, Ordering::SeqCst);
                let bytes = well(asked).expect("it opens well");
                String::from_utf8(bytes).unwrap().replace("s1", &format!("{restarts}-{number}")).into_bytes()
            }
            "tools/call" if is_known => {
                self.runs.fetch_add(1, Ordering::SeqCst);
                result(asked, json!({ "content": [] }))
            }
            "ping" if is_known => {
                self.pings.fetch_add(1, Ordering::SeqCst);
                result(asked, json!({}))
            }
            "tools/call" | "ping" => refuse(asked),
            _ => well(asked).expect("a known method"),
        }
    }
}

fn error(id: &Value, code: i32, message: &str) -> Vec<u8> {
    let error = json!({ "code": code, "message": message });
    answer("400 Bad Request", JSON, &json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string())
}

#[tokio::test]
async fn a_session_that_is_refused_by_400_is_opened_again_and_the_call_is_run_once() {
    const WHY: &str = "Bad Request: No valid session ID provided";
    let refusals: [fn(&Asked) -> Vec<u8>; 4] = [
        |asked| error(&asked.body["id"], -32000, WHY),
        |_| error(&Value::Null, -32000, WHY),
        |_| answer("400 Bad Request", "", WHY),
        |_| answer("404 Not Found", "", ""),
    ];
    for refuse in refusals {
        let server = Arc::<Forgetful>::default();
        let state = server.clone();
        let url = answering(move |asked| state.answer(asked, refuse)).await;
        let client = client(&url, LEGACY).await;
        for restarts in 1..=3 {
            call(&client).await.unwrap();
            server.restarts.store(restarts, Ordering::SeqCst);
        }
        let (one, two) = tokio::join!(call(&client), call(&client));
        assert_eq!((one.is_ok(), two.is_ok()), (true, true), "{one:?} {two:?}");
        assert_eq!(server.runs.load(Ordering::SeqCst), 5);
        client.ping().await.unwrap();
        assert_eq!(server.opened.load(Ordering::SeqCst), 4);
    }
}

#[tokio::test]
async fn a_call_that_is_refused_in_a_session_that_goes_on_is_not_made_again() {
    for (id, told) in [(true, "answered with an error: not this (-32000)"), (false, "HTTP 400: not this")] {
        let (server, refused) = (Arc::<Forgetful>::default(), Arc::new(AtomicUsize::new(0)));
        let (state, counted) = (server.clone(), refused.clone());
        let url = answering(move |asked| match asked.method() {
            "tools/call" => {
                counted.fetch_add(1, Ordering::SeqCst);
                error(if id { &asked.body["id"] } else { &Value::Null }, -32000, "not this")
            }
            _ => state.answer(asked, |_| unreachable!("the session is known")),
        })
        .await;
        let why = call(&client(&url, LEGACY).await).await.unwrap_err();
        assert!(why.contains(told), "{why}");
        let counts = [&*refused, &server.pings, &server.opened].map(|count| count.load(Ordering::SeqCst));
        assert_eq!(counts, [1, 1, 1]);
    }
}
