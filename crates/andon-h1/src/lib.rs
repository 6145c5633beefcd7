//! HTTP/1.1 as text (RFC 9112), for servers and clients: what the bytes of a connection mean, in whatever pieces they come.
//! No sockets, no clock.
//!
//! Where one message ends and the next begins is not open to interpretation here: of two readings that are possible
//! neither is taken (RFC 9112, 11.2, "Request Smuggling").

mod body;
pub mod request;
pub mod response;

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

/// Digits alone: no sign, no list, no space between.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}
