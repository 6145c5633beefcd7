//! Event ids: opaque to clients, and checked before anything is replayed.

use std::fmt;

use crate::io::StreamId;

/// Names one event in the whole of a session: a tag of the session, its stream, and a sequence within that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// Random per session, so that another session's ids name nothing here.
    pub tag: u32,
    /// The stream that is resumed.
    pub stream: StreamId,
    /// 0 opens the stream and carries no message; messages count from 1.
    pub sequence: u32,
}

impl EventId {
    /// Reads what [`fmt::Display`] wrote, and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-').map(|part| {
            let plain = !part.is_empty()
                && part.len() <= 8
                && part.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
            let canonical = plain && (part.len() == 1 || !part.starts_with('0'));
            canonical.then(|| u32::from_str_radix(part, 16).ok()).flatten()
        });
        let id = Self { tag: parts.next()??, stream: StreamId(parts.next()??), sequence: parts.next()?? };
        parts.next().is_none().then_some(id)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}-{:x}", self.tag, self.stream.0, self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::{EventId, StreamId};

    #[test]
    fn e2_only_ids_of_our_own_making_are_read() {
        let id = EventId { tag: u32::MAX, stream: StreamId(7), sequence: 0x10 };
        assert_eq!(id.to_string(), "ffffffff-7-10");
        assert_eq!(EventId::parse("ffffffff-7-10"), Some(id));
        for bad in
            ["", "-", "1-2", "1-2-3-4", "1-2--3", "1-2-+3", "1-2-03", "G-1-1", "1-2-3 ", "F-1-1", "100000000-1-1", "\0"]
        {
            assert_eq!(EventId::parse(bad), None, "{bad:?}");
        }
    }
}
