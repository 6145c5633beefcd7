//! The secret of operators who come over a port.

use std::fmt;
use std::io::{self, Write as _};
use std::path::Path;

use andon_server::error::Error;
use sha2::{Digest as _, Sha256};

/// What operators who come over a port have to know. It is in no log and no answer.
#[derive(Clone)]
pub struct AdminToken(String);

impl AdminToken {
    /// Characters that a token has at least.
    pub const CHARS_MIN: usize = 16;

    /// The token `text`: visible ASCII without spaces, of at least [`AdminToken::CHARS_MIN`] and at most 1,024 characters.
    ///
    /// # Errors
    /// When it is something else.
    pub fn new(text: impl Into<String>) -> Result<Self, Error> {
        let text = text.into();
        let is_good =
            (Self::CHARS_MIN..=1024).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_good {
            return Ok(Self(text));
        }
        let least = Self::CHARS_MIN;
        Err(Error::misuse(format!("the operators' token has from {least} to 1024 visible characters, and no spaces")))
    }

    /// The token in the file at `path`. If there is none, one of 256 random bits is put there, which only this user can read.
    ///
    /// # Errors
    /// When the file cannot be read or written, others can read it too, or it holds no token.
    pub fn kept_in(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let failed = |error| Error::io(format!("the operators' token in {}", path.display()), error);
        match std::fs::File::open(path) {
            Ok(file) => {
                check_mode(&file, path)?;
                let text = io::read_to_string(io::Read::take(file, 4096)).map_err(failed)?;
                Self::new(text.trim_end())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut random = [0; 32];
                getrandom::fill(&mut random).map_err(|error| failed(io::Error::other(error)))?;
                let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
                write_new(path, &text).map_err(failed)?;
                Self::new(text)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Whether it is this one. How long that takes says nothing: what is compared are hashes, which whoever guesses cannot
    /// steer.
    pub(super) fn is(&self, guess: &str) -> bool {
        let hash = |text: &str| Sha256::digest(text.as_bytes());
        let (own, other) = (hash(&self.0), hash(guess));
        own.iter().zip(other.iter()).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(..)")
    }
}

#[cfg(unix)]
fn check_mode(file: &std::fs::File, path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::MetadataExt as _;
    let mode = file.metadata().map_err(|error| Error::io("the operators' token", error))?.mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let path = path.display();
    Err(Error::misuse(format!("others can read the operators' token: remove {path}, and a new one is made")))
}

#[cfg(not(unix))]
fn check_mode(_file: &std::fs::File, _path: &Path) -> Result<(), Error> {
    Ok(())
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    writeln!(options.open(path)?, "{text}")
}

#[cfg(test)]
mod tests {
    use super::AdminToken;

    #[test]
    fn tokens_are_long_and_plain_and_compared_whole() {
        for bad in ["", "short", "fifteen-chars-1", "with a space in it", "with-a-line\nend-in-it", &"x".repeat(1025)] {
            assert!(AdminToken::new(bad).is_err(), "{bad:?}");
        }
        let token = AdminToken::new("0123456789abcdef").expect("good");
        assert!(token.is("0123456789abcdef"));
        for guess in ["", "0123456789abcde", "0123456789abcdeF", "0123456789abcdef0", "\u{1f511}"] {
            assert!(!token.is(guess), "{guess:?}");
        }
        assert!(!format!("{token:?}").contains("0123"), "l2: not in logs");
    }

    #[cfg(unix)]
    #[test]
    fn l4_a_token_that_others_can_read_is_none() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("admin.token");
        let made = AdminToken::kept_in(&path).expect("made");
        assert!(AdminToken::kept_in(&path).expect("read").is(&made.0), "the same the next time");
        let set = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        for mode in [0o644, 0o640, 0o604, 0o660] {
            set(mode);
            assert!(AdminToken::kept_in(&path).is_err(), "{mode:o}");
        }
        set(0o600);
        std::fs::write(&path, "short\n").expect("written");
        assert!(AdminToken::kept_in(&path).is_err());
    }
}
