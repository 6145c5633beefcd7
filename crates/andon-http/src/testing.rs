//! What tests of several modules serve and ask for.

use std::sync::Arc;

use andon_server::context::Context;
use andon_server::entry::ToolEntry;
use andon_server::failure::ToolError;
use andon_server::host::Host;
use andon_server::server::Server;
use serde_json::{Value, json};

/// A server that says what it is told (`echo`), and takes ten steps (`steps`).
pub(crate) fn host() -> Arc<Host> {
    let any = || json!({"type": "object"});
    let echo = ToolEntry::from_fn("echo", any(), |arguments: Value, _: Context| async move {
        arguments["message"].as_str().unwrap_or_default().to_owned()
    });
    let steps = ToolEntry::from_fn("steps", any(), |_: Value, context: Context| async move {
        for step in 1..=10 {
            context.progress(f64::from(step), None, None).await?;
        }
        Ok::<_, ToolError>("walked")
    });
    Server::new("test", "1").with((echo, steps)).build().expect("a server")
}

/// The body of a call of one of them in 2026-07-28.
pub(crate) fn call(id: u32, tool: &str, message: &str) -> String {
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "progressToken": 1,
        "io.modelcontextprotocol/clientCapabilities": {}});
    let params = json!({"name": tool, "arguments": {"message": message}, "_meta": meta});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string()
}
