//! The head of one request, whatever version of HTTP brought it.

use std::fmt;

use http::request::Parts;
use http::{Method, Uri};

use crate::headers::Headers;

/// What stands before the body of a request.
pub(crate) struct RequestHead<'a> {
    pub(crate) method: Method,
    pub(crate) target: Target<'a>,
    pub(crate) headers: Headers<'a>,
}

impl<'a> RequestHead<'a> {
    /// The head of a request that an HTTP library has read.
    pub(crate) fn of(parts: &'a Parts) -> Self {
        let target = Target {
            authority: parts.uri.authority().map(http::uri::Authority::as_str),
            path: parts.uri.path(),
            query: parts.uri.query(),
        };
        Self { method: parts.method.clone(), target, headers: Headers::of(&parts.headers) }
    }
}

/// What a request is for (RFC 9112, 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// In absolute form, and of CONNECT.
    pub(crate) authority: Option<&'a str>,
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// The target of a request with this method, if it is one.
    pub(crate) fn parse(method: &Method, text: &'a str) -> Option<Self> {
        // Nearly all are plain. What else may stand in a target is for those to say who read it next.
        let is_plain = |byte| matches!(byte, b'/' | b'-' | b'.' | b'_' | b'~' | b'?' | b'=' | b'&' | b'%' | b'+');
        let is_plain = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || is_plain(byte));
        if !is_plain && (text.contains('#') || Uri::try_from(text).is_err()) {
            return None;
        }
        let local = |text: &'a str| {
            let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
            Self { authority: None, path, query }
        };
        if text.starts_with('/') {
            return Some(local(text));
        }
        if method == Method::CONNECT {
            http::uri::Authority::try_from(text).ok()?;
            return Some(Self { authority: Some(text), path: "", query: None });
        }
        if text == "*" {
            return Some(local(text));
        }
        let (scheme, rest) = text.split_once("://")?;
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return None;
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let target = local(rest);
        let path = if target.path.is_empty() { "/" } else { target.path };
        (!authority.is_empty()).then_some(Self { authority: Some(authority), path, ..target })
    }

    /// What it takes in a request.
    pub(crate) fn bytes(&self) -> usize {
        self.authority.map_or(0, str::len) + self.path.len() + self.query.map_or(0, |query| query.len() + "?".len())
    }
}

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.authority {
            Some(authority) if self.path.is_empty() => return f.write_str(authority),
            Some(authority) => write!(f, "http://{authority}")?,
            None => {}
        }
        f.write_str(self.path)?;
        self.query.map_or(Ok(()), |query| write!(f, "?{query}"))
    }
}

#[cfg(test)]
mod tests;
