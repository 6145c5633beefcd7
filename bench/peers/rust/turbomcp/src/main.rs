//! The echo server of the workloads on the SDK `turbomcp`.

use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use turbomcp::http::{HttpConfig, router};
use turbomcp::prelude::{McpResult, server};

#[derive(Clone)]
struct Echo;

#[server(name = "turbomcp-bench", version = "1.0.0")]
impl Echo {
    /// Say the message again.
    #[tool(description = "Say the message again")]
    async fn echo(&self, message: String) -> McpResult<String> {
        Ok(message)
    }
}

/// What all servers of the comparison have.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    eprintln!("listening on http://{}/mcp", listener.local_addr()?);
    // The bound on requests at once is no part of what is measured.
    let config = HttpConfig::new().max_concurrent_requests(20_000);
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let app = router(Echo.into_server().build(), config);
    Ok(axum::serve(listener, app.into_make_service()).await?)
}
