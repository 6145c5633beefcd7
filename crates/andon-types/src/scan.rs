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
    let mut scanner = Scanner { text, bytes, at: 0, left, found, why: ScanError::Syntax(0) };
    let (first, mut elements) = (scanner.seek(), Vec::new());
    let scanned = match first {
        Some(b'[') => scanner.array(limits.depth, Some(&mut elements)),
        _ => scanner.value(limits.depth, Level::Message),
    };
    if scanned.is_none() {
        return Err(scanner.why);
    }
    if scanner.seek().is_some() {
        return Err(ScanError::Syntax(scanner.at));
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
    /// What is wrong, once something is.
    why: ScanError,
}

/// Where a string stands, within its quotes, in a text of less than 4 GiB.
#[derive(Clone, Copy)]
struct Quoted {
    start: u32,
    end: u32,
    has_escapes: bool,
}

impl Quoted {
    fn inside(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// The names of an object so far.
#[derive(Default)]
struct Names<'a> {
    few: [(u32, u32); PAIRWISE_NAMES],
    have_escapes: [bool; PAIRWISE_NAMES],
    count: usize,
    /// All of them, when there are more.
    many: Option<HashSet<Cow<'a, str>>>,
}

/// Up to here names are compared pairwise; beyond, by a hash set with random keys.
const PAIRWISE_NAMES: usize = 16;

impl<'a> Names<'a> {
    /// Takes in `name`; whether it is new.
    fn claim(&mut self, scanner: &mut Scanner<'a>, name: Quoted) -> Option<bool> {
        if let Some(many) = &mut self.many {
            return Some(many.insert(scanner.decoded(name)?));
        }
        for index in 0..self.count {
            if scanner.is_same(self.known(index), name)? {
                return Some(false);
            }
        }
        if self.count < PAIRWISE_NAMES {
            self.few[self.count] = (name.start, name.end);
            self.have_escapes[self.count] = name.has_escapes;
            self.count += 1;
        } else {
            let known = (0..self.count).map(|index| self.known(index));
            self.many = Some(known.chain([name]).map(|name| scanner.decoded(name)).collect::<Option<_>>()?);
        }
        Some(true)
    }

    fn known(&self, index: usize) -> Quoted {
        let ((start, end), has_escapes) = (self.few[index], self.have_escapes[index]);
        Quoted { start, end, has_escapes }
    }
}

impl<'a> Scanner<'a> {
    fn value(&mut self, depth: usize, level: Level) -> Option<()> {
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

    fn object(&mut self, depth: usize, level: Level) -> Option<()> {
        let depth = self.enter(depth)?;
        if self.seek() == Some(b'}') {
            self.at += 1;
            return Some(());
        }
        let mut names = Names::default();
        loop {
            self.spend()?;
            let name = self.string()?;
            if !names.claim(self, name)? {
                return self.fail(ScanError::DuplicateName(name.start as usize));
            }
            self.seek();
            self.expect(b':')?;
            self.seek();
            match level {
                Level::Other => self.value(depth, Level::Other)?,
                Level::Message | Level::Params(_) | Level::Meta(_) => self.member(depth, level, name)?,
            }
            if !self.goes_on(b'}')? {
                return Some(());
            }
        }
    }

    /// The value of a member where members are looked for.
    fn member(&mut self, depth: usize, level: Level, name: Quoted) -> Option<()> {
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
        Some(())
    }

    /// Steps over an array; where its elements stand goes to `elements`.
    fn array(&mut self, depth: usize, mut elements: Option<&mut Vec<Range<usize>>>) -> Option<()> {
        let depth = self.enter(depth)?;
        if self.seek() == Some(b']') {
            self.at += 1;
            return Some(());
        }
        loop {
            let start = self.at;
            self.value(depth, Level::Other)?;
            if let Some(elements) = &mut elements {
                elements.push(start..self.at);
            }
            if !self.goes_on(b']')? {
                return Some(());
            }
        }
    }

    /// Steps into a bracket; returns the depth that is left inside.
    fn enter(&mut self, depth: usize) -> Option<usize> {
        self.spend()?;
        self.at += 1;
        depth.checked_sub(1).or_else(|| self.fail(ScanError::TooDeep))
    }

    /// Steps over what follows a member or an element: whether that is another one, which comes next, or the bracket's `end`.
    fn goes_on(&mut self, end: u8) -> Option<bool> {
        match self.seek() {
            Some(b',') => {
                self.at += 1;
                self.seek();
                Some(true)
            }
            Some(byte) if byte == end => {
                self.at += 1;
                Some(false)
            }
            _ => self.syntax(),
        }
    }

    fn is_same(&mut self, one: Quoted, other: Quoted) -> Option<bool> {
        if one.has_escapes || other.has_escapes {
            return Some(self.decoded(one)? == self.decoded(other)?);
        }
        let is_as_long = one.end - one.start == other.end - other.start;
        Some(is_as_long && self.bytes[one.inside()] == self.bytes[other.inside()])
    }

    /// The text of a string, unescaped.
    #[inline]
    fn decoded(&mut self, at: Quoted) -> Option<Cow<'a, str>> {
        if at.has_escapes { self.unescaped(at).map(Cow::Owned) } else { Some(Cow::Borrowed(&self.text[at.inside()])) }
    }

