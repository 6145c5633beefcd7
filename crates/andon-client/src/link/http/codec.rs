//! HTTP/1.1 as clients speak it (RFC 9112): the text of a request's head, and what the bytes of an answer mean.

use std::mem::MaybeUninit;

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use httparse::Status;

/// Bytes of an answer's head, or of the trailers after its body.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Headers of an answer.
const HEADERS_MAX: usize = 128;
/// Bytes of the line before a piece of a chunked body.
const CHUNK_LINE_BYTES_MAX: usize = 4 << 10;

/// What is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// Writes the line of a header. What says how long the body is, and what becomes of the connection, is written by
/// [`request_head`] and nowhere else.
pub(super) fn push_line(head: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    if [CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION].contains(name) {
        return;
    }
    for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
        head.extend_from_slice(part);
    }
}

fn push_decimal(head: &mut Vec<u8>, number: usize) {
    if number >= 10 {
        push_decimal(head, number / 10);
    }
    head.extend(b"0123456789".get(number % 10));
}

/// The head of a request for `target` with the headers that `lines` writes, and with a body of so many bytes.
pub(super) fn request_head(
    method: &Method,
    target: &str,
    lines: impl FnOnce(&mut Vec<u8>),
    body_bytes: usize,
) -> Vec<u8> {
    let mut head = Vec::with_capacity(512);
    for part in [method.as_str(), " ", target, " HTTP/1.1\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    lines(&mut head);
    if method == Method::POST {
        head.extend_from_slice(b"content-length: ");
        push_decimal(&mut head, body_bytes);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// The head of an answer, and what follows it.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) fields: Fields,
    pub(super) body: Body,
    /// Whether another request may follow on the connection, when the body is over.
    pub(super) keeps_alive: bool,
}

impl Head {
    /// Takes the head that `bytes` begin with; `None` if more of it has to come. What only says that the answer is on its way
    /// (1xx) is passed over.
    ///
    /// # Errors
    /// When it is none, or too large.
    pub(super) fn take(bytes: &mut BytesMut) -> Result<Option<Self>, Malformed> {
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
            let (body, is_clear) = Body::of(status, &fields)?;
            let says_close = fields.all(CONNECTION.as_str()).any(|value| lists(value, "close"));
            let keeps_alive = is_clear && !is_old && !says_close && body != Body::UntilEnd;
            return Ok(Some(Self { status, fields, body, keeps_alive }));
        }
    }
}

/// The headers of an answer as they came. Few of them are ever looked at.
#[derive(Debug)]
pub(super) struct Fields {
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
    pub(super) fn first(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(known, _)| is_named(known, name)).map(|(_, value)| value)
    }

    /// The values of all that have this name.
    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(known, _)| is_named(known, name)).map(|(_, value)| value)
    }

    /// All of them, for those who know what to make of many.
    pub(super) fn to_map(&self) -> HeaderMap {
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

/// Whether the list `value` has the token `wanted`.
fn lists(value: &[u8], wanted: &str) -> bool {
    let tokens = value.split(|byte| *byte == b',');
    tokens.into_iter().any(|token| token.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes()))
}

/// What is still to come of a body (RFC 9112, 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes.
    Sized(u64),
    /// Pieces, of which this one is being read.
    Chunked(Chunk),
    /// Everything until the connection ends.
    UntilEnd,
}

/// Where in a chunked body (RFC 9112, 7.1) reading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunk {
    /// Before the line that says how long the next piece is.
    Line,
    /// Within a piece of which so many bytes are left.
    Data(u64),
    /// Before the end of the line that ends a piece.
    DataEnd,
    /// After the last piece: so many bytes of trailers were passed over.
    Trailers(usize),
    Over,
}

/// What of a body is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Data(Bytes),
    /// More has to come before anything can be said.
    Wanting,
    /// All was read.
    Over,
}

