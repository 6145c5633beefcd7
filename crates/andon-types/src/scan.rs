//! One pass over bytes from a peer: is it JSON, is it affordable, and where are the members that the protocol names?
//!
//! The pass builds no tree. It checks the grammar of RFC 8259 in full, so that text which it accepted can be
//! kept and handed on byte for byte; it refuses what a tree builder would silently repair (duplicate member
//! names at any depth, lone surrogates) and what costs a tree builder far more than it costs the sender.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use crate::named::named;
use crate::params::{Places, Span};

/// What a body may cost before it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanLimits {
    /// Nesting of arrays and objects. Default 64.
    pub depth: usize,
    /// Bytes that a tree of the body would take, estimated as 32 for each value and member. Default 16 MiB.
    pub cost_bytes: usize,
}

impl Default for ScanLimits {
    fn default() -> Self {
        Self { depth: 64, cost_bytes: 16 << 20 }
    }
}

/// Why a text was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanError {
    /// Not JSON in UTF-8, at this byte.
    Syntax(usize),
    /// JSON, but deeper than [`ScanLimits::depth`].
    TooDeep,
    /// JSON, but dearer than [`ScanLimits::cost_bytes`], or of 4 GiB or more.
    TooExpensive,
    /// JSON with a member name twice in one object; the second one is at this byte.
    DuplicateName(usize),
}

/// The shape of a whole text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// An object, taken for a message.
    Object(Envelope),
    /// An array, with the spans of its elements.
    Array(Vec<Range<usize>>),
    /// A string, number, boolean or null.
    Scalar,
}

/// Where the members of a message stand that make it one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Envelope {
    spans: [Span; Part::COUNT],
    /// What stands in its `params`.
    pub(crate) places: Places,
}

named! {
    /// A member of a message.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Part {
        JsonRpc = "jsonrpc",
        Id = "id",
        Method = "method",
        Params = "params",
        Result = "result",
        Error = "error",
    }
}

impl Envelope {
    /// The member's value in `text`, which was scanned.
    pub(crate) fn part<'a>(&self, text: &'a str, part: Part) -> Option<&'a str> {
        self.spans[part as usize].of(text)
    }
}

/// Which object it is whose members are scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Message,
    /// The message's `params`.
    Params,
    /// Their `_meta`.
    Meta,
    /// One in which nothing is looked for.
    Other,
}

impl Level {
    /// The level of an object that is the member `name` of this one.
    fn below(self, name: &str) -> Self {
        match (self, name) {
            (Self::Message, "params") => Self::Params,
            (Self::Params, "_meta") => Self::Meta,
            _ => Self::Other,
        }
    }
}

const VALUE_COST_BYTES: usize = 32;
/// Up to here names are compared pairwise; beyond, by a hash set with random keys.
const PAIRWISE_NAMES: usize = 16;
/// Names that are open at once in most messages.
const NAMES_USUAL: usize = 16;

/// Checks `text` and says what it is at its top.
pub(crate) fn scan(text: &str, limits: ScanLimits) -> Result<Shape, ScanError> {
    if u32::try_from(text.len()).is_err() {
        return Err(ScanError::TooExpensive);
    }
    let names = Vec::with_capacity(NAMES_USUAL);
    let (bytes, left, found) = (text.as_bytes(), limits.cost_bytes, Envelope::default());
    let mut scanner = Scanner { text, bytes, at: 0, left, names, found, params_at: 0 };
    scanner.space();
    let (first, mut elements) = (scanner.peek(), Vec::new());
    match first {
        Some(b'[') => scanner.array(limits.depth, &mut |span| elements.push(span))?,
        _ => scanner.value(limits.depth, Level::Message)?,
    }
    scanner.space();
    if scanner.at != text.len() {
        return scanner.syntax();
    }
    Ok(match first {
        Some(b'{') => Shape::Object(scanner.found),
        Some(b'[') => Shape::Array(elements),
        _ => Shape::Scalar,
    })
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    left: usize,
    /// Names of the objects that are open, innermost last.
    names: Vec<Quoted>,
    found: Envelope,
    /// Where the message's `params` begin.
    params_at: usize,
}

