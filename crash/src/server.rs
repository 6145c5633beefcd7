//! The process that is killed.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use crate::Error;

/// How long a server may take until it listens.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How long it may take to end when it is asked to, before it is killed: whoever waits for an answer of a client that
/// cannot connect any more may wait for long.
const GRACE: Duration = Duration::from_secs(3);
/// Ports that no system gives to outgoing connections: one that is lost could not be listened on again.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// How to start the server.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program and its first words.
    pub command: Vec<String>,
    /// Where it listens each time.
    pub address: SocketAddr,
    /// Its data; without, it keeps everything in memory.
    pub data: Option<PathBuf>,
    /// Where its tool writes.
    pub ledger: PathBuf,
    /// Where what it says on its standard error goes.
    pub log: PathBuf,
}

/// A server that runs. It is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
}

/// An address that can be listened on again and again.
///
/// # Errors
/// When there is none.
pub fn free_address(rng: &mut fastrand::Rng) -> Result<SocketAddr, Error> {
    for _ in 0..100 {
        let address = SocketAddr::from(([127, 0, 0, 1], rng.u16(PORTS)));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err("no port is free".into())
}

impl Launch {
    /// Starts a process, and does not wait for it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self) -> Result<Running, Error> {
        let (program, words) = self.command.split_first().ok_or("no program")?;
        let mut command = Command::new(program);
        command.args(words).args(["--listen", &self.address.to_string()]).arg("--ledger").arg(&self.ledger);
        if let Some(data) = &self.data {
            command.arg("--data").arg(data);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let child = command.spawn().map_err(|error| format!("{program} did not start: {error}"))?;
        Ok(Running { child })
    }

    /// Starts a process and returns when it listens.
    ///
    /// # Errors
    /// When it ends, or does not listen in time.
    pub async fn start(&self) -> Result<Running, Error> {
        let mut running = self.spawn()?;
        running.listens(self).await?;
        Ok(running)
    }
}

impl Running {
    /// Returns when it says that it listens. What it says is kept in the log.
    ///
    /// # Errors
    /// When it ends, or does not listen in time.
    pub async fn listens(&mut self, launch: &Launch) -> Result<(), Error> {
        let stderr = self.child.stderr.take().ok_or("it was waited for already")?;
        let mut log = tokio::fs::OpenOptions::new().create(true).append(true).open(&launch.log).await?;
        let mut lines = BufReader::new(stderr).lines();
        let heard = async {
            while let Some(line) = lines.next_line().await? {
                keep(&mut log, &line).await?;
                if line.contains("listening on ") {
                    return Ok::<_, Error>(());
                }
            }
            Err(format!("the server ended before it listened: see {}", launch.log.display()).into())
        };
        tokio::time::timeout(START_TIMEOUT, heard)
            .await
            .unwrap_or_else(|_| Err("the server does not listen".into()))?;
        tokio::spawn(drain(lines, log));
        Ok(())
    }

    /// The process.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Kills it with SIGKILL, and returns when it is gone.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn kill(&mut self) -> Result<(), Error> {
        Ok(self.child.kill().await?)
    }

    /// Asks it to end, kills it if it does not soon, and returns when it is gone.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn terminate(&mut self) -> Result<(), Error> {
        let pid = self.pid().ok_or("it ended already")?.to_string();
        Command::new("kill").args(["-TERM", &pid]).status().await?;
        match tokio::time::timeout(GRACE, self.child.wait()).await {
            Ok(ended) => drop(ended?),
            Err(_) => self.kill().await?,
        }
        Ok(())
    }

    /// Returns when it ends by itself.
    ///
    /// # Errors
    /// When the system does not say.
    pub async fn ended(&mut self) -> Result<ExitStatus, Error> {
        Ok(self.child.wait().await?)
    }
}

async fn keep(log: &mut tokio::fs::File, line: &str) -> std::io::Result<()> {
    use tokio::io::AsyncWriteExt as _;
    log.write_all(format!("{line}\n").as_bytes()).await?;
    log.flush().await
}

/// Takes what else it says, so that its pipe is never full.
async fn drain<R: AsyncRead + Unpin>(mut lines: tokio::io::Lines<BufReader<R>>, mut log: tokio::fs::File) {
    while let Ok(Some(line)) = lines.next_line().await {
        if keep(&mut log, &line).await.is_err() {
            return;
        }
    }
}
