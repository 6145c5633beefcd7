//! The requests of the workloads, byte for byte, and the check of their answers.
//!
//! Every server gets the same bytes. Numbers in them have a fixed width and are written in place, so that no two
//! calls are the same and sending one costs no allocation.

use std::borrow::Cow;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde::{Deserialize, Serialize};

use crate::peer::Peer;

/// A family of revisions, and with it a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Era {
    /// 2025-11-25: one session per connection.
    Legacy,
    /// 2026-07-28: each request stands alone.
    Modern,
}

impl Era {
    /// The revision that the workload speaks.
    pub fn revision(self) -> &'static str {
        match self {
            Self::Legacy => "2025-11-25",
            Self::Modern => "2026-07-28",
        }
    }

    /// The era's name in a table and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Modern => "modern",
        }
    }
}

/// A version of HTTP, in clear text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum Http {
    /// One call at a time on a connection.
    #[serde(rename = "1.1")]
    #[value(name = "1.1")]
    One,
    /// Many calls on a connection.
    #[serde(rename = "2")]
    #[value(name = "2")]
    Two,
}

impl Http {
    /// The version in a table and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "1.1",
            Self::Two => "2",
        }
    }
}

/// What echo calls cost in process, as the program `allocs` counts it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InProcess {
    /// The server.
    pub peer: Peer,
    /// In which era.
    pub era: Era,
    /// Allocations of a call.
    pub allocations: f64,
    /// Bytes of them.
    pub bytes: f64,
    /// Calls per second of all threads.
    pub calls_per_s: f64,
    /// Threads.
    pub threads: usize,
}

/// The first request of a session.
pub const INITIALIZE: &str = concat!(
    r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","#,
    r#""capabilities":{},"clientInfo":{"name":"andon-bench","version":"0.1.0"}}}"#
);

/// The notification that opens a session for calls.
pub const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// The body of an echo call, with the number `100000000` as its id and in its message.
pub fn call_body(era: Era) -> &'static str {
    match era {
        Era::Legacy => concat!(
            r#"{"jsonrpc":"2.0","id":100000000,"method":"tools/call","params":{"name":"echo","#,
            r#""arguments":{"message":"message number 100000000"}}}"#
        ),
        Era::Modern => concat!(
            r#"{"jsonrpc":"2.0","id":100000000,"method":"tools/call","params":{"name":"echo","#,
            r#""arguments":{"message":"message number 100000000"},"_meta":{"#,
            r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
            r#""io.modelcontextprotocol/clientInfo":{"name":"andon-bench","version":"0.1.0"},"#,
            r#""io.modelcontextprotocol/clientCapabilities":{}}}}"#
        ),
    }
}

/// The resource whose updates are measured.
pub const WATCHED: &str = "demo://item/7";

/// How many progress notifications a call of the tool `steps` gets.
pub const STEPS: usize = 10;

