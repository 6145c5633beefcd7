//! One message per line (transports, "stdio"): lines out of bytes in whatever pieces they come, with a bound on each.

use memchr::memchr;

/// Bytes that are kept of a line that is too long: enough to see what it was going to be.
const KEPT_BYTES: usize = 256;

/// A line, without its end and without white space around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// All of it; never empty.
    Whole(&'a [u8]),
    /// It was longer than the bound. These are its first bytes.
    TooLong(&'a [u8]),
}

/// Collects lines of at most so many bytes.
#[derive(Debug)]
pub struct LineBuffer {
    bytes_max: usize,
    line: Vec<u8>,
    is_too_long: bool,
    is_over: bool,
}

impl LineBuffer {
    /// For lines of at most `bytes_max` bytes, without their ends.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, line: Vec::new(), is_too_long: false, is_over: false }
    }

    /// Takes bytes up to the end of a line, or all if there is none: says how many it took, and the line that ended. Blank
    /// ones are none. No bytes at all are the end of the input, and so of the last line. A line that comes in one piece is
    /// not copied.
    pub fn take<'a>(&'a mut self, bytes: &'a [u8]) -> (usize, Option<Line<'a>>) {
        if self.is_over {
            self.line.clear();
            (self.is_too_long, self.is_over) = (false, false);
        }
        let end = memchr(b'\n', bytes);
        let piece = &bytes[..end.unwrap_or(bytes.len())];
        let used = piece.len() + usize::from(end.is_some());
        self.is_over = end.is_some() || bytes.is_empty();
        if self.is_over && self.line.is_empty() && piece.len() <= self.bytes_max {
            let line = piece.trim_ascii();
            return (used, (!line.is_empty()).then_some(Line::Whole(line)));
        }
        if !self.is_too_long && self.line.len() + piece.len() > self.bytes_max {
            self.is_too_long = true;
            self.line.truncate(KEPT_BYTES);
            self.line.shrink_to_fit();
        }
        let wanted = if self.is_too_long { KEPT_BYTES.saturating_sub(self.line.len()) } else { piece.len() };
        self.line.extend_from_slice(&piece[..piece.len().min(wanted)]);
        let line = self.line.trim_ascii();
        let line = match (self.is_over, self.is_too_long) {
            (false, _) => None,
            (true, true) => Some(Line::TooLong(line)),
            (true, false) => (!line.is_empty()).then_some(Line::Whole(line)),
        };
        (used, line)
    }
}

/// What a message that cannot be read was going to be, as far as its beginning tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// The answer to the request with this id.
    Answer(i64),
    /// A request or a notification: nobody waits for it.
    Unasked,
    /// No telling.
    Unknown,
}

/// Looks at the members of an object one by one, as far as they are small.
pub fn beginning(bytes: &[u8]) -> Beginning {
    let Ok(text) = std::str::from_utf8(bytes).or_else(|error| std::str::from_utf8(&bytes[..error.valid_up_to()]))
    else {
        return Beginning::Unknown;
    };
    let Some(mut rest) = text.trim_start().strip_prefix('{') else { return Beginning::Unknown };
    while let Some((name, after)) = short_text(rest.trim_start()) {
        let Some(value) = after.trim_start().strip_prefix(':').map(str::trim_start) else { break };
        match name {
            "method" => return Beginning::Unasked,
            "id" => {
                let end = value.find(|c: char| c != '-' && !c.is_ascii_digit()).unwrap_or(value.len());
                // Without what follows, there may be more digits.
                let is_whole = end < value.len();
                return match value[..end].parse() {
                    Ok(id) if is_whole => Beginning::Answer(id),
                    _ => Beginning::Unknown,
                };
            }
            "jsonrpc" => match short_text(value) {
                Some((_, after)) => rest = after.trim_start().trim_start_matches(','),
                None => break,
            },
            _ => break,
        }
    }
    Beginning::Unknown
}

/// A string without escapes, and what follows it.
fn short_text(text: &str) -> Option<(&str, &str)> {
    let (text, rest) = text.strip_prefix('"')?.split_once('"')?;
    (!text.contains('\\')).then_some((text, rest))
}

#[cfg(test)]
mod tests;
