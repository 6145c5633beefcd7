//! What is printed: results to standard output, everything else to standard error; for people or as JSON.

use std::cell::Cell;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use andon::client::{Client, Completion, Event, Report};
use andon::serde::Serialize;
use andon::serde_json::{self, Value, json};
use andon::types::content::{
    Content, GetPromptResult, Prompt, ReadResourceResult, Resource, ResourceContents, ResourceTemplate,
};
use andon::types::tools::{CallToolResult, Tool};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Failure;
use super::answer::is_asking;

/// Where results go.
pub(super) struct Screen {
    is_json: bool,
    out: PathBuf,
    /// Files saved so far.
    saved: Cell<usize>,
}

/// Files that one command saves. A server with more is not believed.
const FILES_MAX: usize = 64;

impl Screen {
    pub(super) fn new(is_json: bool, out: PathBuf) -> Self {
        Self { is_json, out, saved: Cell::new(0) }
    }

    pub(super) fn tools(&self, tools: &[Tool]) -> Result<(), Failure> {
        let row = |tool: &Tool| {
            let schema = tool.input_schema.to_value().unwrap_or_default();
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            let properties = schema["properties"].as_object().cloned().unwrap_or_default();
            let argument =
                |name: &String| if required.iter().any(|it| it == name) { name.clone() } else { format!("[{name}]") };
            let arguments: Vec<String> = properties.keys().map(argument).collect();
            vec![tool.name.clone(), arguments.join(" "), first_line(tool.description.as_deref())]
        };
        self.list(tools, "no tools", row)
    }

    pub(super) fn resources(&self, resources: &[Resource], templates: &[ResourceTemplate]) -> Result<(), Failure> {
        if self.is_json {
            return print_json(&json!({ "resources": resources, "resourceTemplates": templates }).to_string());
        }
        let plain =
            resources.iter().map(|it| vec![it.uri.clone(), it.name.clone(), first_line(it.description.as_deref())]);
        let open = templates
            .iter()
            .map(|it| vec![it.uri_template.clone(), it.name.clone(), first_line(it.description.as_deref())]);
        table(plain.chain(open).collect(), "no resources")
    }

    pub(super) fn prompts(&self, prompts: &[Prompt]) -> Result<(), Failure> {
        self.list(prompts, "no prompts", |prompt| {
            let argument = |it: &andon::types::content::PromptArgument| {
                if it.required { it.name.clone() } else { format!("[{}]", it.name) }
            };
            let arguments: Vec<String> = prompt.arguments.iter().map(argument).collect();
            vec![prompt.name.clone(), arguments.join(" "), first_line(prompt.description.as_deref())]
        })
    }

