//! A tool whose executions can be counted from outside: it appends what it is told to a file. Offered only on demand.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use andon::Error;
use andon::prelude::{
    Context, Deserialize, Level, ProtocolError, ReadRequest, ResourceContents, ResourceEntry, Server, TemplateEntry,
    ToolEntry, ToolError, json,
};
use andon::types::task::TaskSupport;
use andon::types::tools::ToolAnnotations;

/// What changes with each execution.
const ALL: &str = "test://ledger";
const STEP: Duration = Duration::from_millis(50);
/// The longest delay.
const DELAY_MS_MAX: u64 = 60_000;

#[derive(Deserialize)]
struct Arguments {
    token: String,
    #[serde(default)]
    delay_ms: u64,
    /// A part of the ledger, `test://ledger/{part}`, that changes too.
    part: Option<String>,
}

/// Adds the tool `ledger {token, delay_ms}`: after the delay it appends `token` and a line end to the file at `path`,
/// with fsync, announces a change of `test://ledger`, and answers with the token. It is not idempotent, and can be a
/// task. Meanwhile it reports progress each 50 ms, and at the level `debug` it logs the token.
///
/// # Errors
/// When the file cannot be opened.
pub(crate) fn register(server: Server, path: &Path) -> Result<Server, Error> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    let file = Arc::new(file.map_err(|error| Error::misuse(format!("{}: {error}", path.display())))?);
    let schema = json!({"type": "object", "required": ["token"], "additionalProperties": false, "properties": {
        "token": {"type": "string", "pattern": "^[!-~]{1,200}$"},
        "delay_ms": {"type": "integer", "minimum": 0, "maximum": DELAY_MS_MAX},
        "part": {"type": "string", "pattern": "^[a-z0-9-]{1,64}$"}}});
    let tool = ToolEntry::from_fn("ledger", schema, move |arguments: Arguments, context: Context| {
        execute(file.clone(), arguments, context)
    });
    let annotations = ToolAnnotations {
        title: None,
        read_only_hint: Some(false),
        destructive_hint: Some(false),
        idempotent_hint: Some(false),
        open_world_hint: None,
    };
    let read = |request: ReadRequest, _| async move {
        Ok::<_, ProtocolError>(ResourceContents::text(request.uri, "text/plain", "see the file"))
    };
    Ok(server
        .with(
            tool.description("Appends a token to the ledger after a delay")
                .annotations(annotations)
                .task(TaskSupport::Optional)
                .timeout(Duration::from_millis(2 * DELAY_MS_MAX)),
        )
        .with(ResourceEntry::from_fn(ALL, "ledger", read).mime_type("text/plain"))
        .with(TemplateEntry::from_fn("test://ledger/{part}", "part of the ledger", read).mime_type("text/plain")))
}

async fn execute(file: Arc<File>, arguments: Arguments, context: Context) -> Result<String, ToolError> {
    let Arguments { token, delay_ms, part } = arguments;
    context.log(Level::Debug, json!({ "token": token }));
    let total = delay_ms as f64;
    let ends_at = tokio::time::Instant::now() + Duration::from_millis(delay_ms);
    while let Some(left) = ends_at.checked_duration_since(tokio::time::Instant::now()).filter(|left| !left.is_zero()) {
        tokio::time::sleep(left.min(STEP)).await;
        let left = ends_at.saturating_duration_since(tokio::time::Instant::now());
        context.progress(total - left.as_millis() as f64, Some(total), None).await?;
    }
    let line = format!("{token}\n");
    let appended = tokio::task::spawn_blocking(move || {
        (&*file).write_all(line.as_bytes())?;
        file.sync_all()
    });
    let appended = appended.await.map_err(|error| ToolError::new(error.to_string()))?;
    appended.map_err(|error| ToolError::new(format!("the ledger cannot be written: {error}")))?;
    context.catalogue().updated(ALL);
    if let Some(part) = part {
        context.catalogue().updated(&format!("{ALL}/{part}"));
    }
    Ok(token)
}
