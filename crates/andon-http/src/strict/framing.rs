//! Where requests begin and end (RFC 9112, 6 and 7), in whatever pieces they come.

use memchr::memchr;

/// Bytes of a line of a head. The library's bound for the head in all is lower and has a status of its own, 431.
const LINE_BYTES_MAX: usize = 256 << 10;
/// Room for a line that is kept for the next one.
const LINE_BYTES_KEPT: usize = 1 << 10;
/// Bytes of the line before a chunk, extensions included.
const CHUNK_LINE_BYTES_MAX: usize = 1 << 10;
/// Fields after the last chunk.
const TRAILERS_MAX: u32 = 32;
/// Empty lines before a request, which some clients send after a body.
const EMPTY_LINES_MAX: u32 = 1;

/// What says how long a body is.
const LENGTH: &[u8] = b"content-length";
const ENCODING: &[u8] = b"transfer-encoding";

/// How a connection of HTTP/2 begins (RFC 9113, 3.4).
const PREFACE: [&[u8]; 4] = [b"PRI * HTTP/2.0", b"", b"SM", b""];
/// Bytes of the frame head of the `SETTINGS` that end the preface.
const FRAME_HEAD_BYTES: u64 = 9;

/// Reads along with the requests of one connection.
#[derive(Debug, Default)]
pub(crate) struct Framing {
    state: State,
    /// The line that has no end yet.
    line: Vec<u8>,
    head: Head,
    has_begun: bool,
    /// A head was complete.
    is_used: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    /// So many bytes of a body are to come.
    Length(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    /// So many lines of the preface of HTTP/2 have come.
    Preface(usize),
    /// So many bytes of the first frame are to come.
    FrameHead(u64),
    /// HTTP/2, which frames by itself.
    Opaque,
    Refused,
}

/// What the head says so far.
#[derive(Debug, Default)]
struct Head {
    lines: u32,
    empty_lines: u32,
    is_old: bool,
    length: Option<u64>,
    is_chunked: bool,
}

struct Bad;

impl Framing {
    /// Reads `bytes`.
    ///
    /// # Errors
    /// How many of them may pass: what follows is not well framed. Nothing is read afterwards.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<(), usize> {
        let mut at = 0;
        while at < bytes.len() {
            match self.state {
                State::Opaque => return Ok(()),
                State::Refused => return Err(at),
                State::Length(left) => at += self.skip(left, bytes.len() - at, State::Length, State::Head),
                State::Chunk(left) => at += self.skip(left, bytes.len() - at, State::Chunk, State::ChunkEnd),
                State::FrameHead(left) => at += self.skip(left, bytes.len() - at, State::FrameHead, State::Opaque),
                State::Preface(_) | State::Head | State::ChunkSize | State::ChunkEnd | State::Trailers => {
                    let rest = &bytes[at..];
                    let Some(end) = memchr(b'\n', rest) else { return self.keep(rest).map_err(|Bad| self.refused(at)) };
                    if self.end_of_line(&rest[..end]).is_err() {
                        return Err(self.refused(at + end));
                    }
                    at += end + 1;
                }
            }
        }
        Ok(())
    }

    /// Whether a head has begun and is not complete, the preface of HTTP/2 included.
    pub(crate) fn is_within_head(&self) -> bool {
        match self.state {
            State::Head => !self.has_begun || !self.line.is_empty() || self.head.lines > 0,
            State::Preface(_) | State::FrameHead(_) => true,
            _ => false,
        }
    }

    /// Whether a request has begun and is not complete, or must not be read.
    pub(crate) fn is_within_request(&self) -> bool {
        self.state != State::Opaque && (self.state != State::Head || self.is_within_head())
    }

    /// Gives back room that no line needs now.
    pub(crate) fn spare(&mut self) {
        self.line.shrink_to_fit();
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.state == State::Refused
    }

    pub(crate) fn refuse(&mut self) {
        self.state = State::Refused;
    }

    fn refused(&mut self, at: usize) -> usize {
        self.refuse();
        at
    }

    fn skip(&mut self, left: u64, available: usize, more: impl Fn(u64) -> State, end: State) -> usize {
        let skipped = usize::try_from(left).map_or(available, |left| left.min(available));
        let left = left - skipped as u64;
        self.state = if left == 0 { end } else { more(left) };
        skipped
    }

    fn keep(&mut self, piece: &[u8]) -> Result<(), Bad> {
        self.has_begun = true;
        if self.line.len() + piece.len() > self.line_bytes_max() {
            return Err(Bad);
        }
        self.line.extend_from_slice(piece);
        Ok(())
    }

