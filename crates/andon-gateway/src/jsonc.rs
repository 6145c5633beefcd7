//! JSON as people write it in configuration, with comments and trailing commas, and where everything stands in it.

use std::fmt;

/// The most nested lists and objects.
pub(crate) const DEPTH_MAX: usize = 32;

/// A place in a file, both counted from 1; columns are characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Position {
    /// No place in it: what is said is about the file itself.
    pub const NONE: Self = Self { line: 0, column: 0 };

    /// Where the byte at `offset` of `text` stands.
    pub(crate) fn of(text: &str, offset: usize) -> Self {
        let before = &text[..text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |index| index + 1);
        Self { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value and where it begins.
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) kind: Kind,
}

pub(crate) enum Kind {
    Null,
    Bool(bool),
    /// As it is written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Object(Vec<Member>),
}

pub(crate) struct Member {
    pub(crate) at: Position,
    pub(crate) name: String,
    pub(crate) value: Node,
}

impl Kind {
    /// What it is, for an error.
    pub(crate) fn noun(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

/// Reads the one value of `text`.
///
/// # Errors
/// Where it is no JSON, and why.
pub(crate) fn parse(text: &str) -> Result<Node, (Position, String)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut parser = Parser { text, next: 0 };
    parser.skip()?;
    let node = parser.value(0)?;
    parser.skip()?;
    if parser.peek().is_some() {
        return Err(parser.wrong("nothing more is expected here"));
    }
    Ok(node)
}

struct Parser<'a> {
    text: &'a str,
    next: usize,
}

type Parsed<T> = Result<T, (Position, String)>;

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.next).copied()
    }

    fn at(&self, offset: usize) -> Position {
        Position::of(self.text, offset)
    }

    fn wrong(&self, why: impl Into<String>) -> (Position, String) {
        (self.at(self.next), why.into())
    }

    /// Skips blanks and comments.
    fn skip(&mut self) -> Parsed<()> {
        loop {
            let rest = &self.text[self.next..];
            let blanks = rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
            self.next += blanks;
            let rest = &rest[blanks..];
            if rest.starts_with("//") {
                self.next += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                let Some(end) = rest.find("*/") else { return Err(self.wrong("this comment never ends")) };
                self.next += end + 2;
            } else {
                return Ok(());
            }
        }
    }

    fn value(&mut self, depth: usize) -> Parsed<Node> {
        let at = self.at(self.next);
        if depth > DEPTH_MAX {
            return Err(self.wrong(format!("more than {DEPTH_MAX} values are nested")));
        }
        let kind = match self.peek() {
            Some(b'{') => Kind::Object(self.object(depth)?),
            Some(b'[') => Kind::List(self.list(depth)?),
            Some(b'"') => Kind::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => self.word()?,
        };
        Ok(Node { at, kind })
    }

    fn object(&mut self, depth: usize) -> Parsed<Vec<Member>> {
        let mut members: Vec<Member> = Vec::new();
        self.next += 1;
        loop {
            self.skip()?;
            match self.peek() {
                Some(b'}') => {
                    self.next += 1;
                    return Ok(members);
                }
                Some(b'"') => {}
                _ => return Err(self.wrong("a name in double quotes, or `}`, is expected here")),
            }
            let at = self.at(self.next);
            let name = self.string()?;
            if members.iter().any(|known| known.name == name) {
                return Err((at, format!("{name:?} stands here twice")));
            }
            self.skip()?;
            if self.peek() != Some(b':') {
                return Err(self.wrong("`:` is expected here"));
            }
            self.next += 1;
            self.skip()?;
            members.push(Member { at, name, value: self.value(depth + 1)? });
            self.comma(b'}')?;
        }
    }

    fn list(&mut self, depth: usize) -> Parsed<Vec<Node>> {
        let mut nodes = Vec::new();
        self.next += 1;
        loop {
            self.skip()?;
            if self.peek() == Some(b']') {
                self.next += 1;
                return Ok(nodes);
            }
            nodes.push(self.value(depth + 1)?);
            self.comma(b']')?;
        }
    }

    /// A comma, or the end that is seen but not taken.
    fn comma(&mut self, end: u8) -> Parsed<()> {
        self.skip()?;
        match self.peek() {
            Some(b',') => self.next += 1,
            Some(found) if found == end => {}
            _ => return Err(self.wrong(format!("`,` or `{}` is expected here", char::from(end)))),
        }
        Ok(())
    }

    fn string(&mut self) -> Parsed<String> {
        let bytes = self.text.as_bytes();
        let mut end = self.next + 1;
        loop {
            match bytes.get(end) {
                Some(b'"') => break,
                Some(b'\\') => end += 2,
                Some(b'\n') | None => return Err(self.wrong("this text never ends")),
                Some(_) => end += 1,
            }
        }
        let literal = &self.text[self.next..=end];
        let text = serde_json::from_str(literal).map_err(|error| self.wrong(format!("this is no text: {error}")))?;
        self.next = end + 1;
        Ok(text)
    }

    fn number(&mut self) -> Parsed<Kind> {
        let rest = &self.text[self.next..];
        let end = rest.find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E')).unwrap_or(rest.len());
        serde_json::from_str::<f64>(&rest[..end]).map_err(|_| self.wrong("this is no number"))?;
        self.next += end;
        Ok(Kind::Number(rest[..end].to_owned()))
    }

    fn word(&mut self) -> Parsed<Kind> {
        let rest = &self.text[self.next..];
        let known = [("true", Kind::Bool(true)), ("false", Kind::Bool(false)), ("null", Kind::Null)];
        match known.into_iter().find(|(word, _)| rest.starts_with(word)) {
            Some((word, kind)) => {
                self.next += word.len();
                Ok(kind)
            }
            None => Err(self.wrong("a value is expected here")),
        }
    }
}

#[cfg(test)]
mod tests;