impl Body {
    /// Of an answer to anything but HEAD and CONNECT. And whether all agree on where it ends.
    fn of(status: StatusCode, fields: &Fields) -> Result<(Self, bool), Malformed> {
        if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Ok((Self::Sized(0), true));
        }
        let mut lengths = fields.all(CONTENT_LENGTH.as_str());
        let length = lengths.next();
        let mut codings = fields.all(TRANSFER_ENCODING.as_str());
        if let Some(coding) = codings.next() {
            if !coding.eq_ignore_ascii_case(b"chunked") || codings.next().is_some() {
                return Err(Malformed("its body has a transfer coding other than \"chunked\""));
            }
            return Ok((Self::Chunked(Chunk::Line), length.is_none()));
        }
        let Some(length) = length else { return Ok((Self::UntilEnd, true)) };
        let text = str::from_utf8(length).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let length = text.and_then(|text| text.parse().ok()).filter(|_| lengths.all(|other| other == length));
        length.map(|length| (Self::Sized(length), true)).ok_or(Malformed("its Content-Length is no length"))
    }

    pub(super) fn is_over(self) -> bool {
        matches!(self, Self::Sized(0) | Self::Chunked(Chunk::Over))
    }

    /// Takes what `bytes` have of it.
    ///
    /// # Errors
    /// When they are none of it.
    pub(super) fn take(&mut self, bytes: &mut BytesMut) -> Result<Piece, Malformed> {
        match self {
            Self::Sized(0) => Ok(Piece::Over),
            Self::Sized(left) => Ok(data(bytes, left)),
            Self::UntilEnd => {
                let mut left = u64::MAX;
                Ok(data(bytes, &mut left))
            }
            Self::Chunked(chunk) => chunk.take(bytes),
        }
    }

    /// The connection ended.
    ///
    /// # Errors
    /// When that is too early.
    pub(super) fn end(&mut self) -> Result<(), Malformed> {
        if *self == Self::UntilEnd {
            *self = Self::Sized(0);
        }
        if self.is_over() { Ok(()) } else { Err(Malformed("its answer broke off")) }
    }
}

impl Chunk {
    fn take(&mut self, bytes: &mut BytesMut) -> Result<Piece, Malformed> {
        loop {
            match self {
                Self::Line => match httparse::parse_chunk_size(bytes) {
                    Ok(Status::Complete((length, size))) => {
                        bytes.advance(length);
                        *self = if size == 0 { Self::Trailers(0) } else { Self::Data(size) };
                    }
                    Ok(Status::Partial) if bytes.len() <= CHUNK_LINE_BYTES_MAX => return Ok(Piece::Wanting),
                    _ => return Err(Malformed("a piece of its body does not say how long it is")),
                },
                Self::Data(0) => *self = Self::DataEnd,
                Self::Data(left) => return Ok(data(bytes, left)),
                Self::DataEnd if bytes.len() < 2 => return Ok(Piece::Wanting),
                Self::DataEnd if bytes.starts_with(b"\r\n") => {
                    bytes.advance(2);
                    *self = Self::Line;
                }
                Self::DataEnd => return Err(Malformed("a piece of its body is longer than it says")),
                Self::Trailers(passed) => {
                    let Some(end) = memchr::memchr(b'\n', bytes) else {
                        let is_too_large = *passed + bytes.len() > HEAD_BYTES_MAX;
                        return if is_too_large {
                            Err(Malformed("its trailers are too large"))
                        } else {
                            Ok(Piece::Wanting)
                        };
                    };
                    let is_last = matches!(&bytes[..end], b"" | b"\r");
                    *passed += end + 1;
                    if *passed > HEAD_BYTES_MAX {
                        return Err(Malformed("its trailers are too large"));
                    }
                    bytes.advance(end + 1);
                    if is_last {
                        *self = Self::Over;
                    }
                }
                Self::Over => return Ok(Piece::Over),
            }
        }
    }
}

/// Takes what is there of the `left` bytes. Copied, so that the room for what comes next is used again.
fn data(bytes: &mut BytesMut, left: &mut u64) -> Piece {
    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    if length == 0 {
        return Piece::Wanting;
    }
    let piece = Bytes::copy_from_slice(&bytes[..length]);
    bytes.advance(length);
    *left -= length as u64;
    Piece::Data(piece)
}

#[cfg(test)]
mod tests;
