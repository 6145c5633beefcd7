//! What the file of a gateway gives its servers in confidence is in no log, and in nothing that is shown.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "common/process.rs"]
#[allow(dead_code, reason = "each test file uses some of it")]
mod process;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use process::Process;
use serde_json::json;

const ANDON: &str = env!("CARGO_BIN_EXE_andon");
const OF_A_CHILD: &str = "sk-of-a-child-0123456789";
const OF_A_URL: &str = "sk-of-a-url-0123456789";
/// How long anything may take that is waited for.
const SOON: Duration = Duration::from_secs(20);

/// A server that refuses whatever it is asked, and tells the credentials that it was given: in a text, or in an error.
fn telltale(is_error: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = Vec::new();
            let mut piece = [0; 4096];
            while !request.windows(4).any(|four| four == b"\r\n\r\n") {
                match stream.read(&mut piece) {
                    Ok(count) if count > 0 => request.extend_from_slice(&piece[..count]),
                    _ => break,
                }
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            let given = request.lines().find(|line| line.to_ascii_lowercase().starts_with("authorization:"));
            let why = format!("unwelcome: {}", given.unwrap_or_default());
            let (kind, body) = if is_error {
                let error = json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32000, "message": why } });
                ("application/json", error.to_string())
            } else {
                ("text/plain", why)
            };
            let length = body.len();
            let head =
                format!("HTTP/1.1 500 X\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {length}");
            drop(stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()));
        }
    });
    url
}

#[test]
fn no_log_and_nothing_shown_has_what_servers_are_given_in_confidence() {
    let folder = tempfile::tempdir().unwrap();
    let words = "echo \"hello, I am $API_KEY\"; echo \"no login with $API_KEY\" >&2; exit 3";
    let headers = json!({ "Authorization": format!("Bearer {OF_A_URL}") });
    let once = json!({ "restarts_max": 1 });
    let servers = json!({
        "child": { "command": "sh", "args": ["-c", words], "env": { "API_KEY": OF_A_CHILD }, "andon": once },
        "text": { "url": telltale(false), "headers": headers, "andon": once },
        "error": { "url": telltale(true), "headers": headers, "andon": once },
    });
    let file = folder.path().join("mcp.json");
    std::fs::write(&file, json!({ "mcpServers": servers }).to_string()).unwrap();
    let [log, data] = ["log", "data"].map(|name| folder.path().join(name));
    let mut command = Command::new(ANDON);
    command.arg("serve").arg(&file).args(["--listen", "127.0.0.1:0", "--log", "trace", "--data"]).arg(&data);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
    let running = Process::start(&mut command);
    let begun = Instant::now();
    // Each of them has been told of, by the name of what it told.
    let told = loop {
        let told = std::fs::read_to_string(&log).unwrap();
        let is_masked = |line: &str| line.contains("${API_KEY}") || line.contains("${authorization}");
        let is_told = |name: &str| {
            let server = format!("\"server\":\"{name}\",\"why\"");
            told.lines().any(|line| line.contains(&server) && is_masked(line))
        };
        if ["child", "text", "error"].into_iter().all(is_told) {
            break told;
        }
        assert!(begun.elapsed() < SOON, "{told}");
        std::thread::yield_now();
    };
    let shown = Command::new(ANDON).arg("upstreams").arg("--data").arg(&data).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("${API_KEY}"), "{shown}");
    // What it prints where messages belong is told as well, to whoever is to mend it.
    assert!(told.contains("hello, I am ${API_KEY}"), "{told}");
    for secret in [OF_A_CHILD, OF_A_URL] {
        assert!(!told.contains(secret), "{told}");
        assert!(!shown.contains(secret), "{shown}");
    }
    drop(running);
}
