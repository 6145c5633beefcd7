//! Files in the folder of data: each is of one server, and is written whole or not at all.

use std::fs;
use std::io::{Error, ErrorKind, Result, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::names;

/// The file of `server`, which no other server has.
pub(super) fn file_name(server: &str) -> String {
    format!("{}-{}.json", names::plain(server), &digest(&[server])[..8])
}

/// Of these texts, in hexadecimal digits.
pub(crate) fn digest(texts: &[&str]) -> String {
    let texts = serde_json::to_vec(texts).expect("texts can be written as JSON");
    names::hex(&Sha256::digest(texts))
}

/// The files in `folder`, none if there is no such folder.
pub(super) fn listed(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| of(folder, error))?,
    };
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    Ok(files)
}

pub(super) fn load<T: DeserializeOwned>(file: &Path) -> Result<T> {
    let text = fs::read(file).map_err(|error| of(file, error))?;
    serde_json::from_slice(&text).map_err(|error| of(file, Error::new(ErrorKind::InvalidData, error)))
}

/// Returns when it is on the disk.
pub(super) fn store<T: Serialize>(file: &Path, value: &T) -> Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let next = file.with_extension("next");
    // A server may list what is for its user only.
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut writing = options.open(&next)?;
    writing.write_all(&serde_json::to_vec(value)?)?;
    writing.sync_all()?;
    fs::rename(&next, file)
}

/// Names the file.
fn of(file: &Path, error: Error) -> Error {
    Error::new(error.kind(), format!("{}: {error}", file.display()))
}
