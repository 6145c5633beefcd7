//! A server that does a bit of everything, and ways to reach it.

#![allow(dead_code, reason = "each test file uses some of it")]

use std::sync::Arc;

use andon::prelude::*;
use andon::server::host::Host;

/// Add two numbers.
#[tool(read_only, idempotent)]
async fn add(a: i64, b: i64) -> i64 {
    a + b
}

/// Says what it was told to whom it asks.
#[tool]
async fn greet(ctx: Context) -> Result<String, ToolError> {
    #[derive(Deserialize, JsonSchema)]
    struct Who {
        name: String,
    }
    let who: Who = ctx.elicit("Who is there?").await?;
    Ok(format!("hello {}", who.name))
}

/// Reports, and then is done.
#[tool]
async fn steps(count: u32, ctx: Context) -> Result<String, ToolError> {
    for step in 1..=count {
        ctx.progress(f64::from(step), Some(f64::from(count)), None).await?;
    }
    Ok("done".to_owned())
}

/// Waits until it is cancelled, and tells so.
#[tool]
async fn hang(ctx: Context, told: State<Told>) -> String {
    struct Gone(Arc<tokio::sync::Semaphore>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.add_permits(1);
        }
    }
    let _gone = Gone(told.cancelled.clone());
    told.begun.add_permits(1);
    ctx.cancelled().await;
    "never".to_owned()
}

#[derive(Serialize, JsonSchema)]
struct Sum {
    sum: i64,
}

/// Adds, and says so in structure.
#[tool]
async fn sum(a: i64, b: i64) -> Json<Sum> {
    Json(Sum { sum: a + b })
}

/// What the tools tell the test.
#[derive(Clone)]
pub(crate) struct Told {
    pub(crate) begun: Arc<tokio::sync::Semaphore>,
    pub(crate) cancelled: Arc<tokio::sync::Semaphore>,
}

pub(crate) fn told() -> Told {
    Told { begun: Arc::new(tokio::sync::Semaphore::new(0)), cancelled: Arc::new(tokio::sync::Semaphore::new(0)) }
}

pub(crate) fn server(told: &Told) -> Server {
    Server::new("fixture", "1.0.0").state(told.clone()).with((add, greet, steps, hang, sum))
}

/// Serves `host` on a socket of its own, as long as the test runs, and says where.
pub(crate) fn serve(host: Arc<Host>) -> String {
    let http = Http::bind("127.0.0.1:0").expect("a port");
    let url = http.url();
    tokio::spawn(http.run(host, std::future::pending()));
    url
}
