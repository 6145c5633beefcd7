//! Release builds: of the tree as it is, and of other revisions in one work tree below `target`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::tools::{cargo_command, finish, root, target};

/// A program, and the package that it is of.
pub(super) type Program = (&'static str, &'static str);

/// What plays the paths that are counted.
pub(super) const PATHS: Program = ("andon-bench", "paths");
/// The server.
pub(super) const SERVER: Program = ("andon-cli", "andon");
/// What loads it.
pub(super) const GENERATOR: Program = ("andon-bench", "andon-bench");

/// Where the programs of one revision are.
pub(super) struct Build {
    programs: PathBuf,
}

impl Build {
    /// `wanted` of the tree as it is.
    pub(super) fn here(wanted: &[Program]) -> Result<Self, String> {
        build(&root(), &target(), wanted, "here")
    }

    /// `wanted` of another revision, but for what it does not have.
    pub(super) fn of(rev: &str, wanted: &[Program]) -> Result<Self, String> {
        let commit = super::commit(rev)?;
        Self::in_tree(&checked_out(&commit)?, wanted, short(&commit))
    }

    /// `wanted` of what is checked out in the work tree `tree`, kept under `name`.
    pub(super) fn in_tree(tree: &Path, wanted: &[Program], name: &str) -> Result<Self, String> {
        build(tree, &place().join("build"), wanted, name)
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(file(name))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.program(name).exists()
    }
}

/// The work tree of other revisions, with `commit` checked out.
///
/// There is one for all of them. What cargo built is fresh for it when no file changed since, and a check-out changes those that
/// differ. In another tree with the same folder of builds the files of an older check-out would pass for those that were built.
pub(super) fn checked_out(commit: &str) -> Result<PathBuf, String> {
    let tree = place().join("tree");
    let mut command = Command::new("git");
    if tree.join(".git").exists() {
        command.args(["checkout", "--quiet", "--force", "--detach", commit]).current_dir(&tree);
    } else {
        command.args(["worktree", "add", "--quiet", "--force", "--detach"]).arg(&tree).arg(commit).current_dir(root());
    }
    finish(command)?;
    Ok(tree)
}

/// Enough of the name of a commit for people and files.
pub(super) fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

fn place() -> PathBuf {
    target().join("compare")
}

/// Builds in `target` and copies to a folder called `name`, since the next revision is built in the same place.
fn build(tree: &Path, target: &Path, wanted: &[Program], name: &str) -> Result<Build, String> {
    let programs = place().join("programs").join(name);
    drop(std::fs::remove_dir_all(&programs));
    std::fs::create_dir_all(&programs).map_err(|error| format!("{}: {error}", programs.display()))?;
    for (package, program) in wanted {
        if !has_source(tree, package, program) {
            eprintln!("{name} has no program {program}");
            continue;
        }
        eprintln!("building {program} of {name} as it is released; the first time takes minutes");
        let begun_at = Instant::now();
        // Apart: built together, one would get the features that another asks of a dependency.
        let mut command = cargo_command();
        command.args(["build", "--release", "--package", package, "--bin", program]);
        command.current_dir(tree).env("CARGO_TARGET_DIR", target);
        finish(command)?;
        eprintln!("built {program} of {name} in {:.0} s", begun_at.elapsed().as_secs_f64());
        let copied = std::fs::copy(target.join("release").join(file(program)), programs.join(file(program)));
        copied.map_err(|error| format!("{program}: {error}"))?;
    }
    Ok(Build { programs })
}

fn file(program: &str) -> String {
    format!("{program}{}", std::env::consts::EXE_SUFFIX)
}

/// Whether the package has the program at that revision.
fn has_source(tree: &Path, package: &str, program: &str) -> bool {
    // The one package of programs that is no crate of its own.
    if package != PATHS.0 || program == package {
        return true;
    }
    let programs = tree.join("bench/src/bin");
    programs.join(format!("{program}.rs")).exists() || programs.join(program).join("main.rs").exists()
}
