//! Heads of requests, as servers read them and clients write them.

use std::mem::MaybeUninit;

use bytes::{Buf as _, BytesMut};
use http::Method;
use httparse::Status;
use memchr::memchr;

use crate::{Body, HEAD_BYTES_MAX, Malformed, decimal, lists, push_length};

/// Headers of a request.
pub const HEADERS_MAX: usize = 100;

/// Why a head is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is none (400).
    Malformed(&'static str),
    /// Its first line has more than [`HEAD_BYTES_MAX`] bytes (414).
    TargetTooLong,
    /// It has more than [`HEAD_BYTES_MAX`] bytes, or more than [`HEADERS_MAX`] headers (431).
    TooLarge,
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed.0)
    }
}

/// Looks for the end of a head, at each byte once.
#[derive(Debug, Default)]
pub struct Scan {
    /// So many bytes were looked at.
    seen: usize,
    /// Where the line begins that has no end yet.
    line: usize,
    /// The empty line that some clients send after a body was passed over.
    is_past_empty_line: bool,
}

impl Scan {
    /// Takes the head that `bytes` begin with, by whose text `text` is replaced. Not so if more of it has to come, after which
    /// this is asked again.
    ///
    /// # Errors
    /// When it is no head.
    pub fn take(&mut self, bytes: &mut BytesMut, text: &mut Vec<u8>) -> Result<bool, Fault> {
        if self.line == 0 && !self.is_past_empty_line && bytes.starts_with(b"\r\n") {
            bytes.advance(2);
            *self = Self { is_past_empty_line: true, ..Self::default() };
        }
        let Some(end) = self.end(bytes)? else { return Ok(false) };
        text.clear();
        text.extend_from_slice(&bytes[..end]);
        bytes.advance(end);
        *self = Self::default();
        Ok(true)
    }

    fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        // What is no text at all, such as TLS, is not waited for. A CR may be the first half of an empty line.
        if bytes.first().is_some_and(|first| !first.is_ascii_graphic() && *first != b'\r') {
            return Err(Fault::Malformed("a request begins with its method"));
        }
        while let Some(found) = memchr(b'\n', &bytes[self.seen..]) {
            let end = self.seen + found;
            if !bytes[self.line..end].ends_with(b"\r") {
                return Err(Fault::Malformed("a line of the head does not end with CR and LF"));
            }
            let is_empty = end - self.line == 1;
            (self.seen, self.line) = (end + 1, end + 1);
            if self.seen > HEAD_BYTES_MAX {
                return Err(Fault::TooLarge);
            }
            match (is_empty, end) {
                (true, 1) => return Err(Fault::Malformed("a request begins with its method")),
                (true, _) => return Ok(Some(end + 1)),
                (false, _) => {}
            }
        }
        self.seen = bytes.len();
        match self.line {
            _ if self.seen <= HEAD_BYTES_MAX => Ok(None),
            0 => Err(Fault::TargetTooLong),
            _ => Err(Fault::TooLarge),
        }
    }
}

/// What a head says of its request, but for headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// As sent.
    pub method: &'a str,
    /// As sent.
    pub target: &'a str,
    /// HTTP/1.0.
    pub is_old: bool,
    /// What follows the head.
    pub body: Body,
    /// Whether the client wants to say more on the connection.
    pub keeps_alive: bool,
}

/// Reads the whole `text` of a head, as [`Scan::take`] gives it, and calls `field` with the name and the value of each header.
///
/// # Errors
/// When it is no head, or two of its readers could see another end of the request.
pub fn read<'a>(text: &'a [u8], mut field: impl FnMut(&'a str, &'a [u8])) -> Result<Head<'a>, Fault> {
    let mut fields = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(text, &mut fields) {
        Ok(Status::Complete(length)) if length == text.len() => {}
        Ok(_) => return Err(Fault::Malformed("the head is not whole")),
        Err(error) => return Err(fault(error)),
    }
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Fault::Malformed("the first line is not whole"));
    };
    let mut framing = Framing { is_old: version == 0, length: None, is_chunked: false, says_close: false };
    for header in parsed.headers.iter() {
        framing.read(header.name, header.value)?;
        field(header.name, header.value);
    }
    let body = if framing.is_chunked { Body::CHUNKED } else { Body::Sized(framing.length.unwrap_or(0)) };
    let keeps_alive = !framing.is_old && !framing.says_close;
    Ok(Head { method, target, is_old: framing.is_old, body, keeps_alive })
}

/// The headers of a `text` that [`read`] has taken.
pub fn fields(text: &[u8]) -> impl Iterator<Item = (&str, &[u8])> {
    let lines = text.split(|byte| *byte == b'\n').skip(1);
    lines.filter_map(|line| {
        let (name, value) = line.split_at_checked(memchr(b':', line)?)?;
        Some((std::str::from_utf8(name).ok()?, value[1..].trim_ascii()))
    })
}

/// The head of a request for `target` with the headers that `fields` adds ([`push_field`](crate::push_field)), and with a body of
/// so many bytes.
pub fn write(method: &Method, target: &str, fields: impl FnOnce(&mut Vec<u8>), body_bytes: usize) -> Vec<u8> {
    let mut head = Vec::with_capacity(512);
    for part in [method.as_str(), " ", target, " HTTP/1.1\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    fields(&mut head);
    if method == Method::POST {
        push_length(&mut head, body_bytes as u64);
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// What says where the request ends (RFC 9112, 6.3).
struct Framing {
    is_old: bool,
    length: Option<u64>,
    is_chunked: bool,
    says_close: bool,
}

impl Framing {
    fn read(&mut self, name: &str, value: &[u8]) -> Result<(), Fault> {
        match name.len() {
            10 if name.eq_ignore_ascii_case("connection") => self.says_close |= lists(value, "close"),
            14 if name.eq_ignore_ascii_case("content-length") => {
                if self.length.is_some() || self.is_chunked {
                    return Err(Fault::Malformed("the head says more than once where the body ends"));
                }
                let length = decimal(value).ok_or(Fault::Malformed("Content-Length is no length"))?;
                self.length = Some(length);
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                if self.length.is_some() || self.is_chunked {
                    return Err(Fault::Malformed("the head says more than once where the body ends"));
                }
                if self.is_old || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Fault::Malformed("the body has a transfer coding other than \"chunked\""));
                }
                self.is_chunked = true;
            }
            _ => {}
        }
        Ok(())
    }
}

fn fault(error: httparse::Error) -> Fault {
    match error {
        httparse::Error::TooManyHeaders => Fault::TooLarge,
        httparse::Error::HeaderName => Fault::Malformed("a header has no name, or one with what no name has"),
        httparse::Error::HeaderValue => Fault::Malformed("a header has a value with what no value has"),
        httparse::Error::Version => Fault::Malformed("the version is neither HTTP/1.1 nor HTTP/1.0"),
        _ => Fault::Malformed("the first line is not \"METHOD target HTTP/1.1\""),
    }
}

#[cfg(test)]
mod tests;
