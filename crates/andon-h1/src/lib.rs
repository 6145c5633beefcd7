//! HTTP/1.1 as text (RFC 9112), for servers and clients: what the bytes of a connection mean, in whatever pieces they come.
//! No sockets, no clock.
//!
//! Where one message ends and the next begins is not open to interpretation here: of two readings that are possible
//! neither is taken (RFC 9112, 11.2, "Request Smuggling").

mod body;
pub mod request;
pub mod response;

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue};

pub use body::{Body, Piece};

/// Bytes of a head.
pub const HEAD_BYTES_MAX: usize = 64 << 10;

/// What is no HTTP/1.1, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// Whether the comma-separated list `value` has the token `wanted`, in whatever case.
pub fn lists(value: &[u8], wanted: &str) -> bool {
    value.split(|byte| *byte == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes()))
}

/// Adds the line of a header to a head. What says how long a body is, and what becomes of the connection, is left out: that is
/// added with the rest of the head and nowhere else.
pub fn push_field(head: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    if [CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION].contains(name) {
        return;
    }
    for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
        head.extend_from_slice(part);
    }
}

/// Adds `Content-Length`.
fn push_length(head: &mut Vec<u8>, bytes: u64) {
    head.extend_from_slice(b"content-length: ");
    push_number(head, bytes, 10);
    head.extend_from_slice(b"\r\n");
}

/// Adds a number to the base of 10 or 16.
fn push_number(text: &mut Vec<u8>, number: u64, base: u64) {
    if number >= base {
        push_number(text, number / base, base);
    }
    let digit = usize::try_from(number % base).ok().and_then(|digit| b"0123456789abcdef".get(digit));
    text.extend(digit);
}

/// The number that `text` is: digits alone, no sign, no list, no space between.
pub fn decimal(text: &[u8]) -> Option<u64> {
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    let append = |number: u64, byte| number.checked_mul(10)?.checked_add(digit(byte)?);
    if text.is_empty() { None } else { text.iter().try_fold(0, append) }
}
