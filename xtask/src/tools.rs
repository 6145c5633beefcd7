//! Programs that steps run, and where things are.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::Outcome;

/// The npm package that brings Node.js.
pub const NODE: &str = "node@22.23.3";

/// The root of the project.
pub fn root() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    own.parent().map_or(own.clone(), PathBuf::from)
}

/// Where builds and downloads go. Cargo runs in the root, so that what is said relatively is meant from there.
pub fn target() -> PathBuf {
    root().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// A program of the debug build.
pub fn program(name: &str) -> PathBuf {
    target().join("debug").join(name)
}

/// Cargo, in the root.
///
/// Without what cargo tells a program that it runs about that program's package: build scripts depend on these variables
/// (that of ring does), and what they made would be made again.
pub fn cargo_command() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let of_package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(of_package) {
            command.env_remove(name);
        }
    }
    command.current_dir(root());
    command
}

/// Runs [`cargo_command`].
pub fn cargo(words: &[&str], environment: &[(&str, &str)]) -> Outcome {
    let mut command = cargo_command();
    command.args(words).envs(environment.iter().copied());
    finish(command)
}

/// Runs `command` to its end; it has to succeed.
pub fn finish(mut command: Command) -> Outcome {
    let name = format!("{command:?}");
    let status = command.stdin(Stdio::null()).status().map_err(|error| format!("{name} did not start: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{name} ended with {status}")) }
}

/// Runs `command` to its end: how it ended, and all that it said, which is kept in a file below `target` that is named
/// after `name`.
pub fn heard(mut command: Command, name: &str) -> Result<(ExitStatus, String), String> {
    let folder = target().join("said");
    let path = folder.join(format!("{}.txt", name.replace([' ', '/'], "-")));
    let mut run = || {
        std::fs::create_dir_all(&folder)?;
        let file = File::create(&path)?;
        let status = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).status()?;
        Ok::<_, std::io::Error>((status, String::from_utf8_lossy(&std::fs::read(&path)?).into_owned()))
    };
    run().map_err(|error| format!("{name}: {error}"))
}

/// What a program prints.
pub fn output(program: &str, words: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(words).output();
    let output = output.map_err(|error| format!("{program} is needed and did not start: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What the compiler calls this machine.
pub fn host() -> Result<String, String> {
    let version = output("rustc", &["-vV"])?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc does not name its host")?;
    Ok(host.to_owned())
}

/// A server that runs until it is dropped.
pub struct Server {
    child: Child,
    /// Its endpoint.
    pub url: String,
}

impl Server {
    /// Starts `binary` of the debug build, and reads its endpoint from the line `listening on URL` of its standard error.
    pub fn start(binary: &str, words: &[&str]) -> Result<Self, String> {
        let mut command = Command::new(program(binary));
        command.args(words);
        Self::of(command)
    }

    /// Starts `command`, which says on its standard error where it listens, in the same words.
    pub fn of(mut command: Command) -> Result<Self, String> {
        let name = format!("{command:?}");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| format!("{name} did not start: {error}"))?;
        let lines = child.stderr.take().map(BufReader::new).ok_or("no standard error")?;
        let mut lines = lines.lines().map_while(Result::ok);
        let url = lines.find_map(|line| line.split_once("listening on ").map(|(_, url)| url.trim().to_owned()));
        // Whatever else it says must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let url = url.ok_or_else(|| format!("{name} ended before it listened"))?;
        Ok(Self { child, url })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already; then there is nothing to end.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Makes sure of these programs, each in a Debian package: what is missing is installed, if that is allowed.
pub fn debian(needed: &[(&str, &str)]) -> Outcome {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |program: &str| std::env::split_paths(&path).any(|folder| folder.join(program).exists());
    let missing: Vec<&str> =
        needed.iter().filter(|(program, _)| !is_there(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let apt = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(words).args(&missing[..if words[0] == "install" { missing.len() } else { 0 }]);
        command.env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
        finish(command)
    };
    let installed = apt(&["update", "--quiet"]).and_then(|()| apt(&["install", "--yes", "--no-install-recommends"]));
    installed.map_err(|why| format!("the packages {} are needed: {why}", missing.join(", ")))
}

/// A folder below `target` with these npm packages, and the Node.js that comes as one of them.
pub fn npm(folder: &str, packages: &[&str]) -> Result<PathBuf, String> {
    let folder = target().join(folder);
    let stamp = folder.join("installed");
    let wanted = packages.join("\n");
    // Steps that run side by side use some of the same: the second one waits for the first, until this is dropped.
    let lock = std::fs::create_dir_all(&folder).and_then(|()| File::create(folder.join("lock")));
    let lock = lock.and_then(|file| file.lock().map(|()| file));
    let _lock = lock.map_err(|error| format!("{}: {error}", folder.display()))?;
    if std::fs::read_to_string(&stamp).is_ok_and(|known| known == wanted) {
        return Ok(folder);
    }
    std::fs::write(folder.join("package.json"), "{\"private\":true,\"type\":\"module\"}")
        .map_err(|error| error.to_string())?;
    let mut command = Command::new("npm");
    command.args(["install", "--no-audit", "--no-fund", "--loglevel=error"]).args(packages).current_dir(&folder);
    finish(command).map_err(|why| format!("npm is needed, with its registry: {why}"))?;
    std::fs::write(&stamp, wanted).map_err(|error| error.to_string())?;
    Ok(folder)
}

/// The Node.js 22 of an npm folder.
pub fn node(folder: &Path) -> PathBuf {
    folder.join("node_modules").join("node").join("bin").join("node")
}

/// The Python of an environment in the folder `name` that has `package`.
pub fn python(name: &str, package: &str) -> Result<PathBuf, String> {
    let folder = target().join(name);
    let stamp = folder.join("installed");
    let python = folder.join("bin").join("python");
    if std::fs::read_to_string(&stamp).is_ok_and(|known| known == package) {
        return Ok(python);
    }
    let mut create = Command::new("python3");
    create.args(["-m", "venv"]).arg(&folder);
    finish(create).map_err(|why| format!("Python 3.10 or newer, with venv, is needed: {why}"))?;
    let mut install = Command::new(Path::new(&python));
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", package]);
    finish(install).map_err(|why| format!("pip is needed, with its registry: {why}"))?;
    std::fs::write(&stamp, package).map_err(|error| error.to_string())?;
    Ok(python)
}

/// Does all of `works` side by side, and gives what each gave.
///
/// # Errors
/// The first failure, in their order, when all are over.
pub fn at_once<T: Send, W>(works: impl IntoIterator<Item = W>) -> Result<Vec<T>, String>
where
    W: FnOnce() -> Result<T, String> + Send,
{
    std::thread::scope(|scope| {
        let running: Vec<_> = works.into_iter().map(|work| scope.spawn(work)).collect();
        running.into_iter().map(|work| work.join().map_err(|_| "it panicked".to_owned())?).collect()
    })
}
