//! A tool that takes longer than anybody wants to hold a connection. Clients that take tasks are answered at once, look
//! after it when they like, and find its result even if the server was restarted meanwhile; for all others it is an
//! ordinary call.
//!
//! `cargo run --bin tasks`, at <http://127.0.0.1:8080/mcp>; sessions and tasks are kept in the folder `data`.

use std::time::Duration;

use andon::prelude::*;

/// What the form asks for.
#[derive(Deserialize, JsonSchema)]
struct Size {
    /// How many pages to print
    pages: u32,
}

/// Print a book, page by page.
#[tool(task)]
async fn print(
    /// title of the book
    title: String,
    ctx: Context,
) -> Result<String, ToolError> {
    // A task waits here for its answer, as long as it is kept.
    let size: Size = ctx.elicit(&format!("How much of {title:?}?")).await?;
    for page in 1..=size.pages {
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Ends the function when the task was cancelled.
        ctx.progress(f64::from(page), Some(f64::from(size.pages)), Some(&format!("page {page}"))).await?;
    }
    Ok(format!("{} pages of {title:?} are printed.", size.pages))
}

#[tokio::main]
async fn main() -> andon::Result {
    let server = Server::new("printer", env!("CARGO_PKG_VERSION")).sessions(Sessions::disk("data")).with(print);
    server.serve(Http::bind("127.0.0.1:8080")?).await
}
