//! The client that the official conformance suite drives: `conformance-client URL`, told by its environment what to do.

mod plays;

use std::process::ExitCode;

use andon::types::revision::Revision;

#[tokio::main]
async fn main() -> ExitCode {
    let Some(url) = std::env::args().nth(1) else {
        eprintln!("usage: conformance-client URL, with MCP_CONFORMANCE_SCENARIO in the environment");
        return ExitCode::from(2);
    };
    let scenario = std::env::var("MCP_CONFORMANCE_SCENARIO").unwrap_or_default();
    let revision = std::env::var("MCP_CONFORMANCE_PROTOCOL_VERSION").ok();
    let revision = revision.and_then(|date| Revision::parse(&date)).unwrap_or(Revision::LATEST_LEGACY);
    let context = std::env::var("MCP_CONFORMANCE_CONTEXT").unwrap_or_default();
    let context = serde_json::from_str(&context).unwrap_or_default();
    match plays::play(&scenario, &url, revision, context).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{scenario}: {error}");
            ExitCode::FAILURE
        }
    }
}