/// Where a string stands, within its quotes.
#[derive(Clone, Copy)]
struct Quoted {
    start: usize,
    end: usize,
    has_escapes: bool,
}

impl<'a> Scanner<'a> {
    fn value(&mut self, depth: usize, level: Level) -> Result<(), ScanError> {
        match self.peek() {
            Some(b'{') => self.object(depth, level),
            Some(b'[') => self.array(depth, &mut |_| ()),
            Some(b'"') => {
                self.spend()?;
                self.string().map(drop)
            }
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.syntax(),
        }
    }

    fn object(&mut self, depth: usize, level: Level) -> Result<(), ScanError> {
        let depth = self.enter(depth)?;
        let base = self.names.len();
        let mut many: Option<HashSet<Cow<'a, str>>> = None;
        if !self.take_if(b'}') {
            loop {
                self.space();
                self.spend()?;
                let name = self.string()?;
                self.claim_name(name, base, &mut many)?;
                self.space();
                self.expect(b':')?;
                self.space();
                match level {
                    Level::Other => self.value(depth, Level::Other)?,
                    Level::Message | Level::Params | Level::Meta => self.member(depth, level, name)?,
                }
                self.space();
                if self.take_if(b'}') {
                    break;
                }
                self.expect(b',')?;
            }
        }
        self.names.truncate(base);
        Ok(())
    }

    /// The value of a member where members are looked for.
    fn member(&mut self, depth: usize, level: Level, name: Quoted) -> Result<(), ScanError> {
        let (name, start) = (self.decoded(name)?, self.at);
        let below = level.below(&name);
        if below == Level::Params {
            self.params_at = start;
        }
        self.value(depth, below)?;
        let end = self.at;
        match level {
            Level::Message => {
                if let Some(part) = Part::called(&name) {
                    self.found.spans[part as usize] = Span::new(start..end);
                }
            }
            Level::Params => self.found.places.note(&name, start - self.params_at..end - self.params_at),
            Level::Meta => self.found.places.note_meta(&name, start - self.params_at..end - self.params_at),
            Level::Other => {}
        }
        Ok(())
    }

