//! What `andon serve` prints at its start: where it listens, and what to paste into a client.

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
