//! Instructions of a path, counted by valgrind: they are nearly the same on a busy machine.

use std::process::{Command, Output};

use super::build::Build;
use super::estimate::Range;
use crate::tools::debian;

/// Calls that are counted.
const CALLS: u64 = 2_000;
/// How often: seeds of hash tables and addresses differ from run to run.
const COUNTS: usize = 3;

/// The names of the paths that `build` can play.
pub(super) fn paths(build: &Build) -> Result<Vec<String>, String> {
    let output = succeeded(Command::new(build.program("paths")), "paths")?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// Instructions of one call: the fewest and the most that were counted.
pub(super) fn count(build: &Build, path: &str) -> Result<Range, String> {
    debian(&[("valgrind", "valgrind")])?;
    let counted = (0..COUNTS).map(|_| {
        let (busy, idle) = (played(build, path, &[])?, played(build, path, &["--idle"])?);
        match busy.saturating_sub(idle) / CALLS {
            0 => Err(format!("{path}: what is played takes no instructions")),
            count => Ok(count),
        }
    });
    let counted = counted.collect::<Result<Vec<u64>, String>>()?;
    Range::of(&counted).ok_or_else(|| format!("{path} was not counted"))
}

/// All instructions of a run.
fn played(build: &Build, path: &str, words: &[&str]) -> Result<u64, String> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]);
    command.arg(build.program("paths")).args([path, &CALLS.to_string()]).args(words);
    let output = succeeded(command, path)?;
    let said = String::from_utf8_lossy(&output.stderr);
    let counted = said.lines().find_map(|line| line.split_once("I refs:").or(line.split_once("I   refs:")));
    let count = counted.map(|(_, count)| count.trim().replace(',', ""));
    count.and_then(|count| count.parse().ok()).ok_or_else(|| format!("valgrind counted nothing: {said}"))
}

fn succeeded(mut command: Command, what: &str) -> Result<Output, String> {
    let output = command.output().map_err(|error| format!("{what} did not start: {error}"))?;
    match output.status.success() {
        true => Ok(output),
        false => Err(format!("{what} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr))),
    }
}
