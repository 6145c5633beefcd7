//! Bodies: so many bytes, or pieces of which each says how long it is (RFC 9112, 6 and 7).

use bytes::{Buf as _, Bytes, BytesMut};
use memchr::memchr;

use crate::Malformed;

/// Bytes of the line before a piece, without its end.
const LINE_BYTES_MAX: usize = 1 << 10;
/// Bytes of a whole body that are none of it, and that nobody uses: extensions of those lines, and what follows the last piece.
const EXTRA_BYTES_MAX: usize = 4 << 10;

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
pub struct Chunk {
    step: Step,
    /// Extensions and trailers that were passed over.
    extra_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Before the line that says how long the next piece is.
    Line,
    /// Within a piece of which so many bytes are left.
    Data(u64),
    /// Before the end of the line that ends a piece.
    DataEnd,
    /// After the last piece.
    Trailers,
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
    pub const CHUNKED: Self = Self::Chunked(Chunk { step: Step::Line, extra_bytes: 0 });

    /// Whether nothing of it is left.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Sized(0) | Self::Chunked(Chunk { step: Step::Over, .. }))
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
            match &mut self.step {
                Step::Line => {
                    let Some(end) = line(bytes)? else { return Ok(Piece::Wanting) };
                    let (size, extra_bytes) = size(&bytes[..end])?;
                    self.pass(extra_bytes)?;
                    bytes.advance(end + LINE_END.len());
                    self.step = if size == 0 { Step::Trailers } else { Step::Data(size) };
                }
                Step::Data(0) => self.step = Step::DataEnd,
                Step::Data(left) => return Ok(data(bytes, left)),
                Step::DataEnd if bytes.starts_with(LINE_END) => {
                    bytes.advance(LINE_END.len());
                    self.step = Step::Line;
                }
                Step::DataEnd if LINE_END.starts_with(bytes) => return Ok(Piece::Wanting),
                Step::DataEnd => return Err(Malformed("a chunk of the body is longer than it says")),
                Step::Trailers => {
                    let Some(end) = line(bytes)? else { return Ok(Piece::Wanting) };
                    self.pass(end + LINE_END.len())?;
                    bytes.advance(end + LINE_END.len());
                    if end == 0 {
                        self.step = Step::Over;
                    }
                }
                Step::Over => return Ok(Piece::Over),
            }
        }
    }

    /// Counts bytes that are passed over.
    fn pass(&mut self, bytes: usize) -> Result<(), Malformed> {
        let extra_bytes = self.extra_bytes + bytes;
        if extra_bytes > EXTRA_BYTES_MAX {
            return Err(Malformed(TOO_LONG));
        }
        self.extra_bytes = extra_bytes;
        Ok(())
    }
}

const LINE_END: &[u8] = b"\r\n";
const TOO_LONG: &str = "a line within the body, or what follows it, is too long";

/// How long the line is that `bytes` begin with, without its end; `None` if that has to come.
fn line(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let Some(end) = memchr(b'\n', bytes) else {
        return if bytes.len() > LINE_BYTES_MAX + 1 { Err(Malformed(TOO_LONG)) } else { Ok(None) };
    };
    // A CR alone is an end of the line to some.
    let text = bytes[..end].strip_suffix(b"\r").filter(|text| memchr(b'\r', text).is_none());
    let length = text.ok_or(Malformed("a line within the body does not end with CR and LF"))?.len();
    if length > LINE_BYTES_MAX { Err(Malformed(TOO_LONG)) } else { Ok(Some(length)) }
}

/// Hexadecimal digits, and how many bytes of extensions after a semicolon, which nobody uses.
fn size(line: &[u8]) -> Result<(u64, usize), Malformed> {
    let end = memchr(b';', line).unwrap_or(line.len());
    let blanks = line[..end].iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let digits = &line[..end - blanks];
    let is_good = (1..=16).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_good);
    let size = text.and_then(|text| u64::from_str_radix(text, 16).ok());
    Ok((size.ok_or(Malformed("a chunk of the body does not say how long it is"))?, line.len() - digits.len()))
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
