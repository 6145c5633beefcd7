//! A server over stdio that does what servers should not, when it is told to: for tests. It speaks 2025-06-18 and knows
//! nothing of this project, so that nothing of it is taken for granted.
//!
//! `unruly [--slow MS] [--deaf] [--broken] [--both] [--turned] [--also FILE]`: begins late; ends neither with its input nor by
//! SIGTERM; never begins; speaks 2026-07-28 as well, in which it cannot ask; begins with a tool that is described anew; heeds
//! the words in the file as well, so that the same command does another thing another time.

use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead as _, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

#[derive(Default)]
struct State {
    count: AtomicU64,
    /// Tools that were added, and how often the first was described anew.
    grown: AtomicU64,
    turned: AtomicU64,
    /// How often the tools were listed.
    read: AtomicU64,
    /// The next list of tools fails.
    is_torn: AtomicBool,
    questions: AtomicU64,
    /// Lists and subscriptions get no answer, and how many got none.
    is_hushed: AtomicBool,
    hushed: AtomicU64,
    waiting: Mutex<HashMap<String, Sender<Value>>>,
    /// As the client said when they had changed.
    roots: Mutex<Option<String>>,
    /// URIs that the client subscribed to.
    watched: Mutex<BTreeSet<String>>,
}

fn main() {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(index) = words.iter().position(|word| word == "--also") {
        let also = words.get(index + 1).and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
        words.extend(also.split_whitespace().map(str::to_owned));
    }
    let has = |word: &str| words.iter().any(|known| known == word);
    if let Some(index) = words.iter().position(|word| word == "--slow") {
        let wait_ms = words.get(index + 1).and_then(|word| word.parse().ok()).unwrap_or(1000);
        std::thread::sleep(Duration::from_millis(wait_ms));
    }
    if has("--broken") {
        eprintln!("there is no database");
        std::process::exit(3);
    }
    if has("--deaf") {
        ignore_the_end();
    }
    let state: Arc<State> = Arc::default();
    state.turned.store(u64::from(has("--turned")), Ordering::SeqCst);
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
        match (message["method"].as_str(), message.get("id")) {
            (Some(method), Some(id)) => request(&state, method, id.clone(), message["params"].clone()),
            (None, Some(id)) => {
                let id = id.as_str().unwrap_or_default();
                if id.starts_with("roots") {
                    *state.roots.lock().expect("nobody panics") = Some(message["result"]["roots"].to_string());
                } else if let Some(waiting) = state.waiting.lock().expect("nobody panics").remove(id) {
                    drop(waiting.send(message["result"].clone()));
                }
            }
            (Some("notifications/roots/list_changed"), None) => {
                let id = format!("roots{}", state.questions.fetch_add(1, Ordering::SeqCst));
                say(&json!({ "jsonrpc": "2.0", "id": id, "method": "roots/list" }));
            }
            _ => {}
        }
    }
    while has("--deaf") {
        std::thread::sleep(Duration::from_secs(60));
    }
}

fn say(message: &Value) {
    let mut out = std::io::stdout().lock();
    // Whoever does not read any more is not told.
    drop(writeln!(out, "{message}").and_then(|()| out.flush()));
}

fn answer(id: &Value, result: &Value) {
    say(&json!({ "jsonrpc": "2.0", "id": id, "result": result }));
}

fn text(id: &Value, text: &str) {
    answer(id, &json!({ "content": [{ "type": "text", "text": text }] }));
}

fn request(state: &Arc<State>, method: &str, id: Value, params: Value) {
    let is_quick = matches!(method, "initialize" | "ping" | "tools/call");
    if !is_quick && state.is_hushed.load(Ordering::SeqCst) {
        state.hushed.fetch_add(1, Ordering::SeqCst);
        return;
    }
    match method {
        "initialize" => answer(
            &id,
            &json!({
                "protocolVersion": "2025-06-18",
                "capabilities": { "tools": { "listChanged": true }, "logging": {}, "resources": { "subscribe": true } },
                "serverInfo": { "name": "unruly", "version": "1" },
                "instructions": "Mind the gap.",
            }),
        ),
        "server/discover" if std::env::args().any(|word| word == "--both") => answer(
            &id,
            &json!({
                "supportedVersions": ["2026-07-28", "2025-06-18"], "capabilities": { "tools": {} }, "ttlMs": 0,
                "cacheScope": "private", "resultType": "complete",
            }),
        ),
        "ping" | "logging/setLevel" => answer(&id, &json!({})),
        "resources/subscribe" => {
            let uri = params["uri"].as_str().unwrap_or_default().to_owned();
            state.watched.lock().expect("nobody panics").insert(uri);
            answer(&id, &json!({}));
        }
        "resources/unsubscribe" => {
            state.watched.lock().expect("nobody panics").remove(params["uri"].as_str().unwrap_or_default());
            answer(&id, &json!({}));
        }
        "resources/list" => answer(&id, &json!({ "resources": [{ "uri": "unruly:clock", "name": "clock" }] })),
        "tools/list" if state.is_torn.swap(false, Ordering::SeqCst) => {
            say(&json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32603, "message": "not now" } }));
        }
        "tools/list" => {
            state.read.fetch_add(1, Ordering::SeqCst);
            answer(&id, &json!({ "tools": tools(state) }));
        }
        "tools/call" => call(state, id, &params),
        _ => say(&json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32601, "message": "no such method" } })),
    }
}

