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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

    /// The era's name in a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Modern => "modern",
        }
    }
}

/// What one call costs in process, as the program `allocs` counts it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Allocations {
    /// The server.
    pub peer: Peer,
    /// The workload.
    pub era: Era,
    /// Allocations.
    pub per_call: f64,
    /// Bytes of them.
    pub bytes_per_call: f64,
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

/// The headers of a request besides those of HTTP itself, as (name, value).
pub fn headers<'a>(era: Era, session_id: Option<&'a str>, body: &str) -> Vec<(&'static str, &'a str)> {
    let mut headers = vec![("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream")];
    // Before the handshake has agreed on a revision there is none to name.
    if body != INITIALIZE {
        headers.push(("MCP-Protocol-Version", era.revision()));
    }
    headers.extend(session_id.map(|id| ("Mcp-Session-Id", id)));
    if era == Era::Modern {
        headers.extend([("Mcp-Method", "tools/call"), ("Mcp-Name", "echo")]);
    }
    headers
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

/// Whether `body`, JSON or a stream of events, answers call `number` with the message that was sent.
///
/// # Errors
/// What is wrong with the answer, in words.
pub fn check(body: &[u8], is_events: bool, number: u64) -> Result<(), String> {
    let wrong = |why: &str| format!("{why}: {}", String::from_utf8_lossy(body));
    let message = if is_events { last_data(body).ok_or_else(|| wrong("no data in the events"))? } else { body };
    let response: CallResponse<'_> = serde_json::from_slice(message).map_err(|error| wrong(&error.to_string()))?;
    let echoed = response.result.content.0.text.strip_prefix("message number ").and_then(|n| n.parse().ok());
    if response.id != number || echoed != Some(number) {
        return Err(wrong("not the answer to this call"));
    }
    Ok(())
}

/// The data of the last event that has any; here every event has one line of it.
fn last_data(events: &[u8]) -> Option<&[u8]> {
    let data = |line: &'_ [u8]| line.strip_prefix(b"data:").is_some_and(|rest| !rest.trim_ascii().is_empty());
    let line = events.split(|&byte| byte == b'\n').rev().find(|line| data(line))?;
    Some(line[b"data:".len()..].trim_ascii())
}

#[cfg(test)]
mod tests;