/// The body of a call with [`STEPS`] progress notifications, with the number `100000000` as its id and token.
pub fn steps_body(era: Era) -> String {
    request_body(
        era,
        "tools/call",
        &format!(r#""name":"steps","arguments":{{"steps":{STEPS},"interval_ms":0}}"#),
        r#""progressToken":100000000"#,
    )
}

/// The body of a call that updates [`WATCHED`], with the number `100000000` as its id.
pub fn touch_body(era: Era) -> String {
    request_body(era, "tools/call", &format!(r#""name":"touch","arguments":{{"uri":"{WATCHED}"}}"#), "")
}

/// The body of an echo call whose message has `bytes` letters, with the number `100000000` as its id.
pub fn long_body(era: Era, bytes: usize) -> String {
    request_body(era, "tools/call", &format!(r#""name":"echo","arguments":{{"message":"{}"}}"#, "x".repeat(bytes)), "")
}

/// The body of a request to be told of updates of [`WATCHED`]: in a session, or (modern) for as long as its answer lasts.
pub fn subscribe_body(era: Era) -> String {
    match era {
        Era::Legacy => request_body(era, "resources/subscribe", &format!(r#""uri":"{WATCHED}""#), ""),
        Era::Modern => {
            let filter = format!(r#""notifications":{{"resourceSubscriptions":["{WATCHED}"]}}"#);
            request_body(era, "subscriptions/listen", &filter, "")
        }
    }
}

fn request_body(era: Era, method: &str, params: &str, meta: &str) -> String {
    let mut members = vec![meta];
    if era == Era::Modern {
        members.extend([
            r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#,
            r#""io.modelcontextprotocol/clientInfo":{"name":"andon-bench","version":"0.1.0"}"#,
            r#""io.modelcontextprotocol/clientCapabilities":{}"#,
        ]);
    }
    members.retain(|member| !member.is_empty());
    let meta = if members.is_empty() { String::new() } else { format!(r#","_meta":{{{}}}"#, members.join(",")) };
    format!(r#"{{"jsonrpc":"2.0","id":100000000,"method":"{method}","params":{{{params}{meta}}}}}"#)
}

#[derive(Deserialize)]
struct Routed {
    method: String,
    #[serde(default)]
    params: RoutedParams,
}

#[derive(Default, Deserialize)]
struct RoutedParams {
    name: Option<String>,
}

/// The headers of a request besides those of HTTP itself, as (name, value).
pub fn headers(era: Era, session_id: Option<&str>, body: &str) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        ("Content-Type", "application/json".to_owned()),
        ("Accept", "application/json, text/event-stream".to_owned()),
    ];
    // Before the handshake has agreed on a revision there is none to name.
    if body != INITIALIZE {
        headers.push(("MCP-Protocol-Version", era.revision().to_owned()));
    }
    headers.extend(session_id.map(|id| ("Mcp-Session-Id", id.to_owned())));
    if era == Era::Modern {
        let routed: Routed = serde_json::from_str(body).expect("invariant: our own requests are JSON");
        headers.push(("Mcp-Method", routed.method));
        headers.extend(routed.params.name.map(|name| ("Mcp-Name", name)));
    }
    headers
}

/// A request over HTTP/1.1 for the standing stream of a session.
pub fn standing_request(authority: &str, session_id: Option<&str>) -> String {
    let mut text = format!("GET /mcp HTTP/1.1\r\nHost: {authority}\r\nAccept: text/event-stream\r\n");
    text.push_str(&format!("MCP-Protocol-Version: {}\r\n", Era::Legacy.revision()));
    if let Some(id) = session_id {
        text.push_str(&format!("Mcp-Session-Id: {id}\r\n"));
    }
    text.push_str("\r\n");
    text
}

/// A whole request over HTTP/1.1.
pub fn request(authority: &str, era: Era, session_id: Option<&str>, body: &str) -> String {
    let mut text = format!("POST /mcp HTTP/1.1\r\nHost: {authority}\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers(era, session_id, body) {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.push_str(body);
    text
}

/// A whole request in process, as an HTTP library hands it over.
pub fn http_request(era: Era, session_id: Option<&str>, body: &str) -> Request<Full<Bytes>> {
    let mut request = Request::post("/mcp").header("Host", "127.0.0.1").header("Content-Length", body.len());
    for (name, value) in headers(era, session_id, body) {
        request = request.header(name, value);
    }
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
    request.body(body).expect("invariant: the names are constants, and a server's session id is visible ASCII")
}

/// The number of the first call. It has nine digits, and so have all that follow.
const FIRST: u64 = 100_000_000;

/// A request whose number moves on from call to call.
pub struct Numbered {
    bytes: Vec<u8>,
    slots: Vec<usize>,
    number: u64,
}

impl Numbered {
    /// Takes each nine-digit `100000000` in `text` for the number.
    pub fn new(text: String) -> Self {
        let slots = text.match_indices("100000000").map(|(at, _)| at).collect();
        Self { bytes: text.into_bytes(), slots, number: FIRST }
    }

    /// The next call's bytes and its number.
    pub fn advance(&mut self) -> (&[u8], u64) {
        self.number += 1;
        let mut digits = [0_u8; 9];
        let mut rest = self.number;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + u8::try_from(rest % 10).expect("invariant: a remainder of ten is one digit");
            rest /= 10;
        }
        for &at in &self.slots {
            self.bytes[at..at + digits.len()].copy_from_slice(&digits);
        }
        (&self.bytes, self.number)
    }
}

#[derive(Deserialize)]
struct CallResponse<'a> {
    id: u64,
    #[serde(borrow)]
    result: CallToolResult<'a>,
}

#[derive(Deserialize)]
struct CallToolResult<'a> {
    #[serde(borrow)]
    content: (TextContent<'a>,),
}

#[derive(Deserialize)]
struct TextContent<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
}

/// Whether `body`, JSON or a stream of events, answers call `number` of the tool `echo` with the message that was sent.
///
/// # Errors
/// What is wrong with the answer, in words.
pub fn check(body: &[u8], is_events: bool, number: u64) -> Result<(), String> {
    let response = response(body, is_events, number)?;
    // There are servers that answer a text as JSON.
    let text = response.result.content.0.text.trim_matches('"');
    let echoed = text.strip_prefix("message number ").and_then(|n| n.parse().ok());
    if echoed == Some(number) { Ok(()) } else { Err(wrong("not the answer to this call", body)) }
}

/// Whether `body`, a stream of events, has the progress notifications of call `number` of the tool `steps`, and its answer.
///
/// # Errors
/// What is wrong with the answer, in words.
pub fn check_steps(body: &[u8], is_events: bool, number: u64) -> Result<(), String> {
    response(body, is_events, number)?;
    let is_progress = |line: &[u8]| line.starts_with(b"data:") && line.windows(NOTICE.len()).any(|part| part == NOTICE);
    match body.split(|&byte| byte == b'\n').filter(|line| is_progress(line)).count() {
        STEPS => Ok(()),
        count => Err(wrong(&format!("{count} progress notifications"), body)),
    }
}

/// Whether `body`, JSON or a stream of events, answers call `number` without an error.
///
/// # Errors
/// What is wrong with the answer, in words.
pub fn check_answer(body: &[u8], is_events: bool, number: u64) -> Result<(), String> {
    response(body, is_events, number).map(drop)
}

const NOTICE: &[u8] = b"notifications/progress";

fn response(body: &[u8], is_events: bool, number: u64) -> Result<CallResponse<'_>, String> {
    let message = if is_events { last_data(body).ok_or_else(|| wrong("no data in the events", body))? } else { body };
    let response: CallResponse<'_> =
        serde_json::from_slice(message).map_err(|error| wrong(&error.to_string(), body))?;
    if response.id == number { Ok(response) } else { Err(wrong("not the answer to this call", body)) }
}

fn wrong(why: &str, body: &[u8]) -> String {
    format!("{why}: {}", String::from_utf8_lossy(&body[..body.len().min(1_000)]))
}

/// The data of the last event that has any; here every event has one line of it.
fn last_data(events: &[u8]) -> Option<&[u8]> {
    let data = |line: &'_ [u8]| line.strip_prefix(b"data:").is_some_and(|rest| !rest.trim_ascii().is_empty());
    let line = events.split(|&byte| byte == b'\n').rev().find(|line| data(line))?;
    Some(line[b"data:".len()..].trim_ascii())
}

#[cfg(test)]
mod tests;
