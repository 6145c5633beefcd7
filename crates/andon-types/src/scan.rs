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
    /// The message's `params`, which begin there.
    Params(usize),
    /// The `_meta` of these.
    Meta(usize),
    /// One in which nothing is looked for.
    Other,
}

const VALUE_COST_BYTES: usize = 32;

/// Checks `text` and says what it is at its top.
pub(crate) fn scan(text: &str, limits: ScanLimits) -> Result<Shape, ScanError> {
    if u32::try_from(text.len()).is_err() {
        return Err(ScanError::TooExpensive);
    }
    let (bytes, left, found) = (text.as_bytes(), limits.cost_bytes, Envelope::default());
    let mut scanner = Scanner { text, bytes, at: 0, left, found };
    let (first, mut elements) = (scanner.seek(), Vec::new());
    match first {
        Some(b'[') => scanner.array(limits.depth, Some(&mut elements))?,
        _ => scanner.value(limits.depth, Level::Message)?,
    }
    if scanner.seek().is_some() {
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
    found: Envelope,
}

/// Where a string stands, within its quotes, in a text of less than 4 GiB.
#[derive(Clone, Copy, Default)]
struct Quoted {
    start: u32,
    end: u32,
    has_escapes: bool,
}

/// The names of an object so far.
#[derive(Default)]
struct Names<'a> {
    few: [Quoted; PAIRWISE_NAMES],
    count: usize,
    /// All of them, when there are more.
    many: Option<HashSet<Cow<'a, str>>>,
}

/// Up to here names are compared pairwise; beyond, by a hash set with random keys.
const PAIRWISE_NAMES: usize = 16;

impl<'a> Names<'a> {
    /// Takes in `name`; whether it is new.
    fn claim(&mut self, scanner: &Scanner<'a>, name: Quoted) -> Result<bool, ScanError> {
        if let Some(many) = &mut self.many {
            return Ok(many.insert(scanner.decoded(name)?));
        }
        for other in &self.few[..self.count] {
            if scanner.is_same(*other, name)? {
                return Ok(false);
            }
        }
        if let Some(place) = self.few.get_mut(self.count) {
            *place = name;
            self.count += 1;
        } else {
            let all = self.few.iter().chain([&name]).map(|name| scanner.decoded(*name));
            self.many = Some(all.collect::<Result<_, _>>()?);
        }
        Ok(true)
    }
}

impl<'a> Scanner<'a> {
    fn value(&mut self, depth: usize, level: Level) -> Result<(), ScanError> {
        match self.peek() {
            Some(b'{') => self.object(depth, level),
            Some(b'[') => self.array(depth, None),
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
        if self.seek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        let mut names = Names::default();
        loop {
            self.spend()?;
            let name = self.string()?;
            if !names.claim(self, name)? {
                return Err(ScanError::DuplicateName(name.start as usize));
            }
            self.seek();
            self.expect(b':')?;
            self.seek();
            match level {
                Level::Other => self.value(depth, Level::Other)?,
                Level::Message | Level::Params(_) | Level::Meta(_) => self.member(depth, level, name)?,
            }
            if !self.goes_on(b'}')? {
                return Ok(());
            }
        }
    }

    /// The value of a member where members are looked for.
    fn member(&mut self, depth: usize, level: Level, name: Quoted) -> Result<(), ScanError> {
        let (name, start) = (self.decoded(name)?, self.at);
        match level {
            Level::Message => {
                let part = Part::called(&name);
                let below = if part == Some(Part::Params) { Level::Params(start) } else { Level::Other };
                self.value(depth, below)?;
                if let Some(part) = part {
                    self.found.spans[part as usize] = Span::new(start..self.at);
                }
            }
            Level::Params(origin) => {
                self.value(depth, if name == "_meta" { Level::Meta(origin) } else { Level::Other })?;
                self.found.places.note(&name, start - origin..self.at - origin);
            }
            Level::Meta(origin) => {
                self.value(depth, Level::Other)?;
                self.found.places.note_meta(&name, start - origin..self.at - origin);
            }
            Level::Other => self.value(depth, Level::Other)?,
        }
        Ok(())
    }

    /// Steps over an array; where its elements stand goes to `elements`.
    fn array(&mut self, depth: usize, mut elements: Option<&mut Vec<Range<usize>>>) -> Result<(), ScanError> {
        let depth = self.enter(depth)?;
        if self.seek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            let start = self.at;
            self.value(depth, Level::Other)?;
            if let Some(elements) = &mut elements {
                elements.push(start..self.at);
            }
            if !self.goes_on(b']')? {
                return Ok(());
            }
        }
    }

    /// Steps into a bracket; returns the depth that is left inside.
    fn enter(&mut self, depth: usize) -> Result<usize, ScanError> {
        self.spend()?;
        self.at += 1;
        depth.checked_sub(1).ok_or(ScanError::TooDeep)
    }

    /// Steps over what follows a member or an element: whether that is another one, which comes next, or the bracket's `end`.
    fn goes_on(&mut self, end: u8) -> Result<bool, ScanError> {
        match self.seek() {
            Some(b',') => {
                self.at += 1;
                self.seek();
                Ok(true)
            }
            Some(byte) if byte == end => {
                self.at += 1;
                Ok(false)
            }
            _ => self.syntax(),
        }
    }

    fn is_same(&self, one: Quoted, other: Quoted) -> Result<bool, ScanError> {
        if one.has_escapes || other.has_escapes {
            return Ok(self.decoded(one)? == self.decoded(other)?);
        }
        let is_as_long = one.end - one.start == other.end - other.start;
        Ok(is_as_long && self.inside(one) == self.inside(other))
    }

    fn inside(&self, at: Quoted) -> &'a [u8] {
        &self.bytes[at.start as usize..at.end as usize]
    }

    /// The text of a string, unescaped.
    fn decoded(&self, at: Quoted) -> Result<Cow<'a, str>, ScanError> {
        let (start, end) = (at.start as usize, at.end as usize);
        if !at.has_escapes {
            return Ok(Cow::Borrowed(&self.text[start..end]));
        }
        let quoted = &self.text[start - 1..=end];
        serde_json::from_str(quoted).map(Cow::Owned).map_err(|_| ScanError::Syntax(start))
    }

    /// Steps over a string.
    #[inline]
    fn string(&mut self) -> Result<Quoted, ScanError> {
        self.expect(b'"')?;
        let start = self.at;
        let mut has_escapes = false;
        loop {
            self.at += plain(&self.bytes[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    let end = self.at;
                    self.at += 1;
                    return Ok(Quoted { start: start as u32, end: end as u32, has_escapes });
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

    /// Steps over space: the byte that stands there then.
    fn seek(&mut self) -> Option<u8> {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                byte => return byte,
            }
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