    pub(super) fn result(&self, name: &str, result: &CallToolResult) -> Result<(), Failure> {
        if self.is_json {
            let mut text = encode(result)?;
            if let Some(meta) = &result.meta {
                // The type leaves it out, since on a server's way out it is carried elsewhere.
                text.truncate(text.len() - 1);
                text.push_str(&format!(r#","_meta":{}}}"#, encode(meta)?));
            }
            return print_json(&text);
        }
        for block in &result.content {
            self.block(name, block)?;
        }
        match &result.structured_content {
            Some(structured) if result.content.is_empty() => print_json(&pretty(structured.as_str())),
            _ => Ok(()),
        }
    }

    pub(super) fn contents(&self, read: &ReadResourceResult) -> Result<(), Failure> {
        if self.is_json {
            return self.value(read);
        }
        read.contents.iter().try_for_each(|contents| self.resource("resource", contents))
    }

    pub(super) fn prompt(&self, prompt: &GetPromptResult) -> Result<(), Failure> {
        if self.is_json {
            return self.value(prompt);
        }
        for message in &prompt.messages {
            print(&format!("{}:", json!(message.role).as_str().unwrap_or_default()))?;
            self.block("prompt", &message.content)?;
        }
        Ok(())
    }

    pub(super) fn completion(&self, completion: &Completion) -> Result<(), Failure> {
        if self.is_json {
            let Completion { values, total, has_more } = completion;
            return print_json(&json!({ "values": values, "total": total, "hasMore": has_more }).to_string());
        }
        completion.values.iter().try_for_each(|value| print(&harmless(value)))?;
        if completion.has_more {
            eprintln!("and more");
        }
        Ok(())
    }

    pub(super) fn ping(&self, took: Duration, client: &Client) -> Result<(), Failure> {
        let info = client.server_info();
        let (name, version) = info.map_or_else(Default::default, |info| (info.name, info.version));
        let revision = client.revision().map_or("", andon::types::revision::Revision::as_str);
        let ms = took.as_secs_f64() * 1000.0;
        if self.is_json {
            return print_json(
                &json!({ "name": name, "version": version, "protocolVersion": revision, "ms": ms }).to_string(),
            );
        }
        print(&format!("{} {} answers in {ms:.1} ms over {revision}", harmless(&name), harmless(&version)))
    }

    pub(super) fn event(&self, event: &Event) -> Result<(), Failure> {
        let (kind, detail) = match event {
            Event::ToolsChanged => ("tools changed", Value::Null),
            Event::PromptsChanged => ("prompts changed", Value::Null),
            Event::ResourcesChanged => ("resources changed", Value::Null),
            Event::ResourceUpdated(uri) => ("resource updated", json!(uri)),
            Event::Log { level, logger, data } => ("log", json!({ "level": level, "logger": logger, "data": data })),
            Event::ElicitationComplete(id) => ("elicitation complete", json!(id)),
            Event::Notification { method, params } => {
                let params = params.as_ref().and_then(|params| params.parse_owned::<Value>().ok());
                ("notification", json!({ "method": method, "params": params }))
            }
            Event::Stderr(line) => ("stderr", json!(line)),
            Event::Disconnected(_) => ("disconnected", Value::Null),
            Event::Reopened => ("connected again: changes may have been missed", Value::Null),
            _ => return Ok(()),
        };
        if self.is_json {
            return print_json(&json!({ "event": kind, "detail": detail }).to_string());
        }
        match detail {
            Value::Null => print(kind),
            Value::String(text) => print(&format!("{kind}: {}", harmless(&text))),
            other => print(&format!("{kind}: {}", harmless(&other.to_string()))),
        }
    }

    pub(super) fn progress_bar(&self) -> Bar {
        Bar(Arc::new(Mutex::new(0)), !self.is_json && std::io::stderr().is_terminal())
    }

    fn value<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        print_json(&encode(value)?)
    }

    fn list<T: Serialize>(&self, items: &[T], none: &str, row: impl Fn(&T) -> Vec<String>) -> Result<(), Failure> {
        if self.is_json { self.value(&items) } else { table(items.iter().map(row).collect(), none) }
    }

    fn block(&self, name: &str, block: &Content) -> Result<(), Failure> {
        match block {
            Content::Text { text, .. } => print(&harmless(text)),
            Content::Image { data, mime_type, .. } | Content::Audio { data, mime_type, .. } => {
                self.save(name, mime_type, data)
            }
            Content::ResourceLink(link) => print(&format!("{}  {}", harmless(&link.uri), harmless(&link.name))),
            Content::Resource { resource, .. } => self.resource(name, resource),
        }
    }

    fn resource(&self, name: &str, contents: &ResourceContents) -> Result<(), Failure> {
        if let Some(text) = &contents.text {
            return print(&harmless(text));
        }
        let mime_type = contents.mime_type.as_deref().unwrap_or("application/octet-stream");
        self.save(name, mime_type, contents.blob.as_deref().unwrap_or_default())
    }

    /// Saves bytes under a name that is not taken, and says so.
    fn save(&self, name: &str, mime_type: &str, data: &str) -> Result<(), Failure> {
        if self.saved.replace(self.saved.get() + 1) >= FILES_MAX {
            return Err(Failure::Io(format!("the server sent more than {FILES_MAX} files; the rest is not saved")));
        }
        let bytes = STANDARD.decode(data).map_err(|_| Failure::Io("the server sent no base64".to_owned()))?;
        let path = save(&self.out, name, mime_type, &bytes)
            .map_err(|error| Failure::Io(format!("cannot save to {}: {error}", self.out.display())))?;
        print(&format!("saved {} ({}, {} bytes)", path.display(), harmless(mime_type), bytes.len()))
    }
}

fn save(folder: &Path, name: &str, mime_type: &str, bytes: &[u8]) -> std::io::Result<PathBuf> {
    // Neither the name nor the type is trusted: what is left of them cannot leave the folder.
    let plain = |text: &str| -> String {
        text.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).take(64).collect()
    };
    let or = |text: String, other: &str| if text.is_empty() { other.to_owned() } else { text };
    let extension = match mime_type.split(';').next().unwrap_or_default() {
        "image/jpeg" => "jpg".to_owned(),
        "image/svg+xml" => "svg".to_owned(),
        "audio/mpeg" => "mp3".to_owned(),
        "application/octet-stream" | "" => "bin".to_owned(),
        other => or(plain(other.rsplit('/').next().unwrap_or_default()), "bin"),
    };
    // A name that begins with a dash is an option to the next program.
    let name = or(plain(name).trim_start_matches('-').to_owned(), "result");
    for number in 1.. {
        let path = folder.join(format!("{name}-{number}.{extension}"));
        match std::fs::OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => {
                file.write_all(bytes)?;
                return Ok(path);
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    unreachable!("there are more numbers than files")
}

/// A line that moves while a call reports progress.
#[derive(Clone)]
pub(super) struct Bar(Arc<Mutex<usize>>, bool);

impl Bar {
    pub(super) fn report(&self, report: &Report) {
        if !self.1 || is_asking() {
            return;
        }
        const WIDTH: usize = 24;
        let text = match report.total.filter(|total| *total > 0.0) {
            Some(total) => {
                let part = (report.progress / total).clamp(0.0, 1.0);
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the width")]
                let full = (part * WIDTH as f64) as usize;
                format!("[{}{}] {:3.0} %", "#".repeat(full), " ".repeat(WIDTH - full), part * 100.0)
            }
            None => format!("{}", report.progress),
        };
        let message = report.message.as_deref().map(|message| format!(" {}", harmless(message))).unwrap_or_default();
        let line: String = format!("{text}{message}").replace('\n', " ").chars().take(78).collect();
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = shown.saturating_sub(line.chars().count());
        eprint!("\r{line}{}", " ".repeat(rest));
        *shown = line.chars().count();
    }

    pub(super) fn clear(&self) {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *shown > 0 {
            eprint!("\r{}\r", " ".repeat(*shown));
            *shown = 0;
        }
    }
}

/// Text of somebody else without what a terminal would obey: control characters other than line ends and tabs, and
/// those that turn the direction of writing.
pub(super) fn harmless(text: &str) -> String {
    let is_plain = |c: char| matches!(c, '\n' | '\t') || !(c.is_control() || turns(c));
    text.replace("\r\n", "\n").chars().map(|c| if is_plain(c) { c } else { '\u{fffd}' }).collect()
}

/// The same, on one line.
pub(crate) fn harmless_line(text: &str) -> String {
    harmless(text).replace('\n', " ")
}

/// Text that is shown in another order than it is written hides what it says.
fn turns(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn encode<T: Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::Io(error.to_string()))
}

fn first_line(text: Option<&str>) -> String {
    text.unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

fn pretty(text: &str) -> String {
    let value = serde_json::from_str::<Value>(text).ok();
    value.and_then(|value| serde_json::to_string_pretty(&value).ok()).unwrap_or_else(|| text.to_owned())
}

/// Columns as wide as they have to be; the last one runs on.
pub(crate) fn table(rows: Vec<Vec<String>>, none: &str) -> Result<(), Failure> {
    if rows.is_empty() {
        eprintln!("{none}");
        return Ok(());
    }
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|row| row.iter().map(|cell| harmless_line(cell)).collect()).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).min(48);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        print(cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// JSON as it is, except that what a terminal would obey is escaped.
pub(crate) fn print_json(text: &str) -> Result<(), Failure> {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        // In valid JSON these stand in strings only; the other control characters are escaped there already.
        if matches!(c, '\u{7f}'..='\u{9f}') || turns(c) {
            line.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            line.push(c);
        }
    }
    print(&line)
}

pub(crate) fn print(line: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{line}") {
        Ok(()) => Ok(()),
        // Whoever reads has enough: `andon tools ... | head -1`.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::Io(format!("cannot print: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::{harmless, save};

    #[test]
    fn what_a_terminal_would_obey_is_not_printed() {
        assert_eq!(harmless("to \u{202e}moc"), "to \u{fffd}moc");
        assert_eq!(harmless("a\u{1b}[31mred\u{7}\r\nb\tc\u{9b}x"), "a\u{fffd}[31mred\u{fffd}\nb\tc\u{fffd}x");
    }

    #[test]
    fn files_stay_in_their_folder_and_replace_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, mime_type, expected) in [
            ("../../etc/passwd", "image/png", "etcpasswd-1.png"),
            ("../../etc/passwd", "image/png", "etcpasswd-2.png"),
            ("x", "audio/../../wav", "x-1.wav"),
            ("x", "image/svg+xml", "x-1.svg"),
            ("", "", "result-1.bin"),
            ("-rf", "image/..", "rf-1.bin"),
        ] {
            let path = save(folder.path(), name, mime_type, b"bytes").expect("saved");
            assert_eq!(path, folder.path().join(expected));
        }
    }
}
