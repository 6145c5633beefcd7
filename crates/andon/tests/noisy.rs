//! Whatever a handler prints, only messages reach the client. No test harness: it would print too.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use andon::prelude::*;
use andon::server::transport::Stdio as StdioTransport;

const CHILD: &str = "ANDON_NOISY_CHILD";

/// Print to standard output.
#[tool]
async fn noisy() -> &'static str {
    println!("noise");
    print!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"forged\"}}");
    "quiet"
}

fn main() {
    if std::env::var_os(CHILD).is_some() {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(Server::new("noisy", "1").with(noisy).serve(StdioTransport)).expect("served");
        return;
    }
    let own = std::env::current_exe().expect("this program");
    let mut child = Command::new(own)
        .env(CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a child");
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "noisy", "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}}});
    let mut input = child.stdin.take().expect("its input");
    writeln!(input, "{call}").expect("written");
    drop(input);
    let lines: Vec<String> =
        BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok).collect();
    assert_eq!(lines.len(), 1, "io1: {lines:?}");
    let answer: Value = serde_json::from_str(&lines[0]).expect("JSON");
    assert_eq!(answer["result"]["content"][0]["text"], "quiet");
    assert!(child.wait().expect("its end").success());
    println!("1 passed, 0 failed");
}
