//! Why there is no token.

use std::fmt;

/// Why there is no token. No text of it holds a secret.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum AuthError {
    /// An address is not to be connected to, or cannot be reached.
    Network(String),
    /// Metadata that cannot be found, cannot be read, or contradicts itself.
    Metadata(String),
    /// The authorization server does not do what safety demands.
    Unsafe(String),
    /// This client is not known to the authorization server, and cannot make itself known.
    Registration(String),
    /// The person or the authorization server said no.
    Denied(String),
    /// The token endpoint refused, with its error code.
    Token {
        /// RFC 6749, 5.2.
        code: String,
        /// What it says beside.
        description: String,
    },
    /// Another try makes no sense: what the server demands was granted already.
    Insufficient(String),
    /// A key that cannot be used.
    Key(String),
    /// The store of tokens failed.
    Store(String),
}

impl AuthError {
    /// Whether the authorization server does not know this client (RFC 6749, 5.2).
    pub(crate) fn is_invalid_client(&self) -> bool {
        matches!(self, Self::Token { code, .. } if code == "invalid_client")
    }
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(why) => write!(f, "authorization: {why}"),
            Self::Metadata(why) => write!(f, "authorization metadata: {why}"),
            Self::Unsafe(why) => write!(f, "the authorization server is not safe to use: {why}"),
            Self::Registration(why) => write!(f, "client registration: {why}"),
            Self::Denied(why) => write!(f, "authorization was not granted: {why}"),
            Self::Token { code, description } if description.is_empty() => {
                write!(f, "the authorization server refused a token: {code}")
            }
            Self::Token { code, description } => {
                write!(f, "the authorization server refused a token: {code}: {description}")
            }
            Self::Insufficient(why) => write!(f, "more permission is needed: {why}"),
            Self::Key(why) => write!(f, "the signing key: {why}"),
            Self::Store(why) => write!(f, "the store of tokens: {why}"),
        }
    }
}

impl std::error::Error for AuthError {}

/// At most 256 bytes of somebody else's text, without control characters, so that it can be shown.
pub(crate) fn shown(text: &str) -> String {
    const MOST: usize = 256;
    text[..text.floor_char_boundary(MOST)].chars().filter(|c| !c.is_control()).collect()
}