    fn line_bytes_max(&self) -> usize {
        if self.state == State::Head { LINE_BYTES_MAX } else { CHUNK_LINE_BYTES_MAX }
    }

    /// `piece` is the last of a line, up to its LF.
    fn end_of_line(&mut self, piece: &[u8]) -> Result<(), Bad> {
        self.has_begun = true;
        if self.line.is_empty() {
            return if piece.len() > self.line_bytes_max() { Err(Bad) } else { self.line(piece) };
        }
        self.keep(piece)?;
        let line = std::mem::take(&mut self.line);
        let outcome = self.line(&line);
        self.line = line;
        self.line.clear();
        self.line.shrink_to(LINE_BYTES_KEPT);
        outcome
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Bad> {
        // An LF alone ends no line.
        let line = line.strip_suffix(b"\r").ok_or(Bad)?;
        match self.state {
            State::Head => self.head_line(line),
            State::Preface(lines) if line == PREFACE[lines] => {
                let lines = lines + 1;
                self.state =
                    if lines == PREFACE.len() { State::FrameHead(FRAME_HEAD_BYTES) } else { State::Preface(lines) };
                Ok(())
            }
            State::ChunkSize => {
                self.state = match chunk_size(line)? {
                    0 => State::Trailers,
                    size => State::Chunk(size),
                };
                Ok(())
            }
            State::ChunkEnd if line.is_empty() => {
                self.state = State::ChunkSize;
                Ok(())
            }
            State::Trailers if line.is_empty() => {
                self.state = State::Head;
                self.head = Head::default();
                Ok(())
            }
            State::Trailers => {
                self.head.lines += 1;
                if self.head.lines > TRAILERS_MAX || line.len() > CHUNK_LINE_BYTES_MAX { Err(Bad) } else { Ok(()) }
            }
            _ => Err(Bad),
        }
    }

    fn head_line(&mut self, line: &[u8]) -> Result<(), Bad> {
        if line.is_empty() {
            return self.end_of_head();
        }
        self.head.lines += 1;
        if self.head.lines == 1 {
            if line == PREFACE[0] {
                // Later than at the very beginning it is no preface to the library, and no request either.
                let is_first = !self.is_used && self.head.empty_lines == 0;
                self.state = if is_first { State::Preface(1) } else { return Err(Bad) };
            }
            self.head.is_old = line.ends_with(b"HTTP/1.0");
            return Ok(());
        }
        // Most fields are neither of the two.
        let name = match line[0] {
            b'c' | b'C' => LENGTH,
            b't' | b'T' => ENCODING,
            // A folded line: two readers, two readings.
            b' ' | b'\t' => return Err(Bad),
            _ => return Ok(()),
        };
        let value = match line.split_at_checked(name.len()) {
            Some((given, rest)) if given.eq_ignore_ascii_case(name) => match rest.split_first() {
                Some((b':', value)) => value.trim_ascii(),
                Some((byte, _)) if !byte.is_ascii_whitespace() => return Ok(()),
                // Nothing, or a space before the colon.
                _ => return Err(Bad),
            },
            // The library refuses what is no name.
            _ => return Ok(()),
        };
        if name == LENGTH {
            if self.head.length.is_some() || self.head.is_chunked {
                return Err(Bad);
            }
            self.head.length = Some(decimal(value)?);
        } else {
            let is_chunked = value.eq_ignore_ascii_case(b"chunked");
            if !is_chunked || self.head.is_chunked || self.head.length.is_some() || self.head.is_old {
                return Err(Bad);
            }
            self.head.is_chunked = true;
        }
        Ok(())
    }

    fn end_of_head(&mut self) -> Result<(), Bad> {
        if self.head.lines == 0 {
            self.head.empty_lines += 1;
            return if self.head.empty_lines > EMPTY_LINES_MAX { Err(Bad) } else { Ok(()) };
        }
        self.is_used = true;
        let head = std::mem::take(&mut self.head);
        self.state = match head.length {
            _ if head.is_chunked => State::ChunkSize,
            Some(length) if length > 0 => State::Length(length),
            _ => State::Head,
        };
        Ok(())
    }
}

/// Digits alone: no sign, no list, no space between.
fn decimal(text: &[u8]) -> Result<u64, Bad> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(Bad);
    }
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Bad)
}

/// Hexadecimal digits, and extensions after a semicolon, which nobody uses.
fn chunk_size(line: &[u8]) -> Result<u64, Bad> {
    let end = memchr(b';', line).unwrap_or(line.len());
    let digits = line[..end].trim_ascii_end();
    if digits.is_empty() || digits.len() > 16 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(Bad);
    }
    std::str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok()).ok_or(Bad)
}

#[cfg(test)]
mod tests;
