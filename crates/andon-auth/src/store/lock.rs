//! One process at a time, by locks on files that are beside what they guard, and stay there.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::AuthError;

/// How long the lock may be somebody else's.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// The wait between two tries: a wait for the lock itself could not be given up.
const PAUSE: Duration = Duration::from_millis(20);

/// The lock on the file at `path`, which is made if there is none. It is free again when the file is dropped, or its
/// process ends.
pub(super) async fn lock(path: &Path) -> Result<File, AuthError> {
    let failed = |error: io::Error| AuthError::Store(format!("{}: {error}", path.display()));
    let file = open(path).map_err(failed)?;
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            // A file system without locks: as if there were no other process.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                let why = format!("another process holds {} and does not let go", path.display());
                return Err(AuthError::Store(why));
            }
            Err(TryLockError::WouldBlock) => tokio::time::sleep(PAUSE).await,
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