    #[cold]
    fn unescaped(&mut self, at: Quoted) -> Option<String> {
        let Range { start, end } = at.inside();
        let read = serde_json::from_str(&self.text[start - 1..=end]);
        read.ok().or_else(|| self.fail(ScanError::Syntax(start)))
    }

    /// Steps over a string.
    #[inline(always)]
    fn string(&mut self) -> Option<Quoted> {
        self.expect(b'"')?;
        let start = self.at;
        self.at += plain(&self.bytes[start..]);
        let has_escapes = self.peek() == Some(b'\\');
        while self.peek() == Some(b'\\') {
            self.escape()?;
            self.at += plain(&self.bytes[self.at..]);
        }
        let end = self.at;
        self.expect(b'"')?;
        Some(Quoted { start: start as u32, end: end as u32, has_escapes })
    }

    #[cold]
    #[inline(never)]
    fn escape(&mut self) -> Option<()> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Some(())
            }
            Some(b'u') => match self.unicode()? {
                0xD800..=0xDBFF => {
                    self.expect(b'\\')?;
                    if self.peek() != Some(b'u') || !(0xDC00..=0xDFFF).contains(&self.unicode()?) {
                        return self.syntax();
                    }
                    Some(())
                }
                0xDC00..=0xDFFF => self.syntax(),
                _ => Some(()),
            },
            _ => self.syntax(),
        }
    }

    fn unicode(&mut self) -> Option<u32> {
        let mut unit = 0;
        for offset in 1..=4 {
            let digit = self.bytes.get(self.at + offset).and_then(|byte| char::from(*byte).to_digit(16));
            let Some(digit) = digit else { return self.syntax() };
            unit = unit * 16 + digit;
        }
        self.at += 5;
        Some(unit)
    }

    fn number(&mut self) -> Option<()> {
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
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { self.syntax() } else { Some(()) }
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.spend()?;
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return self.syntax();
        }
        self.at += word.len();
        Some(())
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

    fn expect(&mut self, byte: u8) -> Option<()> {
        if self.take_if(byte) { Some(()) } else { self.syntax() }
    }

    fn spend(&mut self) -> Option<()> {
        let Some(left) = self.left.checked_sub(VALUE_COST_BYTES) else { return self.fail(ScanError::TooExpensive) };
        self.left = left;
        Some(())
    }

    #[cold]
    fn syntax<T>(&mut self) -> Option<T> {
        self.fail(ScanError::Syntax(self.at))
    }

    #[cold]
    fn fail<T>(&mut self, why: ScanError) -> Option<T> {
        self.why = why;
        None
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
