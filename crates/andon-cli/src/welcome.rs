//! What `andon serve` prints at its start: the sessions that it found, where it listens, and what to paste into a client.

use std::net::SocketAddr;
use std::path::Path;

use andon::server::host::durable::Found;

/// Says to standard error how many sessions were there before.
pub(crate) fn print_sessions(found: Found, data: &Path) {
    let (sessions, data) = (found.sessions, data.display());
    let noun = if sessions == 1 { "session" } else { "sessions" };
    let ms = found.took.as_secs_f64() * 1000.0;
    eprintln!("{sessions} {noun} found in {data} in {ms:.1} ms; look at them with: andon sessions list --data {data}");
}

/// Says to standard error where operators can ask, and where they find the token.
pub(crate) fn print_admin(addresses: &[SocketAddr], data: Option<&Path>) {
    let token = data.map(|data| format!(" --data {}", data.display())).unwrap_or_default();
    for address in addresses {
        eprintln!("operators ask at {address}: andon sessions list --admin {address}{token}");
    }
}

/// Prints it to standard error.
pub(crate) fn print(url: &str) {
    eprintln!("andon {} listening on {url}", env!("CARGO_PKG_VERSION"));
    eprintln!(
        r#"
Add it to a client:

  Claude Code      claude mcp add --transport http andon {url}
  VS Code          code --add-mcp '{{"name":"andon","type":"http","url":"{url}"}}'
  Cursor and most  {{"mcpServers": {{"andon": {{"url": "{url}"}}}}}}
  MCP Inspector    npx @modelcontextprotocol/inspector --cli {url} --transport http --method tools/list

Stop it with Ctrl-C.
"#
    );
}
