//! The smallest server: one tool, on standard input and output.
//!
//! Give a client the command `cargo run --bin minimal`.

use andon::prelude::*;

/// Add two numbers.
#[tool(read_only, idempotent)]
async fn add(
    /// left operand
    a: i64,
    /// right operand
    b: i64,
) -> Result<i64, ToolError> {
    a.checked_add(b).ok_or_else(|| ToolError::new("the sum has more than 64 bits"))
}

fn server() -> Server {
    Server::new("minimal", env!("CARGO_PKG_VERSION")).with(add)
}

fn main() -> andon::Result {
    server().run(Stdio)
}

#[cfg(test)]
mod tests {
    use super::server;
    use andon::prelude::json;

    #[tokio::test]
    async fn adds() {
        let client = server().client().await;
        assert_eq!(client.call::<i64>("add", json!({"a": 1, "b": 2})).await.unwrap(), 3);
        assert!(client.call::<i64>("add", json!({"a": i64::MAX, "b": 1})).await.is_err());
    }
}
