//! URIs after RFC 3986, in canonical form: equivalent ones are equal.

use std::fmt;

/// Bytes of a URI.
pub const URI_BYTES_MAX: usize = 8 << 10;

/// An absolute URI in canonical form: scheme and host in lower case, percent-encoding only where needed and in upper
/// case, no dot segments.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uri(Box<str>);

/// Why a text is no URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UriError {
    /// Longer than [`URI_BYTES_MAX`].
    TooLong,
    /// It has no scheme, or not one of letters, digits, `+`, `-` and `.`.
    Scheme,
    /// A character that stands for nothing in a URI, at this byte.
    Character(usize),
    /// A `%` that is not followed by two hexadecimal digits, at this byte.
    Percent(usize),
    /// `%00`: no resource has it, and much software ends there.
    Nul,
}

impl fmt::Display for UriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "a URI has at most {URI_BYTES_MAX} bytes"),
            Self::Scheme => f.write_str("a URI begins with a scheme and a colon"),
            Self::Character(at) => write!(f, "a character that no URI has, at byte {at}"),
            Self::Percent(at) => write!(f, "\"%\" without two hexadecimal digits, at byte {at}"),
            Self::Nul => f.write_str("%00 is in no URI of a resource"),
        }
    }
}

impl std::error::Error for UriError {}

impl Uri {
    /// Reads and canonicalises `text` (RFC 3986, section 6.2.2).
    ///
    /// # Errors
    /// See [`UriError`].
    pub fn parse(text: &str) -> Result<Self, UriError> {
        Self::canonicalise(text, lower_host)
    }

    /// The same with the host's case as it is written: for URIs whose host is a name that the server gave.
    ///
    /// # Errors
    /// See [`UriError`].
    pub fn parse_with_host_as_written(text: &str) -> Result<Self, UriError> {
        Self::canonicalise(text, str::to_owned)
    }

