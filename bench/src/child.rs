//! Servers as processes of their own, on cores of their own.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use xtask::tools;

use crate::Error;
use crate::machine::{self, Cores};
use crate::peer::Peer;
use crate::wire::{self, Http};

/// How long a server may take until it listens.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a server may take to end when it is asked to.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// The program `andon` that is measured, if it is not the one beside this.
static ANDON: OnceLock<PathBuf> = OnceLock::new();

/// A server that listens. It is ended when this is dropped.
pub struct Served {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Served {
    /// Starts `peer` on the server's cores and waits until it listens.
    ///
    /// # Errors
    /// It does not start, or does not say where it listens.
    pub fn start(peer: Peer, http: Http, cores: &Cores) -> Result<Self, Error> {
        Self::of(peer.command(http)?, cores).map_err(|error| format!("{}: {error}", peer.name()).into())
    }

    /// Starts `command` on the server's cores and waits until it says on its standard error where it listens, as a URL.
    ///
    /// # Errors
    /// It does not start, or does not say where it listens.
    pub fn of(mut command: Command, cores: &Cores) -> Result<Self, Error> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = spawn(command, cores)?;
        let stderr = child.stderr.take().ok_or("the server has no stderr")?;
        let (sender, address) = mpsc::channel();
        thread::spawn(move || watch(stderr, &sender));
        // From here on, the child is ended whatever happens.
        let mut served = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let listening = address.recv_timeout(START_TIMEOUT);
        served.address = listening.map_err(|_| "it did not say where it listens; see above")?;
        Ok(served)
    }

    /// Ends it at once, with whatever it was doing, and waits until it is gone.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn kill(mut self) -> Result<(), Error> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Ends a server. It is asked first, where there is a way: a program that counts what runs in it writes that down at its end.
pub fn end(child: &mut Child) {
    // The number of one that is gone may be somebody else's.
    let (is_asked, begun) = (matches!(child.try_wait(), Ok(None)) && ask_to_end(child), Instant::now());
    // The standard library has no way to wait for a while only.
    while is_asked && matches!(child.try_wait(), Ok(None)) && begun.elapsed() < END_TIMEOUT {
        thread::sleep(Duration::from_millis(5));
    }
    // An error means that it has ended already.
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(unix)]
fn ask_to_end(child: &Child) -> bool {
    use rustix::process::{Pid, Signal, kill_process};
    kill_process(Pid::from_child(child), Signal::TERM).is_ok()
}

#[cfg(not(unix))]
fn ask_to_end(_child: &Child) -> bool {
    false
}

/// Starts `command` on the server's cores.
///
/// # Errors
/// Those of the operating system.
pub fn spawn(mut command: Command, cores: &Cores) -> Result<Child, Error> {
    // A child runs where the thread that starts it may run.
    let server = cores.server.clone();
    let name = format!("{:?}", command.get_program());
    let started = thread::spawn(move || machine::pin(&server).and_then(|()| command.spawn()));
    let started = started.join().map_err(|_| "the thread that starts servers panicked")?;
    started.map_err(|error| format!("{name} did not start: {error}").into())
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

/// Builds programs, given as (package, program), in this one's profile, so that one command does all.
///
/// # Errors
/// One does not build.
pub fn build(programs: &[(&str, &str)]) -> Result<(), Error> {
    for (package, program) in programs {
        // Apart from each other: built together, one would get the features that the other asks of a dependency.
        let mut words = vec!["build", "--quiet", "--package", package, "--bin", program];
        if !cfg!(debug_assertions) {
            words.push("--release");
        }
        tools::cargo(&words, &[]).map_err(|why| format!("the program {program} does not build: {why}"))?;
    }
    Ok(())
}

/// Has `given` measured, if there is one; the first counts.
pub fn give_andon(given: Option<PathBuf>) {
    if let Some(program) = given {
        let _ = ANDON.set(program);
    }
}

/// Builds the program `andon`, unless one was given.
///
/// # Errors
/// It does not build.
pub fn prepare_andon() -> Result<(), Error> {
    if ANDON.get().is_none() { build(&[("andon-cli", "andon")]) } else { Ok(()) }
}

/// The program `andon` that is measured.
///
/// # Errors
/// The operating system does not say where this one is.
pub fn andon() -> Result<PathBuf, Error> {
    ANDON.get().map_or_else(|| beside("andon"), |given| Ok(given.clone()))
}

/// What calls of `peers` cost in process, as the program `allocs` counts it.
///
/// # Errors
/// It fails.
pub fn in_process(peers: &[Peer]) -> Result<Vec<wire::InProcess>, Error> {
    let names: Vec<&str> = peers.iter().map(|peer| peer.name()).collect();
    let mut command = Command::new(beside("allocs")?);
    command.args(["--json", "--only", &names.join(",")]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err("the program allocs failed".into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The program of that name in the folder of this one.
///
/// # Errors
/// The operating system does not say where this one is.
pub fn beside(program: &str) -> Result<PathBuf, Error> {
    Ok(env::current_exe()?.with_file_name(format!("{program}{}", env::consts::EXE_SUFFIX)))
}
