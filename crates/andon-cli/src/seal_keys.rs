//! `andon serve --seal-keys FILE`: what protects what clients carry, so that another process can go on with it.

use std::path::Path;

use andon::Error;
use andon::server::seal::SealKey;

/// Keys of one file.
const KEYS_MAX: usize = 16;

/// The keys in the file at `path`: one a line, 64 hexadecimal digits, newest first. Lines that are empty or begin with
/// `#` say nothing.
///
/// # Errors
/// What is wrong with the file, and in which line. No key is told.
pub(crate) fn read(path: &Path) -> Result<Vec<SealKey>, Error> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::io(path.display().to_string(), error))?;
    let is_said = |line: &str| !line.is_empty() && !line.starts_with('#');
    let lines = text.lines().map(str::trim).zip(1..).filter(|(line, _)| is_said(line));
    let keys = lines.map(|(line, number)| {
        key(line).ok_or_else(|| {
            let why = "a key is 64 hexadecimal digits, as `openssl rand -hex 32` writes them";
            Error::misuse(format!("{}:{number}: {why}", path.display()))
        })
    });
    let keys: Vec<SealKey> = keys.collect::<Result<_, _>>()?;
    if keys.is_empty() || keys.len() > KEYS_MAX {
        return Err(Error::misuse(format!("{}: 1 to {KEYS_MAX} keys, one a line, newest first", path.display())));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(path).map(|known| known.permissions().mode()).unwrap_or_default();
        if mode & 0o077 != 0 {
            tracing::warn!(file = %path.display(), "others can read the keys: chmod 600");
        }
    }
    Ok(keys)
}

fn key(line: &str) -> Option<SealKey> {
    let digits = line.chars().map(|digit| u8::try_from(digit.to_digit(16)?).ok());
    let digits: Vec<u8> = digits.collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    if digits.len() == 64 { bytes.try_into().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::{key, read};

    #[test]
    fn what_is_no_key_is_told_without_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let good = "00ff".repeat(16);
        assert_eq!(key(&good).unwrap()[..3], [0, 255, 0]);
        for (text, why) in [
            (String::new(), "1 to 16 keys"),
            (format!("# mine\n\n{good}\nsecret\n"), ":4: a key is 64"),
            (format!("{good}00\n"), ":1: a key is 64"),
            (format!("{}\n", &good[1..]), ":1: a key is 64"),
        ] {
            std::fs::write(&file, &text).unwrap();
            let error = read(file.path()).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("secret") && !error.contains("00ff"), "{error}");
        }
        std::fs::write(&file, format!("# mine\n\n{good}\n{good}\n")).unwrap();
        assert_eq!(read(file.path()).unwrap().len(), 2);
    }
}
