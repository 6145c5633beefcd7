//! An MCP endpoint inside an axum application that has other routes too.
//!
//! `cargo run -p andon-examples --bin mount_axum`, then connect a client to `http://127.0.0.1:8080/mcp`.

use andon::http::{HttpOptions, HttpService};
use andon::prelude::*;
use axum::Router;
use axum::routing::get;

/// Say hello.
#[tool(read_only, idempotent)]
async fn hello(
    /// To whom
    name: String,
) -> String {
    format!("Hello, {name}!")
}

fn application() -> andon::Result<Router> {
    let host = Server::new("mounted", env!("CARGO_PKG_VERSION")).with(hello).build()?;
    let endpoint = HttpService::new(host, HttpOptions::default());
    Ok(Router::new().route("/", get(|| async { "The endpoint is /mcp." })).route_service("/mcp", endpoint))
}

#[tokio::main]
async fn main() -> andon::Result {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    axum::serve(listener, application()?).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower_service::Service as _;

    #[tokio::test]
    async fn both_routes_are_served() {
        let mut application = super::application().expect("a good server");
        let home = Request::get("/").body(Body::empty()).expect("a request");
        assert_eq!(application.call(home).await.expect("an answer").status(), 200);
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
        let initialize = Request::post("/mcp")
            .header("host", "localhost")
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(Body::from(body))
            .expect("a request");
        let response = application.call(initialize).await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert!(response.headers().contains_key("mcp-session-id"));
    }
}
