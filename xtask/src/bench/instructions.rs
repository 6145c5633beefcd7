//! Instructions of a path, counted by valgrind: they are the same on a busy machine.

use std::process::Command;

use super::build::Build;
use crate::tools::debian;

/// Calls that are counted.
const CALLS: u64 = 2_000;

/// The names of the paths that `build` can play.
pub(super) fn paths(build: &Build) -> Result<Vec<String>, String> {
    let output = Command::new(build.program("paths")).output().map_err(|error| format!("paths: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// Instructions of one call.
pub(super) fn count(build: &Build, path: &str) -> Result<u64, String> {
    debian(&[("valgrind", "valgrind")])?;
    let (busy, idle) = (played(build, path, &[])?, played(build, path, &["--idle"])?);
    Ok(busy.saturating_sub(idle) / CALLS)
}

/// All instructions of a run.
fn played(build: &Build, path: &str, words: &[&str]) -> Result<u64, String> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]);
    command.arg(build.program("paths")).args([path, &CALLS.to_string()]).args(words);
    let output = command.output().map_err(|error| format!("valgrind did not start: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let counted = said.lines().find_map(|line| line.split_once("I refs:").or(line.split_once("I   refs:")));
    let count = counted.map(|(_, count)| count.trim().replace(',', ""));
    count.and_then(|count| count.parse().ok()).ok_or_else(|| format!("valgrind counted nothing: {said}"))
}
