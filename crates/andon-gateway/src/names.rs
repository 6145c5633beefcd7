//! Names of many servers in one list: unique, the same tomorrow, and of characters that clients take.

use sha2::{Digest as _, Sha256};

/// Characters of a name. The specification allows 128; well-known clients take no more than 64.
const NAME_CHARS_MAX: usize = 64;

/// The most characters of a tool's name (2025-11-25, server, tools, "Tool Names").
const TOOL_NAME_CHARS_MAX: usize = 128;

/// Whether a tool's name may have this character (server, tools, "Tool Names").
pub(crate) fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// A server's name in the characters that tools' names and paths have.
pub(crate) fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii() && is_plain(c as u8) { c } else { '_' }).collect()
}

/// Why a tool cannot have this name.
pub(crate) fn problem(name: &str) -> Option<String> {
    let is_good = (1..=TOOL_NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(is_plain);
    (!is_good).then(|| format!("a tool's name is 1 to {TOOL_NAME_CHARS_MAX} of A-Z a-z 0-9 _ - ."))
}

/// What the names of a server's tools begin with, if it is one of several. The first `__` is its end, so that no name of
/// one server can be that of another's.
pub(crate) fn prefix(server: &str) -> String {
    let mut server = plain(server);
    while server.contains("__") {
        server = server.replace("__", "_");
    }
    format!("{}__", server.trim_end_matches('_'))
}

/// The name with its prefix. One that gets too long is cut, and stays unique by a digest of all of it.
pub(crate) fn prefixed(prefix: &str, name: &str) -> String {
    let whole = format!("{prefix}{name}");
    // What a server calls itself without a prefix passes as it is.
    if prefix.is_empty() || whole.len() <= NAME_CHARS_MAX {
        return whole;
    }
    let mark = hex(&Sha256::digest(whole.as_bytes())[..4]);
    let kept = whole.floor_char_boundary(NAME_CHARS_MAX - mark.len() - 1);
    format!("{}_{mark}", &whole[..kept])
}

/// These bytes in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{plain, prefix, prefixed, problem};

    #[test]
    fn names_are_plain_and_short_enough() {
        assert_eq!(plain("my server/ä"), "my_server__");
        assert_eq!(prefixed(&prefix("files"), "read"), "files__read");
        assert_eq!([prefix("a__b"), prefix("my files/"), prefix("ä")], ["a_b__", "my_files__", "__"]);
        assert_eq!(prefixed("", &"x".repeat(128)), "x".repeat(128));
        let (one, other) = ("a".repeat(63), format!("{}b", "a".repeat(62)));
        let (one, other) = (prefixed("files__", &one), prefixed("files__", &other));
        assert_eq!((one.len(), other.len()), (64, 64));
        assert_ne!(one, other);
    }

    #[test]
    fn only_some_names_are_good_for_tools() {
        for good in ["a", "a.b-C_9", &"x".repeat(128)] {
            assert_eq!(problem(good), None, "{good}");
        }
        for bad in ["", "bad name", "a/b", "é", "\u{1b}[2J", &"x".repeat(129)] {
            assert!(problem(bad).is_some(), "{bad}");
        }
    }
}
