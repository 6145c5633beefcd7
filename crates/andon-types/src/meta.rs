//! `_meta`, the keys that the protocol reserves in it, and hints that travel beside results.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The `_meta` of a request, a result or an item.
pub type Meta = Map<String, Value>;

/// The protocol version of a modern request.
pub const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// The client's name and version in a modern request.
pub const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
/// The client's capabilities in a modern request.
pub const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// The server's name and version in a modern result.
pub const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
/// The threshold of log notifications of a modern request.
pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// The listen request that a notification belongs to.
pub const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
/// The task that a message belongs to (2025-11-25).
pub const RELATED_TASK: &str = "io.modelcontextprotocol/related-task";
/// What tells that a call came before (an extension of ours, for all revisions).
pub const IDEMPOTENCY_KEY: &str = "andon.dev/idempotency-key";
/// Where progress of the request goes.
pub const PROGRESS_TOKEN: &str = "progressToken";

/// Who may share a cached result (2026-07-28, caching).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheScope {
    /// Everyone: the result has nothing of a user in it.
    Public,
    /// Only the user who asked.
    #[default]
    Private,
}

/// How long a client may keep a result, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CacheHint {
    /// Milliseconds; 0 is "ask again each time".
    #[serde(rename = "ttlMs")]
    pub ttl_ms: u64,
    /// Who may share it.
    #[serde(rename = "cacheScope")]
    pub scope: CacheScope,
}

/// Names the progress of a request; chosen by the client and echoed as it came.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ProgressToken {
    /// An integer.
    Number(i64),
    /// A string.
    String(String),
}

/// How grave a log message is (RFC 5424), least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the eight names of RFC 5424 speak for themselves")]
pub enum Level {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

/// A picture for people, at an `https:` or `data:` URI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Icon {
    /// Where it is.
    pub src: String,
    /// Its type, if `src` does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Sizes such as `48x48` or `any`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sizes: Vec<String>,
    /// `light` or `dark`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub theme: Option<String>,
}

impl Icon {
    /// The most bytes of a `data:` URI.
    pub const DATA_BYTES_MAX: usize = 64 << 10;

    /// Why this icon must not be handed to clients, if so: only `https:` and `data:image/...` are safe to show, and
    /// the bytes of a `data:` URI have to be what its type says.
    pub fn problem(&self) -> Option<&'static str> {
        const TYPES: [&str; 5] = ["image/png", "image/jpeg", "image/jpg", "image/webp", "image/svg+xml"];
        if self.src.chars().any(|c| c.is_control() || c == ' ') {
            return Some("an icon's URI has no spaces or control characters");
        }
        if self.mime_type.as_deref().is_some_and(|mime| !TYPES.contains(&mime)) {
            return Some("an icon is image/png, image/jpeg, image/webp or image/svg+xml");
        }
        if self.theme.as_deref().is_some_and(|theme| !matches!(theme, "light" | "dark")) {
            return Some("an icon's theme is light or dark");
        }
        if !self.sizes.iter().all(|size| is_size(size)) {
            return Some("an icon's sizes are like 48x48, or any");
        }
        let Some(data) = self.src.strip_prefix("data:") else {
            let host = self.src.strip_prefix("https://").unwrap_or_default();
            return (host.is_empty() || host.starts_with('/')).then_some("an icon is at an https: or data: URI");
        };
        if data.len() > Self::DATA_BYTES_MAX {
            return Some("an icon's data: URI has at most 64 KiB");
        }
        let Some((head, body)) = data.split_once(',') else { return Some("an icon's data: URI has no data") };
        let mime = head.split(';').next().unwrap_or_default();
        if !TYPES.contains(&mime) {
            return Some("an icon's data: URI names an image type");
        }
        let first = if head.ends_with(";base64") { first_bytes(body) } else { body.as_bytes().to_vec() };
        (!begins_like(mime, &first)).then_some("an icon's data: URI does not hold what its type says")
    }
}

fn is_size(size: &str) -> bool {
    let number = |text: &str| (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    size == "any" || size.split_once('x').is_some_and(|(width, height)| number(width) && number(height))
}

/// What the first 16 characters of base64 say; nothing if they are none.
fn first_bytes(base64: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits: Vec<u8> = base64.bytes().take(16).map_while(digit).collect();
    let mut bytes = Vec::with_capacity(12);
    for pair in digits.windows(2).enumerate().filter_map(|(at, pair)| (at % 4 != 3).then_some((at % 4, pair))) {
        bytes.push(match pair {
            (0, pair) => pair[0] << 2 | pair[1] >> 4,
            (1, pair) => pair[0] << 4 | pair[1] >> 2,
            (_, pair) => pair[0] << 6 | pair[1],
        });
    }
    bytes
}

/// Whether a file of this type begins like this.
fn begins_like(mime: &str, first: &[u8]) -> bool {
    match mime {
        "image/png" => first.starts_with(b"\x89PNG\r\n\x1a\n"),
        "image/jpeg" | "image/jpg" => first.starts_with(b"\xff\xd8\xff"),
        "image/webp" => first.starts_with(b"RIFF") && first.get(8..12) == Some(b"WEBP".as_slice()),
        _ => {
            let text = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first).trim_ascii_start();
            text.starts_with(b"<") || text.starts_with(b"%3C") || text.starts_with(b"%3c")
        }
    }
}

/// Name and version of a client or a server.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Implementation {
    /// For programs.
    pub name: String,
    /// Any version scheme.
    pub version: String,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where to read about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub website_url: Option<String>,
    /// Pictures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub icons: Vec<Icon>,
}

impl Implementation {
    /// An implementation with this name and version.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self { name: name.into(), version: version.into(), ..Self::default() }
    }
}

#[cfg(test)]
mod tests;