fn tools(state: &State) -> Vec<Value> {
    const NAMES: [&str; 18] = [
        "echo", "roots", "pid", "count", "ask", "wait", "crash", "garbage", "twice", "flood", "never", "grow", "turn",
        "tell", "watched", "cry", "read", "hush",
    ];
    let grown = (0..state.grown.load(Ordering::SeqCst)).map(|number| format!("grown{number}"));
    let turned = state.turned.load(Ordering::SeqCst);
    let flaky = ["flaky".to_owned()];
    NAMES
        .iter()
        .map(|name| (*name).to_owned())
        .chain(flaky)
        .chain(grown)
        .map(|name| {
            let description = if name == "echo" && turned > 0 { format!("Echoes. Version {turned}.") } else { name.clone() };
            let annotations = json!({ "readOnlyHint": name == "flaky" || name == "wait" });
            json!({ "name": name, "description": description, "inputSchema": { "type": "object" }, "annotations": annotations })
        })
        .collect()
}

fn call(state: &Arc<State>, id: Value, params: &Value) {
    let arguments = params["arguments"].clone();
    let given = |name: &str| arguments[name].as_str().unwrap_or_default().to_owned();
    match params["name"].as_str().unwrap_or_default() {
        "echo" => text(&id, &given("message")),
        "roots" => text(&id, state.roots.lock().expect("nobody panics").as_deref().unwrap_or("none")),
        "pid" => text(&id, &std::process::id().to_string()),
        "count" => text(&id, &(state.count.fetch_add(1, Ordering::SeqCst) + 1).to_string()),
        "ask" if params["_meta"]["io.modelcontextprotocol/protocolVersion"].is_string() => {
            let error =
                json!({ "code": -32600, "message": "Cannot send 'elicitation/create': there is no back-channel" });
            say(&json!({ "jsonrpc": "2.0", "id": id, "error": error }));
        }
        "ask" => ask(state.clone(), id, given("message")),
        "wait" => {
            let wait = Duration::from_millis(arguments["ms"].as_u64().unwrap_or(100));
            std::thread::spawn(move || {
                std::thread::sleep(wait);
                text(&id, "waited");
            });
        }
        "crash" => {
            eprintln!("going down");
            std::process::exit(3);
        }
        "flaky" => {
            let mark = given("mark");
            if std::fs::metadata(&mark).is_err() {
                drop(std::fs::write(&mark, "was here"));
                std::process::exit(4);
            }
            text(&id, "second time lucky");
        }
        "garbage" => {
            println!("this is no JSON\n{{\"jsonrpc\":\"2.0\"\n[]\n{}", "x".repeat(100_000));
            say(&json!({ "jsonrpc": "2.0", "id": 987_654, "result": {} }));
            say(&json!({ "jsonrpc": "2.0", "id": "made up", "method": "sampling/createMessage", "params": {} }));
            text(&id, "that was garbage");
        }
        "twice" => (0..3).for_each(|number| text(&id, &format!("answer {number}"))),
        "flood" => {
            (0..20_000).for_each(|number| eprintln!("{number} {}", "e".repeat(200)));
            let note = json!({ "level": "info", "data": "n".repeat(1000) });
            (0..5_000)
                .for_each(|_| say(&json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": note })));
            text(&id, "flooded");
        }
        "never" => {}
        "grow" => {
            state.grown.fetch_add(1, Ordering::SeqCst);
            state.is_torn.store(params["arguments"]["torn"] == true, Ordering::SeqCst);
            changed(&id);
        }
        "turn" => {
            state.turned.fetch_add(1, Ordering::SeqCst);
            changed(&id);
        }
        // Nothing has.
        "cry" => changed(&id),
        "hush" => text(&id, &hush(state)),
        "read" => text(&id, &state.read.load(Ordering::SeqCst).to_string()),
        "tell" => tell(state, &id),
        "watched" => {
            let watched: Vec<String> = state.watched.lock().expect("nobody panics").iter().cloned().collect();
            text(&id, &watched.join(" "));
        }
        other => text(&id, &format!("there is no {other}")),
    }
}

/// What a server says by itself, after the answer.
fn tell(state: &State, id: &Value) {
    text(id, "soon");
    let log = json!({ "level": "warning", "data": "by myself" });
    say(&json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": log }));
    for uri in state.watched.lock().expect("nobody panics").iter() {
        say(&json!({ "jsonrpc": "2.0", "method": "notifications/resources/updated", "params": { "uri": uri } }));
    }
}

/// Lists and subscriptions are not answered from here on. How many were not so far.
fn hush(state: &State) -> String {
    state.is_hushed.store(true, Ordering::SeqCst);
    state.hushed.load(Ordering::SeqCst).to_string()
}

fn changed(id: &Value) {
    say(&json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" }));
    text(id, "changed");
}

/// Asks the client, without saying for which call: that is all that this revision has.
fn ask(state: Arc<State>, id: Value, message: String) {
    std::thread::spawn(move || {
        let schema = json!({ "type": "object", "properties": { "name": { "type": "string" } } });
        let params = json!({ "message": message, "requestedSchema": schema });
        match question(&state, "elicitation/create", params) {
            Some(Value::Null) => text(&id, "refused"),
            Some(result) => {
                text(&id, &format!("{} {}", result["action"].as_str().unwrap_or_default(), result["content"]));
            }
            None => text(&id, "nobody answered"),
        }
    });
}

/// Sends a request, and waits for its result; an error is null.
fn question(state: &State, method: &str, params: Value) -> Option<Value> {
    let id = format!("q{}", state.questions.fetch_add(1, Ordering::SeqCst));
    let (sender, answered) = std::sync::mpsc::channel();
    state.waiting.lock().expect("nobody panics").insert(id.clone(), sender);
    say(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
    answered.recv().ok()
}

#[cfg(unix)]
fn ignore_the_end() {
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let mut ends = signal(SignalKind::terminate()).expect("signals can be heard");
            while ends.recv().await.is_some() {}
        });
    });
}

#[cfg(not(unix))]
fn ignore_the_end() {}
