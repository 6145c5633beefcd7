//! Heads of answers, as servers write them.

use std::io::Write as _;

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};

/// How the end of an answer's body is said (RFC 9112, 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// There is none, and no length is said.
    None,
    /// So many bytes.
    Length(u64),
    /// Each piece says how long it is.
    Chunks,
    /// By the end of the connection.
    Close,
}

/// What follows the data of a chunk, and of the last one with data.
pub const CHUNK_END: &[u8] = b"\r\n";
/// What follows the data of the last chunk that has some.
pub const LAST_CHUNK_END: &[u8] = b"\r\n0\r\n\r\n";
/// What ends a body without another chunk.
pub const NO_CHUNK: &[u8] = b"0\r\n\r\n";

/// Adds the head of an answer to `text`. What says how long the body is, what becomes of the connection, and the `date` is
/// written here and nowhere else.
pub fn write(
    text: &mut Vec<u8>,
    status: StatusCode,
    headers: &HeaderMap,
    ending: Ending,
    keeps_alive: bool,
    date: &[u8],
) {
    let reason = status.canonical_reason().unwrap_or_default().as_bytes();
    for part in [b"HTTP/1.1 ", status.as_str().as_bytes(), b" ", reason, b"\r\n"] {
        text.extend_from_slice(part);
    }
    for (name, value) in headers {
        if [CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, DATE].contains(name) {
            continue;
        }
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            text.extend_from_slice(part);
        }
    }
    match ending {
        Ending::Length(bytes) => put(text, format_args!("content-length: {bytes}\r\n")),
        Ending::Chunks => text.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Ending::None | Ending::Close => {}
    }
    if !keeps_alive {
        text.extend_from_slice(b"connection: close\r\n");
    }
    for part in [b"date: ", date, b"\r\n\r\n"] {
        text.extend_from_slice(part);
    }
}

/// Adds what stands before the data of a chunk of so many bytes.
pub fn write_chunk_size(text: &mut Vec<u8>, bytes: usize) {
    put(text, format_args!("{bytes:x}\r\n"));
}

fn put(text: &mut Vec<u8>, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("invariant: a vector grows");
}
