//! Frames: length, kind and stream, and then what the kind has.

use std::fmt::Write as _;
use std::io;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, response};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::head::RequestHead;

/// Length (4), kind (1) and stream (4).
const HEAD_BYTES: usize = 9;
/// Bytes of what follows: far above the largest body, below what could only be a mistake.
const PAYLOAD_BYTES_MAX: usize = 1 << 30;
/// What is read at once if it is there. What has been read nothing overtakes, so it is no more than some hundred frames.
const READ_BYTES: usize = 16 << 10;
/// What is shorter is copied, so that one of them does not keep the whole buffer alive.
const COPIED_BYTES_MAX: usize = 16 << 10;
/// In the kind: nothing follows on this stream.
const LAST: u8 = 0x80;

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// To the engine: a request, with its body.
    Request = 1,
    /// To the engine: the client is gone.
    Cancel = 2,
    /// To the engine: the client has taken so many bytes.
    Credit = 3,
    /// To the engine: so many connections are open. On no stream.
    Connections = 4,
    /// To the worker: the head of an answer, and what there is of its body.
    Response = 5,
    /// To the worker: more of its body.
    Data = 6,
    /// To the worker: there will be no more, and it is not all.
    Broken = 7,
    /// To the engine: the head of a request whose body is large. Whether it may come in is answered with 100, or with why not.
    Question = 8,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        let all = [
            Self::Request,
            Self::Cancel,
            Self::Credit,
            Self::Connections,
            Self::Response,
            Self::Data,
            Self::Broken,
            Self::Question,
        ];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// One frame.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) is_last: bool,
    pub(super) stream: u32,
    pub(super) payload: Bytes,
}

/// The frames that a socket brings.
pub(super) struct Frames<T> {
    inner: T,
    buffer: BytesMut,
}

impl<T: AsyncRead + Unpin> Frames<T> {
    pub(super) fn new(inner: T) -> Self {
        Self { inner, buffer: BytesMut::with_capacity(READ_BYTES) }
    }

    /// The next one, or none at the end.
    pub(super) async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            if self.buffer.capacity() - self.buffer.len() < READ_BYTES / 4 {
                self.buffer.reserve(READ_BYTES);
            }
            if self.inner.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    fn take(&mut self) -> io::Result<Option<Frame>> {
        let Some(mut head) = self.buffer.get(..HEAD_BYTES) else { return Ok(None) };
        let (length, kind, stream) = (head.get_u32() as usize, head.get_u8(), head.get_u32());
        let known = Kind::of(kind & !LAST).filter(|_| length <= PAYLOAD_BYTES_MAX);
        let known = known.ok_or_else(malformed)?;
        let whole = HEAD_BYTES + length;
        if self.buffer.len() < whole {
            self.buffer.reserve(whole - self.buffer.len());
            return Ok(None);
        }
        let payload = if length <= COPIED_BYTES_MAX {
            let payload = Bytes::copy_from_slice(&self.buffer[HEAD_BYTES..whole]);
            self.buffer.advance(whole);
            payload
        } else {
            self.buffer.advance(HEAD_BYTES);
            self.buffer.split_to(length).freeze()
        };
        Ok(Some(Frame { kind: known, is_last: kind & LAST != 0, stream, payload }))
    }
}

