//! Servers as processes of their own, on cores of their own.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use andon_bench::machine::{self, Cores};
use andon_bench::peer::Peer;
use andon_bench::{Error, wire};

/// How long a server may take until it listens.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A server that listens. It is killed when this is dropped.
pub(crate) struct Served {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Served {
    /// Starts `peer` on the server's cores and waits until it listens.
    pub(crate) fn start(peer: Peer, cores: &Cores) -> Result<Self, Error> {
        let own = env::current_exe()?;
        let mut command;
        if peer == Peer::Andon {
            command = Command::new(beside(&own, "andon"));
            command.args(["serve", "--listen", "127.0.0.1:0"]);
        } else {
            command = Command::new(own);
            command.args(["peer", peer.name()]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // A child runs where the thread that starts it may run.
        let server = cores.server.clone();
        let started = thread::spawn(move || machine::pin(&server).and_then(|()| command.spawn()));
        let mut child = started.join().map_err(|_| "the thread that starts servers panicked")??;
        let stderr = child.stderr.take().ok_or("the server has no stderr")?;
        let (sender, address) = mpsc::channel();
        thread::spawn(move || watch(stderr, &sender));
        // From here on, the child is killed whatever happens.
        let mut served = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        served.address = address
            .recv_timeout(START_TIMEOUT)
            .map_err(|_| format!("{} did not say where it listens; see above", peer.name()))?;
        Ok(served)
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads all that a server says: first until it names its address, then for the user to see.
fn watch(stderr: ChildStderr, sender: &Sender<SocketAddr>) {
    let mut is_listening = false;
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        match address(&line) {
            Some(address) if !is_listening => {
                is_listening = true;
                // Nobody waits any more if the start has timed out.
                let _ = sender.send(address);
            }
            // What follows the address at the start is help for a person.
            _ if is_listening => {}
            _ => eprintln!("{line}"),
        }
    }
}

fn address(line: &str) -> Option<SocketAddr> {
    let rest = line.split_once("http://")?.1;
    rest.split('/').next()?.parse().ok()
}

/// Builds the programs that are not this one, in this one's profile, so that one command does all.
pub(crate) fn build() -> Result<(), Error> {
    for (package, program) in [("andon-cli", "andon"), ("andon-bench", "allocs")] {
        // Apart from each other: built together, one would get the features that the other asks of a dependency.
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(["build", "--quiet", "--package", package, "--bin", program]);
        if !cfg!(debug_assertions) {
            command.arg("--release");
        }
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        if !command.status()?.success() {
            return Err(format!("the program {program} does not build").into());
        }
    }
    Ok(())
}

/// Allocations per call in process, by server and workload, as the program `allocs` counts them.
pub(crate) fn allocations() -> Result<Vec<wire::Allocations>, Error> {
    let output = Command::new(beside(&env::current_exe()?, "allocs"))
        .arg("--json")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err("the program allocs failed".into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn beside(own: &Path, program: &str) -> PathBuf {
    own.with_file_name(format!("{program}{}", env::consts::EXE_SUFFIX))
}