    fn canonicalise(text: &str, spell_host: fn(&str) -> String) -> Result<Self, UriError> {
        if text.len() > URI_BYTES_MAX {
            return Err(UriError::TooLong);
        }
        let colon = text.find(':').ok_or(UriError::Scheme)?;
        let scheme = &text[..colon];
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
        if !is_scheme {
            return Err(UriError::Scheme);
        }
        let mut canonical = scheme.to_ascii_lowercase();
        canonical.push(':');
        let rest = normal_escapes(&text[colon + 1..], colon + 1)?;
        let (hierarchy, tail) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
        if let Some(after) = hierarchy.strip_prefix("//") {
            let (authority, path) = after.split_at(after.find('/').unwrap_or(after.len()));
            canonical.push_str("//");
            let (user, host) = authority.rsplit_once('@').map_or(("", authority), |(user, host)| (user, host));
            if !user.is_empty() {
                canonical.push_str(user);
                canonical.push('@');
            }
            canonical.push_str(&spell_host(host));
            canonical.push_str(&without_dots(path));
        } else if hierarchy.starts_with('/') {
            let path = without_dots(hierarchy);
            // Without an authority a path must not look like one.
            if path.starts_with("//") {
                canonical.push_str("/.");
            }
            canonical.push_str(&path);
        } else {
            canonical.push_str(hierarchy);
        }
        canonical.push_str(tail);
        Ok(Self(canonical.into()))
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The scheme, in lower case.
    pub fn scheme(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }

    /// The authority, if there is one: what stands between `//` and the path.
    pub fn authority(&self) -> Option<&str> {
        let rest = &self.0[self.scheme().len() + 1..];
        let after = rest.strip_prefix("//")?;
        Some(&after[..after.find(['/', '?', '#']).unwrap_or(after.len())])
    }

    /// The path, still encoded.
    pub fn path(&self) -> &str {
        let rest = &self.0[self.scheme().len() + 1..];
        let rest = match self.authority() {
            Some(authority) => &rest[2 + authority.len()..],
            None => rest,
        };
        &rest[..rest.find(['?', '#']).unwrap_or(rest.len())]
    }

    /// Whether there is a query or a fragment.
    pub fn has_query_or_fragment(&self) -> bool {
        self.0.contains(['?', '#'])
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

pub(crate) fn is_reserved(byte: u8) -> bool {
    b":/?#[]@!$&'()*+,;=".contains(&byte)
}

/// The byte that `%XX` at the start of `bytes` stands for.
pub(crate) fn escaped(bytes: &[u8]) -> Option<u8> {
    let digit = |index: usize| bytes.get(index).and_then(|byte| char::from(*byte).to_digit(16));
    let value = digit(1)? * 16 + digit(2)?;
    (bytes.first() == Some(&b'%')).then(|| u8::try_from(value).ok()).flatten()
}

pub(crate) fn push_escape(text: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    text.push('%');
    text.push(char::from(DIGITS[usize::from(byte >> 4)]));
    text.push(char::from(DIGITS[usize::from(byte & 15)]));
}

fn normal_escapes(text: &str, offset: usize) -> Result<String, UriError> {
    let bytes = text.as_bytes();
    let mut normal = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        if byte == b'%' {
            match escaped(&bytes[at..]) {
                None => return Err(UriError::Percent(offset + at)),
                Some(0) => return Err(UriError::Nul),
                Some(plain) if is_unreserved(plain) => normal.push(char::from(plain)),
                Some(other) => push_escape(&mut normal, other),
            }
            at += 3;
        } else if is_unreserved(byte) || is_reserved(byte) {
            normal.push(char::from(byte));
            at += 1;
        } else {
            return Err(UriError::Character(offset + at));
        }
    }
    Ok(normal)
}

/// In lower case but for the digits of escapes, which are upper case everywhere.
fn lower_host(host: &str) -> String {
    let mut lower = String::with_capacity(host.len());
    let mut escape = 0;
    for c in host.chars() {
        if c == '%' {
            escape = 3;
        }
        lower.push(if escape > 0 { c } else { c.to_ascii_lowercase() });
        escape -= i32::from(escape > 0);
    }
    lower
}

/// RFC 3986, section 5.2.4, for a path that is empty or begins with a slash.
fn without_dots(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    let mut is_folder = false;
    while let Some(part) = parts.next() {
        is_folder = parts.peek().is_none() && matches!(part, "." | "..");
        match part {
            "." => {}
            ".." => drop(segments.pop()),
            _ => segments.push(part),
        }
    }
    let mut text = String::with_capacity(path.len());
    for segment in &segments {
        text.push('/');
        text.push_str(segment);
    }
    if is_folder {
        text.push('/');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Uri, UriError};

    #[test]
    fn equivalent_uris_are_equal() {
        let cases = [
            ("HTTP://Example.COM/a/./b/../c", "http://example.com/a/c"),
            ("demo://item/%7e1", "demo://item/~1"),
            ("demo://item/%2f%3a", "demo://item/%2F%3A"),
            ("file:///a/b/..", "file:///a/"),
            ("file:///../../etc", "file:///etc"),
            ("urn:ISBN:1/../2", "urn:ISBN:1/../2"),
            ("http://u@H%2eost:80?q=A#F", "http://u@h.ost:80?q=A#F"),
            ("x:/", "x:/"),
            ("x:", "x:"),
            ("x:/.//Host/a", "x:/.//Host/a"),
        ];
        for (text, canonical) in cases {
            let uri = Uri::parse(text).expect(text);
            assert_eq!(uri.as_str(), canonical, "{text}");
            assert_eq!(Uri::parse(uri.as_str()), Ok(uri), "canonical form is stable");
        }
        let written = Uri::parse_with_host_as_written("Demo://U@Abc%2dD/./X").expect("a URI");
        assert_eq!(written.as_str(), "demo://U@Abc-D/X");
    }

    #[test]
    fn u6_u7_what_is_no_uri() {
        for bad in ["", "a", ":x", "1a:b", "a b:c", "/path"] {
            assert_eq!(Uri::parse(bad), Err(UriError::Scheme), "{bad:?}");
        }
        for bad in ["a:%", "a:%z1", "a:x%2", "a:%zz"] {
            assert!(matches!(Uri::parse(bad), Err(UriError::Percent(_))), "{bad}");
        }
        for bad in ["a:b c", "a:\u{fc}", "a:\"", "a:\n", "a:<", "a:\\", "a:{"] {
            assert!(matches!(Uri::parse(bad), Err(UriError::Character(_))), "{bad:?}");
        }
        assert_eq!(Uri::parse("a:%00"), Err(UriError::Nul));
        assert_eq!(Uri::parse(&format!("a:{}", "x".repeat(9000))), Err(UriError::TooLong));
        assert_ne!(Uri::parse("a://xn--mnchen-3ya.de"), Uri::parse("a://m%C3%BCnchen.de"));
    }

    #[test]
    fn components() {
        let uri = Uri::parse("file://host/a/b?q#f").expect("a URI");
        assert_eq!((uri.scheme(), uri.authority(), uri.path()), ("file", Some("host"), "/a/b"));
        assert!(uri.has_query_or_fragment());
        let uri = Uri::parse("urn:a:b").expect("a URI");
        assert_eq!((uri.authority(), uri.path()), (None, "a:b"));
    }
}
