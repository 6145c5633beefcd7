//! State that all calls share, structured results, and a tool that comes and goes while the server runs.
//!
//! `cargo run --bin state`, then connect a client to <http://127.0.0.1:8080/mcp>.

use std::collections::BTreeMap;
use std::sync::Mutex;

use andon::prelude::*;

/// What handlers share. It is dropped with the server.
#[derive(Default)]
struct Stock(Mutex<BTreeMap<String, u32>>);

#[derive(Serialize, JsonSchema)]
struct Level {
    item: String,
    pieces: u32,
}

/// Put pieces into stock.
#[tool(idempotent = false)]
async fn put(item: String, #[default(1)] pieces: u32, stock: State<Stock>, ctx: Context) -> Result<Level, ToolError> {
    let total = {
        let mut stock = stock.0.lock().map_err(ToolError::hidden)?;
        let known = stock.entry(item.clone()).or_default();
        *known = known.checked_add(pieces).ok_or_else(|| ToolError::new("the shelf is full"))?;
        *known
    };
    // The first piece makes it worth having `take`; clients hear of the new tool.
    if !ctx.catalogue().tool_names().contains(&"take".to_owned()) {
        ctx.catalogue().add(take)?;
    }
    Ok(Level { item, pieces: total })
}

/// Take pieces out of stock.
#[tool(destructive)]
async fn take(item: String, #[default(1)] pieces: u32, stock: State<Stock>) -> Result<Level, ToolError> {
    let mut stock = stock.0.lock().map_err(ToolError::hidden)?;
    let known = stock.get_mut(&item).ok_or_else(|| ToolError::new(format!("there is no {item}")))?;
    *known = known.checked_sub(pieces).ok_or_else(|| ToolError::new(format!("there are only {known}")))?;
    Ok(Level { item, pieces: *known })
}

fn server() -> Server {
    Server::new("stock", env!("CARGO_PKG_VERSION")).state(Stock::default()).with(put)
}

#[tokio::main]
async fn main() -> andon::Result {
    server().serve(Http::bind("127.0.0.1:8080")?).await
}

#[cfg(test)]
mod tests {
    use super::server;
    use andon::prelude::{Value, json};

    #[tokio::test]
    async fn puts_and_takes() {
        let client = server().client().await;
        assert!(client.call::<Value>("take", json!({"item": "nut"})).await.is_err());
        let level: Value = client.call("put", json!({"item": "nut", "pieces": 3})).await.unwrap();
        assert_eq!(level, json!({"item": "nut", "pieces": 3}));
        client.expect("notifications/tools/list_changed").await;
        let level: Value = client.call("take", json!({"item": "nut"})).await.unwrap();
        assert_eq!(level["pieces"], 2);
        let refused = client.call::<Value>("take", json!({"item": "nut", "pieces": 9})).await.unwrap_err();
        assert!(refused.to_string().contains("only 2"));
    }
}
