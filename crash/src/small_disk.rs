//! A disk that is small enough to be filled: a file system in memory, in a mount namespace of its own. A process keeps it
//! while servers come and go; it is gone with that.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::Error;

/// Ways into a mount namespace: for root, and for everybody where the system lets everybody be root among themselves.
/// What makes one, and what joins it.
const WAYS: [(&[&str], &[&str]); 2] =
    [(&["--mount"], &["--mount"]), (&["--map-root-user", "--mount"], &["--user", "--preserve-credentials", "--mount"])];
/// Mounts, says so, and stays until its input ends.
const SCRIPT: &str = "mount -t tmpfs -o size=$1 tmpfs \"$0\" && echo mounted && exec cat";

/// A disk that is small enough to be filled.
#[derive(Debug)]
pub struct SmallDisk {
    keeper: Child,
    joins: &'static [&'static str],
    folder: PathBuf,
}

impl SmallDisk {
    /// A disk of so many bytes at `folder`, which only those see who join.
    ///
    /// # Errors
    /// When nothing can be mounted here.
    pub async fn mount(folder: &Path, bytes: u64) -> Result<Self, Error> {
        let mut reasons = Vec::new();
        for (makes, joins) in WAYS {
            let mut command = Command::new("unshare");
            command.args(makes).args(["sh", "-c", SCRIPT]).arg(folder).arg(bytes.to_string());
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
            let mut keeper = command.spawn().map_err(|error| format!("unshare: {error}"))?;
            let stdout = keeper.stdout.take().ok_or("no standard output")?;
            if BufReader::new(stdout).lines().next_line().await?.as_deref() == Some("mounted") {
                return Ok(Self { keeper, joins, folder: folder.to_owned() });
            }
            let output = keeper.wait_with_output().await?;
            reasons.push(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        Err(reasons.join("; ").into())
    }

    /// `command`, so that it sees the disk.
    ///
    /// # Errors
    /// When the disk is gone.
    pub fn join(&self, command: Vec<String>) -> Result<Vec<String>, Error> {
        let pid = self.keeper.id().ok_or("the disk is gone")?.to_string();
        let words = ["nsenter", "--target", &pid].into_iter().chain(self.joins.iter().copied());
        Ok(words.map(str::to_owned).chain(command).collect())
    }

    /// Takes all of its room.
    ///
    /// # Errors
    /// When it cannot be written for another reason.
    pub fn fill(&self) -> Result<(), Error> {
        let mut filler = OpenOptions::new().create(true).append(true).open(self.filler()?)?;
        for size in [1 << 16, 1 << 12, 1] {
            let piece = vec![0; size];
            loop {
                match filler.write(&piece) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Gives its room back.
    ///
    /// # Errors
    /// When it was not filled.
    pub fn free(&self) -> Result<(), Error> {
        Ok(std::fs::remove_file(self.filler()?)?)
    }

    /// Where everybody sees what takes the room.
    fn filler(&self) -> Result<PathBuf, Error> {
        let pid = self.keeper.id().ok_or("the disk is gone")?;
        let folder = self.folder.strip_prefix("/").map_err(|_| "a folder from the root is needed")?;
        Ok(Path::new("/proc").join(pid.to_string()).join("root").join(folder).join("filler"))
    }
}
