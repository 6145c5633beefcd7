//! Event streams as they come over HTTP, read by the rules of the HTML standard ("Server-sent events", "Parsing an
//! event stream"), with a bound on what one event may hold.

use std::fmt;

use memchr::memchr2;

/// One event that carries data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its type; `message` unless the stream says otherwise.
    pub kind: String,
    /// Its data; empty when the stream says `data:` and nothing more.
    pub data: String,
    /// The last event id of the stream so far; empty if it has none.
    pub id: String,
    /// Whether this event named the id itself; otherwise it is the one of an event before.
    pub has_own_id: bool,
}

/// An event, or a line of one, is larger than the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge {
    /// The bound in bytes.
    pub bytes_max: usize,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an event of the stream is larger than {} bytes", self.bytes_max)
    }
}

impl std::error::Error for TooLarge {}

/// Reads a stream in whatever pieces it comes.
#[derive(Debug)]
pub struct EventParser {
    bytes_max: usize,
    /// The line that has no end yet.
    line: Vec<u8>,
    /// The last byte was CR, so that an LF now belongs to it.
    after_cr: bool,
    /// Nothing was read yet, so that a byte order mark may come.
    at_start: bool,
    data: String,
    has_data: bool,
    kind: String,
    id: String,
    has_own_id: bool,
    last_event_id: String,
    retry_ms: Option<u64>,
}

impl EventParser {
    /// A parser for events of at most `bytes_max` bytes, line by line and in all.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            line: Vec::new(),
            after_cr: false,
            at_start: true,
            data: String::new(),
            has_data: false,
            kind: String::new(),
            id: String::new(),
            has_own_id: false,
            last_event_id: String::new(),
            retry_ms: None,
        }
    }

    /// Reads `chunk` and hands each event that it completes to `take`. What comes after the last blank line waits for
    /// the next chunk, and is no event if none comes.
    ///
    /// # Errors
    /// [`TooLarge`]; the stream cannot be read any further then.
    pub fn push(&mut self, mut chunk: &[u8], mut take: impl FnMut(Event)) -> Result<(), TooLarge> {
        while !chunk.is_empty() {
            if std::mem::take(&mut self.after_cr) && chunk[0] == b'\n' {
                chunk = &chunk[1..];
                continue;
            }
            let Some(end) = memchr2(b'\r', b'\n', chunk) else {
                return self.keep(chunk);
            };
            self.after_cr = chunk[end] == b'\r';
            if self.line.is_empty() {
                self.end_of_line(&chunk[..end], &mut take)?;
            } else {
                self.keep(&chunk[..end])?;
                let line = std::mem::take(&mut self.line);
                self.end_of_line(&line, &mut take)?;
                self.line = line;
                self.line.clear();
            }
            chunk = &chunk[end + 1..];
        }
        Ok(())
    }

    /// The id to come back with; empty if the stream has none. An event without data counts as well.
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// How long the server wants us to wait before we come back, if it said so.
    pub fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    fn keep(&mut self, piece: &[u8]) -> Result<(), TooLarge> {
        if self.line.len() + piece.len() > self.bytes_max {
            return Err(TooLarge { bytes_max: self.bytes_max });
        }
        self.line.extend_from_slice(piece);
        Ok(())
    }

    fn end_of_line(&mut self, line: &[u8], take: &mut impl FnMut(Event)) -> Result<(), TooLarge> {
        let line =
            if std::mem::take(&mut self.at_start) { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
        if line.is_empty() {
            self.dispatch(take);
            return Ok(());
        }
        let (field, value) = match memchr::memchr(b':', line) {
            // A comment.
            Some(0) => return Ok(()),
            Some(colon) => {
                let value = &line[colon + 1..];
                (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &[][..]),
        };
        match field {
            b"data" => {
                if self.data.len() + value.len() > self.bytes_max {
                    return Err(TooLarge { bytes_max: self.bytes_max });
                }
                if self.has_data {
                    self.data.push('\n');
                }
                self.has_data = true;
                self.data.push_str(&String::from_utf8_lossy(value));
            }
            b"event" => self.kind = String::from_utf8_lossy(value).into_owned(),
            b"id" if !value.contains(&0) => {
                self.id = String::from_utf8_lossy(value).into_owned();
                self.has_own_id = !self.id.is_empty();
            }
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                // Digits alone, so only a number beyond 64 bits fails; that is a very long wait.
                let digits = std::str::from_utf8(value).unwrap_or_default();
                self.retry_ms = Some(digits.parse().unwrap_or(u64::MAX));
            }
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self, take: &mut impl FnMut(Event)) {
        self.last_event_id.clone_from(&self.id);
        let kind = std::mem::take(&mut self.kind);
        let has_own_id = std::mem::take(&mut self.has_own_id);
        if std::mem::take(&mut self.has_data) {
            let kind = if kind.is_empty() { "message".to_owned() } else { kind };
            take(Event { kind, data: std::mem::take(&mut self.data), id: self.last_event_id.clone(), has_own_id });
        }
    }
}

#[cfg(test)]
mod tests;
