//! The echo server of the workloads on the SDK `pmcp`, with its router that serves requests at once.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::serve::ListenerExt as _;
use pmcp::axum::concurrent_router;
use pmcp::types::capabilities::ServerCapabilities;
use pmcp::{RequestHandlerExtra, Server, ToolHandler};
use serde_json::Value;
use tokio::net::TcpListener;

struct Echo;

#[async_trait]
impl ToolHandler for Echo {
    async fn handle(&self, mut arguments: Value, _: RequestHandlerExtra) -> pmcp::Result<Value> {
        Ok(arguments["message"].take())
    }
}

/// What all servers of the comparison have.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder().name("pmcp-bench").version("1.0.0");
    let server = server.capabilities(ServerCapabilities::tools_only()).tool("echo", Echo).build()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    eprintln!("listening on http://{}/mcp", listener.local_addr()?);
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let app = Router::new().nest("/mcp", concurrent_router(Arc::new(server)));
    Ok(axum::serve(listener, app).await?)
}
