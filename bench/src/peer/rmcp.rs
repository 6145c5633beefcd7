//! The echo server of the Rust SDK `rmcp`, set up the way that serves it best: its router is built once for all
//! requests, and its HTTP service stands on hyper without a web framework in between.

use std::sync::Arc;

use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ServerHandler, schemars, tool, tool_handler, tool_router};
use serde::Deserialize;

/// A server with the tool `echo`.
#[derive(Clone)]
pub struct Echo {
    router: Arc<ToolRouter<Self>>,
}

#[derive(Deserialize, schemars::JsonSchema)]
struct EchoArguments {
    /// What to say.
    message: String,
}

#[tool_router]
impl Echo {
    #[tool(description = "Say the message again")]
    fn echo(&self, Parameters(EchoArguments { message }): Parameters<EchoArguments>) -> String {
        message
    }
}

#[tool_handler(router = self.router)]
impl ServerHandler for Echo {}

/// With a session per client.
pub fn sessions() -> Arc<StreamableHttpService<Echo, LocalSessionManager>> {
    service(StreamableHttpServerConfig::default())
}

/// Without sessions, in both eras.
pub fn stateless() -> Arc<StreamableHttpService<Echo, LocalSessionManager>> {
    service(StreamableHttpServerConfig::default().with_legacy_session_mode(false).with_json_response(true))
}

fn service(config: StreamableHttpServerConfig) -> Arc<StreamableHttpService<Echo, LocalSessionManager>> {
    let echo = Echo { router: Arc::new(Echo::tool_router()) };
    Arc::new(StreamableHttpService::new(move || Ok(echo.clone()), Arc::new(LocalSessionManager::default()), config))
}
