//! Messages as they are sent.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

/// The text of a message: written once, and then shared by whoever keeps it and whoever sends it, down to the socket.
///
/// What is kept is bytes. Looked at as text they are checked again, which those who only pass it on need not do.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Encoded(Bytes);

impl Encoded {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Deref for Encoded {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).expect("invariant: it was made of text")
    }
}

impl From<String> for Encoded {
    fn from(text: String) -> Self {
        let mut text = text;
        // What is kept is counted by its length.
        if text.capacity() > text.len() + text.len() / 4 + SPARE_BYTES_MAX {
            text.shrink_to_fit();
        }
        Self(text.into())
    }
}

impl From<&str> for Encoded {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<Encoded> for Bytes {
    fn from(text: Encoded) -> Self {
        text.0
    }
}

/// Room beyond a text, and beyond a quarter of it, that is not worth giving back.
const SPARE_BYTES_MAX: usize = 64;

impl fmt::Display for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
