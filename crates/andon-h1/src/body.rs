//! Bodies: so many bytes, or pieces of which each says how long it is (RFC 9112, 6 and 7).

use bytes::{Buf as _, Bytes, BytesMut};
use memchr::{memchr, memrchr};

use crate::Malformed;

/// Bytes of the line before a piece, extensions included, without its end.
const LINE_BYTES_MAX: usize = 1 << 10;
/// Bytes of all that may follow the last piece.
const TRAILER_BYTES_MAX: usize = 4 << 10;

/// What is still to come of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// So many bytes.
    Sized(u64),
    /// Pieces, of which this one is being read.
    Chunked(Chunk),
    /// Everything until the connection ends: answers only.
    UntilEnd,
}

/// Where in a chunked body reading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunk {
    /// Before the line that says how long the next piece is.
    Line,
    /// Within a piece of which so many bytes are left.
    Data(u64),
    /// Before the end of the line that ends a piece.
    DataEnd,
    /// After the last piece: so many bytes of trailers were passed over.
    Trailers(usize),
    /// After all of it.
    Over,
}

/// What of a body is there.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// Some of it.
    Data(Bytes),
    /// More has to come before anything can be said.
    Wanting,
    /// All was read.
    Over,
}

impl Body {
    /// In pieces.
    pub const CHUNKED: Self = Self::Chunked(Chunk::Line);

    /// Whether nothing of it is left.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Sized(0) | Self::Chunked(Chunk::Over))
    }

    /// Takes what `bytes` have of it.
    ///
    /// # Errors
    /// When they are none of it.
    pub fn take(&mut self, bytes: &mut BytesMut) -> Result<Piece, Malformed> {
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
    pub fn end(&mut self) -> Result<(), Malformed> {
        if *self == Self::UntilEnd {
            *self = Self::Sized(0);
        }
        if self.is_over() { Ok(()) } else { Err(Malformed("the body broke off")) }
    }
}

impl Chunk {
    fn take(&mut self, bytes: &mut BytesMut) -> Result<Piece, Malformed> {
        loop {
            match self {
                Self::Line => {
                    let Some(end) = line(bytes, LINE_BYTES_MAX)? else { return Ok(Piece::Wanting) };
                    let size = size(&bytes[..end])?;
                    bytes.advance(end + LINE_END.len());
                    *self = if size == 0 { Self::Trailers(0) } else { Self::Data(size) };
                }
                Self::Data(0) => *self = Self::DataEnd,
                Self::Data(left) => return Ok(data(bytes, left)),
                Self::DataEnd if bytes.starts_with(LINE_END) => {
                    bytes.advance(LINE_END.len());
                    *self = Self::Line;
                }
                Self::DataEnd if LINE_END.starts_with(bytes) => return Ok(Piece::Wanting),
                Self::DataEnd => return Err(Malformed("a chunk of the body is longer than it says")),
                Self::Trailers(passed) => {
                    let Some(end) = line(bytes, TRAILER_BYTES_MAX.saturating_sub(*passed))? else {
                        return Ok(Piece::Wanting);
                    };
                    let whole = end + LINE_END.len();
                    *passed += whole;
                    bytes.advance(whole);
                    if end == 0 {
                        *self = Self::Over;
                    } else if *passed > TRAILER_BYTES_MAX {
                        return Err(Malformed(TOO_LONG));
                    }
                }
                Self::Over => return Ok(Piece::Over),
            }
        }
    }
}

const LINE_END: &[u8] = b"\r\n";
const TOO_LONG: &str = "a line within the body, or what follows it, is too long";

/// How long the line is that `bytes` begin with, without its end; `None` if that has to come.
fn line(bytes: &[u8], bytes_max: usize) -> Result<Option<usize>, Malformed> {
    let Some(end) = memchr(b'\n', bytes) else {
        return if bytes.len() > bytes_max + 1 { Err(Malformed(TOO_LONG)) } else { Ok(None) };
    };
    if !bytes[..end].ends_with(b"\r") {
        return Err(Malformed("a line within the body does not end with CR and LF"));
    }
    if end - 1 > bytes_max { Err(Malformed(TOO_LONG)) } else { Ok(Some(end - 1)) }
}

/// Hexadecimal digits, and extensions after a semicolon, which nobody uses.
fn size(line: &[u8]) -> Result<u64, Malformed> {
    let end = memchr(b';', line).unwrap_or(line.len());
    let digits = line[..end].trim_ascii_end();
    // A CR in an extension is an end of the line to some.
    let is_good = (1..=16).contains(&digits.len())
        && digits.iter().all(u8::is_ascii_hexdigit)
        && memrchr(b'\r', &line[end..]).is_none();
    let text = std::str::from_utf8(digits).ok().filter(|_| is_good);
    text.and_then(|text| u64::from_str_radix(text, 16).ok())
        .ok_or(Malformed("a chunk of the body does not say how long it is"))
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
