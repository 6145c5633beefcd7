//! Resources: a fixed one, a family by a URI template with completion, and subscribers that hear of changes.
//!
//! `cargo run --bin resources`, then connect a client to <http://127.0.0.1:8080/mcp>.

use std::sync::RwLock;

use andon::prelude::*;

struct Notes(RwLock<Vec<String>>);

#[derive(Serialize)]
struct Note {
    id: usize,
    text: String,
}

/// How to use the notes.
#[resource("notes://readme", mime = "text/markdown")]
async fn readme() -> &'static str {
    "# Notes\n\nRead `notes://note/{id}`, write with the tool `write`."
}

/// One note.
#[resource("notes://note/{id}", mime = "application/json", complete(id = ids))]
async fn note(id: usize, notes: State<Notes>) -> Result<Json<Note>, NotFound> {
    let notes = notes.0.read().map_err(|_| NotFound)?;
    notes.get(id).map(|text| Json(Note { id, text: text.clone() })).ok_or(NotFound)
}

async fn ids(query: CompletionQuery, ctx: Context) -> Vec<String> {
    let Ok(notes) = State::<Notes>::from_context(&ctx) else { return Vec::new() };
    let count = notes.0.read().map_or(0, |notes| notes.len());
    (0..count).map(|id| id.to_string()).filter(|id| id.starts_with(&query.value)).collect()
}

/// Write a note, over an old one or as a new one.
#[tool]
async fn write(
    id: Option<usize>,
    text: String,
    notes: State<Notes>,
    ctx: Context,
) -> Result<CallToolResult, ToolError> {
    let id = {
        let mut notes = notes.0.write().map_err(ToolError::hidden)?;
        let id = id.unwrap_or(notes.len());
        if id < notes.len() {
            notes[id] = text;
        } else if id == notes.len() {
            notes.push(text);
        } else {
            return Err(ToolError::new(format!("the next note is {}", notes.len())));
        }
        id
    };
    let uri = format!("notes://note/{id}");
    ctx.catalogue().updated(&uri);
    let link = Resource { uri, name: format!("note {id}"), ..Resource::default() };
    Ok(CallToolResult::content(vec![Content::text("written"), Content::link(link)]))
}

fn server() -> Server {
    Server::new("notes", env!("CARGO_PKG_VERSION"))
        .state(Notes(RwLock::new(vec!["the first note".to_owned()])))
        .with((readme, note, write))
}

#[tokio::main]
async fn main() -> andon::Result {
    server().serve(Http::bind("127.0.0.1:8080")?).await
}

#[cfg(test)]
mod tests {
    use super::server;
    use andon::prelude::json;

    #[tokio::test]
    async fn subscribers_hear_of_changes() {
        let client = server().client().await;
        let uri = json!({"uri": "notes://note/0"});
        client.request("resources/subscribe", uri.clone()).await.unwrap();
        client.call_raw("write", json!({"id": 0, "text": "changed"})).await.unwrap();
        assert_eq!(client.expect("notifications/resources/updated").await, uri);
        let read = client.request("resources/read", uri).await.unwrap();
        assert_eq!(read["contents"][0]["text"], r#"{"id":0,"text":"changed"}"#);
        let absent = client.request("resources/read", json!({"uri": "notes://note/7"})).await.unwrap_err();
        assert_eq!(absent.code, -32002);
    }
}
