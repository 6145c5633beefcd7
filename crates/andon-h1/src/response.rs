//! Heads of answers, as servers write them and clients read them.

use std::mem::MaybeUninit;

use bytes::{Buf as _, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use httparse::Status;

use crate::{Body, HEAD_BYTES_MAX, Malformed, decimal, lists, push_field, push_length, push_number};

/// Headers of an answer.
const HEADERS_MAX: usize = 128;

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
    for (name, value) in headers.iter().filter(|(name, _)| *name != DATE) {
        push_field(text, name, value);
    }
    match ending {
        Ending::Length(bytes) => push_length(text, bytes),
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
    push_number(text, bytes as u64, 16);
    text.extend_from_slice(b"\r\n");
}

/// The head of an answer, and what follows it.
#[derive(Debug)]
pub struct Head {
    /// Never one that says that the answer is on its way.
    pub status: StatusCode,
    /// Its headers.
    pub fields: Fields,
    /// What follows it.
    pub body: Body,
    /// Whether another request may follow on the connection, when the body is over.
    pub keeps_alive: bool,
}

impl Head {
    /// Takes the head that `bytes` begin with; `None` if more of it has to come. What only says that the answer is on its way
    /// (1xx) is passed over.
    ///
    /// # Errors
    /// When it is none, or too large.
    pub fn take(bytes: &mut BytesMut) -> Result<Option<Self>, Malformed> {
        loop {
            let mut fields = [const { MaybeUninit::uninit() }; HEADERS_MAX];
            let mut parsed = httparse::Response::new(&mut []);
            let config = httparse::ParserConfig::default();
            let length = match config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields) {
                Ok(Status::Complete(length)) if length <= HEAD_BYTES_MAX => length,
                Ok(Status::Partial) if bytes.len() <= HEAD_BYTES_MAX => return Ok(None),
                Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(Malformed("its head is too large")),
                Err(_) => return Err(Malformed("what it sends is no HTTP")),
            };
            let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
            let status = status.ok_or(Malformed("its status is none"))?;
            if status == StatusCode::SWITCHING_PROTOCOLS {
                return Err(Malformed("it changes to a protocol that nobody asked for"));
            }
            if status.is_informational() {
                bytes.advance(length);
                continue;
            }
            let is_old = parsed.version != Some(1);
            let fields = Fields::of(parsed.headers);
            bytes.advance(length);
            let (body, is_clear) = body(status, &fields)?;
            let says_close = fields.all(CONNECTION.as_str()).any(|value| lists(value, "close"));
            let keeps_alive = is_clear && !is_old && !says_close && body != Body::UntilEnd;
            return Ok(Some(Self { status, fields, body, keeps_alive }));
        }
    }
}

/// The headers of an answer as they came. Few of them are ever looked at.
#[derive(Debug)]
pub struct Fields {
    text: Vec<u8>,
    /// Where in the text each name ends, and its value.
    ends: Vec<(usize, usize)>,
}

impl Fields {
    fn of(fields: &[httparse::Header<'_>]) -> Self {
        let bytes = fields.iter().map(|field| field.name.len() + field.value.len()).sum();
        let mut found = Self { text: Vec::with_capacity(bytes), ends: Vec::with_capacity(fields.len()) };
        for field in fields {
            found.text.extend_from_slice(field.name.as_bytes());
            let name_end = found.text.len();
            found.text.extend_from_slice(field.value);
            found.ends.push((name_end, found.text.len()));
        }
        found
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut begin = 0;
        self.ends.iter().map(move |&(name_end, end)| {
            let field = (&self.text[begin..name_end], &self.text[name_end..end]);
            begin = end;
            field
        })
    }

    /// The value of the first that has this name.
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(known, _)| is_named(known, name)).map(|(_, value)| value)
    }

    /// The values of all that have this name.
    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(known, _)| is_named(known, name)).map(|(_, value)| value)
    }

    /// All of them, for those who know what to make of many.
    pub fn to_map(&self) -> HeaderMap {
        let header = |(name, value)| Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?));
        let mut headers = HeaderMap::with_capacity(self.ends.len());
        for (name, value) in self.iter().filter_map(header) {
            headers.append(name, value);
        }
        headers
    }
}

/// Whether a header is called `name`, which most spell alike.
fn is_named(known: &[u8], name: &str) -> bool {
    known.len() == name.len() && (known == name.as_bytes() || known.eq_ignore_ascii_case(name.as_bytes()))
}

/// Of an answer to anything but HEAD and CONNECT. And whether all agree on where it ends.
fn body(status: StatusCode, fields: &Fields) -> Result<(Body, bool), Malformed> {
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok((Body::Sized(0), true));
    }
    let mut lengths = fields.all(CONTENT_LENGTH.as_str());
    let length = lengths.next();
    let mut codings = fields.all(TRANSFER_ENCODING.as_str());
    if let Some(coding) = codings.next() {
        if !coding.eq_ignore_ascii_case(b"chunked") || codings.next().is_some() {
            return Err(Malformed("its body has a transfer coding other than \"chunked\""));
        }
        return Ok((Body::CHUNKED, length.is_none()));
    }
    let Some(length) = length else { return Ok((Body::UntilEnd, true)) };
    let bytes = decimal(length).filter(|_| lengths.all(|other| other == length));
    bytes.map(|bytes| (Body::Sized(bytes), true)).ok_or(Malformed("its Content-Length is no length"))
}

#[cfg(test)]
mod tests;