    fn array(&mut self, depth: usize, element: &mut dyn FnMut(Range<usize>)) -> Result<(), ScanError> {
        let depth = self.enter(depth)?;
        if self.take_if(b']') {
            return Ok(());
        }
        loop {
            self.space();
            let start = self.at;
            self.value(depth, Level::Other)?;
            element(start..self.at);
            self.space();
            if self.take_if(b']') {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    /// Steps into a bracket; returns the depth that is left inside.
    fn enter(&mut self, depth: usize) -> Result<usize, ScanError> {
        self.spend()?;
        self.at += 1;
        self.space();
        depth.checked_sub(1).ok_or(ScanError::TooDeep)
    }

    /// Refuses `name` if the object whose names start at `base` has it already.
    fn claim_name(
        &mut self,
        name: Quoted,
        base: usize,
        many: &mut Option<HashSet<Cow<'a, str>>>,
    ) -> Result<(), ScanError> {
        let is_new = match many {
            Some(seen) => seen.insert(self.decoded(name)?),
            None => {
                let known = &self.names[base..];
                let mut is_new = true;
                for other in known {
                    is_new &= !self.is_same(*other, name)?;
                }
                if known.len() == PAIRWISE_NAMES {
                    let mut seen = HashSet::with_capacity(PAIRWISE_NAMES * 2);
                    for other in known.iter().chain([&name]) {
                        seen.insert(self.decoded(*other)?);
                    }
                    *many = Some(seen);
                }
                is_new
            }
        };
        if !is_new {
            return Err(ScanError::DuplicateName(name.start));
        }
        if many.is_none() {
            self.names.push(name);
        }
        Ok(())
    }

    fn is_same(&self, one: Quoted, other: Quoted) -> Result<bool, ScanError> {
        if one.has_escapes || other.has_escapes {
            return Ok(self.decoded(one)? == self.decoded(other)?);
        }
        let is_as_long = one.end - one.start == other.end - other.start;
        Ok(is_as_long && self.bytes[one.start..one.end] == self.bytes[other.start..other.end])
    }

    /// The text of a string, unescaped.
    fn decoded(&self, at: Quoted) -> Result<Cow<'a, str>, ScanError> {
        if !at.has_escapes {
            return Ok(Cow::Borrowed(&self.text[at.start..at.end]));
        }
        let quoted = &self.text[at.start - 1..=at.end];
        serde_json::from_str(quoted).map(Cow::Owned).map_err(|_| ScanError::Syntax(at.start))
    }

    /// Steps over a string.
    fn string(&mut self) -> Result<Quoted, ScanError> {
        self.expect(b'"')?;
        let start = self.at;
        let mut has_escapes = false;
        loop {
            self.at += plain(&self.bytes[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Quoted { start, end: self.at - 1, has_escapes });
                }
                Some(b'\\') => {
                    has_escapes = true;
                    self.escape()?;
                }
                _ => return self.syntax(),
            }
        }
    }

    fn escape(&mut self) -> Result<(), ScanError> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => match self.unicode()? {
                0xD800..=0xDBFF => {
                    self.expect(b'\\')?;
                    if self.peek() != Some(b'u') || !(0xDC00..=0xDFFF).contains(&self.unicode()?) {
                        return self.syntax();
                    }
                    Ok(())
                }
                0xDC00..=0xDFFF => self.syntax(),
                _ => Ok(()),
            },
            _ => self.syntax(),
        }
    }

    fn unicode(&mut self) -> Result<u32, ScanError> {
        let mut unit = 0;
        for offset in 1..=4 {
            let digit = self.bytes.get(self.at + offset).and_then(|byte| char::from(*byte).to_digit(16));
            unit = unit * 16 + digit.ok_or(ScanError::Syntax(self.at))?;
        }
        self.at += 5;
        Ok(unit)
    }

    fn number(&mut self) -> Result<(), ScanError> {
        self.spend()?;
        self.take_if(b'-');
        if !self.take_if(b'0') {
            self.digits()?;
        }
        if self.take_if(b'.') {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), ScanError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { self.syntax() } else { Ok(()) }
    }

    fn word(&mut self, word: &str) -> Result<(), ScanError> {
        self.spend()?;
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return self.syntax();
        }
        self.at += word.len();
        Ok(())
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take_if(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, byte: u8) -> Result<(), ScanError> {
        if self.take_if(byte) { Ok(()) } else { self.syntax() }
    }

    fn spend(&mut self) -> Result<(), ScanError> {
        self.left = self.left.checked_sub(VALUE_COST_BYTES).ok_or(ScanError::TooExpensive)?;
        Ok(())
    }

    fn syntax<T>(&self) -> Result<T, ScanError> {
        Err(ScanError::Syntax(self.at))
    }
}

/// How many bytes stand before the first quotation mark, backslash or control character. Eight at a time, since most of
/// what is scanned is text.
fn plain(bytes: &[u8]) -> usize {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    // The high bit of each byte that is below `least`, as long as no byte before it is.
    let below = |word: u64, least: u8| word.wrapping_sub(EACH * u64::from(least)) & !word & (EACH << 7);
    let mut at = 0;
    while let Some(word) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        let is = |byte: u8| below(word ^ (EACH * u64::from(byte)), 1);
        let special = below(word, 0x20) | is(b'"') | is(b'\\');
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1F);
    at + bytes[at..].iter().position(is_special).unwrap_or(bytes.len() - at)
}

#[cfg(test)]
mod tests;
