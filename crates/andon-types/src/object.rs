//! Objects whose text is known to be JSON, looked at without a tree: where their members are, and nothing more.
//!
//! Text that [`scan`](crate::scan) has accepted need not be checked again, only stepped over. Of text that is no JSON the
//! members are whatever is found; nothing panics.

use std::borrow::Cow;

use memchr::memchr2;

/// The members of an object in order: the decoded name, and the text of the value.
#[derive(Debug, Clone)]
pub struct MemberScan<'a> {
    text: &'a str,
    at: usize,
}

/// The members of the object `text`; of any other value, none.
pub fn members(text: &str) -> MemberScan<'_> {
    let at = if text.starts_with('{') { 1 } else { text.len() };
    MemberScan { text, at }
}

/// The string that the value `text` is; `None` if it is something else.
pub fn string(text: &str) -> Option<Cow<'_, str>> {
    let inside = text.strip_prefix('"')?.strip_suffix('"')?;
    if !inside.as_bytes().contains(&b'\\') {
        return Some(Cow::Borrowed(inside));
    }
    serde_json::from_str(text).ok().map(Cow::Owned)
}

/// Whether `text` is spelt the same in a JSON string.
pub(crate) fn is_plain(text: &str) -> bool {
    // Without a way out in the middle many bytes are looked at at once.
    let needs_escape = |found, byte: u8| found | (byte < 0x20) | (byte == b'"') | (byte == b'\\');
    !text.bytes().fold(false, needs_escape)
}

impl<'a> Iterator for MemberScan<'a> {
    type Item = (Cow<'a, str>, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.text.as_bytes();
        let name_at = skip(bytes, self.at, |byte| byte == b',' || is_space(byte));
        if bytes.get(name_at) != Some(&b'"') {
            return None;
        }
        let inside = name_at + 1;
        // Names are short: a loop is faster than what is made for long texts.
        let plain = bytes[inside..].iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        let (name, name_end) = if bytes[inside + plain] == b'"' {
            (Cow::Borrowed(self.text.get(inside..inside + plain)?), inside + plain + 1)
        } else {
            let end = end_of_string(bytes, name_at);
            (string(self.text.get(name_at..end)?)?, end)
        };
        let value_at = skip(bytes, name_end, |byte| byte == b':' || is_space(byte));
        self.at = end_of_value(bytes, value_at);
        Some((name, self.text.get(value_at..self.at)?))
    }
}

/// Where the value that begins `at` there ends.
fn end_of_value(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0_usize;
    loop {
        match bytes.get(at) {
            None => return at,
            Some(b'"') => at = end_of_string(bytes, at),
            Some(b'{' | b'[') => (depth, at) = (depth + 1, at + 1),
            Some(b'}' | b']') => (depth, at) = (depth.saturating_sub(1), at + 1),
            // Within an object or an array only its end matters.
            Some(_) if depth > 0 => at += 1,
            Some(_) => return skip(bytes, at, |byte| !is_space(byte) && !matches!(byte, b',' | b'}' | b']')),
        }
        if depth == 0 {
            return at;
        }
    }
}

fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    at += 1;
    loop {
        let Some(found) = bytes.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) else { return bytes.len() };
        at += found;
        if bytes[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
}

fn skip(bytes: &[u8], mut at: usize, is_skipped: impl Fn(u8) -> bool) -> usize {
    while bytes.get(at).is_some_and(|byte| is_skipped(*byte)) {
        at += 1;
    }
    at
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests;
