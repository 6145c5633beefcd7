//! A socket in the file system, which is nobody's but its user's.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use andon_server::error::Error;

/// Its file, which is removed with it unless somebody put another one in its place.
pub(in crate::admin) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            drop(std::fs::remove_file(&self.path));
        }
    }
}

pub(super) fn listen(path: &Path) -> Result<(UnixListener, SocketFile), Error> {
    let failed = |error| Error::io(format!("operators cannot come in by {}", path.display()), error);
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
        Ok(there) if !there.file_type().is_socket() => {
            return Err(Error::misuse(format!("{} is in the way: it is no socket", path.display())));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            return Err(Error::misuse(format!("another server has {}", path.display())));
        }
        // Nobody has it any more.
        Ok(_) => {}
    }
    let listener = bind(path).map_err(failed)?;
    let inode = inode(path).map_err(failed)?;
    Ok((listener, SocketFile { path: path.to_owned(), inode }))
}

/// Binds in a folder that nobody else can enter, and moves the socket to its place when nobody else can open it: at no
/// moment it is there for others.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let folder = path.with_file_name(".admin");
    if let Err(error) = std::fs::remove_dir_all(&folder)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    DirBuilder::new().mode(0o700).create(&folder)?;
    let draft = folder.join("s");
    let bound = UnixListener::bind(&draft).and_then(|listener| {
        std::fs::set_permissions(&draft, Permissions::from_mode(0o600))?;
        std::fs::rename(&draft, path)?;
        Ok(listener)
    });
    std::fs::remove_dir_all(&folder)?;
    bound
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|there| (there.dev(), there.ino()))
}

/// Whether the system says that it is this user, or root, who may do anything anyway. The mode of the socket says the same,
/// as long as nobody changed it.
pub(super) fn may_enter(stream: &tokio::net::UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}
