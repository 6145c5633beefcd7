//! A client in a few lines: connects to any MCP server, whatever revision it speaks, lists its tools and calls one.
//!
//! `cargo run --bin client -- http://127.0.0.1:8080/mcp`, or with a command line instead of the URL.

use andon::client::Error;
use andon::prelude::*;

/// What the server has to say.
async fn visit(target: impl Into<andon::client::Target>) -> Result<Vec<String>, Error> {
    let client = Client::connect(target).await?;
    let tools = client.tools().await?.into_iter().map(|tool| tool.name).collect();
    let sum: i64 = client.call("add", json!({"a": 1, "b": 2})).await?;
    println!("1 + 2 = {sum}");
    client.close().await;
    Ok(tools)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let target = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:8080/mcp".to_owned());
    println!("tools: {}", visit(target).await?.join(", "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use andon::prelude::*;

    /// Add two numbers.
    #[tool]
    async fn add(a: i64, b: i64) -> i64 {
        a + b
    }

    #[tokio::test]
    async fn a_server_of_the_same_process_is_a_target_as_well() {
        let server = Server::new("adder", "1.0.0").with(add);
        assert_eq!(super::visit(server).await.expect("a server"), ["add"]);
    }
}
