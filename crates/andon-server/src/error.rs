//! The one error of the SDK's edge: why a server could not be built or served.

use std::error::Error as StdError;
use std::{fmt, io};

use crate::catalogue::RegistrationError;

/// Why a server could not be built, or stopped serving.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// Whose doing it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The program gave the SDK something wrong; it will fail the same way again.
    Misuse,
    /// The world failed: an address is taken, a file is gone.
    Io,
}

/// What `main` of a server returns.
pub type Result<T = ()> = std::result::Result<T, Error>;

impl Error {
    /// The program's mistake, in words that say what to do.
    pub fn misuse(why: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind: ErrorKind::Misuse, message: why.into(), source: None }))
    }

    /// `doing` something failed by `source`.
    pub fn io(doing: impl Into<String>, source: io::Error) -> Self {
        Self(Box::new(Inner { kind: ErrorKind::Io, message: doing.into(), source: Some(Box::new(source)) }))
    }

    /// Whose doing it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match &self.0.source {
            Some(source) if self.0.kind == ErrorKind::Io => write!(f, ": {source}"),
            _ => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<RegistrationError> for Error {
    fn from(error: RegistrationError) -> Self {
        let message = error.to_string();
        Self(Box::new(Inner { kind: ErrorKind::Misuse, message, source: Some(Box::new(error)) }))
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self(Box::new(Inner {
            kind: ErrorKind::Io,
            message: "input or output failed".to_owned(),
            source: Some(Box::new(error)),
        }))
    }
}