/// A frame of `kind` with what `write` adds.
fn put(out: &mut BytesMut, kind: u8, stream: u32, write: impl FnOnce(&mut BytesMut)) {
    let at = out.len();
    out.put_u32(0);
    out.put_u8(kind);
    out.put_u32(stream);
    write(out);
    let length = u32::try_from(out.len() - at - HEAD_BYTES).expect("invariant: bodies are far below 4 GiB");
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// What is between the client and the worker alone (RFC 9110, 7.6.1).
const HOP_BY_HOP: [&str; 7] =
    ["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

/// A request and its body; or a [`Kind::Question`], which has none.
pub(super) fn put_request(out: &mut BytesMut, kind: Kind, stream: u32, head: &RequestHead<'_>, body: &[u8]) {
    put(out, kind as u8, stream, |out| {
        put_text(out, head.method.as_str().as_bytes());
        let at = out.len();
        out.put_u32(0);
        write!(out, "{}", head.target).expect("invariant: a buffer grows");
        let length = u32::try_from(out.len() - at - 4).expect("invariant: heads are bounded");
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        let at = out.len();
        let mut count = 0u16;
        out.put_u16(count);
        head.headers.each(|name, value| {
            if !HOP_BY_HOP.iter().any(|hop| hop.eq_ignore_ascii_case(name)) {
                put_text(out, name.as_bytes());
                put_text(out, value);
                count += 1;
            }
        });
        out[at..at + 2].copy_from_slice(&count.to_be_bytes());
        out.put_slice(body);
    });
}

/// The head of an answer and what there is of its body.
pub(super) fn put_response(out: &mut BytesMut, stream: u32, head: &response::Parts, body: &[u8], is_last: bool) {
    put(out, Kind::Response as u8 | last(is_last), stream, |out| {
        out.put_u16(head.status.as_u16());
        put_headers(out, &head.headers);
        out.put_slice(body);
    });
}

/// More of a body.
pub(super) fn put_data(out: &mut BytesMut, stream: u32, data: &[u8], is_last: bool) {
    put(out, Kind::Data as u8 | last(is_last), stream, |out| out.put_slice(data));
}

/// A frame that has nothing but its kind: [`Kind::Cancel`] or [`Kind::Broken`].
pub(super) fn put_bare(out: &mut BytesMut, kind: Kind, stream: u32) {
    put(out, kind as u8, stream, |_| ());
}

/// A frame with a number: [`Kind::Credit`] or [`Kind::Connections`].
pub(super) fn put_number(out: &mut BytesMut, kind: Kind, stream: u32, number: u32) {
    put(out, kind as u8, stream, |out| out.put_u32(number));
}

/// What [`put_request`] wrote; of the kind `InvalidInput` is the error of what is well framed and no request.
pub(super) fn request(payload: Bytes) -> io::Result<Request<Bytes>> {
    let mut reader = Reader(payload);
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = Method::from_bytes(&reader.text()?).map_err(|_| no_request())?;
    *request.uri_mut() = Uri::from_maybe_shared(reader.text()?).map_err(|_| no_request())?;
    *request.headers_mut() = reader.headers()?;
    *request.body_mut() = reader.0;
    Ok(request)
}

/// What [`put_response`] wrote.
pub(super) fn response(payload: Bytes) -> io::Result<Response<Bytes>> {
    let mut reader = Reader(payload);
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::from_u16(reader.u16()?).map_err(|_| malformed())?;
    *response.headers_mut() = reader.headers()?;
    *response.body_mut() = reader.0;
    Ok(response)
}

/// What [`put_number`] wrote.
pub(super) fn number(payload: Bytes) -> io::Result<u32> {
    Reader(payload).u32()
}

fn no_request() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "what a worker passes on is no request")
}

pub(super) fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the link brings what is no frame of it")
}

fn last(is_last: bool) -> u8 {
    if is_last { LAST } else { 0 }
}

fn put_text(out: &mut BytesMut, text: &[u8]) {
    out.put_u32(u32::try_from(text.len()).expect("invariant: heads are bounded"));
    out.put_slice(text);
}

fn put_headers(out: &mut BytesMut, headers: &HeaderMap) {
    out.put_u16(u16::try_from(headers.len()).expect("invariant: heads are bounded"));
    for (name, value) in headers {
        put_text(out, name.as_str().as_bytes());
        put_text(out, value.as_bytes());
    }
}

struct Reader(Bytes);

impl Reader {
    fn u16(&mut self) -> io::Result<u16> {
        self.0.try_get_u16().map_err(|_| malformed())
    }

    fn u32(&mut self) -> io::Result<u32> {
        self.0.try_get_u32().map_err(|_| malformed())
    }

    fn text(&mut self) -> io::Result<Bytes> {
        let length = self.u32()? as usize;
        if length > self.0.len() { Err(malformed()) } else { Ok(self.0.split_to(length)) }
    }

    fn headers(&mut self) -> io::Result<HeaderMap> {
        let count = self.u16()?;
        let mut headers = HeaderMap::with_capacity(count.into());
        for _ in 0..count {
            let name = HeaderName::from_bytes(&self.text()?).map_err(|_| malformed())?;
            let value = HeaderValue::from_maybe_shared(self.text()?).map_err(|_| malformed())?;
            headers.append(name, value);
        }
        Ok(headers)
    }
}
