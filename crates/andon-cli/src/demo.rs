//! The demo server: a bit of everything, to try a client on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use andon::prelude::{
    Catalogue, Context, CreateMessage, Deserialize, ElicitError, Json, JsonSchema, Level, ProtocolError, ReadRequest,
    ResourceEntry, Serialize, Server, TemplateEntry, ToolError, json, prompt, tool,
};

const CLOCK: &str = "demo://clock";
const CLOCK_INTERVAL: Duration = Duration::from_secs(1);
/// Items that `demo://item/{n}` has.
const ITEMS: u32 = 1000;
const NAMES: [&str; 6] = ["Ada", "Alan", "Barbara", "Edsger", "Grace", "Margaret"];
const REGIONS: [&str; 3] = ["eu-west", "us-east", "ap-south"];

/// Seconds since the server started.
struct Clock(AtomicU64);

/// The demo server. Must be called within a runtime, in which its clock ticks.
pub(crate) fn server() -> Server {
    let clock = Arc::new(Clock(AtomicU64::new(0)));
    let shown = clock.clone();
    let server = Server::new("andon-demo", env!("CARGO_PKG_VERSION"))
        .title("Andon demo")
        .instructions("A demo server: try its tools, read demo://item/1, subscribe to demo://clock.")
        .with((echo, add, slow, steps, ask, sample, log, touch, changed, region))
        .with(
            ResourceEntry::from_fn(CLOCK, "clock", move |_: ReadRequest, _| {
                let seconds = shown.0.load(Ordering::Relaxed);
                async move { format!("{seconds} s since the start") }
            })
            .description("Ticks each second; subscribe to it")
            .mime_type("text/plain"),
        )
        .with(
            TemplateEntry::from_fn("demo://item/{n}", "item", |request: ReadRequest, _| async move {
                let n: u32 = request.variables.required("n").map_err(|_| ProtocolError::not_found())?;
                let item = json!({"n": n, "square": u64::from(n) * u64::from(n)});
                if n < ITEMS { Ok(Json(item)) } else { Err(ProtocolError::not_found()) }
            })
            .description("Numbers and their squares")
            .mime_type("application/json")
            .complete("n", |query, _| async move {
                (0..ITEMS).map(|n| n.to_string()).filter(|n| n.starts_with(&query.value)).take(100).collect()
            }),
        )
        .with(greet);
    tokio::spawn(tick(clock, server.catalogue()));
    server
}

async fn tick(clock: Arc<Clock>, catalogue: Catalogue) {
    let mut interval = tokio::time::interval(CLOCK_INTERVAL);
    loop {
        interval.tick().await;
        clock.0.fetch_add(1, Ordering::Relaxed);
        catalogue.updated(CLOCK);
    }
}

/// Say the message back.
#[tool(read_only, idempotent)]
async fn echo(
    /// What to say
    message: String,
) -> String {
    message
}

/// Add two integers.
#[tool(read_only, idempotent)]
async fn add(
    /// Left operand
    a: i64,
    /// Right operand
    b: i64,
) -> Result<i64, ToolError> {
    a.checked_add(b).ok_or_else(|| ToolError::new("the sum does not fit in 64 bits"))
}

/// Sleep, then say the message back.
#[tool(read_only, timeout = "5m")]
async fn slow(
    /// Milliseconds to sleep
    ms: u64,
    /// What to say then
    #[default(String::from("done"))]
    message: String,
) -> String {
    tokio::time::sleep(Duration::from_millis(ms)).await;
    message
}

/// Take some steps and report progress after each.
#[tool(read_only, timeout = "5m")]
async fn steps(
    /// How many
    steps: u32,
    /// Milliseconds between two
    #[default(100)]
    interval_ms: u64,
    /// What to say with each
    #[default(String::from("step"))]
    message: String,
    context: Context,
) -> Result<String, ToolError> {
    for step in 1..=steps {
        // A sleep of no time would still wait for the next tick of the timer.
        if interval_ms > 0 {
            tokio::time::sleep(Duration::from_millis(interval_ms)).await;
        }
        context.progress(f64::from(step), Some(f64::from(steps)), Some(&format!("{message} {step}"))).await?;
    }
    Ok(format!("took {steps} steps"))
}

/// A person's answer.
#[derive(Deserialize, JsonSchema)]
struct Answer {
    /// Your answer
    answer: String,
}

/// Ask the person something.
#[tool]
async fn ask(
    /// The question
    prompt: String,
    context: Context,
) -> Result<String, ToolError> {
    match context.elicit::<Answer>(&prompt).await {
        Ok(answer) => Ok(format!("They said: {}", answer.answer)),
        Err(ElicitError::Declined) => Ok("They declined.".to_owned()),
        Err(ElicitError::Cancelled) => Ok("They closed the question.".to_owned()),
        Err(other) => Err(other.into()),
    }
}

/// Ask the client's model something.
#[tool]
async fn sample(
    /// The prompt
    prompt: String,
    context: Context,
) -> Result<String, ToolError> {
    let message = context.sample(CreateMessage::new(prompt, 200)).await?;
    Ok(format!("The model said: {}", message.text()))
}

/// Log some messages to the client.
#[tool(read_only)]
async fn log(
    /// How many
    count: u32,
    /// What to log
    #[default(String::from("a message"))]
    message: String,
    context: Context,
) -> String {
    for n in 1..=count {
        context.log(Level::Info, format!("{message} {n}"));
    }
    format!("logged {count}")
}

/// Say that a resource changed, to those who subscribed to it.
#[tool]
async fn touch(
    /// Which
    uri: String,
    context: Context,
) -> String {
    context.catalogue().updated(&uri);
    format!("touched {uri}")
}

/// Say that the list of tools changed.
#[tool]
async fn changed(context: Context) -> &'static str {
    context.catalogue().announce(true, false, false);
    "announced"
}

/// Where a region is served.
#[derive(Serialize, JsonSchema)]
struct Region {
    /// The region
    name: String,
    /// Whether it is one of ours
    known: bool,
}

/// Look a region up. Its name is mirrored in the header Mcp-Param-Region, so that a proxy can route by it.
#[tool(read_only, idempotent, header(name = "Region"))]
async fn region(
    /// Such as eu-west
    name: String,
) -> Region {
    Region { known: REGIONS.contains(&name.as_str()), name }
}

/// Greet somebody.
#[prompt(complete(name = names))]
async fn greet(
    /// Whom
    name: String,
) -> String {
    format!("Write a short, warm greeting for {name}.")
}

async fn names(query: andon::prelude::CompletionQuery, _context: Context) -> Vec<String> {
    let typed = query.value.to_lowercase();
    NAMES.iter().filter(|name| name.to_lowercase().starts_with(&typed)).map(|name| (*name).to_owned()).collect()
}
